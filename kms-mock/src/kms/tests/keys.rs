//! Keys, aliases, tags and lists from outside.

use super::*;

#[test]
fn a_new_key_has_the_metadata_that_aws_recorded() {
    let world = World::new();
    let created = world.ok("CreateKey", json!({ "Description": "test key 123" }));
    let metadata = &created["KeyMetadata"];
    let id = text(&metadata["KeyId"]);
    let described = world.ok("DescribeKey", json!({ "KeyId": id }));
    assert_eq!(described["KeyMetadata"], *metadata);
    assert_eq!(
        members(metadata),
        [
            "AWSAccountId",
            "Arn",
            "CreationDate",
            "CurrentKeyMaterialId",
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
        ]
        .into()
    );
    assert_eq!(metadata["CreationDate"], 1_767_225_600);
    assert_eq!(metadata["KeyState"], "Enabled");
    assert_eq!(
        metadata["EncryptionAlgorithms"],
        json!(["SYMMETRIC_DEFAULT"])
    );
    assert_eq!(text(&metadata["CurrentKeyMaterialId"]).len(), 64);
    assert_eq!(
        metadata["Arn"],
        format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{id}")
    );
}

#[test]
fn a_tag_of_localstack_chooses_the_id_of_a_key_once() {
    let world = World::new();
    let make = |id: &str, multi_region: bool| {
        let tags = json!([{ "TagKey": "_custom_id_", "TagValue": id }]);
        world.call(
            "CreateKey",
            json!({ "Tags": tags, "MultiRegion": multi_region }),
        )
    };
    let id = "11111111-2222-4333-8444-555555555555";
    assert_eq!(make(id, false).unwrap()["KeyMetadata"]["KeyId"], id);
    world.ok("DescribeKey", json!({ "KeyId": id }));
    let replica = format!("mrk-{}", "0a".repeat(16));
    let made = make(&replica, true).unwrap();
    assert_eq!(made["KeyMetadata"]["KeyId"], replica.as_str());
    for (id, multi_region) in [
        (id, false),
        ("a-name", false),
        ("../../etc", false),
        (&replica, false),
        ("21111111-2222-4333-8444-555555555555", true),
    ] {
        let refused = make(id, multi_region).unwrap_err();
        assert_eq!(refused.code, "ValidationException", "{id}");
    }
}

#[test]
fn a_key_passes_through_its_states() {
    let world = World::new();
    let key = world.key();
    let body = || json!({ "KeyId": key, "Plaintext": "eA==" });
    world.ok("DisableKey", json!({ "KeyId": key }));
    world
        .err("Encrypt", body())
        .says("DisabledException", &format!("{key} is disabled."));
    world.ok("EnableKey", json!({ "KeyId": key }));
    let blob = world.encrypt(&key, b"x", json!({}));
    let scheduled = world.ok(
        "ScheduleKeyDeletion",
        json!({ "KeyId": key, "PendingWindowInDays": 7 }),
    );
    assert_eq!(scheduled["KeyState"], "PendingDeletion");
    assert_eq!(scheduled["DeletionDate"], START.0 / 1000 + 7 * 86_400);
    assert_eq!(scheduled["KeyId"], key.as_str());
    for (operation, body) in [
        ("Encrypt", body()),
        ("Decrypt", json!({ "CiphertextBlob": blob })),
        ("EnableKey", json!({ "KeyId": key })),
        ("DisableKey", json!({ "KeyId": key })),
        ("ScheduleKeyDeletion", json!({ "KeyId": key })),
        (
            "UpdateKeyDescription",
            json!({ "KeyId": key, "Description": "" }),
        ),
        (
            "CreateAlias",
            json!({ "AliasName": "alias/x", "TargetKeyId": key }),
        ),
        ("RotateKeyOnDemand", json!({ "KeyId": key })),
        ("TagResource", json!({ "KeyId": key, "Tags": [] })),
    ] {
        world.err(operation, body).says(
            "KMSInvalidStateException",
            &format!("{key} is pending deletion."),
        );
    }
    world.ok("CancelKeyDeletion", json!({ "KeyId": key }));
    let state = world.ok("DescribeKey", json!({ "KeyId": key }));
    assert_eq!(state["KeyMetadata"]["KeyState"], "Disabled");
    assert_eq!(
        world.err("CancelKeyDeletion", json!({ "KeyId": key })).code,
        "KMSInvalidStateException"
    );
    world.ok("ScheduleKeyDeletion", json!({ "KeyId": key }));
    world.clock.advance(Duration::from_secs(30 * 86_400));
    // Nobody has to look at the key for its date to count.
    assert_eq!(world.ok("ListKeys", json!({}))["Keys"], json!([]));
    world
        .err("DescribeKey", json!({ "KeyId": key }))
        .says("NotFoundException", &format!("Key '{key}' does not exist"));
    world
        .err("Decrypt", json!({ "CiphertextBlob": blob }))
        .is_silent("InvalidCiphertextException");
}

