//! Why the store refused, and how S3 says it.
//!
//! Source of truth: Amazon S3 API reference, "Error responses"; the details of each
//! error are recorded from AWS.

use http::header::ALLOW;
use s3s::{S3Error, s3_error};

use crate::{
    journal::Unwritten,
    s3::{
        errors::{
            DELETE_MARKER, INVALID_VERSION, VERSION_ID, detailed, fault, invalid_argument,
            with_header,
        },
        values::version::VersionId,
    },
};

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

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchBucket(bucket) => detailed(
                s3_error!(NoSuchBucket, "The specified bucket does not exist"),
                &[("BucketName", &bucket)],
            ),
            StoreError::NoSuchKey(key) => no_such_key(&key),
            StoreError::Deleted(key, id) => {
                let error = with_header(no_such_key(&key), DELETE_MARKER, "true");
                with_header(error, VERSION_ID, id.as_str())
            }
            StoreError::NoSuchVersion(_, id) if !id.is_of_this_store() => {
                invalid_argument("versionId", id.as_str(), INVALID_VERSION)
            }
            StoreError::NoSuchVersion(key, id) => detailed(
                s3_error!(NoSuchVersion, "The specified version does not exist."),
                &[("Key", &key), ("VersionId", id.as_str())],
            ),
            StoreError::IsDeleteMarker(id) => {
                let error = s3_error!(
                    MethodNotAllowed,
                    "The specified method is not allowed against this resource."
                );
                let error = detailed(error, &[("Method", ""), ("ResourceType", "DeleteMarker")]);
                let error = with_header(error, ALLOW, "DELETE");
                let error = with_header(error, DELETE_MARKER, "true");
                with_header(error, VERSION_ID, id.as_str())
            }
            StoreError::NoSuchUpload(id) => detailed(
                s3_error!(
                    NoSuchUpload,
                    "The specified upload does not exist. The upload ID may be invalid, or the \
                     upload may have been aborted or completed."
                ),
                &[("UploadId", &id)],
            ),
            StoreError::BucketNotEmpty(bucket, versioned) => {
                let more = if versioned {
                    ". You must delete all versions in the bucket."
                } else {
                    ""
                };
                let error = s3_error!(
                    BucketNotEmpty,
                    "The bucket you tried to delete is not empty{more}"
                );
                detailed(error, &[("BucketName", &bucket)])
            }
            StoreError::OwnedByYou(bucket) => detailed(
                s3_error!(
                    BucketAlreadyOwnedByYou,
                    "Your previous request to create the named bucket succeeded and you already \
                     own it."
                ),
                &[("BucketName", &bucket)],
            ),
            StoreError::OwnedByAnother(bucket) => detailed(
                s3_error!(
                    BucketAlreadyExists,
                    "The requested bucket name is not available. The bucket namespace is shared \
                     by all users of the system. Please select a different name and try again."
                ),
                &[("BucketName", &bucket)],
            ),
            StoreError::TooManyUploads => s3_error!(
                ServiceUnavailable,
                "Too many uploads are under way in this bucket of the simulated store; complete \
                 or abort some."
            ),
            StoreError::Unwritten(why) => {
                tracing::error!(%why, "an object was not stored");
                s3_error!(
                    InternalError,
                    "We encountered an internal error. Please try again."
                )
            }
            StoreError::Locked => s3_error!(
                AccessDenied,
                "Access Denied because object protected by object lock."
            ),
            StoreError::VersioningLocked => s3_error!(
                InvalidBucketState,
                "An Object Lock configuration is present on this bucket, so the versioning state \
                 cannot be changed."
            ),
            StoreError::NotVersioned => s3_error!(
                InvalidBucketState,
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
            ),
            StoreError::Full => s3_error!(ServiceUnavailable, "The simulated store is full."),
            StoreError::Conflict(key, condition) => {
                let message = "The conditional request cannot succeed due to a conflicting \
                               operation against this resource.";
                let error = fault("ConditionalRequestConflict", 409, message);
                detailed(error, &[("Condition", condition), ("Key", &key)])
            }
            StoreError::PreconditionFailed(condition) => detailed(
                s3_error!(
                    PreconditionFailed,
                    "At least one of the pre-conditions you specified did not hold"
                ),
                &[("Condition", condition)],
            ),
        }
    }
}

fn no_such_key(key: &str) -> S3Error {
    detailed(
        s3_error!(NoSuchKey, "The specified key does not exist."),
        &[("Key", key)],
    )
}
