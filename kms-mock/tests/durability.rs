//! What a data directory keeps: a world goes on where its last server stopped.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use kms_mock::{
    Auth, DataDirError, KmsMock, StartError,
    api::Call,
    builder::Builder,
    iam::{AssumeRole, Identity, NewRole},
    principal::{Caller, Principal},
};
use nsm_sim::{
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};
use serde_json::{Value, json};

const ACCOUNT: &str = "123456789012";
const START: UnixMillis = UnixMillis(1_767_225_600_000);
const DAY: Duration = Duration::from_secs(86_400);

/// A world that can be stopped and started.
struct World {
    dir: tempfile::TempDir,
    clock: SettableClock,
    mock: Option<KmsMock>,
}

impl World {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(dir: tempfile::TempDir) -> Self {
        let clock = SettableClock::frozen(START);
        let mut world = Self {
            dir,
            clock,
            mock: None,
        };
        world.start();
        world
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn builder(&self) -> Builder {
        KmsMock::builder()
            .data_dir(self.path())
            .clock(self.clock.clone())
            .workers(2)
    }

    fn start(&mut self) {
        self.start_with(|builder| builder);
    }

    fn start_with(&mut self, with: impl FnOnce(Builder) -> Builder) {
        self.mock = Some(with(self.builder()).start_blocking().unwrap());
    }

