//! Access keys: long-term ones of users (`AKIA…`) and temporary ones of sessions
//! (`ASIA…`) with a session token and an end.
//!
//! Source of truth: AWS IAM user guide, "IAM identifiers" (prefixes of unique
//! ids) and "Temporary security credentials". The token is an opaque random
//! text; AWS's carries the session encrypted.

use std::sync::{Arc, RwLock};

use aws_lc_rs::hmac;
use nsm_sim::clock::UnixMillis;
use rand::{Rng, RngCore};
use zeroize::Zeroizing;

use super::terms::Terms;
use crate::wire::signing::{Scope, signing_key};

/// Access keys in one world, ended and deleted ones included: they are
/// remembered so that their use answers for what they are, and so that a
/// deleted key does not pass for an unknown one.
pub(super) const KEYS_MAX: usize = 100_000;

/// Credentials as they are handed to a client.
#[derive(Clone)]
pub struct Credentials {
    /// `AKIA…` or `ASIA…`, 20 characters.
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: Zeroizing<String>,
    /// Set for temporary credentials.
    pub session_token: Option<Zeroizing<String>>,
    /// When temporary credentials end.
    pub expiration: Option<UnixMillis>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

/// Whose key it is, by name: not copies, so that a changed policy counts at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Root {
        account: String,
    },
    User {
        account: String,
        name: String,
    },
    Session {
        account: String,
        role: String,
        session: String,
    },
    Federated {
        account: String,
        name: String,
        /// The user who asked for it; `None` for the root user.
        by: Option<String>,
    },
}

impl Holder {
    /// The account that the key belongs to.
    pub(crate) fn account(&self) -> &str {
        match self {
            Self::Root { account }
            | Self::User { account, .. }
            | Self::Session { account, .. }
            | Self::Federated { account, .. } => account,
        }
    }
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Inactive,
    /// Kept so that its use is refused, and not taken for that of a stranger.
    Deleted,
}

impl Status {
    /// As IAM shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive | Self::Deleted => "Inactive",
        }
    }
}

/// A key in the store.
pub(crate) struct AccessKey {
    pub(crate) credentials: Credentials,
    pub(crate) holder: Holder,
    /// The unique id of the user or role, of a federated user that of the user who
    /// asked for it: another one of the same name does not hold the key.
    pub(crate) holder_id: Option<String>,
    pub(crate) terms: Terms,
    pub(crate) created: UnixMillis,
    pub(crate) status: Status,
    /// The derived key of the last scope: a client signs all day for one.
    derived: RwLock<Option<(Scope<'static>, Arc<hmac::Key>)>>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("credentials", &self.credentials)
            .field("holder", &self.holder)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl AccessKey {
    pub(crate) fn new(
        credentials: Credentials,
        (holder, holder_id): (Holder, Option<String>),
        terms: Terms,
        created: UnixMillis,
    ) -> Self {
        Self {
            credentials,
            holder,
            holder_id,
            terms,
            created,
            status: Status::Active,
            derived: RwLock::new(None),
        }
    }

    /// The same key with another status.
    pub(crate) fn with_status(&self, status: Status) -> Self {
        let credentials = self.credentials.clone();
        let holder = (self.holder.clone(), self.holder_id.clone());
        Self {
            status,
            ..Self::new(credentials, holder, self.terms.clone(), self.created)
        }
    }

    /// The signing key for `scope`.
    pub(crate) fn signing_key(&self, scope: &Scope<'_>) -> Arc<hmac::Key> {
        if let Ok(derived) = self.derived.read()
            && let Some((known, key)) = &*derived
            && known == scope
        {
            return Arc::clone(key);
        }
        let key = Arc::new(signing_key(&self.credentials.secret_access_key, scope));
        if let Ok(mut derived) = self.derived.write() {
            *derived = Some((scope.clone().into_owned(), Arc::clone(&key)));
        }
        key
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A unique id of `prefix` and random letters and digits: 20 characters for
/// access keys, 21 for users and roles.
pub(crate) fn unique_id(prefix: &str, length: usize, rng: &mut impl RngCore) -> String {
    let mut id = String::with_capacity(length);
    id.push_str(prefix);
    while id.len() < length {
        id.push(char::from(BASE32[rng.random_range(0..BASE32.len())]));
    }
    id
}

/// Fresh long-term credentials.
pub(crate) fn long_term(rng: &mut impl RngCore) -> Credentials {
    Credentials {
        access_key_id: unique_id("AKIA", 20, rng),
        secret_access_key: random_base64(30, rng),
        session_token: None,
        expiration: None,
    }
}

/// Fresh temporary credentials that end at `expiration`.
pub(crate) fn temporary(expiration: UnixMillis, rng: &mut impl RngCore) -> Credentials {
    Credentials {
        access_key_id: unique_id("ASIA", 20, rng),
        secret_access_key: random_base64(30, rng),
        session_token: Some(random_base64(270, rng)),
        expiration: Some(expiration),
    }
}

fn random_base64(bytes: usize, rng: &mut impl RngCore) -> Zeroizing<String> {
    use base64::Engine;
    let mut random = Zeroizing::new(vec![0; bytes]);
    rng.fill_bytes(&mut random);
    Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&*random))
}
