//! `DeriveSharedSecret`, attested or not.
//!
//! Source of truth: the KMS service model; recorded answers (an invalid public
//! key is a `ValidationException` without a message); ground truth KMS §1.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use super::grant;
use crate::{
    keys::secret::Works,
    kms::{
        call::{Aliases, Answer, CallContext, absent, answer},
        error::Failure,
        fields::{Fields, KEY_ID},
    },
    model::spec::{KeyAgreementAlgorithm, KeyUsage},
    policy::Facts,
};

const PUBLIC_KEY_BYTES_MAX: usize = 8192;

pub(crate) fn derive(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let algorithm = fields.required_choice(
        "KeyAgreementAlgorithm",
        KeyAgreementAlgorithm::parse,
        "[ECDH]",
    );
    let peer = fields.required_blob("PublicKey", 1, PUBLIC_KEY_BYTES_MAX);
    let tokens = fields.texts("GrantTokens", 0, 10);
    let dry_run = fields.flag("DryRun");
    let recipient = CallContext::read_recipient(fields);
    fields.finish()?;
    grant::check_tokens(tokens)?;
    let algorithm = algorithm.ok_or_else(|| absent("keyAgreementAlgorithm"))?;
    let recipient = call.admit(recipient)?;
    let found = call.find(&key_id, Aliases::Accepted)?;
    let facts = Facts {
        key_agreement_algorithm: Some(algorithm.name()),
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    found.must_be_enabled()?;
    found.must_be_for(KeyUsage::KeyAgreement, call.operation_name())?;
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
