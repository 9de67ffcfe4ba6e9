//! The parent's S3 client: GET, HEAD, PUT and DELETE of whole objects with
//! their user metadata.
//!
//! Source of truth: the Amazon S3 API reference (GetObject, HeadObject,
//! PutObject, DeleteObject, error responses) and AWS Signature Version 4, which
//! aws-sigv4 computes with S3's exceptions: the path is signed as sent, and the
//! payload's SHA-256 is a header. How buckets are addressed: [`super::endpoint`].
//!
//! Does not model multipart transfers, ranges, versions, redirects to another
//! Region or listing. What is stored is ciphertext with a tag: transport checksums
//! beyond TLS and the signed payload digest would add nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_bytes::ByteBuf;
use tokio::time::{sleep, timeout};
use url::Url;

use super::credentials::{CredentialSource, CredentialSourceError, system_time};
pub use super::endpoint::Endpoint;
use crate::{causes::with_causes, clock::Clock, job::StoredObject};

/// Prefix of user metadata among the headers.
const META_PREFIX: &str = "x-amz-meta-";
/// Most of an error document that is read. S3's have a few hundred bytes.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Longest code or message kept from an error document, in characters.
const ERROR_TEXT_CHARS_MAX: usize = 400;
/// Largest single allocation made on the word of a Content-Length header.
const FIRST_ALLOCATION_BYTES: usize = 1024 * 1024;

/// What a request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S3Limits {
    /// Attempts at a request that met a transient fault.
    pub attempts_max: u32,
    /// The pause before the second attempt; each next one is twice as long.
    pub pause_first: Duration,
    /// Longest time to connect, TLS included.
    pub connect: Duration,
    /// Longest silence of the server.
    pub silence: Duration,
    /// Longest time for one attempt, body included.
    pub total: Duration,
}

impl Default for S3Limits {
    /// Three attempts 100 and 200 ms apart, 5 s to connect, 20 s of silence,
    /// 120 s for one attempt.
    fn default() -> Self {
        Self {
            attempts_max: 3,
            pause_first: Duration::from_millis(100),
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(20),
            total: Duration::from_secs(120),
        }
    }
}

/// Why a request to S3 did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum S3Error {
    /// The operator's endpoint cannot be used.
    #[error("the S3 endpoint {text:?} cannot be used: {why}; give one like http://127.0.0.1:4566")]
    Endpoint {
        /// As given.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The HTTP client could not be set up, for example for want of TLS roots.
    #[error("the HTTP client could not be set up: {}", with_causes(source))]
    Setup {
        /// What failed.
        source: reqwest::Error,
    },
    /// Bucket and key cannot be put into a request unchanged.
    #[error("s3://{bucket}/{key} cannot be requested: {why}")]
    Name {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What is wrong.
        why: &'static str,
    },
    /// User metadata that no header can carry, or a header that is not text.
    #[error("the metadata entry {name:?} of s3://{bucket}/{key} is not plain ASCII text")]
    Metadata {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The entry.
        name: String,
    },
    /// There are no credentials to sign with.
    #[error(transparent)]
    Credentials(#[from] CredentialSourceError),
    /// The request could not be signed; a bug.
    #[error("the request could not be signed")]
    Signing,
    /// No answer, or one that broke off.
    #[error(
        "S3 at {endpoint} cannot be reached or broke off: {}",
        with_causes(source)
    )]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// What failed.
        source: reqwest::Error,
    },
    /// The answer took too long.
    #[error("S3 at {endpoint} did not finish within {} s", waited.as_secs())]
    TimedOut {
        /// Where.
        endpoint: Endpoint,
        /// The bound.
        waited: Duration,
    },
    /// S3 answered with an error.
    #[error("S3 refused to {operation} s3://{bucket}/{key}: {code}: {message} (HTTP {status})")]
    Refused {
        /// `GET`, `HEAD`, `PUT` or `DELETE`.
        operation: &'static str,
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// HTTP status.
        status: u16,
        /// S3's code, e.g. `NoSuchKey`; derived from the status if S3 gave none.
        code: String,
        /// S3's message.
        message: String,
        /// Whether an earlier attempt at the same request ended without an answer
        /// and may have taken effect all the same.
        earlier_attempt_unknown: bool,
    },
    /// The object is larger than this parent handles.
    #[error("s3://{bucket}/{key} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The bound.
        bytes_max: usize,
    },
}

