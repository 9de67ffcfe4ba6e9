//! What is claimed, and what a search finds for or against it.
//!
//! Source of truth: ground truth KMS §2 (the ways round an attestation condition).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};

use super::{asked::harmless, reaches::Reaches};
use crate::{
    policy::{Grant, Lint, Policy, Question},
    world::principal::Principal,
};

/// What is to be proved.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The key policy.
    pub policy: Arc<Policy>,
    /// ARNs of roles, sessions, users, root users, or account numbers for all
    /// principals of an account. Empty: anybody.
    pub principals: Vec<String>,
    /// Their IAM policies; `None` assumes that IAM allows everything.
    pub identity_policies: Option<Vec<Arc<Policy>>>,
    /// Their permissions boundary; `None` assumes that they have none.
    pub boundary: Option<Arc<Policy>>,
    /// The PCR0 values of the images that are wanted, 96 hex digits each. Empty:
    /// those that the policy names.
    pub expected_pcr0: Vec<String>,
    /// The account that owns the key; `None` takes it from the policy.
    pub account: Option<String>,
    /// The key's ARN; `None` lets it be any.
    pub key_arn: Option<String>,
    /// The key's spec, `SYMMETRIC_DEFAULT`, …; `None` lets it be any.
    pub key_spec: Option<String>,
    /// The time of the requests, unless the policy has conditions on time.
    pub now: UnixMillis,
}

impl Claim {
    /// The claim about anybody and the images that the policy names.
    #[must_use]
    pub fn about(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            principals: Vec::new(),
            identity_policies: None,
            boundary: None,
            expected_pcr0: Vec::new(),
            account: None,
            key_arn: None,
            key_spec: None,
            now: UnixMillis(1_767_225_600_000),
        }
    }
}

/// What came out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Proof {
    /// The accounts that are taken for the key's owner, one after the other.
    pub accounts: Vec<String>,
    /// PCR0 values that count as wanted.
    pub expected_pcr0: BTreeSet<String>,
    /// Paths first, then what is only worth knowing.
    pub findings: Vec<Finding>,
    /// What the policy's author may not have meant.
    pub lints: Vec<Lint>,
    /// Questions that were left open.
    pub undecided: Vec<Gap>,
    /// What "closed" stands on, beside the policies.
    pub assumptions: Vec<String>,
    /// What the enclaves of the expected images can do.
    pub enclaves: Vec<Enclave>,
    /// How many principals stand for all.
    pub principals: usize,
    /// How many requests were decided.
    pub decisions: usize,
}

/// The answer in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No path exists.
    Closed,
    /// A path exists.
    Open,
    /// No path was found, and not everything could be looked at.
    Undecided,
}

/// A permission that somebody has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of way it is.
    pub kind: Kind,
    /// What it leads to.
    pub reaches: Reaches,
    /// Requests that are allowed one after the other; at least one.
    pub steps: Vec<Step>,
    /// The statement that allows it, counted from one, with its `Sid`.
    pub statement: Option<(usize, Option<String>)>,
    /// Whether the key policy leaves the decision to IAM.
    pub is_delegated: bool,
    /// Why it matters, in a sentence.
    pub reason: String,
}

/// One call on a way to the key.
#[derive(Clone, Debug)]
pub struct Step {
    /// The request.
    pub call: Question,
    /// The grant that it makes.
    pub makes: Option<Arc<Grant>>,
}

/// What an enclave of an expected image can do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Enclave {
    /// Its PCR0, 96 hex digits.
    pub pcr0: String,
    /// Permissions that it has, each with a request and the statement that allows it.
    pub can: Vec<Ability>,
    /// Permissions that a statement with a condition on attestation is about and that
    /// it does not have.
    pub cannot: Vec<&'static str>,
}

/// A permission that an enclave has.
#[derive(Clone, Debug)]
pub struct Ability {
    /// A request that is allowed.
    pub call: Question,
    /// The statement that allows it, counted from one, with its `Sid`.
    pub statement: Option<(usize, Option<String>)>,
}

impl Enclave {
    /// Whether the enclave can do what it is meant to.
    #[must_use]
    pub fn works(&self) -> bool {
        !self.can.is_empty() && self.cannot.is_empty()
    }
}

/// What kind of way a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// Without an attestation document.
    Unattested,
    /// From an enclave in debug mode, whose memory the parent reads.
    Debug,
    /// From an enclave with another image, or an older one.
    OtherImage,
    /// From an instance with a NitroTPM, which is not an enclave.
    NitroTpm,
    /// Not a way to the key, but to make it unusable.
    Availability,
}

impl Kind {
    /// Whether it is a way to the key.
    #[must_use]
    pub fn is_path(self) -> bool {
        self != Self::Availability
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unattested => "un-attested",
            Self::Debug => "debug-mode",
            Self::OtherImage => "other-image",
            Self::NitroTpm => "nitrotpm",
            Self::Availability => "availability",
        }
    }
}

/// A question that was left open.
#[derive(Clone, Debug)]
pub struct Gap {
    /// Whose request; `None` when the principals themselves are the question.
    pub principal: Option<Principal>,
    /// The permission.
    pub action: &'static str,
    /// Why.
    pub why: Undecided,
}

