//! Uploads in parts: begun, filled, completed, given up.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::{
    Store,
    error::StoreError,
    records::{Found, Object, Part, Upload, Version},
    state::Change,
};
use crate::s3::values::version::VersionId;

/// Uploads under way in one bucket; S3 has no limit, memory has.
pub(super) const UPLOADS_PER_BUCKET_MAX: usize = 10_000;

impl Store {
    /// Begins an upload in parts.
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        id: &str,
        upload: Upload,
    ) -> Result<(), StoreError> {
        self.change_to(|buckets| {
            let found = buckets.bucket(bucket)?;
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
            self.fitting(buckets, change)
        })
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
        self.change_to(|buckets| {
            buckets.bucket(bucket)?.upload(key, id)?;
            let change = Change::PartMade {
                bucket: bucket.to_owned(),
                id: id.to_owned(),
                number,
                part,
            };
            self.fitting(buckets, change)
        })
    }

    /// Gives up an upload and its parts.
    pub(crate) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), StoreError> {
        self.change_to(|buckets| {
            buckets.bucket(bucket)?.upload(key, id)?;
            Ok(Change::UploadGone {
                bucket: bucket.to_owned(),
                id: id.to_owned(),
            })
        })
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
        self.change(|buckets, changes| {
            let found = buckets.bucket(bucket)?;
            let there = found.current(key).ok();
            let there = there.map(|(version, object)| (version.modified, &**object));
            check(found.upload(key, id)?, there)?;
            let (made, version_id) = buckets.new_version(bucket, key, Some(object), now)?;
            let (bucket, id) = (bucket.to_owned(), id.to_owned());
            changes.extend([Change::UploadGone { bucket, id }, made]);
            Ok(version_id)
        })
    }

    /// An upload as it is now; the bytes of its parts are shared.
    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, StoreError> {
        self.read().bucket(bucket)?.upload(key, id).cloned()
    }

    /// The object that an upload has made already.
    pub(crate) fn finished_upload(&self, bucket: &str, key: &str, id: &str) -> Option<Found> {
        let buckets = self.read();
        let bucket = buckets.bucket(bucket).ok()?;
        let of_upload = |version: &&Version| {
            let object = version.object.as_ref();
            object.is_some_and(|it| it.upload_id.as_deref() == Some(id))
        };
        let version = bucket.keys.get(key)?.iter().find(of_upload)?;
        bucket.find(key, Some(&version.id)).ok()
    }
}
