//! One KMS key: what never changes, and a snapshot of what does.
//!
//! Source of truth: AWS KMS developer guide, "Key states", "Rotate AWS KMS keys"
//! and "Delete an AWS KMS key"; ground truth KMS §4. What AWS does by the
//! calendar (deletion after its window, automatic rotation) happens when the key
//! is next looked at after the clock has passed the date.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use super::{
    custom_store::Backing,
    import::Import,
    keep,
    material::{Handle, SymmetricMaterial},
    multi_region::Family,
    secret::Secret,
};
use crate::{
    journal::{Batch, Journal, Noted, Row, Unwritten, encode},
    model::spec::{KeySpec, KeyUsage, Origin, RotationType},
    policy::{Grant, KeyFacts, Policy},
    threads::lane::lane,
    world::{
        arn::{account_of, region_of},
        entropy::Entropy,
        request_id::RequestId,
    },
};

const DAY_MS: u64 = 24 * 3600 * 1000;

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
    record: RwLock<Arc<Record>>,
    /// Held alone while a change is computed and written, so that changes do not
    /// overtake; held shared by changes of grants, which do not meet each other.
    changing: RwLock<()>,
    /// Set, with `changing` held alone, when the key is deleted.
    is_gone: AtomicBool,
    /// Where changes go once the key is in its store.
    journal: OnceLock<Journal>,
    grants: RwLock<BTreeMap<String, Arc<Grant>>>,
    /// Moved on by every change of the record.
    version: AtomicU64,
    uses: Uses,
    /// Whether the journal knows that there is a last use to write.
    is_use_noted: AtomicBool,
}

/// The last successful cryptographic operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastUse {
    pub(crate) operation: &'static str,
    pub(crate) at: UnixMillis,
    pub(crate) request_id: RequestId,
    /// Tells which of two calls of one millisecond was later.
    pub(crate) number: u64,
}

/// How many threads note uses without waiting for each other.
const LANES: usize = 4;

/// The last use that each thread has noted.
#[derive(Debug, Default)]
struct Uses([OnceLock<Box<Mutex<LastUse>>>; LANES]);

impl Uses {
    fn note(&self, next: LastUse) {
        let Some(place) = self.0.get(lane(LANES)) else {
            return;
        };
        let last = place.get_or_init(|| Box::new(Mutex::new(next.clone())));
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.when() < next.when() {
            *last = next;
        }
    }

    fn last(&self) -> Option<LastUse> {
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

/// What changes during a key's life.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) description: Arc<str>,
    pub(crate) state: KeyState,
    pub(crate) policy: Arc<Policy>,
    pub(crate) tags: Arc<BTreeMap<String, String>>,
    /// Names of the aliases that point here, `alias/…`.
    pub(crate) aliases: Arc<[Arc<str>]>,
    /// Oldest first; the last one encrypts. Empty unless the key encrypts
    /// symmetrically.
    pub(crate) materials: Arc<[Generation]>,
    /// What any other key works with.
    pub(crate) secret: Option<Arc<Secret>>,
    pub(crate) rotation: Rotation,
    /// What was imported, for keys of origin `EXTERNAL`; `materials` follows it.
    pub(crate) imports: Option<Arc<[Import]>>,
}

/// Key material with how it came to be current.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) material: Arc<SymmetricMaterial>,
    /// `None` for the first.
    pub(crate) rotated: Option<(UnixMillis, RotationType)>,
}

/// `KeyState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    Enabled,
    Disabled,
    /// Some imported material is not there, or none ever was.
    PendingImport,
    /// Its primary Region is changing; over when the clock has moved on.
    Updating {
        since: UnixMillis,
    },
    /// To be deleted, as soon as its replicas are.
    PendingReplicaDeletion {
        window_days: u32,
    },
    PendingDeletion {
        at: UnixMillis,
        window_days: u32,
    },
}

impl KeyState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingImport => "PendingImport",
            Self::Updating { .. } => "Updating",
            Self::PendingReplicaDeletion { .. } => "PendingReplicaDeletion",
            Self::PendingDeletion { .. } => "PendingDeletion",
        }
    }
}

/// Automatic and on-demand rotation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rotation {
    pub(crate) automatic: Option<Automatic>,
    pub(crate) on_demand_count: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Automatic {
    pub(crate) period_days: u32,
    pub(crate) next: UnixMillis,
}

impl Automatic {
    pub(crate) fn starting(now: UnixMillis, period_days: u32) -> Self {
        Self {
            period_days,
            next: days_after(now, period_days),
        }
    }
}

