//! A witness as an actual call: the key has the policy, the caller its IAM
//! policies, the enclave its registers, and KMS answers.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::rsa::KeySize;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::clock::SettableClock;

use super::*;
use crate::{
    kms::{Call, Kms, Reply, Settings, XksSettings},
    policy::Caller,
    recipient::tests::{EnclaveKey, JsonVerifier, json_document},
};

/// Operations that the mock does not answer yet are decided only.
fn is_not_served(reply: &Reply) -> bool {
    reply.error_type == Some("UnsupportedOperationException")
}

struct World {
    kms: Kms,
    root: Caller,
    key: String,
}

impl World {
    fn new(account: &str, now: UnixMillis) -> Self {
        let kms = Kms::new(Settings {
            region: "us-east-1".into(),
            clock: Arc::new(SettableClock::frozen(now)),
            seed: None,
            attestation_roots: Arc::new(JsonVerifier),
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: false,
            xks: XksSettings::default(),
        });
        let root = Caller::new(Principal::Root {
            account: account.to_owned(),
        });
        let mut world = Self {
            kms,
            root,
            key: String::new(),
        };
        world.key = world.make_key();
        world
    }

    fn make_key(&self) -> String {
        let made = self.must(&self.root, "CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    fn call(&self, caller: &Caller, operation: &str, body: &Value) -> Reply {
        self.kms.call(&Call {
            region: None,
            operation,
            body: body.to_string().as_bytes(),
            caller: &Arc::new(caller.clone()),
            request_id: crate::RequestId::random(),
            user_agent: "test",
        })
    }

    fn must(&self, caller: &Caller, operation: &str, body: &Value) -> Value {
        let reply = self.call(caller, operation, body);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, 200, "{operation} {body}: {text}");
        if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        }
    }
}

fn caller_of(question: &Question) -> Caller {
    let mut caller = Caller::new(question.principal.clone());
    caller
        .identity_policies
        .clone_from(&question.identity_policies);
    caller.boundary.clone_from(&question.boundary);
    caller.tags.clone_from(&question.facts.principal_tags);
    caller.source_ip = question.facts.source_ip;
    caller.secure_transport = question.facts.secure_transport.unwrap_or(true);
    caller
}

/// What only AWS can present, and keys whose ARN or kind the mock does not make.
fn is_beyond_the_mock(question: &Question) -> bool {
    let facts = &question.facts;
    !facts.condition_keys.is_empty()
        || facts.grant_is_for_aws_resource == Some(true)
        || question.key.region() != "us-east-1"
        || !question
            .key
            .arn
            .ends_with("00000000-0000-4000-8000-000000000000")
        || question.key.origin != "AWS_KMS"
        || question.key.multi_region_type.is_some()
        || question.recipient.as_ref().is_some_and(|r| r.nitrotpm)
        || facts
            .requested_region
            .as_deref()
            .is_some_and(|r| r != "us-east-1")
}

/// Makes the calls of a finding and says how many KMS has answered.
pub(super) fn replay(claim: &Claim, finding: &Finding) -> usize {
    let about = || format!("{}\n{:#}", claim.policy.text(), finding.to_json());
    let first = finding.witness();
    assert!(finding.holds(&claim.policy), "{}", about());
    if finding
        .steps
        .iter()
        .any(|step| is_beyond_the_mock(&step.call))
    {
        return 0;
    }
    let mut calls = 0;
    let used = finding.then().unwrap_or(first);
    let world = World::new(first.key.account(), first.now);
    for (name, value) in used.key.tags.iter().chain(&first.key.tags) {
        let tags = json!([{ "TagKey": name, "TagValue": value }]);
        world.must(
            &world.root,
            "TagResource",
            &json!({ "KeyId": world.key, "Tags": tags }),
        );
    }
    for alias in [&first.facts.request_alias, &used.facts.request_alias]
        .into_iter()
        .flatten()
    {
        let body = json!({ "AliasName": alias, "TargetKeyId": world.key });
        world.call(&world.root, "CreateAlias", &body);
    }
    let context = used.facts.encryption_context.clone().unwrap_or_default();
    let blob = world.must(
        &world.root,
        "Encrypt",
        &json!({
            "KeyId": world.key, "Plaintext": "eA==", "EncryptionContext": context,
        }),
    );
    let blob = blob["CiphertextBlob"].clone();
    let foreign = world.make_key();
    // Whoever calls may use the foreign key.
    let open = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
    for (key, text) in [(&foreign, open), (&world.key, claim.policy.text())] {
        world.must(
            &world.root,
            "PutKeyPolicy",
            &json!({
                "KeyId": key, "Policy": text, "BypassPolicyLockoutSafetyCheck": true,
            }),
        );
    }
    for step in &finding.steps {
        let (question, grant) = (&step.call, step.makes.as_ref());
        let Some((operation, body)) = as_call(question, grant, &world, &blob, &foreign) else {
            continue;
        };
        let caller = caller_of(question);
        let reply = world.call(&caller, operation, &body);
        if is_not_served(&reply) {
            assert!(!matches!(
                operation,
                "Decrypt" | "ReEncrypt" | "GenerateDataKey" | "CreateGrant" | "PutKeyPolicy"
            ));
            return calls;
        }
        calls += 1;
        assert_eq!(
            reply.status,
            200,
            "{operation} {body}: {}\n{}",
            String::from_utf8_lossy(&reply.body),
            about()
        );
    }
    calls
}

