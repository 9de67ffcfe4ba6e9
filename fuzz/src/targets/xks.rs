//! What an external key store proxy answers: whole HTTP answers, as bytes on the
//! connection over which KMS asked.
//!
//! An input's first line is the operation that asks, the rest is the answer. When
//! an operation succeeds, some reading of those bytes must be an answer as the
//! proxy API specification wants it: the judge here (`judge`) is written apart from
//! the client, and lenient where HTTP can be read in several ways. What was sealed
//! must open again, and nothing but its own plaintext ever comes out.

mod judge;
mod proxy;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kms_mock::{
    kms::{Call, Kms, Reply, Settings, XksSettings},
    policy::Caller,
    world::principal::Principal,
};
use nsm_sim::{
    attestation::verify::Verifier,
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};
use serde_json::{Value, json};

use self::{
    judge::{Sealed, is_healthy, is_usable_key},
    proxy::Proxy,
};
use super::{Corpus, Target, Verdict};
use crate::{json as change_json, mutate, random::Random};

const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
const ACCOUNT: &str = "123456789012";
const PLAINTEXT: &str = "a secret of somebody";
/// Longest answer that is generated: several times what KMS reads.
const ANSWER_BYTES_MAX: usize = 300 << 10;
/// How long a proxy may take: all of its answer is there at once.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Tries to reach a proxy while the machine has no port left.
const TRIES_MAX: usize = 200;

/// Answers to every kind of request.
pub(super) fn answers(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut answers = Answers::new()?;
    for seed in answers.seeds.clone() {
        let verdict = answers.run(&seed.input());
        anyhow::ensure!(
            (verdict == Verdict::Accepted) == seed.is_good,
            "{verdict:?} of {}",
            String::from_utf8_lossy(&seed.input())
        );
    }
    Ok(Box::new(answers))
}

/// An answer in parts.
#[derive(Clone, Debug)]
struct Seed {
    operation: &'static str,
    /// With its line break.
    status_line: &'static str,
    body: Vec<u8>,
    is_good: bool,
}

impl Seed {
    fn input(&self) -> Vec<u8> {
        let head = format!("{}\n{}", self.operation, self.status_line);
        with_body(head.into_bytes(), &self.body)
    }
}

/// The answer whose head ends with the right length.
fn with_body(mut head: Vec<u8>, body: &[u8]) -> Vec<u8> {
    head.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
    head.extend(body);
    head
}

/// A KMS with a connected external key store, a key in it, and a store that is not
/// connected; the same each time, so that an input repeats alone.
struct World {
    kms: Kms,
    root: Arc<Caller>,
    store: Value,
    unconnected: Value,
    key: Value,
}

struct Answers {
    proxy: Proxy,
    world: World,
    seeds: Vec<Seed>,
    /// What the key's first ciphertext is, and what the proxy was given for it.
    blob: Value,
    inner: Vec<u8>,
}

impl Answers {
    fn new() -> anyhow::Result<Self> {
        let proxy = Proxy::start()?;
        let world = World::new(&proxy)?;
        // An answer that is none tells how long a ciphertext has to be.
        proxy.answer(b"HTTP/1.1 500 \r\n\r\n");
        world.encrypt();
        let asked = proxy.asked().context("Encrypt asks the proxy")?;
        let sealed = Sealed::good(asked.plaintext().len());
        let encrypted = sealed.body(&asked.authenticated());
        proxy.answer(&seed("Encrypt", encrypted.clone()).answer());
        let reply = world.encrypt();
        let blob: Value = serde_json::from_slice(&reply.body)?;
        let inner = proxy.asked().context("Encrypt asks")?.plaintext();
        let decrypted = json!({ "plaintext": BASE64.encode(&inner) });
        Ok(Self {
            seeds: seeds(encrypted, decrypted),
            blob: blob["CiphertextBlob"].clone(),
            inner,
            proxy,
            world,
        })
    }

