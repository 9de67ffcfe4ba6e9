//! The signature section: who vouches for an image's PCR0.
//!
//! Models: a CBOR array of one map {signing_certificate, signature}, both given
//! as arrays of integers (byte strings are accepted too, as the official reader
//! does): a PEM certificate, and an untagged COSE_Sign1 over the CBOR map
//! {register_index: 0, register_value: PCR0} (ground truth: NSM §3.12). PCR8 is
//! the measurement of the certificate's DER.
//!
//! Does not model trust in the certificate: chain and names are shown, not judged.
//! What binds an image to a signer is PCR8 in a key policy. Its validity is judged
//! where an image is started, as nitro-cli does there (ground truth: error E59).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use base64::Engine as _;
use ciborium::Value;
use p384::ecdsa::signature::Signer as _;
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};

use crate::clock::UnixMillis;

/// A PEM certificate written as an array of integers takes about twice its
/// length; chains of certificates are not part of the format.
const SECTION_BYTES_MAX: usize = 64 << 10;

/// The signature section of an image.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    certificate_pem: Vec<u8>,
    certificate_der: Vec<u8>,
    certificate: Certificate,
    cose_sign1: Vec<u8>,
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signature")
            .field("subject", &self.subject())
            .finish_non_exhaustive()
    }
}

/// Why a signature section cannot be read, or does not hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Longer than any certificate and signature.
    #[error("{size} bytes; at most 65536 are allowed")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// No CBOR, or bytes after it.
    #[error("not a single CBOR item")]
    NotCbor,
    /// Not an array of one map.
    #[error("not an array of exactly one signature")]
    NotOneSignature,
    /// A field is absent or neither a byte string nor an array of bytes.
    #[error("`{field}` is missing or not a byte string")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// The certificate is not a PEM certificate.
    #[error("the signing certificate is not a PEM certificate")]
    CertificatePem,
    /// The certificate's DER cannot be read.
    #[error("the signing certificate is not an X.509 certificate")]
    CertificateDer,
    /// The certificate's key is not on P-256, P-384 or P-521.
    #[error("the signing certificate's key is not on P-256, P-384 or P-521")]
    KeyType,
    /// The signature is not a COSE_Sign1 with embedded payload.
    #[error("the signature is not a COSE_Sign1")]
    NotCoseSign1,
    /// The COSE algorithm is not the one of the certificate's curve.
    #[error("the signature names COSE algorithm {named:?}; the certificate's key does {key}")]
    Algorithm {
        /// What the protected header says.
        named: Option<i64>,
        /// What the key is for.
        key: i64,
    },
    /// The signed payload is not {register_index, register_value}.
    #[error("the signed payload is not {{register_index, register_value}}")]
    Payload,
    /// Another register than PCR0 is signed.
    #[error("register {index} is signed instead of PCR0")]
    OtherRegister {
        /// Which one.
        index: i64,
    },
    /// The signature is for another image.
    #[error("the signature is for another image: signed PCR0 {signed}, measured {measured}")]
    OtherImage {
        /// The signed value, in hex.
        signed: String,
        /// This image's PCR0, in hex.
        measured: String,
    },
    /// The signature is not by the certificate's key.
    #[error("the signature is not by the key of the signing certificate")]
    Forged,
    /// The certificate is not valid any more.
    #[error("the signing certificate is valid until {not_after}, and it is {now}")]
    Expired {
        /// Its last second.
        not_after: UnixMillis,
        /// When it was looked at.
        now: UnixMillis,
    },
    /// The certificate is not valid yet.
    #[error("the signing certificate is valid from {not_before}, and it is {now}")]
    NotYetValid {
        /// Its first second.
        not_before: UnixMillis,
        /// When it was looked at.
        now: UnixMillis,
    },
    /// While signing: key and certificate are no pair.
    #[error("the private key does not belong to the signing certificate")]
    KeyMismatch,
}

