//! A disk that is full and directories that this server may not write: it says so,
//! and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use serde_json::json;

use super::{
    names,
    server::{Client, Server, after, serve, why_not},
};

/// The command, whose files may grow by a MiB: so the system's limit stands for a
/// disk that is full.
fn with_room(data: &Path, command: &Command) -> Command {
    let size = data.join("world.redb").metadata().unwrap().len();
    let blocks = size / 512 + 2048;
    after(&format!("trap '' XFSZ; ulimit -S -f {blocks}"), command)
}

/// Makes keys until one is refused; those that were made.
fn fill(client: &mut Client) -> BTreeSet<String> {
    let body = json!({ "Description": "x".repeat(8192) });
    let mut made = BTreeSet::new();
    for _ in 0..10_000 {
        let (status, answer) = client.kms("CreateKey", &body).unwrap();
        if status != 200 {
            assert_eq!(status, 500);
            assert_eq!(answer["__type"], "KMSInternalException");
            return made;
        }
        made.insert(answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned());
    }
    panic!("the disk was never full")
}

fn listed(client: &mut Client) -> BTreeSet<String> {
    let keys = client.ok("ListKeys", &json!({ "Limit": 1000 }));
    assert_eq!(keys["Truncated"], false, "the test makes too many keys");
    names(&keys["Keys"], "KeyArn")
}

#[test]
fn a_server_whose_disk_is_full_refuses_changes_and_shows_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    drop(Server::start(&data));
    let mut server = Server::run(&mut with_room(&data, &serve(&data)));
    let mut client = server.client();
    let expected = fill(&mut client);
    assert_eq!(listed(&mut client), expected);
    // Whatever is there still works.
    let first = expected.first().unwrap();
    let sealed = client.ok("Encrypt", &json!({ "KeyId": first, "Plaintext": "AAAA" }));
    client.ok(
        "Decrypt",
        &json!({ "CiphertextBlob": sealed["CiphertextBlob"] }),
    );
    server.kill();
    let server = Server::start(&data);
    let again = listed(&mut server.client());
    assert!(again.is_superset(&expected));
    assert!(
        again.len() <= expected.len() + 1,
        "what was refused is not there"
    );
}

/// Two servers never have one directory, and the second says what to do.
#[test]
fn a_second_server_on_the_same_directory_ends_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let said = why_not(&mut serve(dir.path()));
    assert!(
        said.contains("in use by another server; stop that one"),
        "{said}"
    );
    server.client().ok("CreateKey", &json!({}));
}

/// Nobody's user and group.
const NOBODY: u32 = 65534;
const DROPPED: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
const NEXT_STEP: &str = "give --data-dir a directory that this user may write";

/// A user whom permissions bind: this one, or nobody in place of the superuser.
#[derive(Clone, Copy)]
struct Bound {
    is_dropped: bool,
}

impl Bound {
    /// `None` where the superuser cannot be left.
    fn new() -> Option<Self> {
        let own = tempfile::tempdir().unwrap();
        if own.path().metadata().unwrap().uid() != 0 {
            return Some(Self { is_dropped: false });
        }
        let works = Command::new("setpriv").args(DROPPED).arg("true").status();
        if works.is_ok_and(|status| status.success()) {
            return Some(Self { is_dropped: true });
        }
        println!("not tested: nothing here gives up the superuser's rights (setpriv)");
        None
    }

    fn run(self, command: &Command) -> Command {
        if !self.is_dropped {
            return after(":", command);
        }
        let mut dropped = Command::new("setpriv");
        dropped
            .args(DROPPED)
            .arg(command.get_program())
            .args(command.get_args());
        dropped
    }

    fn own(self, paths: &[&Path]) {
        for path in paths.iter().filter(|_| self.is_dropped) {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
}

/// A folder that everybody may look into, with a data directory in it.
fn kept_world() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    drop(Server::start(&data));
    mode(dir.path(), 0o755);
    (dir, data)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Names, bytes, modes and times of everything in a folder.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, SystemTime)> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let about = path.metadata().unwrap();
            let bytes = fs::read(&path).unwrap();
            (path, (bytes, about.mode(), about.modified().unwrap()))
        })
        .collect()
}

/// A start that ends with a sentence, says what to do, and changes nothing.
fn is_refused(mut command: Command, folder: &Path, why: &str) {
    let before = everything(folder);
    let said = why_not(&mut command);
    for part in [why, NEXT_STEP, folder.to_str().unwrap()] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(everything(folder), before);
}

