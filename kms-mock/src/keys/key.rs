//! One KMS key: what never changes, a snapshot of what does, and its grants.
//!
//! Source of truth: AWS KMS developer guide, "Key states", "Rotate AWS KMS keys"
//! and "Delete an AWS KMS key"; ground truth KMS §4. What AWS does by the
//! calendar (deletion after its window, automatic rotation) happens when the key
//! is next looked at after the clock has passed the date; `due` says what.
//!
//! Nothing here is written: `store` makes the changes of the keys that it has.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use nsm_sim::clock::UnixMillis;

use super::{
    custom_store::Backing,
    imported::Import,
    material::Generation,
    multi_region::Family,
    record::{KeyState, Record, Rotation, fresh_material, no_aliases, shared_tags, shared_text},
    secret::Secret,
    uses::{LastUse, Uses},
};
use crate::{
    journal::{Batch, Changing, Kept, Unwritten},
    model::spec::{KeySpec, KeyUsage, Origin},
    policy::{Grant, KeyFacts, Policy},
    world::{
        arn::{account_of, region_of},
        entropy::Entropy,
    },
};

/// A key. Readers take a snapshot of its record and never wait for a writer's
/// work or disk, only for the moment in which it puts the new snapshot in place.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) arn: Arc<str>,
    pub(crate) spec: KeySpec,
    pub(crate) usage: KeyUsage,
    pub(crate) origin: Origin,
    /// The related keys of a multi-Region key.
    pub(crate) family: Option<Arc<Family>>,
    /// The custom key store it is in.
    pub(crate) backing: Option<Box<Backing>>,
    pub(crate) created: UnixMillis,
    record: Kept<Arc<Record>>,
    /// Changed while the record is held, so that no change of either meets another.
    grants: RwLock<BTreeMap<String, Arc<Grant>>>,
    /// Set, while the record is held for a change, when the key is deleted.
    is_gone: AtomicBool,
    uses: Uses,
    /// Whether the journal knows that there is a last use to write.
    is_use_noted: AtomicBool,
}

/// What a key is made from.
#[derive(Debug)]
pub(crate) struct NewKey {
    pub(crate) arn: Arc<str>,
    pub(crate) spec: KeySpec,
    pub(crate) usage: KeyUsage,
    pub(crate) origin: Origin,
    pub(crate) family: Option<Arc<Family>>,
    pub(crate) backing: Option<Backing>,
    pub(crate) created: UnixMillis,
    pub(crate) description: String,
    pub(crate) policy: Arc<Policy>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// What the calendar asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// An import has expired, or a change of its primary Region is over.
    Upkeep,
    /// New material.
    Rotation,
    /// Its deletion date has passed.
    Deletion,
}

impl Key {
    /// A key with material of its own, unless it is to be imported; `None` when
    /// the cryptographic library fails. RSA takes up to seconds.
    pub(crate) fn new(new: NewKey, entropy: &Entropy) -> Option<Self> {
        if new.origin == Origin::External {
            return Some(Self::with(new, KeyState::PendingImport, Arc::new([]), None));
        }
        let (materials, secret): (Arc<[Generation]>, _) = if new.spec.is_symmetric_encryption() {
            let first = Generation {
                material: Arc::new(fresh_material(id_of(&new.arn), entropy)),
                rotated: None,
            };
            (Arc::new([first]), None)
        } else {
            let secret = Secret::generate(new.spec, new.usage, entropy)?;
            (Arc::new([]), Some(Arc::new(secret)))
        };
        Some(Self::with(new, KeyState::Enabled, materials, secret))
    }

    /// A replica of a multi-Region key.
    pub(crate) fn replica(new: NewKey, primary: &Record) -> Self {
        if new.origin != Origin::External {
            let key = Self::with(
                new,
                KeyState::Enabled,
                Arc::clone(&primary.materials),
                primary.secret.clone(),
            );
            key.alter(|record| record.follow(primary));
            return key;
        }
        let key = Self::with(new, KeyState::PendingImport, Arc::new([]), None);
        key.alter(|record| record.expect_imports_of(primary));
        key
    }

    /// A key as the data directory has it, without aliases and grants.
    pub(crate) fn restore(
        arn: Arc<str>,
        (spec, usage, origin): (KeySpec, KeyUsage, Origin),
        (family, backing, created): (Option<Arc<Family>>, Option<Backing>, UnixMillis),
        record: Record,
    ) -> Self {
        Self {
            arn,
            spec,
            usage,
            origin,
            family,
            backing: backing.map(Box::new),
            created,
            record: Kept::new(Arc::new(record)),
            grants: RwLock::new(BTreeMap::new()),
            is_gone: AtomicBool::new(false),
            uses: Uses::default(),
            is_use_noted: AtomicBool::new(false),
        }
    }

    /// Changes a key that is not in its store yet.
    pub(crate) fn alter(&self, change: impl FnOnce(&mut Record)) {
        self.record.restore(|record| change(Arc::make_mut(record)));
    }

