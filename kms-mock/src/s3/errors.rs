//! S3's errors as the protocol shows them: code, message, and the elements that
//! say what the error is about.
//!
//! Source of truth: Amazon S3 API reference, "Error responses". The protocol
//! crate writes code and message only; what else an error says travels in a
//! header of our own up to [`finished`], which writes it into the body.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use s3s::{Body, HttpResponse, S3Error, S3ErrorCode, dto::ETag, s3_error};

use super::store::StoreError;
use crate::wire::xml::Xml;

/// Never leaves the process.
const DETAIL: HeaderName = HeaderName::from_static("x-drydock-error-detail");
const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// An S3 error from its code, status and message.
pub(crate) fn fault(code: &'static str, status: u16, message: impl Into<String>) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, message.into());
    if let Ok(status) = http::StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

/// The same error with elements that say what it is about.
pub(crate) fn detailed(error: S3Error, details: &[(&str, &str)]) -> S3Error {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(details);
    with_header(error, DETAIL, &form.finish())
}

/// InvalidArgument, which names the argument.
pub(crate) fn invalid_argument(name: &str, value: &str, message: &'static str) -> S3Error {
    let error = s3_error!(InvalidArgument, "{message}");
    detailed(error, &[("ArgumentName", name), ("ArgumentValue", value)])
}

/// What is said of a version id that S3 never gave.
pub(super) const INVALID_VERSION: &str = "Invalid version id specified";

const MALFORMED: &str =
    "The XML you provided was not well-formed or did not validate against our published schema";
pub(super) const EMPTY: &str = "Request Body is empty";

/// MalformedXML.
pub(crate) fn malformed() -> S3Error {
    s3_error!(MalformedXML, "{MALFORMED}")
}

/// NotModified, which tells the entity tag again.
pub(crate) fn not_modified(etag: &str) -> S3Error {
    let etag = ETag::Strong(etag.to_owned());
    let mut error = s3_error!(NotModified);
    if let Ok(value) = etag.to_http_header() {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::ETAG, value);
        error.set_headers(headers);
    }
    error
}

fn with_header(mut error: S3Error, name: HeaderName, value: &str) -> S3Error {
    let mut headers = error.headers().cloned().unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
    error.set_headers(headers);
    error
}

