//! The verbs of `nsm-sim`, one a file.

pub(crate) mod ca;
#[cfg(target_os = "linux")]
pub(crate) mod doctor;
pub(crate) mod eif;
#[cfg(target_os = "linux")]
mod enclave;
#[cfg(target_os = "linux")]
mod profile;
#[cfg(target_os = "linux")]
pub(crate) mod run;
pub(crate) mod verify;
