//! How key material is wrapped on its way into KMS: the wrapping key, and the token
//! that stands for its private half.
//!
//! Source of truth: AWS KMS developer guide, "Importing key material for AWS KMS
//! keys"; the KMS service model; RFC 5649 for the key wrap behind
//! `RSA_AES_KEY_WRAP_…`.
//!
//! A token holds the private wrapping key, sealed under a key that never leaves
//! the world: nothing has to be remembered between the two calls, and a token of
//! another world is invalid.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
        PrivateDecryptingKey,
    },
};
use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use crate::{model::spec::KeySpec, world::entropy::Entropy};

/// The longest token and the longest wrapped material of the service model.
pub(crate) const IMPORT_BYTES_MAX: usize = 6144;

const TOKEN_MARK: &[u8; 16] = b"drydock import 1";
const NONCE_BYTES: usize = 12;

/// `WrappingKeySpec`, as far as there are such keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrappingSpec {
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// `WrappingAlgorithm`, as far as they are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapping {
    hash: OaepHash,
    /// Material is under an AES key of the caller's, and that under the RSA key.
    with_aes_key_wrap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OaepHash {
    Sha1,
    Sha256,
}

impl Wrapping {
    /// `None` for algorithms that KMS no longer or nowhere else offers.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (hash, with_aes_key_wrap) = match name {
            "RSAES_OAEP_SHA_1" => (OaepHash::Sha1, false),
            "RSAES_OAEP_SHA_256" => (OaepHash::Sha256, false),
            "RSA_AES_KEY_WRAP_SHA_1" => (OaepHash::Sha1, true),
            "RSA_AES_KEY_WRAP_SHA_256" => (OaepHash::Sha256, true),
            _ => return None,
        };
        Some(Self {
            hash,
            with_aes_key_wrap,
        })
    }

    /// Whether a key of `key` fits: an RSA key needs the AES key between, and so
    /// does one of P-521 under the smallest RSA key.
    pub(crate) fn is_for(self, wrapping: WrappingSpec, key: KeySpec) -> bool {
        self.with_aes_key_wrap
            || match key {
                KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => false,
                KeySpec::EccNistP521 => wrapping != WrappingSpec::Rsa2048,
                _ => true,
            }
    }

    fn code(self) -> u8 {
        let hash = match self.hash {
            OaepHash::Sha1 => 0,
            OaepHash::Sha256 => 1,
        };
        hash | u8::from(self.with_aes_key_wrap) << 1
    }

    fn from_code(code: u8) -> Option<Self> {
        let hash = if code & 1 == 0 {
            OaepHash::Sha1
        } else {
            OaepHash::Sha256
        };
        (code < 4).then_some(Self {
            hash,
            with_aes_key_wrap: code & 2 != 0,
        })
    }
}

impl WrappingSpec {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RSA_2048" => Self::Rsa2048,
            "RSA_3072" => Self::Rsa3072,
            "RSA_4096" => Self::Rsa4096,
            _ => return None,
        })
    }
}

/// What `GetParametersForImport` gives.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// DER SubjectPublicKeyInfo.
    pub(crate) public_key: Vec<u8>,
    pub(crate) token: Vec<u8>,
}

/// A token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Not one of ours, changed, or another key's.
    Invalid,
    Expired,
}

