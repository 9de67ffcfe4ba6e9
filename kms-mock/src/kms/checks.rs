//! What is checked of a key before an operation uses it: the checks of the
//! operation's row, in the row's order.
//!
//! Source of truth: `model::operation`; AWS KMS developer guide, "Key states of AWS
//! KMS keys"; the recorded texts of `InvalidKeyUsageException`, `DisabledException`
//! and `KMSInvalidStateException`.

use super::{
    call::{CallContext, Found},
    error::{BadState, Failure, Invalid, Unsupported},
};
use crate::{
    keys::{
        key::Key,
        material::{BlobError, Handle},
        record::{KeyState, Record},
        secret::{Secret, Works},
        store::Store,
    },
    model::{
        operation::{Check, Operation, State, States},
        spec::Algorithm,
    },
    policy::Facts,
};

/// What a request asks of a key beyond its operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) algorithm: Option<Algorithm>,
    /// Whether it comes with an encryption context.
    pub(crate) has_context: bool,
    /// What its ciphertext says of the material it is under.
    pub(crate) handle: Option<&'a Handle>,
    /// Why what should be one of KMS's ciphertexts is none.
    pub(crate) malformed: Option<BlobError>,
    pub(crate) grant: Option<AskedGrant<'a>>,
}

/// What a grant asks of its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedGrant<'a> {
    pub(crate) operations: &'a [&'static str],
    /// Whether it constrains the encryption context.
    pub(crate) is_constrained: bool,
}

impl AskedGrant<'_> {
    /// The first operation that no key of this spec and usage is for.
    fn unsuitable(&self, key: &Key) -> Option<&'static str> {
        let suits =
            |name: &str| Operation::of_grant(name).is_some_and(|it| it.suits(key.spec, key.usage));
        let mut operations = self.operations.iter().copied();
        operations.find(|name| !suits(name))
    }
}

