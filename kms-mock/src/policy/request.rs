//! What a decision is about: who wants to do what to which resource, and the
//! facts that condition keys read.
//!
//! Source of truth: ground truth KMS §2 (`kms:RecipientAttestation:*`) and §3
//! (the list of keys); AWS KMS developer guide, "Condition keys for AWS KMS";
//! IAM user guide, "AWS global condition context keys". Names of keys are
//! case-insensitive, the part after the last colon included.
//!
//! Does not model keys that need what a local world has not got
//! (`aws:SourceVpce`, `aws:PrincipalOrgID`, `kms:ViaService`, …): they are
//! absent, as they are for a plain call from the internet.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use nsm_sim::clock::UnixMillis;

use super::caller::Caller;
use crate::{recipient::VerifiedDocument, world::principal::Principal};

/// The encryption context of a call.
pub type EncryptionContext = BTreeMap<String, String>;

/// One question to the evaluator.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The permission, with its vendor: `kms:Decrypt`.
    pub action: &'a str,
    /// What it is wanted for.
    pub resource: Resource<'a>,
    /// What else condition keys can see.
    pub facts: &'a Facts<'a>,
    /// When.
    pub now: UnixMillis,
}

/// The resource of a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Resource<'a> {
    /// A KMS key.
    Key(KeyFacts<'a>),
    /// Anything that has no resource policy, such as an alias.
    Other {
        /// Its ARN.
        arn: &'a str,
        /// The account that owns it.
        account: &'a str,
    },
    /// The whole account and Region (`CreateKey`, `GenerateRandom`, lists).
    Account(&'a str),
}

impl Resource<'_> {
    /// The account that owns the resource.
    #[must_use]
    pub fn account(&self) -> &str {
        match self {
            Self::Key(key) => key.account,
            Self::Other { account, .. } | Self::Account(account) => account,
        }
    }

    /// What a policy's `Resource` element is compared with.
    #[must_use]
    pub fn arn(&self) -> &str {
        match self {
            Self::Key(key) => key.arn,
            Self::Other { arn, .. } => arn,
            Self::Account(_) => "*",
        }
    }
}

/// The key as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'a> {
    /// `arn:aws:kms:<region>:<account>:key/<id>`.
    pub arn: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// The Region of the ARN.
    pub region: &'a str,
    /// `SYMMETRIC_DEFAULT`, `RSA_2048`, ….
    pub spec: &'a str,
    /// `ENCRYPT_DECRYPT`, `SIGN_VERIFY`, ….
    pub usage: &'a str,
    /// `AWS_KMS`, `EXTERNAL`, ….
    pub origin: &'a str,
    /// `PRIMARY` or `REPLICA` for a multi-Region key.
    pub multi_region_type: Option<&'a str>,
    /// Names of the aliases that point at the key.
    pub aliases: &'a [Arc<str>],
    /// The key's tags.
    pub tags: &'a BTreeMap<String, String>,
}

