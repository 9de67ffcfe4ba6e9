//! A request written down: what `explain` reads offline, what a proof gives as
//! its witness.
//!
//! The text is JSON. `principal` is the ARN of a user, of a role (with the name
//! of the session in `session`), of a session, or of an account's root user;
//! `recipient` is what an attestation document states; every other member has
//! the name of the condition key that reads it. For a federated user `federatedBy` is
//! the ARN of the user whose credentials asked for it; without, the root user's
//! did. Nothing is verified: a question supposes a document that KMS has accepted.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use nsm_sim::clock::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Decision, EncryptionContext, Facts, Grant, KeyFacts, Policy, PolicyError, PolicyKind, Request,
    Resource, caller::Caller, decide,
};
use crate::{
    model::condition_key::ConditionKey,
    recipient::VerifiedDocument,
    world::{arn::six_parts, principal::Principal},
};

/// The session of a role when a question names none.
const SESSION_DEFAULT: &str = "session";

/// A request that owns its parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Question {
    /// Who asks.
    pub principal: Principal,
    /// The permission: `kms:Decrypt`.
    pub action: String,
    /// The key it is about.
    pub key: QuestionKey,
    /// What the attestation document states; `None` without one.
    pub recipient: Option<Recipient>,
    /// When.
    pub now: UnixMillis,
    /// Further facts that condition keys read.
    pub facts: QuestionFacts,
    /// The IAM policies of the principal.
    pub identity_policies: Vec<Arc<Policy>>,
    /// Its permissions boundary.
    pub boundary: Option<Arc<Policy>>,
    /// The policies of its session.
    pub session_policies: Vec<Arc<Policy>>,
}

/// What an accepted attestation document states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The registers, as bytes.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// Whether it is a NitroTPM's document.
    pub nitrotpm: bool,
}

/// The key of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct QuestionKey {
    /// `arn:aws:kms:<region>:<account>:key/<id>`.
    pub arn: String,
    /// `SYMMETRIC_DEFAULT`, ….
    pub spec: String,
    /// `ENCRYPT_DECRYPT`, ….
    pub usage: String,
    /// `AWS_KMS`, ….
    pub origin: String,
    /// `PRIMARY` or `REPLICA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_region_type: Option<String>,
    /// Names of its aliases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Its tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Default for QuestionKey {
    fn default() -> Self {
        Self {
            arn: "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-4000-8000-000000000000"
                .to_owned(),
            spec: "SYMMETRIC_DEFAULT".to_owned(),
            usage: "ENCRYPT_DECRYPT".to_owned(),
            origin: "AWS_KMS".to_owned(),
            multi_region_type: None,
            aliases: Vec::new(),
            tags: BTreeMap::new(),
        }
    }
}

impl QuestionKey {
    /// The account in the ARN.
    #[must_use]
    pub fn account(&self) -> &str {
        self.region_and_account().1
    }

    /// The Region in the ARN.
    #[must_use]
    pub fn region(&self) -> &str {
        self.region_and_account().0
    }

    /// Empty for a text that is not an ARN, which no question read from JSON has.
    fn region_and_account(&self) -> (&str, &str) {
        match six_parts(&self.arn) {
            Some([_, _, _, region, account, _]) => (region, account),
            None => ("", ""),
        }
    }
}

/// A fact as a question owns it and as the evaluator borrows it.
trait Owned {
    type Borrowed<'a>
    where
        Self: 'a;

    fn borrowed(&self) -> Self::Borrowed<'_>;
}

impl Owned for String {
    type Borrowed<'a> = &'a str;

    fn borrowed(&self) -> &str {
        self
    }
}

impl Owned for EncryptionContext {
    type Borrowed<'a> = &'a Self;

    fn borrowed(&self) -> &Self {
        self
    }
}

impl Owned for bool {
    type Borrowed<'a> = Self;

    fn borrowed(&self) -> Self {
        *self
    }
}

impl Owned for u32 {
    type Borrowed<'a> = Self;

