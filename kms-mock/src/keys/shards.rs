//! Maps that many threads use at once, cut into shards so that a call waits for
//! nobody but a writer of its own shard.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Enough that sixteen busy connections rarely meet in one.
pub(super) const SHARDS: usize = 64;

/// A map in shards.
#[derive(Debug)]
pub(super) struct Shards<K, V> {
    shards: Vec<RwLock<HashMap<K, V>>>,
}

impl<K: Hash + Eq, V: Clone> Shards<K, V> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V>> {
        // There are SHARDS shards.
        &self.shards[shard_of(key)]
    }

    pub(super) fn each(&self, mut look: impl FnMut(&V)) {
        for shard in &self.shards {
            read(shard).values().for_each(&mut look);
        }
    }

    pub(super) fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        read(self.shard(key)).get(key).cloned()
    }

    pub(super) fn insert(&self, key: K, value: V) {
        write(self.shard(&key)).insert(key, value);
    }

    pub(super) fn remove<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        write(self.shard(key)).remove(key);
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            write(shard).clear();
        }
    }
}

/// Below SHARDS.
pub(super) fn shard_of<Q: Hash + ?Sized>(key: &Q) -> usize {
    place_of(key, SHARDS)
}

/// The place of a name among so many.
pub(super) fn place_of<Q: Hash + ?Sized>(name: &Q, places: usize) -> usize {
    let place = spread(name) % places as u64;
    usize::try_from(place).expect("it is below the number of places, which is a usize")
}

/// A number that names seldom share.
fn spread<Q: Hash + ?Sized>(key: &Q) -> u64 {
    let mut spread = Spread::default();
    key.hash(&mut spread);
    spread.finish()
}

/// Chooses a shard. Quick, and open to a caller who wants all names in one shard:
/// that costs waiting, no more. The maps inside hash as the standard library does.
#[derive(Default)]
struct Spread(u64);

impl Spread {
    /// Odd, with its bits in no order: the golden ratio's.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
}

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            let mixed = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(Self::MIX);
            self.0 = mixed.rotate_left(23);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
