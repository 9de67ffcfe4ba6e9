//! What callers send to the KMS: calls one after the other, blobs, seed files.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kms_mock::{
    KmsMock,
    kms::{Call, Kms, Reply, Settings, XksSettings},
    mock::seed::SeedFile,
    policy::Caller,
    world::principal::Principal,
};
use nsm_sim::{
    attestation::verify::Verifier,
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};
use serde_json::{Value, json};

use super::{Corpus, Mutating, Target, Verdict, kms_calls, nsm};
use crate::{json as change_json, mutate, random::Random};

const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
const ACCOUNT: &str = "123456789012";
/// Calls of one input.
const CALLS_MAX: usize = 12;
/// Longest text that is put into a call from an earlier reply.
const TAKEN_BYTES_MAX: usize = 64 << 10;

/// Seed files that are read until one is planted.
const SEED_FILES_A_SERVER: u64 = 64;

/// An RSA-2048 public key that an enclave presents, DER. Its private half is gone.
const RECIPIENT_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAykiodHDWfsaIFU4Dj2CNMDx96ibXixIro4dtgIkrhzrZZM6aQLbU\
    BzENYkgiMRL8NlPCYD3xzaXyfX75UecKTchhsTlOAEjRFvBPcHVKfzZmRsmESCQ37CgLb+GlovqTk4CCcdFC41cC+3fNJ8hy\
    FEhsb7eH/JdCkF112PeUUPTl7CwSoE/HJRrQYHW1iE1X5Toa6NZod7FhjJ/R32VOjIrUVC2TJkPG7o45oMfJwGWOJWFWchW/\
    Q8+UakzIxhkTpguiW5mDeWzxnpOIYoLZYA4muXPX6f/HIvK+8N/lfMSCBKmanVDg+8fKD53rEFHqVT/Y9F/v8GvbbCpuQwUb\
    2wIDAQAB";

/// A KMS with one key, the same each time, so that an input repeats alone.
struct World {
    kms: Kms,
    root: Caller,
    key_id: String,
}

impl World {
    fn new(verifier: Arc<Verifier>) -> anyhow::Result<Self> {
        let kms = Kms::new(Settings {
            region: "us-east-1".into(),
            clock: Arc::new(SettableClock::frozen(NOW)),
            seed: Some(WorldSeed::from_u64(1)),
            attestation_roots: verifier,
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: false,
            xks: XksSettings::default(),
        });
        let root = Caller::new(Principal::Root {
            account: ACCOUNT.into(),
        });
        let mut world = Self {
            kms,
            root,
            key_id: String::new(),
        };
        let key: Value = serde_json::from_slice(&world.call("CreateKey", b"{}").body)?;
        key["KeyMetadata"]["KeyId"]
            .as_str()
            .context("CreateKey names its key")?
            .clone_into(&mut world.key_id);
        let alias = json!({"AliasName": "alias/fuzz", "TargetKeyId": world.key_id});
        world.call("CreateAlias", alias.to_string().as_bytes());
        Ok(world)
    }

    fn call(&self, operation: &str, body: &[u8]) -> Reply {
        self.call_as(&self.root, operation, body)
    }

    fn call_as(&self, caller: &Caller, operation: &str, body: &[u8]) -> Reply {
        self.kms.call(&Call {
            region: None,
            operation,
            body,
            caller: &Arc::new(caller.clone()),
            request_id: kms_mock::RequestId::random(),
            user_agent: "fuzz",
        })
    }
}

fn verifier() -> anyhow::Result<Arc<Verifier>> {
    let verifier = Verifier::aws().and_root_der(nsm::module().pki().root_der())?;
    Ok(Arc::new(verifier))
}

fn role(account: &str) -> Caller {
    Caller::new(Principal::AssumedRole {
        account: account.into(),
        role_path_name: "R".into(),
        session: "s".into(),
    })
}

fn verdict(reply: &Reply) -> Verdict {
    match reply.status {
        200 => Verdict::Accepted,
        400 => {
            assert!(reply.error_type.is_some(), "a refusal without a name");
            Verdict::Refused
        }
        status => panic!("status {status}: {:?}", reply.reason),
    }
}

/// Calls, a line each; `kms_calls` tells their form. Accepted is an input whose
/// last call is.
pub(super) fn calls(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    Ok(Box::new(unchanged_calls()?))
}

