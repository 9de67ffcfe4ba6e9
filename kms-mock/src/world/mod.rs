//! What everything in a world is called by: ARNs, principals and their unique ids, request
//! ids, and the randomness that a seed repeats.
//!
//! Source of truth: ground truth KMS §4; IAM user guide, "IAM identifiers".

pub(crate) mod arn;
pub(crate) mod directory;
pub(crate) mod entropy;
pub mod principal;
pub(crate) mod request_id;

pub use request_id::RequestId;
