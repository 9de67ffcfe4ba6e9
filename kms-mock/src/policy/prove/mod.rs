//! Is there a way to the key that does not go through the expected enclave?
//!
//! Source of truth: ground truth KMS §2 (what debug enclaves present, the ways
//! round an attestation condition) and §3.
//!
//! The question, exactly: may any principal (a root user, a user or role with or
//! without a path, a session, a federated user, of any account) by any sequence of
//! calls from outside of an enclave of the expected images reach the plaintext of what
//! was encrypted before, the plaintext of what will be, control of what the enclave
//! decrypts, what the key vouches for, or a key policy of its choice?
//!
//! The method is a search through a finite number of requests that stand for
//! all: for every account that may own the key, every principal that the policies can
//! tell apart and every permission that leads somewhere (`asked` says of each of the
//! operations whether it does), one value of each kind for every condition key that
//! counts, and for grants whoever a chain of them reaches. Each request is decided by
//! [`decide`](super::decide), the evaluator of the server, and requests that are allowed
//! are the witness of a way. What is too large, ties keys together in a way the search
//! does not follow, or needs a caller that it does not know (services, identity
//! providers, other partitions) is [`Verdict::Undecided`] with its reason and never
//! "closed". What "closed" stands on is said with it.
//!
//! Keys that no server on one machine can fill may have any value. Without IAM policies
//! given, IAM is assumed to allow everything: every caller that the key policy leaves to
//! IAM is a way. Grants that exist already are not in the policy and not looked at, nor
//! are service control policies, which only take away, and who may assume a role.
//! Permissions boundaries count when they are given. Of tags of principals any value is
//! assumed: a caller who may tag can set it.

mod asked;
mod beyond;
mod blank;
mod claim;
mod contexts;
mod enclaves;
mod finding;
mod fix;
mod grants;
mod pins;
mod principals;
mod reaches;
mod run;
mod search;
mod space;
#[cfg(test)]
mod tests;
mod values;
mod words;

pub use claim::{
    Ability, Claim, ClaimError, Enclave, Finding, Gap, Kind, Proof, Step, Undecided, Verdict,
};
pub use fix::fix;
pub use reaches::Reaches;
pub use run::prove;
