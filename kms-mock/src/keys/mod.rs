//! Keys: identifiers, material, states, rotation, aliases, ciphertext blobs.
//!
//! Source of truth: ground truth KMS §4.
//!
//! Reading order: `spec` (what kinds there are), `key` (one of them), `material`
//! (its secret and the blobs made with it), `arn` (how requests name it), `store`
//! (where all of them live), `entropy`.

pub(crate) mod arn;
pub(crate) mod entropy;
pub(crate) mod key;
pub(crate) mod material;
pub(crate) mod spec;
pub(crate) mod store;
