//! Suite 0x0073: the keys derived from a data key, the commitment to it, and
//! AES-256-GCM over the content.
//!
//! Source of truth: ground truth KMS §5 (re-derived there from an object of the
//! official client); RFC 5869. Fixed IV and additional data are right here
//! because every content key is derived for one message id. Does not model the
//! suites without commitment.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, rand,
};
use zeroize::Zeroizing;

use super::{DataKey, EnvelopeError};

/// Salt of the derivation, one per object.
pub(super) const MESSAGE_ID_BYTES: usize = 28;
/// Length of the commitment to the data key.
pub(super) const COMMITMENT_BYTES: usize = 28;

/// The suite's id, big endian: prefix of both HKDF labels and GCM's additional data.
const SUITE_ID: [u8; 2] = [0x00, 0x73];
const IV: [u8; NONCE_LEN] = [0x01; NONCE_LEN];
const TAG_BYTES: usize = 16;

/// Fresh from AWS-LC's generator, which the kernel seeds.
pub(super) fn fresh_message_id() -> [u8; MESSAGE_ID_BYTES] {
    let mut id = [0; MESSAGE_ID_BYTES];
    rand::fill(&mut id).expect("AWS-LC ends the process rather than return without randomness");
    id
}

/// What a data key and a message id make.
pub(super) struct ContentKeys {
    content: LessSafeKey,
    commitment: [u8; COMMITMENT_BYTES],
}

impl ContentKeys {
    pub(super) fn derive(data_key: &DataKey, message_id: &[u8; MESSAGE_ID_BYTES]) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA512, message_id).extract(data_key.bytes());
        let content: Zeroizing<[u8; 32]> = expand(&prk, b"DERIVEKEY");
        let commitment: Zeroizing<[u8; COMMITMENT_BYTES]> = expand(&prk, b"COMMITKEY");
        let content = UnboundKey::new(&AES_256_GCM, content.as_slice())
            .expect("AES-256 takes any 32 bytes as a key");
        Self {
            content: LessSafeKey::new(content),
            commitment: *commitment,
        }
    }

    pub(super) const fn commitment(&self) -> &[u8; COMMITMENT_BYTES] {
        &self.commitment
    }

    /// Ciphertext, then the tag.
    pub(super) fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(plaintext.len().saturating_add(TAG_BYTES));
        body.extend_from_slice(plaintext);
        self.content
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(IV),
                Aad::from(SUITE_ID),
                &mut body,
            )
            .expect("AES-GCM seals anything that fits into memory (its bound is 64 GiB)");
        body
    }

    pub(super) fn open(&self, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let length = body
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(EnvelopeError::Content)?;
        let (ciphertext, tag) = body.split_at(length);
        let mut plaintext = Zeroizing::new(vec![0; length]);
        self.content
            .open_separate_gather(
                Nonce::assume_unique_for_key(IV),
                Aad::from(SUITE_ID),
                ciphertext,
                tag,
                &mut plaintext,
            )
            .map_err(|_| EnvelopeError::Content)?;
        Ok(plaintext)
    }
}

/// HKDF-Expand with the suite's label.
fn expand<const N: usize>(prk: &hkdf::Prk, label: &[u8]) -> Zeroizing<[u8; N]> {
    struct Bytes(usize);
    impl hkdf::KeyType for Bytes {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = Zeroizing::new([0; N]);
    prk.expand(&[&SUITE_ID, label], Bytes(N))
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .expect("HKDF-SHA512 yields up to 16320 bytes");
    out
}
