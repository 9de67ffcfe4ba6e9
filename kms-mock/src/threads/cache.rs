//! What a thread has just looked up, to be had again without a lock that every
//! thread takes and without counting references that every thread counts.
//!
//! A cache belongs to what it remembers things of, and goes with it. Each thread has
//! places of its own in it. An entry is good for one version: whoever changes what it
//! was made from moves the version on before the change is acknowledged, so a call
//! that comes after a change never finds what was before. What must not stay in memory
//! is taken out of the places of all threads by [`ThreadCache::forget`]. Models
//! nothing of AWS.

use std::{
    array,
    borrow::Borrow,
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::{lane::lane, spread::place_of};

/// Enough for the threads of a large machine; more share.
const LANES: usize = 32;

/// What a thread remembers in one cache; a power of two.
const PLACES: usize = 16;

/// The last values that each thread has looked up, by their names.
pub(crate) struct ThreadCache<N, V> {
    lanes: [OnceLock<Lane<N, V>>; LANES],
}

/// Made by the first thread that keeps something in it.
type Lane<N, V> = Box<Mutex<[Option<Entry<N, V>>; PLACES]>>;

struct Entry<N, V> {
    version: u64,
    name: N,
    value: V,
}

impl<N, V> Default for ThreadCache<N, V> {
    fn default() -> Self {
        Self {
            lanes: array::from_fn(|_| OnceLock::new()),
        }
    }
}

impl<N: Hash, V: Clone> ThreadCache<N, V> {
    /// The value of `name`, if this thread has kept it and its version is what
    /// `current` says.
    pub(crate) fn get<Q>(&self, name: &Q, current: impl FnOnce(&V) -> u64) -> Option<V>
    where
        N: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let own = lock(self.lanes.get(lane(LANES))?.get()?);
        let entry = own.get(place(name))?.as_ref()?;
        let is_it = entry.name.borrow() == name && entry.version == current(&entry.value);
        is_it.then(|| entry.value.clone())
    }

    /// Keeps what was found when the version was `version`, unless `current` says
    /// that it has moved on since.
    pub(crate) fn keep(&self, name: N, value: V, version: u64, current: impl FnOnce(&V) -> u64) {
        let Some(own) = self.lanes.get(lane(LANES)) else {
            return;
        };
        let mut own = lock(own.get_or_init(|| Box::new(Mutex::new(array::from_fn(|_| None)))));
        // With the lane held: whoever forgets comes before this, and has moved the
        // version on, or after it.
        if let Some(place) = own.get_mut(place(&name))
            && version == current(&value)
        {
            *place = Some(Entry {
                version,
                name,
                value,
            });
        }
    }

    /// Lets go, in the places of all threads, of what is not `to_keep`. The version of
    /// what is to be forgotten has been moved on.
    pub(crate) fn forget(&self, is_gone: impl Fn(&V) -> bool) {
        for lane in self.lanes.iter().filter_map(OnceLock::get) {
            for place in &mut *lock(lane) {
                if place.as_ref().is_some_and(|it| is_gone(&it.value)) {
                    *place = None;
                }
            }
        }
    }
}

fn lock<N, V>(lane: &Lane<N, V>) -> MutexGuard<'_, [Option<Entry<N, V>>; PLACES]> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place<Q: Hash + ?Sized>(name: &Q) -> usize {
    place_of(name, PLACES)
}

impl<N, V> fmt::Debug for ThreadCache<N, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ThreadCache(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    fn cache() -> ThreadCache<String, Arc<u64>> {
        ThreadCache::default()
    }

    #[test]
    fn a_value_is_found_by_its_name_and_for_its_version_alone() {
        let cache = cache();
        assert_eq!(cache.get("a", |_| 1), None);
        cache.keep("a".to_owned(), Arc::new(7), 1, |_| 1);
        assert_eq!(cache.get("a", |_| 1).as_deref(), Some(&7));
        assert_eq!(cache.get("a", |_| 2), None);
        assert_eq!(cache.get("b", |_| 1), None);
        // The next version takes the place of the last.
        cache.keep("a".to_owned(), Arc::new(8), 2, |_| 2);
        assert_eq!(cache.get("a", |_| 2).as_deref(), Some(&8));
    }

    #[test]
    fn what_has_changed_since_it_was_found_is_not_kept() {
        let cache = cache();
        cache.keep("a".to_owned(), Arc::new(7), 1, |_| 2);
        assert_eq!(cache.get("a", |_| 1), None);
        assert_eq!(cache.get("a", |_| 2), None);
    }

    #[test]
    fn more_names_than_places_are_never_mixed_up() {
        let cache = cache();
        for number in (0..1000).chain(0..1000) {
            let name = format!("name {number}");
            let found = cache.get(name.as_str(), |_| 1);
            assert!(found.is_none_or(|it| *it == number));
            cache.keep(name.clone(), Arc::new(number), 1, |_| 1);
            assert_eq!(cache.get(name.as_str(), |_| 1).as_deref(), Some(&number));
        }
    }

    #[test]
    fn what_is_forgotten_is_freed_in_the_places_of_all_threads() {
        let cache = cache();
        let (gone, stays) = (Arc::new(1), Arc::new(2));
        // Two names that do not take each other's place.
        let stayer = (0..)
            .map(|number| format!("stays {number}"))
            .find(|name| place(name.as_str()) != place("gone"))
            .unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    cache.keep("gone".to_owned(), Arc::clone(&gone), 1, |_| 1);
                    cache.keep(stayer.clone(), Arc::clone(&stays), 1, |_| 1);
                });
            }
        });
        assert!(Arc::strong_count(&gone) > 1);
        let held = Arc::strong_count(&stays);
        cache.forget(|value| **value == 1);
        assert_eq!(Arc::strong_count(&gone), 1);
        assert_eq!(Arc::strong_count(&stays), held);
        drop(cache);
        assert_eq!(Arc::strong_count(&stays), 1);
    }
}
