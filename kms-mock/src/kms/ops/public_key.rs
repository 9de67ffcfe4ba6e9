//! `GetPublicKey`.
//!
//! Source of truth: the KMS service model; AWS KMS API reference, GetPublicKey
//! (symmetric and HMAC keys answer `UnsupportedOperationException`, whose text
//! is not published: none is sent).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use super::grant;
use crate::{
    kms::{
        call::{Aliases, Answer, CallContext, answer},
        error::Failure,
        fields::{Fields, KEY_ID},
    },
    policy::Facts,
};

pub(crate) fn get(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let tokens = fields.texts("GrantTokens", 0, 10);
    fields.finish()?;
    grant::check_tokens(tokens)?;
    let found = call.find(&key_id, Aliases::Accepted)?;
    call.authorize(&found, Facts::default())?;
    found.must_be_enabled()?;
    let (spec, usage) = (found.key.spec, found.key.usage);
    let public = found.record.secret.as_ref().and_then(|s| s.public.as_ref());
    let public = public.ok_or(Failure::UnsupportedForKey { spec: spec.name() })?;
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
