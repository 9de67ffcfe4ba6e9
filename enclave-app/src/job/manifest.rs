//! The submitter's signed order: run the model on this object, for this study,
//! within this time.
//!
//! A manifest is a COSE_Sign1 message, tagged 18 (RFC 9052 §4.2), with
//! * protected header `{1: -35 (ES384), 3: "application/vnd.drydock.job+cbor",
//!   4: kid}`, where kid is SHA-256 of the submitter's DER SubjectPublicKeyInfo.
//!   The content type keeps a signature made for anything else from being a job;
//! * empty unprotected header: nothing unsigned is read;
//! * payload: a CBOR map in the deterministic encoding of RFC 8949 §4.2.1.
//!
//! Decoding is strict: one byte sequence per manifest and signature. What
//! decodes is encoded again and must come out the same, so that unknown fields,
//! long integers, indefinite lengths, tags and other orders of keys are refused
//! without a rule for each.
//!
//! The signature is checked before any field is read. ECDSA lets anybody turn
//! (r, s) into (r, −s): the bytes of a manifest are no identity of a job, its
//! `job` field is. Does not model one-time use: a manifest may be presented
//! until it expires, and asks for the same thing every time.

use std::fmt;

use aws_lc_rs::digest;
use aws_nitro_enclaves_cose::{CborValue, CoseSign1, header_map::HeaderMap};
use ciborium::Value;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use super::submitter::{PEM_BYTES_MAX, SubmitterKey, SubmitterKeyError, SubmitterPublicKey};
use super::{submitter::Sha2, wire::MANIFEST_BYTES_MAX};

/// Content type in the protected header.
pub const CONTENT_TYPE: &str = "application/vnd.drydock.job+cbor";
/// Longest job id and study, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest object key, in bytes: S3's own bound.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest time between issue and expiry: seven days, S3's own bound for a
/// presigned request. A signed order should not outlive the reason for it.
pub const LIFETIME_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// How far in the future an issue time may lie: clocks differ.
pub const CLOCK_SKEW_MS_MAX: u64 = 60 * 1000;
/// Largest time: 9999-12-31T23:59:59.999Z.
const TIME_MS_MAX: u64 = 253_402_300_799_999;
/// COSE's number for ECDSA with SHA-384 (RFC 9053 §2.1).
const ES384: i8 = -35;
/// r ‖ s on P-384.
const SIGNATURE_BYTES: usize = 96;
/// CBOR tag of a COSE_Sign1 message.
const COSE_SIGN1_TAG: u64 = 18;

/// One order. Times are unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The job's name: 1 to 128 visible ASCII characters except `"` and `\`.
    pub job: String,
    /// The S3 bucket of the input object.
    pub bucket: String,
    /// The S3 key of the input object: 1 to 1024 bytes without control characters.
    pub key: String,
    /// SHA-256 of the S3 object's body, that is of the ciphertext.
    pub ciphertext_sha256: [u8; 32],
    /// What the findings belong to; written like `job`, with inner spaces.
    pub study: String,
    /// When the submitter signed.
    pub issued_at_ms: u64,
    /// From when on the enclave must refuse; at most seven days after issue.
    pub expires_at_ms: u64,
}

