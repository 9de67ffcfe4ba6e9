//! What S3 takes from a query beside what it names: headers of a presigned URL,
//! and counts.
//!
//! Source of truth: Amazon S3 API reference, "Authenticating Requests: Using Query
//! Parameters", for `x-amz-` parameters, which count as headers; refusals recorded
//! from AWS for counts.

use http::{HeaderName, HeaderValue, request::Parts};
use s3s::S3Result;

use super::errors::invalid_argument;

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
