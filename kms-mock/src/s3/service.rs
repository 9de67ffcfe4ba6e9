//! From a request to its answer: what the protocol crate would read otherwise than S3
//! does is taken off before it, its typed input goes by `crate::s3::authorize` to an
//! operation of `crate::s3::ops`, and the answer is finished as S3 writes it.
//!
//! Source of truth: Amazon S3 API reference; the protocol (routing, XML) is the crate
//! `s3s`. Signatures are checked before a request comes here, with the world's clock.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Method, header::CONTENT_LENGTH};
use http_body_util::BodyExt;
use nsm_sim::clock::Clock;
use s3s::{
    Body, HttpRequest, HttpResponse, S3, S3Request, S3Response, S3Result, dto, s3_error,
    service::{S3Service, S3ServiceBuilder},
};

use super::{
    authorize, cross_origin,
    errors::{error_response, finished},
    ops::{Objects, Status, access::check_ownership},
    request,
    sender::{Sender, Trail},
    sent::{Sent, Unread},
    store::{Settings, Store, StoreError},
    values::{bucket_policy::BucketPolicy, metadata::take_metadata},
};
use crate::{
    journal::{Journal, ReadError, Snapshot, Unwritten},
    model::s3_operation::S3Operation,
};

/// The object store of one world, behind the S3 protocol.
pub struct ObjectStore {
    service: S3Service,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    region: Arc<str>,
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
            region: region.into(),
        }
    }

    /// Makes a bucket unless there is one of this name.
    pub(crate) fn plant_bucket(&self, name: &str, account: &str) -> Result<(), Unwritten> {
        let place = (account, &*self.region);
        let now = self.clock.now();
        match self
            .store
            .create_bucket(name, place, Settings::default(), now)
        {
            Err(StoreError::Unwritten(unwritten)) => Err(unwritten),
            _ => Ok(()),
        }
    }

    /// Gives a bucket a policy unless it has one; refuses in S3's words.
    pub(crate) fn plant_policy(&self, bucket: &str, text: &str) -> Result<(), String> {
        let policy = BucketPolicy::parse(text, bucket)?;
        let planted = self.store.set_up(bucket, |it| {
            it.policy.get_or_insert(policy);
        });
        planted.map_err(|error| {
            let error = s3s::S3Error::from(error);
            error.message().unwrap_or_default().to_owned()
        })
    }

    /// Puts everything in place that the data directory has.
    pub(crate) fn load(&self, snapshot: &Snapshot) -> Result<(), ReadError> {
        self.store.load(snapshot)
    }

    /// Forgets all buckets and objects, in memory and in the data directory.
    pub(crate) fn clear(&self) -> Result<(), Unwritten> {
        self.store.clear()
    }

    /// Whether a cross-origin rule of the bucket allows the page that sends this.
    pub(crate) fn has_rule_for_page(&self, parts: &http::request::Parts) -> bool {
        let (path, headers) = (parts.uri.path(), &parts.headers);
        !cross_origin::headers_of(&self.store, path, &parts.method, headers).is_empty()
    }

    /// Everything that is kept, to see that nothing changed.
    #[cfg(test)]
    pub(super) fn dump(&self) -> String {
        self.store.dump()
    }

    /// Answers one request, whose signature and chunking have been taken off, and says
    /// what became of it.
    pub(crate) async fn call(
        &self,
        parts: http::request::Parts,
        body: Bytes,
        sender: Sender,
    ) -> (HttpResponse, Trail) {
        let trail = Arc::new(Mutex::new(Trail::default()));
        let response = self.answer(parts, body, sender, Arc::clone(&trail)).await;
        let mut trail = trail.lock().unwrap_or_else(PoisonError::into_inner);
        (response, std::mem::take(&mut trail))
    }

    async fn answer(
        &self,
        mut parts: http::request::Parts,
        body: Bytes,
        sender: Sender,
        trail: Arc<Mutex<Trail>>,
    ) -> HttpResponse {
        if parts.method == Method::OPTIONS {
            let path = parts.uri.path();
            return cross_origin::preflight(&self.store, path, &parts.headers).await;
        }
        request::take_headers(&mut parts);
        let metadata = match take_metadata(&mut parts.headers) {
            Ok(metadata) => metadata,
            Err(error) => return error_response(error),
        };
        let served_in = sender.region.as_deref().map(Arc::from);
        let unread = Unread {
            body: body.clone(),
            served_in: served_in.unwrap_or_else(|| Arc::clone(&self.region)),
            sender: Arc::new(sender),
            metadata,
            now: self.clock.now(),
            trail,
        };
        parts.extensions.insert(unread);
        if let Err(error) = request::check_bucket(&parts)
            .and_then(|()| request::check_keys(&parts))
            .and_then(|()| request::check_parameters(&parts))
            .and_then(|()| request::check_counts(&parts))
            .and_then(|()| check_ownership(&parts.headers))
            .and_then(|()| authorize::check_owners(&self.store, &parts))
        {
            return finished(error_response(error), &parts.method).await;
        }
        request::lenient_headers(&mut parts.headers);
        let method = parts.method.clone();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let (path, headers) = (parts.uri.path(), &parts.headers);
        let cross_origin = cross_origin::headers_of(&self.store, path, &method, headers);
        let request = HttpRequest::from_parts(parts, Body::from(body));
        let Ok(mut response) = self.service.call(request).await else {
            return error_response(s3_error!(InternalError));
        };
        cross_origin::add(response.headers_mut(), cross_origin);
        if let Some(Status(status)) = response.extensions_mut().remove() {
            *response.status_mut() = status;
        }
        if method == Method::GET && query.split('&').any(is_attributes) {
            return with_bare_etag(finished(response, &method).await).await;
        }
        finished(response, &method).await
    }
}

