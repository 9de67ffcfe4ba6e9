//! The six metadata entries of a KMS-wrapped V3 object, read strictly.
//!
//! Source of truth: ground truth KMS §5 and the objects of the official client in
//! the corpus. An object with entries of more than one version is refused: that
//! is how a downgrade looks (KMS §6, attack 11). Does not model instruction files,
//! material descriptions (`x-amz-m`, other ways of wrapping) or S3's header
//! encoding of non-ASCII values.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::{
    EncryptionContext, Envelope, EnvelopeError, OldVersion, RESERVED_CONTEXT_KEY, SUITE,
    cipher::{COMMITMENT_BYTES, MESSAGE_ID_BYTES},
};

/// Bytes of all names and values together. S3 stores 2 KiB of user metadata; the
/// rest is slack for emulators that are not as strict.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// KMS's own bound of a `CiphertextBlob`.
const WRAPPED_KEY_BYTES_MAX: usize = 6144;

const CONTENT_SUITE: &str = "x-amz-c";
const WRAPPING: &str = "x-amz-w";
const WRAPPED_KEY: &str = "x-amz-3";
const CONTEXT: &str = "x-amz-t";
const MESSAGE_ID: &str = "x-amz-i";
const COMMITMENT: &str = "x-amz-d";
const V3: [&str; 6] = [
    CONTENT_SUITE,
    WRAPPING,
    WRAPPED_KEY,
    CONTEXT,
    MESSAGE_ID,
    COMMITMENT,
];

/// `kms+context`.
const WRAPPED_BY_KMS: &str = "12";

pub(super) fn write(
    wrapped_key: &[u8],
    context: &EncryptionContext,
    message_id: &[u8; MESSAGE_ID_BYTES],
    commitment: &[u8; COMMITMENT_BYTES],
) -> BTreeMap<String, String> {
    let context = serde_json::to_string(context).expect("a map of strings is JSON");
    BTreeMap::from([
        (CONTENT_SUITE.into(), SUITE.into()),
        (WRAPPING.into(), WRAPPED_BY_KMS.into()),
        (WRAPPED_KEY.into(), STANDARD.encode(wrapped_key)),
        (CONTEXT.into(), context),
        (MESSAGE_ID.into(), STANDARD.encode(message_id)),
        (COMMITMENT.into(), STANDARD.encode(commitment)),
    ])
}

pub(super) fn parse(metadata: &BTreeMap<String, String>) -> Result<Envelope, EnvelopeError> {
    let size = metadata.iter().fold(0_usize, |sum, (name, value)| {
        sum.saturating_add(name.len() + value.len())
    });
    if size > METADATA_BYTES_MAX {
        return Err(EnvelopeError::TooLarge);
    }
    refuse_foreign_entries(metadata)?;

    if entry(metadata, CONTENT_SUITE)? != SUITE {
        return Err(EnvelopeError::Algorithm {
            name: CONTENT_SUITE,
        });
    }
    if entry(metadata, WRAPPING)? != WRAPPED_BY_KMS {
        return Err(EnvelopeError::Algorithm { name: WRAPPING });
    }
    let wrapped_key = binary(metadata, WRAPPED_KEY)?;
    if wrapped_key.is_empty() || wrapped_key.len() > WRAPPED_KEY_BYTES_MAX {
        return Err(EnvelopeError::MalformedEntry { name: WRAPPED_KEY });
    }
    let UniqueEntries(context) = serde_json::from_str(entry(metadata, CONTEXT)?)
        .map_err(|_| EnvelopeError::MalformedEntry { name: CONTEXT })?;
    if context.get(RESERVED_CONTEXT_KEY).map(String::as_str) != Some(SUITE) {
        return Err(EnvelopeError::SuiteContext);
    }
    Ok(Envelope {
        wrapped_key,
        context,
        message_id: fixed(metadata, MESSAGE_ID)?,
        commitment: fixed(metadata, COMMITMENT)?,
    })
}

/// Names are compared in lower case, as S3 stores them: an upper-case entry must
/// not slip past. V3 names themselves have to be stored in lower case.
fn refuse_foreign_entries(metadata: &BTreeMap<String, String>) -> Result<(), EnvelopeError> {
    let has = |wanted: &str| {
        metadata
            .keys()
            .any(|name| name.eq_ignore_ascii_case(wanted))
    };
    if !has(WRAPPED_KEY) {
        if has("x-amz-key-v2") {
            return Err(EnvelopeError::OldVersion {
                version: OldVersion::V2,
            });
        }
        if has("x-amz-key") {
            return Err(EnvelopeError::OldVersion {
                version: OldVersion::V1,
            });
        }
    }
    let foreign = metadata.keys().find(|name| {
        !V3.contains(&name.as_str()) && name.to_ascii_lowercase().starts_with("x-amz-")
    });
    match foreign {
        Some(name) => Err(EnvelopeError::UnexpectedEntry { name: name.clone() }),
        None => Ok(()),
    }
}

fn entry<'a>(
    metadata: &'a BTreeMap<String, String>,
    name: &'static str,
) -> Result<&'a str, EnvelopeError> {
    metadata
        .get(name)
        .map(String::as_str)
        .ok_or(EnvelopeError::MissingEntry { name })
}

