//! Keys and what belongs to them as rows of the data directory, and back.
//!
//! Source of truth: `crate::journal` (how a domain keeps its rows). Names of specs,
//! states and operations are AWS's; times are milliseconds since 1970.
//!
//! Members that have their usual value are left out: a symmetric key under the
//! default policy takes about a hundred bytes beside its ARN.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use nsm_sim::clock::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::{
    alias::Alias,
    custom_store::{Backing, CONNECTION_ERRORS, Connection, CustomKeyStore, StoreKind},
    imported::{Import, Material, Standing, materials_in_use, secret_in_use},
    key::{Key, id_of},
    material::{Generation, SymmetricMaterial},
    multi_region::Family,
    record::{Automatic, KeyState, Record, Rotation, no_aliases, shared_tags, shared_text},
    secret::Secret,
    xks::Proxy,
};
use crate::{
    journal::{BadRow, Batch, Noted, Row, SecretBytes, Table, WORLD, encode, key_of},
    model::spec::{KeySpec, KeyUsage, Origin, RotationType},
    policy::{Constraint, GRANT_OPERATIONS, Grant, Policy},
};

/// All material of keys, by their ARN.
pub(crate) const KEYS: Table = Table("keys");
/// The present primary key of each multi-Region key, by the ARN of its first one.
pub(crate) const FAMILIES: Table = Table("families");
/// By key ARN and grant id.
pub(crate) const GRANTS: Table = Table("grants");
/// Last uses, by key ARN.
pub(crate) const USES: Table = Table("uses");
/// By alias ARN.
pub(crate) const ALIASES: Table = Table("aliases");
/// Custom key stores, by id.
pub(crate) const KEY_STORES: Table = Table("key_stores");

/// Every table of keys and of what belongs to them.
pub(crate) const TABLES: &[Table] = &[KEYS, FAMILIES, GRANTS, USES, ALIASES, KEY_STORES];

/// The name of the row with the secret that seals import tokens.
pub(crate) const IMPORT_TOKENS: &str = "import_tokens";

/// A key with all its material.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeyRow<'a> {
    /// `KeySpec`; absent for `SYMMETRIC_DEFAULT`.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    spec: Option<Cow<'a, str>>,
    /// `KeyUsage`; absent for `ENCRYPT_DECRYPT`.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    usage: Option<Cow<'a, str>>,
    /// `Origin`; absent for `AWS_KMS`.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    origin: Option<Cow<'a, str>>,
    /// The multi-Region key that it belongs to: the ARN of its first primary key.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) family: Option<Cow<'a, str>>,
    /// The custom key store, and the key behind its proxy.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    backing: Option<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    #[serde(rename = "c")]
    created: u64,
    #[serde(rename = "d", default, skip_serializing_if = "str::is_empty")]
    description: Cow<'a, str>,
    /// Absent while enabled.
    #[serde(rename = "st", default, skip_serializing_if = "Option::is_none")]
    state: Option<StateRow>,
    /// Absent for the default policy.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    policy: Option<Cow<'a, str>>,
    /// The unique ids behind the principals of the policy, by ARN.
    #[serde(rename = "pi", default, skip_serializing_if = "BTreeMap::is_empty")]
    principal_ids: BTreeMap<String, String>,
    #[serde(rename = "t", default, skip_serializing_if = "is_empty_map")]
    tags: Cow<'a, BTreeMap<String, String>>,
    /// Period in days and date of the next automatic rotation.
    #[serde(rename = "ra", default, skip_serializing_if = "Option::is_none")]
    automatic: Option<(u32, u64)>,
    #[serde(rename = "rd", default, skip_serializing_if = "is_zero")]
    on_demand_count: u32,
    /// Oldest first; empty for keys that are imported or not symmetric.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    generations: Vec<(SecretBytes, Option<RotatedRow>)>,
    /// PKCS #8, or the bytes of an HMAC key.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    private: Option<SecretBytes>,
    /// SubjectPublicKeyInfo.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    public: Option<ByteBuf>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    imports: Option<Vec<ImportRow>>,
}

/// When, and whether by the calendar.
type RotatedRow = (u64, bool);

#[derive(Serialize, Deserialize)]
enum StateRow {
    Disabled,
    PendingImport,
    Updating(u64),
    PendingReplicaDeletion(u32),
    PendingDeletion(u64, u32),
}

