//! What is looked at before the protocol crate reads a request: headers of a
//! presigned URL, the name of the bucket, counts, the length of the key, the form of a
//! copy's source; and headers about which S3 is more lenient than that crate.
//!
//! Source of truth: Amazon S3 API reference, "Authenticating Requests: Using Query
//! Parameters", for `x-amz-` parameters, which count as headers; refusals recorded
//! from AWS for counts.

use http::{HeaderMap, HeaderName, HeaderValue, header::RANGE, request::Parts};
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
