//! Which of several shards or places a name goes to.
//!
//! Models nothing of AWS.

use std::hash::{Hash, Hasher};

/// The place of a name among so many.
pub(crate) fn place_of<Q: Hash + ?Sized>(name: &Q, places: usize) -> usize {
    let place = spread(name) % places as u64;
    usize::try_from(place).expect("it is below the number of places, which is a usize")
}

/// A number that names seldom share.
pub(crate) fn spread<Q: Hash + ?Sized>(key: &Q) -> u64 {
    let mut spread = Spread::default();
    key.hash(&mut spread);
    spread.finish()
}

/// Chooses a shard or a place. Quick, and open to whoever wants all names in one: that
/// costs waiting or looking again, no more. The maps inside hash as the standard
/// library does.
#[derive(Default)]
struct Spread(u64);

impl Spread {
    /// Odd, with its bits in no order: the golden ratio's.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
}

impl Spread {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(Self::MIX).rotate_left(23);
    }
}

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        if rest.is_empty() {
            return;
        }
        // The last eight again, rather than the rest byte by byte.
        let last = match bytes.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => rest.iter().fold(0, |word, b| word << 8 | u64::from(*b)),
        };
        self.add(last);
    }

    /// What ends a text; no name is the beginning of another one.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_that_differ_in_any_byte_are_spread() {
        let names = (0..40).flat_map(|at| {
            ["0", "1"].map(|end| format!("{}{end}{}", "x".repeat(at), "y".repeat(39 - at)))
        });
        let numbers: BTreeSet<u64> = names.map(|name| spread(name.as_str())).collect();
        assert_eq!(numbers.len(), 80);
        let short: BTreeSet<u64> = ["", "a", "b", "ab", "ba"].map(spread).into();
        assert_eq!(short.len(), 5);
    }
}
