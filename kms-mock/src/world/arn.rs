//! Amazon resource names: those of keys and aliases as types, and the ways a request
//! names a key (id, ARN, alias, alias ARN).
//!
//! Source of truth: AWS general reference, "Amazon Resource Names (ARNs)"; AWS KMS
//! developer guide, "Key identifiers (KeyId)"; ground truth KMS §4 (the texts of
//! `NotFoundException`). Keys and aliases are of the partition `aws` alone.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use super::principal::is_account_id;

const BEFORE_REGION: &str = "arn:aws:kms:";
const ACCOUNT_BYTES: usize = 12;
const BEFORE_ID: &str = ":key/";
/// A UUID, or `mrk-` and 32 hex digits.
const ID_BYTES: usize = 36;

/// The six parts of an ARN: `arn`, partition, service, Region, account, resource. The
/// resource may hold further colons.
pub(crate) fn six_parts(arn: &str) -> Option<[&str; 6]> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next();
    Some([next()?, next()?, next()?, next()?, next()?, next()?])
}

/// The ARN of a key; a clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyArn(Arc<str>);

impl KeyArn {
    /// The ARN of the key `id`, which is a key id; `account` is an account's.
    pub(crate) fn new(region: &str, account: &str, id: &str) -> Self {
        debug_assert!(is_key_id(id) && is_account_id(account), "{account} {id}");
        Self(
            [BEFORE_REGION, region, ":", account, BEFORE_ID, id]
                .concat()
                .into(),
        )
    }

    /// What all ARNs of keys of a Region and account begin with.
    pub(crate) fn prefix(region: &str, account: &str) -> String {
        [BEFORE_REGION, region, ":", account, BEFORE_ID].concat()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let [_, _, _, _, account, resource] = six_parts(text)?;
        let id = resource.strip_prefix("key/")?;
        (text.starts_with(BEFORE_REGION) && is_account_id(account) && is_key_id(id))
            .then(|| Self(text.into()))
    }

    pub(crate) fn region(&self) -> &str {
        self.part(BEFORE_REGION.len(), self.account_at() - 1)
    }

    pub(crate) fn account(&self) -> &str {
        self.part(self.account_at(), self.account_at() + ACCOUNT_BYTES)
    }

    /// The key id.
    pub(crate) fn id(&self) -> &str {
        self.part(self.0.len() - ID_BYTES, self.0.len())
    }

    /// The same text, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    fn account_at(&self) -> usize {
        self.0.len() - (ACCOUNT_BYTES + BEFORE_ID.len() + ID_BYTES)
    }

    fn part(&self, from: usize, to: usize) -> &str {
        let part = self.0.get(from..to);
        part.expect("account and id of a key's ARN have one length each")
    }
}

/// The ARN of an alias; a clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AliasArn(Arc<str>);

impl AliasArn {
    /// The ARN of the alias `name`, which begins with `alias/`.
    pub(crate) fn new(region: &str, account: &str, name: &str) -> Self {
        debug_assert!(name.starts_with("alias/"), "{name}");
        Self(
            [BEFORE_REGION, region, ":", account, ":", name]
                .concat()
                .into(),
        )
    }

    /// What all ARNs of aliases of a Region and account begin with.
    pub(crate) fn prefix(region: &str, account: &str) -> String {
        [BEFORE_REGION, region, ":", account, ":alias/"].concat()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let [_, _, _, _, account, name] = six_parts(text)?;
        let fits = text.starts_with(BEFORE_REGION) && is_account_id(account);
        (fits && name.starts_with("alias/")).then(|| Self(text.into()))
    }

    pub(crate) fn account(&self) -> &str {
        self.parts().0
    }

    /// The same text, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// `alias/…`.
    pub(crate) fn name(&self) -> &str {
        self.parts().1
    }

    /// Account and name.
    fn parts(&self) -> (&str, &str) {
        let [_, _, _, _, account, name] =
            six_parts(&self.0).expect("an alias's ARN has six parts from when it was made");
        (account, name)
    }
}

macro_rules! texts {
    ($($type:ident),+) => {$(
        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )+};
}

