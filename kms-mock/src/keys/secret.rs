//! The secret of a key that is not a symmetric encryption key: made or parsed
//! once, and ready for what the key's usage allows.
//!
//! Source of truth: AWS KMS developer guide, "Key spec reference": a key has one
//! spec and one usage for its life, and such keys do not rotate.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    agreement::AgreementKey, kem::KemKey, mac::MacKey, oaep::OaepKey, pair::NewPair,
    signing::SigningKey,
};
use crate::{
    model::spec::{KeySpec, KeyUsage},
    world::entropy::Entropy,
};

/// Key material of every spec but `SYMMETRIC_DEFAULT`.
pub(crate) struct Secret {
    pub(crate) works: Works,
    /// SubjectPublicKeyInfo in DER; `None` for HMAC.
    pub(crate) public: Option<Box<[u8]>>,
    /// What it was parsed from, for the data directory: PKCS #8, or an HMAC
    /// key's bytes.
    pub(crate) private: Zeroizing<Box<[u8]>>,
}

/// What a key does, by its usage.
#[derive(Debug)]
pub(crate) enum Works {
    Sign(SigningKey),
    Decrypt(OaepKey),
    Agree(AgreementKey),
    Decapsulate(KemKey),
    Mac(MacKey),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl Secret {
    /// Fresh material; `None` when there is none for `spec` and `usage`, or the
    /// cryptographic library fails. RSA takes up to seconds.
    pub(crate) fn generate(spec: KeySpec, usage: KeyUsage, entropy: &Entropy) -> Option<Self> {
        if usage == KeyUsage::GenerateVerifyMac {
            let secret = MacKey::draw(spec, entropy)?;
            return Self::restore(spec, usage, &secret, None);
        }
        let pair = NewPair::generate(spec, entropy)?;
        Self::from_pair(spec, usage, &pair)
    }

    /// Material from outside: the bytes of an HMAC key, or the PKCS #8 of any other
    /// private key; `None` when they are no material of `spec` for `usage`.
    pub(crate) fn from_bytes(spec: KeySpec, usage: KeyUsage, bytes: &[u8]) -> Option<Self> {
        if usage == KeyUsage::GenerateVerifyMac {
            return Self::restore(spec, usage, bytes, None);
        }
        Self::from_pair(spec, usage, &NewPair::from_pkcs8(spec, bytes)?)
    }

    /// The same material again from its `private` and `public` parts.
    pub(crate) fn restore(
        spec: KeySpec,
        usage: KeyUsage,
        private: &[u8],
        public: Option<Box<[u8]>>,
    ) -> Option<Self> {
        let works = match (usage, &public) {
            (KeyUsage::GenerateVerifyMac, None) => Works::Mac(MacKey::from_bytes(spec, private)?),
            (KeyUsage::SignVerify, Some(_)) => Works::Sign(SigningKey::from_pkcs8(spec, private)?),
            (KeyUsage::EncryptDecrypt, Some(_)) => Works::Decrypt(OaepKey::from_pkcs8(private)?),
            (KeyUsage::KeyAgreement, Some(public)) => {
                Works::Agree(AgreementKey::from_pkcs8(spec, private, public)?)
            }
            (KeyUsage::EncapsulateDecapsulate, Some(_)) => {
                Works::Decapsulate(KemKey::from_pkcs8(spec, private)?)
            }
            (KeyUsage::GenerateVerifyMac, Some(_)) | (_, None) => return None,
        };
        Some(Self {
            works,
            public,
            private: Zeroizing::new(private.into()),
        })
    }

    /// Material from a key pair.
    pub(crate) fn from_pair(spec: KeySpec, usage: KeyUsage, pair: &NewPair) -> Option<Self> {
        Self::restore(spec, usage, &pair.private, Some(pair.public.clone().into()))
    }
}
