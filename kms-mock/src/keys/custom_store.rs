//! Custom key stores: their records, and which keys are in them.
//!
//! Source of truth: AWS KMS developer guide, "Key stores"; the KMS service model.
//! An AWS CloudHSM key store is a record only: there is no cluster, its keys'
//! material is kept here. Connecting takes no time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use nsm_sim::clock::UnixMillis;

use super::{keep, xks::Proxy};
use crate::journal::{Journal, Unwritten};

/// A custom key store.
#[derive(Clone, Debug)]
pub(crate) struct CustomKeyStore {
    /// `cks-` and 17 hex digits.
    pub(crate) id: Arc<str>,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) created: UnixMillis,
    pub(crate) kind: StoreKind,
    pub(crate) connection: Connection,
}

/// `CustomKeyStoreType` with what belongs to it.
#[derive(Clone, Debug)]
pub(crate) enum StoreKind {
    CloudHsm {
        cluster_id: String,
        trust_anchor: String,
    },
    External {
        proxy: Proxy,
        /// `XksProxyVpcEndpointServiceName` and its owner; `None` for a public
        /// endpoint.
        vpc_service: Option<(String, Option<String>)>,
    },
}

/// `ConnectionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    Disconnected,
    Connected,
    /// With `ConnectionErrorCode`.
    Failed(&'static str),
}

impl Connection {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "DISCONNECTED",
            Self::Connected => "CONNECTED",
            Self::Failed(_) => "FAILED",
        }
    }
}

/// Every `ConnectionErrorCode` that a store can fail with here.
pub(crate) const CONNECTION_ERRORS: [&str; 6] = [
    "XKS_PROXY_NOT_REACHABLE",
    "XKS_PROXY_TIMED_OUT",
    "XKS_PROXY_INVALID_RESPONSE",
    "INVALID_CREDENTIALS",
    "XKS_PROXY_ACCESS_DENIED",
    "XKS_PROXY_INVALID_CONFIGURATION",
];

/// Where the material of a key is.
#[derive(Clone, Debug)]
pub(crate) struct Backing {
    pub(crate) store: Arc<str>,
    /// The key behind a proxy.
    pub(crate) xks_key_id: Option<String>,
}

/// All custom key stores of all accounts and Regions.
#[derive(Debug, Default)]
pub(crate) struct CustomKeyStores {
    stores: RwLock<Shelf>,
    /// Held while a change is computed and written, so that changes do not
    /// overtake.
    changing: Mutex<()>,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Shelf {
    by_id: BTreeMap<Arc<str>, Arc<CustomKeyStore>>,
    /// ARNs of keys that were ever made in a store.
    keys: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl CustomKeyStores {
    /// No stores yet; changes go by `journal`.
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            ..Self::default()
        }
    }

    /// Forgets all stores, in memory.
    pub(crate) fn clear(&self) {
        *self.stores.write().unwrap_or_else(PoisonError::into_inner) = Shelf::default();
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<CustomKeyStore>> {
        self.read().by_id.get(id).cloned()
    }

    /// The stores of an account in a Region, by id.
    pub(crate) fn of(&self, account: &str, region: &str) -> Vec<Arc<CustomKeyStore>> {
        let shelf = self.read();
        let stores = shelf.by_id.values();
        stores
            .filter(|store| store.account == account && store.region == region)
            .cloned()
            .collect()
    }

    /// Keeps a new store.
    pub(crate) fn put(&self, store: CustomKeyStore) -> Result<(), Unwritten> {
        self.journal.change(
            |batch| {
                keep::put_key_store(batch, &store);
                Ok(())
            },
            |()| self.restore(store.clone()),
        )
    }

    /// Puts a store in place that the data directory has already.
    pub(crate) fn restore(&self, store: CustomKeyStore) {
        let mut shelf = self.write();
        shelf.by_id.insert(Arc::clone(&store.id), Arc::new(store));
    }

    /// Changes a store; whether it is still there.
    pub(crate) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut CustomKeyStore),
    ) -> Result<bool, Unwritten> {
        let changed = self.journal.change(
            |batch| {
                let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
                let store = self.get(id).map(|store| {
                    let mut store = (*store).clone();
                    change(&mut store);
                    keep::put_key_store(batch, &store);
                    store
                });
                Ok::<_, Unwritten>((alone, store))
            },
            |(_alone, store)| {
                let is_there = store.is_some();
                if let Some(store) = store {
                    self.restore(store);
                }
                is_there
            },
        )?;
        Ok(changed)
    }

    pub(crate) fn remove(&self, id: &str) -> Result<(), Unwritten> {
        self.journal.change(
            |batch| {
                let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
                batch.delete(keep::KEY_STORES, id);
                Ok::<_, Unwritten>(alone)
            },
            |_| {
                let mut shelf = self.write();
                shelf.by_id.remove(id);
                shelf.keys.remove(id);
            },
        )
    }

    pub(crate) fn add_key(&self, id: &Arc<str>, arn: &Arc<str>) {
        let mut shelf = self.write();
        let keys = shelf.keys.entry(Arc::clone(id)).or_default();
        keys.insert(Arc::clone(arn));
    }

    /// Keys that were made in a store, some of which may be deleted since.
    pub(crate) fn keys(&self, id: &str) -> Vec<Arc<str>> {
        let shelf = self.read();
        shelf
            .keys
            .get(id)
            .map(|keys| keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.stores.write().unwrap_or_else(PoisonError::into_inner)
    }
}