impl Gap {
    /// A question about everybody and every permission.
    pub(super) fn about_all(why: Undecided) -> Self {
        Self {
            principal: None,
            action: "kms:*",
            why,
        }
    }
}

/// Why a question is left open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undecided {
    /// More cases than are looked at.
    #[error("more than {max} {what}: too large to be searched")]
    TooLarge {
        /// What there is too much of.
        what: String,
        /// The bound.
        max: usize,
    },
    /// Something the search does not follow.
    #[error("the search does not follow {what}")]
    Beyond {
        /// What it is.
        what: String,
    },
}

/// Why there is nothing to prove.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Not an ARN of a principal, nor an account.
    #[error(
        "`{text}` is not the ARN of a role, a session, a user or a root user, nor twelve digits"
    )]
    Principal {
        /// The text found.
        text: String,
    },
    /// Not a register's value.
    #[error("`{text}` is not a PCR0 value: 96 hex digits without 0x")]
    Pcr0 {
        /// The text found.
        text: String,
    },
    /// A debug enclave's register cannot be wanted.
    #[error("a PCR0 of zeros is a debug-mode enclave's and cannot be the expected one")]
    DebugPcr0,
    /// Not an account.
    #[error("`{text}` is not an account: twelve digits")]
    Account {
        /// The text found.
        text: String,
    },
    /// Not a key's ARN.
    #[error("`{text}` is not the ARN of a key of account {account}")]
    KeyArn {
        /// The text found.
        text: String,
        /// The owner.
        account: String,
    },
    /// Not a key spec.
    #[error("`{text}` is not the spec of a key, such as SYMMETRIC_DEFAULT or RSA_2048")]
    KeySpec {
        /// The text found.
        text: String,
    },
    /// IAM policies without the principals that have them.
    #[error("IAM policies were given without the principals they are attached to")]
    PoliciesWithoutPrincipals,
}

impl Claim {
    /// The policies that the principals have of their own.
    pub(super) fn own_policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        let iam = self.identity_policies.iter().flatten();
        iam.chain(&self.boundary)
    }
}

impl Proof {
    /// The answer in a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.findings.iter().any(|finding| finding.kind.is_path()) {
            Verdict::Open
        } else if self.undecided.is_empty() {
            Verdict::Closed
        } else {
            Verdict::Undecided
        }
    }

    /// Whether the enclaves of all expected images can do what they are meant to.
    #[must_use]
    pub fn enclaves_work(&self) -> bool {
        !self.enclaves.is_empty() && self.enclaves.iter().all(Enclave::works)
    }

    /// As `kms-mock policy check --json` prints it. A witness is what
    /// `kms-mock policy explain` reads.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "verdict": match self.verdict() {
                Verdict::Closed => "closed",
                Verdict::Open => "open",
                Verdict::Undecided => "undecided",
            },
            "accounts": self.accounts,
            "expectedPcr0": self.expected_pcr0,
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "lints": self.lints.iter().map(Lint::to_json).collect::<Vec<_>>(),
            "undecided": self.undecided.iter().map(|gap| json!({
                "principal": gap.principal.as_ref().map(Principal::role_arn),
                "action": gap.action,
                "why": gap.why.to_string(),
            })).collect::<Vec<_>>(),
            "assumptions": self.assumptions,
            "harmless": harmless().collect::<BTreeMap<_, _>>(),
            "enclaves": self.enclaves.iter().map(Enclave::to_json).collect::<Vec<_>>(),
            "principals": self.principals,
            "decisions": self.decisions,
        })
    }
}

impl Enclave {
    fn to_json(&self) -> Value {
        json!({
            "pcr0": self.pcr0,
            "works": self.works(),
            "can": self.can.iter().map(|ability| json!({
                "action": ability.call.action,
                "statement": ability.statement.as_ref().map(|(number, _)| number),
                "call": ability.call,
            })).collect::<Vec<_>>(),
            "cannot": self.cannot,
        })
    }
}

impl Finding {
    /// The first request.
    #[must_use]
    pub fn witness(&self) -> &Question {
        let first = self.steps.first().expect("a way has a first step");
        &first.call
    }

    /// The last request, when there is more than one.
    #[must_use]
    pub fn then(&self) -> Option<&Question> {
        let last = self.steps.get(1..)?.last()?;
        Some(&last.call)
    }

    /// The permission that the way begins with.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.witness().action
    }

    /// Whether every request is allowed under the policy and the grants made before it.
    #[must_use]
    pub fn holds(&self, policy: &Arc<Policy>) -> bool {
        let mut grants = Vec::new();
        self.steps.iter().all(|step| {
            let decision = step.call.decide(policy, &grants);
            grants.extend(step.makes.clone());
            decision.is_allowed()
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "isPath": self.kind.is_path(),
            "action": self.action(),
            "statement": self.statement.as_ref().map(|(number, _)| number),
            "sid": self.statement.as_ref().and_then(|(_, sid)| sid.clone()),
            "delegatedToIam": self.is_delegated,
            "reason": self.reason,
            "reaches": self.reaches.in_words(),
            "witness": self.witness(),
            "then": self.then(),
            "steps": self.steps.iter().map(|step| &step.call).collect::<Vec<_>>(),
        })
    }

    /// `un-attested`, `debug-mode`, `other-image`, `nitrotpm`, `availability`.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        self.kind.name()
    }
}
