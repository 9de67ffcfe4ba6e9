//! Where keys and aliases live: in memory, in shards, so that a call waits for
//! nobody but a writer of its own shard. With a data directory a change is on
//! disk before it is here; see `crate::journal`.
//!
//! Source of truth: none of AWS's; its answers are in `kms`. What the calendar does
//! to a key that is looked at stands in `calendar`. Does not model eventual
//! consistency: a change is seen by the next call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use nsm_sim::clock::UnixMillis;

use super::{
    alias::Alias,
    deletions::Deletions,
    keep,
    key::Key,
    material::{Handle, SymmetricMaterial},
    recent::Known,
    record::Record,
    shards::{SHARDS, Shards, read, shard_of, write},
    uses::LastUse,
};
use crate::{
    journal::{Batch, Changing, Held, Journal, Unwritten},
    policy::{Grant, Policy},
    threads::cache::ThreadCache,
    world::arn::alias_arn,
};

/// All keys and aliases of all accounts and Regions.
#[derive(Debug)]
pub(crate) struct Store {
    keys: Shards<Arc<str>, Arc<Key>>,
    aliases: Shards<Arc<str>, Alias>,
    /// The key that each generation of material belongs to, by what is unique of
    /// its handle.
    handles: Shards<[u8; 16], Arc<Key>>,
    /// Keys that a thread has just used: calls come in runs for the same few, and each
    /// would otherwise take the locks of a shard and of the record.
    /// By what requests named them: ARNs and ids.
    pub(super) by_name: ThreadCache<Box<str>, Arc<Known>>,
    pub(super) by_material: ThreadCache<[u8; 16], Arc<Known>>,
    /// ARNs in order, for lists.
    key_index: RwLock<BTreeSet<Arc<str>>>,
    alias_index: RwLock<BTreeSet<Arc<str>>>,
    /// Keys that wait for their deletion.
    pub(super) deletions: Deletions,
    /// Held while an alias and the keys it leaves and joins are changed, each for
    /// all aliases of one shard.
    alias_changes: Vec<Mutex<()>>,
    journal: Journal,
    /// The default policy of each account, shared by its keys.
    default_policies: RwLock<BTreeMap<String, Arc<Policy>>>,
}

impl Store {
    /// Empty; changes go by `journal`.
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            keys: Shards::new(),
            aliases: Shards::new(),
            handles: Shards::new(),
            by_name: ThreadCache::default(),
            by_material: ThreadCache::default(),
            key_index: RwLock::default(),
            alias_index: RwLock::default(),
            deletions: Deletions::default(),
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
                    keep::put_primary(batch, family, &family.members().primary);
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
        for handle in handles_of(&key.record()) {
            self.know_handle(handle, key);
        }
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

