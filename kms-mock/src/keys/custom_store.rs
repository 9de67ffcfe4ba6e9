//! Custom key stores: their records, and which keys are in them.
//!
//! Source of truth: AWS KMS developer guide, "Key stores"; the KMS service model.
//! An AWS CloudHSM key store is a record only: there is no cluster, its keys'
//! material is kept here. Connecting takes no time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use nsm_sim::clock::UnixMillis;

use super::xks::Proxy;

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
}

#[derive(Debug, Default)]
struct Shelf {
    by_id: BTreeMap<Arc<str>, Arc<CustomKeyStore>>,
    /// ARNs of keys that were ever made in a store.
    keys: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl CustomKeyStores {
    /// Forgets all stores.
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

    pub(crate) fn put(&self, store: CustomKeyStore) {
        let mut shelf = self.write();
        shelf.by_id.insert(Arc::clone(&store.id), Arc::new(store));
    }

    /// Changes a store in place; whether it is still there.
    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut CustomKeyStore)) -> bool {
        match self.write().by_id.get_mut(id) {
            Some(store) => {
                change(Arc::make_mut(store));
                true
            }
            None => false,
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        let mut shelf = self.write();
        shelf.by_id.remove(id);
        shelf.keys.remove(id);
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
