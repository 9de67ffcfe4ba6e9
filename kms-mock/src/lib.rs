//! The cloud, simulated: a KMS that enforces what AWS enforces, attested
//! `Recipient` calls included; S3, STS and IAM beside it on one
//! LocalStack-compatible endpoint.
//!
//! Reading order: [`builder`] (a running server in a test), [`server`] (the
//! HTTP edge: TLS, signatures, routing), [`iam`] and [`principal`] (who calls),
//! [`policy`] (may they), [`recipient`] (from inside which enclave), `keys` (with
//! what), [`api`] (the operations), [`audit`] (what happened and why), [`s3`] (the
//! object store), `store` (what a data directory keeps of all that).

pub mod api;
pub mod audit;
pub mod builder;
mod expect;
mod explain;
pub mod faults;
pub mod iam;
mod keys;
mod lane;
pub mod policy;
pub mod principal;
pub mod recipient;
mod request_id;
mod ring;
pub mod s3;
pub mod seed;
pub mod server;
mod store;
mod xml;

pub use builder::{Auth, Builder, KmsMock, Received, StartError};
pub use expect::{Expectation, Unmet};
pub use explain::Explanation;
pub use faults::{Fault, Hostile};
pub use request_id::RequestId;
pub use store::{DataDirError, Unwritten};
