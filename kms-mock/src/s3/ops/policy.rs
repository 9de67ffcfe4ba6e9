//! The policy of a bucket: put, shown, deleted, and whether it is public.
//!
//! Source of truth: Amazon S3 API reference; Amazon S3 user guide, "Blocking public
//! access to your Amazon S3 storage". Not modelled: that the caller must not lock itself
//! out (`x-amz-confirm-remove-self-bucket-access`), which S3 leaves to the console.

use s3s::{S3Response, S3Result, dto};

use super::{Objects, Sent, no_content};
use crate::s3::{
    errors::{absent_of_bucket, fault, malformed_policy},
    values::bucket_policy::BucketPolicy,
};

impl Objects {
    pub(crate) fn get_bucket_policy(
        &self,
        input: dto::GetBucketPolicyInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketPolicyOutput> {
        let policy = self.policy_of(&input.bucket)?;
        Ok(dto::GetBucketPolicyOutput {
            policy: Some(policy.policy().text().to_owned()),
        })
    }

    pub(crate) fn get_bucket_policy_status(
        &self,
        input: dto::GetBucketPolicyStatusInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketPolicyStatusOutput> {
        let policy = self.policy_of(&input.bucket)?;
        Ok(dto::GetBucketPolicyStatusOutput {
            policy_status: Some(dto::PolicyStatus {
                is_public: Some(policy.is_public()),
            }),
        })
    }

    pub(crate) fn put_bucket_policy(
        &self,
        input: dto::PutBucketPolicyInput,
        sent: Sent,
    ) -> S3Result<dto::PutBucketPolicyOutput> {
        let bucket = &input.bucket;
        let policy = BucketPolicy::parse(&input.policy, bucket).map_err(malformed_policy)?;
        let access = self.store.settings(bucket)?.public_access;
        if policy.is_public() && access.is_some_and(|it| it.block_policy) {
            let user = sent.sender.caller.principal.arn();
            let message = format!(
                "User: {user} is not authorized to perform: s3:PutBucketPolicy on resource: \
                 \"arn:aws:s3:::{bucket}\" because public policies are prevented by the \
                 BlockPublicPolicy setting in S3 Block Public Access."
            );
            return Err(fault("AccessDenied", 403, message));
        }
        self.store.set_up(bucket, |it| it.policy = Some(policy))?;
        Ok(dto::PutBucketPolicyOutput::default())
    }

    pub(crate) fn delete_bucket_policy(
        &self,
        input: dto::DeleteBucketPolicyInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketPolicyOutput>> {
        self.store.set_up(&input.bucket, |it| it.policy = None)?;
        Ok(no_content(dto::DeleteBucketPolicyOutput::default()))
    }

    fn policy_of(&self, bucket: &str) -> S3Result<BucketPolicy> {
        let policy = self.store.settings(bucket)?.policy;
        policy.ok_or_else(|| {
            absent_of_bucket(
                "NoSuchBucketPolicy",
                "The bucket policy does not exist",
                bucket,
            )
        })
    }
}
