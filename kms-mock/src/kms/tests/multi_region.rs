//! Multi-Region keys, Regions of calls, and the last usage of keys.

use super::*;

const EU: &str = "eu-west-1";
const DAY: Duration = Duration::from_secs(86_400);

fn primary(world: &World) -> String {
    let created = world.ok("CreateKey", json!({ "MultiRegion": true }));
    text(&created["KeyMetadata"]["Arn"])
}

fn replicate(world: &World, key: &str, region: &str) -> String {
    let body = json!({ "KeyId": key, "ReplicaRegion": region });
    text(&world.ok("ReplicateKey", body)["ReplicaKeyMetadata"]["Arn"])
}

impl World {
    fn ok_in(&self, region: &str, operation: &str, body: Value) -> Value {
        self.call_in(Some(region), &self.root, operation, body)
            .unwrap_or_else(|refused| panic!("{operation} in {region}: {refused:?}"))
    }

    fn err_in(&self, region: &str, operation: &str, body: Value) -> Refused {
        self.call_in(Some(region), &self.root, operation, body)
            .expect_err(operation)
    }

    fn described_in(&self, region: &str, key: &str) -> Value {
        self.ok_in(region, "DescribeKey", json!({ "KeyId": key }))["KeyMetadata"].clone()
    }
}

#[test]
fn a_primary_key_is_replicated_as_aws_recorded() {
    let world = World::new();
    let created = world.ok("CreateKey", json!({ "MultiRegion": true }));
    let created = &created["KeyMetadata"];
    let (arn, id) = (text(&created["Arn"]), text(&created["KeyId"]));
    assert!(id.starts_with("mrk-") && id.len() == 36, "{id}");
    let named = |arn: &str, region: &str| json!({ "Arn": arn, "Region": region });
    assert_eq!(created["MultiRegion"], true);
    assert_eq!(
        created["MultiRegionConfiguration"],
        json!({
            "MultiRegionKeyType": "PRIMARY",
            "PrimaryKey": named(&arn, "us-east-1"),
            "ReplicaKeys": [],
        })
    );
    let region = "ap-southeast-1";
    let missing = format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}");
    world
        .err_in(region, "DescribeKey", json!({ "KeyId": id }))
        .says(
            "NotFoundException",
            &format!("Key '{missing}' does not exist"),
        );
    let body = json!({ "KeyId": id, "ReplicaRegion": region });
    let replicated = world.ok("ReplicateKey", body.clone());
    assert_eq!(
        members(&replicated),
        ["ReplicaKeyMetadata", "ReplicaPolicy"].into()
    );
    let metadata = &replicated["ReplicaKeyMetadata"];
    let configuration = |kind: &str| {
        json!({
            "MultiRegionKeyType": kind,
            "PrimaryKey": named(&arn, "us-east-1"),
            "ReplicaKeys": [named(&missing, region)],
        })
    };
    assert_eq!(metadata["Arn"], missing.as_str());
    assert_eq!(metadata["KeyState"], "Creating");
    assert_eq!(metadata["Enabled"], false);
    assert!(metadata.get("CurrentKeyMaterialId").is_none());
    assert_eq!(
        metadata["MultiRegionConfiguration"],
        configuration("REPLICA")
    );
    let policy: Value = serde_json::from_str(&text(&replicated["ReplicaPolicy"])).unwrap();
    assert_eq!(policy["Id"], "key-default-1");

    let replica = world.described_in(region, &id);
    let first = world.described_in("us-east-1", &id);
    assert_eq!(replica["KeyState"], "Enabled");
    assert_eq!(
        replica["CurrentKeyMaterialId"],
        first["CurrentKeyMaterialId"]
    );
    assert_eq!(
        replica["MultiRegionConfiguration"],
        configuration("REPLICA")
    );
    assert_eq!(first["MultiRegionConfiguration"], configuration("PRIMARY"));
    world.err("ReplicateKey", body).says(
        "AlreadyExistsException",
        &format!("Key {missing} already exists"),
    );
    let again = json!({ "KeyId": id, "ReplicaRegion": EU });
    world.err_in(region, "ReplicateKey", again.clone()).says(
        "UnsupportedOperationException",
        &format!("{missing} is not a multi-region primary key."),
    );
    let single = world.key();
    let body = json!({ "KeyId": single, "ReplicaRegion": EU });
    world.err("ReplicateKey", body).says(
        "UnsupportedOperationException",
        &format!("{single} is not a multi-region primary key."),
    );
    world.ok("DisableKey", json!({ "KeyId": id }));
    world
        .err("ReplicateKey", again)
        .says("DisabledException", &format!("{arn} is disabled."));
}

