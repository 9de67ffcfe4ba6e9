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
pub mod s3;
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
