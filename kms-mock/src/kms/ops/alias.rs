//! Aliases: create, move, delete, list.
//!
//! Source of truth: AWS KMS developer guide, "Aliases in AWS KMS" and
//! "Controlling access to aliases" (permission is needed on the alias, by IAM,
//! and on each key concerned); ground truth KMS §4.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    keys::{alias::Alias, keep, key::Key, record::Record},
    kms::{
        answer::{Answer, answer, nothing, timestamp},
        call::{CallContext, Found},
        checks::Asked,
        error::{Failure, Invalid, Limit, NotFound},
        fields::{ALIAS_NAME, Fields, KEY_ID},
        json::Object,
    },
    policy::Facts,
    world::arn::{AliasArn, KeyArn},
};

const ALIASES_OF_KEY_MAX: usize = 50;

fn read_name(fields: &mut Fields) -> String {
    fields.required_text("AliasName", ALIAS_NAME)
}

fn check_name(name: &str) -> Result<(), Failure> {
    if !name.starts_with("alias/") || name.len() == "alias/".len() {
        return Err(Failure::Invalid(Invalid::AliasPrefix));
    }
    if name.starts_with("alias/aws/") {
        return Err(Failure::ReservedAlias);
    }
    Ok(())
}

pub(crate) fn create(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (name, target) = Fields::read(body, |fields| {
        (
            read_name(fields),
            fields.required_text("TargetKeyId", KEY_ID),
        )
    })?;
    check_name(&name)?;
    let arn = AliasArn::new(call.region(), call.account(), &name);
    let found = call.find(&target)?;
    call.authorize_alias(&arn)?;
    call.authorize(&found, Facts::default())?;
    call.check(&found, &Asked::default())?;
    let _one_at_a_time = call.store().hold_aliases(&[&*arn]);
    if call.store().alias(&arn).is_some() {
        return Err(Failure::AliasExists {
            arn: arn.to_string(),
        });
    }
    let alias = Alias {
        target: Arc::clone(&found.key.arn),
        created: call.now,
        updated: call.now,
    };
    call.store().change_all(
        &found.key,
        &[],
        |record, _, batch| {
            call.check_record(&found, record, &Asked::default())?;
            add_name(record, &name)?;
            keep::put_alias(batch, &arn, &alias);
            Ok::<_, Failure>(())
        },
        |()| call.store().place_alias(&arn, alias.clone()),
    )?;
    nothing()
}

pub(crate) fn update(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (name, target) = Fields::read(body, |fields| {
        (
            read_name(fields),
            fields.required_text("TargetKeyId", KEY_ID),
        )
    })?;
    check_name(&name)?;
    let arn = AliasArn::new(call.region(), call.account(), &name);
    // It may move on while permission is asked for the key that it leaves.
    while !moved(call, &arn, &target)? {}
    nothing()
}

/// Moves an alias; whether it still pointed at the key that permission was asked for.
fn moved(call: &mut CallContext<'_>, arn: &AliasArn, target: &str) -> Result<bool, Failure> {
    let old = existing(call, arn)?;
    call.authorize_alias(arn)?;
    let new = call.find(target)?;
    call.authorize(&old, Facts::default())?;
    call.authorize(&new, Facts::default())?;
    call.check(&new, &Asked::default())?;
    if old.key.usage != new.key.usage
        || old.key.spec.is_symmetric_encryption() != new.key.spec.is_symmetric_encryption()
    {
        let (from, to) = (old.key.spec.name(), new.key.spec.name());
        return Err(Failure::Invalid(Invalid::AliasTarget { from, to }));
    }
    let _one_at_a_time = call.store().hold_aliases(&[&**arn]);
    let Some(alias) = still_of(call, arn, &old) else {
        return Ok(false);
    };
    let moves = old.key.arn != new.key.arn;
    let alias = Alias {
        target: Arc::clone(&new.key.arn),
        updated: call.now,
        ..alias
    };
    let left: &[&Key] = if moves { &[&old.key] } else { &[] };
    call.store().change_all(
        &new.key,
        left,
        |record, left, batch| {
            call.check_record(&new, record, &Asked::default())?;
            if moves {
                add_name(record, arn.name())?;
            }
            for record in left {
                remove_name(record, arn.name());
            }
            keep::put_alias(batch, arn, &alias);
            Ok::<_, Failure>(())
        },
        |()| call.store().place_alias(arn, alias.clone()),
    )?;
    Ok(true)
}

