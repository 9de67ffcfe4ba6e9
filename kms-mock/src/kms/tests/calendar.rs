//! What the calendar does while nobody looks, and in combination; each event alone
//! is tested beside its operations.

use std::{sync::Weak, thread};

use nsm_sim::clock::Clock as _;

use super::{
    import::{import, new_material, pending, with, wrapped},
    *,
};
use crate::keys::material::{MessageKey, SymmetricMaterial};

const DAY: Duration = Duration::from_secs(86_400);

fn days(count: u64) -> u64 {
    START.0 / 1000 + count * 86_400
}

fn state(world: &World, key: &str) -> String {
    text(&world.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"]["KeyState"])
}

fn rotation_dates(world: &World, key: &str) -> Vec<u64> {
    let listed = world.ok("ListKeyRotations", json!({ "KeyId": key }));
    let rotations = listed["Rotations"].as_array().unwrap();
    rotations
        .iter()
        .map(|rotation| rotation["RotationDate"].as_u64().unwrap())
        .collect()
}

#[test]
fn rotations_that_fell_due_unseen_have_happened_each_on_its_day() {
    let world = World::new();
    let key = world.key();
    let old = world.encrypt(&key, b"old", json!({}));
    let enable = json!({ "KeyId": key, "RotationPeriodInDays": 100 });
    world.ok("EnableKeyRotation", enable);
    world.clock.advance(DAY * 100 - Duration::from_millis(1));
    assert!(rotation_dates(&world, &key).is_empty());
    world.clock.advance(DAY * 250);
    assert_eq!(
        rotation_dates(&world, &key),
        [days(100), days(200), days(300)]
    );
    let status = world.ok("GetKeyRotationStatus", json!({ "KeyId": key }));
    assert_eq!(status["NextRotationDate"], days(400));
    world.ok("Decrypt", json!({ "CiphertextBlob": old }));
}

#[test]
fn a_rotation_that_fell_due_while_the_key_was_disabled_is_made_up_for() {
    let world = World::new();
    let key = world.key();
    let by_id = || json!({ "KeyId": key });
    let current = || {
        let described = world.ok("DescribeKey", by_id());
        text(&described["KeyMetadata"]["CurrentKeyMaterialId"])
    };
    let first = current();
    let enable = json!({ "KeyId": key, "RotationPeriodInDays": 100 });
    world.ok("EnableKeyRotation", enable);
    world.ok("DisableKey", by_id());
    world.clock.advance(DAY * 150);
    assert_eq!(current(), first);
    world.ok("EnableKey", by_id());
    assert_eq!(rotation_dates(&world, &key), [days(100)]);
    assert_ne!(current(), first);
}

#[test]
fn old_material_that_expires_makes_the_whole_key_wait() {
    let world = World::new();
    let key = pending(&world, json!({}));
    let expiring = json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": days(10) });
    let first = import(&world, &key, 1, expiring);
    let old = world.encrypt(&key, b"old", json!({}));
    import(&world, &key, 2, new_material());
    world.ok("RotateKeyOnDemand", json!({ "KeyId": key }));
    let new = world.encrypt(&key, b"new", json!({}));
    world.clock.advance(DAY * 10 - Duration::from_millis(1));
    assert_eq!(state(&world, &key), "Enabled");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(state(&world, &key), "PendingImport");
    for blob in [&old, &new] {
        let refused = world.err("Decrypt", json!({ "CiphertextBlob": blob }));
        assert_eq!(refused.code, "KMSInvalidStateException");
    }
    assert_eq!(import(&world, &key, 1, json!({})), first);
    for blob in [&old, &new] {
        world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
    }
}

#[test]
fn material_expires_in_each_region_for_itself() {
    let world = World::new();
    let eu = Some("eu-west-1");
    let key = pending(&world, json!({ "MultiRegion": true }));
    import(&world, &key, 1, json!({}));
    let replicate = json!({ "KeyId": key, "ReplicaRegion": "eu-west-1" });
    let replicated = world.ok("ReplicateKey", replicate);
    let replica = text(&replicated["ReplicaKeyMetadata"]["Arn"]);
    let expiring = json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": days(10) });
    let body = with(wrapped(&world, eu, &replica, &[1; 32]), expiring);
    let in_eu = |operation: &str, body: Value| world.call_in(eu, &world.root, operation, body);
    in_eu("ImportKeyMaterial", body).unwrap();
    let blob = world.encrypt(&key, b"x", json!({}));
    in_eu("Decrypt", json!({ "CiphertextBlob": blob })).unwrap();
    world.clock.advance(DAY * 10);
    let refused = in_eu("Decrypt", json!({ "CiphertextBlob": blob })).unwrap_err();
    assert_eq!(refused.code, "KMSInvalidStateException");
    assert_eq!(state(&world, &key), "Enabled");
    world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
}

#[test]
fn a_key_rescued_from_deletion_waits_for_material_that_expired_meanwhile() {
    let world = World::new();
    let key = pending(&world, json!({}));
    let expiring = json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": days(10) });
    import(&world, &key, 1, expiring);
    world.ok("ScheduleKeyDeletion", json!({ "KeyId": key }));
    world.clock.advance(DAY * 20);
    assert_eq!(state(&world, &key), "PendingDeletion");
    world.ok("CancelKeyDeletion", json!({ "KeyId": key }));
    assert_eq!(state(&world, &key), "PendingImport");
    import(&world, &key, 1, json!({}));
    assert_eq!(state(&world, &key), "Enabled");
}

#[test]
fn aliases_and_grants_go_with_their_key_when_its_window_is_over() {
    let world = World::new();
    let key = world.key();
    let alias = json!({ "AliasName": "alias/a", "TargetKeyId": key });
    world.ok("CreateAlias", alias);
    let principal = format!("arn:aws:iam::{ACCOUNT}:role/r");
    let grant = json!({
        "KeyId": key, "GranteePrincipal": principal, "RetiringPrincipal": principal,
        "Operations": ["Decrypt"],
    });
    world.ok("CreateGrant", grant);
    let counts = || {
        let aliases = world.ok("ListAliases", json!({}));
        let own = aliases["Aliases"].as_array().unwrap().iter();
        let own = own.filter(|alias| alias["AliasName"] == "alias/a").count();
        let body = json!({ "RetiringPrincipal": principal });
        let grants = world.ok("ListRetirableGrants", body);
        (own, grants["Grants"].as_array().unwrap().len())
    };
    let schedule = json!({ "KeyId": key, "PendingWindowInDays": 7 });
    world.ok("ScheduleKeyDeletion", schedule);
    world.clock.advance(DAY * 7 - Duration::from_millis(1));
    assert_eq!(counts(), (1, 1));
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(counts(), (0, 0));
    let refused = world.err("DescribeKey", json!({ "KeyId": "alias/a" }));
    assert_eq!(refused.code, "NotFoundException");
}

/// The material of a key, for finding out whether it is still in memory.
fn material_of(world: &World, key: &str) -> Weak<SymmetricMaterial> {
    let key = world.kms.store.as_it_is(key).unwrap();
    Arc::downgrade(&key.record().current().unwrap().material)
}

/// The key under which this thread seals with it now, for the same.
fn message_key_of(world: &World, key: &str) -> Weak<MessageKey> {
    let now = world.clock.now();
    let known = world.kms.store.recent(key, "us-east-1", ACCOUNT, now);
    let known = known.expect("this thread has used it");
    let material = &known.record.current().unwrap().material;
    let sealing = known.message_keys.to_seal(material, &world.kms.entropy);
    Arc::downgrade(&sealing.unwrap())
}

/// Uses a key in several threads, each of which remembers it.
fn use_everywhere(world: &World, key: &str) {
    let use_it = || {
        let blob = world.encrypt(key, b"x", json!({}));
        world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(use_it);
        }
    });
    use_it();
}

