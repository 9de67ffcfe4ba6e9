//! A small IAM and STS: roles with a trust policy, users, their inline policies
//! and access keys, and sessions of roles that end by the world's clock.
//!
//! Source of truth: AWS IAM and STS API references (names, quotas, error codes
//! and texts). In memory. Not modelled: managed policies, groups, permissions
//! boundaries, federation, MFA, tags, service-linked roles.

pub mod credentials;
pub mod document;
mod query;
#[cfg(test)]
mod tests;
mod xml;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use nsm_sim::{
    clock::{Clock, UnixMillis},
    seed::WorldSeed,
};
use rand_chacha::ChaCha20Rng;

use self::credentials::{AccessKey, Holder, long_term, temporary, unique_id};
pub use self::{
    credentials::Credentials,
    document::{Document, DocumentError},
};
use crate::{
    policy::{Decision, Denial, Facts, Outcome, Policy, PolicySource, Request, Resource, decide},
    principal::{Caller, Principal},
};

pub(crate) use self::query::{Form, FormAnswer, answer, refusal};

/// The identities of all accounts of one world.
pub struct Iam {
    state: RwLock<State>,
    rng: Mutex<ChaCha20Rng>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Iam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Iam(..)")
    }
}

/// Why IAM or STS refused. The variants are AWS's error codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IamError {
    /// NoSuchEntity: there is no such user or role.
    #[error("The {kind} with name {name} cannot be found.")]
    NoSuchEntity {
        /// `user` or `role`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// EntityAlreadyExists.
    #[error("{kind} with name {name} already exists.")]
    EntityAlreadyExists {
        /// `User` or `Role`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// MalformedPolicyDocument.
    #[error("{0}")]
    MalformedPolicyDocument(#[from] DocumentError),
    /// LimitExceeded.
    #[error("Cannot exceed quota for {quota}: {max}")]
    LimitExceeded {
        /// AWS's name of the quota.
        quota: &'static str,
        /// Its value.
        max: usize,
    },
    /// ValidationError: a parameter has the wrong form.
    #[error(
        "1 validation error detected: Value '{value}' at '{parameter}' failed to satisfy \
         constraint: {constraint}"
    )]
    Validation {
        /// The parameter, `roleName`.
        parameter: &'static str,
        /// What was given.
        value: String,
        /// What is asked for.
        constraint: &'static str,
    },
    /// ValidationError: a parameter is missing.
    #[error(
        "1 validation error detected: Value null at '{0}' failed to satisfy constraint: Member must not be null"
    )]
    MissingParameter(&'static str),
    /// ValidationError: the session would be longer than it may be.
    #[error("The requested DurationSeconds exceeds the {limit}")]
    SessionTooLong {
        /// Which limit.
        limit: &'static str,
    },
    /// AccessDenied.
    #[error(
        "User: {caller} is not authorized to perform: {action} on resource: {resource}{because}"
    )]
    AccessDenied {
        /// The caller's ARN.
        caller: String,
        /// `sts:AssumeRole`.
        action: String,
        /// ARN.
        resource: String,
        /// AWS's reason, with a leading space, or nothing.
        because: String,
    },
    /// InvalidAction: no such operation here.
    #[error("Could not find operation {action} for version {version}")]
    InvalidAction {
        /// The `Action` parameter.
        action: String,
        /// The `Version` parameter.
        version: String,
    },
}

/// A role as IAM shows it.
#[derive(Clone, Debug)]
pub struct Role {
    /// `/` or `/path/`.
    pub path: String,
    /// Name without path.
    pub name: String,
    /// `AROA…`.
    pub id: String,
    /// ARN with path.
    pub arn: String,
    /// When it was made.
    pub created: UnixMillis,
    /// Who may assume it.
    pub trust: Document,
    /// Longest session.
    pub max_session: Duration,
    inline: BTreeMap<String, Document>,
}

/// A user as IAM shows it.
#[derive(Clone, Debug)]
pub struct User {
    /// `/` or `/path/`.
    pub path: String,
    /// Name without path.
    pub name: String,
    /// `AIDA…`.
    pub id: String,
    /// ARN with path.
    pub arn: String,
    /// When it was made.
    pub created: UnixMillis,
    inline: BTreeMap<String, Document>,
    keys: Vec<String>,
}

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
        }
    }
}

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

