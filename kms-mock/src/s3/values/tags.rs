//! Tags of buckets and objects: how many S3 takes, and of which form.
//!
//! Source of truth: Amazon S3 user guide, "Categorizing your objects using tags"
//! and "Using cost allocation S3 bucket tags".

use std::collections::BTreeSet;

use s3s::{S3Result, dto};
use serde::{Deserialize, Serialize};

use crate::s3::errors::{detailed, fault, invalid_argument};

/// Tags in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tags(Vec<(String, String)>);

/// Whose tags they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tagged {
    Bucket,
    Object,
}

const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;

impl Tags {
    /// Reads the `Tagging` of a request.
    pub(crate) fn read(tagging: dto::Tagging, of: Tagged) -> S3Result<Self> {
        let pairs = tagging.tag_set.into_iter();
        // An element that is missing is an empty one to S3: of a key refused below.
        let pairs = pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        Self::checked(pairs.collect(), of)
    }

    /// Reads the header `x-amz-tagging`, a query string.
    pub(crate) fn from_header(header: Option<&str>) -> S3Result<Self> {
        let header = header.unwrap_or_default();
        let pairs = form_urlencoded::parse(header.as_bytes()).into_owned();
        let pairs: Vec<(String, String)> = pairs.collect();
        let keys: BTreeSet<&String> = pairs.iter().map(|(key, _)| key).collect();
        let written = |(key, value): &(String, String)| is_written(key) && is_written(value);
        if keys.len() < pairs.len() || !pairs.iter().all(written) {
            let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded \
                           URL query parameters without tag name duplicates.";
            return Err(invalid_argument("x-amz-tagging", header, message));
        }
        Self::checked(pairs, Tagged::Object)
    }

    fn checked(pairs: Vec<(String, String)>, of: Tagged) -> S3Result<Self> {
        let (max, too_many, system) = match of {
            Tagged::Bucket => (
                50,
                "Bucket tag count cannot be greater than 50",
                "System tags cannot be added/updated by requester",
            ),
            Tagged::Object => (
                10,
                "Object tags cannot be greater than 10",
                "Your TagKey cannot be prefixed with aws:",
            ),
        };
        if pairs.len() > max {
            return Err(fault("BadRequest", 400, too_many));
        }
        let wrong = |message, details: &[(&str, &str)]| {
            Err(detailed(fault("InvalidTag", 400, message), details))
        };
        let mut keys = BTreeSet::new();
        for (key, value) in &pairs {
            let of_key = [("TagKey", key.as_str())];
            let of_value = [("TagKey", key.as_str()), ("TagValue", value.as_str())];
            if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX || !is_written(key) {
                return wrong("The TagKey you have provided is invalid", &of_key);
            }
            if value.chars().count() > VALUE_CHARACTERS_MAX || !is_written(value) {
                return wrong("The TagValue you have provided is invalid", &of_value);
            }
            if key.starts_with("aws:") {
                return wrong(system, &of_key);
            }
            if !keys.insert(key) {
                return wrong("Cannot provide multiple Tags with the same key", &of_key);
            }
        }
        Ok(Self(pairs))
    }

    pub(crate) fn shown(&self) -> Vec<dto::Tag> {
        let tags = self.0.iter().map(|(key, value)| dto::Tag {
            key: Some(key.clone()),
            value: Some(value.clone()),
        });
        tags.collect()
    }

    /// `x-amz-tagging-count`, which is there only if there are any.
    pub(crate) fn count(&self) -> Option<i32> {
        let count = i32::try_from(self.0.len()).expect("at most 50 tags are read");
        Some(count).filter(|count| *count > 0)
    }

    /// Key and value of each.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a key or value has none but the characters of tags.
fn is_written(text: &str) -> bool {
    let of_tags = |c: char| c.is_alphanumeric() || c.is_whitespace() || "+-=._:/@".contains(c);
    text.chars().all(of_tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_s3_refuses_are_refused() {
        let eleven: Vec<String> = (0..11).map(|i| format!("k{i}=v")).collect();
        let table = [
            (eleven.join("&"), "BadRequest"),
            ("=v".to_owned(), "InvalidTag"),
            ("aws:k=v".to_owned(), "InvalidTag"),
            ("k=1&k=2".to_owned(), "InvalidArgument"),
            ("k=1,l=2".to_owned(), "InvalidArgument"),
            (format!("{}=v", "k".repeat(129)), "InvalidTag"),
            (format!("k={}", "v".repeat(257)), "InvalidTag"),
        ];
        for (header, code) in table {
            let refused = Tags::from_header(Some(&header)).unwrap_err();
            assert_eq!(refused.code().as_str(), code, "{header}");
        }
        let tags = Tags::from_header(Some("a=1&b%20c=%2B")).unwrap();
        assert_eq!(
            tags.0,
            [
                ("a".to_owned(), "1".to_owned()),
                ("b c".to_owned(), "+".to_owned())
            ]
        );
        assert_eq!(tags.count(), Some(2));
        assert_eq!(Tags::from_header(None).unwrap().count(), None);
    }
}
