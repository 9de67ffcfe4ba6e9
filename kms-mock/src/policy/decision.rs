//! A decision with everything that led to it: statement by statement, condition
//! by condition, expected beside presented.
//!
//! Source of truth: ground truth KMS §3 (the exact texts of
//! `AccessDeniedException`) and §2 (what an attested call presents). The trace
//! is the emulator's own; AWS has none.

use std::sync::Arc;

use serde_json::{Value, json};
use smallvec::SmallVec;

use super::{
    condition::Because,
    document::{Effect, Policy},
};
use crate::model::condition_key::{ConditionKey, Filled};

/// The answer to a [`Request`](super::Request), with its reasons.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Allowed by what, or denied why.
    pub outcome: Outcome,
    /// Every policy that was looked at, in the order of evaluation.
    pub policies: SmallVec<[PolicyTrace; 1]>,
    /// The grants for the caller that were looked at.
    pub grants: Vec<GrantTrace>,
}

/// Allowed or denied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The call may go on.
    Allowed(AllowedBy),
    /// The call is refused.
    Denied(Denial),
}

/// What allows a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllowedBy {
    /// A statement of the key policy that names the caller.
    KeyPolicy,
    /// The key policy delegates to the account, and the caller is its root user.
    RootUser,
    /// An IAM policy; for a key, one that the key policy delegates to.
    IdentityPolicy,
    /// A statement of the bucket's policy that names the caller or everybody.
    BucketPolicy,
    /// The caller is the root user of the account that owns the bucket.
    OwnersRoot,
    /// The key policy names the caller's other account, and IAM there allows.
    CrossAccount,
    /// A grant.
    Grant {
        /// Its identifier.
        grant_id: String,
    },
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// A `Deny` statement applies.
    ExplicitDeny(PolicySource),
    /// The key policy neither allows the caller nor delegates to its account.
    NoResourcePolicy,
    /// IAM does not allow what the key policy delegates.
    NoIdentityPolicy,
    /// The permissions boundary of the user or role does not allow it.
    NoBoundary,
    /// The session's own policies do not allow it.
    NoSessionPolicy,
    /// Another account's key or bucket: AWS does not say why.
    OtherAccount,
}

/// Which kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicySource {
    /// The key policy.
    Resource,
    /// A policy of the user or role.
    Identity,
    /// The permissions boundary of the user or role.
    Boundary,
    /// A policy given to `AssumeRole` or `GetFederationToken`.
    Session,
}

impl PolicySource {
    fn name(self) -> &'static str {
        match self {
            Self::Resource => "resource-based policy",
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
        }
    }
}

/// A policy with what became of each of its statements.
#[derive(Clone, Debug)]
pub struct PolicyTrace {
    /// The kind of policy.
    pub source: PolicySource,
    /// One for each statement, in order.
    pub statements: SmallVec<[StatementTrace; 1]>,
    pub(super) policy: Arc<Policy>,
}

/// What became of a statement.
#[derive(Clone, Debug)]
pub struct StatementTrace {
    /// Whether and why the statement counts.
    pub verdict: Verdict,
    /// Its conditions, when they were looked at.
    pub conditions: Vec<ConditionTrace>,
}

/// Whether a statement counts for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It applies and names the caller.
    Applies,
    /// It applies and names the caller's account.
    AppliesToAccount,
    /// It applies and names the very user or session that calls, or anybody: not
    /// limited by what the boundary and session policies leave out.
    AppliesDirectly,
    /// It has no `Action` or no `Resource` and thus no effect.
    HasNoEffect,
    /// It is about other principals.
    OtherPrincipal,
    /// It is about other actions.
    OtherAction,
    /// It is about other resources.
    OtherResource,
    /// One of its conditions is not satisfied.
    ConditionUnsatisfied,
}

impl Verdict {
    /// Whether the statement counts.
    #[must_use]
    pub fn applies(self) -> bool {
        matches!(
            self,
            Self::Applies | Self::AppliesToAccount | Self::AppliesDirectly
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Applies => "applies",
            Self::AppliesToAccount => "applies to the account",
            Self::AppliesDirectly => "applies to the caller itself",
            Self::HasNoEffect => "has no effect (no Action or no Resource)",
            Self::OtherPrincipal => "is about other principals",
            Self::OtherAction => "is about other actions",
            Self::OtherResource => "is about other resources",
            Self::ConditionUnsatisfied => "condition not satisfied",
        }
    }
}

