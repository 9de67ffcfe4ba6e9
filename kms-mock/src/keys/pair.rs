//! Asymmetric key pairs, new ones and imported ones, in the encodings that KMS
//! takes them and gives them out in: the private key as PKCS #8, the public key as
//! SubjectPublicKeyInfo, both DER.
//!
//! Source of truth: `GenerateDataKeyPair`, `GetPublicKey` and `ImportKeyMaterial`
//! of the KMS service model (the private key of an ML-KEM pair is its seed); AWS
//! KMS developer guide, "Requirements for imported key material" (two primes,
//! named curves); RFC 5208, RFC 5915 (EC private keys), RFC 8410 (Ed25519),
//! RFC 9881 (ML-DSA) and RFC 9935 (ML-KEM), both with the seed.
//!
//! Does not model keys from outside in BER that is not DER, which AWS takes too.
//! Unknown and chosen: an ML-DSA or ML-KEM key from outside must have its seed,
//! alone or beside the expanded key; without it AWS could not give out the form it
//! documents.
//!
//! In a seeded world all but RSA keys repeat, which are drawn inside the
//! cryptographic library.

use aws_lc_rs::{
    encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der, PublicKeyX509Der},
    kem,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING,
        ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, RsaKeyPair,
    },
};
use ml_kem::{DecapsulationKey512, DecapsulationKey768, DecapsulationKey1024, Seed};
use zeroize::Zeroizing;

use crate::{model::spec::KeySpec, recipient::cms::element, world::entropy::Entropy};

/// A key pair in the encodings of KMS.
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
                let mut seed = Zeroizing::new([0; KEM_SEED_BYTES]);
                entropy.fill(seed.as_mut_slice());
                lattice_kem(MlKem::of(spec)?, &seed)
            }
            KeySpec::SymmetricDefault
            | KeySpec::Hmac224
            | KeySpec::Hmac256
            | KeySpec::Hmac384
            | KeySpec::Hmac512
            | KeySpec::Sm2 => None,
        }
    }

    /// The pair of a private key from outside, in PKCS #8; `None` when it is not
    /// one of `spec`. The public key is computed, whatever stands beside the
    /// private one.
    pub(crate) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<Self> {
        after_version(pkcs8)?;
        match spec {
            KeySpec::Rsa2048 => rsa_of(pkcs8, 2048),
            KeySpec::Rsa3072 => rsa_of(pkcs8, 3072),
            KeySpec::Rsa4096 => rsa_of(pkcs8, 4096),
            KeySpec::EccNistP256
            | KeySpec::EccNistP384
            | KeySpec::EccNistP521
            | KeySpec::EccSecgP256k1 => elliptic_of(Curve::of(spec)?, pkcs8),
            KeySpec::EccNistEdwards25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
                let seed = pair.seed().ok()?.as_be_bytes().ok()?;
                edwards_pair(seed.as_ref())
            }
            KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87 => {
                let algorithm = ml_dsa(spec)?;
                let pair = PqdsaKeyPair::from_pkcs8(algorithm, pkcs8).ok()?;
                lattice_signer_pair(algorithm, ml_dsa_seed(&pair)?.as_slice())
            }
            KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => {
                let parameters = MlKem::of(spec)?;
                let seed = parameters.seed_of(pkcs8)?;
                lattice_kem(parameters, &seed)
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
    rsa_pair(&RsaKeyPair::generate(size).ok()?)
}

fn rsa_of(pkcs8: &[u8], modulus_bits: usize) -> Option<NewPair> {
    let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
    let modulus = pair.public_key().modulus();
    let modulus = modulus.big_endian_without_leading_zero();
    let is_of_size = modulus.len() * 8 == modulus_bits && modulus.first()? & 0x80 != 0;
    is_of_size.then_some(())?;
    rsa_pair(&pair)
}

fn rsa_pair(pair: &RsaKeyPair) -> Option<NewPair> {
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(pair).ok()?;
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
        const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
        const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
        const P521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";
        const P256K1: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x0a";
        let (signing, oid, scalar_bytes, first_byte) = match spec {
            KeySpec::EccNistP256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, P256, 32, 0xff),
            KeySpec::EccNistP384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, P384, 48, 0xff),
            KeySpec::EccNistP521 => (&ECDSA_P521_SHA512_ASN1_SIGNING, P521, 66, 0x01),
            KeySpec::EccSecgP256k1 => (&ECDSA_P256K1_SHA256_ASN1_SIGNING, P256K1, 32, 0xff),
            _ => return None,
        };
        Some(Self {
            signing,
            oid,
            scalar_bytes,
            first_byte,
        })
    }
}

/// A key from outside. Explicit curve parameters are refused, as AWS refuses them,
/// even those of a curve that has a name.
fn elliptic_of(curve: Curve, pkcs8: &[u8]) -> Option<NewPair> {
    const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
    after_version(pkcs8)?.strip_prefix(&*element(0x30, &[EC_PUBLIC_KEY, curve.oid]))?;
    let pair = EcdsaKeyPair::from_pkcs8(curve.signing, pkcs8).ok()?;
    let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
    elliptic_pair(curve, &pair, scalar.as_ref())
}

