//! Buckets, objects with their versions, and uploads under way, in memory.
//!
//! Models S3's strong read-after-write consistency, the UTF-8 order of keys, and
//! versioning: a bucket that never had it keeps one version a key, the null
//! version. Every change goes through [`Store::commit`] as [`Change`]s, which say
//! what became of the store and not who asked for it.

use std::{
    collections::BTreeMap,
    ops::{Bound, Deref},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use nsm_sim::clock::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{
    checksum::{Algorithm, Checksums, Of},
    content::Content,
    keep,
    metadata::UserMetadata,
    tags::Tags,
};
use crate::store::{Journal, Unwritten};

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
    #[serde(with = "super::keep::seconds")]
    pub(crate) expires: Option<s3s::dto::Timestamp>,
    pub(crate) website_redirect: Option<String>,
    /// Other than STANDARD, which is not shown.
    pub(crate) storage_class: Option<String>,
    pub(crate) tags: Tags,
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
    #[serde(with = "super::keep::millis")]
    pub(crate) initiated: UnixMillis,
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
    #[serde(with = "super::keep::millis")]
    pub(crate) modified: UnixMillis,
}

/// What becomes of the store.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    BucketMade {
        bucket: String,
        account: String,
        region: String,
        created: UnixMillis,
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

/// Why the store refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreError {
    NoSuchBucket(String),
    NoSuchKey(String),
    /// The newest version of the key is this delete marker.
    Deleted(String, VersionId),
    NoSuchVersion(String, VersionId),
    /// The version asked for is a delete marker.
    IsDeleteMarker(VersionId),
    NoSuchUpload(String),
    BucketNotEmpty(String),
    OwnedByYou(String),
    OwnedByAnother(String),
    TooManyUploads,
    Full,
    PreconditionFailed(&'static str),
    /// The data directory could not be written; nothing was changed.
    Unwritten(Unwritten),
}

impl From<Unwritten> for StoreError {
    fn from(unwritten: Unwritten) -> Self {
        Self::Unwritten(unwritten)
    }
}

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<(String, T)>,
    pub(crate) common_prefixes: Vec<String>,
    /// The last key or prefix given, if there is more.
    pub(crate) next: Option<String>,
}

/// What is asked of a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) delimiter: Option<&'a str>,
    /// The last key or prefix of the page before.
    pub(crate) after: &'a str,
    /// Keys and common prefixes together.
    pub(crate) max: usize,
}

/// Uploads under way in one bucket; S3 has no limit, memory has.
const UPLOADS_PER_BUCKET_MAX: usize = 10_000;
/// What a version, a part or an upload costs beside its bytes, so that empty
/// ones do not fill the memory unseen.
const ENTRY_BYTES: u64 = 256;

/// All buckets of one world.
#[derive(Debug)]
pub(crate) struct Store {
    inner: RwLock<Inner>,
    /// Held while a change is computed and written.
    changing: Mutex<()>,
    journal: Journal,
    bytes_max: u64,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    buckets: BTreeMap<String, Bucket>,
    bytes: u64,
    /// Versions ever made: their order in the data directory.
    pub(super) made: u64,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) created: UnixMillis,
    /// Owning account.
    pub(super) account: String,
    pub(super) region: String,
    pub(super) versioning: Versioning,
    pub(super) tags: Tags,
    /// Versions of each key, the newest last; never empty.
    keys: BTreeMap<String, Vec<Version>>,
    uploads: BTreeMap<String, Upload>,
}

impl Store {
    /// Empty; changes go by `journal`.
    pub(crate) fn new(bytes_max: u64, journal: Journal) -> Self {
        Self {
            inner: RwLock::default(),
            changing: Mutex::default(),
            journal,
            bytes_max,
        }
    }

