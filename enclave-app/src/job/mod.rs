//! What parent and enclave say to each other about one job.
//!
//! [`manifest`] is the submitter's signed order: the only part the enclave
//! trusts. [`wire`] is the parent's untrusted envelope around it. [`refusal`] is all
//! that a parent learns of a job that has no result, [`progress`] what it hears before.

pub mod manifest;
pub mod progress;
pub mod refusal;
mod submitter;
pub mod wire;

pub use manifest::{Manifest, ManifestError};
pub use refusal::{Refusal, RefusalCode};
pub use submitter::{SubmitterKey, SubmitterKeyError, SubmitterPublicKey};
pub use wire::{JobCredentials, JobReply, JobRequest, SealedReport, StoredObject, WireError};
