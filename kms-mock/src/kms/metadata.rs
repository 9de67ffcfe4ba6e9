//! What answers say of a key: `KeyMetadata`.
//!
//! Source of truth: the KMS service model; recorded `DescribeKey` answers.

use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};

use super::{answer::timestamp, call::CallContext};
use crate::{
    keys::{
        custom_store::{Connection, StoreKind},
        key::Key,
        record::{KeyState, Record},
    },
    world::arn::KeyArn,
};

/// `KeyMetadata`.
pub(crate) fn metadata(key: &Key, record: &Record) -> Value {
    let mut metadata = json!({
        "AWSAccountId": key.account(),
        "KeyId": key.id(),
        "Arn": &*key.arn,
        "CreationDate": timestamp(key.created),
        "Enabled": record.state == KeyState::Enabled,
        "Description": &*record.description,
        "KeyUsage": key.usage.name(),
        "KeyState": record.state.name(),
        "Origin": key.origin.name(),
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": key.spec.name(),
        "KeySpec": key.spec.name(),
        "MultiRegion": key.family.is_some(),
    });
    let Some(members) = metadata.as_object_mut() else {
        return metadata;
    };
    let (member, algorithms) = key.spec.algorithms(key.usage);
    members.insert(member.to_owned(), algorithms.into());
    if let Some(current) = record.current() {
        members.insert(
            "CurrentKeyMaterialId".to_owned(),
            current.material.id.as_str().into(),
        );
    }
    if let Some(configuration) = configuration(key) {
        members.insert("MultiRegionConfiguration".to_owned(), configuration);
    }
    if let Some(current) = record.current_import() {
        if key.spec.is_symmetric_encryption() {
            // It is named even while it is not there.
            members.insert(
                "CurrentKeyMaterialId".to_owned(),
                current.id.as_str().into(),
            );
        }
        let valid_to = record.imports_valid_to();
        if current.material.is_some() {
            let model = expiration_model(valid_to);
            members.insert("ExpirationModel".to_owned(), model.into());
        }
        if let Some(valid_to) = valid_to {
            members.insert("ValidTo".to_owned(), timestamp(valid_to));
        }
    }
    if let KeyState::PendingReplicaDeletion { window_days } = record.state {
        members.insert("PendingDeletionWindowInDays".to_owned(), window_days.into());
    }
    if let KeyState::PendingDeletion { at, .. } = record.state {
        members.insert("DeletionDate".to_owned(), timestamp(at));
    }
    metadata
}

/// `MultiRegionConfiguration`.
fn configuration(key: &Key) -> Option<Value> {
    let members = key.family.as_ref()?.members();
    let named = |arn: &str| {
        let parsed = KeyArn::parse(arn);
        json!({ "Arn": arn, "Region": parsed.as_ref().map(KeyArn::region) })
    };
    Some(json!({
        "MultiRegionKeyType": key.multi_region_type(),
        "PrimaryKey": named(&members.primary),
        "ReplicaKeys": members.replicas.iter().map(|arn| named(arn)).collect::<Vec<_>>(),
    }))
}

/// Adds to `KeyMetadata` what keys in custom key stores have.
pub(crate) fn amend(call: &CallContext<'_>, key: &Key, mut metadata: Value) -> Value {
    let (Some(backing), Some(members)) = (&key.backing, metadata.as_object_mut()) else {
        return metadata;
    };
    members.remove("CurrentKeyMaterialId");
    members.insert("CustomKeyStoreId".to_owned(), (*backing.store).into());
    if let Some(id) = &backing.xks_key_id {
        members.insert("XksKeyConfiguration".to_owned(), json!({ "Id": id }));
    }
    let store = call.key_stores().get(&backing.store);
    if let Some(StoreKind::CloudHsm { cluster_id, .. }) = store.as_ref().map(|store| &store.kind) {
        members.insert("CloudHsmClusterId".to_owned(), cluster_id.as_str().into());
    }
    let is_connected = store.is_some_and(|store| store.connection == Connection::Connected);
    if !is_connected
        && members
            .get("KeyState")
            .is_some_and(|state| state == "Enabled")
    {
        members.insert("KeyState".to_owned(), "Unavailable".into());
        members.insert("Enabled".to_owned(), false.into());
    }
    metadata
}

/// What a description of a key or its material says about a length of life.
pub(crate) fn expiration_model(valid_to: Option<UnixMillis>) -> &'static str {
    match valid_to {
        Some(_) => "KEY_MATERIAL_EXPIRES",
        None => "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
}