impl S3Error {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Endpoint { .. } | Self::Setup { .. } | Self::Signing => "s3_setup",
            Self::Name { .. } => "bad_object_name",
            Self::Metadata { .. } => "bad_metadata",
            Self::Credentials(_) => "no_credentials",
            Self::Unreachable { .. } | Self::TimedOut { .. } => "s3_unreachable",
            Self::Refused { .. } => "s3_refused",
            Self::TooLarge { .. } => "object_too_large",
        }
    }

    /// Whether a request that ended so may still have taken effect.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_connect(),
            Self::TimedOut { .. } => true,
            Self::Refused {
                status,
                earlier_attempt_unknown,
                ..
            } => *status >= 500 || *earlier_attempt_unknown,
            _ => false,
        }
    }

    /// Whether the same request may fare better a moment later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// Whole objects under names: S3 in production, memory in tests.
pub trait ObjectStore: Send + Sync {
    /// The object, if it has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`S3Error`]; a missing object is [`S3Error::Refused`] with `NoSuchKey`.
    fn get(
        &self,
        bucket: &str,
        key: &str,
        bytes_max: usize,
    ) -> impl Future<Output = Result<StoredObject, S3Error>> + Send;

    /// Whether the object exists, as far as the caller may know: S3 tells a
    /// caller without permission to list a bucket neither yes nor no.
    ///
    /// # Errors
    /// [`S3Error`].
    fn exists(&self, bucket: &str, key: &str)
    -> impl Future<Output = Result<bool, S3Error>> + Send;

    /// Stores the object whole or not at all.
    ///
    /// # Errors
    /// [`S3Error`]; see [`S3Error::outcome_unknown`].
    fn put(
        &self,
        bucket: &str,
        key: &str,
        object: StoredObject,
    ) -> impl Future<Output = Result<(), S3Error>> + Send;

    /// Removes the object; one that does not exist is not an error.
    ///
    /// # Errors
    /// [`S3Error`].
    fn delete(&self, bucket: &str, key: &str) -> impl Future<Output = Result<(), S3Error>> + Send;
}

/// A client of one S3 endpoint.
#[derive(Clone, Debug)]
pub struct S3Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    region: String,
    credentials: Arc<CredentialSource>,
    clock: Arc<dyn Clock>,
    limits: S3Limits,
}

