//! What the calendar does to a key that is looked at: rotation, expiry of imported
//! material, deletion.
//!
//! Source of truth: AWS KMS developer guide, "Rotate AWS KMS keys" and "Delete an
//! AWS KMS key". What falls due is made and written before the call that noticed
//! it goes on, so that no blob is ever made with material that a restart forgets.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::{
    keep,
    key::{Due, Key},
    material::{Handle, SymmetricMaterial},
    recent::Known,
    record::{KeyState, days_after},
    store::Store,
};
use crate::{
    journal::Unwritten,
    world::{arn::alias_arn, entropy::Entropy},
};

/// When a deletion is tried again that could not be written.
const RETRY_MS: u64 = 1000;

impl Store {
    /// The key of an ARN with its record at `now`.
    pub(crate) fn key(
        &self,
        arn: &str,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<Option<Arc<Known>>, Unwritten> {
        if let Some(known) = self.by_name.get(arn, |known| known.version_at(now)) {
            return Ok(Some(known));
        }
        let Some(key) = self.as_it_is(arn) else {
            return Ok(None);
        };
        let known = self.as_of(key, now, entropy)?;
        if let Some(known) = &known {
            known.keep(&self.by_name, arn.into());
        }
        Ok(known)
    }

    /// The key that requests of a Region and account name by `text`, if this thread has
    /// found one by it.
    pub(crate) fn recent(
        &self,
        text: &str,
        region: &str,
        account: &str,
        now: UnixMillis,
    ) -> Option<Arc<Known>> {
        self.by_name.get(text, |known| {
            let key = &known.key;
            // An id may be that of a key in each Region and account, an ARN is one key's.
            let is_it = key.region() == region && (key.account() == account || *text == *key.arn);
            known.version_if(is_it, now)
        })
    }

    /// Remembers that a request named a key by `text`.
    pub(crate) fn remember(&self, text: &str, known: &Arc<Known>) {
        known.keep(&self.by_name, text.into());
    }

    /// The key whose material a blob's handle names, with its record at `now`: the
    /// related key of `region` if there is one, otherwise the key itself.
    pub(crate) fn key_of_blob(
        &self,
        handle: &Handle,
        region: &str,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<Option<Arc<Known>>, Unwritten> {
        let Some(unique) = SymmetricMaterial::unique_part(handle) else {
            return Ok(None);
        };
        if let Some(known) = self.by_material.get(&unique, |known| known.version_at(now)) {
            return Ok(Some(known));
        }
        let Some(mut key) = self.key_by_handle(handle) else {
            return Ok(None);
        };
        if key.region() != region
            && let Some(family) = &key.family
            && let Some(arn) = family.members().in_region(region)
            && let Some(related) = self.as_it_is(arn)
        {
            key = related;
        }
        let known = self.as_of(key, now, entropy)?;
        if let Some(known) = &known {
            known.keep(&self.by_material, unique);
        }
        Ok(known)
    }

    /// A key with its record at `now`, unless its deletion was due by then.
    fn as_of(
        &self,
        key: Arc<Key>,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<Option<Arc<Known>>, Unwritten> {
        // What the calendar does to a primary key reaches its replicas.
        if let Some(family) = &key.family
            && !family.is_primary(&key.arn)
            && let Some(primary) = self.as_it_is(&family.members().primary)
        {
            self.settle(&primary, now, entropy)?;
        }
        if !self.settle(&key, now, entropy)? {
            return Ok(None);
        }
        Ok(Some(Known::of(key)))
    }

    /// Lets the calendar act on a key; whether there still is one.
    fn settle(
        &self,
        key: &Arc<Key>,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Result<bool, Unwritten> {
        while !key.is_gone()
            && let Some(due) = key.due(&key.record(), now)
        {
            let done = match due {
                Due::Upkeep => self.change(key, |record| {
                    record.keep_up(now);
                    Ok(())
                }),
                Due::Rotation => self
                    .change_family(
                        key,
                        |record| Ok(record.rotate_by_calendar(key.id(), now, entropy)),
                        |handles: &Vec<Handle>| {
                            for handle in handles {
                                self.know_handle(*handle, key);
                            }
                        },
                    )
                    .map(drop),
                Due::Deletion => self.remove(key, now),
            };
            match done {
                Ok(()) => {}
                // Somebody else saw that it was to be deleted.
                Err(Unwritten::Gone { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(!key.is_gone())
    }

    /// Deletes the keys whose date has come.
    pub(crate) fn sweep(&self, now: UnixMillis, entropy: &Entropy) {
        for arn in self.deletions.take_due(now) {
            // Looking at a key lets the calendar act.
            if let Err(error) = self.key(&arn, now, entropy) {
                tracing::warn!(%error, %arn, "deleting a key");
                // A call for the key itself answers with the error; others need not.
                self.plan_deletion(UnixMillis(now.0.saturating_add(RETRY_MS)), &arn);
            }
        }
    }

    /// Deletes a key whose date has come, with all that belongs to it.
    fn remove(&self, key: &Arc<Key>, now: UnixMillis) -> Result<(), Unwritten> {
        let relatives = self.relatives(key);
        let others: Vec<&Key> = relatives.iter().map(|key| &**key).collect();
        let removed = self.change_all(
            key,
            &others,
            |record, relatives, batch| {
                let KeyState::PendingDeletion { at, .. } = record.state else {
                    return Ok(None); // it was cancelled
                };
                if now < at {
                    return Ok(None);
                }
                batch.delete(keep::KEYS, key.arn.as_bytes());
                batch.delete(keep::USES, key.arn.as_bytes());
                batch.delete_all_of(keep::GRANTS, &key.arn);
                for name in record.aliases.iter() {
                    let arn = alias_arn(key.region(), key.account(), name);
                    batch.delete(keep::ALIASES, arn);
                }
                if relatives.is_empty()
                    && let Some(family) = &key.family
                {
                    batch.delete(keep::FAMILIES, family.name.as_bytes());
                }
                // A primary key that waits for its replicas begins its own window.
                let mut planned = None;
                if let [primary] = relatives
                    && let KeyState::PendingReplicaDeletion { window_days } = primary.state
                {
                    let at = days_after(at, window_days);
                    primary.state = KeyState::PendingDeletion { at, window_days };
                    planned = Some(at);
                }
                Ok::<_, Unwritten>(Some((record.clone(), planned)))
            },
            |removed| {
                if let Some((record, _)) = removed {
                    key.end();
                    self.forget(key, record, &relatives);
                }
            },
        )?;
        if let (Some((_, Some(at))), [primary]) = (removed, relatives.as_slice()) {
            self.plan_deletion(at, &primary.arn);
        }
        Ok(())
    }
}