/// The answer that an error makes.
pub(crate) fn error_response(error: S3Error) -> HttpResponse {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = HttpResponse::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The answer to a `method` with the details of its error, if it is one, in its
/// body.
pub(crate) async fn finished(mut response: HttpResponse, method: &Method) -> HttpResponse {
    let details = response.headers_mut().remove(DETAIL);
    if details.is_none() && response.status() != http::StatusCode::BAD_REQUEST {
        return response;
    }
    let details = details.unwrap_or_else(|| HeaderValue::from_static(""));
    // Lost where an error brings headers of its own.
    let xml = HeaderValue::from_static("application/xml");
    response.headers_mut().entry(CONTENT_TYPE).or_insert(xml);
    let mut elements = Xml::default();
    for (name, value) in url::form_urlencoded::parse(details.as_bytes()) {
        let value = match (&*name, &*value) {
            ("Method", "") => method.as_str(),
            (_, value) => value,
        };
        elements.text(&name, value);
    }
    let (mut parts, body) = response.into_parts();
    // An error of ours, short and in memory.
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let mut text = body.to_vec();
    // The protocol crate says these without words.
    for (wordless, message) in [
        ("<Code>MalformedXML</Code></Error>", MALFORMED),
        ("<Code>MissingRequestBodyError</Code></Error>", EMPTY),
    ] {
        if text.ends_with(wordless.as_bytes()) {
            elements.text("Message", message);
        }
    }
    const END: &[u8] = b"</Error>";
    if let Some(at) = text.len().checked_sub(END.len())
        && text.ends_with(END)
    {
        text.splice(at..at, elements.into_bytes());
        parts.headers.remove(http::header::CONTENT_LENGTH);
    }
    HttpResponse::from_parts(parts, Body::from(text))
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchBucket(bucket) => detailed(
                s3_error!(NoSuchBucket, "The specified bucket does not exist"),
                &[("BucketName", &bucket)],
            ),
            StoreError::NoSuchKey(key) => no_such_key(&key),
            StoreError::Deleted(key, id) => {
                let error = with_header(no_such_key(&key), DELETE_MARKER, "true");
                with_header(error, VERSION_ID, id.as_str())
            }
            StoreError::NoSuchVersion(_, id) if !id.is_of_this_store() => {
                invalid_argument("versionId", id.as_str(), INVALID_VERSION)
            }
            StoreError::NoSuchVersion(key, id) => detailed(
                s3_error!(NoSuchVersion, "The specified version does not exist."),
                &[("Key", &key), ("VersionId", id.as_str())],
            ),
            StoreError::IsDeleteMarker(id) => {
                let error = s3_error!(
                    MethodNotAllowed,
                    "The specified method is not allowed against this resource."
                );
                let error = detailed(error, &[("Method", ""), ("ResourceType", "DeleteMarker")]);
                let error = with_header(error, ALLOW, "DELETE");
                let error = with_header(error, DELETE_MARKER, "true");
                with_header(error, VERSION_ID, id.as_str())
            }
            StoreError::NoSuchUpload(id) => detailed(
                s3_error!(
                    NoSuchUpload,
                    "The specified upload does not exist. The upload ID may be invalid, or the \
                     upload may have been aborted or completed."
                ),
                &[("UploadId", &id)],
            ),
            StoreError::BucketNotEmpty(bucket, versioned) => {
                let more = if versioned {
                    ". You must delete all versions in the bucket."
                } else {
                    ""
                };
                let error = s3_error!(
                    BucketNotEmpty,
                    "The bucket you tried to delete is not empty{more}"
                );
                detailed(error, &[("BucketName", &bucket)])
            }
            StoreError::OwnedByYou(bucket) => detailed(
                s3_error!(
                    BucketAlreadyOwnedByYou,
                    "Your previous request to create the named bucket succeeded and you already \
                     own it."
                ),
                &[("BucketName", &bucket)],
            ),
            StoreError::OwnedByAnother(bucket) => detailed(
                s3_error!(
                    BucketAlreadyExists,
                    "The requested bucket name is not available. The bucket namespace is shared \
                     by all users of the system. Please select a different name and try again."
                ),
                &[("BucketName", &bucket)],
            ),
            StoreError::TooManyUploads => s3_error!(
                ServiceUnavailable,
                "Too many uploads are under way in this bucket of the simulated store; complete \
                 or abort some."
            ),
            StoreError::Unwritten(why) => {
                tracing::error!(%why, "an object was not stored");
                s3_error!(
                    InternalError,
                    "We encountered an internal error. Please try again."
                )
            }
            StoreError::Locked => s3_error!(
                AccessDenied,
                "Access Denied because object protected by object lock."
            ),
            StoreError::VersioningLocked => s3_error!(
                InvalidBucketState,
                "An Object Lock configuration is present on this bucket, so the versioning state \
                 cannot be changed."
            ),
            StoreError::NotVersioned => s3_error!(
                InvalidBucketState,
                "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
            ),
            StoreError::Full => s3_error!(ServiceUnavailable, "The simulated store is full."),
            StoreError::Conflict(key, condition) => {
                let message = "The conditional request cannot succeed due to a conflicting \
                               operation against this resource.";
                let error = fault("ConditionalRequestConflict", 409, message);
                detailed(error, &[("Condition", condition), ("Key", &key)])
            }
            StoreError::PreconditionFailed(condition) => detailed(
                s3_error!(
                    PreconditionFailed,
                    "At least one of the pre-conditions you specified did not hold"
                ),
                &[("Condition", condition)],
            ),
        }
    }
}

fn no_such_key(key: &str) -> S3Error {
    detailed(
        s3_error!(NoSuchKey, "The specified key does not exist."),
        &[("Key", key)],
    )
}
