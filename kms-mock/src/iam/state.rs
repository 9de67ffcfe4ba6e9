//! The identities of all accounts, and the one way in which they change.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::world::{
    arn::six_parts,
    directory::{Behind, Directory},
    principal::name_of,
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
    /// Those in which anything was ever made.
    accounts: BTreeMap<String, Account>,
    /// Unique ids of users and roles.
    ids: HashSet<String>,
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
    /// The same as it is shown: with unique ids for principals that are gone.
    fn shown(&self, directory: &dyn Directory) -> Self;
}

macro_rules! member {
    ($member:ident, $all:ident, $change:ident, $field:ident, $shown:expr) => {
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

            fn shown(&self, directory: &dyn Directory) -> Self {
                let shown: fn(&Self, &dyn Directory) -> Self = $shown;
                shown(self, directory)
            }
        }
    };
}

member!(Role, roles, RolePut, role, |role, directory| Role {
    trust: role.trust.shown(directory),
    ..role.clone()
});
member!(User, users, UserPut, user, |user, _| user.clone());
member!(Group, groups, GroupPut, group, |group, _| group.clone());

impl Identities {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::RolePut { account, role } => {
                self.ids.insert(role.entity.id.clone());
                let roles = &mut self.account_mut(account).roles;
                roles.insert(role.entity.name.clone(), role);
            }
            Change::UserPut { account, user } => {
                self.ids.insert(user.entity.id.clone());
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
                let gone = match kind {
                    EntityKind::Role => account.roles.remove(&name).map(|it| it.entity),
                    EntityKind::User => account.users.remove(&name).map(|it| it.entity),
                    EntityKind::Group => account.groups.remove(&name).map(|it| it.entity),
                };
                if let Some(gone) = gone {
                    self.ids.remove(&gone.id);
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

    pub(super) fn is_attachable(&self, account: &str, arn: &str) -> bool {
        of_aws(arn).is_some() || self.policy(account, arn).is_some()
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

impl Directory for Identities {
    fn behind(&self, arn: &str) -> Behind {
        let Some([_, _, service, _, account, resource]) = six_parts(arn) else {
            return Behind::Nobody;
        };
        if !self.accounts.contains_key(account) {
            return Behind::NotKept;
        }
        let entity = match (service, resource.split_once('/')) {
            ("iam", Some(("user", path_name))) => {
                let user = self.get::<User>(account, name_of(path_name));
                user.map(Member::entity).filter(|it| it.arn == arn)
            }
            ("iam", Some(("role", path_name))) => {
                let role = self.get::<Role>(account, name_of(path_name));
                role.map(Member::entity).filter(|it| it.arn == arn)
            }
            // A session's ARN has the role's name without its path.
            ("sts", Some(("assumed-role", rest))) => {
                let role = rest.split_once('/').map_or(rest, |(role, _)| role);
                self.get::<Role>(account, role).map(Member::entity)
            }
            _ => None,
        };
        entity.map_or(Behind::Nobody, |it| Behind::Id(it.id.as_str().into()))
    }

    fn is_there(&self, unique_id: &str) -> bool {
        self.ids.contains(unique_id)
    }
}
