//! Which world a directory has: its roots, its seed, its seed file, a fresh one.

use kms_mock::{DataDirError, KmsMock, StartError};
use nsm_sim::seed::WorldSeed;
use serde_json::json;

use super::{ACCOUNT, START, World, call, objects::s3, text};

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
