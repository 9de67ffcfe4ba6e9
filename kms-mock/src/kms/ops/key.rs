//! Keys as a whole: create, describe, list, enable, disable, delete.
//!
//! Source of truth: the KMS service model; recorded `DescribeKey` answers;
//! ground truth KMS §3 (lockout check) and §4. Does not model SM2 keys:
//! they are refused with a text that says so.

use std::sync::Arc;

use serde_json::json;

use super::{custom_key_store, key_policy, tag};
use crate::{
    keys::{
        key::{Key, NewKey},
        multi_region::Family,
        recent::Known,
        record::{KeyState, days_after},
    },
    kms::{
        answer::{Answer, answer, nothing, timestamp},
        call::{CallContext, Found},
        checks::Asked,
        error::{Failure, Invalid, Unsupported},
        fields::{DESCRIPTION, Fields, KEY_ID, POLICY, length},
        json::Object,
        metadata::{amend, metadata},
    },
    model::spec::{KeySpec, KeyUsage, Origin},
    policy::{Facts, NewKeyFacts},
    world::arn::{KeyArn, is_key_id},
};

/// In the order recorded on AWS in 2023; AWS has since added specs.
const KEY_SPECS: &str = "[RSA_2048, ECC_NIST_P384, ECC_NIST_P256, ECC_NIST_P521, HMAC_384, RSA_3072, ECC_SECG_P256K1, RSA_4096, SYMMETRIC_DEFAULT, HMAC_256, HMAC_224, HMAC_512]";
const KEY_USAGES: &str = "[ENCRYPT_DECRYPT, SIGN_VERIFY, GENERATE_VERIFY_MAC]";
const ORIGINS: &str = "[EXTERNAL, AWS_CLOUDHSM, AWS_KMS, EXTERNAL_KEY_STORE]";
/// The window when the request names none.
const PENDING_WINDOW_DAYS_DEFAULT: u32 = 30;

/// What `CreateKey` is given.
struct Request {
    policy: Option<String>,
    description: Option<String>,
    usage: Option<KeyUsage>,
    old_spec: Option<KeySpec>,
    spec: Option<KeySpec>,
    origin: Option<Origin>,
    key_store: Option<String>,
    xks_key_id: Option<String>,
    bypass: bool,
    tags: Option<Vec<(String, String)>>,
    multi_region: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            policy: fields.text("Policy", POLICY),
            description: fields.text("Description", DESCRIPTION),
            usage: fields.choice("KeyUsage", KEY_USAGES),
            old_spec: fields.choice("CustomerMasterKeySpec", KEY_SPECS),
            spec: fields.choice("KeySpec", KEY_SPECS),
            origin: fields.choice("Origin", ORIGINS),
            key_store: fields.text("CustomKeyStoreId", length(1, 64)),
            xks_key_id: fields.text("XksKeyId", custom_key_store::XKS_KEY_ID),
            bypass: fields.flag("BypassPolicyLockoutSafetyCheck"),
            tags: tag::read(fields),
            multi_region: fields.flag("MultiRegion"),
        }
    }

    /// The spec and the usage, which one member or another gives.
    fn kind(&self) -> Result<(KeySpec, KeyUsage), Failure> {
        let (spec, old_spec) = (self.spec, self.old_spec);
        if old_spec.is_some() && spec.is_some() && old_spec != spec {
            return Err(Failure::Invalid(Invalid::SpecsDiffer));
        }
        let spec = spec.or(old_spec).unwrap_or(KeySpec::SymmetricDefault);
        let usage = match (self.usage, spec) {
            (Some(usage), _) => usage,
            (None, KeySpec::SymmetricDefault) => KeyUsage::EncryptDecrypt,
            (None, _) => return Err(Failure::Invalid(Invalid::KeyUsageRequired)),
        };
        if !spec.usages().contains(&usage) {
            let (usage, spec) = (usage.name(), spec.name());
            return Err(Failure::Invalid(Invalid::UsageForSpec { usage, spec }));
        }
        Ok((spec, usage))
    }
}

