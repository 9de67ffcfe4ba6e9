//! Tags of keys.
//!
//! Source of truth: the KMS service model; recorded `TagException` texts; AWS
//! KMS quotas (50 tags for a key).

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use crate::{
    kms::{
        answer::{Answer, answer, nothing},
        call::CallContext,
        checks::Asked,
        error::{Failure, TagFault},
        fields::{Fields, KEY_ID, length},
        json::Object,
    },
    policy::Facts,
};

const TAGS_MAX: usize = 50;

fn read_one(fields: &mut Fields) -> (String, String) {
    let key = fields.required_text("TagKey", length(1, 128));
    let value = fields.required_text("TagValue", length(0, 256));
    (key, value)
}

/// `Tags`, if there.
pub(crate) fn read(fields: &mut Fields) -> Option<Vec<(String, String)>> {
    fields.structures("Tags", read_one)
}

/// The tags of a new key; refuses too many, and those that [`check`] refuses.
pub(crate) fn checked(
    tags: Option<Vec<(String, String)>>,
) -> Result<BTreeMap<String, String>, Failure> {
    let tags = tags.unwrap_or_default();
    if tags.len() > TAGS_MAX {
        return Err(Failure::Tag(TagFault::TooMany));
    }
    check(tags)
}

/// Refuses reserved and repeated keys.
fn check(tags: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut checked = BTreeMap::new();
    for (key, value) in tags {
        refuse_reserved(&key)?;
        if checked.insert(key, value).is_some() {
            return Err(Failure::Tag(TagFault::Duplicate));
        }
    }
    Ok(checked)
}

fn refuse_reserved(key: &str) -> Result<(), Failure> {
    let reserved = key
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    if reserved {
        Err(Failure::Tag(TagFault::Reserved))
    } else {
        Ok(())
    }
}

pub(crate) fn tag(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, tags) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_structures("Tags", read_one),
        )
    })?;
    let found = call.find(&key_id)?;
    let tags = check(tags)?;
    call.authorize(
        &found,
        Facts {
            request_tags: Some(&tags),
            ..Facts::default()
        },
    )?;
    found.change(call.store(), |record| {
        call.check_record(&found, record, &Asked::default())?;
        let mut all = (*record.tags).clone();
        all.extend(tags.clone());
        if all.len() > TAGS_MAX {
            return Err(Failure::Tag(TagFault::TooMany));
        }
        record.tags = Arc::new(all);
        Ok(())
    })?;
    nothing()
}

pub(crate) fn untag(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, keys) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_texts("TagKeys"),
        )
    })?;
    let found = call.find(&key_id)?;
    for key in &keys {
        refuse_reserved(key)?;
    }
    call.authorize(
        &found,
        Facts {
            request_tag_keys: Some(&keys),
            ..Facts::default()
        },
    )?;
    found.change(call.store(), |record| {
        call.check_record(&found, record, &Asked::default())?;
        let mut all = (*record.tags).clone();
        all.retain(|key, _| !keys.contains(key));
        record.tags = Arc::new(all);
        Ok(())
    })?;
    nothing()
}

pub(crate) fn list(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, page) = Fields::read(body, |fields| {
        (fields.required_text("KeyId", KEY_ID), fields.page(50))
    })?;
    let found = call.find(&key_id)?;
    call.authorize(&found, Facts::default())?;
    let tags: Vec<(&String, &String)> = found.record.tags.iter().collect();
    let tags = page.after_in(tags, |(key, _)| key)?;
    let cut = page.cut(tags, |(key, _)| key);
    answer(&cut.to_json(
        "Tags",
        |(key, value)| json!({ "TagKey": key, "TagValue": value }),
    ))
}