    /// Makes a bucket.
    pub(crate) fn create_bucket(
        &self,
        name: &str,
        (account, region): (&str, &str),
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        match inner.buckets.get(name) {
            Some(bucket) if bucket.account == account => {
                Err(StoreError::OwnedByYou(name.to_owned()))
            }
            Some(_) => Err(StoreError::OwnedByAnother(name.to_owned())),
            None => {
                let change = Change::BucketMade {
                    bucket: name.to_owned(),
                    account: account.to_owned(),
                    region: region.to_owned(),
                    created: now,
                };
                self.commit(&mut inner, [change])
            }
        }
    }

    /// Forgets an empty bucket; uploads under way do not keep it.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut inner = self.write();
        if !inner.bucket(name)?.keys.is_empty() {
            return Err(StoreError::BucketNotEmpty(name.to_owned()));
        }
        let bucket = name.to_owned();
        self.commit(&mut inner, [Change::BucketGone { bucket }])
    }

    pub(crate) fn set_versioning(
        &self,
        name: &str,
        versioning: Versioning,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        inner.bucket(name)?;
        let bucket = name.to_owned();
        self.commit(&mut inner, [Change::VersioningSet { bucket, versioning }])
    }

    pub(crate) fn tag_bucket(&self, name: &str, tags: Tags) -> Result<(), StoreError> {
        let mut inner = self.write();
        inner.bucket(name)?;
        let bucket = name.to_owned();
        self.commit(&mut inner, [Change::BucketTagged { bucket, tags }])
    }

    /// Stores `object` as the newest version if `check` agrees with what is
    /// there now. Answers with the new version if the bucket has versions.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        now: UnixMillis,
        check: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Option<VersionId>, StoreError> {
        let mut inner = self.write();
        check(inner.bucket(bucket)?.current(key).ok().map(|it| &**it.1))?;
        let (change, id) = inner.new_version(bucket, key, Some(Arc::new(object)), now)?;
        self.make_room(&inner, &change)?;
        self.commit(&mut inner, [change])?;
        Ok(id)
    }

    /// Deletes a key: its only version, or by a delete marker where there are
    /// versions. That the key was not there is no error. Answers with the
    /// delete marker.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        now: UnixMillis,
        check: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Option<VersionId>, StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(bucket)?;
        check(found.current(key).ok().map(|it| &**it.1))?;
        if found.versioning == Versioning::Never {
            let gone = found.keys.contains_key(key).then(|| Change::VersionGone {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                id: VersionId::Null,
            });
            self.commit(&mut inner, gone)?;
            return Ok(None);
        }
        let (change, id) = inner.new_version(bucket, key, None, now)?;
        self.make_room(&inner, &change)?;
        self.commit(&mut inner, [change])?;
        Ok(id)
    }

    /// Forgets one version for good. Answers whether it was a delete marker.
    pub(crate) fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        id: &VersionId,
    ) -> Result<bool, StoreError> {
        let mut inner = self.write();
        let Some(version) = inner.bucket(bucket)?.version(key, id) else {
            return Ok(false);
        };
        let was_marker = version.object.is_none();
        let change = Change::VersionGone {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            id: id.clone(),
        };
        self.commit(&mut inner, [change])?;
        Ok(was_marker)
    }

    /// Sets the tags of an object; answers with what it is.
    pub(crate) fn tag_object(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
        tags: Tags,
    ) -> Result<Found, StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(bucket)?.find(key, id)?;
        let change = Change::ObjectTagged {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            id: found.id.clone(),
            tags,
        };
        self.commit(&mut inner, [change])?;
        Ok(found)
    }

    /// Begins an upload in parts.
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        id: &str,
        upload: Upload,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        if inner.bucket(bucket)?.uploads.len() >= UPLOADS_PER_BUCKET_MAX {
            return Err(StoreError::TooManyUploads);
        }
        let change = Change::UploadMade {
            bucket: bucket.to_owned(),
            id: id.to_owned(),
            upload: Box::new(upload),
        };
        self.make_room(&inner, &change)?;
        self.commit(&mut inner, [change])
    }

    /// Stores a part; one of the same number is replaced.
    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: u16,
        part: Part,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        inner.bucket(bucket)?.upload(key, id)?;
        let change = Change::PartMade {
            bucket: bucket.to_owned(),
            id: id.to_owned(),
            number,
            part,
        };
        self.make_room(&inner, &change)?;
        self.commit(&mut inner, [change])
    }

    /// Gives up an upload and its parts.
    pub(crate) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), StoreError> {
        let mut inner = self.write();
        inner.bucket(bucket)?.upload(key, id)?;
        let change = Change::UploadGone {
            bucket: bucket.to_owned(),
            id: id.to_owned(),
        };
        self.commit(&mut inner, [change])
    }

    /// Makes `object`, put together from the parts of an upload, the newest
    /// version of its key, and ends the upload.
    pub(crate) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        object: Arc<Object>,
        now: UnixMillis,
        check: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Option<VersionId>, StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(bucket)?;
        found.upload(key, id)?;
        check(found.current(key).ok().map(|it| &**it.1))?;
        let (made, version_id) = inner.new_version(bucket, key, Some(object), now)?;
        let ended = Change::UploadGone {
            bucket: bucket.to_owned(),
            id: id.to_owned(),
        };
        self.commit(&mut inner, [ended, made])?;
        Ok(version_id)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<(), Unwritten> {
        self.write().make([Change::AllGone])
    }

    /// The owner of a bucket.
    pub(crate) fn owner(&self, name: &str) -> Result<String, StoreError> {
        Ok(self.read().bucket(name)?.account.clone())
    }

    /// The Region that a bucket is in.
    pub(crate) fn region(&self, name: &str) -> Result<String, StoreError> {
        Ok(self.read().bucket(name)?.region.clone())
    }

    /// Name, Region and creation of each bucket of `account`, by name.
    pub(crate) fn buckets(&self, account: &str) -> Vec<(String, String, UnixMillis)> {
        let inner = self.read();
        let own = inner
            .buckets
            .iter()
            .filter(|(_, bucket)| bucket.account == account);
        own.map(|(name, bucket)| (name.clone(), bucket.region.clone(), bucket.created))
            .collect()
    }

    pub(crate) fn versioning(&self, name: &str) -> Result<Versioning, StoreError> {
        Ok(self.read().bucket(name)?.versioning)
    }

    pub(crate) fn bucket_tags(&self, name: &str) -> Result<Tags, StoreError> {
        Ok(self.read().bucket(name)?.tags.clone())
    }

    /// The version asked for, or the newest.
    pub(crate) fn get(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
    ) -> Result<Found, StoreError> {
        self.read().bucket(bucket)?.find(key, id)
    }

    /// An upload as it is now; the bytes of its parts are shared.
    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, StoreError> {
        self.read().bucket(bucket)?.upload(key, id).cloned()
    }

    /// The object that an upload has made already.
    pub(crate) fn finished_upload(&self, bucket: &str, key: &str, id: &str) -> Option<Found> {
        let inner = self.read();
        let bucket = inner.bucket(bucket).ok()?;
        let of_upload = |version: &&Version| {
            let object = version.object.as_ref();
            object.is_some_and(|it| it.upload_id.as_deref() == Some(id))
        };
        let version = bucket.keys.get(key)?.iter().find(of_upload)?;
        bucket.find(key, Some(&version.id)).ok()
    }

    /// Objects by key.
    pub(crate) fn list(
        &self,
        bucket: &str,
        asked: &Asked<'_>,
    ) -> Result<Page<(UnixMillis, Arc<Object>)>, StoreError> {
        let inner = self.read();
        let keys = inner.bucket(bucket)?.from(asked);
        let objects = keys.filter_map(|(key, versions)| {
            let newest = versions.last()?;
            let object = Arc::clone(newest.object.as_ref()?);
            Some((key, (newest.modified, object)))
        });
        Ok(page(objects, asked, asked.after))
    }

    /// Versions by key, the newest first, and whether each is the newest.
    /// `after_version` is the last one given of the key `after`.
    pub(crate) fn list_versions(
        &self,
        bucket: &str,
        asked: &Asked<'_>,
        after_version: Option<&VersionId>,
    ) -> Result<Page<(bool, Version)>, StoreError> {
        let inner = self.read();
        let found = inner.bucket(bucket)?;
        let first = after_version.and_then(|id| {
            let (key, versions) = found.keys.get_key_value(asked.after)?;
            let at = versions.iter().position(|it| it.id == *id)?;
            Some((key.as_str(), versions.get(..at)?, false))
        });
        let rest = found.from(asked);
        let rest = rest.map(|(key, versions)| (key, versions.as_slice(), true));
        let versions = first
            .into_iter()
            .chain(rest)
            .flat_map(|(key, versions, with_newest)| {
                let newest = if with_newest {
                    versions.len()
                } else {
                    usize::MAX
                };
                let numbered = versions.iter().enumerate().rev();
                numbered.map(move |(i, it)| (key, (i + 1 == newest, it.clone())))
            });
        // A key whose versions go on is not a group that was given already.
        let after_group = if after_version.is_some() {
            ""
        } else {
            asked.after
        };
        Ok(page(versions, asked, after_group))
    }

    /// Uploads under way by key, the oldest first. `after_upload` is the last
    /// one given of the key `after`.
    pub(crate) fn list_uploads(
        &self,
        bucket: &str,
        asked: &Asked<'_>,
        after_upload: Option<&str>,
    ) -> Result<Page<(String, Upload)>, StoreError> {
        let inner = self.read();
        let uploads = &inner.bucket(bucket)?.uploads;
        let mut sorted: Vec<(&str, &str, &Upload)> = uploads
            .iter()
            .map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload))
            .filter(|(key, id, _)| {
                *key > asked.after
                    || *key == asked.after && after_upload.is_some_and(|after| *id > after)
            })
            .filter(|(key, ..)| key.starts_with(asked.prefix))
            .collect();
        sorted.sort_unstable_by_key(|(key, id, _)| (*key, *id));
        let uploads = sorted
            .into_iter()
            .map(|(key, id, upload)| (key, (id.to_owned(), upload.clone())));
        Ok(page(uploads, asked, asked.after))
    }

    /// The one place where the store changes: all of `changes` or, if they cannot
    /// be written, none.
    fn commit(
        &self,
        inner: &mut Changing<'_>,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<(), StoreError> {
        Ok(inner.make(changes)?)
    }

    /// Later versions come after place `made` in the data directory.
    pub(super) fn number_from(&self, made: u64) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.made = made;
    }

    /// Puts a change in place that the data directory has.
    pub(super) fn restore(&self, change: Change) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.apply(change);
    }

    /// Refuses what would not fit.
    fn make_room(&self, inner: &Inner, change: &Change) -> Result<(), StoreError> {
        let freed = inner.freed_by(change);
        let total = inner.bytes.saturating_sub(freed);
        if total.saturating_add(cost(change)) > self.bytes_max {
            return Err(StoreError::Full);
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Changing<'_> {
        let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Changing {
            store: self,
            seen: Some(self.read()),
            _alone: alone,
        }
    }
}

