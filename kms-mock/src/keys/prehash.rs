//! Signatures over what was hashed before: Ed25519ph, and ML-DSA over a message
//! representative μ that the caller computed.
//!
//! Source of truth: RFC 8032 §5.1 (`dom2` with phflag 1 and an empty context;
//! FIPS 186-5 §7.8 is the same), FIPS 204 §6.2 and algorithm 2 with μ given;
//! `Sign` of the KMS service model: "EXTERNAL_MU" takes the 64 bytes as they are,
//! and a signature over μ is one over its message; for `ED25519_PH_SHA_512` the
//! message is hashed here once more, although it is a digest already.
//!
//! aws-lc-rs signs neither. The keys stay its own: their seeds are taken out for
//! the moment of a signature, so that nothing is kept twice. ML-DSA is hedged with
//! fresh random bytes, as aws-lc-rs's is over messages, and repeats in no world.

use aws_lc_rs::rand;
use ed25519_dalek::{Digest, Sha512};
use ml_dsa::{
    B32, EncodedVerifyingKey, ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams,
    Signature, VerifyingKey,
    signature::rand_core::{TryCryptoRng, TryRng},
};
use zeroize::Zeroizing;

/// The message representative of FIPS 204.
pub(crate) const MU_BYTES: usize = 64;
/// The seed of an ML-DSA key and of an Ed25519 key.
const SEED_BYTES: usize = 32;

/// Signs the SHA-512 of `message` with the Ed25519 key of a seed.
pub(crate) fn sign_ed25519ph(seed: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let seed = Zeroizing::new(<[u8; SEED_BYTES]>::try_from(seed).ok()?);
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let signature = key.sign_prehashed(prehash(message), None).ok()?;
    Some(signature.to_bytes().to_vec())
}

/// Whether `signature` is over the SHA-512 of `message`.
pub(crate) fn verifies_ed25519ph(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let verified = || {
        let public = <[u8; 32]>::try_from(public).ok()?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&public).ok()?;
        let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
        key.verify_prehashed_strict(prehash(message), None, &signature)
            .ok()
    };
    verified().is_some()
}

fn prehash(message: &[u8]) -> Sha512 {
    Sha512::new().chain_update(message)
}

/// A parameter set of FIPS 204.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MlDsaSet {
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl MlDsaSet {
    /// Signs μ with the key of a seed; `None` for a seed of another length, or
    /// when there are no random bytes.
    pub(crate) fn sign_mu(self, seed: &[u8], mu: &[u8; MU_BYTES]) -> Option<Vec<u8>> {
        match self {
            Self::MlDsa44 => sign_mu::<MlDsa44>(seed, mu),
            Self::MlDsa65 => sign_mu::<MlDsa65>(seed, mu),
            Self::MlDsa87 => sign_mu::<MlDsa87>(seed, mu),
        }
    }

    /// Whether `signature` is over μ.
    pub(crate) fn verifies_mu(self, public: &[u8], mu: &[u8; MU_BYTES], signature: &[u8]) -> bool {
        let verified = match self {
            Self::MlDsa44 => verifies_mu::<MlDsa44>(public, mu, signature),
            Self::MlDsa65 => verifies_mu::<MlDsa65>(public, mu, signature),
            Self::MlDsa87 => verifies_mu::<MlDsa87>(public, mu, signature),
        };
        verified.unwrap_or(false)
    }
}

fn sign_mu<P: MlDsaParams>(seed: &[u8], mu: &[u8; MU_BYTES]) -> Option<Vec<u8>> {
    let seed = Zeroizing::new(B32::try_from(seed).ok()?);
    let key = ExpandedSigningKey::<P>::from_seed(&seed);
    let signature = key.sign_mu_randomized(&(*mu).into(), &mut Hedge).ok()?;
    Some(signature.encode().to_vec())
}

fn verifies_mu<P: MlDsaParams>(
    public: &[u8],
    mu: &[u8; MU_BYTES],
    signature: &[u8],
) -> Option<bool> {
    let public = EncodedVerifyingKey::<P>::try_from(public).ok()?;
    let signature = Signature::<P>::try_from(signature).ok()?;
    Some(VerifyingKey::<P>::decode(&public).verify_mu(&(*mu).into(), &signature))
}

/// The random bytes of a hedged signature.
struct Hedge;

impl TryRng for Hedge {
    type Error = aws_lc_rs::error::Unspecified;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        rand::fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        rand::fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        rand::fill(out)
    }
}

