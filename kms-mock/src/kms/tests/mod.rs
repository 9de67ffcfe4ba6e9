//! The API from outside: JSON in, JSON out, as a client sees it.

mod answers;
mod asymmetric;
mod attested;
mod authorization;
mod calendar;
mod conditions;
mod crypto;
mod custom_key_store;
mod errors;
mod explained;
mod faulty;
mod grants;
mod hostile;
mod import;
mod import_keys;
mod keys;
mod multi_region;
mod openssl;
mod pages;
mod pairs;
mod states;
mod xks_proxy;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::{
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    audit::AuditRecord,
    policy::{Caller, Policy, PolicyKind},
    recipient::tests::{EnclaveKey, JsonVerifier, corpus, json_document},
    world::{principal::Principal, request_id::RequestId},
};

const ACCOUNT: &str = "123456789012";
const OTHER: &str = "444455556666";
const START: UnixMillis = UnixMillis(1_767_225_600_000);

/// A KMS with a clock in the test's hand.
struct World {
    kms: Kms,
    clock: SettableClock,
    root: Caller,
}

impl World {
    fn new() -> Self {
        Self::seeded(None)
    }

    fn seeded(seed: Option<WorldSeed>) -> Self {
        // A busy machine is no proxy that is too slow.
        let xks = XksSettings {
            answer_time_max: Duration::from_secs(60),
            ..XksSettings::default()
        };
        Self::with(seed, xks)
    }

    fn with(seed: Option<WorldSeed>, xks: XksSettings) -> Self {
        let clock = SettableClock::frozen(START);
        let kms = Kms::new(Settings {
            region: "us-east-1".into(),
            clock: Arc::new(clock.clone()),
            seed,
            attestation_roots: Arc::new(JsonVerifier),
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: false,
            xks,
        });
        Self {
            kms,
            clock,
            root: root(ACCOUNT),
        }
    }

    fn raw(&self, caller: &Caller, operation: &str, body: &[u8]) -> Reply {
        self.raw_in(None, caller, operation, body)
    }

    fn raw_in(&self, region: Option<&str>, caller: &Caller, operation: &str, body: &[u8]) -> Reply {
        self.kms.call(&Call {
            operation,
            body,
            region,
            caller: &Arc::new(caller.clone()),
            request_id: Uuid::nil().into(),
            user_agent: "test",
        })
    }

    fn call_as(&self, caller: &Caller, operation: &str, body: Value) -> Result<Value, Refused> {
        self.call_in(None, caller, operation, body)
    }

    fn call_in(
        &self,
        region: Option<&str>,
        caller: &Caller,
        operation: &str,
        body: Value,
    ) -> Result<Value, Refused> {
        let reply = self.raw_in(region, caller, operation, body.to_string().as_bytes());
        let json: Value = if reply.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&reply.body).unwrap()
        };
        if reply.status == 200 {
            assert_eq!(reply.error_type, None);
            return Ok(json);
        }
        assert_eq!(json["__type"], reply.error_type.unwrap());
        let capital = json["__type"] == "AccessDeniedException";
        let (used, unused) = if capital {
            ("Message", "message")
        } else {
            ("message", "Message")
        };
        assert!(json.get(unused).is_none(), "{json}");
        Err(Refused {
            code: json["__type"].as_str().unwrap().into(),
            message: json.get(used).map(|m| m.as_str().unwrap().into()),
            status: reply.status,
            reason: reply.reason,
        })
    }

    fn call(&self, operation: &str, body: Value) -> Result<Value, Refused> {
        self.call_as(&self.root, operation, body)
    }

    fn ok(&self, operation: &str, body: Value) -> Value {
        self.call(operation, body)
            .unwrap_or_else(|refused| panic!("{operation}: {refused:?}"))
    }

    fn err(&self, operation: &str, body: Value) -> Refused {
        self.call(operation, body).expect_err(operation)
    }

    fn key(&self) -> String {
        text(&self.ok("CreateKey", json!({}))["KeyMetadata"]["Arn"])
    }

    fn key_of(&self, spec: &str, usage: &str) -> String {
        let body = json!({ "KeySpec": spec, "KeyUsage": usage });
        text(&self.ok("CreateKey", body)["KeyMetadata"]["Arn"])
    }

    fn key_disabled(&self) -> String {
        let key = self.key();
        self.ok("DisableKey", json!({ "KeyId": key }));
        key
    }

    /// DER.
    fn public_key(&self, key: &str) -> Vec<u8> {
        unbase64(&self.ok("GetPublicKey", json!({ "KeyId": key }))["PublicKey"])
    }

    fn key_with_policy(&self, policy: &str) -> String {
        let body = json!({ "Policy": policy, "BypassPolicyLockoutSafetyCheck": true });
        text(&self.ok("CreateKey", body)["KeyMetadata"]["Arn"])
    }

    fn encrypt(&self, key: &str, plaintext: &[u8], context: Value) -> String {
        let body = json!({
            "KeyId": key, "Plaintext": BASE64.encode(plaintext), "EncryptionContext": context,
        });
        text(&self.ok("Encrypt", body)["CiphertextBlob"])
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Refused {
    code: String,
    message: Option<String>,
    status: u16,
    reason: Option<String>,
}

impl Refused {
    fn says(&self, code: &str, message: &str) {
        assert_eq!(
            (self.code.as_str(), self.message.as_deref()),
            (code, Some(message))
        );
        assert_eq!(self.status, 400);
    }

    fn is_silent(&self, code: &str) {
        assert_eq!(
            (self.code.as_str(), self.message.as_deref(), self.status),
            (code, None, 400)
        );
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no string"))
        .to_owned()
}

fn unbase64(value: &Value) -> Vec<u8> {
    BASE64.decode(text(value)).unwrap()
}

fn root(account: &str) -> Caller {
    Caller::new(Principal::Root {
        account: account.into(),
    })
}

fn role(account: &str, name: &str) -> Caller {
    Caller::new(Principal::AssumedRole {
        account: account.into(),
        role_path_name: name.into(),
        session: "session".into(),
    })
}

fn with_iam(mut caller: Caller, effect: &str, action: &str) -> Caller {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Action":"{action}","Resource":"*"}}]}}"#
    );
    caller.identity_policies.push(Arc::new(
        Policy::parse(&text, PolicyKind::Identity).unwrap(),
    ));
    caller
}

fn members(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}