#[derive(Serialize, Deserialize)]
struct ImportRow {
    id: String,
    handle: ByteBuf,
    /// As in a key's row: 32 bytes of a symmetric key, PKCS #8, or an HMAC key.
    secret: Option<SecretBytes>,
    /// SubjectPublicKeyInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public: Option<ByteBuf>,
    valid_to: Option<u64>,
    description: Option<String>,
    standing: StandingRow,
    rotated: Option<RotatedRow>,
}

#[derive(Serialize, Deserialize)]
enum StandingRow {
    NonCurrent,
    Current,
    PendingRotation,
    PendingReplicas,
}

// serde asks with references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[allow(clippy::ptr_arg)]
fn is_empty_map(map: &Cow<'_, BTreeMap<String, String>>) -> bool {
    map.is_empty()
}

/// Puts a key's row, as `record` has it.
pub(crate) fn put_key(batch: &mut Batch, key: &Key, record: &Record) {
    if !batch.is_ignored() {
        batch.put(KEYS, key.arn.as_bytes(), &KeyRow::of(key, record));
    }
}

impl<'a> KeyRow<'a> {
    fn of(key: &'a Key, record: &'a Record) -> Self {
        let other_than =
            |usual: &str, name: &'static str| (name != usual).then_some(Cow::Borrowed(name));
        let is_default = record.policy.text() == Policy::default_text(key.account());
        // The material of imports stands with them.
        let own_secret = record
            .secret
            .as_deref()
            .filter(|_| record.imports.is_none());
        Self {
            spec: other_than(KeySpec::SymmetricDefault.name(), key.spec.name()),
            usage: other_than(KeyUsage::EncryptDecrypt.name(), key.usage.name()),
            origin: other_than(Origin::AwsKms.name(), key.origin.name()),
            family: key
                .family
                .as_ref()
                .map(|family| Cow::Borrowed(&*family.name)),
            backing: key.backing.as_ref().map(|backing| {
                let id = backing.xks_key_id.as_deref().map(Cow::Borrowed);
                (Cow::Borrowed(&*backing.store), id)
            }),
            created: key.created.0,
            description: Cow::Borrowed(&record.description),
            state: match record.state {
                KeyState::Enabled => None,
                KeyState::Disabled => Some(StateRow::Disabled),
                KeyState::PendingImport => Some(StateRow::PendingImport),
                KeyState::Updating { since } => Some(StateRow::Updating(since.0)),
                KeyState::PendingReplicaDeletion { window_days } => {
                    Some(StateRow::PendingReplicaDeletion(window_days))
                }
                KeyState::PendingDeletion { at, window_days } => {
                    Some(StateRow::PendingDeletion(at.0, window_days))
                }
            },
            policy: (!is_default).then_some(Cow::Borrowed(record.policy.text())),
            principal_ids: record.policy.unique_ids(),
            tags: Cow::Borrowed(&record.tags),
            automatic: record
                .rotation
                .automatic
                .map(|automatic| (automatic.period_days, automatic.next.0)),
            on_demand_count: record.rotation.on_demand_count,
            generations: if record.imports.is_some() {
                Vec::new()
            } else {
                let generations = record.materials.iter();
                generations
                    .map(|one| {
                        let secret = SecretBytes::of(one.material.secret());
                        (secret, one.rotated.map(rotated_row))
                    })
                    .collect()
            },
            private: own_secret.map(|secret| SecretBytes::of(&secret.private)),
            public: own_secret.and_then(public_of),
            imports: record
                .imports
                .as_ref()
                .map(|imports| imports.iter().map(ImportRow::of).collect()),
        }
    }

