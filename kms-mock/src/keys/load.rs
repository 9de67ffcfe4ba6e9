//! Keys, aliases, grants and custom key stores that the data directory has
//! already, put in place before the first call.
//!
//! Source of truth: `crate::journal`. What follows from the rows is made again
//! here: a key's alias names, the replicas of a primary key, planned deletions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use super::{
    custom_stores::CustomKeyStores,
    keep::{
        self, ALIASES, AliasRow, FAMILIES, GRANTS, GrantRow, IMPORT_TOKENS, KEY_STORES, KEYS,
        KeyRow, KeyStoreRow, USES, UseRow,
    },
    key::Key,
    multi_region::Family,
    record::KeyState,
    store::Store,
    uses::LastUse,
    wrapping::TokenKey,
};
use crate::{
    journal::{BadRow, ReadError, SecretBytes, Snapshot, two_parts},
    model::operation::Operation,
    policy::{Policy, PolicyKind},
    world::{
        arn::{account_of, six_parts},
        request_id::RequestId,
    },
};

/// Puts everything in place; the key that seals import tokens, if there is one.
pub(crate) fn load(
    snapshot: &Snapshot,
    store: &Store,
    key_stores: &CustomKeyStores,
) -> Result<Option<TokenKey>, ReadError> {
    load_keys(snapshot, store, key_stores)?;
    snapshot.each(ALIASES, |arn, row: AliasRow| {
        let alias = keep::alias_of(row);
        let name = alias_name(arn)?;
        known(store, &alias.target)?.alter(|record| {
            let mut names = record.aliases.to_vec();
            names.push(name.into());
            record.aliases = names.into();
        });
        store.place_alias(arn, alias);
        Ok(())
    })?;
    snapshot.each(GRANTS, |name, row: GrantRow| {
        let (arn, id) = two_parts(name)?;
        known(store, arn)?.place_grant(Arc::new(row.restore(id)?));
        Ok(())
    })?;
    snapshot.each(USES, |arn, row: UseRow| {
        known(store, arn)?.restore_use(last_use(row)?);
        Ok(())
    })?;
    snapshot.each(KEY_STORES, |id, row: KeyStoreRow| {
        key_stores.restore(row.restore(id)?);
        Ok(())
    })?;
    let secret = snapshot.world_row(IMPORT_TOKENS)?;
    Ok(secret.map(token_key).transpose()?)
}

fn load_keys(
    snapshot: &Snapshot,
    store: &Store,
    key_stores: &CustomKeyStores,
) -> Result<(), ReadError> {
    let mut families = HashMap::new();
    snapshot.each(FAMILIES, |name, primary: String| {
        let family = Family::named(name.into(), primary.into());
        families.insert(name.to_owned(), Arc::new(family));
        Ok(())
    })?;
    let policies = Policies::default();
    snapshot.each_in_threads(KEYS, &|arn: &str, row: KeyRow<'static>| {
        let family = row.family.as_ref().map(|name| {
            let family = families.get(&**name);
            family.cloned().ok_or_else(|| {
                BadRow::because(format!(
                    "belongs to the multi-Region key {name}, which has no row in families"
                ))
            })
        });
        let key = row.restore(&arn.into(), family.transpose()?, |text, ids| match text {
            None => Ok(store.default_policy(account_of(arn))),
            Some(text) => policies.read(text, ids),
        })?;
        place(&Arc::new(key), store, key_stores);
        Ok(())
    })?;
    // Lists know the keys, and replicas share what their primary key has.
    store.list_restored();
    for family in families.into_values() {
        let members = family.members();
        let primary = known(store, &members.primary)?.record();
        for replica in &members.replicas {
            known(store, replica)?.alter(|record| record.follow(&primary));
        }
    }
    Ok(())
}

fn place(key: &Arc<Key>, store: &Store, key_stores: &CustomKeyStores) {
    if let Some(family) = &key.family {
        family.add_replica(Arc::clone(&key.arn)); // which the primary is not
    }
    if let Some(backing) = &key.backing {
        key_stores.add_key(&backing.store, &key.arn);
    }
    if let KeyState::PendingDeletion { at, .. } = key.record().state {
        store.plan_deletion(at, &key.arn);
    }
    store.restore(key);
}

fn known(store: &Store, arn: &str) -> Result<Arc<Key>, BadRow> {
    store
        .as_it_is(arn)
        .ok_or_else(|| BadRow::because(format!("belongs to the key {arn}, which has no row")))
}

/// `alias/…`
fn alias_name(arn: &str) -> Result<&str, BadRow> {
    six_parts(arn)
        .map(|[.., name]| name)
        .ok_or_else(|| BadRow::because("has a key that is not the ARN of an alias"))
}

fn last_use((operation, at, request_id): UseRow) -> Result<LastUse, BadRow> {
    let operation = Operation::parse(&operation).ok_or_else(|| {
        BadRow::because(format!(
            "names the operation {operation}, which does not exist"
        ))
    })?;
    let request_id = RequestId::parse(&request_id)
        .ok_or_else(|| BadRow::because(format!("holds {request_id}, which is not a request id")))?;
    Ok(LastUse {
        operation: operation.name(),
        at: UnixMillis(at),
        request_id,
        number: 0, // before every call of this start
    })
}

/// The key that seals import tokens.
fn token_key(secret: SecretBytes) -> Result<TokenKey, BadRow> {
    <[u8; 32]>::try_from(secret.0.as_slice())
        .ok()
        .and_then(|secret| TokenKey::new(&Zeroizing::new(secret)))
        .ok_or_else(|| {
            BadRow::because("import_tokens of the table world is not a secret of 32 bytes")
        })
}

/// Policies that several keys have in the same words and with the same unique ids
/// behind their principals.
#[derive(Default)]
struct Policies(Mutex<HashMap<PolicyRow, Arc<Policy>>>);

/// The text of a policy and the unique ids behind its principals, by ARN.
type PolicyRow = (String, BTreeMap<String, String>);

impl Policies {
    fn read(&self, text: &str, ids: BTreeMap<String, String>) -> Result<Arc<Policy>, BadRow> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (text.to_owned(), ids);
        if let Some(policy) = known.get(&name) {
            return Ok(Arc::clone(policy));
        }
        let policy = Policy::parse_kept(text, PolicyKind::Key, &name.1).map(Arc::new);
        let policy = policy.map_err(|error| {
            BadRow::because(format!("holds a key policy that does not parse: {error}"))
        })?;
        known.insert(name, Arc::clone(&policy));
        Ok(policy)
    }
}
