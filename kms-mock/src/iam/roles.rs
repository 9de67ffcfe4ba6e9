//! Roles: made, found, changed, deleted.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Document, Iam, IamError,
    credentials::unique_id,
    entity::{Entity, Role, Who, check_bare},
    names::{Tags, check_name, check_path},
    state::Change,
};

/// What a new role is made from.
#[derive(Clone, Debug)]
pub struct NewRole<'a> {
    /// Name, 1 to 64 of `[\w+=,.@-]`.
    pub name: &'a str,
    /// `/` or `/path/`.
    pub path: &'a str,
    /// JSON.
    pub trust_policy: &'a str,
    /// Longest session, 1 to 12 hours.
    pub max_session: Duration,
    /// What it is for.
    pub description: Option<&'a str>,
    /// Key and value of each.
    pub tags: Vec<(String, String)>,
    /// ARN of the managed policy that is its permissions boundary.
    pub boundary: Option<&'a str>,
}

impl<'a> NewRole<'a> {
    /// A role at path `/` with sessions of up to one hour.
    #[must_use]
    pub fn named(name: &'a str, trust_policy: &'a str) -> Self {
        Self {
            name,
            path: "/",
            trust_policy,
            max_session: Duration::from_secs(3600),
            description: None,
            tags: Vec::new(),
            boundary: None,
        }
    }
}

/// Roles of an account, AWS's default quota.
const ROLES_MAX: usize = 1_000;

impl Iam {
    /// Makes a role. CreateRole without its authorization.
    ///
    /// # Errors
    /// [`IamError`]: EntityAlreadyExists, MalformedPolicyDocument, a bad name.
    pub fn create_role(&self, account: &str, new: &NewRole<'_>) -> Result<Role, IamError> {
        check_name("roleName", new.name, 1, 64)?;
        check_path(new.path)?;
        check_max_session(new.max_session)?;
        let trust = Document::trust(new.trust_policy)?;
        let mut tags = Tags::default();
        tags.add(new.tags.clone())?;
        let boundary = new.boundary.map(|arn| self.boundary(account, arn));
        let boundary = boundary.transpose()?;
        let id = self.with_rng(|rng| unique_id("AROA", 21, rng));
        let mut state = self.write();
        let there = state.account(account).map_or(0, |it| it.roles.len());
        if state.role(account, new.name).is_some() {
            return Err(IamError::EntityAlreadyExists {
                kind: "Role",
                name: new.name.to_owned(),
            });
        }
        if there >= ROLES_MAX {
            return Err(IamError::LimitExceeded {
                quota: "RolesPerAccount",
                max: ROLES_MAX,
            });
        }
        let role = Role {
            entity: Entity {
                path: new.path.to_owned(),
                name: new.name.to_owned(),
                id,
                arn: Who::role(account, new.name).arn(new.path),
                created: self.now(),
                inline: BTreeMap::new(),
                attached: Default::default(),
                boundary,
                tags,
            },
            trust,
            max_session: new.max_session,
            description: new.description.map(str::to_owned),
        };
        let change = Change::RolePut {
            account: account.to_owned(),
            role: role.clone(),
        };
        Self::commit(&mut state, [change])?;
        Ok(role)
    }

    /// The role `name`.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn role(&self, account: &str, name: &str) -> Result<Role, IamError> {
        let found = self.read().role(account, name).cloned();
        found.ok_or_else(|| Who::role(account, name).not_found())
    }

    /// The roles of an account below a path, by name.
    pub(super) fn roles(&self, account: &str, path_prefix: &str) -> Vec<Role> {
        let state = self.read();
        let roles = state.account(account).into_iter();
        let roles = roles.flat_map(|it| it.roles.values());
        roles
            .filter(|it| it.entity.path.starts_with(path_prefix))
            .cloned()
            .collect()
    }

    pub(super) fn set_trust(&self, account: &str, name: &str, trust: &str) -> Result<(), IamError> {
        let trust = Document::trust(trust)?;
        self.change_role(account, name, |role| {
            role.trust = trust;
            Ok(())
        })
    }

    pub(super) fn update_role(
        &self,
        account: &str,
        name: &str,
        description: Option<&str>,
        max_session: Option<Duration>,
    ) -> Result<(), IamError> {
        if let Some(max_session) = max_session {
            check_max_session(max_session)?;
        }
        self.change_role(account, name, |role| {
            role.max_session = max_session.unwrap_or(role.max_session);
            if let Some(description) = description {
                role.description = Some(description.to_owned());
            }
            Ok(())
        })
    }

    /// Deletes a role without policies. Its sessions are refused from now on.
    pub(super) fn delete_role(&self, account: &str, name: &str) -> Result<(), IamError> {
        let mut state = self.write();
        let role = state.role(account, name);
        let role = role.ok_or_else(|| Who::role(account, name).not_found())?;
        check_bare(&role.entity)?;
        let change = Change::RoleGone {
            account: account.to_owned(),
            name: name.to_owned(),
        };
        Self::commit(&mut state, [change])
    }
}

fn check_max_session(max_session: Duration) -> Result<(), IamError> {
    let seconds = max_session.as_secs();
    if (3_600..=43_200).contains(&seconds) {
        return Ok(());
    }
    Err(IamError::Validation {
        parameter: "maxSessionDuration",
        value: seconds.to_string(),
        constraint: "Member must have value between 3600 and 43200",
    })
}
