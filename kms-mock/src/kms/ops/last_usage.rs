//! `GetKeyLastUsage`.
//!
//! Source of truth: the KMS service model (2026). Tracking begins when a key is
//! created; related keys of several Regions are tracked each for itself. AWS
//! writes usage down a while later, here it is there at once.

use serde_json::{Value, json};

use crate::{
    kms::{
        call::{Aliases, Answer, CallContext, answer, timestamp},
        fields::{Fields, KEY_ID},
    },
    model::operation::Operation,
    policy::Facts,
};

/// Whether a success counts as the key's last usage.
pub(crate) fn is_tracked(operation: Operation) -> bool {
    use Operation as O;
    matches!(
        operation,
        O::Decapsulate
            | O::Decrypt
            | O::DeriveSharedSecret
            | O::Encapsulate
            | O::Encrypt
            | O::GenerateDataKey
            | O::GenerateDataKeyPair
            | O::GenerateDataKeyPairWithoutPlaintext
            | O::GenerateDataKeyWithoutPlaintext
            | O::GenerateMac
            | O::ReEncrypt
            | O::Sign
            | O::Verify
            | O::VerifyMac
    )
}

pub(crate) fn get(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    fields.finish()?;
    let found = call.find(&key_id, Aliases::Refused)?;
    call.authorize(&found, Facts::default())?;
    let usage = found.key.last_use().map_or_else(
        || Value::Object(serde_json::Map::new()),
        |last| {
            json!({
                "Operation": last.operation,
                "Timestamp": timestamp(last.at),
                // The log's events go by their request's id.
                "CloudTrailEventId": last.request_id.as_str(),
                "KmsRequestId": last.request_id.as_str(),
            })
        },
    );
    answer(&json!({
        "KeyId": &*found.key.arn,
        "KeyLastUsage": usage,
        "TrackingStartDate": timestamp(found.key.created),
        "KeyCreationDate": timestamp(found.key.created),
    }))
}
