//! Who owns objects, who may see them and how they are encrypted, as far as it is
//! true here.
//!
//! Source of truth: Amazon S3 user guide, "Controlling ownership of objects and
//! disabling ACLs for your bucket" and "Blocking public access to your Amazon S3
//! storage": since 2023 a new bucket has no access lists, and who sends one is
//! refused; where they are allowed, a public one is refused as long as such are
//! blocked. No list takes anything away here, as there is no authorization: what a
//! canned ACL gives to groups, those who are authenticated have anyway, and with
//! lenient authentication that is everybody. Lists that name single grantees, as
//! who would say who is kept out, are refused. Encryption at rest may be set to
//! what S3 does unasked.

use http::HeaderMap;
use s3s::{S3Error, S3Response, S3Result, dto, s3_error};
use serde::{Deserialize, Serialize};

use super::{
    Objects, Sent,
    errors::{detailed, fault, invalid_argument, malformed},
    no_content,
    objects::version,
    owner,
    store::{Marks, Settings},
};

/// Whose the objects of a bucket are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ownership {
    /// There are no access lists.
    #[default]
    BucketOwnerEnforced,
    BucketOwnerPreferred,
    ObjectWriter,
}

impl Ownership {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            dto::ObjectOwnership::BUCKET_OWNER_ENFORCED => Some(Self::BucketOwnerEnforced),
            dto::ObjectOwnership::BUCKET_OWNER_PREFERRED => Some(Self::BucketOwnerPreferred),
            dto::ObjectOwnership::OBJECT_WRITER => Some(Self::ObjectWriter),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BucketOwnerEnforced => dto::ObjectOwnership::BUCKET_OWNER_ENFORCED,
            Self::BucketOwnerPreferred => dto::ObjectOwnership::BUCKET_OWNER_PREFERRED,
            Self::ObjectWriter => dto::ObjectOwnership::OBJECT_WRITER,
        }
    }
}

/// What of public access a bucket blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // S3's four switches
pub(crate) struct PublicAccessBlock {
    block_acls: bool,
    ignore_acls: bool,
    block_policy: bool,
    restrict_buckets: bool,
}

impl PublicAccessBlock {
    pub(crate) const ALL: Self = Self {
        block_acls: true,
        ignore_acls: true,
        block_policy: true,
        restrict_buckets: true,
    };
}

/// A list by its name; the owner of the bucket has full control in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CannedAcl {
    /// And those of the bucket's owner, who is the owner of every object.
    #[default]
    Private,
    PublicRead,
    PublicReadWrite,
    AuthenticatedRead,
}

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

impl CannedAcl {
    fn named(name: &str) -> S3Result<Self> {
        match name {
            dto::ObjectCannedACL::PRIVATE
            | dto::ObjectCannedACL::BUCKET_OWNER_READ
            | dto::ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL => Ok(Self::Private),
            dto::ObjectCannedACL::PUBLIC_READ => Ok(Self::PublicRead),
            dto::ObjectCannedACL::PUBLIC_READ_WRITE => Ok(Self::PublicReadWrite),
            dto::ObjectCannedACL::AUTHENTICATED_READ => Ok(Self::AuthenticatedRead),
            dto::ObjectCannedACL::AWS_EXEC_READ | "log-delivery-write" => Err(s3_error!(
                NotImplemented,
                "No other service reads or writes buckets here; choose another canned ACL"
            )),
            _ => Err(invalid_argument("x-amz-acl", name, "")),
        }
    }

    fn is_public(self) -> bool {
        self != Self::Private
    }

    fn grants(self, account: &str) -> Vec<dto::Grant> {
        const READ: &str = dto::Permission::READ;
        let groups: &[(&'static str, &'static str)] = match self {
            Self::Private => &[],
            Self::PublicRead => &[(ALL_USERS, READ)],
            Self::PublicReadWrite => &[(ALL_USERS, READ), (ALL_USERS, dto::Permission::WRITE)],
            Self::AuthenticatedRead => &[(AUTHENTICATED_USERS, READ)],
        };
        let groups = groups.iter().map(|(group, permission)| {
            let grantee = dto::Grantee {
                display_name: None,
                email_address: None,
                id: None,
                type_: dto::Type::from_static(dto::Type::GROUP),
                uri: Some((*group).to_owned()),
            };
            dto::Grant {
                grantee: Some(grantee),
                permission: Some(dto::Permission::from_static(permission)),
            }
        });
        std::iter::once(full_control(account))
            .chain(groups)
            .collect()
    }
}

/// The access list that a request brings, if any.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedAcl<'a> {
    pub(super) canned: Option<&'a str>,
    /// It names grantees, or brings a list as its body.
    pub(super) grants: bool,
}

/// The access list in the headers of a request.
macro_rules! asked_acl {
    ($input:expr $(, $more:ident)*) => {
        $crate::s3::access::AskedAcl {
            canned: $input.acl.as_ref().map(|it| it.as_str()),
            grants: $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write_acp.is_some()
                $(|| $input.$more.is_some())*,
        }
    };
}