/// Seals and opens import tokens.
pub(crate) struct TokenKey(LessSafeKey);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    /// `None` when the cryptographic library fails.
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, secret.as_slice()).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Makes a wrapping key for `key_arn`; `None` when the cryptographic library
    /// fails.
    pub(crate) fn issue(
        &self,
        key_arn: &str,
        wrapping: Wrapping,
        spec: WrappingSpec,
        valid_to: UnixMillis,
        entropy: &Entropy,
    ) -> Option<Parameters> {
        let private = PrivateDecryptingKey::generate(match spec {
            WrappingSpec::Rsa2048 => KeySize::Rsa2048,
            WrappingSpec::Rsa3072 => KeySize::Rsa3072,
            WrappingSpec::Rsa4096 => KeySize::Rsa4096,
        })
        .ok()?;
        let public_key = AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).ok()?;
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&private).ok()?;
        Some(Parameters {
            public_key: public_key.as_ref().to_vec(),
            token: self.seal(key_arn, wrapping, valid_to, pkcs8.as_ref(), entropy)?,
        })
    }

    fn seal(
        &self,
        key_arn: &str,
        wrapping: Wrapping,
        valid_to: UnixMillis,
        pkcs8: &[u8],
        entropy: &Entropy,
    ) -> Option<Vec<u8>> {
        let mut inner = Zeroizing::new(Vec::with_capacity(9 + pkcs8.len() + 16));
        inner.push(wrapping.code());
        inner.extend_from_slice(&valid_to.0.to_be_bytes());
        inner.extend_from_slice(pkcs8);
        let nonce: [u8; NONCE_BYTES] = entropy.array();
        // The key's name is associated data: a token opens for its key alone.
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key_arn.as_bytes()),
                &mut inner,
            )
            .ok()?;
        Some([TOKEN_MARK.as_slice(), &nonce, &inner, tag.as_ref()].concat())
    }

    pub(crate) fn open(
        &self,
        token: &[u8],
        key_arn: &str,
        now: UnixMillis,
    ) -> Result<WrappingKey, TokenError> {
        let (valid_to, key) = self.read(token, key_arn).ok_or(TokenError::Invalid)?;
        if now >= valid_to {
            return Err(TokenError::Expired);
        }
        Ok(key)
    }

    fn read(&self, token: &[u8], key_arn: &str) -> Option<(UnixMillis, WrappingKey)> {
        let rest = token.strip_prefix(TOKEN_MARK)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let mut inner = Zeroizing::new(sealed.to_vec());
        let opened = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(key_arn.as_bytes()),
                &mut inner,
            )
            .ok()?;
        let (code, rest) = opened.split_first()?;
        let (valid_to, pkcs8) = rest.split_first_chunk::<8>()?;
        let private = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
        let key = WrappingKey {
            wrapping: Wrapping::from_code(*code)?,
            private: OaepPrivateDecryptingKey::new(private).ok()?,
        };
        Some((UnixMillis(u64::from_be_bytes(*valid_to)), key))
    }
}

/// The private half of what material is wrapped under.
pub(crate) struct WrappingKey {
    wrapping: Wrapping,
    private: OaepPrivateDecryptingKey,
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappingKey")
            .field("wrapping", &self.wrapping)
            .finish_non_exhaustive()
    }
}

