//! A small IAM and STS: roles with a trust policy, users, their inline and
//! managed policies and access keys, and sessions that end by the world's clock.
//!
//! Source of truth: AWS IAM and STS API references (names, quotas, error codes
//! and texts). In memory. Not modelled: groups, permissions boundaries (refused),
//! federation, MFA, service-linked roles; tags are kept and shown but are no
//! condition keys.

pub mod credentials;
pub mod document;
mod entity;
mod error;
mod identity;
mod managed;
mod names;
mod query;
mod roles;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod users;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nsm_sim::{
    clock::{Clock, UnixMillis},
    seed::WorldSeed,
};
use rand_chacha::ChaCha20Rng;

pub(crate) use self::query::{Form, FormAnswer, answer, refusal, service};
use self::state::{Change, State};
pub use self::{
    credentials::Credentials,
    document::{Document, DocumentError},
    entity::{Entity, EntityKind, Role, User, Who},
    error::IamError,
    identity::Identity,
    managed::ManagedPolicy,
    roles::NewRole,
    session::{AssumeRole, Session},
};

/// The identities of all accounts of one world.
pub struct Iam {
    state: RwLock<State>,
    rng: Mutex<ChaCha20Rng>,
    clock: Arc<dyn Clock>,
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
        let rng = match seed {
            Some(seed) => seed.stream("kms-mock iam"),
            None => WorldSeed::random().stream("kms-mock iam"),
        };
        Self {
            state: RwLock::default(),
            rng: Mutex::new(rng),
            clock,
        }
    }

    /// The time in this world.
    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Forgets all users, roles, policies, sessions and keys.
    pub fn clear(&self) {
        let _ = Self::commit(&mut self.write(), [Change::AllGone]);
    }

    /// The one place where identities change: all of `changes` or, if that must
    /// fail one day, none.
    #[allow(clippy::unnecessary_wraps)] // a place to keep changes may refuse them
    fn commit(
        state: &mut State,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<(), IamError> {
        for change in changes {
            state.apply(change);
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
