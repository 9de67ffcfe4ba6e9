//! Signing keys: RSA, ECDSA, Ed25519, ML-DSA.
//!
//! Source of truth: AWS KMS developer guide, "Key spec reference"; FIPS 186-5
//! (PSS with a salt as long as the digest, ECDSA in ASN.1), RFC 8032, FIPS 204
//! with an empty context.
//!
//! What was hashed before it is signed, Ed25519ph and ML-DSA's μ, is in `prehash`.

use std::{fmt, sync::OnceLock};

use aws_lc_rs::{
    digest::{self, Digest},
    encoding::AsBigEndian,
    signature::{
        self, ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
        ECDSA_P521_SHA512_ASN1, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ML_DSA_44,
        ML_DSA_65, ML_DSA_87, ParsedPublicKey, PqdsaKeyPair, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
        RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
        RsaKeyPair, VerificationAlgorithm,
    },
};

use super::{
    pair::{Curve, ml_dsa, ml_dsa_seed},
    prehash::{self, MU_BYTES, MlDsaSet},
};
use crate::model::spec::{KeySpec, SigningAlgorithm};

/// A private key that signs, with its public half parsed for verifying.
pub(crate) enum SigningKey {
    Rsa {
        private: RsaKeyPair,
        /// One for each RSA algorithm, parsed when first asked for.
        public: Box<[OnceLock<Option<ParsedPublicKey>>; 6]>,
    },
    Ecdsa(EcdsaKeyPair, ParsedPublicKey),
    Ed25519(Ed25519KeyPair, ParsedPublicKey),
    MlDsa(MlDsaSet, PqdsaKeyPair, ParsedPublicKey),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    Digest(Digest),
    /// A message, for an algorithm that takes it whole.
    Whole(&'a [u8]),
    /// What Ed25519ph hashes first.
    Prehashed(&'a [u8]),
    /// The message representative of ML-DSA.
    Mu(&'a [u8; MU_BYTES]),
}

impl SigningAlgorithm {
    /// The hash function of algorithms that sign digests.
    pub(crate) fn hash(self) -> Option<&'static digest::Algorithm> {
        match self {
            Self::RsaPssSha256 | Self::RsaPkcs1Sha256 | Self::EcdsaSha256 => Some(&digest::SHA256),
            Self::RsaPssSha384 | Self::RsaPkcs1Sha384 | Self::EcdsaSha384 => Some(&digest::SHA384),
            Self::RsaPssSha512 | Self::RsaPkcs1Sha512 | Self::EcdsaSha512 => Some(&digest::SHA512),
            Self::Sm2Dsa | Self::MlDsaShake256 | Self::Ed25519Sha512 | Self::Ed25519PhSha512 => {
                None
            }
        }
    }

    /// The RSA algorithms: place in a key's cache, and both directions.
    fn rsa(
        self,
    ) -> Option<(
        usize,
        &'static dyn RsaEncoding,
        &'static dyn VerificationAlgorithm,
    )> {
        match self {
            Self::RsaPssSha256 => Some((0, &RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256)),
            Self::RsaPssSha384 => Some((1, &RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384)),
            Self::RsaPssSha512 => Some((2, &RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512)),
            Self::RsaPkcs1Sha256 => Some((3, &RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256)),
            Self::RsaPkcs1Sha384 => Some((4, &RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384)),
            Self::RsaPkcs1Sha512 => Some((5, &RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512)),
            _ => None,
        }
    }
}

impl SigningKey {
    /// Parses a PKCS #8 of `spec`, once for the key's life.
    pub(crate) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<Self> {
        match spec {
            KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Some(Self::Rsa {
                private: RsaKeyPair::from_pkcs8(pkcs8).ok()?,
                public: Box::default(),
            }),
            KeySpec::EccNistP256
            | KeySpec::EccNistP384
            | KeySpec::EccNistP521
            | KeySpec::EccSecgP256k1 => {
                let private = EcdsaKeyPair::from_pkcs8(Curve::of(spec)?.signing, pkcs8).ok()?;
                let verifying: &'static dyn VerificationAlgorithm = match spec {
                    KeySpec::EccNistP256 => &ECDSA_P256_SHA256_ASN1,
                    KeySpec::EccNistP384 => &ECDSA_P384_SHA384_ASN1,
                    KeySpec::EccNistP521 => &ECDSA_P521_SHA512_ASN1,
                    _ => &ECDSA_P256K1_SHA256_ASN1,
                };
                let public = parse(verifying, private.public_key().as_ref())?;
                Some(Self::Ecdsa(private, public))
            }
            KeySpec::EccNistEdwards25519 => {
                let private = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
                let public = parse(&ED25519, private.public_key().as_ref())?;
                Some(Self::Ed25519(private, public))
            }
            KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => {
                let private = PqdsaKeyPair::from_pkcs8(ml_dsa(spec)?, pkcs8).ok()?;
                let (set, verifying): (_, &'static dyn VerificationAlgorithm) = match spec {
                    KeySpec::MlDsa44 => (MlDsaSet::MlDsa44, &ML_DSA_44),
                    KeySpec::MlDsa65 => (MlDsaSet::MlDsa65, &ML_DSA_65),
                    _ => (MlDsaSet::MlDsa87, &ML_DSA_87),
                };
                let public = parse(verifying, private.public_key().as_ref())?;
                Some(Self::MlDsa(set, private, public))
            }
            _ => None,
        }
    }

    /// Signs; `None` when the input is not the algorithm's, or the
    /// cryptographic library fails.
    pub(crate) fn sign(&self, algorithm: SigningAlgorithm, input: Input<'_>) -> Option<Vec<u8>> {
        match (self, input) {
            (Self::Rsa { private, .. }, Input::Digest(digest)) => {
                let (_, padding, _) = algorithm.rsa()?;
                let mut signature = vec![0; private.public_modulus_len()];
                private.sign_digest(padding, &digest, &mut signature).ok()?;
                Some(signature)
            }
            (Self::Ecdsa(private, _), Input::Digest(digest)) => {
                Some(private.sign_digest(&digest).ok()?.as_ref().to_vec())
            }
            (Self::Ed25519(private, _), Input::Whole(message)) => {
                Some(private.try_sign(message).ok()?.as_ref().to_vec())
            }
            (Self::Ed25519(private, _), Input::Prehashed(message)) => {
                let seed = private.seed().ok()?.as_be_bytes().ok()?;
                prehash::sign_ed25519ph(seed.as_ref(), message)
            }
            (Self::MlDsa(set, private, _), Input::Mu(mu)) => {
                set.sign_mu(ml_dsa_seed(private)?.as_slice(), mu)
            }
            (Self::MlDsa(_, private, _), Input::Whole(message)) => {
                let mut signature = vec![0; private.algorithm().signature_len()];
                let length = private.sign(message, &mut signature).ok()?;
                signature.truncate(length);
                Some(signature)
            }
            (
                Self::Rsa { .. } | Self::Ecdsa(..),
                Input::Whole(_) | Input::Prehashed(_) | Input::Mu(_),
            )
            | (Self::Ed25519(..), Input::Digest(_) | Input::Mu(_))
            | (Self::MlDsa(..), Input::Digest(_) | Input::Prehashed(_)) => None,
        }
    }

    /// Whether `signature` is this key's over `input`.
    pub(crate) fn verifies(
        &self,
        algorithm: SigningAlgorithm,
        input: Input<'_>,
        signature: &[u8],
    ) -> bool {
        let public = match self {
            Self::Rsa { private, public } => {
                let Some((place, _, verifying)) = algorithm.rsa() else {
                    return false;
                };
                public.get(place).and_then(|cell| {
                    cell.get_or_init(|| parse(verifying, private.public_key().as_ref()))
                        .as_ref()
                })
            }
            Self::Ecdsa(_, public) | Self::Ed25519(_, public) | Self::MlDsa(_, _, public) => {
                Some(public)
            }
        };
        public.is_some_and(|public| match (self, input) {
            (_, Input::Digest(digest)) => public.verify_digest_sig(&digest, signature).is_ok(),
            (_, Input::Whole(message)) => public.verify_sig(message, signature).is_ok(),
            (Self::Ed25519(private, _), Input::Prehashed(message)) => {
                prehash::verifies_ed25519ph(private.public_key().as_ref(), message, signature)
            }
            (Self::MlDsa(set, private, _), Input::Mu(mu)) => {
                set.verifies_mu(private.public_key().as_ref(), mu, signature)
            }
            (_, Input::Prehashed(_) | Input::Mu(_)) => false,
        })
    }
}

fn parse(algorithm: &'static dyn VerificationAlgorithm, public: &[u8]) -> Option<ParsedPublicKey> {
    signature::UnparsedPublicKey::new(algorithm, public)
        .parse()
        .ok()
}