/// One condition: what the policy expects, what the request presents.
#[derive(Clone, Debug)]
pub struct ConditionTrace {
    /// As written in the policy.
    pub operator: Arc<str>,
    /// As written in the policy.
    pub key: Arc<str>,
    /// As written in the policy.
    pub expected: Arc<[Arc<str>]>,
    /// The request's values; `None` when it has no such key.
    pub presented: Option<Vec<String>>,
    /// Whether the condition holds.
    pub satisfied: bool,
    /// Why.
    pub because: Because,
    /// Whether the key is read from an attestation document.
    pub attestation: bool,
}

/// What became of a grant.
#[derive(Clone, Debug)]
pub struct GrantTrace {
    /// Its identifier.
    pub grant_id: String,
    /// Whether and why it counts.
    pub verdict: GrantVerdict,
}

/// Whether a grant counts for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantVerdict {
    /// It allows the call.
    Allows,
    /// It is for another grantee.
    OtherGrantee,
    /// It is for other operations.
    OtherOperation,
    /// The encryption context does not satisfy its constraint.
    ConstraintUnsatisfied,
}

impl GrantVerdict {
    fn name(self) -> &'static str {
        match self {
            Self::Allows => "allows",
            Self::OtherGrantee => "is for another grantee",
            Self::OtherOperation => "is for other operations",
            Self::ConstraintUnsatisfied => "encryption context constraint not satisfied",
        }
    }
}

