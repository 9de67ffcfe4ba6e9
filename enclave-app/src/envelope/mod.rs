//! Objects and results in the Amazon S3 Encryption Client's V3 format, the
//! key-committing one: what hospitals already write and read.
//!
//! Source of truth: ground truth KMS §5, proved against objects of the official
//! client; RFC 5869 for HKDF. Content encryption is suite 0x0073 (HKDF-SHA512,
//! commitment, AES-256-GCM), the data key is wrapped by KMS with an encryption
//! context (`x-amz-w` 12).
//!
//! Does not model, and refuses: V1 and V2 objects, metadata of two versions side
//! by side, wrapping without KMS, instruction files, ranged reads. Does not talk
//! to KMS: the data key comes from outside.

mod cipher;
mod metadata;

use std::{collections::BTreeMap, fmt};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use metadata::METADATA_BYTES_MAX;

use crate::job::{manifest::Manifest, wire::StoredObject};

/// Name and value pairs that KMS authenticates along with a wrapped key.
pub type EncryptionContext = BTreeMap<String, String>;

/// The context entry that the client adds by itself: it ties the wrapped key to
/// the content suite, so that it cannot be used under another one.
pub const RESERVED_CONTEXT_KEY: &str = "aws:x-amz-cek-alg";

/// Suite 0x0073 in decimal, as the client writes it.
pub const SUITE: &str = "115";

/// A 256-bit data key as KMS wraps and unwraps it; wiped when dropped.
#[allow(missing_debug_implementations)] // secret
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// Takes over the key's bytes.
    #[must_use]
    pub const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Copies a key out of `bytes`; `None` unless there are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(bytes);
        Some(Self(key))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Encrypts `plaintext` under `data_key`, with a fresh message id.
///
/// `wrapped_key` is KMS's `CiphertextBlob` of that key, made with exactly
/// `context` (see [`request_context`]). Use a data key for one object only.
///
/// # Panics
/// If `context` lacks the reserved entry: no client could open such an object,
/// and forgetting it is a bug of the caller.
#[must_use]
pub fn seal(
    data_key: &DataKey,
    wrapped_key: &[u8],
    context: &EncryptionContext,
    plaintext: &[u8],
) -> StoredObject {
    seal_with_message_id(
        data_key,
        wrapped_key,
        context,
        plaintext,
        &cipher::fresh_message_id(),
    )
}

/// The unencrypted part of an object: everything needed to ask KMS for its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The data key as KMS wrapped it.
    pub wrapped_key: Vec<u8>,
    /// The stored encryption context, with the reserved entry. It is whatever
    /// storage says: compare it with what you expect before using it.
    pub context: EncryptionContext,
    message_id: [u8; cipher::MESSAGE_ID_BYTES],
    commitment: [u8; cipher::COMMITMENT_BYTES],
}

impl Envelope {
    /// Reads an object's user metadata (names without `x-amz-meta-`).
    ///
    /// # Errors
    /// Anything but exactly the six entries of a KMS-wrapped V3 object. Names that
    /// do not start with `x-amz-` are the uploader's own and ignored.
    pub fn parse(metadata: &BTreeMap<String, String>) -> Result<Self, EnvelopeError> {
        metadata::parse(metadata)
    }

    /// Decrypts `body`; nothing of the plaintext is released before its tag is
    /// verified, and the tag is not looked at before the key's commitment.
    ///
    /// # Errors
    /// [`EnvelopeError::Commitment`] or [`EnvelopeError::Content`].
    pub fn open(
        &self,
        data_key: &DataKey,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let keys = cipher::ContentKeys::derive(data_key, &self.message_id);
        if !bool::from(keys.commitment().ct_eq(&self.commitment)) {
            return Err(EnvelopeError::Commitment);
        }
        keys.open(body)
    }
}

/// The context to send to KMS for the caller's own `user` entries: those, and the
/// reserved one.
///
/// # Errors
/// [`EnvelopeError::ReservedContext`] if the caller brings a reserved entry.
pub fn request_context(user: &EncryptionContext) -> Result<EncryptionContext, EnvelopeError> {
    if user.keys().any(|key| is_reserved(key)) {
        return Err(EnvelopeError::ReservedContext);
    }
    let mut context = user.clone();
    context.insert(RESERVED_CONTEXT_KEY.into(), SUITE.into());
    Ok(context)
}

/// What an input object's context must be, according to its signed job: the format
/// itself does not bind bucket, key or purpose, so moving a whole object is only
/// noticed here (ground truth: KMS §6, attacks 4 and 5).
#[must_use]
pub fn input_context(job: &Manifest) -> EncryptionContext {
    EncryptionContext::from([
        ("purpose".into(), "inference-input".into()),
        ("study".into(), job.study.clone()),
        ("job".into(), job.job.clone()),
        ("object".into(), format!("s3://{}/{}", job.bucket, job.key)),
    ])
}

