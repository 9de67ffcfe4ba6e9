//! Elliptic-curve keys that agree on a secret: cofactor ECDH.
//!
//! Source of truth: NIST SP 800-56A, section 5.7.1.2 (the shared secret is the
//! raw x coordinate); `DeriveSharedSecret` of the KMS service model. The other
//! side's key must be a SubjectPublicKeyInfo of the same curve by name, with an
//! uncompressed point; whether AWS takes a compressed one is unknown.

use std::fmt;

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::model::spec::KeySpec;

/// A private key that agrees.
pub(crate) struct AgreementKey {
    private: PrivateKey,
    /// What a SubjectPublicKeyInfo of the curve begins with.
    spki_prefix: Vec<u8>,
    point_bytes: usize,
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgreementKey(..)")
    }
}

impl AgreementKey {
    /// Parses a PKCS #8 of `spec`, once for the key's life. `public` is the
    /// same key's SubjectPublicKeyInfo.
    pub(crate) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8], public: &[u8]) -> Option<Self> {
        let (algorithm, point_bytes): (_, usize) = match spec {
            KeySpec::EccNistP256 => (&ECDH_P256, 65),
            KeySpec::EccNistP384 => (&ECDH_P384, 97),
            KeySpec::EccNistP521 => (&ECDH_P521, 133),
            _ => return None,
        };
        let prefix_bytes = public.len().checked_sub(point_bytes)?;
        Some(Self {
            private: PrivateKey::from_private_key_der(algorithm, pkcs8).ok()?,
            spki_prefix: public.get(..prefix_bytes)?.to_vec(),
            point_bytes,
        })
    }

    /// The shared secret with the owner of `peer`; `None` when that is no public
    /// key of the curve.
    pub(crate) fn agree(&self, peer: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let point = peer.strip_prefix(self.spki_prefix.as_slice())?;
        if point.len() != self.point_bytes || point.first() != Some(&4) {
            return None;
        }
        let peer = UnparsedPublicKey::new(self.private.algorithm(), point);
        agreement::agree(&self.private, peer, (), |secret| {
            Ok(Zeroizing::new(secret.to_vec()))
        })
        .ok()
    }
}
