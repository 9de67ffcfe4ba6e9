//! `GenerateDataKeyPair`, attested or not, and
//! `GenerateDataKeyPairWithoutPlaintext`.
//!
//! Source of truth: the KMS service model; recorded answers; ground truth KMS §1
//! (what an attested answer holds, and what not).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::{
    keys::{material::Maker, pair::NewPair},
    kms::{
        answer::{Answer, answer},
        call::CallContext,
        checks::Asked,
        error::{Failure, Unsupported},
        fields::{Fields, GrantTokens, KEY_ID, RecipientMembers},
        json::Object,
        sealing::Symmetric,
    },
    model::spec::{EncryptionAlgorithm, KeySpec},
    policy::{EncryptionContext, Facts},
    recipient::Recipient,
};

const KEY_PAIR_SPECS: &str = "[RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_P521, ECC_SECG_P256K1, SM2, ECC_NIST_EDWARDS25519, ML_KEM_512, ML_KEM_768, ML_KEM_1024]";

pub(crate) fn generate(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let made = make(call, body)?;
    let mut body = made.body;
    let Some(members) = body.as_object_mut() else {
        return Err(Failure::Internal);
    };
    let (member, value) = match made.recipient {
        // Never a PrivateKeyPlaintext beside a Recipient, and no KeyMaterialId
        // either.
        Some(recipient) => {
            let sealed = recipient
                .seal(&made.pair.private, call.entropy())
                .ok_or(Failure::Internal)?;
            members.remove("KeyMaterialId");
            ("CiphertextForRecipient", BASE64.encode(sealed))
        }
        None => ("PrivateKeyPlaintext", BASE64.encode(&*made.pair.private)),
    };
    members.insert(member.to_owned(), value.into());
    answer(&body)
}

pub(crate) fn generate_without_plaintext(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let made = make(call, body)?;
    answer(&made.body)
}

struct Made {
    pair: NewPair,
    body: Value,
    recipient: Option<Arc<Recipient>>,
}

struct Request {
    /// Ignored where the operation does not have the member.
    recipient: Option<RecipientMembers>,
    context: EncryptionContext,
    key_id: String,
    spec: KeySpec,
    tokens: GrantTokens,
    dry_run: bool,
}

fn make(call: &mut CallContext<'_>, body: Object<'_>) -> Result<Made, Failure> {
    let takes_recipient = call.row().takes_recipient;
    let request = Fields::read(body, |fields| Request {
        recipient: takes_recipient.then(|| fields.recipient()).flatten(),
        context: fields.map("EncryptionContext").unwrap_or_default(),
        key_id: fields.required_text("KeyId", KEY_ID),
        spec: fields.required_choice_by(
            "KeyPairSpec",
            parse_spec,
            KEY_PAIR_SPECS,
            KeySpec::EccNistP256,
        ),
        tokens: fields.grant_tokens(),
        dry_run: fields.flag("DryRun"),
    })?;
    call.accept_tokens(&request.tokens)?;
    let (spec, context) = (request.spec, request.context);
    call.note_context(&context);
    let recipient = call.admit(request.recipient)?;
    let facts = Facts {
        encryption_context: Some(&context),
        encryption_algorithm: Some(EncryptionAlgorithm::SymmetricDefault.name()),
        data_key_pair_spec: Some(spec.name()),
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    let found = call.usable(&request.key_id, facts, &Asked::default())?;
    let key = Symmetric::of(&found)?;
    if !spec.is_available() {
        return Err(Failure::Unsupported(Unsupported::Spec {
            spec: spec.name(),
        }));
    }
    if request.dry_run {
        return Err(Failure::DryRun);
    }
    let pair = NewPair::generate(spec, call.entropy()).ok_or(Failure::Internal)?;
    let blob = key.seal(call, Maker::GenerateDataKey, &context, &pair.private)?;
    let body = json!({
        "PrivateKeyCiphertextBlob": BASE64.encode(blob),
        "PublicKey": BASE64.encode(&pair.public),
        "KeyId": &*found.key.arn,
        "KeyPairSpec": spec.name(),
        "KeyMaterialId": key.current.id,
    });
    Ok(Made {
        pair,
        body,
        recipient,
    })
}

/// Asymmetric specs but ML-DSA's.
fn parse_spec(text: &str) -> Option<KeySpec> {
    let spec = KeySpec::parse(text)?;
    let is_signature_only = matches!(spec, KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87);
    (spec.is_pair() && !is_signature_only).then_some(spec)
}
