//! A manifest's bytes: a COSE_Sign1 message, tagged 18 (RFC 9052 §4.2), with
//! * protected header `{1: -35 (ES384), 3: "application/vnd.drydock.job+cbor",
//!   4: kid}`, where kid is SHA-256 of the submitter's DER SubjectPublicKeyInfo.
//!   The content type keeps a signature made for anything else from being a job;
//! * empty unprotected header: nothing unsigned is read;
//! * payload: a CBOR map in the deterministic encoding of RFC 8949 §4.2.1.
//!
//! Decoding is strict: one byte sequence per manifest and signature. What
//! decodes is encoded again and must come out the same, so that unknown fields,
//! long integers, indefinite lengths, tags and other orders of keys are refused
//! without a rule for each. What fields may hold is not decided here.

use aws_nitro_enclaves_cose::{CborValue, CoseSign1, header_map::HeaderMap};
use ciborium::Value;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{MANIFEST_BYTES_MAX, Manifest, ManifestError, SubmitterKey, SubmitterPublicKey};
use crate::job::submitter::Sha2;

/// Content type in the protected header.
pub const CONTENT_TYPE: &str = "application/vnd.drydock.job+cbor";
/// COSE's number for ECDSA with SHA-384 (RFC 9053 §2.1).
const ES384: i8 = -35;
/// r ‖ s on P-384.
const SIGNATURE_BYTES: usize = 96;
/// CBOR tag of a COSE_Sign1 message.
const COSE_SIGN1_TAG: u64 = 18;

/// A payload under the key's signature, tagged.
pub(super) fn sign(payload: &[u8], key: &SubmitterKey) -> Result<Vec<u8>, ManifestError> {
    let protected = protected_header(&key.public());
    let cose = CoseSign1::new_with_protected::<Sha2>(payload, &protected, &HeaderMap::new(), key)
        .map_err(|_| ManifestError::Encoding)?;
    cose.as_bytes(true).map_err(|_| ManifestError::Encoding)
}

/// The payload of a message that one of the `submitters` signed.
pub(super) fn verified(
    bytes: &[u8],
    submitters: &[SubmitterPublicKey],
) -> Result<Vec<u8>, ManifestError> {
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
        Ok(true) => Ok(parts.payload),
        Ok(false) | Err(_) => Err(ManifestError::BadSignature),
    }
}

/// The payload, whoever signed it.
pub(super) fn unverified(bytes: &[u8]) -> Result<Vec<u8>, ManifestError> {
    Ok(Parts::split(bytes)?.payload)
}

/// The one payload of a manifest.
pub(super) fn payload(manifest: &Manifest) -> Result<Vec<u8>, ManifestError> {
    let payload = Payload {
        job: manifest.job.clone(),
        key: manifest.key.clone(),
        study: manifest.study.clone(),
        bucket: manifest.bucket.clone(),
        issued_at_ms: manifest.issued_at_ms,
        expires_at_ms: manifest.expires_at_ms,
        ciphertext_sha256: ByteBuf::from(manifest.ciphertext_sha256.as_slice()),
    };
    let mut bytes = Vec::new();
    ciborium::into_writer(&payload, &mut bytes).map_err(|_| ManifestError::Encoding)?;
    Ok(bytes)
}

/// The manifest whose payload this is; its fields may be out of bounds.
pub(super) fn read_payload(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let mut rest = bytes;
    let read: Payload =
        ciborium::from_reader(&mut rest).map_err(|_| ManifestError::NotCanonical {
            what: "it is not a map of exactly the seven fields",
        })?;
    let ciphertext_sha256 =
        read.ciphertext_sha256
            .as_slice()
            .try_into()
            .map_err(|_| ManifestError::BadField {
                field: "ciphertext_sha256",
                problem: "is not 32 bytes long",
            })?;
    let manifest = Manifest {
        job: read.job,
        bucket: read.bucket,
        key: read.key,
        ciphertext_sha256,
        study: read.study,
        issued_at_ms: read.issued_at_ms,
        expires_at_ms: read.expires_at_ms,
    };
    if payload(&manifest)? != bytes {
        return Err(ManifestError::NotCanonical {
            what: "it is not in the deterministic encoding of RFC 8949 §4.2.1",
        });
    }
    Ok(manifest)
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
            return Err(not_cose("it is not an array"));
        };
        let Ok([protected, unprotected, payload, signature]) = <[Value; 4]>::try_from(items) else {
            return Err(not_cose("it does not have four parts"));
        };
        let (Value::Bytes(protected), Value::Bytes(payload), Value::Bytes(signature)) =
            (protected, payload, signature)
        else {
            return Err(not_cose("a part is not a byte string"));
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
                what: "its protected header is not a map",
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

#[cfg(test)]
mod tests;
