//! The operations, one file a family.
//!
//! Source of truth: the KMS service model; what is said in each file.

pub(crate) mod alias;
pub(crate) mod crypt;
pub(crate) mod custom_key_store;
pub(crate) mod data_key;
pub(crate) mod data_key_pair;
pub(crate) mod encapsulate;
pub(crate) mod grant;
pub(crate) mod grant_list;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod key_policy;
pub(crate) mod last_usage;
pub(crate) mod mac;
pub(crate) mod multi_region;
pub(crate) mod public_key;
pub(crate) mod random;
pub(crate) mod rotation;
pub(crate) mod shared_secret;
pub(crate) mod sign;
pub(crate) mod tag;