/// The store while it is changed: by one caller at a time, and until its changes
/// are written everybody else reads what was before.
struct Changing<'a> {
    store: &'a Store,
    /// `None` for the moment in which a change is put in place.
    seen: Option<RwLockReadGuard<'a, Inner>>,
    _alone: MutexGuard<'a, ()>,
}

impl Deref for Changing<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        match &self.seen {
            Some(inner) => inner,
            None => unreachable!("nobody looks while a change is put in place"),
        }
    }
}

impl Changing<'_> {
    fn make(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), Unwritten> {
        let store = self.store;
        let changes: Vec<Change> = changes.into_iter().collect();
        if let Some(inner) = &self.seen {
            store.journal.change(
                |batch| {
                    keep::put(batch, inner, &changes);
                    Ok::<_, Unwritten>(())
                },
                |()| {},
            )?;
        }
        drop(self.seen.take());
        changes.into_iter().for_each(|change| store.restore(change));
        self.seen = Some(store.read());
        Ok(())
    }
}

/// What a change adds to the bytes kept.
fn cost(change: &Change) -> u64 {
    match change {
        Change::VersionMade { key, version, .. } => version_cost(key, version),
        Change::UploadMade { upload, .. } => upload_cost(upload),
        Change::PartMade { part, .. } => part_cost(part),
        _ => 0,
    }
}