fn unchanged_calls() -> anyhow::Result<Calls> {
    let verifier = verifier()?;
    let key_id = World::new(Arc::clone(&verifier))?.key_id;
    let key = BASE64.decode(RECIPIENT_KEY)?;
    let request = [
        b"\xa1\x6bAttestation\xa1\x6apublic_key".as_slice(),
        &mutate::byte_string(&key),
    ]
    .concat();
    let recipient = json!({
        "AttestationDocument": BASE64.encode(nsm::document(&request)),
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
    })
    .to_string();
    let complete = |calls: &&str| {
        let calls = calls.replace("KEY\"", &format!("{key_id}\""));
        calls.replace("RECIPIENT", &recipient).into_bytes()
    };
    Ok(Calls {
        quick: kms_calls::QUICK.iter().map(complete).collect(),
        slow: kms_calls::SLOW.iter().map(complete).collect(),
        ours: role(ACCOUNT),
        theirs: role("999999999999"),
        verifier,
        answered: 0,
    })
}

struct Calls {
    quick: Vec<Vec<u8>>,
    slow: Vec<Vec<u8>>,
    /// A role of the key's account.
    ours: Caller,
    /// A role of another account.
    theirs: Caller,
    verifier: Arc<Verifier>,
    /// Calls answered in all inputs.
    answered: u64,
}

impl Calls {
    /// The replies to an input's calls, in a world of its own.
    fn replies(&self, input: &[u8]) -> Vec<Reply> {
        let world = World::new(Arc::clone(&self.verifier)).expect("a world can be made");
        let mut bodies: Vec<Value> = Vec::new();
        let mut replies = Vec::new();
        for line in input.split(|byte| *byte == b'\n').take(CALLS_MAX) {
            let (caller, line) = match line {
                [b'~', rest @ ..] => (&self.ours, rest),
                [b'@', rest @ ..] => (&self.theirs, rest),
                _ => (&world.root, line),
            };
            let space = line.iter().position(|byte| *byte == b' ');
            let (operation, body) = line.split_at(space.unwrap_or(line.len()));
            let body = with_taken(body.get(1..).unwrap_or_default(), &bodies);
            let reply = world.call_as(caller, &String::from_utf8_lossy(operation), &body);
            let body = serde_json::from_slice(&reply.body).unwrap_or_default();
            keeps_secrets_from_the_parent(&body);
            bodies.push(body);
            replies.push(reply);
        }
        replies
    }
}

/// What is wrapped for an enclave is not beside it in the clear.
fn keeps_secrets_from_the_parent(reply: &Value) {
    if reply.get("CiphertextForRecipient").is_some() {
        for name in ["Plaintext", "PrivateKeyPlaintext", "SharedSecret"] {
            assert!(reply.get(name).is_none(), "{name} beside its ciphertext");
        }
    }
}

/// The body with each `$2/A/B` replaced by the text at that place in that reply.
fn with_taken(body: &[u8], replies: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        let (before, from) = rest.split_at(at);
        out.extend(before);
        let end = from[1..]
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'/')
            .map_or(from.len(), |end| end + 1);
        let (name, after) = from.split_at(end);
        match taken(name, replies) {
            Some(text) if out.len() + text.len() <= TAKEN_BYTES_MAX => out.extend(text.bytes()),
            _ => out.extend(name),
        }
        rest = after;
    }
    out.extend(rest);
    out
}

fn taken<'a>(name: &[u8], replies: &'a [Value]) -> Option<&'a str> {
    let name = std::str::from_utf8(name).ok()?.strip_prefix('$')?;
    let (number, _) = name.split_once('/')?;
    let number: usize = number.parse().ok()?;
    let path = name.get(number.to_string().len()..)?;
    replies.get(number.checked_sub(1)?)?.pointer(path)?.as_str()
}

impl Target for Calls {
    fn generate(&mut self, random: &mut Random) -> Vec<u8> {
        let seeds = if random.one_in(2000) {
            &self.slow
        } else {
            &self.quick
        };
        let mut input = random.pick(seeds).cloned().unwrap_or_default();
        let other = random.pick(&self.quick).map_or(&[][..], Vec::as_slice);
        for _ in 0..=random.below(2) {
            let lines = lines(&input);
            let Some(line) = random.pick(&lines).cloned() else {
                break;
            };
            let theirs = random.pick(&self::lines(other)).cloned().unwrap_or(0..0);
            let theirs = &other[theirs];
            match random.below(12) {
                0 => mutate::bytes(random, &mut input, other),
                1 => {
                    let mut line = theirs.to_vec();
                    line.push(b'\n');
                    let at = random.pick(&lines).map_or(0, |line| line.start);
                    input.splice(at..at, line);
                }
                2 => {
                    input.drain(line);
                }
                3 => {
                    let caller = [b'~', b'@'][random.below(2)];
                    input.insert(line.start, caller);
                }
                _ => {
                    let space = |line: &[u8]| line.iter().position(|byte| *byte == b' ');
                    let from = line.start + space(&input[line.clone()]).map_or(0, |at| at + 1);
                    let mut body = input[from..line.end].to_vec();
                    let theirs = &theirs[space(theirs).map_or(0, |at| at + 1)..];
                    change_json::change(random, &mut body, theirs);
                    input.splice(from..line.end, body);
                }
            }
        }
        input
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let replies = self.replies(input);
        self.answered += replies.len() as u64;
        replies
            .iter()
            .fold(Verdict::Refused, |_, reply| verdict(reply))
    }

