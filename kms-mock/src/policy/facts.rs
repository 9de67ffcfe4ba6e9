//! What a decision is about: the resource and the facts that condition keys read.
//!
//! Source of truth: AWS KMS developer guide, "Condition keys for AWS KMS"; Amazon S3
//! user guide, "Policy keys in Amazon S3". Which
//! key reads which fact says [`Request`](super::Request); which keys there are says
//! the table of condition keys.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderMap;
use nsm_sim::clock::UnixMillis;

use crate::recipient::VerifiedDocument;

/// The encryption context of a call.
pub type EncryptionContext = BTreeMap<String, String>;

/// The resource of a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Resource<'a> {
    /// A KMS key.
    Key(KeyFacts<'a>),
    /// Anything that has no resource policy, such as an alias.
    Other {
        /// Its ARN.
        arn: &'a str,
        /// The account that owns it.
        account: &'a str,
    },
    /// A bucket of S3, or an object in it: in its own account IAM opens it without the
    /// bucket's policy, and the bucket's policy without IAM.
    Bucket {
        /// `arn:aws:s3:::<bucket>` or `arn:aws:s3:::<bucket>/<key>`.
        arn: &'a str,
        /// The account that owns the bucket.
        account: &'a str,
    },
    /// The whole account and Region (`CreateKey`, `GenerateRandom`, lists).
    Account {
        /// `arn:aws:kms:REGION:ACCOUNT:*`, which a policy may name, or else `*`.
        arn: &'a str,
        /// Twelve digits.
        account: &'a str,
    },
}

impl<'a> Resource<'a> {
    /// The account that owns the resource.
    #[must_use]
    pub fn account(&self) -> &'a str {
        match self {
            Self::Key(key) => key.account,
            Self::Other { account, .. }
            | Self::Bucket { account, .. }
            | Self::Account { account, .. } => account,
        }
    }

    /// What a policy's `Resource` element is compared with.
    #[must_use]
    pub fn arn(&self) -> &'a str {
        match self {
            Self::Key(key) => key.arn,
            Self::Other { arn, .. } | Self::Bucket { arn, .. } | Self::Account { arn, .. } => arn,
        }
    }
}

/// The key as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'a> {
    /// `arn:aws:kms:<region>:<account>:key/<id>`.
    pub arn: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// The Region of the ARN.
    pub region: &'a str,
    /// `SYMMETRIC_DEFAULT`, `RSA_2048`, ….
    pub spec: &'a str,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, ….
    pub usage: &'a str,
    /// `AWS_KMS`, `EXTERNAL`, ….
    pub origin: &'a str,
    /// `PRIMARY` or `REPLICA` for a multi-Region key.
    pub multi_region_type: Option<&'a str>,
    /// Names of the aliases that point at the key.
    pub aliases: &'a [Arc<str>],
    /// The key's tags.
    pub tags: &'a BTreeMap<String, String>,
}

/// A key that does not exist yet, as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct NewKeyFacts<'a> {
    /// `SYMMETRIC_DEFAULT`, `RSA_2048`, ….
    pub spec: &'a str,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, ….
    pub usage: &'a str,
    /// `AWS_KMS`, `EXTERNAL`, ….
    pub origin: &'a str,
    /// `PRIMARY` or `REPLICA` for one that is to be a multi-Region key.
    pub multi_region_type: Option<&'a str>,
}

