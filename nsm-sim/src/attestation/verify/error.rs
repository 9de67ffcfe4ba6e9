//! Why a document was refused: one variant a cause, each naming the certificate
//! or field at fault.

use std::fmt;

use super::cbor::CborFault;
use crate::clock::UnixMillis;

/// A field of the document's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // they are named as on the wire
pub enum Field {
    ModuleId,
    Digest,
    Timestamp,
    Pcrs,
    NitrotpmPcrs,
    Certificate,
    Cabundle,
    PublicKey,
    UserData,
    Nonce,
}

impl Field {
    /// The key on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModuleId => "module_id",
            Self::Digest => "digest",
            Self::Timestamp => "timestamp",
            Self::Pcrs => "pcrs",
            Self::NitrotpmPcrs => "nitrotpm_pcrs",
            Self::Certificate => "certificate",
            Self::Cabundle => "cabundle",
            Self::PublicKey => "public_key",
            Self::UserData => "user_data",
            Self::Nonce => "nonce",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A certificate by its place in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An entry of `cabundle`; 0 is the root.
    Cabundle(usize),
    /// `certificate`.
    Leaf,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cabundle(0) => f.write_str("the root certificate (cabundle[0])"),
            Self::Cabundle(index) => write!(f, "the certificate cabundle[{index}]"),
            Self::Leaf => f.write_str("the leaf certificate"),
        }
    }
}

/// Why a document, or a root to pin, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A root to trust is not an X.509 certificate.
    #[error("the root to trust is not a single X.509 certificate")]
    RootUnreadable,

    // Syntax.
    /// The document is longer than any NSM writes.
    #[error("the document has {bytes} bytes, more than the {max} an NSM can write")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The COSE frame or the payload is not CBOR in the form hardware writes.
    #[error("{fault} at byte {at} of the {part}")]
    Cbor {
        /// `COSE frame`, `protected header` or `payload`.
        part: &'static str,
        /// Offset in that part.
        at: usize,
        /// What is wrong there.
        fault: CborFault,
    },
    /// A tag other than COSE_Sign1's 18.
    #[error("the document carries CBOR tag {tag}, not 18 (COSE_Sign1)")]
    WrongTag {
        /// The tag found.
        tag: u64,
    },
    /// Not an array of four: protected, unprotected, payload, signature.
    #[error("COSE_Sign1 is an array of 4 elements, not of {elements}")]
    NotCoseSign1 {
        /// Elements found.
        elements: u64,
    },
    /// The protected header is not exactly `{1: -35}` (ES384).
    #[error("the protected header is not {{alg: ES384}}")]
    WrongAlgorithm,
    /// The unprotected header, which the signature does not cover, is not empty.
    #[error("the unprotected header is not empty")]
    UnprotectedHeader,
    /// The signature has not the 96 bytes of ES384.
    #[error("the signature has {bytes} bytes, ES384 has 96")]
    SignatureLength {
        /// Its length.
        bytes: usize,
    },
    /// A mandatory field is missing.
    #[error("field {0} is missing")]
    FieldMissing(Field),
    /// A mandatory field is null.
    #[error("field {0} is null")]
    FieldNull(Field),
    /// A field, or a PCR index in it, is given twice.
    #[error("field {0} is given twice or has a key twice")]
    FieldTwice(Field),
    /// Both `pcrs` and `nitrotpm_pcrs` are present.
    #[error("the document has both pcrs and nitrotpm_pcrs")]
    TwoBanks,
    /// A field has a length or number of elements out of range.
    #[error("field {field} has {size} {unit}; {min} to {max} are allowed")]
    FieldSize {
        /// The field.
        field: Field,
        /// Its size.
        size: u64,
        /// What is counted.
        unit: &'static str,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// `digest` is not `SHA384`.
    #[error("the digest is not SHA384")]
    WrongDigest,
    /// `timestamp` is zero.
    #[error("the timestamp is zero")]
    TimestampZero,
    /// A text field has control characters, which a terminal would obey.
    #[error("field {0} has control characters")]
    ControlCharacter(Field),
    /// A PCR index past 31.
    #[error("PCR index {index} is past 31")]
    PcrIndex {
        /// The index.
        index: u64,
    },
    /// A PCR value that is not a SHA-256, SHA-384 or SHA-512 digest.
    #[error("PCR{index} has {bytes} bytes, not 32, 48 or 64")]
    PcrLength {
        /// The register.
        index: u8,
        /// Its length.
        bytes: usize,
    },

    // Chain.
    /// `cabundle[0]` is none of the pinned roots.
    #[error(
        "cabundle[0] is not a trusted root (its SHA-256 is {})",
        hex::encode(sha256)
    )]
    UnknownRoot {
        /// SHA-256 of `cabundle[0]`.
        sha256: [u8; 32],
    },
    /// A certificate is not the DER of an X.509 version 3 certificate.
    #[error("{place} is not a DER-encoded X.509 v3 certificate")]
    CertificateUnreadable {
        /// Which.
        place: Place,
    },
    /// A certificate is not signed by ecdsa-with-SHA384.
    #[error("{place} is not signed with ecdsa-with-SHA384")]
    CertificateAlgorithm {
        /// Which.
        place: Place,
    },
    /// A certificate's key is not an uncompressed point of P-384.
    #[error("the key of {place} is not an uncompressed P-384 point")]
    CertificateKey {
        /// Which.
        place: Place,
    },
    /// A certificate is not valid yet.
    #[error("{place} is valid only from {not_before}, and the time is {now}")]
    NotYetValid {
        /// Which.
        place: Place,
        /// Start of validity.
        not_before: UnixMillis,
        /// Time of verification.
        now: UnixMillis,
    },
    /// A certificate has expired.
    #[error("{place} expired at {not_after}, and the time is {now}")]
    Expired {
        /// Which.
        place: Place,
        /// End of validity, inclusive.
        not_after: UnixMillis,
        /// Time of verification.
        now: UnixMillis,
    },
    /// A certificate's issuer is not the subject above it.
    #[error("{place} was not issued by the subject of the certificate above it")]
    IssuerMismatch {
        /// Which.
        place: Place,
    },
    /// A certificate's authority key identifier is not the subject key
    /// identifier above it.
    #[error(
        "the authority key identifier of {place} is not the key identifier of the certificate above it"
    )]
    KeyIdMismatch {
        /// Which.
        place: Place,
    },
    /// A certificate's signature does not verify under the key above it.
    #[error("the signature of {place} does not verify under the key above it")]
    CertificateSignature {
        /// Which.
        place: Place,
    },
    /// Basic constraints are missing, not critical or unreadable.
    #[error("{place} has no critical, readable basic constraints")]
    BasicConstraints {
        /// Which.
        place: Place,
    },
    /// A certificate of `cabundle` is not an authority.
    #[error("{place} is not a certificate authority")]
    NotAnAuthority {
        /// Which.
        place: Place,
    },
    /// The leaf is an authority or carries a path length.
    #[error("the leaf certificate is a certificate authority or limits a path")]
    LeafIsAuthority,
    /// More authorities follow than a path length allows.
    #[error("{place} allows {allowed} authorities below it, the chain has {found}")]
    PathTooLong {
        /// Which.
        place: Place,
        /// Its path length.
        allowed: u8,
        /// Authorities below it.
        found: usize,
    },
    /// Key usage is missing or lacks what the place needs: `keyCertSign` for an
    /// authority, `digitalSignature` for the leaf.
    #[error("the key usage of {place} does not allow it to sign here")]
    KeyUsage {
        /// Which.
        place: Place,
    },
    /// A critical extension that this verifier does not know, or any extension twice.
    #[error("{place} has extension {oid} twice, or critical and unknown")]
    Extension {
        /// Which.
        place: Place,
        /// The extension, dotted.
        oid: String,
    },

    // Signature.
    /// The document's signature does not verify under the leaf's key.
    #[error("the document's signature does not verify under the leaf's key")]
    CoseSignature,
    /// The document says that it was written when a certificate of its chain was not
    /// valid; nothing that hardware signed does.
    #[error("the document's timestamp {timestamp} is outside the validity of its own chain")]
    TimestampOutsideChain {
        /// When the document says it was written.
        timestamp: UnixMillis,
    },
}