impl S3Client {
    /// Opens nothing yet. `extra_roots_pem` are certificates to trust beside the
    /// system's, for a server with a private CA.
    ///
    /// # Errors
    /// [`S3Error::Setup`].
    pub fn new(
        endpoint: Endpoint,
        region: &str,
        credentials: Arc<CredentialSource>,
        clock: Arc<dyn Clock>,
        limits: S3Limits,
        extra_roots_pem: Option<&[u8]>,
    ) -> Result<Self, S3Error> {
        let setup = |source| S3Error::Setup { source };
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("enclave-parent/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry a signature to a host that it was not made for.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .read_timeout(limits.silence)
            .tcp_nodelay(true);
        if endpoint.is_plain() {
            // No TLS, so no need to find and read the system's roots.
            http = http.tls_certs_only(std::iter::empty());
        } else if let Some(pem) = extra_roots_pem {
            let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(setup)?;
            http = http.tls_certs_merge(roots);
        }
        if endpoint.is_loopback() {
            http = http.no_proxy();
        }
        let http = http.build().map_err(setup)?;
        Ok(Self {
            http,
            endpoint,
            region: region.to_owned(),
            credentials,
            clock,
            limits,
        })
    }

    /// One request, repeated while it meets transient faults. The response's
    /// body has been read, up to `body_bytes_max`.
    async fn call(&self, request: &Request<'_>) -> Result<Answer, S3Error> {
        let url = self
            .endpoint
            .object_url(&self.region, request.bucket, request.key)?;
        let mut pause = self.limits.pause_first;
        let mut earlier_unknown = false;
        let mut attempt = 1;
        loop {
            let outcome = match timeout(self.limits.total, self.attempt(request, &url)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(S3Error::TimedOut {
                    endpoint: self.endpoint.clone(),
                    waited: self.limits.total,
                }),
            };
            let mut error = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if let S3Error::Refused {
                earlier_attempt_unknown,
                ..
            } = &mut error
            {
                *earlier_attempt_unknown = earlier_unknown;
            }
            if attempt >= self.limits.attempts_max || !error.is_transient() {
                return Err(error);
            }
            earlier_unknown |= error.outcome_unknown();
            tracing::debug!(target: "s3", attempt, %error, "trying again");
            sleep(pause).await;
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
    }

    async fn attempt(&self, request: &Request<'_>, url: &Url) -> Result<Answer, S3Error> {
        let broke = |source: reqwest::Error| S3Error::Unreachable {
            endpoint: self.endpoint.clone(),
            source: source.without_url(),
        };
        let headers = self.signed(request, url).await?;
        let mut response = self
            .http
            .request(request.method.clone(), url.clone())
            .headers(headers)
            .body(request.body.clone())
            .send()
            .await
            .map_err(broke)?;
        let status = response.status();
        if !status.is_success() {
            let document = match read_at_most(&mut response, ERROR_BYTES_MAX).await {
                Ok(Some(document)) => document,
                Ok(None) | Err(_) => Vec::new(),
            };
            return Err(request.refused(status, &document));
        }
        let metadata = user_metadata(response.headers()).map_err(|name| request.metadata(name))?;
        // A response to HEAD announces a length and has no body.
        let body = if request.method == Method::HEAD {
            Vec::new()
        } else {
            read_at_most(&mut response, request.body_bytes_max)
                .await
                .map_err(broke)?
                .ok_or_else(|| request.too_large())?
        };
        Ok(Answer { metadata, body })
    }

    /// The request's headers with those of the signature.
    async fn signed(&self, request: &Request<'_>, url: &Url) -> Result<HeaderMap, S3Error> {
        let identity = Identity::from(self.credentials.current().await?);
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(system_time(&*self.clock))
            .settings(settings)
            .build()
            .map_err(|_| S3Error::Signing)?
            .into();
        let payload_sha256 = hex::encode(digest::digest(&digest::SHA256, &request.body));
        let texts = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let signable = SignableRequest::new(
            request.method.as_str(),
            url.as_str(),
            texts,
            SignableBody::Precomputed(payload_sha256),
        )
        .map_err(|_| S3Error::Signing)?;
        let (instructions, _signature) = sign(signable, &params)
            .map_err(|_| S3Error::Signing)?
            .into_parts();

        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(value),
            ) else {
                return Err(request.metadata(name.clone()));
            };
            headers.insert(name, value);
        }
        let (added, _query) = instructions.into_parts();
        for header in added {
            let mut value = HeaderValue::from_str(header.value()).map_err(|_| S3Error::Signing)?;
            value.set_sensitive(header.sensitive());
            headers.insert(HeaderName::from_static(header.name()), value);
        }
        Ok(headers)
    }
}

