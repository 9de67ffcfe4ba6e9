//! Buckets: made, found, listed, versioned, deleted.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use s3s::{S3Response, S3Result, dto, s3_error};

use super::{
    Objects, Sent,
    access::{ownership_of_new, requested_acl},
    listing::{bounded, token_key},
    owner,
};
use crate::s3::{
    errors::{detailed, malformed},
    store::{Settings, StoreError, Versioning},
    values::{dates::timestamp, lock::BucketLock},
};

/// S3's first Region, whose rules are its own.
const OLDEST: &str = "us-east-1";
const BUCKETS_PER_PAGE_MAX: u16 = 10_000;

impl Objects {
    pub(crate) fn create_bucket(
        &self,
        input: dto::CreateBucketInput,
        sent: Sent,
    ) -> S3Result<dto::CreateBucketOutput> {
        // The protocol crate does not read them, and no other part of a bucket's
        // configuration is called so, whatever its namespace.
        if memchr::memmem::find(&sent.body, b"Tag").is_some() {
            return Err(s3_error!(
                NotImplemented,
                "Tags of a bucket that is made are not simulated; put them afterwards"
            ));
        }
        let ownership = ownership_of_new(input.object_ownership.as_ref())?;
        let locked = input.object_lock_enabled_for_bucket == Some(true);
        let settings = Settings {
            lock: locked.then(BucketLock::default),
            ownership: Some(ownership),
            ..Settings::default()
        };
        let acl = requested_acl!(input, grant_write).of_new_bucket(&settings)?;
        let settings = Settings { acl, ..settings };
        let bucket = &input.bucket;
        let asked = input.create_bucket_configuration;
        let constraint = asked.and_then(|it| it.location_constraint);
        let region =
            self.region_of_new(sent.region(), constraint.as_ref().map(|it| it.as_str()))?;
        let place = (sent.account(), region);
        let now = self.clock.now();
        match self.store.create_bucket(bucket, place, settings, now) {
            Ok(()) => {}
            // The oldest Region answers OK to its own buckets, the others do not.
            Err(StoreError::OwnedByYou(_))
                if region == OLDEST && self.store.region(bucket)? == OLDEST => {}
            Err(error) => return Err(error.into()),
        }
        let location = Some(format!("/{bucket}"));
        Ok(dto::CreateBucketOutput { location })
    }

    /// Where a bucket goes: only the oldest Region makes buckets elsewhere, and
    /// the only one that must not be given its own name.
    fn region_of_new<'r>(
        &'r self,
        signed: Option<&'r str>,
        constraint: Option<&'r str>,
    ) -> S3Result<&'r str> {
        let Some(signed) = signed else {
            return Ok(constraint.unwrap_or(&self.region));
        };
        let incompatible = |what: &str| {
            s3_error!(
                IllegalLocationConstraintException,
                "The {what} location constraint is incompatible for the region specific endpoint \
                 this request was sent to."
            )
        };
        match constraint {
            None if signed == OLDEST => Ok(OLDEST),
            None => Err(incompatible("unspecified")),
            Some(constraint) if constraint == OLDEST && signed == OLDEST => {
                let error = s3_error!(
                    InvalidLocationConstraint,
                    "The specified location-constraint is not valid"
                );
                Err(detailed(error, &[("LocationConstraint", constraint)]))
            }
            Some(constraint) if constraint == signed || signed == OLDEST => Ok(constraint),
            Some(constraint) => Err(incompatible(constraint)),
        }
    }

    pub(crate) fn head_bucket(
        &self,
        input: dto::HeadBucketInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        let output = dto::HeadBucketOutput {
            bucket_region: Some(self.store.region(&input.bucket)?),
            ..Default::default()
        };
        let mut headers = HeaderMap::new();
        let xml = HeaderValue::from_static("application/xml");
        headers.insert(CONTENT_TYPE, xml);
        Ok(S3Response::with_headers(output, headers))
    }

    pub(crate) fn get_bucket_location(
        &self,
        input: dto::GetBucketLocationInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketLocationOutput> {
        let region = self.store.region(&input.bucket)?;
        // The oldest Region is the null location.
        let location_constraint = (region != OLDEST).then(|| region.into());
        Ok(dto::GetBucketLocationOutput {
            location_constraint,
        })
    }

    pub(crate) fn list_buckets(
        &self,
        input: dto::ListBucketsInput,
        sent: Sent,
    ) -> S3Result<dto::ListBucketsOutput> {
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let max = bounded(input.max_buckets, BUCKETS_PER_PAGE_MAX);
        let after = input.continuation_token.as_deref().map(token_key);
        let after = after.transpose()?.unwrap_or_default();
        let in_region = |region: &str| {
            let asked = input.bucket_region.as_deref();
            asked.is_none_or(|asked| asked == region)
        };
        let own = self.store.buckets(sent.account()).into_iter();
        let mut left = own.filter(|(name, region, _)| {
            name.starts_with(prefix) && *name > after && in_region(region)
        });
        let shown = left
            .by_ref()
            .take(usize::from(max))
            .map(|(name, region, created)| dto::Bucket {
                name: Some(name),
                // Shown if the request asks for a page or a Region.
                bucket_region: (input.max_buckets.is_some() || input.bucket_region.is_some())
                    .then_some(region),
                creation_date: Some(timestamp(created)),
            });
        let buckets: Vec<dto::Bucket> = shown.collect();
        let last = buckets.last().and_then(|it| it.name.as_ref());
        let next = last.map(|name| hex::encode(name.as_bytes()));
        Ok(dto::ListBucketsOutput {
            continuation_token: next.filter(|_| left.next().is_some()),
            prefix: input.prefix.clone(),
            buckets: Some(buckets),
            owner: Some(owner(sent.account())),
        })
    }

    pub(crate) fn delete_bucket(
        &self,
        input: dto::DeleteBucketInput,
        _: Sent,
    ) -> S3Result<dto::DeleteBucketOutput> {
        self.store.delete_bucket(&input.bucket)?;
        Ok(dto::DeleteBucketOutput::default())
    }

    pub(crate) fn get_bucket_versioning(
        &self,
        input: dto::GetBucketVersioningInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketVersioningOutput> {
        let status = match self.store.versioning(&input.bucket)? {
            Versioning::Never => None,
            Versioning::Enabled => Some(dto::BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(dto::BucketVersioningStatus::SUSPENDED),
        };
        Ok(dto::GetBucketVersioningOutput {
            status: status.map(dto::BucketVersioningStatus::from_static),
            ..Default::default()
        })
    }

    pub(crate) fn put_bucket_versioning(
        &self,
        input: dto::PutBucketVersioningInput,
        _: Sent,
    ) -> S3Result<dto::PutBucketVersioningOutput> {
        let asked = input.versioning_configuration;
        if asked.mfa_delete.is_some_and(|it| it.as_str() == "Enabled") {
            return Err(s3_error!(
                NotImplemented,
                "MFA delete is not simulated; set versioning without it"
            ));
        }
        let versioning = match asked.status.as_ref().map(|it| it.as_str()) {
            Some(dto::BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(dto::BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            Some(_) => return Err(malformed()),
            None => {
                return Err(s3_error!(
                    IllegalVersioningConfigurationException,
                    "The Versioning element must be specified"
                ));
            }
        };
        self.store.set_versioning(&input.bucket, versioning)?;
        Ok(dto::PutBucketVersioningOutput::default())
    }
}
