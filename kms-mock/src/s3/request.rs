//! What is looked at before the protocol crate reads a request: headers of a
//! presigned URL, that its parameters ask for nothing unknown, the name of the bucket,
//! counts, the length of the key, the form of a copy's source; and headers about which
//! S3 is more lenient than that crate.
//!
//! Source of truth: Amazon S3 API reference, "Authenticating Requests: Using Query
//! Parameters", for `x-amz-` parameters, which count as headers; refusals recorded
//! from AWS for counts.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::RANGE, request::Parts};
use s3s::{S3Result, dto, s3_error};

use super::errors::{detailed, invalid_argument};

/// Makes the `x-amz-` parameters of a presigned URL headers, where no header says
/// otherwise. Those that are its signature have been taken off.
pub(super) fn take_headers(parts: &mut Parts) {
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let name = name.to_ascii_lowercase();
        if !name.starts_with("x-amz-") {
            continue;
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name),
            HeaderValue::from_bytes(value.as_bytes()),
        ) {
            parts.headers.entry(name).or_insert(value);
        }
    }
}

/// S3's longest key, in bytes of UTF-8.
const KEY_BYTES_MAX: usize = 1024;

/// Refuses a key that is too long, and a source that names none.
pub(super) fn check_keys(parts: &Parts) -> S3Result<()> {
    let path = parts.uri.path().trim_start_matches('/');
    let key = path.split_once('/').map_or("", |(_, key)| key);
    // What is escaped is three bytes for one.
    let size = key.len().saturating_sub(2 * key.matches('%').count());
    if size > KEY_BYTES_MAX {
        let size = size.to_string();
        let max = KEY_BYTES_MAX.to_string();
        let error = s3_error!(KeyTooLongError, "Your key is too long");
        return Err(detailed(
            error,
            &[("Size", &size), ("MaxSizeAllowed", &max)],
        ));
    }
    const SOURCE: &str = "x-amz-copy-source";
    let source = parts.headers.get(SOURCE).and_then(|it| it.to_str().ok());
    let names_key = |source: &str| {
        let source = source.to_ascii_lowercase().replace("%2f", "/");
        source.trim_start_matches('/').contains('/')
    };
    match source {
        Some(source) if !names_key(source) => Err(invalid_argument(
            SOURCE,
            SOURCE,
            "Invalid copy source object key",
        )),
        _ => Ok(()),
    }
}

/// Refuses what is not a count.
pub(super) fn check_counts(parts: &Parts) -> S3Result<()> {
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        // The parameter, and how S3 names the argument.
        let (argument, not_a_count, out_of_range) = match &*name {
            "max-keys" => (
                "maxKeys",
                "Provided max-keys not an integer or within integer range",
                "Argument maxKeys must be an integer between 0 and 2147483647",
            ),
            "max-parts" => (
                "max-parts",
                "Provided max-parts not an integer or within integer range",
                "Argument max-parts must be an integer between 0 and 2147483647",
            ),
            "part-number-marker" => (
                "part-number-marker",
                "Provided part-number-marker not an integer or within integer range",
                "Argument part-number-marker must be an integer between 0 and 2147483647",
            ),
            _ => continue,
        };
        match value.parse::<i32>() {
            Ok(count) if count >= 0 => {}
            Ok(_) => return Err(invalid_argument(argument, &value, out_of_range)),
            Err(_) => return Err(invalid_argument(&name, &value, not_a_count)),
        }
    }
    Ok(())
}

/// Parameters that the operations on all buckets read.
const OF_ACCOUNT: &str = "bucket-region continuation-token max-buckets prefix";
/// Parameters of GET and HEAD of a bucket: its listings and its sub-resources.
const OF_BUCKET: &str = "accelerate acl analytics continuation-token cors delimiter \
    encoding-type encryption fetch-owner id intelligent-tiering inventory key-marker lifecycle \
    list-type location logging marker max-keys max-uploads metadataTable metrics notification \
    object-lock ownershipControls policy policyStatus prefix publicAccessBlock replication \
    requestPayment session start-after tagging upload-id-marker uploads version-id-marker \
    versioning versions website";
const TO_BUCKET: &str = "accelerate acl analytics cors encryption id intelligent-tiering \
    inventory lifecycle logging metrics notification object-lock ownershipControls policy \
    publicAccessBlock replication requestPayment tagging versioning website";
const FROM_BUCKET: &str = "analytics cors encryption id intelligent-tiering inventory lifecycle \
    metadataTable metrics ownershipControls policy publicAccessBlock replication tagging website";