#[test]
fn a_directory_that_this_user_may_not_write_ends_the_start_and_stays_as_it_is() {
    let Some(user) = Bound::new() else { return };
    let (dir, data) = kept_world();
    let (file, lock) = (data.join("world.redb"), data.join("lock"));
    let start = |data: &Path| user.run(&serve(data));
    user.own(&[&data]);
    for (folder, others) in [(0o500, 0o444), (0o700, 0o444)] {
        mode(&data, folder);
        mode(&file, others);
        mode(&lock, others);
        is_refused(start(&data), &data, "Permission denied");
    }
    user.own(&[&file, &lock]);
    for (for_file, for_lock) in [(0o400, 0o400), (0o400, 0o600), (0o600, 0o400)] {
        mode(&file, for_file);
        mode(&lock, for_lock);
        is_refused(start(&data), &data, "Permission denied");
    }
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    user.own(&[&empty]);
    mode(&empty, 0o500);
    for new in [&empty, &empty.join("new")] {
        is_refused(start(new), &empty, "Permission denied");
    }
    if user.is_dropped {
        // Another user's, from which nobody can keep others out.
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        mode(&open, 0o777);
        is_refused(start(&open), &open, "Operation not permitted");
    }
}

#[test]
fn a_directory_on_a_read_only_mount_ends_the_start_and_stays_as_it_is() {
    const MOUNT: &str = r#"mount --bind "$D" "$D" && mount -o remount,bind,ro "$D" || exit 77"#;
    let (dir, data) = kept_world();
    let inside = |command: &Command| {
        let mut inside = Command::new("unshare");
        let command = after(MOUNT, command);
        inside
            .args(["--user", "--map-root-user", "--mount"])
            .arg(command.get_program())
            .args(command.get_args())
            .env("D", dir.path());
        inside
    };
    let works = inside(&Command::new("true")).status();
    if !works.is_ok_and(|status| status.success()) {
        println!("not tested: nobody may mount in a namespace of their own here (unshare)");
        return;
    }
    is_refused(inside(&serve(&data)), &data, "Read-only file system");
    let new = data.join("new");
    is_refused(inside(&serve(&new)), &data, "Read-only file system");
}

/// A data directory whose permissions are taken away and given back.
struct Withdrawn {
    user: Bound,
    _dir: tempfile::TempDir,
    data: PathBuf,
    file: PathBuf,
}

impl Withdrawn {
    /// With a server whose disk has little room. `None` where permissions bind
    /// nobody.
    fn new() -> Option<(Self, Server)> {
        let user = Bound::new()?;
        let (dir, data) = kept_world();
        let file = data.join("world.redb");
        user.own(&[&data, &file, &data.join("lock")]);
        let command = user.run(&serve(&data));
        let server = Server::run(&mut with_room(&data, &command));
        let this = Self {
            user,
            _dir: dir,
            data,
            file,
        };
        Some((this, server))
    }

    fn start(&self) -> Command {
        self.user.run(&serve(&self.data))
    }

    fn take(&self) {
        mode(&self.file, 0o400);
        mode(&self.data, 0o500);
    }

    fn give_back(&self) {
        mode(&self.data, 0o700);
        mode(&self.file, 0o600);
    }
}

fn make(client: &mut Client) -> String {
    let key = client.ok("CreateKey", &json!({}));
    key["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_goes_on_in_a_directory_that_becomes_unwritable_and_keeps_what_it_acknowledged() {
    let Some((directory, mut server)) = Withdrawn::new() else {
        return;
    };
    let mut client = server.client();
    let mut made = BTreeSet::from([make(&mut client)]);
    directory.take();
    made.insert(make(&mut client));
    server.kill();
    is_refused(directory.start(), &directory.data, "Permission denied");
    directory.give_back();
    let server = Server::run(&mut directory.start());
    assert_eq!(listed(&mut server.client()), made);
}

/// After an error of the disk the file is opened anew.
#[test]
fn a_server_that_cannot_open_its_file_again_refuses_changes_until_it_can() {
    let Some((directory, mut server)) = Withdrawn::new() else {
        return;
    };
    let mut client = server.client();
    let mut made = fill(&mut client);
    directory.take();
    let mut room = Command::new("prlimit");
    room.args(["--fsize=unlimited:", "--pid", &server.id().to_string()]);
    let has_room = directory.user.run(&room).status();
    if !has_room.is_ok_and(|status| status.success()) {
        println!("not tested: nothing here gives the server room again (prlimit)");
        return;
    }
    for _ in 0..2 {
        let (status, answer) = client.kms("CreateKey", &json!({})).unwrap();
        assert_eq!(status, 500, "{answer}");
        assert_eq!(listed(&mut client), made);
    }
    directory.give_back();
    made.insert(make(&mut client));
    assert_eq!(listed(&mut client), made);
    server.kill();
    let server = Server::run(&mut directory.start());
    assert_eq!(listed(&mut server.client()), made);
}
