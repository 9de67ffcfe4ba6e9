//! Encryption, data keys, rotation from outside.

use super::*;

#[test]
fn what_is_encrypted_decrypts_with_the_fields_that_aws_recorded() {
    let world = World::new();
    let key = world.key();
    let plaintext = BASE64.encode(b"secret");
    let encrypted = world.ok("Encrypt", json!({ "KeyId": key, "Plaintext": plaintext }));
    assert_eq!(
        members(&encrypted),
        ["CiphertextBlob", "EncryptionAlgorithm", "KeyId"].into()
    );
    assert_eq!(encrypted["KeyId"], key.as_str());
    assert!(text(&encrypted["CiphertextBlob"]).starts_with("AQICAH"));
    let decrypted = world.ok(
        "Decrypt",
        json!({ "CiphertextBlob": encrypted["CiphertextBlob"] }),
    );
    assert_eq!(
        members(&decrypted),
        ["EncryptionAlgorithm", "KeyId", "KeyMaterialId", "Plaintext"].into()
    );
    assert_eq!(decrypted["Plaintext"], plaintext);
    assert_eq!(decrypted["KeyId"], key.as_str());
    let by_id = key.rsplit('/').next().unwrap();
    world.ok(
        "Decrypt",
        json!({ "CiphertextBlob": encrypted["CiphertextBlob"], "KeyId": by_id }),
    );
}

#[test]
fn data_keys_come_in_both_sizes_with_and_without_plaintext() {
    let world = World::new();
    let key = world.key();
    for (request, size) in [
        (json!({ "KeySpec": "AES_256" }), 32),
        (json!({ "KeySpec": "AES_128" }), 16),
        (json!({ "NumberOfBytes": 64 }), 64),
        (json!({ "NumberOfBytes": 1024 }), 1024),
    ] {
        let mut request = request;
        request["KeyId"] = json!(key);
        let made = world.ok("GenerateDataKey", request.clone());
        assert_eq!(
            members(&made),
            ["CiphertextBlob", "KeyId", "KeyMaterialId", "Plaintext"].into()
        );
        assert_eq!(unbase64(&made["Plaintext"]).len(), size);
        let opened = world.ok(
            "Decrypt",
            json!({ "CiphertextBlob": made["CiphertextBlob"] }),
        );
        assert_eq!(opened["Plaintext"], made["Plaintext"]);
        let hidden = world.ok("GenerateDataKeyWithoutPlaintext", request);
        assert_eq!(
            members(&hidden),
            ["CiphertextBlob", "KeyId", "KeyMaterialId"].into()
        );
        let opened = world.ok(
            "Decrypt",
            json!({ "CiphertextBlob": hidden["CiphertextBlob"] }),
        );
        assert_eq!(unbase64(&opened["Plaintext"]).len(), size);
    }
    let made = world.ok(
        "GenerateDataKey",
        json!({ "KeyId": key, "KeySpec": "AES_256" }),
    );
    assert_eq!(unbase64(&made["CiphertextBlob"]).len(), 184);
    assert!(text(&made["CiphertextBlob"]).starts_with("AQIDAH"));
    for request in [
        json!({ "KeyId": key }),
        json!({ "KeyId": key, "KeySpec": "AES_256", "NumberOfBytes": 1 }),
    ] {
        world.err("GenerateDataKey", request).says(
            "ValidationException",
            "Please specify either number of bytes or key spec.",
        );
    }
}

#[test]
fn another_context_or_a_changed_blob_is_an_invalid_ciphertext_without_a_message() {
    let world = World::new();
    let key = world.key();
    let blob = world.encrypt(&key, b"x", json!({ "job": "7", "study": "a" }));
    let decrypt = |blob: &str, context: Value| {
        world.call(
            "Decrypt",
            json!({ "CiphertextBlob": blob, "EncryptionContext": context }),
        )
    };
    assert!(decrypt(&blob, json!({ "study": "a", "job": "7" })).is_ok());
    for context in [
        json!({}),
        json!({ "job": "7" }),
        json!({ "job": "7", "study": "A" }),
        Value::Null,
    ] {
        decrypt(&blob, context)
            .unwrap_err()
            .is_silent("InvalidCiphertextException");
    }
    let bytes = BASE64.decode(&blob).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let body = json!({
            "CiphertextBlob": BASE64.encode(&changed),
            "EncryptionContext": { "job": "7", "study": "a" },
        });
        world
            .err("Decrypt", body)
            .is_silent("InvalidCiphertextException");
    }
}

