//! The key policy: put, get, list.
//!
//! Source of truth: ground truth KMS §3 (size, charset, invalid principals,
//! lockout check, `kms:PolicyName`). Does not model the second policy name
//! `AWS_RAM`, which AWS alone writes.

use std::sync::Arc;

use serde_json::json;

use crate::{
    keys::record::Record,
    kms::{
        answer::{Answer, answer, nothing},
        call::{CallContext, Found},
        error::{BadPolicy, Failure, Invalid, Limit, NotFound},
        fields::{Fields, KEY_ID, POLICY, POLICY_NAME},
        json::Object,
    },
    policy::{Facts, KEY_POLICY_BYTES_MAX, Policy, PolicyKind},
};

const POLICY_NAME_DEFAULT: &str = "default";

/// Parses the text of a key policy; its principals must exist.
pub(crate) fn parse(call: &CallContext<'_>, text: &str) -> Result<Arc<Policy>, Failure> {
    if text.len() > KEY_POLICY_BYTES_MAX {
        return Err(Failure::LimitExceeded(Limit::PolicyBytes));
    }
    Policy::parse(text, PolicyKind::Key)
        .and_then(|policy| policy.bound_to(call.directory()))
        .map(Arc::new)
        .map_err(|error| Failure::MalformedPolicy(BadPolicy::Unreadable(error)))
}

/// Refuses a policy under which the caller could not put another one.
pub(crate) fn must_not_lock_out(
    call: &CallContext<'_>,
    found: &Found,
    record: &Record,
) -> Result<(), Failure> {
    let decision = call.ask("kms:PutKeyPolicy", found, record, Facts::default());
    if decision.is_allowed() {
        return Ok(());
    }
    Err(Failure::MalformedPolicy(BadPolicy::Lockout))
}

pub(crate) fn put(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, name, text, bypass) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.text("PolicyName", POLICY_NAME),
            fields.required_text("Policy", POLICY),
            fields.flag("BypassPolicyLockoutSafetyCheck"),
        )
    })?;
    if name
        .as_deref()
        .is_some_and(|name| name != POLICY_NAME_DEFAULT)
    {
        return Err(Failure::Invalid(Invalid::PolicyName));
    }
    let found = call.find(&key_id)?;
    let facts = Facts {
        bypass_lockout_check: Some(bypass),
        policy_name: Some(POLICY_NAME_DEFAULT),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    let policy = parse(call, &text)?;
    found.change(call.store(), |record| {
        record.policy = policy;
        if bypass {
            return Ok(());
        }
        must_not_lock_out(call, &found, record)
    })?;
    nothing()
}

pub(crate) fn get(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, name) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.text("PolicyName", POLICY_NAME),
        )
    })?;
    let found = call.find(&key_id)?;
    let name = name.as_deref().unwrap_or(POLICY_NAME_DEFAULT);
    let facts = Facts {
        policy_name: Some(name),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    if name != POLICY_NAME_DEFAULT {
        return Err(Failure::NotFound(NotFound::Policy));
    }
    let policy = &found.record.policy;
    let shown = policy.shown(policy.rendered(), call.directory());
    answer(&json!({ "Policy": shown, "PolicyName": name }))
}

pub(crate) fn list(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, page) = Fields::read(body, |fields| {
        (fields.required_text("KeyId", KEY_ID), fields.page(100))
    })?;
    let found = call.find(&key_id)?;
    call.authorize(&found, Facts::default())?;
    let names = page.after_in(vec![POLICY_NAME_DEFAULT], |name| name)?;
    answer(
        &page
            .cut(names, |name| name)
            .to_json("PolicyNames", |name| (*name).into()),
    )
}
