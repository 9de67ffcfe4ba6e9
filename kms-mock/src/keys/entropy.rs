//! Where keys, nonces and identifiers come from.
//!
//! Models nothing of AWS. Without a seed it is the cryptographic library's
//! generator, one for each thread; with a seed it is one stream of the world's
//! seed, so that a world that is driven in order repeats. RSA-OAEP padding is
//! drawn inside the cryptographic library and does not repeat.

use std::{
    cell::RefCell,
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

thread_local! {
    static AHEAD: RefCell<Ahead> = const { RefCell::new(Ahead { bytes: [0; 1024], used: 1024 }) };
}

/// Random bytes of which none is given twice.
struct Ahead {
    bytes: [u8; 1024],
    used: usize,
}

impl Ahead {
    fn next_chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let chunk = *self.bytes.get(self.used..)?.first_chunk::<N>()?;
        self.used += N;
        Some(chunk)
    }
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

    /// Random bytes that are no secret: nonces. The library's generator takes as
    /// long for a few bytes as for many, so a thread draws them ahead.
    pub(crate) fn public<const N: usize>(&self) -> [u8; N] {
        match self {
            Self::System => AHEAD.with_borrow_mut(|ahead| {
                let drawn = ahead.next_chunk();
                drawn.unwrap_or_else(|| {
                    self.fill(&mut ahead.bytes);
                    ahead.used = 0;
                    ahead.next_chunk().unwrap_or_else(|| self.array())
                })
            }),
            Self::Seeded(_) => self.array(),
        }
    }

    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}
