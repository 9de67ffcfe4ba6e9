//! One KMS key: what never changes, and a snapshot of what does.
//!
//! Source of truth: AWS KMS developer guide, "Key states", "Rotate AWS KMS keys"
//! and "Delete an AWS KMS key"; ground truth KMS §4. What AWS does by the
//! calendar (deletion after its window, automatic rotation) happens when the key
//! is next looked at after the clock has passed the date.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use super::{
    arn::{account_of, region_of},
    custom_store::Backing,
    entropy::Entropy,
    import::Import,
    material::{Handle, SymmetricMaterial},
    multi_region::Family,
    secret::Secret,
    spec::{KeySpec, KeyUsage, Origin, RotationType},
};
use crate::policy::{Grant, KeyFacts, Policy};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A key. Readers take a snapshot of its record and never wait for a writer's
/// work, only for the moment in which it puts the new snapshot in place.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) arn: Arc<str>,
    pub(crate) spec: KeySpec,
    pub(crate) usage: KeyUsage,
    pub(crate) origin: Origin,
    /// The related keys of a multi-Region key.
    pub(crate) family: Option<Arc<Family>>,
    /// The custom key store it is in.
    pub(crate) backing: Option<Backing>,
    pub(crate) created: UnixMillis,
    record: RwLock<Arc<Record>>,
    /// Held while a change is computed, so that changes do not overtake.
    changing: Mutex<()>,
    grants: RwLock<BTreeMap<String, Arc<Grant>>>,
    last_use: Mutex<Option<LastUse>>,
}

/// The last successful cryptographic operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastUse {
    pub(crate) operation: &'static str,
    pub(crate) at: UnixMillis,
    pub(crate) request_id: String,
}

/// What changes during a key's life.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) description: Arc<str>,
    pub(crate) state: KeyState,
    pub(crate) policy: Arc<Policy>,
    pub(crate) tags: Arc<BTreeMap<String, String>>,
    /// Names of the aliases that point here, `alias/…`.
    pub(crate) aliases: Arc<[Arc<str>]>,
    /// Oldest first; the last one encrypts. Empty unless the key encrypts
    /// symmetrically.
    pub(crate) materials: Arc<[Generation]>,
    /// What any other key works with.
    pub(crate) secret: Option<Arc<Secret>>,
    pub(crate) rotation: Rotation,
    /// What was imported, for keys of origin `EXTERNAL`; `materials` follows it.
    pub(crate) imports: Option<Arc<[Import]>>,
}

/// Key material with how it came to be current.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) material: Arc<SymmetricMaterial>,
    /// `None` for the first.
    pub(crate) rotated: Option<(UnixMillis, RotationType)>,
}

/// `KeyState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    Enabled,
    Disabled,
    /// Some imported material is not there, or none ever was.
    PendingImport,
    /// Its primary Region is changing; over when the clock has moved on.
    Updating {
        since: UnixMillis,
    },
    /// To be deleted, as soon as its replicas are.
    PendingReplicaDeletion {
        window_days: u32,
    },
    PendingDeletion {
        at: UnixMillis,
        window_days: u32,
    },
}

impl KeyState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingImport => "PendingImport",
            Self::Updating { .. } => "Updating",
            Self::PendingReplicaDeletion { .. } => "PendingReplicaDeletion",
            Self::PendingDeletion { .. } => "PendingDeletion",
        }
    }
}

/// Automatic and on-demand rotation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rotation {
    pub(crate) automatic: Option<Automatic>,
    pub(crate) on_demand_count: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Automatic {
    pub(crate) period_days: u32,
    pub(crate) next: UnixMillis,
}

impl Automatic {
    pub(crate) fn starting(now: UnixMillis, period_days: u32) -> Self {
        Self {
            period_days,
            next: days_after(now, period_days),
        }
    }
}

/// `days` after `from`.
pub(crate) fn days_after(from: UnixMillis, days: u32) -> UnixMillis {
    UnixMillis(
        from.0
            .saturating_add(u64::from(days).saturating_mul(DAY_MS)),
    )
}

