//! `GetPublicKey`.
//!
//! Source of truth: the KMS service model; AWS KMS API reference, GetPublicKey
//! (symmetric and HMAC keys answer `UnsupportedOperationException`, whose text
//! is not published: none is sent).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use crate::{
    kms::{
        answer::{Answer, answer},
        call::CallContext,
        checks::Asked,
        error::Failure,
        fields::{Fields, KEY_ID},
        json::Object,
    },
    policy::Facts,
};

pub(crate) fn get(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, tokens) = Fields::read(body, |fields| {
        (fields.required_text("KeyId", KEY_ID), fields.grant_tokens())
    })?;
    call.accept_tokens(&tokens)?;
    let found = call.usable(&key_id, Facts::default(), &Asked::default())?;
    let (spec, usage) = (found.key.spec, found.key.usage);
    let public = found.secret()?.public.as_ref().ok_or(Failure::Internal)?;
    let mut body = json!({
        "KeyId": &*found.key.arn,
        "PublicKey": BASE64.encode(public),
        "CustomerMasterKeySpec": spec.name(),
        "KeySpec": spec.name(),
        "KeyUsage": usage.name(),
    });
    if let Some(members) = body.as_object_mut() {
        let (member, algorithms) = spec.algorithms(usage);
        members.insert(member.to_owned(), algorithms.into());
    }
    answer(&body)
}
