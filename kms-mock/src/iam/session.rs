//! Sessions of roles, and who holds a key now.
//!
//! Source of truth: AWS STS API reference, "AssumeRole"; IAM user guide, "Policy
//! evaluation logic". Unknown and chosen: a session that inherits tags or a source
//! identity needs to be allowed sts:TagSession or sts:SetSourceIdentity as one
//! that asks for them, and finds them as tags of the request.

use std::{sync::Arc, time::Duration};

use nsm_sim::clock::UnixMillis;

use super::{
    Document, Iam, IamError, Identity,
    boundary::boundary_of,
    credentials::{AccessKey, Credentials, Holder, Status, temporary},
    entity::{Entity, Role, Who},
    managed::document_of,
    names::check_name,
    state::{Change, State},
    terms::{Asked, SessionTags, Terms},
    users::KEYS_MAX,
};
use crate::world::principal::Principal;

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
    /// Whoever is behind the session, if that was asked for or is inherited.
    pub source_identity: Option<String>,
}

/// Managed policies that one session can be given, AWS's quota.
const SESSION_POLICIES_MAX: usize = 10;
/// Characters of a session policy, AWS's quota.
const SESSION_POLICY_CHARACTERS_MAX: usize = 2_048;

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
        self.assume_role_with(caller, request, &Asked::default())
    }

    /// The same with what else a session can be asked to have.
    pub(super) fn assume_role_with(
        &self,
        caller: &Identity,
        request: &AssumeRole<'_>,
        asked: &Asked,
    ) -> Result<Session, IamError> {
        check_name("roleSessionName", request.session_name, 2, 64)?;
        check_arn(request.role_arn)?;
        check_at_least_15_minutes(request.duration)?;
        check_policy_length(request.policy)?;
        if let Some(source_identity) = &asked.source_identity {
            check_name("sourceIdentity", source_identity, 2, 64)?;
        }
        let tags = SessionTags::of(asked, &caller.terms.tags)?;
        let denied = |action: &str| IamError::AccessDenied {
            caller: caller.principal.arn(),
            action: action.to_owned(),
            resource: request.role_arn.to_owned(),
            because: String::new(),
        };
        let (account, role) = self
            .role_by_arn(request.role_arn)
            .ok_or_else(|| denied("sts:AssumeRole"))?;
        // Once set it stays, whatever is asked for on the way.
        let source_identity = match (&caller.terms.source_identity, &asked.source_identity) {
            (Some(set), Some(asked)) if set != asked => {
                return Err(denied("sts:SetSourceIdentity"));
            }
            (set, asked) => set.as_ref().or(asked.as_ref()).cloned(),
        };
        let mut terms = Terms {
            policies: Vec::new(),
            tags,
            source_identity,
        };
        caller.may_assume(&role, &account, request, &terms, self.now())?;
        let chained = matches!(caller.principal, Principal::AssumedRole { .. });
        if chained && request.duration > Duration::from_secs(3600) {
            let limit = "1 hour session limit for roles assumed by role chaining.";
            return Err(IamError::SessionTooLong { limit });
        }
        if request.duration > role.max_session {
            let limit = "MaxSessionDuration set for this role.";
            return Err(IamError::SessionTooLong { limit });
        }
        terms.policies = self.session_policies(&account, request.policy, &asked.policy_arns)?;
        self.session(
            &account,
            &role,
            request.session_name,
            request.duration,
            terms,
        )
    }

    /// The policies that a session is given: its own and managed ones of `account`.
    pub(super) fn session_policies(
        &self,
        account: &str,
        policy: Option<&str>,
        arns: &[String],
    ) -> Result<Vec<Document>, IamError> {
        if arns.len() > SESSION_POLICIES_MAX {
            return Err(IamError::unfit(
                "policyArns",
                "Member must have length less than or equal to 10",
            ));
        }
        let mut policies = Vec::new();
        policies.extend(policy.map(Document::identity).transpose()?);
        for arn in arns {
            let document = document_of(&self.read(), account, arn);
            let what = arn.clone();
            policies.push(document.ok_or(IamError::NotAttachable { what })?);
        }
        Ok(policies)
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
            .session(&account, &role, instance_id, six_hours, Terms::default())?
            .credentials)
    }

    fn session(
        &self,
        account: &str,
        role: &Role,
        session_name: &str,
        duration: Duration,
        terms: Terms,
    ) -> Result<Session, IamError> {
        let name = &role.entity.name;
        let holder = Holder::Session {
            account: account.to_owned(),
            role: name.clone(),
            session: session_name.to_owned(),
        };
        Ok(Session {
            source_identity: terms.source_identity.clone(),
            credentials: self.temporary(holder, duration, terms)?,
            assumed_role_id: format!("{}:{session_name}", role.entity.id),
            arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session_name}"),
        })
    }

    pub(super) fn temporary(
        &self,
        holder: Holder,
        duration: Duration,
        terms: Terms,
    ) -> Result<Credentials, IamError> {
        let lives_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let expiration = UnixMillis(self.now().0.saturating_add(lives_ms));
        let credentials = self.with_rng(|rng| temporary(expiration, rng));
        let key = AccessKey::new(credentials.clone(), holder, terms, self.now());
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
        let identity = match &key.holder {
            Holder::Root { account } => Identity::root(account),
            Holder::User { account, name } => user(&state, account, name)?,
            Holder::Session {
                account,
                role,
                session,
            } => role_session(&state, account, role, session)?,
            Holder::Federated { account, name, by } => {
                federated(&state, account, name, by.as_deref())?
            }
        };
        Some(Identity {
            terms: key.terms.clone(),
            token_issued: key.credentials.session_token.as_ref().map(|_| key.created),
            ..identity
        })
    }
}