    /// The key again. `policy` reads a policy's text with the unique ids behind its
    /// principals, or gives the default one.
    pub(crate) fn restore(
        self,
        arn: &Arc<str>,
        family: Option<Arc<Family>>,
        policy: impl FnOnce(Option<&str>, BTreeMap<String, String>) -> Result<Arc<Policy>, BadRow>,
    ) -> Result<Key, BadRow> {
        let spec = match &self.spec {
            None => KeySpec::SymmetricDefault,
            Some(name) => KeySpec::parse(name).ok_or_else(|| unknown("key spec", name))?,
        };
        let usage = match &self.usage {
            None => KeyUsage::EncryptDecrypt,
            Some(name) => KeyUsage::parse(name).ok_or_else(|| unknown("key usage", name))?,
        };
        let origin = match &self.origin {
            None => Origin::AwsKms,
            Some(name) => Origin::parse(name).ok_or_else(|| unknown("origin", name))?,
        };
        let id = id_of(arn);
        let material = |secret: &SecretBytes| {
            let secret = <[u8; 32]>::try_from(secret.0.as_slice())
                .map(Zeroizing::new)
                .map_err(|_| BadRow::because("holds key material that is not 32 bytes long"))?;
            Ok(Arc::new(SymmetricMaterial::new(&secret, id)))
        };
        let secret = |private: &SecretBytes, public: Option<ByteBuf>| {
            let public = public.map(|public| public.into_vec().into());
            Secret::restore(spec, usage, &private.0, public)
                .map(Arc::new)
                .ok_or_else(|| {
                    let spec = spec.name();
                    BadRow::because(format!("holds no valid private key ({spec} expected)"))
                })
        };
        let read_import = |private: &SecretBytes, public| {
            Ok(if spec.is_symmetric_encryption() {
                Material::Symmetric(material(private)?)
            } else {
                Material::Secret(secret(private, public)?)
            })
        };
        let imports: Option<Arc<[Import]>> = self
            .imports
            .map(|imports| {
                imports
                    .into_iter()
                    .map(|one| one.restore(read_import))
                    .collect()
            })
            .transpose()?;
        let materials: Arc<[Generation]> = match &imports {
            Some(imports) => materials_in_use(imports),
            None => self
                .generations
                .iter()
                .map(|(secret, rotated)| {
                    Ok(Generation {
                        material: material(secret)?,
                        rotated: rotated.map(rotated_of),
                    })
                })
                .collect::<Result<_, BadRow>>()?,
        };
        let secret = match (&imports, self.private) {
            (Some(imports), _) => secret_in_use(imports),
            (None, None) => None,
            (None, Some(private)) => Some(secret(&private, self.public)?),
        };
        let record = Record {
            description: shared_text(&self.description),
            state: match self.state {
                None => KeyState::Enabled,
                Some(StateRow::Disabled) => KeyState::Disabled,
                Some(StateRow::PendingImport) => KeyState::PendingImport,
                Some(StateRow::Updating(since)) => KeyState::Updating {
                    since: UnixMillis(since),
                },
                Some(StateRow::PendingReplicaDeletion(window_days)) => {
                    KeyState::PendingReplicaDeletion { window_days }
                }
                Some(StateRow::PendingDeletion(at, window_days)) => KeyState::PendingDeletion {
                    at: UnixMillis(at),
                    window_days,
                },
            },
            policy: policy(self.policy.as_deref(), self.principal_ids)?,
            tags: shared_tags(self.tags.into_owned()),
            aliases: no_aliases(),
            materials,
            secret,
            rotation: Rotation {
                automatic: self.automatic.map(|(period_days, next)| Automatic {
                    period_days,
                    next: UnixMillis(next),
                }),
                on_demand_count: self.on_demand_count,
            },
            imports,
        };
        let backing = self.backing.map(|(store, xks_key_id)| Backing {
            store: store.into(),
            xks_key_id: xks_key_id.map(Cow::into_owned),
        });
        let created = UnixMillis(self.created);
        Ok(Key::restore(
            Arc::clone(arn),
            (spec, usage, origin),
            (family, backing, created),
            record,
        ))
    }
}

impl ImportRow {
    fn of(import: &Import) -> Self {
        Self {
            id: import.id.clone(),
            handle: ByteBuf::from(import.handle.to_vec()),
            secret: import.material.as_ref().map(|material| match material {
                Material::Symmetric(material) => SecretBytes::of(material.secret()),
                Material::Secret(secret) => SecretBytes::of(&secret.private),
            }),
            public: match &import.material {
                Some(Material::Secret(secret)) => public_of(secret),
                Some(Material::Symmetric(_)) | None => None,
            },
            valid_to: import.valid_to.map(|at| at.0),
            description: import.description.clone(),
            standing: match import.standing {
                Standing::NonCurrent => StandingRow::NonCurrent,
                Standing::Current => StandingRow::Current,
                Standing::PendingRotation => StandingRow::PendingRotation,
                Standing::PendingReplicas => StandingRow::PendingReplicas,
            },
            rotated: import.rotated.map(rotated_row),
        }
    }

