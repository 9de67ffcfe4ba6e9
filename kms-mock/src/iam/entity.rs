//! Roles, users and groups: what all have (a name at a path, inline policies,
//! attached policies) in one shape, and what each has alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nsm_sim::clock::UnixMillis;

use super::{Document, Iam, IamError, names::Tags, state::Change};

/// Role, user or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityKind {
    /// Assumed by others.
    Role,
    /// Has access keys.
    User,
    /// Has users.
    Group,
}

impl EntityKind {
    /// `role`, `user` or `group`, as in error texts and ARNs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::User => "user",
            Self::Group => "group",
        }
    }

    fn inline_policy(self) -> &'static str {
        match self {
            Self::Role => "role policy",
            Self::User => "user policy",
            Self::Group => "group policy",
        }
    }
}

/// Which role, user or group.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Twelve digits.
    pub account: &'a str,
    /// Role, user or group.
    pub kind: EntityKind,
    /// Name without path.
    pub name: &'a str,
}

impl<'a> Who<'a> {
    /// A role.
    #[must_use]
    pub fn role(account: &'a str, name: &'a str) -> Self {
        let kind = EntityKind::Role;
        Self {
            account,
            kind,
            name,
        }
    }

    /// A user.
    #[must_use]
    pub fn user(account: &'a str, name: &'a str) -> Self {
        let kind = EntityKind::User;
        Self {
            account,
            kind,
            name,
        }
    }

    /// A group.
    #[must_use]
    pub fn group(account: &'a str, name: &'a str) -> Self {
        let kind = EntityKind::Group;
        Self {
            account,
            kind,
            name,
        }
    }

    pub(super) fn not_found(&self) -> IamError {
        IamError::NoSuchEntity {
            kind: self.kind.word(),
            name: self.name.to_owned(),
        }
    }

    /// The ARN it would have at `path`.
    pub(super) fn arn(&self, path: &str) -> String {
        let (account, word, name) = (self.account, self.kind.word(), self.name);
        format!("arn:aws:iam::{account}:{word}{path}{name}")
    }
}

/// What roles, users and groups have alike.
#[derive(Clone, Debug)]
pub struct Entity {
    /// `/` or `/path/`.
    pub path: String,
    /// Name without path.
    pub name: String,
    /// `AROA…`, `AIDA…` or `AGPA…`.
    pub id: String,
    /// ARN with path.
    pub arn: String,
    /// When it was made.
    pub created: UnixMillis,
    pub(super) inline: BTreeMap<String, Document>,
    /// ARNs of managed policies.
    pub(super) attached: BTreeSet<String>,
    /// ARN of the managed policy that is the permissions boundary; never of a
    /// group.
    pub(super) boundary: Option<String>,
    /// Never of a group.
    pub(super) tags: Tags,
}

/// A role as IAM shows it.
#[derive(Clone, Debug)]
pub struct Role {
    /// What users have too.
    pub entity: Entity,
    /// Who may assume it.
    pub trust: Document,
    /// Longest session.
    pub max_session: Duration,
    /// What it is for.
    pub description: Option<String>,
}

impl Role {
    /// ARN with path.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.entity.arn
    }
}

/// A user as IAM shows it.
#[derive(Clone, Debug)]
pub struct User {
    /// What roles have too.
    pub entity: Entity,
    /// Ids of access keys.
    pub(super) keys: Vec<String>,
    /// Names of the groups it is a member of.
    pub(super) groups: BTreeSet<String>,
}

impl User {
    /// ARN with path.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.entity.arn
    }
}

/// A group as IAM shows it.
#[derive(Clone, Debug)]
pub struct Group {
    /// What users have too.
    pub entity: Entity,
}

/// Inline policies of one role, user or group; AWS bounds their size, not their number.
const INLINE_MAX: usize = 100;
/// AWS's default quota of managed policies attached to one role, user or group.
const ATTACHED_MAX: usize = 10;

impl Iam {
    /// Sets an inline policy.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, MalformedPolicyDocument, LimitExceeded.
    pub fn put_policy(
        &self,
        who: Who<'_>,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        super::names::check_name("policyName", policy_name, 1, 128)?;
        let document = Document::identity(policy)?;
        self.change_entity(who, |entity| {
            let inline = &mut entity.inline;
            if !inline.contains_key(policy_name) && inline.len() >= INLINE_MAX {
                let (quota, max) = ("InlinePoliciesPerIdentity", INLINE_MAX);
                return Err(IamError::LimitExceeded { quota, max });
            }
            inline.insert(policy_name.to_owned(), document);
            Ok(())
        })
    }

    /// Sets an inline policy of a role.
    ///
    /// # Errors
    /// As [`Iam::put_policy`].
    pub fn put_role_policy(
        &self,
        account: &str,
        role: &str,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        self.put_policy(Who::role(account, role), policy_name, policy)
    }

    /// Sets an inline policy of a user.
    ///
    /// # Errors
    /// As [`Iam::put_policy`].
    pub fn put_user_policy(
        &self,
        account: &str,
        user: &str,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        self.put_policy(Who::user(account, user), policy_name, policy)
    }

