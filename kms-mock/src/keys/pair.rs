//! New asymmetric key pairs, in the encodings that KMS gives them out in: the
//! private key as PKCS #8, the public key as SubjectPublicKeyInfo, both DER.
//!
//! Source of truth: `GenerateDataKeyPair` and `GetPublicKey` of the KMS service
//! model; RFC 5208, RFC 5915 (EC private keys), RFC 8410 (Ed25519), RFC 9881
//! (ML-DSA: the seed), RFC 9935 (ML-KEM: the expanded key alone, since the
//! cryptographic library gives no seed; software that insists on the seed cannot
//! read it. Which of the forms AWS gives is unknown).
//!
//! In a seeded world elliptic-curve and ML-DSA keys repeat; RSA and ML-KEM keys
//! are drawn inside the cryptographic library and do not.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    kem,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING,
        ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, RsaKeyPair,
    },
};
use zeroize::Zeroizing;

use super::{entropy::Entropy, spec::KeySpec};
use crate::recipient::cms::element;

/// A new key pair.
pub(crate) struct NewPair {
    /// PKCS #8.
    pub(crate) private: Zeroizing<Vec<u8>>,
    /// SubjectPublicKeyInfo.
    pub(crate) public: Vec<u8>,
}

impl NewPair {
    /// Makes a pair; `None` when `spec` has none, or the cryptographic library
    /// fails. RSA takes up to seconds.
    pub(crate) fn generate(spec: KeySpec, entropy: &Entropy) -> Option<Self> {
        match spec {
            KeySpec::Rsa2048 => rsa(KeySize::Rsa2048),
            KeySpec::Rsa3072 => rsa(KeySize::Rsa3072),
            KeySpec::Rsa4096 => rsa(KeySize::Rsa4096),
            KeySpec::EccNistP256
            | KeySpec::EccNistP384
            | KeySpec::EccNistP521
            | KeySpec::EccSecgP256k1 => elliptic(Curve::of(spec)?, entropy),
            KeySpec::EccNistEdwards25519 => edwards(entropy),
            KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => {
                lattice_signer(ml_dsa(spec)?, entropy)
            }
            KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => {
                lattice_kem(MlKem::of(spec)?)
            }
            KeySpec::SymmetricDefault
            | KeySpec::Hmac224
            | KeySpec::Hmac256
            | KeySpec::Hmac384
            | KeySpec::Hmac512
            | KeySpec::Sm2 => None,
        }
    }
}

fn rsa(size: KeySize) -> Option<NewPair> {
    let pair = RsaKeyPair::generate(size).ok()?;
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).ok()?;
    let public = pair.public_key().as_der().ok()?;
    Some(NewPair {
        private: Zeroizing::new(private.as_ref().to_vec()),
        public: public.as_ref().to_vec(),
    })
}

/// A Weierstrass curve.
#[derive(Clone, Copy)]
pub(crate) struct Curve {
    pub(crate) signing: &'static EcdsaSigningAlgorithm,
    /// The curve's OID, a whole DER element.
    oid: &'static [u8],
    scalar_bytes: usize,
    /// Which bits of a scalar's first byte can be set.
    first_byte: u8,
}

impl Curve {
    pub(crate) fn of(spec: KeySpec) -> Option<Self> {
        let curve = |signing, oid, scalar_bytes, first_byte| {
            Some(Self {
                signing,
                oid,
                scalar_bytes,
                first_byte,
            })
        };
        match spec {
            KeySpec::EccNistP256 => curve(
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
                32,
                0xff,
            ),
            KeySpec::EccNistP384 => curve(
                &ECDSA_P384_SHA384_ASN1_SIGNING,
                b"\x06\x05\x2b\x81\x04\x00\x22",
                48,
                0xff,
            ),
            KeySpec::EccNistP521 => curve(
                &ECDSA_P521_SHA512_ASN1_SIGNING,
                b"\x06\x05\x2b\x81\x04\x00\x23",
                66,
                0x01,
            ),
            KeySpec::EccSecgP256k1 => curve(
                &ECDSA_P256K1_SHA256_ASN1_SIGNING,
                b"\x06\x05\x2b\x81\x04\x00\x0a",
                32,
                0xff,
            ),
            _ => None,
        }
    }
}

