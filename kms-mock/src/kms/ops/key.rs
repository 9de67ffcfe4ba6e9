//! Keys as a whole: create, describe, list, enable, disable, delete.
//!
//! Source of truth: the KMS service model; recorded `DescribeKey` answers;
//! ground truth KMS §3 (lockout check) and §4. Does not model SM2 keys:
//! they are refused with a text that says so.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::{custom_key_store, grant, key_policy, tag};
use crate::{
    keys::{
        key::{Key, KeyState, NewKey, Record, days_after},
        multi_region::Family,
        recent::Known,
    },
    kms::{
        call::{Aliases, Answer, CallContext, Found, answer, nothing, timestamp},
        error::{BadState, Failure, Invalid, TagFault, Unsupported},
        fields::{DESCRIPTION, Fields, KEY_ID, POLICY, length},
        metadata::{amend, metadata},
    },
    model::spec::{KeySpec, KeyUsage, Origin},
    policy::Facts,
    world::arn::{is_key_id, key_arn},
};

/// In the order recorded on AWS in 2023; AWS has since added specs.
const KEY_SPECS: &str = "[RSA_2048, ECC_NIST_P384, ECC_NIST_P256, ECC_NIST_P521, HMAC_384, RSA_3072, ECC_SECG_P256K1, RSA_4096, SYMMETRIC_DEFAULT, HMAC_256, HMAC_224, HMAC_512]";
const KEY_USAGES: &str = "[ENCRYPT_DECRYPT, SIGN_VERIFY, GENERATE_VERIFY_MAC]";
const ORIGINS: &str = "[EXTERNAL, AWS_CLOUDHSM, AWS_KMS, EXTERNAL_KEY_STORE]";
/// The window when the request names none.
const PENDING_WINDOW_DAYS_DEFAULT: u32 = 30;

pub(crate) fn create(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let policy_text = fields.text("Policy", POLICY);
    let description = fields.text("Description", DESCRIPTION).unwrap_or_default();
    let usage = fields.choice("KeyUsage", KeyUsage::parse, KEY_USAGES);
    let old_spec = fields.choice("CustomerMasterKeySpec", KeySpec::parse, KEY_SPECS);
    let spec = fields.choice("KeySpec", KeySpec::parse, KEY_SPECS);
    let origin = fields
        .choice("Origin", Origin::parse, ORIGINS)
        .unwrap_or(Origin::AwsKms);
    let key_store = fields.text("CustomKeyStoreId", length(1, 64));
    let xks_key_id = fields.text("XksKeyId", custom_key_store::XKS_KEY_ID);
    let bypass = fields.flag("BypassPolicyLockoutSafetyCheck");
    let tags = tag::read(fields);
    let multi_region = fields.flag("MultiRegion");
    fields.finish()?;

    if old_spec.is_some() && spec.is_some() && old_spec != spec {
        return Err(Failure::Invalid(Invalid::SpecsDiffer));
    }
    let spec = spec.or(old_spec).unwrap_or(KeySpec::SymmetricDefault);
    let usage = match (usage, spec) {
        (Some(usage), _) => usage,
        (None, KeySpec::SymmetricDefault) => KeyUsage::EncryptDecrypt,
        (None, _) => return Err(Failure::Invalid(Invalid::KeyUsageRequired)),
    };
    if !spec.usages().contains(&usage) {
        let (usage, spec) = (usage.name(), spec.name());
        return Err(Failure::Invalid(Invalid::UsageForSpec { usage, spec }));
    }
    let tags = checked_tags(tags)?;

    let facts = Facts {
        new_key: Some((spec.name(), usage.name(), origin.name(), multi_region)),
        bypass_lockout_check: Some(bypass),
        request_tags: (!tags.is_empty()).then_some(&tags),
        ..Facts::default()
    };
    call.authorize_account("kms:CreateKey", facts)?;
    if !tags.is_empty() {
        call.authorize_account("kms:TagResource", facts)?;
    }
    if !spec.is_available() {
        return Err(Failure::Unsupported(Unsupported::Spec {
            spec: spec.name(),
        }));
    }

    let policy = match &policy_text {
        Some(text) => key_policy::parse(text)?,
        None => call.store().default_policy(call.account()),
    };
    let wish = custom_key_store::Wish {
        origin,
        store: key_store.as_deref(),
        xks_key_id: xks_key_id.as_deref(),
        spec,
        multi_region,
    };
    let backing = custom_key_store::place(call, wish)?;
    // Two calls may choose one id; what is drawn is never drawn twice.
    let _one_at_a_time = tags.get(CUSTOM_ID).map(|id| {
        let arn = key_arn(call.region(), call.account(), id);
        call.store().hold_aliases(&[&arn])
    });
    let id = new_key_id(call, tags.get(CUSTOM_ID), multi_region)?;
    let arn: Arc<str> = key_arn(call.region(), call.account(), &id).into();
    let new = NewKey {
        family: multi_region.then(|| Arc::new(Family::new(Arc::clone(&arn)))),
        arn,
        spec,
        usage,
        origin,
        backing,
        created: call.now,
        description,
        policy,
        tags,
    };
    let key = Arc::new(Key::new(new, call.entropy()).ok_or(Failure::Internal)?);
    let found = Found {
        known: Known::of(key),
        request_alias: None,
        by_ciphertext: false,
    };
    if policy_text.is_some() && !bypass {
        key_policy::must_not_lock_out(call, &found, &found.record)?;
    }
    call.store().insert(&found.key, &[])?;
    if let Some(backing) = &found.key.backing {
        call.key_stores().add_key(&backing.store, &found.key.arn);
    }
    call.note_key(&found);
    tell(call, &found)
}

