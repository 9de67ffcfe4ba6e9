//! Checksums of objects and parts: five algorithms, of a whole object or of the
//! checksums of its parts.
//!
//! Source of truth: Amazon S3 user guide, "Checking object integrity". An upload
//! that brings no checksum gets CRC64NVME, as in S3 since December 2024.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use s3s::{
    S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256},
    dto, s3_error,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::content::Content;
use crate::s3::errors::detailed;

/// Checksum algorithms of S3 objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// What a checksum of an object was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum ChecksumType {
    /// All its bytes.
    #[default]
    FullObject,
    /// The checksums of its parts, one after the other.
    Composite,
}

/// The checksums of an object or a part, base64.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Checksums {
    pub(crate) of: ChecksumType,
    sums: BTreeMap<Algorithm, String>,
}

/// Checksums as a request or answer names them: one field each.
pub(crate) type Fields = [(Algorithm, Option<String>); 5];

/// What a request without checksums claims.
pub(crate) const NONE_CLAIMED: Fields = [
    (Algorithm::Crc32, None),
    (Algorithm::Crc32c, None),
    (Algorithm::Crc64Nvme, None),
    (Algorithm::Sha1, None),
    (Algorithm::Sha256, None),
];

/// The five checksum fields of a request.
macro_rules! claimed {
    ($input:expr) => {
        [
            (
                $crate::s3::values::checksum::Algorithm::Crc32,
                $input.checksum_crc32.take(),
            ),
            (
                $crate::s3::values::checksum::Algorithm::Crc32c,
                $input.checksum_crc32c.take(),
            ),
            (
                $crate::s3::values::checksum::Algorithm::Crc64Nvme,
                $input.checksum_crc64nvme.take(),
            ),
            (
                $crate::s3::values::checksum::Algorithm::Sha1,
                $input.checksum_sha1.take(),
            ),
            (
                $crate::s3::values::checksum::Algorithm::Sha256,
                $input.checksum_sha256.take(),
            ),
        ]
    };
}

/// Writes the five checksum fields of an answer.
macro_rules! show_checksums {
    ($output:expr, $checksums:expr) => {{
        let checksums = $checksums;
        let sum = |algorithm| checksums.get(algorithm);
        $output.checksum_crc32 = sum($crate::s3::values::checksum::Algorithm::Crc32);
        $output.checksum_crc32c = sum($crate::s3::values::checksum::Algorithm::Crc32c);
        $output.checksum_crc64nvme = sum($crate::s3::values::checksum::Algorithm::Crc64Nvme);
        $output.checksum_sha1 = sum($crate::s3::values::checksum::Algorithm::Sha1);
        $output.checksum_sha256 = sum($crate::s3::values::checksum::Algorithm::Sha256);
    }};
}

pub(crate) use {claimed, show_checksums};

impl Algorithm {
    const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// From that name.
    pub(crate) fn named(name: &str) -> S3Result<Self> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| {
            s3_error!(
                InvalidRequest,
                "Checksum algorithm provided is unsupported. Please try again with any of the \
                 valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
            )
        })
    }

    /// The checksum of all of `content`, base64.
    fn sum(self, content: &Content) -> String {
        let mut hasher = self.hasher();
        for segment in content.segments() {
            hasher.update(segment);
        }
        self.taken(hasher)
    }

    fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(Crc32::new()),
            Self::Crc32c => hasher.crc32c = Some(Crc32c::new()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(Crc64Nvme::new()),
            Self::Sha1 => hasher.sha1 = Some(Sha1::new()),
            Self::Sha256 => hasher.sha256 = Some(Sha256::new()),
        }
        hasher
    }

    fn taken(self, hasher: ChecksumHasher) -> String {
        let sums = hasher.finalize();
        let sum = match self {
            Self::Crc32 => sums.checksum_crc32,
            Self::Crc32c => sums.checksum_crc32c,
            Self::Crc64Nvme => sums.checksum_crc64nvme,
            Self::Sha1 => sums.checksum_sha1,
            Self::Sha256 => sums.checksum_sha256,
        };
        sum.expect("a hasher was made for this algorithm")
    }

    /// What S3 makes of the parts of an upload that does not say.
    pub(crate) fn default_of(self) -> ChecksumType {
        match self {
            Self::Crc64Nvme => ChecksumType::FullObject,
            Self::Crc32 | Self::Crc32c | Self::Sha1 | Self::Sha256 => ChecksumType::Composite,
        }
    }

    /// Whether S3 offers such a checksum of a multipart object.
    pub(crate) fn can_be(self, of: ChecksumType) -> bool {
        match self {
            Self::Crc32 | Self::Crc32c => true,
            Self::Crc64Nvme => of == ChecksumType::FullObject,
            Self::Sha1 | Self::Sha256 => of == ChecksumType::Composite,
        }
    }
}

