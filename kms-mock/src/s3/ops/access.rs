//! Ownership of objects, public access and access lists of buckets and objects, as
//! far as they are true here.
//!
//! Source of truth: Amazon S3 user guide, "Controlling ownership of objects and
//! disabling ACLs for your bucket" and "Blocking public access to your Amazon S3
//! storage": since 2023 a new bucket has no access lists, and a request that brings
//! one is refused; where they are allowed, a public one is refused as long as such
//! are blocked. What a canned ACL gives to groups counts beside the policies
//! (`crate::s3::authorize`). Not modelled: lists that name single grantees, which are
//! refused, and objects that belong to who wrote them: the bucket's owner has all.

use http::HeaderMap;
use s3s::{S3Error, S3Response, S3Result, dto, s3_error};

use super::{Objects, Sent, no_content, owner};
use crate::s3::{
    errors::{absent_of_bucket, detailed, fault, malformed},
    store::{Marks, Settings},
    values::{
        access::{CannedAcl, Ownership, PublicAccessBlock},
        version::VersionId,
    },
};

/// The access list that a request brings, if any.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestedAcl<'a> {
    pub(super) canned: Option<&'a str>,
    /// It names grantees, or brings a list as its body.
    pub(super) grants: bool,
}

/// The access list in the headers of a request.
macro_rules! requested_acl {
    ($input:expr $(, $more:ident)*) => {
        $crate::s3::ops::access::RequestedAcl {
            canned: $input.acl.as_ref().map(|it| it.as_str()),
            grants: $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write_acp.is_some()
                $(|| $input.$more.is_some())*,
        }
    };
}

pub(super) use requested_acl;

impl RequestedAcl<'_> {
    /// The list of an object in a bucket set up so.
    pub(super) fn of_object(self, bucket: &Settings) -> S3Result<CannedAcl> {
        if self.canned == Some(dto::ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL) && !self.grants {
            return Ok(CannedAcl::Private);
        }
        self.read(bucket)
    }

    /// The list of a bucket that is made so.
    pub(super) fn of_new_bucket(self, bucket: &Settings) -> S3Result<CannedAcl> {
        const ENFORCED: Option<Ownership> = Some(Ownership::BucketOwnerEnforced);
        match self.canned {
            Some(dto::BucketCannedACL::PRIVATE) if !self.grants => Ok(CannedAcl::Private),
            canned if bucket.ownership == ENFORCED && (canned.is_some() || self.grants) => {
                Err(fault(
                    "InvalidBucketAclWithObjectOwnership",
                    400,
                    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
                ))
            }
            _ => self.read(bucket),
        }
    }

    /// What is asked for where nothing else is.
    fn some(self) -> S3Result<Self> {
        if self.canned.is_none() && !self.grants {
            let message = "Your request was missing a required header";
            let error = fault("MissingSecurityHeader", 400, message);
            return Err(detailed(error, &[("MissingHeaderName", "x-amz-acl")]));
        }
        Ok(self)
    }

    fn read(self, bucket: &Settings) -> S3Result<CannedAcl> {
        if self.canned.is_none() && !self.grants {
            return Ok(CannedAcl::default());
        }
        if self.canned.is_some() && self.grants {
            return Err(s3_error!(
                InvalidRequest,
                "Specifying both Canned ACLs and Header Grants is not allowed"
            ));
        }
        let canned = self.canned.map(CannedAcl::named).transpose()?;
        if bucket.ownership == Some(Ownership::BucketOwnerEnforced) {
            let message = "The bucket does not allow ACLs";
            return Err(fault("AccessControlListNotSupported", 400, message));
        }
        let Some(canned) = canned else {
            return Err(s3_error!(
                NotImplemented,
                "Grants to single grantees are not simulated; name a canned ACL"
            ));
        };
        let blocked = bucket.public_access.is_some_and(|it| it.block_acls);
        if blocked && canned.is_public() {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        Ok(canned)
    }
}

const OWNERSHIP: &str = "x-amz-object-ownership";

fn unknown_ownership(name: &str) -> S3Error {
    let error = s3_error!(InvalidArgument, "Invalid {OWNERSHIP} header: {name}");
    detailed(error, &[("ArgumentName", OWNERSHIP)])
}

/// Refuses an empty `x-amz-object-ownership`, which the protocol crate would not
/// show.
pub(crate) fn check_ownership(headers: &HeaderMap) -> S3Result<()> {
    match headers.get(OWNERSHIP) {
        Some(name) if name.is_empty() => Err(unknown_ownership("")),
        _ => Ok(()),
    }
}

/// Reads `x-amz-object-ownership`.
pub(super) fn ownership_of_new(asked: Option<&dto::ObjectOwnership>) -> S3Result<Ownership> {
    let Some(asked) = asked else {
        return Ok(Ownership::default());
    };
    let name = asked.as_str();
    Ownership::named(name).ok_or_else(|| unknown_ownership(name))
}