fn binary(
    metadata: &BTreeMap<String, String>,
    name: &'static str,
) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD
        .decode(entry(metadata, name)?)
        .map_err(|_| EnvelopeError::MalformedEntry { name })
}

fn fixed<const N: usize>(
    metadata: &BTreeMap<String, String>,
    name: &'static str,
) -> Result<[u8; N], EnvelopeError> {
    binary(metadata, name)?
        .try_into()
        .map_err(|_| EnvelopeError::MalformedEntry { name })
}

/// A JSON object of strings in which no name occurs twice: readers that disagree
/// on which one counts would disagree on the context.
struct UniqueEntries(EncryptionContext);

impl<'de> Deserialize<'de> for UniqueEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = UniqueEntries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueEntries, A::Error> {
                let mut entries = EncryptionContext::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if entries.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name occurs twice"));
                    }
                }
                Ok(UniqueEntries(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good() -> BTreeMap<String, String> {
        let context =
            EncryptionContext::from([(RESERVED_CONTEXT_KEY.to_owned(), SUITE.to_owned())]);
        write(b"wrapped", &context, &[1; 28], &[2; 28])
    }

    fn with(name: &str, value: &str) -> BTreeMap<String, String> {
        let mut metadata = good();
        metadata.insert(name.into(), value.into());
        metadata
    }

    #[test]
    fn refuses_each_missing_entry_by_its_name() {
        for name in V3 {
            let mut metadata = good();
            metadata.remove(name);
            assert_eq!(
                parse(&metadata).unwrap_err(),
                EnvelopeError::MissingEntry { name },
                "{name}"
            );
        }
    }

    #[test]
    fn refuses_entries_of_other_versions_beside_v3() {
        for name in [
            "x-amz-key",
            "x-amz-key-v2",
            "X-Amz-Key-V2",
            "x-amz-iv",
            "x-amz-cek-alg",
            "x-amz-wrap-alg",
            "x-amz-matdesc",
            "x-amz-tag-len",
            "x-amz-m",
            "x-amz-crypto-instr-file",
            "X-AMZ-C",
        ] {
            assert_eq!(
                parse(&with(name, "x")).unwrap_err(),
                EnvelopeError::UnexpectedEntry { name: name.into() },
                "{name}"
            );
        }
    }

    #[test]
    fn ignores_metadata_of_the_uploaders_own() {
        assert!(parse(&with("modality", "CR")).is_ok());
    }

    #[test]
    fn refuses_other_suites_and_other_ways_of_wrapping() {
        for suite in ["114", "0115", "115 ", "1144", "", "0x73"] {
            assert_eq!(
                parse(&with(CONTENT_SUITE, suite)).unwrap_err(),
                EnvelopeError::Algorithm {
                    name: CONTENT_SUITE
                },
                "{suite:?}"
            );
        }
        for wrapping in ["02", "22", "11", "kms+context", ""] {
            assert_eq!(
                parse(&with(WRAPPING, wrapping)).unwrap_err(),
                EnvelopeError::Algorithm { name: WRAPPING },
                "{wrapping:?}"
            );
        }
    }

    #[test]
    fn refuses_malformed_values_by_their_names() {
        let long = STANDARD.encode([0; WRAPPED_KEY_BYTES_MAX + 1]);
        let cases = [
            (WRAPPED_KEY, ""),
            (WRAPPED_KEY, "AAA"),
            (WRAPPED_KEY, "A A="),
            (WRAPPED_KEY, long.as_str()),
            (MESSAGE_ID, "AAAA"),
            (COMMITMENT, "AAAA"),
            (COMMITMENT, ""),
            (CONTEXT, "[]"),
            (CONTEXT, "{\"a\":1}"),
            (CONTEXT, "{\"a\":\"1\",\"a\":\"2\"}"),
            (CONTEXT, "{\"aws:x-amz-cek-alg\":\"115\"} {}"),
        ];
        for (name, value) in cases {
            assert_eq!(
                parse(&with(name, value)).unwrap_err(),
                EnvelopeError::MalformedEntry { name },
                "{name} = {value:.40}"
            );
        }
    }

    #[test]
    fn refuses_a_context_that_does_not_name_the_suite() {
        for context in ["{}", "{\"aws:x-amz-cek-alg\":\"AES/GCM/NoPadding\"}"] {
            assert_eq!(
                parse(&with(CONTEXT, context)).unwrap_err(),
                EnvelopeError::SuiteContext,
                "{context}"
            );
        }
    }

    #[test]
    fn refuses_more_metadata_than_any_store_would_keep() {
        let huge = "x".repeat(METADATA_BYTES_MAX);
        assert_eq!(
            parse(&with("note", &huge)).unwrap_err(),
            EnvelopeError::TooLarge
        );
    }

    proptest! {
        #[test]
        fn any_metadata_is_read_or_refused_without_a_panic(
            metadata in proptest::collection::btree_map(
                prop_oneof!["x-amz-[cwti3dkm]", ".{0,20}"], ".{0,80}", 0..9),
        ) {
            let _ = parse(&metadata);
        }
    }
}
