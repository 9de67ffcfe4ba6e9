//! Tags of buckets and objects, and how many of which form S3 takes.
//!
//! Source of truth: Amazon S3 user guide, "Categorizing your objects using tags"
//! and "Using cost allocation S3 bucket tags".

use std::collections::BTreeSet;

use s3s::{S3Result, dto};
use serde::{Deserialize, Serialize};

use super::errors::{detailed, fault};

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
        let pairs = pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        let system = "System tags cannot be added/updated by requester";
        Self::checked(pairs.collect(), of, system)
    }

    /// Reads the header `x-amz-tagging`, a query string.
    pub(crate) fn from_header(header: Option<&str>) -> S3Result<Self> {
        let pairs = url::form_urlencoded::parse(header.unwrap_or_default().as_bytes());
        let system = "Your TagKey cannot be prefixed with aws:";
        Self::checked(pairs.into_owned().collect(), Tagged::Object, system)
    }

    fn checked(pairs: Vec<(String, String)>, of: Tagged, system: &'static str) -> S3Result<Self> {
        let (max, too_many) = match of {
            Tagged::Bucket => (50, "Bucket tag count cannot be greater than 50"),
            Tagged::Object => (10, "Object tags cannot be greater than 10"),
        };
        if pairs.len() > max {
            return Err(fault("BadRequest", 400, too_many));
        }
        let mut keys = BTreeSet::new();
        for (key, value) in &pairs {
            let wrong = if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX {
                Some("The TagKey you have provided is invalid")
            } else if value.chars().count() > VALUE_CHARACTERS_MAX {
                Some("The TagValue you have provided is invalid")
            } else if key.starts_with("aws:") {
                Some(system)
            } else if !keys.insert(key) {
                Some("Cannot provide multiple Tags with the same key")
            } else {
                None
            };
            if let Some(wrong) = wrong {
                let error = fault("InvalidTag", 400, wrong);
                return Err(detailed(error, &[("TagKey", key), ("TagValue", value)]));
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
        i32::try_from(self.0.len()).ok().filter(|count| *count > 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
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
            ("k=1&k=2".to_owned(), "InvalidTag"),
            (format!("{}=v", "k".repeat(129)), "InvalidTag"),
            (format!("k={}", "v".repeat(257)), "InvalidTag"),
        ];
        for (header, code) in table {
            let refused = Tags::from_header(Some(&header)).unwrap_err();
            assert_eq!(refused.code().as_str(), code, "{header}");
        }
        let tags = Tags::from_header(Some("a=1&b%20c=%26")).unwrap();
        assert_eq!(
            tags.0,
            [
                ("a".to_owned(), "1".to_owned()),
                ("b c".to_owned(), "&".to_owned())
            ]
        );
        assert_eq!(tags.count(), Some(2));
        assert_eq!(Tags::from_header(None).unwrap().count(), None);
    }
}
