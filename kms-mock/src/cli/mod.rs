//! The verbs of the `kms-mock` binary, one a file.

pub(crate) mod explain;
pub(crate) mod policy;
pub(crate) mod serve;
pub(crate) mod verdict;
