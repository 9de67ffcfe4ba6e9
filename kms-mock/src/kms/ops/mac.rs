//! `GenerateMac` and `VerifyMac`.
//!
//! Source of truth: the KMS service model; recorded answers and texts
//! (`KMSInvalidMacException` without a message).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use super::grant;
use crate::{
    keys::{mac::MacKey, secret::Works},
    kms::{
        call::{Aliases, Answer, CallContext, Found, absent, answer},
        error::Failure,
        fields::{Fields, KEY_ID},
    },
    model::spec::{KeyUsage, MacAlgorithm},
    policy::Facts,
};

const MESSAGE_BYTES_MAX: usize = 4096;
const MAC_BYTES_MAX: usize = 6144;
/// In the order recorded on AWS.
const ALGORITHMS: &str = "[HMAC_SHA_384, HMAC_SHA_256, HMAC_SHA_224, HMAC_SHA_512]";

pub(crate) fn generate(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let mut request = Request::read(fields);
    fields.finish()?;
    let (found, algorithm) = request.admit(call)?;
    let mac = mac_key(&found)?.mac(&request.message);
    answer(&json!({
        "Mac": BASE64.encode(mac),
        "MacAlgorithm": algorithm.name(),
        "KeyId": &*found.key.arn,
    }))
}

pub(crate) fn verify(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let mut request = Request::read(fields);
    let mac = fields.required_blob("Mac", 1, MAC_BYTES_MAX);
    fields.finish()?;
    let (found, algorithm) = request.admit(call)?;
    if !mac_key(&found)?.verifies(&request.message, &mac) {
        return Err(Failure::InvalidMac);
    }
    answer(&json!({
        "KeyId": &*found.key.arn,
        "MacValid": true,
        "MacAlgorithm": algorithm.name(),
    }))
}

/// What both operations are given.
struct Request {
    message: Vec<u8>,
    key_id: String,
    algorithm: Option<MacAlgorithm>,
    tokens: Option<Vec<String>>,
    dry_run: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            message: fields.required_blob("Message", 1, MESSAGE_BYTES_MAX),
            key_id: fields.required_text("KeyId", KEY_ID),
            algorithm: fields.required_choice("MacAlgorithm", MacAlgorithm::parse, ALGORITHMS),
            tokens: fields.texts("GrantTokens", 0, 10),
            dry_run: fields.flag("DryRun"),
        }
    }

    /// The key, if the caller may use it so.
    fn admit(&mut self, call: &mut CallContext<'_>) -> Result<(Found, MacAlgorithm), Failure> {
        grant::check_tokens(self.tokens.take())?;
        let algorithm = self.algorithm.ok_or_else(|| absent("macAlgorithm"))?;
        let found = call.find(&self.key_id, Aliases::Accepted)?;
        let facts = Facts {
            mac_algorithm: Some(algorithm.name()),
            ..Facts::default()
        };
        call.authorize(&found, facts)?;
        found.must_be_enabled()?;
        found.must_be_for(KeyUsage::GenerateVerifyMac, call.operation_name())?;
        let accepted = found.key.spec.mac_algorithms();
        found.must_accept(&algorithm, algorithm.name(), accepted)?;
        if self.dry_run {
            return Err(Failure::DryRun);
        }
        Ok((found, algorithm))
    }
}

fn mac_key(found: &Found) -> Result<&MacKey, Failure> {
    match found.works()? {
        Works::Mac(key) => Ok(key),
        _ => Err(Failure::Internal),
    }
}
