//! S3: enough of it for the clients of an enclave to store and fetch objects.
//!
//! Source of truth: the Amazon S3 API reference; the protocol (routing, XML,
//! error texts) is the crate `s3s`, the store behind it is in memory. Signatures
//! are checked before a request comes here, with the world's clock. Not
//! modelled: multipart uploads, versions, ACLs, bucket policies, encryption at
//! rest, and authorization: whoever is authenticated may do everything.

mod metadata;
mod store;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use nsm_sim::clock::{Clock, UnixMillis};
use s3s::{
    Body, HttpRequest, HttpResponse, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto::{self, ETag, ETagCondition, Timestamp},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};

use self::{
    metadata::{UserMetadata, metadata_headers, take_metadata},
    store::{Algorithm, Object, Store, StoreError},
};

/// S3's and our largest page of a listing.
const KEYS_PER_PAGE_MAX: i32 = 1_000;

/// The object store of one world, behind the S3 protocol.
pub struct ObjectStore {
    service: S3Service,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectStore(..)")
    }
}

impl ObjectStore {
    /// An empty store of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, region: &str, bytes_max: u64) -> Self {
        let store = Arc::new(Store::new(bytes_max));
        let objects = Objects {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            region: region.to_owned(),
        };
        Self {
            service: S3ServiceBuilder::new(objects).build(),
            store,
            clock,
        }
    }

    /// Makes a bucket unless there is one of this name.
    pub(crate) fn plant_bucket(&self, name: &str, account: &str) {
        let _ = self.store.create(name, account, self.clock.now());
    }

    /// Forgets all buckets and objects.
    pub(crate) fn clear(&self) {
        self.store.clear();
    }

    /// Answers one authenticated request of `account`, whose signature and
    /// chunking have been taken off.
    pub(crate) async fn call(
        &self,
        mut parts: http::request::Parts,
        body: Bytes,
        account: &str,
    ) -> HttpResponse {
        let metadata = match take_metadata(&mut parts.headers) {
            Ok(metadata) => metadata,
            Err(error) => return error_response(error),
        };
        parts.extensions.insert(metadata);
        parts.extensions.insert(Payload(body.clone()));
        parts.extensions.insert(Account(account.to_owned()));
        match self
            .service
            .call(HttpRequest::from_parts(parts, Body::from(body)))
            .await
        {
            Ok(response) => response,
            Err(_) => error_response(s3_error!(InternalError)),
        }
    }
}