/// Roles or users of an account, AWS's default quotas.
const ROLES_MAX: usize = 1_000;
const USERS_MAX: usize = 5_000;
const KEYS_PER_USER_MAX: usize = 2;
/// Access keys in one world, ended sessions included: they are remembered so
/// that their use answers "expired" and not "unknown".
const KEYS_MAX: usize = 100_000;
const POLICIES_PER_IDENTITY_MAX: usize = 100;

#[derive(Default)]
struct State {
    accounts: BTreeMap<String, Account>,
    keys: HashMap<String, Arc<AccessKey>>,
}

#[derive(Default)]
struct Account {
    roles: BTreeMap<String, Role>,
    users: BTreeMap<String, User>,
}

impl Iam {
    /// The time in this world.
    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// No identities yet. With a seed, ids and keys repeat from run to run.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: Option<&WorldSeed>) -> Self {
        let rng = match seed {
            Some(seed) => seed.stream("kms-mock iam"),
            None => WorldSeed::random().stream("kms-mock iam"),
        };
        Self {
            state: RwLock::default(),
            rng: Mutex::new(rng),
            clock,
        }
    }

    /// Makes a role. CreateRole without its authorization.
    ///
    /// # Errors
    /// [`IamError`]: EntityAlreadyExists, MalformedPolicyDocument, a bad name.
    pub fn create_role(&self, account: &str, new: &NewRole<'_>) -> Result<Role, IamError> {
        check_name("roleName", new.name, 1, 64)?;
        check_path(new.path)?;
        let max_session = new.max_session.as_secs();
        if !(3_600..=43_200).contains(&max_session) {
            return Err(IamError::Validation {
                parameter: "maxSessionDuration",
                value: max_session.to_string(),
                constraint: "Member must have value between 3600 and 43200",
            });
        }
        let trust = Document::trust(new.trust_policy)?;
        let id = self.with_rng(|rng| unique_id("AROA", 21, rng));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let roles = &mut state.accounts.entry(account.to_owned()).or_default().roles;
        if roles.contains_key(new.name) {
            return Err(IamError::EntityAlreadyExists {
                kind: "Role",
                name: new.name.to_owned(),
            });
        }
        if roles.len() >= ROLES_MAX {
            return Err(IamError::LimitExceeded {
                quota: "RolesPerAccount",
                max: ROLES_MAX,
            });
        }
        let role = Role {
            path: new.path.to_owned(),
            name: new.name.to_owned(),
            id,
            arn: format!("arn:aws:iam::{account}:role{}{}", new.path, new.name),
            created: self.clock.now(),
            trust,
            max_session: new.max_session,
            inline: BTreeMap::new(),
        };
        roles.insert(new.name.to_owned(), role.clone());
        Ok(role)
    }

    /// The role `name`.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn role(&self, account: &str, name: &str) -> Result<Role, IamError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let role = state
            .accounts
            .get(account)
            .and_then(|account| account.roles.get(name));
        role.cloned().ok_or_else(|| no_role(name))
    }

    /// Sets an inline policy of a role.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, MalformedPolicyDocument, LimitExceeded.
    pub fn put_role_policy(
        &self,
        account: &str,
        role: &str,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        check_name("policyName", policy_name, 1, 128)?;
        let document = Document::identity(policy)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let found = state
            .accounts
            .get_mut(account)
            .and_then(|account| account.roles.get_mut(role));
        put_policy(
            &mut found.ok_or_else(|| no_role(role))?.inline,
            policy_name,
            document,
        )
    }

    /// Makes a user. CreateUser without its authorization.
    ///
    /// # Errors
    /// [`IamError`]: EntityAlreadyExists, LimitExceeded, a bad name.
    pub fn create_user(&self, account: &str, path: &str, name: &str) -> Result<User, IamError> {
        check_name("userName", name, 1, 64)?;
        check_path(path)?;
        let id = self.with_rng(|rng| unique_id("AIDA", 21, rng));
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let users = &mut state.accounts.entry(account.to_owned()).or_default().users;
        if users.contains_key(name) {
            return Err(IamError::EntityAlreadyExists {
                kind: "User",
                name: name.to_owned(),
            });
        }
        if users.len() >= USERS_MAX {
            return Err(IamError::LimitExceeded {
                quota: "UsersPerAccount",
                max: USERS_MAX,
            });
        }
        let user = User {
            path: path.to_owned(),
            name: name.to_owned(),
            id,
            arn: format!("arn:aws:iam::{account}:user{path}{name}"),
            created: self.clock.now(),
            inline: BTreeMap::new(),
            keys: Vec::new(),
        };
        users.insert(name.to_owned(), user.clone());
        Ok(user)
    }

    /// Sets an inline policy of a user.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, MalformedPolicyDocument, LimitExceeded.
    pub fn put_user_policy(
        &self,
        account: &str,
        user: &str,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        check_name("policyName", policy_name, 1, 128)?;
        let document = Document::identity(policy)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let found = state
            .accounts
            .get_mut(account)
            .and_then(|account| account.users.get_mut(user));
        put_policy(
            &mut found.ok_or_else(|| no_user(user))?.inline,
            policy_name,
            document,
        )
    }

    /// Makes an access key for a user, at most two.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, LimitExceeded.
    pub fn create_access_key(&self, account: &str, user: &str) -> Result<Credentials, IamError> {
        let credentials = self.with_rng(long_term);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let full = state.keys.len() >= KEYS_MAX;
        let found = state
            .accounts
            .get_mut(account)
            .and_then(|account| account.users.get_mut(user));
        let found = found.ok_or_else(|| no_user(user))?;
        if found.keys.len() >= KEYS_PER_USER_MAX || full {
            let (quota, max) = ("AccessKeysPerUser", KEYS_PER_USER_MAX);
            return Err(IamError::LimitExceeded { quota, max });
        }
        found.keys.push(credentials.access_key_id.clone());
        let holder = Holder::User {
            account: account.to_owned(),
            name: user.to_owned(),
        };
        let key = AccessKey::new(credentials.clone(), holder, Vec::new());
        state
            .keys
            .insert(credentials.access_key_id.clone(), Arc::new(key));
        Ok(credentials)
    }

    /// Gives a user an access key that is known beforehand, as a seed file does.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, EntityAlreadyExists, LimitExceeded.
    pub fn plant_access_key(
        &self,
        account: &str,
        user: &str,
        access_key_id: &str,
        secret_access_key: &str,
    ) -> Result<(), IamError> {
        check_name("accessKeyId", access_key_id, 16, 128)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.keys.contains_key(access_key_id) {
            return Err(IamError::EntityAlreadyExists {
                kind: "Access key",
                name: access_key_id.to_owned(),
            });
        }
        let found = state
            .accounts
            .get_mut(account)
            .and_then(|account| account.users.get_mut(user))
            .ok_or_else(|| no_user(user))?;
        if found.keys.len() >= KEYS_PER_USER_MAX {
            let (quota, max) = ("AccessKeysPerUser", KEYS_PER_USER_MAX);
            return Err(IamError::LimitExceeded { quota, max });
        }
        found.keys.push(access_key_id.to_owned());
        let holder = Holder::User {
            account: account.to_owned(),
            name: user.to_owned(),
        };
        let credentials = Credentials {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: zeroize::Zeroizing::new(secret_access_key.to_owned()),
            session_token: None,
            expiration: None,
        };
        let key = AccessKey::new(credentials, holder, Vec::new());
        state.keys.insert(access_key_id.to_owned(), Arc::new(key));
        Ok(())
    }

    /// Forgets all users, roles, sessions and keys.
    pub fn clear(&self) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

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
        check_name("roleSessionName", request.session_name, 2, 64)?;
        if request.duration < Duration::from_secs(900) {
            return Err(IamError::Validation {
                parameter: "durationSeconds",
                value: request.duration.as_secs().to_string(),
                constraint: "Member must have value greater than or equal to 900",
            });
        }
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
            .may_assume(&role, &account, request, self.clock.now())
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
        let policies = request.policy.map(Document::identity).transpose()?;
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
            .ok_or_else(|| no_role(role_arn))?;
        let six_hours = Duration::from_secs(6 * 3600); // what IMDS gives
        Ok(self
            .session(&account, &role, instance_id, six_hours, None)?
            .credentials)
    }

    fn session(
        &self,
        account: &str,
        role: &Role,
        session_name: &str,
        duration: Duration,
        policy: Option<Document>,
    ) -> Result<Session, IamError> {
        let lives_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let expiration = UnixMillis(self.clock.now().0.saturating_add(lives_ms));
        let credentials = self.with_rng(|rng| temporary(expiration, rng));
        let holder = Holder::Session {
            account: account.to_owned(),
            role: role.name.clone(),
            session: session_name.to_owned(),
        };
        let key = AccessKey::new(credentials.clone(), holder, policy.into_iter().collect());
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.keys.len() >= KEYS_MAX {
            return Err(IamError::LimitExceeded {
                quota: "SessionsPerWorld",
                max: KEYS_MAX,
            });
        }
        state
            .keys
            .insert(credentials.access_key_id.clone(), Arc::new(key));
        Ok(Session {
            credentials,
            assumed_role_id: format!("{}:{session_name}", role.id),
            arn: format!(
                "arn:aws:sts::{account}:assumed-role/{}/{session_name}",
                role.name
            ),
        })
    }

    fn role_by_arn(&self, arn: &str) -> Option<(String, Role)> {
        let (account, path_name) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
        let role = self.role(account, path_name.rsplit('/').next()?).ok()?;
        (role.arn == arn).then(|| (account.to_owned(), role))
    }

    pub(crate) fn key(&self, access_key_id: &str) -> Option<Arc<AccessKey>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.keys.get(access_key_id).cloned()
    }

    /// Who holds `key` now, with the policies as they are now; `None` if the
    /// user or role is gone.
    pub(crate) fn identity(&self, key: &AccessKey) -> Option<Identity> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &key.holder {
            Holder::User { account, name } => {
                let user = state.accounts.get(account)?.users.get(name)?;
                Some(Identity {
                    principal: Principal::User {
                        account: account.clone(),
                        path_name: path_name(&user.path, name),
                    },
                    unique_id: user.id.clone(),
                    documents: user.inline.values().cloned().collect(),
                    session_documents: Vec::new(),
                })
            }
            Holder::Session {
                account,
                role,
                session,
            } => {
                let found = state.accounts.get(account)?.roles.get(role)?;
                Some(Identity {
                    principal: Principal::AssumedRole {
                        account: account.clone(),
                        role_path_name: path_name(&found.path, role),
                        session: session.clone(),
                    },
                    unique_id: format!("{}:{session}", found.id),
                    documents: found.inline.values().cloned().collect(),
                    session_documents: key.session_policies.clone(),
                })
            }
        }
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An authenticated caller with its policy documents.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// `AIDA…`, `AROA…:session`, or the account of a root user.
    pub unique_id: String,
    documents: Vec<Document>,
    session_documents: Vec<Document>,
}

