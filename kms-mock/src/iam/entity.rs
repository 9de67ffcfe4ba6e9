//! Roles, users and groups: what all have (a name at a path, inline policies,
//! attached policies) in one shape, and what each has alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nsm_sim::clock::UnixMillis;

use super::{document::Document, error::IamError, names::Tags};

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

    /// With a capital, as in the refusal of a second one.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Role => "Role",
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// How many one account can have, AWS's default quota with its name.
    pub(super) fn quota(self) -> (&'static str, usize) {
        match self {
            Self::Role => ("RolesPerAccount", 1_000),
            Self::User => ("UsersPerAccount", 5_000),
            Self::Group => ("GroupsPerAccount", 300),
        }
    }

    /// The parameter with its name, and the longest name.
    pub(super) fn named_by(self) -> (&'static str, usize) {
        match self {
            Self::Role => ("roleName", 64),
            Self::User => ("userName", 64),
            Self::Group => ("groupName", 128),
        }
    }

    /// What its unique ids begin with.
    pub(super) fn id_prefix(self) -> &'static str {
        match self {
            Self::Role => "AROA",
            Self::User => "AIDA",
            Self::Group => "AGPA",
        }
    }

    /// Characters of all inline policies of one, without white space, AWS's quota.
    pub(super) fn inline_characters_max(self) -> usize {
        match self {
            Self::Role => 10_240,
            Self::User => 2_048,
            Self::Group => 5_120,
        }
    }

    pub(super) fn inline_policy(self) -> &'static str {
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
        Self::of(EntityKind::Role, account, name)
    }

    /// A user.
    #[must_use]
    pub fn user(account: &'a str, name: &'a str) -> Self {
        Self::of(EntityKind::User, account, name)
    }

    /// A group.
    #[must_use]
    pub fn group(account: &'a str, name: &'a str) -> Self {
        Self::of(EntityKind::Group, account, name)
    }

    pub(super) fn of(kind: EntityKind, account: &'a str, name: &'a str) -> Self {
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

impl Entity {
    /// Refuses to delete what still has policies. A boundary is no hindrance.
    pub(super) fn check_bare(&self) -> Result<(), IamError> {
        if !self.attached.is_empty() {
            let what = "entity, must detach all policies first.";
            return Err(IamError::DeleteConflict(what));
        }
        if !self.inline.is_empty() {
            let what = "entity, must delete policies first.";
            return Err(IamError::DeleteConflict(what));
        }
        Ok(())
    }
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
