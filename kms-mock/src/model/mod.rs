//! The service models as data: which operations KMS has and what each may be asked
//! for, which kinds of keys there are and what each can do, which Regions there are;
//! which permissions the operations of S3 need.
//!
//! Source of truth: the KMS service model (version 2014-11-01) and AWS's service
//! authorization reference. Nothing here decides anything: the evaluator, the
//! prover and the operations read it.

pub(crate) mod condition_key;
pub(crate) mod operation;
pub(crate) mod region;
pub(crate) mod s3_operation;
pub(crate) mod spec;