impl Identity {
    /// The root user of `account`.
    #[must_use]
    pub fn root(account: &str) -> Self {
        Self {
            principal: Principal::Root {
                account: account.to_owned(),
            },
            unique_id: account.to_owned(),
            documents: Vec::new(),
            session_documents: Vec::new(),
        }
    }

    /// What KMS is told about the caller.
    pub(crate) fn into_caller(self, source_ip: std::net::IpAddr, secure_transport: bool) -> Caller {
        let parsed = |documents: &[Document]| -> Vec<Arc<Policy>> {
            documents
                .iter()
                .map(|document| Arc::clone(document.policy()))
                .collect()
        };
        Caller {
            identity_policies: parsed(&self.documents),
            session_policies: parsed(&self.session_documents),
            principal: self.principal,
            source_ip: Some(source_ip),
            secure_transport,
        }
    }

    /// Whether the caller's own policies allow `action` on `resource`.
    pub(crate) fn authorize(
        &self,
        action: &str,
        resource: &str,
        now: UnixMillis,
    ) -> Result<(), IamError> {
        let resource_of = Resource::Other {
            arn: resource,
            account: self.principal.account(),
        };
        let decision = self.decide(action, resource_of, &Facts::default(), None, now);
        match decision.outcome {
            Outcome::Denied(denial) => Err(IamError::AccessDenied {
                caller: self.principal.arn(),
                action: action.to_owned(),
                resource: resource.to_owned(),
                because: format!(" {}", denial.because(action)),
            }),
            Outcome::Allowed(_) => Ok(()),
        }
    }

