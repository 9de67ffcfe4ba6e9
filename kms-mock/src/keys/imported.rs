//! What was imported into a key.
//!
//! Source of truth: AWS KMS developer guide, "Importing key material for AWS KMS
//! keys" and "Perform on-demand key rotation" (several materials in one key,
//! since 2025).
//!
//! Only symmetric encryption keys take several materials. Any other key has the
//! one it got first for its life; that is kept as an import too, which is current
//! and never rotates.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::{
    material::{Generation, Handle, SymmetricMaterial},
    secret::Secret,
};
use crate::model::spec::RotationType;

/// What was imported, by the kind of its key.
#[derive(Clone, Debug)]
pub(crate) enum Material {
    Symmetric(Arc<SymmetricMaterial>),
    /// An HMAC key, or a private key.
    Secret(Arc<Secret>),
}

/// Material that was imported, or that a primary key has and a replica lacks.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) id: String,
    /// Names it in blobs, if it makes any.
    pub(crate) handle: Handle,
    /// `None` after it was deleted or has expired.
    pub(crate) material: Option<Material>,
    /// `None` when it does not expire.
    pub(crate) valid_to: Option<UnixMillis>,
    pub(crate) description: Option<String>,
    pub(crate) standing: Standing,
    pub(crate) rotated: Option<(UnixMillis, RotationType)>,
}

/// `KeyMaterialState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    NonCurrent,
    Current,
    PendingRotation,
    /// Some replica does not have it yet.
    PendingReplicas,
}

impl Standing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NonCurrent => "NON_CURRENT",
            Self::Current => "CURRENT",
            Self::PendingRotation => "PENDING_ROTATION",
            Self::PendingReplicas => "PENDING_MULTI_REGION_IMPORT_AND_ROTATION",
        }
    }

    pub(super) fn is_pending(self) -> bool {
        matches!(self, Self::PendingRotation | Self::PendingReplicas)
    }
}

impl Import {
    pub(super) fn is_expired(&self, now: UnixMillis) -> bool {
        self.material.is_some() && self.valid_to.is_some_and(|valid_to| now >= valid_to)
    }
}

/// The symmetric materials that a key with these imports works with, in the order
/// of their import, which is the order of their rotation.
pub(crate) fn materials_in_use(imports: &[Import]) -> Arc<[Generation]> {
    in_use(imports)
        .filter_map(|import| match import.material.as_ref()? {
            Material::Symmetric(material) => Some(Generation {
                material: Arc::clone(material),
                rotated: import.rotated,
            }),
            Material::Secret(_) => None,
        })
        .collect()
}

/// What any other key with these imports works with.
pub(crate) fn secret_in_use(imports: &[Import]) -> Option<Arc<Secret>> {
    in_use(imports).find_map(|import| match import.material.as_ref()? {
        Material::Secret(secret) => Some(Arc::clone(secret)),
        Material::Symmetric(_) => None,
    })
}

/// The imports that the key works with.
pub(super) fn in_use(imports: &[Import]) -> impl Iterator<Item = &Import> {
    imports
        .iter()
        .filter(|import| !import.standing.is_pending())
}
