//! Who held an access key a moment ago. A thread that sees the same key again and
//! again would otherwise take the lock of all identities for every call, copy names
//! and policies, and let them go; see [`ThreadCache`](crate::threads::cache).

use std::{
    net::IpAddr,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use super::{Iam, Identity, credentials::AccessKey};
use crate::policy::Caller;

/// An identity with its ARN, written once, and with what KMS is told of it.
pub(crate) struct Known {
    identity: Identity,
    arn: Arc<str>,
    /// Calling from where it called from first.
    caller: OnceLock<Arc<Caller>>,
}

impl Known {
    fn new(identity: Identity) -> Arc<Self> {
        let arn = identity.principal.arn().into();
        Arc::new(Self {
            identity,
            arn,
            caller: OnceLock::new(),
        })
    }

    /// The root user of `account`.
    pub(crate) fn root(account: &str) -> Arc<Self> {
        Self::new(Identity::root(account))
    }

    /// Nobody that is known.
    pub(crate) fn anonymous() -> Arc<Self> {
        Self::new(Identity::anonymous())
    }

    pub(crate) fn arn(&self) -> Arc<str> {
        Arc::clone(&self.arn)
    }

    /// What KMS is told about it, calling from `source_ip`.
    pub(crate) fn caller(&self, source_ip: IpAddr, secure_transport: bool) -> Arc<Caller> {
        let new = || Arc::new(self.identity.caller_from(source_ip, secure_transport));
        let first = self.caller.get_or_init(new);
        if first.source_ip == Some(source_ip) && first.secure_transport == secure_transport {
            return Arc::clone(first);
        }
        new()
    }
}

impl Deref for Known {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

/// What is known of an access key.
#[derive(Clone)]
pub(crate) enum Holding {
    /// It was issued here.
    Issued {
        key: Arc<AccessKey>,
        /// `None` if its holder is gone, or the key deleted or inactive.
        identity: Option<Arc<Known>>,
    },
    /// It was not; the root user whom it acts for where signatures are not verified.
    Stranger(Arc<Known>),
}

impl Iam {
    /// An access key with who holds it now; `account` is a stranger's.
    pub(crate) fn holding(&self, access_key_id: &str, account: &str) -> Holding {
        let version = || self.version();
        match self.holdings.get(access_key_id, |_| version()) {
            Some(Holding::Stranger(root)) if root.principal.account() != account => {
                return Holding::Stranger(Known::root(account));
            }
            Some(known) => return known,
            None => {}
        }
        // Read before the identities: what is found may be newer, never older.
        let before = version();
        let holding = match self.key(access_key_id) {
            Some(key) => Holding::Issued {
                identity: self.identity(&key).map(Known::new),
                key,
            },
            None => Holding::Stranger(Known::root(account)),
        };
        let kept = holding.clone();
        self.holdings
            .keep(access_key_id.to_owned(), kept, before, |_| version());
        holding
    }
}

#[cfg(test)]
mod tests {
    use nsm_sim::clock::SystemClock;

    use super::*;

    fn iam() -> Iam {
        Iam::new(Arc::new(SystemClock), None)
    }

    fn is_stranger(iam: &Iam, id: &str) -> bool {
        matches!(iam.holding(id, "111122223333"), Holding::Stranger(_))
    }

    #[test]
    fn a_change_is_seen_by_the_next_call_of_a_thread_that_remembers() {
        let iam = iam();
        let account = "111122223333";
        iam.create_user(account, "/", "alice").unwrap();
        let credentials = iam.create_access_key(account, "alice").unwrap();
        let id = credentials.access_key_id.as_str();
        let policies = || match iam.holding(id, account) {
            Holding::Issued { identity, .. } => {
                let caller = identity.unwrap().caller([127, 0, 0, 1].into(), false);
                caller.identity_policies.len()
            }
            Holding::Stranger(_) => panic!("the key was issued"),
        };
        assert_eq!(policies(), 0);
        assert_eq!(policies(), 0);
        let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
        iam.put_user_policy(account, "alice", "p", policy).unwrap();
        assert_eq!(policies(), 1);
        iam.clear().unwrap();
        assert!(is_stranger(&iam, id));
    }

    #[test]
    fn a_stranger_is_remembered_until_the_key_is_issued_and_for_its_own_world_alone() {
        let (here, there) = (iam(), iam());
        let account = "111122223333";
        here.create_user(account, "/", "alice").unwrap();
        let id = here
            .create_access_key(account, "alice")
            .unwrap()
            .access_key_id;
        assert!(!is_stranger(&here, &id));
        assert!(is_stranger(&there, &id));
        assert!(!is_stranger(&here, &id));
        assert!(is_stranger(&here, "AKIASTRANGER"));
    }

    #[test]
    fn strangers_of_different_accounts_and_places_are_not_mixed_up() {
        let iam = iam();
        for account in ["111122223333", "444455556666", "111122223333"] {
            let Holding::Stranger(root) = iam.holding("AKIASTRANGER", account) else {
                panic!("nobody issued the key");
            };
            assert_eq!(root.principal.account(), account);
            for (ip, tls) in [
                ([127, 0, 0, 1], true),
                ([127, 0, 0, 2], true),
                ([127, 0, 0, 1], false),
            ] {
                let caller = root.caller(ip.into(), tls);
                assert_eq!(caller.principal.account(), account);
                assert_eq!(caller.source_ip, Some(ip.into()));
                assert_eq!(caller.secure_transport, tls);
            }
        }
    }
}