#[test]
fn related_keys_decrypt_each_others_blobs_and_no_others() {
    let world = World::new();
    let key = primary(&world);
    let replica = replicate(&world, &key, EU);
    let here = world.encrypt(&key, b"here", json!({ "a": "b" }));
    let body = json!({ "KeyId": replica, "Plaintext": "eA==" });
    let there = text(&world.ok_in(EU, "Encrypt", body)["CiphertextBlob"]);
    let decrypt = |blob: &str| json!({ "CiphertextBlob": blob });
    let with_context = json!({ "CiphertextBlob": here, "EncryptionContext": { "a": "b" } });
    for region in ["us-east-1", EU] {
        let arn = if region == EU { &replica } else { &key };
        let opened = world.ok_in(region, "Decrypt", decrypt(&there));
        assert_eq!(opened["KeyId"], arn.as_str());
        let opened = world.ok_in(region, "Decrypt", with_context.clone());
        assert_eq!(unbase64(&opened["Plaintext"]), b"here");
        assert_eq!(opened["KeyId"], arn.as_str());
    }
    let records = world.kms.audit().records();
    let last = records.last().unwrap();
    assert_eq!(last.event()["awsRegion"], EU);
    // Keys of one Region stay there.
    let single = world.key();
    let blob = world.encrypt(&single, b"x", json!({}));
    world.err_in(EU, "Decrypt", decrypt(&blob)).says(
        "AccessDeniedException",
        &format!(
            "User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
        ),
    );
    world
        .err_in(EU, "Encrypt", json!({ "KeyId": key, "Plaintext": "eA==" }))
        .says("NotFoundException", "Invalid arn us-east-1");
    let listed = world.ok_in(EU, "ListKeys", json!({}));
    assert_eq!(listed["Keys"].as_array().unwrap().len(), 1);
    assert_eq!(listed["Keys"][0]["KeyArn"], replica.as_str());
}

#[test]
fn rotation_belongs_to_the_primary_key_and_reaches_its_replicas() {
    let world = World::new();
    let key = primary(&world);
    let replica = replicate(&world, &key, EU);
    for operation in [
        "EnableKeyRotation",
        "DisableKeyRotation",
        "RotateKeyOnDemand",
    ] {
        world
            .err_in(EU, operation, json!({ "KeyId": replica }))
            .says(
                "UnsupportedOperationException",
                &format!("{replica} is not a multi-region primary key."),
            );
    }
    let body = json!({ "KeyId": key, "RotationPeriodInDays": 90 });
    world.ok("EnableKeyRotation", body);
    let status = world.ok_in(EU, "GetKeyRotationStatus", json!({ "KeyId": replica }));
    assert_eq!(status["RotationPeriodInDays"], 90);
    let material =
        |region: &str, arn: &str| text(&world.described_in(region, arn)["CurrentKeyMaterialId"]);
    let first = material(EU, &replica);
    world.ok("RotateKeyOnDemand", json!({ "KeyId": key }));
    let second = material(EU, &replica);
    assert_ne!(first, second);
    assert_eq!(second, material("us-east-1", &key));
    // Looking at the replica alone is enough for the calendar.
    world.clock.advance(DAY * 91);
    let third = material(EU, &replica);
    assert_ne!(second, third);
    assert_eq!(third, material("us-east-1", &key));
    let body = json!({ "KeyId": replica, "Plaintext": "eA==" });
    let blob = text(&world.ok_in(EU, "Encrypt", body)["CiphertextBlob"]);
    world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
}

