//! Buckets, objects with their versions, and uploads under way, in memory.
//!
//! Models S3's strong read-after-write consistency, the UTF-8 order of keys, and
//! versioning: a bucket that never had it keeps one version a key, the null
//! version. Every change goes through [`Store::commit`] as [`Change`]s, which say
//! what became of the store and not who asked for it.

mod kept;
mod page;
mod state;
#[cfg(test)]
mod tests;

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use nsm_sim::clock::UnixMillis;

pub(super) use self::state::{Bucket, Inner};
pub(crate) use self::{
    kept::{
        Description, FinishedPart, Found, Marks, Object, Part, Settings, Upload, Version,
        VersionId, Versioning,
    },
    page::{Asked, Page},
    state::Change,
};
use self::{page::page, state::cost};
use super::{keep, lock::BucketLock, tags::Tags};
use crate::journal::{Journal, Unwritten};

/// All buckets of one world.
#[derive(Debug)]
pub(crate) struct Store {
    inner: RwLock<Inner>,
    /// Held while a change is computed and written.
    changing: Mutex<()>,
    journal: Journal,
    bytes_max: u64,
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
    /// And whether it has versions.
    BucketNotEmpty(String, bool),
    OwnedByYou(String),
    OwnedByAnother(String),
    TooManyUploads,
    /// Object lock keeps the version, or its retention as it is.
    Locked,
    /// Object lock keeps the versioning of the bucket.
    VersioningLocked,
    /// Object lock needs versioning.
    NotVersioned,
    Full,
    PreconditionFailed(&'static str),
    /// The key changed while it was uploaded.
    Conflict(String, &'static str),
    /// The data directory could not be written; nothing was changed.
    Unwritten(Unwritten),
}

impl From<Unwritten> for StoreError {
    fn from(unwritten: Unwritten) -> Self {
        Self::Unwritten(unwritten)
    }
}

/// Uploads under way in one bucket; S3 has no limit, memory has.
const UPLOADS_PER_BUCKET_MAX: usize = 10_000;

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
        settings: Settings,
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
                    settings: Box::new(settings),
                };
                self.commit(&mut inner, [change])
            }
        }
    }

    /// Forgets an empty bucket; uploads under way do not keep it.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(name)?;
        if !found.keys.is_empty() {
            let versioned = found.versioning != Versioning::Never;
            return Err(StoreError::BucketNotEmpty(name.to_owned(), versioned));
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
        let locked = inner.bucket(name)?.settings.lock.is_some();
        if locked && versioning != Versioning::Enabled {
            return Err(StoreError::VersioningLocked);
        }
        let bucket = name.to_owned();
        self.commit(&mut inner, [Change::VersioningSet { bucket, versioning }])
    }

    pub(crate) fn tag_bucket(&self, name: &str, tags: Tags) -> Result<(), StoreError> {
        let mut inner = self.write();
        inner.bucket(name)?;
        let bucket = name.to_owned();
        self.commit(&mut inner, [Change::BucketTagged { bucket, tags }])
    }

    /// Changes what a bucket is set up with.
    pub(crate) fn set_up(
        &self,
        name: &str,
        change: impl FnOnce(&mut Settings),
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        let mut settings = Box::new(inner.bucket(name)?.settings.clone());
        change(&mut settings);
        let bucket = name.to_owned();
        self.commit(&mut inner, [Change::BucketSetUp { bucket, settings }])
    }

    /// Gives a bucket object lock, which it keeps.
    pub(crate) fn lock_bucket(&self, name: &str, lock: BucketLock) -> Result<(), StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(name)?;
        if found.versioning != Versioning::Enabled {
            return Err(StoreError::NotVersioned);
        }
        let mut settings = Box::new(found.settings.clone());
        settings.lock = Some(lock);
        let bucket = name.to_owned();
        self.commit(&mut inner, [Change::BucketSetUp { bucket, settings }])
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

    /// Forgets one version for good if `check` agrees. Answers whether it was a
    /// delete marker.
    pub(crate) fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        id: &VersionId,
        check: impl FnOnce(&Object) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let mut inner = self.write();
        let Some(version) = inner.bucket(bucket)?.version(key, id) else {
            if id.is_of_this_store() {
                return Ok(false);
            }
            return Err(StoreError::NoSuchVersion(key.to_owned(), id.clone()));
        };
        let was_marker = version.object.is_none();
        version.object.as_deref().map_or(Ok(()), check)?;
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

    /// Changes the marks of an object by what they were.
    pub(crate) fn mark_object(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
        change: impl FnOnce(&Marks) -> Result<Marks, StoreError>,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(bucket)?.find(key, id)?;
        let change = Change::ObjectMarked {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            id: found.id,
            marks: change(&found.object.description.marks)?,
        };
        self.commit(&mut inner, [change])
    }

    /// Begins an upload in parts.
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        id: &str,
        upload: Upload,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(bucket)?;
        if found.uploads.len() >= UPLOADS_PER_BUCKET_MAX {
            return Err(StoreError::TooManyUploads);
        }
        let change = Change::UploadMade {
            bucket: bucket.to_owned(),
            id: id.to_owned(),
            upload: Box::new(Upload {
                replaces: found.current(&upload.key).is_ok(),
                ..upload
            }),
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
        check: impl FnOnce(&Upload, Option<(UnixMillis, &Object)>) -> Result<(), StoreError>,
    ) -> Result<Option<VersionId>, StoreError> {
        let mut inner = self.write();
        let found = inner.bucket(bucket)?;
        let there = found.current(key).ok();
        let there = there.map(|(version, object)| (version.modified, &**object));
        check(found.upload(key, id)?, there)?;
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

    pub(crate) fn settings(&self, name: &str) -> Result<Settings, StoreError> {
        Ok(self.read().bucket(name)?.settings.clone())
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
