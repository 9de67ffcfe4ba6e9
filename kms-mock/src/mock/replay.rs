//! A way to the key that `policy check` has found, made as the calls it consists of,
//! on a KMS of its own in this process.
//!
//! The key is of the kind that the requests suppose and has the policy that is
//! checked; callers have their IAM policies, enclaves their registers. A document is
//! taken as verified: a way supposes one that KMS has accepted. What the evaluator
//! allows and KMS refuses is a fault of the search and never shown as a finding.
//!
//! Does not replay what no server on one machine can present (`kms:ViaService`, …),
//! keys in custom key stores, keys that the policy names by their ARN, and imported
//! material of asymmetric keys; [`Replayed::Not`] says which.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::{
        KeySize, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PrivateDecryptingKey,
        PublicEncryptingKey,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::clock::{SettableClock, UnixMillis};
use serde_json::{Value, json};

use crate::{
    kms::{Call, Kms, Reply, Settings, XksSettings},
    policy::{
        Caller, Constraint, Grant, Policy, Question,
        prove::{Claim, ClaimError, Finding, Proof, Step, Verdict, prove},
    },
    recipient::{DocumentRefused, DocumentVerifier, VerifiedDocument},
    world::{RequestId, principal::Principal},
};

/// What became of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replayed {
    /// KMS has answered all of them.
    Answered {
        /// How many.
        calls: usize,
    },
    /// They were not made; why.
    Not(String),
    /// KMS has refused one.
    Refused {
        /// The operation and its body.
        call: String,
        /// The answer.
        answer: String,
    },
}

/// A claim that was searched and whose findings were tried out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Checked {
    /// What came out, without what KMS has refused.
    pub proof: Proof,
    /// What became of each finding of the proof, in its order.
    pub replayed: Vec<Replayed>,
    /// What the search has found and KMS has refused: faults of the search.
    pub faults: Vec<(Finding, Replayed)>,
}

impl Checked {
    /// Searches, and replays what is found.
    ///
    /// # Errors
    /// When the claim itself makes no sense.
    pub fn new(claim: &Claim) -> Result<Self, ClaimError> {
        let mut proof = prove(claim)?;
        let (mut kept, mut replayed, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for finding in std::mem::take(&mut proof.findings) {
            match replay(&claim.policy, &finding) {
                refused @ Replayed::Refused { .. } => faults.push((finding, refused)),
                other => {
                    kept.push(finding);
                    replayed.push(other);
                }
            }
        }
        proof.findings = kept;
        Ok(Self {
            proof,
            replayed,
            faults,
        })
    }

    /// The answer in a word. A way that was found and refused leaves the question open.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let is_at_fault = self
            .faults
            .iter()
            .any(|(finding, _)| finding.kind.is_path());
        match self.proof.verdict() {
            Verdict::Closed if is_at_fault => Verdict::Undecided,
            verdict => verdict,
        }
    }
}

/// Why a replay ends early.
enum End {
    Not(String),
    Refused { call: String, answer: String },
}

type Made<T> = Result<T, End>;

/// What another key of the world allows to anybody, so that it is in nobody's way.
const OPEN: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;

/// Makes the calls of a way to a key that has the policy.
#[must_use]
pub fn replay(policy: &Policy, finding: &Finding) -> Replayed {
    if let Some(why) = finding
        .steps
        .iter()
        .find_map(|step| beyond(policy, &step.call))
    {
        return Replayed::Not(why);
    }
    match replay_steps(policy, &finding.steps) {
        Ok(calls) => Replayed::Answered { calls },
        Err(End::Not(why)) => Replayed::Not(why),
        Err(End::Refused { call, answer }) => Replayed::Refused { call, answer },
    }
}

