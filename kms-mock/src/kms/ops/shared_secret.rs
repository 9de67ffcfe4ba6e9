//! `DeriveSharedSecret`, attested or not.
//!
//! Source of truth: the KMS service model; recorded answers (an invalid public
//! key is a `ValidationException` without a message); ground truth KMS §1.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use crate::{
    keys::secret::Works,
    kms::{
        answer::{Answer, answer},
        call::CallContext,
        checks::Asked,
        error::Failure,
        fields::{Fields, KEY_ID},
        json::Object,
    },
    model::spec::KeyAgreementAlgorithm,
    policy::Facts,
};

const PUBLIC_KEY_BYTES_MAX: usize = 8192;

pub(crate) fn derive(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, algorithm, peer, tokens, dry_run, recipient) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_choice::<KeyAgreementAlgorithm>("KeyAgreementAlgorithm", "[ECDH]"),
            fields.required_blob("PublicKey", 1, PUBLIC_KEY_BYTES_MAX),
            fields.grant_tokens(),
            fields.flag("DryRun"),
            fields.recipient(),
        )
    })?;
    call.accept_tokens(&tokens)?;
    let recipient = call.admit(recipient)?;
    let facts = Facts {
        key_agreement_algorithm: Some(algorithm.name()),
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    let found = call.usable(&key_id, facts, &Asked::default())?;
    let Works::Agree(key) = found.works()? else {
        return Err(Failure::Internal);
    };
    let secret = key.agree(&peer).ok_or(Failure::InvalidPublicKey)?;
    if dry_run {
        return Err(Failure::DryRun);
    }
    // Never a SharedSecret beside a Recipient.
    let (member, value) = match recipient {
        None => ("SharedSecret", BASE64.encode(&*secret)),
        Some(recipient) => {
            let sealed = recipient
                .seal(&secret, call.entropy())
                .ok_or(Failure::Internal)?;
            ("CiphertextForRecipient", BASE64.encode(sealed))
        }
    };
    answer(&json!({
        "KeyId": &*found.key.arn,
        member: value,
        "KeyAgreementAlgorithm": algorithm.name(),
        "KeyOrigin": found.key.origin.name(),
    }))
}
