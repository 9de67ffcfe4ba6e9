//! The P-384 keys of those who may submit jobs, and how COSE signs with them.
//!
//! Source of truth: RFC 9053 §2.1 (ES384: ECDSA on P-384 with SHA-384, the
//! signature is r ‖ s, 96 bytes), RFC 5208 (PKCS#8), RFC 5280 §4.1.2.7 (SPKI),
//! RFC 6979 (signatures are deterministic, so that a seeded world repeats).
//! Does not model certificates, revocation or key rotation: a submitter is a
//! public key listed in the enclave's measured configuration.

use std::fmt;

use aws_lc_rs::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use aws_nitro_enclaves_cose::{
    crypto::{Hash, MessageDigest, SignatureAlgorithm, SigningPrivateKey, SigningPublicKey},
    error::CoseError,
};
use p384::{
    ecdsa::{
        Signature, SigningKey, VerifyingKey,
        signature::hazmat::{PrehashSigner, PrehashVerifier},
    },
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding},
};
use zeroize::Zeroizing;

/// Longest PEM text read, in bytes. A P-384 key takes under 400; the rest is
/// room for comments and line endings.
pub const PEM_BYTES_MAX: usize = 8 * 1024;

/// Attempts at turning random bytes into a scalar. One fails with probability
/// below 2^-190; two mean that the source of randomness is broken.
const SCALAR_ATTEMPTS_MAX: u8 = 4;

/// Domain separation for keys derived from a seed.
const SEED_LABEL: &[u8] = b"job submitter key, P-384";

/// Why a submitter's key could not be read or made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitterKeyError {
    /// The text is longer than any key.
    #[error("the PEM text has {length} bytes; a P-384 key needs under {PEM_BYTES_MAX}")]
    TooLong {
        /// Bytes presented.
        length: usize,
    },
    /// Not a PKCS#8 private key on P-384.
    #[error(
        "not an unencrypted PKCS#8 private key on curve P-384; \
         make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384"
    )]
    NotAPrivateKey,
    /// Not a SubjectPublicKeyInfo on P-384.
    #[error(
        "not a public key (SubjectPublicKeyInfo, `BEGIN PUBLIC KEY`) on curve P-384; \
         extract it with: openssl pkey -in KEY -pubout"
    )]
    NotAPublicKey,
    /// The machine's randomness failed.
    #[error("the operating system's source of randomness failed")]
    NoRandomness,
    /// The key has no encoding; a bug of the encoder.
    #[error("the key could not be encoded")]
    Encoding,
}

/// A submitter's private key. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct SubmitterKey {
    signing: SigningKey,
}

impl fmt::Debug for SubmitterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitterKey")
            .field("public", &self.public())
            .finish_non_exhaustive()
    }
}

impl SubmitterKey {
    /// A fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// [`SubmitterKeyError::NoRandomness`].
    pub fn generate() -> Result<Self, SubmitterKeyError> {
        let random = SystemRandom::new();
        for _ in 0..SCALAR_ATTEMPTS_MAX {
            let mut scalar = Zeroizing::new([0u8; 48]);
            random
                .fill(scalar.as_mut_slice())
                .map_err(|_| SubmitterKeyError::NoRandomness)?;
            if let Ok(signing) = SigningKey::from_slice(scalar.as_slice()) {
                return Ok(Self { signing });
            }
        }
        Err(SubmitterKeyError::NoRandomness)
    }

    /// The key that belongs to `seed`, the same at every call: for worlds that
    /// must repeat byte for byte. Only as secret as the seed is.
    ///
    /// # Panics
    /// Never in practice: all of 256 independent digests would have to miss a
    /// range that one misses with probability below 2^-190.
    #[must_use]
    pub fn from_seed(seed: &[u8]) -> Self {
        (0..=u8::MAX)
            .find_map(|attempt| {
                let mut context = digest::Context::new(&digest::SHA384);
                context.update(SEED_LABEL);
                context.update(&[attempt]);
                context.update(seed);
                SigningKey::from_slice(context.finish().as_ref()).ok()
            })
            .map(|signing| Self { signing })
            .expect("one of 256 SHA-384 digests is a valid P-384 scalar")
    }

    /// Reads an unencrypted PKCS#8 key in PEM (`BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// [`SubmitterKeyError::TooLong`], [`SubmitterKeyError::NotAPrivateKey`].
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, SubmitterKeyError> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(SubmitterKeyError::TooLong { length: pem.len() });
        }
        let signing =
            SigningKey::from_pkcs8_pem(pem).map_err(|_| SubmitterKeyError::NotAPrivateKey)?;
        Ok(Self { signing })
    }

    /// The key as unencrypted PKCS#8 PEM; wiped when dropped.
    ///
    /// # Errors
    /// [`SubmitterKeyError::Encoding`].
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, SubmitterKeyError> {
        self.signing
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| SubmitterKeyError::Encoding)
    }

    /// The public half, for the enclave's configuration.
    #[must_use]
    pub fn public(&self) -> SubmitterPublicKey {
        SubmitterPublicKey::from_verifying_key(*self.signing.verifying_key())
    }
}

/// A submitter's public key, as listed in the enclave's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmitterPublicKey {
    verifying: VerifyingKey,
    /// SHA-256 of the DER SubjectPublicKeyInfo with an uncompressed point.
    key_id: [u8; 32],
}