#[test]
fn aliases_are_created_moved_listed_used_and_deleted() {
    let world = World::new();
    let (first, second) = (world.key(), world.key());
    world.ok(
        "CreateAlias",
        json!({ "AliasName": "alias/input", "TargetKeyId": first }),
    );
    let arn = format!("arn:aws:kms:us-east-1:{ACCOUNT}:alias/input");
    world
        .err(
            "CreateAlias",
            json!({ "AliasName": "alias/input", "TargetKeyId": second }),
        )
        .says(
            "AlreadyExistsException",
            &format!("An alias with the name {arn} already exists"),
        );
    let old = world.encrypt("alias/input", b"x", json!({}));
    world.ok(
        "UpdateAlias",
        json!({ "AliasName": "alias/input", "TargetKeyId": second }),
    );
    let described = world.ok("DescribeKey", json!({ "KeyId": arn }));
    assert_eq!(described["KeyMetadata"]["Arn"], second.as_str());
    assert_eq!(
        world.ok("Decrypt", json!({ "CiphertextBlob": old }))["KeyId"],
        first.as_str()
    );
    assert_eq!(
        world
            .err(
                "Decrypt",
                json!({ "CiphertextBlob": old, "KeyId": "alias/input" })
            )
            .code,
        "IncorrectKeyException"
    );
    let listed = world.ok("ListAliases", json!({}));
    let alias = &listed["Aliases"][0];
    assert_eq!(
        members(alias),
        [
            "AliasArn",
            "AliasName",
            "CreationDate",
            "LastUpdatedDate",
            "TargetKeyId"
        ]
        .into()
    );
    assert_eq!(alias["TargetKeyId"], second.rsplit('/').next().unwrap());
    assert_eq!(
        world.ok("ListAliases", json!({ "KeyId": first }))["Aliases"],
        json!([])
    );
    assert_eq!(
        world.ok("ListAliases", json!({ "KeyId": second }))["Aliases"][0],
        *alias
    );
    world.ok("DeleteAlias", json!({ "AliasName": "alias/input" }));
    world
        .err("DescribeKey", json!({ "KeyId": "alias/input" }))
        .says("NotFoundException", &format!("Alias {arn} is not found."));
    world.err(
        "CreateAlias",
        json!({ "AliasName": "alias/aws/s3", "TargetKeyId": first }),
    );
}