const AT_BUCKET: &str = "delete metadataTable";
const OF_OBJECT: &str = "acl attributes legal-hold max-parts partNumber part-number-marker \
    response-cache-control response-content-disposition response-content-encoding \
    response-content-language response-content-type response-expires retention tagging torrent \
    uploadId versionId";
const TO_OBJECT: &str = "acl legal-hold partNumber retention tagging uploadId versionId";
const FROM_OBJECT: &str = "tagging uploadId versionId";
const AT_OBJECT: &str = "restore select select-type uploadId uploads versionId";

/// Refuses a parameter that names no operation known here. The protocol crate would
/// leave it out and do what is left: put or delete the object of which something else
/// was meant. S3 ignores what it does not know when it only reads, but a name without
/// a value is a sub-resource.
pub(super) fn check_parameters(parts: &Parts) -> S3Result<()> {
    let path = parts.uri.path().trim_start_matches('/');
    let in_bucket = path.split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let known = match (&parts.method, path.is_empty(), in_bucket) {
        (_, true, _) => OF_ACCOUNT,
        (&Method::GET | &Method::HEAD, _, false) => OF_BUCKET,
        (&Method::PUT, _, false) => TO_BUCKET,
        (&Method::DELETE, _, false) => FROM_BUCKET,
        (_, _, false) => AT_BUCKET,
        (&Method::GET | &Method::HEAD, ..) => OF_OBJECT,
        (&Method::PUT, ..) => TO_OBJECT,
        (&Method::DELETE, ..) => FROM_OBJECT,
        _ => AT_OBJECT,
    };
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is_header = || name.to_ascii_lowercase().starts_with("x-amz-");
        let is_known = known.split_ascii_whitespace().any(|it| it == name);
        // `x-id` is what SDKs call the operation.
        let ignored = reads && !value.is_empty();
        if !is_known && !ignored && name != "x-id" && !is_header() {
            return Err(s3_error!(
                NotImplemented,
                "A header or query you provided implies functionality that is not implemented."
            ));
        }
    }
    Ok(())
}

/// Refuses a bucket's name that S3 does not allow.
pub(super) fn check_bucket(parts: &Parts) -> S3Result<()> {
    let bucket = bucket_of(parts.uri.path());
    if bucket.is_empty() || s3s::path::check_bucket_name(bucket) {
        return Ok(());
    }
    let error = s3_error!(InvalidBucketName, "The specified bucket is not valid.");
    Err(detailed(error, &[("BucketName", bucket)]))
}

/// The bucket in `/bucket/key` or `bucket/key`.
pub(super) fn bucket_of(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    path.split_once('/').map_or(path, |(bucket, _)| bucket)
}

/// Writes headers that S3 is lenient about as the protocol crate wants them:
/// entity tags of conditions may lack quotes, and a range of the wrong form is
/// ignored.
pub(super) fn lenient_headers(headers: &mut HeaderMap) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: Method, uri: &str) -> bool {
        let request = http::Request::builder().method(method).uri(uri);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check_parameters(&parts).is_err()
    }

    #[test]
    fn a_parameter_that_asks_for_something_unknown_is_refused() {
        for (method, uri) in [
            (Method::PUT, "/b/k?encryption"),
            (Method::PUT, "/b/k?annotation&annotationName=a"),
            (Method::PUT, "/b/k?renameObject"),
            (Method::PUT, "/b/k?policy"),
            (Method::PUT, "/b/k?next-years=1"),
            (Method::DELETE, "/b/k?annotation"),
            (Method::DELETE, "/b/k?acl"),
            (Method::DELETE, "/b?abac"),
            (Method::DELETE, "/b?versionId=1"),
            (Method::PUT, "/b?abac"),
            (Method::POST, "/b?metadataConfiguration"),
            (Method::GET, "/b/k?annotation"),
            (Method::GET, "/b/k?encryption="),
            (Method::GET, "/b?abac"),
            (Method::GET, "/b/?metadataConfiguration"),
            (Method::GET, "/?acl"),
        ] {
            assert!(refused(method.clone(), uri), "{method} {uri}");
        }
        for (method, uri) in [
            (Method::PUT, "/b/k?x-id=PutObject"),
            (Method::PUT, "/b/k?X-Amz-Acl=private"),
            (Method::PUT, "/b/k?partNumber=1&uploadId=u"),
            (Method::GET, "/b/k?versionId=v&response-content-type=a"),
            (Method::GET, "/b/k?cache-buster=1"),
            (Method::GET, "/b?list-type=2&prefix=a"),
            (Method::PUT, "/b"),
            (Method::GET, "/"),
        ] {
            assert!(!refused(method.clone(), uri), "{method} {uri}");
        }
    }
}