impl ObjectStore for S3Client {
    async fn get(
        &self,
        bucket: &str,
        key: &str,
        bytes_max: usize,
    ) -> Result<StoredObject, S3Error> {
        let request = Request::new(Method::GET, bucket, key).reading(bytes_max);
        let Answer { metadata, body } = self.call(&request).await?;
        Ok(StoredObject {
            metadata,
            body: ByteBuf::from(body),
        })
    }

    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, S3Error> {
        match self.call(&Request::new(Method::HEAD, bucket, key)).await {
            Ok(_) => Ok(true),
            // 403 is what S3 answers for a missing object to a caller who may read
            // objects but not list the bucket.
            Err(S3Error::Refused {
                status: 403 | 404, ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, bucket: &str, key: &str, object: StoredObject) -> Result<(), S3Error> {
        let mut request = Request::new(Method::PUT, bucket, key).reading(ERROR_BYTES_MAX);
        request
            .headers
            .push(("content-type".into(), "application/octet-stream".into()));
        for (name, value) in &object.metadata {
            let plain = |c: char| c.is_ascii_graphic() || c == ' ';
            if !value.chars().all(plain) || value.trim() != value || name.is_empty() {
                return Err(request.metadata(name.clone()));
            }
            let header = format!("{META_PREFIX}{}", name.to_ascii_lowercase());
            if HeaderName::from_bytes(header.as_bytes()).is_err() {
                return Err(request.metadata(name.clone()));
            }
            request.headers.push((header, value.clone()));
        }
        request.body = Bytes::from(object.body.into_vec());
        self.call(&request).await.map(|_| ())
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<(), S3Error> {
        match self.call(&Request::new(Method::DELETE, bucket, key)).await {
            Ok(_) | Err(S3Error::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// One request, before it is signed.
struct Request<'a> {
    method: Method,
    bucket: &'a str,
    key: &'a str,
    headers: Vec<(String, String)>,
    body: Bytes,
    body_bytes_max: usize,
}

/// A successful response.
struct Answer {
    metadata: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl<'a> Request<'a> {
    fn new(method: Method, bucket: &'a str, key: &'a str) -> Self {
        let body_bytes_max = ERROR_BYTES_MAX;
        Self {
            method,
            bucket,
            key,
            headers: Vec::new(),
            body: Bytes::new(),
            body_bytes_max,
        }
    }

    fn reading(self, body_bytes_max: usize) -> Self {
        Self {
            body_bytes_max,
            ..self
        }
    }

    fn operation(&self) -> &'static str {
        match self.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::PUT => "PUT",
            _ => "DELETE",
        }
    }

    fn refused(&self, status: StatusCode, document: &[u8]) -> S3Error {
        let text = String::from_utf8_lossy(document);
        let code = element(&text, "Code").unwrap_or_else(|| match status.as_u16() {
            301 | 307 | 308 => "PermanentRedirect".to_owned(),
            403 => "AccessDenied".to_owned(),
            404 => "NoSuchKey".to_owned(),
            _ => status
                .canonical_reason()
                .unwrap_or("UnknownError")
                .replace(' ', ""),
        });
        let message = element(&text, "Message").unwrap_or_else(|| match status.as_u16() {
            301 | 307 | 308 => "the bucket is in another Region".to_owned(),
            _ => "no message".to_owned(),
        });
        S3Error::Refused {
            operation: self.operation(),
            bucket: self.bucket.to_owned(),
            key: self.key.to_owned(),
            status: status.as_u16(),
            code,
            message,
            earlier_attempt_unknown: false,
        }
    }

    fn metadata(&self, name: String) -> S3Error {
        S3Error::Metadata {
            bucket: self.bucket.to_owned(),
            key: self.key.to_owned(),
            name,
        }
    }

    fn too_large(&self) -> S3Error {
        S3Error::TooLarge {
            bucket: self.bucket.to_owned(),
            key: self.key.to_owned(),
            bytes_max: self.body_bytes_max,
        }
    }
}

/// The body, or `None` as soon as it is known to be longer than `bytes_max`.
async fn read_at_most(
    response: &mut Response,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let announced = response
        .content_length()
        .map(|length| usize::try_from(length).ok());
    let first = match announced {
        Some(Some(length)) if length <= bytes_max => length,
        Some(_) => return Ok(None),
        None => 0,
    };
    let mut body = Vec::with_capacity(first.min(FIRST_ALLOCATION_BYTES));
    while let Some(chunk) = response.chunk().await? {
        if chunk.len() > bytes_max - body.len() {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// User metadata among response headers, or the name of an entry that is no
/// text or comes twice.
fn user_metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, String> {
    let mut metadata = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(META_PREFIX) else {
            continue;
        };
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| name.to_owned())?;
        if metadata.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(name.to_owned());
        }
    }
    Ok(metadata)
}

/// The text of the first `<name>…</name>` in an S3 error document: enough of XML
/// for documents that have neither attributes nor nesting at these places. Short,
/// and free of control characters, because it goes into logs.
fn element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    let text: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(ERROR_TEXT_CHARS_MAX)
        .collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_code_and_message_of_an_error_document() {
        let document = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>\
                        <Message>The key &lt;a&gt; &amp;amp; more\n</Message></Error>";
        assert_eq!(element(document, "Code").as_deref(), Some("NoSuchKey"));
        assert_eq!(
            element(document, "Message").as_deref(),
            Some("The key <a> &amp; more")
        );
        assert_eq!(element(document, "HostId"), None);
    }

    proptest! {
        #[test]
        fn any_error_document_is_read_without_panic(bytes in ".{0,300}") {
            let _ = element(&bytes, "Code");
            let _ = element(&format!("<Code>{bytes}</Code>"), "Code");
        }
    }
}