#[test]
fn lists_are_cut_and_continued() {
    let world = World::new();
    let keys: BTreeSet<String> = (0..7).map(|_| world.key()).collect();
    let mut seen = Vec::new();
    let mut body = json!({ "Limit": 3 });
    loop {
        let page = world.ok("ListKeys", body);
        seen.extend(
            page["Keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| text(&key["KeyArn"])),
        );
        if page["Truncated"] == false {
            assert!(page.get("NextMarker").is_none());
            break;
        }
        body = json!({ "Limit": 3, "Marker": page["NextMarker"] });
    }
    assert_eq!(seen, keys.into_iter().collect::<Vec<_>>());
    assert_eq!(
        world.err("ListKeys", json!({ "Marker": "?" })).code,
        "InvalidMarkerException"
    );
    let names = world.ok("ListKeyPolicies", json!({ "KeyId": seen[0] }));
    assert_eq!(names["PolicyNames"], json!(["default"]));
}

#[test]
fn tags_are_set_listed_and_removed() {
    let world = World::new();
    let key = world.key();
    world.ok(
        "TagResource",
        json!({ "KeyId": key, "Tags": [
            { "TagKey": "b", "TagValue": "2" }, { "TagKey": "a", "TagValue": "1" },
        ]}),
    );
    world.ok(
        "TagResource",
        json!({ "KeyId": key, "Tags": [{ "TagKey": "b", "TagValue": "3" }] }),
    );
    let tags = world.ok("ListResourceTags", json!({ "KeyId": key }));
    assert_eq!(
        tags["Tags"],
        json!([
            { "TagKey": "a", "TagValue": "1" }, { "TagKey": "b", "TagValue": "3" },
        ])
    );
    world.ok(
        "UntagResource",
        json!({ "KeyId": key, "TagKeys": ["a", "none"] }),
    );
    let tags = world.ok("ListResourceTags", json!({ "KeyId": key }));
    assert_eq!(tags["Tags"].as_array().unwrap().len(), 1);
}

#[test]
fn a_thread_that_remembers_a_key_sees_what_others_have_changed_since() {
    let world = World::new();
    let key = world.key();
    let sealed = world.ok("Encrypt", json!({ "KeyId": key, "Plaintext": "eHl6" }));
    let decrypt = || {
        let blob = &sealed["CiphertextBlob"];
        let answer = world.call("Decrypt", json!({ "CiphertextBlob": blob }))?;
        assert_eq!(answer["Plaintext"], "eHl6");
        Ok(())
    };
    let elsewhere = |operation: &'static str, body: Value| {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| world.ok(operation, body));
            thread.join().unwrap()
        })
    };
    let id = || json!({ "KeyId": key });
    let code = |refused: Result<(), Refused>| refused.unwrap_err().code;
    decrypt().unwrap();
    elsewhere("DisableKey", id());
    assert_eq!(code(decrypt()), "DisabledException");
    elsewhere("EnableKey", id());
    decrypt().unwrap();
    let before = world.ok("GetKeyPolicy", id())["Policy"].clone();
    let closed = text(&before).replace("kms:*", "kms:PutKeyPolicy");
    let put = |policy: Value| json!({ "KeyId": key, "Policy": policy, "BypassPolicyLockoutSafetyCheck": true });
    elsewhere("PutKeyPolicy", put(closed.into()));
    assert_eq!(code(decrypt()), "AccessDeniedException");
    elsewhere("PutKeyPolicy", put(before));
    decrypt().unwrap();
    elsewhere("RotateKeyOnDemand", id());
    decrypt().unwrap();
    elsewhere("ScheduleKeyDeletion", id());
    assert_eq!(code(decrypt()), "KMSInvalidStateException");
    world.clock.advance(Duration::from_secs(31 * 24 * 3600));
    // Deleted by the calendar: the blob is nobody's.
    assert_eq!(code(decrypt()), "InvalidCiphertextException");
    let gone = world.call("DescribeKey", id());
    assert_eq!(gone.unwrap_err().code, "NotFoundException");
}

#[test]
fn two_worlds_of_one_thread_keep_their_keys_apart() {
    let seed = || Some(WorldSeed::from_u64(1));
    let (first, second) = (World::seeded(seed()), World::seeded(seed()));
    let (key, same) = (first.key(), second.key());
    assert_eq!(key, same);
    first.ok("Encrypt", json!({ "KeyId": key, "Plaintext": "eHl6" }));
    second.ok("DisableKey", json!({ "KeyId": key }));
    first.ok("Encrypt", json!({ "KeyId": key, "Plaintext": "eHl6" }));
    let refused = second.call("Encrypt", json!({ "KeyId": key, "Plaintext": "eHl6" }));
    assert_eq!(refused.unwrap_err().code, "DisabledException");
}

#[test]
fn the_last_usage_is_the_last_of_all_threads() {
    let world = World::new();
    let key = world.key();
    let usage = || world.ok("GetKeyLastUsage", json!({ "KeyId": key }))["KeyLastUsage"].clone();
    assert_eq!(usage(), json!({}));
    // All within one millisecond, by threads of different lanes.
    for operation in ["Encrypt", "GenerateDataKeyWithoutPlaintext"].repeat(4) {
        let mut body = json!({ "KeyId": key });
        match operation {
            "Encrypt" => body["Plaintext"] = "eHl6".into(),
            _ => body["KeySpec"] = "AES_256".into(),
        }
        std::thread::scope(|scope| scope.spawn(|| world.ok(operation, body)).join().unwrap());
        assert_eq!(usage()["Operation"], operation);
    }
}
