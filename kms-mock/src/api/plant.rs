//! Keys that a seed file asks for, and forgetting everything.
//!
//! Models nothing of AWS: a key with a chosen id and known material. Nobody is
//! asked for permission, as for anything that the world's owner does.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use zeroize::Zeroizing;

use super::Kms;
use crate::{
    keys::{
        arn::{alias_arn, key_arn},
        key::{Automatic, Generation, Key, KeyState, NewKey},
        material::SymmetricMaterial,
        spec::{KeySpec, KeyUsage, Origin},
        store::Alias,
    },
    policy::Policy,
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
    #[error("the key {0} is there already")]
    KeyExists(String),
    #[error("{0} is there already")]
    AliasExists(String),
}

impl Kms {
    /// Makes a key; its ARN.
    pub(crate) fn plant(&self, plan: PlantedKey) -> Result<String, PlantError> {
        let (region, now) = (&self.settings.region, self.settings.clock.now());
        let arn = key_arn(region, &plan.account, &plan.id);
        if self.store.key(&arn, now, &self.entropy).is_some() {
            return Err(PlantError::KeyExists(arn));
        }
        let _one_at_a_time = self
            .store
            .alias_changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let alias_arns: Vec<String> = plan
            .aliases
            .iter()
            .map(|name| alias_arn(region, &plan.account, name))
            .collect();
        for (at, alias) in alias_arns.iter().enumerate() {
            let twice = alias_arns.iter().take(at).any(|other| other == alias);
            if twice || self.store.alias(alias).is_some() {
                return Err(PlantError::AliasExists(alias.clone()));
            }
        }
        let policy = match plan.policy {
            Some(policy) => Arc::new(policy),
            None => self.store.default_policy(&plan.account),
        };
        let new = NewKey {
            arn: arn.as_str().into(),
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
        let changed: Result<(), std::convert::Infallible> = key.change(|record| {
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
            Ok(())
        });
        match changed {
            Ok(()) => {}
            Err(never) => match never {},
        }
        let key = Arc::new(key);
        self.store.insert(Arc::clone(&key));
        for alias in &alias_arns {
            let target = Arc::clone(&key.arn);
            self.store.insert_alias(
                alias,
                Alias {
                    target,
                    created: now,
                    updated: now,
                },
            );
        }
        Ok(arn)
    }

    /// Forgets all keys, aliases, custom key stores and calls.
    pub fn reset(&self) {
        self.store.clear();
        self.key_stores.clear();
        self.audit.clear();
    }
}
