//! What callers send to the KMS: policies, bodies, blobs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kms_mock::{
    api::{Call, Kms, Reply, Settings},
    policy::{Facts, KeyFacts, Policy, PolicyKind, Request, Resource, decide},
    principal::{Caller, Principal},
};
use nsm_sim::{
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};
use serde_json::{Value, json};

use super::{Corpus, Mutating, Target, Verdict, nsm};
use crate::{mutate, random::Random};

const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
const ACCOUNT: &str = "123456789012";
const KEY_ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

pub(super) fn policy(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = vec![
        Policy::default_for_key(ACCOUNT).text().as_bytes().to_vec(),
        br#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","NotPrincipal":{"AWS":["arn:aws:iam::123456789012:role/R"]},"NotAction":"kms:De*","NotResource":"arn:aws:kms:*:*:key/${aws:PrincipalTag/x}","Condition":{"ForAllValues:StringLikeIfExists":{"kms:RecipientAttestation:PCR0":["*","a"]},"NumericLessThan":{"kms:GrantOperations":1},"Null":{"kms:ViaService":"true"},"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"Bool":{"aws:SecureTransport":"false"}}}]}"#.to_vec(),
    ];
    for file in corpus.files("kms-policies", &[".json"], 64 << 10)? {
        let mut file: Value = serde_json::from_slice(&file)?;
        seeds.push(file["policy"].take().to_string().into_bytes());
    }
    let caller = Caller::new(Principal::AssumedRole {
        account: ACCOUNT.into(),
        role_path_name: "R".into(),
        session: "s".into(),
    });
    let context = BTreeMap::from([("purpose".to_owned(), "fuzz".to_owned())]);
    let tags = BTreeMap::new();
    Ok(Box::new(Mutating {
        seeds,
        change: change_json,
        run: move |input: &[u8]| {
            let Ok(text) = std::str::from_utf8(input) else {
                return Verdict::Refused;
            };
            let mut verdict = Verdict::Refused;
            for kind in [PolicyKind::Key, PolicyKind::Identity, PolicyKind::Trust] {
                let Ok(policy) = Policy::parse(text, kind) else {
                    continue;
                };
                verdict = Verdict::Accepted;
                let again = Policy::parse(policy.rendered(), kind).unwrap_or_else(|error| {
                    panic!("what GetKeyPolicy answers is no policy: {error}")
                });
                assert_eq!(again.rendered(), policy.rendered());
                let facts = Facts {
                    encryption_context: Some(&context),
                    ..Facts::default()
                };
                let request = Request {
                    caller: &caller,
                    action: "kms:Decrypt",
                    resource: Resource::Key(KeyFacts {
                        arn: KEY_ARN,
                        account: ACCOUNT,
                        region: "us-east-1",
                        spec: "SYMMETRIC_DEFAULT",
                        usage: "ENCRYPT_DECRYPT",
                        origin: "AWS_KMS",
                        multi_region_type: None,
                        aliases: &[],
                        tags: &tags,
                    }),
                    facts: &facts,
                    now: NOW,
                };
                let decision = decide(&request, Some(&Arc::new(policy)), Vec::new);
                let _ = (
                    decision.is_allowed(),
                    decision.to_json(),
                    decision.remarks(),
                );
            }
            verdict
        },
    }))
}

/// A KMS with one key, the same each time, so that an input repeats alone.
struct World {
    kms: Kms,
    root: Caller,
    key_id: String,
    blob: String,
}

impl World {
    fn new() -> anyhow::Result<Self> {
        let verifier = nsm_sim::attestation::verify::Verifier::aws()
            .and_root_der(nsm::module().pki().root_der())?;
        Self::with(Arc::new(verifier))
    }

