//! One seed for a world: every key, serial number and random byte of a seeded
//! world is drawn from it, so that the world repeats byte for byte.
//!
//! Models nothing of AWS; it is the simulator's own source of randomness. A
//! stream is ChaCha20 keyed by SHA-256(seed ‖ label), so that adding a stream
//! never changes the bytes of another.

use std::{fmt, str::FromStr};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use sha2::{Digest, Sha256};

/// The seed of a world. Its text form is a decimal number or 64 hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct WorldSeed([u8; 32]);

/// A text that is neither a 64-bit number nor 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a seed: give a number below 2^64 or 64 hex digits")]
pub struct SeedError(String);

impl WorldSeed {
    /// The world number `n`.
    #[must_use]
    pub fn from_u64(n: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"drydock world ");
        hash.update(n.to_be_bytes());
        Self(hash.finalize().into())
    }

    /// A fresh world from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[must_use]
    pub fn random() -> Self {
        let mut seed = [0; 32];
        rand::TryRngCore::try_fill_bytes(&mut rand::rngs::OsRng, &mut seed)
            .expect("the operating system gives random bytes");
        Self(seed)
    }

    /// The stream of random bytes named `label`.
    #[must_use]
    pub fn stream(&self, label: &str) -> ChaCha20Rng {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(label.as_bytes());
        ChaCha20Rng::from_seed(hash.finalize().into())
    }

    /// The 64 hex digits that make the same world again.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for WorldSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorldSeed(..)") // it makes the root's private key
    }
}

impl FromStr for WorldSeed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(n) = text.parse::<u64>()
            && text.len() < 64
        {
            return Ok(Self::from_u64(n));
        }
        let mut seed = [0; 32];
        hex::decode_to_slice(text, &mut seed).map_err(|_| SeedError(text.to_owned()))?;
        Ok(Self(seed))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngCore;

    use super::*;

    #[test]
    fn the_same_seed_and_label_give_the_same_stream_and_another_label_does_not() {
        let world = WorldSeed::from_u64(7);
        let again: WorldSeed = world.to_hex().parse().unwrap();
        let mut first = world.stream("root");
        assert_eq!(first.next_u64(), again.stream("root").next_u64());
        assert_ne!(
            world.stream("root").next_u64(),
            world.stream("leaf").next_u64()
        );
        assert_ne!(world, WorldSeed::from_u64(8));
    }

    #[test]
    fn a_word_is_refused_as_a_seed() {
        assert!("lucky".parse::<WorldSeed>().is_err());
        assert!("ab".parse::<WorldSeed>().is_err());
    }
}
