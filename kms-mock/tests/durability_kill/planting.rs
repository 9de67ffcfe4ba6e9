//! A server that is killed while it plants a seed file has planted nothing, and the
//! next start makes the world that an uninterrupted one would have made.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rand::Rng;
use serde_json::{Value, json};

use super::{
    rounds,
    server::{Client, Server, after, serve},
};

const KEYS: usize = 300;
const ROLES: usize = 80;
const USERS: usize = 80;
const BUCKETS: usize = 80;
/// The signal of a file that would become longer than it may.
const SIGXFSZ: i32 = 25;

/// A seed file of hundreds of things, all of them `prefix`'s.
pub(super) fn seed_file(prefix: &str) -> String {
    const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;
    let initial = prefix.as_bytes()[0]; // which ids begin with
    let mut text = String::new();
    for n in 0..KEYS {
        text += &format!(
            "[[key]]\nid = \"{initial:08x}-0000-4000-8000-{n:012x}\"\ndescription = \"{prefix} {n}\"\n\
             material = \"{n:064x}\"\naliases = [\"alias/{prefix}/{n}\", \"alias/{prefix}/{n}/too\"]\n\
             tags = {{ n = \"{n}\" }}\nenabled = {}\n{}\n",
            n % 7 != 0,
            if n % 3 == 0 {
                "rotation_days = 90\n"
            } else {
                ""
            },
        );
    }
    for n in 0..ROLES {
        text += &format!(
            "[[role]]\nname = \"{prefix}-{n}\"\npolicies = {{ one = '''{ALLOW}''', two = '''{ALLOW}''' }}\n"
        );
    }
    for n in 0..USERS {
        text += &format!(
            "[[user]]\nname = \"{prefix}-{n}\"\naccess_key_id = \"AKIA{initial:04}{n:012}\"\n\
             secret_access_key = \"{n:040}\"\npolicies = {{ one = '''{ALLOW}''' }}\n"
        );
    }
    for n in 0..BUCKETS {
        text += &format!("[[bucket]]\nname = \"{prefix}-{n}\"\n");
    }
    text
}

/// What a world shows of itself, but for what is drawn or told by the clock.
pub(super) type Shown = BTreeMap<String, Value>;

pub(super) fn show(client: &mut Client) -> Shown {
    let mut shown = Shown::new();
    let keys = client.ok("ListKeys", &json!({ "Limit": 1000 }));
    assert_eq!(keys["Truncated"], false);
    for key in keys["Keys"].as_array().unwrap() {
        let id = json!({ "KeyId": key["KeyId"] });
        let mut metadata = client.ok("DescribeKey", &id)["KeyMetadata"].clone();
        metadata.as_object_mut().unwrap().remove("CreationDate");
        let mut rotation = client.ok("GetKeyRotationStatus", &id);
        rotation
            .as_object_mut()
            .unwrap()
            .retain(|name, _| name != "NextRotationDate");
        let aliases = client.ok("ListAliases", &id);
        let mut aliases: Vec<_> = aliases["Aliases"].as_array().unwrap().clone();
        for alias in &mut aliases {
            let alias = alias.as_object_mut().unwrap();
            alias.retain(|name, _| !name.ends_with("Date"));
        }
        let tags = client.ok("ListResourceTags", &id)["Tags"].clone();
        let policy = client.ok("GetKeyPolicy", &id)["Policy"].clone();
        let all = json!([metadata, rotation, aliases, tags, policy]);
        assert!(shown.insert(key["KeyArn"].to_string(), all).is_none());
    }
    for (kind, list) in [("Role", "ListRoles"), ("User", "ListUsers")] {
        let listed = client.iam(&format!("Action={list}&MaxItems=1000"));
        assert!(listed.contains("<IsTruncated>false<"));
        for name in elements(&listed, &format!("{kind}Name")) {
            let holder = format!("{kind}Name={name}");
            let policies = client.iam(&format!("Action=List{kind}Policies&{holder}"));
            let mut all: Vec<String> = elements(&policies, "member")
                .into_iter()
                .map(|policy| {
                    let form = format!("Action=Get{kind}Policy&{holder}&PolicyName={policy}");
                    elements(&client.iam(&form), "PolicyDocument").concat()
                })
                .collect();
            if kind == "User" {
                let keys = client.iam(&format!("Action=ListAccessKeys&{holder}"));
                all.extend(elements(&keys, "AccessKeyId"));
            }
            let before = shown.insert(format!("{kind} {name}"), json!(all));
            assert!(before.is_none(), "{kind} {name} is there twice");
        }
    }
    let (_, buckets) = client.s3("GET", "/", "");
    for bucket in elements(&buckets, "Name") {
        let (_, objects) = client.s3("GET", &format!("/{bucket}?list-type=2"), "");
        let before = shown.insert(format!("bucket {bucket}"), json!(elements(&objects, "Key")));
        assert!(before.is_none(), "bucket {bucket} is there twice");
    }
    shown
}