    /// Calls KMS while the proxy has `answer`; the reply and what was asked.
    fn call(&self, operation: &str, body: &Value, answer: &[u8]) -> (Reply, proxy::Asked) {
        self.proxy.answer(answer);
        for _ in 0..TRIES_MAX {
            let reply = self.world.call(operation, body);
            if let Some(asked) = self.proxy.asked() {
                return (reply, asked);
            }
            // The machine has used up its ports for a moment.
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{operation} asks no proxy");
    }

    fn encrypt(&self, answer: &[u8]) -> bool {
        let (reply, asked) = self.call("Encrypt", &self.world.to_encrypt(), answer);
        let Some(reply) = success(&reply) else {
            return false;
        };
        let (inner, aad) = (asked.plaintext(), asked.authenticated());
        let sealed: Vec<Sealed> = judge::bodies(answer)
            .iter()
            .filter_map(|body| Sealed::of(body, inner.len(), &aad))
            .collect();
        assert!(!sealed.is_empty(), "a ciphertext of no good answer");
        let honest = seed("Decrypt", json!({ "plaintext": BASE64.encode(&inner) })).answer();
        let body = self.world.to_decrypt(&reply["CiphertextBlob"]);
        let (reply, asked) = self.call("Decrypt", &body, &honest);
        let opened = success(&reply).expect("what was sealed opens again");
        assert_eq!(opened["Plaintext"], BASE64.encode(PLAINTEXT));
        let given_back = Sealed::given_back(&asked.body).expect("the proxy gets its parts again");
        assert!(sealed.contains(&given_back), "others than the proxy's own");
        true
    }

    fn decrypt(&self, answer: &[u8]) -> bool {
        let (reply, _) = self.call("Decrypt", &self.world.to_decrypt(&self.blob), answer);
        let Some(reply) = success(&reply) else {
            return false;
        };
        assert_eq!(reply["Plaintext"], BASE64.encode(PLAINTEXT));
        let inner = BASE64.encode(&self.inner);
        let said = judge::bodies(answer);
        assert!(
            said.iter().any(|body| body["plaintext"] == *inner),
            "a plaintext of no good answer"
        );
        true
    }

    fn create_key(&mut self, answer: &[u8]) -> bool {
        let body = json!({
            "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": self.world.store,
            "XksKeyId": "another",
        });
        let (reply, _) = self.call("CreateKey", &body, answer);
        if success(&reply).is_none() {
            return false;
        }
        let said = judge::bodies(answer);
        assert!(said.iter().any(is_usable_key), "a key of no good answer");
        self.world = World::new(&self.proxy).expect("the world can be made again");
        true
    }

    fn connect(&self, answer: &[u8]) -> bool {
        let store = json!({ "CustomKeyStoreId": self.world.unconnected });
        let (reply, _) = self.call("ConnectCustomKeyStore", &store, answer);
        success(&reply).expect("a connection is tried");
        let stores = self.world.call("DescribeCustomKeyStores", &store);
        let stores = success(&stores).expect("the store is there");
        let state = &stores["CustomKeyStores"][0]["ConnectionState"];
        self.world.call("DisconnectCustomKeyStore", &store);
        if state != "CONNECTED" {
            assert_eq!(state, "FAILED");
            return false;
        }
        let said = judge::bodies(answer);
        assert!(said.iter().any(is_healthy), "connected by no good answer");
        true
    }
}

impl World {
    fn new(proxy: &Proxy) -> anyhow::Result<Self> {
        let kms = Kms::new(Settings {
            region: "us-east-1".into(),
            clock: Arc::new(SettableClock::frozen(NOW)),
            seed: Some(WorldSeed::from_u64(1)),
            attestation_roots: Arc::new(Verifier::aws()),
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: false,
            xks: XksSettings {
                answer_time_max: ANSWER_TIME_MAX,
                ..XksSettings::default()
            },
        });
        let mut world = Self {
            kms,
            root: Arc::new(Caller::new(Principal::Root {
                account: ACCOUNT.into(),
            })),
            store: Value::Null,
            unconnected: Value::Null,
            key: Value::Null,
        };
        let made = |reply: Reply| success(&reply).context("the world is made");
        proxy.answer(&seed("", health()).answer());
        let store = world.create_store(proxy, "used", "");
        world.store = made(store)?["CustomKeyStoreId"].clone();
        let store = world.create_store(proxy, "unconnected", "/other");
        world.unconnected = made(store)?["CustomKeyStoreId"].clone();
        let store = json!({ "CustomKeyStoreId": world.store });
        made(world.call("ConnectCustomKeyStore", &store))?;
        proxy.answer(&seed("", key()).answer());
        let body = json!({
            "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": world.store, "XksKeyId": "one",
        });
        let key = made(world.call("CreateKey", &body))?;
        world.key = key["KeyMetadata"]["KeyId"].clone();
        Ok(world)
    }