/// What stands in a PKCS #8 after its version; `None` unless the SEQUENCE is all
/// there is.
fn after_version(pkcs8: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = pkcs8.strip_prefix(&[0x30])?.split_first()?;
    let (length, content) = match first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => {
            let (&length, content) = rest.split_first()?;
            (usize::from(length), content)
        }
        0x82 => {
            let (length, content) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), content)
        }
        _ => return None,
    };
    let content = Some(content).filter(|content| content.len() == length)?;
    let version_1 = content.strip_prefix(b"\x02\x01\x00");
    version_1.or_else(|| content.strip_prefix(b"\x02\x01\x01"))
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
    elliptic_pair(curve, &pair, &scalar)
}

/// Given both halves the library writes both, as everybody's PKCS #8 has them.
fn elliptic_pair(curve: Curve, pair: &EcdsaKeyPair, scalar: &[u8]) -> Option<NewPair> {
    let point = pair.public_key().as_ref();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, scalar, point).ok()?;
    Some(NewPair {
        private: Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()),
        public: pair.public_key().as_der().ok()?.as_ref().to_vec(),
    })
}

fn edwards(entropy: &Entropy) -> Option<NewPair> {
    let mut seed = Zeroizing::new([0; 32]);
    entropy.fill(seed.as_mut_slice());
    edwards_pair(seed.as_slice())
}

fn edwards_pair(seed: &[u8]) -> Option<NewPair> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
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
    lattice_signer_pair(algorithm, seed.as_slice())
}

fn lattice_signer_pair(algorithm: &'static PqdsaSigningAlgorithm, seed: &[u8]) -> Option<NewPair> {
    let pair = PqdsaKeyPair::from_seed(algorithm, seed).ok()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    Some(NewPair {
        private: Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()),
        public: public.as_ref().to_vec(),
    })
}

/// The seed of an ML-DSA key, which RFC 9881's PKCS #8 ends in; `None` when the key
/// was made without one.
pub(crate) fn ml_dsa_seed(pair: &PqdsaKeyPair) -> Option<Zeroizing<[u8; 32]>> {
    const HEADER_BYTES: usize = 22;
    let pkcs8 = pair.to_pkcs8v1().ok()?;
    let seed = pkcs8.as_ref().get(HEADER_BYTES..)?;
    Some(Zeroizing::new(seed.try_into().ok()?))
}

/// `d ‖ z` of FIPS 203, algorithm 16.
type KemSeed = [u8; KEM_SEED_BYTES];
const KEM_SEED_BYTES: usize = 64;

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

    /// The seed of a PKCS #8 that has it, alone or beside its expanded key.
    fn seed_of(self, pkcs8: &[u8]) -> Option<Zeroizing<KemSeed>> {
        let seed_at = |offset: usize| {
            let seed = pkcs8.get(offset..offset + KEM_SEED_BYTES)?;
            Some(Zeroizing::new(KemSeed::try_from(seed).ok()?))
        };
        // There is one DER of each form: write it with the seed and compare.
        let alone = || {
            let seed = seed_at(pkcs8.len().checked_sub(KEM_SEED_BYTES)?)?;
            (self.to_pkcs8(&seed).as_slice() == pkcs8).then_some(seed)
        };
        let beside = || {
            let expanded_header_bytes = 4;
            let behind = expanded_header_bytes + self.expanded_bytes();
            let seed = seed_at(pkcs8.len().checked_sub(behind + KEM_SEED_BYTES)?)?;
            (self.to_pkcs8_of_both(&seed).as_slice() == pkcs8).then_some(seed)
        };
        alone().or_else(beside)
    }

    /// The expanded decapsulation key of a PKCS #8 that has the seed.
    pub(crate) fn expanded_of(self, pkcs8: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let seed = self.seed_of(pkcs8)?;
        Some(self.expand(&seed))
    }

    fn expanded_bytes(self) -> usize {
        768 * self.rank + 96
    }

    fn expand(self, seed: &KemSeed) -> Zeroizing<Vec<u8>> {
        let seed = Zeroizing::new(Seed::from(*seed));
        match self.rank {
            2 => expanded(&DecapsulationKey512::from_seed(*seed)),
            3 => expanded(&DecapsulationKey768::from_seed(*seed)),
            _ => expanded(&DecapsulationKey1024::from_seed(*seed)),
        }
    }

    fn to_pkcs8(self, seed: &KemSeed) -> Zeroizing<Vec<u8>> {
        self.pkcs8(&Zeroizing::new(element(0x80, &[seed])))
    }

    fn to_pkcs8_of_both(self, seed: &KemSeed) -> Zeroizing<Vec<u8>> {
        let seed_element = Zeroizing::new(element(0x04, &[seed]));
        let expanded = Zeroizing::new(element(0x04, &[&self.expand(seed)]));
        self.pkcs8(&Zeroizing::new(element(0x30, &[&seed_element, &expanded])))
    }

    fn pkcs8(self, private_key: &[u8]) -> Zeroizing<Vec<u8>> {
        let octets = Zeroizing::new(element(0x04, &[private_key]));
        Zeroizing::new(element(0x30, &[b"\x02\x01\x00", self.identifier, &octets]))
    }

    pub(crate) fn to_spki(self, public: &[u8]) -> Vec<u8> {
        let bits = element(0x03, &[b"\x00", public]);
        element(0x30, &[self.identifier, &bits])
    }
}

