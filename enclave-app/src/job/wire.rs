//! The two messages on the enclave's job port, and their bounds.
//!
//! One connection carries one job: the parent writes one [`JobRequest`] frame,
//! the enclave answers with frames of [`super::progress`] and one [`JobReply`] frame, and
//! closes. A parent that closes its side before has cancelled the job. Frames are those
//! of [`crate::vsock::framing`]; bodies are CBOR (RFC 8949) maps with text keys.
//!
//! Nothing here is authenticated. The enclave believes only what the signed
//! manifest inside says; the rest of a request is either checked against it or
//! irrelevant (credentials decide whether KMS answers, not what it reveals).
//! Does not model streaming: an object is held whole, because its plaintext may
//! be released only after its authentication tag has been verified.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::refusal::Refusal;

/// Largest signed manifest, in bytes; [`super::manifest`] needs under 2 KiB.
pub const MANIFEST_BYTES_MAX: usize = 8 * 1024;
/// Largest sum of metadata names and values, in bytes. S3 allows 2 KiB of user
/// metadata; the rest is room for stores that count differently.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Most metadata entries. The S3 Encryption Client writes six to eight.
pub const METADATA_ENTRIES_MAX: usize = 64;
/// Longest credential field, in bytes. Session tokens have no documented
/// length; those seen stay under 2 KiB.
pub const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;
/// Largest receipt, in bytes: an NSM attestation document fits in 16 KiB.
pub const RECEIPT_BYTES_MAX: usize = 16 * 1024;

/// Room that a frame needs beyond the object's body: every other field at its
/// bound, and CBOR's own few bytes.
pub const ENVELOPE_BYTES_MAX: usize = MANIFEST_BYTES_MAX
    + METADATA_BYTES_MAX
    + 3 * CREDENTIAL_BYTES_MAX
    + RECEIPT_BYTES_MAX
    + 4 * 1024;

/// What the parent asks of the enclave.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The submitter's order: COSE_Sign1 bytes, see [`super::manifest`].
    pub manifest: ByteBuf,
    /// AWS credentials for the enclave's KMS calls.
    pub credentials: JobCredentials,
    /// The encrypted input object as S3 stores it.
    pub object: StoredObject,
}

/// AWS credentials handed to the enclave. Not secret from the parent, who owns
/// them, but kept out of logs and wiped when dropped all the same.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct JobCredentials {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// The key that signs requests.
    pub secret_access_key: String,
    /// Present for temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for JobCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for JobRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobRequest")
            .field("manifest_bytes", &self.manifest.len())
            .field("credentials", &self.credentials)
            .field("object", &self.object)
            .finish()
    }
}

/// An S3 object as it travels: always ciphertext.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredObject {
    /// User metadata without the `x-amz-meta-` prefix, e.g. `x-amz-c`.
    #[serde(deserialize_with = "metadata_without_repeats")]
    pub metadata: BTreeMap<String, String>,
    /// The object's bytes.
    pub body: ByteBuf,
}

impl fmt::Debug for StoredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredObject")
            .field("metadata", &self.metadata)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// What the enclave answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum JobReply {
    /// The job ran.
    Done {
        /// The encrypted result, to be stored as it is.
        result: StoredObject,
        /// An attestation document whose user data is SHA-256 of the result's body.
        receipt: ByteBuf,
    },
    /// The job did not run, or not to its end.
    Refused {
        /// Why, in a vocabulary that cannot hold text of a job.
        refusal: Refusal,
        /// What exactly was wrong with the decrypted image, for the clinician; present
        /// once an image was decrypted and KMS gave a key to seal it with.
        report: Option<SealedReport>,
    },
}

/// What only the clinician reads: sealed and padded like a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedReport {
    /// The sealed text, to be stored as it is.
    pub object: StoredObject,
    /// An attestation document whose user data is SHA-256 of the object's body.
    pub receipt: ByteBuf,
}

