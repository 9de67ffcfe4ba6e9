//! A request of each operation.

/// A request that its operation answers to the bucket's owner.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) operation: &'static str,
    pub(super) method: &'static str,
    pub(super) uri: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
}

const fn bare(operation: &'static str, method: &'static str, uri: &'static str) -> Sample {
    sent(operation, method, uri, "")
}

const fn sent(
    operation: &'static str,
    method: &'static str,
    uri: &'static str,
    body: &'static str,
) -> Sample {
    Sample {
        operation,
        method,
        uri,
        headers: &[],
        body,
    }
}

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}]}"#;
const TAGS: &str = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
const CORS: &str = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>\
    <AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>";
const OWNERSHIP: &str = "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter\
    </ObjectOwnership></Rule></OwnershipControls>";
const BLOCK: &str = "<PublicAccessBlockConfiguration>\
    <RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>";
const ENCRYPTION: &str = "<ServerSideEncryptionConfiguration><Rule>\
    <ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
    </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>";
const VERSIONING: &str =
    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const LOCK: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
    </ObjectLockConfiguration>";
const RETENTION: &str = "<Retention><Mode>GOVERNANCE</Mode>\
    <RetainUntilDate>2999-01-01T00:00:00Z</RetainUntilDate></Retention>";
const HOLD: &str = "<LegalHold><Status>ON</Status></LegalHold>";
const DELETE: &str = "<Delete><Object><Key>key</Key></Object></Delete>";
const COMPLETE: &str = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>\
    <ETag>e</ETag></Part></CompleteMultipartUpload>";

