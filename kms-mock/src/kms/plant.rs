//! Keys that a seed file asks for, and forgetting everything.
//!
//! Models nothing of AWS: a key with a chosen id and known material. No
//! permission is asked: the world's owner does this.

use std::{collections::BTreeMap, sync::Arc};

use zeroize::Zeroizing;

use super::service::Kms;
use crate::{
    journal::{SEED_FILE, Unwritten, WORLD},
    keys::{
        alias::Alias,
        keep,
        key::{Key, NewKey},
        material::{Generation, SymmetricMaterial},
        record::{Automatic, KeyState},
    },
    model::spec::{KeySpec, KeyUsage, Origin},
    policy::Policy,
    world::arn::{AliasArn, KeyArn},
};

/// A symmetric key as a seed file describes it.
pub(crate) struct PlantedKey {
    /// A UUID.
    pub(crate) id: String,
    pub(crate) account: String,
    pub(crate) description: String,
    /// Drawn if absent.
    pub(crate) material: Option<Zeroizing<[u8; 32]>>,
    /// Each begins with `alias/`.
    pub(crate) aliases: Vec<String>,
    /// The default policy if absent.
    pub(crate) policy: Option<Policy>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) enabled: bool,
    pub(crate) rotation_days: Option<u32>,
}

/// Why a key cannot be planted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlantError {
    #[error("the key {0} exists already")]
    KeyExists(String),
    #[error("{0} exists already")]
    AliasExists(String),
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}

impl Kms {
    /// Makes a key; its ARN.
    pub(crate) fn plant(&self, plan: PlantedKey) -> Result<String, PlantError> {
        let (region, now) = (&self.settings.region, self.settings.clock.now());
        let arn = KeyArn::new(region, &plan.account, &plan.id);
        let alias_arns: Vec<AliasArn> = plan
            .aliases
            .iter()
            .map(|name| AliasArn::new(region, &plan.account, name))
            .collect();
        // The key's own ARN too: two that plant it at once must not both make it.
        let mut held: Vec<&str> = alias_arns.iter().map(|alias| &**alias).collect();
        held.push(&arn);
        let _one_at_a_time = self.store.hold_aliases(&held);
        if self.store.key(&arn, now, &self.entropy)?.is_some() {
            return Err(PlantError::KeyExists(arn.to_string()));
        }
        for (at, alias) in alias_arns.iter().enumerate() {
            let twice = alias_arns.iter().take(at).any(|other| other == alias);
            if twice || self.store.alias(alias).is_some() {
                return Err(PlantError::AliasExists(alias.to_string()));
            }
        }
        let policy = match plan.policy {
            Some(policy) => Arc::new(policy),
            None => self.store.default_policy(&plan.account),
        };
        let new = NewKey {
            arn: arn.shared(),
            spec: KeySpec::SymmetricDefault,
            usage: KeyUsage::EncryptDecrypt,
            origin: Origin::AwsKms,
            family: None,
            backing: None,
            created: now,
            description: plan.description,
            policy,
            tags: plan.tags,
        };
        let key = Key::new(new, &self.entropy).expect("a symmetric key is always made");
        key.alter(|record| {
            if let Some(secret) = &plan.material {
                record.materials = Arc::new([Generation {
                    material: Arc::new(SymmetricMaterial::new(secret, &plan.id)),
                    rotated: None,
                }]);
            }
            if !plan.enabled {
                record.state = KeyState::Disabled;
            }
            record.aliases = plan
                .aliases
                .iter()
                .map(|name| name.as_str().into())
                .collect();
            record.rotation.automatic = plan
                .rotation_days
                .map(|days| Automatic::starting(now, days));
        });
        let key = Arc::new(key);
        let aliases: Vec<(String, Alias)> = alias_arns
            .into_iter()
            .map(|alias| {
                let target = Arc::clone(&key.arn);
                let alias_ = Alias {
                    target,
                    created: now,
                    updated: now,
                };
                (alias.to_string(), alias_)
            })
            .collect();
        self.store.insert(&key, &aliases)?;
        Ok(arn.to_string())
    }

    /// Forgets all keys, aliases, custom key stores and calls, in memory and in
    /// the data directory. A seed file is planted again at the next start.
    ///
    /// # Errors
    /// [`Unwritten`] if the data directory cannot be written; then nothing is
    /// forgotten.
    pub fn reset(&self) -> Result<(), Unwritten> {
        self.store.journal().clear(
            |batch| {
                keep::TABLES.iter().for_each(|table| batch.empty(*table));
                batch.delete(WORLD, SEED_FILE);
            },
            || {
                self.store.clear();
                self.key_stores.clear();
                self.audit.clear();
            },
        )
    }
}