/// Why a frame's body is not the expected message. The peer is to blame.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// Not CBOR, or not this message: a field is missing, unknown, repeated or
    /// of another type.
    #[error("not a {message} message: {detail}")]
    Malformed {
        /// Which message was expected.
        message: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// Bytes follow the message.
    #[error("{extra} bytes follow the {message} message")]
    TrailingBytes {
        /// Which message was expected.
        message: &'static str,
        /// How many bytes follow.
        extra: usize,
    },
    /// A field is longer than it may be.
    #[error("{field} has {length}; at most {max} are allowed")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length, in bytes or entries.
        length: usize,
        /// The bound, in the same unit.
        max: usize,
    },
    /// The message could not be written; a bug of the encoder.
    #[error("the message could not be encoded")]
    Encoding,
}

impl JobRequest {
    /// The message as CBOR.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if a field breaks its bound.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        self.bounded()?;
        encode(self, self.object.body.len())
    }

    /// Reads the message, refusing unknown or repeated fields, broken bounds
    /// and trailing bytes. Allocates no more than a small multiple of `bytes`.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let request: Self = decode(bytes, "job request")?;
        request.bounded()?;
        Ok(request)
    }

    fn bounded(&self) -> Result<(), WireError> {
        bound("manifest", self.manifest.len(), MANIFEST_BYTES_MAX)?;
        let credentials = &self.credentials;
        bound(
            "access_key_id",
            credentials.access_key_id.len(),
            CREDENTIAL_BYTES_MAX,
        )?;
        bound(
            "secret_access_key",
            credentials.secret_access_key.len(),
            CREDENTIAL_BYTES_MAX,
        )?;
        let token_bytes = credentials.session_token.as_ref().map_or(0, String::len);
        bound("session_token", token_bytes, CREDENTIAL_BYTES_MAX)?;
        self.object.bounded()
    }
}

impl StoredObject {
    fn bounded(&self) -> Result<(), WireError> {
        bound("metadata", self.metadata.len(), METADATA_ENTRIES_MAX)?;
        let bytes = self
            .metadata
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        bound("metadata", bytes, METADATA_BYTES_MAX)
    }
}

impl JobReply {
    /// The message as CBOR.
    ///
    /// # Errors
    /// [`WireError::TooLong`] if a result breaks its bound.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        self.bounded()?;
        let body_bytes = match self {
            Self::Done { result, .. } => result.body.len(),
            Self::Refused { report, .. } => {
                report.as_ref().map_or(0, |report| report.object.body.len())
            }
        };
        encode(self, body_bytes)
    }

    fn bounded(&self) -> Result<(), WireError> {
        let (object, receipt) = match self {
            Self::Done { result, receipt } => (result, receipt),
            Self::Refused {
                report: Some(report),
                ..
            } => (&report.object, &report.receipt),
            Self::Refused { report: None, .. } => return Ok(()),
        };
        bound("receipt", receipt.len(), RECEIPT_BYTES_MAX)?;
        object.bounded()
    }

    /// Reads the message, as strictly as [`JobRequest::decode`].
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let reply: Self = decode(bytes, "job reply")?;
        reply.bounded()?;
        Ok(reply)
    }
}

fn bound(field: &'static str, length: usize, max: usize) -> Result<(), WireError> {
    if length > max {
        Err(WireError::TooLong { field, length, max })
    } else {
        Ok(())
    }
}

fn encode<T: Serialize>(message: &T, body_bytes: usize) -> Result<Vec<u8>, WireError> {
    // One allocation for what is nearly all body.
    let mut bytes = Vec::with_capacity(body_bytes.saturating_add(4 * 1024));
    ciborium::into_writer(message, &mut bytes).map_err(|_| WireError::Encoding)?;
    Ok(bytes)
}

