//! Is there a way to the key that does not go through the expected enclave?
//!
//! Source of truth: ground truth KMS §2 (what debug enclaves present, the ways
//! round an attestation condition) and §3.
//!
//! The method is a search through a finite number of requests that stand for
//! all: for every principal the policies can tell apart and every permission
//! that gives the key away, one value of each kind for every condition key that
//! counts. Each request is decided by [`decide`](super::decide), the evaluator
//! of the server, and a request that is allowed is the witness of a path. What
//! is too large, or ties keys together in a way the search does not follow, is
//! [`Verdict::Undecided`] with its reason and never "closed".
//!
//! Without IAM policies given, IAM is assumed to allow everything: every
//! caller that the key policy leaves to IAM is a path. Grants that exist already are not in the
//! policy and not looked at, nor are service control policies and who may assume
//! a role. Permissions boundaries count when they are given. Of tags of
//! principals any value is assumed: a caller who may tag can set it.

mod asked;
mod claim;
mod contexts;
mod principals;
mod search;
mod space;
#[cfg(test)]
mod tests;
mod values;
mod words;

pub use claim::{Claim, ClaimError, Finding, Gap, Kind, Proof, Undecided, Verdict};

/// Looks for every way to the key that does not go through an expected enclave.
///
/// # Errors
/// When the claim itself makes no sense.
pub fn prove(claim: &Claim) -> Result<Proof, ClaimError> {
    search::Prover::new(claim)?.run()
}
