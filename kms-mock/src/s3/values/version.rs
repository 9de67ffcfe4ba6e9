//! Ids of versions.
//!
//! Source of truth: answers recorded from AWS, which refuse an id that S3 never
//! gave apart from one that is gone.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use s3s::S3Result;

use crate::s3::errors::{INVALID_VERSION, invalid_argument};

/// `null`, or an id of this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VersionId {
    Null,
    Id(String),
}

impl VersionId {
    /// A new one: 32 letters, digits, `-` and `_`, the last of which check the
    /// others.
    pub(crate) fn fresh() -> Self {
        let random = rand::random::<[u8; 18]>();
        let check = Self::check_of(&random);
        Self::Id(URL_SAFE_NO_PAD.encode([random.as_slice(), &check].concat()))
    }

    fn check_of(random: &[u8]) -> [u8; 6] {
        let digest = digest::digest(&digest::SHA256, random);
        let mut check = [0; 6];
        for (to, from) in check.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        check
    }

    /// Whether this store may ever have given it; S3 refuses other ids apart.
    pub(crate) fn is_of_this_store(&self) -> bool {
        let Self::Id(id) = self else { return true };
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(id) else {
            return false;
        };
        let parts = bytes.split_at_checked(18);
        parts.is_some_and(|(random, check)| check == Self::check_of(random))
    }

    /// Reads the `versionId` of a request.
    pub(crate) fn asked(text: Option<&str>) -> S3Result<Option<Self>> {
        let refused = |text| invalid_argument("versionId", text, INVALID_VERSION);
        let read = |text| Self::parse(text).ok_or_else(|| refused(text));
        text.map(read).transpose()
    }

    /// `None` for a text that is not an id of this store.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let of_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (text.len() == 32 && text.bytes().all(of_alphabet)).then(|| Self::Id(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Id(id) => id,
        }
    }
}
