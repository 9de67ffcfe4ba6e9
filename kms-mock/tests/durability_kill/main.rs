//! A server that is killed under write load, again and again, has lost nothing
//! that it acknowledged; a server whose disk is full says so and goes on.
//!
//! The real program is started and killed with SIGKILL, at a number of
//! acknowledged changes that is drawn anew in each round. How many rounds:
//! `DRYDOCK_KILL_ROUNDS`, 12 without. A failure prints the seed that repeats the
//! draws (`DRYDOCK_KILL_SEED`).

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // helpers of tests

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::clock::{Clock, SettableClock};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

const WRITERS: usize = 8;
const ACKNOWLEDGED_MAX: usize = 240;

struct Server {
    process: Child,
    address: String,
    /// Open as long as the server may print.
    _banner: BufReader<ChildStdout>,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-mock"));
        Self::run(
            command
                .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
                .arg(data),
        )
    }

    fn run(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut banner = BufReader::new(process.stdout.take().unwrap());
        let address = banner.by_ref().lines().find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("export AWS_ENDPOINT_URL=http://")
                .map(str::to_owned)
        });
        let Some(address) = address else {
            let mut why = String::new();
            process
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut why)
                .unwrap();
            panic!("the server did not start: {why}");
        };
        Self {
            process,
            address,
            _banner: banner,
        }
    }

    /// SIGKILL, and until it is gone.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn client(&self) -> Client {
        Client {
            stream: BufReader::new(TcpStream::connect(&self.address).unwrap()),
            host: self.address.clone(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One connection.
struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// Status and body, or `None` when the server is gone.
    fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Option<(u16, String)> {
        let service = if headers.contains("TrentService") {
            "kms"
        } else {
            "s3"
        };
        // Nobody verifies the signature, but its date must be today's.
        let now = SettableClock::running()
            .now()
            .to_string()
            .replace(['-', ':'], "");
        let day = &now[..8];
        let credential = format!("{ACCOUNT}/{day}/us-east-1/{service}/aws4_request");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nx-amz-date: {now}\r\n{headers}authorization: AWS4-HMAC-SHA256 \
             Credential={credential}, SignedHeaders=host, Signature={}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            "0".repeat(64),
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let header = line.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((status, String::from_utf8(body).unwrap()))
    }

    fn kms(&mut self, operation: &str, body: &Value) -> Option<(u16, Value)> {
        let headers = format!(
            "content-type: application/x-amz-json-1.1\r\nx-amz-target: TrentService.{operation}\r\n"
        );
        let (status, body) = self.send("POST", "/", &headers, &body.to_string())?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// The answer of a call that must succeed on a server that must be there.
    fn ok(&mut self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.kms(operation, body).expect("the server is there");
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }
}

const BUCKET: &str = "kept";
const ACCOUNT: &str = "123456789012";

/// What one writer was told about one key.
#[derive(Clone, Debug, Default)]
struct Told {
    arn: String,
    alias: Option<String>,
    description: Option<String>,
    /// A description that was asked for and not acknowledged.
    perhaps: Option<String>,
    tags: BTreeSet<String>,
    grants: BTreeSet<String>,
    blobs: Vec<String>,
    rotations: usize,
    deletion: bool,
    /// An object of this name and these bytes.
    object: Option<String>,
}

/// Changes keys until the server is gone; what was acknowledged.
fn write(mut client: Client, name: &str, acknowledged: &mpsc::Sender<()>) -> Vec<Told> {
    let mut told = Vec::new();
    for n in 0.. {
        let Some((200, answer)) = client.kms("CreateKey", &json!({})) else {
            return told;
        };
        let _ = acknowledged.send(());
        told.push(Told {
            arn: answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned(),
            ..Told::default()
        });
        let key = told.last_mut().unwrap();
        if change(&mut client, key, &format!("{name}-{n}"), acknowledged).is_none() {
            return told;
        }
    }
    told
}

/// Every kind of change of a key, until one is not acknowledged.
fn change(
    client: &mut Client,
    key: &mut Told,
    name: &str,
    acknowledged: &mpsc::Sender<()>,
) -> Option<()> {
    let arn = key.arn.clone();
    let acknowledge = |answer: Option<(u16, Value)>| {
        let (status, answer) = answer?;
        assert_eq!(status, 200, "{answer}");
        let _ = acknowledged.send(());
        Some(answer)
    };
    let alias = format!("alias/{name}");
    let body = json!({ "AliasName": alias, "TargetKeyId": arn });
    acknowledge(client.kms("CreateAlias", &body))?;
    key.alias = Some(alias);
    for tag in ["one", "two"] {
        let tags = json!([{ "TagKey": tag, "TagValue": name }]);
        acknowledge(client.kms("TagResource", &json!({ "KeyId": arn, "Tags": tags })))?;
        key.tags.insert(tag.to_owned());
        let description = format!("{name} {tag}");
        key.perhaps = Some(description.clone());
        let body = json!({ "KeyId": arn, "Description": description });
        acknowledge(client.kms("UpdateKeyDescription", &body))?;
        key.description = key.perhaps.take();
        let body = json!({
            "KeyId": arn, "Operations": ["Decrypt"],
            "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/{tag}"),
        });
        let grant = acknowledge(client.kms("CreateGrant", &body))?;
        key.grants
            .insert(grant["GrantId"].as_str().unwrap().to_owned());
        acknowledge(client.kms("RotateKeyOnDemand", &json!({ "KeyId": arn })))?;
        key.rotations += 1;
        let body = json!({ "KeyId": arn, "Plaintext": BASE64.encode(name) });
        let sealed = acknowledge(client.kms("Encrypt", &body))?;
        key.blobs
            .push(sealed["CiphertextBlob"].as_str().unwrap().to_owned());
    }
    let (status, answer) = client.send("PUT", &format!("/{BUCKET}/{name}"), "", name)?;
    assert_eq!(status, 200, "{answer}");
    let _ = acknowledged.send(());
    key.object = Some(name.to_owned());
    if name.ends_with('3') {
        let body = json!({ "KeyId": arn, "PendingWindowInDays": 7 });
        acknowledge(client.kms("ScheduleKeyDeletion", &body))?;
        key.deletion = true;
    }
    Some(())
}

/// Everything that was acknowledged is there.
fn check(client: &mut Client, key: &Told) {
    let id = json!({ "KeyId": key.arn });
    let metadata = client.ok("DescribeKey", &id)["KeyMetadata"].clone();
    let description = metadata["Description"].as_str().unwrap();
    let expected = key.description.as_deref().unwrap_or_default();
    assert!(
        description == expected || Some(description) == key.perhaps.as_deref(),
        "{key:?}: {description}"
    );
    if let Some(alias) = &key.alias {
        let found = client.ok("DescribeKey", &json!({ "KeyId": alias }));
        assert_eq!(found["KeyMetadata"]["Arn"], key.arn.as_str());
    }
    let tags = client.ok("ListResourceTags", &id);
    let tags: BTreeSet<String> = names(&tags["Tags"], "TagKey");
    assert!(tags.is_superset(&key.tags), "{key:?}: {tags:?}");
    let grants = client.ok("ListGrants", &id);
    let grants = names(&grants["Grants"], "GrantId");
    assert!(grants.is_superset(&key.grants), "{key:?}: {grants:?}");
    if let Some(name) = &key.object {
        let object = client.send("GET", &format!("/{BUCKET}/{name}"), "", "");
        assert_eq!(object, Some((200, name.clone())), "{key:?}");
    }
    if key.deletion {
        assert_eq!(metadata["KeyState"], "PendingDeletion", "{key:?}");
        return;
    }
    if metadata["KeyState"] != "Enabled" {
        return; // a deletion that was not acknowledged and happened
    }
    let rotations = client.ok("ListKeyRotations", &id)["Rotations"]
        .as_array()
        .unwrap()
        .len();
    assert!(
        (key.rotations..=key.rotations + 1).contains(&rotations),
        "{key:?}: {rotations}"
    );
    for blob in &key.blobs {
        client.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    }
}

fn names(list: &Value, member: &str) -> BTreeSet<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|item| item[member].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_nothing_it_acknowledged() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let rounds = number("DRYDOCK_KILL_ROUNDS").unwrap_or(12);
    let seed = number("DRYDOCK_KILL_SEED").unwrap_or_else(rand::random);
    println!("DRYDOCK_KILL_SEED={seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut all: Vec<Told> = Vec::new();
    let mut acknowledged_in_all = 0;
    for round in 0..rounds {
        let mut server = Server::start(&data);
        // The round before, before anything else happens.
        let mut client = server.client();
        let fresh = all.len().saturating_sub(ACKNOWLEDGED_MAX);
        all.iter()
            .skip(fresh)
            .for_each(|key| check(&mut client, key));
        if round == 0 {
            let made = client.send("PUT", &format!("/{BUCKET}"), "", "");
            assert_eq!(made.map(|(status, _)| status), Some(200));
        }
        let (sender, acknowledged) = mpsc::channel();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, sender) = (server.client(), sender.clone());
                let name = format!("{round}-{writer}");
                std::thread::spawn(move || write(client, &name, &sender))
            })
            .collect();
        drop(sender);
        let enough = rng.random_range(1..ACKNOWLEDGED_MAX);
        let counted = acknowledged.iter().take(enough).count();
        server.kill();
        assert_eq!(counted, enough, "the server was gone before it was killed");
        acknowledged_in_all += counted + acknowledged.iter().count();
        for writer in writers {
            all.extend(writer.join().unwrap());
        }
    }
    let server = Server::start(&data);
    let mut client = server.client();
    all.iter().for_each(|key| check(&mut client, key));
    println!(
        "killed {rounds} times, {acknowledged_in_all} changes acknowledged, {} keys, none lost",
        all.len()
    );
}