/// Why a manifest is refused, or cannot be made.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than any manifest.
    #[error("the manifest has {length} bytes; at most {MANIFEST_BYTES_MAX} are read")]
    TooLong {
        /// Bytes presented.
        length: usize,
    },
    /// Not a tagged COSE_Sign1 message of the accepted form.
    #[error("the manifest is not a COSE_Sign1 message of the accepted form: {what}")]
    NotCose {
        /// What is wrong.
        what: &'static str,
    },
    /// Signed with another algorithm than ES384, or none named.
    #[error("the manifest is not signed with ES384")]
    WrongAlgorithm,
    /// A COSE message, but not a job.
    #[error("the signed content is not of type {CONTENT_TYPE}")]
    WrongContentType,
    /// The key id names nobody whom the enclave trusts.
    #[error(
        "the manifest is signed by nobody whom this enclave knows (key id {})",
        hex::encode(key_id)
    )]
    UnknownSubmitter {
        /// The key id presented.
        key_id: Vec<u8>,
    },
    /// The key id is known, but this is not its owner's signature.
    #[error("the manifest's signature does not verify")]
    BadSignature,
    /// Correctly signed, but the payload is not this form's one encoding.
    #[error("the manifest's payload is not canonical: {what}")]
    NotCanonical {
        /// What is wrong.
        what: &'static str,
    },
    /// A field's value is outside its bounds.
    #[error("the manifest's {field} {problem}")]
    BadField {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Issued in the future.
    #[error(
        "the job is not valid yet: it was issued at {issued_at_ms}, the time is {now_ms} (unix ms)"
    )]
    NotYetValid {
        /// When it was issued.
        issued_at_ms: u64,
        /// The time of the check.
        now_ms: u64,
    },
    /// Too old.
    #[error("the job has expired at {expires_at_ms}, the time is {now_ms} (unix ms)")]
    Expired {
        /// When it expired.
        expires_at_ms: u64,
        /// The time of the check.
        now_ms: u64,
    },
    /// The object presented is not the one that was signed for.
    #[error(
        "the object is not the one signed for: SHA-256 is {}, signed was {}",
        hex::encode(presented),
        hex::encode(signed)
    )]
    DigestMismatch {
        /// Digest of the object presented.
        presented: [u8; 32],
        /// Digest in the manifest.
        signed: [u8; 32],
    },
    /// The encoder failed; a bug.
    #[error("the manifest could not be encoded")]
    Encoding,
}

impl Manifest {
    /// SHA-256 of an object's body, as [`Manifest::ciphertext_sha256`] wants it.
    #[must_use]
    pub fn digest(object_body: &[u8]) -> [u8; 32] {
        let mut out = [0u8; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, object_body).as_ref());
        out
    }

    /// Signs the order: tagged COSE_Sign1 bytes, the same for the same key and
    /// fields.
    ///
    /// # Errors
    /// [`ManifestError::BadField`] if a field breaks its bounds: such an order
    /// would be refused by every enclave.
    pub fn sign(&self, key: &SubmitterKey) -> Result<Vec<u8>, ManifestError> {
        self.bounded()?;
        let protected = protected_header(&key.public());
        let cose = CoseSign1::new_with_protected::<Sha2>(
            &self.payload()?,
            &protected,
            &HeaderMap::new(),
            key,
        )
        .map_err(|_| ManifestError::Encoding)?;
        cose.as_bytes(true).map_err(|_| ManifestError::Encoding)
    }

    /// Checks signature and shape against the trusted `submitters`. The times
    /// and the object are left to [`Manifest::check`].
    ///
    /// # Errors
    /// [`ManifestError`], except the variants of [`Manifest::check`].
    pub fn verify(bytes: &[u8], submitters: &[SubmitterPublicKey]) -> Result<Self, ManifestError> {
        let parts = Parts::split(bytes)?;
        let submitter = parts.submitter(submitters)?;
        let cose = CoseSign1::from_bytes_tagged(bytes).map_err(|_| ManifestError::NotCose {
            what: "its header is malformed",
        })?;
        if cose.as_bytes(true).ok().as_deref() != Some(bytes) {
            return Err(ManifestError::NotCose {
                what: "it is not in the one accepted encoding",
            });
        }
        match cose.verify_signature::<Sha2>(submitter) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(ManifestError::BadSignature),
        }
        Self::from_payload(&parts.payload)
    }

    /// Checks times and object: `now_ms` by the enclave's own clock,
    /// `object_body` as the parent presented it. A verified manifest expires at
    /// `expires_at_ms` sharp; its issue time may lie up to
    /// [`CLOCK_SKEW_MS_MAX`] ahead.
    ///
    /// # Errors
    /// [`ManifestError::NotYetValid`], [`ManifestError::Expired`],
    /// [`ManifestError::DigestMismatch`].
    pub fn check(&self, now_ms: u64, object_body: &[u8]) -> Result<(), ManifestError> {
        if self.issued_at_ms > now_ms.saturating_add(CLOCK_SKEW_MS_MAX) {
            return Err(ManifestError::NotYetValid {
                issued_at_ms: self.issued_at_ms,
                now_ms,
            });
        }
        if now_ms >= self.expires_at_ms {
            return Err(ManifestError::Expired {
                expires_at_ms: self.expires_at_ms,
                now_ms,
            });
        }
        let presented = Self::digest(object_body);
        if presented != self.ciphertext_sha256 {
            return Err(ManifestError::DigestMismatch {
                presented,
                signed: self.ciphertext_sha256,
            });
        }
        Ok(())
    }

    /// The job's name as the manifest claims it, **without checking the
    /// signature**: a label for the parent's logs, never a reason for anything.
    #[must_use]
    pub fn claimed_job(bytes: &[u8]) -> Option<String> {
        let parts = Parts::split(bytes).ok()?;
        Self::from_payload(&parts.payload)
            .ok()
            .map(|manifest| manifest.job)
    }

    fn payload(&self) -> Result<Vec<u8>, ManifestError> {
        let payload = Payload {
            job: self.job.clone(),
            key: self.key.clone(),
            study: self.study.clone(),
            bucket: self.bucket.clone(),
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires_at_ms,
            ciphertext_sha256: ByteBuf::from(self.ciphertext_sha256.as_slice()),
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&payload, &mut bytes).map_err(|_| ManifestError::Encoding)?;
        Ok(bytes)
    }

    fn from_payload(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut rest = bytes;
        let payload: Payload =
            ciborium::from_reader(&mut rest).map_err(|_| ManifestError::NotCanonical {
                what: "it is not a map of exactly the seven fields",
            })?;
        let ciphertext_sha256 = payload
            .ciphertext_sha256
            .as_slice()
            .try_into()
            .map_err(|_| ManifestError::BadField {
                field: "ciphertext_sha256",
                problem: "is not 32 bytes long",
            })?;
        let manifest = Self {
            job: payload.job,
            bucket: payload.bucket,
            key: payload.key,
            ciphertext_sha256,
            study: payload.study,
            issued_at_ms: payload.issued_at_ms,
            expires_at_ms: payload.expires_at_ms,
        };
        if manifest.payload()? != bytes {
            return Err(ManifestError::NotCanonical {
                what: "it is not in the deterministic encoding of RFC 8949 §4.2.1",
            });
        }
        manifest.bounded()?;
        Ok(manifest)
    }

    fn bounded(&self) -> Result<(), ManifestError> {
        let bad = |field, problem| Err(ManifestError::BadField { field, problem });
        name_bounded("job", &self.job, false)?;
        name_bounded("study", &self.study, true)?;
        bucket_bounded(&self.bucket)?;
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX {
            return bad("key", "is not 1 to 1024 bytes long");
        }
        if self.key.chars().any(char::is_control) {
            return bad("key", "contains a control character");
        }
        if self.expires_at_ms > TIME_MS_MAX {
            return bad("expires_at_ms", "lies after the year 9999");
        }
        match self.expires_at_ms.checked_sub(self.issued_at_ms) {
            None | Some(0) => bad("expires_at_ms", "is not after issued_at_ms"),
            Some(lifetime) if lifetime > LIFETIME_MS_MAX => bad(
                "expires_at_ms",
                "is more than seven days after issued_at_ms",
            ),
            Some(_) => Ok(()),
        }
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} on s3://{}/{}", self.job, self.bucket, self.key)
    }
}

