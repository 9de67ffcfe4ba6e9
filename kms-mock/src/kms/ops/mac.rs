//! `GenerateMac` and `VerifyMac`.
//!
//! Source of truth: the KMS service model; recorded answers and texts
//! (`KMSInvalidMacException` without a message).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use crate::{
    keys::{mac::MacKey, secret::Works},
    kms::{
        answer::{Answer, answer},
        call::{CallContext, Found},
        checks::Asked,
        error::Failure,
        fields::{Fields, GrantTokens, KEY_ID},
        json::Object,
    },
    model::spec::{Algorithm, MacAlgorithm},
    policy::Facts,
};

const MESSAGE_BYTES_MAX: usize = 4096;
const MAC_BYTES_MAX: usize = 6144;
/// In the order recorded on AWS.
const ALGORITHMS: &str = "[HMAC_SHA_384, HMAC_SHA_256, HMAC_SHA_224, HMAC_SHA_512]";

pub(crate) fn generate(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let request = Fields::read(body, Request::read)?;
    let found = request.admit(call)?;
    let mac = mac_key(&found)?.mac(&request.message);
    answer(&json!({
        "Mac": BASE64.encode(mac),
        "MacAlgorithm": request.algorithm.name(),
        "KeyId": &*found.key.arn,
    }))
}

pub(crate) fn verify(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (request, mac) = Fields::read(body, |fields| {
        (
            Request::read(fields),
            fields.required_blob("Mac", 1, MAC_BYTES_MAX),
        )
    })?;
    let found = request.admit(call)?;
    if !mac_key(&found)?.verifies(&request.message, &mac) {
        return Err(Failure::InvalidMac);
    }
    answer(&json!({
        "KeyId": &*found.key.arn,
        "MacValid": true,
        "MacAlgorithm": request.algorithm.name(),
    }))
}

/// What both operations are given.
struct Request {
    message: Vec<u8>,
    key_id: String,
    algorithm: MacAlgorithm,
    tokens: GrantTokens,
    dry_run: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            message: fields.required_blob("Message", 1, MESSAGE_BYTES_MAX),
            key_id: fields.required_text("KeyId", KEY_ID),
            algorithm: fields.required_choice("MacAlgorithm", ALGORITHMS),
            tokens: fields.grant_tokens(),
            dry_run: fields.flag("DryRun"),
        }
    }

    /// The key, if the caller may use it so.
    fn admit(&self, call: &mut CallContext<'_>) -> Result<Found, Failure> {
        call.accept_tokens(&self.tokens)?;
        let facts = Facts {
            mac_algorithm: Some(self.algorithm.name()),
            ..Facts::default()
        };
        let asked = Asked {
            algorithm: Some(Algorithm::Mac(self.algorithm)),
            ..Asked::default()
        };
        let found = call.usable(&self.key_id, facts, &asked)?;
        if self.dry_run {
            return Err(Failure::DryRun);
        }
        Ok(found)
    }
}

fn mac_key(found: &Found) -> Result<&MacKey, Failure> {
    match found.works()? {
        Works::Mac(key) => Ok(key),
        _ => Err(Failure::Internal),
    }
}