    fn borrowed(&self) -> Self {
        *self
    }
}

/// The values of a condition key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// The only one.
    One(String),
    /// All of them.
    Many(Vec<String>),
}

impl OneOrMany {
    fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

macro_rules! question_facts {
    ($($name:ident: $type:ty => $fact:ident,)+) => {
        /// The facts of a question, each named by the condition key that reads it.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
        pub struct QuestionFacts {
            $(
                #[doc = concat!("[`Facts::", stringify!($fact), "`].")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )+
            /// [`Facts::grant_operations`].
            #[serde(skip_serializing_if = "Option::is_none")]
            pub grant_operations: Option<Vec<String>>,
            /// [`Caller::source_ip`].
            #[serde(skip_serializing_if = "Option::is_none")]
            pub source_ip: Option<IpAddr>,
            /// [`Caller::tags`].
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub principal_tags: BTreeMap<String, String>,
            /// [`Caller::secure_transport`]. `None` is true: KMS speaks TLS only.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub secure_transport: Option<bool>,
            /// Condition keys that a plain call does not have, with their values.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub condition_keys: BTreeMap<String, OneOrMany>,
        }

        impl QuestionFacts {
            /// The facts that need no more than to be borrowed.
            fn borrowed(&self) -> Facts<'_> {
                Facts {
                    $($fact: self.$name.as_ref().map(Owned::borrowed),)+
                    ..Facts::default()
                }
            }
        }
    };
}

question_facts! {
    encryption_context: EncryptionContext => encryption_context,
    encryption_algorithm: String => encryption_algorithm,
    signing_algorithm: String => signing_algorithm,
    mac_algorithm: String => mac_algorithm,
    message_type: String => message_type,
    key_agreement_algorithm: String => key_agreement_algorithm,
    data_key_pair_spec: String => data_key_pair_spec,
    replica_region: String => replica_region,
    request_alias: String => request_alias,
    re_encrypt_on_same_key: bool => re_encrypt_on_same_key,
    bypass_policy_lockout_safety_check: bool => bypass_lockout_check,
    policy_name: String => policy_name,
    grant_constraint_type: String => grant_constraint_type,
    grantee_principal: String => grantee_principal,
    retiring_principal: String => retiring_principal,
    grant_is_for_aws_resource: bool => grant_is_for_aws_resource,
    schedule_key_deletion_pending_window_in_days: u32 => pending_window_days,
    user_agent: String => user_agent,
    requested_region: String => region,
}

/// Why a text is not a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuestionError {
    /// Not the ARN of a user, role, session or root user.
    #[error("`{text}` is not the ARN of a user, a role, a session or a root user")]
    Principal {
        /// The text found.
        text: String,
    },
    /// Not the ARN of a key.
    #[error("`{text}` is not the ARN of a key")]
    KeyArn {
        /// The text found.
        text: String,
    },
    /// A register's name or value.
    #[error("register {register}: `{value}` is not a number from 0 to 255 with 96 hex digits")]
    Register {
        /// The register's name.
        register: String,
        /// The value found.
        value: String,
    },
    /// Not an RFC 3339 time after 1970.
    #[error("`{text}` is not a time like 2026-01-01T00:00:00Z")]
    Time {
        /// The text found.
        text: String,
    },
    /// One of the caller's own policies.
    #[error("a policy of the principal: {0}")]
    Policy(#[from] PolicyError),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    principal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    federated_by: Option<String>,
    action: String,
    #[serde(default)]
    key: QuestionKey,
    #[serde(default)]
    recipient: Option<RecipientForm>,
    #[serde(default)]
    time: Option<String>,
    #[serde(default)]
    facts: QuestionFacts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    identity_policies: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions_boundary: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    session_policies: Vec<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipientForm {
    #[serde(default)]
    pcrs: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    nitrotpm: bool,
}

impl TryFrom<Form> for Question {
    type Error = QuestionError;

    fn try_from(form: Form) -> Result<Self, QuestionError> {
        let policy = |value: &Value| -> Result<_, QuestionError> {
            let read = Policy::parse(&value.to_string(), PolicyKind::Identity)?;
            Ok(Arc::new(read))
        };
        let policies = |values: Vec<Value>| values.iter().map(policy).collect::<Result<_, _>>();
        let nobody = |text: &str| QuestionError::Principal {
            text: text.to_owned(),
        };
        let session = form.session.as_deref().unwrap_or(SESSION_DEFAULT);
        let mut principal =
            parse_principal(&form.principal, session).ok_or_else(|| nobody(&form.principal))?;
        if let (Principal::FederatedUser { account, by, .. }, Some(arn)) =
            (&mut principal, &form.federated_by)
        {
            *by = match Principal::parse(arn) {
                Some(Principal::Root { account: of }) if of == *account => None,
                Some(Principal::User {
                    account: of,
                    path_name,
                }) if of == *account => Some(path_name),
                _ => return Err(nobody(arn)),
            };
        }
        if six_parts(&form.key.arn).is_none() {
            return Err(QuestionError::KeyArn { text: form.key.arn });
        }
        Ok(Self {
            principal,
            action: form.action,
            key: form.key,
            recipient: form.recipient.map(RecipientForm::read).transpose()?,
            now: form
                .time
                .map_or(Ok(UnixMillis(0)), |text| parse_time(&text))?,
            facts: form.facts,
            identity_policies: policies(form.identity_policies)?,
            boundary: form.permissions_boundary.as_ref().map(policy).transpose()?,
            session_policies: policies(form.session_policies)?,
        })
    }
}

impl RecipientForm {
    fn read(self) -> Result<Recipient, QuestionError> {
        let mut pcrs = BTreeMap::new();
        for (register, value) in self.pcrs {
            let read = register.parse::<u8>().ok().zip(hex::decode(&value).ok());
            let Some((index, bytes)) = read.filter(|(_, bytes)| bytes.len() == 48) else {
                return Err(QuestionError::Register { register, value });
            };
            pcrs.insert(index, bytes);
        }
        Ok(Recipient {
            pcrs,
            nitrotpm: self.nitrotpm,
        })
    }
}

impl From<Question> for Form {
    fn from(question: Question) -> Self {
        let json =
            |policy: &Arc<Policy>| serde_json::from_str(policy.text()).expect("a policy is JSON");
        let policies = |list: &[Arc<Policy>]| list.iter().map(json).collect();
        let (session, federated_by) = match &question.principal {
            Principal::AssumedRole { session, .. } => (Some(session.clone()), None),
            Principal::FederatedUser {
                account,
                by: Some(path_name),
                ..
            } => {
                let (account, path_name) = (account.clone(), path_name.clone());
                let by = Principal::User { account, path_name };
                (None, Some(by.arn()))
            }
            _ => (None, None),
        };
        Self {
            principal: question.principal.role_arn(),
            session,
            federated_by,
            action: question.action,
            key: question.key,
            recipient: question.recipient.map(|recipient| RecipientForm {
                pcrs: recipient
                    .pcrs
                    .iter()
                    .map(|(index, bytes)| (index.to_string(), hex::encode(bytes)))
                    .collect(),
                nitrotpm: recipient.nitrotpm,
            }),
            time: Some(question.now.to_string()),
            facts: question.facts,
            identity_policies: policies(&question.identity_policies),
            permissions_boundary: question.boundary.as_ref().map(json),
            session_policies: policies(&question.session_policies),
        }
    }
}

/// A principal by its ARN; a role's ARN stands for a session of it.
pub(super) fn parse_principal(arn: &str, session: &str) -> Option<Principal> {
    if let Some((account, path_name)) = arn
        .strip_prefix("arn:aws:iam::")
        .and_then(|rest| rest.split_once(":role/"))
    {
        let is_role = crate::world::principal::is_account_id(account) && !path_name.is_empty();
        return is_role.then(|| Principal::AssumedRole {
            account: account.to_owned(),
            role_path_name: path_name.to_owned(),
            session: session.to_owned(),
        });
    }
    Principal::parse(arn)
}

fn parse_time(text: &str) -> Result<UnixMillis, QuestionError> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
        .map(UnixMillis)
        .ok_or_else(|| QuestionError::Time {
            text: text.to_owned(),
        })
}

fn put(map: &mut BTreeMap<String, String>, name: &str, value: Option<String>) {
    match value {
        Some(value) => map.insert(name.to_owned(), value),
        None => map.remove(name),
    };
}

/// Every request has a value.
fn replace<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

impl Question {
    /// A bare question: nothing but who wants what from which key.
    #[must_use]
    pub fn new(principal: Principal, action: &str, key: QuestionKey, now: UnixMillis) -> Self {
        Self {
            principal,
            action: action.to_owned(),
            key,
            recipient: None,
            now,
            facts: QuestionFacts::default(),
            identity_policies: Vec::new(),
            boundary: None,
            session_policies: Vec::new(),
        }
    }