/// A user with its own policies and those of its groups.
fn user(state: &State, account: &str, name: &str) -> Option<Identity> {
    let user = state.user(account, name)?;
    let entity = &user.entity;
    let principal = Principal::User {
        account: account.to_owned(),
        path_name: path_name(&entity.path, name),
    };
    let mut all: Vec<Document> = documents(state, account, entity).collect();
    for group in &user.groups {
        // A group with members is not deleted: without it, a Deny may be missing.
        let group = &state.group(account, group)?.entity;
        all.extend(documents(state, account, group));
    }
    Some(Identity {
        documents: all,
        boundary: boundary_of(state, account, entity)?,
        own_tags: entity.tags.clone(),
        ..Identity::new(principal, entity.id.clone())
    })
}

fn role_session(state: &State, account: &str, role: &str, session: &str) -> Option<Identity> {
    let entity = &state.role(account, role)?.entity;
    let principal = Principal::AssumedRole {
        account: account.to_owned(),
        role_path_name: path_name(&entity.path, role),
        session: session.to_owned(),
    };
    Some(Identity {
        documents: documents(state, account, entity).collect(),
        boundary: boundary_of(state, account, entity)?,
        own_tags: entity.tags.clone(),
        ..Identity::new(principal, format!("{}:{session}", entity.id))
    })
}

/// A federated user has the policies of the user who asked for it.
fn federated(state: &State, account: &str, name: &str, by: Option<&str>) -> Option<Identity> {
    let issuer = match by {
        Some(name) => user(state, account, name)?,
        None => Identity::root(account),
    };
    let by = match &issuer.principal {
        Principal::User { path_name, .. } => Some(path_name.clone()),
        _ => None,
    };
    let principal = Principal::FederatedUser {
        account: account.to_owned(),
        name: name.to_owned(),
        by,
    };
    Some(Identity {
        principal,
        unique_id: format!("{account}:{name}"),
        ..issuer
    })
}

/// The inline and attached policies of a role, user or group.
fn documents(state: &State, account: &str, entity: &Entity) -> impl Iterator<Item = Document> {
    let inline = entity.inline.values().cloned();
    let attached = entity
        .attached
        .iter()
        .filter_map(move |arn| document_of(state, account, arn));
    inline.chain(attached)
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

pub(super) fn check_policy_length(policy: Option<&str>) -> Result<(), IamError> {
    if policy.is_none_or(|text| text.chars().count() <= SESSION_POLICY_CHARACTERS_MAX) {
        return Ok(());
    }
    Err(IamError::unfit(
        "policy",
        "Member must have length less than or equal to 2048",
    ))
}

pub(super) fn check_at_least_15_minutes(duration: Duration) -> Result<(), IamError> {
    if duration >= Duration::from_secs(900) {
        return Ok(());
    }
    Err(IamError::Validation {
        parameter: "durationSeconds",
        value: duration.as_secs().to_string(),
        constraint: "Member must have value greater than or equal to 900",
    })
}
