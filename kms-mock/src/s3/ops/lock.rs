//! Object lock of buckets and versions: set, shown, bypassed.
//!
//! Source of truth: Amazon S3 user guide, "Locking objects with Object Lock", and
//! answers recorded from AWS. Not modelled: the permission to bypass governance;
//! every caller has it.

use s3s::{S3Error, S3Result, dto, s3_error};

use super::{Objects, Sent};
use crate::s3::{
    errors::{EMPTY, detailed, fault, malformed},
    store::StoreError,
    values::{
        lock::{BucketLock, DefaultRetention, Lock, Retention, no_bucket_lock, on_or_off},
        version::VersionId,
    },
};

impl Objects {
    pub(crate) fn get_object_lock_configuration(
        &self,
        input: dto::GetObjectLockConfigurationInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectLockConfigurationOutput> {
        let Some(lock) = self.store.settings(&input.bucket)?.lock else {
            let error = s3_error!(
                ObjectLockConfigurationNotFoundError,
                "Object Lock configuration does not exist for this bucket"
            );
            return Err(detailed(error, &[("BucketName", &input.bucket)]));
        };
        let rule = lock.default.map(|default| dto::ObjectLockRule {
            default_retention: Some(default.shown()),
        });
        let enabled = dto::ObjectLockEnabled::from_static(dto::ObjectLockEnabled::ENABLED);
        Ok(dto::GetObjectLockConfigurationOutput {
            object_lock_configuration: Some(dto::ObjectLockConfiguration {
                object_lock_enabled: Some(enabled),
                rule,
            }),
        })
    }

    pub(crate) fn put_object_lock_configuration(
        &self,
        input: dto::PutObjectLockConfigurationInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectLockConfigurationOutput> {
        self.store.owner(&input.bucket)?;
        let Some(asked) = input.object_lock_configuration else {
            return Err(s3_error!(MissingRequestBodyError, "{EMPTY}"));
        };
        let enabled = asked.object_lock_enabled.as_ref();
        if enabled.is_none_or(|it| it.as_str() != dto::ObjectLockEnabled::ENABLED) {
            return Err(malformed());
        }
        let default = asked.rule.map(|rule| {
            let default = rule.default_retention.as_ref();
            default.and_then(DefaultRetention::read)
        });
        let default = match default {
            None => None,
            Some(None) => return Err(malformed()),
            Some(read) => read,
        };
        self.store
            .lock_bucket(&input.bucket, BucketLock { default })?;
        Ok(dto::PutObjectLockConfigurationOutput::default())
    }

    pub(crate) fn get_object_retention(
        &self,
        input: dto::GetObjectRetentionInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectRetentionOutput> {
        let lock = self.lock_of(&input.bucket, &input.key, input.version_id.as_deref())?;
        let retention = lock.retention.ok_or_else(unlocked)?;
        Ok(dto::GetObjectRetentionOutput {
            retention: Some(retention.shown()),
        })
    }

    pub(crate) fn put_object_retention(
        &self,
        input: dto::PutObjectRetentionInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectRetentionOutput> {
        let (bucket, key) = (&input.bucket, &input.key);
        self.lock_of(bucket, key, input.version_id.as_deref())?;
        let now = self.clock.now();
        let new = Retention::read(input.retention.unwrap_or_default(), now)?;
        let bypass = input.bypass_governance_retention == Some(true);
        let id = VersionId::asked(input.version_id.as_deref())?;
        self.store.mark_object(bucket, key, id.as_ref(), |old| {
            let mut marks = *old;
            if marks.lock.forbids(new, now, bypass) {
                return Err(StoreError::Locked);
            }
            marks.lock.retention = new;
            Ok(marks)
        })?;
        Ok(dto::PutObjectRetentionOutput::default())
    }

    pub(crate) fn get_object_legal_hold(
        &self,
        input: dto::GetObjectLegalHoldInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectLegalHoldOutput> {
        let lock = self.lock_of(&input.bucket, &input.key, input.version_id.as_deref())?;
        let status = Some(lock.shown_hold().ok_or_else(unlocked)?);
        Ok(dto::GetObjectLegalHoldOutput {
            legal_hold: Some(dto::ObjectLockLegalHold { status }),
        })
    }

    pub(crate) fn put_object_legal_hold(
        &self,
        input: dto::PutObjectLegalHoldInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectLegalHoldOutput> {
        let (bucket, key) = (&input.bucket, &input.key);
        self.store.owner(bucket)?;
        let asked = input.legal_hold.ok_or_else(malformed)?;
        self.lock_of(bucket, key, input.version_id.as_deref())?;
        let status = asked.status.ok_or_else(malformed)?;
        let hold = Some(on_or_off(status.as_str()).ok_or_else(malformed)?);
        let id = VersionId::asked(input.version_id.as_deref())?;
        self.store.mark_object(bucket, key, id.as_ref(), |old| {
            let mut marks = *old;
            marks.lock.hold = hold;
            Ok(marks)
        })?;
        Ok(dto::PutObjectLegalHoldOutput::default())
    }

    /// The lock of a version in a bucket that has object lock.
    fn lock_of(&self, bucket: &str, key: &str, version_id: Option<&str>) -> S3Result<Lock> {
        if self.store.settings(bucket)?.lock.is_none() {
            return Err(no_bucket_lock());
        }
        let id = VersionId::asked(version_id)?;
        let found = self.store.get(bucket, key, id.as_ref())?;
        Ok(found.object.description.marks.lock)
    }

    /// Reads `x-amz-bypass-governance-retention`, which S3 takes only where
    /// there may be something to bypass.
    pub(super) fn bypass(&self, bucket: &str, asked: Option<bool>) -> S3Result<bool> {
        if asked.is_some() && self.store.settings(bucket)?.lock.is_none() {
            let error = s3_error!(
                InvalidArgument,
                "x-amz-bypass-governance-retention is only applicable to Object Lock enabled \
                 buckets."
            );
            let name = "x-amz-bypass-governance-retention";
            return Err(detailed(error, &[("ArgumentName", name)]));
        }
        Ok(asked == Some(true))
    }
}

fn unlocked() -> S3Error {
    let message = "The specified object does not have a ObjectLock configuration";
    fault("NoSuchObjectLockConfiguration", 404, message)
}
