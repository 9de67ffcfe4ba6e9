//! The parent instance's half: everything an enclave cannot do for itself,
//! because it has no network, no disk and no role.
//!
//! - [`bridge`]: carries the enclave's TLS to KMS, without being able to read it
//! - [`credentials`]: the instance's AWS credentials, which it lends the enclave
//! - [`s3`]: fetches encrypted objects and stores encrypted results, at an
//!   [`endpoint`]
//! - [`submit`]: one job, from object to stored result and receipt
//! - [`queue`]: many jobs, as JSON lines
//! - [`journal`]: what was taken on and how it ended, across a kill
//!
//! The enclave trusts none of it. A parent that is slow, wrong or hostile can
//! keep a job from running; it can neither read an image or a finding nor pass
//! off one of its own. It must still be robust, because it is what operators see.

pub mod bridge;
pub mod credentials;
pub mod endpoint;
pub mod journal;
pub mod queue;
pub mod s3;
pub mod submit;
