//! HMAC keys.
//!
//! Source of truth: AWS KMS developer guide, "HMAC keys in AWS KMS": a key is as
//! long as its hash, and its spec fixes the algorithm. FIPS 198-1.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::{model::spec::KeySpec, world::entropy::Entropy};

/// An HMAC key with its pads computed.
pub(crate) struct MacKey(Box<hmac::Key>);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

impl MacKey {
    /// The bytes of a fresh key; `None` when there are no such keys.
    pub(crate) fn draw(spec: KeySpec, entropy: &Entropy) -> Option<Zeroizing<Vec<u8>>> {
        let algorithm = algorithm(spec)?;
        let mut secret = Zeroizing::new(vec![0; algorithm.tag_len()]);
        entropy.fill(&mut secret);
        Some(secret)
    }

    /// The key of `secret`, which is as long as the spec's hash.
    pub(crate) fn from_bytes(spec: KeySpec, secret: &[u8]) -> Option<Self> {
        let algorithm = algorithm(spec).filter(|a| a.tag_len() == secret.len())?;
        Some(Self(Box::new(hmac::Key::new(algorithm, secret))))
    }

    pub(crate) fn mac(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, message).as_ref().to_vec()
    }

    /// Compares in constant time; a MAC that was cut is not the key's.
    pub(crate) fn verifies(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.0, message, mac).is_ok()
    }
}

fn algorithm(spec: KeySpec) -> Option<hmac::Algorithm> {
    match spec {
        KeySpec::Hmac224 => Some(hmac::HMAC_SHA224),
        KeySpec::Hmac256 => Some(hmac::HMAC_SHA256),
        KeySpec::Hmac384 => Some(hmac::HMAC_SHA384),
        KeySpec::Hmac512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_repeats_verifies_and_does_not_fit_another_message() {
        let entropy = Entropy::system();
        for (spec, bytes) in [
            (KeySpec::Hmac224, 28),
            (KeySpec::Hmac256, 32),
            (KeySpec::Hmac384, 48),
            (KeySpec::Hmac512, 64),
        ] {
            let secret = MacKey::draw(spec, &entropy).unwrap();
            let key = MacKey::from_bytes(spec, &secret).unwrap();
            let mac = key.mac(b"message");
            assert_eq!(mac.len(), bytes);
            assert_eq!(mac, key.mac(b"message"));
            assert!(key.verifies(b"message", &mac));
            assert!(!key.verifies(b"messagf", &mac));
            assert!(!key.verifies(b"message", &mac[..bytes - 1]));
            assert!(MacKey::from_bytes(spec, &vec![0; bytes - 1]).is_none());
        }
        assert!(MacKey::draw(KeySpec::Rsa2048, &entropy).is_none());
    }
}
