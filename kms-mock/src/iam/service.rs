//! The identities of one world: what they are now, and how they change.

use std::sync::{Arc, Mutex, PoisonError, RwLockReadGuard};

use nsm_sim::{
    clock::{Clock, UnixMillis},
    seed::WorldSeed,
};
use rand_chacha::ChaCha20Rng;

use super::{
    error::IamError,
    recent::Holding,
    state::{Change, Identities},
};
use crate::{
    journal::{Journal, Kept, Unwritten},
    threads::cache::ThreadCache,
    world::{
        directory::{Behind, Directory},
        entropy::stream_of,
    },
};

/// The identities of all accounts of one world.
pub struct Iam {
    identities: Kept<Identities>,
    journal: Journal,
    rng: Mutex<ChaCha20Rng>,
    clock: Arc<dyn Clock>,
    /// What a thread has just found of access keys.
    pub(super) holdings: ThreadCache<String, Holding>,
}

impl std::fmt::Debug for Iam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Iam(..)")
    }
}

impl Iam {
    /// No identities yet. With a seed, ids and keys repeat from run to run.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: Option<&WorldSeed>) -> Self {
        Self::with_journal(clock, seed, &Journal::memory(), 1)
    }

    /// No identities yet; changes go by `journal`, ids and keys are those of the
    /// world's start number `start`.
    pub(crate) fn with_journal(
        clock: Arc<dyn Clock>,
        seed: Option<&WorldSeed>,
        journal: &Journal,
        start: u64,
    ) -> Self {
        let random = WorldSeed::random();
        let rng = seed
            .unwrap_or(&random)
            .stream(&stream_of("kms-mock iam", start));
        Self {
            identities: Kept::default(),
            journal: journal.clone(),
            rng: Mutex::new(rng),
            clock,
            holdings: ThreadCache::default(),
        }
    }

    /// The time in this world.
    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Forgets all users, roles, policies, sessions and keys, in memory and in the
    /// data directory.
    ///
    /// # Errors
    /// [`Unwritten`] if the data directory cannot be written; then nothing is
    /// forgotten.
    pub fn clear(&self) -> Result<(), Unwritten> {
        self.changed(self.identities.change(&self.journal, |_, changes| {
            changes.push(Change::AllGone);
            Ok(())
        }))
    }

    /// The one way in which identities change: `compute` refuses or adds changes; all
    /// of them come true or, if they cannot be written, none. It must read what it is
    /// given and not [`Iam::read`], which a waiting change would block.
    pub(super) fn change<T>(
        &self,
        compute: impl FnOnce(&Identities, &mut Vec<Change>) -> Result<T, IamError>,
    ) -> Result<T, IamError> {
        self.changed(self.identities.change(&self.journal, compute))
    }

    /// Lets go of the secrets that threads remember: they may be gone.
    fn changed<T, E>(&self, change: Result<T, E>) -> Result<T, E> {
        self.holdings.forget(|_| true);
        change
    }

    /// Puts a change in place that the data directory has.
    pub(super) fn restore(&self, change: Change) {
        self.identities
            .restore(|identities| identities.apply(change));
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Identities> {
        self.identities.read()
    }

    /// Another one after each change. Read it before them: what is found then may be
    /// newer, never older.
    pub(super) fn version(&self) -> u64 {
        self.identities.version()
    }

    pub(super) fn with_rng<T>(&self, draw: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Directory for Iam {
    fn behind(&self, arn: &str) -> Behind {
        self.read().behind(arn)
    }

    fn is_there(&self, unique_id: &str) -> bool {
        self.read().is_there(unique_id)
    }
}