/// `days` after `from`.
pub(crate) fn days_after(from: UnixMillis, days: u32) -> UnixMillis {
    UnixMillis(
        from.0
            .saturating_add(u64::from(days).saturating_mul(DAY_MS)),
    )
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
            record: RwLock::new(Arc::new(record)),
            changing: RwLock::new(()),
            is_gone: AtomicBool::new(false),
            journal: OnceLock::new(),
            grants: RwLock::new(BTreeMap::new()),
            version: AtomicU64::new(0),
            uses: Uses::default(),
            is_use_noted: AtomicBool::new(false),
        }
    }

    /// Changes a key that is not in its store yet.
    pub(crate) fn alter(&self, change: impl FnOnce(&mut Record)) {
        let mut record = (*self.record()).clone();
        change(&mut record);
        self.put(record);
    }

    /// From now on changes go by `journal`.
    pub(crate) fn enter(&self, journal: &Journal) {
        self.journal.get_or_init(|| journal.clone());
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

    pub(crate) fn note_use(self: &Arc<Self>, use_: LastUse) {
        self.uses.note(use_);
        if let Some(journal) = self.journal.get()
            && journal.is_kept()
            && !self.is_use_noted.load(Ordering::SeqCst)
            && !self.is_use_noted.swap(true, Ordering::SeqCst)
        {
            journal.note(Arc::<Self>::clone(self));
        }
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
        self.version.load(Ordering::SeqCst)
    }

    /// The key as it is now.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, record: Record) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes the record unless `change` refuses or it cannot be written.
    pub(crate) fn change<T, E: From<Unwritten>>(
        &self,
        change: impl FnOnce(&mut Record) -> Result<T, E>,
    ) -> Result<T, E> {
        let memory = Journal::memory();
        let journal = self.journal.get().unwrap_or(&memory);
        Self::change_all(journal, self, &[], |record, _, _| change(record), |_| {})
    }

    /// Changes a key together with `others` (each named once) and with whatever
    /// else `change` writes: all of it or nothing. `publish` runs while the keys
    /// are still held.
    pub(crate) fn change_all<T, E: From<Unwritten>>(
        journal: &Journal,
        key: &Self,
        others: &[&Self],
        change: impl FnOnce(&mut Record, &mut [Record], &mut Batch) -> Result<T, E>,
        publish: impl FnOnce(&T),
    ) -> Result<T, E> {
        journal.change(
            |batch| {
                let held = hold(key, others);
                if key.is_gone.load(Ordering::SeqCst) {
                    let what = Arc::clone(&key.arn);
                    return Err(E::from(Unwritten::Gone { what }));
                }
                let mut record = (*key.record()).clone();
                let mut records: Vec<Record> = others
                    .iter()
                    .map(|other| (*other.record()).clone())
                    .collect();
                // What `change` writes comes after the keys, so that it can undo
                // their rows.
                let mut later = batch.another();
                let result = change(&mut record, &mut records, &mut later)?;
                keep::put_key(batch, key, &record);
                for (other, record) in others.iter().zip(&records) {
                    if !other.is_gone.load(Ordering::SeqCst) {
                        keep::put_key(batch, other, record);
                    }
                }
                batch.append(later);
                Ok((held, record, records, result))
            },
            |(_held, record, records, result)| {
                key.put(record);
                for (other, record) in others.iter().zip(records) {
                    other.put(record);
                }
                publish(&result);
                result
            },
        )
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

    pub(crate) fn grants(&self) -> Vec<Arc<Grant>> {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        grants.values().cloned().collect()
    }

    pub(crate) fn grant(&self, id: &str) -> Option<Arc<Grant>> {
        self.grants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    pub(crate) fn add_grant(&self, grant: &Arc<Grant>) -> Result<(), Unwritten> {
        self.change_grants(
            |batch| keep::put_grant(batch, self, grant),
            |grants| {
                grants.insert(grant.id.clone(), Arc::clone(grant));
            },
        )
    }

    /// That it was not there is no error.
    pub(crate) fn remove_grant(&self, id: &str) -> Result<(), Unwritten> {
        self.change_grants(
            |batch| batch.delete(keep::GRANTS, keep::grant_key(self, id)),
            |grants| {
                grants.remove(id);
            },
        )
    }

    /// A grant that the data directory has already.
    pub(crate) fn restore_grant(&self, grant: Grant) {
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.insert(grant.id.clone(), Arc::new(grant));
    }

    fn change_grants(
        &self,
        write: impl FnOnce(&mut Batch),
        publish: impl FnOnce(&mut BTreeMap<String, Arc<Grant>>),
    ) -> Result<(), Unwritten> {
        let memory = Journal::memory();
        let journal = self.journal.get().unwrap_or(&memory);
        journal.change(
            |batch| {
                let held = self.changing.read().unwrap_or_else(PoisonError::into_inner);
                if self.is_gone.load(Ordering::SeqCst) {
                    let what = Arc::clone(&self.arn);
                    return Err(Unwritten::Gone { what });
                }
                write(batch);
                Ok(held)
            },
            |_held| publish(&mut self.grants.write().unwrap_or_else(PoisonError::into_inner)),
        )
    }
}

impl Noted for Key {
    fn take_row(&self) -> Option<Row> {
        // Before it is read: a use that is noted meanwhile is written once more.
        self.is_use_noted.store(false, Ordering::SeqCst);
        let (table, arn) = (keep::USES, self.arn.as_bytes().to_vec());
        let row = encode(&keep::use_row(&self.uses.last()?));
        // The key may have been deleted since it was used.
        Some(Row::PutBeside(table, arn, row, keep::KEYS))
    }
}

/// Holds all of them alone, in the order of their names, so that two changes
/// never wait for each other.
fn hold<'k>(key: &'k Key, others: &[&'k Key]) -> Vec<RwLockWriteGuard<'k, ()>> {
    let mut all: Vec<&Key> = std::iter::once(key).chain(others.iter().copied()).collect();
    all.sort_by(|a, b| a.arn.cmp(&b.arn));
    all.iter()
        .map(|key| key.changing.write().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

impl Record {
    /// The material that encrypts.
    pub(crate) fn current(&self) -> Option<&Generation> {
        self.materials.last()
    }

    /// The material that a blob names.
    pub(crate) fn by_handle(&self, handle: &Handle) -> Option<&Arc<SymmetricMaterial>> {
        self.materials
            .iter()
            .rev()
            .map(|g| &g.material)
            .find(|m| m.handle == *handle)
    }

    /// Takes over what a primary key shares with its replicas.
    pub(crate) fn follow(&mut self, primary: &Self) {
        self.rotation = primary.rotation;
        if self.imports.is_none() {
            self.materials = Arc::clone(&primary.materials);
        }
    }

    /// Whether an automatic rotation is due. One that falls due while the key is
    /// disabled is made up for when it is enabled again.
    pub(crate) fn rotates(&self, now: UnixMillis) -> bool {
        self.state == KeyState::Enabled
            && self
                .rotation
                .automatic
                .is_some_and(|automatic| now >= automatic.next)
    }

    /// Makes up for the automatic rotations that are due; the new handles.
    pub(crate) fn rotate_by_calendar(
        &mut self,
        key_id: &str,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Vec<Handle> {
        let mut handles = Vec::new();
        while self.rotates(now)
            && let Some(automatic) = self.rotation.automatic
        {
            handles.push(self.rotate(key_id, automatic.next, RotationType::Automatic, entropy));
            self.rotation.automatic =
                Some(Automatic::starting(automatic.next, automatic.period_days));
        }
        handles
    }

    /// Lets imports expire and a change of the primary Region end.
    pub(crate) fn keep_up(&mut self, now: UnixMillis) {
        if matches!(self.state, KeyState::Updating { since } if now > since) {
            self.state = KeyState::Enabled;
        }
        if self.has_expired_import(now) {
            self.expire_imports(now);
        }
    }

    /// Makes new material current; what is encrypted under the old still opens.
    pub(crate) fn rotate(
        &mut self,
        key_id: &str,
        at: UnixMillis,
        rotation_type: RotationType,
        entropy: &Entropy,
    ) -> Handle {
        let material = Arc::new(fresh_material(key_id, entropy));
        let handle = material.handle;
        let mut materials = self.materials.to_vec();
        materials.push(Generation {
            material,
            rotated: Some((at, rotation_type)),
        });
        self.materials = materials.into();
        handle
    }
}

/// What most keys have not, once for all of them.
struct Nothing {
    text: Arc<str>,
    tags: Arc<BTreeMap<String, String>>,
    aliases: Arc<[Arc<str>]>,
}

static NOTHING: LazyLock<Nothing> = LazyLock::new(|| Nothing {
    text: "".into(),
    tags: Arc::default(),
    aliases: Arc::new([]),
});

/// A text that takes no memory when it is empty.
pub(crate) fn shared_text(text: &str) -> Arc<str> {
    if text.is_empty() {
        Arc::clone(&NOTHING.text)
    } else {
        text.into()
    }
}

/// Tags that take no memory when there are none.
pub(crate) fn shared_tags(tags: BTreeMap<String, String>) -> Arc<BTreeMap<String, String>> {
    if tags.is_empty() {
        Arc::clone(&NOTHING.tags)
    } else {
        Arc::new(tags)
    }
}

pub(crate) fn no_aliases() -> Arc<[Arc<str>]> {
    Arc::clone(&NOTHING.aliases)
}

fn fresh_material(key_id: &str, entropy: &Entropy) -> SymmetricMaterial {
    let mut secret = Zeroizing::new([0; 32]);
    entropy.fill(secret.as_mut_slice());
    SymmetricMaterial::new(&secret, key_id)
}

fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
