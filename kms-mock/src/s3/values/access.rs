//! Who owns the objects of a bucket, and who may see them by access lists.
//!
//! Source of truth: Amazon S3 user guide, "Controlling ownership of objects and
//! disabling ACLs for your bucket" and "Blocking public access to your Amazon S3
//! storage".

use s3s::{S3Result, dto, s3_error};
use serde::{Deserialize, Serialize};

use crate::s3::errors::invalid_argument;

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
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            dto::ObjectOwnership::BUCKET_OWNER_ENFORCED => Some(Self::BucketOwnerEnforced),
            dto::ObjectOwnership::BUCKET_OWNER_PREFERRED => Some(Self::BucketOwnerPreferred),
            dto::ObjectOwnership::OBJECT_WRITER => Some(Self::ObjectWriter),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
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
    pub(crate) block_acls: bool,
    pub(crate) ignore_acls: bool,
    pub(crate) block_policy: bool,
    pub(crate) restrict_buckets: bool,
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
    pub(crate) fn named(name: &str) -> S3Result<Self> {
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

    pub(crate) fn is_public(self) -> bool {
        self != Self::Private
    }

    pub(crate) fn grants(self, account: &str) -> Vec<dto::Grant> {
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
