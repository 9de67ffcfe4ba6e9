//! The operations of S3 that are answered here, and the permissions that each needs:
//! ONE table. `crate::s3::authorize` asks for exactly these, and a method of the
//! service that has no row does not compile.
//!
//! Source of truth: AWS's service authorization reference for Amazon S3; Amazon S3
//! user guide, "Required permissions for Amazon S3 API operations". The condition keys
//! of each permission stand in [`condition_key`](super::condition_key).
//!
//! Not modelled: access points, directory buckets, Object Lambda, and the operations
//! that the store refuses as not implemented.

/// What one permission is needed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// The buckets of the caller's account: `*`.
    Account,
    /// The bucket of the request.
    Bucket,
    /// The bucket that is to be made, in the caller's account.
    NewBucket,
    /// The object of the request.
    Object,
    /// The object that is copied.
    Source,
    /// Every object that the body lists, each for itself: the operation asks.
    EachObject,
}

/// When a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// The request has the header with any value.
    Header(&'static str),
    /// The request has the header, and it says `true`.
    Says(&'static str),
    /// The request gives an access list, by name or by grantees.
    Acl,
    /// A copy has tags: those of its source, or those that the request gives.
    TagsCopied,
    /// The source's tags go along, and it has some.
    SourceTagsCopied,
}

/// One permission that an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) action: &'static str,
    /// The permission in its place when the request names a version.
    pub(crate) of_version: Option<&'static str>,
    pub(crate) on: On,
    pub(crate) when: When,
}

impl Need {
    const fn new(action: &'static str, on: On) -> Self {
        Self {
            action,
            of_version: None,
            on,
            when: When::Always,
        }
    }

    const fn or_of_version(self, action: &'static str) -> Self {
        Self {
            of_version: Some(action),
            ..self
        }
    }

    const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// The permission for a request that names a version, or none.
    pub(crate) fn action(&self, names_version: bool) -> &'static str {
        match self.of_version {
            Some(action) if names_version => action,
            _ => self.action,
        }
    }
}

/// What the table says of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Whether it only reads, as CloudTrail's `readOnly` says.
    pub(crate) is_read_only: bool,
    /// `s3:ObjectCreationOperation`: whether an object is there afterwards.
    pub(crate) makes_object: bool,
    pub(crate) needs: &'static [Need],
}

const fn account(action: &'static str) -> Need {
    Need::new(action, On::Account)
}

const fn bucket(action: &'static str) -> Need {
    Need::new(action, On::Bucket)
}

const fn new_bucket(action: &'static str) -> Need {
    Need::new(action, On::NewBucket)
}

const fn object(action: &'static str) -> Need {
    Need::new(action, On::Object)
}

const fn source(action: &'static str) -> Need {
    Need::new(action, On::Source)
}

const fn read(needs: &'static [Need]) -> Row {
    Row {
        is_read_only: true,
        ..change(needs)
    }
}

const fn change(needs: &'static [Need]) -> Row {
    // An operation that needs nothing would be allowed to everybody.
    assert!(!needs.is_empty());
    Row {
        is_read_only: false,
        makes_object: false,
        needs,
    }
}

const fn make(needs: &'static [Need]) -> Row {
    Row {
        makes_object: true,
        ..change(needs)
    }
}

const GET: Need = object("s3:GetObject").or_of_version("s3:GetObjectVersion");
const PUT: Need = object("s3:PutObject");
const PUT_TAGS: Need = object("s3:PutObjectTagging").when(When::Header("x-amz-tagging"));
const PUT_ACL: Need = object("s3:PutObjectAcl").when(When::Acl);
const PUT_RETENTION: Need =
    object("s3:PutObjectRetention").when(When::Header("x-amz-object-lock-mode"));
const PUT_HOLD: Need =
    object("s3:PutObjectLegalHold").when(When::Header("x-amz-object-lock-legal-hold"));
const BYPASS: When = When::Says("x-amz-bypass-governance-retention");
const GET_SOURCE: Need = source("s3:GetObject").or_of_version("s3:GetObjectVersion");