    /// An inline policy.
    pub(super) fn policy_of(&self, who: Who<'_>, name: &str) -> Result<Document, IamError> {
        let found = self.entity(who)?.inline.get(name).cloned();
        found.ok_or_else(|| no_inline(who, name))
    }

    pub(super) fn delete_policy_of(&self, who: Who<'_>, name: &str) -> Result<(), IamError> {
        self.change_entity(who, |entity| {
            let gone = entity.inline.remove(name);
            gone.map(drop).ok_or_else(|| no_inline(who, name))
        })
    }

    /// Attaches a managed policy of the account or of AWS.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, LimitExceeded.
    pub fn attach_policy(&self, who: Who<'_>, arn: &str) -> Result<(), IamError> {
        if !arn.starts_with("arn:") {
            let arn = arn.chars().take(2_048).collect();
            return Err(IamError::InvalidPolicyArn(arn));
        }
        if !self.is_attachable(who.account, arn) {
            let what = arn.to_owned();
            return Err(IamError::NotAttachable { what });
        }
        self.change_entity(who, |entity| {
            let attached = &mut entity.attached;
            if !attached.contains(arn) && attached.len() >= ATTACHED_MAX {
                let quota = match who.kind {
                    EntityKind::Role => "PoliciesPerRole",
                    EntityKind::User => "PoliciesPerUser",
                    EntityKind::Group => "PoliciesPerGroup",
                };
                let max = ATTACHED_MAX;
                return Err(IamError::LimitExceeded { quota, max });
            }
            attached.insert(arn.to_owned());
            Ok(())
        })
    }

    pub(super) fn detach_policy(&self, who: Who<'_>, arn: &str) -> Result<(), IamError> {
        self.change_entity(who, |entity| {
            if entity.attached.remove(arn) {
                return Ok(());
            }
            let arn = arn.to_owned();
            Err(IamError::NoSuchPolicy { arn })
        })
    }

    pub(super) fn tag(&self, who: Who<'_>, tags: Vec<(String, String)>) -> Result<(), IamError> {
        self.change_entity(who, |entity| entity.tags.add(tags))
    }

    pub(super) fn untag(&self, who: Who<'_>, keys: &[String]) -> Result<(), IamError> {
        self.change_entity(who, |entity| entity.tags.remove(keys))
    }

    /// What role, user and group have alike.
    pub(super) fn entity(&self, who: Who<'_>) -> Result<Entity, IamError> {
        match who.kind {
            EntityKind::Role => Ok(self.role(who.account, who.name)?.entity),
            EntityKind::User => Ok(self.user(who.account, who.name)?.entity),
            EntityKind::Group => Ok(self.group(who.account, who.name)?.entity),
        }
    }

    /// Changes what role, user and group have alike, or nothing if `change`
    /// refuses.
    pub(super) fn change_entity(
        &self,
        who: Who<'_>,
        change: impl FnOnce(&mut Entity) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        match who.kind {
            EntityKind::Role => {
                self.change_role(who.account, who.name, |it| change(&mut it.entity))
            }
            EntityKind::User => {
                self.change_user(who.account, who.name, |it| change(&mut it.entity))
            }
            EntityKind::Group => {
                self.change_group(who.account, who.name, |it| change(&mut it.entity))
            }
        }
    }

    /// Changes a group, or nothing if `change` refuses.
    fn change_group(
        &self,
        account: &str,
        name: &str,
        change: impl FnOnce(&mut Group) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        let mut state = self.write();
        let found = state.group(account, name);
        let mut group = found
            .cloned()
            .ok_or_else(|| Who::group(account, name).not_found())?;
        change(&mut group)?;
        let account = account.to_owned();
        Self::commit(&mut state, [Change::GroupPut { account, group }])
    }

    /// Changes a role, or nothing if `change` refuses.
    pub(super) fn change_role(
        &self,
        account: &str,
        name: &str,
        change: impl FnOnce(&mut Role) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        let mut state = self.write();
        let found = state.role(account, name);
        let mut role = found
            .cloned()
            .ok_or_else(|| Who::role(account, name).not_found())?;
        change(&mut role)?;
        let account = account.to_owned();
        Self::commit(&mut state, [Change::RolePut { account, role }])
    }

    /// Changes a user, or nothing if `change` refuses.
    pub(super) fn change_user(
        &self,
        account: &str,
        name: &str,
        change: impl FnOnce(&mut User) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        let mut state = self.write();
        let found = state.user(account, name);
        let mut user = found
            .cloned()
            .ok_or_else(|| Who::user(account, name).not_found())?;
        change(&mut user)?;
        let account = account.to_owned();
        Self::commit(&mut state, [Change::UserPut { account, user }])
    }
}

/// Refuses to delete what still has policies. A boundary is in nobody's way.
pub(super) fn check_bare(entity: &Entity) -> Result<(), IamError> {
    if !entity.attached.is_empty() {
        let what = "entity, must detach all policies first.";
        return Err(IamError::DeleteConflict(what));
    }
    if !entity.inline.is_empty() {
        let what = "entity, must delete policies first.";
        return Err(IamError::DeleteConflict(what));
    }
    Ok(())
}

fn no_inline(who: Who<'_>, name: &str) -> IamError {
    IamError::NoSuchEntity {
        kind: who.kind.inline_policy(),
        name: name.to_owned(),
    }
}