/// How the caller named the resource, which AWS's texts follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Named<'a> {
    /// By an identifier in the request; the ARN it stands for.
    Arn(&'a str),
    /// Not at all: the ciphertext says which key. Its ARN.
    Ciphertext(&'a str),
    /// No resource is part of the message.
    Nothing,
}

impl Denial {
    /// AWS's message.
    #[must_use]
    pub fn message(self, caller_arn: &str, action: &str, named: Named<'_>) -> String {
        if self == Self::OtherAccount {
            let what = match named {
                Named::Ciphertext(_) => "the resource associated with this ciphertext",
                Named::Arn(_) | Named::Nothing => "this resource",
            };
            return format!(
                "User: {caller_arn} is not authorized to perform: {action} on {what} because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
            );
        }
        let on = match named {
            Named::Arn(arn) | Named::Ciphertext(arn) => format!(" on resource: {arn}"),
            Named::Nothing => String::new(),
        };
        let because = self.because(action);
        format!("User: {caller_arn} is not authorized to perform: {action}{on} {because}")
    }

    /// The last part of AWS's sentence.
    pub(crate) fn because(self, action: &str) -> String {
        match self {
            Self::ExplicitDeny(source) => {
                let article = if source == PolicySource::Identity {
                    "an"
                } else {
                    "a"
                };
                format!("with an explicit deny in {article} {}", source.name())
            }
            Self::NoResourcePolicy => {
                format!("because no resource-based policy allows the {action} action")
            }
            Self::NoIdentityPolicy => {
                format!("because no identity-based policy allows the {action} action")
            }
            Self::NoBoundary => {
                format!("because no permissions boundary allows the {action} action")
            }
            Self::NoSessionPolicy => {
                format!("because no session policy allows the {action} action")
            }
            Self::OtherAccount => "because no resource-based policies allow access".to_owned(),
        }
    }

    fn name(self) -> String {
        match self {
            Self::ExplicitDeny(source) => format!("explicit deny in a {}", source.name()),
            Self::NoResourcePolicy => "no resource-based policy allows".to_owned(),
            Self::NoIdentityPolicy => "no identity-based policy allows".to_owned(),
            Self::NoBoundary => "no permissions boundary allows".to_owned(),
            Self::NoSessionPolicy => "no session policy allows".to_owned(),
            Self::OtherAccount => "another account's resource without permission".to_owned(),
        }
    }
}

impl AllowedBy {
    fn name(&self) -> String {
        match self {
            Self::KeyPolicy => "the key policy names the caller".to_owned(),
            Self::RootUser => {
                "the key policy delegates to the account, whose root user calls".to_owned()
            }
            Self::IdentityPolicy => "an identity-based policy".to_owned(),
            Self::BucketPolicy => "the bucket policy names the caller".to_owned(),
            Self::OwnersRoot => "the root user of the account that owns the bucket".to_owned(),
            Self::CrossAccount => {
                "the resource's policy names the other account and IAM there allows".to_owned()
            }
            Self::Grant { grant_id } => format!("grant {grant_id}"),
        }
    }
}

impl Decision {
    /// Whether the call may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed(_))
    }

    /// Whether a Deny applies, though AWS may not say so.
    pub(crate) fn has_applying_deny(&self) -> bool {
        self.policies.iter().any(|policy| {
            let statements = policy.policy.statements().iter().zip(&policy.statements);
            let mut denies = statements.filter(|(it, _)| it.effect == Effect::Deny);
            denies.any(|(_, trace)| trace.verdict.applies())
        })
    }

    /// What a person should know about the decision, most telling first: the
    /// enclave runs in debug mode, an expected value cannot ever match, another
    /// statement makes an attestation condition irrelevant, what decided is a key that AWS
    /// alone can present.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let conditions = || {
            self.policies.iter().flat_map(|policy| {
                policy
                    .statements
                    .iter()
                    .flat_map(|statement| &statement.conditions)
            })
        };
        for condition in conditions().filter(|c| c.attestation && !c.satisfied) {
            let zeros = |text: &str| text.len() == 96 && text.bytes().all(|b| b == b'0');
            match &condition.presented {
                Some(values) if values.iter().any(|v| zeros(v)) => remarks.push(format!(
                    "{} is all zeros: the enclave is in debug mode (PCR0 to PCR2), or nothing extends this register",
                    condition.key
                )),
                Some(_) => {}
                None => remarks.push(format!(
                    "{} is absent: the call carries no attestation document with it, or the operation takes none",
                    condition.key
                )),
            }
            for expected in condition.expected.iter() {
                if expected.starts_with("0x") || expected.starts_with("0X") {
                    remarks.push(format!(
                        "the expected {} begins with 0x; KMS compares plain hex digits",
                        condition.key
                    ));
                }
                let upper = expected.bytes().any(|b| b.is_ascii_uppercase());
                let lower_operator = condition.operator.to_ascii_lowercase();
                if upper && !lower_operator.contains("ignorecase") {
                    remarks.push(format!(
                        "the expected {} has upper-case digits under {}; KMS presents lower case",
                        condition.key, condition.operator
                    ));
                }
            }
        }
        if self.is_allowed() {
            self.remark_bypassed_conditions(&mut remarks);
        } else {
            self.remark_absent_keys(&mut remarks);
        }
        remarks.dedup();
        remarks
    }

    /// What decided is that a key is absent which AWS alone can present: an Allow lacks
    /// nothing but such keys, or every Deny that applies does so for want of one.
    fn remark_absent_keys(&self, remarks: &mut Vec<String>) {
        let is_denied = matches!(self.outcome, Outcome::Denied(Denial::ExplicitDeny(_)));
        let deciding = if is_denied {
            Effect::Deny
        } else {
            Effect::Allow
        };
        let statements = self.policies.iter().flat_map(|policy| {
            let effects = policy.policy.statements().iter().map(|it| it.effect);
            policy.statements.iter().zip(effects)
        });
        let mut absent = Vec::new();
        for (statement, _) in statements.filter(|(_, effect)| *effect == deciding) {
            if is_denied && !statement.verdict.applies() {
                continue;
            }
            let decisive = statement.conditions.iter();
            let decisive: Vec<_> = decisive.filter(|c| c.satisfied == is_denied).collect();
            let by_absence = |c: &&ConditionTrace| c.because == Because::KeyAbsent;
            if is_denied {
                let wanting: Vec<_> = decisive.into_iter().filter(by_absence).collect();
                if wanting.is_empty() {
                    return; // it denies whatever AWS could present
                }
                absent.extend(wanting);
            } else if decisive.iter().all(by_absence) {
                absent.extend(decisive);
            }
        }
        for condition in absent {
            let key = ConditionKey::parse(&condition.key);
            if let Some(Filled::ByAws(why)) = key.row().map(|row| row.filled) {
                remarks.push(format!("{} is absent: {why}", condition.key));
            }
        }
    }

    /// An attestation condition of one Allow is worth nothing beside an Allow
    /// without one.
    fn remark_bypassed_conditions(&self, remarks: &mut Vec<String>) {
        let resource = self
            .policies
            .iter()
            .filter(|p| p.source == PolicySource::Resource);
        for policy in resource {
            let allows = |attested: bool, applies: bool| {
                policy
                    .statements
                    .iter()
                    .zip(policy.policy.statements())
                    .any(|(trace, statement)| {
                        statement.effect == Effect::Allow
                            && trace.verdict.applies() == applies
                            && trace.conditions.iter().any(|c| c.attestation) == attested
                    })
            };
            if allows(false, true) && allows(true, false) {
                remarks.push(
                    "another Allow without an attestation condition makes the attestation condition irrelevant for this call"
                        .to_owned(),
                );
            }
        }
    }

    /// The decision as `explain` prints it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (allowed, because) = match &self.outcome {
            Outcome::Allowed(by) => (true, by.name()),
            Outcome::Denied(denial) => (false, denial.name()),
        };
        json!({
            "allowed": allowed,
            "because": because,
            "remarks": self.remarks(),
            "policies": self.policies.iter().map(PolicyTrace::to_json).collect::<Vec<_>>(),
            "grants": self.grants.iter().map(|grant| json!({
                "grantId": grant.grant_id,
                "verdict": grant.verdict.name(),
            })).collect::<Vec<_>>(),
        })
    }
}