/// Facts of the call itself; absent ones leave their condition keys absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The encryption context of a symmetric cryptographic operation.
    pub encryption_context: Option<&'a EncryptionContext>,
    /// `SYMMETRIC_DEFAULT`, ….
    pub encryption_algorithm: Option<&'a str>,
    /// `kms:SigningAlgorithm`.
    pub signing_algorithm: Option<&'a str>,
    /// `kms:MacAlgorithm`.
    pub mac_algorithm: Option<&'a str>,
    /// `kms:MessageType`.
    pub message_type: Option<&'a str>,
    /// `kms:KeyAgreementAlgorithm`.
    pub key_agreement_algorithm: Option<&'a str>,
    /// `kms:DataKeyPairSpec`.
    pub data_key_pair_spec: Option<&'a str>,
    /// `kms:WrappingAlgorithm`.
    pub wrapping_algorithm: Option<&'a str>,
    /// `kms:WrappingKeySpec`.
    pub wrapping_key_spec: Option<&'a str>,
    /// `kms:ExpirationModel`.
    pub expiration_model: Option<&'a str>,
    /// `kms:PrimaryRegion` of `UpdatePrimaryRegion`.
    pub primary_region: Option<&'a str>,
    /// `kms:ReplicaRegion` of `ReplicateKey`.
    pub replica_region: Option<&'a str>,
    /// The document of the five operations that take a `Recipient`.
    pub recipient: Option<&'a VerifiedDocument>,
    /// The alias the caller named the key by.
    pub request_alias: Option<&'a str>,
    /// `kms:ReEncryptOnSameKey`.
    pub re_encrypt_on_same_key: Option<bool>,
    /// `kms:BypassPolicyLockoutSafetyCheck`.
    pub bypass_lockout_check: Option<bool>,
    /// `kms:PolicyName`.
    pub policy_name: Option<&'a str>,
    /// `kms:GrantOperations`.
    pub grant_operations: Option<&'a [&'a str]>,
    /// `kms:GrantConstraintType`.
    pub grant_constraint_type: Option<&'a str>,
    /// `kms:GranteePrincipal`.
    pub grantee_principal: Option<&'a str>,
    /// `kms:RetiringPrincipal`.
    pub retiring_principal: Option<&'a str>,
    /// `kms:GrantIsForAWSResource`; false for every call a local world makes.
    pub grant_is_for_aws_resource: Option<bool>,
    /// `kms:ScheduleKeyDeletionPendingWindowInDays`.
    pub pending_window_days: Option<u32>,
    /// `kms:RotationPeriodInDays`.
    pub rotation_period_days: Option<u32>,
    /// The key that `CreateKey` is to make.
    pub new_key: Option<NewKeyFacts<'a>>,
    /// `aws:RequestTag/…` and `aws:TagKeys`: tags to set.
    pub request_tags: Option<&'a BTreeMap<String, String>>,
    /// `aws:TagKeys` of a request that only names tags.
    pub request_tag_keys: Option<&'a [String]>,
    /// `aws:UserAgent`.
    pub user_agent: Option<&'a str>,
    /// The Region that serves the call.
    pub region: Option<&'a str>,
    /// What a request to S3 says.
    pub s3: Option<S3Facts<'a>>,
    /// Keys of other services, by name in lower case: `sts:externalid`. One that
    /// has several values stands once for each.
    pub others: &'a [(&'a str, &'a str)],
}

/// A request to S3, as far as condition keys read it. Nothing is copied: a header or a
/// parameter is looked for when a policy asks for it.
#[derive(Clone, Copy, Debug)]
pub struct S3Facts<'a> {
    /// Its headers, with those that a presigned URL has in its query.
    pub headers: &'a HeaderMap,
    /// Its query, as it was sent.
    pub query: &'a str,
    /// The version that the permission is about, if one is named.
    pub version_id: Option<&'a str>,
    /// The tags of the object as it is.
    pub object_tags: &'a [(String, String)],
    /// The tags that the object is to have.
    pub request_tags: &'a [(String, String)],
    /// `GOVERNANCE` or `COMPLIANCE`, where it is asked for.
    pub lock_mode: Option<&'a str>,
    /// Until when the object is to be kept.
    pub lock_until: Option<UnixMillis>,
    /// `ON` or `OFF`.
    pub legal_hold: Option<&'a str>,
    /// Where a new bucket is to be.
    pub location: Option<&'a str>,
    /// Whether the operation ends with an object in its place.
    pub makes_object: bool,
    /// How it was signed; `None` of a request that was not.
    pub signature: Option<S3Signature<'a>>,
    /// `1.2` or `1.3`; `None` without TLS.
    pub tls_version: Option<&'a str>,
}

/// The signature of a request to S3.
#[derive(Clone, Copy, Debug)]
pub struct S3Signature<'a> {
    /// Whether it stands in the query.
    pub presigned: bool,
    /// When it was made, as it says.
    pub signed_at: UnixMillis,
    /// `x-amz-content-sha256`.
    pub content_sha256: Option<&'a str>,
}
