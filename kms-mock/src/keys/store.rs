//! Where keys and aliases live: in memory, in shards, so that a call waits for
//! nobody but a writer of its own shard.
//!
//! Source of truth: none of AWS's; its answers are in `api`. Does not model
//! eventual consistency: a change is seen by the next call.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use nsm_sim::clock::UnixMillis;

use super::{
    entropy::Entropy,
    key::{Key, KeyState, Record, Settled, days_after},
    material::Handle,
};
use crate::policy::Policy;

/// Enough that sixteen busy connections rarely meet in one.
const SHARDS: usize = 64;

/// All keys and aliases of all accounts and Regions.
#[derive(Debug)]
pub(crate) struct Store {
    keys: Shards<Arc<str>, Arc<Key>>,
    aliases: Shards<Arc<str>, Alias>,
    /// The key that each generation of material belongs to.
    handles: Shards<Handle, Arc<str>>,
    /// ARNs in order, for lists.
    key_index: RwLock<BTreeSet<Arc<str>>>,
    alias_index: RwLock<BTreeSet<Arc<str>>>,
    /// Keys that wait for their deletion, soonest first.
    deletions: Mutex<BTreeSet<(UnixMillis, Arc<str>)>>,
    /// The soonest deletion in unix milliseconds, so that a call that has none
    /// to care for need not ask for the lock.
    next_deletion: AtomicU64,
    /// Held while an alias and the keys it leaves and joins are changed.
    pub(crate) alias_changes: Mutex<()>,
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
    pub(crate) fn new() -> Self {
        Self {
            keys: Shards::new(),
            aliases: Shards::new(),
            handles: Shards::new(),
            key_index: RwLock::default(),
            alias_index: RwLock::default(),
            deletions: Mutex::default(),
            next_deletion: AtomicU64::new(u64::MAX),
            alias_changes: Mutex::default(),
            default_policies: RwLock::default(),
        }
    }

    pub(crate) fn insert(&self, key: Arc<Key>) {
        for generation in key.record().materials.iter() {
            self.handles
                .insert(generation.material.handle, Arc::clone(&key.arn));
        }
        write(&self.key_index).insert(Arc::clone(&key.arn));
        self.keys.insert(Arc::clone(&key.arn), key);
    }

    /// The key of an ARN with its record at `now`.
    pub(crate) fn key(
        &self,
        arn: &str,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Option<(Arc<Key>, Arc<Record>)> {
        let key = self.keys.get(arn)?;
        // What the calendar does to a primary key reaches its replicas.
        if let Some(family) = &key.family
            && !family.is_primary(arn)
            && let Some(primary) = self.keys.get(&family.members().primary)
        {
            self.settle(&primary, now, entropy);
        }
        if !self.settle(&key, now, entropy) {
            return None;
        }
        let record = key.record();
        Some((key, record))
    }

    /// Lets the calendar act on a key; whether there still is one.
    fn settle(&self, key: &Key, now: UnixMillis, entropy: &Entropy) -> bool {
        match key.settle(now, entropy) {
            Settled::AsItWas => {}
            Settled::Rotated(handles) => {
                for handle in handles {
                    self.know_handle(handle, key);
                }
                self.share(key);
            }
            Settled::Deleted => {
                self.remove(key);
                return false;
            }
        }
        true
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

    /// Gives the replicas of a primary key its material and rotation.
    pub(crate) fn share(&self, primary: &Key) {
        for replica in self.relatives(primary) {
            replica.follow(|| Some(primary.record()));
        }
    }

    /// Makes new material of a key findable from a blob.
    pub(crate) fn know_handle(&self, handle: Handle, key: &Key) {
        self.handles.insert(handle, Arc::clone(&key.arn));
    }

    /// The ARN of the key that a blob's handle belongs to.
    pub(crate) fn arn_by_handle(&self, handle: &Handle) -> Option<Arc<str>> {
        self.handles.get(handle)
    }

    /// The same for a Region: the related key there, or else the key itself.
    pub(crate) fn arn_by_handle_in(&self, handle: &Handle, region: &str) -> Option<Arc<str>> {
        let arn = self.handles.get(handle)?;
        if super::arn::region_of(&arn) == region {
            return Some(arn);
        }
        let related = self.keys.get(&*arn).and_then(|key| {
            let members = key.family.as_ref()?.members();
            members.in_region(region).cloned()
        });
        Some(related.unwrap_or(arn))
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
            let _ = self.key(&arn, now, entropy);
        }
    }

    fn remove(&self, key: &Key) {
        let record = key.record();
        self.keys.remove(&*key.arn);
        write(&self.key_index).remove(&key.arn);
        if let Some(family) = &key.family {
            family.remove_replica(&key.arn);
        }
        let relatives = self.relatives(key);
        let materials = record.materials.iter().map(|g| g.material.handle);
        for handle in materials.chain(record.imports().iter().map(|i| i.handle)) {
            match relatives.first() {
                Some(relative) => self.know_handle(handle, relative),
                None => self.handles.remove(&handle),
            }
        }
        self.last_replica_is_gone(&relatives, record.state);
        for name in record.aliases.iter() {
            let arn = super::arn::alias_arn(key.region(), key.account(), name);
            self.aliases.remove(arn.as_str());
            write(&self.alias_index).remove(arn.as_str());
        }
    }

    /// A primary key that waits for its replicas begins its own window.
    fn last_replica_is_gone(&self, relatives: &[Arc<Key>], deleted: KeyState) {
        let ([primary], KeyState::PendingDeletion { at, .. }) = (relatives, deleted) else {
            return;
        };
        let planned = primary.change(|record| match record.state {
            KeyState::PendingReplicaDeletion { window_days } => {
                let at = days_after(at, window_days);
                record.state = KeyState::PendingDeletion { at, window_days };
                Ok(at)
            }
            _ => Err(()),
        });
        if let Ok(at) = planned {
            self.plan_deletion(at, &primary.arn);
        }
    }

    /// Forgets all keys and aliases.
    pub(crate) fn clear(&self) {
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

    /// Whether the alias was new.
    pub(crate) fn insert_alias(&self, arn: &str, alias: Alias) -> bool {
        let arn: Arc<str> = arn.into();
        // The index decides who comes first.
        if !write(&self.alias_index).insert(Arc::clone(&arn)) {
            return false;
        }
        self.aliases.insert(arn, alias);
        true
    }

    pub(crate) fn replace_alias(&self, arn: &str, alias: Alias) {
        self.aliases.insert(arn.into(), alias);
    }

    pub(crate) fn remove_alias(&self, arn: &str) {
        write(&self.alias_index).remove(arn);
        self.aliases.remove(arn);
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
    hasher: RandomState,
    shards: Vec<RwLock<HashMap<K, V>>>,
}

impl<K: Hash + Eq, V: Clone> Shards<K, V> {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V>> {
        let at = self.hasher.hash_one(key) % (SHARDS as u64);
        // `at` is below SHARDS, and there are SHARDS shards.
        &self.shards[usize::try_from(at).unwrap_or(0)]
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

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