/// The payload's fields in the order of RFC 8949 §4.2.1: by encoded key, which
/// for short text keys is by length, then by letter.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    job: String,
    key: String,
    study: String,
    bucket: String,
    issued_at_ms: u64,
    expires_at_ms: u64,
    ciphertext_sha256: ByteBuf,
}

/// A COSE_Sign1 message taken apart, before anything in it is believed.
struct Parts {
    protected: Vec<u8>,
    payload: Vec<u8>,
}

impl Parts {
    fn split(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong {
                length: bytes.len(),
            });
        }
        let not_cose = |what| ManifestError::NotCose { what };
        let mut rest = bytes;
        let value: Value =
            ciborium::from_reader(&mut rest).map_err(|_| not_cose("it is not CBOR"))?;
        if !rest.is_empty() {
            return Err(not_cose("bytes follow it"));
        }
        let Value::Tag(COSE_SIGN1_TAG, inner) = value else {
            return Err(not_cose("it lacks tag 18"));
        };
        let Value::Array(items) = *inner else {
            return Err(not_cose("it is no array"));
        };
        let Ok([protected, unprotected, payload, signature]) = <[Value; 4]>::try_from(items) else {
            return Err(not_cose("it has not four parts"));
        };
        let (Value::Bytes(protected), Value::Bytes(payload), Value::Bytes(signature)) =
            (protected, payload, signature)
        else {
            return Err(not_cose("a part is no byte string"));
        };
        if !matches!(&unprotected, Value::Map(entries) if entries.is_empty()) {
            return Err(not_cose("its unprotected header is not empty"));
        }
        if signature.len() != SIGNATURE_BYTES {
            return Err(not_cose("its signature is not 96 bytes long"));
        }
        Ok(Self { protected, payload })
    }

    /// Whose signature this claims to be. The protected header must be exactly
    /// the bytes that this submitter's header has; only if it is nobody's is it
    /// looked into, to say what is wrong.
    fn submitter<'a>(
        &self,
        submitters: &'a [SubmitterPublicKey],
    ) -> Result<&'a SubmitterPublicKey, ManifestError> {
        for submitter in submitters {
            let mut expected = Vec::new();
            ciborium::into_writer(&protected_header(submitter), &mut expected)
                .map_err(|_| ManifestError::Encoding)?;
            if expected == self.protected {
                return Ok(submitter);
            }
        }
        let header =
            HeaderMap::from_bytes(&self.protected).map_err(|_| ManifestError::NotCose {
                what: "its protected header is no map",
            })?;
        match header.get(&CborValue::from(1)) {
            Some(algorithm) if *algorithm == CborValue::from(ES384) => {}
            _ => return Err(ManifestError::WrongAlgorithm),
        }
        match header.get(&CborValue::from(3)) {
            Some(CborValue::Text(content)) if content == CONTENT_TYPE => {}
            _ => return Err(ManifestError::WrongContentType),
        }
        match header.get(&CborValue::from(4)) {
            Some(CborValue::Bytes(key_id))
                if !submitters
                    .iter()
                    .any(|known| known.key_id().as_slice() == key_id) =>
            {
                let key_id = key_id
                    .get(..key_id.len().min(64))
                    .unwrap_or_default()
                    .to_vec();
                Err(ManifestError::UnknownSubmitter { key_id })
            }
            Some(CborValue::Bytes(_)) => Err(ManifestError::NotCose {
                what: "its protected header is not canonical",
            }),
            _ => Err(ManifestError::NotCose {
                what: "its protected header lacks a key id",
            }),
        }
    }
}

