//! The KMS API: one call in, one reply out, no sockets.
//!
//! Source of truth: the KMS service model (JSON 1.1, version 2014-11-01), ground
//! truth KMS, and the behaviour recorded on AWS.
//!
//! Every operation goes the same way: the request's shape, the attestation
//! document, the key, permission, the key's state, `DryRun`, the work.
//!
//! Reading order: [`Kms`] (the front door), `operation` (what there is), `call`
//! (what all operations share), then one file for each family: `key`, `alias`,
//! `import`, `multi_region`, `custom_key_store`, `key_policy`, `rotation`, `tag`,
//! `grant`, `crypt`, `data_key`, `random`, `last_usage`, and with `usage` those of
//! other keys: `sign`, `mac`, `public_key`, `data_key_pair`, `shared_secret`,
//! `encapsulate`;
//! `fields` reads requests and `error` writes refusals.
//!
//! Of the key specs and algorithms these are not available, and answer
//! `UnsupportedOperationException` with a text that begins with `[drydock]`:
//!
//! | what | because |
//! |---|---|
//! | keys of spec `SM2`, wrapping under `SM2` | AWS has them in its China Regions alone, which are a partition of their own (`aws-cn`, SM4 instead of AES) that is not modelled |
//! | wrapping by `RSAES_PKCS1_V1_5` | AWS has taken it away in 2023 |

mod call;
mod dispatch;
mod error;
mod faulty;
mod fields;
mod json;
mod metadata;
pub(crate) mod ops;
mod plant;
mod restore;
mod sealing;
mod service;
#[cfg(test)]
mod tests;
mod usage;

pub use self::service::{Call, Kms, Reply, Settings};
pub(crate) use self::{
    dispatch::static_name,
    faulty::injected_reply,
    plant::{PlantError, PlantedKey},
};
pub use crate::keys::xks::{XksRootError, XksSettings};