pub(crate) fn delete(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let name = Fields::read(body, read_name)?;
    check_name(&name)?;
    let arn = AliasArn::new(call.region(), call.account(), &name);
    while !deleted(call, &arn)? {}
    nothing()
}

/// Deletes an alias; whether it still pointed at the key that permission was asked
/// for.
fn deleted(call: &mut CallContext<'_>, arn: &AliasArn) -> Result<bool, Failure> {
    let old = existing(call, arn)?;
    call.authorize_alias(arn)?;
    call.authorize(&old, Facts::default())?;
    let _one_at_a_time = call.store().hold_aliases(&[&**arn]);
    if still_of(call, arn, &old).is_none() {
        return Ok(false);
    }
    call.store().change_all(
        &old.key,
        &[],
        |record, _, batch| {
            remove_name(record, arn.name());
            batch.delete(keep::ALIASES, arn.as_bytes());
            Ok::<_, Failure>(())
        },
        |()| call.store().forget_alias(arn, &old.key.arn),
    )?;
    Ok(true)
}

/// The key that an alias points at; the alias must exist.
fn existing(call: &mut CallContext<'_>, arn: &str) -> Result<Found, Failure> {
    let absent = || Failure::NotFound(NotFound::Alias { arn: arn.into() });
    let alias = call.store().alias(arn).ok_or_else(absent)?;
    match call.find(&alias.target) {
        // The key is deleted, and its alias with it.
        Err(Failure::NotFound(_)) => Err(absent()),
        found => found,
    }
}

/// An alias that is held, if it points at that key.
fn still_of(call: &CallContext<'_>, arn: &str, key: &Found) -> Option<Alias> {
    let alias = call.store().alias(arn);
    alias.filter(|alias| alias.target == key.key.arn)
}

fn add_name(record: &mut Record, name: &str) -> Result<(), Failure> {
    if record.aliases.len() >= ALIASES_OF_KEY_MAX {
        return Err(Failure::LimitExceeded(Limit::AliasesOfKey));
    }
    let mut names = record.aliases.to_vec();
    names.push(name.into());
    record.aliases = names.into();
    Ok(())
}

fn remove_name(record: &mut Record, name: &str) {
    record.aliases = record
        .aliases
        .iter()
        .filter(|n| &***n != name)
        .cloned()
        .collect();
}

pub(crate) fn list(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, page) = Fields::read(body, |fields| {
        (fields.text("KeyId", KEY_ID), fields.page(50))
    })?;
    call.authorize_account("kms:ListAliases", Facts::default())?;
    let prefix = AliasArn::prefix(call.region(), call.account());
    let after = page.after()?;
    let arns: Vec<Arc<str>> = match key_id {
        None => call
            .store()
            .alias_arns(&prefix, after.as_deref(), page.reach()),
        Some(key_id) => {
            let found = call.find(&key_id)?;
            let mut arns: Vec<Arc<str>> = found
                .record
                .aliases
                .iter()
                .map(|name| AliasArn::new(call.region(), call.account(), name).shared())
                .filter(|arn: &Arc<str>| after.as_deref().is_none_or(|after| &**arn > after))
                .collect();
            arns.sort();
            arns
        }
    };
    let cut = page.cut(arns, |arn| arn);
    answer(&cut.to_json("Aliases", |arn| entry(call, arn)))
}

fn entry(call: &CallContext<'_>, arn: &str) -> Value {
    let parsed = AliasArn::parse(arn);
    let name = parsed.as_ref().map(AliasArn::name);
    let Some(alias) = call.store().alias(arn) else {
        return json!({ "AliasName": name, "AliasArn": arn });
    };
    json!({
        "AliasName": name,
        "AliasArn": arn,
        "TargetKeyId": KeyArn::parse(&alias.target).as_ref().map(KeyArn::id),
        "CreationDate": timestamp(alias.created),
        "LastUpdatedDate": timestamp(alias.updated),
    })
}