    /// Gives the request these values of a condition key, or none. A key that the
    /// form of a question has no member for stands in it by name.
    /// Text that is not of the key's type leaves the request without the key; what
    /// every request has, such as the time, stays.
    pub(super) fn present(&mut self, key: &ConditionKey, values: Option<Vec<String>>) {
        use ConditionKey as K;
        let first = values.iter().flatten().next().cloned();
        let is_true = first.as_deref().map(|text| text == "true");
        let (facts, of_key) = (&mut self.facts, &mut self.key);
        match key {
            K::ImageSha384 => self.present_register(0, first),
            K::Pcr(index) | K::NitroTpmPcr(index) => self.present_register(*index, first),

            K::EncryptionContext(name) => {
                let context = facts.encryption_context.get_or_insert_default();
                put(context, name, first);
            }
            K::EncryptionAlgorithm => facts.encryption_algorithm = first,
            K::SigningAlgorithm => facts.signing_algorithm = first,
            K::MessageType => facts.message_type = first,
            K::MacAlgorithm => facts.mac_algorithm = first,
            K::KeyAgreementAlgorithm => facts.key_agreement_algorithm = first,
            K::DataKeyPairSpec => facts.data_key_pair_spec = first,
            K::ReplicaRegion => facts.replica_region = first,
            K::PolicyName => facts.policy_name = first,
            K::BypassPolicyLockoutSafetyCheck => {
                facts.bypass_policy_lockout_safety_check = is_true;
            }
            K::RequestAlias => facts.request_alias = first,
            K::ReEncryptOnSameKey => facts.re_encrypt_on_same_key = is_true,
            K::GrantOperations => facts.grant_operations = values,
            K::GrantConstraintType => facts.grant_constraint_type = first,
            K::GranteePrincipal => facts.grantee_principal = first,
            K::RetiringPrincipal => facts.retiring_principal = first,
            K::GrantIsForAwsResource => facts.grant_is_for_aws_resource = is_true,
            K::ScheduleKeyDeletionPendingWindowInDays => {
                let days = first.and_then(|text| text.parse().ok());
                facts.schedule_key_deletion_pending_window_in_days = days;
            }

            K::KeySpec => replace(&mut of_key.spec, first),
            K::KeyUsage => replace(&mut of_key.usage, first),
            K::KeyOrigin => replace(&mut of_key.origin, first),
            K::MultiRegion => {
                of_key.multi_region_type = is_true.and_then(|it| it.then(|| "PRIMARY".to_owned()));
            }
            K::MultiRegionKeyType => of_key.multi_region_type = first,
            K::ResourceAliases => of_key.aliases = values.unwrap_or_default(),
            K::ResourceTag(name) => put(&mut of_key.tags, name, first),

            K::PrincipalTag(name) => put(&mut facts.principal_tags, name, first),
            K::SourceIp => facts.source_ip = first.and_then(|text| text.parse().ok()),
            K::SecureTransport => facts.secure_transport = is_true,
            K::UserAgent => facts.user_agent = first,
            K::RequestedRegion => facts.requested_region = first,
            K::CurrentTime | K::EpochTime => {
                replace(&mut self.now, first.and_then(|text| parse_time(&text).ok()));
            }

            K::EncryptionContextKeys
            | K::WrappingAlgorithm
            | K::WrappingKeySpec
            | K::ExpirationModel
            | K::PrimaryRegion
            | K::RotationPeriodInDays
            | K::RequestTag(_)
            | K::TagKeys
            | K::CallerAccount
            | K::PrincipalArn
            | K::PrincipalAccount
            | K::PrincipalType
            | K::PrincipalIsAwsService
            | K::UserName
            | K::ResourceAccount
            | K::UserId
            | K::SourceIdentity
            | K::TokenIssueTime
            | K::MultiFactorAuthPresent
            | K::ViaAwsService
            | K::S3(_)
            | K::ByName(_)
            | K::Unknown(_) => {
                let name = key.name().to_lowercase();
                let keys = &mut facts.condition_keys;
                let values = values.unwrap_or_default();
                match (first, values.len()) {
                    (None, _) => keys.remove(&name),
                    (Some(only), 1) => keys.insert(name, OneOrMany::One(only)),
                    (Some(_), _) => keys.insert(name, OneOrMany::Many(values)),
                };
            }
        }
    }

