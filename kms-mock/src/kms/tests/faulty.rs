//! Faults from outside: what the caller sees, what the log keeps.

use aws_lc_rs::rsa::KeySize;

use super::*;
use crate::faults::{ATTACKERS_KEY, Fault, Faults, Hostile, Kind, Occasion};

/// A world whose calls pass a list of faults, as behind the edge.
struct Weather {
    world: World,
    faults: Faults,
    enclave: EnclaveKey,
    key: String,
    blob: String,
}

impl Weather {
    fn new() -> Self {
        let world = World::new();
        let key = world.key();
        let blob = world.encrypt(&key, &[7; 32], json!({}));
        Self {
            faults: Faults::new(&WorldSeed::from_u64(1)),
            enclave: EnclaveKey::generate(KeySize::Rsa2048),
            world,
            key,
            blob,
        }
    }

    fn call_as(&self, caller: &Caller, operation: &str, body: &Value) -> Reply {
        let body = body.to_string();
        let call = Call {
            region: None,
            operation,
            body: body.as_bytes(),
            caller: &Arc::new(caller.clone()),
            request_id: RequestId::random(),
            user_agent: "test",
        };
        let parsed = ParsedCall::of(call);
        let mut planned = self.faults.plan(&Occasion {
            operation,
            principal_arn: &caller.principal.arn(),
            role_arn: &caller.principal.role_arn(),
            attested: parsed.is_attested(),
        });
        self.world
            .kms
            .answer_with_faults(parsed, &self.faults, &mut planned)
    }

    fn call(&self, operation: &str, body: &Value) -> Reply {
        self.call_as(&self.world.root, operation, body)
    }

    fn attested(&self, operation: &str) -> (Reply, Value) {
        let document = json_document(START, &[(0, &"ab".repeat(48))], Some(&self.enclave.spki));
        let mut body = json!({ "KeyId": self.key, "Recipient": {
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": BASE64.encode(document),
        }});
        match operation {
            "Decrypt" => body["CiphertextBlob"] = self.blob.as_str().into(),
            _ => body["KeySpec"] = "AES_256".into(),
        }
        let reply = self.call(operation, &body);
        let json = serde_json::from_slice(&reply.body).unwrap();
        (reply, json)
    }

    fn last(&self) -> Arc<AuditRecord> {
        self.world.kms.audit().records().pop().unwrap()
    }
}

#[test]
fn an_injected_refusal_has_awss_text_does_no_work_and_is_marked() {
    let weather = Weather::new();
    for (spec, status, code) in [
        ("throttle", 400, "ThrottlingException"),
        ("internal", 500, "KMSInternalException"),
        ("dependency-timeout", 500, "DependencyTimeoutException"),
        ("key-unavailable", 500, "KeyUnavailableException"),
    ] {
        weather.faults.add(spec.parse::<Fault>().unwrap().next(1));
        let keys = weather.call("CreateKey", &json!({}));
        let json: Value = serde_json::from_slice(&keys.body).unwrap();
        assert_eq!((keys.status, json["__type"].as_str()), (status, Some(code)));
        let mark = format!("injected fault: {spec}");
        assert_eq!(keys.reason.as_deref(), Some(mark.as_str()));
        let record = weather.last();
        assert_eq!(record.faults(), [spec]);
        assert_eq!(record.error_code(), Some(code));
        assert_eq!(record.event()["errorCode"], code);
        assert_eq!(record.event()["drydock"]["faults"][0], spec);
        assert_eq!(record.explanation()["faults"][0], spec);
    }
    let throttled = weather.faults.list();
    assert!(throttled.iter().all(|armed| armed.hits == 1));
    let listed = weather.world.ok("ListKeys", json!({}));
    assert_eq!(
        listed["Keys"].as_array().unwrap().len(),
        1,
        "only the first key"
    );
}