impl TryCryptoRng for Hedge {}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::signature::{
        KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87,
        ML_DSA_87_SIGNING, PqdsaKeyPair, UnparsedPublicKey,
    };
    use proptest::prelude::*;

    use super::*;

    /// RFC 8032 §7.3.
    const SEED: &str = "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42";
    const PUBLIC: &str = "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf";
    const SIGNATURE: &str = "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406";

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    #[test]
    fn ed25519ph_is_that_of_rfc_8032() {
        let signature = sign_ed25519ph(&bytes(SEED), b"abc").unwrap();
        assert_eq!(hex::encode(&signature), SIGNATURE);
        assert!(verifies_ed25519ph(&bytes(PUBLIC), b"abc", &signature));
        assert!(!verifies_ed25519ph(&bytes(PUBLIC), b"abd", &signature));
        for bit in 0..signature.len() * 8 {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies_ed25519ph(&bytes(PUBLIC), b"abc", &changed));
        }
        assert!(sign_ed25519ph(&bytes(SEED)[1..], b"abc").is_none());
    }

    #[test]
    fn a_signature_over_mu_is_one_over_its_message_to_another_library() {
        let (message, seed) = (b"larger than KMS takes".as_slice(), [7; 32]);
        let table = [
            (MlDsaSet::MlDsa44, &ML_DSA_44_SIGNING, &ML_DSA_44),
            (MlDsaSet::MlDsa65, &ML_DSA_65_SIGNING, &ML_DSA_65),
            (MlDsaSet::MlDsa87, &ML_DSA_87_SIGNING, &ML_DSA_87),
        ];
        for (set, signing, verifying) in table {
            let theirs = PqdsaKeyPair::from_seed(signing, &seed).unwrap();
            let public = theirs.public_key().as_ref();
            let mu = mu_of(public, message);
            let signature = set.sign_mu(&seed, &mu).unwrap();
            UnparsedPublicKey::new(verifying, public)
                .verify(message, &signature)
                .unwrap();
            assert!(set.verifies_mu(public, &mu, &signature), "{set:?}");

            let mut of_theirs = vec![0; signing.signature_len()];
            let length = theirs.sign(message, &mut of_theirs).unwrap();
            assert!(set.verifies_mu(public, &mu, &of_theirs[..length]));
            let other = mu_of(public, b"another message");
            assert!(!set.verifies_mu(public, &other, &signature));
            assert!(!set.verifies_mu(public, &mu, &signature[1..]));
            assert!(!set.verifies_mu(&public[1..], &mu, &signature));
            // Hedged: the same is signed differently.
            assert_ne!(set.sign_mu(&seed, &mu).unwrap(), signature);
            assert!(set.sign_mu(&seed[1..], &mu).is_none());
        }
    }

    /// FIPS 204: `H(H(pk, 64) ‖ 0 ‖ |ctx| ‖ ctx ‖ M, 64)` with an empty context.
    pub(crate) fn mu_of(public: &[u8], message: &[u8]) -> [u8; MU_BYTES] {
        let key = |set: MlDsaSet| match set {
            MlDsaSet::MlDsa44 => compute::<MlDsa44>(public, message),
            MlDsaSet::MlDsa65 => compute::<MlDsa65>(public, message),
            MlDsaSet::MlDsa87 => compute::<MlDsa87>(public, message),
        };
        [MlDsaSet::MlDsa44, MlDsaSet::MlDsa65, MlDsaSet::MlDsa87]
            .into_iter()
            .find_map(key)
            .unwrap()
    }

    fn compute<P: MlDsaParams>(public: &[u8], message: &[u8]) -> Option<[u8; MU_BYTES]> {
        let public = EncodedVerifyingKey::<P>::try_from(public).ok()?;
        let key = VerifyingKey::<P>::decode(&public);
        let mu = key.compute_mu(
            |hash| {
                ed25519_dalek::ed25519::signature::digest::Update::update(hash, message);
                Ok(())
            },
            b"",
        );
        Some(mu.unwrap().into())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_signature_makes_the_verifiers_panic(
            signature in proptest::collection::vec(any::<u8>(), 0..5000),
            public in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            prop_assert!(!verifies_ed25519ph(&public, b"m", &signature));
            for set in [MlDsaSet::MlDsa44, MlDsaSet::MlDsa65, MlDsaSet::MlDsa87] {
                prop_assert!(!set.verifies_mu(&public, &[0; 64], &signature));
            }
        }
    }
}
