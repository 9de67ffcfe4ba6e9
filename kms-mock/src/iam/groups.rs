//! Groups of users: policies that all their members have. A group is no
//! principal, cannot be named by one, and has no boundary and no tags.
//!
//! Source of truth: AWS IAM API reference and user guide, "IAM user groups",
//! "IAM and AWS STS quotas"; answers and refusals are recorded, to add a member
//! twice and to remove nobody among them.

use std::collections::BTreeMap;

use super::{
    Iam, IamError, User,
    credentials::unique_id,
    entity::{Entity, Group, Who, check_bare},
    names::{Tags, check_name, check_path},
    state::Change,
};

/// AWS's default quotas.
const GROUPS_MAX: usize = 300;
const GROUPS_PER_USER_MAX: usize = 10;

impl Iam {
    /// Makes a group. CreateGroup without its authorization.
    ///
    /// # Errors
    /// [`IamError`]: EntityAlreadyExists, LimitExceeded, a bad name.
    pub fn create_group(&self, account: &str, path: &str, name: &str) -> Result<Group, IamError> {
        check_name("groupName", name, 1, 128)?;
        check_path(path)?;
        let id = self.with_rng(|rng| unique_id("AGPA", 21, rng));
        let mut state = self.write();
        if state.group(account, name).is_some() {
            return Err(IamError::EntityAlreadyExists {
                kind: "Group",
                name: name.to_owned(),
            });
        }
        if state.account(account).map_or(0, |it| it.groups.len()) >= GROUPS_MAX {
            return Err(IamError::LimitExceeded {
                quota: "GroupsPerAccount",
                max: GROUPS_MAX,
            });
        }
        let group = Group {
            entity: Entity {
                path: path.to_owned(),
                name: name.to_owned(),
                id,
                arn: Who::group(account, name).arn(path),
                created: self.now(),
                inline: BTreeMap::new(),
                attached: Default::default(),
                boundary: None,
                tags: Tags::default(),
            },
        };
        let change = Change::GroupPut {
            account: account.to_owned(),
            group: group.clone(),
        };
        Self::commit(&mut state, [change])?;
        Ok(group)
    }

    /// The group `name`.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn group(&self, account: &str, name: &str) -> Result<Group, IamError> {
        let found = self.read().group(account, name).cloned();
        found.ok_or_else(|| Who::group(account, name).not_found())
    }

    /// The groups of an account below a path, by name.
    pub(super) fn groups(&self, account: &str, path_prefix: &str) -> Vec<Group> {
        let state = self.read();
        let groups = state.account(account).into_iter();
        let groups = groups.flat_map(|it| it.groups.values());
        groups
            .filter(|it| it.entity.path.starts_with(path_prefix))
            .cloned()
            .collect()
    }

    /// Deletes a group without members and policies.
    pub(super) fn delete_group(&self, account: &str, name: &str) -> Result<(), IamError> {
        let mut state = self.write();
        let group = state.group(account, name);
        let group = group.ok_or_else(|| Who::group(account, name).not_found())?;
        if state.members(account, name).next().is_some() {
            let what = "entity, must remove users from group first.";
            return Err(IamError::DeleteConflict(what));
        }
        check_bare(&group.entity)?;
        let change = Change::GroupGone {
            account: account.to_owned(),
            name: name.to_owned(),
        };
        Self::commit(&mut state, [change])
    }

    /// Makes a user a member of a group, if it is none.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, LimitExceeded.
    pub fn add_to_group(&self, account: &str, group: &str, user: &str) -> Result<(), IamError> {
        self.change_members(account, group, user, |user| {
            if !user.groups.contains(group) && user.groups.len() >= GROUPS_PER_USER_MAX {
                let (quota, max) = ("GroupsPerUser", GROUPS_PER_USER_MAX);
                return Err(IamError::LimitExceeded { quota, max });
            }
            user.groups.insert(group.to_owned());
            Ok(())
        })
    }

    pub(super) fn remove_from_group(
        &self,
        account: &str,
        group: &str,
        user: &str,
    ) -> Result<(), IamError> {
        self.change_members(account, group, user, |user| {
            user.groups.remove(group);
            Ok(())
        })
    }

    /// One look at user and group: neither can go in between.
    fn change_members(
        &self,
        account: &str,
        group: &str,
        user: &str,
        change: impl FnOnce(&mut User) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        let mut state = self.write();
        let found = state.user(account, user).cloned();
        let mut found = found.ok_or_else(|| Who::user(account, user).not_found())?;
        if state.group(account, group).is_none() {
            return Err(Who::group(account, group).not_found());
        }
        change(&mut found)?;
        let change = Change::UserPut {
            account: account.to_owned(),
            user: found,
        };
        Self::commit(&mut state, [change])
    }

    /// The members of a group, by name.
    pub(super) fn members(&self, account: &str, group: &str) -> Vec<User> {
        self.read().members(account, group).cloned().collect()
    }

    /// The groups that a user is a member of, by name.
    pub(super) fn groups_of(&self, account: &str, user: &str) -> Result<Vec<Group>, IamError> {
        let user = self.user(account, user)?;
        let state = self.read();
        let groups = user.groups.iter();
        Ok(groups
            .filter_map(|name| state.group(account, name).cloned())
            .collect())
    }
}
