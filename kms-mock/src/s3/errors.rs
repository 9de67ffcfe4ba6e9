//! S3's errors as the protocol shows them: code, message, and the elements that
//! say what the error is about.
//!
//! Source of truth: Amazon S3 API reference, "Error responses". The protocol
//! crate writes code and message only; what else an error says travels in a
//! header of our own up to [`finished`], which writes it into the body.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use s3s::{Body, HttpResponse, S3Error, S3ErrorCode, dto::ETag, s3_error};

use crate::wire::xml::Xml;

/// Never leaves the process.
const DETAIL: HeaderName = HeaderName::from_static("x-drydock-error-detail");
pub(super) const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
pub(super) const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// An S3 error from its code, status and message.
pub(crate) fn fault(code: &'static str, status: u16, message: impl Into<String>) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).expect("any text is a code");
    let mut error = S3Error::with_message(code, message.into());
    let status = StatusCode::from_u16(status).expect("every status here is written in the code");
    error.set_status_code(status);
    error
}

/// What a bucket was given none of.
pub(crate) fn absent_of_bucket(code: &'static str, message: &'static str, bucket: &str) -> S3Error {
    detailed(fault(code, 404, message), &[("BucketName", bucket)])
}

/// The same error with elements that say what it is about.
pub(crate) fn detailed(error: S3Error, details: &[(&str, &str)]) -> S3Error {
    let mut form = form_urlencoded::Serializer::new(String::new());
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

/// MalformedPolicy, in S3's words.
pub(crate) fn malformed_policy(message: String) -> S3Error {
    fault("MalformedPolicy", 400, message)
}

/// NotModified, which repeats the entity tag.
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

/// The same error with a header of its answer.
pub(super) fn with_header(mut error: S3Error, name: HeaderName, value: &str) -> S3Error {
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
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The answer to a `method` with the details of its error, if it is one, in its
/// body.
pub(crate) async fn finished(mut response: HttpResponse, method: &Method) -> HttpResponse {
    let details = response.headers_mut().remove(DETAIL);
    if details.is_none() && response.status() != StatusCode::BAD_REQUEST {
        return response;
    }
    let details = details.unwrap_or_else(|| HeaderValue::from_static(""));
    // Lost where an error brings headers of its own.
    let xml = HeaderValue::from_static("application/xml");
    response.headers_mut().entry(CONTENT_TYPE).or_insert(xml);
    let mut elements = Xml::default();
    for (name, value) in form_urlencoded::parse(details.as_bytes()) {
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
