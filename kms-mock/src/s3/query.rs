//! What is looked at before the protocol crate reads a request: headers of a
//! presigned URL, counts, the length of the key and the form of a copy's source.
//!
//! Source of truth: Amazon S3 API reference, "Authenticating Requests: Using Query
//! Parameters", for `x-amz-` parameters, which count as headers; refusals recorded
//! from AWS for counts.

use http::{HeaderName, HeaderValue, request::Parts};
use s3s::{S3Result, s3_error};

use super::errors::{detailed, invalid_argument};

/// Makes the `x-amz-` parameters of a presigned URL headers, where no header says
/// otherwise. Those that are its signature have been taken off.
pub(super) fn take_headers(parts: &mut Parts) {
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
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

/// Refuses a count that is none.
pub(super) fn check_counts(parts: &Parts) -> S3Result<()> {
    let query = parts.uri.query().unwrap_or_default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
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