    /// Changes a key's record unless `change` refuses or it cannot be written.
    pub(crate) fn change<T, E: From<Unwritten>>(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Record) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_all(key, &[], |record, _, _| change(record), |_| {})
    }

    /// Changes a key together with `others` (each named once) and with whatever
    /// else `change` writes: all of it or nothing. `publish` runs while the keys
    /// are still held.
    pub(crate) fn change_all<T, E: From<Unwritten>>(
        &self,
        key: &Key,
        others: &[&Key],
        change: impl FnOnce(&mut Record, &mut [Record], &mut Batch) -> Result<T, E>,
        publish: impl FnOnce(&T),
    ) -> Result<T, E> {
        let keys: Vec<&Key> = std::iter::once(key).chain(others.iter().copied()).collect();
        self.journal.change(
            |batch| {
                let held = hold(&keys, batch);
                key.must_be_there()?;
                let mut records: Vec<Record> = held.iter().map(|it| Record::clone(it)).collect();
                let (record, rest) = records
                    .split_first_mut()
                    .expect("the first of the keys is always there");
                // What `change` writes comes after the keys, so that it can undo
                // their rows.
                let mut later = batch.another();
                let answer = change(record, rest, &mut later)?;
                for (key, record) in keys.iter().zip(&records) {
                    if !key.is_gone() {
                        keep::put_key(batch, key, record);
                    }
                }
                batch.append(later);
                Ok((held, records, answer))
            },
            |(held, records, answer)| {
                let shown = held.into_iter().zip(records);
                let _held: Vec<Held<'_>> = shown
                    .map(|(held, record)| held.publish(|seen| *seen = Arc::new(record)))
                    .collect();
                publish(&answer);
                self.forget_changed();
                answer
            },
        )
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
        let changed = self.change_all(
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
                self.change(&late, |record| {
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

    /// Adds the grant that `decide` makes, unless it answers one that is there or
    /// refuses; the id of the grant that is there then. `decide` sees the key and its
    /// grants as they are at that moment.
    pub(crate) fn add_grant<E: From<Unwritten>>(
        &self,
        key: &Key,
        decide: impl FnOnce(&Record, &BTreeMap<String, Arc<Grant>>) -> Result<Arc<Grant>, E>,
    ) -> Result<String, E> {
        self.journal.change(
            |batch| {
                let held = key.hold(batch);
                key.must_be_there()?;
                let grant = key.with_grants(|grants| decide(&held, grants))?;
                keep::put_grant(batch, key, &grant);
                Ok((held, grant))
            },
            |(_held, grant)| {
                let id = grant.id.clone();
                key.place_grant(grant);
                id
            },
        )
    }

    /// Removes a grant unless `check` refuses, which sees the key and its grants as
    /// they are at that moment.
    pub(crate) fn remove_grant<E: From<Unwritten>>(
        &self,
        key: &Key,
        id: &str,
        check: impl FnOnce(&Record, &BTreeMap<String, Arc<Grant>>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.journal.change(
            |batch| {
                let held = key.hold(batch);
                key.must_be_there()?;
                key.with_grants(|grants| check(&held, grants))?;
                batch.delete(keep::GRANTS, keep::grant_key(key, id));
                Ok(held)
            },
            |_held| key.forget_grant(id),
        )
    }

    /// Notes a use of a key, which is written with the next ones that are due.
    pub(crate) fn note_use(&self, key: &Arc<Key>, last: LastUse) {
        if key.note_use(last, self.journal.is_kept()) {
            self.journal.note(Arc::<Key>::clone(key));
        }
    }

    /// Lets go of what threads remember of keys that have changed or are gone, and with
    /// it of material that is.
    fn forget_changed(&self) {
        self.by_name.forget(|known| known.has_changed());
        self.by_material.forget(|known| known.has_changed());
    }

    /// Takes a key out of memory.
    pub(super) fn forget(&self, key: &Key, record: &Record, relatives: &[Arc<Key>]) {
        self.keys.remove(&*key.arn);
        write(&self.key_index).remove(&key.arn);
        if let Some(family) = &key.family {
            family.remove_replica(&key.arn);
        }
        for handle in handles_of(record) {
            match (relatives.first(), SymmetricMaterial::unique_part(&handle)) {
                (Some(relative), _) => self.know_handle(handle, relative),
                (None, Some(unique)) => self.handles.remove(&unique),
                (None, None) => {}
            }
        }
        for name in record.aliases.iter() {
            self.forget_alias(&alias_arn(key.region(), key.account(), name), &key.arn);
        }
    }

    /// Forgets all keys and aliases, in memory, with no change on its way.
    pub(crate) fn clear(&self) {
        self.keys.each(|key| key.end());
        self.forget_changed();
        self.keys.clear();
        self.aliases.clear();
        self.handles.clear();
        write(&self.key_index).clear();
        write(&self.alias_index).clear();
        self.deletions.clear();
    }

    /// Remembers when a key is to be deleted. A deletion that was cancelled
    /// since is found out when its date comes.
    pub(crate) fn plan_deletion(&self, at: UnixMillis, arn: &Arc<str>) {
        self.deletions.plan(at, arn);
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
        // Held for both, so that a deletion of its last key takes neither or both.
        let mut index = write(&self.alias_index);
        index.insert(Arc::clone(&arn));
        self.aliases.insert(arn, alias);
    }

    /// Takes an alias of a key out of memory, unless it is another key's by now.
    pub(crate) fn forget_alias(&self, arn: &str, key_arn: &str) {
        let mut index = write(&self.alias_index);
        let alias = self.aliases.get(arn);
        if alias.is_some_and(|alias| &*alias.target == key_arn) {
            index.remove(arn);
            self.aliases.remove(arn);
        }
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

/// Holds all of them in the order of their names, so that two changes never wait
/// for each other; the answer is in the order of `keys`.
fn hold<'k>(keys: &[&'k Key], change: &Batch) -> Vec<Changing<'k, Arc<Record>>> {
    let mut named: Vec<(usize, &Key)> = keys.iter().copied().enumerate().collect();
    named.sort_by(|(_, a), (_, b)| a.arn.cmp(&b.arn));
    let mut held: Vec<_> = named
        .into_iter()
        .map(|(at, key)| (at, key.hold(change)))
        .collect();
    held.sort_by_key(|(at, _)| *at);
    held.into_iter().map(|(_, held)| held).collect()
}

/// What blobs may call the key by.
fn handles_of(record: &Record) -> impl Iterator<Item = Handle> + '_ {
    let materials = record.materials.iter().map(|it| it.material.handle);
    materials.chain(record.imports().iter().map(|it| it.handle))
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
