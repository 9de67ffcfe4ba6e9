//! S3: enough of it for the clients of an enclave to store and fetch objects,
//! large ones in parts, and to go back to an earlier version.
//!
//! Source of truth: the Amazon S3 API reference; the protocol (routing, XML) is
//! the crate `s3s`, the store behind it answers from memory. Signatures are checked
//! before a request comes here, with the world's clock. Not modelled: ACLs,
//! bucket policies, lifecycle, storage classes, and authorization: whoever is
//! authenticated may do everything that object lock does not forbid. Answers say `AES256` as S3's do,
//! but nothing is encrypted at rest here; what asks for a key of its own
//! (SSE-KMS, SSE-C) is refused.

mod absent;
mod access;
mod buckets;
mod checksum;
mod conditions;
mod content;
mod cors;
mod errors;
pub(crate) mod keep;
mod listing;
mod lock;
mod metadata;
mod multipart;
mod objects;
mod query;
mod store;
mod tags;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, HOST, RANGE},
};
use http_body_util::BodyExt;
use nsm_sim::clock::{Clock, UnixMillis};
use s3s::{
    Body, HttpRequest, HttpResponse, S3, S3Request, S3Response, S3Result,
    dto::{self, Timestamp},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};

pub(crate) use self::errors::{error_response, fault};
use self::{
    metadata::{UserMetadata, take_metadata},
    store::{Settings, Store, StoreError},
};
use crate::journal::{Journal, Unwritten};

/// The object store of one world, behind the S3 protocol.
pub struct ObjectStore {
    service: S3Service,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    region: String,
}

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectStore(..)")
    }
}

impl ObjectStore {
    /// An empty store of at most `bytes_max` bytes, in memory.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, region: &str, bytes_max: u64) -> Self {
        Self::with_journal(clock, region, bytes_max, &Journal::memory())
    }

    /// An empty store of at most `bytes_max` bytes whose changes go by `journal`.
    pub(crate) fn with_journal(
        clock: Arc<dyn Clock>,
        region: &str,
        bytes_max: u64,
        journal: &Journal,
    ) -> Self {
        let store = Arc::new(Store::new(bytes_max, journal.clone()));
        let objects = Objects {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            region: region.to_owned(),
        };
        Self {
            service: S3ServiceBuilder::new(objects).build(),
            store,
            clock,
            region: region.to_owned(),
        }
    }

    /// Makes a bucket unless there is one of this name.
    pub(crate) fn plant_bucket(&self, name: &str, account: &str) -> Result<(), Unwritten> {
        let place = (account, self.region.as_str());
        let now = self.clock.now();
        match self
            .store
            .create_bucket(name, place, Settings::default(), now)
        {
            Err(StoreError::Unwritten(unwritten)) => Err(unwritten),
            _ => Ok(()),
        }
    }

    /// Forgets all buckets and objects, in memory and in the data directory.
    pub(crate) fn clear(&self) -> Result<(), Unwritten> {
        self.store.clear()
    }

    /// Answers one authenticated request of `account`, signed for `region` if
    /// it was signed, whose signature and chunking have been taken off.
    pub(crate) async fn call(
        &self,
        mut parts: http::request::Parts,
        body: Bytes,
        account: &str,
        region: Option<&str>,
    ) -> HttpResponse {
        if parts.method == Method::OPTIONS {
            return self.preflight(parts.uri.path(), &parts.headers).await;
        }
        query::take_headers(&mut parts);
        let metadata = match take_metadata(&mut parts.headers) {
            Ok(metadata) => metadata,
            Err(error) => return error_response(error),
        };
        let host = parts.headers.get(HOST).and_then(|it| it.to_str().ok());
        let sent = Sent {
            body: body.clone(),
            account: account.to_owned(),
            region: region.map(str::to_owned),
            metadata,
            host: host.unwrap_or_default().to_owned(),
        };
        parts.extensions.insert(sent);
        if let Err(error) = check_bucket(&parts)
            .and_then(|()| query::check_keys(&parts))
            .and_then(|()| query::check_counts(&parts))
            .and_then(|()| access::check_ownership(&parts.headers))
            .and_then(|()| self.check_owners(&parts))
        {
            return errors::finished(error_response(error), &parts.method).await;
        }
        lenient_headers(&mut parts.headers);
        let method = parts.method.clone();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let cross_origin = self.cross_origin(parts.uri.path(), &method, &parts.headers);
        let request = HttpRequest::from_parts(parts, Body::from(body));
        let Ok(mut response) = self.service.call(request).await else {
            return error_response(s3_error!(InternalError));
        };
        cors::add(response.headers_mut(), cross_origin);
        if let Some(Status(status)) = response.extensions_mut().remove() {
            *response.status_mut() = status;
        }
        if method == Method::GET && query.split('&').any(is_attributes) {
            return with_bare_etag(errors::finished(response, &method).await).await;
        }
        errors::finished(response, &method).await
    }
}

