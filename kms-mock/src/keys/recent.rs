//! A key as it was found, for as long as it is so.
//!
//! Found things are remembered by the thread that found them; see
//! [`ThreadCache`]. A related key is not: its calendar is its primary's.

use std::{hash::Hash, sync::Arc};

use nsm_sim::clock::UnixMillis;

use super::{key::Key, message_keys::MessageKeys, record::Record};
use crate::threads::cache::ThreadCache;

/// A key as it is at the time of a call, for the thread that found it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) key: Arc<Key>,
    pub(crate) record: Arc<Record>,
    /// The key's ARN with a count of references of its own.
    pub(crate) arn: Arc<str>,
    pub(crate) message_keys: MessageKeys,
    version: u64,
}

/// The version of what nothing was found for.
const CHANGED: u64 = u64::MAX;

impl Known {
    /// The key as it is now.
    pub(crate) fn of(key: Arc<Key>) -> Arc<Self> {
        // Read before the record: what is found may be newer, never older.
        let version = key.version();
        Arc::new(Self {
            record: key.record(),
            arn: key.arn.as_ref().into(),
            message_keys: MessageKeys::default(),
            version,
            key,
        })
    }

    /// Keeps it under `name`.
    pub(super) fn keep<N: Hash>(self: &Arc<Self>, cache: &ThreadCache<N, Arc<Self>>, name: N) {
        if self.key.family.is_none() {
            cache.keep(name, Arc::clone(self), self.version, |it| it.version_now());
        }
    }

    /// The version of the key as it is, if the calendar asks nothing of it at `now`.
    pub(super) fn version_at(&self, now: UnixMillis) -> u64 {
        match self.key.due(&self.record, now) {
            None => self.version_now(),
            Some(_) => CHANGED,
        }
    }

    /// The same, if it is the key that is looked for.
    pub(super) fn version_if(&self, is_it: bool, now: UnixMillis) -> u64 {
        if is_it { self.version_at(now) } else { CHANGED }
    }

    fn version_now(&self) -> u64 {
        if self.key.is_gone() {
            return CHANGED;
        }
        self.key.version()
    }

    /// Whether the key is not what was found any more.
    pub(super) fn has_changed(&self) -> bool {
        self.version_now() != self.version
    }
}
