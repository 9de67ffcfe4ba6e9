//! Which keys wait for their deletion, and until when.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nsm_sim::clock::UnixMillis;

/// ARNs of keys that wait for their deletion.
#[derive(Debug)]
pub(super) struct Deletions {
    /// Soonest first.
    planned: Mutex<BTreeSet<(UnixMillis, Arc<str>)>>,
    /// The soonest one in unix milliseconds, so that a call that has none to care
    /// for need not ask for the lock.
    next: AtomicU64,
}

impl Default for Deletions {
    fn default() -> Self {
        Self {
            planned: Mutex::default(),
            next: AtomicU64::new(u64::MAX),
        }
    }
}

impl Deletions {
    pub(super) fn plan(&self, at: UnixMillis, arn: &Arc<str>) {
        let mut planned = self.planned();
        planned.insert((at, Arc::clone(arn)));
        self.next.fetch_min(at.0, Ordering::SeqCst);
    }

    /// Takes out the keys whose date has come.
    pub(super) fn take_due(&self, now: UnixMillis) -> Vec<Arc<str>> {
        if now.0 < self.next.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut planned = self.planned();
        while let Some(first) = planned.first()
            && first.0 <= now
        {
            due.extend(planned.pop_first().map(|(_, arn)| arn));
        }
        let next = planned.first().map_or(u64::MAX, |(at, _)| at.0);
        self.next.store(next, Ordering::SeqCst);
        due
    }

    pub(super) fn clear(&self) {
        let mut planned = self.planned();
        planned.clear();
        self.next.store(u64::MAX, Ordering::SeqCst);
    }

    fn planned(&self) -> MutexGuard<'_, BTreeSet<(UnixMillis, Arc<str>)>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
