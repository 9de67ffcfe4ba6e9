//! What IAM keeps, and the one way in which it changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    credentials::AccessKey,
    entity::{Group, Role, User},
    managed::ManagedPolicy,
};

/// What becomes of the identities. An entity that changes is put whole.
#[derive(Clone, Debug)]
pub(super) enum Change {
    RolePut {
        account: String,
        role: Role,
    },
    RoleGone {
        account: String,
        name: String,
    },
    UserPut {
        account: String,
        user: User,
    },
    UserGone {
        account: String,
        name: String,
    },
    GroupPut {
        account: String,
        group: Group,
    },
    GroupGone {
        account: String,
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
pub(super) struct State {
    accounts: BTreeMap<String, Account>,
    keys: HashMap<String, Arc<AccessKey>>,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) users: BTreeMap<String, User>,
    pub(super) groups: BTreeMap<String, Group>,
    /// By ARN.
    pub(super) policies: BTreeMap<String, ManagedPolicy>,
}

impl State {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::RolePut { account, role } => {
                let roles = &mut self.accounts.entry(account).or_default().roles;
                roles.insert(role.entity.name.clone(), role);
            }
            Change::RoleGone { account, name } => {
                self.accounts
                    .entry(account)
                    .or_default()
                    .roles
                    .remove(&name);
            }
            Change::UserPut { account, user } => {
                let users = &mut self.accounts.entry(account).or_default().users;
                users.insert(user.entity.name.clone(), user);
            }
            Change::UserGone { account, name } => {
                self.accounts
                    .entry(account)
                    .or_default()
                    .users
                    .remove(&name);
            }
            Change::GroupPut { account, group } => {
                let groups = &mut self.accounts.entry(account).or_default().groups;
                groups.insert(group.entity.name.clone(), group);
            }
            Change::GroupGone { account, name } => {
                self.accounts
                    .entry(account)
                    .or_default()
                    .groups
                    .remove(&name);
            }
            Change::PolicyPut { account, policy } => {
                let policies = &mut self.accounts.entry(account).or_default().policies;
                policies.insert(policy.arn.clone(), policy);
            }
            Change::PolicyGone { account, arn } => {
                self.accounts
                    .entry(account)
                    .or_default()
                    .policies
                    .remove(&arn);
            }
            Change::KeyPut { key } => {
                self.keys.insert(key.credentials.access_key_id.clone(), key);
            }
            Change::AllGone => *self = Self::default(),
        }
    }

    pub(super) fn account(&self, account: &str) -> Option<&Account> {
        self.accounts.get(account)
    }

    pub(super) fn role(&self, account: &str, name: &str) -> Option<&Role> {
        self.accounts.get(account)?.roles.get(name)
    }

    pub(super) fn user(&self, account: &str, name: &str) -> Option<&User> {
        self.accounts.get(account)?.users.get(name)
    }

    pub(super) fn group(&self, account: &str, name: &str) -> Option<&Group> {
        self.accounts.get(account)?.groups.get(name)
    }

    /// The members of a group.
    pub(super) fn members(&self, account: &str, group: &str) -> impl Iterator<Item = &User> {
        let users = self.accounts.get(account).into_iter();
        let users = users.flat_map(|it| it.users.values());
        users.filter(move |it| it.groups.contains(group))
    }

    pub(super) fn policy(&self, account: &str, arn: &str) -> Option<&ManagedPolicy> {
        self.accounts.get(account)?.policies.get(arn)
    }

    pub(super) fn key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.keys.get(id)
    }

    #[cfg(test)]
    pub(super) fn key_ids(&self) -> impl Iterator<Item = String> {
        self.keys.keys().cloned()
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }
}