/// Says what differs, which is little of hundreds.
pub(super) fn is_same_world(found: &Shown, expected: &Shown) {
    let of_one = |one: &Shown, two: &Shown| -> Vec<String> {
        let differs = |(name, value): &(&String, &Value)| two.get(*name) != Some(*value);
        let differing = one.iter().filter(differs).take(3);
        differing
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    };
    let differing = [of_one(found, expected), of_one(expected, found)];
    assert!(found == expected, "found and expected: {differing:#?}");
}

/// Every text between `<name>` and `</name>`.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned()))
        .collect()
}

/// A folder with the seed files `first` and `second`, and the worlds that they make
/// when nobody interrupts.
struct Planted {
    folder: tempfile::TempDir,
    first: Shown,
    second: Shown,
    /// Ciphertexts of keys of `first`.
    sealed: Vec<Value>,
    /// How long the start with `first` took.
    took: Duration,
}

impl Planted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["first", "second"] {
            std::fs::write(folder.path().join(name), seed_file(name)).unwrap();
        }
        let mut planted = Self {
            folder,
            first: Shown::new(),
            second: Shown::new(),
            sealed: Vec::new(),
            took: Duration::ZERO,
        };
        let begun = Instant::now();
        let server = Server::run(&mut planted.start(&planted.path("whole-first"), "first"));
        planted.took = begun.elapsed();
        let mut client = server.client();
        planted.first = show(&mut client);
        let expected = KEYS + ROLES + USERS + BUCKETS;
        assert_eq!(planted.first.len(), expected);
        planted.sealed = (1..KEYS)
            .step_by(50)
            .map(|n| {
                let body = json!({ "KeyId": format!("alias/first/{n}"), "Plaintext": "AAAA" });
                client.ok("Encrypt", &body)["CiphertextBlob"].clone()
            })
            .collect();
        let server = Server::run(&mut planted.start(&planted.path("whole-second"), "second"));
        planted.second = show(&mut server.client());
        assert_eq!(planted.second.len(), expected);
        planted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A start with the data directory `data` that plants `file`.
    fn start(&self, data: &Path, file: &str) -> Command {
        let mut command = serve(data);
        command.arg("--seed-file").arg(self.path(file));
        command
    }

    /// What is in a directory whose planting of `first` was cut off, and what the
    /// next start makes of it: with the same seed file, or with the second.
    fn check(&self, data: &Path, is_same: bool) -> Cut {
        let left = show(&mut Server::start(data).client());
        let was = if left.is_empty() {
            Cut::Before
        } else {
            is_same_world(&left, &self.first);
            Cut::After
        };
        let (file, whole) = if is_same {
            ("first", &self.first)
        } else {
            ("second", &self.second)
        };
        let mut expected = whole.clone();
        if let Cut::After = was {
            expected.extend(self.first.clone());
        }
        let server = Server::run(&mut self.start(data, file));
        let mut client = server.client();
        is_same_world(&show(&mut client), &expected);
        if is_same {
            for blob in &self.sealed {
                let opened = client.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
                assert_eq!(opened["Plaintext"], "AAAA");
            }
        }
        was
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Nothing of the seed file was there.
    Before,
    /// All of it was.
    After,
}

#[test]
fn a_server_that_is_killed_while_it_plants_leaves_all_of_the_seed_file_or_nothing() {
    let (rounds, mut rng) = rounds();
    let planted = Planted::new();
    let (mut before, mut after) = (0, 0);
    for round in 0..rounds {
        let data = planted.path(&format!("data-{round}"));
        let lives = planted.took.mul_f64(rng.random_range(0.0..1.1));
        let mut process = planted
            .start(&data, "first")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let banner = BufReader::new(process.stdout.take().unwrap());
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || sender.send(banner.lines().next().is_some()));
        let _ = ready.recv_timeout(lives);
        process.kill().unwrap();
        process.wait().unwrap();
        match planted.check(&data, round % 2 == 0) {
            Cut::Before => before += 1,
            Cut::After => after += 1,
        }
    }
    println!("killed {rounds} times: {before} times nothing was planted, {after} times all of it");
}

/// The system ends a process that makes a file longer than it may: so the moment
/// lies within the writing, whatever the machine's speed.
#[test]
fn a_server_that_dies_while_it_writes_what_it_plants_leaves_nothing_of_it() {
    let planted = Planted::new();
    let empty = planted.path("empty");
    drop(Server::start(&empty));
    let size = |data: &Path| data.join("world.redb").metadata().unwrap().len();
    let (from, to) = (size(&empty), size(&planted.path("whole-first")));
    assert!(from < to, "{from} bytes grow to {to}");
    for step in 0..4 {
        let data = planted.path(&format!("data-{step}"));
        std::fs::create_dir(&data).unwrap();
        std::fs::copy(empty.join("world.redb"), data.join("world.redb")).unwrap();
        let blocks = (from + (to - from) * step / 4) / 512;
        let command = planted.start(&data, "first");
        let mut process = after(&format!("ulimit -c 0; ulimit -f {blocks}"), &command)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let banner = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .next();
        process.kill().unwrap();
        let ended = process.wait().unwrap();
        assert!(banner.is_none(), "it started with {blocks} blocks");
        assert_eq!(ended.signal(), Some(SIGXFSZ), "{ended:?}");
        assert_eq!(planted.check(&data, step % 2 == 0), Cut::Before);
    }
}