    fn restore(
        self,
        material: impl Fn(&SecretBytes, Option<ByteBuf>) -> Result<Material, BadRow>,
    ) -> Result<Import, BadRow> {
        let public = self.public;
        Ok(Import {
            id: self.id,
            handle: self
                .handle
                .as_slice()
                .try_into()
                .map_err(|_| BadRow::because("holds a handle that is not 32 bytes long"))?,
            material: self
                .secret
                .as_ref()
                .map(|secret| material(secret, public))
                .transpose()?,
            valid_to: self.valid_to.map(UnixMillis),
            description: self.description,
            standing: match self.standing {
                StandingRow::NonCurrent => Standing::NonCurrent,
                StandingRow::Current => Standing::Current,
                StandingRow::PendingRotation => Standing::PendingRotation,
                StandingRow::PendingReplicas => Standing::PendingReplicas,
            },
            rotated: self.rotated.map(rotated_of),
        })
    }
}

fn public_of(secret: &Secret) -> Option<ByteBuf> {
    let public = secret.public.as_ref()?;
    Some(ByteBuf::from(public.to_vec()))
}

fn rotated_row((at, rotation_type): (UnixMillis, RotationType)) -> RotatedRow {
    (at.0, rotation_type == RotationType::Automatic)
}

fn rotated_of((at, is_automatic): RotatedRow) -> (UnixMillis, RotationType) {
    let rotation_type = if is_automatic {
        RotationType::Automatic
    } else {
        RotationType::OnDemand
    };
    (UnixMillis(at), rotation_type)
}

fn unknown(what: &str, name: &str) -> BadRow {
    BadRow::because(format!("names the {what} {name}, which does not exist"))
}

/// Writes which of the related keys is the primary one.
pub(crate) fn put_primary(batch: &mut Batch, family: &Family, primary: &str) {
    batch.put(FAMILIES, family.name.as_bytes(), &primary);
}

/// A grant; its key and id are the row's key.
#[derive(Serialize, Deserialize)]
pub(crate) struct GrantRow {
    name: Option<String>,
    grantee: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grantee_id: Option<String>,
    retiring: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retiring_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_arn: Option<String>,
    operations: Vec<String>,
    equals: Option<BTreeMap<String, String>>,
    subset: Option<BTreeMap<String, String>>,
    issuing_account: String,
    created: u64,
}

pub(crate) fn grant_key(key: &Key, id: &str) -> Vec<u8> {
    key_of(&[&key.arn, id])
}

pub(crate) fn put_grant(batch: &mut Batch, key: &Key, grant: &Grant) {
    if batch.is_ignored() {
        return;
    }
    let (equals, subset) = match &grant.constraint {
        None => (None, None),
        Some(Constraint::Equals(pairs)) => (Some(pairs.clone()), None),
        Some(Constraint::Subset(pairs)) => (None, Some(pairs.clone())),
    };
    let row = GrantRow {
        name: grant.name.clone(),
        grantee: grant.grantee.clone(),
        grantee_id: grant.grantee_id.clone(),
        retiring: grant.retiring.clone(),
        retiring_id: grant.retiring_id.clone(),
        source_arn: grant.source_arn.clone(),
        operations: grant.operations.iter().map(|it| (*it).to_owned()).collect(),
        equals,
        subset,
        issuing_account: grant.issuing_account.clone(),
        created: grant.created.0,
    };
    batch.put(GRANTS, grant_key(key, &grant.id), &row);
}

impl GrantRow {
    pub(crate) fn restore(self, id: &str) -> Result<Grant, BadRow> {
        let known = |name: &String| {
            let mut all = GRANT_OPERATIONS.iter();
            let found = all.find(|it| **it == name.as_str()).copied();
            found.ok_or_else(|| unknown("grant operation", name))
        };
        Ok(Grant {
            id: id.to_owned(),
            name: self.name,
            grantee: self.grantee,
            grantee_id: self.grantee_id,
            retiring: self.retiring,
            retiring_id: self.retiring_id,
            source_arn: self.source_arn,
            operations: self
                .operations
                .iter()
                .map(known)
                .collect::<Result<_, _>>()?,
            constraint: match (self.equals, self.subset) {
                (None, None) => None,
                (Some(pairs), None) => Some(Constraint::Equals(pairs)),
                (None, Some(pairs)) => Some(Constraint::Subset(pairs)),
                (Some(_), Some(_)) => {
                    return Err(BadRow::because(
                        "holds a grant with two constraints (at most one expected)",
                    ));
                }
            },
            issuing_account: self.issuing_account,
            created: UnixMillis(self.created),
        })
    }
}

