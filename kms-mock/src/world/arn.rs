//! The ways a request names a key: id, ARN, alias, alias ARN.
//!
//! Source of truth: AWS KMS developer guide, "Key identifiers (KeyId)"; ground
//! truth KMS §4 (the texts of `NotFoundException`).

use super::principal::is_account_id;

/// A parsed `KeyId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyReference {
    /// The ARN of a key.
    Key(String),
    /// The ARN of an alias.
    Alias(String),
}

/// Why a text names no key here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoReference {
    /// Neither a key id nor an alias.
    KeyId(String),
    /// An ARN that does not parse, or the Region of an ARN that is not ours.
    Arn(String),
}

impl KeyReference {
    /// Reads `text` for a caller of `account` in `region`.
    pub(crate) fn parse(text: &str, region: &str, account: &str) -> Result<Self, NoReference> {
        if let Some(rest) = text.strip_prefix("arn:") {
            let wrong = || NoReference::Arn(text.to_owned());
            let mut parts = rest.splitn(5, ':');
            let mut part = || parts.next().ok_or_else(wrong);
            let (partition, service) = (part()?, part()?);
            let (its_region, its_account, resource) = (part()?, part()?, part()?);
            if partition != "aws" || service != "kms" || !is_account_id(its_account) {
                return Err(wrong());
            }
            if its_region != region {
                return Err(NoReference::Arn(its_region.to_owned()));
            }
            if resource.starts_with("alias/") {
                return Ok(Self::Alias(text.to_owned()));
            }
            return match resource.strip_prefix("key/") {
                Some(id) if is_key_id(id) => Ok(Self::Key(text.to_owned())),
                Some(id) => Err(NoReference::KeyId(id.to_owned())),
                None => Err(wrong()),
            };
        }
        if text.starts_with("alias/") {
            return Ok(Self::Alias(alias_arn(region, account, text)));
        }
        if is_key_id(text) {
            return Ok(Self::Key(key_arn(region, account, text)));
        }
        Err(NoReference::KeyId(text.to_owned()))
    }
}

/// The ARN of a key.
pub(crate) fn key_arn(region: &str, account: &str, id: &str) -> String {
    ["arn:aws:kms:", region, ":", account, ":key/", id].concat()
}

/// The ARN of an alias whose name starts with `alias/`.
pub(crate) fn alias_arn(region: &str, account: &str, name: &str) -> String {
    ["arn:aws:kms:", region, ":", account, ":", name].concat()
}

/// The account of an ARN; empty when it is none.
pub(crate) fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// The Region of an ARN; empty when it is none.
pub(crate) fn region_of(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

/// A UUID in its usual form, or `mrk-` and 32 hex digits.
pub(crate) fn is_key_id(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_hexdigit();
    if let Some(digits) = text.strip_prefix("mrk-") {
        return digits.len() == 32 && digits.bytes().all(hex);
    }
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => hex(b),
        })
}

/// Whether a text has the form of a Region's name.
pub(crate) fn is_region_name(text: &str) -> bool {
    let all = |part: &[u8], fits: fn(&u8) -> bool| !part.is_empty() && part.iter().all(fits);
    let mut parts = text.as_bytes().split(|b| *b == b'-');
    let number = parts.next_back().unwrap_or_default();
    text.len() <= 32
        && matches!(parts.clone().count(), 2 | 3)
        && parts.all(|word| all(word, u8::is_ascii_lowercase))
        && all(number, u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn every_way_to_name_a_key_is_understood() {
        let parse = |text: &str| KeyReference::parse(text, "us-east-1", "123456789012");
        let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{ID}");
        assert_eq!(parse(ID), Ok(KeyReference::Key(arn.clone())));
        assert_eq!(parse(&arn), Ok(KeyReference::Key(arn)));
        let alias = "arn:aws:kms:us-east-1:123456789012:alias/a/b".to_owned();
        assert_eq!(parse("alias/a/b"), Ok(KeyReference::Alias(alias.clone())));
        assert_eq!(parse(&alias), Ok(KeyReference::Alias(alias)));
        let mrk = "mrk-1234abcd12ab34cd56ef1234567890ab";
        assert!(matches!(parse(mrk), Ok(KeyReference::Key(_))));
        for id in [
            "fake-key-id",
            "mrk-fake-key-id",
            "134f2428cec14b25a1ae9048164dba47",
            "key_id",
        ] {
            assert_eq!(parse(id), Err(NoReference::KeyId(id.to_owned())));
        }
        assert_eq!(
            parse(&format!("arn:aws:kms:eu-west-1:123456789012:key/{ID}")),
            Err(NoReference::Arn("eu-west-1".into()))
        );
        assert!(matches!(
            parse("arn:aws:kms:us-east-1"),
            Err(NoReference::Arn(_))
        ));
        assert!(matches!(
            parse("arn:aws:s3:us-east-1:123456789012:key/x"),
            Err(NoReference::Arn(_))
        ));
    }

    #[test]
    fn names_of_regions_are_told_from_others() {
        for name in ["us-east-1", "us-gov-west-1", "ap-southeast-12"] {
            assert!(is_region_name(name), "{name}");
        }
        for name in [
            "",
            "-",
            "us-1",
            "us-east",
            "us-east-",
            "Us-east-1",
            "a-b-c-d-1",
            "us--1",
        ] {
            assert!(!is_region_name(name), "{name}");
        }
    }
}