    fn with(verifier: Arc<nsm_sim::attestation::verify::Verifier>) -> anyhow::Result<Self> {
        let kms = Kms::new(Settings {
            region: "us-east-1".into(),
            clock: Arc::new(SettableClock::frozen(NOW)),
            seed: Some(WorldSeed::from_u64(1)),
            attestation_roots: verifier,
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: false,
        });
        let mut world = Self {
            kms,
            root: Caller::new(Principal::Root {
                account: ACCOUNT.into(),
            }),
            key_id: String::new(),
            blob: String::new(),
        };
        let key: Value = serde_json::from_slice(&world.call("CreateKey", b"{}").body)?;
        key["KeyMetadata"]["KeyId"]
            .as_str()
            .context("CreateKey names its key")?
            .clone_into(&mut world.key_id);
        let alias = json!({"AliasName": "alias/fuzz", "TargetKeyId": world.key_id});
        world.call("CreateAlias", alias.to_string().as_bytes());
        let encrypt = json!({"KeyId": world.key_id, "Plaintext": "AAAA"});
        let encrypted = world.call("Encrypt", encrypt.to_string().as_bytes());
        let encrypted: Value = serde_json::from_slice(&encrypted.body)?;
        encrypted["CiphertextBlob"]
            .as_str()
            .context("Encrypt answers a blob")?
            .clone_into(&mut world.blob);
        Ok(world)
    }

