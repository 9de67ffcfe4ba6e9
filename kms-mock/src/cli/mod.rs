//! The verbs of the `kms-mock` binary, one a file.

pub(crate) mod serve;
