//! The state of the store, how a [`Change`] changes it, and what it costs.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use nsm_sim::clock::UnixMillis;

use super::{
    error::StoreError,
    page::PageRequest,
    records::{Found, Marks, Object, Part, Settings, Upload, Version, Versioning},
};
use crate::s3::values::{tags::Tags, version::VersionId};

/// What becomes of the store.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    BucketMade {
        bucket: String,
        account: String,
        region: String,
        created: UnixMillis,
        settings: Box<Settings>,
    },
    BucketGone {
        bucket: String,
    },
    VersioningSet {
        bucket: String,
        versioning: Versioning,
    },
    BucketTagged {
        bucket: String,
        tags: Tags,
    },
    BucketSetUp {
        bucket: String,
        settings: Box<Settings>,
    },
    /// A newest version; a null version takes the place of the earlier one.
    VersionMade {
        bucket: String,
        key: String,
        version: Version,
    },
    VersionGone {
        bucket: String,
        key: String,
        id: VersionId,
    },
    ObjectTagged {
        bucket: String,
        key: String,
        id: VersionId,
        tags: Tags,
    },
    ObjectMarked {
        bucket: String,
        key: String,
        id: VersionId,
        marks: Marks,
    },
    UploadMade {
        bucket: String,
        id: String,
        upload: Box<Upload>,
    },
    PartMade {
        bucket: String,
        id: String,
        number: u16,
        part: Part,
    },
    UploadGone {
        bucket: String,
        id: String,
    },
    AllGone,
}

/// What a version, a part or an upload costs beside its bytes, so that empty
/// ones do not fill the memory unseen.
const ENTRY_BYTES: u64 = 256;

/// All buckets of one world.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) by_name: BTreeMap<String, Bucket>,
    pub(crate) bytes: u64,
    /// Versions ever made: their order in the data directory.
    pub(crate) made: u64,
}

/// A bucket with all that is in it.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) created: UnixMillis,
    /// Owning account.
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) versioning: Versioning,
    pub(crate) tags: Tags,
    pub(crate) settings: Settings,
    /// Versions of each key, the newest last; never empty.
    pub(crate) keys: BTreeMap<String, Vec<Version>>,
    pub(crate) uploads: BTreeMap<String, Upload>,
}

/// What a change adds to the bytes kept.
pub(crate) fn cost(change: &Change) -> u64 {
    match change {
        Change::VersionMade { key, version, .. } => version_cost(key, version),
        Change::UploadMade { upload, .. } => upload_cost(upload),
        Change::PartMade { part, .. } => part_cost(part),
        _ => 0,
    }
}

pub(crate) fn version_cost(key: &str, version: &Version) -> u64 {
    let object = version.object.as_ref();
    let object = object.map_or(0, |it| it.content.len() + it.description.metadata.size());
    ENTRY_BYTES + key.len() as u64 + object
}

pub(crate) fn part_cost(part: &Part) -> u64 {
    ENTRY_BYTES + part.content.len()
}

pub(crate) fn upload_cost(upload: &Upload) -> u64 {
    ENTRY_BYTES + upload.key.len() as u64 + upload.description.metadata.size()
}

impl Buckets {
    pub(crate) fn bucket(&self, name: &str) -> Result<&Bucket, StoreError> {
        let found = self.by_name.get(name);
        found.ok_or_else(|| StoreError::NoSuchBucket(name.to_owned()))
    }

    /// The newest version that a PUT (or with `None` a DELETE) makes, and its id
    /// where the bucket has versions.
    pub(crate) fn new_version(
        &self,
        bucket: &str,
        key: &str,
        object: Option<Arc<Object>>,
        now: UnixMillis,
    ) -> Result<(Change, Option<VersionId>), StoreError> {
        let versioning = self.bucket(bucket)?.versioning;
        let id = match versioning {
            Versioning::Never | Versioning::Suspended => VersionId::Null,
            Versioning::Enabled => VersionId::fresh(),
        };
        let shown = (versioning != Versioning::Never).then(|| id.clone());
        let version = Version {
            id,
            modified: now,
            object,
        };
        let change = Change::VersionMade {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version,
        };
        Ok((change, shown))
    }

    /// The bytes of what a change replaces.
    pub(crate) fn freed_by(&self, change: &Change) -> u64 {
        let freed = match change {
            Change::VersionMade {
                bucket,
                key,
                version,
            } if version.id == VersionId::Null => self.by_name.get(bucket).and_then(|it| {
                it.version(key, &VersionId::Null)
                    .map(|it| version_cost(key, it))
            }),
            Change::PartMade {
                bucket, id, number, ..
            } => self
                .by_name
                .get(bucket)
                .and_then(|it| it.uploads.get(id)?.parts.get(number).map(part_cost)),
            _ => None,
        };
        freed.unwrap_or(0)
    }

