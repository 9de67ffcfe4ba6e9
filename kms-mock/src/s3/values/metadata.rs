//! User metadata: the `x-amz-meta-` headers of an object, kept as they came.
//!
//! Source of truth: Amazon S3 user guide, "Working with object metadata": 2 KiB
//! of names and values, US-ASCII given back as it is. They are taken off the
//! request before the protocol crate would decode and encode them again.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

const META: &str = "x-amz-meta-";
/// S3's limit on names and values of user metadata together.
const METADATA_BYTES_MAX: usize = 2 * 1024;

/// User metadata by name without `x-amz-meta-`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserMetadata(#[serde(with = "named_bytes")] BTreeMap<String, Bytes>);

impl UserMetadata {
    /// Bytes of names and values together.
    pub(crate) fn size(&self) -> u64 {
        let sizes = self.0.iter().map(|(name, value)| name.len() + value.len());
        sizes.sum::<usize>() as u64
    }
}

/// Takes the user metadata off a request, values as they are.
pub(crate) fn take_metadata(headers: &mut HeaderMap) -> S3Result<UserMetadata> {
    let of_metadata = |header: &HeaderName| {
        let name = header.as_str().strip_prefix(META)?.to_owned();
        Some((header.clone(), name))
    };
    let names: Vec<(HeaderName, String)> = headers.keys().filter_map(of_metadata).collect();
    let mut metadata = BTreeMap::new();
    let mut size = 0;
    for (header, name) in names {
        let mut value = Vec::new();
        for (i, part) in headers.get_all(&header).iter().enumerate() {
            if i > 0 {
                value.push(b','); // what S3 makes of a repeated header
            }
            value.extend_from_slice(part.as_bytes());
        }
        headers.remove(&header);
        size += name.len() + value.len();
        if !name.is_empty() {
            metadata.insert(name, Bytes::from(value));
        }
    }
    if size > METADATA_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size"
        ));
    }
    Ok(UserMetadata(metadata))
}

/// The headers that give user metadata back: US-ASCII as it came, anything else
/// as an RFC 2047 encoded word, as S3 does.
pub(crate) fn metadata_headers(metadata: &UserMetadata) -> HeaderMap {
    use base64::Engine;
    let mut headers = HeaderMap::new();
    for (name, value) in &metadata.0 {
        let Ok(name) = HeaderName::from_bytes(format!("{META}{name}").as_bytes()) else {
            continue;
        };
        let value = if value.is_ascii() {
            HeaderValue::from_maybe_shared(value.clone())
        } else {
            let word = base64::engine::general_purpose::STANDARD.encode(value);
            HeaderValue::from_str(&format!("=?UTF-8?B?{word}?="))
        };
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    }
    headers
}

/// Bytes by name as CBOR byte strings.
mod named_bytes {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteBuf;

    pub(super) fn serialize<S: Serializer>(
        named: &BTreeMap<String, Bytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let named = named.iter();
        serializer.collect_map(named.map(|(name, value)| (name, serde_bytes::Bytes::new(value))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Bytes>, D::Error> {
        let named = BTreeMap::<String, ByteBuf>::deserialize(deserializer)?;
        let named = named.into_iter();
        Ok(named
            .map(|(name, value)| (name, Bytes::from(value.into_vec())))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_keeps_its_names_and_values_exactly() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-x-amz-3", "AQ==".parse().unwrap());
        headers.insert("x-amz-meta-x-amz-t", r#"{"a":"=?not?="}"#.parse().unwrap());
        headers.insert("content-type", "text/plain".parse().unwrap());
        let metadata = take_metadata(&mut headers).unwrap();
        assert_eq!(headers.len(), 1);
        let back = metadata_headers(&metadata);
        assert_eq!(back["x-amz-meta-x-amz-3"], "AQ==");
        assert_eq!(back["x-amz-meta-x-amz-t"], r#"{"a":"=?not?="}"#);
    }

    #[test]
    fn metadata_over_two_kilobytes_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-a", "x".repeat(2_047).parse().unwrap());
        assert!(take_metadata(&mut headers.clone()).is_ok());
        headers.insert("x-amz-meta-b", "x".parse().unwrap());
        assert_eq!(
            take_metadata(&mut headers).unwrap_err().code().as_str(),
            "MetadataTooLarge"
        );
    }
}