#[test]
fn each_hostile_answer_is_what_its_name_says() {
    let weather = Weather::new();
    let answer = |operation: &str, hostile: Hostile| {
        weather.faults.clear();
        weather
            .faults
            .add(Fault::new(Kind::Answer(hostile)).on(operation).next(1));
        let (reply, json) = weather.attested(operation);
        assert_eq!(reply.status, 200, "{json}");
        assert_eq!(weather.last().faults(), [hostile.name()]);
        assert!(reply.reason.unwrap().contains(hostile.name()));
        json
    };
    let cms = |json: &Value| unbase64(&json["CiphertextForRecipient"]);

    let (_, honest) = weather.attested("Decrypt");
    assert_eq!(weather.enclave.open(&cms(&honest)), [7; 32]);
    let forged = answer("Decrypt", Hostile::ForgedCms);
    assert_eq!(weather.enclave.open(&cms(&forged)), ATTACKERS_KEY);
    let short = answer("GenerateDataKey", Hostile::ShortKey);
    assert_eq!(weather.enclave.open(&cms(&short)), ATTACKERS_KEY[..16]);
    let der = cms(&answer("Decrypt", Hostile::Der));
    assert_eq!(der[..2], [0x30, 0x82]);
    let beside = answer("Decrypt", Hostile::PlaintextBeside);
    assert_eq!(unbase64(&beside["Plaintext"]), ATTACKERS_KEY);
    assert_eq!(weather.enclave.open(&cms(&beside)), [7; 32]);
    let instead = answer("GenerateDataKey", Hostile::PlaintextInstead);
    assert!(instead.get("CiphertextForRecipient").is_none());
    assert_eq!(unbase64(&instead["Plaintext"]), ATTACKERS_KEY);
    let neither = answer("Decrypt", Hostile::NoCms);
    assert_eq!(members(&neither), ["EncryptionAlgorithm", "KeyId"].into());
    let other = answer("Decrypt", Hostile::WrongKeyId);
    assert!(text(&other["KeyId"]).ends_with("key/00000000-0000-4000-8000-000000000000"));
    let truncated = cms(&answer("Decrypt", Hostile::TruncatedCms));
    let longer = cms(&answer("Decrypt", Hostile::TrailingByte));
    assert_eq!(truncated.len() + 17, longer.len());
    let sha1 = cms(&answer("Decrypt", Hostile::Sha1Oaep));
    let sha256_oid = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
    assert!(!sha1.windows(9).any(|window| window == sha256_oid));
    let foreign = answer("GenerateDataKey", Hostile::OtherBlob);
    let refused = weather.world.err(
        "Decrypt",
        json!({ "CiphertextBlob": foreign["CiphertextBlob"] }),
    );
    assert_eq!(refused.code, "InvalidCiphertextException");
    let named = cms(&answer("Decrypt", Hostile::OtherRecipient));
    assert_ne!(named[..100], cms(&honest)[..100]);
}

#[test]
fn a_replay_gives_the_first_answer_again_and_leaves_that_one_honest() {
    let weather = Weather::new();
    weather
        .faults
        .add(Fault::new(Kind::Answer(Hostile::ReplayedCms)).on("Decrypt"));
    let (first, one) = weather.attested("Decrypt");
    assert_eq!(first.reason, None);
    let (_, two) = weather.attested("Decrypt");
    assert_eq!(one["CiphertextForRecipient"], two["CiphertextForRecipient"]);
    assert_eq!(weather.last().faults(), ["replayed-cms"]);
}

#[test]
fn a_hostile_answer_waits_when_kms_refuses_anyway() {
    let weather = Weather::new();
    weather
        .faults
        .add(Fault::new(Kind::Answer(Hostile::ForgedCms)).next(1));
    weather.world.clock.advance(Duration::from_secs(600)); // the document is stale
    let (refused, _) = weather.attested("Decrypt");
    assert_eq!(refused.status, 400);
    assert!(weather.last().faults().is_empty());
    assert_eq!(weather.faults.list()[0].hits, 0);
    weather.world.clock.freeze(START);
    let (_, forged) = weather.attested("Decrypt");
    let cms = unbase64(&forged["CiphertextForRecipient"]);
    assert_eq!(weather.enclave.open(&cms), ATTACKERS_KEY);
}

#[test]
fn young_grants_are_not_seen_without_their_token() {
    let weather = Weather::new();
    let app = role(ACCOUNT, "app");
    let grant = weather.world.ok(
        "CreateGrant",
        json!({ "KeyId": weather.key, "Operations": ["Decrypt"],
            "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/app") }),
    );
    weather.faults.add("stale-grants=5s".parse().unwrap());
    let decrypt = json!({ "CiphertextBlob": weather.blob });
    let refused = weather.call_as(&app, "Decrypt", &decrypt);
    assert_eq!(refused.error_type, Some("AccessDeniedException"));
    assert_eq!(weather.last().faults(), ["stale-grants=5000ms"]);
    let mut with_token = decrypt.clone();
    with_token["GrantTokens"] = json!([grant["GrantToken"]]);
    assert_eq!(weather.call_as(&app, "Decrypt", &with_token).status, 200);
    weather.world.clock.advance(Duration::from_secs(5));
    assert_eq!(weather.call_as(&app, "Decrypt", &decrypt).status, 200);
}

#[test]
fn a_skewed_clock_makes_a_fresh_document_stale() {
    let weather = Weather::new();
    weather
        .faults
        .add("clock-skew=+10m,next=1".parse().unwrap());
    let (refused, json) = weather.attested("Decrypt");
    assert_eq!(refused.error_type, Some("ValidationException"));
    let reason = refused.reason.unwrap();
    assert!(reason.contains("clock-skew=+600000ms"), "{reason} {json}");
    assert_eq!(weather.attested("Decrypt").0.status, 200);
}