impl ChecksumType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FullObject => dto::ChecksumType::FULL_OBJECT,
            Self::Composite => dto::ChecksumType::COMPOSITE,
        }
    }

    pub(crate) fn named(name: &str) -> S3Result<Self> {
        match name {
            dto::ChecksumType::FULL_OBJECT => Ok(Self::FullObject),
            dto::ChecksumType::COMPOSITE => Ok(Self::Composite),
            _ => Err(s3_error!(
                InvalidRequest,
                "Value for x-amz-checksum-type header is invalid."
            )),
        }
    }
}

impl Checksums {
    /// Checks what the client claims of `content` and keeps it; without a claim
    /// computes `default`.
    pub(crate) fn of_content(
        content: &Content,
        claimed: Fields,
        default: Algorithm,
    ) -> S3Result<Self> {
        let mut sums = BTreeMap::new();
        for (algorithm, claimed) in claimed {
            let Some(claimed) = claimed else { continue };
            if algorithm.sum(content) != claimed {
                let name = algorithm.name();
                return Err(s3_error!(
                    BadDigest,
                    "The {name} you specified did not match the calculated checksum."
                ));
            }
            sums.insert(algorithm, claimed);
        }
        if sums.is_empty() {
            sums.insert(default, default.sum(content));
        }
        let of = ChecksumType::FullObject;
        Ok(Self { of, sums })
    }