/// What of a request no server here can present.
fn beyond(policy: &Policy, question: &Question) -> Option<String> {
    let facts = &question.facts;
    let presented = [
        "kms:expirationmodel",
        "kms:wrappingalgorithm",
        "kms:wrappingkeyspec",
    ];
    let mut keys = facts.condition_keys.keys();
    if let Some(key) = keys.find(|key| !presented.contains(&key.as_str())) {
        return Some(format!("only AWS can present {key}"));
    }
    if facts.grant_is_for_aws_resource == Some(true) {
        return Some("only a service of AWS makes grants for its resources".to_owned());
    }
    let context = facts.encryption_context.as_ref();
    if question.action == "kms:CreateGrant" && context.is_some_and(|it| !it.is_empty()) {
        return Some("the constraint of a grant as a condition key is not replayed".to_owned());
    }
    if !matches!(question.key.origin.as_str(), "AWS_KMS" | "EXTERNAL") {
        return Some("keys in custom key stores are not made for a replay".to_owned());
    }
    if policy.text().contains(":key/") {
        return Some("the policy names keys by their ARN".to_owned());
    }
    None
}

/// Takes the text of a document for what it states.
#[derive(Debug)]
struct AsStated;

impl DocumentVerifier for AsStated {
    fn verify(
        &self,
        document: &[u8],
        now: UnixMillis,
    ) -> Result<VerifiedDocument, DocumentRefused> {
        let refused = |cause: &str| DocumentRefused {
            cause: cause.to_owned(),
        };
        let stated: Value =
            serde_json::from_slice(document).map_err(|error| refused(&error.to_string()))?;
        let pcrs = stated["pcrs"]
            .as_object()
            .ok_or_else(|| refused("no pcrs"))?;
        let pcr = |(index, value): (&String, &Value)| {
            let bytes = value.as_str().and_then(|text| hex::decode(text).ok());
            index.parse().ok().zip(bytes)
        };
        Ok(VerifiedDocument {
            module_id: "i-00000000000000000-enc0000000000000000".to_owned(),
            timestamp: now,
            pcrs: pcrs.iter().filter_map(pcr).collect(),
            nitrotpm: stated["nitrotpm"] == true,
            public_key: Some(RECIPIENT_KEY.clone()),
        })
    }
}

/// The public key of every enclave here: nobody opens the answers.
static RECIPIENT_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("an RSA key is made");
    let spki = AsDer::<PublicKeyX509Der<'_>>::as_der(&key.public_key()).expect("it has a form");
    spki.as_ref().to_vec()
});

struct World {
    kms: Kms,
    clock: SettableClock,
    root: Caller,
    region: String,
    /// The key of the policy.
    key: String,
    /// Another key, which anybody may use.
    other: String,
    /// A ciphertext of the key, where its keys make some.
    blob: Option<Value>,
    /// Of `GetParametersForImport`.
    parameters: Option<Value>,
}

impl World {
    fn call(&self, caller: &Caller, user_agent: &str, operation: &str, body: &Value) -> Reply {
        self.kms.call(&Call {
            region: Some(&self.region),
            operation,
            body: body.to_string().as_bytes(),
            caller: &Arc::new(caller.clone()),
            request_id: RequestId::random(),
            user_agent,
        })
    }

