//! What the store keeps: settings of buckets, objects and their versions, uploads
//! and their parts.

use std::{collections::BTreeMap, sync::Arc};

use nsm_sim::clock::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::s3::values::{
    access::{CannedAcl, Ownership, PublicAccessBlock},
    bucket_policy::BucketPolicy,
    checksum::{Algorithm, ChecksumType, Checksums, Digest},
    content::Content,
    cors::CorsRule,
    lock::{BucketLock, Lock},
    metadata::UserMetadata,
    tags::Tags,
    version::VersionId,
};

/// What a client says of an object beside its bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Description {
    /// User metadata, values as they came.
    pub(crate) metadata: UserMetadata,
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    #[serde(with = "crate::s3::values::dates::seconds")]
    pub(crate) expires: Option<s3s::dto::Timestamp>,
    pub(crate) website_redirect: Option<String>,
    /// Other than STANDARD, which is not shown.
    pub(crate) storage_class: Option<String>,
    pub(crate) tags: Tags,
    #[serde(default)]
    pub(crate) marks: Marks,
}

/// What may be set on a version after it was made, beside tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Marks {
    pub(crate) lock: Lock,
    pub(crate) acl: CannedAcl,
}

/// One stored object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) content: Content,
    pub(crate) description: Description,
    /// In hex, without quotes: the MD5, or that of the parts and their count.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
    /// Of an object that was uploaded in parts.
    pub(crate) parts: Vec<FinishedPart>,
    /// The upload that made it, which may be completed again to no effect.
    pub(crate) upload_id: Option<String>,
}

/// A part of a finished object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FinishedPart {
    pub(crate) number: u16,
    pub(crate) size: u64,
    pub(crate) checksums: Checksums,
}

/// A version of a key: an object, or `None` for a delete marker.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: VersionId,
    pub(crate) modified: UnixMillis,
    pub(crate) object: Option<Arc<Object>>,
}

/// An object and the version it is.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: VersionId,
    pub(crate) modified: UnixMillis,
    pub(crate) object: Arc<Object>,
    /// Whether the bucket ever had versioning: then answers name the version.
    pub(crate) versioned: bool,
}

/// What a bucket is set up with beside versioning and tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// `None` without object lock.
    pub(crate) lock: Option<BucketLock>,
    pub(crate) cors: Vec<CorsRule>,
    /// `None` once it was deleted.
    pub(crate) ownership: Option<Ownership>,
    pub(crate) public_access: Option<PublicAccessBlock>,
    pub(crate) acl: CannedAcl,
    /// Whether the default encryption asks for a bucket key, which is of no use
    /// without KMS.
    pub(crate) bucket_key: bool,
    pub(crate) policy: Option<BucketPolicy>,
}

/// Versioning of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Versioning {
    #[default]
    Never,
    Enabled,
    Suspended,
}

/// An upload in parts, under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) key: String,
    pub(crate) description: Description,
    pub(crate) account: String,
    #[serde(with = "crate::s3::values::dates::millis")]
    pub(crate) initiated: UnixMillis,
    /// Whether there was an object of the key when it began.
    #[serde(default)]
    pub(crate) replaces: bool,
    /// What the client chose, or nothing: then S3 makes a CRC64NVME.
    pub(crate) checksum: Option<(Algorithm, ChecksumType)>,
    /// Kept each for itself.
    #[serde(skip)]
    pub(crate) parts: BTreeMap<u16, Part>,
}

/// A part that has arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) content: Content,
    #[serde(rename = "etag")]
    pub(crate) md5: Digest,
    pub(crate) checksums: Checksums,
    #[serde(with = "crate::s3::values::dates::millis")]
    pub(crate) modified: UnixMillis,
}

impl Default for Settings {
    /// Those of a bucket that was made without more words.
    fn default() -> Self {
        Self {
            lock: None,
            cors: Vec::new(),
            ownership: Some(Ownership::default()),
            public_access: Some(PublicAccessBlock::ALL),
            acl: CannedAcl::default(),
            bucket_key: false,
            policy: None,
        }
    }
}

impl Settings {
    /// Object lock begins with versions.
    pub(crate) fn first_versioning(&self) -> Versioning {
        match self.lock {
            Some(_) => Versioning::Enabled,
            None => Versioning::Never,
        }
    }
}

impl Found {
    /// The version for an answer: none where the bucket never had any.
    pub(crate) fn shown_id(&self) -> Option<String> {
        self.versioned.then(|| self.id.as_str().to_owned())
    }
}

impl Description {
    /// S3 shows a type even if none was given.
    pub(crate) fn shown_content_type(&self) -> Option<String> {
        let given = self.content_type.clone();
        Some(given.unwrap_or_else(|| "binary/octet-stream".to_owned()))
    }

    /// Listings name the class that other answers leave out.
    pub(crate) fn listed_storage_class(&self) -> String {
        let class = self.storage_class.as_deref();
        class.unwrap_or(s3s::dto::StorageClass::STANDARD).to_owned()
    }
}
