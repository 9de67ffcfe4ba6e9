//! Rotation of key material: automatic, on demand, its history.
//!
//! Source of truth: AWS KMS developer guide, "Rotate AWS KMS keys"; ground truth
//! KMS §4 (25 on-demand rotations for a key, the entries of `ListKeyRotations`).
//! On AWS a rotation on demand takes a while; here the answer comes when it is
//! done. Only symmetric encryption keys rotate: others answer
//! `UnsupportedOperationException` without a message, as recorded for
//! `RotateKeyOnDemand`; their status is that they do not rotate.

use serde_json::{Value, json};

use crate::{
    keys::{
        imported::Import,
        key::Key,
        material::Generation,
        record::{Automatic, Record},
    },
    kms::{
        answer::{Answer, answer, nothing, timestamp},
        call::{CallContext, Found},
        checks::{Asked, state_of},
        error::{BadState, Failure, Limit},
        fields::{Fields, KEY_ID, Page},
        json::Object,
        metadata::expiration_model,
    },
    model::{
        operation::States,
        spec::{Origin, RotationType},
    },
    policy::Facts,
};

/// AWS's quota for a key's life (ten until 2025).
const ON_DEMAND_MAX: u32 = 25;
const PERIOD_DAYS_DEFAULT: u32 = 365;

pub(crate) fn enable(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, period_days) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.number("RotationPeriodInDays", 90, 2560),
        )
    })?;
    let period_days = period_days.map(u32::from);
    let facts = Facts {
        // "… the default value is 365": also where the request names none.
        rotation_period_days: Some(period_days.unwrap_or(PERIOD_DAYS_DEFAULT)),
        ..Facts::default()
    };
    let found = call.usable(&key_id, facts, &Asked::default())?;
    let change = |record: &mut Record| {
        call.check_record(&found, record, &Asked::default())?;
        let same = record
            .rotation
            .automatic
            .filter(|automatic| period_days.is_none_or(|days| days == automatic.period_days));
        record.rotation.automatic = Some(same.unwrap_or_else(|| {
            Automatic::starting(call.now, period_days.unwrap_or(PERIOD_DAYS_DEFAULT))
        }));
        Ok::<_, Failure>(())
    };
    call.store().change_family(&found.key, change, |()| {})?;
    nothing()
}

pub(crate) fn disable(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let key_id = Fields::read(body, |fields| fields.required_text("KeyId", KEY_ID))?;
    let found = call.usable(&key_id, Facts::default(), &Asked::default())?;
    let change = |record: &mut Record| {
        call.check_record(&found, record, &Asked::default())?;
        record.rotation.automatic = None;
        Ok::<_, Failure>(())
    };
    call.store().change_family(&found.key, change, |()| {})?;
    nothing()
}

pub(crate) fn status(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let key_id = Fields::read(body, |fields| fields.required_text("KeyId", KEY_ID))?;
    let found = call.usable(&key_id, Facts::default(), &Asked::default())?;
    // While a key waits for its deletion its rotation is off.
    let automatic = found
        .record
        .rotation
        .automatic
        .filter(|_| !States::PENDING_DELETION.contains(state_of(&found.record)));
    let mut status = json!({
        "KeyId": &*found.key.arn,
        "KeyRotationEnabled": automatic.is_some(),
    });
    if let (Some(automatic), Some(members)) = (automatic, status.as_object_mut()) {
        members.insert(
            "RotationPeriodInDays".to_owned(),
            automatic.period_days.into(),
        );
        members.insert("NextRotationDate".to_owned(), timestamp(automatic.next));
    }
    answer(&status)
}

pub(crate) fn on_demand(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let key_id = Fields::read(body, |fields| fields.required_text("KeyId", KEY_ID))?;
    let found = call.usable(&key_id, Facts::default(), &Asked::default())?;
    let within_limit = |record: &Record| {
        call.check_record(&found, record, &Asked::default())?;
        if record.rotation.on_demand_count >= ON_DEMAND_MAX {
            let arn = found.key.arn.to_string();
            return Err(Failure::LimitExceeded(Limit::OnDemandRotations { arn }));
        }
        Ok(())
    };
    if found.key.origin == Origin::External {
        rotate_to_import(call, &found, within_limit)?;
    } else {
        call.store().change_family(
            &found.key,
            |record| {
                within_limit(record)?;
                record.rotation.on_demand_count += 1;
                let at = call.now;
                let id = found.key.id();
                Ok::<_, Failure>(record.rotate(id, at, RotationType::OnDemand, call.entropy()))
            },
            |handle| call.store().know_handle(*handle, &found.key),
        )?;
    }
    answer(&json!({ "KeyId": &*found.key.arn }))
}

