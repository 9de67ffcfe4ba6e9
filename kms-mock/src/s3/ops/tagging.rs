//! Tags of buckets and objects: set, shown, deleted.
//!
//! Source of truth: Amazon S3 user guide, "Categorizing your objects using tags"
//! and "Using cost allocation S3 bucket tags".

use s3s::{S3Response, S3Result, dto};

use super::{Objects, Sent, no_content};
use crate::s3::{
    errors::absent_of_bucket,
    store::StoreError,
    values::{
        tags::{Tagged, Tags},
        version::VersionId,
    },
};

impl Objects {
    pub(crate) fn get_bucket_tagging(
        &self,
        input: dto::GetBucketTaggingInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketTaggingOutput> {
        let tags = self.store.bucket_tags(&input.bucket)?;
        if tags.is_empty() {
            return Err(absent_of_bucket(
                "NoSuchTagSet",
                "The TagSet does not exist",
                &input.bucket,
            ));
        }
        let tag_set = tags.shown();
        Ok(dto::GetBucketTaggingOutput { tag_set })
    }

    pub(crate) fn put_bucket_tagging(
        &self,
        input: dto::PutBucketTaggingInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::PutBucketTaggingOutput>> {
        let tags = Tags::read(input.tagging, Tagged::Bucket)?;
        self.store.tag_bucket(&input.bucket, tags)?;
        Ok(no_content(dto::PutBucketTaggingOutput::default()))
    }

    pub(crate) fn delete_bucket_tagging(
        &self,
        input: dto::DeleteBucketTaggingInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketTaggingOutput>> {
        self.store.tag_bucket(&input.bucket, Tags::default())?;
        Ok(no_content(dto::DeleteBucketTaggingOutput::default()))
    }

    pub(crate) fn get_object_tagging(
        &self,
        input: dto::GetObjectTaggingInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectTaggingOutput> {
        let id = VersionId::asked(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref());
        let found = found.map_err(|error| match error {
            // Recorded: this answer alone names the bucket too.
            StoreError::NoSuchKey(key) => StoreError::NoSuchKey(format!("{}/{key}", input.bucket)),
            error => of_marker(error),
        })?;
        Ok(dto::GetObjectTaggingOutput {
            tag_set: found.object.description.tags.shown(),
            version_id: found.shown_id(),
        })
    }

    pub(crate) fn put_object_tagging(
        &self,
        input: dto::PutObjectTaggingInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectTaggingOutput> {
        let tags = Tags::read(input.tagging, Tagged::Object)?;
        let id = VersionId::asked(input.version_id.as_deref())?;
        let found = self
            .store
            .tag_object(&input.bucket, &input.key, id.as_ref(), tags)
            .map_err(of_marker)?;
        let version_id = found.shown_id();
        Ok(dto::PutObjectTaggingOutput { version_id })
    }

    pub(crate) fn delete_object_tagging(
        &self,
        input: dto::DeleteObjectTaggingInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteObjectTaggingOutput>> {
        let id = VersionId::asked(input.version_id.as_deref())?;
        let none = Tags::default();
        let found = self
            .store
            .tag_object(&input.bucket, &input.key, id.as_ref(), none)
            .map_err(of_marker)?;
        let version_id = found.shown_id();
        Ok(no_content(dto::DeleteObjectTaggingOutput { version_id }))
    }
}

/// Tags are not asked of a key but of its newest version, a marker like any other.
fn of_marker(error: StoreError) -> StoreError {
    match error {
        StoreError::Deleted(_, id) => StoreError::IsDeleteMarker(id),
        error => error,
    }
}
