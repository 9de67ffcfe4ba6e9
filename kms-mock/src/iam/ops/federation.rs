//! Sessions of users and of the root user: GetSessionToken, whose session is the caller,
//! and GetFederationToken, whose session is a federated user with another name and at
//! most the caller's permissions.
//!
//! Source of truth: AWS STS API reference, "GetSessionToken" and
//! "GetFederationToken"; IAM user guide, "Permissions for GetFederationToken".
//! Does not model MFA: no session has it.

use std::time::Duration;

use crate::{
    iam::{
        credentials::{Credentials, Holder},
        error::IamError,
        identity::{Connection, Identity},
        names::check_name,
        service::Iam,
        terms::{
            SessionOptions, SessionTags, Terms, check_at_least_15_minutes, check_policy_length,
        },
    },
    world::principal::{Principal, name_of},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// What GetFederationToken answers.
#[derive(Clone, Debug)]
pub(crate) struct Federated {
    pub(crate) credentials: Credentials,
    /// `123456789012:Bob`.
    pub(crate) id: String,
    /// ARN of the federated user.
    pub(crate) arn: String,
    /// Whether it has policies or tags.
    pub(crate) is_bare: bool,
}

impl Iam {
    /// Temporary credentials of the calling user or root user: GetSessionToken,
    /// which asks no policy.
    pub(crate) fn session_token(
        &self,
        caller: &Identity,
        duration: Option<Duration>,
    ) -> Result<Credentials, IamError> {
        let duration = checked(duration)?;
        let holder = match long_term(caller, "GetSessionToken")? {
            (account, None) => Holder::Root { account },
            (account, Some(name)) => Holder::User { account, name },
        };
        let duration = bounded(duration, matches!(holder, Holder::Root { .. }));
        self.temporary((holder, id_of_user(caller)), duration, Terms::default())
    }

    /// A federated user for a caller with long-term credentials:
    /// GetFederationToken with its authorization.
    pub(crate) fn federation_token(
        &self,
        (caller, connection): (&Identity, Connection<'_>),
        name: &str,
        policy: Option<&str>,
        asked: &SessionOptions,
        duration: Option<Duration>,
    ) -> Result<Federated, IamError> {
        check_name("name", name, 2, 32)?;
        check_policy_length(policy)?;
        let duration = checked(duration)?;
        let (account, by) = long_term(caller, "GetFederationToken")?;
        let tags = SessionTags::of(asked, &SessionTags::default())?;
        let arn = format!("arn:aws:sts::{account}:federated-user/{name}");
        caller.may_federate(&arn, &tags, (connection, self.now()))?;
        let terms = Terms {
            policies: self.session_policies(&account, policy, &asked.policy_arns)?,
            tags,
            source_identity: None,
        };
        let is_bare = terms.policies.is_empty() && terms.tags.all().is_empty();
        let duration = bounded(duration, by.is_none());
        let id = format!("{account}:{name}");
        let name = name.to_owned();
        let holder = Holder::Federated { account, name, by };
        Ok(Federated {
            credentials: self.temporary((holder, id_of_user(caller)), duration, terms)?,
            id,
            arn,
            is_bare,
        })
    }
}

/// Account and user name of a caller who has no session; a root user has no name.
fn long_term(
    caller: &Identity,
    operation: &'static str,
) -> Result<(String, Option<String>), IamError> {
    match &caller.principal {
        Principal::Root { account } if !caller.is_session() => Ok((account.clone(), None)),
        Principal::User { account, path_name } if !caller.is_session() => {
            Ok((account.clone(), Some(name_of(path_name).to_owned())))
        }
        _ => Err(IamError::SessionOfSession { operation }),
    }
}

/// The unique id of a user; the root user has none.
fn id_of_user(caller: &Identity) -> Option<String> {
    let is_user = matches!(caller.principal, Principal::User { .. });
    is_user.then(|| caller.unique_id.clone())
}

/// 15 minutes to 36 hours; 12 hours if nothing is asked for.
fn checked(duration: Option<Duration>) -> Result<Duration, IamError> {
    let duration = duration.unwrap_or(12 * HOUR);
    check_at_least_15_minutes(duration)?;
    if duration > 36 * HOUR {
        return Err(IamError::Validation {
            parameter: "durationSeconds",
            value: duration.as_secs().to_string(),
            constraint: "Member must have value less than or equal to 129600",
        });
    }
    Ok(duration)
}

/// A root user's session lives for an hour at most, whatever was asked for.
fn bounded(duration: Duration, is_root: bool) -> Duration {
    if is_root {
        duration.min(HOUR)
    } else {
        duration
    }
}
