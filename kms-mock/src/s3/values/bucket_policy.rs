//! The policy of a bucket, with what is known of it since it was put.
//!
//! Source of truth: `crate::policy` for the language and for what is public. Its row in
//! the data directory is its text.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::policy::{Policy, PolicyKind};

/// A bucket's policy.
#[derive(Clone, Debug)]
pub(crate) struct BucketPolicy {
    policy: Arc<Policy>,
    is_public: bool,
}

impl BucketPolicy {
    /// Reads the policy of `bucket`; refuses in S3's words.
    pub(crate) fn parse(text: &str, bucket: &str) -> Result<Self, String> {
        Policy::parse_for_bucket(text, bucket).map(Self::of)
    }

    fn of(policy: Policy) -> Self {
        Self {
            is_public: policy.is_public(),
            policy: Arc::new(policy),
        }
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Whether it gives something to everybody.
    pub(crate) fn is_public(&self) -> bool {
        self.is_public
    }
}

impl PartialEq for BucketPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.policy.text() == other.policy.text()
    }
}

impl Eq for BucketPolicy {}

impl Serialize for BucketPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.policy.text())
    }
}

impl<'de> Deserialize<'de> for BucketPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let policy = Policy::parse(&text, PolicyKind::Bucket).map_err(D::Error::custom)?;
        Ok(Self::of(policy))
    }
}
