//! Listings of objects, versions and uploads, page by page.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::{
    Store,
    error::StoreError,
    page::{Page, PageRequest, page},
    records::{Object, Upload, Version},
};
use crate::s3::values::version::VersionId;

impl Store {
    /// Objects by key.
    pub(crate) fn list(
        &self,
        bucket: &str,
        asked: &PageRequest<'_>,
    ) -> Result<Page<(UnixMillis, Arc<Object>)>, StoreError> {
        let buckets = self.read();
        let keys = buckets.bucket(bucket)?.from(asked);
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
        asked: &PageRequest<'_>,
        after_version: Option<&VersionId>,
    ) -> Result<Page<(bool, Version)>, StoreError> {
        let buckets = self.read();
        let found = buckets.bucket(bucket)?;
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
        asked: &PageRequest<'_>,
        after_upload: Option<&str>,
    ) -> Result<Page<(String, Upload)>, StoreError> {
        let buckets = self.read();
        let uploads = &buckets.bucket(bucket)?.uploads;
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
}