impl CallContext<'_> {
    /// The key that a request names, once it is found, the caller may use it and the
    /// operation can.
    pub(crate) fn usable(
        &mut self,
        key_id: &str,
        facts: Facts<'_>,
        asked: &Asked<'_>,
    ) -> Result<Found, Failure> {
        let found = self.find(key_id)?;
        self.authorize(&found, facts)?;
        self.check(&found, asked)?;
        Ok(found)
    }

    /// Refuses a key that the operation cannot use, once permission was given.
    pub(crate) fn check(&self, found: &Found, asked: &Asked<'_>) -> Result<(), Failure> {
        self.check_record(found, &found.record, asked)
    }

    /// The same at the moment of a change, when `record` is the key's.
    pub(crate) fn check_record(
        &self,
        found: &Found,
        record: &Record,
        asked: &Asked<'_>,
    ) -> Result<(), Failure> {
        let checks = self.row().checks.iter();
        checks
            .copied()
            .try_for_each(|check| self.check_one(check, found, record, asked))
    }

    /// The same of the two keys of one call: each check of the first key and of the
    /// second, then the next one.
    pub(crate) fn check_both(&self, keys: [(&Found, &Asked<'_>); 2]) -> Result<(), Failure> {
        for check in self.row().checks {
            for (found, asked) in keys {
                self.check_one(*check, found, &found.record, asked)?;
            }
        }
        Ok(())
    }

    fn check_one(
        &self,
        check: Check,
        found: &Found,
        record: &Record,
        asked: &Asked<'_>,
    ) -> Result<(), Failure> {
        let (row, key) = (self.row(), &found.key);
        let is_met = match check {
            Check::State => row.states.contains(state_of(record)),
            Check::Usage => self.operation().suits(key.spec, key.usage),
            Check::Spec => row.specs.contains(key.spec),
            Check::Origin => row.origins.contains(&key.origin),
            Check::NotReplica => !key.is_replica(),
            // Recorded: Decrypt with an HMAC key, and ReEncrypt from one.
            // Material that is gone is still the key's, or its related keys', of one id.
            Check::Ciphertext => asked.handle.is_none_or(|handle| {
                record.by_handle(handle).is_some()
                    || self
                        .store()
                        .key_by_handle(handle)
                        .is_none_or(|other| other.id() == key.id())
            }),
            Check::Form => asked.malformed.is_none(),
            Check::Algorithm => asked.algorithm.is_none_or(|it| key.spec.accepts(it)),
            Check::Context => !asked.has_context || key.spec.is_symmetric_encryption(),
            Check::GrantOperations => asked
                .grant
                .is_none_or(|grant| grant.unsuitable(key).is_none()),
            Check::GrantConstraint => {
                let is_constrained = asked.grant.is_some_and(|grant| grant.is_constrained);
                !is_constrained || key.spec.is_symmetric_encryption()
            }
        };
        if is_met {
            return Ok(());
        }
        Err(self.unmet(check, found, record, asked))
    }

    #[cold]
    fn unmet(&self, check: Check, found: &Found, record: &Record, asked: &Asked<'_>) -> Failure {
        let spec = found.key.spec.name();
        match check {
            Check::State => self.wrong_state(found, state_of(record)),
            Check::Usage => Failure::InvalidKeyUsage {
                arn: found.key.arn.to_string(),
                usage: found.key.usage.name(),
                operation: self.operation().name(),
            },
            Check::Spec => Failure::UnsupportedForKey { spec },
            Check::Origin => Failure::Unsupported(Unsupported::OriginNotValid {
                arn: found.key.arn.to_string(),
                origin: found.key.origin.name(),
            }),
            Check::NotReplica => found.is_not_primary(),
            Check::Ciphertext => Failure::IncorrectKey,
            Check::Form => Failure::InvalidCiphertext {
                cause: asked.malformed.map_or("", BlobError::cause),
            },
            Check::Algorithm => Failure::AlgorithmMismatch {
                algorithm: asked.algorithm.map_or("", Algorithm::name),
                spec,
            },
            Check::Context => Failure::Invalid(Invalid::ContextWithAsymmetric),
            Check::GrantOperations => {
                let grant = asked.grant.as_ref();
                let operation = grant.and_then(|grant| grant.unsuitable(&found.key));
                let operation = operation.unwrap_or_default();
                Failure::Invalid(Invalid::GrantOperation { operation, spec })
            }
            Check::GrantConstraint => Failure::Invalid(Invalid::ConstraintOfKey { spec }),
        }
    }

    fn wrong_state(&self, found: &Found, state: State) -> Failure {
        let row = self.row();
        if row.states == States::PENDING_DELETION {
            return found.in_state(BadState::NotPendingDeletion);
        }
        found.in_state(match state {
            State::Disabled => {
                return Failure::Disabled {
                    arn: found.key.arn.to_string(),
                };
            }
            State::PendingImport => BadState::PendingImport,
            State::Updating => BadState::Updating,
            State::PendingReplicaDeletion => BadState::PendingReplicaDeletion,
            State::PendingDeletion => BadState::PendingDeletion,
            State::Enabled => unreachable!("every row but CancelKeyDeletion's accepts it"),
        })
    }
}

/// The state of a key.
pub(crate) fn state_of(record: &Record) -> State {
    match record.state {
        KeyState::Enabled => State::Enabled,
        KeyState::Disabled => State::Disabled,
        KeyState::PendingImport => State::PendingImport,
        KeyState::Updating { .. } => State::Updating,
        KeyState::PendingReplicaDeletion { .. } => State::PendingReplicaDeletion,
        KeyState::PendingDeletion { .. } => State::PendingDeletion,
    }
}

impl Found {
    /// The key's secret, when it is not a symmetric encryption key.
    pub(crate) fn secret(&self) -> Result<&Secret, Failure> {
        self.record.secret.as_deref().ok_or(Failure::Internal)
    }

    /// What the key does.
    pub(crate) fn works(&self) -> Result<&Works, Failure> {
        Ok(&self.secret()?.works)
    }

    /// Changes the key's record unless `change` refuses.
    pub(crate) fn change<T>(
        &self,
        store: &Store,
        change: impl FnOnce(&mut Record) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        store.change(&self.key, change)
    }

    pub(crate) fn in_state(&self, state: BadState) -> Failure {
        let arn = self.key.arn.to_string();
        Failure::InvalidState { arn, state }
    }

    pub(crate) fn is_not_primary(&self) -> Failure {
        let arn = self.key.arn.to_string();
        Failure::Unsupported(Unsupported::NotPrimary { arn })
    }
}