fn as_call(
    question: &Question,
    grant: Option<&Arc<Grant>>,
    world: &World,
    blob: &Value,
    foreign: &str,
) -> Option<(&'static str, Value)> {
    let facts = &question.facts;
    let key = facts.request_alias.as_ref().unwrap_or(&world.key);
    let key = match key.strip_prefix("alias/") {
        Some(_) => format!("arn:aws:kms:us-east-1:{}:{key}", question.key.account()),
        None => key.clone(),
    };
    let context = facts.encryption_context.clone().unwrap_or_default();
    let recipient = question.recipient.as_ref().map(|recipient| {
        let pcrs: Vec<(u8, String)> = recipient.pcrs.iter().map(|(n, b)| (*n, hex::encode(b))).collect();
        let pcrs: Vec<(u8, &str)> = pcrs.iter().map(|(n, text)| (*n, text.as_str())).collect();
        let enclave = EnclaveKey::generate(KeySize::Rsa2048);
        let document = json_document(question.now, &pcrs, Some(&enclave.spki));
        json!({ "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": BASE64.encode(document) })
    });
    let with_recipient = |mut body: Value| {
        if let Some(recipient) = &recipient {
            body["Recipient"] = recipient.clone();
        }
        body
    };
    let symmetric = facts.encryption_algorithm.as_deref() == Some("SYMMETRIC_DEFAULT");
    let on_same_key = facts.re_encrypt_on_same_key == Some(true);
    Some(match question.action.as_str() {
        "kms:Decrypt" if symmetric => (
            "Decrypt",
            with_recipient(json!({
                "KeyId": key, "CiphertextBlob": blob, "EncryptionContext": context,
            })),
        ),
        "kms:ReEncryptFrom" if symmetric && !on_same_key => (
            "ReEncrypt",
            json!({
                "SourceKeyId": key, "CiphertextBlob": blob, "SourceEncryptionContext": context,
                "DestinationKeyId": foreign,
            }),
        ),
        "kms:ReEncryptTo" if symmetric && !on_same_key => {
            let made = world.must(
                &world.root,
                "Encrypt",
                &json!({ "KeyId": foreign, "Plaintext": "eA==" }),
            );
            (
                "ReEncrypt",
                json!({
                    "SourceKeyId": foreign, "CiphertextBlob": made["CiphertextBlob"],
                    "DestinationKeyId": key, "DestinationEncryptionContext": context,
                }),
            )
        }
        "kms:GenerateDataKey" => (
            "GenerateDataKey",
            with_recipient(json!({
                "KeyId": key, "KeySpec": "AES_256", "EncryptionContext": context,
            })),
        ),
        "kms:GenerateDataKeyWithoutPlaintext" => (
            "GenerateDataKeyWithoutPlaintext",
            json!({
                "KeyId": key, "KeySpec": "AES_256", "EncryptionContext": context,
            }),
        ),
        "kms:GenerateDataKeyPair" => (
            "GenerateDataKeyPair",
            with_recipient(json!({
                "KeyId": key, "KeyPairSpec": facts.data_key_pair_spec, "EncryptionContext": context,
            })),
        ),
        "kms:GenerateDataKeyPairWithoutPlaintext" => (
            "GenerateDataKeyPairWithoutPlaintext",
            json!({
                "KeyId": key, "KeyPairSpec": facts.data_key_pair_spec, "EncryptionContext": context,
            }),
        ),
        "kms:CreateGrant" => {
            let mut body = json!({
                "KeyId": world.key, "GranteePrincipal": facts.grantee_principal,
                "Operations": facts.grant_operations,
            });
            if let Some(principal) = &facts.retiring_principal {
                body["RetiringPrincipal"] = principal.as_str().into();
            }
            // A grant for another kind of key than this one is not replayed.
            let is_symmetric = |name: &str| {
                [
                    "Decrypt",
                    "Encrypt",
                    "ReEncrypt",
                    "GenerateDataKey",
                    "CreateGrant",
                    "RetireGrant",
                    "DescribeKey",
                ]
                .iter()
                .any(|known| name.starts_with(known))
            };
            if !facts
                .grant_operations
                .iter()
                .flatten()
                .all(|name| is_symmetric(name))
            {
                return None;
            }
            match grant.and_then(|grant| grant.constraint.as_ref()) {
                Some(Constraint::Equals(pairs)) => {
                    body["Constraints"] = json!({ "EncryptionContextEquals": pairs })
                }
                Some(Constraint::Subset(pairs)) => {
                    body["Constraints"] = json!({ "EncryptionContextSubset": pairs })
                }
                None => {}
            }
            ("CreateGrant", body)
        }
        "kms:PutKeyPolicy" => {
            let bypass = facts.bypass_policy_lockout_safety_check == Some(true);
            // A policy under which the caller is not locked out.
            let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
            (
                "PutKeyPolicy",
                json!({ "KeyId": world.key, "Policy": text, "BypassPolicyLockoutSafetyCheck": bypass }),
            )
        }
        "kms:ScheduleKeyDeletion" => (
            "ScheduleKeyDeletion",
            json!({
                "KeyId": world.key, "PendingWindowInDays": facts.schedule_key_deletion_pending_window_in_days,
            }),
        ),
        "kms:DisableKey" => ("DisableKey", json!({ "KeyId": world.key })),
        // Other kinds of keys: decided above, not called.
        _ => return None,
    })
}