    /// Whether trust policy and own policies let the caller assume `role`.
    fn may_assume(
        &self,
        role: &Role,
        role_account: &str,
        request: &AssumeRole<'_>,
        now: UnixMillis,
    ) -> Result<(), String> {
        let mut others = vec![("sts:rolesessionname", request.session_name)];
        others.extend(request.external_id.map(|id| ("sts:externalid", id)));
        let facts = Facts {
            others: &others,
            ..Facts::default()
        };
        let resource = Resource::Other {
            arn: &role.arn,
            account: role_account,
        };
        let action = "sts:AssumeRole";
        let trust = Some(role.trust.policy());
        match self.decide(action, resource, &facts, trust, now).outcome {
            Outcome::Allowed(_) => Ok(()),
            Outcome::Denied(Denial::NoResourcePolicy | Denial::OtherAccount) => Err(format!(
                " because no role trust policy allows the {action} action"
            )),
            Outcome::Denied(Denial::ExplicitDeny(PolicySource::Resource)) => {
                Err(" with an explicit deny in the role trust policy".to_owned())
            }
            Outcome::Denied(denial) => Err(format!(" {}", denial.because(action))),
        }
    }

    fn decide(
        &self,
        action: &str,
        resource: Resource<'_>,
        facts: &Facts<'_>,
        trust: Option<&Arc<Policy>>,
        now: UnixMillis,
    ) -> Decision {
        let parsed = |documents: &[Document]| -> Vec<Arc<Policy>> {
            documents.iter().map(|it| Arc::clone(it.policy())).collect()
        };
        let mut caller = Caller::new(self.principal.clone());
        caller.identity_policies = parsed(&self.documents);
        caller.session_policies = parsed(&self.session_documents);
        let request = Request {
            caller: &caller,
            action,
            resource,
            facts,
            now,
        };
        decide(&request, trust, Vec::new)
    }
}