    fn stop(&mut self) {
        self.mock = None;
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn mock(&self) -> &KmsMock {
        self.mock.as_ref().unwrap()
    }

    fn call_in(&self, region: Option<&str>, operation: &str, body: &Value) -> (u16, Value) {
        call(self.mock(), region, operation, body)
    }

    fn ok(&self, operation: &str, body: Value) -> Value {
        self.ok_in(None, operation, body)
    }

    fn ok_in(&self, region: Option<&str>, operation: &str, body: Value) -> Value {
        let (status, answer) = self.call_in(region, operation, &body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    fn refused(&self, operation: &str, body: Value) -> String {
        let (status, answer) = self.call_in(None, operation, &body);
        assert_ne!(status, 200, "{operation} {body}: {answer}");
        text(&answer["__type"])
    }

    fn key(&self, body: Value) -> String {
        text(&self.ok("CreateKey", body)["KeyMetadata"]["Arn"])
    }

    fn metadata(&self, key: &str) -> Value {
        self.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"].clone()
    }

    fn encrypt(&self, key: &str) -> Value {
        let body = json!({ "KeyId": key, "Plaintext": BASE64.encode("kept") });
        self.ok("Encrypt", body)["CiphertextBlob"].clone()
    }

    fn opens(&self, blob: &Value) {
        let opened = self.ok("Decrypt", json!({ "CiphertextBlob": blob }));
        assert_eq!(opened["Plaintext"], BASE64.encode("kept"));
    }
}

fn call(mock: &KmsMock, region: Option<&str>, operation: &str, body: &Value) -> (u16, Value) {
    let caller = Caller::new(Principal::Root {
        account: ACCOUNT.to_owned(),
    });
    let reply = mock.kms().call(&Call {
        operation,
        body: body.to_string().as_bytes(),
        region,
        caller: &caller,
        request_id: "a-request",
        user_agent: "test",
    });
    let answer = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    (reply.status, answer)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Operation, request and the member of the answer that must be so again.
type Probe = (&'static str, Value, &'static str, Value);

/// What a key of any kind does, with what must be true of it for ever.
fn probes(world: &World, spec: &str, usage: &str, key: &str) -> Vec<Probe> {
    let message = BASE64.encode("a message");
    let public = || {
        let body = json!({ "KeyId": key });
        let public = world.ok("GetPublicKey", body.clone())["PublicKey"].clone();
        ("GetPublicKey", body, "PublicKey", public)
    };
    match usage {
        "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" => {
            let blob = world.encrypt(key);
            let body = json!({ "CiphertextBlob": blob });
            vec![("Decrypt", body, "Plaintext", json!(BASE64.encode("kept")))]
        }
        "ENCRYPT_DECRYPT" => {
            let algorithm = "RSAES_OAEP_SHA_256";
            let body = json!({
                "KeyId": key, "Plaintext": message, "EncryptionAlgorithm": algorithm,
            });
            let blob = world.ok("Encrypt", body)["CiphertextBlob"].clone();
            let body = json!({
                "KeyId": key, "CiphertextBlob": blob, "EncryptionAlgorithm": algorithm,
            });
            vec![("Decrypt", body, "Plaintext", json!(message)), public()]
        }
        "SIGN_VERIFY" => {
            let algorithm = world.metadata(key)["SigningAlgorithms"][0].clone();
            let body = json!({
                "KeyId": key, "Message": message, "SigningAlgorithm": algorithm,
            });
            let signature = world.ok("Sign", body.clone())["Signature"].clone();
            let mut body = body;
            body["Signature"] = signature;
            vec![("Verify", body, "SignatureValid", json!(true)), public()]
        }
        "GENERATE_VERIFY_MAC" => {
            let algorithm = world.metadata(key)["MacAlgorithms"][0].clone();
            let body = json!({ "KeyId": key, "Message": message, "MacAlgorithm": algorithm });
            let mac = world.ok("GenerateMac", body.clone())["Mac"].clone();
            vec![("GenerateMac", body, "Mac", mac)]
        }
        "KEY_AGREEMENT" => {
            let peer = world.key(json!({ "KeySpec": spec, "KeyUsage": usage }));
            let peer = world.ok("GetPublicKey", json!({ "KeyId": peer }))["PublicKey"].clone();
            let body = json!({
                "KeyId": key, "PublicKey": peer, "KeyAgreementAlgorithm": "ECDH",
            });
            let secret = world.ok("DeriveSharedSecret", body.clone())["SharedSecret"].clone();
            vec![
                ("DeriveSharedSecret", body, "SharedSecret", secret),
                public(),
            ]
        }
        "ENCAPSULATE_DECAPSULATE" => {
            let body = json!({ "KeyId": key, "EncapsulationAlgorithm": "ML_KEM" });
            let made = world.ok("Encapsulate", body);
            let body = json!({
                "KeyId": key, "EncapsulationAlgorithm": "ML_KEM",
                "SharedSecretCiphertextBlob": made["SharedSecretCiphertextBlob"],
            });
            let secret = made["SharedSecret"].clone();
            vec![("Decapsulate", body, "SharedSecret", secret), public()]
        }
        other => panic!("no probe for {other}"),
    }
}

#[test]
fn keys_of_every_spec_and_usage_work_the_same_after_a_restart() {
    let mut world = World::new();
    let kinds = [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("RSA_2048", "SIGN_VERIFY"),
        ("RSA_3072", "SIGN_VERIFY"),
        ("RSA_4096", "ENCRYPT_DECRYPT"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("ECC_NIST_P384", "SIGN_VERIFY"),
        ("ECC_NIST_P521", "SIGN_VERIFY"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "KEY_AGREEMENT"),
        ("ECC_NIST_P384", "KEY_AGREEMENT"),
        ("ECC_NIST_P521", "KEY_AGREEMENT"),
        ("HMAC_224", "GENERATE_VERIFY_MAC"),
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
        ("HMAC_384", "GENERATE_VERIFY_MAC"),
        ("HMAC_512", "GENERATE_VERIFY_MAC"),
        ("ML_DSA_44", "SIGN_VERIFY"),
        ("ML_DSA_65", "SIGN_VERIFY"),
        ("ML_DSA_87", "SIGN_VERIFY"),
        ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
        ("ML_KEM_1024", "ENCAPSULATE_DECAPSULATE"),
    ];
    let mut kept = Vec::new();
    for (spec, usage) in kinds {
        let key = world.key(json!({ "KeySpec": spec, "KeyUsage": usage }));
        let metadata = world.metadata(&key);
        kept.push((key.clone(), metadata, probes(&world, spec, usage, &key)));
    }
    world.restart();
    for (key, metadata, probes) in &kept {
        assert_eq!(world.metadata(key), *metadata);
        for (operation, body, member, expected) in probes {
            let answer = world.ok(operation, body.clone());
            assert_eq!(answer[member], *expected, "{operation} {metadata}");
        }
    }
    let listed = world.ok("ListKeys", json!({ "Limit": 1000 }));
    // Each key agreement made itself a peer.
    assert_eq!(listed["Keys"].as_array().unwrap().len(), kinds.len() + 3);
}

#[test]
fn everything_about_a_key_survives_a_restart() {
    let mut world = World::new();
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "kms:*", "Resource": "*",
            "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        }],
    })
    .to_string();
    let key = world.key(json!({
        "Description": "before", "Policy": policy,
        "Tags": [{ "TagKey": "team", "TagValue": "imaging" }],
    }));
    let other = world.key(json!({}));
    let id = json!({ "KeyId": key });
    world.ok(
        "UpdateKeyDescription",
        json!({ "KeyId": key, "Description": "after" }),
    );
    for tag in ["a", "b"] {
        let tags = json!([{ "TagKey": tag, "TagValue": "1" }]);
        world.ok("TagResource", json!({ "KeyId": key, "Tags": tags }));
    }
    world.ok("UntagResource", json!({ "KeyId": key, "TagKeys": ["a"] }));
    for (alias, target) in [
        ("alias/one", &key),
        ("alias/two", &key),
        ("alias/three", &key),
    ] {
        world.ok(
            "CreateAlias",
            json!({ "AliasName": alias, "TargetKeyId": target }),
        );
    }
    world.ok(
        "UpdateAlias",
        json!({ "AliasName": "alias/two", "TargetKeyId": other }),
    );
    world.ok("DeleteAlias", json!({ "AliasName": "alias/three" }));
    let mut grants = Vec::new();
    for (name, constraint) in [
        ("equals", "EncryptionContextEquals"),
        ("subset", "EncryptionContextSubset"),
        ("revoked", "EncryptionContextSubset"),
    ] {
        let grant = world.ok(
            "CreateGrant",
            json!({
                "KeyId": key, "Name": name, "Operations": ["Decrypt", "GenerateDataKey"],
                "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/enclave"),
                "RetiringPrincipal": format!("arn:aws:iam::{ACCOUNT}:role/owner"),
                "Constraints": { constraint: { "purpose": "input" } },
            }),
        );
        grants.push(grant["GrantId"].clone());
    }
    world.ok("RevokeGrant", json!({ "KeyId": key, "GrantId": grants[2] }));
    world.ok(
        "EnableKeyRotation",
        json!({ "KeyId": key, "RotationPeriodInDays": 90 }),
    );
    let mut blobs = vec![world.encrypt(&key)];
    world.ok("RotateKeyOnDemand", id.clone());
    blobs.push(world.encrypt(&key));
    world.ok("DisableKey", json!({ "KeyId": other }));

    let questions = [
        ("DescribeKey", id.clone()),
        ("GetKeyPolicy", id.clone()),
        ("ListResourceTags", id.clone()),
        ("ListGrants", id.clone()),
        ("GetKeyRotationStatus", id.clone()),
        (
            "ListKeyRotations",
            json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" }),
        ),
        ("GetKeyLastUsage", id.clone()),
        ("ListAliases", json!({})),
        ("ListAliases", id.clone()),
        ("DescribeKey", json!({ "KeyId": other })),
        ("ListAliases", json!({ "KeyId": other })),
    ];
    let ask = |world: &World| -> Vec<Value> {
        let answers = questions.iter();
        answers
            .map(|(operation, body)| world.ok(operation, body.clone()))
            .collect()
    };
    let before = ask(&world);
    assert_eq!(before[3]["Grants"].as_array().unwrap().len(), 2);
    assert_eq!(before[7]["Aliases"].as_array().unwrap().len(), 2);
    world.restart();
    assert_eq!(ask(&world), before);
    for blob in &blobs {
        world.opens(blob);
    }
    // The rotation that the calendar brings after the restart is kept as well.
    world.clock.advance(DAY * 91);
    blobs.push(world.encrypt(&key));
    let rotated = world.ok("ListKeyRotations", id);
    assert_eq!(rotated["Rotations"].as_array().unwrap().len(), 2);
    world.restart();
    for blob in &blobs {
        world.opens(blob);
    }
}

#[test]
fn a_deletion_that_falls_due_while_no_server_runs_is_done_by_the_next_one() {
    let mut world = World::new();
    let (doomed, saved) = (world.key(json!({})), world.key(json!({})));
    let blobs = [world.encrypt(&doomed), world.encrypt(&saved)];
    world.ok(
        "CreateAlias",
        json!({ "AliasName": "alias/doomed", "TargetKeyId": doomed }),
    );
    for key in [&doomed, &saved] {
        let body = json!({ "KeyId": key, "PendingWindowInDays": 7 });
        world.ok("ScheduleKeyDeletion", body);
    }
    world.ok("CancelKeyDeletion", json!({ "KeyId": saved }));
    world.restart();
    assert_eq!(world.metadata(&doomed)["KeyState"], "PendingDeletion");
    assert_eq!(world.metadata(&saved)["KeyState"], "Disabled");
    world.stop();
    world.clock.advance(DAY * 8);
    world.start();
    let listed = world.ok("ListKeys", json!({}));
    assert_eq!(listed["Keys"].as_array().unwrap().len(), 1);
    assert_eq!(
        world.refused("DescribeKey", json!({ "KeyId": doomed })),
        "NotFoundException"
    );
    assert_eq!(world.ok("ListAliases", json!({}))["Aliases"], json!([]));
    world.ok("EnableKey", json!({ "KeyId": saved }));
    world.opens(&blobs[1]);
    // It does not come back, not even with an earlier clock.
    world.clock.freeze(START);
    world.restart();
    assert_eq!(
        world.refused("DescribeKey", json!({ "KeyId": doomed })),
        "NotFoundException"
    );
    let body = json!({ "CiphertextBlob": blobs[0] });
    assert_eq!(world.refused("Decrypt", body), "InvalidCiphertextException");
}

#[test]
fn multi_region_keys_stay_related_and_their_primary_region_stays_where_it_was_moved() {
    let mut world = World::new();
    let key = world.key(json!({ "MultiRegion": true }));
    let replica = world.ok(
        "ReplicateKey",
        json!({ "KeyId": key, "ReplicaRegion": "eu-west-1" }),
    );
    let replica = text(&replica["ReplicaKeyMetadata"]["Arn"]);
    world.ok("RotateKeyOnDemand", json!({ "KeyId": key }));
    let body = json!({ "KeyId": key, "PrimaryRegion": "eu-west-1" });
    world.ok("UpdatePrimaryRegion", body);
    world.clock.advance(Duration::from_secs(1));
    let blob = world.encrypt(&key);
    let describe = |world: &World| {
        let body = json!({ "KeyId": replica });
        world.ok_in(Some("eu-west-1"), "DescribeKey", body)["KeyMetadata"].clone()
    };
    let before = describe(&world);
    assert_eq!(
        before["MultiRegionConfiguration"]["MultiRegionKeyType"],
        "PRIMARY"
    );
    world.restart();
    assert_eq!(describe(&world), before);
    let body = json!({ "CiphertextBlob": blob });
    let opened = world.ok_in(Some("eu-west-1"), "Decrypt", body.clone());
    assert_eq!(opened["Plaintext"], BASE64.encode("kept"));
    // The new primary key rotates, and the old one follows.
    world.ok_in(
        Some("eu-west-1"),
        "RotateKeyOnDemand",
        json!({ "KeyId": replica }),
    );
    let materials = |world: &World, region, key: &str| {
        let body = json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
        world.ok_in(Some(region), "ListKeyRotations", body)["Rotations"]
            .as_array()
            .unwrap()
            .len()
    };
    world.restart();
    assert_eq!(materials(&world, "us-east-1", &key), 3);
    assert_eq!(materials(&world, "eu-west-1", &replica), 3);
    world.ok("Decrypt", body);
}

/// `material` under the public key that `GetParametersForImport` gave.
fn wrap(parameters: &Value, material: &[u8]) -> Vec<u8> {
    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
    let public = BASE64.decode(text(&parameters["PublicKey"])).unwrap();
    let public = PublicEncryptingKey::from_der(&public).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    public
        .encrypt(&OAEP_SHA256_MGF1SHA256, material, &mut wrapped, None)
        .unwrap();
    wrapped
}

#[test]
fn an_imported_hmac_key_makes_the_same_macs_after_a_restart() {
    let mut world = World::new();
    let key = world.key(json!({
        "Origin": "EXTERNAL", "KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC",
    }));
    let parameters = world.ok(
        "GetParametersForImport",
        json!({
            "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048",
        }),
    );
    world.ok(
        "ImportKeyMaterial",
        json!({
            "KeyId": key, "ImportToken": parameters["ImportToken"],
            "EncryptedKeyMaterial": BASE64.encode(wrap(&parameters, &[9; 32])),
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        }),
    );
    let body = json!({
        "KeyId": key, "Message": BASE64.encode("a message"), "MacAlgorithm": "HMAC_SHA_256",
    });
    let (before, metadata) = (world.ok("GenerateMac", body.clone()), world.metadata(&key));
    world.restart();
    assert_eq!(world.ok("GenerateMac", body), before);
    assert_eq!(world.metadata(&key), metadata);
}

#[test]
fn imported_material_and_its_end_survive_and_so_does_an_import_under_way() {
    let mut world = World::new();
    let key = world.key(json!({ "Origin": "EXTERNAL" }));
    let parameters = world.ok(
        "GetParametersForImport",
        json!({
            "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048",
        }),
    );
    world.restart();
    assert_eq!(world.metadata(&key)["KeyState"], "PendingImport");
    let wrapped = wrap(&parameters, &[7; 32]);
    let ends = START.0 / 1000 + 3 * 86_400;
    world.ok(
        "ImportKeyMaterial",
        json!({
            "KeyId": key, "ImportToken": parameters["ImportToken"],
            "EncryptedKeyMaterial": BASE64.encode(&wrapped),
            "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": ends,
        }),
    );
    let before = world.metadata(&key);
    let blob = world.encrypt(&key);
    world.restart();
    assert_eq!(world.metadata(&key), before);
    world.opens(&blob);
    world.stop();
    world.clock.advance(DAY * 4);
    world.start();
    assert_eq!(world.metadata(&key)["KeyState"], "PendingImport");
    let body = json!({ "CiphertextBlob": blob });
    assert_eq!(world.refused("Decrypt", body), "KMSInvalidStateException");
}

#[test]
fn custom_key_stores_and_their_keys_survive() {
    let mut world = World::new();
    let store = world.ok(
        "CreateCustomKeyStore",
        json!({
            "CustomKeyStoreName": "vault", "CloudHsmClusterId": "cluster-234567abcde",
            "KeyStorePassword": "secret password", "TrustAnchorCertificate": "a certificate",
        }),
    );
    let store = store["CustomKeyStoreId"].clone();
    world.ok(
        "ConnectCustomKeyStore",
        json!({ "CustomKeyStoreId": store }),
    );
    let key = world.key(json!({ "Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store }));
    let blob = world.encrypt(&key);
    let before = world.ok("DescribeCustomKeyStores", json!({}));
    world.restart();
    assert_eq!(world.ok("DescribeCustomKeyStores", json!({})), before);
    world.opens(&blob);
    world.ok(
        "DisconnectCustomKeyStore",
        json!({ "CustomKeyStoreId": store }),
    );
    world.restart();
    let body = json!({ "CiphertextBlob": blob });
    assert_eq!(world.refused("Decrypt", body), "KMSInvalidStateException");
    let body = json!({ "CustomKeyStoreId": store });
    assert_eq!(
        world.refused("DeleteCustomKeyStore", body),
        "CustomKeyStoreHasCMKsException"
    );
}

#[test]
fn identities_and_sessions_survive_and_sessions_end_when_they_should() {
    let mut world = World::new();
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        }],
    })
    .to_string();
    let allow = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }],
    })
    .to_string();
    let iam = world.mock().iam();
    let role = iam
        .create_role(ACCOUNT, &NewRole::named("parent", &trust))
        .unwrap();
    iam.put_role_policy(ACCOUNT, "parent", "use-keys", &allow)
        .unwrap();
    iam.create_user(ACCOUNT, "/staff/", "alice").unwrap();
    iam.put_user_policy(ACCOUNT, "alice", "use-keys", &allow)
        .unwrap();
    let long_term = iam.create_access_key(ACCOUNT, "alice").unwrap();
    let session = iam
        .assume_role(
            &Identity::root(ACCOUNT),
            &AssumeRole {
                role_arn: role.arn(),
                session_name: "session",
                duration: Duration::from_secs(3600),
                policy: Some(&allow),
                external_id: None,
            },
        )
        .unwrap()
        .credentials;
    world.stop();
    world.start_with(|builder| builder.auth(Auth::Strict));
    let iam = world.mock().iam();
    let again = iam.role(ACCOUNT, "parent").unwrap();
    assert_eq!(
        (again.arn(), &again.entity.id, again.trust.text()),
        (role.arn(), &role.entity.id, trust.as_str())
    );
    // Two keys a user, of which one is there.
    assert!(iam.create_access_key(ACCOUNT, "alice").is_ok());
    assert!(iam.create_access_key(ACCOUNT, "alice").is_err());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let list = |world: &World, credentials: &_| {
        let date = date_of(&world.clock);
        runtime.block_on(signed_list_keys(world.mock(), credentials, &date))
    };
    assert_eq!(list(&world, &long_term), 200);
    assert_eq!(list(&world, &session), 200);
    world.stop();
    world.clock.advance(Duration::from_secs(3601));
    world.start_with(|builder| builder.auth(Auth::Strict));
    assert_eq!(list(&world, &long_term), 200);
    assert_eq!(list(&world, &session), 400);
}

