//! Directories and files that a server does not start with, and leaves as they are.

use std::path::Path;

use kms_mock::{DataDirError, KmsMock, StartError};
use serde_json::{Value, json};

use super::{World, call};

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
        assert!(
            refused.to_string().contains("restore a backup"),
            "{refused}"
        );
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
fn other_users_may_not_read_what_is_kept() {
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
