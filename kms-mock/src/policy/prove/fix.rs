//! Statements that close a policy when they are added to it, and the proof that they
//! do.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    asked::ASKED,
    claim::{Claim, Proof, Verdict},
    run::prove,
};
use crate::policy::{Policy, PolicyKind};

/// A Deny may show what it had hidden, but not often.
const ROUNDS_MAX: usize = 4;

/// Deny statements that close the policy of an open claim, as a list; `None` when none
/// are found. Permissions that an enclave needs are denied without its document, all
/// others to everybody.
#[must_use]
pub fn fix(claim: &Claim, proof: &Proof) -> Option<Value> {
    let document: Value = serde_json::from_str(claim.policy.text()).ok()?;
    let mut denied: BTreeSet<String> = BTreeSet::new();
    let mut proof = proof.clone();
    for _ in 0..ROUNDS_MAX {
        let paths = proof
            .findings
            .iter()
            .filter(|finding| finding.kind.is_path());
        denied.extend(paths.map(|finding| finding.action().to_owned()));
        let statements = statements(&denied, &proof);
        let mut fixed = document.clone();
        match &mut fixed["Statement"] {
            Value::Array(list) => list.extend(statements.clone()),
            one => {
                let mut list = vec![one.clone()];
                list.extend(statements.clone());
                *one = list.into();
            }
        }
        let policy = Policy::parse(&fixed.to_string(), PolicyKind::Key).ok()?;
        let claim = Claim {
            policy: Arc::new(policy),
            // Those that the policy had named before.
            expected_pcr0: proof.expected_pcr0.iter().cloned().collect(),
            ..claim.clone()
        };
        proof = prove(&claim).ok()?;
        match proof.verdict() {
            Verdict::Open => {}
            Verdict::Closed => return Some(statements.into()),
            Verdict::Undecided => return None,
        }
    }
    None
}

fn statements(denied: &BTreeSet<String>, proof: &Proof) -> Vec<Value> {
    let is_attested = |action: &&String| {
        let asked = ASKED.iter().find(|asked| asked.action() == **action);
        !proof.expected_pcr0.is_empty() && asked.is_some_and(|asked| asked.is_attested())
    };
    let (attested, others): (Vec<_>, Vec<_>) = denied.iter().partition(is_attested);
    let deny = |actions: Vec<&String>| json!({ "Effect": "Deny", "Principal": "*", "Action": actions, "Resource": "*" });
    let mut out = Vec::new();
    if !attested.is_empty() {
        let mut statement = deny(attested);
        statement["Condition"] = json!({ "StringNotEqualsIgnoreCase": {
            "kms:RecipientAttestation:ImageSha384": proof.expected_pcr0,
        }});
        out.push(statement);
    }
    if !others.is_empty() {
        out.push(deny(others));
    }
    out
}