mod support;

async fn signed_list_keys(
    mock: &KmsMock,
    credentials: &kms_mock::iam::Credentials,
    date: &str,
) -> u16 {
    let request = support::kms_call(mock, credentials, date, "ListKeys", "{}");
    request.send().await.unwrap().status().as_u16()
}

/// `20260101T000000Z`
fn date_of(clock: &SettableClock) -> String {
    use nsm_sim::clock::Clock;
    clock.now().to_string().replace(['-', ':'], "")
}

/// An S3 request of the account's root user: status and body.
fn s3(world: &World, method: &str, path: &str, body: &'static str) -> (u16, String) {
    let date = date_of(&world.clock);
    let scope = format!("{ACCOUNT}/{}/us-east-1/s3/aws4_request", &date[..8]);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={}",
        "0".repeat(64)
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = reqwest::Client::new()
            .request(method, format!("{}{path}", world.mock().url()))
            .header("authorization", authorization)
            .header("x-amz-date", &date)
            .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            .header("x-amz-meta-purpose", "input")
            .header("expires", "Thu, 01 Jan 2026 00:00:00 GMT")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let has_metadata = answer.headers().get("x-amz-meta-purpose").is_some();
        let text = answer.text().await.unwrap();
        let mark = if has_metadata { " (input)" } else { "" };
        (status, format!("{text}{mark}"))
    })
}