    fn create_store(&self, proxy: &Proxy, name: &str, path: &str) -> Reply {
        let body = json!({
            "CustomKeyStoreName": name,
            "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
            "XksProxyUriEndpoint": format!("http://{}", proxy.address()),
            "XksProxyUriPath": format!("{path}/kms/xks/v1"),
            "XksProxyAuthenticationCredential": {
                "AccessKeyId": "ABCDEFGHIJKLMNOPQRST",
                "RawSecretAccessKey": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK",
            },
            "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        });
        self.call("CreateCustomKeyStore", &body)
    }

    fn call(&self, operation: &str, body: &Value) -> Reply {
        self.kms.call(&Call {
            region: None,
            operation,
            body: body.to_string().as_bytes(),
            caller: &self.root,
            request_id: kms_mock::RequestId::random(),
            user_agent: "fuzz",
        })
    }

    fn to_encrypt(&self) -> Value {
        json!({
            "KeyId": self.key, "Plaintext": BASE64.encode(PLAINTEXT),
            "EncryptionContext": { "a": "b" },
        })
    }

    fn encrypt(&self) -> Reply {
        self.call("Encrypt", &self.to_encrypt())
    }

    fn to_decrypt(&self, blob: &Value) -> Value {
        json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "b" } })
    }
}

/// The body of an operation that succeeded.
fn success(reply: &Reply) -> Option<Value> {
    match reply.status {
        200 => Some(serde_json::from_slice(&reply.body).expect("a reply is JSON")),
        400 => {
            assert!(reply.error_type.is_some(), "a refusal without a name");
            None
        }
        // KMS's own words for a proxy that fails are an internal error.
        500 => {
            assert_eq!(reply.error_type, Some("KMSInternalException"));
            None
        }
        status => panic!("status {status}: {:?}", reply.reason),
    }
}

fn health() -> Value {
    json!({
        "xksProxyFleetSize": 2, "xksProxyVendor": "Acme", "xksProxyModel": "One",
        "ekmVendor": "Thales",
        "ekmFleetDetails": [
            { "id": "hsm-1", "model": "Luna", "healthStatus": "DEGRADED" },
            { "id": "hsm-2", "model": "Luna", "healthStatus": "ACTIVE" },
        ],
    })
}

fn key() -> Value {
    json!({
        "keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED",
    })
}

/// A good answer.
fn seed(operation: &'static str, body: Value) -> Seed {
    Seed {
        operation,
        status_line: "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n",
        body: body.to_string().into_bytes(),
        is_good: true,
    }
}

impl Seed {
    fn answer(&self) -> Vec<u8> {
        with_body(self.status_line.as_bytes().to_vec(), &self.body)
    }
}

fn seeds(encrypted: Value, decrypted: Value) -> Vec<Seed> {
    let good = [
        ("Encrypt", encrypted),
        ("Decrypt", decrypted),
        ("CreateKey", key()),
        ("ConnectCustomKeyStore", health()),
    ];
    let mut seeds = Vec::new();
    for (operation, body) in good {
        seeds.push(seed(operation, body));
        for (status_line, name) in [
            (
                "HTTP/1.1 401 Unauthorized\r\n",
                "AuthenticationFailedException",
            ),
            ("HTTP/1.1 404 Not Found\r\n", "KeyNotFoundException"),
            ("HTTP/1.1 429 \r\n", "ThrottlingException"),
            (
                "HTTP/1.0 500 Internal Server Error\r\n",
                "InternalException",
            ),
        ] {
            let refusal = json!({ "errorName": name, "errorMessage": "no" });
            seeds.push(Seed {
                operation,
                status_line,
                body: refusal.to_string().into_bytes(),
                is_good: false,
            });
        }
        // More than a parser may descend into, or read.
        for body in [b"[".repeat(10_000), b" ".repeat(ANSWER_BYTES_MAX)] {
            seeds.push(Seed {
                body,
                is_good: false,
                ..seed(operation, Value::Null)
            });
        }
    }
    seeds
}

