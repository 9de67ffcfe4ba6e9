//! Whole worlds from outside: the command people remember, unmodified clients
//! against the cloud of a lab, and the corpus through the main job.
//!
//! Reading order: `demo_command`, `up_command`, `conformance_command`, `attack_command`
//! (commands), `sdk_rust`, `sdk_keys`, `s3_encryption_client`,
//! `clinician_with_official_client` (clients), `corpus_images`,
//! `parents_permissions`, `secrets_stay_inside`, `tokio_vsock`, `strangers_project` (promises).

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests, too

mod attack_command;
#[path = "../../../kms-mock/tests/clients/mod.rs"]
mod clients;
mod clinician_with_official_client;
mod conformance_command;
mod corpus_images;
mod demo_command;
mod hostile_images;
mod many_jobs;
mod parents_permissions;
mod s3_encryption_client;
mod sdk_keys;
mod sdk_rust;
mod secrets_stay_inside;
mod strangers_project;
#[cfg(target_os = "linux")]
mod tokio_vsock;
mod up_command;