impl ObjectStore {
    /// Refuses a request whose buckets belong to others than it expects.
    fn check_owners(&self, parts: &http::request::Parts) -> S3Result<()> {
        let header = |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok());
        let expectations = [
            ("x-amz-expected-bucket-owner", Some(parts.uri.path())),
            (
                "x-amz-source-expected-bucket-owner",
                header("x-amz-copy-source"),
            ),
        ];
        for (name, path) in expectations {
            let (Some(expected), Some(path)) = (header(name), path) else {
                continue;
            };
            let owner = self.store.owner(bucket_of(path));
            if owner.is_ok_and(|owner| owner != expected) {
                return Err(s3_error!(AccessDenied, "Access Denied"));
            }
        }
        Ok(())
    }
}

/// What a request brings beside what the protocol crate makes of it.
#[derive(Clone, Default)]
struct Sent {
    /// The body, beside the stream that it becomes.
    body: Bytes,
    /// The caller's account.
    account: String,
    /// The Region of the signature.
    region: Option<String>,
    metadata: UserMetadata,
    /// The endpoint as the client knows it.
    host: String,
}

/// The operations on the store.
struct Objects {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    region: String,
}

type Answering<'r, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'r>>;

/// Methods of the `S3` trait, each ready at once: nothing here waits. One `with
/// response` says more than its output.
macro_rules! operations {
    ($($operation:ident = $method:ident: $input:ident => $output:ident $(with $response:ident)?;)*) => {
        impl S3 for Objects {
            $(fn $operation<'s, 'r>(
                &'s self,
                request: S3Request<dto::$input>,
            ) -> Answering<'r, dto::$output>
            where
                's: 'r,
                Self: 'r,
            {
                let S3Request { input, mut extensions, .. } = request;
                let sent = extensions.remove::<Sent>().unwrap_or_default();
                let answer = self.$method(input, sent);
                Box::pin(std::future::ready(
                    answer.map(|answer| operations!(@answer $($response)? answer)),
                ))
            })*
        }
    };
    (@answer $answer:ident) => { S3Response::new($answer) };
    (@answer response $answer:ident) => { $answer };
}