/// What a key is made from.
#[derive(Debug)]
pub(crate) struct NewKey {
    pub(crate) arn: Arc<str>,
    pub(crate) spec: KeySpec,
    pub(crate) usage: KeyUsage,
    pub(crate) origin: Origin,
    pub(crate) family: Option<Arc<Family>>,
    pub(crate) backing: Option<Backing>,
    pub(crate) created: UnixMillis,
    pub(crate) description: String,
    pub(crate) policy: Arc<Policy>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// What the calendar did to a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nothing that others need to know.
    AsItWas,
    /// New material was made; its handles must become known.
    Rotated(Vec<Handle>),
    /// Its deletion date has passed.
    Deleted,
}

impl Key {
    /// A key with material of its own, unless it is to be imported; `None` when
    /// the cryptographic library fails. RSA takes up to seconds.
    pub(crate) fn new(new: NewKey, entropy: &Entropy) -> Option<Self> {
        if new.origin == Origin::External {
            return Some(Self::with(new, KeyState::PendingImport, Arc::new([]), None));
        }
        let (materials, secret): (Arc<[Generation]>, _) = if new.spec.is_symmetric_encryption() {
            let first = Generation {
                material: Arc::new(fresh_material(id_of(&new.arn), entropy)),
                rotated: None,
            };
            (Arc::new([first]), None)
        } else {
            let secret = Secret::generate(new.spec, new.usage, entropy)?;
            (Arc::new([]), Some(Arc::new(secret)))
        };
        Some(Self::with(new, KeyState::Enabled, materials, secret))
    }

    /// A replica of a multi-Region key.
    pub(crate) fn replica(new: NewKey, primary: &Record) -> Self {
        if new.origin != Origin::External {
            let key = Self::with(
                new,
                KeyState::Enabled,
                Arc::clone(&primary.materials),
                primary.secret.clone(),
            );
            key.follow(|| Some(Arc::new(primary.clone())));
            return key;
        }
        let key = Self::with(new, KeyState::PendingImport, Arc::new([]), None);
        let result: Result<(), std::convert::Infallible> = key.change(|record| {
            record.expect_imports_of(primary);
            Ok(())
        });
        match result {
            Ok(()) => key,
            Err(never) => match never {},
        }
    }

    fn with(
        new: NewKey,
        state: KeyState,
        materials: Arc<[Generation]>,
        secret: Option<Arc<Secret>>,
    ) -> Self {
        Self {
            record: RwLock::new(Arc::new(Record {
                description: new.description.into(),
                state,
                policy: new.policy,
                tags: Arc::new(new.tags),
                aliases: Arc::new([]),
                materials,
                secret,
                rotation: Rotation::default(),
                imports: (new.origin == Origin::External).then(|| Arc::new([]) as Arc<[Import]>),
            })),
            arn: new.arn,
            spec: new.spec,
            usage: new.usage,
            origin: new.origin,
            family: new.family,
            backing: new.backing,
            created: new.created,
            changing: Mutex::new(()),
            grants: RwLock::new(BTreeMap::new()),
            last_use: Mutex::new(None),
        }
    }

    /// Whether the key is a replica of a multi-Region key.
    pub(crate) fn is_replica(&self) -> bool {
        let family = self.family.as_ref();
        family.is_some_and(|family| !family.is_primary(&self.arn))
    }