#[test]
fn material_leaves_memory_with_its_key() {
    let world = World::new();
    let key = world.key();
    use_everywhere(&world, &key);
    let material = material_of(&world, &key);
    let message_key = message_key_of(&world, &key);
    assert!(message_key.upgrade().is_some());
    let schedule = json!({ "KeyId": key, "PendingWindowInDays": 7 });
    world.ok("ScheduleKeyDeletion", schedule);
    assert!(message_key.upgrade().is_none()); // it cannot seal any more
    world.clock.advance(DAY * 7 - Duration::from_millis(1));
    world.ok("GenerateRandom", json!({ "NumberOfBytes": 1 }));
    assert!(material.upgrade().is_some());
    world.clock.advance(Duration::from_millis(1));
    world.ok("GenerateRandom", json!({ "NumberOfBytes": 1 }));
    assert!(material.upgrade().is_none());
}

#[test]
fn imported_material_leaves_memory_when_it_is_deleted_and_when_it_expires() {
    let world = World::new();
    let key = pending(&world, json!({}));
    import(&world, &key, 1, json!({}));
    use_everywhere(&world, &key);
    let material = material_of(&world, &key);
    let message_key = message_key_of(&world, &key);
    assert!(message_key.upgrade().is_some());
    world.ok("DeleteImportedKeyMaterial", json!({ "KeyId": key }));
    assert!(material.upgrade().is_none());
    assert!(message_key.upgrade().is_none());

    let expiring = json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": days(10) });
    import(&world, &key, 1, expiring);
    use_everywhere(&world, &key);
    let material = material_of(&world, &key);
    world.clock.advance(DAY * 10);
    assert_eq!(state(&world, &key), "PendingImport");
    assert!(material.upgrade().is_none());
}
