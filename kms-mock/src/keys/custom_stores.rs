//! All custom key stores, and which keys are in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard},
};

use super::{custom_store::CustomKeyStore, keep};
use crate::journal::{Batch, Journal, Kept, State, Unwritten};

/// All custom key stores of all accounts and Regions.
#[derive(Debug, Default)]
pub(crate) struct CustomKeyStores {
    stores: Kept<Stores>,
    /// ARNs of keys that were ever made in a store, by its id. Not kept: it follows
    /// from the keys.
    keys: RwLock<BTreeMap<Arc<str>, BTreeSet<Arc<str>>>>,
    managing: Mutex<()>,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Stores(BTreeMap<Arc<str>, Arc<CustomKeyStore>>);

enum Change {
    Put(Arc<CustomKeyStore>),
    Gone(Arc<str>),
}

impl State for Stores {
    type Change = Change;

    fn put_rows(&self, changes: &[Change], batch: &mut Batch) {
        for change in changes {
            match change {
                Change::Put(store) => keep::put_key_store(batch, store),
                Change::Gone(id) => batch.delete(keep::KEY_STORES, id.as_bytes()),
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put(store) => drop(self.0.insert(Arc::clone(&store.id), store)),
            Change::Gone(id) => drop(self.0.remove(&id)),
        }
    }
}

impl CustomKeyStores {
    /// No stores yet; changes go by `journal`.
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            ..Self::default()
        }
    }

    /// Forgets all stores, in memory, with no change on its way.
    pub(crate) fn clear(&self) {
        self.stores.restore(|stores| stores.0.clear());
        self.write_keys().clear();
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<CustomKeyStore>> {
        self.stores.read().0.get(id).cloned()
    }

    /// The stores of an account in a Region, by id.
    pub(crate) fn of(&self, account: &str, region: &str) -> Vec<Arc<CustomKeyStore>> {
        let stores = self.stores.read();
        let own = stores
            .0
            .values()
            .filter(|store| store.account == account && store.region == region);
        own.cloned().collect()
    }

    /// Held by who makes, changes or deletes a store, or makes a key in one, from the
    /// first check to the end: one at a time, an answer of a proxy at most.
    pub(crate) fn manage(&self) -> MutexGuard<'_, ()> {
        self.managing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a new store.
    pub(crate) fn put(&self, store: CustomKeyStore) -> Result<(), Unwritten> {
        self.stores.change(&self.journal, |_, changes| {
            changes.push(Change::Put(Arc::new(store)));
            Ok(())
        })
    }

    /// Puts a store in place that the data directory has already.
    pub(crate) fn restore(&self, store: CustomKeyStore) {
        let change = Change::Put(Arc::new(store));
        self.stores.restore(|stores| stores.apply(change));
    }

    /// Changes a store; whether it is still there.
    pub(crate) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut CustomKeyStore),
    ) -> Result<bool, Unwritten> {
        self.stores.change(&self.journal, |stores, changes| {
            let Some(store) = stores.0.get(id) else {
                return Ok(false);
            };
            let mut store = (**store).clone();
            change(&mut store);
            changes.push(Change::Put(Arc::new(store)));
            Ok(true)
        })
    }

    pub(crate) fn remove(&self, id: &str) -> Result<(), Unwritten> {
        self.stores.change(&self.journal, |_, changes| {
            changes.push(Change::Gone(id.into()));
            Ok::<_, Unwritten>(())
        })?;
        self.write_keys().remove(id);
        Ok(())
    }

    pub(crate) fn add_key(&self, id: &Arc<str>, arn: &Arc<str>) {
        let mut keys = self.write_keys();
        let keys = keys.entry(Arc::clone(id)).or_default();
        keys.insert(Arc::clone(arn));
    }

    /// Keys that were made in a store, some of which may be deleted since.
    pub(crate) fn keys(&self, id: &str) -> Vec<Arc<str>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(id).into_iter().flatten().cloned().collect()
    }

    fn write_keys(&self) -> RwLockWriteGuard<'_, BTreeMap<Arc<str>, BTreeSet<Arc<str>>>> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}
