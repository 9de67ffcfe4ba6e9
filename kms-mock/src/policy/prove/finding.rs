//! What an allowed request means, in words, and which statement allows it.

use std::collections::BTreeSet;

use super::{
    asked::{Asked, Gives},
    claim::{Finding, Kind, Step},
    reaches::Reaches,
    search::Prover,
    space::State,
};
use crate::{
    policy::{
        AllowedBy, Decision, Outcome, Policy, PolicySource, Verdict as StatementVerdict,
        document::Effect, principals::Naming,
    },
    world::principal::Principal,
};

impl Prover<'_> {
    /// What it means that all of `steps` are allowed, the last of them, a request for
    /// `last`, in the `state`; `decision` is the first one's.
    pub(super) fn finding(
        &self,
        last: &Asked,
        state: State,
        steps: Vec<Step>,
        decision: &Decision,
    ) -> Finding {
        let (statement, is_account) = deciding_statement(decision, &self.claim.policy);
        let is_delegated = is_account
            && matches!(
                decision.outcome,
                Outcome::Allowed(
                    AllowedBy::IdentityPolicy | AllowedBy::RootUser | AllowedBy::CrossAccount
                )
            );
        let kind = match (last.gives, state) {
            (Gives::Unavailability(_), _) => Kind::Availability,
            (_, State::Unattested | State::Wanted) => Kind::Unattested,
            (_, State::Debug) => Kind::Debug,
            (_, State::OtherImage) => Kind::OtherImage,
            (_, State::NitroTpm) => Kind::NitroTpm,
        };
        let (reaches, why) = match last.gives {
            Gives::Use(reaches, why) => (reaches, why),
            Gives::Grant => (
                Reaches::Everything,
                "a grant carries no attestation constraint",
            ),
            Gives::Unavailability(why) => (Reaches::EndOfKey, why),
        };
        let (first, shown) = (&steps[0].call, &steps[steps.len() - 1].call);
        let mut reason = if steps.iter().any(|step| step.makes.is_some()) {
            let chain = if steps.len() > 2 {
                format!(", and {} grants one after the other", steps.len() - 1)
            } else {
                String::new()
            };
            format!(
                "a grant carries no attestation constraint: {} may {} with it{chain}",
                shown.principal.role_arn(),
                shown.action
            )
        } else {
            why.to_owned()
        };
        match kind {
            Kind::Debug => reason.push_str(
                ", and this request comes from an enclave in debug mode, whose PCR0 to PCR2 are zeros and whose console and memory the parent reads",
            ),
            Kind::OtherImage => {
                let pcr0 = shown.recipient.as_ref().and_then(|r| r.pcrs.get(&0)).map(hex::encode);
                let is_named = pcr0.is_some_and(|value| self.pins.pcr0.contains(&value));
                reason.push_str(if is_named {
                    ", and the policy still accepts this PCR0, which is not the expected one"
                } else {
                    ", and nothing pins PCR0: an enclave of any image that has the other registers will do"
                });
            }
            Kind::NitroTpm => reason.push_str(", and this request comes from an instance's NitroTPM, not from an enclave"),
            Kind::Unattested | Kind::Availability => {}
        }
        if is_delegated {
            reason.push_str("; the key policy leaves it to IAM, so any IAM administrator of the account can allow it");
        }
        if !first.facts.condition_keys.is_empty()
            || first.facts.grant_is_for_aws_resource == Some(true)
        {
            reason.push_str("; the request needs something that only AWS can present");
        }
        let is_asked = self.is_asked_about(&first.principal);
        if let Some(escalation) = self.escalates.as_ref().filter(|_| is_asked) {
            let by = format!(
                "; the principal gives itself what its IAM policies lack by {}",
                escalation.by
            );
            reason.push_str(&by);
        }
        if self.owners > 1 {
            let of = format!(
                "; this supposes that the key is one of account {}",
                self.account
            );
            reason.push_str(&of);
        }
        Finding {
            kind,
            reaches,
            steps,
            statement,
            is_delegated,
            reason,
        }
    }
}

/// The first statement of the key policy that allows and names the caller most
/// closely, and whether it names the account only.
pub(super) fn deciding_statement(
    decision: &Decision,
    policy: &Policy,
) -> (Option<(usize, Option<String>)>, bool) {
    let Some(trace) = decision
        .policies
        .iter()
        .find(|trace| trace.source == PolicySource::Resource)
    else {
        return (None, false);
    };
    let applying = trace
        .statements
        .iter()
        .zip(policy.statements())
        .enumerate()
        .filter(|(_, (trace, statement))| {
            trace.verdict.applies() && statement.effect == Effect::Allow
        });
    let ranked = applying.map(|(at, (trace, statement))| {
        let naming = match trace.verdict {
            StatementVerdict::AppliesToAccount => Naming::Account,
            StatementVerdict::AppliesDirectly => Naming::Direct,
            _ => Naming::Behind,
        };
        (naming, at, statement)
    });
    let best = ranked.min_by_key(|(naming, at, _)| (std::cmp::Reverse(*naming), *at));
    match best {
        Some((naming, at, statement)) => (
            Some((at + 1, statement.sid.as_deref().map(str::to_owned))),
            naming == Naming::Account,
        ),
        None => (None, false),
    }
}

/// One finding for each way: when the claim is about anybody, principals to which
/// the same statement allows the same are one; an IAM administrator comes before the
/// root user.
pub(super) fn collapse(findings: &mut Vec<Finding>, is_anybody: bool) {
    let is_root = |finding: &Finding| matches!(finding.witness().principal, Principal::Root { .. });
    findings.sort_by_key(|finding| {
        (
            !finding.kind.is_path(),
            finding.is_delegated && is_root(finding),
        )
    });
    let mut seen = BTreeSet::new();
    findings.retain(|finding| {
        let who = (!is_anybody).then(|| finding.witness().principal.clone());
        let number = finding.statement.as_ref().map(|(number, _)| *number);
        seen.insert((who, finding.kind, finding.action().to_owned(), number))
    });
}
