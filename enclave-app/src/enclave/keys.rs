//! One RSA-2048 key for one KMS call.
//!
//! Source of truth: ground truth KMS §1.1 (DER SubjectPublicKeyInfo, RSA 2048),
//! §1.2 (the identifier in an answer) and §6, attack 3: an answer is bound to
//! nothing but the public key, so a key that is used once makes every recorded
//! answer worthless. Making a key takes a good part of a second on a busy machine;
//! a thread keeps a few in stock.
//!
//! Randomness is AWS-LC's, seeded by the kernel. AWS-LC wipes a private key's
//! memory when it frees it. Does not model other key sizes.

use std::{io, num::NonZeroUsize, thread};

use aws_lc_rs::{
    digest,
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use tokio::sync::{Mutex, mpsc};

use crate::{
    enclave::cms::{EnvelopedData, NotForThisKey},
    envelope::DataKey,
};

/// The recipient of one KMS answer. Opening the answer uses it up.
#[allow(missing_debug_implementations)] // secret
pub struct RecipientKey {
    private: OaepPrivateDecryptingKey,
    public_der: Vec<u8>,
    identifier: [u8; 32],
}

impl RecipientKey {
    /// Makes a key; takes from 50 ms to a second.
    ///
    /// # Errors
    /// If AWS-LC fails.
    pub fn generate() -> Result<Self, KeyFailure> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| KeyFailure)?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(|_| KeyFailure)?;
        let public_der = public.as_ref().to_vec();
        let identifier = identifier_of(&public_der);
        let private = OaepPrivateDecryptingKey::new(private).map_err(|_| KeyFailure)?;
        Ok(Self {
            private,
            public_der,
            identifier,
        })
    }

    /// DER SubjectPublicKeyInfo: what goes into the attestation document.
    #[must_use]
    pub fn public_der(&self) -> &[u8] {
        &self.public_der
    }

    /// Opens KMS's answer to the call that this key was made for, and wipes the key
    /// whatever the outcome.
    ///
    /// # Errors
    /// Anything but a well-formed envelope of 32 bytes for this very key.
    pub fn open_data_key(self, ciphertext_for_recipient: &[u8]) -> Result<DataKey, NotForThisKey> {
        let content = EnvelopedData::parse(ciphertext_for_recipient)?
            .open(&self.private, &self.identifier)?;
        DataKey::from_slice(&content).ok_or(NotForThisKey)
    }
}

/// How KMS names a recipient: SHA-256 of the whole SubjectPublicKeyInfo.
#[must_use]
pub fn identifier_of(public_der: &[u8]) -> [u8; 32] {
    let mut identifier = [0; 32];
    identifier.copy_from_slice(digest::digest(&digest::SHA256, public_der).as_ref());
    identifier
}

/// AWS-LC could not make a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RSA key could be made")]
pub struct KeyFailure;

/// Keys in stock. Dropping it ends the thread that makes them.
#[derive(Debug)]
pub struct KeyPool {
    ready: Mutex<mpsc::Receiver<Stock>>,
}

/// Hides the key from `Debug`.
struct Stock(Result<RecipientKey, KeyFailure>);

impl KeyPool {
    /// Starts a thread that keeps `stock` keys ready.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(stock: NonZeroUsize) -> io::Result<Self> {
        let (sender, ready) = mpsc::channel(stock.get());
        thread::Builder::new()
            .name("rsa-keys".into())
            .spawn(move || {
                // Ends when the pool is dropped. The key in hand is made before there
                // is room for it, so one more than `stock` may exist.
                while sender
                    .blocking_send(Stock(RecipientKey::generate()))
                    .is_ok()
                {}
            })?;
        Ok(Self {
            ready: Mutex::new(ready),
        })
    }

    /// Takes a key that nobody has had before; waits if none is ready.
    ///
    /// # Errors
    /// If making it failed.
    pub async fn take(&self) -> Result<RecipientKey, KeyFailure> {
        match self.ready.lock().await.recv().await {
            Some(Stock(key)) => key,
            None => Err(KeyFailure), // the thread is gone
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn the_pool_never_hands_out_a_key_twice() {
        let pool = KeyPool::start(NonZeroUsize::MIN).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            let key = pool.take().await.unwrap();
            assert_eq!(
                key.public_der().len(),
                294,
                "SubjectPublicKeyInfo of RSA 2048"
            );
            assert!(seen.insert(identifier_of(key.public_der())));
        }
    }

    #[test]
    fn garbage_uses_the_key_up_too() {
        let key = RecipientKey::generate().unwrap();
        assert!(key.open_data_key(b"\x30\x80").is_err());
        // `key` is gone: a second attempt does not compile.
    }
}