impl Objects {
    pub(crate) fn get_bucket_ownership_controls(
        &self,
        input: dto::GetBucketOwnershipControlsInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketOwnershipControlsOutput> {
        let Some(ownership) = self.store.settings(&input.bucket)?.ownership else {
            return Err(absent_of_bucket(
                "OwnershipControlsNotFoundError",
                "The bucket ownership controls were not found",
                &input.bucket,
            ));
        };
        let rule = dto::OwnershipControlsRule {
            object_ownership: dto::ObjectOwnership::from_static(ownership.name()),
        };
        Ok(dto::GetBucketOwnershipControlsOutput {
            ownership_controls: Some(dto::OwnershipControls { rules: vec![rule] }),
        })
    }

    pub(crate) fn put_bucket_ownership_controls(
        &self,
        input: dto::PutBucketOwnershipControlsInput,
        _: Sent,
    ) -> S3Result<dto::PutBucketOwnershipControlsOutput> {
        self.store.owner(&input.bucket)?;
        let [rule] = input.ownership_controls.rules.as_slice() else {
            return Err(malformed());
        };
        let ownership = Ownership::named(rule.object_ownership.as_str());
        let ownership = Some(ownership.ok_or_else(malformed)?);
        let bucket = &input.bucket;
        self.store.set_up(bucket, |it| it.ownership = ownership)?;
        Ok(dto::PutBucketOwnershipControlsOutput::default())
    }

    pub(crate) fn delete_bucket_ownership_controls(
        &self,
        input: dto::DeleteBucketOwnershipControlsInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketOwnershipControlsOutput>> {
        self.store.set_up(&input.bucket, |it| it.ownership = None)?;
        let output = dto::DeleteBucketOwnershipControlsOutput::default();
        Ok(no_content(output))
    }

    pub(crate) fn get_public_access_block(
        &self,
        input: dto::GetPublicAccessBlockInput,
        _: Sent,
    ) -> S3Result<dto::GetPublicAccessBlockOutput> {
        let Some(block) = self.store.settings(&input.bucket)?.public_access else {
            return Err(absent_of_bucket(
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
                &input.bucket,
            ));
        };
        Ok(dto::GetPublicAccessBlockOutput {
            public_access_block_configuration: Some(dto::PublicAccessBlockConfiguration {
                block_public_acls: Some(block.block_acls),
                ignore_public_acls: Some(block.ignore_acls),
                block_public_policy: Some(block.block_policy),
                restrict_public_buckets: Some(block.restrict_buckets),
            }),
        })
    }

    pub(crate) fn put_public_access_block(
        &self,
        input: dto::PutPublicAccessBlockInput,
        _: Sent,
    ) -> S3Result<dto::PutPublicAccessBlockOutput> {
        let asked = input.public_access_block_configuration;
        let block = PublicAccessBlock {
            block_acls: asked.block_public_acls.unwrap_or(false),
            ignore_acls: asked.ignore_public_acls.unwrap_or(false),
            block_policy: asked.block_public_policy.unwrap_or(false),
            restrict_buckets: asked.restrict_public_buckets.unwrap_or(false),
        };
        let bucket = &input.bucket;
        self.store
            .set_up(bucket, |it| it.public_access = Some(block))?;
        Ok(dto::PutPublicAccessBlockOutput::default())
    }

    pub(crate) fn delete_public_access_block(
        &self,
        input: dto::DeletePublicAccessBlockInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeletePublicAccessBlockOutput>> {
        let bucket = &input.bucket;
        self.store.set_up(bucket, |it| it.public_access = None)?;
        Ok(no_content(dto::DeletePublicAccessBlockOutput::default()))
    }

    pub(crate) fn get_bucket_acl(
        &self,
        input: dto::GetBucketAclInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketAclOutput> {
        let account = self.store.owner(&input.bucket)?;
        let acl = self.store.settings(&input.bucket)?.acl;
        Ok(dto::GetBucketAclOutput {
            grants: Some(acl.grants(&account)),
            owner: Some(owner(&account)),
        })
    }

    pub(crate) fn put_bucket_acl(
        &self,
        input: dto::PutBucketAclInput,
        _: Sent,
    ) -> S3Result<dto::PutBucketAclOutput> {
        let asked = requested_acl!(input, grant_write, access_control_policy).some()?;
        let acl = asked.read(&self.store.settings(&input.bucket)?)?;
        self.store.set_up(&input.bucket, |it| it.acl = acl)?;
        Ok(dto::PutBucketAclOutput::default())
    }

    pub(crate) fn get_object_acl(
        &self,
        input: dto::GetObjectAclInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectAclOutput> {
        let id = VersionId::asked(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref())?;
        let account = self.store.owner(&input.bucket)?;
        Ok(dto::GetObjectAclOutput {
            grants: Some(found.object.description.marks.acl.grants(&account)),
            owner: Some(owner(&account)),
            ..Default::default()
        })
    }

    pub(crate) fn put_object_acl(
        &self,
        input: dto::PutObjectAclInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectAclOutput> {
        let (bucket, key) = (&input.bucket, &input.key);
        let asked = requested_acl!(input, access_control_policy).some()?;
        let settings = self.store.settings(bucket)?;
        let id = VersionId::asked(input.version_id.as_deref())?;
        self.store.get(bucket, key, id.as_ref())?;
        let acl = asked.of_object(&settings)?;
        let marked = |old: &Marks| Ok(Marks { acl, ..*old });
        self.store.mark_object(bucket, key, id.as_ref(), marked)?;
        Ok(dto::PutObjectAclOutput::default())
    }
}
