//! Where keys and aliases live: in memory, in shards, so that a call waits for
//! nobody but a writer of its own shard. With a data directory a change is on
//! disk before it is here; see `crate::journal`.
//!
//! Source of truth: none of AWS's; its answers are in `api`. Does not model
//! eventual consistency: a change is seen by the next call.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use nsm_sim::clock::UnixMillis;

use super::{
    keep,
    key::{Due, Key, KeyState, Record, days_after},
    material::{Handle, SymmetricMaterial},
    multi_region::Family,
    recent::{self, Known},
};
use crate::{
    journal::{Batch, Journal, Unwritten},
    policy::Policy,
    world::entropy::Entropy,
};

/// Enough that sixteen busy connections rarely meet in one.
const SHARDS: usize = 64;
/// When a deletion is tried again that could not be written.
const RETRY_MS: u64 = 1000;

/// All keys and aliases of all accounts and Regions.
#[derive(Debug)]
pub(crate) struct Store {
    /// Tells it from every other store of this process.
    number: u64,
    keys: Shards<Arc<str>, Arc<Key>>,
    aliases: Shards<Arc<str>, Alias>,
    /// The key that each generation of material belongs to, by what is unique of
    /// its handle.
    handles: Shards<[u8; 16], Arc<Key>>,
    /// ARNs in order, for lists.
    key_index: RwLock<BTreeSet<Arc<str>>>,
    alias_index: RwLock<BTreeSet<Arc<str>>>,
    /// Keys that wait for their deletion, soonest first.
    deletions: Mutex<BTreeSet<(UnixMillis, Arc<str>)>>,
    /// The soonest deletion in unix milliseconds, so that a call that has none
    /// to care for need not ask for the lock.
    next_deletion: AtomicU64,
    /// Held while an alias and the keys it leaves and joins are changed: an
    /// alias's own one of as many as there are shards.
    alias_changes: Vec<Mutex<()>>,
    journal: Journal,
    /// The default policy of each account, shared by its keys.
    default_policies: RwLock<BTreeMap<String, Arc<Policy>>>,
}

/// An alias.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    pub(crate) target: Arc<str>,
    pub(crate) created: UnixMillis,
    pub(crate) updated: UnixMillis,
}

