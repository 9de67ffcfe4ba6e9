//! Where keys, nonces and identifiers come from.
//!
//! Models nothing of AWS. Without a seed it is the cryptographic library's
//! generator, one for each thread and a little drawn ahead; with a seed it is one stream of the world's
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
use zeroize::{Zeroize, Zeroizing};

/// A source of random bytes.
pub(crate) enum Entropy {
    System,
    Seeded(Box<Mutex<ChaCha20Rng>>),
}

/// The longest request that is served from what was drawn ahead.
const SMALL: usize = 64;

thread_local! {
    static AHEAD: RefCell<Ahead> = RefCell::new(Ahead::default());
}

/// Random bytes of which none is given twice, nor kept once it is given: what is
/// left here reveals nothing of earlier keys.
struct Ahead {
    bytes: Zeroizing<[u8; 1024]>,
    used: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            bytes: Zeroizing::new([0; 1024]),
            used: 1024,
        }
    }
}

impl Ahead {
    /// Fills `out` if there is enough left.
    fn give(&mut self, out: &mut [u8]) -> bool {
        let end = self.used + out.len();
        let Some(next) = self.bytes.get_mut(self.used..end) else {
            return false;
        };
        out.copy_from_slice(next);
        next.zeroize();
        self.used = end;
        true
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

    /// Whether a world that is driven in the same order draws the same.
    pub(crate) fn repeats(&self) -> bool {
        matches!(self, Self::Seeded(_))
    }

    /// Fills `out`. The library's generator takes as long for a few bytes as for
    /// many, so a thread draws ahead what it gives in small parts.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub(crate) fn fill(&self, out: &mut [u8]) {
        match self {
            Self::System if out.len() <= SMALL => AHEAD.with_borrow_mut(|ahead| {
                if ahead.give(out) {
                    return;
                }
                draw(&mut *ahead.bytes);
                ahead.used = 0;
                if !ahead.give(out) {
                    draw(out);
                }
            }),
            Self::System => draw(out),
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

fn draw(out: &mut [u8]) {
    rand::fill(out).expect("the cryptographic library gives random bytes");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice_by_any_thread() {
        let draw_many = || -> Vec<[u8; 16]> {
            let entropy = Entropy::system();
            (0..1000).map(|_| entropy.array()).collect()
        };
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw_many)).collect();
        let drawn = threads.into_iter().flat_map(|it| it.join().unwrap());
        let drawn: BTreeSet<[u8; 16]> = drawn.chain(draw_many()).collect();
        assert_eq!(drawn.len(), 5000);
        assert!(!drawn.contains(&[0; 16]));
    }

    #[test]
    fn what_was_given_is_not_kept() {
        let mut ahead = Ahead {
            bytes: Zeroizing::new([7; 1024]),
            used: 0,
        };
        let mut out = [0; 40];
        for given in 1..=25 {
            assert!(ahead.give(&mut out));
            assert_eq!(out, [7; 40]);
            assert!(ahead.bytes.iter().take(given * 40).all(|b| *b == 0));
            assert!(ahead.bytes.iter().skip(given * 40).all(|b| *b == 7));
        }
        // 24 are left, which is not enough: nothing is given.
        out = [1; 40];
        assert!(!ahead.give(&mut out));
        assert_eq!(out, [1; 40]);
    }

    #[test]
    fn long_requests_are_filled_whole() {
        for bytes in [0, 1, SMALL, SMALL + 1, 4096] {
            let mut out = vec![0; bytes];
            Entropy::system().fill(&mut out);
            let mut parts = out.chunks_exact(16);
            assert!(parts.all(|part| part.iter().any(|b| *b != 0)));
        }
    }
}