    fn remark(&self) -> Option<String> {
        Some(format!("{} calls", self.answered))
    }
}

/// Where the lines are, without their ends.
fn lines(text: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    text.split(|byte| *byte == b'\n')
        .map(|line| {
            let range = start..start + line.len();
            start = range.end + 1;
            range
        })
        .collect()
}

pub(super) fn blob(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let world = World::new(verifier()?)?;
    let encrypt = json!({"KeyId": world.key_id, "Plaintext": "AAAA"});
    let encrypted = world.call("Encrypt", encrypt.to_string().as_bytes());
    let encrypted: Value = serde_json::from_slice(&encrypted.body)?;
    let blob = encrypted["CiphertextBlob"]
        .as_str()
        .context("Encrypt answers a blob")?;
    let mut seeds = vec![BASE64.decode(blob)?];
    for file in corpus.files("kms-blobs", &[".json"], 1 << 20)? {
        let blobs: BTreeMap<String, String> = serde_json::from_slice(&file)?;
        for blob in blobs.values() {
            seeds.push(BASE64.decode(blob)?);
        }
    }
    let original = seeds[0].clone();
    Ok(Box::new(Mutating {
        seeds,
        change: mutate::bytes,
        run: move |input: &[u8]| {
            let body = json!({"CiphertextBlob": BASE64.encode(input)});
            let reply = world.call("Decrypt", body.to_string().as_bytes());
            let verdict = verdict(&reply);
            assert!(
                verdict == Verdict::Refused || input == original,
                "a changed blob decrypts"
            );
            verdict
        },
    }))
}

/// Seed files, read; and planted, which starts a server, now and then.
pub(super) fn seed_file(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let example = include_bytes!("../../../kms-mock/examples/seed.toml");
    let small = b"[[key]]\nid = '1234abcd-12ab-34cd-56ef-1234567890ab'\naliases = ['alias/a']\nrotation_days = 365\nenabled = false\n[[role]]\nname = 'r'\npath = '/p/'\naccount = '123456789012'\n[[user]]\nname = 'u'\n[[bucket]]\nname = 'bucket'\n";
    let mut accepted = 0_u64;
    Ok(Box::new(Mutating {
        seeds: vec![example.to_vec(), small.to_vec()],
        change: mutate::bytes,
        run: move |input: &[u8]| {
            let Ok(text) = std::str::from_utf8(input) else {
                return Verdict::Refused;
            };
            let read = SeedFile::parse(text);
            if read.is_ok() {
                accepted += 1;
                if accepted.is_multiple_of(SEED_FILES_A_SERVER) {
                    let server = KmsMock::builder().workers(1).seed_file(text);
                    return Verdict::from(&server.start_blocking().map(drop));
                }
            }
            Verdict::from(&read)
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchanged_calls_succeed_but_for_those_that_are_there_to_fail() {
        let calls = unchanged_calls().unwrap();
        let mut refused = Vec::new();
        for seed in calls.quick.iter().chain(&calls.slow) {
            let text = String::from_utf8_lossy(seed);
            for (call, reply) in text.lines().zip(calls.replies(seed)) {
                if reply.status != 200 {
                    let operation = call.split(' ').next().unwrap_or_default();
                    refused.push(format!(
                        "{operation} {}",
                        reply.error_type.unwrap_or_default()
                    ));
                }
            }
        }
        refused.sort();
        let expected = [
            "@Encrypt AccessDeniedException",
            "ConnectCustomKeyStore CustomKeyStoreNotFoundException",
            "CreateCustomKeyStore XksProxyUriUnreachableException",
            "CreateKey CustomKeyStoreNotFoundException",
            "Decrypt DryRunOperationException",
            "DeleteCustomKeyStore CustomKeyStoreHasCMKsException",
            "DescribeKey NotFoundException",
            "Encrypt KMSInvalidStateException",
            "ImportKeyMaterial InvalidCiphertextException",
            "ImportKeyMaterial InvalidImportTokenException",
            // The primary is moving to another Region.
            "ScheduleKeyDeletion KMSInvalidStateException",
            "VerifyMac DryRunOperationException",
        ];
        assert_eq!(refused, expected);
    }
}
