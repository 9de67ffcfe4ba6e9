//! Imported key material from outside.

use super::*;
use crate::keys::wrapping::tests::wrap;

const DAY: Duration = Duration::from_secs(86_400);

/// A key without material.
pub(super) fn pending(world: &World, body: Value) -> String {
    let mut body = body;
    body["Origin"] = "EXTERNAL".into();
    text(&world.ok("CreateKey", body)["KeyMetadata"]["Arn"])
}

/// Wraps `material` for `key` and gives the members that both calls share.
pub(super) fn wrapped(world: &World, region: Option<&str>, key: &str, material: &[u8]) -> Value {
    let algorithm = "RSAES_OAEP_SHA_256";
    let body = json!({
        "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048",
    });
    let parameters = world
        .call_in(region, &world.root, "GetParametersForImport", body)
        .unwrap();
    json!({
        "KeyId": key,
        "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial":
            BASE64.encode(wrap(algorithm, &unbase64(&parameters["PublicKey"]), material)),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    })
}

pub(super) fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Imports and gives `KeyMaterialId`.
pub(super) fn import(world: &World, key: &str, material: u8, more: Value) -> String {
    let body = with(wrapped(world, None, key, &[material; 32]), more);
    let imported = world.ok("ImportKeyMaterial", body);
    assert_eq!(members(&imported), ["KeyId", "KeyMaterialId"].into());
    assert_eq!(imported["KeyId"], key);
    text(&imported["KeyMaterialId"])
}

fn metadata(world: &World, key: &str) -> Value {
    world.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"].clone()
}

pub(super) fn new_material() -> Value {
    json!({ "ImportType": "NEW_KEY_MATERIAL" })
}

fn rotations(world: &World, key: &str) -> Vec<Value> {
    let body = json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
    let listed = world.ok("ListKeyRotations", body);
    listed["Rotations"].as_array().unwrap().clone()
}

