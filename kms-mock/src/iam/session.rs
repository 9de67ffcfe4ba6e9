//! Sessions: what STS hands out, and who holds a key now.

use std::{sync::Arc, time::Duration};

use nsm_sim::clock::UnixMillis;

use super::{
    Document, Iam, IamError, Identity,
    credentials::{AccessKey, Credentials, Holder, Status, temporary},
    entity::{Entity, Role, Who},
    managed::document_of,
    names::check_name,
    state::{Change, State},
    users::KEYS_MAX,
};
use crate::principal::Principal;

/// What AssumeRole asks for.
#[derive(Clone, Debug)]
pub struct AssumeRole<'a> {
    /// ARN of the role.
    pub role_arn: &'a str,
    /// Name of the session, 2 to 64 of `[\w+=,.@-]`.
    pub session_name: &'a str,
    /// 15 minutes to the role's longest session.
    pub duration: Duration,
    /// A session policy, JSON.
    pub policy: Option<&'a str>,
    /// The external id that the trust policy may ask for.
    pub external_id: Option<&'a str>,
}

/// A session that AssumeRole made.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its credentials.
    pub credentials: Credentials,
    /// `AROA…:session`.
    pub assumed_role_id: String,
    /// ARN of the session.
    pub arn: String,
}

impl Iam {
    /// A session of a role for a caller: AssumeRole with its authorization.
    ///
    /// # Errors
    /// [`IamError`]: AccessDenied (also for a role that is not there, as in AWS),
    /// MalformedPolicyDocument, a bad name or duration.
    pub fn assume_role(
        &self,
        caller: &Identity,
        request: &AssumeRole<'_>,
    ) -> Result<Session, IamError> {
        self.assume_role_with(caller, request, &[])
    }

    /// The same with managed policies that bound the session too.
    pub(super) fn assume_role_with(
        &self,
        caller: &Identity,
        request: &AssumeRole<'_>,
        policy_arns: &[String],
    ) -> Result<Session, IamError> {
        check_name("roleSessionName", request.session_name, 2, 64)?;
        check_arn(request.role_arn)?;
        check_at_least_15_minutes(request.duration)?;
        let denied = |because: &str| IamError::AccessDenied {
            caller: caller.principal.arn(),
            action: "sts:AssumeRole".to_owned(),
            resource: request.role_arn.to_owned(),
            because: because.to_owned(),
        };
        let (account, role) = self
            .role_by_arn(request.role_arn)
            .ok_or_else(|| denied(""))?;
        caller
            .may_assume(&role, &account, request, self.now())
            .map_err(|because| denied(&because))?;
        let chained = matches!(caller.principal, Principal::AssumedRole { .. });
        if chained && request.duration > Duration::from_secs(3600) {
            let limit = "1 hour session limit for roles assumed by role chaining.";
            return Err(IamError::SessionTooLong { limit });
        }
        if request.duration > role.max_session {
            let limit = "MaxSessionDuration set for this role.";
            return Err(IamError::SessionTooLong { limit });
        }
        let mut policies = Vec::new();
        policies.extend(request.policy.map(Document::identity).transpose()?);
        for arn in policy_arns {
            let document = document_of(&self.read(), &account, arn);
            let what = arn.clone();
            policies.push(document.ok_or(IamError::NotAttachable { what })?);
        }
        self.session(
            &account,
            &role,
            request.session_name,
            request.duration,
            policies,
        )
    }

    /// A session of a role as the instance metadata service hands it out: no
    /// trust policy is asked, the instance profile has decided already.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`] if there is no such role.
    pub fn instance_credentials(
        &self,
        role_arn: &str,
        instance_id: &str,
    ) -> Result<Credentials, IamError> {
        let (account, role) = self
            .role_by_arn(role_arn)
            .ok_or_else(|| Who::role("", role_arn).not_found())?;
        let six_hours = Duration::from_secs(6 * 3600); // what IMDS gives
        Ok(self
            .session(&account, &role, instance_id, six_hours, Vec::new())?
            .credentials)
    }

    /// Temporary credentials of the calling user or root user: GetSessionToken,
    /// which asks no policy.
    pub(super) fn session_token(
        &self,
        caller: &Identity,
        duration: Option<Duration>,
    ) -> Result<Credentials, IamError> {
        let hour = Duration::from_secs(3_600);
        if let Some(duration) = duration {
            check_at_least_15_minutes(duration)?;
            if duration > 36 * hour {
                return Err(IamError::Validation {
                    parameter: "durationSeconds",
                    value: duration.as_secs().to_string(),
                    constraint: "Member must have value less than or equal to 129600",
                });
            }
        }
        let asked = duration.unwrap_or(12 * hour);
        let (holder, duration) = match &caller.principal {
            Principal::AssumedRole { .. } => return Err(IamError::SessionOfSession),
            // A root user's session lives for an hour at most.
            Principal::Root { account } => {
                let account = account.clone();
                (Holder::Root { account }, asked.min(hour))
            }
            Principal::User { account, path_name } => {
                let name = path_name.rsplit('/').next().unwrap_or_default().to_owned();
                let account = account.clone();
                (Holder::User { account, name }, asked)
            }
        };
        self.temporary(holder, duration, Vec::new())
    }