/// What stands between `<name>` and `</name>`.
fn element<'t>(xml: &'t str, name: &str) -> &'t str {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[test]
fn objects_their_versions_and_uploads_under_way_survive() {
    const ENABLED: &str = "<VersioningConfiguration><Status>Enabled</Status>\
        </VersioningConfiguration>";
    const TAGS: &str = "<Tagging><TagSet><Tag><Key>team</Key><Value>imaging</Value></Tag>\
        </TagSet></Tagging>";
    let mut world = World::new();
    for (method, path, body) in [
        ("PUT", "/plain", ""),
        ("PUT", "/plain/a", "overwritten"),
        ("PUT", "/plain/a", "kept"),
        ("PUT", "/plain/gone", "gone"),
        ("DELETE", "/plain/gone", ""),
        ("PUT", "/empty", ""),
        ("DELETE", "/empty", ""),
        ("PUT", "/versioned", ""),
        ("PUT", "/versioned?versioning", ENABLED),
        ("PUT", "/versioned/k", "one"),
        ("PUT", "/versioned/k", "two"),
        ("PUT", "/versioned/k?tagging", TAGS),
        ("DELETE", "/versioned/k", ""),
        ("PUT", "/versioned/k", "three"),
        ("PUT", "/versioned/k?tagging", TAGS),
    ] {
        let (status, answer) = s3(&world, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
    }
    let upload = s3(&world, "POST", "/plain/big?uploads", "").1;
    let upload = element(&upload, "UploadId").to_owned();
    let part = format!("/plain/big?partNumber=1&uploadId={upload}");
    assert_eq!(s3(&world, "PUT", &part, "a part").0, 200);
    let questions = [
        "/",
        "/plain?list-type=2",
        "/plain/a",
        "/versioned/k",
        "/versioned?versions",
        "/versioned?versioning",
        "/versioned/k?tagging",
        "/empty?list-type=2",
        "/plain/gone",
    ];
    let ask = |world: &World| -> Vec<(u16, String)> {
        let answers = questions.iter().map(|path| s3(world, "GET", path, ""));
        // A refusal's request id is its own.
        answers
            .map(|(status, text)| match text.split_once("<RequestId>") {
                Some((before, _)) => (status, before.to_owned()),
                None => (status, text),
            })
            .collect()
    };
    let before = ask(&world);
    assert_eq!(before[2], (200, "kept (input)".to_owned()));
    assert_eq!(before[3], (200, "three (input)".to_owned()));
    assert_eq!(before[4].1.matches("<VersionId>").count(), 4);
    assert!(before[6].1.contains("imaging"));
    assert_eq!((before[7].0, before[8].0), (404, 404));
    world.restart();
    assert_eq!(ask(&world), before);
    let path = format!("/plain/big?uploadId={upload}");
    let parts = s3(&world, "GET", &path, "").1;
    let complete: &'static str = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part>\
         </CompleteMultipartUpload>",
        element(&parts, "ETag")
    )
    .leak();
    let (status, answer) = s3(&world, "POST", &path, complete);
    assert_eq!(status, 200, "{answer}");
    // What comes after a restart is newer than what was before it.
    assert_eq!(s3(&world, "PUT", "/versioned/k", "four").0, 200);
    world.restart();
    let big = s3(&world, "GET", "/plain/big", "").1;
    assert!(big.starts_with("a part"), "{big}");
    assert_eq!(s3(&world, "GET", "/versioned/k", "").1, "four (input)");
    let uploads = s3(&world, "GET", "/plain?uploads", "").1;
    assert!(!uploads.contains("<UploadId>"), "{uploads}");
}

