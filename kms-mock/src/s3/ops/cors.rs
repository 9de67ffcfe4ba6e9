//! Cross-origin rules of a bucket: set, shown, deleted.
//!
//! Source of truth: Amazon S3 user guide, "Using cross-origin resource sharing
//! (CORS)".

use s3s::{S3Response, S3Result, dto};

use super::{Objects, Sent, no_content};
use crate::s3::{
    errors::{absent_of_bucket, malformed},
    values::cors::CorsRule,
};

const RULES_MAX: usize = 100;

impl Objects {
    pub(crate) fn get_bucket_cors(
        &self,
        input: dto::GetBucketCorsInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketCorsOutput> {
        let rules = self.store.settings(&input.bucket)?.cors;
        if rules.is_empty() {
            return Err(absent_of_bucket(
                "NoSuchCORSConfiguration",
                "The CORS configuration does not exist",
                &input.bucket,
            ));
        }
        Ok(dto::GetBucketCorsOutput {
            cors_rules: Some(rules.into_iter().map(CorsRule::shown).collect()),
        })
    }

    pub(crate) fn put_bucket_cors(
        &self,
        input: dto::PutBucketCorsInput,
        _: Sent,
    ) -> S3Result<dto::PutBucketCorsOutput> {
        let asked = input.cors_configuration.cors_rules;
        if asked.is_empty() || asked.len() > RULES_MAX {
            return Err(malformed());
        }
        let rules: S3Result<Vec<_>> = asked.into_iter().map(CorsRule::read).collect();
        let rules = rules?;
        self.store.set_up(&input.bucket, |it| it.cors = rules)?;
        Ok(dto::PutBucketCorsOutput::default())
    }

    pub(crate) fn delete_bucket_cors(
        &self,
        input: dto::DeleteBucketCorsInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketCorsOutput>> {
        self.store.set_up(&input.bucket, |it| it.cors.clear())?;
        Ok(no_content(dto::DeleteBucketCorsOutput::default()))
    }
}
