//! What no bucket here has, told as S3 tells it of a bucket that was given none.
//!
//! Source of truth: Amazon S3 API reference, the errors of each operation. To set
//! any of them is refused as not implemented, so that "none" is always true.

use s3s::{S3Response, S3Result, dto};

use super::{
    Objects, Sent,
    errors::{detailed, fault},
    no_content,
};

/// Reads that find nothing and deletions that have nothing to delete.
macro_rules! absent {
    (
        refused { $($get:ident: $input:ident => $output:ident = $code:literal, $message:literal;)* }
        empty { $($empty:ident: $empty_input:ident => $empty_output:ident;)* }
        forgotten { $($forget:ident: $forgot_input:ident => $forgot_output:ident;)* }
    ) => {
        impl Objects {
            $(pub(super) fn $get(&self, input: dto::$input, _: Sent) -> S3Result<dto::$output> {
                self.store.owner(&input.bucket)?;
                let error = fault($code, 404, $message);
                Err(detailed(error, &[("BucketName", &input.bucket)]))
            })*

            $(pub(super) fn $empty(
                &self,
                input: dto::$empty_input,
                _: Sent,
            ) -> S3Result<dto::$empty_output> {
                self.store.owner(&input.bucket)?;
                Ok(dto::$empty_output::default())
            })*

            $(pub(super) fn $forget(
                &self,
                input: dto::$forgot_input,
                _: Sent,
            ) -> S3Result<S3Response<dto::$forgot_output>> {
                self.store.owner(&input.bucket)?;
                Ok(no_content(dto::$forgot_output::default()))
            })*
        }
    };
}

absent! {
    refused {
    no_policy: GetBucketPolicyInput => GetBucketPolicyOutput
        = "NoSuchBucketPolicy", "The bucket policy does not exist";
    no_policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput
        = "NoSuchBucketPolicy", "The bucket policy does not exist";
    no_lifecycle: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput
        = "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist";
    no_website: GetBucketWebsiteInput => GetBucketWebsiteOutput
        = "NoSuchWebsiteConfiguration",
          "The specified bucket does not have a website configuration";
    no_replication: GetBucketReplicationInput => GetBucketReplicationOutput
        = "ReplicationConfigurationNotFoundError",
          "The replication configuration was not found";
    }
    empty {
    no_notifications: GetBucketNotificationConfigurationInput
        => GetBucketNotificationConfigurationOutput;
    no_acceleration: GetBucketAccelerateConfigurationInput
        => GetBucketAccelerateConfigurationOutput;
    no_logging: GetBucketLoggingInput => GetBucketLoggingOutput;
    }
    forgotten {
    forget_policy: DeleteBucketPolicyInput => DeleteBucketPolicyOutput;
    forget_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput;
    forget_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput;
    forget_replication: DeleteBucketReplicationInput => DeleteBucketReplicationOutput;
    }
}

impl Objects {
    /// Nobody pays here but the owner.
    pub(super) fn payer(
        &self,
        input: dto::GetBucketRequestPaymentInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketRequestPaymentOutput> {
        self.store.owner(&input.bucket)?;
        let payer = dto::Payer::from_static(dto::Payer::BUCKET_OWNER);
        Ok(dto::GetBucketRequestPaymentOutput { payer: Some(payer) })
    }
}
