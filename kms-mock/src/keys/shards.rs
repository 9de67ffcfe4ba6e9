//! Maps that many threads use at once, cut into shards so that a call waits for
//! nobody but a writer of its own shard.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::threads::spread::place_of;

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

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