/// An S3 error as the protocol shows it.
pub(crate) fn error_response(error: S3Error) -> HttpResponse {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = HttpResponse::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// An S3 error from its code, status and message.
pub(crate) fn error(code: &'static str, status: u16, message: String) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message);
    if let Ok(status) = http::StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

/// The request body, beside the stream that `s3s` makes of it.
#[derive(Clone)]
struct Payload(Bytes);

/// The caller's account.
#[derive(Clone)]
struct Account(String);

struct Objects {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    region: String,
}

type Answering<'r, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'r>>;

/// Methods of the `S3` trait, each ready at once: nothing here waits.
macro_rules! operations {
    ($($operation:ident = $method:ident: $input:ident => $output:ident;)*) => {
        impl S3 for Objects {
            $(fn $operation<'s, 'r>(
                &'s self,
                request: S3Request<dto::$input>,
            ) -> Answering<'r, dto::$output>
            where
                's: 'r,
                Self: 'r,
            {
                Box::pin(std::future::ready(self.$method(request)))
            })*
        }
    };
}

operations! {
    create_bucket = create: CreateBucketInput => CreateBucketOutput;
    head_bucket = head_of_bucket: HeadBucketInput => HeadBucketOutput;
    get_bucket_location = location: GetBucketLocationInput => GetBucketLocationOutput;
    list_buckets = buckets: ListBucketsInput => ListBucketsOutput;
    delete_bucket = remove_bucket: DeleteBucketInput => DeleteBucketOutput;
    put_object = put: PutObjectInput => PutObjectOutput;
    copy_object = copy: CopyObjectInput => CopyObjectOutput;
    get_object = get: GetObjectInput => GetObjectOutput;
    head_object = head: HeadObjectInput => HeadObjectOutput;
    delete_object = delete: DeleteObjectInput => DeleteObjectOutput;
    delete_objects = delete_many: DeleteObjectsInput => DeleteObjectsOutput;
    list_objects = list_v1: ListObjectsInput => ListObjectsOutput;
    list_objects_v2 = list_v2: ListObjectsV2Input => ListObjectsV2Output;
}

impl Objects {
    fn create(
        &self,
        request: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let bucket = &request.input.bucket;
        match self
            .store
            .create(bucket, account(&request.extensions), self.clock.now())
        {
            // The oldest Region answers OK to its own buckets, the others do not.
            Ok(()) => {}
            Err(StoreError::OwnedByYou) if self.region == "us-east-1" => {}
            Err(error) => return Err(refused(error)),
        }
        let location = Some(format!("/{bucket}"));
        Ok(S3Response::new(dto::CreateBucketOutput { location }))
    }

    fn head_of_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        if !self.store.has(&request.input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        let bucket_region = Some(self.region.clone());
        Ok(S3Response::new(dto::HeadBucketOutput {
            bucket_region,
            ..Default::default()
        }))
    }

    fn location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        if !self.store.has(&request.input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        // us-east-1 is the null location.
        let location_constraint = (self.region != "us-east-1").then(|| self.region.clone().into());
        Ok(S3Response::new(dto::GetBucketLocationOutput {
            location_constraint,
        }))
    }

    fn buckets(
        &self,
        request: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let account = account(&request.extensions);
        let prefix = request.input.prefix.unwrap_or_default();
        let own = self.store.buckets(account).into_iter();
        let buckets = own
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, created)| dto::Bucket {
                name: Some(name),
                creation_date: Some(timestamp(created.0)),
                ..Default::default()
            })
            .collect();
        Ok(S3Response::new(dto::ListBucketsOutput {
            buckets: Some(buckets),
            owner: Some(dto::Owner {
                id: Some(account.to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    fn remove_bucket(
        &self,
        request: S3Request<dto::DeleteBucketInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        self.store
            .delete_bucket(&request.input.bucket)
            .map_err(refused)?;
        Ok(S3Response::new(dto::DeleteBucketOutput::default()))
    }

    fn put(
        &self,
        request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let S3Request {
            input,
            mut extensions,
            ..
        } = request;
        let Payload(body) = extensions
            .remove()
            .ok_or_else(|| s3_error!(InternalError, "no payload"))?;
        let metadata: UserMetadata = extensions.remove().unwrap_or_default();
        let etag = md5(&body);
        if let Some(expected) = &input.content_md5 {
            use base64::Engine;
            let computed = base64::engine::general_purpose::STANDARD.encode(etag);
            if computed != *expected {
                let message = "The Content-MD5 you specified did not match what we received.";
                return Err(s3_error!(BadDigest, "{message}"));
            }
        }
        let claimed = [
            (Algorithm::Crc32, input.checksum_crc32),
            (Algorithm::Crc32c, input.checksum_crc32c),
            (Algorithm::Crc64Nvme, input.checksum_crc64nvme),
            (Algorithm::Sha1, input.checksum_sha1),
            (Algorithm::Sha256, input.checksum_sha256),
        ];
        let mut checksums = BTreeMap::new();
        for (algorithm, claimed) in claimed {
            let Some(claimed) = claimed else { continue };
            if checksum(algorithm, &body) != claimed {
                let name = algorithm.name();
                return Err(s3_error!(
                    BadDigest,
                    "The {name} you specified did not match the calculated checksum."
                ));
            }
            checksums.insert(algorithm, claimed);
        }
        let etag = hex::encode(etag);
        let object = Object {
            body,
            metadata,
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            content_disposition: input.content_disposition,
            content_language: input.content_language,
            cache_control: input.cache_control,
            etag: etag.clone(),
            modified_ms: self.clock.now().0,
            checksums: checksums.clone(),
        };
        let (if_match, if_none_match) = (input.if_match, input.if_none_match);
        let check = |old: Option<&Object>| {
            if_match.is_none_or(|condition| old.is_some_and(|old| matches(&condition, old)))
                && !if_none_match
                    .is_some_and(|condition| old.is_some_and(|old| matches(&condition, old)))
        };
        self.store
            .put(&input.bucket, &input.key, object, check)
            .map_err(refused)?;
        let sum = |algorithm| checksums.get(&algorithm).cloned();
        Ok(S3Response::new(dto::PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: sum(Algorithm::Crc32),
            checksum_crc32c: sum(Algorithm::Crc32c),
            checksum_crc64nvme: sum(Algorithm::Crc64Nvme),
            checksum_sha1: sum(Algorithm::Sha1),
            checksum_sha256: sum(Algorithm::Sha256),
            ..Default::default()
        }))
    }

    fn copy(
        &self,
        request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let S3Request {
            input,
            mut extensions,
            ..
        } = request;
        let dto::CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(
                NotImplemented,
                "Only bucket/key is a source here"
            ));
        };
        let mut object = Object::clone(&*self.store.get(bucket, key).map_err(refused)?);
        if input
            .metadata_directive
            .as_ref()
            .is_some_and(|it| it.as_str() == "REPLACE")
        {
            object.metadata = extensions.remove().unwrap_or_default();
            object.content_type = input.content_type;
            object.content_encoding = input.content_encoding;
        }
        object.modified_ms = self.clock.now().0;
        let result = dto::CopyObjectResult {
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(timestamp(object.modified_ms)),
            ..Default::default()
        };
        self.store
            .put(&input.bucket, &input.key, object, |_| true)
            .map_err(refused)?;
        Ok(S3Response::new(dto::CopyObjectOutput {
            copy_object_result: Some(result),
            ..Default::default()
        }))
    }

    fn get(
        &self,
        request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let input = request.input;
        let object = self.store.get(&input.bucket, &input.key).map_err(refused)?;
        precondition(
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
            &object,
        )?;
        let length = object.body.len();
        let (body, content_range) = match &input.range {
            None => (object.body.clone(), None),
            Some(range) => {
                let range = range.check(length as u64)?;
                let span = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                (slice(&object.body, &range), Some(span))
            }
        };
        let sum = |algorithm| {
            input.checksum_mode.as_ref()?;
            object
                .checksums
                .get(&algorithm)
                .filter(|_| content_range.is_none())
                .cloned()
        };
        let output = dto::GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(body.len()).ok(),
            checksum_crc32: sum(Algorithm::Crc32),
            checksum_crc32c: sum(Algorithm::Crc32c),
            checksum_crc64nvme: sum(Algorithm::Crc64Nvme),
            checksum_sha1: sum(Algorithm::Sha1),
            checksum_sha256: sum(Algorithm::Sha256),
            body: Some(Body::from(body).into()),
            content_range,
            content_type: object.shown_content_type(),
            content_encoding: object.content_encoding.clone(),
            content_disposition: object.content_disposition.clone(),
            content_language: object.content_language.clone(),
            cache_control: object.cache_control.clone(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(timestamp(object.modified_ms)),
            ..Default::default()
        };
        Ok(S3Response::with_headers(
            output,
            metadata_headers(&object.metadata),
        ))
    }

    fn head(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let input = request.input;
        let object = self.store.get(&input.bucket, &input.key).map_err(refused)?;
        precondition(
            input.if_match.as_ref(),
            input.if_none_match.as_ref(),
            &object,
        )?;
        let sum = |algorithm| {
            input.checksum_mode.as_ref()?;
            object.checksums.get(&algorithm).cloned()
        };
        let output = dto::HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(object.body.len()).ok(),
            checksum_crc32: sum(Algorithm::Crc32),
            checksum_crc32c: sum(Algorithm::Crc32c),
            checksum_crc64nvme: sum(Algorithm::Crc64Nvme),
            checksum_sha1: sum(Algorithm::Sha1),
            checksum_sha256: sum(Algorithm::Sha256),
            content_type: object.shown_content_type(),
            content_encoding: object.content_encoding.clone(),
            content_disposition: object.content_disposition.clone(),
            content_language: object.content_language.clone(),
            cache_control: object.cache_control.clone(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(timestamp(object.modified_ms)),
            ..Default::default()
        };
        Ok(S3Response::with_headers(
            output,
            metadata_headers(&object.metadata),
        ))
    }

    fn delete(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        self.store
            .delete(&request.input.bucket, &request.input.key)
            .map_err(refused)?;
        Ok(S3Response::new(dto::DeleteObjectOutput::default()))
    }

    fn delete_many(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let input = request.input;
        let mut deleted = Vec::new();
        for object in input.delete.objects {
            self.store
                .delete(&input.bucket, &object.key)
                .map_err(refused)?;
            deleted.push(dto::DeletedObject {
                key: Some(object.key),
                ..Default::default()
            });
        }
        let deleted = (!input.delete.quiet.unwrap_or(false)).then_some(deleted);
        Ok(S3Response::new(dto::DeleteObjectsOutput {
            deleted,
            ..Default::default()
        }))
    }

    fn list_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = request.input;
        let after = match &input.continuation_token {
            Some(token) => token_key(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let listing = Listing {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref(),
            delimiter: input.delimiter.as_deref(),
            after: &after,
            max_keys: input.max_keys,
            url: input.encoding_type.is_some(),
        };
        let page = self.page(&listing)?;
        Ok(S3Response::new(dto::ListObjectsV2Output {
            key_count: i32::try_from(page.contents.len() + page.common_prefixes.len()).ok(),
            max_keys: Some(listing.max()),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|key| hex::encode(key.as_bytes())),
            contents: Some(page.contents),
            common_prefixes: Some(page.common_prefixes),
            prefix: Some(listing.shown(listing.prefix.unwrap_or_default())),
            delimiter: listing.delimiter.map(|it| listing.shown(it)),
            start_after: input.start_after.as_deref().map(|it| listing.shown(it)),
            name: Some(input.bucket.clone()),
            continuation_token: input.continuation_token.clone(),
            encoding_type: input.encoding_type.clone(),
            ..Default::default()
        }))
    }

    fn list_v1(
        &self,
        request: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        let input = request.input;
        let listing = Listing {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref(),
            delimiter: input.delimiter.as_deref(),
            after: input.marker.as_deref().unwrap_or_default(),
            max_keys: input.max_keys,
            url: input.encoding_type.is_some(),
        };
        let page = self.page(&listing)?;
        Ok(S3Response::new(dto::ListObjectsOutput {
            max_keys: Some(listing.max()),
            is_truncated: Some(page.next.is_some()),
            next_marker: page
                .next
                .filter(|_| input.delimiter.is_some())
                .map(|k| listing.shown(&k)),
            contents: Some(page.contents),
            common_prefixes: Some(page.common_prefixes),
            prefix: Some(listing.shown(listing.prefix.unwrap_or_default())),
            marker: Some(listing.shown(listing.after)),
            delimiter: listing.delimiter.map(|it| listing.shown(it)),
            name: Some(input.bucket.clone()),
            encoding_type: input.encoding_type.clone(),
            ..Default::default()
        }))
    }

    fn page(&self, listing: &Listing<'_>) -> S3Result<ShownPage> {
        let max = usize::try_from(listing.max()).unwrap_or(0);
        let prefix = listing.prefix.unwrap_or_default();
        let page = self
            .store
            .list(
                listing.bucket,
                prefix,
                listing.delimiter,
                listing.after,
                max,
            )
            .map_err(refused)?;
        let contents = page.objects.into_iter().map(|(key, object)| dto::Object {
            key: Some(listing.shown(&key)),
            size: i64::try_from(object.body.len()).ok(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(timestamp(object.modified_ms)),
            storage_class: Some(dto::ObjectStorageClass::from_static("STANDARD")),
            ..Default::default()
        });
        let prefixes = page.common_prefixes.iter().map(|prefix| dto::CommonPrefix {
            prefix: Some(listing.shown(prefix)),
        });
        Ok(ShownPage {
            contents: contents.collect(),
            common_prefixes: prefixes.collect(),
            next: page.next,
        })
    }
}

struct Listing<'a> {
    bucket: &'a str,
    prefix: Option<&'a str>,
    delimiter: Option<&'a str>,
    after: &'a str,
    max_keys: Option<i32>,
    /// `encoding-type=url`: XML cannot hold every key.
    url: bool,
}

struct ShownPage {
    contents: Vec<dto::Object>,
    common_prefixes: Vec<dto::CommonPrefix>,
    next: Option<String>,
}

impl Listing<'_> {
    fn max(&self) -> i32 {
        self.max_keys
            .unwrap_or(KEYS_PER_PAGE_MAX)
            .clamp(0, KEYS_PER_PAGE_MAX)
    }

    fn shown(&self, text: &str) -> String {
        if !self.url {
            return text.to_owned();
        }
        let mut out = Vec::new();
        crate::server::sigv4::uri_encode(text.as_bytes(), true, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Object {
    /// S3 shows a type even if none was given.
    fn shown_content_type(&self) -> Option<String> {
        Some(
            self.content_type
                .clone()
                .unwrap_or_else(|| "binary/octet-stream".to_owned()),
        )
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

fn md5(body: &[u8]) -> [u8; 16] {
    Md5::checksum(body)
}

fn checksum(algorithm: Algorithm, body: &[u8]) -> String {
    let mut hasher = ChecksumHasher::default();
    match algorithm {
        Algorithm::Crc32 => hasher.crc32 = Some(Crc32::new()),
        Algorithm::Crc32c => hasher.crc32c = Some(Crc32c::new()),
        Algorithm::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
        Algorithm::Sha1 => hasher.sha1 = Some(Sha1::new()),
        Algorithm::Sha256 => hasher.sha256 = Some(Sha256::new()),
    }
    hasher.update(body);
    let sums = hasher.finalize();
    let sum = match algorithm {
        Algorithm::Crc32 => sums.checksum_crc32,
        Algorithm::Crc32c => sums.checksum_crc32c,
        Algorithm::Crc64Nvme => sums.checksum_crc64nvme,
        Algorithm::Sha1 => sums.checksum_sha1,
        Algorithm::Sha256 => sums.checksum_sha256,
    };
    sum.unwrap_or_default()
}

fn account(extensions: &http::Extensions) -> &str {
    extensions.get::<Account>().map_or("", |account| &account.0)
}

fn timestamp(ms: u64) -> Timestamp {
    let secs = i64::try_from(UnixMillis(ms).as_secs()).unwrap_or(0);
    let at =
        time::OffsetDateTime::from_unix_timestamp(secs).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    Timestamp::from(at)
}

fn slice(body: &Bytes, range: &std::ops::Range<u64>) -> Bytes {
    let at = |offset: u64| {
        usize::try_from(offset)
            .unwrap_or(body.len())
            .min(body.len())
    };
    body.slice(at(range.start)..at(range.end).max(at(range.start)))
}

fn token_key(token: &str) -> S3Result<String> {
    let key = hex::decode(token)
        .ok()
        .and_then(|key| String::from_utf8(key).ok());
    key.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "The continuation token provided is incorrect"
        )
    })
}

fn matches(condition: &ETagCondition, object: &Object) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    }
}

fn precondition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
    object: &Object,
) -> S3Result<()> {
    if if_match.is_some_and(|condition| !matches(condition, object)) {
        return Err(refused(StoreError::PreconditionFailed));
    }
    if if_none_match.is_some_and(|condition| matches(condition, object)) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

fn refused(error: StoreError) -> S3Error {
    match error {
        StoreError::NoSuchBucket => {
            s3_error!(NoSuchBucket, "The specified bucket does not exist")
        }
        StoreError::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
        StoreError::BucketNotEmpty => {
            s3_error!(
                BucketNotEmpty,
                "The bucket you tried to delete is not empty"
            )
        }
        StoreError::OwnedByYou => s3_error!(
            BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it."
        ),
        StoreError::OwnedByAnother => s3_error!(
            BucketAlreadyExists,
            "The requested bucket name is not available. The bucket namespace is shared by all \
             users of the system. Please select a different name and try again."
        ),
        StoreError::Full => s3_error!(ServiceUnavailable, "The simulated store is full."),
        StoreError::PreconditionFailed => s3_error!(
            PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_check_values() {
        assert_eq!(hex::encode(md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(checksum(Algorithm::Crc32, b"hello"), "NhCmhg==");
        assert_eq!(checksum(Algorithm::Crc64Nvme, b"123456789"), "rosUhgp5mIg=");
    }
}
