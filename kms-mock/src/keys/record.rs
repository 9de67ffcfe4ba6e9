//! What changes during a key's life.
//!
//! Source of truth: AWS KMS developer guide, "Key states" and "Rotate AWS KMS
//! keys"; ground truth KMS §4. What is imported into a key and forgotten again
//! stands in `import`.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use super::{
    imported::Import,
    material::{Generation, Handle, SymmetricMaterial},
    secret::Secret,
};
use crate::{model::spec::RotationType, policy::Policy, world::entropy::Entropy};

const DAY_MS: u64 = 24 * 3600 * 1000;

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

    /// Takes over what a primary key shares with its replicas.
    pub(crate) fn follow(&mut self, primary: &Self) {
        self.rotation = primary.rotation;
        if self.imports.is_none() {
            self.materials = Arc::clone(&primary.materials);
        }
    }

    /// Whether an automatic rotation is due. One that falls due while the key is
    /// disabled is made up for when it is enabled again.
    pub(crate) fn rotates(&self, now: UnixMillis) -> bool {
        self.state == KeyState::Enabled
            && self
                .rotation
                .automatic
                .is_some_and(|automatic| now >= automatic.next)
    }

    /// Makes up for the automatic rotations that are due; the new handles.
    pub(crate) fn rotate_by_calendar(
        &mut self,
        key_id: &str,
        now: UnixMillis,
        entropy: &Entropy,
    ) -> Vec<Handle> {
        let mut handles = Vec::new();
        while self.rotates(now)
            && let Some(automatic) = self.rotation.automatic
        {
            handles.push(self.rotate(key_id, automatic.next, RotationType::Automatic, entropy));
            self.rotation.automatic =
                Some(Automatic::starting(automatic.next, automatic.period_days));
        }
        handles
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

/// The members that most keys leave empty, once for all of them.
struct Empty {
    text: Arc<str>,
    tags: Arc<BTreeMap<String, String>>,
    aliases: Arc<[Arc<str>]>,
}

static EMPTY: LazyLock<Empty> = LazyLock::new(|| Empty {
    text: "".into(),
    tags: Arc::default(),
    aliases: Arc::new([]),
});

/// A text that takes no memory when it is empty.
pub(crate) fn shared_text(text: &str) -> Arc<str> {
    if text.is_empty() {
        Arc::clone(&EMPTY.text)
    } else {
        text.into()
    }
}

/// Tags that take no memory when there are none.
pub(crate) fn shared_tags(tags: BTreeMap<String, String>) -> Arc<BTreeMap<String, String>> {
    if tags.is_empty() {
        Arc::clone(&EMPTY.tags)
    } else {
        Arc::new(tags)
    }
}

pub(crate) fn no_aliases() -> Arc<[Arc<str>]> {
    Arc::clone(&EMPTY.aliases)
}

pub(super) fn fresh_material(key_id: &str, entropy: &Entropy) -> SymmetricMaterial {
    let mut secret = Zeroizing::new([0; 32]);
    entropy.fill(secret.as_mut_slice());
    SymmetricMaterial::new(&secret, key_id)
}
