//! Imported key material: the wrapping key and its token, and what a key knows
//! about the material that was imported into it.
//!
//! Source of truth: AWS KMS developer guide, "Importing key material for AWS KMS
//! keys" and "Perform on-demand key rotation" (several materials in one key,
//! since 2025); the KMS service model; recorded answers. RFC 5649 for the key
//! wrap behind `RSA_AES_KEY_WRAP_…`.
//!
//! Only symmetric encryption keys take several materials. Any other key has the
//! one it got first for its life; that is kept as an import too, which is current
//! and never rotates.
//!
//! A token holds the private wrapping key, sealed under a key that never leaves
//! the process: nothing has to be remembered between the two calls, and a token
//! of another process is invalid.
//!
//! Unknown and chosen: deleting material that waits for its rotation removes it
//! altogether, so that other material can be imported instead.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
        PrivateDecryptingKey,
    },
};
use nsm_sim::clock::UnixMillis;
use zeroize::Zeroizing;

use super::{
    key::{Generation, KeyState, Record},
    material::{Handle, SymmetricMaterial, identify},
    secret::Secret,
};
use crate::{
    model::spec::{KeySpec, KeyUsage, RotationType},
    world::entropy::Entropy,
};

/// The longest token and the longest wrapped material of the service model.
pub(crate) const IMPORT_BYTES_MAX: usize = 6144;

const TOKEN_MARK: &[u8; 16] = b"drydock import 1";
const NONCE_BYTES: usize = 12;

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

    fn is_pending(self) -> bool {
        matches!(self, Self::PendingRotation | Self::PendingReplicas)
    }
}

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

fn in_use(imports: &[Import]) -> impl Iterator<Item = &Import> {
    imports
        .iter()
        .filter(|import| !import.standing.is_pending())
}

impl Import {
    fn is_expired(&self, now: UnixMillis) -> bool {
        self.material.is_some() && self.valid_to.is_some_and(|valid_to| now >= valid_to)
    }
}

/// `WrappingKeySpec`, as far as there are such keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrappingSpec {
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// `WrappingAlgorithm`, as far as they are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrapping {
    hash: OaepHash,
    /// Material is under an AES key of the caller's, and that under the RSA key.
    with_aes_key_wrap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OaepHash {
    Sha1,
    Sha256,
}

impl Wrapping {
    /// `None` for algorithms that KMS no longer or nowhere else offers.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (hash, with_aes_key_wrap) = match name {
            "RSAES_OAEP_SHA_1" => (OaepHash::Sha1, false),
            "RSAES_OAEP_SHA_256" => (OaepHash::Sha256, false),
            "RSA_AES_KEY_WRAP_SHA_1" => (OaepHash::Sha1, true),
            "RSA_AES_KEY_WRAP_SHA_256" => (OaepHash::Sha256, true),
            _ => return None,
        };
        Some(Self {
            hash,
            with_aes_key_wrap,
        })
    }

    /// Whether a key of `key` fits: an RSA key needs the AES key between, and so
    /// does one of P-521 under the smallest RSA key.
    pub(crate) fn is_for(self, wrapping: WrappingSpec, key: KeySpec) -> bool {
        self.with_aes_key_wrap
            || match key {
                KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => false,
                KeySpec::EccNistP521 => wrapping != WrappingSpec::Rsa2048,
                _ => true,
            }
    }

    fn code(self) -> u8 {
        let hash = match self.hash {
            OaepHash::Sha1 => 0,
            OaepHash::Sha256 => 1,
        };
        hash | u8::from(self.with_aes_key_wrap) << 1
    }

    fn from_code(code: u8) -> Option<Self> {
        let hash = if code & 1 == 0 {
            OaepHash::Sha1
        } else {
            OaepHash::Sha256
        };
        (code < 4).then_some(Self {
            hash,
            with_aes_key_wrap: code & 2 != 0,
        })
    }
}

impl WrappingSpec {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RSA_2048" => Self::Rsa2048,
            "RSA_3072" => Self::Rsa3072,
            "RSA_4096" => Self::Rsa4096,
            _ => return None,
        })
    }
}

/// What `GetParametersForImport` gives.
#[derive(Debug)]
pub(crate) struct Parameters {
    /// DER SubjectPublicKeyInfo.
    pub(crate) public_key: Vec<u8>,
    pub(crate) token: Vec<u8>,
}

/// A token does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Not one of ours, changed, or another key's.
    Invalid,
    Expired,
}

