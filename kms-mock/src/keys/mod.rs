//! Keys: identifiers, material, states, rotation, aliases, ciphertext blobs.
//!
//! Source of truth: ground truth KMS §4.
//!
//! Reading order: `spec` (what kinds there are), `key` (one of them), `material`
//! (a symmetric key's secret and the blobs made with it), `secret` (every other
//! key's, with `pair`, `signing`, `prehash`, `oaep`, `agreement`, `kem` and `mac`), `import`
//! (material from outside), `multi_region` (keys of several Regions that are one),
//! `custom_store` and `xks` (keys elsewhere), `arn` (how requests name it), `store`
//! (where all of them live) with `recent`, `entropy`.

pub(crate) mod agreement;
pub(crate) mod custom_store;
pub(crate) mod import;
pub(crate) mod keep;
pub(crate) mod kem;
pub(crate) mod key;
pub(crate) mod load;
pub(crate) mod mac;
pub(crate) mod material;
pub(crate) mod multi_region;
pub(crate) mod oaep;
pub(crate) mod pair;
pub(crate) mod prehash;
pub(crate) mod recent;
pub(crate) mod secret;
pub(crate) mod signing;
pub(crate) mod store;
pub(crate) mod xks;