impl VerifyError {
    /// A short, stable name of the cause for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RootUnreadable => "root-unreadable",
            Self::TooLong { .. } => "document-too-long",
            Self::Cbor { .. } => "malformed-cbor",
            Self::WrongTag { .. } => "wrong-cose-tag",
            Self::NotCoseSign1 { .. } => "not-cose-sign1",
            Self::WrongAlgorithm => "wrong-algorithm",
            Self::UnprotectedHeader => "unprotected-header",
            Self::SignatureLength { .. } => "signature-length",
            Self::FieldMissing(_) => "field-missing",
            Self::FieldNull(_) => "field-null",
            Self::FieldTwice(_) => "field-twice",
            Self::TwoBanks => "two-pcr-banks",
            Self::FieldSize { .. } => "field-size",
            Self::WrongDigest => "wrong-digest",
            Self::TimestampZero => "timestamp-zero",
            Self::TimestampOutsideChain { .. } => "timestamp-outside-chain",
            Self::ControlCharacter(_) => "control-character",
            Self::PcrIndex { .. } => "pcr-index",
            Self::PcrLength { .. } => "pcr-length",
            Self::UnknownRoot { .. } => "unknown-root",
            Self::CertificateUnreadable { .. } => "certificate-unreadable",
            Self::CertificateAlgorithm { .. } => "certificate-algorithm",
            Self::CertificateKey { .. } => "certificate-key",
            Self::NotYetValid { .. } => "certificate-not-yet-valid",
            Self::Expired { .. } => "certificate-expired",
            Self::IssuerMismatch { .. } => "issuer-mismatch",
            Self::KeyIdMismatch { .. } => "key-id-mismatch",
            Self::CertificateSignature { .. } => "certificate-signature",
            Self::BasicConstraints { .. } => "basic-constraints",
            Self::NotAnAuthority { .. } => "not-an-authority",
            Self::LeafIsAuthority => "leaf-is-authority",
            Self::PathTooLong { .. } => "path-too-long",
            Self::KeyUsage { .. } => "key-usage",
            Self::Extension { .. } => "extension",
            Self::CoseSignature => "cose-signature",
        }
    }
}
