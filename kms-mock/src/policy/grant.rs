//! Grants: one key, one grantee, some operations, allow only.
//!
//! Source of truth: AWS KMS developer guide, "Grants in AWS KMS"; AWS KMS API
//! reference, "GrantConstraints" (names of a constraint in letters of any case);
//! ground truth KMS §3 (operations, grants carry no attestation constraint).
//! A grantee that is a service never calls here. Does not model the delay until a
//! grant is known everywhere.

use nsm_sim::clock::UnixMillis;

use super::{
    caller::Caller,
    decision::GrantVerdict,
    facts::EncryptionContext,
    principals::{Naming, PrincipalEntry},
    request::Request,
};
use crate::world::{
    directory::{Behind, Directory},
    principal::Principal,
};

/// Every operation a grant can allow, as `CreateGrant` names it.
pub const GRANT_OPERATIONS: [&str; 19] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "GetPublicKey",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "VerifyMac",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
];

/// A grant on a key.
#[derive(Clone, Debug)]
pub struct Grant {
    /// 64 hex digits.
    pub id: String,
    /// The caller's name for it.
    pub name: Option<String>,
    /// Who may use it, as given.
    pub grantee: String,
    /// The unique id behind the grantee, of an account that the world keeps.
    pub grantee_id: Option<String>,
    /// Who may retire it, as given.
    pub retiring: Option<String>,
    /// The unique id behind the retiring principal.
    pub retiring_id: Option<String>,
    /// Members of [`GRANT_OPERATIONS`].
    pub operations: Vec<&'static str>,
    /// What the encryption context must be.
    pub constraint: Option<Constraint>,
    /// The resource on whose behalf requests must be made. None here is.
    pub source_arn: Option<String>,
    /// ARN of the account that issued it.
    pub issuing_account: String,
    /// When.
    pub created: UnixMillis,
}

/// A grant's constraint on the encryption context.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Constraint {
    /// The request's context must be exactly this.
    Equals(EncryptionContext),
    /// The request's context must contain all of this.
    Subset(EncryptionContext),
}

impl Grant {
    /// Whether the grantee is `caller`: a user, a session, the role of a
    /// session, or a federated user. Unknown and chosen strictly: an account as grantee stands for
    /// its root user only.
    #[must_use]
    pub fn is_for(&self, caller: &Caller) -> bool {
        names(&self.grantee, self.grantee_id.as_deref(), caller)
    }

    /// Whether `caller` is the retiring principal.
    #[must_use]
    pub fn is_retired_by(&self, caller: &Caller) -> bool {
        self.retiring
            .as_deref()
            .is_some_and(|retiring| names(retiring, self.retiring_id.as_deref(), caller))
    }

    /// Whether the grant allows the request.
    #[must_use]
    pub fn judge(&self, request: &Request<'_>) -> GrantVerdict {
        if !self.is_for(request.caller) {
            return GrantVerdict::OtherGrantee;
        }
        let operation = request
            .action
            .strip_prefix("kms:")
            .unwrap_or(request.action);
        if !self.operations.contains(&operation) {
            return GrantVerdict::OtherOperation;
        }
        if self.source_arn.is_some() {
            return GrantVerdict::ConstraintUnsatisfied;
        }
        let none = EncryptionContext::new();
        let context = request.facts.encryption_context.unwrap_or(&none);
        // Constraints bind cryptographic operations; DescribeKey, CreateGrant,
        // RetireGrant and their like have no encryption context.
        let is_bound = request.facts.encryption_context.is_some()
            || request.facts.encryption_algorithm.is_some();
        let satisfied = match &self.constraint {
            None => true,
            Some(_) if !is_bound => true,
            Some(constraint) => constraint.holds(context),
        };
        if satisfied {
            GrantVerdict::Allows
        } else {
            GrantVerdict::ConstraintUnsatisfied
        }
    }
}

impl Constraint {
    /// As `Constraints` and `kms:GrantConstraintType` name it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Equals(_) => "EncryptionContextEquals",
            Self::Subset(_) => "EncryptionContextSubset",
        }
    }

    pub(crate) fn pairs(&self) -> &EncryptionContext {
        match self {
            Self::Equals(pairs) | Self::Subset(pairs) => pairs,
        }
    }

    /// Whether an encryption context is as it must be: "the key in each key-value pair
    /// is not case sensitive, but the value is".
    pub(crate) fn holds(&self, context: &EncryptionContext) -> bool {
        let is_in = |key: &str, value: &str, pairs: &EncryptionContext| {
            let mut pairs = pairs.iter();
            pairs.any(|(k, v)| v == value && (k == key || k.to_lowercase() == key.to_lowercase()))
        };
        let all_in = |some: &EncryptionContext, others: &EncryptionContext| {
            some.iter().all(|(key, value)| is_in(key, value, others))
        };
        match self {
            Self::Equals(pairs) => {
                pairs.len() == context.len() && all_in(pairs, context) && all_in(context, pairs)
            }
            Self::Subset(pairs) => all_in(pairs, context),
        }
    }
}

/// Who stands behind the ARN of a grantee or retiring principal: an account, a user, a
/// role, a session or a federated user.
pub(crate) fn bind_grant_principal(text: &str, directory: &dyn Directory) -> Behind {
    match entry(text).map(|entry| entry.identity_arn()) {
        None => Behind::Nobody,
        // Accounts and federated users have no unique id.
        Some(None) => Behind::NotKept,
        Some(Some(arn)) => directory.behind(&arn),
    }
}

fn entry(text: &str) -> Option<PrincipalEntry> {
    // Neither a star nor the bare number of an account, nor one of another partition.
    let entry = PrincipalEntry::parse(text).filter(|_| text.starts_with("arn:"))?;
    (entry != PrincipalEntry::Foreign).then_some(entry)
}

fn names(principal: &str, id: Option<&str>, caller: &Caller) -> bool {
    if id.is_some_and(|id| !caller.named().is(id)) {
        return false;
    }
    match entry(principal).map(|entry| entry.names(&caller.principal)) {
        // Not said of the user behind a federated session: the stricter.
        Some(Naming::Behind) => matches!(caller.principal, Principal::AssumedRole { .. }),
        Some(Naming::Direct) => true,
        Some(Naming::Account) => matches!(caller.principal, Principal::Root { .. }),
        Some(Naming::No) | None => false,
    }
}