#[test]
fn the_tls_root_and_the_simulated_root_stay_the_same() {
    let mut world = World::new();
    let ca = world.mock().ca_pem().to_owned();
    world.restart();
    assert_eq!(world.mock().ca_pem(), ca);
    let other = World::new();
    assert_ne!(other.mock().ca_pem(), ca);
}

#[test]
fn a_seeded_world_goes_on_with_new_ids_and_refuses_another_seed() {
    let seed = WorldSeed::from_u64(7);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let start = |seed: Option<WorldSeed>| {
        let builder = KmsMock::builder().data_dir(&path).workers(1);
        match seed {
            Some(seed) => builder.seed(seed),
            None => builder,
        }
        .start_blocking()
    };
    let create = |mock: &KmsMock| {
        let (status, answer) = call(mock, None, "CreateKey", &json!({}));
        assert_eq!(status, 200, "{answer}");
        text(&answer["KeyMetadata"]["KeyId"])
    };
    let mut ids = std::collections::BTreeSet::new();
    let mut user_keys = std::collections::BTreeSet::new();
    for (turn, asked) in [Some(seed.clone()), Some(seed), None]
        .into_iter()
        .enumerate()
    {
        let mock = start(asked).unwrap();
        assert!(ids.insert(create(&mock)), "an id came twice");
        let user = format!("user-{turn}");
        mock.iam().create_user(ACCOUNT, "/", &user).unwrap();
        let credentials = mock.iam().create_access_key(ACCOUNT, &user).unwrap();
        assert!(
            user_keys.insert(credentials.access_key_id),
            "an access key came twice"
        );
    }
    // The first start draws what a world in memory draws.
    let in_memory = KmsMock::builder()
        .seed(WorldSeed::from_u64(7))
        .start_blocking()
        .unwrap();
    assert!(ids.contains(&create(&in_memory)));
    let refused = start(Some(WorldSeed::from_u64(8))).unwrap_err();
    assert!(
        matches!(refused, StartError::DataDir(DataDirError::OtherSeed { .. })),
        "{refused}"
    );
}

