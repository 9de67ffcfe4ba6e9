//! What no bucket here has, answered as S3 answers for a bucket without it.
//!
//! Source of truth: Amazon S3 API reference, the errors of each operation. To set
//! any of them is refused as not implemented, so that "none" is always true.

use s3s::{S3Response, S3Result, dto};

use super::{Objects, Sent, no_content};
use crate::s3::errors::absent_of_bucket;

/// Reads that find nothing and deletions that have nothing to delete.
macro_rules! absent {
    (
        refused { $($get:ident: $input:ident => $output:ident = $code:literal, $message:literal;)* }
        empty { $($empty:ident: $empty_input:ident => $empty_output:ident;)* }
        forgotten { $($forget:ident: $forgot_input:ident => $forgot_output:ident;)* }
    ) => {
        impl Objects {
            $(pub(crate) fn $get(&self, input: dto::$input, _: Sent) -> S3Result<dto::$output> {
                self.store.owner(&input.bucket)?;
                Err(absent_of_bucket($code, $message, &input.bucket))
            })*

            $(pub(crate) fn $empty(
                &self,
                input: dto::$empty_input,
                _: Sent,
            ) -> S3Result<dto::$empty_output> {
                self.store.owner(&input.bucket)?;
                Ok(dto::$empty_output::default())
            })*

            $(pub(crate) fn $forget(
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
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput
        = "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist";
    get_bucket_website: GetBucketWebsiteInput => GetBucketWebsiteOutput
        = "NoSuchWebsiteConfiguration",
          "The specified bucket does not have a website configuration";
    get_bucket_replication: GetBucketReplicationInput => GetBucketReplicationOutput
        = "ReplicationConfigurationNotFoundError",
          "The replication configuration was not found";
    }
    empty {
    get_bucket_notification_configuration: GetBucketNotificationConfigurationInput
        => GetBucketNotificationConfigurationOutput;
    get_bucket_accelerate_configuration: GetBucketAccelerateConfigurationInput
        => GetBucketAccelerateConfigurationOutput;
    get_bucket_logging: GetBucketLoggingInput => GetBucketLoggingOutput;
    }
    forgotten {
    delete_bucket_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput;
    delete_bucket_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput;
    delete_bucket_replication: DeleteBucketReplicationInput => DeleteBucketReplicationOutput;
    }
}

impl Objects {
    /// Always the owner.
    pub(crate) fn get_bucket_request_payment(
        &self,
        input: dto::GetBucketRequestPaymentInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketRequestPaymentOutput> {
        self.store.owner(&input.bucket)?;
        let payer = dto::Payer::from_static(dto::Payer::BUCKET_OWNER);
        Ok(dto::GetBucketRequestPaymentOutput { payer: Some(payer) })
    }
}