impl Signature {
    /// Reads the section's data. The signature itself is not yet checked.
    pub(crate) fn parse(section: &[u8]) -> Result<Self, SignatureError> {
        if section.len() > SECTION_BYTES_MAX {
            return Err(SignatureError::TooLarge {
                size: section.len(),
            });
        }
        let Value::Array(signatures) = cbor(section)? else {
            return Err(SignatureError::NotOneSignature);
        };
        let [Value::Map(fields)] = signatures.as_slice() else {
            return Err(SignatureError::NotOneSignature);
        };
        let bytes = |field: &'static str| {
            lookup(fields, field)
                .and_then(as_bytes)
                .ok_or(SignatureError::Field { field })
        };
        Self::new(bytes("signing_certificate")?, bytes("signature")?)
    }

    fn new(certificate_pem: Vec<u8>, cose_sign1: Vec<u8>) -> Result<Self, SignatureError> {
        let certificate_der =
            first_certificate(&certificate_pem).ok_or(SignatureError::CertificatePem)?;
        let certificate =
            Certificate::from_der(&certificate_der).map_err(|_| SignatureError::CertificateDer)?;
        Ok(Self {
            certificate_pem,
            certificate_der,
            certificate,
            cose_sign1,
        })
    }

    /// Signs `pcr0`.
    pub(crate) fn sign(
        certificate_pem: &str,
        key: &p384::ecdsa::SigningKey,
        pcr0: &[u8; 48],
    ) -> Result<Self, SignatureError> {
        let mut signature = Self::new(certificate_pem.as_bytes().to_vec(), Vec::new())?;
        if signature.public_key() != Some(key.verifying_key().to_sec1_point(false).as_bytes()) {
            return Err(SignatureError::KeyMismatch);
        }
        let protected = encode(&Value::Map(vec![(1.into(), ES384.into())]));
        let payload = encode(&Value::Map(vec![
            (Value::Text("register_index".to_owned()), 0.into()),
            (Value::Text("register_value".to_owned()), integers(pcr0)),
        ]));
        let made: p384::ecdsa::Signature = key.sign(&to_be_signed(&protected, &payload));
        signature.cose_sign1 = encode(&Value::Array(vec![
            Value::Bytes(protected),
            Value::Map(Vec::new()),
            Value::Bytes(payload),
            Value::Bytes(made.to_bytes().to_vec()),
        ]));
        Ok(signature)
    }

    /// The section's data, in the official builder's encoding.
    pub(crate) fn to_section(&self) -> Vec<u8> {
        encode(&Value::Array(vec![Value::Map(vec![
            (
                Value::Text("signing_certificate".to_owned()),
                integers(&self.certificate_pem),
            ),
            (
                Value::Text("signature".to_owned()),
                integers(&self.cose_sign1),
            ),
        ])]))
    }

    /// The signing certificate, DER: what PCR8 measures.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// The certificate's subject, RFC 4514.
    #[must_use]
    pub fn subject(&self) -> String {
        self.certificate.tbs_certificate().subject().to_string()
    }

    /// The certificate's issuer, RFC 4514.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.certificate.tbs_certificate().issuer().to_string()
    }

    /// First and last second of the certificate's validity, RFC 3339.
    #[must_use]
    pub fn validity(&self) -> (String, String) {
        let validity = self.certificate.tbs_certificate().validity();
        (
            validity.not_before.to_string(),
            validity.not_after.to_string(),
        )
    }

    /// Checks that the certificate is valid at `now`, first and last second included.
    ///
    /// # Errors
    /// [`SignatureError::Expired`] or [`SignatureError::NotYetValid`].
    pub fn check_validity(&self, now: UnixMillis) -> Result<(), SignatureError> {
        let validity = self.certificate.tbs_certificate().validity();
        let at = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        let (from, until) = (at(validity.not_before), at(validity.not_after));
        if now.as_secs() > until {
            let not_after = UnixMillis::from_secs(until);
            return Err(SignatureError::Expired { not_after, now });
        }
        if now.as_secs() < from {
            let not_before = UnixMillis::from_secs(from);
            return Err(SignatureError::NotYetValid { not_before, now });
        }
        Ok(())
    }

    /// Checks that the signature is by the certificate's key and covers `pcr0`.
    ///
    /// # Errors
    /// [`SignatureError`] names what does not hold.
    pub fn verify(&self, pcr0: &[u8; 48]) -> Result<(), SignatureError> {
        let mut item = cbor(&self.cose_sign1).map_err(|_| SignatureError::NotCoseSign1)?;
        if let Value::Tag(18, inner) = item {
            item = *inner;
        }
        let Value::Array(parts) = item else {
            return Err(SignatureError::NotCoseSign1);
        };
        let [
            Value::Bytes(protected),
            Value::Map(_),
            Value::Bytes(payload),
            Value::Bytes(signature),
        ] = parts.as_slice()
        else {
            return Err(SignatureError::NotCoseSign1);
        };

        let (name, algorithm) = self.algorithm()?;
        let named = match cbor(protected) {
            Ok(Value::Map(headers)) => headers
                .iter()
                .find(|(label, _)| *label == Value::from(1))
                .and_then(|(_, value)| integer(value)),
            _ => None,
        };
        if named != Some(name) {
            return Err(SignatureError::Algorithm { named, key: name });
        }
        UnparsedPublicKey::new(algorithm, self.public_key().ok_or(SignatureError::KeyType)?)
            .verify(&to_be_signed(protected, payload), signature)
            .map_err(|_| SignatureError::Forged)?;

        let Ok(Value::Map(fields)) = cbor(payload) else {
            return Err(SignatureError::Payload);
        };
        let index = lookup(&fields, "register_index")
            .and_then(integer)
            .ok_or(SignatureError::Payload)?;
        let value = lookup(&fields, "register_value")
            .and_then(as_bytes)
            .ok_or(SignatureError::Payload)?;
        if index != 0 {
            return Err(SignatureError::OtherRegister { index });
        }
        if value != pcr0 {
            return Err(SignatureError::OtherImage {
                signed: hex::encode(value),
                measured: hex::encode(pcr0),
            });
        }
        Ok(())
    }

    /// The certificate's public key as a SEC1 point.
    fn public_key(&self) -> Option<&[u8]> {
        let spki = self.certificate.tbs_certificate().subject_public_key_info();
        spki.subject_public_key.as_bytes()
    }

    /// The COSE algorithm of the certificate's curve (RFC 9053 §2.1), which is
    /// how the official signer chooses it.
    fn algorithm(&self) -> Result<(i64, &'static EcdsaVerificationAlgorithm), SignatureError> {
        let spki = self.certificate.tbs_certificate().subject_public_key_info();
        let curve = spki
            .algorithm
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.to_der().ok())
            .unwrap_or_default();
        match curve.as_slice() {
            P256 => Ok((-7, &ECDSA_P256_SHA256_FIXED)),
            P384 => Ok((ES384, &ECDSA_P384_SHA384_FIXED)),
            P521 => Ok((-36, &ECDSA_P521_SHA512_FIXED)),
            _ => Err(SignatureError::KeyType),
        }
    }
}

