//! The identities of one world: what they are now, and how they change.

use std::sync::{
    Arc, Mutex, PoisonError, RwLockReadGuard,
    atomic::{AtomicU64, Ordering},
};

use nsm_sim::{
    clock::{Clock, UnixMillis},
    seed::WorldSeed,
};
use rand_chacha::ChaCha20Rng;

use super::{
    error::IamError,
    state::{Change, Identities},
};
use crate::{
    journal::{Journal, Kept, Unwritten},
    world::entropy::stream_of,
};

/// The identities of all accounts of one world.
pub struct Iam {
    identities: Kept<Identities>,
    journal: Journal,
    rng: Mutex<ChaCha20Rng>,
    clock: Arc<dyn Clock>,
    /// Different from that of every other [`Iam`] of this process.
    number: u64,
}

impl std::fmt::Debug for Iam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Iam(..)")
    }
}

/// A number that no other [`Iam`] of this process has.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
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
            number: number(),
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
        self.identities.change(&self.journal, |_, changes| {
            changes.push(Change::AllGone);
            Ok(())
        })
    }

    /// The one way in which identities change: `compute` refuses or adds changes; all
    /// of them come true or, if they cannot be written, none. It must read what it is
    /// given and not [`Iam::read`], which a waiting change would block.
    pub(super) fn change<T>(
        &self,
        compute: impl FnOnce(&Identities, &mut Vec<Change>) -> Result<T, IamError>,
    ) -> Result<T, IamError> {
        self.identities.change(&self.journal, compute)
    }

    /// Puts a change in place that the data directory has.
    pub(super) fn restore(&self, change: Change) {
        self.identities
            .restore(|identities| identities.apply(change));
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Identities> {
        self.identities.read()
    }

    /// Which identities these are: the number of their world in this process, and
    /// their version. Read it before them: what is found then may be newer, never
    /// older.
    pub(super) fn version(&self) -> (u64, u64) {
        (self.number, self.identities.version())
    }

    pub(super) fn with_rng<T>(&self, draw: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