fn decode<T: for<'de> Deserialize<'de>>(
    mut bytes: &[u8],
    message: &'static str,
) -> Result<T, WireError> {
    let value = ciborium::from_reader(&mut bytes).map_err(|error| WireError::Malformed {
        message,
        detail: match error {
            ciborium::de::Error::Io(_) => "it ends too early".to_owned(),
            ciborium::de::Error::Syntax(at) => format!("not CBOR at byte {at}"),
            ciborium::de::Error::Semantic(_, said) => said,
            ciborium::de::Error::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
        },
    })?;
    match bytes.len() {
        0 => Ok(value),
        extra => Err(WireError::TrailingBytes { message, extra }),
    }
}

/// A map in which a second value for the same name is an error, not a choice
/// between two readings.
fn metadata_without_repeats<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Metadata;
    impl<'de> Visitor<'de> for Metadata {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of text to text")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut metadata = BTreeMap::new();
            while let Some((name, value)) = map.next_entry::<String, String>()? {
                if metadata.len() >= METADATA_ENTRIES_MAX {
                    return Err(A::Error::custom("too many metadata entries"));
                }
                if metadata.insert(name, value).is_some() {
                    return Err(A::Error::custom("a metadata name is repeated"));
                }
            }
            Ok(metadata)
        }
    }
    deserializer.deserialize_map(Metadata)
}

#[cfg(test)]
mod tests {
    use ciborium::{Value, cbor};
    use proptest::prelude::*;

    use super::*;
    use crate::job::refusal::ImageFault;

    fn request() -> JobRequest {
        JobRequest {
            manifest: ByteBuf::from(vec![1, 2, 3]),
            credentials: JobCredentials {
                access_key_id: "ASIAEXAMPLE".into(),
                secret_access_key: "very secret".into(),
                session_token: Some("token".into()),
            },
            object: StoredObject {
                metadata: BTreeMap::from([("x-amz-c".into(), "115".into())]),
                body: ByteBuf::from(vec![9; 100_000]),
            },
        }
    }

