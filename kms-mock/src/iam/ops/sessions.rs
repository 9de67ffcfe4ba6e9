//! Sessions of roles.
//!
//! Source of truth: AWS STS API reference, "AssumeRole"; IAM user guide, "Policy
//! evaluation logic". Unknown and chosen: a session that inherits tags or a source
//! identity needs to be allowed sts:TagSession or sts:SetSourceIdentity as one
//! that asks for them, and finds them as tags of the request.

use std::{sync::Arc, time::Duration};

use nsm_sim::clock::UnixMillis;

use crate::{
    iam::{
        credentials::{AccessKey, Credentials, Holder, KEYS_MAX, temporary},
        document::Document,
        entity::{Role, Who},
        error::IamError,
        identity::{Connection, Identity},
        names::check_name,
        service::Iam,
        state::Change,
        terms::{
            AssumeRole, SessionOptions, SessionTags, Terms, check_at_least_15_minutes,
            check_policy_length,
        },
    },
    world::{arn::six_parts, principal::Principal},
};

/// A session that AssumeRole made.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its credentials.
    pub credentials: Credentials,
    /// `AROA…:session`.
    pub assumed_role_id: String,
    /// ARN of the session.
    pub arn: String,
    /// The source identity, if one was asked for or is inherited.
    pub source_identity: Option<String>,
}

/// Managed policies that one session can be given, AWS's quota.
const SESSION_POLICIES_MAX: usize = 10;

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
        let caller = (caller, Connection::WITHIN);
        self.assume_role_with(caller, request, &SessionOptions::default())
    }

    /// The same with what else a session can be asked to have.
    pub(crate) fn assume_role_with(
        &self,
        (caller, connection): (&Identity, Connection<'_>),
        request: &AssumeRole<'_>,
        asked: &SessionOptions,
    ) -> Result<Session, IamError> {
        check_name("roleSessionName", request.session_name, 2, 64)?;
        check_arn(request.role_arn)?;
        check_at_least_15_minutes(request.duration)?;
        check_policy_length(request.policy)?;
        if let Some(source_identity) = &asked.source_identity {
            check_name("sourceIdentity", source_identity, 2, 64)?;
        }
        let tags = SessionTags::of(asked, &caller.terms.tags)?;
        // A stranger who passes for the root user where signatures are not verified
        // stands for anybody of the account.
        if matches!(caller.principal, Principal::Root { .. }) && caller.is_session() {
            return Err(IamError::RootAssumesRole);
        }
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
        caller.may_assume(&role, &account, request, &terms, (connection, self.now()))?;
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
            let document = self.read().document(account, arn);
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
        let (name, id) = (&role.entity.name, role.entity.id.clone());
        let holder = Holder::Session {
            account: account.to_owned(),
            role: name.clone(),
            session: session_name.to_owned(),
        };
        Ok(Session {
            source_identity: terms.source_identity.clone(),
            credentials: self.temporary((holder, Some(id)), duration, terms)?,
            assumed_role_id: format!("{}:{session_name}", role.entity.id),
            arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session_name}"),
        })
    }

    pub(super) fn temporary(
        &self,
        holder: (Holder, Option<String>),
        duration: Duration,
        terms: Terms,
    ) -> Result<Credentials, IamError> {
        let lives_ms = u64::try_from(duration.as_millis()).expect("no session outlives 36 hours");
        let expiration = UnixMillis(self.now().0.saturating_add(lives_ms));
        let credentials = self.with_rng(|rng| temporary(expiration, rng));
        let key = AccessKey::new(credentials.clone(), holder, terms, self.now());
        self.change(|identities, changes| {
            if identities.key_count() >= KEYS_MAX {
                return Err(IamError::LimitExceeded {
                    quota: "SessionsPerWorld",
                    max: KEYS_MAX,
                });
            }
            changes.push(Change::KeyPut { key: Arc::new(key) });
            Ok(credentials)
        })
    }

    fn role_by_arn(&self, arn: &str) -> Option<(String, Role)> {
        let (account, path_name) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
        let role = self.role(account, path_name.rsplit('/').next()?).ok()?;
        (role.entity.arn == arn).then(|| (account.to_owned(), role))
    }
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
    match six_parts(arn) {
        Some(["arn", partition, service, _, _, resource])
            if !partition.is_empty() && !service.is_empty() && !resource.is_empty() =>
        {
            Ok(())
        }
        _ => Err(IamError::InvalidArn(arn.chars().take(2_048).collect())),
    }
}
