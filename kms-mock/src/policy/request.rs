//! A request to the evaluator, and the values that it has for condition keys.
//!
//! Source of truth: ground truth KMS §2 (`kms:RecipientAttestation:*`) and §3
//! (the list of keys); AWS KMS developer guide, "Condition keys for AWS KMS";
//! IAM user guide, "AWS global condition context keys".
//!
//! Does not model keys that AWS alone can fill (`aws:SourceVpce`,
//! `aws:PrincipalOrgID`, `kms:ViaService`, …): they are absent, as they are for a
//! plain call from the internet. The table of condition keys says why.

use std::{borrow::Cow, collections::BTreeMap};

use nsm_sim::clock::UnixMillis;

use super::{
    caller::Caller,
    facts::{Facts, KeyFacts, NewKeyFacts, Resource},
};
use crate::{
    model::condition_key::ConditionKey,
    world::principal::{Principal, name_of},
};

/// One question to the evaluator.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The permission, with its vendor: `kms:Decrypt`.
    pub action: &'a str,
    /// What it is wanted for.
    pub resource: Resource<'a>,
    /// Further facts that condition keys read.
    pub facts: &'a Facts<'a>,
    /// When.
    pub now: UnixMillis,
}

pub(super) type Values<'a> = Option<Vec<Cow<'a, str>>>;

pub(super) fn one<'a>(value: impl Into<Cow<'a, str>>) -> Values<'a> {
    Some(vec![value.into()])
}

pub(super) fn truth<'a>(value: bool) -> Values<'a> {
    one(if value { "true" } else { "false" })
}

/// A key whose list of values is empty is absent.
pub(super) fn some_of<'a>(values: impl Iterator<Item = &'a str>) -> Values<'a> {
    let values: Vec<_> = values.map(Cow::Borrowed).collect();
    (!values.is_empty()).then_some(values)
}

fn tag<'a>(tags: &'a BTreeMap<String, String>, lower_name: &str) -> Values<'a> {
    let found = tags.iter().find(|(key, _)| is_lower(lower_name, key))?;
    one(found.1.as_str())
}

/// Whether `lower` is `name` in lower case.
pub(super) fn is_lower(lower: &str, name: &str) -> bool {
    if name.is_ascii() {
        name.eq_ignore_ascii_case(lower)
    } else {
        name.to_lowercase() == lower
    }
}