impl Target for Answers {
    fn generate(&mut self, random: &mut Random) -> Vec<u8> {
        // Most answers begin as good ones.
        let good: Vec<&Seed> = self.seeds.iter().filter(|seed| seed.is_good).collect();
        let all: Vec<&Seed> = self.seeds.iter().collect();
        let from = if random.one_in(40) { &all } else { &good };
        let (Some(seed), Some(other)) = (random.pick(from), random.pick(&all)) else {
            return Vec::new();
        };
        let mut body = seed.body.clone();
        let mut head = format!("{}\n{}", seed.operation, seed.status_line).into_bytes();
        match random.below(10) {
            0..=2 => change_json::change(random, &mut body, &other.body),
            3 | 4 if seed.operation == "Encrypt" => body = self.resealed(random),
            3 => change_json::change(random, &mut body, b"{}"),
            4 => {
                let statuses = [
                    "100", "101", "199", "201", "204", "206", "304", "400", "999", "0",
                ];
                let status = statuses[random.below(statuses.len())];
                let line = format!("{}\nHTTP/1.1 {status} X\r\n", seed.operation);
                head = line.into_bytes();
            }
            5 => return chunked(random, head, &body),
            6 => mutate::bytes(random, &mut body, &other.body),
            7 => {
                let mut whole = with_body(head, &body);
                let answer = seed.operation.len() + 1;
                let mut changed = whole.split_off(answer);
                mutate::bytes(random, &mut changed, &other.body);
                return [whole, changed].concat();
            }
            8 if random.one_in(50) => {
                let room = random.below(ANSWER_BYTES_MAX);
                body.extend(std::iter::repeat_n(b' ', room));
            }
            8 => {
                let lines = [
                    "content-length: 5\r\n",
                    "transfer-encoding: chunked\r\n",
                    "connection: close\r\n",
                    "transfer-encoding: gzip\r\n",
                    "a: b\r\n",
                    "content-encoding: gzip\r\n",
                    "content-length: 18446744073709551615\r\n",
                ];
                for _ in 0..=random.below(3) {
                    head.extend(lines[random.below(lines.len())].bytes());
                }
            }
            _ => {
                let answer = seed.operation.len() + 1;
                let mut changed = head.split_off(answer);
                mutate::bytes(random, &mut changed, b"HTTP/1.1 200 OK\r\n");
                head.extend(changed);
            }
        }
        with_body(head, &body)
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let line = input.iter().position(|byte| *byte == b'\n');
        let (operation, answer) = input.split_at(line.unwrap_or(input.len()));
        let answer = answer.get(1..).unwrap_or_default();
        let is_success = match operation {
            b"Encrypt" => self.encrypt(answer),
            b"Decrypt" => self.decrypt(answer),
            b"CreateKey" => self.create_key(answer),
            b"ConnectCustomKeyStore" => self.connect(answer),
            _ => false,
        };
        if is_success {
            Verdict::Accepted
        } else {
            Verdict::Refused
        }
    }
}

impl Answers {
    /// Parts of other lengths, and the proxy's word that they belong together.
    fn resealed(&self, random: &mut Random) -> Vec<u8> {
        let mut sealed = Sealed::good(self.inner.len());
        let mut part = |part: &mut Vec<u8>, longest: usize| {
            if random.one_in(3) {
                let length = match random.below(3) {
                    0 => part.len() + 1,
                    1 => part.len().saturating_sub(1),
                    _ => random.below(longest + 1),
                };
                part.resize(length, 7);
            }
        };
        part(&mut sealed.iv, 20);
        part(&mut sealed.tag, 40);
        part(&mut sealed.metadata, 30);
        part(&mut sealed.ciphertext, 400);
        sealed.body(br#"{"a":"b"}"#).to_string().into_bytes()
    }
}

/// The body in chunks, some of whose sizes are wrong.
fn chunked(random: &mut Random, mut head: Vec<u8>, body: &[u8]) -> Vec<u8> {
    head.extend(b"transfer-encoding: chunked\r\n\r\n");
    let wrong = random.one_in(3);
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
        let size = match random.below(8) {
            0 if wrong => "ffffffffffffffff".to_owned(),
            1 if wrong => format!("{:x}", chunk.len() + 1),
            2 => format!("{:X};a=b", chunk.len()),
            3 => format!("000{:x}", chunk.len()),
            _ => format!("{:x}", chunk.len()),
        };
        head.extend(format!("{size}\r\n").bytes());
        head.extend(chunk);
        head.extend(b"\r\n");
        rest = after;
    }
    head.extend(if random.one_in(4) {
        &b"0\r\nx: y\r\n\r\n"[..]
    } else {
        b"0\r\n\r\n"
    });
    head
}