    fn bytes_of(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_request_survives_the_wire() {
        let bytes = request().encode().unwrap();
        assert_eq!(JobRequest::decode(&bytes).unwrap(), request());
    }

    #[test]
    fn replies_survive_the_wire() {
        let done = JobReply::Done {
            result: request().object,
            receipt: ByteBuf::from(vec![4; RECEIPT_BYTES_MAX]),
        };
        assert_eq!(JobReply::decode(&done.encode().unwrap()).unwrap(), done);
        let report = SealedReport {
            object: request().object,
            receipt: ByteBuf::from(vec![4]),
        };
        for refused in [
            JobReply::Refused {
                refusal: Refusal::Timeout,
                report: None,
            },
            JobReply::Refused {
                refusal: Refusal::Image(ImageFault::Damaged),
                report: Some(report),
            },
        ] {
            assert_eq!(
                JobReply::decode(&refused.encode().unwrap()).unwrap(),
                refused
            );
        }
    }

    #[test]
    fn neither_logs_nor_panics_can_print_the_secret_key() {
        let printed = format!("{:?}", request());
        assert!(printed.contains("ASIAEXAMPLE"));
        assert!(!printed.contains("very secret") && !printed.contains("token\""));
    }

    #[test]
    fn refuses_trailing_bytes() {
        let mut bytes = request().encode().unwrap();
        bytes.push(0);
        assert!(matches!(
            JobRequest::decode(&bytes),
            Err(WireError::TrailingBytes { extra: 1, .. })
        ));
    }

    #[test]
    fn refuses_unknown_and_repeated_fields() {
        let mut value = Value::serialized(&request()).unwrap();
        value
            .as_map_mut()
            .unwrap()
            .push((Value::Text("extra".into()), Value::Null));
        assert!(matches!(
            JobRequest::decode(&bytes_of(&value)),
            Err(WireError::Malformed { .. })
        ));

        let mut value = Value::serialized(&request()).unwrap();
        let first = value.as_map().unwrap()[0].clone();
        value.as_map_mut().unwrap().push(first);
        assert!(matches!(
            JobRequest::decode(&bytes_of(&value)),
            Err(WireError::Malformed { .. })
        ));
    }

    #[test]
    fn refuses_a_metadata_name_that_comes_twice() {
        let object = Value::Map(vec![
            (
                Value::Text("metadata".into()),
                Value::Map(vec![
                    (Value::Text("x-amz-c".into()), Value::Text("115".into())),
                    (Value::Text("x-amz-c".into()), Value::Text("2".into())),
                ]),
            ),
            (Value::Text("body".into()), Value::Bytes(vec![1])),
        ]);
        let reply =
            cbor!({ "Done" => { "result" => object, "receipt" => Value::Bytes(vec![]) } }).unwrap();
        let error = JobReply::decode(&bytes_of(&reply)).unwrap_err();
        assert!(error.to_string().contains("repeated"), "{error}");
    }

    #[test]
    fn refuses_fields_beyond_their_bounds() {
        let mut big = request();
        big.manifest = ByteBuf::from(vec![0; MANIFEST_BYTES_MAX + 1]);
        assert!(matches!(
            big.encode(),
            Err(WireError::TooLong {
                field: "manifest",
                ..
            })
        ));

        let mut big = request();
        big.object
            .metadata
            .insert("x".into(), "y".repeat(METADATA_BYTES_MAX));
        assert!(matches!(
            big.encode(),
            Err(WireError::TooLong {
                field: "metadata",
                ..
            })
        ));
        let bytes = bytes_of(&Value::serialized(&big).unwrap());
        assert!(matches!(
            JobRequest::decode(&bytes),
            Err(WireError::TooLong {
                field: "metadata",
                ..
            })
        ));

        let many = (0..=METADATA_ENTRIES_MAX)
            .map(|n| (n.to_string(), String::new()))
            .collect();
        let mut big = request();
        big.object.metadata = many;
        let bytes = bytes_of(&Value::serialized(&big).unwrap());
        assert!(JobRequest::decode(&bytes).is_err());
    }

    #[test]
    fn a_refusal_with_text_is_no_refusal() {
        let spoken = [
            cbor!({ "Refused" => { "code" => "image", "message" => "^MARIA^" } }),
            cbor!({ "Refused" => { "refusal" => "^MARIA^", "report" => null } }),
            cbor!({ "Refused" => {
                "refusal" => "timeout", "report" => null, "message" => "^MARIA^"
            } }),
        ];
        for reply in spoken {
            assert!(JobReply::decode(&bytes_of(&reply.unwrap())).is_err());
        }
    }

    #[test]
    fn a_claimed_length_of_four_gigabytes_allocates_nothing() {
        // map(1) { "manifest": bytes(2^32) …: the decoder must stop at the end
        // of the input instead of reserving what was announced.
        let mut bytes = vec![0xa1, 0x68];
        bytes.extend_from_slice(b"manifest");
        bytes.extend_from_slice(&[0x5b, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3]);
        assert!(matches!(
            JobRequest::decode(&bytes),
            Err(WireError::Malformed { .. })
        ));
    }

    proptest! {
        #[test]
        fn decoders_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = JobRequest::decode(&bytes);
            let _ = JobReply::decode(&bytes);
        }

        #[test]
        fn a_damaged_request_never_panics(at in 0usize..400, to in any::<u8>(), cut in 0usize..400) {
            let mut small = request();
            small.object.body = ByteBuf::from(vec![9; 64]);
            let mut bytes = small.encode().unwrap();
            if let Some(byte) = bytes.get_mut(at) { *byte = to; }
            let _ = JobRequest::decode(&bytes);
            bytes.truncate(cut);
            let _ = JobRequest::decode(&bytes);
        }

        #[test]
        fn any_object_survives_the_wire(
            metadata in proptest::collection::btree_map("[a-z-]{1,20}", ".{0,40}", 0..10),
            body in proptest::collection::vec(any::<u8>(), 0..10_000),
        ) {
            let reply = JobReply::Done {
                result: StoredObject { metadata, body: ByteBuf::from(body) },
                receipt: ByteBuf::from(vec![1]),
            };
            prop_assert_eq!(JobReply::decode(&reply.encode().unwrap()).unwrap(), reply);
        }
    }
}