/// A key's last use: operation, time, request id.
pub(crate) type UseRow = (String, u64, String);

impl Noted for Key {
    fn take_row(&self) -> Option<Row> {
        let last = self.take_use()?;
        let operation = last.operation.to_owned();
        let row: UseRow = (operation, last.at.0, last.request_id.to_string());
        let arn = self.arn.as_bytes().to_vec();
        // The key may have been deleted since it was used.
        Some(Row::PutBeside(USES, arn, encode(&row), KEYS))
    }
}

/// An alias: target, created, updated.
pub(crate) type AliasRow = (String, u64, u64);

pub(crate) fn put_alias(batch: &mut Batch, arn: &str, alias: &Alias) {
    let row: AliasRow = (alias.target.to_string(), alias.created.0, alias.updated.0);
    batch.put(ALIASES, arn.as_bytes(), &row);
}

pub(crate) fn alias_of((target, created, updated): AliasRow) -> Alias {
    Alias {
        target: target.into(),
        created: UnixMillis(created),
        updated: UnixMillis(updated),
    }
}

/// A custom key store.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeyStoreRow {
    name: String,
    account: String,
    region: String,
    created: u64,
    kind: KindRow,
    connection: ConnectionRow,
}

#[derive(Serialize, Deserialize)]
enum KindRow {
    CloudHsm {
        cluster_id: String,
        trust_anchor: String,
    },
    External {
        endpoint: String,
        path: String,
        access_key_id: String,
        secret_access_key: String,
        vpc_service: Option<(String, Option<String>)>,
    },
}

#[derive(Serialize, Deserialize)]
enum ConnectionRow {
    Disconnected,
    Connected,
    Failed(String),
}

pub(crate) fn put_key_store(batch: &mut Batch, store: &CustomKeyStore) {
    if batch.is_ignored() {
        return;
    }
    let row = KeyStoreRow {
        name: store.name.clone(),
        account: store.account.clone(),
        region: store.region.clone(),
        created: store.created.0,
        kind: match &store.kind {
            StoreKind::CloudHsm {
                cluster_id,
                trust_anchor,
            } => KindRow::CloudHsm {
                cluster_id: cluster_id.clone(),
                trust_anchor: trust_anchor.clone(),
            },
            StoreKind::External { proxy, vpc_service } => KindRow::External {
                endpoint: proxy.endpoint.clone(),
                path: proxy.path.clone(),
                access_key_id: proxy.access_key_id.clone(),
                secret_access_key: proxy.secret_access_key.to_string(),
                vpc_service: vpc_service.clone(),
            },
        },
        connection: match store.connection {
            Connection::Disconnected => ConnectionRow::Disconnected,
            Connection::Connected => ConnectionRow::Connected,
            Connection::Failed(code) => ConnectionRow::Failed(code.to_owned()),
        },
    };
    batch.put(KEY_STORES, store.id.as_bytes(), &row);
}

impl KeyStoreRow {
    pub(crate) fn restore(self, id: &str) -> Result<CustomKeyStore, BadRow> {
        Ok(CustomKeyStore {
            id: id.into(),
            name: self.name,
            account: self.account,
            region: self.region,
            created: UnixMillis(self.created),
            kind: match self.kind {
                KindRow::CloudHsm {
                    cluster_id,
                    trust_anchor,
                } => StoreKind::CloudHsm {
                    cluster_id,
                    trust_anchor,
                },
                KindRow::External {
                    endpoint,
                    path,
                    access_key_id,
                    secret_access_key,
                    vpc_service,
                } => StoreKind::External {
                    proxy: Proxy {
                        endpoint,
                        path,
                        access_key_id,
                        secret_access_key: Zeroizing::new(secret_access_key),
                    },
                    vpc_service,
                },
            },
            connection: match self.connection {
                ConnectionRow::Disconnected => Connection::Disconnected,
                ConnectionRow::Connected => Connection::Connected,
                ConnectionRow::Failed(code) => {
                    let mut known = CONNECTION_ERRORS.iter();
                    let known = known.find(|it| **it == code.as_str());
                    Connection::Failed(known.ok_or_else(|| unknown("connection error", &code))?)
                }
            },
        })
    }
}

/// The secret that seals import tokens.
pub(crate) fn put_token_secret(batch: &mut Batch, secret: &Zeroizing<[u8; 32]>) {
    let row = SecretBytes::of(secret.as_slice());
    batch.put(WORLD, IMPORT_TOKENS, &row);
}