/// Seals and opens import tokens.
pub(crate) struct TokenKey(LessSafeKey);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    /// `None` when the cryptographic library fails.
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, secret.as_slice()).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// Makes a wrapping key for `key_arn`; `None` when the cryptographic library
    /// fails.
    pub(crate) fn issue(
        &self,
        key_arn: &str,
        wrapping: Wrapping,
        spec: WrappingSpec,
        valid_to: UnixMillis,
        entropy: &Entropy,
    ) -> Option<Parameters> {
        let private = PrivateDecryptingKey::generate(match spec {
            WrappingSpec::Rsa2048 => KeySize::Rsa2048,
            WrappingSpec::Rsa3072 => KeySize::Rsa3072,
            WrappingSpec::Rsa4096 => KeySize::Rsa4096,
        })
        .ok()?;
        let public_key = AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).ok()?;
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&private).ok()?;
        Some(Parameters {
            public_key: public_key.as_ref().to_vec(),
            token: self.seal(key_arn, wrapping, valid_to, pkcs8.as_ref(), entropy)?,
        })
    }

    fn seal(
        &self,
        key_arn: &str,
        wrapping: Wrapping,
        valid_to: UnixMillis,
        pkcs8: &[u8],
        entropy: &Entropy,
    ) -> Option<Vec<u8>> {
        let mut inner = Zeroizing::new(Vec::with_capacity(9 + pkcs8.len() + 16));
        inner.push(wrapping.code());
        inner.extend_from_slice(&valid_to.0.to_be_bytes());
        inner.extend_from_slice(pkcs8);
        let nonce: [u8; NONCE_BYTES] = entropy.array();
        // The key's name is associated data: a token opens for its key alone.
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key_arn.as_bytes()),
                &mut inner,
            )
            .ok()?;
        Some([TOKEN_MARK.as_slice(), &nonce, &inner, tag.as_ref()].concat())
    }

    pub(crate) fn open(
        &self,
        token: &[u8],
        key_arn: &str,
        now: UnixMillis,
    ) -> Result<WrappingKey, TokenError> {
        let (valid_to, key) = self.read(token, key_arn).ok_or(TokenError::Invalid)?;
        if now >= valid_to {
            return Err(TokenError::Expired);
        }
        Ok(key)
    }

    fn read(&self, token: &[u8], key_arn: &str) -> Option<(UnixMillis, WrappingKey)> {
        let rest = token.strip_prefix(TOKEN_MARK)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let mut inner = Zeroizing::new(sealed.to_vec());
        let opened = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(key_arn.as_bytes()),
                &mut inner,
            )
            .ok()?;
        let (code, rest) = opened.split_first()?;
        let (valid_to, pkcs8) = rest.split_first_chunk::<8>()?;
        let private = PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?;
        let key = WrappingKey {
            wrapping: Wrapping::from_code(*code)?,
            private: OaepPrivateDecryptingKey::new(private).ok()?,
        };
        Some((UnixMillis(u64::from_be_bytes(*valid_to)), key))
    }
}

/// The private half of what material is wrapped under.
pub(crate) struct WrappingKey {
    wrapping: Wrapping,
    private: OaepPrivateDecryptingKey,
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappingKey")
            .field("wrapping", &self.wrapping)
            .finish_non_exhaustive()
    }
}

