//! Policies of keys, identities and roles: parsed, evaluated, proved about.

use std::{collections::BTreeMap, sync::Arc};

use kms_mock::{
    policy::{
        Policy, PolicyKind, Question, QuestionKey,
        prove::{Claim, Verdict as Proved, prove},
    },
    world::principal::Principal,
};
use nsm_sim::clock::UnixMillis;
use serde_json::Value;

use super::{Corpus, Mutating, Target, Verdict};
use crate::json;

const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
const ACCOUNT: &str = "123456789012";

fn seeds(corpus: &Corpus) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut seeds = vec![
        Policy::default_for_key(ACCOUNT).text().as_bytes().to_vec(),
        br#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","NotPrincipal":{"AWS":["arn:aws:iam::123456789012:role/R"]},"NotAction":"kms:De*","NotResource":"arn:aws:kms:*:*:key/${aws:PrincipalTag/x}","Condition":{"ForAllValues:StringLikeIfExists":{"kms:RecipientAttestation:PCR0":["*","a"]},"NumericLessThan":{"kms:GrantOperations":1},"Null":{"kms:ViaService":"true"},"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"Bool":{"aws:SecureTransport":"false"}}}]}"#.to_vec(),
    ];
    for file in corpus.files("kms-policies", &[".json"], 64 << 10)? {
        let mut file: Value = serde_json::from_slice(&file)?;
        seeds.push(file["policy"].take().to_string().into_bytes());
    }
    Ok(seeds)
}

/// Read, written as `GetKeyPolicy` answers it, and asked about one request.
pub(super) fn policy(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let seeds = seeds(corpus)?;
    let role = Principal::AssumedRole {
        account: ACCOUNT.into(),
        role_path_name: "R".into(),
        session: "s".into(),
    };
    let mut question = Question::new(role, "kms:Decrypt", QuestionKey::default(), NOW);
    let context = BTreeMap::from([("purpose".to_owned(), "fuzz".to_owned())]);
    question.facts.encryption_context = Some(context);
    Ok(Box::new(Mutating {
        seeds,
        change: json::change,
        run: move |input: &[u8]| {
            let Ok(text) = std::str::from_utf8(input) else {
                return Verdict::Refused;
            };
            let mut verdict = Verdict::Refused;
            for kind in [PolicyKind::Key, PolicyKind::Identity, PolicyKind::Trust] {
                let Ok(policy) = Policy::parse(text, kind) else {
                    continue;
                };
                verdict = Verdict::Accepted;
                let again = Policy::parse(policy.rendered(), kind).unwrap_or_else(|error| {
                    panic!("what GetKeyPolicy answers is no policy: {error}")
                });
                assert_eq!(again.rendered(), policy.rendered());
                let decision = question.decide(&Arc::new(policy), &[]);
                let _ = (
                    decision.is_allowed(),
                    decision.to_json(),
                    decision.remarks(),
                );
            }
            verdict
        },
    }))
}

/// Each way to the key that is found has to be a request that the evaluator
/// allows.
pub(super) fn proof(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    Ok(Box::new(Mutating {
        seeds: seeds(corpus)?,
        change: json::change,
        run: |input: &[u8]| {
            let policy = std::str::from_utf8(input)
                .ok()
                .and_then(|text| Policy::parse(text, PolicyKind::Key).ok());
            let Some(policy) = policy.map(Arc::new) else {
                return Verdict::Refused;
            };
            let proof = prove(&Claim::about(Arc::clone(&policy)));
            if let Ok(proof) = &proof {
                for finding in &proof.findings {
                    assert!(
                        finding.holds(&policy),
                        "{} is found and refused: {}",
                        finding.kind_name(),
                        finding.reason
                    );
                }
                assert!(
                    proof.verdict() != Proved::Closed || proof.undecided.is_empty(),
                    "closed, with open questions"
                );
                let _ = proof.to_json();
            }
            Verdict::from(&proof)
        },
    }))
}