impl<'a> Request<'a> {
    /// The values of a condition key; `None` when the request has no such key.
    pub(crate) fn values(&self, key: &ConditionKey, in_key_policy: bool) -> Values<'a> {
        let values = self.look_up(key, in_key_policy);
        debug_assert!(
            values.as_ref().is_none_or(|values| values.len() < 2)
                || key.row().is_none_or(|row| row.many),
            "{key:?} has one value: {values:?}"
        );
        values
    }

    fn look_up(&self, key: &ConditionKey, in_key_policy: bool) -> Values<'a> {
        use ConditionKey as K;
        let (caller, facts) = (self.caller, self.facts);
        if !facts.others.is_empty()
            && let Some(values) = self.presented_by_name(key)
        {
            return Some(values);
        }
        if in_key_policy && !key.counts_in_key_policies() {
            return None;
        }
        match key {
            K::ImageSha384 => self.register(0, false),
            K::Pcr(index) => self.register(*index, false),
            K::NitroTpmPcr(index) => self.register(*index, true),

            K::EncryptionContext(name) => {
                let pairs = facts.encryption_context?.iter();
                let named = pairs.filter(|(key, _)| is_lower(name, key));
                some_of(named.map(|(_, value)| value.as_str()))
            }
            K::EncryptionContextKeys => {
                some_of(facts.encryption_context?.keys().map(String::as_str))
            }
            K::EncryptionAlgorithm => one(facts.encryption_algorithm?),
            K::SigningAlgorithm => one(facts.signing_algorithm?),
            K::MessageType => one(facts.message_type?),
            K::MacAlgorithm => one(facts.mac_algorithm?),
            K::KeyAgreementAlgorithm => one(facts.key_agreement_algorithm?),
            K::DataKeyPairSpec => one(facts.data_key_pair_spec?),
            K::WrappingAlgorithm => one(facts.wrapping_algorithm?),
            K::WrappingKeySpec => one(facts.wrapping_key_spec?),
            K::ExpirationModel => one(facts.expiration_model?),
            K::PrimaryRegion => one(facts.primary_region?),
            K::ReplicaRegion => one(facts.replica_region?),
            K::PolicyName => one(facts.policy_name?),
            K::BypassPolicyLockoutSafetyCheck => truth(facts.bypass_lockout_check?),
            K::RequestAlias => one(facts.request_alias?),
            K::ReEncryptOnSameKey => truth(facts.re_encrypt_on_same_key?),
            K::GrantOperations => {
                let names = facts.grant_operations?.iter();
                Some(names.map(|name| Cow::Borrowed(*name)).collect())
            }
            K::GrantConstraintType => one(facts.grant_constraint_type?),
            K::GranteePrincipal => one(facts.grantee_principal?),
            K::RetiringPrincipal => one(facts.retiring_principal?),
            K::GrantIsForAwsResource => truth(facts.grant_is_for_aws_resource?),
            K::ScheduleKeyDeletionPendingWindowInDays => {
                one(facts.pending_window_days?.to_string())
            }
            K::RotationPeriodInDays => one(facts.rotation_period_days?.to_string()),
            K::RequestTag(name) => tag(facts.request_tags?, name),
            K::TagKeys => match (facts.request_tags, facts.request_tag_keys) {
                (Some(tags), _) => some_of(tags.keys().map(String::as_str)),
                (None, keys) => some_of(keys?.iter().map(String::as_str)),
            },

            K::KeySpec => one(self.of_key(|key| key.spec, |new| new.spec)?),
            K::KeyUsage => one(self.of_key(|key| key.usage, |new| new.usage)?),
            K::KeyOrigin => one(self.of_key(|key| key.origin, |new| new.origin)?),
            K::MultiRegion => truth(self.of_key(
                |key| key.multi_region_type.is_some(),
                |new| new.multi_region_type.is_some(),
            )?),
            K::MultiRegionKeyType => {
                one(self.of_key(|key| key.multi_region_type, |new| new.multi_region_type)??)
            }
            K::ResourceAliases => some_of(self.key()?.aliases.iter().map(AsRef::as_ref)),
            K::ResourceTag(name) => tag(self.key()?.tags, name),

            K::PrincipalAccount | K::PrincipalArn if caller.principal == Principal::Anonymous => {
                None
            }
            K::CallerAccount | K::PrincipalAccount => one(caller.principal.account()),
            K::PrincipalArn => one(caller.principal.role_arn()),
            K::PrincipalType => one(match caller.principal {
                Principal::Root { .. } => "Account",
                Principal::User { .. } => "User",
                Principal::AssumedRole { .. } => "AssumedRole",
                Principal::FederatedUser { .. } => "FederatedUser",
                Principal::Anonymous => "Anonymous",
            }),
            K::PrincipalIsAwsService | K::ViaAwsService => truth(false),
            K::UserName => match &caller.principal {
                Principal::User { path_name, .. } => one(name_of(path_name)),
                _ => None,
            },
            K::ResourceAccount => one(self.resource.account()),
            K::UserId => one(caller.user_id.as_deref()?),
            K::SourceIdentity => one(caller.source_identity.as_deref()?),
            K::TokenIssueTime => one(caller.token_issued?.to_string()),
            // Long-term credentials do not have the key, and no session here was made
            // with a second factor.
            K::MultiFactorAuthPresent => caller.token_issued.and_then(|_| truth(false)),
            K::PrincipalTag(name) => tag(&caller.tags, name),

            K::SourceIp => one(caller.source_ip?.to_string()),
            K::SecureTransport => truth(caller.secure_transport),
            K::UserAgent => one(facts.user_agent?),
            K::RequestedRegion => one(facts.region?),
            K::CurrentTime => one(self.now.to_string()),
            K::EpochTime => one(self.now.as_secs().to_string()),

            K::S3(key) => self.of_s3(key),
            K::ByName(_) | K::Unknown(_) => None,
        }
    }

    /// The value of a policy variable: the only value of the key.
    pub(crate) fn variable(&self, key: &ConditionKey, in_key_policy: bool) -> Option<String> {
        match self.values(key, in_key_policy)?.as_slice() {
            [only] => Some(only.clone().into_owned()),
            _ => None,
        }
    }

    fn register(&self, index: u8, nitrotpm: bool) -> Values<'a> {
        let document = self.facts.recipient?;
        if document.nitrotpm != nitrotpm {
            return None;
        }
        one(hex::encode(document.pcrs.get(&index)?))
    }

    /// Nobody presents an attestation document's registers by name.
    fn presented_by_name(&self, key: &ConditionKey) -> Values<'a> {
        let others = self.facts.others.iter();
        let named = others.filter(|(name, _)| !key.is_attestation() && key.is_named(name));
        some_of(named.map(|(_, value)| *value))
    }

    fn key(&self) -> Option<KeyFacts<'a>> {
        match self.resource {
            Resource::Key(key) => Some(key),
            Resource::Other { .. } | Resource::Bucket { .. } | Resource::Account { .. } => None,
        }
    }

    /// A property of the key, or of the key that is to be made.
    fn of_key<T>(
        &self,
        of_key: impl FnOnce(KeyFacts<'a>) -> T,
        of_new: impl FnOnce(NewKeyFacts<'a>) -> T,
    ) -> Option<T> {
        match self.key() {
            Some(key) => Some(of_key(key)),
            None => self.facts.new_key.map(of_new),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::policy::{S3Facts, S3Signature};
    use crate::{
        model::condition_key::{Filled, On, ValueType},
        policy::value::{parse_bool, parse_date, parse_number},
        recipient::VerifiedDocument,
    };

    /// Whether the text is a value of the type.
    fn is_of(value: ValueType, text: &str) -> bool {
        match value {
            ValueType::Text => true,
            ValueType::Arn => text.starts_with("arn:aws:"),
            ValueType::Bool => parse_bool(text).is_some(),
            ValueType::Number => parse_number(text).is_some(),
            ValueType::Date => parse_date(text).is_some(),
            ValueType::Address => text.parse::<IpAddr>().is_ok(),
        }
    }

    #[test]
    fn every_key_has_values_as_the_table_says() {
        let pairs: BTreeMap<String, String> = [("0".to_owned(), "value".to_owned())].into();
        let account = "123456789012";
        let caller = Caller {
            user_id: Some("AIDA".into()),
            tags: pairs.clone(),
            source_identity: Some("dana".into()),
            token_issued: Some(UnixMillis(0)),
            source_ip: Some([192, 0, 2, 1].into()),
            ..Caller::new(Principal::User {
                account: account.into(),
                path_name: "alice".into(),
            })
        };
        let aliases = ["alias/a".into()];
        let key = Resource::Key(KeyFacts {
            arn: "arn:aws:kms:us-east-1:123456789012:key/k",
            account,
            region: "us-east-1",
            spec: "SYMMETRIC_DEFAULT",
            usage: "ENCRYPT_DECRYPT",
            origin: "AWS_KMS",
            multi_region_type: Some("PRIMARY"),
            aliases: &aliases,
            tags: &pairs,
        });
        let document = |nitrotpm| VerifiedDocument {
            module_id: String::new(),
            timestamp: UnixMillis(0),
            pcrs: [(0, vec![0; 48])].into(),
            nitrotpm,
            public_key: None,
        };
        let documents = [document(false), document(true)];
        let facts = documents.each_ref().map(|document| Facts {
            encryption_context: Some(&pairs),
            encryption_algorithm: Some("SYMMETRIC_DEFAULT"),
            signing_algorithm: Some("ECDSA_SHA_256"),
            mac_algorithm: Some("HMAC_SHA_256"),
            message_type: Some("RAW"),
            key_agreement_algorithm: Some("ECDH"),
            data_key_pair_spec: Some("RSA_2048"),
            wrapping_algorithm: Some("RSAES_OAEP_SHA_256"),
            wrapping_key_spec: Some("RSA_2048"),
            expiration_model: Some("KEY_MATERIAL_EXPIRES"),
            primary_region: Some("eu-west-1"),
            replica_region: Some("eu-west-1"),
            recipient: Some(document),
            request_alias: Some("alias/a"),
            re_encrypt_on_same_key: Some(true),
            bypass_lockout_check: Some(true),
            policy_name: Some("default"),
            grant_operations: Some(&["Decrypt"]),
            grant_constraint_type: Some("EncryptionContextSubset"),
            grantee_principal: Some("arn:aws:iam::123456789012:role/R"),
            retiring_principal: Some("arn:aws:iam::123456789012:role/R"),
            grant_is_for_aws_resource: Some(false),
            pending_window_days: Some(7),
            rotation_period_days: Some(365),
            new_key: None,
            request_tags: Some(&pairs),
            request_tag_keys: None,
            user_agent: Some("test"),
            region: Some("us-east-1"),
            s3: None,
            others: &[],
        });
        let requests = facts.each_ref().map(|facts| Request {
            caller: &caller,
            action: "kms:Decrypt",
            resource: key,
            facts,
            now: UnixMillis(0),
        });
        let of_s3 = |key: &ConditionKey| matches!(key, ConditionKey::S3(_));
        for (row, key) in ConditionKey::samples().filter(|(_, key)| !of_s3(key)) {
            let values = |in_key_policy| {
                let mut values = requests
                    .iter()
                    .filter_map(|it| it.values(&key, in_key_policy));
                values.next()
            };
            let is_filled = !matches!(
                row.filled,
                Filled::ByOperation | Filled::ByAws(_) | Filled::NotYet
            );
            let found = values(false).unwrap_or_default();
            assert_eq!(
                found.len(),
                usize::from(is_filled),
                "{}: {found:?}",
                row.name
            );
            assert!(
                found.iter().all(|it| is_of(row.value, it)),
                "{}: {found:?}",
                row.name
            );
            let counts = is_filled && row.in_key_policies;
            assert_eq!(values(true).is_some(), counts, "{}", row.name);
        }
    }

    #[test]
    fn every_key_of_s3_has_a_value_where_the_permission_has_the_key_and_nowhere_else() {
        let caller = Caller::new(Principal::Root {
            account: "123456789012".into(),
        });
        let mut headers = http::HeaderMap::new();
        for (row, _) in ConditionKey::samples() {
            let header = row.name.strip_prefix("s3:").unwrap_or("x-other");
            if let Ok(header) = header.parse::<http::HeaderName>() {
                headers.insert(header, http::HeaderValue::from_static("v"));
            }
        }
        let tags = [("0".to_owned(), "v".to_owned())];
        let facts = Facts {
            s3: Some(S3Facts {
                headers: &headers,
                query: "prefix=a&delimiter=%2F&max-keys=1",
                version_id: Some("v"),
                object_tags: &tags,
                request_tags: &tags,
                lock_mode: Some("GOVERNANCE"),
                lock_until: Some(UnixMillis(1)),
                legal_hold: Some("ON"),
                location: Some("eu-west-1"),
                makes_object: true,
                signature: Some(S3Signature {
                    presigned: true,
                    signed_at: UnixMillis(0),
                    content_sha256: Some("UNSIGNED-PAYLOAD"),
                }),
                tls_version: Some("1.3"),
            }),
            ..Facts::default()
        };
        let values = |action, key: &ConditionKey| {
            let request = Request {
                caller: &caller,
                action,
                resource: Resource::Bucket {
                    arn: "arn:aws:s3:::b/k",
                    account: "123456789012",
                },
                facts: &facts,
                now: UnixMillis(0),
            };
            request.values(key, true)
        };
        for (row, key) in ConditionKey::samples() {
            if !matches!(key, ConditionKey::S3(_)) {
                continue;
            }
            let (with, without) = match row.on {
                On::S3(actions) => (*actions.first().unwrap(), Some("s3:GetBucketCORS")),
                _ => ("s3:GetBucketCORS", None),
            };
            let found = values(with, &key).unwrap_or_default();
            assert_eq!(found.len(), 1, "{}", row.name);
            assert!(found.iter().all(|it| is_of(row.value, it)), "{found:?}");
            if let Some(without) = without {
                assert_eq!(values(without, &key), None, "{}", row.name);
            }
        }
    }
}
