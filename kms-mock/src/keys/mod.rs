//! Keys: material, states, rotation, import, aliases, ciphertext blobs.
//!
//! Source of truth: ground truth KMS §4.
//!
//! Reading order, low to high: `material` (a symmetric key's secret and the blobs
//! made with it), `secret` (every other key's, with `pair`, `signing`, `prehash`,
//! `oaep`, `agreement`, `kem` and `mac`), `wrapping` and `imported` (material from
//! outside), `record` (what changes during a key's life) with `import`, `uses`,
//! `multi_region` (keys of several Regions that are one), `custom_store` and `xks`
//! (keys elsewhere), `key` (one of them), `keep` (their rows), `store` (where all of
//! them live) with `shards`, `alias`, `deletions`, `recent` (with `message_keys`)
//! and `custom_stores`,
//! `calendar` (what falls due), `load` (a start).

pub(crate) mod agreement;
pub(crate) mod alias;
mod calendar;
pub(crate) mod custom_store;
pub(crate) mod custom_stores;
mod deletions;
pub(crate) mod import;
pub(crate) mod imported;
pub(crate) mod keep;
pub(crate) mod kem;
pub(crate) mod key;
pub(crate) mod load;
pub(crate) mod mac;
pub(crate) mod material;
mod message_keys;
pub(crate) mod multi_region;
pub(crate) mod oaep;
pub(crate) mod pair;
pub(crate) mod prehash;
pub(crate) mod recent;
pub(crate) mod record;
pub(crate) mod secret;
mod shards;
pub(crate) mod signing;
pub(crate) mod store;
pub(crate) mod uses;
pub(crate) mod wrapping;
pub(crate) mod xks;