impl PolicyTrace {
    fn to_json(&self) -> Value {
        let statements: Vec<Value> = self
            .statements
            .iter()
            .zip(self.policy.statements())
            .enumerate()
            .map(|(at, (trace, statement))| {
                json!({
                    "statement": at + 1,
                    "sid": statement.sid.as_deref(),
                    "effect": match statement.effect { Effect::Allow => "Allow", Effect::Deny => "Deny" },
                    "verdict": trace.verdict.name(),
                    "conditions": trace.conditions.iter().map(ConditionTrace::to_json).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "source": self.source.name(),
            "id": self.policy.id(),
            "statements": statements,
        })
    }
}

impl ConditionTrace {
    fn to_json(&self) -> Value {
        json!({
            "operator": &*self.operator,
            "key": &*self.key,
            "expected": self.expected.iter().map(|value| &**value).collect::<Vec<_>>(),
            "presented": self.presented,
            "satisfied": self.satisfied,
            "because": self.because.name(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_read_as_aws_writes_them() {
        let user = "arn:aws:sts::123456789012:assumed-role/R/S";
        let arn = "arn:aws:kms:us-east-1:123456789012:key/k";
        let by_arn = Named::Arn(arn);
        let prefix = format!("User: {user} is not authorized to perform: kms:Decrypt");
        for (denial, named, rest) in [
            (Denial::NoResourcePolicy, by_arn, format!(" on resource: {arn} because no resource-based policy allows the kms:Decrypt action")),
            (Denial::NoResourcePolicy, Named::Ciphertext(arn), format!(" on resource: {arn} because no resource-based policy allows the kms:Decrypt action")),
            (Denial::NoIdentityPolicy, by_arn, format!(" on resource: {arn} because no identity-based policy allows the kms:Decrypt action")),
            (Denial::NoIdentityPolicy, Named::Nothing, " because no identity-based policy allows the kms:Decrypt action".into()),
            (Denial::NoBoundary, by_arn, format!(" on resource: {arn} because no permissions boundary allows the kms:Decrypt action")),
            (Denial::ExplicitDeny(PolicySource::Boundary), by_arn, format!(" on resource: {arn} with an explicit deny in a permissions boundary")),
            (Denial::NoSessionPolicy, by_arn, format!(" on resource: {arn} because no session policy allows the kms:Decrypt action")),
            (Denial::ExplicitDeny(PolicySource::Resource), by_arn, format!(" on resource: {arn} with an explicit deny in a resource-based policy")),
            (Denial::ExplicitDeny(PolicySource::Identity), by_arn, format!(" on resource: {arn} with an explicit deny in an identity-based policy")),
            (Denial::ExplicitDeny(PolicySource::Session), by_arn, format!(" on resource: {arn} with an explicit deny in a session policy")),
            (Denial::OtherAccount, by_arn, " on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access".into()),
            (Denial::OtherAccount, Named::Ciphertext(arn), " on the resource associated with this ciphertext because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access".into()),
        ] {
            assert_eq!(denial.message(user, "kms:Decrypt", named), format!("{prefix}{rest}"));
        }
    }
}
