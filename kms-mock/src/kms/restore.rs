//! Keys, aliases, grants and custom key stores that the data directory has
//! already, put in place before the first call.
//!
//! Source of truth: `crate::journal`. What follows from the rows is made again
//! here: a key's alias names, the replicas of a primary key, planned deletions.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use super::service::Kms;
use crate::{
    keys::{
        custom_store::CustomKeyStore,
        import::TokenKey,
        keep::{BadRow, UseRow},
        key::{Key, KeyState, LastUse},
        multi_region::Family,
        store::{Alias, Store},
    },
    model::operation::Operation,
    policy::Grant,
    world::request_id::RequestId,
};

impl Kms {
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn restore_key(&self, key: &Arc<Key>) {
        if let Some(family) = &key.family {
            family.add_replica(Arc::clone(&key.arn)); // which the primary is not
        }
        if let Some(backing) = &key.backing {
            self.key_stores.add_key(&backing.store, &key.arn);
        }
        if let KeyState::PendingDeletion { at, .. } = key.record().state {
            self.store.plan_deletion(at, &key.arn);
        }
        self.store.restore(key);
    }

    /// When all keys are there: lists know them, and replicas share what their
    /// primary key has.
    pub(crate) fn complete_keys(
        &self,
        families: impl Iterator<Item = Arc<Family>>,
    ) -> Result<(), BadRow> {
        self.store.list_restored();
        for family in families {
            let members = family.members();
            let primary = self.known(&members.primary)?.record();
            for replica in &members.replicas {
                self.known(replica)?.alter(|record| record.follow(&primary));
            }
        }
        Ok(())
    }

    pub(crate) fn restore_alias(&self, arn: &str, alias: Alias) -> Result<(), BadRow> {
        let name = arn.splitn(6, ':').nth(5).unwrap_or_default();
        let key = self.known(&alias.target)?;
        key.alter(|record| {
            let mut names = record.aliases.to_vec();
            names.push(name.into());
            record.aliases = names.into();
        });
        self.store.place_alias(arn, alias);
        Ok(())
    }

    pub(crate) fn restore_grant(&self, key_arn: &str, grant: Grant) -> Result<(), BadRow> {
        self.known(key_arn)?.restore_grant(grant);
        Ok(())
    }

    pub(crate) fn restore_use(
        &self,
        key_arn: &str,
        (operation, at, request_id): UseRow,
    ) -> Result<(), BadRow> {
        let operation = Operation::parse(&operation)
            .ok_or_else(|| BadRow::because(format!("there is no operation {operation}")))?;
        let request_id = RequestId::parse(&request_id)
            .ok_or_else(|| BadRow::because(format!("{request_id} is no request id")))?;
        self.known(key_arn)?.restore_use(LastUse {
            operation: operation.name(),
            at: UnixMillis(at),
            request_id,
            number: 0,
        });
        Ok(())
    }

    pub(crate) fn restore_key_store(&self, store: CustomKeyStore) {
        self.key_stores.restore(store);
    }

    /// The secret that seals import tokens.
    pub(crate) fn restore_token_secret(&self, secret: &[u8]) -> Result<(), BadRow> {
        let key = <[u8; 32]>::try_from(secret)
            .ok()
            .and_then(|secret| TokenKey::new(&Zeroizing::new(secret)))
            .ok_or_else(|| BadRow::because("the secret of import tokens is none"))?;
        self.token_key.get_or_init(|| key);
        Ok(())
    }

    fn known(&self, arn: &str) -> Result<Arc<Key>, BadRow> {
        self.store
            .as_it_is(arn)
            .ok_or_else(|| BadRow::because(format!("a row belongs to {arn}, which is not there")))
    }
}