    fn must(
        &self,
        caller: &Caller,
        user_agent: &str,
        operation: &str,
        body: &Value,
    ) -> Made<Value> {
        let reply = self.call(caller, user_agent, operation, body);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        if reply.status != 200 {
            return Err(End::Refused {
                call: format!("{operation} {body}"),
                answer: text,
            });
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// A call of the key's owner, without which there is no world to replay in.
    fn prepare(&self, operation: &str, body: &Value) -> Made<Value> {
        let made = self.must(&self.root, "drydock", operation, body);
        made.map_err(|end| match end {
            End::Refused { answer, .. } => End::Not(format!(
                "{operation} for the replay's world was refused: {answer}"
            )),
            not => not,
        })
    }
}

fn replay_steps(policy: &Policy, steps: &[Step]) -> Made<usize> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Ok(0);
    };
    let key = &last.call.key;
    let clock = SettableClock::frozen(first.call.now);
    let mut world = World {
        kms: Kms::new(Settings {
            region: key.region().to_owned(),
            clock: Arc::new(clock.clone()),
            seed: None,
            attestation_roots: Arc::new(AsStated),
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: false,
            xks: XksSettings::default(),
        }),
        clock,
        root: Caller::new(Principal::Root {
            account: key.account().to_owned(),
        }),
        region: key.region().to_owned(),
        key: String::new(),
        other: String::new(),
        blob: None,
        parameters: None,
    };
    let arn = |made: &Value| {
        made["KeyMetadata"]["Arn"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let kind = json!({ "KeySpec": key.spec, "KeyUsage": key.usage });
    world.other = arn(&world.prepare("CreateKey", &kind)?);
    world.key = make_key(&mut world, steps)?;
    for step in steps {
        for (name, value) in &step.call.key.tags {
            let body =
                json!({ "KeyId": world.key, "Tags": [{ "TagKey": name, "TagValue": value }] });
            world.prepare("TagResource", &body)?;
        }
        if let Some(alias) = &step.call.facts.request_alias {
            let body = json!({ "AliasName": alias, "TargetKeyId": world.key });
            // Two steps may come by the same alias.
            world.call(&world.root, "drydock", "CreateAlias", &body);
        }
    }
    let named = json!({ "AliasName": "alias/of-the-key", "TargetKeyId": world.key });
    world.prepare("CreateAlias", &named)?;
    world.blob = ciphertext(&world, &last.call)?;
    for (key, text) in [(&world.other, OPEN), (&world.key, policy.text())] {
        let body = json!({ "KeyId": key, "Policy": text, "BypassPolicyLockoutSafetyCheck": true });
        world.prepare("PutKeyPolicy", &body)?;
    }
    for step in steps {
        world.clock.freeze(step.call.now);
        let (operation, body) = as_call(&world, step)?;
        let agent = step.call.facts.user_agent.as_deref().unwrap_or("drydock");
        let answer = world.must(&caller_of(&step.call), agent, operation, &body)?;
        if operation == "GetParametersForImport" {
            world.parameters = Some(answer);
        }
    }
    Ok(steps.len())
}

/// A key of the kind that the last request is about.
fn make_key(world: &mut World, steps: &[Step]) -> Made<String> {
    let Some(last) = steps.last() else {
        return Ok(String::new());
    };
    let key = &last.call.key;
    let mut body = json!({ "KeySpec": key.spec, "KeyUsage": key.usage, "Origin": key.origin });
    if key.multi_region_type.is_some() {
        body["MultiRegion"] = true.into();
    }
    let is_replica = key.multi_region_type.as_deref() == Some("REPLICA");
    let here = world.region.clone();
    if is_replica {
        let elsewhere = if here == "us-east-1" {
            "eu-west-1"
        } else {
            "us-east-1"
        };
        elsewhere.clone_into(&mut world.region);
    }
    let made = world.prepare("CreateKey", &body)?;
    let mut arn = made["KeyMetadata"]["Arn"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if is_replica {
        world.prepare(
            "ReplicateKey",
            &json!({ "KeyId": arn, "ReplicaRegion": here }),
        )?;
        arn = arn.replacen(&format!(":{}:", world.region), &format!(":{here}:"), 1);
        world.region = here;
    }
    let imports = steps
        .iter()
        .any(|step| step.call.action == "kms:ImportKeyMaterial");
    if key.origin == "EXTERNAL" && !imports {
        let asked = json!({
            "KeyId": arn, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048",
        });
        let parameters = world.prepare("GetParametersForImport", &asked)?;
        let body = import(&arn, &parameters, &last.call)?;
        world.prepare("ImportKeyMaterial", &body)?;
    }
    Ok(arn)
}

/// The body of `ImportKeyMaterial`: 32 bytes that the caller has chosen.
fn import(key: &str, parameters: &Value, question: &Question) -> Made<Value> {
    if question.key.spec != "SYMMETRIC_DEFAULT" {
        return Err(End::Not(
            "material of asymmetric keys is not imported for a replay".to_owned(),
        ));
    }
    let spki = parameters["PublicKey"]
        .as_str()
        .and_then(|text| BASE64.decode(text).ok());
    let wrapped = spki.and_then(|spki| {
        let public = PublicEncryptingKey::from_der(&spki).ok()?;
        let public = OaepPublicEncryptingKey::new(public).ok()?;
        let mut out = vec![0; public.ciphertext_size()];
        let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut out, None);
        wrapped.ok().map(|it| BASE64.encode(it))
    });
    let expires =
        presented(question, "kms:expirationmodel").as_deref() == Some("KEY_MATERIAL_EXPIRES");
    let mut body = json!({
        "KeyId": key, "ImportToken": parameters["ImportToken"], "EncryptedKeyMaterial": wrapped,
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    });
    if expires {
        body["ExpirationModel"] = "KEY_MATERIAL_EXPIRES".into();
        body["ValidTo"] = (question.now.as_secs() + 86_400).into();
    }
    Ok(body)
}

/// The only value that a request presents of a condition key by name.
fn presented(question: &Question, name: &str) -> Option<String> {
    let value = serde_json::to_value(question.facts.condition_keys.get(name)?).ok()?;
    value.as_str().map(str::to_owned)
}

/// What the key has made before its policy came to be, for a request that needs it.
fn ciphertext(world: &World, question: &Question) -> Made<Option<Value>> {
    let facts = &question.facts;
    let key = &world.key;
    Ok(match question.action.as_str() {
        "kms:Decrypt" | "kms:ReEncryptFrom" => {
            let mut body = json!({
                "KeyId": key, "Plaintext": "eA==", "EncryptionAlgorithm": facts.encryption_algorithm,
            });
            if let Some(context) = &facts.encryption_context {
                body["EncryptionContext"] = json!(context);
            }
            Some(world.prepare("Encrypt", &body)?["CiphertextBlob"].clone())
        }
        "kms:Decapsulate" => {
            let body = json!({ "KeyId": key, "EncapsulationAlgorithm": "ML_KEM" });
            let made = world.prepare("Encapsulate", &body)?;
            Some(made["SharedSecretCiphertextBlob"].clone())
        }
        "kms:DeriveSharedSecret" => {
            // Of the other key, whose owner is the other side.
            let made = world.prepare("GetPublicKey", &json!({ "KeyId": world.other }))?;
            Some(made["PublicKey"].clone())
        }
        "kms:RevokeGrant" => {
            let grantee = format!("arn:aws:iam::{}:role/grantee", question.key.account());
            let body =
                json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["DescribeKey"] });
            Some(world.prepare("CreateGrant", &body)?["GrantId"].clone())
        }
        _ => None,
    })
}

