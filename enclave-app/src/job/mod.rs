//! What parent and enclave say to each other about one job.
//!
//! [`manifest`] is the submitter's signed order: the only part the enclave
//! trusts. [`wire`] is the parent's untrusted envelope around it.

pub mod manifest;
mod submitter;
pub mod wire;

pub use manifest::{Manifest, ManifestError};
pub use submitter::{SubmitterKey, SubmitterKeyError, SubmitterPublicKey};
pub use wire::{JobCredentials, JobReply, JobRequest, RefusalCode, StoredObject, WireError};