impl WrappingKey {
    /// The material; `None` when it was not wrapped under this key so.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if !self.wrapping.with_aes_key_wrap {
            return self.decrypt(wrapped);
        }
        let (wrapped_aes_key, wrapped) = wrapped.split_at_checked(self.private.key_size_bytes())?;
        let aes_key = self.decrypt(wrapped_aes_key)?;
        // RFC 5649: at least one block behind the integrity check.
        if wrapped.len() < 16 || wrapped.len() % 8 != 0 {
            return None;
        }
        let kek = AesKek::new(&AES_256, &aes_key).ok()?;
        let mut out = Zeroizing::new(vec![0; wrapped.len()]);
        let material = kek.unwrap_with_padding(wrapped, &mut out).ok()?;
        Some(Zeroizing::new(material.to_vec()))
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if ciphertext.len() != self.private.key_size_bytes() {
            return None;
        }
        let algorithm = match self.wrapping.hash {
            OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
            OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        };
        let mut out = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let plaintext = self
            .private
            .decrypt(algorithm, ciphertext, &mut out, None)
            .ok()?;
        Some(Zeroizing::new(plaintext.to_vec()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};
    use proptest::prelude::*;

    use super::*;

    const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1";
    const VALID_TO: UnixMillis = UnixMillis(86_400_000);
    const ALGORITHMS: [&str; 4] = [
        "RSAES_OAEP_SHA_1",
        "RSAES_OAEP_SHA_256",
        "RSA_AES_KEY_WRAP_SHA_1",
        "RSA_AES_KEY_WRAP_SHA_256",
    ];

    static TOKEN_KEY: LazyLock<TokenKey> =
        LazyLock::new(|| TokenKey::new(&Zeroizing::new([7; 32])).unwrap());
    /// One for each algorithm: RSA keys take their time.
    static ISSUED: LazyLock<Vec<Parameters>> = LazyLock::new(|| {
        ALGORITHMS
            .iter()
            .map(|name| issue(name, WrappingSpec::Rsa2048))
            .collect()
    });

    fn issue(algorithm: &str, spec: WrappingSpec) -> Parameters {
        let wrapping = Wrapping::parse(algorithm).unwrap();
        TOKEN_KEY
            .issue(ARN, wrapping, spec, VALID_TO, &Entropy::system())
            .unwrap()
    }

    /// What a customer does with `GetParametersForImport`'s answer.
    pub(crate) fn wrap(algorithm: &str, public_key: &[u8], material: &[u8]) -> Vec<u8> {
        let hash = if algorithm.ends_with("SHA_1") {
            &OAEP_SHA1_MGF1SHA1
        } else {
            &OAEP_SHA256_MGF1SHA256
        };
        let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).unwrap())
            .unwrap();
        let rsa = |plaintext: &[u8]| {
            let mut out = vec![0; key.ciphertext_size()];
            key.encrypt(hash, plaintext, &mut out, None)
                .unwrap()
                .to_vec()
        };
        if !algorithm.starts_with("RSA_AES") {
            return rsa(material);
        }
        let mut out = vec![0; material.len() + 15];
        let kek = AesKek::new(&AES_256, &[9; 32]).unwrap();
        let wrapped = kek.wrap_with_padding(material, &mut out).unwrap();
        [rsa(&[9; 32]).as_slice(), wrapped].concat()
    }

    #[test]
    fn every_algorithm_unwraps_what_was_wrapped() {
        let now = UnixMillis(0);
        for (algorithm, parameters) in ALGORITHMS.iter().zip(ISSUED.iter()) {
            assert!(parameters.token.len() <= IMPORT_BYTES_MAX);
            let wrapped = wrap(algorithm, &parameters.public_key, &[5; 32]);
            let key = TOKEN_KEY.open(&parameters.token, ARN, now).unwrap();
            assert_eq!(key.unwrap(&wrapped).unwrap().as_slice(), [5; 32]);
            for other in ALGORITHMS.iter().filter(|other| *other != algorithm) {
                let wrong = wrap(other, &parameters.public_key, &[5; 32]);
                assert!(key.unwrap(&wrong).is_none(), "{algorithm} took {other}");
            }
        }
    }

    #[test]
    fn larger_wrapping_keys_fit_into_a_token() {
        for (spec, modulus_bytes) in [(WrappingSpec::Rsa3072, 384), (WrappingSpec::Rsa4096, 512)] {
            let parameters = issue("RSAES_OAEP_SHA_256", spec);
            assert!(parameters.token.len() <= IMPORT_BYTES_MAX);
            let key = TOKEN_KEY.open(&parameters.token, ARN, UnixMillis(0));
            assert_eq!(key.unwrap().private.key_size_bytes(), modulus_bytes);
        }
    }

    #[test]
    fn a_token_is_good_for_its_key_and_its_day_only() {
        let token = &ISSUED[0].token;
        let open = |token: &[u8], arn: &str, at: u64| {
            let opened = TOKEN_KEY.open(token, arn, UnixMillis(at));
            opened.map(|_| ())
        };
        assert_eq!(open(token, ARN, VALID_TO.0 - 1), Ok(()));
        assert_eq!(open(token, ARN, VALID_TO.0), Err(TokenError::Expired));
        assert_eq!(open(token, "other", 0), Err(TokenError::Invalid));
        assert_eq!(open(b"", ARN, 0), Err(TokenError::Invalid));
        for at in [0, 20, 40, token.len() - 1] {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert_eq!(open(&changed, ARN, 0), Err(TokenError::Invalid), "{at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_token_makes_the_parser_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), marked in any::<bool>(),
        ) {
            let mark: &[u8] = if marked { TOKEN_MARK } else { b"" };
            let token = [mark, bytes.as_slice()].concat();
            prop_assert!(TOKEN_KEY.open(&token, ARN, UnixMillis(0)).is_err());
        }

        #[test]
        fn no_sealed_rubbish_makes_the_parser_panic(
            pkcs8 in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let wrapping = Wrapping::parse("RSAES_OAEP_SHA_1").unwrap();
            let token = TOKEN_KEY.seal(ARN, wrapping, VALID_TO, &pkcs8, &Entropy::system()).unwrap();
            prop_assert!(TOKEN_KEY.open(&token, ARN, UnixMillis(0)).is_err());
        }

        #[test]
        fn no_wrapped_material_makes_the_unwrapping_panic(
            which in 0..ALGORITHMS.len(),
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let key = TOKEN_KEY.open(&ISSUED[which].token, ARN, UnixMillis(0)).unwrap();
            prop_assert!(key.unwrap(&bytes).is_none());
        }

        #[test]
        fn whatever_is_wrapped_behind_an_aes_key_unwraps(
            material in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let wrapped = wrap(ALGORITHMS[3], &ISSUED[3].public_key, &material);
            let key = TOKEN_KEY.open(&ISSUED[3].token, ARN, UnixMillis(0)).unwrap();
            let unwrapped = key.unwrap(&wrapped).unwrap();
            prop_assert_eq!(unwrapped.as_slice(), material.as_slice());
        }
    }
}