const SEED_FILE: &str = r#"
[[key]]
id = "1234abcd-12ab-34cd-56ef-1234567890ab"
material = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
aliases = ["alias/planted"]

[[role]]
name = "parent"
policies = { use = '''{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}''' }

[[bucket]]
name = "imaging"
"#;

#[test]
fn a_seed_file_is_planted_once_and_a_changed_one_adds_what_is_missing() {
    let mut world = World::new();
    world.stop();
    world.start_with(|builder| builder.seed_file(SEED_FILE));
    world.ok("DescribeKey", json!({ "KeyId": "alias/planted" }));
    world.ok("DeleteAlias", json!({ "AliasName": "alias/planted" }));
    world.stop();
    world.start_with(|builder| builder.seed_file(SEED_FILE));
    // What was deleted since stays deleted.
    assert_eq!(
        world.refused("DescribeKey", json!({ "KeyId": "alias/planted" })),
        "NotFoundException"
    );
    let more = format!(
        "{SEED_FILE}\n[[key]]\nid = \"22222222-12ab-34cd-56ef-1234567890ab\"\naliases = [\"alias/more\"]\n"
    );
    world.stop();
    world.start_with(|builder| builder.seed_file(more));
    world.ok("DescribeKey", json!({ "KeyId": "alias/more" }));
    world.ok(
        "DescribeKey",
        json!({ "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab" }),
    );
    assert!(world.mock().iam().role(ACCOUNT, "parent").is_ok());
}