impl WrappingKey {
    /// The material; `None` when it was not wrapped under this key so.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if !self.wrapping.with_aes_key_wrap {
            return self.decrypt(wrapped);
        }
        let (wrapped_aes_key, wrapped) = wrapped.split_at_checked(self.private.key_size_bytes())?;
        let aes_key = self.decrypt(wrapped_aes_key)?;
        // RFC 5649: at least one block behind the integrity check.
        if wrapped.len() < 16 || wrapped.len() % 8 != 0 {
            return None;
        }
        let kek = AesKek::new(&AES_256, &aes_key).ok()?;
        let mut out = Zeroizing::new(vec![0; wrapped.len()]);
        let material = kek.unwrap_with_padding(wrapped, &mut out).ok()?;
        Some(Zeroizing::new(material.to_vec()))
    }

    fn decrypt(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if ciphertext.len() != self.private.key_size_bytes() {
            return None;
        }
        let algorithm = match self.wrapping.hash {
            OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
            OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        };
        let mut out = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let plaintext = self
            .private
            .decrypt(algorithm, ciphertext, &mut out, None)
            .ok()?;
        Some(Zeroizing::new(plaintext.to_vec()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};
    use proptest::prelude::*;

    use super::*;

    const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/1";
    const VALID_TO: UnixMillis = UnixMillis(86_400_000);
    const ALGORITHMS: [&str; 4] = [
        "RSAES_OAEP_SHA_1",
        "RSAES_OAEP_SHA_256",
        "RSA_AES_KEY_WRAP_SHA_1",
        "RSA_AES_KEY_WRAP_SHA_256",
    ];

    static TOKEN_KEY: LazyLock<TokenKey> =
        LazyLock::new(|| TokenKey::new(&Zeroizing::new([7; 32])).unwrap());
    /// One for each algorithm: RSA keys take their time.
    static ISSUED: LazyLock<Vec<Parameters>> = LazyLock::new(|| {
        ALGORITHMS
            .iter()
            .map(|name| issue(name, WrappingSpec::Rsa2048))
            .collect()
    });

    fn issue(algorithm: &str, spec: WrappingSpec) -> Parameters {
        let wrapping = Wrapping::parse(algorithm).unwrap();
        TOKEN_KEY
            .issue(ARN, wrapping, spec, VALID_TO, &Entropy::system())
            .unwrap()
    }

    /// What a customer does with `GetParametersForImport`'s answer.
    pub(crate) fn wrap(algorithm: &str, public_key: &[u8], material: &[u8]) -> Vec<u8> {
        let hash = if algorithm.ends_with("SHA_1") {
            &OAEP_SHA1_MGF1SHA1
        } else {
            &OAEP_SHA256_MGF1SHA256
        };
        let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).unwrap())
            .unwrap();
        let rsa = |plaintext: &[u8]| {
            let mut out = vec![0; key.ciphertext_size()];
            key.encrypt(hash, plaintext, &mut out, None)
                .unwrap()
                .to_vec()
        };
        if !algorithm.starts_with("RSA_AES") {
            return rsa(material);
        }
        let mut out = vec![0; material.len() + 15];
        let kek = AesKek::new(&AES_256, &[9; 32]).unwrap();
        let wrapped = kek.wrap_with_padding(material, &mut out).unwrap();
        [rsa(&[9; 32]).as_slice(), wrapped].concat()
    }

    #[test]
    fn every_algorithm_unwraps_what_was_wrapped() {
        let now = UnixMillis(0);
        for (algorithm, parameters) in ALGORITHMS.iter().zip(ISSUED.iter()) {
            assert!(parameters.token.len() <= IMPORT_BYTES_MAX);
            let wrapped = wrap(algorithm, &parameters.public_key, &[5; 32]);
            let key = TOKEN_KEY.open(&parameters.token, ARN, now).unwrap();
            assert_eq!(key.unwrap(&wrapped).unwrap().as_slice(), [5; 32]);
            for other in ALGORITHMS.iter().filter(|other| *other != algorithm) {
                let wrong = wrap(other, &parameters.public_key, &[5; 32]);
                assert!(key.unwrap(&wrong).is_none(), "{algorithm} took {other}");
            }
        }
    }

    #[test]
    fn larger_wrapping_keys_fit_into_a_token() {
        for (spec, modulus_bytes) in [(WrappingSpec::Rsa3072, 384), (WrappingSpec::Rsa4096, 512)] {
            let parameters = issue("RSAES_OAEP_SHA_256", spec);
            assert!(parameters.token.len() <= IMPORT_BYTES_MAX);
            let key = TOKEN_KEY.open(&parameters.token, ARN, UnixMillis(0));
            assert_eq!(key.unwrap().private.key_size_bytes(), modulus_bytes);
        }
    }

    #[test]
    fn a_token_is_good_for_its_key_and_its_day_only() {
        let token = &ISSUED[0].token;
        let open = |token: &[u8], arn: &str, at: u64| {
            let opened = TOKEN_KEY.open(token, arn, UnixMillis(at));
            opened.map(|_| ())
        };
        assert_eq!(open(token, ARN, VALID_TO.0 - 1), Ok(()));
        assert_eq!(open(token, ARN, VALID_TO.0), Err(TokenError::Expired));
        assert_eq!(open(token, "other", 0), Err(TokenError::Invalid));
        assert_eq!(open(b"", ARN, 0), Err(TokenError::Invalid));
        for at in [0, 20, 40, token.len() - 1] {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert_eq!(open(&changed, ARN, 0), Err(TokenError::Invalid), "{at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_token_makes_the_parser_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), marked in any::<bool>(),
        ) {
            let mark: &[u8] = if marked { TOKEN_MARK } else { b"" };
            let token = [mark, bytes.as_slice()].concat();
            prop_assert!(TOKEN_KEY.open(&token, ARN, UnixMillis(0)).is_err());
        }

        #[test]
        fn no_sealed_rubbish_makes_the_parser_panic(
            pkcs8 in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let wrapping = Wrapping::parse("RSAES_OAEP_SHA_1").unwrap();
            let token = TOKEN_KEY.seal(ARN, wrapping, VALID_TO, &pkcs8, &Entropy::system()).unwrap();
            prop_assert!(TOKEN_KEY.open(&token, ARN, UnixMillis(0)).is_err());
        }

        #[test]
        fn no_wrapped_material_makes_the_unwrapping_panic(
            which in 0..ALGORITHMS.len(),
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let key = TOKEN_KEY.open(&ISSUED[which].token, ARN, UnixMillis(0)).unwrap();
            prop_assert!(key.unwrap(&bytes).is_none());
        }

        #[test]
        fn whatever_is_wrapped_behind_an_aes_key_unwraps(
            material in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let wrapped = wrap(ALGORITHMS[3], &ISSUED[3].public_key, &material);
            let key = TOKEN_KEY.open(&ISSUED[3].token, ARN, UnixMillis(0)).unwrap();
            let unwrapped = key.unwrap(&wrapped).unwrap();
            prop_assert_eq!(unwrapped.as_slice(), material.as_slice());
        }
    }
}
