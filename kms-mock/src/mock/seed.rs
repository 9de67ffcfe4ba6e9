//! A seed file: keys with fixed ids and known material, aliases, policies, tags,
//! managed policies, groups, roles, users with their access keys, and buckets, in
//! TOML.
//!
//! ```toml
//! [[key]]
//! id = "1234abcd-12ab-34cd-56ef-1234567890ab"
//! description = "images on their way in"
//! material = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
//! aliases = ["alias/imaging-input"]
//! tags = { team = "imaging" }
//! policy = '''{"Version": "2012-10-17", "Statement": [ … ]}'''
//!
//! [[policy]]
//! name = "developers"
//! document = '''{ … }'''
//!
//! [[group]]
//! name = "operators"
//! policies = { list-keys = '''{ … }''' }
//!
//! [[role]]
//! name = "imaging-parent"
//! tags = { team = "imaging" }
//! policies = { use-keys = '''{ … }''' }
//! attached = ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]
//! permissions_boundary = "arn:aws:iam::123456789012:policy/developers"
//!
//! [[user]]
//! name = "alice"
//! groups = ["operators"]
//! access_key_id = "AKIAIOSFODNN7EXAMPLE"
//! secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
//!
//! [[bucket]]
//! name = "imaging"
//! policy = '''{"Version": "2012-10-17", "Statement": [ … ]}'''
//! ```
//!
//! Models nothing of AWS: there, nobody chooses a key's id. Only symmetric keys
//! can be planted. Mistakes are reported with their line.

use std::{collections::BTreeMap, ops::Range};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use toml::Spanned;
use zeroize::Zeroizing;

use crate::{
    edge::Edge,
    iam::{IamError, NewPolicy, NewRole, NewUser, Who},
    kms::{Kms, PlantError, PlantedKey},
    policy::{Policy, PolicyKind},
    world::principal::is_account_id,
};

/// A seed file that was read.
#[allow(missing_debug_implementations)] // holds key material and secrets
pub struct SeedFile {
    text: String,
    raw: Raw,
}

/// What is wrong with a seed file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// Not TOML, or an unknown entry.
    #[error("{0}")]
    Form(String),
    /// A value that cannot be used.
    #[error("line {line}: {what}")]
    Value {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// What becomes of an entry that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    IsAMistake,
    IsLeft,
}

impl Present {
    fn pass(self, made: Result<(), IamError>) -> Result<(), IamError> {
        match (self, made) {
            (
                Self::IsLeft,
                Err(IamError::EntityAlreadyExists { .. } | IamError::PolicyAlreadyExists { .. }),
            ) => Ok(()),
            (_, made) => made,
        }
    }
}

