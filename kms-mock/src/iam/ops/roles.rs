//! Roles: made, found, changed, deleted.

use std::time::Duration;

use super::entities::{check_named, found};
use crate::iam::{
    document::Document,
    entity::{Role, Who},
    error::IamError,
    service::Iam,
    state::Member,
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

impl Iam {
    /// Makes a role. CreateRole without its authorization.
    ///
    /// # Errors
    /// [`IamError`]: EntityAlreadyExists, MalformedPolicyDocument, a bad name.
    pub fn create_role(&self, account: &str, new: &NewRole<'_>) -> Result<Role, IamError> {
        self.create_role_with(
            account,
            new,
            Document::trust(new.trust_policy)?.bound_to(self)?,
        )
    }

    /// Makes a role whose trust policy may name roles and users that are not there yet,
    /// as those of a seed file are; [`Iam::bind_trust`] is to follow.
    pub(crate) fn plant_role(&self, account: &str, new: &NewRole<'_>) -> Result<Role, IamError> {
        self.create_role_with(account, new, Document::trust(new.trust_policy)?)
    }

    /// Puts the unique ids behind the principals of a role's trust policy.
    pub(crate) fn bind_trust(&self, account: &str, name: &str) -> Result<(), IamError> {
        self.change(|identities, changes| {
            let role: &Role = found(identities, account, name)?;
            let trust = role.trust.clone().bound_to(identities)?;
            let role = Role {
                trust,
                ..role.clone()
            };
            changes.push(role.put(account));
            Ok(())
        })
    }

    fn create_role_with(
        &self,
        account: &str,
        new: &NewRole<'_>,
        trust: Document,
    ) -> Result<Role, IamError> {
        let who = Who::role(account, new.name);
        check_named(who, new.path)?;
        check_max_session(new.max_session)?;
        let role = Role {
            entity: self.new_entity(who, new.path, &new.tags, new.boundary)?,
            trust,
            max_session: new.max_session,
            description: new.description.map(str::to_owned),
        };
        self.add(account, role)
    }

    /// The role `name`.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn role(&self, account: &str, name: &str) -> Result<Role, IamError> {
        self.member(account, name)
    }

    pub(crate) fn set_trust(&self, account: &str, name: &str, trust: &str) -> Result<(), IamError> {
        let trust = Document::trust(trust)?.bound_to(self)?;
        self.change_member(account, name, |_, role: &mut Role| {
            role.trust = trust;
            Ok(())
        })
    }

    pub(crate) fn update_role(
        &self,
        account: &str,
        name: &str,
        description: Option<&str>,
        max_session: Option<Duration>,
    ) -> Result<(), IamError> {
        if let Some(max_session) = max_session {
            check_max_session(max_session)?;
        }
        self.change_member(account, name, |_, role: &mut Role| {
            role.max_session = max_session.unwrap_or(role.max_session);
            if let Some(description) = description {
                role.description = Some(description.to_owned());
            }
            Ok(())
        })
    }

    /// Deletes a role without policies. Its sessions are refused from now on.
    pub(crate) fn delete_role(&self, account: &str, name: &str) -> Result<(), IamError> {
        self.delete_member(account, name, |_, _: &Role| Ok(()))
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