    fn session(
        &self,
        account: &str,
        role: &Role,
        session_name: &str,
        duration: Duration,
        policies: Vec<Document>,
    ) -> Result<Session, IamError> {
        let name = &role.entity.name;
        let holder = Holder::Session {
            account: account.to_owned(),
            role: name.clone(),
            session: session_name.to_owned(),
        };
        Ok(Session {
            credentials: self.temporary(holder, duration, policies)?,
            assumed_role_id: format!("{}:{session_name}", role.entity.id),
            arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session_name}"),
        })
    }

    fn temporary(
        &self,
        holder: Holder,
        duration: Duration,
        policies: Vec<Document>,
    ) -> Result<Credentials, IamError> {
        let lives_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let expiration = UnixMillis(self.now().0.saturating_add(lives_ms));
        let credentials = self.with_rng(|rng| temporary(expiration, rng));
        let key = AccessKey::new(credentials.clone(), holder, policies, self.now());
        let mut state = self.write();
        if state.keys() >= KEYS_MAX {
            return Err(IamError::LimitExceeded {
                quota: "SessionsPerWorld",
                max: KEYS_MAX,
            });
        }
        Self::commit(&mut state, [Change::KeyPut { key: Arc::new(key) }])?;
        Ok(credentials)
    }

    fn role_by_arn(&self, arn: &str) -> Option<(String, Role)> {
        let (account, path_name) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
        let role = self.role(account, path_name.rsplit('/').next()?).ok()?;
        (role.entity.arn == arn).then(|| (account.to_owned(), role))
    }

    /// A key that was issued here, whether or not it can still be used.
    pub(crate) fn key(&self, access_key_id: &str) -> Option<Arc<AccessKey>> {
        self.read().key(access_key_id).cloned()
    }

    /// Who holds `key` now, with the policies as they are now; `None` if the
    /// user or role is gone, or the key deleted or inactive.
    pub(crate) fn identity(&self, key: &AccessKey) -> Option<Identity> {
        match key.status {
            Status::Active => {}
            Status::Inactive | Status::Deleted => return None,
        }
        let state = self.read();
        match &key.holder {
            Holder::Root { account } => Some(Identity::root(account)),
            Holder::User { account, name } => {
                let entity = &state.user(account, name)?.entity;
                let principal = Principal::User {
                    account: account.clone(),
                    path_name: path_name(&entity.path, name),
                };
                let id = entity.id.clone();
                Some(Identity::new(
                    principal,
                    id,
                    documents(&state, account, entity),
                    key.session_policies.clone(),
                ))
            }
            Holder::Session {
                account,
                role,
                session,
            } => {
                let entity = &state.role(account, role)?.entity;
                let principal = Principal::AssumedRole {
                    account: account.clone(),
                    role_path_name: path_name(&entity.path, role),
                    session: session.clone(),
                };
                let id = format!("{}:{session}", entity.id);
                Some(Identity::new(
                    principal,
                    id,
                    documents(&state, account, entity),
                    key.session_policies.clone(),
                ))
            }
        }
    }
}

/// The inline and attached policies of a role or user.
fn documents(state: &State, account: &str, entity: &Entity) -> Vec<Document> {
    let inline = entity.inline.values().cloned();
    let attached = entity
        .attached
        .iter()
        .filter_map(|arn| document_of(state, account, arn));
    inline.chain(attached).collect()
}

fn path_name(path: &str, name: &str) -> String {
    format!("{}{name}", path.trim_start_matches('/'))
}

/// Six parts, of which partition, service and resource are not empty.
fn check_arn(arn: &str) -> Result<(), IamError> {
    if arn.len() < 20 {
        return Err(IamError::Validation {
            parameter: "roleArn",
            value: arn.to_owned(),
            constraint: "Member must have length greater than or equal to 20",
        });
    }
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, service, _, _, resource]
            if !partition.is_empty() && !service.is_empty() && !resource.is_empty() =>
        {
            Ok(())
        }
        _ => Err(IamError::InvalidArn(arn.chars().take(2_048).collect())),
    }
}

fn check_at_least_15_minutes(duration: Duration) -> Result<(), IamError> {
    if duration >= Duration::from_secs(900) {
        return Ok(());
    }
    Err(IamError::Validation {
        parameter: "durationSeconds",
        value: duration.as_secs().to_string(),
        constraint: "Member must have value greater than or equal to 900",
    })
}
