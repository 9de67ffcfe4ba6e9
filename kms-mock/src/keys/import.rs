//! Material on its way into a key, and what becomes of the key with it.
//!
//! Source of truth: AWS KMS developer guide, "Importing key material for AWS KMS
//! keys" and "Perform on-demand key rotation"; the KMS service model; recorded
//! answers.
//!
//! Unknown and chosen: deleting material that waits for its rotation removes it
//! altogether, so that other material can be imported instead.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use super::{
    imported::{Import, Material, Standing, in_use, materials_in_use, secret_in_use},
    material::{Handle, SymmetricMaterial, identify},
    record::{KeyState, Record},
    secret::Secret,
};
use crate::model::spec::{KeySpec, KeyUsage, RotationType};

/// Material on its way into a key.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) id: String,
    pub(crate) handle: Handle,
    pub(crate) material: Material,
    pub(crate) valid_to: Option<UnixMillis>,
    pub(crate) description: Option<String>,
}

impl Arrival {
    /// What `bytes` are to the key `key_id`: 32 bytes for a symmetric encryption
    /// key, as many as the hash has for HMAC, a PKCS #8 for anything else. An error
    /// says what they should have been.
    pub(crate) fn read(
        spec: KeySpec,
        usage: KeyUsage,
        key_id: &str,
        bytes: &[u8],
    ) -> Result<Self, &'static str> {
        let (id, handle, material) = if spec.is_symmetric_encryption() {
            let secret = <[u8; 32]>::try_from(bytes).map(Zeroizing::new);
            let secret = secret.map_err(|_| "a symmetric encryption key has 32 bytes")?;
            let material = SymmetricMaterial::new(&secret, key_id);
            let id = material.id.clone();
            (id, material.handle, Material::Symmetric(Arc::new(material)))
        } else {
            let secret = Secret::from_bytes(spec, usage, bytes).ok_or(match usage {
                KeyUsage::GenerateVerifyMac => "an HMAC key is as long as its hash",
                _ => "the material is not the PKCS #8 of a private key of the key's spec",
            })?;
            // A private key has many encodings, a public key one.
            let (id, handle) = identify(key_id, secret.public.as_deref().unwrap_or(bytes));
            (id, handle, Material::Secret(Arc::new(secret)))
        };
        Ok(Self {
            id,
            handle,
            material,
            valid_to: None,
            description: None,
        })
    }
}

/// Why material is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportRefused {
    /// Not what was imported before.
    NotTheSame,
    /// Imported before, but said to be new.
    NotNew,
    /// Other new material waits for its rotation.
    OtherIsPending { pending: String },
}

impl Record {
    /// All imported material, oldest first; empty for keys of other origins.
    pub(crate) fn imports(&self) -> &[Import] {
        self.imports.as_deref().unwrap_or_default()
    }

    /// The import that encrypts, whether or not its material is present.
    pub(crate) fn current_import(&self) -> Option<&Import> {
        let mut imports = self.imports().iter();
        imports.find(|import| import.standing == Standing::Current)
    }

    /// Takes material that the key has had before.
    pub(crate) fn import_again(&mut self, arrival: Arrival) -> Result<(), ImportRefused> {
        let mut imports = self.imports().to_vec();
        let known = imports.iter_mut().find(|i| i.id == arrival.id);
        let known = known.ok_or(ImportRefused::NotTheSame)?;
        known.material = Some(arrival.material);
        known.valid_to = arrival.valid_to;
        if arrival.description.is_some() {
            known.description = arrival.description;
        }
        self.put_imports(imports);
        Ok(())
    }

    /// Takes material that the key has never had. The first becomes current at
    /// once, later material waits for its rotation.
    pub(crate) fn import_new(
        &mut self,
        arrival: Arrival,
        has_replicas: bool,
    ) -> Result<(), ImportRefused> {
        let mut imports = self.imports().to_vec();
        if imports.iter().any(|i| i.id == arrival.id) {
            return Err(ImportRefused::NotNew);
        }
        if let Some(pending) = imports.iter().find(|i| i.standing.is_pending()) {
            let pending = pending.id.clone();
            return Err(ImportRefused::OtherIsPending { pending });
        }
        let standing = match (imports.is_empty(), has_replicas) {
            (true, _) => Standing::Current,
            (false, false) => Standing::PendingRotation,
            (false, true) => Standing::PendingReplicas,
        };
        imports.push(Import {
            id: arrival.id,
            handle: arrival.handle,
            material: Some(arrival.material),
            valid_to: arrival.valid_to,
            description: arrival.description,
            standing,
            rotated: None,
        });
        self.put_imports(imports);
        Ok(())
    }