/// The context of a job's result. `input_sha256_hex` is the digest of the stored,
/// encrypted input object: context is public, and a digest of the plaintext would
/// let anybody who guesses an image confirm it.
#[must_use]
pub fn result_context(
    job: &Manifest,
    input_sha256_hex: &str,
    model_sha256_hex: &str,
) -> EncryptionContext {
    EncryptionContext::from([
        ("purpose".into(), "inference-result".into()),
        ("job".into(), job.job.clone()),
        ("input-sha256".into(), input_sha256_hex.into()),
        ("model-sha256".into(), model_sha256_hex.into()),
    ])
}

/// What the context of a report says beside a result's if the job was refused: such
/// a report can never be taken for findings.
#[must_use]
pub fn refusal_context() -> EncryptionContext {
    EncryptionContext::from([("outcome".into(), "refused".into())])
}

/// Why an object is not accepted. Says nothing about the plaintext.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Metadata of an older message format: readable, and without commitment.
    #[error(
        "the object is in the {version} message format of the S3 Encryption Client; only V3 is accepted"
    )]
    OldVersion {
        /// Which one.
        version: OldVersion,
    },
    /// A V3 object with entries that do not belong to one.
    #[error("the object's metadata entry {name:?} does not belong to a KMS-wrapped V3 object")]
    UnexpectedEntry {
        /// Its name, as stored.
        name: String,
    },
    /// The entry is missing.
    #[error("the object's metadata lacks {name:?}")]
    MissingEntry {
        /// Its name.
        name: &'static str,
    },
    /// The entry cannot be read: base64, JSON or length.
    #[error("the object's metadata entry {name:?} is malformed")]
    MalformedEntry {
        /// Its name.
        name: &'static str,
    },
    /// Another content suite or way of wrapping.
    #[error("the object's metadata entry {name:?} names an algorithm that is not accepted")]
    Algorithm {
        /// `x-amz-c` or `x-amz-w`.
        name: &'static str,
    },
    /// More metadata than S3 stores.
    #[error("the object's metadata is larger than S3 would store")]
    TooLarge,
    /// The caller's context has an entry that only the client may write.
    #[error("names that start with \"aws:\" are reserved in an encryption context")]
    ReservedContext,
    /// The stored context's reserved entry is absent or names another suite.
    #[error("the object's encryption context does not name the content suite")]
    SuiteContext,
    /// The data key is not the one this object was written with.
    #[error("the data key is not the one this object commits to")]
    Commitment,
    /// The body is too short, or its tag is wrong.
    #[error("the object's content is not authentic")]
    Content,
}

/// Message formats that are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OldVersion {
    /// AES-CBC, `x-amz-key`.
    V1,
    /// AES-GCM without commitment, `x-amz-key-v2`.
    V2,
}

impl fmt::Display for OldVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        })
    }
}

/// Stricter than the format, which reserves one name: the prefix is AWS's.
fn is_reserved(key: &str) -> bool {
    key.starts_with("aws:")
}

