//! Aliases: names of keys that can be moved from one key to another.
//!
//! Source of truth: AWS KMS developer guide, "Aliases in AWS KMS".

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

/// An alias.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    pub(crate) target: Arc<str>,
    pub(crate) created: UnixMillis,
    pub(crate) updated: UnixMillis,
}
