//! The verbs of `nsm-sim`, one a file.

pub(crate) mod ca;
pub(crate) mod eif;
pub(crate) mod verify;