/// In the order of the table of operations.
pub(super) const ALL: &[Sample] = &[
    bare("CreateBucket", "PUT", "/new-bucket"),
    bare("HeadBucket", "HEAD", "/bucket"),
    bare("GetBucketLocation", "GET", "/bucket?location"),
    bare("ListBuckets", "GET", "/"),
    bare("DeleteBucket", "DELETE", "/bucket"),
    bare("GetBucketVersioning", "GET", "/bucket?versioning"),
    sent(
        "PutBucketVersioning",
        "PUT",
        "/bucket?versioning",
        VERSIONING,
    ),
    bare("GetBucketTagging", "GET", "/bucket?tagging"),
    sent("PutBucketTagging", "PUT", "/bucket?tagging", TAGS),
    bare("DeleteBucketTagging", "DELETE", "/bucket?tagging"),
    bare("GetBucketCors", "GET", "/bucket?cors"),
    sent("PutBucketCors", "PUT", "/bucket?cors", CORS),
    bare("DeleteBucketCors", "DELETE", "/bucket?cors"),
    bare(
        "GetBucketOwnershipControls",
        "GET",
        "/bucket?ownershipControls",
    ),
    sent(
        "PutBucketOwnershipControls",
        "PUT",
        "/bucket?ownershipControls",
        OWNERSHIP,
    ),
    bare(
        "DeleteBucketOwnershipControls",
        "DELETE",
        "/bucket?ownershipControls",
    ),
    bare("GetPublicAccessBlock", "GET", "/bucket?publicAccessBlock"),
    sent(
        "PutPublicAccessBlock",
        "PUT",
        "/bucket?publicAccessBlock",
        BLOCK,
    ),
    bare(
        "DeletePublicAccessBlock",
        "DELETE",
        "/bucket?publicAccessBlock",
    ),
    bare("GetBucketAcl", "GET", "/bucket?acl"),
    Sample {
        headers: &[("x-amz-acl", "private")],
        ..bare("PutBucketAcl", "PUT", "/bucket?acl")
    },
    bare("GetObjectAcl", "GET", "/bucket/key?acl"),
    Sample {
        headers: &[("x-amz-acl", "bucket-owner-full-control")],
        ..bare("PutObjectAcl", "PUT", "/bucket/key?acl")
    },
    bare("GetBucketEncryption", "GET", "/bucket?encryption"),
    sent(
        "PutBucketEncryption",
        "PUT",
        "/bucket?encryption",
        ENCRYPTION,
    ),
    bare("DeleteBucketEncryption", "DELETE", "/bucket?encryption"),
    bare("GetObjectLockConfiguration", "GET", "/bucket?object-lock"),
    sent(
        "PutObjectLockConfiguration",
        "PUT",
        "/bucket?object-lock",
        LOCK,
    ),
    bare("GetObjectRetention", "GET", "/bucket/key?retention"),
    sent(
        "PutObjectRetention",
        "PUT",
        "/bucket/key?retention",
        RETENTION,
    ),
    bare("GetObjectLegalHold", "GET", "/bucket/key?legal-hold"),
    sent("PutObjectLegalHold", "PUT", "/bucket/key?legal-hold", HOLD),
    bare("GetBucketPolicy", "GET", "/bucket?policy"),
    sent("PutBucketPolicy", "PUT", "/bucket?policy", POLICY),
    bare("DeleteBucketPolicy", "DELETE", "/bucket?policy"),
    bare("GetBucketPolicyStatus", "GET", "/bucket?policyStatus"),
    bare(
        "GetBucketLifecycleConfiguration",
        "GET",
        "/bucket?lifecycle",
    ),
    bare("DeleteBucketLifecycle", "DELETE", "/bucket?lifecycle"),
    bare("GetBucketWebsite", "GET", "/bucket?website"),
    bare("DeleteBucketWebsite", "DELETE", "/bucket?website"),
    bare("GetBucketReplication", "GET", "/bucket?replication"),
    bare("DeleteBucketReplication", "DELETE", "/bucket?replication"),
    bare(
        "GetBucketNotificationConfiguration",
        "GET",
        "/bucket?notification",
    ),
    bare(
        "GetBucketAccelerateConfiguration",
        "GET",
        "/bucket?accelerate",
    ),
    bare("GetBucketLogging", "GET", "/bucket?logging"),
    bare("GetBucketRequestPayment", "GET", "/bucket?requestPayment"),
    sent("PutObject", "PUT", "/bucket/key", "content"),
    Sample {
        headers: &[("x-amz-copy-source", "bucket/key")],
        ..bare("CopyObject", "PUT", "/bucket/copy")
    },
    bare("GetObject", "GET", "/bucket/key"),
    bare("HeadObject", "HEAD", "/bucket/key"),
    Sample {
        headers: &[("x-amz-object-attributes", "ETag")],
        ..bare("GetObjectAttributes", "GET", "/bucket/key?attributes")
    },
    bare("DeleteObject", "DELETE", "/bucket/key"),
    sent("DeleteObjects", "POST", "/bucket?delete", DELETE),
    bare("GetObjectTagging", "GET", "/bucket/key?tagging"),
    sent("PutObjectTagging", "PUT", "/bucket/key?tagging", TAGS),
    bare("DeleteObjectTagging", "DELETE", "/bucket/key?tagging"),
    bare("ListObjects", "GET", "/bucket"),
    bare("ListObjectsV2", "GET", "/bucket?list-type=2"),
    bare("ListObjectVersions", "GET", "/bucket?versions"),
    bare("CreateMultipartUpload", "POST", "/bucket/key?uploads"),
    sent(
        "UploadPart",
        "PUT",
        "/bucket/key?partNumber=1&uploadId=u",
        "part",
    ),
    Sample {
        headers: &[("x-amz-copy-source", "bucket/key")],
        ..bare(
            "UploadPartCopy",
            "PUT",
            "/bucket/key?partNumber=1&uploadId=u",
        )
    },
    sent(
        "CompleteMultipartUpload",
        "POST",
        "/bucket/key?uploadId=u",
        COMPLETE,
    ),
    bare("AbortMultipartUpload", "DELETE", "/bucket/key?uploadId=u"),
    bare("ListParts", "GET", "/bucket/key?uploadId=u"),
    bare("ListMultipartUploads", "GET", "/bucket?uploads"),
];