    /// Knows what the primary key has, without having it.
    pub(crate) fn expect_imports_of(&mut self, primary: &Self) {
        let mut imports = self.imports().to_vec();
        for import in primary.imports() {
            if !imports.iter().any(|known| known.id == import.id) {
                imports.push(Import {
                    material: None,
                    valid_to: None,
                    ..import.clone()
                });
            }
        }
        self.put_imports(imports);
    }

    /// Whether material that is in use is not there.
    pub(crate) fn lacks_imports(&self) -> bool {
        self.imports()
            .iter()
            .any(|import| !import.standing.is_pending() && import.material.is_none())
    }

    /// Whether the material is present.
    pub(crate) fn has_import(&self, id: &str) -> bool {
        self.imports()
            .iter()
            .any(|import| import.id == id && import.material.is_some())
    }

    /// Every Region has the material: it may be rotated to.
    pub(crate) fn import_is_everywhere(&mut self, id: &str) {
        let mut imports = self.imports().to_vec();
        for import in &mut imports {
            if import.id == id && import.standing == Standing::PendingReplicas {
                import.standing = Standing::PendingRotation;
            }
        }
        self.put_imports(imports);
    }

    /// Makes the material that waits for it current; whether there was any.
    pub(crate) fn rotate_to_pending_import(&mut self, at: UnixMillis) -> bool {
        let mut imports = self.imports().to_vec();
        if !imports
            .iter()
            .any(|i| i.standing == Standing::PendingRotation)
        {
            return false;
        }
        for import in &mut imports {
            match import.standing {
                Standing::Current => import.standing = Standing::NonCurrent,
                Standing::PendingRotation => {
                    import.standing = Standing::Current;
                    import.rotated = Some((at, RotationType::OnDemand));
                }
                Standing::NonCurrent | Standing::PendingReplicas => {}
            }
        }
        self.put_imports(imports);
        true
    }

    /// Forgets material, the current one unless `id` names another; its id, or
    /// `None` when the key never had any such.
    pub(crate) fn forget_import(&mut self, id: Option<&str>) -> Option<String> {
        let mut imports = self.imports().to_vec();
        let at = imports.iter().position(|import| match id {
            Some(id) => import.id == id,
            None => import.standing == Standing::Current,
        })?;
        let import = imports.get_mut(at)?;
        let id = import.id.clone();
        import.material = None;
        import.valid_to = None;
        if import.standing.is_pending() {
            imports.remove(at);
        }
        self.put_imports(imports);
        Some(id)
    }

    /// Whether some material's time is over.
    pub(crate) fn has_expired_import(&self, now: UnixMillis) -> bool {
        self.imports().iter().any(|import| import.is_expired(now))
    }

    /// Forgets material whose time is over.
    pub(crate) fn expire_imports(&mut self, now: UnixMillis) {
        let mut imports = self.imports().to_vec();
        for import in &mut imports {
            if import.is_expired(now) {
                import.material = None;
                import.valid_to = None;
            }
        }
        self.put_imports(imports);
    }

    /// Lets imports expire and a change of the primary Region end.
    pub(crate) fn keep_up(&mut self, now: UnixMillis) {
        if matches!(self.state, KeyState::Updating { since } if now > since) {
            self.state = KeyState::Enabled;
        }
        if self.has_expired_import(now) {
            self.expire_imports(now);
        }
    }

    /// When the first of the materials in use expires.
    pub(crate) fn imports_valid_to(&self) -> Option<UnixMillis> {
        in_use(self.imports())
            .filter_map(|import| import.valid_to)
            .min()
    }

    /// Lets materials, secret and state follow the imports.
    fn put_imports(&mut self, imports: Vec<Import>) {
        self.materials = materials_in_use(&imports);
        self.secret = secret_in_use(&imports);
        let is_complete = in_use(&imports).next().is_some()
            && in_use(&imports).all(|import| import.material.is_some());
        self.state = match (self.state, is_complete) {
            (KeyState::PendingImport, true) => KeyState::Enabled,
            (KeyState::Enabled | KeyState::Disabled | KeyState::Updating { .. }, false) => {
                KeyState::PendingImport
            }
            (state, _) => state,
        };
        self.imports = Some(imports.into());
    }
}
