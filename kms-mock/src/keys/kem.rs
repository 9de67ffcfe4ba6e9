//! ML-KEM keys: encapsulation and decapsulation of a 32-byte secret.
//!
//! Source of truth: FIPS 203; `Encapsulate` of the KMS service model (sizes of
//! the ciphertext: 768, 1088, 1568 bytes). A ciphertext of the right length that
//! was made for another key decapsulates to an unrelated secret, as FIPS 203
//! wants it.

use std::fmt;

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey};
use zeroize::Zeroizing;

use super::pair::MlKem;
use crate::model::spec::KeySpec;

/// A key pair that encapsulates and decapsulates.
pub(crate) struct KemKey {
    private: DecapsulationKey,
    public: EncapsulationKey,
}

impl fmt::Debug for KemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemKey(..)")
    }
}

impl KemKey {
    /// Parses a PKCS #8 of `spec`, once for the key's life.
    pub(crate) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Option<Self> {
        let parameters = MlKem::of(spec)?;
        let expanded = parameters.expanded_of(pkcs8)?;
        let public = parameters.public_part(&expanded)?;
        Some(Self {
            private: DecapsulationKey::new(parameters.algorithm, &expanded).ok()?,
            public: EncapsulationKey::new(parameters.algorithm, public).ok()?,
        })
    }

    /// A fresh secret and its ciphertext.
    pub(crate) fn encapsulate(&self) -> Option<(Vec<u8>, Zeroizing<Vec<u8>>)> {
        let (ciphertext, secret) = self.public.encapsulate().ok()?;
        Some((
            ciphertext.as_ref().to_vec(),
            Zeroizing::new(secret.as_ref().to_vec()),
        ))
    }

    /// The secret of a ciphertext; `None` when it has another length.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let secret = self
            .private
            .decapsulate(Ciphertext::from(ciphertext))
            .ok()?;
        Some(Zeroizing::new(secret.as_ref().to_vec()))
    }
}