/// The system's limit on the size of a file stands for a disk that is full.
#[test]
fn a_server_whose_disk_is_full_refuses_changes_and_shows_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    drop(Server::start(&data));
    let size = data.join("world.redb").metadata().unwrap().len();
    let blocks = size / 512 + 2048; // a MiB more
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""
        ))
        .arg(env!("CARGO_BIN_EXE_kms-mock"))
        .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
        .arg(&data);
    let mut server = Server::run(&mut command);
    let mut client = server.client();
    let body = json!({ "Description": "x".repeat(8192) });
    let mut made = BTreeMap::new();
    let refused = (0..10_000).find_map(|n| {
        let (status, answer) = client.kms("CreateKey", &body).unwrap();
        if status == 200 {
            let arn = answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
            made.insert(arn, n);
            return None;
        }
        Some((status, answer))
    });
    let (status, answer) = refused.expect("the disk was never full");
    assert_eq!(status, 500);
    assert_eq!(answer["__type"], "KMSInternalException");
    let listed = |client: &mut Client| {
        let keys = client.ok("ListKeys", &json!({ "Limit": 1000 }));
        assert_eq!(keys["Truncated"], false, "the test makes too many keys");
        names(&keys["Keys"], "KeyArn")
    };
    let expected: BTreeSet<String> = made.keys().cloned().collect();
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
    let second = Command::new(env!("CARGO_BIN_EXE_kms-mock"))
        .args(["serve", "--bind", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains("in use by another server; stop that one"),
        "{said}"
    );
    server.client().ok("CreateKey", &json!({}));
}