texts!(KeyArn, AliasArn);

/// A parsed `KeyId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyReference {
    Key(KeyArn),
    Alias(AliasArn),
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
        if text.starts_with("arn:") {
            return Self::parse_arn(text, region);
        }
        if text.starts_with("alias/") {
            return Ok(Self::Alias(AliasArn::new(region, account, text)));
        }
        if is_key_id(text) {
            return Ok(Self::Key(KeyArn::new(region, account, text)));
        }
        Err(NoReference::KeyId(text.to_owned()))
    }

    fn parse_arn(text: &str, region: &str) -> Result<Self, NoReference> {
        let wrong = || NoReference::Arn(text.to_owned());
        let [_, partition, service, its_region, account, resource] =
            six_parts(text).ok_or_else(wrong)?;
        if partition != "aws" || service != "kms" || !is_account_id(account) {
            return Err(wrong());
        }
        if its_region != region {
            return Err(NoReference::Arn(its_region.to_owned()));
        }
        if resource.starts_with("alias/") {
            return Ok(Self::Alias(AliasArn(text.into())));
        }
        match resource.strip_prefix("key/") {
            Some(id) if is_key_id(id) => Ok(Self::Key(KeyArn(text.into()))),
            Some(id) => Err(NoReference::KeyId(id.to_owned())),
            None => Err(wrong()),
        }
    }
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
    let Ok(bytes) = <&[u8; 36]>::try_from(text.as_bytes()) else {
        return false;
    };
    // All at once rather than up to the first that is wrong.
    let hyphens = bytes.iter().filter(|b| **b == b'-').count();
    let fits = bytes
        .iter()
        .fold(true, |all, b| all & (hex(*b) | (*b == b'-')));
    fits && hyphens == 4
        && [8, 13, 18, 23]
            .iter()
            .all(|at| bytes.get(*at) == Some(&b'-'))
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

    const REGION: &str = "us-east-1";
    const ACCOUNT: &str = "123456789012";
    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn every_way_to_name_a_key_is_understood() {
        let parse = |text: &str| KeyReference::parse(text, REGION, ACCOUNT);
        let arn = KeyArn::new(REGION, ACCOUNT, ID);
        assert_eq!(*arn, format!("arn:aws:kms:us-east-1:123456789012:key/{ID}"));
        assert_eq!(parse(ID), Ok(KeyReference::Key(arn.clone())));
        assert_eq!(parse(&arn), Ok(KeyReference::Key(arn)));
        let alias = AliasArn::new(REGION, ACCOUNT, "alias/a/b");
        assert_eq!(*alias, *"arn:aws:kms:us-east-1:123456789012:alias/a/b");
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
    fn arns_give_their_parts_and_only_arns_are_parsed() {
        for id in [ID, "mrk-1234abcd12ab34cd56ef1234567890ab"] {
            let arn = KeyArn::new("ap-southeast-12", ACCOUNT, id);
            assert_eq!(KeyArn::parse(&arn), Some(arn.clone()));
            assert_eq!(arn.region(), "ap-southeast-12");
            assert_eq!((arn.account(), arn.id()), (ACCOUNT, id));
            assert!(arn.starts_with(&KeyArn::prefix("ap-southeast-12", ACCOUNT)));
            assert_eq!(AliasArn::parse(&arn), None);
        }
        let alias = AliasArn::new(REGION, ACCOUNT, "alias/a:b");
        assert_eq!(AliasArn::parse(&alias), Some(alias.clone()));
        assert_eq!((alias.account(), alias.name()), (ACCOUNT, "alias/a:b"));
        assert!(alias.starts_with(&AliasArn::prefix(REGION, ACCOUNT)));
        assert_eq!(KeyArn::parse(&alias), None);
        for other in [
            "",
            ID,
            "arn:aws:kms:us-east-1:123456789012:key/x",
            "arn:aws:kms:us-east-1:12345:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:s3:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-1:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:s3:us-east-1:123456789012:alias/a",
        ] {
            assert_eq!(KeyArn::parse(other), None, "{other}");
            assert_eq!(AliasArn::parse(other), None, "{other}");
        }
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