#[test]
fn a_reset_forgets_on_disk_too() {
    let mut world = World::new();
    world.stop();
    world.start_with(|builder| builder.management(true));
    let key = world.key(json!({}));
    world.ok(
        "CreateAlias",
        json!({ "AliasName": "alias/a", "TargetKeyId": key }),
    );
    world
        .mock()
        .iam()
        .create_user(ACCOUNT, "/", "alice")
        .unwrap();
    assert_eq!(s3(&world, "PUT", "/bucket", "").0, 200);
    let ca = world.mock().ca_pem().to_owned();
    let url = format!("{}/reset", world.mock().management_url().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let status = runtime.block_on(async {
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        answer.status().as_u16()
    });
    assert_eq!(status, 200);
    world.clock.freeze(START); // a reset lets it run
    // A call that found its key before the reset does not bring it back.
    let fresh = world.key(json!({}));
    world.restart();
    let listed = world.ok("ListKeys", json!({}));
    assert_eq!(listed["Keys"].as_array().unwrap().len(), 1);
    assert_eq!(listed["Keys"][0]["KeyArn"], fresh);
    assert_eq!(world.ok("ListAliases", json!({}))["Aliases"], json!([]));
    assert_eq!(s3(&world, "GET", "/bucket?list-type=2", "").0, 404);
    world
        .mock()
        .iam()
        .create_user(ACCOUNT, "/", "alice")
        .unwrap();
    assert_eq!(world.mock().ca_pem(), ca);
}

#[test]
fn callers_at_once_share_what_they_wait_for_and_nothing_is_lost() {
    let mut world = World::new();
    let mock = Arc::new(world.mock.take().unwrap());
    let threads: Vec<_> = (0..16)
        .map(|thread| {
            let mock = Arc::clone(&mock);
            std::thread::spawn(move || {
                let mut made = Vec::new();
                for n in 0..20 {
                    let (status, answer) = call(&mock, None, "CreateKey", &json!({}));
                    assert_eq!(status, 200);
                    let key = text(&answer["KeyMetadata"]["Arn"]);
                    let alias = format!("alias/{thread}-{n}");
                    let body = json!({ "AliasName": alias, "TargetKeyId": key });
                    assert_eq!(call(&mock, None, "CreateAlias", &body).0, 200);
                    made.push((alias, key));
                }
                made
            })
        })
        .collect();
    let made: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    drop(mock);
    world.start();
    for (alias, key) in made {
        assert_eq!(world.metadata(&alias)["Arn"], key);
    }
}

/// Why a server does not start with the directory as it is.
fn why_not(path: &Path) -> DataDirError {
    match KmsMock::builder()
        .data_dir(path)
        .workers(1)
        .start_blocking()
    {
        Err(StartError::DataDir(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn a_directory_in_use_is_refused_and_the_first_server_goes_on() {
    let world = World::new();
    let refused = why_not(&world.path());
    assert!(matches!(refused, DataDirError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("stop that one"));
    world.key(json!({}));
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
    let refused = why_not(dir.path());
    assert!(matches!(refused, DataDirError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("thesis.tex"));
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "nothing is added");
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = why_not(&file.join("data"));
    assert!(
        matches!(refused, DataDirError::Unusable { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("--data-dir"));
}

/// A closed world with a few keys, as bytes.
fn closed_world() -> (tempfile::TempDir, Vec<u8>) {
    let mut world = World::new();
    for n in 0..20 {
        let key = world.key(json!({ "Description": format!("key {n}") }));
        let body = json!({ "AliasName": format!("alias/{n}"), "TargetKeyId": key });
        world.ok("CreateAlias", body);
    }
    world.stop();
    let bytes = std::fs::read(world.path().join("world.redb")).unwrap();
    let World { dir, .. } = world;
    (dir, bytes)
}

#[test]
fn a_damaged_file_ends_in_an_error_and_stays_as_it_is() {
    let (dir, whole) = closed_world();
    let path = dir.path().join("data");
    let file = path.join("world.redb");
    let refuses = |bytes: &[u8], what: &str| {
        std::fs::write(&file, bytes).unwrap();
        let refused = why_not(&path);
        assert!(
            matches!(refused, DataDirError::Damaged { .. }),
            "{what}: {refused}"
        );
        assert!(refused.to_string().contains("put a copy"), "{refused}");
    };
    refuses(b"", "empty");
    refuses(&whole[..5], "five bytes");
    for length in [1024, 4096, 8192, whole.len() / 2, whole.len() - 4096] {
        refuses(&whole[..length], &format!("cut at {length}"));
    }
    let mut zeroed = whole.clone();
    let from = 4096.min(zeroed.len());
    zeroed[from..].fill(0);
    refuses(&zeroed, "zeros after the header");
    // What it was before is still good.
    std::fs::write(&file, &whole).unwrap();
    let world = World::of(dir);
    assert_eq!(
        world.ok("ListKeys", json!({}))["Keys"]
            .as_array()
            .unwrap()
            .len(),
        20
    );
}

/// A flipped bit in what is in use is found; one in what is not is nobody's loss.
/// Never is there a panic, or a world that differs.
#[test]
fn one_flipped_bit_is_found_or_changes_nothing() {
    let (dir, whole) = closed_world();
    let path = dir.path().join("data");
    let file = path.join("world.redb");
    let keys = |mock: &KmsMock| {
        let mut all: Vec<Value> = Vec::new();
        for n in 0..20 {
            let body = json!({ "KeyId": format!("alias/{n}") });
            let (status, answer) = call(mock, None, "DescribeKey", &body);
            assert_eq!(status, 200, "{answer}");
            all.push(answer);
        }
        all
    };
    let expected = {
        let mock = KmsMock::builder().data_dir(&path).start_blocking().unwrap();
        keys(&mock)
    };
    // Every bit of the head, then one of every few in use.
    let in_use: Vec<usize> = (0..whole.len())
        .filter(|at| whole[*at] != 0 && *at >= 512)
        .step_by(197)
        .collect();
    let mut found = 0;
    for at in (0..512).step_by(7).chain(in_use) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&file, &flipped).unwrap();
        match KmsMock::builder()
            .data_dir(&path)
            .workers(1)
            .start_blocking()
        {
            Ok(mock) => assert_eq!(keys(&mock), expected, "byte {at}"),
            Err(StartError::DataDir(
                DataDirError::Damaged { .. }
                | DataDirError::NotOurs { .. }
                | DataDirError::Newer { .. },
            )) => found += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(found > 10, "{found} were found");
}

#[test]
fn files_of_a_newer_layout_and_of_other_programs_are_refused() {
    const WORLD: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("world");
    let (dir, whole) = closed_world();
    let path = dir.path().join("data");
    let file = path.join("world.redb");
    {
        let database = redb::Database::open(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut world = transaction.open_table(WORLD).unwrap();
            world.insert(&b"schema"[..], &[2_u8][..]).unwrap(); // CBOR of 2
        }
        transaction.commit().unwrap();
    }
    let refused = why_not(&path);
    assert!(
        matches!(refused, DataDirError::Newer { found: 2, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("a newer one"));

    std::fs::remove_file(&file).unwrap();
    drop(redb::Database::create(&file).unwrap());
    let refused = why_not(&path);
    assert!(matches!(refused, DataDirError::NotOurs { .. }), "{refused}");
    std::fs::write(&file, "SQLite format 3\0 and so on").unwrap();
    let refused = why_not(&path);
    assert!(matches!(refused, DataDirError::NotOurs { .. }), "{refused}");
    assert!(!whole.is_empty());
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_what_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.path()), 0o700);
    assert_eq!(mode(&world.path().join("world.redb")), 0o600);
    assert_eq!(mode(&world.path().join("lock")), 0o600);
}

#[test]
fn a_start_that_was_cut_off_while_the_file_was_made_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("lock"), "").unwrap();
    std::fs::write(path.join("world.redb.new"), "half of it").unwrap();
    let world = World::of(dir);
    world.key(json!({}));
    assert!(!path.join("world.redb.new").exists());
}
