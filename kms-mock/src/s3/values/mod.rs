//! What S3 speaks of: content and its checksums, versions, tags, metadata, locks,
//! access lists, bucket policies, cross-origin rules.
//!
//! Each value is read from the protocol's types, shown in them, and is its own row
//! of the data directory: a member that is added to one needs `#[serde(default)]`.
//! Nothing here knows the store or an operation.

pub(crate) mod access;
pub(crate) mod bucket_policy;
pub(crate) mod checksum;
pub(crate) mod content;
pub(crate) mod cors;
pub(crate) mod dates;
pub(crate) mod lock;
pub(crate) mod metadata;
pub(crate) mod storage_class;
pub(crate) mod tags;
pub(crate) mod version;