const ES384: i64 = -35;

/// The curves' object identifiers as DER (RFC 5480 §2.1.1.1).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// One CBOR item and nothing after it.
fn cbor(bytes: &[u8]) -> Result<Value, SignatureError> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).map_err(|_| SignatureError::NotCbor)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(SignatureError::NotCbor)
    }
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail, and a `Value` is always encodable.
    let written = ciborium::into_writer(value, &mut bytes);
    debug_assert!(written.is_ok());
    bytes
}

/// COSE's Sig_structure without external data (RFC 9052 §4.4).
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    encode(&Value::Array(vec![
        Value::Text("Signature1".to_owned()),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ]))
}

fn lookup<'a>(fields: &'a [(Value, Value)], name: &str) -> Option<&'a Value> {
    let mut found = fields.iter().filter(|(key, _)| key.as_text() == Some(name));
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}

fn integer(value: &Value) -> Option<i64> {
    value
        .as_integer()
        .and_then(|integer| i64::try_from(integer).ok())
}

/// A byte string, or what serde makes of a `Vec<u8>`: an array of integers.
fn as_bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Array(items) => items
            .iter()
            .map(|item| u8::try_from(item.as_integer()?).ok())
            .collect(),
        _ => None,
    }
}

fn integers(bytes: &[u8]) -> Value {
    Value::Array(bytes.iter().map(|byte| Value::from(*byte)).collect())
}

/// The first certificate of a PEM text; text before it is skipped, as OpenSSL
/// does.
fn first_certificate(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, after) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = after.split_once("-----END CERTIFICATE-----")?;
    let base64: String = body.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD
        .decode(base64)
        .ok()
}