/// Facts of the call itself; absent ones leave their condition keys absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The encryption context of a symmetric cryptographic operation.
    pub encryption_context: Option<&'a EncryptionContext>,
    /// `SYMMETRIC_DEFAULT`, ….
    pub encryption_algorithm: Option<&'a str>,
    /// `kms:SigningAlgorithm`.
    pub signing_algorithm: Option<&'a str>,
    /// `kms:MacAlgorithm`.
    pub mac_algorithm: Option<&'a str>,
    /// `kms:MessageType`.
    pub message_type: Option<&'a str>,
    /// `kms:KeyAgreementAlgorithm`.
    pub key_agreement_algorithm: Option<&'a str>,
    /// `kms:DataKeyPairSpec`.
    pub data_key_pair_spec: Option<&'a str>,
    /// `kms:WrappingAlgorithm`.
    pub wrapping_algorithm: Option<&'a str>,
    /// `kms:WrappingKeySpec`.
    pub wrapping_key_spec: Option<&'a str>,
    /// `kms:ExpirationModel`.
    pub expiration_model: Option<&'a str>,
    /// `kms:PrimaryRegion` of `UpdatePrimaryRegion`.
    pub primary_region: Option<&'a str>,
    /// `kms:ReplicaRegion` of `ReplicateKey`.
    pub replica_region: Option<&'a str>,
    /// The document of the five operations that take a `Recipient`.
    pub recipient: Option<&'a VerifiedDocument>,
    /// The alias the caller named the key by.
    pub request_alias: Option<&'a str>,
    /// `kms:ReEncryptOnSameKey`.
    pub re_encrypt_on_same_key: Option<bool>,
    /// `kms:BypassPolicyLockoutSafetyCheck`.
    pub bypass_lockout_check: Option<bool>,
    /// `kms:PolicyName`.
    pub policy_name: Option<&'a str>,
    /// `kms:GrantOperations`.
    pub grant_operations: Option<&'a [&'static str]>,
    /// `kms:GrantConstraintType`.
    pub grant_constraint_type: Option<&'a str>,
    /// `kms:GranteePrincipal`.
    pub grantee_principal: Option<&'a str>,
    /// `kms:RetiringPrincipal`.
    pub retiring_principal: Option<&'a str>,
    /// `kms:GrantIsForAWSResource`; false for every call a local world makes.
    pub grant_is_for_aws_resource: Option<bool>,
    /// `kms:ScheduleKeyDeletionPendingWindowInDays`.
    pub pending_window_days: Option<u32>,
    /// `kms:RotationPeriodInDays`.
    pub rotation_period_days: Option<u32>,
    /// Spec, usage, origin of the key that `CreateKey` asks for, and whether it
    /// is multi-Region.
    pub new_key: Option<(&'a str, &'a str, &'a str, bool)>,
    /// `aws:RequestTag/…` and `aws:TagKeys`: tags to set.
    pub request_tags: Option<&'a BTreeMap<String, String>>,
    /// `aws:TagKeys` of a request that only names tags.
    pub request_tag_keys: Option<&'a [String]>,
    /// `aws:UserAgent`.
    pub user_agent: Option<&'a str>,
    /// The Region that serves the call.
    pub region: Option<&'a str>,
    /// Keys of other services, by name in lower case: `sts:externalid`. One that
    /// has several values stands once for each.
    pub others: &'a [(&'a str, &'a str)],
}

/// A condition key, recognised once when the policy is parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConditionKey {
    ImageSha384,
    Pcr(u8),
    NitroTpmPcr(u8),
    EncryptionContext(String),
    EncryptionContextKeys,
    ResourceTag(String),
    RequestTag(String),
    PrincipalTag(String),
    /// Any other, in lower case.
    Named(String),
}

impl ConditionKey {
    pub(crate) fn parse(text: &str) -> Self {
        let lower = text.to_lowercase();
        if let Some(name) = lower.strip_prefix("kms:recipientattestation:") {
            if name == "imagesha384" {
                return Self::ImageSha384;
            }
            if let Some(index) = name.strip_prefix("nitrotpmpcr").and_then(pcr_index) {
                return Self::NitroTpmPcr(index);
            }
            if let Some(index) = name.strip_prefix("pcr").and_then(pcr_index) {
                return Self::Pcr(index);
            }
            return Self::Named(lower);
        }
        if let Some(name) = lower.strip_prefix("kms:encryptioncontext:") {
            return Self::EncryptionContext(name.to_owned());
        }
        if lower == "kms:encryptioncontextkeys" {
            return Self::EncryptionContextKeys;
        }
        if let Some(name) = lower.strip_prefix("aws:resourcetag/") {
            return Self::ResourceTag(name.to_owned());
        }
        if let Some(name) = lower.strip_prefix("aws:requesttag/") {
            return Self::RequestTag(name.to_owned());
        }
        if let Some(name) = lower.strip_prefix("aws:principaltag/") {
            return Self::PrincipalTag(name.to_owned());
        }
        Self::Named(lower)
    }

    /// Whether the key is read from an attestation document.
    pub(crate) fn is_attestation(&self) -> bool {
        matches!(
            self,
            Self::ImageSha384 | Self::Pcr(_) | Self::NitroTpmPcr(_)
        )
    }
}

fn pcr_index(digits: &str) -> Option<u8> {
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

type Values<'a> = Option<Vec<Cow<'a, str>>>;

fn one<'a>(value: impl Into<Cow<'a, str>>) -> Values<'a> {
    Some(vec![value.into()])
}

fn truth<'a>(value: bool) -> Values<'a> {
    one(if value { "true" } else { "false" })
}

