//! `Encapsulate` and `Decapsulate`.
//!
//! Source of truth: the KMS service model. Neither takes a `Recipient`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use crate::{
    keys::{kem::KemKey, secret::Works},
    kms::{
        answer::{Answer, answer},
        call::{CallContext, Found},
        checks::Asked,
        error::Failure,
        fields::{Fields, GrantTokens, KEY_ID},
        json::Object,
    },
    model::spec::EncapsulationAlgorithm,
    policy::Facts,
};

const CIPHERTEXT_BYTES_MAX: usize = 6144;

pub(crate) fn encapsulate(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let request = Fields::read(body, Request::read)?;
    let found = request.admit(call)?;
    let (ciphertext, secret) = kem_key(&found)?.encapsulate().ok_or(Failure::Internal)?;
    answer(&json!({
        "KeyId": &*found.key.arn,
        "SharedSecret": BASE64.encode(&*secret),
        "SharedSecretCiphertextBlob": BASE64.encode(ciphertext),
        "EncapsulationAlgorithm": request.algorithm.name(),
    }))
}

pub(crate) fn decapsulate(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (request, ciphertext) = Fields::read(body, |fields| {
        (
            Request::read(fields),
            fields.required_blob("SharedSecretCiphertextBlob", 1, CIPHERTEXT_BYTES_MAX),
        )
    })?;
    let found = request.admit(call)?;
    let secret = kem_key(&found)?
        .decapsulate(&ciphertext)
        .ok_or(Failure::InvalidCiphertext {
            cause: "the ciphertext does not have the length of the key's parameter set",
        })?;
    answer(&json!({
        "KeyId": &*found.key.arn,
        "SharedSecret": BASE64.encode(&*secret),
        "EncapsulationAlgorithm": request.algorithm.name(),
    }))
}

/// What both operations are given.
struct Request {
    key_id: String,
    algorithm: EncapsulationAlgorithm,
    tokens: GrantTokens,
    dry_run: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            key_id: fields.required_text("KeyId", KEY_ID),
            algorithm: fields.required_choice("EncapsulationAlgorithm", "[ML_KEM]"),
            tokens: fields.grant_tokens(),
            dry_run: fields.flag("DryRun"),
        }
    }

    /// The key, if the caller may use it so.
    fn admit(&self, call: &mut CallContext<'_>) -> Result<Found, Failure> {
        call.accept_tokens(&self.tokens)?;
        let found = call.usable(&self.key_id, Facts::default(), &Asked::default())?;
        if self.dry_run {
            return Err(Failure::DryRun);
        }
        Ok(found)
    }
}

fn kem_key(found: &Found) -> Result<&KemKey, Failure> {
    match found.works()? {
        Works::Decapsulate(key) => Ok(key),
        _ => Err(Failure::Internal),
    }
}
