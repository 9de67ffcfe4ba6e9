//! RSA keys that encrypt: RSAES-OAEP with SHA-1 or SHA-256.
//!
//! Source of truth: RFC 8017 §7.1 with an empty label and MGF1 over the same
//! hash; recorded texts about what fits.

use std::fmt;

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use crate::model::spec::EncryptionAlgorithm;

/// A private key that decrypts, and its public half.
pub(crate) struct OaepKey {
    private: OaepPrivateDecryptingKey,
    public: OaepPublicEncryptingKey,
}

impl fmt::Debug for OaepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OaepKey(..)")
    }
}

impl OaepKey {
    /// Parses a PKCS #8, once for the key's life.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let private = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
        Some(Self {
            public: OaepPublicEncryptingKey::new(private.public_key()).ok()?,
            private: OaepPrivateDecryptingKey::new(private).ok()?,
        })
    }

    /// The longest plaintext; `None` when the algorithm is not one of RSA's.
    pub(crate) fn plaintext_bytes_max(&self, algorithm: EncryptionAlgorithm) -> Option<usize> {
        Some(self.public.max_plaintext_size(oaep(algorithm)?))
    }

    pub(crate) fn encrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let mut out = vec![0; self.public.ciphertext_size()];
        let length = self
            .public
            .encrypt(oaep(algorithm)?, plaintext, &mut out, None)
            .ok()?
            .len();
        out.truncate(length);
        Some(out)
    }

    /// `None` for whatever does not decrypt, without saying why.
    pub(crate) fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        if ciphertext.len() != self.private.key_size_bytes() {
            return None;
        }
        let mut out = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let length = self
            .private
            .decrypt(oaep(algorithm)?, ciphertext, &mut out, None)
            .ok()?
            .len();
        out.truncate(length);
        Some(out)
    }
}

fn oaep(algorithm: EncryptionAlgorithm) -> Option<&'static OaepAlgorithm> {
    match algorithm {
        EncryptionAlgorithm::RsaesOaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::RsaesOaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        EncryptionAlgorithm::SymmetricDefault | EncryptionAlgorithm::Sm2Pke => None,
    }
}