#[test]
fn a_key_lives_through_import_deletion_and_reimport_as_aws_recorded() {
    let world = World::new();
    let key = pending(&world, json!({ "Description": "d" }));
    let expected = |more: &[&'static str]| -> BTreeSet<&'static str> {
        let common = [
            "AWSAccountId",
            "Arn",
            "CreationDate",
            "CustomerMasterKeySpec",
            "Description",
            "Enabled",
            "EncryptionAlgorithms",
            "KeyId",
            "KeyManager",
            "KeySpec",
            "KeyState",
            "KeyUsage",
            "MultiRegion",
            "Origin",
        ];
        common.into_iter().chain(more.iter().copied()).collect()
    };
    let is_pending = |described: &Value, more: &[&'static str]| {
        assert_eq!(members(described), expected(more));
        assert_eq!(described["KeyState"], "PendingImport");
        assert_eq!(described["Enabled"], false);
        assert_eq!(described["Origin"], "EXTERNAL");
        let encrypt = json!({ "KeyId": key, "Plaintext": "eA==" });
        world.err("Encrypt", encrypt).says(
            "KMSInvalidStateException",
            &format!("{key} is pending import."),
        );
    };
    is_pending(&metadata(&world, &key), &[]);

    let id = import(&world, &key, 1, json!({}));
    let described = metadata(&world, &key);
    assert_eq!(
        members(&described),
        expected(&["CurrentKeyMaterialId", "ExpirationModel"])
    );
    assert_eq!(described["KeyState"], "Enabled");
    assert_eq!(described["Enabled"], true);
    assert_eq!(described["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
    assert_eq!(described["CurrentKeyMaterialId"], id.as_str());
    let blob = world.encrypt(&key, b"plain", json!({}));

    let deleted = world.ok("DeleteImportedKeyMaterial", json!({ "KeyId": key }));
    assert_eq!(deleted, json!({ "KeyId": key, "KeyMaterialId": id }));
    is_pending(&metadata(&world, &key), &["CurrentKeyMaterialId"]);
    assert_eq!(
        world.err("Decrypt", json!({ "CiphertextBlob": blob })).code,
        "KMSInvalidStateException"
    );

    let other = wrapped(&world, None, &key, &[2; 32]);
    world
        .err("ImportKeyMaterial", other)
        .is_silent("IncorrectKeyMaterialException");
    assert_eq!(import(&world, &key, 1, json!({})), id);
    let opened = world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
    assert_eq!(unbase64(&opened["Plaintext"]), b"plain");
    assert_eq!(opened["KeyMaterialId"], id.as_str());
}

#[test]
fn every_wrapping_algorithm_is_accepted_from_outside() {
    let world = World::new();
    let mut ids = BTreeSet::new();
    for algorithm in [
        "RSAES_OAEP_SHA_1",
        "RSAES_OAEP_SHA_256",
        "RSA_AES_KEY_WRAP_SHA_1",
        "RSA_AES_KEY_WRAP_SHA_256",
    ] {
        let key = pending(&world, json!({}));
        let parameters = world.ok(
            "GetParametersForImport",
            json!({
                "KeyId": key.rsplit('/').next(),
                "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048",
            }),
        );
        assert_eq!(
            members(&parameters),
            ["ImportToken", "KeyId", "ParametersValidTo", "PublicKey"].into()
        );
        assert_eq!(parameters["KeyId"], key.as_str());
        assert_eq!(parameters["ParametersValidTo"], START.0 / 1000 + 86_400);
        let public_key = unbase64(&parameters["PublicKey"]);
        let imported = world.ok(
            "ImportKeyMaterial",
            json!({
                "KeyId": key,
                "ImportToken": parameters["ImportToken"],
                "EncryptedKeyMaterial": BASE64.encode(wrap(algorithm, &public_key, &[3; 32])),
                "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
            }),
        );
        // The same material has another id in every key.
        assert!(ids.insert(text(&imported["KeyMaterialId"])), "{algorithm}");
        world.encrypt(&key, b"x", json!({}));
    }
}

#[test]
fn material_expires_when_the_clock_passes_its_date() {
    let world = World::new();
    let key = pending(&world, json!({}));
    let until = START.0 / 1000 + 2 * 86_400;
    let expiring = || json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": until });
    let id = import(&world, &key, 1, expiring());
    let described = metadata(&world, &key);
    assert_eq!(described["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    assert_eq!(described["ValidTo"], until);
    let blob = world.encrypt(&key, b"x", json!({}));
    let decrypt = || json!({ "CiphertextBlob": blob });
    world.clock.advance(DAY * 2 - Duration::from_millis(1));
    world.ok("Decrypt", decrypt());
    world.clock.advance(Duration::from_millis(1));
    world.err("Decrypt", decrypt()).says(
        "KMSInvalidStateException",
        &format!("{key} is pending import."),
    );
    let described = metadata(&world, &key);
    assert_eq!(described["KeyState"], "PendingImport");
    assert!(described.get("ValidTo").is_none());
    // The same material for good.
    assert_eq!(import(&world, &key, 1, json!({})), id);
    world.clock.advance(DAY * 400);
    world.ok("Decrypt", decrypt());
}

#[test]
fn new_material_waits_for_its_rotation_and_the_old_still_decrypts() {
    let world = World::new();
    let key = pending(&world, json!({}));
    let rotate = || json!({ "KeyId": key });
    let state = |error: Refused, text: String| error.says("KMSInvalidStateException", &text);
    state(
        world.err("RotateKeyOnDemand", rotate()),
        format!("{key} is pending import."),
    );
    let first = import(
        &world,
        &key,
        1,
        json!({ "KeyMaterialDescription": "of 2025" }),
    );
    state(
        world.err("RotateKeyOnDemand", rotate()),
        format!("No available key material pending rotation for the key: {key}."),
    );
    let old = world.encrypt(&key, b"old", json!({}));
    let second = import(&world, &key, 2, new_material());
    assert_eq!(
        metadata(&world, &key)["CurrentKeyMaterialId"],
        first.as_str()
    );
    let standings = |world: &World| -> Vec<(String, String)> {
        rotations(world, &key)
            .iter()
            .map(|entry| {
                (
                    text(&entry["KeyMaterialState"]),
                    text(&entry["ImportState"]),
                )
            })
            .collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        standings(&world),
        [
            pair("CURRENT", "IMPORTED"),
            pair("PENDING_ROTATION", "IMPORTED")
        ]
    );
    let third = with(wrapped(&world, None, &key, &[3; 32]), new_material());
    let refused = world.err("ImportKeyMaterial", third);
    let message = refused.message.unwrap();
    assert_eq!(refused.code, "KMSInvalidStateException");
    assert!(message.starts_with("New key material (id: "), "{message}");
    assert!(
        message.ends_with(&format!(
            ") cannot be imported into KMS key {key}, because another key material (id: {second}) is pending rotation."
        )),
        "{message}"
    );

    assert_eq!(
        world.ok("RotateKeyOnDemand", rotate()),
        json!({ "KeyId": key })
    );
    assert_eq!(
        metadata(&world, &key)["CurrentKeyMaterialId"],
        second.as_str()
    );
    assert_eq!(
        standings(&world),
        [pair("NON_CURRENT", "IMPORTED"), pair("CURRENT", "IMPORTED")]
    );
    let entries = rotations(&world, &key);
    assert_eq!(entries[0]["KeyMaterialDescription"], "of 2025");
    assert_eq!(entries[1]["RotationType"], "ON_DEMAND");
    assert_eq!(entries[1]["RotationDate"], START.0 / 1000);
    let new = world.encrypt(&key, b"new", json!({}));
    for (blob, plaintext, id) in [(&old, "old", &first), (&new, "new", &second)] {
        let opened = world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
        assert_eq!(unbase64(&opened["Plaintext"]), plaintext.as_bytes());
        assert_eq!(opened["KeyMaterialId"], id.as_str());
    }

    // Old material that is missing makes the whole key wait.
    let delete = json!({ "KeyId": key, "KeyMaterialId": first });
    world.ok("DeleteImportedKeyMaterial", delete);
    assert_eq!(metadata(&world, &key)["KeyState"], "PendingImport");
    assert_eq!(
        standings(&world),
        [
            pair("NON_CURRENT", "PENDING_IMPORT"),
            pair("CURRENT", "IMPORTED")
        ]
    );
    let again = json!({ "ImportType": "EXISTING_KEY_MATERIAL", "KeyMaterialId": first });
    assert_eq!(import(&world, &key, 1, again), first);
    assert_eq!(metadata(&world, &key)["KeyState"], "Enabled");
    assert_eq!(
        metadata(&world, &key)["CurrentKeyMaterialId"],
        second.as_str()
    );
    world.ok("Decrypt", json!({ "CiphertextBlob": old }));
}

#[test]
fn what_is_not_an_import_is_refused() {
    let world = World::new();
    let key = pending(&world, json!({}));
    let generated = world.key();
    let asymmetric = pending(
        &world,
        json!({ "KeySpec": "RSA_4096", "KeyUsage": "ENCRYPT_DECRYPT" }),
    );
    let good = wrapped(&world, None, &key, &[1; 32]);
    let parameters = |key: &str, algorithm: &str, spec: &str| json!({ "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": spec });
    let origin = |key: &str, origin: &str| {
        Some(format!(
            "{key} origin is {origin} which is not valid for this operation."
        ))
    };
    let expires = |at: u64| json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": at });
    let now = START.0 / 1000;
    let material_id = "0".repeat(64);
    #[rustfmt::skip]
    let table: Vec<(&str, Value, &str, Option<String>)> = vec![
        ("GetParametersForImport", parameters(&generated, "RSAES_OAEP_SHA_256", "RSA_4096"),
            "UnsupportedOperationException", origin(&generated, "AWS_KMS")),
        ("ImportKeyMaterial", with(good.clone(), json!({ "KeyId": generated })),
            "UnsupportedOperationException", origin(&generated, "AWS_KMS")),
        ("DeleteImportedKeyMaterial", json!({ "KeyId": generated }),
            "UnsupportedOperationException", origin(&generated, "AWS_KMS")),
        ("EnableKeyRotation", json!({ "KeyId": key }),
            "UnsupportedOperationException", origin(&key, "EXTERNAL")),
        ("DisableKeyRotation", json!({ "KeyId": key }),
            "UnsupportedOperationException", origin(&key, "EXTERNAL")),
        ("RotateKeyOnDemand", json!({ "KeyId": asymmetric }),
            "KMSInvalidStateException", Some(format!("{asymmetric} is pending import."))),
        ("EnableKeyRotation", json!({ "KeyId": asymmetric }),
            "UnsupportedOperationException", None),
        ("GetParametersForImport", parameters(&key, "RSA", "RSA_2048"), "ValidationException",
            Some("1 validation error detected: Value 'RSA' at 'wrappingAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, RSAES_PKCS1_V1_5, RSA_AES_KEY_WRAP_SHA_1, RSA_AES_KEY_WRAP_SHA_256, SM2PKE]".into())),
        ("GetParametersForImport", json!({ "KeyId": key, "WrappingAlgorithm": "SM2PKE" }), "ValidationException",
            Some("1 validation error detected: Value at 'wrappingKeySpec' failed to satisfy constraint: Member must not be null".into())),
        ("GetParametersForImport", parameters(&key, "RSAES_PKCS1_V1_5", "RSA_2048"), "UnsupportedOperationException",
            Some("[drydock] Wrapping algorithm RSAES_PKCS1_V1_5 with RSA_2048 is not available in this emulator.".into())),
        ("EnableKey", json!({ "KeyId": key }),
            "KMSInvalidStateException", Some(format!("{key} is pending import."))),
        ("ImportKeyMaterial", with(good.clone(), json!({ "ExpirationModel": null })), "ValidationException",
            Some("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES".into())),
        ("ImportKeyMaterial", with(good.clone(), json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES" })), "ValidationException",
            Some("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES".into())),
        ("ImportKeyMaterial", with(good.clone(), expires(now)), "ValidationException",
            Some("ValidTo must be in the future.".into())),
        ("ImportKeyMaterial", with(good.clone(), expires(now + 366 * 86_400)), "ValidationException",
            Some("ValidTo must be within 365 days.".into())),
        ("ImportKeyMaterial", with(good.clone(), json!({ "ValidTo": now + 1 })), "ValidationException",
            Some("A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE".into())),
        ("ImportKeyMaterial", with(good.clone(), json!({ "KeyMaterialId": material_id })), "ValidationException",
            Some("KeyMaterialId must not be specified when ImportType is NEW_KEY_MATERIAL.".into())),
        ("ImportKeyMaterial", with(good.clone(), json!({ "ImportToken": "AAAA" })),
            "InvalidImportTokenException", None),
        ("ImportKeyMaterial", with(good.clone(), json!({ "KeyId": asymmetric })),
            "InvalidImportTokenException", None),
        ("ImportKeyMaterial", with(good.clone(), json!({ "EncryptedKeyMaterial": "AAAA" })),
            "InvalidCiphertextException", None),
        ("ImportKeyMaterial", wrapped(&world, None, &key, &[1; 31]),
            "IncorrectKeyMaterialException", None),
        ("ImportKeyMaterial", with(good.clone(), json!({ "ImportType": "EXISTING_KEY_MATERIAL" })),
            "IncorrectKeyMaterialException", None),
        ("DeleteImportedKeyMaterial", json!({ "KeyId": key, "KeyMaterialId": material_id }),
            "NotFoundException", Some(format!("Key material ID {material_id} not found"))),
    ];
    for (operation, body, code, message) in table {
        let refused = world.err(operation, body);
        assert_eq!(
            (refused.code.as_str(), refused.message, refused.status),
            (code, message, 400),
            "{operation}"
        );
    }
    world.clock.advance(DAY);
    world
        .err("ImportKeyMaterial", good.clone())
        .is_silent("ExpiredImportTokenException");
    let other_world = World::new();
    let known = pending(&other_world, json!({}));
    let foreign = with(good, json!({ "KeyId": known }));
    other_world
        .err("ImportKeyMaterial", foreign)
        .is_silent("InvalidImportTokenException");
}

#[test]
fn a_cancelled_deletion_leaves_a_key_without_material_pending() {
    let world = World::new();
    let key = pending(&world, json!({}));
    import(&world, &key, 1, json!({}));
    world.ok("ScheduleKeyDeletion", json!({ "KeyId": key }));
    // Deleting the material does not change this state.
    world.ok("DeleteImportedKeyMaterial", json!({ "KeyId": key }));
    assert_eq!(metadata(&world, &key)["KeyState"], "PendingDeletion");
    world.ok("CancelKeyDeletion", json!({ "KeyId": key }));
    assert_eq!(metadata(&world, &key)["KeyState"], "PendingImport");
}

#[test]
fn imported_material_is_rotated_in_all_regions_once_all_have_it() {
    let world = World::new();
    let eu = Some("eu-west-1");
    let key = pending(&world, json!({ "MultiRegion": true }));
    let first = import(&world, &key, 1, json!({}));
    let blob = world.encrypt(&key, b"x", json!({}));
    let replicate = json!({ "KeyId": key, "ReplicaRegion": "eu-west-1" });
    let replica = text(&world.ok("ReplicateKey", replicate)["ReplicaKeyMetadata"]["Arn"]);
    let in_eu = |operation: &str, body: Value| world.call_in(eu, &world.root, operation, body);
    let eu_state = || {
        let described = in_eu("DescribeKey", json!({ "KeyId": replica })).unwrap();
        text(&described["KeyMetadata"]["KeyState"])
    };
    assert_eq!(eu_state(), "PendingImport");
    let import_eu = |material: u8| {
        in_eu(
            "ImportKeyMaterial",
            wrapped(&world, eu, &replica, &[material; 32]),
        )
    };
    assert_eq!(
        import_eu(9).unwrap_err().code,
        "IncorrectKeyMaterialException"
    );
    assert_eq!(import_eu(1).unwrap()["KeyMaterialId"], first.as_str());
    assert_eq!(eu_state(), "Enabled");
    in_eu("Decrypt", json!({ "CiphertextBlob": blob })).unwrap();

    let new = with(wrapped(&world, eu, &replica, &[2; 32]), new_material());
    in_eu("ImportKeyMaterial", new).unwrap_err().says(
        "UnsupportedOperationException",
        &format!("{replica} is not a multi-region primary key."),
    );
    let second = import(&world, &key, 2, new_material());
    let waiting = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION";
    assert_eq!(rotations(&world, &key)[1]["KeyMaterialState"], waiting);
    let rotate = || json!({ "KeyId": key });
    assert_eq!(
        world.err("RotateKeyOnDemand", rotate()).code,
        "KMSInvalidStateException"
    );
    import_eu(2).unwrap();
    assert_eq!(
        rotations(&world, &key)[1]["KeyMaterialState"],
        "PENDING_ROTATION"
    );
    world.ok("RotateKeyOnDemand", rotate());
    let new = world.encrypt(&key, b"y", json!({}));
    let opened = in_eu("Decrypt", json!({ "CiphertextBlob": new })).unwrap();
    assert_eq!(opened["KeyMaterialId"], second.as_str());
    in_eu("Decrypt", json!({ "CiphertextBlob": blob })).unwrap();
}

/// The recorded errors about imports, origins and Regions, each with a request
/// that provokes it. `<…>` in a recorded message stands for any text.
#[test]
fn recorded_errors_about_imports_and_regions_are_answered() {
    let Some(folder) = corpus("kms-errors") else {
        return;
    };
    let text_of = std::fs::read_to_string(folder.join("aws-validated-errors.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text_of).unwrap();
    let world = World::new();
    let generated = world.key();
    let empty = pending(&world, json!({}));
    let asymmetric = pending(
        &world,
        json!({ "KeySpec": "RSA_4096", "KeyUsage": "SIGN_VERIFY" }),
    );
    let imported = pending(&world, json!({}));
    import(&world, &imported, 1, json!({}));
    let waiting = pending(&world, json!({}));
    import(&world, &waiting, 1, json!({}));
    import(&world, &waiting, 2, new_material());
    let third = with(wrapped(&world, None, &waiting, &[3; 32]), new_material());
    let no_date = json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES" });
    let no_date = with(wrapped(&world, None, &empty, &[1; 32]), no_date);
    let created = world.ok("CreateKey", json!({ "MultiRegion": true }));
    let mrk = text(&created["KeyMetadata"]["KeyId"]);
    let replicate = |region: &str| json!({ "KeyId": mrk, "ReplicaRegion": region });
    world.ok("ReplicateKey", replicate("eu-west-1"));
    let wrapping = |key: &str| json!({ "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" });
    let (unsupported, state) = ("UnsupportedOperationException", "KMSInvalidStateException");
    let home = "us-east-1";
    #[rustfmt::skip]
    let requests: Vec<(&str, &str, Value, &str, &str)> = vec![
        (home, "GetParametersForImport", wrapping(&generated), unsupported,
            "<key-arn> origin is AWS_KMS which is not valid for this operation."),
        (home, "EnableKeyRotation", json!({ "KeyId": imported }), unsupported,
            "<key-arn> origin is EXTERNAL which is not valid for this operation."),
        (home, "EnableKeyRotation", json!({ "KeyId": asymmetric }), unsupported, ""),
        ("eu-west-1", "ReplicateKey", replicate("ap-south-1"), unsupported,
            "<mrk-key-arn> is not a multi-region primary key."),
        (home, "RotateKeyOnDemand", json!({ "KeyId": asymmetric }), state,
            "arn:<partition>:kms:<region>:111111111111:key/<key-id:1> is pending import."),
        (home, "Encrypt", json!({ "KeyId": empty, "Plaintext": "eA==" }), state,
            "arn:<partition>:kms:<region>:111111111111:key/<key-id:1> is pending import."),
        (home, "RotateKeyOnDemand", json!({ "KeyId": imported }), state,
            "No available key material pending rotation for the key: <key-arn>."),
        (home, "ImportKeyMaterial", third, state,
            "New key material (id: <key-material-id>) cannot be imported into KMS key <key-id:1>, because another key material (id: <key-material-id:2>) is pending rotation."),
        (home, "ImportKeyMaterial", no_date, "ValidationException",
            "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"),
        ("ap-southeast-1", "DescribeKey", json!({ "KeyId": mrk }), "NotFoundException",
            "Key 'arn:<partition>:kms:ap-southeast-1:111111111111:key/<key-id:1>' does not exist"),
        ("us-west-2", "DescribeKey", json!({ "KeyId": generated.rsplit('/').next() }), "NotFoundException",
            "Key 'arn:<partition>:kms:<region>:111111111111:key/<key-id:1>' does not exist"),
        ("us-west-2", "DescribeKey", json!({ "KeyId": generated }), "NotFoundException",
            "Invalid arn <secondary-region>"),
    ];
    for (region, operation, body, code, message) in requests {
        let is_recorded = rows
            .iter()
            .any(|row| row["code"] == code && row["message"] == message && row["http"] == 400);
        assert!(is_recorded, "{code}: {message}");
        let refused = world
            .call_in(Some(region), &world.root, operation, body)
            .unwrap_err();
        assert_eq!((refused.code.as_str(), refused.status), (code, 400));
        let answered = refused.message.unwrap_or_default();
        assert!(
            fits(&answered, &message.replace("111111111111", ACCOUNT)),
            "{answered}"
        );
    }
}

/// Whether `text` is `pattern` with something for every `<…>`.
fn fits(text: &str, pattern: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('<') else {
        return text == pattern;
    };
    let after = rest.split_once('>').map_or("", |(_, after)| after);
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    (1..=text.len()).any(|at| text.is_char_boundary(at) && fits(&text[at..], after))
}
