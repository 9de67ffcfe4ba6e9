//! `GenerateDataKeyPair`, attested or not, and
//! `GenerateDataKeyPairWithoutPlaintext`.
//!
//! Source of truth: the KMS service model; recorded answers; ground truth KMS §1
//! (what an attested answer holds, and what not).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::grant;
use crate::{
    keys::{material::Maker, pair::NewPair},
    kms::{
        call::{Aliases, Answer, CallContext, absent, answer},
        error::{Failure, Unsupported},
        fields::{Fields, KEY_ID},
        sealing::Symmetric,
    },
    model::spec::{EncryptionAlgorithm, KeySpec, KeyUsage},
    policy::Facts,
    recipient::Recipient,
};

const KEY_PAIR_SPECS: &str = "[RSA_2048, RSA_3072, RSA_4096, ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_P521, ECC_SECG_P256K1, SM2, ECC_NIST_EDWARDS25519, ML_KEM_512, ML_KEM_768, ML_KEM_1024]";

pub(crate) fn generate(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let recipient = CallContext::read_recipient(fields);
    let made = make(call, fields, |call| call.admit(recipient))?;
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

pub(crate) fn generate_without_plaintext(
    call: &mut CallContext<'_>,
    fields: &mut Fields,
) -> Answer {
    // A Recipient is ignored: the operation does not have the member.
    let made = make(call, fields, |_| Ok(None))?;
    answer(&made.body)
}

struct Made {
    pair: NewPair,
    body: Value,
    recipient: Option<Recipient>,
}

fn make<'a>(
    call: &mut CallContext<'a>,
    fields: &mut Fields,
    admit: impl FnOnce(&mut CallContext<'a>) -> Result<Option<Recipient>, Failure>,
) -> Result<Made, Failure> {
    let context = fields.map("EncryptionContext").unwrap_or_default();
    let key_id = fields.required_text("KeyId", KEY_ID);
    let spec = fields.required_choice("KeyPairSpec", parse_spec, KEY_PAIR_SPECS);
    let tokens = fields.texts("GrantTokens", 0, 10);
    let dry_run = fields.flag("DryRun");
    fields.finish()?;
    grant::check_tokens(tokens)?;
    let spec = spec.ok_or_else(|| absent("keyPairSpec"))?;
    call.note_context(&context);
    let recipient = admit(call)?;
    let found = call.find(&key_id, Aliases::Accepted)?;
    let facts = Facts {
        encryption_context: Some(&context),
        encryption_algorithm: Some(EncryptionAlgorithm::SymmetricDefault.name()),
        data_key_pair_spec: Some(spec.name()),
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    found.must_be_enabled()?;
    let key = Symmetric::of(&found, call.operation_name())?;
    if !spec.is_available() {
        return Err(Failure::Unsupported(Unsupported::Spec {
            spec: spec.name(),
        }));
    }
    if dry_run {
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
    let is_pair =
        !spec.is_symmetric_encryption() && !spec.usages().contains(&KeyUsage::GenerateVerifyMac);
    (is_pair && !is_signature_only).then_some(spec)
}