pub(crate) fn create(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let request = Fields::read(body, Request::read)?;
    let (spec, usage) = request.kind()?;
    let origin = request.origin.unwrap_or(Origin::AwsKms);
    let (bypass, multi_region) = (request.bypass, request.multi_region);
    let tags = tag::checked(request.tags)?;

    let facts = Facts {
        new_key: Some(NewKeyFacts {
            spec: spec.name(),
            usage: usage.name(),
            origin: origin.name(),
            multi_region_type: multi_region.then_some("PRIMARY"),
        }),
        bypass_lockout_check: Some(bypass),
        request_tags: (!tags.is_empty()).then_some(&tags),
        ..Facts::default()
    };
    call.authorize_new_key(facts)?;
    if !spec.is_available() {
        return Err(Failure::Unsupported(Unsupported::Spec {
            spec: spec.name(),
        }));
    }

    let policy = match &request.policy {
        Some(text) => key_policy::parse(call, text)?,
        None => call.store().default_policy(call.account()),
    };
    // Its store stays as it is found until the key is in it.
    let _one_at_a_time_in_stores = request
        .key_store
        .is_some()
        .then(|| call.key_stores().manage());
    let wanted = custom_key_store::Placement {
        origin,
        store: request.key_store.as_deref(),
        xks_key_id: request.xks_key_id.as_deref(),
        spec,
        multi_region,
    };
    let backing = custom_key_store::place(call, wanted)?;
    let chosen = tags
        .get(CUSTOM_ID)
        .map(|id| chosen_arn(call, id, multi_region))
        .transpose()?;
    // Two calls may choose one id; what is drawn is never drawn twice.
    let _one_at_a_time = chosen
        .as_ref()
        .map(|arn| call.store().hold_aliases(&[&**arn]));
    let arn = match chosen {
        Some(arn) if call.find_related(&arn)?.is_some() => {
            return Err(Failure::Invalid(Invalid::CustomId));
        }
        Some(arn) => arn,
        None => drawn_arn(call, multi_region),
    }
    .shared();
    let new = NewKey {
        family: multi_region.then(|| Arc::new(Family::new(Arc::clone(&arn)))),
        arn,
        spec,
        usage,
        origin,
        backing,
        created: call.now,
        description: request.description.unwrap_or_default(),
        policy,
        tags,
    };
    let key = Arc::new(Key::new(new, call.entropy()).ok_or(Failure::Internal)?);
    let found = Found {
        known: Known::of(key),
        request_alias: None,
        by_ciphertext: false,
    };
    if request.policy.is_some() && !bypass {
        key_policy::must_not_lock_out(call, &found, &found.record)?;
    }
    call.store().insert(&found.key, &[])?;
    if let Some(backing) = &found.key.backing {
        call.key_stores().add_key(&backing.store, &found.key.arn);
    }
    call.note_key(&found);
    described(call, &found)
}

/// The tag by which LocalStack's users choose the id of a key. AWS knows nothing
/// of it: there it is a tag like any other.
const CUSTOM_ID: &str = "_custom_id_";

/// The ARN of a key whose id the request chooses.
fn chosen_arn(call: &CallContext<'_>, id: &str, multi_region: bool) -> Result<KeyArn, Failure> {
    if !is_key_id(id) || id.starts_with("mrk-") != multi_region {
        return Err(Failure::Invalid(Invalid::CustomId));
    }
    Ok(KeyArn::new(call.region(), call.account(), id))
}

fn drawn_arn(call: &CallContext<'_>, multi_region: bool) -> KeyArn {
    let id = uuid::Builder::from_random_bytes(call.entropy().array()).into_uuid();
    let id = if multi_region {
        format!("mrk-{}", id.simple())
    } else {
        id.to_string()
    };
    KeyArn::new(call.region(), call.account(), &id)
}

fn described(call: &CallContext<'_>, found: &Found) -> Answer {
    let metadata = metadata(&found.key, &found.record);
    let metadata = amend(call, &found.key, metadata);
    answer(&json!({ "KeyMetadata": metadata }))
}

