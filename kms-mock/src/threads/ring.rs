//! The last so many of something, in the order they came, without a lock that
//! everybody takes.
//!
//! Each entry gets the next number, and its thread keeps it with its own: two who
//! push at once share nothing but the counter, and what is forgotten is freed where
//! it was made. Models nothing of AWS.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::lane::lane;

/// Enough for the threads of a large machine; more share.
const LANES: usize = 32;

/// The last entries pushed, as many as it has room for.
pub(crate) struct Ring<T> {
    max: u64,
    next: Alone<AtomicU64>,
    lanes: Box<[Alone<Lane<T>>]>,
}

/// Alone in its lines of the cache: what stands beside it is read by all.
#[repr(align(128))]
#[derive(Default)]
struct Alone<T>(T);

type Lane<T> = Mutex<VecDeque<Numbered<T>>>;

struct Numbered<T> {
    number: u64,
    entry: T,
}

impl<T> Ring<T> {
    /// Room for `max` entries; none are kept if that is zero.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max as u64,
            next: Alone::default(),
            lanes: (0..LANES).map(|_| Alone(Mutex::default())).collect(),
        }
    }

    /// Whether nothing is ever kept.
    pub(crate) fn is_useless(&self) -> bool {
        self.max == 0
    }

    /// The number of the next entry, to be pushed with it.
    pub(crate) fn number(&self) -> u64 {
        self.next.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps an entry and forgets what there is no room for any more.
    pub(crate) fn push(&self, number: u64, entry: T) {
        let Some(own) = self.lanes.get(lane(LANES)) else {
            return;
        };
        let mut own = lock(own);
        own.push_back(Numbered { number, entry });
        while own.front().is_some_and(|it| it.number + self.max <= number) {
            own.pop_front();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for lane in &self.lanes {
            lock(lane).clear();
        }
    }

    /// The first number that there is room for. A lane of a thread that pushes no
    /// more may hold older entries.
    fn oldest(&self) -> u64 {
        self.next.0.load(Ordering::Relaxed).saturating_sub(self.max)
    }
}

impl<T: Clone> Ring<T> {
    /// What is kept, oldest first.
    pub(crate) fn entries(&self) -> Vec<T> {
        let oldest = self.oldest();
        let mut kept = Vec::new();
        for lane in &self.lanes {
            let lane = lock(lane);
            let young = lane.iter().filter(|it| it.number >= oldest);
            kept.extend(young.map(|it| (it.number, it.entry.clone())));
        }
        kept.sort_unstable_by_key(|(number, _)| *number);
        kept.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The last entry that `is_wanted`.
    pub(crate) fn find_last(&self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let oldest = self.oldest();
        let mut found: Option<(u64, T)> = None;
        for lane in &self.lanes {
            for it in &*lock(lane) {
                let is_later = found
                    .as_ref()
                    .map_or(it.number >= oldest, |(number, _)| *number < it.number);
                if is_later && is_wanted(&it.entry) {
                    found = Some((it.number, it.entry.clone()));
                }
            }
        }
        found.map(|(_, entry)| entry)
    }
}

fn lock<T>(lane: &Alone<Lane<T>>) -> MutexGuard<'_, VecDeque<Numbered<T>>> {
    lane.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<T> Ring<T> {
        fn add(&self, entry: T) {
            self.push(self.number(), entry);
        }
    }

    #[test]
    fn the_last_entries_are_kept_in_order() {
        let ring = Ring::new(3);
        assert!(ring.entries().is_empty());
        for (pushed, kept) in [(1, vec![1]), (2, vec![1, 2]), (3, vec![1, 2, 3])] {
            ring.add(pushed);
            assert_eq!(ring.entries(), kept);
        }
        ring.add(4);
        ring.add(5);
        assert_eq!(ring.entries(), [3, 4, 5]);
        assert_eq!(ring.find_last(|entry| entry % 2 == 1), Some(5));
        assert_eq!(ring.find_last(|entry| *entry < 3), None);
        ring.clear();
        assert!(ring.entries().is_empty());
        ring.add(6);
        assert_eq!(ring.entries(), [6]);
    }

    #[test]
    fn what_an_idle_thread_pushed_grows_old_like_the_rest() {
        let ring = Ring::new(3);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|n| ring.add(n)));
        });
        ring.add(10);
        assert_eq!(ring.entries(), [1, 2, 10]);
        assert_eq!(ring.find_last(|entry| *entry < 2), Some(1));
        (11..13).for_each(|n| ring.add(n));
        assert_eq!(ring.entries(), [10, 11, 12]);
        assert_eq!(ring.find_last(|entry| *entry < 10), None);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let ring = Ring::new(0);
        ring.add(1);
        assert!(ring.is_useless());
        assert!(ring.entries().is_empty());
    }

    #[test]
    fn pushing_from_many_threads_loses_nothing_within_the_room() {
        let ring = Ring::new(4000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let ring = &ring;
                scope.spawn(move || (0..1000).for_each(|n| ring.add(thread * 1000 + n)));
            }
        });
        let mut kept = ring.entries();
        kept.sort_unstable();
        assert_eq!(kept, (0..4000).collect::<Vec<_>>());
    }

    #[test]
    fn a_lane_holds_no_more_than_there_is_room_for() {
        let ring = Ring::new(10);
        (0..1000).for_each(|n| ring.add(n));
        let held: usize = ring.lanes.iter().map(|lane| lock(lane).len()).sum();
        assert_eq!(held, 10);
    }
}