    /// The checksum of an object made of parts with these checksums.
    pub(crate) fn of_parts<'p>(
        algorithm: Algorithm,
        of: ChecksumType,
        content: &Content,
        parts: impl ExactSizeIterator<Item = &'p Self>,
    ) -> S3Result<Self> {
        let count = parts.len();
        let sum = match of {
            ChecksumType::FullObject => algorithm.sum(content),
            ChecksumType::Composite => {
                let mut hasher = algorithm.hasher();
                for part in parts {
                    let sum = part.sums.get(&algorithm);
                    let sum = sum.and_then(|it| STANDARD.decode(it).ok());
                    // Only a damaged data directory has a part without it.
                    hasher.update(&sum.ok_or_else(|| s3_error!(InternalError))?);
                }
                format!("{}-{count}", algorithm.taken(hasher))
            }
        };
        let sums = BTreeMap::from([(algorithm, sum)]);
        Ok(Self { of, sums })
    }

    pub(crate) fn get(&self, algorithm: Algorithm) -> Option<String> {
        self.sums.get(&algorithm).cloned()
    }

    /// The same, a composite one without the number of parts.
    pub(crate) fn without_count(&self) -> Self {
        let bare = |sum: &String| match sum.split_once('-') {
            Some((bare, _)) => bare.to_owned(),
            None => sum.clone(),
        };
        let sums = self.sums.iter().map(|(it, sum)| (*it, bare(sum)));
        Self {
            of: self.of,
            sums: sums.collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The algorithms there are, as listings show them.
    pub(crate) fn algorithms(&self) -> Vec<dto::ChecksumAlgorithm> {
        let names = self.sums.keys().map(|it| it.name());
        names.map(dto::ChecksumAlgorithm::from_static).collect()
    }

    /// `x-amz-checksum-type`.
    pub(crate) fn kind(&self) -> Option<dto::ChecksumType> {
        (!self.is_empty()).then(|| dto::ChecksumType::from_static(self.of.name()))
    }

    /// Whether each claim is what is stored; a claim of another algorithm is not.
    pub(crate) fn agree(&self, claimed: &Fields) -> bool {
        claimed.iter().all(|(algorithm, claimed)| {
            claimed
                .as_ref()
                .is_none_or(|claimed| self.sums.get(algorithm) == Some(claimed))
        })
    }
}

/// An MD5, in hex on the wire and in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    /// The MD5 of all of `content`.
    pub(crate) fn of(content: &Content) -> Self {
        let mut hasher = Md5::new();
        for segment in content.segments() {
            hasher.update(segment);
        }
        Self(hasher.finalize())
    }

    pub(crate) fn hex(self) -> String {
        hex::encode(self.0)
    }

    /// The entity tag of an object of parts with these MD5s: the MD5 of the MD5s and
    /// how many there are.
    pub(crate) fn etag_of_parts(parts: impl ExactSizeIterator<Item = Self>) -> String {
        let count = parts.len();
        let mut hasher = Md5::new();
        for part in parts {
            hasher.update(&part.0);
        }
        format!("{}-{count}", hex::encode(hasher.finalize()))
    }

    /// Compares a `Content-MD5` header with what arrived.
    pub(crate) fn check(self, claimed: Option<&str>) -> S3Result<()> {
        let Some(claimed) = claimed else {
            return Ok(());
        };
        let read = STANDARD.decode(claimed).ok();
        let read = read.and_then(|it| <[u8; 16]>::try_from(it).ok());
        let Some(read) = read else {
            let error = s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid.");
            return Err(detailed(error, &[("Content_MD5", claimed)]));
        };
        if read != self.0 {
            let (expected, calculated) = (hex::encode(read), STANDARD.encode(self.0));
            let error = s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            );
            let digests = [
                ("ExpectedDigest", expected.as_str()),
                ("CalculatedDigest", &calculated),
            ];
            return Err(detailed(error, &digests));
        }
        Ok(())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut digest = [0; 16];
        match hex::decode_to_slice(&text, &mut digest) {
            Ok(()) => Ok(Self(digest)),
            Err(_) => Err(D::Error::custom("32 hexadecimal digits are an MD5")),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn content(bytes: &'static [u8]) -> Content {
        Content::from(Bytes::from_static(bytes))
    }

    #[test]
    fn checksums_are_the_published_check_values() {
        assert_eq!(
            Digest::of(&content(b"")).hex(),
            "d41d8cd98f00b204e9800998ecf8427e"
        );
        assert_eq!(Algorithm::Crc32.sum(&content(b"hello")), "NhCmhg==");
        assert_eq!(
            Algorithm::Crc64Nvme.sum(&content(b"123456789")),
            "rosUhgp5mIg="
        );
    }

    #[test]
    fn a_digest_is_read_back_from_its_row_and_from_nothing_else() {
        let digest = Digest::of(&content(b"hello"));
        let row = serde_json::to_string(&digest).unwrap();
        assert_eq!(row, "\"5d41402abc4b2a76b9719d911017c592\"");
        assert_eq!(serde_json::from_str::<Digest>(&row).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"5d41\"").is_err());
    }

    #[test]
    fn a_checksum_does_not_depend_on_where_the_content_is_cut() {
        let parts = [content(b"1234"), content(b"56789")];
        let whole = Content::join(parts.iter());
        for algorithm in Algorithm::ALL {
            assert_eq!(
                algorithm.sum(&whole),
                algorithm.sum(&content(b"123456789")),
                "{algorithm:?}"
            );
        }
        assert_eq!(Digest::of(&whole), Digest::of(&content(b"123456789")));
    }

    #[test]
    fn a_composite_checksum_is_that_of_the_parts_checksums_and_says_how_many() {
        // CRC-32 of the CRC-32 of "hello" (0x3610a686), computed with zlib.
        let part =
            Checksums::of_content(&content(b"hello"), NONE_CLAIMED, Algorithm::Crc32).unwrap();
        let whole = Checksums::of_parts(
            Algorithm::Crc32,
            ChecksumType::Composite,
            &content(b"hello"),
            [&part].into_iter(),
        );
        let whole = whole.unwrap();
        assert_eq!(whole.get(Algorithm::Crc32).unwrap(), "FKTmaw==-1");
    }
}
