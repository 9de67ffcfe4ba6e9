//! A small IAM and STS: roles with a trust policy, users and their groups, inline
//! and managed policies, permissions boundaries, tags, access keys, and sessions
//! that end by the world's clock.
//!
//! Source of truth: AWS IAM and STS API references (names, quotas, error codes
//! and texts). Answers from memory; with a data directory every change is written
//! before it shows. Not modelled: web identities and SAML, MFA, service-linked
//! roles, passwords and certificates; conditions on the tags of what an IAM call
//! is about.

mod boundary;
pub mod credentials;
pub mod document;
mod entity;
mod error;
mod federation;
mod groups;
mod identity;
pub(crate) mod keep;
mod managed;
mod names;
mod query;
mod recent;
mod roles;
mod session;
mod state;
mod terms;
#[cfg(test)]
mod tests;
mod users;

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use nsm_sim::{
    clock::{Clock, UnixMillis},
    seed::WorldSeed,
};
use rand_chacha::ChaCha20Rng;

use self::state::{Change, State};
pub use self::{
    credentials::Credentials,
    document::{Document, DocumentError},
    entity::{Entity, EntityKind, Group, Role, User, Who},
    error::IamError,
    identity::Identity,
    managed::ManagedPolicy,
    roles::NewRole,
    session::{AssumeRole, Session},
    users::NewUser,
};
pub(crate) use self::{
    managed::NewPolicy,
    query::{Form, FormAnswer, answer, refusal, service},
    recent::{Known, caller, root},
};
use crate::{
    journal::{Journal, Unwritten},
    world::entropy::stream_of,
};

/// The identities of all accounts of one world.
pub struct Iam {
    state: RwLock<State>,
    /// Held while a change is computed and written.
    changing: Mutex<()>,
    journal: Journal,
    rng: Mutex<ChaCha20Rng>,
    clock: Arc<dyn Clock>,
    /// Moves on with every change, after it is in place.
    version: AtomicU64,
    /// Tells it from every other of this process.
    number: u64,
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
            state: RwLock::default(),
            changing: Mutex::default(),
            journal: journal.clone(),
            rng: Mutex::new(rng),
            clock,
            version: AtomicU64::new(0),
            number: recent::number(),
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
        self.write().make([Change::AllGone])
    }

    /// The one place where identities change: all of `changes` or, if they cannot
    /// be written, none.
    fn commit(
        state: &mut Changing<'_>,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<(), IamError> {
        Ok(state.make(changes)?)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Changing<'_> {
        let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Changing {
            iam: self,
            seen: Some(self.read()),
            _alone: alone,
        }
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The identities while they are changed: by one caller at a time, and until its
/// changes are written everybody else reads what was before.
struct Changing<'a> {
    iam: &'a Iam,
    /// `None` for the moment in which a change is put in place.
    seen: Option<RwLockReadGuard<'a, State>>,
    _alone: MutexGuard<'a, ()>,
}

impl Deref for Changing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        match &self.seen {
            Some(state) => state,
            None => unreachable!("nobody looks while a change is put in place"),
        }
    }
}

impl Changing<'_> {
    fn make(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), Unwritten> {
        let iam = self.iam;
        iam.journal.change(
            |batch| {
                let changes: Vec<Change> = changes.into_iter().collect();
                for change in &changes {
                    keep::put(batch, change);
                }
                Ok(changes)
            },
            |changes| {
                drop(self.seen.take());
                let mut state = iam.state.write().unwrap_or_else(PoisonError::into_inner);
                for change in changes {
                    state.apply(change);
                }
                iam.version.fetch_add(1, Ordering::SeqCst);
                drop(state);
                self.seen = Some(iam.read());
            },
        )?;
        Ok(())
    }
}
