//! Who held an access key a moment ago. Without it, a thread that sees the same key
//! again and again would take the lock of all identities for every call, copy names
//! and policies, and drop them.
//!
//! What is remembered is good for one version of the identities: a change of them
//! moves the version on before it is acknowledged, so a call that
//! comes after a change never sees what was before.

use std::{cell::RefCell, net::IpAddr, ops::Deref, sync::Arc};

use super::{credentials::AccessKey, identity::Identity, service::Iam};
use crate::policy::Caller;

/// Keys that a thread remembers; a power of two.
const PLACES: usize = 16;

/// An identity with its ARN, written once.
pub(crate) struct Known {
    identity: Identity,
    arn: Arc<str>,
}

impl Known {
    fn new(identity: Identity) -> Arc<Self> {
        let arn = identity.principal.arn().into();
        Arc::new(Self { identity, arn })
    }

    pub(crate) fn arn(&self) -> Arc<str> {
        Arc::clone(&self.arn)
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
pub(crate) struct Holding {
    pub(crate) key: Arc<AccessKey>,
    /// `None` if its holder is gone, or the key deleted or inactive.
    pub(crate) identity: Option<Arc<Known>>,
}

struct Remembered {
    version: (u64, u64),
    access_key_id: String,
    /// `None` for a key that was not issued here.
    holding: Option<Holding>,
}

struct LastCaller {
    identity: Arc<Known>,
    caller: Arc<Caller>,
}

thread_local! {
    static KEYS: RefCell<[Option<Remembered>; PLACES]> =
        const { RefCell::new([const { None }; PLACES]) };
    static ROOT: RefCell<Option<Arc<Known>>> = const { RefCell::new(None) };
    static CALLER: RefCell<Option<LastCaller>> = const { RefCell::new(None) };
}

impl Iam {
    /// A key that was issued here, with who holds it now.
    pub(crate) fn holding(&self, access_key_id: &str) -> Option<Holding> {
        // Read before the identities: what is found may be newer, never older.
        let version = self.version();
        let place = access_key_id
            .bytes()
            .fold(0, |sum: usize, b| sum.wrapping_mul(31) + usize::from(b))
            % PLACES;
        KEYS.with_borrow_mut(|places| {
            let place = places.get_mut(place)?;
            let is_it =
                |it: &&mut Remembered| it.version == version && it.access_key_id == access_key_id;
            if let Some(known) = place.as_mut().filter(is_it) {
                return known.holding.clone();
            }
            let holding = self.key(access_key_id).map(|key| Holding {
                identity: self.identity(&key).map(Known::new),
                key,
            });
            *place = Some(Remembered {
                version,
                access_key_id: access_key_id.to_owned(),
                holding: holding.clone(),
            });
            holding
        })
    }
}

/// The root user of `account`.
pub(crate) fn root(account: &str) -> Arc<Known> {
    ROOT.with_borrow_mut(|last| {
        if let Some(root) = last.as_ref().filter(|it| it.principal.account() == account) {
            return Arc::clone(root);
        }
        Arc::clone(last.insert(Known::new(Identity::root(account))))
    })
}

/// `identity` as KMS sees it, calling from `source_ip`.
pub(crate) fn caller(
    identity: &Arc<Known>,
    source_ip: IpAddr,
    secure_transport: bool,
) -> Arc<Caller> {
    CALLER.with_borrow_mut(|last| {
        let is_it = |it: &&LastCaller| {
            Arc::ptr_eq(&it.identity, identity)
                && it.caller.source_ip == Some(source_ip)
                && it.caller.secure_transport == secure_transport
        };
        if let Some(known) = last.as_ref().filter(is_it) {
            return Arc::clone(&known.caller);
        }
        let known = last.insert(LastCaller {
            identity: Arc::clone(identity),
            caller: Arc::new(identity.caller_from(source_ip, secure_transport)),
        });
        Arc::clone(&known.caller)
    })
}

#[cfg(test)]
mod tests {
    use nsm_sim::clock::SystemClock;

    use super::*;

    fn iam() -> Iam {
        Iam::new(Arc::new(SystemClock), None)
    }

    #[test]
    fn a_change_is_seen_by_the_next_call_of_a_thread_that_remembers() {
        let iam = iam();
        let account = "111122223333";
        iam.create_user(account, "/", "alice").unwrap();
        let credentials = iam.create_access_key(account, "alice").unwrap();
        let id = credentials.access_key_id.as_str();
        let policies = || {
            let holding = iam.holding(id).unwrap();
            let caller = caller(&holding.identity.unwrap(), [127, 0, 0, 1].into(), false);
            caller.identity_policies.len()
        };
        assert_eq!(policies(), 0);
        assert_eq!(policies(), 0);
        let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
        iam.put_user_policy(account, "alice", "p", policy).unwrap();
        assert_eq!(policies(), 1);
        iam.clear().unwrap();
        assert!(iam.holding(id).is_none());
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
        assert!(here.holding(&id).is_some());
        assert!(there.holding(&id).is_none());
        assert!(here.holding(&id).is_some());
        assert!(here.holding("AKIASTRANGER").is_none());
    }

    #[test]
    fn root_users_of_different_accounts_are_not_mixed_up() {
        for account in ["111122223333", "444455556666", "111122223333"] {
            let root = root(account);
            assert_eq!(root.principal.account(), account);
            let caller = caller(&root, [127, 0, 0, 1].into(), true);
            assert_eq!(caller.principal.account(), account);
            assert!(caller.secure_transport);
        }
    }
}