    /// `MultiRegionKeyType`.
    pub(crate) fn multi_region_type(&self) -> Option<&'static str> {
        let family = self.family.as_ref()?;
        Some(if family.is_primary(&self.arn) {
            "PRIMARY"
        } else {
            "REPLICA"
        })
    }

    /// Takes over what a primary key shares with its replicas. `primary` is
    /// asked at the moment of the change, so that nothing older overtakes.
    pub(crate) fn follow(&self, primary: impl FnOnce() -> Option<Arc<Record>>) {
        // An error means that the primary key is gone; then all stays as it is.
        let _: Result<(), ()> = self.change(|record| {
            let primary = primary().ok_or(())?;
            record.rotation = primary.rotation;
            if record.imports.is_none() {
                record.materials = Arc::clone(&primary.materials);
            }
            Ok(())
        });
    }

    pub(crate) fn last_use(&self) -> Option<LastUse> {
        let last = self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    pub(crate) fn note_use(&self, use_: LastUse) {
        let mut last = self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|last| last.at <= use_.at) {
            *last = Some(use_);
        }
    }

    pub(crate) fn id(&self) -> &str {
        id_of(&self.arn)
    }

    pub(crate) fn account(&self) -> &str {
        account_of(&self.arn)
    }

    pub(crate) fn region(&self) -> &str {
        region_of(&self.arn)
    }

    /// The key as it is now.
    pub(crate) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the record unless `change` refuses.
    pub(crate) fn change<T, E>(
        &self,
        change: impl FnOnce(&mut Record) -> Result<T, E>,
    ) -> Result<T, E> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = (*self.record()).clone();
        let result = change(&mut record)?;
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
        Ok(result)
    }

    /// Lets the calendar act.
    pub(crate) fn settle(&self, now: UnixMillis, entropy: &Entropy) -> Settled {
        let record = self.record();
        if let KeyState::PendingDeletion { at, .. } = record.state {
            return if now >= at {
                Settled::Deleted
            } else {
                Settled::AsItWas
            };
        }
        let is_over = |state| matches!(state, KeyState::Updating { since } if now > since);
        if is_over(record.state) || record.has_expired_import(now) {
            let result: Result<(), std::convert::Infallible> = self.change(|record| {
                if is_over(record.state) {
                    record.state = KeyState::Enabled;
                }
                if record.has_expired_import(now) {
                    record.expire_imports(now);
                }
                Ok(())
            });
            match result {
                Ok(()) => {}
                Err(never) => match never {},
            }
        }
        // Replicas follow their primary key instead.
        if record
            .rotation
            .automatic
            .is_none_or(|automatic| now < automatic.next)
            || self.is_replica()
        {
            return Settled::AsItWas;
        }
        let mut handles = Vec::new();
        let result: Result<(), std::convert::Infallible> = self.change(|record| {
            // A rotation that falls due while the key is disabled is made up
            // for when it is enabled again.
            while let Some(automatic) = record.rotation.automatic
                && record.state == KeyState::Enabled
                && now >= automatic.next
            {
                handles.push(record.rotate(
                    self.id(),
                    automatic.next,
                    RotationType::Automatic,
                    entropy,
                ));
                record.rotation.automatic =
                    Some(Automatic::starting(automatic.next, automatic.period_days));
            }
            Ok(())
        });
        match result {
            Ok(()) if handles.is_empty() => Settled::AsItWas,
            Ok(()) => Settled::Rotated(handles),
            Err(never) => match never {},
        }
    }

    pub(crate) fn facts<'a>(&'a self, record: &'a Record) -> KeyFacts<'a> {
        KeyFacts {
            arn: &self.arn,
            account: self.account(),
            region: self.region(),
            spec: self.spec.name(),
            usage: self.usage.name(),
            origin: self.origin.name(),
            multi_region_type: self.multi_region_type(),
            aliases: &record.aliases,
            tags: &record.tags,
        }
    }

    pub(crate) fn grants(&self) -> Vec<Arc<Grant>> {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        grants.values().cloned().collect()
    }

    pub(crate) fn grant(&self, id: &str) -> Option<Arc<Grant>> {
        self.grants
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    pub(crate) fn add_grant(&self, grant: Arc<Grant>) {
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.insert(grant.id.clone(), grant);
    }

    /// Whether there was such a grant.
    pub(crate) fn remove_grant(&self, id: &str) -> bool {
        self.grants
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id)
            .is_some()
    }
}

impl Record {
    /// The material that encrypts.
    pub(crate) fn current(&self) -> Option<&Generation> {
        self.materials.last()
    }

    /// The material that a blob names.
    pub(crate) fn by_handle(&self, handle: &Handle) -> Option<&Arc<SymmetricMaterial>> {
        self.materials
            .iter()
            .rev()
            .map(|g| &g.material)
            .find(|m| m.handle == *handle)
    }

    /// Makes new material current; what is encrypted under the old still opens.
    pub(crate) fn rotate(
        &mut self,
        key_id: &str,
        at: UnixMillis,
        rotation_type: RotationType,
        entropy: &Entropy,
    ) -> Handle {
        let material = Arc::new(fresh_material(key_id, entropy));
        let handle = material.handle;
        let mut materials = self.materials.to_vec();
        materials.push(Generation {
            material,
            rotated: Some((at, rotation_type)),
        });
        self.materials = materials.into();
        handle
    }
}

fn fresh_material(key_id: &str, entropy: &Entropy) -> SymmetricMaterial {
    let mut secret = Zeroizing::new([0; 32]);
    entropy.fill(secret.as_mut_slice());
    SymmetricMaterial::new(&secret, key_id)
}

fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
