//! Keys of every kind and everything about them.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::{ACCOUNT, DAY, START, World, call, text};

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
