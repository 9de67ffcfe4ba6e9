//! The cloud, simulated: a KMS that enforces what AWS enforces, attested
//! `Recipient` calls included; S3, STS and IAM beside it on one
//! LocalStack-compatible endpoint.
//!
//! A call goes one way, through rooms that import only what stands before them:
//! `threads` (memory that threads do not fight for), `model` (the service model as
//! data), `wire` (how AWS's protocols write and sign), [`world`] (what things are called
//! by), `journal` (the file behind a data directory), [`recipient`] (from inside which
//! enclave), [`policy`] (may they), `keys` (with what), [`iam`] (who calls), [`s3`] (the
//! object store), [`faults`], [`audit`] (what happened and why), [`kms`] (the
//! operations), [`edge`] (HTTP, TLS, signatures, routing), [`mock`] (a running server in
//! a test).
//!
//! Features, all on by default: `s3` (the object store), `durable` (data
//! directories), `xks` (external key stores), `cli` (the command, with all of them).
//! What a build leaves out is refused with a text that names the feature.

// Rows of a data directory, parts of S3's protocol: written once, used by features.
#![cfg_attr(
    not(all(feature = "s3", feature = "durable", feature = "xks")),
    allow(dead_code, unused_imports)
)]

pub mod audit;
pub mod edge;
pub mod faults;
pub mod iam;
mod journal;
mod keys;
pub mod kms;
pub mod mock;
mod model;
pub mod policy;
pub mod recipient;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(not(feature = "s3"))]
#[path = "no_s3.rs"]
mod s3;
mod threads;
mod wire;
pub mod world;

pub use edge::{Auth, Received};
pub use faults::{Fault, Hostile};
pub use journal::{DataDirError, Unwritten};
pub use mock::{
    builder::{Builder, KmsMock, StartError},
    expect::{Expectation, Unmet},
    explain::Explanation,
};
pub use world::RequestId;