/// The tag by which LocalStack's users choose the id of a key. AWS knows nothing
/// of it: there it is a tag like any other.
const CUSTOM_ID: &str = "_custom_id_";

fn new_key_id(
    call: &CallContext<'_>,
    custom: Option<&String>,
    multi_region: bool,
) -> Result<String, Failure> {
    let Some(id) = custom else {
        let id = uuid::Builder::from_random_bytes(call.entropy().array()).into_uuid();
        return Ok(if multi_region {
            format!("mrk-{}", id.simple())
        } else {
            id.to_string()
        });
    };
    let arn = key_arn(call.region(), call.account(), id);
    let fits = is_key_id(id) && id.starts_with("mrk-") == multi_region;
    if !fits || call.store().key(&arn, call.now, call.entropy())?.is_some() {
        return Err(Failure::Invalid(Invalid::CustomId));
    }
    Ok(id.clone())
}

fn tell(call: &CallContext<'_>, found: &Found) -> Answer {
    let metadata = metadata(&found.key, &found.record);
    let metadata = amend(call, &found.key, metadata);
    answer(&json!({ "KeyMetadata": metadata }))
}

pub(crate) fn checked_tags(
    tags: Option<Vec<(String, String)>>,
) -> Result<BTreeMap<String, String>, Failure> {
    let Some(tags) = tags else {
        return Ok(BTreeMap::new());
    };
    if tags.len() > tag::TAGS_MAX {
        return Err(Failure::Tag(TagFault::TooMany));
    }
    tag::check(tags)
}

pub(crate) fn describe(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let tokens = fields.texts("GrantTokens", 0, 10);
    fields.finish()?;
    grant::check_tokens(tokens)?;
    let found = call.find(&key_id, Aliases::Accepted)?;
    call.authorize(&found, Facts::default())?;
    tell(call, &found)
}

pub(crate) fn list(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let page = fields.page(100);
    let owners = fields.choices(
        "ResourceOwners",
        (1, 2),
        |text| match text {
            "SELF" => Some(true),
            "OTHER_ACCOUNTS_VIA_RAM" => Some(false),
            _ => None,
        },
        "[SELF, OTHER_ACCOUNTS_VIA_RAM]",
    );
    fields.finish()?;
    call.authorize_account("kms:ListKeys", Facts::default())?;
    if owners.is_some_and(|owners| !owners.contains(&true)) {
        // Nobody shares keys through RAM here.
        return answer(&json!({ "Keys": [], "Truncated": false }));
    }
    let prefix = key_arn(call.region(), call.account(), "");
    let after = page.after()?;
    let arns = call
        .store()
        .key_arns(&prefix, after.as_deref(), page.reach());
    let cut = page.cut(arns, |arn| arn);
    answer(&cut.to_json(
        "Keys",
        |arn| json!({ "KeyId": arn.strip_prefix(prefix.as_str()), "KeyArn": &**arn }),
    ))
}