/// The form that aws-lc-rs takes; it has no other.
#[expect(
    deprecated,
    reason = "keys are kept as seeds, and aws-lc-rs takes expanded ones"
)]
fn expanded(key: &impl ml_kem::ExpandedKeyEncoding) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(key.to_expanded_bytes().to_vec())
}

fn lattice_kem(parameters: MlKem, seed: &KemSeed) -> Option<NewPair> {
    let expanded = parameters.expand(seed);
    Some(NewPair {
        private: parameters.to_pkcs8(seed),
        public: parameters.to_spki(parameters.public_part(&expanded)?),
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsRawBytes;
    use proptest::prelude::*;

    use super::*;

    const SPECS: [KeySpec; 12] = [
        KeySpec::Rsa2048,
        KeySpec::Rsa3072,
        KeySpec::EccNistP256,
        KeySpec::EccNistP384,
        KeySpec::EccNistP521,
        KeySpec::EccSecgP256k1,
        KeySpec::EccNistEdwards25519,
        KeySpec::MlDsa44,
        KeySpec::MlDsa87,
        KeySpec::MlKem512,
        KeySpec::MlKem768,
        KeySpec::MlKem1024,
    ];

    #[test]
    fn a_private_key_is_one_of_its_own_spec_alone() {
        let entropy = Entropy::system();
        let pairs: Vec<_> = SPECS
            .iter()
            .map(|spec| (*spec, NewPair::generate(*spec, &entropy).unwrap()))
            .collect();
        for (spec, pair) in &pairs {
            for other in SPECS {
                let read = NewPair::from_pkcs8(other, &pair.private);
                let is_same = read
                    .is_some_and(|read| read.public == pair.public && read.private == pair.private);
                assert_eq!(is_same, other == *spec, "{spec:?} as {other:?}");
            }
            let cut = &pair.private[..pair.private.len() - 1];
            assert!(NewPair::from_pkcs8(*spec, cut).is_none(), "{spec:?}");
            let longer = [pair.private.as_slice(), b"x"].concat();
            let read = NewPair::from_pkcs8(*spec, &longer);
            assert!(read.is_none(), "{spec:?}");
        }
    }

    #[test]
    fn a_lattice_key_is_read_with_its_seed_and_not_without() {
        let seed = [7; KEM_SEED_BYTES];
        for spec in [KeySpec::MlKem512, KeySpec::MlKem768, KeySpec::MlKem1024] {
            let parameters = MlKem::of(spec).unwrap();
            let pair = lattice_kem(parameters, &seed).unwrap();
            // The seed makes them all as long, as the service model says.
            assert_eq!(pair.private.len(), 86);
            let both = parameters.to_pkcs8_of_both(&seed);
            let read = NewPair::from_pkcs8(spec, &both).unwrap();
            assert_eq!((&read.private, &read.public), (&pair.private, &pair.public));
            let mut torn = both.to_vec();
            *torn.last_mut().unwrap() ^= 1;
            assert!(NewPair::from_pkcs8(spec, &torn).is_none());
            let expanded = element(0x04, &[&parameters.expand(&seed)]);
            assert!(NewPair::from_pkcs8(spec, &parameters.pkcs8(&expanded)).is_none());
        }
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, &[7; 32]).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        assert_eq!(*ml_dsa_seed(&pair).unwrap(), [7; 32]);
        let expanded = pair.private_key().as_raw_bytes().unwrap();
        let identifier = &pkcs8.as_ref()[5..18];
        let expanded = element(0x04, &[&element(0x04, &[expanded.as_ref()])]);
        let without_seed = element(0x30, &[b"\x02\x01\x00", identifier, &expanded]);
        assert!(PqdsaKeyPair::from_pkcs8(&ML_DSA_65_SIGNING, &without_seed).is_ok());
        assert!(NewPair::from_pkcs8(KeySpec::MlDsa65, &without_seed).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0..SPECS.len(),
        ) {
            prop_assert!(NewPair::from_pkcs8(SPECS[which], &bytes).is_none());
        }

        #[test]
        fn one_changed_byte_never_makes_the_reader_panic(at in 0_usize..138, to in any::<u8>()) {
            let entropy = Entropy::system();
            let pair = NewPair::generate(KeySpec::EccNistP256, &entropy).unwrap();
            let mut changed = pair.private.to_vec();
            changed[at] = to;
            let _ = NewPair::from_pkcs8(KeySpec::EccNistP256, &changed);
        }
    }
}
