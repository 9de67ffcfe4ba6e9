//! The reference application of an attested image analysis: `enclave-app` runs
//! inside a Nitro Enclave, `enclave-parent` on the instance around it. Both ship
//! to production as they are; neither knows whether the enclave is simulated.
//!
//! In reading order:
//! - [`job`]: what the parent hands over, and the signed manifest that says what
//!   may be done with it
//! - [`vsock`]: how it travels
//! - [`envelope`]: the Amazon S3 Encryption Client format of objects and results
//! - [`enclave`]: attested KMS calls, the job pipeline and the accept loop
//! - [`image`] and [`model`]: what happens to the plaintext
//! - [`parent`]: the bridge, S3 and the jobs on the untrusted side
//! - [`clock`]: the one place that asks the machine for the time
//! - [`causes`]: an error as the operator reads it
//!
//! What the enclave trusts is measured into its image ([`enclave::config`]); what
//! the parent says is checked or irrelevant. This crate does not model anything:
//! it is the thing under test.

#![forbid(unsafe_code)]

pub mod causes;
pub mod clock;
pub mod enclave;
pub mod envelope;
pub mod image;
pub mod job;
pub mod model;
pub mod parent;
pub mod vsock;