impl<'a> Request<'a> {
    /// The values of a condition key; `None` when the request has no such key.
    pub(crate) fn values(&self, key: &ConditionKey, in_key_policy: bool) -> Values<'a> {
        match key {
            ConditionKey::ImageSha384 => self.pcr(0, false),
            ConditionKey::Pcr(index) => self.pcr(*index, false),
            ConditionKey::NitroTpmPcr(index) => self.pcr(*index, true),
            ConditionKey::EncryptionContext(name) => {
                let context = self.facts.encryption_context?;
                let values: Vec<_> = context
                    .iter()
                    .filter(|(key, _)| key.to_lowercase() == *name)
                    .map(|(_, value)| Cow::Borrowed(value.as_str()))
                    .collect();
                (!values.is_empty()).then_some(values)
            }
            ConditionKey::EncryptionContextKeys => {
                let context = self.facts.encryption_context?;
                let names: Vec<_> = context.keys().map(|k| Cow::Borrowed(k.as_str())).collect();
                (!names.is_empty()).then_some(names)
            }
            ConditionKey::ResourceTag(name) => {
                let Resource::Key(facts) = self.resource else {
                    return None;
                };
                tag(facts.tags, name)
            }
            ConditionKey::RequestTag(name) => tag(self.facts.request_tags?, name),
            ConditionKey::PrincipalTag(name) => tag(&self.caller.tags, name),
            ConditionKey::Named(name) => self.named(name, in_key_policy),
        }
    }

    /// The value of a policy variable: the only value of the key of that name.
    pub(crate) fn variable(&self, name: &str, in_key_policy: bool) -> Option<String> {
        let values = self.values(&ConditionKey::parse(name), in_key_policy)?;
        match values.as_slice() {
            [only] => Some(only.clone().into_owned()),
            _ => None,
        }
    }

    fn pcr(&self, index: u8, nitrotpm: bool) -> Values<'a> {
        let document = self.facts.recipient?;
        if document.nitrotpm != nitrotpm {
            return None;
        }
        one(hex::encode(document.pcrs.get(&index)?))
    }

    fn named(&self, name: &str, in_key_policy: bool) -> Values<'a> {
        let others = self.facts.others.iter();
        let others: Vec<_> = others
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| Cow::Borrowed(*value))
            .collect();
        if !others.is_empty() {
            return Some(others);
        }
        if let Some(key) = name.strip_prefix("aws:") {
            return self.global(key);
        }
        let facts = self.facts;
        let key = match self.resource {
            Resource::Key(key) => Some(key),
            _ => None,
        };
        let text = |value: Option<&'a str>| value.and_then(one);
        match name.strip_prefix("kms:")? {
            "calleraccount" => one(self.caller.principal.account()),
            "encryptionalgorithm" => text(facts.encryption_algorithm),
            "signingalgorithm" => text(facts.signing_algorithm),
            "macalgorithm" => text(facts.mac_algorithm),
            "messagetype" => text(facts.message_type),
            "keyagreementalgorithm" => text(facts.key_agreement_algorithm),
            "datakeypairspec" => text(facts.data_key_pair_spec),
            "wrappingalgorithm" => text(facts.wrapping_algorithm),
            "wrappingkeyspec" => text(facts.wrapping_key_spec),
            "expirationmodel" => text(facts.expiration_model),
            "primaryregion" => text(facts.primary_region),
            "replicaregion" => text(facts.replica_region),
            "policyname" => text(facts.policy_name),
            "requestalias" => text(facts.request_alias),
            "grantconstrainttype" => text(facts.grant_constraint_type),
            "granteeprincipal" => text(facts.grantee_principal),
            "retiringprincipal" => text(facts.retiring_principal),
            "grantisforawsresource" => facts.grant_is_for_aws_resource.and_then(truth),
            "reencryptonsamekey" => facts.re_encrypt_on_same_key.and_then(truth),
            "bypasspolicylockoutsafetycheck" => facts.bypass_lockout_check.and_then(truth),
            "grantoperations" => {
                let names = facts.grant_operations?;
                Some(names.iter().map(|name| Cow::Borrowed(*name)).collect())
            }
            "schedulekeydeletionpendingwindowindays" => facts
                .pending_window_days
                .and_then(|days| one(days.to_string())),
            "rotationperiodindays" => facts
                .rotation_period_days
                .and_then(|days| one(days.to_string())),
            // `CustomerMasterKey…` are the former names of the same keys.
            "keyspec" | "customermasterkeyspec" => {
                text(key.map(|k| k.spec).or(facts.new_key.map(|new| new.0)))
            }
            "keyusage" | "customermasterkeyusage" => {
                text(key.map(|k| k.usage).or(facts.new_key.map(|new| new.1)))
            }
            "keyorigin" => text(key.map(|k| k.origin).or(facts.new_key.map(|new| new.2))),
            "multiregion" => key
                .map(|k| k.multi_region_type.is_some())
                .or(facts.new_key.map(|new| new.3))
                .and_then(truth),
            "multiregionkeytype" => text(key.and_then(|k| k.multi_region_type)),
            // Documented for IAM policies only.
            "resourcealiases" if !in_key_policy => {
                let aliases = key?.aliases;
                let names: Vec<_> = aliases.iter().map(|a| Cow::Borrowed(a.as_ref())).collect();
                (!names.is_empty()).then_some(names)
            }
            _ => None,
        }
    }

    fn global(&self, key: &str) -> Values<'a> {
        let caller = self.caller;
        match key {
            "principalarn" => one(caller.principal.role_arn()),
            "principalaccount" => one(caller.principal.account()),
            "principaltype" => one(match caller.principal {
                Principal::Root { .. } => "Account",
                Principal::User { .. } => "User",
                Principal::AssumedRole { .. } => "AssumedRole",
                Principal::FederatedUser { .. } => "FederatedUser",
            }),
            "userid" => caller.user_id.as_deref().and_then(one),
            "sourceidentity" => caller.source_identity.as_deref().and_then(one),
            "tokenissuetime" => caller.token_issued.and_then(|at| one(at.to_string())),
            // Long-term credentials do not tell, and no session here has it.
            "multifactorauthpresent" => caller.token_issued.and_then(|_| truth(false)),
            "principalisawsservice" | "viaawsservice" => truth(false),
            "username" => match &caller.principal {
                Principal::User { path_name, .. } => {
                    one(crate::world::principal::name_of(path_name))
                }
                _ => None,
            },
            "resourceaccount" => {
                let account = match self.resource {
                    Resource::Key(key) => key.account,
                    Resource::Other { account, .. } | Resource::Account(account) => account,
                };
                one(account)
            }
            "requestedregion" => self.facts.region.and_then(one),
            "sourceip" => caller.source_ip.and_then(|ip| one(ip.to_string())),
            "securetransport" => truth(caller.secure_transport),
            "useragent" => self.facts.user_agent.and_then(one),
            "currenttime" => one(self.now.to_string()),
            "epochtime" => one(self.now.as_secs().to_string()),
            "tagkeys" => {
                let names: Vec<Cow<'a, str>> =
                    match (self.facts.request_tags, self.facts.request_tag_keys) {
                        (Some(tags), _) => tags.keys().map(|k| Cow::Borrowed(k.as_str())).collect(),
                        (None, Some(keys)) => {
                            keys.iter().map(|k| Cow::Borrowed(k.as_str())).collect()
                        }
                        (None, None) => return None,
                    };
                (!names.is_empty()).then_some(names)
            }
            _ => None,
        }
    }
}