/// What was planted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planted {
    /// ARNs of the keys, in the file's order.
    pub(crate) keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    key: Vec<RawKey>,
    #[serde(default)]
    policy: Vec<RawPolicy>,
    #[serde(default)]
    group: Vec<RawGroup>,
    #[serde(default)]
    role: Vec<RawRole>,
    #[serde(default)]
    user: Vec<RawUser>,
    #[serde(default)]
    bucket: Vec<RawBucket>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: Spanned<String>,
    account: Option<Spanned<String>>,
    #[serde(default)]
    description: String,
    material: Option<Spanned<String>>,
    #[serde(default)]
    aliases: Vec<Spanned<String>>,
    policy: Option<Spanned<String>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "yes")]
    enabled: bool,
    rotation_days: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: Spanned<String>,
    account: Option<Spanned<String>>,
    #[serde(default = "slash")]
    path: String,
    description: Option<String>,
    document: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Spanned<String>,
    account: Option<Spanned<String>>,
    #[serde(default = "slash")]
    path: String,
    #[serde(default)]
    policies: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    attached: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRole {
    name: Spanned<String>,
    account: Option<Spanned<String>>,
    #[serde(default = "slash")]
    path: String,
    trust: Option<Spanned<String>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    permissions_boundary: Option<Spanned<String>>,
    #[serde(default)]
    policies: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    attached: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    name: Spanned<String>,
    account: Option<Spanned<String>>,
    #[serde(default = "slash")]
    path: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    permissions_boundary: Option<Spanned<String>>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    #[serde(default)]
    policies: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    attached: Vec<Spanned<String>>,
    access_key_id: Option<Spanned<String>>,
    secret_access_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBucket {
    name: Spanned<String>,
    account: Option<Spanned<String>>,
    policy: Option<Spanned<String>>,
}

fn yes() -> bool {
    true
}

fn slash() -> String {
    "/".to_owned()
}

impl SeedFile {
    /// Reads TOML.
    ///
    /// # Errors
    /// [`SeedError::Form`], which names line and column.
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        let raw = toml::from_str(text).map_err(|error| SeedError::Form(error.to_string()))?;
        let text = text.to_owned();
        Ok(Self { text, raw })
    }

    /// Names the text among all others: 64 hex digits.
    pub(crate) fn digest(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.text.as_bytes());
        hex::encode(digest)
    }

    /// Makes everything in the file. Stops at the first mistake. What is there
    /// already is one, or is left as it is; policies and groups of an identity are
    /// looked at one by one.
    pub(crate) fn plant(
        &self,
        kms: &Kms,
        edge: &Edge,
        present: Present,
    ) -> Result<Planted, SeedError> {
        let mut keys = Vec::new();
        // All keys are read before anything is planted.
        let read: Result<Vec<_>, _> = self.raw.key.iter().map(|raw| self.key(raw, edge)).collect();
        let read = read?;
        for policy in &self.raw.policy {
            self.policy(policy, edge, present)?;
        }
        for group in &self.raw.group {
            self.group(group, edge, present)?;
        }
        let mut new_roles = Vec::new();
        for role in &self.raw.role {
            if self.role(role, edge, present)? {
                new_roles.push(role);
            }
        }
        for user in &self.raw.user {
            self.user(user, edge, present)?;
        }
        // Policies may name roles and users that stand anywhere in the file.
        for role in new_roles {
            let account = self.account(role.account.as_ref(), edge)?;
            let bound = edge.iam.bind_trust(account, role.name.get_ref());
            let place = role.trust.as_ref().unwrap_or(&role.name);
            bound.map_err(|error| self.wrong(place.span(), error))?;
        }
        for (raw, mut key) in self.raw.key.iter().zip(read) {
            if let (Some(policy), Some(text)) = (key.policy.take(), &raw.policy) {
                let bound = policy.bound_to(&*edge.iam);
                key.policy = Some(bound.map_err(|error| self.wrong(text.span(), error))?);
            }
            match (kms.plant(key), present) {
                (Ok(arn) | Err(PlantError::KeyExists(arn)), Present::IsLeft) => keys.push(arn),
                (Ok(arn), Present::IsAMistake) => keys.push(arn),
                (Err(error), _) => return Err(self.wrong(raw.id.span(), error)),
            }
        }
        for bucket in &self.raw.bucket {
            let account = self.account(bucket.account.as_ref(), edge)?;
            let name = bucket.name.get_ref();
            if !is_bucket_name(name) {
                return Err(self.wrong(
                    bucket.name.span(),
                    "a bucket's name has 3 to 63 lower-case letters, digits, dots and dashes",
                ));
            }
            let planted = edge.s3.plant_bucket(name, account);
            planted.map_err(|error| self.wrong(bucket.name.span(), error))?;
            if let Some(policy) = &bucket.policy {
                let planted = edge.s3.plant_policy(name, policy.get_ref());
                planted.map_err(|error| self.wrong(policy.span(), error))?;
            }
        }
        Ok(Planted { keys })
    }

    fn key(&self, raw: &RawKey, edge: &Edge) -> Result<PlantedKey, SeedError> {
        let id = raw.id.get_ref();
        let canonical = uuid::Uuid::try_parse(id).map(|uuid| uuid.hyphenated().to_string());
        if canonical.as_ref() != Ok(id) {
            return Err(self.wrong(
                raw.id.span(),
                "a key's id looks like 1234abcd-12ab-34cd-56ef-1234567890ab",
            ));
        }
        let material = raw.material.as_ref().map(|text| {
            secret(text.get_ref()).ok_or_else(|| {
                self.wrong(
                    text.span(),
                    "material must be 32 bytes: 64 hex digits, or base64",
                )
            })
        });
        let policy = raw.policy.as_ref().map(|text| {
            Policy::parse(text.get_ref(), PolicyKind::Key)
                .map_err(|error| self.wrong(text.span(), error))
        });
        for alias in &raw.aliases {
            let name = alias.get_ref();
            if !name.starts_with("alias/") || name.starts_with("alias/aws/") || name.len() < 7 {
                return Err(self.wrong(
                    alias.span(),
                    "an alias starts with alias/ and not with alias/aws/",
                ));
            }
        }
        if let Some(days) = &raw.rotation_days
            && !(90..=2560).contains(days.get_ref())
        {
            return Err(self.wrong(days.span(), "a rotation period has 90 to 2560 days"));
        }
        Ok(PlantedKey {
            id: id.clone(),
            account: self.account(raw.account.as_ref(), edge)?.to_owned(),
            description: raw.description.clone(),
            material: material.transpose()?,
            aliases: raw.aliases.iter().map(|a| a.get_ref().clone()).collect(),
            policy: policy.transpose()?,
            tags: raw.tags.clone(),
            enabled: raw.enabled,
            rotation_days: raw.rotation_days.as_ref().map(|days| *days.get_ref()),
        })
    }

    /// Whether the role is new.
    fn role(&self, raw: &RawRole, edge: &Edge, present: Present) -> Result<bool, SeedError> {
        let account = self.account(raw.account.as_ref(), edge)?;
        let name = raw.name.get_ref();
        let anybody_here = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{account}:root"}},"Action":"sts:AssumeRole"}}]}}"#
        );
        let trust = raw.trust.as_ref();
        let boundary = raw.permissions_boundary.as_ref();
        let new = NewRole {
            path: &raw.path,
            tags: tags(&raw.tags),
            boundary: boundary.map(|arn| arn.get_ref().as_str()),
            ..NewRole::named(
                name,
                trust.map_or(anybody_here.as_str(), |text| text.get_ref().as_str()),
            )
        };
        let made = edge.iam.plant_role(account, &new).map(drop);
        let is_new = made.is_ok();
        present.pass(made).map_err(|error| {
            let place = match &error {
                IamError::NoSuchBoundary { .. } | IamError::InvalidBoundaryArn(_) => boundary,
                _ => trust,
            };
            self.wrong(place.map_or_else(|| raw.name.span(), Spanned::span), error)
        })?;
        self.policies(edge, Who::role(account, name), &raw.policies, &raw.attached)?;
        Ok(is_new)
    }

    fn policy(&self, raw: &RawPolicy, edge: &Edge, present: Present) -> Result<(), SeedError> {
        let account = self.account(raw.account.as_ref(), edge)?;
        let new = NewPolicy {
            name: raw.name.get_ref(),
            path: &raw.path,
            document: raw.document.get_ref(),
            description: raw.description.as_deref(),
            tags: Vec::new(),
        };
        let made = edge.iam.create_policy(account, &new).map(drop);
        present.pass(made).map_err(|error| {
            let place = match &error {
                IamError::MalformedPolicyDocument(_) => &raw.document,
                _ => &raw.name,
            };
            self.wrong(place.span(), error)
        })
    }

    fn group(&self, raw: &RawGroup, edge: &Edge, present: Present) -> Result<(), SeedError> {
        let account = self.account(raw.account.as_ref(), edge)?;
        let name = raw.name.get_ref();
        let made = edge.iam.create_group(account, &raw.path, name).map(drop);
        present
            .pass(made)
            .map_err(|error| self.wrong(raw.name.span(), error))?;
        self.policies(
            edge,
            Who::group(account, name),
            &raw.policies,
            &raw.attached,
        )
    }

    /// Inline policies that are not there yet, and attached ones.
    fn policies(
        &self,
        edge: &Edge,
        who: Who<'_>,
        inline: &BTreeMap<String, Spanned<String>>,
        attached: &[Spanned<String>],
    ) -> Result<(), SeedError> {
        for (policy, text) in inline {
            if edge.iam.has_policy(who, policy) {
                continue;
            }
            edge.iam
                .put_policy(who, policy, text.get_ref())
                .map_err(|error| self.wrong(text.span(), error))?;
        }
        for arn in attached {
            edge.iam
                .attach_policy(who, arn.get_ref())
                .map_err(|error| self.wrong(arn.span(), error))?;
        }
        Ok(())
    }

    fn user(&self, raw: &RawUser, edge: &Edge, present: Present) -> Result<(), SeedError> {
        let account = self.account(raw.account.as_ref(), edge)?;
        let name = raw.name.get_ref();
        let boundary = raw.permissions_boundary.as_ref();
        let new = NewUser {
            name,
            path: &raw.path,
            tags: tags(&raw.tags),
            boundary: boundary.map(|arn| arn.get_ref().as_str()),
        };
        let made = edge.iam.create_user_with(account, &new).map(drop);
        present.pass(made).map_err(|error| {
            let place = match &error {
                IamError::NoSuchBoundary { .. } | IamError::InvalidBoundaryArn(_) => boundary,
                _ => None,
            };
            self.wrong(place.unwrap_or(&raw.name).span(), error)
        })?;
        for group in &raw.groups {
            edge.iam
                .add_to_group(account, group.get_ref(), name)
                .map_err(|error| self.wrong(group.span(), error))?;
        }
        self.policies(edge, Who::user(account, name), &raw.policies, &raw.attached)?;
        match (&raw.access_key_id, &raw.secret_access_key) {
            (None, None) => Ok(()),
            (Some(id), Some(secret)) => {
                let iam = &edge.iam;
                let planted = iam.plant_access_key(account, name, id.get_ref(), secret);
                present
                    .pass(planted)
                    .map_err(|error| self.wrong(id.span(), error))
            }
            _ => Err(self.wrong(
                raw.name.span(),
                "access_key_id and secret_access_key must be given together",
            )),
        }
    }

    fn account<'a>(
        &self,
        account: Option<&'a Spanned<String>>,
        edge: &'a Edge,
    ) -> Result<&'a str, SeedError> {
        match account {
            None => Ok(&edge.account),
            Some(account) if is_account_id(account.get_ref()) => Ok(account.get_ref()),
            Some(account) => Err(self.wrong(account.span(), "an account has twelve digits")),
        }
    }

    fn wrong(&self, span: Range<usize>, what: impl std::fmt::Display) -> SeedError {
        let before = self.text.get(..span.start).unwrap_or_default();
        SeedError::Value {
            line: before.matches('\n').count() + 1,
            what: what.to_string(),
        }
    }
}

fn tags(raw: &BTreeMap<String, String>) -> Vec<(String, String)> {
    raw.clone().into_iter().collect()
}

fn secret(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    if hex::decode_to_slice(text, secret.as_mut_slice()).is_ok() {
        return Some(secret);
    }
    let bytes = Zeroizing::new(BASE64.decode(text).ok()?);
    if bytes.len() != secret.len() {
        return None;
    }
    secret.copy_from_slice(&bytes);
    Some(secret)
}

fn is_bucket_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
}