fn version_cost(key: &str, version: &Version) -> u64 {
    let object = version.object.as_ref();
    let object = object.map_or(0, |it| it.content.len() + it.description.metadata.size());
    ENTRY_BYTES + key.len() as u64 + object
}

fn part_cost(part: &Part) -> u64 {
    ENTRY_BYTES + part.content.len()
}

fn upload_cost(upload: &Upload) -> u64 {
    ENTRY_BYTES + upload.key.len() as u64 + upload.description.metadata.size()
}

impl Inner {
    pub(super) fn bucket(&self, name: &str) -> Result<&Bucket, StoreError> {
        let found = self.buckets.get(name);
        found.ok_or_else(|| StoreError::NoSuchBucket(name.to_owned()))
    }

    /// The newest version that a PUT (or with `None` a DELETE) makes, and its id
    /// where the bucket has versions.
    fn new_version(
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
    fn freed_by(&self, change: &Change) -> u64 {
        let freed = match change {
            Change::VersionMade {
                bucket,
                key,
                version,
            } if version.id == VersionId::Null => self.buckets.get(bucket).and_then(|it| {
                it.version(key, &VersionId::Null)
                    .map(|it| version_cost(key, it))
            }),
            Change::PartMade {
                bucket, id, number, ..
            } => self
                .buckets
                .get(bucket)
                .and_then(|it| it.uploads.get(id)?.parts.get(number).map(part_cost)),
            _ => None,
        };
        freed.unwrap_or(0)
    }

    fn apply(&mut self, change: Change) {
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
            } => {
                let made = Bucket {
                    created,
                    account,
                    region,
                    versioning: Versioning::Never,
                    tags: Tags::default(),
                    keys: BTreeMap::new(),
                    uploads: BTreeMap::new(),
                };
                self.buckets.insert(bucket, made);
            }
            Change::BucketGone { bucket } => {
                if let Some(gone) = self.buckets.remove(&bucket) {
                    let uploads = gone.uploads.values().map(whole_upload_cost);
                    self.bytes = self.bytes.saturating_sub(uploads.sum());
                }
            }
            Change::VersioningSet { bucket, versioning } => {
                if let Some(bucket) = self.buckets.get_mut(&bucket) {
                    bucket.versioning = versioning;
                }
            }
            Change::BucketTagged { bucket, tags } => {
                if let Some(bucket) = self.buckets.get_mut(&bucket) {
                    bucket.tags = tags;
                }
            }
            Change::VersionMade {
                bucket,
                key,
                version,
            } => {
                if let Some(bucket) = self.buckets.get_mut(&bucket) {
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
                let versions = self
                    .buckets
                    .get_mut(&bucket)
                    .and_then(|it| it.keys.get_mut(&key));
                let version = versions.and_then(|it| it.iter_mut().find(|it| it.id == id));
                if let Some(object) = version.and_then(|it| it.object.as_mut()) {
                    Arc::make_mut(object).description.tags = tags;
                }
            }
            Change::UploadMade { bucket, id, upload } => {
                if let Some(bucket) = self.buckets.get_mut(&bucket) {
                    bucket.uploads.insert(id, *upload);
                }
            }
            Change::PartMade {
                bucket,
                id,
                number,
                part,
            } => {
                let bucket = self.buckets.get_mut(&bucket);
                if let Some(upload) = bucket.and_then(|it| it.uploads.get_mut(&id)) {
                    upload.parts.insert(number, part);
                }
            }
            Change::UploadGone { bucket, id } => {
                let bucket = self.buckets.get_mut(&bucket);
                if let Some(gone) = bucket.and_then(|it| it.uploads.remove(&id)) {
                    self.bytes = self.bytes.saturating_sub(whole_upload_cost(&gone));
                }
            }
            Change::AllGone => *self = Self::default(),
        }
    }