    fn present_register(&mut self, index: u8, digits: Option<String>) {
        let recipient = self.recipient.get_or_insert_with(Recipient::default);
        match digits.and_then(|text| hex::decode(text).ok()) {
            Some(bytes) => recipient.pcrs.insert(index, bytes),
            None => recipient.pcrs.remove(&index),
        };
    }

    /// What the evaluator says.
    #[must_use]
    pub fn decide(&self, key_policy: &Arc<Policy>, grants: &[Arc<Grant>]) -> Decision {
        self.with_request(|request| decide(request, Some(key_policy), || grants.to_vec()))
    }

    /// The question as the evaluator takes it.
    pub(super) fn with_request<T>(&self, f: impl FnOnce(&Request<'_>) -> T) -> T {
        let facts = &self.facts;
        let caller = Caller {
            identity_policies: self.identity_policies.clone(),
            boundary: self.boundary.clone(),
            session_policies: self.session_policies.clone(),
            tags: facts.principal_tags.clone(),
            source_ip: facts.source_ip,
            secure_transport: facts.secure_transport.unwrap_or(true),
            ..Caller::new(self.principal.clone())
        };
        let document = self.recipient.as_ref().map(|recipient| VerifiedDocument {
            module_id: String::new(),
            timestamp: self.now,
            pcrs: recipient.pcrs.clone(),
            nitrotpm: recipient.nitrotpm,
            public_key: None,
        });
        let operations: Option<Vec<&str>> = facts
            .grant_operations
            .as_ref()
            .map(|names| names.iter().map(String::as_str).collect());
        let aliases: Vec<Arc<str>> = self.key.aliases.iter().map(|a| a.as_str().into()).collect();
        let names: Vec<(String, &str)> = facts
            .condition_keys
            .iter()
            .flat_map(|(key, given)| {
                let values = given.values().iter();
                values.map(|value| (key.to_lowercase(), value.as_str()))
            })
            .collect();
        let others: Vec<(&str, &str)> = names.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        let request = Request {
            caller: &caller,
            action: &self.action,
            resource: Resource::Key(KeyFacts {
                arn: &self.key.arn,
                account: self.key.account(),
                region: self.key.region(),
                spec: &self.key.spec,
                usage: &self.key.usage,
                origin: &self.key.origin,
                multi_region_type: self.key.multi_region_type.as_deref(),
                aliases: &aliases,
                tags: &self.key.tags,
            }),
            facts: &Facts {
                recipient: document.as_ref(),
                grant_operations: operations.as_deref(),
                others: &others,
                ..facts.borrowed()
            },
            now: self.now,
        };
        f(&request)
    }
}
