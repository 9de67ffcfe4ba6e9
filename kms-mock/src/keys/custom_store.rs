//! A custom key store: a place outside KMS where the material of keys is.
//!
//! Source of truth: AWS KMS developer guide, "Key stores"; the KMS service model.
//! An AWS CloudHSM key store is a record only: there is no cluster, its keys'
//! material is kept here. Connecting takes no time.

use std::sync::Arc;

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