fn tag<'a>(tags: &'a BTreeMap<String, String>, lower_name: &str) -> Values<'a> {
    let found = tags
        .iter()
        .find(|(key, _)| key.to_lowercase() == *lower_name)?;
    one(found.1.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestation_keys_are_recognised_whatever_their_case() {
        for (text, key) in [
            (
                "kms:RecipientAttestation:ImageSha384",
                ConditionKey::ImageSha384,
            ),
            (
                "KMS:recipientattestation:IMAGESHA384",
                ConditionKey::ImageSha384,
            ),
            ("kms:RecipientAttestation:PCR0", ConditionKey::Pcr(0)),
            ("kms:RecipientAttestation:pcr31", ConditionKey::Pcr(31)),
            (
                "kms:RecipientAttestation:NitroTPMPCR4",
                ConditionKey::NitroTpmPcr(4),
            ),
        ] {
            assert_eq!(ConditionKey::parse(text), key, "{text}");
        }
        for unknown in [
            "kms:RecipientAttestation",
            "kms:RecipientAttestation:PCR",
            "kms:RecipientAttestation:PCR01",
            "kms:RecipientAttestation:PCR+1",
            "kms:RecipientAttestation:PCR256",
        ] {
            assert_eq!(
                ConditionKey::parse(unknown),
                ConditionKey::Named(unknown.to_lowercase()),
                "{unknown}"
            );
        }
    }
}