fn caller_of(question: &Question) -> Caller {
    let facts = &question.facts;
    Caller {
        identity_policies: question.identity_policies.clone(),
        boundary: question.boundary.clone(),
        session_policies: question.session_policies.clone(),
        tags: facts.principal_tags.clone(),
        source_ip: facts.source_ip,
        secure_transport: facts.secure_transport.unwrap_or(true),
        ..Caller::new(question.principal.clone())
    }
}

fn recipient(question: &Question) -> Option<Value> {
    let recipient = question.recipient.as_ref()?;
    let pcrs: BTreeMap<String, String> = recipient
        .pcrs
        .iter()
        .map(|(index, bytes)| (index.to_string(), hex::encode(bytes)))
        .collect();
    let document = json!({ "pcrs": pcrs, "nitrotpm": recipient.nitrotpm }).to_string();
    Some(json!({
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": BASE64.encode(document),
    }))
}

/// The operation of a request and its body.
#[allow(clippy::too_many_lines)] // a table
fn as_call(world: &World, step: &Step) -> Made<(&'static str, Value)> {
    let question = &step.call;
    let facts = &question.facts;
    let key = match &facts.request_alias {
        Some(alias) => {
            format!(
                "arn:aws:kms:{}:{}:{alias}",
                question.key.region(),
                question.key.account()
            )
        }
        None => world.key.clone(),
    };
    let context = facts.encryption_context.clone().filter(|it| !it.is_empty());
    let blob = &world.blob;
    let mut body = json!({ "KeyId": key });
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            body[name] = value;
        }
    };
    let operation = match question.action.as_str() {
        "kms:Decrypt" => {
            put("CiphertextBlob", json!(blob));
            put("EncryptionContext", json!(context));
            put("EncryptionAlgorithm", json!(facts.encryption_algorithm));
            put("Recipient", json!(recipient(question)));
            "Decrypt"
        }
        "kms:Encrypt" => {
            put("Plaintext", "eA==".into());
            put("EncryptionContext", json!(context));
            put("EncryptionAlgorithm", json!(facts.encryption_algorithm));
            "Encrypt"
        }
        "kms:ReEncryptFrom" => {
            body = json!({
                "SourceKeyId": key, "CiphertextBlob": blob, "DestinationKeyId": world.other,
                "SourceEncryptionAlgorithm": facts.encryption_algorithm,
                "DestinationEncryptionAlgorithm": facts.encryption_algorithm,
            });
            if let Some(context) = context {
                body["SourceEncryptionContext"] = json!(context);
            }
            return Ok(("ReEncrypt", body));
        }
        "kms:ReEncryptTo" => {
            let algorithm = &facts.encryption_algorithm;
            let made = world.prepare(
                "Encrypt",
                &json!({ "KeyId": world.other, "Plaintext": "eA==", "EncryptionAlgorithm": algorithm }),
            )?;
            body = json!({
                "SourceKeyId": world.other, "CiphertextBlob": made["CiphertextBlob"],
                "DestinationKeyId": key, "SourceEncryptionAlgorithm": algorithm,
                "DestinationEncryptionAlgorithm": algorithm,
            });
            if let Some(context) = context {
                body["DestinationEncryptionContext"] = json!(context);
            }
            return Ok(("ReEncrypt", body));
        }
        "kms:GenerateDataKey" => {
            put("KeySpec", "AES_256".into());
            put("EncryptionContext", json!(context));
            put("Recipient", json!(recipient(question)));
            "GenerateDataKey"
        }
        "kms:GenerateDataKeyWithoutPlaintext" => {
            put("KeySpec", "AES_256".into());
            put("EncryptionContext", json!(context));
            "GenerateDataKeyWithoutPlaintext"
        }
        "kms:GenerateDataKeyPair" => {
            put("KeyPairSpec", json!(facts.data_key_pair_spec));
            put("EncryptionContext", json!(context));
            put("Recipient", json!(recipient(question)));
            "GenerateDataKeyPair"
        }
        "kms:GenerateDataKeyPairWithoutPlaintext" => {
            put("KeyPairSpec", json!(facts.data_key_pair_spec));
            put("EncryptionContext", json!(context));
            "GenerateDataKeyPairWithoutPlaintext"
        }
        "kms:DeriveSharedSecret" => {
            put(
                "KeyAgreementAlgorithm",
                json!(facts.key_agreement_algorithm),
            );
            put("PublicKey", json!(blob));
            put("Recipient", json!(recipient(question)));
            "DeriveSharedSecret"
        }
        "kms:Decapsulate" => {
            put("EncapsulationAlgorithm", "ML_KEM".into());
            put("SharedSecretCiphertextBlob", json!(blob));
            "Decapsulate"
        }
        "kms:Sign" => {
            let algorithm = facts.signing_algorithm.as_deref().unwrap_or_default();
            let bytes = match (facts.message_type.as_deref(), algorithm) {
                (Some("DIGEST"), name) if name.contains("384") => 48,
                (Some("DIGEST"), name) if name.contains("512") => 64,
                (Some("EXTERNAL_MU"), _) => 64,
                _ => 32,
            };
            put("Message", BASE64.encode(vec![7; bytes]).into());
            put("MessageType", json!(facts.message_type));
            put("SigningAlgorithm", algorithm.into());
            "Sign"
        }
        "kms:GenerateMac" => {
            put("Message", "eA==".into());
            put("MacAlgorithm", json!(facts.mac_algorithm));
            "GenerateMac"
        }
        "kms:CreateGrant" => {
            put("GranteePrincipal", json!(facts.grantee_principal));
            put("RetiringPrincipal", json!(facts.retiring_principal));
            put("Operations", json!(facts.grant_operations));
            put(
                "Constraints",
                json!(step.makes.as_deref().and_then(constraints)),
            );
            "CreateGrant"
        }
        "kms:PutKeyPolicy" => {
            // A policy under which the caller is not locked out.
            put("Policy", OPEN.into());
            put(
                "BypassPolicyLockoutSafetyCheck",
                json!(facts.bypass_policy_lockout_safety_check),
            );
            "PutKeyPolicy"
        }
        "kms:ReplicateKey" => {
            put("ReplicaRegion", json!(facts.replica_region));
            put("Policy", OPEN.into());
            put(
                "BypassPolicyLockoutSafetyCheck",
                json!(facts.bypass_policy_lockout_safety_check),
            );
            "ReplicateKey"
        }
        "kms:UpdateAlias" => {
            body = json!({ "AliasName": "alias/of-the-key", "TargetKeyId": world.other });
            return Ok(("UpdateAlias", body));
        }
        "kms:DeleteAlias" => {
            body = json!({ "AliasName": "alias/of-the-key" });
            return Ok(("DeleteAlias", body));
        }
        "kms:GetParametersForImport" => {
            let named = |name: &str, usual: &str| {
                presented(question, name).unwrap_or_else(|| usual.to_owned())
            };
            let algorithm = named("kms:wrappingalgorithm", "RSAES_OAEP_SHA_256");
            put(
                "WrappingKeySpec",
                named("kms:wrappingkeyspec", "RSA_2048").into(),
            );
            if algorithm != "RSAES_OAEP_SHA_256" {
                return Err(End::Not(format!(
                    "nothing is wrapped by {algorithm} for a replay"
                )));
            }
            put("WrappingAlgorithm", algorithm.into());
            "GetParametersForImport"
        }
        "kms:ImportKeyMaterial" => {
            let parameters = world.parameters.clone().unwrap_or_default();
            return Ok((
                "ImportKeyMaterial",
                import(&world.key, &parameters, question)?,
            ));
        }
        "kms:ScheduleKeyDeletion" => {
            let days = facts.schedule_key_deletion_pending_window_in_days;
            put("PendingWindowInDays", json!(days));
            "ScheduleKeyDeletion"
        }
        "kms:DisableKey" => "DisableKey",
        "kms:DeleteImportedKeyMaterial" => "DeleteImportedKeyMaterial",
        "kms:RevokeGrant" => {
            put("GrantId", json!(blob));
            "RevokeGrant"
        }
        other => return Err(End::Not(format!("{other} is not replayed"))),
    };
    Ok((operation, body))
}

fn constraints(grant: &Grant) -> Option<Value> {
    Some(match grant.constraint.as_ref()? {
        Constraint::Equals(pairs) => json!({ "EncryptionContextEquals": pairs }),
        Constraint::Subset(pairs) => json!({ "EncryptionContextSubset": pairs }),
    })
}