fn protected_header(submitter: &SubmitterPublicKey) -> HeaderMap {
    let mut header = HeaderMap::new();
    header.insert(CborValue::from(1), CborValue::from(ES384));
    header.insert(CborValue::from(3), CborValue::from(CONTENT_TYPE));
    header.insert(
        CborValue::from(4),
        CborValue::from(submitter.key_id().as_slice()),
    );
    header
}

/// Names go into logs, JSON and encryption contexts: visible ASCII, nothing
/// that any of them would have to escape.
fn name_bounded(field: &'static str, text: &str, inner_spaces: bool) -> Result<(), ManifestError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(ManifestError::BadField {
            field,
            problem: "is not 1 to 128 bytes long",
        });
    }
    let allowed =
        |c: char| (c.is_ascii_graphic() && c != '"' && c != '\\') || (inner_spaces && c == ' ');
    if !text.chars().all(allowed) || text.trim() != text {
        return Err(ManifestError::BadField {
            field,
            problem: "holds more than visible ASCII characters without quotes and backslashes",
        });
    }
    Ok(())
}

/// S3's rules for bucket names, as far as one character decides them.
fn bucket_bounded(bucket: &str) -> Result<(), ManifestError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let ok = (3..=63).contains(&bucket.len())
        && bucket.chars().all(allowed)
        && ends_well(bucket.chars().next())
        && ends_well(bucket.chars().next_back());
    if ok {
        Ok(())
    } else {
        Err(ManifestError::BadField {
            field: "bucket",
            problem: "is no S3 bucket name",
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_nitro_enclaves_cose::crypto::SigningPrivateKey;
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_766_678_658_000;
    const BODY: &[u8] = b"ciphertext of a chest radiograph";

    fn key() -> SubmitterKey {
        SubmitterKey::from_seed(b"radiology")
    }

    fn manifest() -> Manifest {
        Manifest {
            job: "job-0001".into(),
            bucket: "hospital-images".into(),
            key: "incoming/2025/äöü 1.dcm".into(),
            ciphertext_sha256: Manifest::digest(BODY),
            study: "1.2.840.113619.2 chest".into(),
            issued_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + 3_600_000,
        }
    }

    fn verify(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        Manifest::verify(bytes, &[key().public()])
    }

    /// Signs any payload under any protected header, as a submitter gone wrong would.
    fn sign_raw(protected: &HeaderMap, unprotected: &HeaderMap, payload: &[u8]) -> Vec<u8> {
        CoseSign1::new_with_protected::<Sha2>(payload, protected, unprotected, &key())
            .unwrap()
            .as_bytes(true)
            .unwrap()
    }

    fn header() -> HeaderMap {
        protected_header(&key().public())
    }

    fn encoded(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    fn payload_value() -> Value {
        ciborium::from_reader(manifest().payload().unwrap().as_slice()).unwrap()
    }

    #[test]
    fn a_signed_manifest_verifies_and_reads_back() {
        let other = SubmitterKey::from_seed(b"cardiology").public();
        let bytes = manifest().sign(&key()).unwrap();
        assert_eq!(
            Manifest::verify(&bytes, &[other, key().public()]).unwrap(),
            manifest()
        );
        assert_eq!(Manifest::claimed_job(&bytes).as_deref(), Some("job-0001"));
        manifest().check(NOW_MS, BODY).unwrap();
    }

    #[test]
    fn signing_twice_gives_the_same_bytes() {
        assert_eq!(
            manifest().sign(&key()).unwrap(),
            manifest().sign(&key()).unwrap()
        );
    }

    #[test]
    fn the_payload_is_deterministic_cbor_with_keys_sorted_by_their_encoding() {
        let Value::Map(entries) = payload_value() else {
            panic!("the payload is a map")
        };
        let keys: Vec<Vec<u8>> = entries.iter().map(|(key, _)| encoded(key)).collect();
        assert!(keys.is_sorted());
    }

    #[test]
    fn refuses_a_manifest_with_any_flipped_bit() {
        let good = manifest().sign(&key()).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(
                    verify(&bad).is_err(),
                    "accepted with bit {bit} of byte {at} flipped"
                );
            }
        }
    }

    #[test]
    fn refuses_a_cut_or_lengthened_manifest() {
        let good = manifest().sign(&key()).unwrap();
        for length in 0..good.len() {
            assert!(
                verify(&good[..length]).is_err(),
                "accepted when cut to {length} bytes"
            );
        }
        let mut long = good;
        long.push(0);
        assert_eq!(
            verify(&long),
            Err(ManifestError::NotCose {
                what: "bytes follow it"
            })
        );
    }

    #[test]
    fn refuses_a_submitter_whom_the_enclave_does_not_know() {
        let stranger = SubmitterKey::from_seed(b"stranger");
        let bytes = manifest().sign(&stranger).unwrap();
        assert_eq!(
            verify(&bytes),
            Err(ManifestError::UnknownSubmitter {
                key_id: stranger.public().key_id().to_vec()
            })
        );
        assert!(matches!(
            Manifest::verify(&bytes, &[]),
            Err(ManifestError::UnknownSubmitter { .. })
        ));
    }

    #[test]
    fn refuses_a_stranger_who_borrows_a_known_key_id() {
        struct Impostor(SubmitterKey);
        use aws_nitro_enclaves_cose::{
            crypto::{MessageDigest, SignatureAlgorithm, SigningPublicKey},
            error::CoseError,
        };
        impl SigningPublicKey for Impostor {
            fn get_parameters(&self) -> Result<(SignatureAlgorithm, MessageDigest), CoseError> {
                self.0.get_parameters()
            }
            fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool, CoseError> {
                self.0.verify(digest, signature)
            }
        }
        impl SigningPrivateKey for Impostor {
            fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, CoseError> {
                self.0.sign(digest)
            }
        }
        let impostor = Impostor(SubmitterKey::from_seed(b"stranger"));
        let bytes = CoseSign1::new_with_protected::<Sha2>(
            &manifest().payload().unwrap(),
            &header(),
            &HeaderMap::new(),
            &impostor,
        )
        .unwrap()
        .as_bytes(true)
        .unwrap();
        assert_eq!(verify(&bytes), Err(ManifestError::BadSignature));
    }

    #[test]
    fn refuses_every_other_algorithm_even_when_correctly_signed() {
        for algorithm in [-7, -36, -37, 0, 35] {
            let mut protected = header();
            protected.insert(CborValue::from(1), CborValue::from(algorithm));
            let bytes = sign_raw(
                &protected,
                &HeaderMap::new(),
                &manifest().payload().unwrap(),
            );
            assert_eq!(
                verify(&bytes),
                Err(ManifestError::WrongAlgorithm),
                "{algorithm}"
            );
        }
        let none = sign_raw(
            &HeaderMap::new(),
            &HeaderMap::new(),
            &manifest().payload().unwrap(),
        );
        assert!(verify(&none).is_err());
    }

    #[test]
    fn refuses_a_signature_made_for_another_kind_of_message() {
        let mut protected = header();
        protected.insert(CborValue::from(3), CborValue::from("text/plain"));
        let bytes = sign_raw(
            &protected,
            &HeaderMap::new(),
            &manifest().payload().unwrap(),
        );
        assert_eq!(verify(&bytes), Err(ManifestError::WrongContentType));
    }

    #[test]
    fn refuses_headers_beyond_the_three() {
        let mut protected = header();
        protected.insert(CborValue::from(99), CborValue::from(1));
        let bytes = sign_raw(
            &protected,
            &HeaderMap::new(),
            &manifest().payload().unwrap(),
        );
        assert!(matches!(verify(&bytes), Err(ManifestError::NotCose { .. })));

        let mut unprotected = HeaderMap::new();
        unprotected.insert(CborValue::from(4), CborValue::from(1));
        let bytes = sign_raw(&header(), &unprotected, &manifest().payload().unwrap());
        assert!(matches!(verify(&bytes), Err(ManifestError::NotCose { .. })));
    }

    #[test]
    fn refuses_an_untagged_or_otherwise_tagged_message() {
        let tagged = manifest().sign(&key()).unwrap();
        assert_eq!(tagged[0], 0xd2); // tag 18
        assert!(matches!(
            verify(&tagged[1..]),
            Err(ManifestError::NotCose { .. })
        ));
        let mut other = tagged;
        other[0] = 0xd1; // tag 17, COSE_Mac0
        assert!(matches!(verify(&other), Err(ManifestError::NotCose { .. })));
    }

    #[test]
    fn refuses_extra_missing_repeated_and_reordered_fields() {
        let mut extra = payload_value();
        extra
            .as_map_mut()
            .unwrap()
            .push((Value::Text("priority".into()), Value::Integer(1.into())));
        let mut missing = payload_value();
        missing.as_map_mut().unwrap().remove(3);
        let mut repeated = payload_value();
        let again = repeated.as_map().unwrap()[0].clone();
        repeated.as_map_mut().unwrap().push(again);
        let mut reordered = payload_value();
        reordered.as_map_mut().unwrap().swap(0, 1);
        for payload in [extra, missing, repeated, reordered] {
            let bytes = sign_raw(&header(), &HeaderMap::new(), &encoded(&payload));
            assert!(matches!(
                verify(&bytes),
                Err(ManifestError::NotCanonical { .. })
            ));
        }
    }

    #[test]
    fn refuses_a_time_that_is_not_a_shortest_unsigned_integer() {
        for time in [
            Value::Float(1_766_678_658_000.0),
            Value::Text("2025-12-25T16:04:18Z".into()),
            Value::Integer((-1).into()),
            Value::Tag(1, Box::new(Value::Integer(NOW_MS.into()))),
            Value::Tag(2, Box::new(Value::Bytes(NOW_MS.to_be_bytes().to_vec()))),
        ] {
            let mut payload = payload_value();
            payload.as_map_mut().unwrap()[4].1 = time.clone();
            let bytes = sign_raw(&header(), &HeaderMap::new(), &encoded(&payload));
            assert!(
                matches!(verify(&bytes), Err(ManifestError::NotCanonical { .. })),
                "accepted {time:?}"
            );
        }
        // A small time written in eight bytes instead of one.
        let mut small = manifest();
        small.issued_at_ms = 1;
        small.expires_at_ms = 2;
        let payload = small.payload().unwrap();
        let name = b"issued_at_ms";
        let at = payload.windows(name.len()).position(|w| w == name).unwrap() + name.len();
        let mut long = payload[..at].to_vec();
        long.extend_from_slice(&[0x1b, 0, 0, 0, 0, 0, 0, 0, 1]);
        long.extend_from_slice(&payload[at + 1..]);
        let bytes = sign_raw(&header(), &HeaderMap::new(), &long);
        assert!(matches!(
            verify(&bytes),
            Err(ManifestError::NotCanonical { .. })
        ));
    }

    #[test]
    fn neither_signs_nor_accepts_fields_beyond_their_bounds() {
        let with = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest
        };
        let table: [(&str, Manifest); 14] = [
            ("job", with(&|m| m.job = String::new())),
            ("job", with(&|m| m.job = "j".repeat(NAME_BYTES_MAX + 1))),
            ("job", with(&|m| m.job = "a b".into())),
            ("job", with(&|m| m.job = "a\"b".into())),
            ("job", with(&|m| m.job = "jöb".into())),
            ("study", with(&|m| m.study = " chest".into())),
            ("study", with(&|m| m.study = "a\nb".into())),
            ("bucket", with(&|m| m.bucket = "Up".into())),
            ("bucket", with(&|m| m.bucket = "a/b".into())),
            ("key", with(&|m| m.key = "k".repeat(KEY_BYTES_MAX + 1))),
            ("key", with(&|m| m.key = "a\u{0}".into())),
            ("expires_at_ms", with(&|m| m.expires_at_ms = m.issued_at_ms)),
            (
                "expires_at_ms",
                with(&|m| m.expires_at_ms = m.issued_at_ms + LIFETIME_MS_MAX + 1),
            ),
            ("expires_at_ms", with(&|m| m.expires_at_ms = u64::MAX)),
        ];
        for (expected, bad) in table {
            let named = |result: Result<(), ManifestError>| match result {
                Err(ManifestError::BadField { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            };
            named(bad.sign(&key()).map(|_| ()));
            let bytes = sign_raw(&header(), &HeaderMap::new(), &bad.payload().unwrap());
            named(verify(&bytes).map(|_| ()));
        }
    }

    #[test]
    fn refuses_a_manifest_longer_than_its_bound_without_reading_it() {
        let long = vec![0xd2; MANIFEST_BYTES_MAX + 1];
        assert_eq!(
            verify(&long),
            Err(ManifestError::TooLong { length: long.len() })
        );
    }

    #[test]
    fn refuses_an_expired_job_and_one_whose_time_has_not_come() {
        let manifest = manifest();
        assert!(manifest.check(manifest.expires_at_ms - 1, BODY).is_ok());
        assert!(matches!(
            manifest.check(manifest.expires_at_ms, BODY),
            Err(ManifestError::Expired { .. })
        ));
        assert!(manifest.check(NOW_MS - CLOCK_SKEW_MS_MAX, BODY).is_ok());
        assert!(matches!(
            manifest.check(NOW_MS - CLOCK_SKEW_MS_MAX - 1, BODY),
            Err(ManifestError::NotYetValid { .. })
        ));
    }

    #[test]
    fn refuses_another_object_than_the_one_signed_for() {
        let mut other = BODY.to_vec();
        other[5] ^= 1;
        assert!(matches!(
            manifest().check(NOW_MS, &other),
            Err(ManifestError::DigestMismatch { .. })
        ));
    }

    proptest! {
        #[test]
        fn the_decoder_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = verify(&bytes);
            let _ = Manifest::claimed_job(&bytes);
            let _ = Manifest::from_payload(&bytes);
        }

        #[test]
        fn a_payload_that_decodes_encodes_to_the_same_bytes(
            at in 0usize..250, to in any::<u8>(),
        ) {
            let mut bytes = manifest().payload().unwrap();
            if let Some(byte) = bytes.get_mut(at) { *byte = to; }
            if let Ok(read) = Manifest::from_payload(&bytes) {
                prop_assert_eq!(read.payload().unwrap(), bytes);
            }
        }
    }

    proptest! {
        // Each case is a signature and a verification.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_order_within_bounds_survives_signing(
            job in "[!#-\\[\\]-~]{1,128}",
            study in "[!#-\\[\\]-~]([ !#-\\[\\]-~]{0,100}[!#-\\[\\]-~])?",
            bucket in "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
            object_key in "[^\\p{Cc}]{1,200}",
            ciphertext_sha256 in any::<[u8; 32]>(),
            issued_at_ms in 0u64..TIME_MS_MAX - LIFETIME_MS_MAX,
            lifetime in 1..=LIFETIME_MS_MAX,
        ) {
            let order = Manifest {
                job, bucket, key: object_key, ciphertext_sha256, study, issued_at_ms,
                expires_at_ms: issued_at_ms + lifetime,
            };
            let bytes = order.sign(&key()).unwrap();
            prop_assert_eq!(verify(&bytes).unwrap(), order);
        }
    }
}