/// Draws scalars until one is below the group's order; each but P-521's first
/// bits is with a probability of nearly one.
fn elliptic(curve: Curve, entropy: &Entropy) -> Option<NewPair> {
    const DRAWS_MAX: usize = 64;
    let mut scalar = Zeroizing::new(vec![0; curve.scalar_bytes]);
    let pair = (0..DRAWS_MAX).find_map(|_| {
        entropy.fill(&mut scalar);
        if let Some(first) = scalar.first_mut() {
            *first &= curve.first_byte;
        }
        let sec1 = Zeroizing::new(element(
            0x30,
            &[
                b"\x02\x01\x01",
                &Zeroizing::new(element(0x04, &[&scalar])),
                &element(0xa0, &[curve.oid]),
            ],
        ));
        EcdsaKeyPair::from_private_key_der(curve.signing, &sec1).ok()
    })?;
    // Given both halves the library writes both, as everybody's PKCS #8 has them.
    let point = pair.public_key().as_ref();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, &scalar, point).ok()?;
    Some(NewPair {
        private: Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()),
        public: pair.public_key().as_der().ok()?.as_ref().to_vec(),
    })
}

fn edwards(entropy: &Entropy) -> Option<NewPair> {
    let mut seed = Zeroizing::new([0; 32]);
    entropy.fill(seed.as_mut_slice());
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).ok()?;
    Some(NewPair {
        private: Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()),
        public: pair.public_key().as_der().ok()?.as_ref().to_vec(),
    })
}

pub(crate) fn ml_dsa(spec: KeySpec) -> Option<&'static PqdsaSigningAlgorithm> {
    match spec {
        KeySpec::MlDsa44 => Some(&ML_DSA_44_SIGNING),
        KeySpec::MlDsa65 => Some(&ML_DSA_65_SIGNING),
        KeySpec::MlDsa87 => Some(&ML_DSA_87_SIGNING),
        _ => None,
    }
}

fn lattice_signer(algorithm: &'static PqdsaSigningAlgorithm, entropy: &Entropy) -> Option<NewPair> {
    let mut seed = Zeroizing::new([0; 32]);
    entropy.fill(seed.as_mut_slice());
    let pair = PqdsaKeyPair::from_seed(algorithm, seed.as_slice()).ok()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    Some(NewPair {
        private: Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()),
        public: public.as_ref().to_vec(),
    })
}

/// A parameter set of FIPS 203.
#[derive(Clone, Copy)]
pub(crate) struct MlKem {
    pub(crate) algorithm: &'static kem::Algorithm,
    /// AlgorithmIdentifier, a whole DER element.
    identifier: &'static [u8],
    /// The rank of the module; sizes follow from it.
    rank: usize,
}

impl MlKem {
    pub(crate) fn of(spec: KeySpec) -> Option<Self> {
        let (algorithm, identifier, rank): (_, &'static [u8], _) = match spec {
            KeySpec::MlKem512 => (
                &kem::ML_KEM_512,
                b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x01",
                2,
            ),
            KeySpec::MlKem768 => (
                &kem::ML_KEM_768,
                b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x02",
                3,
            ),
            KeySpec::MlKem1024 => (
                &kem::ML_KEM_1024,
                b"\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x03",
                4,
            ),
            _ => return None,
        };
        Some(Self {
            algorithm,
            identifier,
            rank,
        })
    }

    /// The encapsulation key inside an expanded decapsulation key (FIPS 203,
    /// algorithm 16: `dk = dkPKE ‖ ek ‖ H(ek) ‖ z`).
    pub(crate) fn public_part(self, expanded: &[u8]) -> Option<&[u8]> {
        let start = 384 * self.rank;
        expanded.get(start..start + 384 * self.rank + 32)
    }

    /// The expanded decapsulation key of a PKCS #8 in the form that
    /// [`NewPair::generate`] writes.
    pub(crate) fn expanded_of(self, pkcs8: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let expanded_bytes = 768 * self.rank + 96;
        let start = pkcs8.len().checked_sub(expanded_bytes)?;
        let expanded = Zeroizing::new(pkcs8.get(start..)?.to_vec());
        (self.to_pkcs8(&expanded).as_slice() == pkcs8).then_some(expanded)
    }

    fn to_pkcs8(self, expanded: &[u8]) -> Zeroizing<Vec<u8>> {
        let inner = Zeroizing::new(element(0x04, &[expanded]));
        let outer = Zeroizing::new(element(0x04, &[&inner]));
        Zeroizing::new(element(0x30, &[b"\x02\x01\x00", self.identifier, &outer]))
    }

    pub(crate) fn to_spki(self, public: &[u8]) -> Vec<u8> {
        let bits = element(0x03, &[b"\x00", public]);
        element(0x30, &[self.identifier, &bits])
    }
}

fn lattice_kem(parameters: MlKem) -> Option<NewPair> {
    let key = kem::DecapsulationKey::generate(parameters.algorithm).ok()?;
    let expanded = key.key_bytes().ok()?;
    Some(NewPair {
        private: parameters.to_pkcs8(expanded.as_ref()),
        public: parameters.to_spki(parameters.public_part(expanded.as_ref())?),
    })
}
