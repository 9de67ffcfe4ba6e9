//! `GenerateRandom`, attested or not.
//!
//! Source of truth: the KMS service model; recorded texts; ground truth KMS §1.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;
use zeroize::Zeroizing;

use super::custom_key_store;
use crate::{
    kms::{
        answer::{Answer, answer},
        call::CallContext,
        error::{Failure, Invalid},
        fields::{Fields, length},
        json::Object,
    },
    policy::Facts,
};

pub(crate) fn generate(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (count, key_store, recipient) = Fields::read(body, |fields| {
        (
            fields.number("NumberOfBytes", 1, 1024),
            fields.text("CustomKeyStoreId", length(1, 64)),
            fields.recipient(),
        )
    })?;
    let count = count.ok_or(Failure::Invalid(Invalid::NumberOfBytesRequired))?;
    let recipient = call.admit(recipient)?;
    let facts = Facts {
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    call.authorize_account(call.action(), facts)?;
    if let Some(id) = key_store {
        custom_key_store::must_give_random(call, &id)?;
    }
    let mut bytes = Zeroizing::new(vec![0; usize::from(count)]);
    call.entropy().fill(&mut bytes);
    match recipient {
        None => answer(&json!({ "Plaintext": BASE64.encode(&*bytes) })),
        Some(recipient) => {
            let sealed = recipient
                .seal(&bytes, call.entropy())
                .ok_or(Failure::Internal)?;
            answer(&json!({ "CiphertextForRecipient": BASE64.encode(sealed) }))
        }
    }
}