operations! {
    create_bucket = create_bucket_of: CreateBucketInput => CreateBucketOutput;
    head_bucket = head_of_bucket: HeadBucketInput => HeadBucketOutput with response;
    get_bucket_location = location: GetBucketLocationInput => GetBucketLocationOutput;
    list_buckets = buckets: ListBucketsInput => ListBucketsOutput;
    delete_bucket = remove_bucket: DeleteBucketInput => DeleteBucketOutput;
    get_bucket_versioning = versioning: GetBucketVersioningInput => GetBucketVersioningOutput;
    put_bucket_versioning = set_versioning: PutBucketVersioningInput => PutBucketVersioningOutput;
    get_bucket_tagging = bucket_tags: GetBucketTaggingInput => GetBucketTaggingOutput;
    put_bucket_tagging = tag_bucket: PutBucketTaggingInput => PutBucketTaggingOutput with response;
    delete_bucket_tagging = untag_bucket: DeleteBucketTaggingInput => DeleteBucketTaggingOutput with response;
    get_bucket_cors = cors: GetBucketCorsInput => GetBucketCorsOutput;
    put_bucket_cors = set_cors: PutBucketCorsInput => PutBucketCorsOutput;
    delete_bucket_cors = forget_cors: DeleteBucketCorsInput => DeleteBucketCorsOutput with response;
    get_bucket_ownership_controls = ownership: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput;
    put_bucket_ownership_controls = set_ownership: PutBucketOwnershipControlsInput => PutBucketOwnershipControlsOutput;
    delete_bucket_ownership_controls = forget_ownership: DeleteBucketOwnershipControlsInput => DeleteBucketOwnershipControlsOutput with response;
    get_public_access_block = public_access: GetPublicAccessBlockInput => GetPublicAccessBlockOutput;
    put_public_access_block = block_public_access: PutPublicAccessBlockInput => PutPublicAccessBlockOutput;
    delete_public_access_block = forget_public_access: DeletePublicAccessBlockInput => DeletePublicAccessBlockOutput with response;
    get_bucket_acl = bucket_acl: GetBucketAclInput => GetBucketAclOutput;
    put_bucket_acl = set_bucket_acl: PutBucketAclInput => PutBucketAclOutput;
    get_object_acl = object_acl: GetObjectAclInput => GetObjectAclOutput;
    put_object_acl = set_object_acl: PutObjectAclInput => PutObjectAclOutput;
    get_bucket_encryption = encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput;
    put_bucket_encryption = set_encryption: PutBucketEncryptionInput => PutBucketEncryptionOutput;
    delete_bucket_encryption = forget_encryption: DeleteBucketEncryptionInput => DeleteBucketEncryptionOutput with response;
    get_object_lock_configuration = bucket_lock: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput;
    put_object_lock_configuration = lock_bucket: PutObjectLockConfigurationInput => PutObjectLockConfigurationOutput;
    get_object_retention = retention: GetObjectRetentionInput => GetObjectRetentionOutput;
    put_object_retention = retain: PutObjectRetentionInput => PutObjectRetentionOutput;
    get_object_legal_hold = legal_hold: GetObjectLegalHoldInput => GetObjectLegalHoldOutput;
    put_object_legal_hold = hold: PutObjectLegalHoldInput => PutObjectLegalHoldOutput;
    get_bucket_policy = no_policy: GetBucketPolicyInput => GetBucketPolicyOutput;
    get_bucket_policy_status = no_policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput;
    delete_bucket_policy = forget_policy: DeleteBucketPolicyInput => DeleteBucketPolicyOutput with response;
    get_bucket_lifecycle_configuration = no_lifecycle: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput;
    delete_bucket_lifecycle = forget_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput with response;
    get_bucket_website = no_website: GetBucketWebsiteInput => GetBucketWebsiteOutput;
    delete_bucket_website = forget_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput with response;
    get_bucket_replication = no_replication: GetBucketReplicationInput => GetBucketReplicationOutput;
    delete_bucket_replication = forget_replication: DeleteBucketReplicationInput => DeleteBucketReplicationOutput with response;
    get_bucket_notification_configuration = no_notifications: GetBucketNotificationConfigurationInput => GetBucketNotificationConfigurationOutput;
    get_bucket_accelerate_configuration = no_acceleration: GetBucketAccelerateConfigurationInput => GetBucketAccelerateConfigurationOutput;
    get_bucket_logging = no_logging: GetBucketLoggingInput => GetBucketLoggingOutput;
    get_bucket_request_payment = payer: GetBucketRequestPaymentInput => GetBucketRequestPaymentOutput;
    put_object = put: PutObjectInput => PutObjectOutput;
    copy_object = copy: CopyObjectInput => CopyObjectOutput;
    get_object = get: GetObjectInput => GetObjectOutput with response;
    head_object = head: HeadObjectInput => HeadObjectOutput with response;
    get_object_attributes = attributes: GetObjectAttributesInput => GetObjectAttributesOutput;
    delete_object = delete: DeleteObjectInput => DeleteObjectOutput;
    delete_objects = delete_many: DeleteObjectsInput => DeleteObjectsOutput;
    get_object_tagging = object_tags: GetObjectTaggingInput => GetObjectTaggingOutput;
    put_object_tagging = tag_object: PutObjectTaggingInput => PutObjectTaggingOutput;
    delete_object_tagging = untag_object: DeleteObjectTaggingInput => DeleteObjectTaggingOutput with response;
    list_objects = list_v1: ListObjectsInput => ListObjectsOutput;
    list_objects_v2 = list_v2: ListObjectsV2Input => ListObjectsV2Output;
    list_object_versions = list_versions: ListObjectVersionsInput => ListObjectVersionsOutput;
    create_multipart_upload = begin_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput;
    upload_part = upload_part_of: UploadPartInput => UploadPartOutput;
    upload_part_copy = copy_part: UploadPartCopyInput => UploadPartCopyOutput;
    complete_multipart_upload = finish_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput;
    abort_multipart_upload = abort_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput;
    list_parts = parts_of_upload: ListPartsInput => ListPartsOutput;
    list_multipart_uploads = uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput;
}