#[test]
fn the_primary_region_moves_and_both_keys_are_updating_until_the_clock_moves() {
    let world = World::new();
    let key = primary(&world);
    let replica = replicate(&world, &key, EU);
    let update = |region: &str| json!({ "KeyId": key, "PrimaryRegion": region });
    world.err("UpdatePrimaryRegion", update("us-east-1")).says(
        "UnsupportedOperationException",
        &format!("{key} is already the multi-region primary key."),
    );
    assert_eq!(
        world.err("UpdatePrimaryRegion", update("sa-east-1")).code,
        "NotFoundException"
    );
    assert_eq!(
        world
            .err("UpdatePrimaryRegion", update("Mars"))
            .message
            .as_deref(),
        Some(
            "1 validation error detected: Value 'Mars' at 'primaryRegion' failed to satisfy constraint: Member must satisfy regular expression pattern: ^([a-z]+-){2,3}\\d+$"
        )
    );
    assert_eq!(world.ok("UpdatePrimaryRegion", update(EU)), Value::Null);
    for (region, arn, kind) in [("us-east-1", &key, "REPLICA"), (EU, &replica, "PRIMARY")] {
        let described = world.described_in(region, arn);
        assert_eq!(described["KeyState"], "Updating");
        let configuration = &described["MultiRegionConfiguration"];
        assert_eq!(configuration["MultiRegionKeyType"], kind);
        assert_eq!(configuration["PrimaryKey"]["Region"], EU);
        // It can be used, but not be managed.
        let body = json!({ "KeyId": arn, "Plaintext": "eA==" });
        world.ok_in(region, "Encrypt", body);
        world
            .err_in(region, "DisableKey", json!({ "KeyId": arn }))
            .says("KMSInvalidStateException", &format!("{arn} is updating."));
    }
    let body = json!({ "KeyId": replica, "ReplicaRegion": "ap-south-1" });
    assert_eq!(
        world.err_in(EU, "ReplicateKey", body.clone()).code,
        "KMSInvalidStateException"
    );
    world.clock.advance(Duration::from_millis(1));
    for (region, arn) in [("us-east-1", &key), (EU, &replica)] {
        assert_eq!(world.described_in(region, arn)["KeyState"], "Enabled");
    }
    world.ok_in(EU, "ReplicateKey", body);
    world.err("UpdatePrimaryRegion", update(EU)).says(
        "UnsupportedOperationException",
        &format!("{key} is not a multi-region primary key."),
    );
}

#[test]
fn a_primary_key_waits_for_its_replicas_before_it_is_deleted() {
    let world = World::new();
    let key = primary(&world);
    let replica = replicate(&world, &key, EU);
    let blob = world.encrypt(&key, b"x", json!({}));
    let body = |arn: &str| json!({ "KeyId": arn, "PendingWindowInDays": 7 });
    let scheduled = world.ok("ScheduleKeyDeletion", body(&key));
    assert_eq!(
        scheduled,
        json!({ "KeyId": key, "KeyState": "PendingReplicaDeletion", "PendingWindowInDays": 7 })
    );
    assert_eq!(
        world.described_in("us-east-1", &key)["PendingDeletionWindowInDays"],
        7
    );
    world
        .err("Encrypt", json!({ "KeyId": key, "Plaintext": "eA==" }))
        .says(
            "KMSInvalidStateException",
            &format!("{key} is pending replica deletion."),
        );
    world.clock.advance(DAY * 100);
    assert_eq!(
        world.described_in("us-east-1", &key)["KeyState"],
        "PendingReplicaDeletion"
    );
    world.ok_in(EU, "ScheduleKeyDeletion", body(&replica));
    world.clock.advance(DAY * 8);
    let described = world.described_in("us-east-1", &key);
    assert_eq!(described["KeyState"], "PendingDeletion");
    assert_eq!(
        described["DeletionDate"],
        START.0 / 1000 + (100 + 7 + 7) * 86_400
    );
    assert_eq!(
        described["MultiRegionConfiguration"]["ReplicaKeys"],
        json!([])
    );
    // The remaining key can still be rescued, blobs and all.
    world.ok("CancelKeyDeletion", json!({ "KeyId": key }));
    world.ok("EnableKey", json!({ "KeyId": key }));
    world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
    world.ok("ScheduleKeyDeletion", body(&key));
    world.clock.advance(DAY * 7);
    assert_eq!(
        world.err("DescribeKey", json!({ "KeyId": key })).code,
        "NotFoundException"
    );
}

