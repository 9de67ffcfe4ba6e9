//! When a key was last used, noted by many threads at once.
//!
//! Source of truth: the KMS service model, `GetKeyLastUsage`.

use std::sync::{Mutex, OnceLock, PoisonError};

use nsm_sim::clock::UnixMillis;

use crate::{threads::lane::lane, world::request_id::RequestId};

/// The last successful cryptographic operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastUse {
    pub(crate) operation: &'static str,
    pub(crate) at: UnixMillis,
    pub(crate) request_id: RequestId,
    /// Higher for the later of two calls of one millisecond.
    pub(crate) number: u64,
}

/// How many threads note uses without waiting for each other.
const LANES: usize = 4;

/// The last use that each thread has noted.
#[derive(Debug, Default)]
pub(super) struct Uses([OnceLock<Box<Mutex<LastUse>>>; LANES]);

impl Uses {
    pub(super) fn note(&self, next: LastUse) {
        let Some(place) = self.0.get(lane(LANES)) else {
            return;
        };
        let last = place.get_or_init(|| Box::new(Mutex::new(next.clone())));
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.when() < next.when() {
            *last = next;
        }
    }

    pub(super) fn last(&self) -> Option<LastUse> {
        let noted = self.0.iter().filter_map(|place| {
            let last = place.get()?.lock().unwrap_or_else(PoisonError::into_inner);
            Some(last.clone())
        });
        noted.max_by_key(LastUse::when)
    }
}

impl LastUse {
    fn when(&self) -> (UnixMillis, u64) {
        (self.at, self.number)
    }
}