macro_rules! operations {
    ($($method:ident: $name:ident => $row:expr;)+) => {
        /// An operation of S3.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum S3Operation { $($name),+ }

        // By the names of the methods, so that each method finds its row.
        #[allow(non_upper_case_globals)]
        impl S3Operation {
            $(pub(crate) const $method: Self = Self::$name;)+
        }

        impl S3Operation {
            /// As the API and CloudTrail name it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            pub(crate) const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => { const ROW: &Row = &$row; ROW })+
                }
            }

            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

#[rustfmt::skip]
operations! {
    create_bucket: CreateBucket => change(&[
        new_bucket("s3:CreateBucket"),
        new_bucket("s3:PutBucketAcl").when(When::Acl),
        new_bucket("s3:PutBucketObjectLockConfiguration").when(When::Says("x-amz-bucket-object-lock-enabled")),
        new_bucket("s3:PutBucketVersioning").when(When::Says("x-amz-bucket-object-lock-enabled")),
        new_bucket("s3:PutBucketOwnershipControls").when(When::Header("x-amz-object-ownership")),
    ]);
    head_bucket: HeadBucket => read(&[bucket("s3:ListBucket")]);
    get_bucket_location: GetBucketLocation => read(&[bucket("s3:GetBucketLocation")]);
    list_buckets: ListBuckets => read(&[account("s3:ListAllMyBuckets")]);
    delete_bucket: DeleteBucket => change(&[bucket("s3:DeleteBucket")]);
    get_bucket_versioning: GetBucketVersioning => read(&[bucket("s3:GetBucketVersioning")]);
    put_bucket_versioning: PutBucketVersioning => change(&[bucket("s3:PutBucketVersioning")]);
    get_bucket_tagging: GetBucketTagging => read(&[bucket("s3:GetBucketTagging")]);
    put_bucket_tagging: PutBucketTagging => change(&[bucket("s3:PutBucketTagging")]);
    delete_bucket_tagging: DeleteBucketTagging => change(&[bucket("s3:PutBucketTagging")]);
    get_bucket_cors: GetBucketCors => read(&[bucket("s3:GetBucketCORS")]);
    put_bucket_cors: PutBucketCors => change(&[bucket("s3:PutBucketCORS")]);
    delete_bucket_cors: DeleteBucketCors => change(&[bucket("s3:PutBucketCORS")]);
    get_bucket_ownership_controls: GetBucketOwnershipControls => read(&[bucket("s3:GetBucketOwnershipControls")]);
    put_bucket_ownership_controls: PutBucketOwnershipControls => change(&[bucket("s3:PutBucketOwnershipControls")]);
    delete_bucket_ownership_controls: DeleteBucketOwnershipControls => change(&[bucket("s3:PutBucketOwnershipControls")]);
    get_public_access_block: GetPublicAccessBlock => read(&[bucket("s3:GetBucketPublicAccessBlock")]);
    put_public_access_block: PutPublicAccessBlock => change(&[bucket("s3:PutBucketPublicAccessBlock")]);
    delete_public_access_block: DeletePublicAccessBlock => change(&[bucket("s3:PutBucketPublicAccessBlock")]);
    get_bucket_acl: GetBucketAcl => read(&[bucket("s3:GetBucketAcl")]);
    put_bucket_acl: PutBucketAcl => change(&[bucket("s3:PutBucketAcl")]);
    get_object_acl: GetObjectAcl => read(&[object("s3:GetObjectAcl").or_of_version("s3:GetObjectVersionAcl")]);
    put_object_acl: PutObjectAcl => change(&[object("s3:PutObjectAcl").or_of_version("s3:PutObjectVersionAcl")]);
    get_bucket_encryption: GetBucketEncryption => read(&[bucket("s3:GetEncryptionConfiguration")]);
    put_bucket_encryption: PutBucketEncryption => change(&[bucket("s3:PutEncryptionConfiguration")]);
    delete_bucket_encryption: DeleteBucketEncryption => change(&[bucket("s3:PutEncryptionConfiguration")]);
    get_object_lock_configuration: GetObjectLockConfiguration => read(&[bucket("s3:GetBucketObjectLockConfiguration")]);
    put_object_lock_configuration: PutObjectLockConfiguration => change(&[bucket("s3:PutBucketObjectLockConfiguration")]);
    get_object_retention: GetObjectRetention => read(&[object("s3:GetObjectRetention")]);
    put_object_retention: PutObjectRetention => change(&[
        object("s3:PutObjectRetention"),
        object("s3:BypassGovernanceRetention").when(BYPASS),
    ]);
    get_object_legal_hold: GetObjectLegalHold => read(&[object("s3:GetObjectLegalHold")]);
    put_object_legal_hold: PutObjectLegalHold => change(&[object("s3:PutObjectLegalHold")]);
    get_bucket_policy: GetBucketPolicy => read(&[bucket("s3:GetBucketPolicy")]);
    put_bucket_policy: PutBucketPolicy => change(&[bucket("s3:PutBucketPolicy")]);
    delete_bucket_policy: DeleteBucketPolicy => change(&[bucket("s3:DeleteBucketPolicy")]);
    get_bucket_policy_status: GetBucketPolicyStatus => read(&[bucket("s3:GetBucketPolicyStatus")]);
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfiguration => read(&[bucket("s3:GetLifecycleConfiguration")]);
    delete_bucket_lifecycle: DeleteBucketLifecycle => change(&[bucket("s3:PutLifecycleConfiguration")]);
    get_bucket_website: GetBucketWebsite => read(&[bucket("s3:GetBucketWebsite")]);
    delete_bucket_website: DeleteBucketWebsite => change(&[bucket("s3:DeleteBucketWebsite")]);
    get_bucket_replication: GetBucketReplication => read(&[bucket("s3:GetReplicationConfiguration")]);
    delete_bucket_replication: DeleteBucketReplication => change(&[bucket("s3:PutReplicationConfiguration")]);
    get_bucket_notification_configuration: GetBucketNotificationConfiguration => read(&[bucket("s3:GetBucketNotification")]);
    get_bucket_accelerate_configuration: GetBucketAccelerateConfiguration => read(&[bucket("s3:GetAccelerateConfiguration")]);
    get_bucket_logging: GetBucketLogging => read(&[bucket("s3:GetBucketLogging")]);
    get_bucket_request_payment: GetBucketRequestPayment => read(&[bucket("s3:GetBucketRequestPayment")]);
    put_object: PutObject => make(&[PUT, PUT_TAGS, PUT_ACL, PUT_RETENTION, PUT_HOLD]);
    copy_object: CopyObject => make(&[
        GET_SOURCE,
        source("s3:GetObjectTagging").or_of_version("s3:GetObjectVersionTagging").when(When::SourceTagsCopied),
        PUT,
        object("s3:PutObjectTagging").when(When::TagsCopied),
        PUT_ACL,
        PUT_RETENTION,
        PUT_HOLD,
    ]);
    get_object: GetObject => read(&[GET]);
    head_object: HeadObject => read(&[GET]);
    get_object_attributes: GetObjectAttributes => read(&[
        GET,
        object("s3:GetObjectAttributes").or_of_version("s3:GetObjectVersionAttributes"),
    ]);
    delete_object: DeleteObject => change(&[
        object("s3:DeleteObject").or_of_version("s3:DeleteObjectVersion"),
        object("s3:BypassGovernanceRetention").when(BYPASS),
    ]);
    delete_objects: DeleteObjects => change(&[
        Need::new("s3:DeleteObject", On::EachObject).or_of_version("s3:DeleteObjectVersion"),
        Need::new("s3:BypassGovernanceRetention", On::EachObject).when(BYPASS),
    ]);
    get_object_tagging: GetObjectTagging => read(&[object("s3:GetObjectTagging").or_of_version("s3:GetObjectVersionTagging")]);
    put_object_tagging: PutObjectTagging => change(&[object("s3:PutObjectTagging").or_of_version("s3:PutObjectVersionTagging")]);
    delete_object_tagging: DeleteObjectTagging => change(&[object("s3:DeleteObjectTagging").or_of_version("s3:DeleteObjectVersionTagging")]);
    list_objects: ListObjects => read(&[bucket("s3:ListBucket")]);
    list_objects_v2: ListObjectsV2 => read(&[bucket("s3:ListBucket")]);
    list_object_versions: ListObjectVersions => read(&[bucket("s3:ListBucketVersions")]);
    create_multipart_upload: CreateMultipartUpload => change(&[PUT, PUT_TAGS, PUT_ACL, PUT_RETENTION, PUT_HOLD]);
    upload_part: UploadPart => change(&[PUT]);
    upload_part_copy: UploadPartCopy => change(&[GET_SOURCE, PUT]);
    complete_multipart_upload: CompleteMultipartUpload => make(&[PUT]);
    abort_multipart_upload: AbortMultipartUpload => change(&[object("s3:AbortMultipartUpload")]);
    list_parts: ListParts => read(&[object("s3:ListMultipartUploadParts")]);
    list_multipart_uploads: ListMultipartUploads => read(&[bucket("s3:ListBucketMultipartUploads")]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_gets_heads_or_lists_only_reads() {
        for operation in S3Operation::ALL {
            let name = operation.name();
            let shows = ["Get", "Head", "List"]
                .iter()
                .any(|it| name.starts_with(it));
            assert_eq!(operation.row().is_read_only, shows, "{name}");
        }
    }

    #[test]
    fn every_operation_always_needs_a_permission_of_s3() {
        for operation in S3Operation::ALL {
            let needs = operation.row().needs;
            assert!(
                needs.iter().any(|need| need.when == When::Always),
                "{operation:?}"
            );
            for need in needs {
                for action in [need.action(false), need.action(true)] {
                    assert!(action.starts_with("s3:"), "{operation:?}: {action}");
                }
            }
        }
    }
}