    fn call(&self, operation: &str, body: &[u8]) -> Reply {
        self.kms.call(&Call {
            region: None,
            operation,
            body,
            caller: &self.root,
            request_id: "00000000-0000-0000-0000-000000000000",
            user_agent: "fuzz",
        })
    }
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

/// The operation, a line break, the body.
pub(super) fn call(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let world = World::new()?;
    let (key, blob) = (&world.key_id, &world.blob);
    let document = BASE64.encode(nsm::document(b"\xa1\x6bAttestation\xa0"));
    let recipient =
        json!({"AttestationDocument": document, "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"});
    let context = json!({"a": "b"});
    let calls = [
        (
            "CreateKey",
            json!({"Description": "d", "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT", "Tags": [{"TagKey": "k", "TagValue": "v"}]}),
        ),
        (
            "DescribeKey",
            json!({"KeyId": "alias/fuzz", "GrantTokens": ["t"]}),
        ),
        ("ListKeys", json!({"Limit": 1, "Marker": "m"})),
        (
            "ScheduleKeyDeletion",
            json!({"KeyId": key, "PendingWindowInDays": 7}),
        ),
        (
            "CreateAlias",
            json!({"AliasName": "alias/other", "TargetKeyId": key}),
        ),
        ("ListAliases", json!({"KeyId": key, "Limit": 1})),
        (
            "PutKeyPolicy",
            json!({"KeyId": key, "PolicyName": "default", "Policy": Policy::default_for_key(ACCOUNT).text()}),
        ),
        ("GetKeyPolicy", json!({"KeyId": key})),
        (
            "EnableKeyRotation",
            json!({"KeyId": key, "RotationPeriodInDays": 90}),
        ),
        ("ListKeyRotations", json!({"KeyId": key})),
        (
            "Encrypt",
            json!({"KeyId": key, "Plaintext": "AAAA", "EncryptionContext": context}),
        ),
        (
            "Decrypt",
            json!({"CiphertextBlob": blob, "KeyId": key, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "DryRun": true}),
        ),
        (
            "Decrypt",
            json!({"CiphertextBlob": blob, "Recipient": recipient}),
        ),
        (
            "ReEncrypt",
            json!({"CiphertextBlob": blob, "DestinationKeyId": key, "DestinationEncryptionContext": context}),
        ),
        (
            "GenerateDataKey",
            json!({"KeyId": key, "KeySpec": "AES_256", "Recipient": recipient}),
        ),
        (
            "GenerateDataKeyWithoutPlaintext",
            json!({"KeyId": key, "NumberOfBytes": 64}),
        ),
        (
            "GenerateRandom",
            json!({"NumberOfBytes": 32, "Recipient": recipient}),
        ),
        (
            "TagResource",
            json!({"KeyId": key, "Tags": [{"TagKey": "k", "TagValue": "v"}]}),
        ),
        ("UntagResource", json!({"KeyId": key, "TagKeys": ["k"]})),
        (
            "CreateGrant",
            json!({"KeyId": key, "GranteePrincipal": "arn:aws:iam::123456789012:role/R", "Operations": ["Decrypt"], "Constraints": {"EncryptionContextSubset": context}, "Name": "n"}),
        ),
        ("RevokeGrant", json!({"KeyId": key, "GrantId": "g"})),
        ("RetireGrant", json!({"GrantToken": "t"})),
    ];
    let seeds = calls
        .iter()
        .map(|(operation, body)| format!("{operation}\n{body}").into_bytes())
        .collect();
    let verifier = Arc::new(
        nsm_sim::attestation::verify::Verifier::aws()
            .and_root_der(nsm::module().pki().root_der())?,
    );
    Ok(Box::new(Mutating {
        seeds,
        change: |random, input, other| {
            let line = input.iter().position(|byte| *byte == b'\n');
            match line {
                Some(at) if !random.one_in(8) => {
                    let mut body = input.split_off(at + 1);
                    let from = other.iter().position(|byte| *byte == b'\n');
                    change_json(random, &mut body, &other[from.map_or(0, |at| at + 1)..]);
                    input.extend(body);
                }
                _ => mutate::bytes(random, input, other),
            }
        },
        run: move |input: &[u8]| {
            let at = input.iter().position(|byte| *byte == b'\n');
            let (operation, body) = input.split_at(at.unwrap_or(0));
            let world = World::with(Arc::clone(&verifier)).expect("a world can be made");
            let operation = String::from_utf8_lossy(operation);
            verdict(&world.call(&operation, body.get(1..).unwrap_or_default()))
        },
    }))
}

pub(super) fn blob(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let world = World::new()?;
    let mut seeds = vec![BASE64.decode(&world.blob)?];
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

/// Changes a JSON text as text, or one of its values for another.
fn change_json(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    if random.one_in(3) {
        return mutate::bytes(random, input, other);
    }
    let (Ok(mut json), theirs) = (
        serde_json::from_slice::<Value>(input),
        serde_json::from_slice::<Value>(other).unwrap_or_default(),
    ) else {
        return mutate::bytes(random, input, other);
    };
    for _ in 0..=random.below(3) {
        change_value(random, &mut json, &theirs);
    }
    *input = json.to_string().into_bytes();
}

fn change_value(random: &mut Random, json: &mut Value, other: &Value) {
    // Down to some value, then changed there.
    let deeper = !random.one_in(4);
    match json {
        Value::Object(members) if deeper && !members.is_empty() => {
            let at = random.below(members.len());
            let name = members.keys().nth(at).cloned().unwrap_or_default();
            match random.below(8) {
                0 => {
                    members.remove(&name);
                }
                1 => {
                    if let Some(value) = members.remove(&name) {
                        let names = ["", "Version", "AWS", "KeyId", "Sid", "${aws:x}", "*"];
                        let name = names[random.below(names.len())];
                        members.insert(name.to_owned(), value);
                    }
                }
                2 => {
                    if let Some((name, value)) = other
                        .as_object()
                        .and_then(|theirs| theirs.iter().nth(random.below(theirs.len())))
                    {
                        members.insert(name.clone(), value.clone());
                    }
                }
                _ => {
                    if let Some(value) = members.get_mut(&name) {
                        change_value(random, value, other);
                    }
                }
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(6) {
                0 => {
                    items.remove(at);
                }
                1 => {
                    let copy = items[at].clone();
                    items.push(copy);
                }
                _ => change_value(random, &mut items[at], other),
            }
        }
        Value::String(text) if random.one_in(2) => {
            let mut bytes = std::mem::take(text).into_bytes();
            mutate::bytes(random, &mut bytes, b"*?${aws:userid}:/arn:aws:kms");
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        _ => {
            *json = match random.below(10) {
                0 => Value::Null,
                1 => json!(true),
                2 => json!(-1),
                3 => json!(1e300),
                4 => json!(u64::MAX),
                5 => json!(""),
                6 => json!("*"),
                7 => json!([]),
                8 => json!([json.clone(), "x"]),
                _ => json!({"a": json.clone()}),
            };
        }
    }
}