/// Every related key rotates to the material that was imported into all of them.
fn rotate_to_import(
    call: &CallContext<'_>,
    found: &Found,
    within_limit: impl FnOnce(&Record) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let replicas = call.store().relatives(&found.key);
    let others: Vec<&Key> = replicas.iter().map(|key| &**key).collect();
    call.store().change_all(
        &found.key,
        &others,
        |record, replicas, _| {
            within_limit(record)?;
            if !record.rotate_to_pending_import(call.now) {
                return Err(found.in_state(BadState::NoMaterialPending));
            }
            record.rotation.on_demand_count += 1;
            for replica in replicas {
                replica.rotate_to_pending_import(call.now);
                replica.follow(record);
            }
            Ok(())
        },
        |()| {},
    )
}

pub(crate) fn list(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, all, page) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields
                .choice_by(
                    "IncludeKeyMaterial",
                    |text| match text {
                        "ALL_KEY_MATERIAL" => Some(true),
                        "ROTATIONS_ONLY" => Some(false),
                        _ => None,
                    },
                    "[ALL_KEY_MATERIAL, ROTATIONS_ONLY]",
                )
                .unwrap_or(false),
            fields.page(100),
        )
    })?;
    let found = call.usable(&key_id, Facts::default(), &Asked::default())?;
    if found.key.origin == Origin::External {
        return list_imports(&found, &page, all);
    }
    let materials = &found.record.materials;
    let entries: Vec<(String, &Generation)> = materials
        .iter()
        .enumerate()
        .filter(|(_, generation)| all || generation.rotated.is_some())
        .map(|(at, generation)| (format!("{at:06}"), generation))
        .collect();
    let entries = page.after_in(entries, |(name, _)| name)?;
    let current = found.record.current().map(|g| g.material.handle);
    let cut = page.cut(entries, |(name, _)| name);
    answer(&cut.to_json("Rotations", |(_, generation)| {
        let is_current = Some(generation.material.handle) == current;
        entry(&found, generation, is_current)
    }))
}

fn list_imports(found: &Found, page: &Page, all: bool) -> Answer {
    let imports = found.record.imports().iter().enumerate();
    let entries: Vec<(String, &Import)> = imports
        .filter(|(_, import)| all || import.rotated.is_some())
        .map(|(at, import)| (format!("{at:06}"), import))
        .collect();
    let entries = page.after_in(entries, |(name, _)| name)?;
    let cut = page.cut(entries, |(name, _)| name);
    answer(&cut.to_json("Rotations", |(_, import)| import_entry(found, import)))
}

fn import_entry(found: &Found, import: &Import) -> Value {
    let is_present = import.material.is_some();
    let mut entry = json!({
        "KeyId": &*found.key.arn,
        "KeyMaterialId": import.id,
        "ImportState": if is_present { "IMPORTED" } else { "PENDING_IMPORT" },
        "KeyMaterialState": import.standing.name(),
    });
    let Some(members) = entry.as_object_mut() else {
        return entry;
    };
    if let Some(description) = &import.description {
        members.insert(
            "KeyMaterialDescription".to_owned(),
            description.as_str().into(),
        );
    }
    if is_present {
        let model = expiration_model(import.valid_to);
        members.insert("ExpirationModel".to_owned(), model.into());
    }
    if let Some(valid_to) = import.valid_to {
        members.insert("ValidTo".to_owned(), timestamp(valid_to));
    }
    if let Some((at, rotation_type)) = import.rotated {
        members.insert("RotationDate".to_owned(), timestamp(at));
        members.insert("RotationType".to_owned(), rotation_type.name().into());
    }
    entry
}

fn entry(found: &Found, generation: &Generation, is_current: bool) -> Value {
    let mut entry = json!({
        "KeyId": &*found.key.arn,
        "KeyMaterialId": generation.material.id,
        "KeyMaterialState": if is_current { "CURRENT" } else { "NON_CURRENT" },
    });
    if let (Some((at, rotation_type)), Some(members)) = (generation.rotated, entry.as_object_mut())
    {
        members.insert("RotationDate".to_owned(), timestamp(at));
        members.insert("RotationType".to_owned(), rotation_type.name().into());
    }
    entry
}
