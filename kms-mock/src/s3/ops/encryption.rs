//! Encryption at rest: none is simulated, and none is claimed beyond what S3 does
//! unasked.
//!
//! Source of truth: Amazon S3 user guide, "Setting default server-side encryption
//! behavior for Amazon S3 buckets". Answers say `AES256` as S3's do, but nothing is
//! encrypted here; a request for another key (SSE-KMS, SSE-C) is refused.

use s3s::{S3Response, S3Result, dto, s3_error};

use super::{Objects, Sent, no_content};
use crate::s3::errors::{detailed, malformed};

/// What S3 says of objects without a key of their own; see the file's head.
pub(super) fn at_rest() -> Option<dto::ServerSideEncryption> {
    Some(dto::ServerSideEncryption::from_static(
        dto::ServerSideEncryption::AES256,
    ))
}

/// Refuses what a write asks for and would not get.
macro_rules! refuse_unsimulated {
    ($input:expr) => {{
        let other_key = $input
            .server_side_encryption
            .as_ref()
            .is_some_and(|it| it.as_str() != dto::ServerSideEncryption::AES256);
        if other_key || $input.ssekms_key_id.is_some() || $input.sse_customer_algorithm.is_some() {
            return Err(s3s::s3_error!(
                NotImplemented,
                "Encryption at rest is not simulated: SSE-KMS and SSE-C would only be claimed. \
                 Encrypt in the client, or leave the header out."
            ));
        }
    }};
}

pub(super) use refuse_unsimulated;

impl Objects {
    pub(crate) fn get_bucket_encryption(
        &self,
        input: dto::GetBucketEncryptionInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketEncryptionOutput> {
        let bucket_key = self.store.settings(&input.bucket)?.bucket_key;
        let rule = dto::ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: Some(dto::ServerSideEncryptionByDefault {
                kms_master_key_id: None,
                sse_algorithm: dto::ServerSideEncryption::from_static(
                    dto::ServerSideEncryption::AES256,
                ),
            }),
            bucket_key_enabled: Some(bucket_key),
        };
        Ok(dto::GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(dto::ServerSideEncryptionConfiguration {
                rules: vec![rule],
            }),
        })
    }

    pub(crate) fn put_bucket_encryption(
        &self,
        input: dto::PutBucketEncryptionInput,
        _: Sent,
    ) -> S3Result<dto::PutBucketEncryptionOutput> {
        self.store.owner(&input.bucket)?;
        let rules = input.server_side_encryption_configuration.rules;
        let [rule] = rules.as_slice() else {
            return Err(malformed());
        };
        let default = rule.apply_server_side_encryption_by_default.as_ref();
        let default = default.ok_or_else(malformed)?;
        match default.sse_algorithm.as_str() {
            dto::ServerSideEncryption::AES256 => {}
            dto::ServerSideEncryption::AWS_KMS | dto::ServerSideEncryption::AWS_KMS_DSSE => {
                return Err(s3_error!(
                    NotImplemented,
                    "Encryption at rest is not simulated: SSE-KMS would only be claimed. Encrypt \
                     in the client, or leave the bucket at AES256."
                ));
            }
            _ => return Err(malformed()),
        }
        if default.kms_master_key_id.is_some() {
            let error = s3_error!(
                InvalidArgument,
                "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or \
                 aws:kms:dsse"
            );
            let name = "ApplyServerSideEncryptionByDefault";
            return Err(detailed(error, &[("ArgumentName", name)]));
        }
        let bucket_key = rule.bucket_key_enabled.unwrap_or(false);
        let bucket = &input.bucket;
        self.store.set_up(bucket, |it| it.bucket_key = bucket_key)?;
        Ok(dto::PutBucketEncryptionOutput::default())
    }

    pub(crate) fn delete_bucket_encryption(
        &self,
        input: dto::DeleteBucketEncryptionInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketEncryptionOutput>> {
        let bucket = &input.bucket;
        self.store.set_up(bucket, |it| it.bucket_key = false)?;
        Ok(no_content(dto::DeleteBucketEncryptionOutput::default()))
    }
}
