//! The last so many of something, in the order they came, without a lock that
//! everybody takes.
//!
//! Each entry gets the next number and with it a place of its own; two who push
//! at once meet only when one is a whole round ahead. Models nothing of AWS.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The last entries pushed, as many as it has places.
pub(crate) struct Ring<T> {
    next: AtomicUsize,
    places: Box<[Mutex<Option<Numbered<T>>>]>,
}

struct Numbered<T> {
    number: usize,
    entry: T,
}

impl<T> Ring<T> {
    /// Room for `max` entries; none are kept if that is zero.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            next: AtomicUsize::new(0),
            places: (0..max).map(|_| Mutex::default()).collect(),
        }
    }

    /// Whether nothing is ever kept.
    pub(crate) fn is_useless(&self) -> bool {
        self.places.is_empty()
    }

    /// Keeps an entry and forgets the oldest if there is no room for both.
    pub(crate) fn push(&self, entry: T) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let at = number.checked_rem(self.places.len());
        let Some(place) = at.and_then(|at| self.places.get(at)) else {
            return;
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|there| there.number > number) {
            return; // overtaken by a whole round
        }
        let oldest = place.replace(Numbered { number, entry });
        drop(place);
        drop(oldest); // freed outside the lock
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for place in &self.places {
            let gone = place.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(gone);
        }
    }
}

impl<T: Clone> Ring<T> {
    /// What is kept, oldest first.
    pub(crate) fn entries(&self) -> Vec<T> {
        let mut kept: Vec<(usize, T)> = self
            .places
            .iter()
            .filter_map(|place| {
                let place = place.lock().unwrap_or_else(PoisonError::into_inner);
                place.as_ref().map(|it| (it.number, it.entry.clone()))
            })
            .collect();
        kept.sort_unstable_by_key(|(number, _)| *number);
        kept.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The last entry that `is_wanted`.
    pub(crate) fn find_last(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut found: Option<(usize, T)> = None;
        for place in &self.places {
            let place = place.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(it) = &*place
                && is_wanted(&it.entry)
                && found.as_ref().is_none_or(|(number, _)| *number < it.number)
            {
                found = Some((it.number, it.entry.clone()));
            }
        }
        found.map(|(_, entry)| entry)
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("places", &self.places.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entries_are_kept_in_order() {
        let ring = Ring::new(3);
        assert!(ring.entries().is_empty());
        for (pushed, kept) in [(1, vec![1]), (2, vec![1, 2]), (3, vec![1, 2, 3])] {
            ring.push(pushed);
            assert_eq!(ring.entries(), kept);
        }
        ring.push(4);
        ring.push(5);
        assert_eq!(ring.entries(), [3, 4, 5]);
        assert_eq!(ring.find_last(|entry| entry % 2 == 1), Some(5));
        assert_eq!(ring.find_last(|entry| *entry < 3), None);
        ring.clear();
        assert!(ring.entries().is_empty());
        ring.push(6);
        assert_eq!(ring.entries(), [6]);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let ring = Ring::new(0);
        ring.push(1);
        assert!(ring.is_useless());
        assert!(ring.entries().is_empty());
    }

    #[test]
    fn pushing_from_many_threads_loses_nothing_within_the_room() {
        let ring = Ring::new(4000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let ring = &ring;
                scope.spawn(move || (0..1000).for_each(|n| ring.push(thread * 1000 + n)));
            }
        });
        let mut kept = ring.entries();
        kept.sort_unstable();
        assert_eq!(kept, (0..4000).collect::<Vec<_>>());
    }
}