#[test]
fn replicas_have_their_own_policy_tags_and_permissions() {
    let world = World::new();
    let key = primary(&world);
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*",
            "Condition": { "StringEquals": { "kms:MultiRegionKeyType": "REPLICA" } },
        }],
    });
    let body = json!({
        "KeyId": key, "ReplicaRegion": EU, "Policy": policy.to_string(),
        "Description": "d", "Tags": [{ "TagKey": "k", "TagValue": "v" }],
    });
    let replicated = world.ok("ReplicateKey", body);
    assert_eq!(
        replicated["ReplicaTags"],
        json!([{ "TagKey": "k", "TagValue": "v" }])
    );
    let replica = text(&replicated["ReplicaKeyMetadata"]["Arn"]);
    let stranger = role(ACCOUNT, "stranger");
    let encrypt = |arn: &str| json!({ "KeyId": arn, "Plaintext": "eA==" });
    world
        .call_in(Some(EU), &stranger, "Encrypt", encrypt(&replica))
        .unwrap();
    let refused = world.call_as(&stranger, "Encrypt", encrypt(&key));
    assert_eq!(refused.unwrap_err().code, "AccessDeniedException");
    assert_eq!(
        world.ok("ListResourceTags", json!({ "KeyId": key }))["Tags"],
        json!([])
    );

    // kms:ReplicaRegion decides about Regions.
    let text = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Action":"kms:*","Resource":"*"},
        {"Effect":"Deny","Action":"kms:ReplicateKey","Resource":"*",
        "Condition":{"StringEquals":{"kms:ReplicaRegion":"ap-south-1"}}}]}"#;
    let mut admin = role(ACCOUNT, "admin");
    let policy = Policy::parse(text, PolicyKind::Identity).unwrap();
    admin.identity_policies.push(Arc::new(policy));
    let body = |region: &str| json!({ "KeyId": key, "ReplicaRegion": region });
    let refused = world.call_as(&admin, "ReplicateKey", body("ap-south-1"));
    assert!(
        refused
            .unwrap_err()
            .message
            .unwrap()
            .ends_with("with an explicit deny in an identity-based policy")
    );
    world
        .call_as(&admin, "ReplicateKey", body("sa-east-1"))
        .unwrap();
}

#[test]
fn the_last_usage_of_a_key_is_told() {
    let world = World::new();
    let key = world.key();
    let other = world.key();
    let usage = |world: &World, key: &str| world.ok("GetKeyLastUsage", json!({ "KeyId": key }));
    let unused = usage(&world, &key);
    assert_eq!(
        unused,
        json!({
            "KeyId": key, "KeyLastUsage": {},
            "TrackingStartDate": START.0 / 1000, "KeyCreationDate": START.0 / 1000,
        })
    );
    world.clock.advance(Duration::from_secs(5));
    let blob = world.encrypt(&key, b"x", json!({}));
    let used = usage(&world, &key)["KeyLastUsage"].clone();
    assert_eq!(
        used,
        json!({
            "Operation": "Encrypt", "Timestamp": START.0 / 1000 + 5,
            "CloudTrailEventId": Uuid::nil().to_string(), "KmsRequestId": Uuid::nil().to_string(),
        })
    );
    // Failures, trials and management do not count.
    world.clock.advance(Duration::from_secs(5));
    let trial = json!({ "KeyId": key, "Plaintext": "eA==", "DryRun": true });
    world.err("Encrypt", trial);
    let wrong = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } });
    world.err("Decrypt", wrong);
    world.ok("DescribeKey", json!({ "KeyId": key }));
    assert_eq!(usage(&world, &key)["KeyLastUsage"], used);
    let body = json!({ "CiphertextBlob": blob, "DestinationKeyId": other });
    world.ok("ReEncrypt", body);
    for key in [&key, &other] {
        let used = &usage(&world, key)["KeyLastUsage"];
        assert_eq!(used["Operation"], "ReEncrypt");
        assert_eq!(used["Timestamp"], START.0 / 1000 + 10);
    }
    assert_eq!(
        world
            .err("GetKeyLastUsage", json!({ "KeyId": "alias/x" }))
            .code,
        "NotFoundException"
    );
}