impl SubmitterPublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// [`SubmitterKeyError::TooLong`], [`SubmitterKeyError::NotAPublicKey`].
    pub fn from_public_key_pem(pem: &str) -> Result<Self, SubmitterKeyError> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(SubmitterKeyError::TooLong { length: pem.len() });
        }
        let verifying = VerifyingKey::from_public_key_pem(pem.trim())
            .map_err(|_| SubmitterKeyError::NotAPublicKey)?;
        Ok(Self::from_verifying_key(verifying))
    }

    /// The key as SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`SubmitterKeyError::Encoding`].
    pub fn to_public_key_pem(&self) -> Result<String, SubmitterKeyError> {
        self.verifying
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| SubmitterKeyError::Encoding)
    }

    /// What a manifest's `kid` header carries: SHA-256 of the DER
    /// SubjectPublicKeyInfo (uncompressed point).
    #[must_use]
    pub fn key_id(&self) -> [u8; 32] {
        self.key_id
    }

    fn from_verifying_key(verifying: VerifyingKey) -> Self {
        // The SPKI of an uncompressed P-384 point is a fixed 23-byte prefix and
        // the 97-byte point: no encoder that could fail is needed for its digest.
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&SPKI_PREFIX);
        context.update(verifying.to_sec1_point(false).as_bytes());
        let mut key_id = [0u8; 32];
        key_id.copy_from_slice(context.finish().as_ref());
        Self { verifying, key_id }
    }
}

/// `SEQUENCE { SEQUENCE { id-ecPublicKey, secp384r1 }, BIT STRING (98 bytes) }`
/// up to the point itself (RFC 5480 §2).
const SPKI_PREFIX: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

impl SigningPublicKey for SubmitterPublicKey {
    fn get_parameters(&self) -> Result<(SignatureAlgorithm, MessageDigest), CoseError> {
        Ok((SignatureAlgorithm::ES384, MessageDigest::Sha384))
    }

    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool, CoseError> {
        let Ok(signature) = Signature::from_slice(signature) else {
            return Ok(false);
        };
        Ok(self.verifying.verify_prehash(digest, &signature).is_ok())
    }
}

impl SigningPublicKey for SubmitterKey {
    fn get_parameters(&self) -> Result<(SignatureAlgorithm, MessageDigest), CoseError> {
        self.public().get_parameters()
    }

    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool, CoseError> {
        self.public().verify(digest, signature)
    }
}

impl SigningPrivateKey for SubmitterKey {
    fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, CoseError> {
        let signature: Signature = self
            .signing
            .sign_prehash(digest)
            .map_err(|error| CoseError::SignatureError(Box::new(error)))?;
        Ok(signature.to_bytes().to_vec())
    }
}

/// SHA-2 by aws-lc for the COSE crate.
#[derive(Debug)]
pub(crate) struct Sha2;

impl Hash for Sha2 {
    fn hash(algorithm: MessageDigest, data: &[u8]) -> Result<Vec<u8>, CoseError> {
        let algorithm = match algorithm {
            MessageDigest::Sha256 => &digest::SHA256,
            MessageDigest::Sha384 => &digest::SHA384,
            MessageDigest::Sha512 => &digest::SHA512,
        };
        Ok(digest::digest(algorithm, data).as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pkcs8_and_spki() {
        let key = SubmitterKey::from_seed(b"hospital");
        let again = SubmitterKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        assert_eq!(key.public(), again.public());
        let public =
            SubmitterPublicKey::from_public_key_pem(&key.public().to_public_key_pem().unwrap())
                .unwrap();
        assert_eq!(public, key.public());
        assert_eq!(public.key_id(), key.public().key_id());
    }

    #[test]
    fn the_key_id_is_the_digest_of_the_der_spki() {
        let key = SubmitterKey::from_seed(b"hospital").public();
        let der = key.verifying.to_public_key_der().unwrap();
        assert_eq!(
            key.key_id().as_slice(),
            digest::digest(&digest::SHA256, der.as_bytes()).as_ref()
        );
    }

    #[test]
    fn a_seed_always_gives_the_same_key_and_another_seed_another() {
        let one = SubmitterKey::from_seed(b"one").public();
        assert_eq!(one, SubmitterKey::from_seed(b"one").public());
        assert_ne!(one, SubmitterKey::from_seed(b"two").public());
    }

    #[test]
    fn generated_keys_differ() {
        let one = SubmitterKey::generate().unwrap().public();
        assert_ne!(one, SubmitterKey::generate().unwrap().public());
    }

    #[test]
    fn debug_output_never_holds_the_private_scalar() {
        let key = SubmitterKey::from_seed(b"hospital");
        let scalar = hex::encode(key.signing.to_bytes());
        assert!(!format!("{key:?}").to_lowercase().contains(&scalar));
    }

    #[test]
    fn refuses_keys_that_are_not_p384() {
        let p256 = "-----BEGIN PUBLIC KEY-----\n\
            MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n\
            6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n\
            -----END PUBLIC KEY-----\n";
        assert_eq!(
            SubmitterPublicKey::from_public_key_pem(p256),
            Err(SubmitterKeyError::NotAPublicKey)
        );
        assert_eq!(
            SubmitterPublicKey::from_public_key_pem(""),
            Err(SubmitterKeyError::NotAPublicKey)
        );
        let long = "A".repeat(PEM_BYTES_MAX + 1);
        assert!(matches!(
            SubmitterPublicKey::from_public_key_pem(&long),
            Err(SubmitterKeyError::TooLong { .. })
        ));
        assert!(matches!(
            SubmitterKey::from_pkcs8_pem("-----BEGIN PRIVATE KEY-----"),
            Err(SubmitterKeyError::NotAPrivateKey)
        ));
    }
}