pub(crate) fn describe(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, tokens) = Fields::read(body, |fields| {
        (fields.required_text("KeyId", KEY_ID), fields.grant_tokens())
    })?;
    call.accept_tokens(&tokens)?;
    let found = call.find(&key_id)?;
    call.authorize(&found, Facts::default())?;
    described(call, &found)
}

pub(crate) fn list(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (page, owners) = Fields::read(body, |fields| {
        (
            fields.page(100),
            fields.choices_by(
                "ResourceOwners",
                (1, 2),
                |text| match text {
                    "SELF" => Some(true),
                    "OTHER_ACCOUNTS_VIA_RAM" => Some(false),
                    _ => None,
                },
                "[SELF, OTHER_ACCOUNTS_VIA_RAM]",
            ),
        )
    })?;
    call.authorize_account("kms:ListKeys", Facts::default())?;
    if owners.is_some_and(|owners| !owners.contains(&true)) {
        // No keys are shared through RAM here.
        return answer(&json!({ "Keys": [], "Truncated": false }));
    }
    let prefix = KeyArn::prefix(call.region(), call.account());
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

pub(crate) fn enable(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    set_state(call, body, KeyState::Enabled)
}

pub(crate) fn disable(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    set_state(call, body, KeyState::Disabled)
}

fn set_state(call: &mut CallContext<'_>, body: Object<'_>, state: KeyState) -> Answer {
    let found = find_for_management(call, body)?;
    found.change(call.store(), |record| {
        call.check_record(&found, record, &Asked::default())?;
        record.state = state;
        Ok(())
    })?;
    nothing()
}

pub(crate) fn schedule_deletion(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, window) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.number("PendingWindowInDays", 1, 365),
        )
    })?;
    let window_days = window.map_or(PENDING_WINDOW_DAYS_DEFAULT, u32::from);
    if !(7..=30).contains(&window_days) {
        return Err(Failure::Invalid(Invalid::PendingWindow));
    }
    let found = call.find(&key_id)?;
    let facts = Facts {
        pending_window_days: Some(window_days),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    let at = days_after(call.now, window_days);
    let (state, has_replicas) = found.change(call.store(), |record| {
        call.check_record(&found, record, &Asked::default())?;
        // A primary key's window begins when its last replica is gone; none comes or
        // goes while the primary key is held.
        let has_replicas =
            !found.key.is_replica() && !call.store().relatives(&found.key).is_empty();
        record.state = if has_replicas {
            KeyState::PendingReplicaDeletion { window_days }
        } else {
            KeyState::PendingDeletion { at, window_days }
        };
        Ok((record.state, has_replicas))
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

pub(crate) fn cancel_deletion(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let found = find_for_management(call, body)?;
    found.change(call.store(), |record| {
        call.check_record(&found, record, &Asked::default())?;
        let lacks_material = found.key.origin == Origin::External
            && (record.current_import().is_none() || record.lacks_imports());
        record.state = if lacks_material {
            KeyState::PendingImport
        } else {
            KeyState::Disabled
        };
        Ok(())
    })?;
    answer(&json!({ "KeyId": &*found.key.arn }))
}

pub(crate) fn update_description(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, description) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_text("Description", DESCRIPTION),
        )
    })?;
    let found = call.find(&key_id)?;
    call.authorize(&found, Facts::default())?;
    found.change(call.store(), |record| {
        call.check_record(&found, record, &Asked::default())?;
        record.description = description.as_str().into();
        Ok(())
    })?;
    nothing()
}

/// Reads `KeyId` alone, finds the key and asks for permission.
fn find_for_management(call: &mut CallContext<'_>, body: Object<'_>) -> Result<Found, Failure> {
    let key_id = Fields::read(body, |fields| fields.required_text("KeyId", KEY_ID))?;
    let found = call.find(&key_id)?;
    call.authorize(&found, Facts::default())?;
    Ok(found)
}
