//! `GetKeyLastUsage`.
//!
//! Source of truth: the KMS service model (2026). Tracking begins when a key is
//! created; related keys of several Regions are tracked each for itself. AWS
//! writes usage down a while later, here it is there at once.

use serde_json::{Value, json};

use crate::{
    kms::{
        answer::{Answer, answer, timestamp},
        call::CallContext,
        fields::{Fields, KEY_ID},
        json::Object,
    },
    policy::Facts,
};

pub(crate) fn get(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let key_id = Fields::read(body, |fields| fields.required_text("KeyId", KEY_ID))?;
    let found = call.find(&key_id)?;
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