type Answering<'r, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'r>>;

/// Methods of the `S3` trait, each ready at once: nothing here waits. An operation is
/// the method of its name of [`Objects`]; one `with response` says more than its output.
macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident $(with $response:ident)?;)*) => {
        impl S3 for Objects {
            $(fn $operation<'s, 'r>(
                &'s self,
                request: S3Request<dto::$input>,
            ) -> Answering<'r, dto::$output>
            where
                's: 'r,
                Self: 'r,
            {
                let S3Request { input, uri, headers, mut extensions, .. } = request;
                let unread = extensions.remove::<Unread>();
                let unread = unread.expect("`ObjectStore::answer` put it there");
                let place = authorize::place(uri.path());
                // An operation that the table of permissions lacks does not compile.
                let sent = Sent::new(unread, S3Operation::$operation, (headers, uri), place);
                let answer = authorize::authorized(&self.store, sent, input, |input, sent| {
                    Self::$operation(self, input, sent)
                });
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
    create_bucket: CreateBucketInput => CreateBucketOutput;
    head_bucket: HeadBucketInput => HeadBucketOutput with response;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput;
    list_buckets: ListBucketsInput => ListBucketsOutput;
    delete_bucket: DeleteBucketInput => DeleteBucketOutput;
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput;
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput;
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput;
    put_bucket_tagging: PutBucketTaggingInput => PutBucketTaggingOutput with response;
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput with response;
    get_bucket_cors: GetBucketCorsInput => GetBucketCorsOutput;
    put_bucket_cors: PutBucketCorsInput => PutBucketCorsOutput;
    delete_bucket_cors: DeleteBucketCorsInput => DeleteBucketCorsOutput with response;
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput;
    put_bucket_ownership_controls: PutBucketOwnershipControlsInput => PutBucketOwnershipControlsOutput;
    delete_bucket_ownership_controls: DeleteBucketOwnershipControlsInput => DeleteBucketOwnershipControlsOutput with response;
    get_public_access_block: GetPublicAccessBlockInput => GetPublicAccessBlockOutput;
    put_public_access_block: PutPublicAccessBlockInput => PutPublicAccessBlockOutput;
    delete_public_access_block: DeletePublicAccessBlockInput => DeletePublicAccessBlockOutput with response;
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput;
    put_bucket_acl: PutBucketAclInput => PutBucketAclOutput;
    get_object_acl: GetObjectAclInput => GetObjectAclOutput;
    put_object_acl: PutObjectAclInput => PutObjectAclOutput;
    get_bucket_encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput;
    put_bucket_encryption: PutBucketEncryptionInput => PutBucketEncryptionOutput;
    delete_bucket_encryption: DeleteBucketEncryptionInput => DeleteBucketEncryptionOutput with response;
    get_object_lock_configuration: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput;
    put_object_lock_configuration: PutObjectLockConfigurationInput => PutObjectLockConfigurationOutput;
    get_object_retention: GetObjectRetentionInput => GetObjectRetentionOutput;
    put_object_retention: PutObjectRetentionInput => PutObjectRetentionOutput;
    get_object_legal_hold: GetObjectLegalHoldInput => GetObjectLegalHoldOutput;
    put_object_legal_hold: PutObjectLegalHoldInput => PutObjectLegalHoldOutput;
    get_bucket_policy: GetBucketPolicyInput => GetBucketPolicyOutput;
    get_bucket_policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput;
    put_bucket_policy: PutBucketPolicyInput => PutBucketPolicyOutput;
    delete_bucket_policy: DeleteBucketPolicyInput => DeleteBucketPolicyOutput with response;
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput;
    delete_bucket_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput with response;
    get_bucket_website: GetBucketWebsiteInput => GetBucketWebsiteOutput;
    delete_bucket_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput with response;
    get_bucket_replication: GetBucketReplicationInput => GetBucketReplicationOutput;
    delete_bucket_replication: DeleteBucketReplicationInput => DeleteBucketReplicationOutput with response;
    get_bucket_notification_configuration: GetBucketNotificationConfigurationInput => GetBucketNotificationConfigurationOutput;
    get_bucket_accelerate_configuration: GetBucketAccelerateConfigurationInput => GetBucketAccelerateConfigurationOutput;
    get_bucket_logging: GetBucketLoggingInput => GetBucketLoggingOutput;
    get_bucket_request_payment: GetBucketRequestPaymentInput => GetBucketRequestPaymentOutput;
    put_object: PutObjectInput => PutObjectOutput;
    copy_object: CopyObjectInput => CopyObjectOutput;
    get_object: GetObjectInput => GetObjectOutput with response;
    head_object: HeadObjectInput => HeadObjectOutput with response;
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput;
    delete_object: DeleteObjectInput => DeleteObjectOutput;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput;
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput;
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput with response;
    list_objects: ListObjectsInput => ListObjectsOutput;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output;
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput;
    upload_part: UploadPartInput => UploadPartOutput;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput;
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput;
    list_parts: ListPartsInput => ListPartsOutput;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput;
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
