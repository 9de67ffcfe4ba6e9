//! Objects and their versions: put, found, tagged, marked, deleted.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::{
    Store,
    error::StoreError,
    records::{Found, Marks, Object, Versioning},
    state::Change,
};
use crate::s3::values::{access::CannedAcl, tags::Tags, version::VersionId};

impl Store {
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
        self.change(|buckets, changes| {
            let there = buckets.bucket(bucket)?.current(key).ok();
            check(there.map(|it| &**it.1))?;
            let (change, id) = buckets.new_version(bucket, key, Some(Arc::new(object)), now)?;
            changes.push(self.fitting(buckets, change)?);
            Ok(id)
        })
    }

    /// Deletes a key: its only version, or by a delete marker where there are
    /// versions. An absent key is not an error. Answers with the
    /// delete marker.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        now: UnixMillis,
        check: impl FnOnce(Option<&Object>) -> Result<(), StoreError>,
    ) -> Result<Option<VersionId>, StoreError> {
        self.change(|buckets, changes| {
            let found = buckets.bucket(bucket)?;
            check(found.current(key).ok().map(|it| &**it.1))?;
            if found.versioning == Versioning::Never {
                changes.extend(found.keys.contains_key(key).then(|| Change::VersionGone {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                    id: VersionId::Null,
                }));
                return Ok(None);
            }
            let (change, id) = buckets.new_version(bucket, key, None, now)?;
            changes.push(self.fitting(buckets, change)?);
            Ok(id)
        })
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
        self.change(|buckets, changes| {
            let Some(version) = buckets.bucket(bucket)?.version(key, id) else {
                if id.is_of_this_store() {
                    return Ok(false);
                }
                return Err(StoreError::NoSuchVersion(key.to_owned(), id.clone()));
            };
            let was_marker = version.object.is_none();
            version.object.as_deref().map_or(Ok(()), check)?;
            changes.push(Change::VersionGone {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                id: id.clone(),
            });
            Ok(was_marker)
        })
    }

    /// Sets the tags of an object; answers with what it is.
    pub(crate) fn tag_object(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
        tags: Tags,
    ) -> Result<Found, StoreError> {
        self.change(|buckets, changes| {
            let found = buckets.bucket(bucket)?.find(key, id)?;
            changes.push(Change::ObjectTagged {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                id: found.id.clone(),
                tags,
            });
            Ok(found)
        })
    }

    /// Changes the marks of an object by what they were.
    pub(crate) fn mark_object(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
        change: impl FnOnce(&Marks) -> Result<Marks, StoreError>,
    ) -> Result<(), StoreError> {
        self.change_to(|buckets| {
            let found = buckets.bucket(bucket)?.find(key, id)?;
            Ok(Change::ObjectMarked {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                id: found.id,
                marks: change(&found.object.description.marks)?,
            })
        })
    }

    /// The tags of an object; none where there is no object.
    pub(crate) fn object_tags(&self, bucket: &str, key: &str, id: Option<&str>) -> Tags {
        let found = self.described(bucket, key, id);
        found.map_or_else(Tags::default, |it| it.object.description.tags.clone())
    }

    /// The access list of an object.
    pub(crate) fn object_acl(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&str>,
    ) -> Option<CannedAcl> {
        let found = self.described(bucket, key, id)?;
        Some(found.object.description.marks.acl)
    }

    fn described(&self, bucket: &str, key: &str, id: Option<&str>) -> Option<Found> {
        let id = match id {
            None => None,
            Some(id) => Some(VersionId::parse(id)?),
        };
        self.get(bucket, key, id.as_ref()).ok()
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
}