pub(super) use asked_acl;

impl AskedAcl<'_> {
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
pub(super) fn check_ownership(headers: &HeaderMap) -> S3Result<()> {
    match headers.get(OWNERSHIP) {
        Some(name) if name.is_empty() => Err(unknown_ownership("")),
        _ => Ok(()),
    }
}

impl Objects {
    /// Reads `x-amz-object-ownership`.
    pub(super) fn ownership_of_new(asked: Option<&dto::ObjectOwnership>) -> S3Result<Ownership> {
        let Some(asked) = asked else {
            return Ok(Ownership::default());
        };
        let name = asked.as_str();
        Ownership::named(name).ok_or_else(|| unknown_ownership(name))
    }

    pub(super) fn ownership(
        &self,
        input: dto::GetBucketOwnershipControlsInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketOwnershipControlsOutput> {
        let Some(ownership) = self.store.settings(&input.bucket)?.ownership else {
            let message = "The bucket ownership controls were not found";
            let error = fault("OwnershipControlsNotFoundError", 404, message);
            return Err(detailed(error, &[("BucketName", &input.bucket)]));
        };
        let rule = dto::OwnershipControlsRule {
            object_ownership: dto::ObjectOwnership::from_static(ownership.name()),
        };
        Ok(dto::GetBucketOwnershipControlsOutput {
            ownership_controls: Some(dto::OwnershipControls { rules: vec![rule] }),
        })
    }

    pub(super) fn set_ownership(
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

    pub(super) fn forget_ownership(
        &self,
        input: dto::DeleteBucketOwnershipControlsInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketOwnershipControlsOutput>> {
        self.store.set_up(&input.bucket, |it| it.ownership = None)?;
        let output = dto::DeleteBucketOwnershipControlsOutput::default();
        Ok(no_content(output))
    }

    pub(super) fn public_access(
        &self,
        input: dto::GetPublicAccessBlockInput,
        _: Sent,
    ) -> S3Result<dto::GetPublicAccessBlockOutput> {
        let Some(block) = self.store.settings(&input.bucket)?.public_access else {
            let message = "The public access block configuration was not found";
            let error = fault("NoSuchPublicAccessBlockConfiguration", 404, message);
            return Err(detailed(error, &[("BucketName", &input.bucket)]));
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

    pub(super) fn block_public_access(
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

    pub(super) fn forget_public_access(
        &self,
        input: dto::DeletePublicAccessBlockInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeletePublicAccessBlockOutput>> {
        let bucket = &input.bucket;
        self.store.set_up(bucket, |it| it.public_access = None)?;
        Ok(no_content(dto::DeletePublicAccessBlockOutput::default()))
    }

    pub(super) fn bucket_acl(
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

    pub(super) fn set_bucket_acl(
        &self,
        input: dto::PutBucketAclInput,
        _: Sent,
    ) -> S3Result<dto::PutBucketAclOutput> {
        let asked = asked_acl!(input, grant_write, access_control_policy).some()?;
        let acl = asked.read(&self.store.settings(&input.bucket)?)?;
        self.store.set_up(&input.bucket, |it| it.acl = acl)?;
        Ok(dto::PutBucketAclOutput::default())
    }

    pub(super) fn object_acl(
        &self,
        input: dto::GetObjectAclInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectAclOutput> {
        let id = version(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref())?;
        let account = self.store.owner(&input.bucket)?;
        Ok(dto::GetObjectAclOutput {
            grants: Some(found.object.description.marks.acl.grants(&account)),
            owner: Some(owner(&account)),
            ..Default::default()
        })
    }

    pub(super) fn set_object_acl(
        &self,
        input: dto::PutObjectAclInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectAclOutput> {
        let (bucket, key) = (&input.bucket, &input.key);
        let asked = asked_acl!(input, access_control_policy).some()?;
        let settings = self.store.settings(bucket)?;
        let id = version(input.version_id.as_deref())?;
        self.store.get(bucket, key, id.as_ref())?;
        let acl = asked.of_object(&settings)?;
        let marked = |old: &Marks| Ok(Marks { acl, ..*old });
        self.store.mark_object(bucket, key, id.as_ref(), marked)?;
        Ok(dto::PutObjectAclOutput::default())
    }

    pub(super) fn encryption(
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

    pub(super) fn set_encryption(
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

    pub(super) fn forget_encryption(
        &self,
        input: dto::DeleteBucketEncryptionInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketEncryptionOutput>> {
        let bucket = &input.bucket;
        self.store.set_up(bucket, |it| it.bucket_key = false)?;
        Ok(no_content(dto::DeleteBucketEncryptionOutput::default()))
    }
}

fn full_control(account: &str) -> dto::Grant {
    dto::Grant {
        grantee: Some(dto::Grantee {
            display_name: None,
            email_address: None,
            id: Some(account.to_owned()),
            type_: dto::Type::from_static(dto::Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(dto::Permission::from_static(dto::Permission::FULL_CONTROL)),
    }
}