fn seal_with_message_id(
    data_key: &DataKey,
    wrapped_key: &[u8],
    context: &EncryptionContext,
    plaintext: &[u8],
    message_id: &[u8; cipher::MESSAGE_ID_BYTES],
) -> StoredObject {
    assert_eq!(
        context.get(RESERVED_CONTEXT_KEY).map(String::as_str),
        Some(SUITE),
        "the context comes from request_context"
    );
    let keys = cipher::ContentKeys::derive(data_key, message_id);
    StoredObject {
        metadata: metadata::write(wrapped_key, context, message_id, keys.commitment()),
        body: keys.seal(plaintext).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> DataKey {
        DataKey::new(Zeroizing::new([byte; 32]))
    }

    fn context() -> EncryptionContext {
        request_context(&EncryptionContext::from([(
            "purpose".into(),
            "test".into(),
        )]))
        .unwrap()
    }

    #[test]
    fn a_sealed_object_opens_with_its_key_and_only_with_it() {
        let object = seal(&key(7), b"wrapped", &context(), b"pixels");
        let envelope = Envelope::parse(&object.metadata).unwrap();
        assert_eq!(envelope.wrapped_key, b"wrapped");
        assert_eq!(envelope.context, context());
        assert_eq!(
            envelope.open(&key(7), &object.body).unwrap().as_slice(),
            b"pixels"
        );
        assert_eq!(
            envelope.open(&key(8), &object.body).unwrap_err(),
            EnvelopeError::Commitment
        );
    }

    /// The writing half of interoperability: what the official client wrote, byte
    /// for byte, from its data key and message id.
    #[test]
    fn seals_exactly_as_the_official_client_did() {
        let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
            || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus").into(),
            std::path::PathBuf::from,
        );
        let Ok(index) = std::fs::read(root.join("s3ec/index.json")) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "no corpus: set DRYDOCK_CORPUS"
            );
            println!("skipped: no corpus; set DRYDOCK_CORPUS");
            return;
        };
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let theirs = &index["v3-commit"];
        let metadata: BTreeMap<String, String> =
            serde_json::from_value(theirs["metadata"].clone()).unwrap();
        let envelope = Envelope::parse(&metadata).unwrap();
        let key = hex::decode(theirs["plaintext_data_key_hex"].as_str().unwrap()).unwrap();
        let ours = seal_with_message_id(
            &DataKey::from_slice(&key).unwrap(),
            &envelope.wrapped_key,
            &envelope.context,
            &b"DICM-fake-image-".repeat(64),
            &envelope.message_id,
        );
        assert_eq!(
            ours.body,
            std::fs::read(root.join("s3ec/v3-commit.body.bin")).unwrap()
        );
        assert_eq!(Envelope::parse(&ours.metadata).unwrap(), envelope);
        // All but the spaces that Python puts into the context's JSON.
        for name in ["x-amz-c", "x-amz-w", "x-amz-3", "x-amz-i", "x-amz-d"] {
            assert_eq!(ours.metadata[name], metadata[name], "{name}");
        }
        assert_eq!(ours.metadata.len(), metadata.len());
    }

    #[test]
    fn two_objects_of_one_plaintext_have_nothing_in_common() {
        let one = seal(&key(7), b"wrapped", &context(), b"pixels");
        let two = seal(&key(7), b"wrapped", &context(), b"pixels");
        assert_ne!(one.body, two.body);
        assert_ne!(one.metadata["x-amz-i"], two.metadata["x-amz-i"]);
        assert_ne!(one.metadata["x-amz-d"], two.metadata["x-amz-d"]);
    }

    #[test]
    fn refuses_every_flipped_bit_and_every_cut_of_the_body() {
        let object = seal(&key(7), b"wrapped", &context(), b"pixels");
        let envelope = Envelope::parse(&object.metadata).unwrap();
        for bit in 0..object.body.len() * 8 {
            let mut body = object.body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                envelope.open(&key(7), &body).unwrap_err(),
                EnvelopeError::Content,
                "bit {bit}"
            );
        }
        for length in 0..object.body.len() {
            assert_eq!(
                envelope.open(&key(7), &object.body[..length]).unwrap_err(),
                EnvelopeError::Content,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn refuses_a_reserved_entry_from_the_caller() {
        for name in [RESERVED_CONTEXT_KEY, "aws:other"] {
            let user = EncryptionContext::from([(name.into(), SUITE.into())]);
            assert_eq!(
                request_context(&user).unwrap_err(),
                EnvelopeError::ReservedContext
            );
        }
    }

    #[test]
    #[should_panic(expected = "request_context")]
    fn sealing_without_the_reserved_entry_is_a_bug() {
        let _ = seal(&key(1), b"wrapped", &EncryptionContext::new(), b"");
    }

    #[test]
    fn contexts_carry_what_the_signed_job_says() {
        let job = Manifest {
            job: "j-1".into(),
            bucket: "scans".into(),
            key: "a/b.dcm".into(),
            ciphertext_sha256: [0; 32],
            study: "1.2.840.1".into(),
            issued_at_ms: 0,
            expires_at_ms: 1,
        };
        let input = input_context(&job);
        assert_eq!(input["object"], "s3://scans/a/b.dcm");
        assert_eq!(input["purpose"], "inference-input");
        assert_eq!(input["study"], "1.2.840.1");
        assert_eq!(input["job"], "j-1");
        assert_eq!(input.len(), 4);
        let result = result_context(&job, "aa", "bb");
        assert_eq!(result["purpose"], "inference-result");
        assert_eq!(result["input-sha256"], "aa");
        assert_eq!(result["model-sha256"], "bb");
        assert_eq!(result.len(), 4);
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens_again(
            plaintext in proptest::collection::vec(any::<u8>(), 0..2048),
            wrapped in proptest::collection::vec(any::<u8>(), 1..256),
            entries in proptest::collection::btree_map("[b-z]{1,12}", "[ -~]{0,40}", 0..5),
            key_bytes: [u8; 32],
        ) {
            let data_key = DataKey::from_slice(&key_bytes).unwrap();
            let context = request_context(&entries).unwrap();
            let object = seal(&data_key, &wrapped, &context, &plaintext);
            let envelope = Envelope::parse(&object.metadata).unwrap();
            prop_assert_eq!(&envelope.wrapped_key, &wrapped);
            prop_assert_eq!(&envelope.context, &context);
            let opened = envelope.open(&data_key, &object.body).unwrap();
            prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
        }

        #[test]
        fn opening_any_bytes_never_panics(
            body in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            let object = seal(&key(7), b"wrapped", &context(), b"pixels");
            let envelope = Envelope::parse(&object.metadata).unwrap();
            prop_assert!(envelope.open(&key(7), &body).is_err());
        }
    }
}