#[test]
fn re_encryption_moves_a_secret_between_keys_and_contexts() {
    let world = World::new();
    let (from, to) = (world.key(), world.key());
    let blob = world.encrypt(&from, b"secret", json!({ "a": "1" }));
    let moved = world.ok(
        "ReEncrypt",
        json!({
            "CiphertextBlob": blob, "SourceEncryptionContext": { "a": "1" },
            "DestinationKeyId": to, "DestinationEncryptionContext": { "b": "2" },
        }),
    );
    assert_eq!(
        (&moved["SourceKeyId"], &moved["KeyId"]),
        (&json!(from), &json!(to))
    );
    assert_eq!(moved["SourceEncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    assert_eq!(moved["DestinationEncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    let opened = world.ok(
        "Decrypt",
        json!({ "CiphertextBlob": moved["CiphertextBlob"], "EncryptionContext": { "b": "2" } }),
    );
    assert_eq!(unbase64(&opened["Plaintext"]), b"secret");
    world
        .err(
            "ReEncrypt",
            json!({ "CiphertextBlob": blob, "SourceKeyId": to, "DestinationKeyId": to }),
        )
        .says(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        );
}

#[test]
fn a_ciphertext_of_another_key_is_told_before_what_the_named_key_is_for() {
    let world = World::new();
    let sealed = world.ok(
        "Encrypt",
        json!({ "KeyId": world.key(), "Plaintext": BASE64.encode("secret") }),
    );
    let blob = &sealed["CiphertextBlob"];
    let hmac = world.ok(
        "CreateKey",
        json!({ "KeySpec": "HMAC_224", "KeyUsage": "GENERATE_VERIFY_MAC" }),
    );
    let hmac = &hmac["KeyMetadata"]["KeyId"];
    let incorrect =
        "The key ID in the request does not identify a CMK that can perform this operation.";
    world
        .err("Decrypt", json!({ "CiphertextBlob": blob, "KeyId": hmac }))
        .says("IncorrectKeyException", incorrect);
    world
        .err(
            "ReEncrypt",
            json!({ "CiphertextBlob": blob, "SourceKeyId": hmac, "DestinationKeyId": hmac }),
        )
        .says("IncorrectKeyException", incorrect);
}

#[test]
fn old_material_decrypts_after_rotation_on_demand_and_by_the_calendar() {
    let world = World::new();
    let key = world.key();
    let material = |world: &World| {
        text(
            &world.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"]["CurrentKeyMaterialId"],
        )
    };
    let (first, blob) = (material(&world), world.encrypt(&key, b"old", json!({})));
    assert_eq!(
        world.ok("RotateKeyOnDemand", json!({ "KeyId": key }))["KeyId"],
        key.as_str()
    );
    let second = material(&world);
    assert_ne!(first, second);
    let opened = world.ok("Decrypt", json!({ "CiphertextBlob": blob, "KeyId": key }));
    assert_eq!(opened["KeyMaterialId"], first.as_str());
    let newer = world.encrypt(&key, b"new", json!({}));
    let opened = world.ok("Decrypt", json!({ "CiphertextBlob": newer }));
    assert_eq!(opened["KeyMaterialId"], second.as_str());

    let status = world.ok("GetKeyRotationStatus", json!({ "KeyId": key }));
    assert_eq!(members(&status), ["KeyId", "KeyRotationEnabled"].into());
    world.ok(
        "EnableKeyRotation",
        json!({ "KeyId": key, "RotationPeriodInDays": 90 }),
    );
    let status = world.ok("GetKeyRotationStatus", json!({ "KeyId": key }));
    assert_eq!(
        members(&status),
        [
            "KeyId",
            "KeyRotationEnabled",
            "NextRotationDate",
            "RotationPeriodInDays"
        ]
        .into()
    );
    assert_eq!(status["NextRotationDate"], START.0 / 1000 + 90 * 86_400);
    world.clock.advance(Duration::from_secs(181 * 86_400));
    let rotations = world.ok("ListKeyRotations", json!({ "KeyId": key }));
    let types: Vec<&str> = rotations["Rotations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["RotationType"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["ON_DEMAND", "AUTOMATIC", "AUTOMATIC"]);
    assert_eq!(rotations["Rotations"][2]["KeyMaterialState"], "CURRENT");
    let all = world.ok(
        "ListKeyRotations",
        json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL", "Limit": 3 }),
    );
    assert_eq!(all["Rotations"][0]["KeyMaterialId"], first.as_str());
    assert_eq!(all["Truncated"], true);
    let rest = world.ok("ListKeyRotations", json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL", "Marker": all["NextMarker"] }));
    assert_eq!(rest["Rotations"].as_array().unwrap().len(), 1);
    world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
    let newest = world.encrypt(&key, b"newest", json!({}));
    world.ok("Decrypt", json!({ "CiphertextBlob": newest }));
    world.ok("DisableKeyRotation", json!({ "KeyId": key }));
    let status = world.ok("GetKeyRotationStatus", json!({ "KeyId": key }));
    assert_eq!(status["KeyRotationEnabled"], false);
}

#[test]
fn a_seeded_world_repeats_and_another_does_not() {
    let run = |seed: u64| {
        let world = World::seeded(Some(WorldSeed::from_u64(seed)));
        let key = world.key();
        let blob = world.encrypt(&key, b"x", json!({}));
        let random = world.ok("GenerateRandom", json!({ "NumberOfBytes": 16 }));
        (key, blob, random.to_string())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn many_threads_use_and_rotate_one_key_at_once() {
    let world = World::new();
    let key = world.key();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (world, key) = (&world, &key);
            scope.spawn(move || {
                for _ in 0..25 {
                    let blob = world.encrypt(key, &[thread], json!({}));
                    if thread == 0 {
                        let _ = world.call("RotateKeyOnDemand", json!({ "KeyId": key }));
                    }
                    let opened = world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
                    assert_eq!(unbase64(&opened["Plaintext"]), [thread]);
                }
            });
        }
    });
}