    /// Holds the record for the change whose rows go into a batch.
    pub(super) fn hold(&self, change: &Batch) -> Changing<'_, Arc<Record>> {
        self.record.hold(change)
    }

    /// Refuses to change a key that is deleted. Only while its record is held.
    pub(super) fn must_be_there(&self) -> Result<(), Unwritten> {
        if self.is_gone() {
            let what = Arc::clone(&self.arn);
            return Err(Unwritten::Gone { what });
        }
        Ok(())
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    /// From now on nothing can be changed any more. Only with no change on its
    /// way, or by the change that deletes the key.
    pub(crate) fn end(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }

    fn with(
        new: NewKey,
        state: KeyState,
        materials: Arc<[Generation]>,
        secret: Option<Arc<Secret>>,
    ) -> Self {
        let record = Record {
            description: shared_text(&new.description),
            state,
            policy: new.policy,
            tags: shared_tags(new.tags),
            aliases: no_aliases(),
            materials,
            secret,
            rotation: Rotation::default(),
            imports: (new.origin == Origin::External).then(|| Arc::new([]) as Arc<[Import]>),
        };
        Self::restore(
            new.arn,
            (new.spec, new.usage, new.origin),
            (new.family, new.backing, new.created),
            record,
        )
    }

    /// Whether the key is a replica of a multi-Region key.
    pub(crate) fn is_replica(&self) -> bool {
        let family = self.family.as_ref();
        family.is_some_and(|family| !family.is_primary(&self.arn))
    }

    /// `MultiRegionKeyType`.
    pub(crate) fn multi_region_type(&self) -> Option<&'static str> {
        let family = self.family.as_ref()?;
        Some(if family.is_primary(&self.arn) {
            "PRIMARY"
        } else {
            "REPLICA"
        })
    }

    pub(crate) fn last_use(&self) -> Option<LastUse> {
        self.uses.last()
    }

    /// Notes a use. Answers whether it is the first one since the row of the last
    /// use was written: then the journal has yet to note the key, if rows are kept.
    pub(super) fn note_use(&self, last: LastUse, is_kept: bool) -> bool {
        self.uses.note(last);
        is_kept
            && !self.is_use_noted.load(Ordering::SeqCst)
            && !self.is_use_noted.swap(true, Ordering::SeqCst)
    }

    /// The last use, to be written.
    pub(super) fn take_use(&self) -> Option<LastUse> {
        // Before it is read: a use that is noted meanwhile is written once more.
        self.is_use_noted.store(false, Ordering::SeqCst);
        self.uses.last()
    }

    /// A last use that the data directory has already.
    pub(crate) fn restore_use(&self, use_: LastUse) {
        self.uses.note(use_);
    }

    pub(crate) fn id(&self) -> &str {
        id_of(&self.arn)
    }

    pub(crate) fn account(&self) -> &str {
        let account = self.arn.get(self.account_at()..self.account_at() + 12);
        account.unwrap_or_else(|| account_of(&self.arn))
    }

    pub(crate) fn region(&self) -> &str {
        let end = self.account_at().saturating_sub(1);
        let region = self.arn.get("arn:aws:kms:".len()..end);
        region.unwrap_or_else(|| region_of(&self.arn))
    }

    /// Ids have 36 characters, accounts 12; only the Region's length varies.
    fn account_at(&self) -> usize {
        self.arn.len().saturating_sub(12 + ":key/".len() + 36)
    }

    /// Another one after each change of the record.
    pub(crate) fn version(&self) -> u64 {
        self.record.version()
    }

    /// The key as it is now.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read())
    }

    /// What the calendar asks for at `now` of a key with that record.
    pub(crate) fn due(&self, record: &Record, now: UnixMillis) -> Option<Due> {
        match record.state {
            KeyState::PendingDeletion { at, .. } if now >= at => return Some(Due::Deletion),
            KeyState::PendingDeletion { .. } => return None,
            KeyState::Updating { since } if now > since => return Some(Due::Upkeep),
            _ => {}
        }
        if record.has_expired_import(now) {
            return Some(Due::Upkeep);
        }
        // Replicas follow their primary key instead.
        let rotates = record.rotates(now) && !self.is_replica();
        rotates.then_some(Due::Rotation)
    }

    pub(crate) fn facts<'a>(&'a self, record: &'a Record) -> KeyFacts<'a> {
        KeyFacts {
            arn: &self.arn,
            account: self.account(),
            region: self.region(),
            spec: self.spec.name(),
            usage: self.usage.name(),
            origin: self.origin.name(),
            multi_region_type: self.multi_region_type(),
            aliases: &record.aliases,
            tags: &record.tags,
        }
    }

    /// Looks at the grants as they are.
    pub(crate) fn with_grants<T>(
        &self,
        look: impl FnOnce(&BTreeMap<String, Arc<Grant>>) -> T,
    ) -> T {
        look(&self.read_grants())
    }

    pub(crate) fn grants(&self) -> Vec<Arc<Grant>> {
        self.read_grants().values().cloned().collect()
    }

    pub(crate) fn grant(&self, id: &str) -> Option<Arc<Grant>> {
        self.read_grants().get(id).cloned()
    }

    /// Puts a grant in place that is written already.
    pub(super) fn place_grant(&self, grant: Arc<Grant>) {
        self.write_grants().insert(grant.id.clone(), grant);
    }

    /// Takes a grant out of memory.
    pub(super) fn forget_grant(&self, id: &str) {
        self.write_grants().remove(id);
    }

    fn read_grants(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Grant>>> {
        self.grants.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_grants(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Grant>>> {
        self.grants.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last part of a key's ARN.
pub(super) fn id_of(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, id)| id)
}
