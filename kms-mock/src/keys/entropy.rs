//! Where keys, nonces and identifiers come from.
//!
//! Models nothing of AWS. Without a seed it is the cryptographic library's
//! generator, one for each thread; with a seed it is one stream of the world's
//! seed, so that a world that is driven in order repeats. RSA-OAEP padding is
//! drawn inside the cryptographic library and does not repeat.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::rand;
use nsm_sim::seed::WorldSeed;
use rand_chacha::{ChaCha20Rng, rand_core::RngCore};

/// A source of random bytes.
pub(crate) enum Entropy {
    System,
    Seeded(Box<Mutex<ChaCha20Rng>>),
}

/// The name of a stream in a world's start number `start`, counted from 1.
pub(crate) fn stream_of(label: &str, start: u64) -> String {
    match start {
        0 | 1 => label.to_owned(),
        later => format!("{label} start {later}"),
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Seeded(_) => "Seeded(..)",
        })
    }
}

impl Entropy {
    pub(crate) fn system() -> Self {
        Self::System
    }

    /// What a world draws in its start number `start`. Every start draws anew, so
    /// that a world that was kept never gives an id or a nonce twice.
    pub(crate) fn seeded(seed: &WorldSeed, start: u64) -> Self {
        let label = stream_of("kms", start);
        Self::Seeded(Box::new(Mutex::new(seed.stream(&label))))
    }

    /// Fills `out`.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub(crate) fn fill(&self, out: &mut [u8]) {
        match self {
            Self::System => rand::fill(out).expect("the cryptographic library gives random bytes"),
            Self::Seeded(stream) => {
                stream
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .fill_bytes(out);
            }
        }
    }

    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}