    pub(crate) fn apply(&mut self, change: Change) {
        self.bytes = self
            .bytes
            .saturating_sub(self.freed_by(&change))
            .saturating_add(cost(&change));
        match change {
            Change::BucketMade {
                bucket,
                account,
                region,
                created,
                settings,
            } => {
                let made = Bucket {
                    created,
                    account,
                    region,
                    versioning: settings.first_versioning(),
                    tags: Tags::default(),
                    settings: *settings,
                    keys: BTreeMap::new(),
                    uploads: BTreeMap::new(),
                };
                self.by_name.insert(bucket, made);
            }
            Change::BucketGone { bucket } => {
                if let Some(gone) = self.by_name.remove(&bucket) {
                    let uploads = gone.uploads.values().map(whole_upload_cost);
                    self.bytes = self.bytes.saturating_sub(uploads.sum());
                }
            }
            Change::VersioningSet { bucket, versioning } => {
                if let Some(bucket) = self.by_name.get_mut(&bucket) {
                    bucket.versioning = versioning;
                }
            }
            Change::BucketTagged { bucket, tags } => {
                if let Some(bucket) = self.by_name.get_mut(&bucket) {
                    bucket.tags = tags;
                }
            }
            Change::BucketSetUp { bucket, settings } => {
                if let Some(bucket) = self.by_name.get_mut(&bucket) {
                    bucket.settings = *settings;
                }
            }
            Change::VersionMade {
                bucket,
                key,
                version,
            } => {
                if let Some(bucket) = self.by_name.get_mut(&bucket) {
                    let versions = bucket.keys.entry(key).or_default();
                    versions.retain(|it| it.id != version.id);
                    versions.push(version);
                    self.made += 1;
                }
            }
            Change::VersionGone { bucket, key, id } => self.forget_version(&bucket, &key, &id),
            Change::ObjectTagged {
                bucket,
                key,
                id,
                tags,
            } => {
                if let Some(object) = self.object_mut(&bucket, &key, &id) {
                    object.description.tags = tags;
                }
            }
            Change::ObjectMarked {
                bucket,
                key,
                id,
                marks,
            } => {
                if let Some(object) = self.object_mut(&bucket, &key, &id) {
                    object.description.marks = marks;
                }
            }
            Change::UploadMade { bucket, id, upload } => {
                if let Some(bucket) = self.by_name.get_mut(&bucket) {
                    bucket.uploads.insert(id, *upload);
                }
            }
            Change::PartMade {
                bucket,
                id,
                number,
                part,
            } => {
                let bucket = self.by_name.get_mut(&bucket);
                if let Some(upload) = bucket.and_then(|it| it.uploads.get_mut(&id)) {
                    upload.parts.insert(number, part);
                }
            }
            Change::UploadGone { bucket, id } => {
                let bucket = self.by_name.get_mut(&bucket);
                if let Some(gone) = bucket.and_then(|it| it.uploads.remove(&id)) {
                    self.bytes = self.bytes.saturating_sub(whole_upload_cost(&gone));
                }
            }
            Change::AllGone => *self = Self::default(),
        }
    }

    fn object_mut(&mut self, bucket: &str, key: &str, id: &VersionId) -> Option<&mut Object> {
        let versions = self.by_name.get_mut(bucket)?.keys.get_mut(key)?;
        let version = versions.iter_mut().find(|it| it.id == *id)?;
        version.object.as_mut().map(Arc::make_mut)
    }

    pub(crate) fn forget_version(&mut self, bucket: &str, key: &str, id: &VersionId) {
        let Some(bucket) = self.by_name.get_mut(bucket) else {
            return;
        };
        let Some(versions) = bucket.keys.get_mut(key) else {
            return;
        };
        if let Some(at) = versions.iter().position(|it| it.id == *id) {
            let gone = versions.remove(at);
            self.bytes = self.bytes.saturating_sub(version_cost(key, &gone));
        }
        if versions.is_empty() {
            bucket.keys.remove(key);
        }
    }
}

pub(crate) fn whole_upload_cost(upload: &Upload) -> u64 {
    upload_cost(upload) + upload.parts.values().map(part_cost).sum::<u64>()
}

impl Bucket {
    pub(crate) fn version(&self, key: &str, id: &VersionId) -> Option<&Version> {
        self.keys.get(key)?.iter().find(|it| it.id == *id)
    }

    /// The newest version, if it is an object.
    pub(crate) fn current(&self, key: &str) -> Result<(&Version, &Arc<Object>), StoreError> {
        let newest = self.keys.get(key).and_then(|versions| versions.last());
        let newest = newest.ok_or_else(|| StoreError::NoSuchKey(key.to_owned()))?;
        match &newest.object {
            Some(object) => Ok((newest, object)),
            None => Err(StoreError::Deleted(key.to_owned(), newest.id.clone())),
        }
    }

    pub(crate) fn find(&self, key: &str, id: Option<&VersionId>) -> Result<Found, StoreError> {
        let (version, object) = match id {
            None => self.current(key)?,
            Some(id) => {
                let version = self
                    .version(key, id)
                    .ok_or_else(|| StoreError::NoSuchVersion(key.to_owned(), id.clone()))?;
                match &version.object {
                    Some(object) => (version, object),
                    None => return Err(StoreError::IsDeleteMarker(id.clone())),
                }
            }
        };
        Ok(Found {
            id: version.id.clone(),
            modified: version.modified,
            object: Arc::clone(object),
            versioned: self.versioning != Versioning::Never,
        })
    }

    pub(crate) fn upload(&self, key: &str, id: &str) -> Result<&Upload, StoreError> {
        let upload = self.uploads.get(id).filter(|it| it.key == key);
        upload.ok_or_else(|| StoreError::NoSuchUpload(id.to_owned()))
    }

    /// Keys after the page before that begin with the prefix.
    pub(crate) fn from<'s>(
        &'s self,
        asked: &PageRequest<'s>,
    ) -> impl Iterator<Item = (&'s str, &'s Vec<Version>)> + use<'s> {
        let PageRequest { prefix, after, .. } = *asked;
        let from = if prefix > after {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        self.keys
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(key, versions)| (key.as_str(), versions))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}
