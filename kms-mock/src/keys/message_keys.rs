//! The message keys that a thread has just used with a key.
//!
//! To derive one and to expand it takes several times as long as sealing or opening a
//! blob of the usual size. So a thread seals some blobs under one nonce of the
//! derivation, each with an AES-GCM nonce of its own, and keeps the key of the blob that
//! it has opened last. They go with what is remembered of a key, and so when the key
//! changes or is gone; see [`Known`](super::recent::Known).
//!
//! Models nothing of AWS, whose blobs were never seen to share a nonce of the derivation:
//! nobody can tell, since it says nothing but which key to derive.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::material::{Blob, MessageKey, SymmetricMaterial};
use crate::world::entropy::Entropy;

/// Blobs sealed under one message key. Random AES-GCM nonces allow 2^32 (NIST SP
/// 800-38D §8.3).
const BLOBS_PER_KEY: u32 = 1024;

/// The last message keys, one for each direction: the nonce of a blob that is opened is
/// the caller's choice, and nothing is sealed under it.
#[derive(Default)]
pub(crate) struct MessageKeys {
    sealing: Mutex<Option<Sealing>>,
    opening: Mutex<Option<Arc<MessageKey>>>,
}

struct Sealing {
    key: Arc<MessageKey>,
    blobs_left: u32,
}

impl MessageKeys {
    /// A key of `material` to seal one blob with; `None` when the cryptographic library
    /// fails.
    pub(crate) fn to_seal(
        &self,
        material: &SymmetricMaterial,
        entropy: &Entropy,
    ) -> Option<Arc<MessageKey>> {
        let fresh = || Some(Arc::new(material.message_key(&entropy.array())?));
        if entropy.repeats() {
            return fresh(); // whichever thread it is
        }
        if let Some(sealing) = &mut *lock(&self.sealing)
            && sealing.key.is_of(material)
            && sealing.blobs_left > 0
        {
            sealing.blobs_left -= 1;
            return Some(Arc::clone(&sealing.key));
        }
        let key = fresh()?;
        *lock(&self.sealing) = Some(Sealing {
            key: Arc::clone(&key),
            blobs_left: BLOBS_PER_KEY - 1,
        });
        Some(key)
    }

    /// The key to open a blob of `material` with; `None` when the cryptographic library
    /// fails.
    pub(crate) fn to_open(
        &self,
        material: &SymmetricMaterial,
        blob: &Blob<'_>,
    ) -> Option<Arc<MessageKey>> {
        if let Some(key) = &*lock(&self.opening)
            && key.is_for(material, blob.kdf_nonce)
        {
            return Some(Arc::clone(key));
        }
        let key = Arc::new(material.message_key(blob.kdf_nonce)?);
        *lock(&self.opening) = Some(Arc::clone(&key));
        Some(key)
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MessageKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nsm_sim::seed::WorldSeed;
    use zeroize::Zeroizing;

    use super::*;
    use crate::{keys::material::Maker, policy::EncryptionContext};

    fn material(n: u8) -> SymmetricMaterial {
        SymmetricMaterial::new(&Zeroizing::new([n; 32]), "key")
    }

    fn seal(keys: &MessageKeys, n: u8, entropy: &Entropy) -> Vec<u8> {
        let (context, gcm_nonce) = (EncryptionContext::new(), entropy.array());
        keys.to_seal(&material(n), entropy)
            .and_then(|key| key.seal(Maker::Encrypt, &context, b"secret", &gcm_nonce))
            .unwrap()
    }

    fn open(keys: &MessageKeys, n: u8, blob: &[u8]) -> Option<Vec<u8>> {
        let blob = Blob::parse(blob).unwrap();
        let key = keys.to_open(&material(n), &blob).unwrap();
        Some(blob.open(&key, &EncryptionContext::new()).ok()?.to_vec())
    }

    fn kdf_nonce(blob: &[u8]) -> [u8; 16] {
        *Blob::parse(blob).unwrap().kdf_nonce
    }

    #[test]
    fn blobs_that_share_a_message_key_are_not_alike_and_each_opens() {
        let (keys, entropy) = (MessageKeys::default(), Entropy::system());
        let blobs: BTreeSet<_> = (0..3000).map(|_| seal(&keys, 1, &entropy)).collect();
        assert_eq!(blobs.len(), 3000);
        let nonces: BTreeSet<_> = blobs.iter().map(|blob| kdf_nonce(blob)).collect();
        assert_eq!(nonces.len(), 3);
        for blob in blobs {
            assert_eq!(open(&keys, 1, &blob).as_deref(), Some(b"secret".as_slice()));
        }
    }

    #[test]
    fn other_material_has_other_message_keys_in_both_directions() {
        let (keys, entropy) = (MessageKeys::default(), Entropy::system());
        let blobs: Vec<_> = [1, 2, 1].map(|n| (n, seal(&keys, n, &entropy))).into();
        let nonces: BTreeSet<_> = blobs.iter().map(|(_, blob)| kdf_nonce(blob)).collect();
        assert_eq!(nonces.len(), 3);
        for (n, blob) in &blobs {
            assert!(open(&keys, *n, blob).is_some());
            assert!(open(&keys, 3 - n, blob).is_none());
            assert!(open(&keys, *n, blob).is_some());
        }
    }

    #[test]
    fn nothing_is_sealed_under_a_nonce_that_a_caller_brought() {
        let (keys, entropy) = (MessageKeys::default(), Entropy::system());
        let foreign = material(1)
            .seal(Maker::Encrypt, &EncryptionContext::new(), b"x", &[5; 28])
            .unwrap();
        assert!(open(&keys, 1, &foreign).is_some());
        assert_ne!(kdf_nonce(&seal(&keys, 1, &entropy)), [5; 16]);
    }

    #[test]
    fn in_a_world_that_repeats_every_blob_has_its_own_message_key() {
        let blobs = || -> Vec<_> {
            let entropy = Entropy::seeded(&WorldSeed::from_u64(7), 1);
            let threads = [MessageKeys::default(), MessageKeys::default()];
            let order = [0, 1, 0, 0, 1];
            order.map(|at| seal(&threads[at], 1, &entropy)).into()
        };
        let nonces: BTreeSet<_> = blobs().iter().map(|blob| kdf_nonce(blob)).collect();
        assert_eq!(nonces.len(), 5);
        assert_eq!(blobs(), blobs());
    }
}
