//! Groups of users: policies that all their members have. A group is not a
//! principal, is not named in a policy, and has no boundary and no tags.
//!
//! Source of truth: AWS IAM API reference and user guide, "IAM user groups",
//! "IAM and AWS STS quotas"; answers and refusals are recorded, to add a member
//! twice and to remove one who is not a member among them.

use super::entities::{check_named, found};
use crate::iam::{
    entity::{Group, User, Who},
    error::IamError,
    service::Iam,
    state::Member,
};

/// AWS's default quota.
const GROUPS_PER_USER_MAX: usize = 10;

impl Iam {
    /// Makes a group. CreateGroup without its authorization.
    ///
    /// # Errors
    /// [`IamError`]: EntityAlreadyExists, LimitExceeded, a bad name.
    pub fn create_group(&self, account: &str, path: &str, name: &str) -> Result<Group, IamError> {
        let who = Who::group(account, name);
        check_named(who, path)?;
        let entity = self.new_entity(who, path, &[], None)?;
        self.add(account, Group { entity })
    }

    /// The group `name`.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn group(&self, account: &str, name: &str) -> Result<Group, IamError> {
        self.member(account, name)
    }

    /// Deletes a group without members and policies.
    pub(crate) fn delete_group(&self, account: &str, name: &str) -> Result<(), IamError> {
        self.delete_member(account, name, |identities, _: &Group| {
            if identities.members(account, name).next().is_some() {
                let what = "entity, must remove users from group first.";
                return Err(IamError::DeleteConflict(what));
            }
            Ok(())
        })
    }

    /// Makes a user a member of a group, if it is not one already.
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

    pub(crate) fn remove_from_group(
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
        self.change(|identities, changes| {
            let mut user = found::<User>(identities, account, user)?.clone();
            found::<Group>(identities, account, group)?;
            change(&mut user)?;
            changes.push(user.put(account));
            Ok(())
        })
    }

    /// The members of a group, by name.
    pub(crate) fn members(&self, account: &str, group: &str) -> Vec<User> {
        self.read().members(account, group).cloned().collect()
    }

    /// The groups that a user is a member of, by name.
    pub(crate) fn groups_of(&self, account: &str, user: &str) -> Result<Vec<Group>, IamError> {
        let user = self.user(account, user)?;
        let identities = self.read();
        let groups = user.groups.iter();
        Ok(groups
            .filter_map(|name| identities.get(account, name).cloned())
            .collect())
    }
}
