//! The KMS API: one call in, one reply out, no sockets.
//!
//! Source of truth: the KMS service model (JSON 1.1, version 2014-11-01), ground
//! truth KMS, and the behaviour recorded on AWS.
//!
//! Every operation goes the same way: the request's shape, the attestation document,
//! the key, permission, what the operation's row in `model::operation` asks of the
//! key, `DryRun`, the work.
//!
//! A call passes these files in this order, and none of them again: `parsed` (its
//! operation and its body), `dispatch` (the operation's function), one of `ops`, and
//! from there `fields` (its members), `call` (the key, permission), `checks` (the
//! row's checks), `sealing` or the key's own material, `answer`; `dispatch` writes the
//! record.
//!
//! | file | what |
//! |---|---|
//! | `service` | what a KMS is made of, a [`Call`] and a [`Reply`] |
//! | `error`, `answer` | refusals and answers |
//! | `json`, `fields`, `grant_token` | a request's JSON, its members, its grant tokens |
//! | `parsed` | a call whose body is parsed |
//! | `call`, `checks` | the context of one call, what is checked of a key |
//! | `metadata`, `sealing` | what answers say of a key, ciphertexts of symmetric keys |
//! | `ops` | the operations, one file a family |
//! | `dispatch`, `faulty` | which function answers which operation; calls that meet a fault |
//! | `plant`, `restore` | keys from a seed file and from the data directory |
//!
//! Of the key specs and algorithms these are not available, and answer
//! `UnsupportedOperationException`, with AWS's text where it has one and otherwise with
//! one that begins with `[drydock]`:
//!
//! | what | because |
//! |---|---|
//! | keys of spec `SM2`, wrapping under `SM2` | AWS has them in its China Regions alone, which are a partition of their own (`aws-cn`, SM4 instead of AES) that is not modelled |
//! | wrapping by `RSAES_PKCS1_V1_5` | AWS has taken it away in 2023 |

mod answer;
mod call;
mod checks;
mod dispatch;
mod error;
mod faulty;
mod fields;
mod grant_token;
mod json;
mod metadata;
pub(crate) mod ops;
mod parsed;
mod plant;
mod restore;
mod sealing;
mod service;
#[cfg(test)]
mod tests;

pub use self::service::{Call, Kms, Reply, Settings};
pub(crate) use self::{
    faulty::injected_reply,
    parsed::{ParsedCall, static_name},
    plant::{PlantError, PlantedKey},
};
pub use crate::keys::xks::{XksRootError, XksSettings};
