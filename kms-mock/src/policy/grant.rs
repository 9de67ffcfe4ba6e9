//! Grants: one key, one grantee, some operations, allow only.
//!
//! Source of truth: AWS KMS developer guide, "Grants in AWS KMS"; ground truth
//! KMS §3 (operations, constraints, grants carry no attestation constraint).
//! Does not model grantees that are services, nor the delay until a grant is
//! known everywhere.

use nsm_sim::clock::UnixMillis;

use super::{
    decision::GrantVerdict,
    facts::EncryptionContext,
    principals::{Naming, PrincipalEntry},
    request::Request,
};
use crate::world::principal::Principal;

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
    /// Who may retire it, as given.
    pub retiring: Option<String>,
    /// Members of [`GRANT_OPERATIONS`].
    pub operations: Vec<&'static str>,
    /// What the encryption context must be.
    pub constraint: Option<Constraint>,
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
    pub fn is_for(&self, caller: &Principal) -> bool {
        names(&self.grantee, caller)
    }

    /// Whether `caller` is the retiring principal.
    #[must_use]
    pub fn is_retired_by(&self, caller: &Principal) -> bool {
        self.retiring
            .as_deref()
            .is_some_and(|retiring| names(retiring, caller))
    }

    /// Whether the grant allows the request.
    #[must_use]
    pub fn judge(&self, request: &Request<'_>) -> GrantVerdict {
        if !self.is_for(&request.caller.principal) {
            return GrantVerdict::OtherGrantee;
        }
        let operation = request
            .action
            .strip_prefix("kms:")
            .unwrap_or(request.action);
        if !self.operations.contains(&operation) {
            return GrantVerdict::OtherOperation;
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
            Some(Constraint::Equals(pairs)) => context == pairs,
            Some(Constraint::Subset(pairs)) => pairs
                .iter()
                .all(|(key, value)| context.get(key) == Some(value)),
        };
        if satisfied {
            GrantVerdict::Allows
        } else {
            GrantVerdict::ConstraintUnsatisfied
        }
    }
}

/// Whether `text` is an ARN that a grantee or retiring principal may have.
#[must_use]
pub fn is_grant_principal(text: &str) -> bool {
    entry(text).is_some()
}

fn entry(text: &str) -> Option<PrincipalEntry> {
    // Neither a star nor the bare number of an account.
    PrincipalEntry::parse(text).filter(|_| text.starts_with("arn:"))
}

fn names(principal: &str, caller: &Principal) -> bool {
    match entry(principal).map(|entry| entry.names(caller)) {
        // Not said of the user behind a federated session: the stricter.
        Some(Naming::Behind) => matches!(caller, Principal::AssumedRole { .. }),
        Some(Naming::Direct) => true,
        Some(Naming::Account) => matches!(caller, Principal::Root { .. }),
        Some(Naming::No) | None => false,
    }
}