pub(crate) fn enable(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    set_state(call, fields, KeyState::Enabled)
}

pub(crate) fn disable(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    set_state(call, fields, KeyState::Disabled)
}

fn set_state(call: &mut CallContext<'_>, fields: &mut Fields, state: KeyState) -> Answer {
    let found = find_for_management(call, fields)?;
    found.change(|record| {
        refuse_pending_deletion(&found, record)?;
        match record.state {
            KeyState::PendingImport => return Err(found.in_state(BadState::PendingImport)),
            KeyState::Updating { .. } => return Err(found.is_updating()),
            _ => record.state = state,
        }
        Ok(())
    })?;
    nothing()
}

pub(crate) fn schedule_deletion(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let window = fields.number("PendingWindowInDays", 1, 365);
    fields.finish()?;
    let window_days = window.unwrap_or(PENDING_WINDOW_DAYS_DEFAULT);
    if !(7..=30).contains(&window_days) {
        return Err(Failure::Invalid(Invalid::PendingWindow));
    }
    let found = call.find(&key_id, Aliases::Refused)?;
    let facts = Facts {
        pending_window_days: Some(window_days),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    let at = days_after(call.now, window_days);
    // A primary key's window begins when its last replica is gone.
    let has_replicas = !found.key.is_replica() && !call.store().relatives(&found.key).is_empty();
    let state = if has_replicas {
        KeyState::PendingReplicaDeletion { window_days }
    } else {
        KeyState::PendingDeletion { at, window_days }
    };
    found.change(|record| {
        refuse_pending_deletion(&found, record)?;
        record.state = state;
        Ok(())
    })?;
    let mut body = json!({
        "KeyId": &*found.key.arn,
        "KeyState": state.name(),
        "PendingWindowInDays": window_days,
    });
    if let Some(members) = body.as_object_mut().filter(|_| !has_replicas) {
        call.store().plan_deletion(at, &found.key.arn);
        members.insert("DeletionDate".to_owned(), timestamp(at));
    }
    answer(&body)
}

pub(crate) fn cancel_deletion(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let found = find_for_management(call, fields)?;
    found.change(|record| match record.state {
        KeyState::PendingDeletion { .. } | KeyState::PendingReplicaDeletion { .. } => {
            let lacks_material = found.key.origin == Origin::External
                && (record.current_import().is_none() || record.lacks_imports());
            record.state = if lacks_material {
                KeyState::PendingImport
            } else {
                KeyState::Disabled
            };
            Ok(())
        }
        KeyState::Enabled
        | KeyState::Disabled
        | KeyState::PendingImport
        | KeyState::Updating { .. } => Err(found.in_state(BadState::NotPendingDeletion)),
    })?;
    answer(&json!({ "KeyId": &*found.key.arn }))
}

pub(crate) fn update_description(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let description = fields.required_text("Description", DESCRIPTION);
    fields.finish()?;
    let found = call.find(&key_id, Aliases::Refused)?;
    call.authorize(&found, Facts::default())?;
    found.change(|record| {
        refuse_pending_deletion(&found, record)?;
        record.description = description.as_str().into();
        Ok(())
    })?;
    nothing()
}

/// Reads `KeyId` alone, finds the key and asks for permission.
fn find_for_management(call: &mut CallContext<'_>, fields: &mut Fields) -> Result<Found, Failure> {
    let key_id = fields.required_text("KeyId", KEY_ID);
    fields.finish()?;
    let found = call.find(&key_id, Aliases::Refused)?;
    call.authorize(&found, Facts::default())?;
    Ok(found)
}

/// Checked at the moment of the change.
fn refuse_pending_deletion(found: &Found, record: &Record) -> Result<(), Failure> {
    match record.state {
        KeyState::PendingDeletion { .. } => Err(found.is_pending_deletion()),
        KeyState::PendingReplicaDeletion { .. } => {
            Err(found.in_state(BadState::PendingReplicaDeletion))
        }
        KeyState::Enabled
        | KeyState::Disabled
        | KeyState::PendingImport
        | KeyState::Updating { .. } => Ok(()),
    }
}
