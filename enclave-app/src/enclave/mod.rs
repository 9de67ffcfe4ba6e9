//! Inside the enclave: attested KMS calls, the job pipeline and the accept loop.
//!
//! In reading order:
//! - [`config`]: what the image's measurement vouches for
//! - [`start`]: what is looked at before the first job
//! - [`nsm`]: the security module, through AWS's own driver
//! - [`keys`]: one RSA key for one KMS call
//! - [`cms`]: what KMS encrypts to that key
//! - [`transport`]: TLS that ends in here, over whatever the parent forwards
//! - [`kms`]: the two calls, and what is refused of their answers
//! - [`worker`]: processes that decode one image each
//! - [`examine`]: an image's way to findings or to a refusal
//! - [`memory`]: which jobs were run
//! - [`pipeline`]: one job from request to receipt
//! - [`report`], [`answer`]: what the clinician reads, and what may leave
//! - [`serve`]: connections from the parent
//! - [`log`], [`steps`]: what may be said on the console
//!
//! Source of truth for what is refused and why: the attack table of ground truth
//! KMS §6.

pub mod answer;
pub mod cms;
pub mod config;
pub mod examine;
pub mod keys;
pub mod kms;
pub mod log;
pub mod memory;
pub mod nsm;
pub mod pipeline;
pub mod report;
pub mod serve;
pub mod start;
pub mod steps;
pub mod transport;
pub mod worker;