    fn forget_version(&mut self, bucket: &str, key: &str, id: &VersionId) {
        let Some(bucket) = self.buckets.get_mut(bucket) else {
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

fn whole_upload_cost(upload: &Upload) -> u64 {
    upload_cost(upload) + upload.parts.values().map(part_cost).sum::<u64>()
}

impl Bucket {
    fn version(&self, key: &str, id: &VersionId) -> Option<&Version> {
        self.keys.get(key)?.iter().find(|it| it.id == *id)
    }

    /// The newest version, if it is an object.
    fn current(&self, key: &str) -> Result<(&Version, &Arc<Object>), StoreError> {
        let newest = self.keys.get(key).and_then(|versions| versions.last());
        let newest = newest.ok_or_else(|| StoreError::NoSuchKey(key.to_owned()))?;
        match &newest.object {
            Some(object) => Ok((newest, object)),
            None => Err(StoreError::Deleted(key.to_owned(), newest.id.clone())),
        }
    }

    fn find(&self, key: &str, id: Option<&VersionId>) -> Result<Found, StoreError> {
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

    fn upload(&self, key: &str, id: &str) -> Result<&Upload, StoreError> {
        let upload = self.uploads.get(id).filter(|it| it.key == key);
        upload.ok_or_else(|| StoreError::NoSuchUpload(id.to_owned()))
    }

    /// Keys after the page before that begin with the prefix.
    fn from<'s>(
        &'s self,
        asked: &Asked<'s>,
    ) -> impl Iterator<Item = (&'s str, &'s Vec<Version>)> + use<'s> {
        let Asked { prefix, after, .. } = *asked;
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

/// Fills one page from `entries`, which come in the order of their keys.
fn page<'k, T>(
    entries: impl Iterator<Item = (&'k str, T)>,
    asked: &Asked<'_>,
    after_group: &str,
) -> Page<T> {
    let mut page = Page {
        entries: Vec::new(),
        common_prefixes: Vec::new(),
        next: None,
    };
    if asked.max == 0 {
        return page;
    }
    let mut last = String::new();
    for (key, entry) in entries {
        let rest = key.strip_prefix(asked.prefix).unwrap_or_default();
        let group = asked
            .delimiter
            .filter(|delimiter| !delimiter.is_empty())
            .and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()))
            .and_then(|end| key.get(..asked.prefix.len() + end));
        // A group is given once, also when the page before ended with it.
        let given = |group: &str| {
            group == after_group || page.common_prefixes.last().is_some_and(|it| it == group)
        };
        if group.is_some_and(given) {
            continue;
        }
        if page.entries.len() + page.common_prefixes.len() >= asked.max {
            page.next = Some(last);
            break;
        }
        match group {
            Some(group) => {
                group.clone_into(&mut last);
                page.common_prefixes.push(group.to_owned());
            }
            None => {
                key.clone_into(&mut last);
                page.entries.push((key.to_owned(), entry));
            }
        }
    }
    page
}

impl VersionId {
    /// A new one: 32 letters, digits, `-` and `_`.
    fn fresh() -> Self {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        Self::Id(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()))
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

#[cfg(test)]
mod tests;
