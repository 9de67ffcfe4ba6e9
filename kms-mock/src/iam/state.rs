//! The identities of all accounts, and the one way in which they change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    credentials::AccessKey,
    document::Document,
    entity::{Entity, EntityKind, Group, Role, User},
    managed::{ManagedPolicy, of_aws},
};

/// What becomes of the identities. What changes is put whole.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    RolePut {
        account: String,
        role: Role,
    },
    UserPut {
        account: String,
        user: User,
    },
    GroupPut {
        account: String,
        group: Group,
    },
    /// A role, user or group.
    EntityGone {
        account: String,
        kind: EntityKind,
        name: String,
    },
    PolicyPut {
        account: String,
        policy: ManagedPolicy,
    },
    PolicyGone {
        account: String,
        arn: String,
    },
    KeyPut {
        key: Arc<AccessKey>,
    },
    AllGone,
}

#[derive(Debug, Default)]
pub(crate) struct Identities {
    accounts: BTreeMap<String, Account>,
    keys: HashMap<String, Arc<AccessKey>>,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    roles: BTreeMap<String, Role>,
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Group>,
    /// By ARN.
    policies: BTreeMap<String, ManagedPolicy>,
}

/// A role, user or group, for what is done to all three alike.
pub(crate) trait Member: Clone + 'static {
    const KIND: EntityKind;

    fn entity(&self) -> &Entity;
    /// All of this kind in an account, by name.
    fn all(account: &Account) -> &BTreeMap<String, Self>;
    /// What makes it one of an account.
    fn put(self, account: &str) -> Change;
}

macro_rules! member {
    ($member:ident, $all:ident, $change:ident, $field:ident) => {
        impl Member for $member {
            const KIND: EntityKind = EntityKind::$member;

            fn entity(&self) -> &Entity {
                &self.entity
            }

            fn all(account: &Account) -> &BTreeMap<String, Self> {
                &account.$all
            }

            fn put(self, account: &str) -> Change {
                Change::$change {
                    account: account.to_owned(),
                    $field: self,
                }
            }
        }
    };
}

member!(Role, roles, RolePut, role);
member!(User, users, UserPut, user);
member!(Group, groups, GroupPut, group);

impl Identities {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::RolePut { account, role } => {
                let roles = &mut self.account_mut(account).roles;
                roles.insert(role.entity.name.clone(), role);
            }
            Change::UserPut { account, user } => {
                let users = &mut self.account_mut(account).users;
                users.insert(user.entity.name.clone(), user);
            }
            Change::GroupPut { account, group } => {
                let groups = &mut self.account_mut(account).groups;
                groups.insert(group.entity.name.clone(), group);
            }
            Change::EntityGone {
                account,
                kind,
                name,
            } => {
                let account = self.account_mut(account);
                match kind {
                    EntityKind::Role => drop(account.roles.remove(&name)),
                    EntityKind::User => drop(account.users.remove(&name)),
                    EntityKind::Group => drop(account.groups.remove(&name)),
                }
            }
            Change::PolicyPut { account, policy } => {
                let policies = &mut self.account_mut(account).policies;
                policies.insert(policy.arn.clone(), policy);
            }
            Change::PolicyGone { account, arn } => {
                self.account_mut(account).policies.remove(&arn);
            }
            Change::KeyPut { key } => {
                self.keys.insert(key.credentials.access_key_id.clone(), key);
            }
            Change::AllGone => *self = Self::default(),
        }
    }

    fn account_mut(&mut self, account: String) -> &mut Account {
        self.accounts.entry(account).or_default()
    }

    /// A role, user or group by name.
    pub(super) fn get<M: Member>(&self, account: &str, name: &str) -> Option<&M> {
        M::all(self.accounts.get(account)?).get(name)
    }

    /// The roles, users or groups of an account, by name.
    pub(super) fn all<M: Member>(&self, account: &str) -> impl Iterator<Item = &M> {
        let account = self.accounts.get(account).into_iter();
        account.flat_map(|it| M::all(it).values())
    }

    /// How many there are in an account.
    pub(super) fn count<M: Member>(&self, account: &str) -> usize {
        self.accounts.get(account).map_or(0, |it| M::all(it).len())
    }

    /// The members of a group.
    pub(super) fn members(&self, account: &str, group: &str) -> impl Iterator<Item = &User> {
        self.all::<User>(account)
            .filter(move |it| it.groups.contains(group))
    }

    pub(super) fn policy(&self, account: &str, arn: &str) -> Option<&ManagedPolicy> {
        self.accounts.get(account)?.policies.get(arn)
    }

    /// The managed policies of an account, by ARN.
    pub(super) fn policies(&self, account: &str) -> impl Iterator<Item = &ManagedPolicy> {
        let account = self.accounts.get(account).into_iter();
        account.flat_map(|it| it.policies.values())
    }

    /// The document of an attached or named policy as it is now.
    pub(super) fn document(&self, account: &str, arn: &str) -> Option<Document> {
        match self.policy(account, arn) {
            Some(policy) => policy.document().cloned(),
            None => of_aws(arn),
        }
    }

    /// What an entity is bounded by now: `Some(None)` for one that has no boundary,
    /// `None` when its boundary cannot be found, which must not pass for no boundary.
    pub(super) fn boundary(&self, account: &str, entity: &Entity) -> Option<Option<Document>> {
        match &entity.boundary {
            None => Some(None),
            Some(arn) => self.document(account, arn).map(Some),
        }
    }

    /// How many entities a policy is attached to, and how many it bounds.
    pub(super) fn uses(&self, account: &str, arn: &str) -> (usize, usize) {
        let roles = || self.all::<Role>(account).map(Member::entity);
        let users = || self.all::<User>(account).map(Member::entity);
        let groups = || self.all::<Group>(account).map(Member::entity);
        let entities = || roles().chain(users()).chain(groups());
        let attached = entities().filter(|it| it.attached.contains(arn));
        let bounded = entities().filter(|it| it.boundary.as_deref() == Some(arn));
        (attached.count(), bounded.count())
    }

    pub(super) fn key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.keys.get(id)
    }

    #[cfg(test)]
    pub(super) fn key_ids(&self) -> impl Iterator<Item = String> {
        self.keys.keys().cloned()
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }
}
