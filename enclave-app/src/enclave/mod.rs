//! Inside the enclave: attested KMS calls, the job pipeline and the accept loop.
//!
//! In reading order:
//! - [`config`]: what the image's measurement vouches for
//! - [`nsm`]: the security module, through AWS's own driver
//! - [`keys`]: one RSA key for one KMS call
//! - [`cms`]: what KMS encrypts to that key
//! - [`transport`]: TLS that ends in here, over whatever the parent forwards
//! - [`kms`]: the two calls, and what is refused of their answers
//! - [`pipeline`]: one job from request to receipt
//! - [`serve`]: connections from the parent
//!
//! Source of truth for what is refused and why: the attack table of ground truth
//! KMS §6.

pub mod cms;
pub mod config;
pub mod keys;
pub mod kms;
pub mod nsm;
pub mod pipeline;
pub mod serve;
pub mod steps;
pub mod transport;
