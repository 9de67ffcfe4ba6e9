//! What the store keeps: objects and their versions, uploads and their parts.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nsm_sim::clock::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::s3::{
    access::{CannedAcl, Ownership, PublicAccessBlock},
    checksum::{Algorithm, Checksums, Of},
    content::Content,
    cors::CorsRule,
    lock::{BucketLock, Lock},
    metadata::UserMetadata,
    tags::Tags,
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
    #[serde(with = "crate::s3::keep::seconds")]
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

/// `null`, or an id of this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VersionId {
    Null,
    Id(String),
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
    #[serde(with = "crate::s3::keep::millis")]
    pub(crate) initiated: UnixMillis,
    /// Whether there was an object of the key when it began.
    #[serde(default)]
    pub(crate) replaces: bool,
    /// What the client chose, or nothing: then S3 makes a CRC64NVME.
    pub(crate) checksum: Option<(Algorithm, Of)>,
    /// Kept each for itself.
    #[serde(skip)]
    pub(crate) parts: BTreeMap<u16, Part>,
}

/// A part that has arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) content: Content,
    /// MD5 in hex.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
    #[serde(with = "crate::s3::keep::millis")]
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

impl VersionId {
    /// A new one: 32 letters, digits, `-` and `_`, the last of which check the
    /// others.
    pub(super) fn fresh() -> Self {
        let random = rand::random::<[u8; 18]>();
        let check = Self::check_of(&random);
        Self::Id(URL_SAFE_NO_PAD.encode([random.as_slice(), &check].concat()))
    }

    fn check_of(random: &[u8]) -> [u8; 6] {
        let digest = digest::digest(&digest::SHA256, random);
        let mut check = [0; 6];
        for (to, from) in check.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        check
    }

    /// Whether this store may ever have given it; S3 refuses other ids apart.
    pub(crate) fn is_of_this_store(&self) -> bool {
        let Self::Id(id) = self else { return true };
        let bytes = URL_SAFE_NO_PAD.decode(id).unwrap_or_default();
        let parts = bytes.split_at_checked(18);
        parts.is_some_and(|(random, check)| check == Self::check_of(random))
    }

    /// Reads `versionId`; `None` for what can be no id of this store.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let of_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (text.len() == 32 && text.bytes().all(of_alphabet)).then(|| Self::Id(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Id(id) => id,
        }
    }
}

impl Found {
    /// The version for an answer: none where the bucket never had any.
    pub(crate) fn shown_id(&self) -> Option<String> {
        self.versioned.then(|| self.id.as_str().to_owned())
    }
}
