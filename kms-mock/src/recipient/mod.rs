//! `Recipient`: the attestation document of a call, checked before any policy
//! is looked at, and the answer that only its enclave can open.
//!
//! Source of truth: ground truth KMS §1 (members, public key, form of the
//! answer) and §2 (what KMS refuses and in which order). The texts of the
//! refusals are the emulator's own, and say so: AWS's are not published.
//!
//! Does not model one-time use: KMS accepts the same document again.

pub mod cms;
mod nsm;

use std::{collections::BTreeMap, fmt, time::Duration};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, PublicKeyX509Der},
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use crate::world::entropy::Entropy;

/// Verifies attestation documents: syntax, certificate chain (valid at `now`)
/// and signature. Freshness is not its business.
pub trait DocumentVerifier: Send + Sync + fmt::Debug {
    /// Verifies one document.
    ///
    /// # Errors
    /// The cause, for the log and for `explain`.
    fn verify(&self, document: &[u8], now: UnixMillis)
    -> Result<VerifiedDocument, DocumentRefused>;
}

/// Why a verifier refuses a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct DocumentRefused {
    /// The verifier's own words.
    pub cause: String,
}

/// What KMS reads from a document it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedDocument {
    /// `i-…-enc…`.
    pub module_id: String,
    /// When the hypervisor signed it.
    pub timestamp: UnixMillis,
    /// The registers it states, each 48 bytes.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// Whether it is a NitroTPM document; its registers go by other keys.
    pub nitrotpm: bool,
    /// DER SubjectPublicKeyInfo to encrypt the answer to.
    pub public_key: Option<Vec<u8>>,
}

/// Why a call with a `Recipient` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// `Recipient` without `AttestationDocument`.
    #[error("Recipient has no AttestationDocument")]
    NoDocument,
    /// `Recipient` without `KeyEncryptionAlgorithm`.
    #[error("Recipient has no KeyEncryptionAlgorithm")]
    NoAlgorithm,
    /// Syntax, chain or signature.
    #[error("the attestation document is not valid: {cause}")]
    NotVerified {
        /// The verifier's words.
        cause: String,
    },
    /// Signed too long ago.
    #[error("the attestation document is {age_secs} s old; at most {window_secs} s are accepted")]
    Stale {
        /// Its age.
        age_secs: u64,
        /// The freshness window.
        window_secs: u64,
    },
    /// Signed in the future, further than the window.
    #[error("the attestation document is from {ahead_secs} s in the future")]
    FromTheFuture {
        /// How far.
        ahead_secs: u64,
    },
    /// The document has no public key.
    #[error("the attestation document has no public_key")]
    NoPublicKey,
    /// The public key is something else than an RSA SubjectPublicKeyInfo.
    #[error("the document's public_key is not an RSA key in DER SubjectPublicKeyInfo form")]
    NotRsa,
    /// An RSA key of a size that KMS does not take.
    #[error("the document's public_key has {bits} bits")]
    KeySize {
        /// The modulus.
        bits: usize,
    },
}

impl RecipientError {
    /// A short word for scripts: the mock-only reason header.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoDocument => "recipient-without-document",
            Self::NoAlgorithm => "recipient-without-algorithm",
            Self::NotVerified { .. } => "document-not-verified",
            Self::Stale { .. } => "document-stale",
            Self::FromTheFuture { .. } => "document-from-the-future",
            Self::NoPublicKey => "document-without-public-key",
            Self::NotRsa => "public-key-not-rsa",
            Self::KeySize { .. } => "public-key-size",
        }
    }
}

/// The rules a document is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) verifier: &'a dyn DocumentVerifier,
    pub(crate) now: UnixMillis,
    pub(crate) freshness_window: Duration,
    pub(crate) rsa_2048_only: bool,
}

/// A recipient whose document was verified and whose key can be encrypted to.
pub(crate) struct Recipient {
    pub(crate) document: VerifiedDocument,
    key: OaepPublicEncryptingKey,
    key_id: [u8; 32],
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient")
            .field("document", &self.document)
            .finish_non_exhaustive()
    }
}

impl Recipient {
    /// Verifies `document` and takes its public key.
    pub(crate) fn admit(document: &[u8], rules: Rules<'_>) -> Result<Self, RecipientError> {
        let document = rules
            .verifier
            .verify(document, rules.now)
            .map_err(|refused| RecipientError::NotVerified {
                cause: refused.cause,
            })?;
        let age = rules.now.since(document.timestamp);
        if age > rules.freshness_window {
            return Err(RecipientError::Stale {
                age_secs: age.as_secs(),
                window_secs: rules.freshness_window.as_secs(),
            });
        }
        let ahead = document.timestamp.since(rules.now);
        if ahead > rules.freshness_window {
            return Err(RecipientError::FromTheFuture {
                ahead_secs: ahead.as_secs(),
            });
        }
        let spki = document
            .public_key
            .as_deref()
            .ok_or(RecipientError::NoPublicKey)?;
        let key = PublicEncryptingKey::from_der(spki).map_err(|_| RecipientError::NotRsa)?;
        // The library reads past what it needs not; DER has one encoding only.
        let canonical = AsDer::<PublicKeyX509Der<'_>>::as_der(&key);
        if canonical.map_err(|_| RecipientError::NotRsa)?.as_ref() != spki {
            return Err(RecipientError::NotRsa);
        }
        let bits = key.key_size_bits();
        let sizes: &[usize] = if rules.rsa_2048_only {
            &[2048]
        } else {
            &[2048, 3072, 4096]
        };
        if !sizes.contains(&bits) {
            return Err(RecipientError::KeySize { bits });
        }
        let mut key_id = [0; 32];
        key_id.copy_from_slice(digest::digest(&digest::SHA256, spki).as_ref());
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| RecipientError::NotRsa)?;
        Ok(Self {
            document,
            key,
            key_id,
        })
    }

    /// Encrypts `plaintext` as a `CiphertextForRecipient`; `None` when the
    /// cryptographic library fails.
    pub(crate) fn seal(&self, plaintext: &[u8], entropy: &Entropy) -> Option<Vec<u8>> {
        self.seal_with(plaintext, entropy, cms::Oaep::Sha256)
    }

    /// The same, naming other OAEP parameters than those used: for hostile
    /// answers.
    pub(crate) fn seal_with(
        &self,
        plaintext: &[u8],
        entropy: &Entropy,
        oaep: cms::Oaep,
    ) -> Option<Vec<u8>> {
        let mut content_key = Zeroizing::new([0; 32]);
        entropy.fill(content_key.as_mut_slice());
        let mut iv = [0; 16];
        entropy.fill(&mut iv);
        let mut wrapped = vec![0; self.key.ciphertext_size()];
        let encrypted_key = self
            .key
            .encrypt(
                &OAEP_SHA256_MGF1SHA256,
                content_key.as_slice(),
                &mut wrapped,
                None,
            )
            .ok()?;
        let content = cms::encrypt_content(&content_key, iv, plaintext)?;
        let envelope = cms::Envelope {
            key_id: &self.key_id,
            oaep,
            encrypted_key,
            iv: &iv,
            content: &content,
            form: cms::ContentForm::Chunked,
        };
        Some(envelope.encode())
    }
}

#[cfg(test)]
pub(crate) mod tests;