impl Store {
    /// Empty; changes go by `journal`.
    pub(crate) fn new(journal: Journal) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            keys: Shards::new(),
            aliases: Shards::new(),
            handles: Shards::new(),
            key_index: RwLock::default(),
            alias_index: RwLock::default(),
            deletions: Mutex::default(),
            next_deletion: AtomicU64::new(u64::MAX),
            alias_changes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            journal,
            default_policies: RwLock::default(),
        }
    }

    /// The way of every change.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Keeps a new key with its aliases, which the caller holds.
    pub(crate) fn insert(
        &self,
        key: &Arc<Key>,
        aliases: &[(String, Alias)],
    ) -> Result<(), Unwritten> {
        self.journal.change(
            |batch| {
                keep::put_key(batch, key, &key.record());
                if let Some(family) = &key.family {
                    put_primary(batch, family, &family.members().primary);
                }
                for (arn, alias) in aliases {
                    keep::put_alias(batch, arn, alias);
                }
                Ok(())
            },
            |()| {
                self.place(key);
                for (arn, alias) in aliases {
                    self.place_alias(arn, alias.clone());
                }
            },
        )
    }

    /// Puts a key in place that is written already.
    pub(crate) fn place(&self, key: &Arc<Key>) {
        self.restore(key);
        write(&self.key_index).insert(Arc::clone(&key.arn));
    }

    /// The same for one of many: lists know them after [`Store::list_restored`].
    pub(crate) fn restore(&self, key: &Arc<Key>) {
        let record = key.record();
        let materials = record.materials.iter().map(|g| g.material.handle);
        for handle in materials.chain(record.imports().iter().map(|i| i.handle)) {
            self.know_handle(handle, key);
        }
        key.enter(&self.journal);
        self.keys.insert(Arc::clone(&key.arn), Arc::clone(key));
    }

    /// Makes the index of all keys, full nodes only.
    pub(crate) fn list_restored(&self) {
        let mut arns = Vec::new();
        self.keys.each(|key| arns.push(Arc::clone(&key.arn)));
        *write(&self.key_index) = arns.into_iter().collect();
    }

    /// The key of an ARN, whatever the calendar says.
    pub(crate) fn as_it_is(&self, arn: &str) -> Option<Arc<Key>> {
        self.keys.get(arn)
    }

    /// The key of an ARN with its record at `now`.
    pub(crate) fn key(
        &self,
        arn: &str,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<Option<Arc<Known>>, Unwritten> {
        if let Some(known) = recent::by_arn(self.number, arn, now) {
            return Ok(Some(known));
        }
        let Some(key) = self.keys.get(arn) else {
            return Ok(None);
        };
        let known = self.as_of(key, now, entropy)?;
        if let Some(known) = &known {
            recent::remember(self.number, known);
        }
        Ok(known)
    }

    /// The key whose material a blob's handle names, with its record at `now`: the
    /// related key of `region`, or else the key itself.
    pub(crate) fn key_of_blob(
        &self,
        handle: &Handle,
        region: &str,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<Option<Arc<Known>>, Unwritten> {
        let Some(unique) = SymmetricMaterial::unique_part(handle) else {
            return Ok(None);
        };
        if let Some(known) = recent::by_material(self.number, unique, now) {
            return Ok(Some(known));
        }
        let Some(mut key) = self.handles.get(&unique) else {
            return Ok(None);
        };
        if key.region() != region
            && let Some(family) = &key.family
            && let Some(arn) = family.members().in_region(region)
            && let Some(related) = self.keys.get(&**arn)
        {
            key = related;
        }
        let known = self.as_of(key, now, entropy)?;
        if let Some(known) = &known {
            recent::remember_material(self.number, unique, known);
        }
        Ok(known)
    }

    /// A key with its record at `now`, unless its deletion was due by then.
    fn as_of(
        &self,
        key: Arc<Key>,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<Option<Arc<Known>>, Unwritten> {
        // What the calendar does to a primary key reaches its replicas.
        if let Some(family) = &key.family
            && !family.is_primary(&key.arn)
            && let Some(primary) = self.keys.get(&family.members().primary)
        {
            self.settle(&primary, now, entropy)?;
        }
        if !self.settle(&key, now, entropy)? {
            return Ok(None);
        }
        Ok(Some(Known::of(key)))
    }

    /// Lets the calendar act on a key; whether there still is one. What it does
    /// is written before anybody sees it, so that no blob is ever made with
    /// material that a restart forgets.
    fn settle(
        &self,
        key: &Arc<Key>,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<bool, Unwritten> {
        while !key.is_gone()
            && let Some(due) = key.due(&key.record(), now)
        {
            let done = match due {
                Due::Upkeep => key.change(|record| {
                    record.keep_up(now);
                    Ok(())
                }),
                Due::Rotation => self
                    .change_family(
                        key,
                        |record| Ok(record.rotate_by_calendar(key.id(), now, entropy)),
                        |handles: &Vec<Handle>| {
                            for handle in handles {
                                self.know_handle(*handle, key);
                            }
                        },
                    )
                    .map(drop),
                Due::Deletion => self.remove(key, now),
            };
            match done {
                Ok(()) => {}
                // Somebody else saw that it was to be deleted.
                Err(Unwritten::Gone { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(!key.is_gone())
    }

    /// Changes a primary key, and lets its replicas follow, all at once.
    pub(crate) fn change_family<T, E: From<Unwritten>>(
        &self,
        primary: &Arc<Key>,
        change: impl FnOnce(&mut Record) -> Result<T, E>,
        publish: impl FnOnce(&T),
    ) -> Result<T, E> {
        let replicas = self.relatives(primary);
        let others: Vec<&Key> = replicas.iter().map(|key| &**key).collect();
        let changed = Key::change_all(
            &self.journal,
            primary,
            &others,
            |record, replicas, _| {
                let result = change(record)?;
                for replica in replicas {
                    replica.follow(record);
                }
                Ok::<_, E>(result)
            },
            publish,
        )?;
        // One that was made while this waited.
        for late in self.relatives(primary) {
            if !replicas.iter().any(|replica| replica.arn == late.arn) {
                late.change(|record| {
                    record.follow(&primary.record());
                    Ok::<_, E>(())
                })?;
            }
        }
        Ok(changed)
    }

    /// The related keys of a multi-Region key, but not itself.
    pub(crate) fn relatives(&self, key: &Key) -> Vec<Arc<Key>> {
        let Some(family) = &key.family else {
            return Vec::new();
        };
        family
            .members()
            .all()
            .filter(|arn| **arn != key.arn)
            .filter_map(|arn| self.keys.get(&**arn))
            .collect()
    }

    /// Makes new material of a key findable from a blob.
    pub(crate) fn know_handle(&self, handle: Handle, key: &Arc<Key>) {
        if let Some(unique) = SymmetricMaterial::unique_part(&handle) {
            self.handles.insert(unique, Arc::clone(key));
        }
    }

    /// The key that a blob's handle belongs to.
    pub(crate) fn key_by_handle(&self, handle: &Handle) -> Option<Arc<Key>> {
        self.handles.get(&SymmetricMaterial::unique_part(handle)?)
    }

    /// Remembers when a key is to be deleted. A deletion that was cancelled
    /// since is found out when its date comes.
    pub(crate) fn plan_deletion(&self, at: UnixMillis, arn: &Arc<str>) {
        let mut deletions = self
            .deletions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        deletions.insert((at, Arc::clone(arn)));
        self.next_deletion.fetch_min(at.0, Ordering::SeqCst);
    }

    /// Deletes the keys whose date has come.
    pub(crate) fn sweep(&self, now: UnixMillis, entropy: &Entropy) {
        if now.0 < self.next_deletion.load(Ordering::SeqCst) {
            return;
        }
        let mut due = Vec::new();
        {
            let mut deletions = self
                .deletions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            while let Some(first) = deletions.first()
                && first.0 <= now
            {
                due.extend(deletions.pop_first().map(|(_, arn)| arn));
            }
            let next = deletions.first().map_or(u64::MAX, |(at, _)| at.0);
            self.next_deletion.store(next, Ordering::SeqCst);
        }
        for arn in due {
            // Looking at a key lets the calendar act.
            if let Err(error) = self.key(&arn, now, entropy) {
                tracing::warn!(%error, %arn, "deleting a key");
                // Whoever asks for the key itself is told; nobody else need be.
                self.plan_deletion(UnixMillis(now.0.saturating_add(RETRY_MS)), &arn);
            }
        }
    }

    /// Deletes a key whose date has come, with all that belongs to it.
    fn remove(&self, key: &Arc<Key>, now: UnixMillis) -> Result<(), Unwritten> {
        let relatives = self.relatives(key);
        let others: Vec<&Key> = relatives.iter().map(|key| &**key).collect();
        let removed = Key::change_all(
            &self.journal,
            key,
            &others,
            |record, relatives, batch| {
                let KeyState::PendingDeletion { at, .. } = record.state else {
                    return Ok(None); // it was cancelled
                };
                if now < at {
                    return Ok(None);
                }
                batch.delete(keep::KEYS, key.arn.as_bytes());
                batch.delete(keep::USES, key.arn.as_bytes());
                batch.delete_all_of(keep::GRANTS, &key.arn);
                for name in record.aliases.iter() {
                    let arn = crate::world::arn::alias_arn(key.region(), key.account(), name);
                    batch.delete(keep::ALIASES, arn);
                }
                if relatives.is_empty()
                    && let Some(family) = &key.family
                {
                    batch.delete(keep::FAMILIES, family.name.as_bytes());
                }
                // A primary key that waits for its replicas begins its own window.
                let mut planned = None;
                if let [primary] = relatives
                    && let KeyState::PendingReplicaDeletion { window_days } = primary.state
                {
                    let at = days_after(at, window_days);
                    primary.state = KeyState::PendingDeletion { at, window_days };
                    planned = Some(at);
                }
                Ok::<_, Unwritten>(Some((record.clone(), planned)))
            },
            |removed| {
                if let Some((record, _)) = removed {
                    key.end();
                    self.forget(key, record, &relatives);
                }
            },
        )?;
        if let (Some((_, Some(at))), [primary]) = (removed, relatives.as_slice()) {
            self.plan_deletion(at, &primary.arn);
        }
        Ok(())
    }

    /// Takes a key out of memory.
    fn forget(&self, key: &Key, record: &Record, relatives: &[Arc<Key>]) {
        self.keys.remove(&*key.arn);
        write(&self.key_index).remove(&key.arn);
        if let Some(family) = &key.family {
            family.remove_replica(&key.arn);
        }
        let materials = record.materials.iter().map(|g| g.material.handle);
        for handle in materials.chain(record.imports().iter().map(|i| i.handle)) {
            match (relatives.first(), SymmetricMaterial::unique_part(&handle)) {
                (Some(relative), _) => self.know_handle(handle, relative),
                (None, Some(unique)) => self.handles.remove(&unique),
                (None, None) => {}
            }
        }
        for name in record.aliases.iter() {
            let arn = crate::world::arn::alias_arn(key.region(), key.account(), name);
            self.aliases.remove(arn.as_str());
            write(&self.alias_index).remove(arn.as_str());
        }
    }

    /// Forgets all keys and aliases, in memory, with no change on its way.
    pub(crate) fn clear(&self) {
        self.keys.each(|key| key.end());
        self.keys.clear();
        self.aliases.clear();
        self.handles.clear();
        write(&self.key_index).clear();
        write(&self.alias_index).clear();
        let mut deletions = self
            .deletions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        deletions.clear();
        self.next_deletion.store(u64::MAX, Ordering::SeqCst);
    }

    /// ARNs of keys that start with `prefix` and come after `after`, in order.
    pub(crate) fn key_arns(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<str>> {
        page(&read(&self.key_index), prefix, after, limit)
    }

    pub(crate) fn alias(&self, arn: &str) -> Option<Alias> {
        self.aliases.get(arn)
    }

    /// Aliases whose ARN starts with `prefix` and comes after `after`, in order.
    pub(crate) fn alias_arns(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<str>> {
        page(&read(&self.alias_index), prefix, after, limit)
    }

    /// Puts an alias in place that is written already.
    pub(crate) fn place_alias(&self, arn: &str, alias: Alias) {
        let arn: Arc<str> = arn.into();
        write(&self.alias_index).insert(Arc::clone(&arn));
        self.aliases.insert(arn, alias);
    }

    /// Takes an alias out of memory.
    pub(crate) fn forget_alias(&self, arn: &str) {
        write(&self.alias_index).remove(arn);
        self.aliases.remove(arn);
    }

    /// Holds aliases while they and the keys they leave and join are changed.
    pub(crate) fn hold_aliases(&self, arns: &[&str]) -> Vec<MutexGuard<'_, ()>> {
        let places: BTreeSet<usize> = arns.iter().map(|arn| shard_of(*arn)).collect();
        // In order, so that two callers never wait for each other.
        places
            .iter()
            .filter_map(|place| self.alias_changes.get(*place))
            .map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    pub(crate) fn default_policy(&self, account: &str) -> Arc<Policy> {
        if let Some(policy) = read(&self.default_policies).get(account) {
            return Arc::clone(policy);
        }
        let policy = Arc::new(Policy::default_for_key(account));
        let mut policies = write(&self.default_policies);
        Arc::clone(policies.entry(account.to_owned()).or_insert(policy))
    }
}

/// Writes which of the related keys is the primary one.
pub(crate) fn put_primary(batch: &mut Batch, family: &Family, primary: &str) {
    batch.put(keep::FAMILIES, family.name.as_bytes(), &primary);
}

fn page(
    index: &BTreeSet<Arc<str>>,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Vec<Arc<str>> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let start = match after {
        Some(after) if after >= prefix => Excluded(after),
        _ => Included(prefix),
    };
    index
        .range::<str, _>((start, Unbounded))
        .take_while(|arn| arn.starts_with(prefix))
        .take(limit)
        .cloned()
        .collect()
}

#[derive(Debug)]
struct Shards<K, V> {
    shards: Vec<RwLock<HashMap<K, V>>>,
}

impl<K: Hash + Eq, V: Clone> Shards<K, V> {
    fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V>> {
        // There are SHARDS shards.
        &self.shards[shard_of(key)]
    }

    fn each(&self, mut look: impl FnMut(&V)) {
        for shard in &self.shards {
            read(shard).values().for_each(&mut look);
        }
    }

    fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        read(self.shard(key)).get(key).cloned()
    }

    fn insert(&self, key: K, value: V) {
        write(self.shard(&key)).insert(key, value);
    }

    fn remove<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        write(self.shard(key)).remove(key);
    }

    fn clear(&self) {
        for shard in &self.shards {
            write(shard).clear();
        }
    }
}

/// Below SHARDS.
fn shard_of<Q: Hash + ?Sized>(key: &Q) -> usize {
    usize::try_from(spread(key) % SHARDS as u64).unwrap_or(0)
}

/// A number that names seldom share.
pub(super) fn spread<Q: Hash + ?Sized>(key: &Q) -> u64 {
    let mut spread = Spread::default();
    key.hash(&mut spread);
    spread.finish()
}

/// Chooses a shard. Quick, and open to whoever wants all names in one shard: that
/// costs waiting, no more. The maps inside hash as the standard library does.
#[derive(Default)]
struct Spread(u64);

impl Spread {
    /// Odd, with its bits in no order: the golden ratio's.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
}

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            let mixed = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(Self::MIX);
            self.0 = mixed.rotate_left(23);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
