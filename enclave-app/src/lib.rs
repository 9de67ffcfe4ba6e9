//! The reference application: what runs inside the enclave and what stands beside it.
//!
//! - [`image`]: bytes of an upload to a gray image, and to the model's input.
//! - [`model`]: the network that reads it.

pub mod image;
pub mod model;