fn put_policy(
    inline: &mut BTreeMap<String, Document>,
    name: &str,
    document: Document,
) -> Result<(), IamError> {
    if !inline.contains_key(name) && inline.len() >= POLICIES_PER_IDENTITY_MAX {
        let (quota, max) = ("InlinePoliciesPerIdentity", POLICIES_PER_IDENTITY_MAX);
        return Err(IamError::LimitExceeded { quota, max });
    }
    inline.insert(name.to_owned(), document);
    Ok(())
}

fn path_name(path: &str, name: &str) -> String {
    format!("{}{name}", path.trim_start_matches('/'))
}

fn no_role(name: &str) -> IamError {
    IamError::NoSuchEntity {
        kind: "role",
        name: name.to_owned(),
    }
}

fn no_user(name: &str) -> IamError {
    IamError::NoSuchEntity {
        kind: "user",
        name: name.to_owned(),
    }
}

/// `[\w+=,.@-]`, `min` to `max` of them.
fn check_name(
    parameter: &'static str,
    value: &str,
    min: usize,
    max: usize,
) -> Result<(), IamError> {
    let fits = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if fits && (min..=max).contains(&value.len()) {
        return Ok(());
    }
    let constraint = if !fits {
        r"Member must satisfy regular expression pattern: [\w+=,.@-]*"
    } else if value.len() < min {
        if min == 1 {
            "Member must have length greater than or equal to 1"
        } else {
            "Member must have length greater than or equal to 2"
        }
    } else if max == 64 {
        "Member must have length less than or equal to 64"
    } else {
        "Member must have length less than or equal to 128"
    };
    let value = value.chars().take(256).collect();
    Err(IamError::Validation {
        parameter,
        value,
        constraint,
    })
}

fn check_path(path: &str) -> Result<(), IamError> {
    let printable = path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if printable && path.len() <= 512 && path.starts_with('/') && path.ends_with('/') {
        return Ok(());
    }
    Err(IamError::Validation {
        parameter: "path",
        value: path.chars().take(512).collect(),
        constraint: "Member must begin and end with / and contain only alphanumeric characters \
                     and/or / characters.",
    })
}