/// Refuses what can be no bucket's name.
fn check_bucket(parts: &http::request::Parts) -> S3Result<()> {
    let bucket = bucket_of(parts.uri.path());
    if bucket.is_empty() || s3s::path::check_bucket_name(bucket) {
        return Ok(());
    }
    let error = s3_error!(InvalidBucketName, "The specified bucket is not valid.");
    Err(errors::detailed(error, &[("BucketName", bucket)]))
}

/// The bucket in `/bucket/key` or `bucket/key`.
fn bucket_of(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    path.split('/').next().unwrap_or_default()
}

/// Writes headers that S3 is lenient about as the protocol crate wants them:
/// entity tags of conditions may lack quotes, and a range of the wrong form is
/// none.
fn lenient_headers(headers: &mut HeaderMap) {
    const CONDITIONS: [&str; 4] = [
        "if-match",
        "if-none-match",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-none-match",
    ];
    for name in CONDITIONS {
        let Some(given) = headers.get(name).and_then(|it| it.to_str().ok()) else {
            continue;
        };
        let bare = given.trim().trim_start_matches("W/").replace('"', "");
        if bare != "*"
            && let Ok(quoted) = HeaderValue::from_str(&format!("\"{bare}\""))
        {
            headers.insert(name, quoted);
        }
    }
    let range = headers.get(RANGE).and_then(|it| it.to_str().ok());
    let is_none = |range: &str| range == "bytes=-" || dto::Range::parse(range).is_err();
    if range.is_some_and(is_none) {
        headers.remove(RANGE);
    }
}

/// The parameter of GetObjectAttributes.
fn is_attributes(pair: &str) -> bool {
    pair == "attributes" || pair == "attributes="
}

/// GetObjectAttributes alone shows an entity tag without its quotes.
async fn with_bare_etag(response: HttpResponse) -> HttpResponse {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return error_response(s3_error!(InternalError));
    };
    let mut text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    for quote in ["&quot;", "\""] {
        text = text.replace(&format!("<ETag>{quote}"), "<ETag>");
        text = text.replace(&format!("{quote}</ETag>"), "</ETag>");
    }
    parts.headers.remove(CONTENT_LENGTH);
    HttpResponse::from_parts(parts, Body::from(text))
}

/// Seconds: S3 tells no fractions in headers.
fn timestamp(at: UnixMillis) -> Timestamp {
    let secs = i64::try_from(at.as_secs()).unwrap_or(0);
    let at =
        time::OffsetDateTime::from_unix_timestamp(secs).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    Timestamp::from(at)
}

/// The status of an answer, where the protocol crate would say 200. It reads none
/// from an [`S3Response`], but carries extensions through.
#[derive(Clone, Copy)]
struct Status(StatusCode);

/// An answer without content.
fn no_content<T>(output: T) -> S3Response<T> {
    let mut response = S3Response::new(output);
    response.extensions.insert(Status(StatusCode::NO_CONTENT));
    response
}

fn owner(account: &str) -> dto::Owner {
    dto::Owner {
        id: Some(account.to_owned()),
        ..Default::default()
    }
}
