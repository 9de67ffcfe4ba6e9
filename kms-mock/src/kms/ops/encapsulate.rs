//! `Encapsulate` and `Decapsulate`.
//!
//! Source of truth: the KMS service model. Neither takes a `Recipient`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use super::grant;
use crate::{
    keys::{kem::KemKey, secret::Works},
    kms::{
        call::{Aliases, Answer, CallContext, Found, absent, answer},
        error::Failure,
        fields::{Fields, KEY_ID},
    },
    model::spec::{EncapsulationAlgorithm, KeyUsage},
    policy::Facts,
};

const CIPHERTEXT_BYTES_MAX: usize = 6144;

pub(crate) fn encapsulate(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let mut request = Request::read(fields);
    fields.finish()?;
    let (found, algorithm) = request.admit(call)?;
    let (ciphertext, secret) = kem_key(&found)?.encapsulate().ok_or(Failure::Internal)?;
    answer(&json!({
        "KeyId": &*found.key.arn,
        "SharedSecret": BASE64.encode(&*secret),
        "SharedSecretCiphertextBlob": BASE64.encode(ciphertext),
        "EncapsulationAlgorithm": algorithm.name(),
    }))
}

pub(crate) fn decapsulate(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let mut request = Request::read(fields);
    let ciphertext = fields.required_blob("SharedSecretCiphertextBlob", 1, CIPHERTEXT_BYTES_MAX);
    fields.finish()?;
    let (found, algorithm) = request.admit(call)?;
    let secret = kem_key(&found)?
        .decapsulate(&ciphertext)
        .ok_or(Failure::InvalidCiphertext {
            cause: "the ciphertext has not the length of the key's parameter set",
        })?;
    answer(&json!({
        "KeyId": &*found.key.arn,
        "SharedSecret": BASE64.encode(&*secret),
        "EncapsulationAlgorithm": algorithm.name(),
    }))
}

/// What both operations are given.
struct Request {
    key_id: String,
    algorithm: Option<EncapsulationAlgorithm>,
    tokens: Option<Vec<String>>,
    dry_run: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            key_id: fields.required_text("KeyId", KEY_ID),
            algorithm: fields.required_choice(
                "EncapsulationAlgorithm",
                EncapsulationAlgorithm::parse,
                "[ML_KEM]",
            ),
            tokens: fields.texts("GrantTokens", 0, 10),
            dry_run: fields.flag("DryRun"),
        }
    }

    /// The key, if the caller may use it so.
    fn admit(
        &mut self,
        call: &mut CallContext<'_>,
    ) -> Result<(Found, EncapsulationAlgorithm), Failure> {
        grant::check_tokens(self.tokens.take())?;
        let algorithm = self
            .algorithm
            .ok_or_else(|| absent("encapsulationAlgorithm"))?;
        let found = call.find(&self.key_id, Aliases::Accepted)?;
        call.authorize(&found, Facts::default())?;
        found.must_be_enabled()?;
        found.must_be_for(KeyUsage::EncapsulateDecapsulate, call.operation_name())?;
        if self.dry_run {
            return Err(Failure::DryRun);
        }
        Ok((found, algorithm))
    }
}

fn kem_key(found: &Found) -> Result<&KemKey, Failure> {
    match found.works()? {
        Works::Decapsulate(key) => Ok(key),
        _ => Err(Failure::Internal),
    }
}
