//! Identities as rows of the data directory, and back.
//!
//! Source of truth: `crate::journal` (how a domain keeps its rows). Policies are kept as their texts and
//! read again by the readers that accepted them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use nsm_sim::clock::UnixMillis;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    credentials::{AccessKey, Credentials, Holder, Status},
    document::{Document, DocumentError},
    entity::{Entity, EntityKind, Group, Role, User, Who},
    managed::{ManagedPolicy, PolicyVersion},
    names::Tags,
    service::Iam,
    state::{Change, Identities},
    terms::{SessionTags, Terms},
};
use crate::journal::{BadRow, Batch, ReadError, Snapshot, State, Table, key_of, two_parts};

/// By account and name.
const ROLES: Table = Table("roles");
/// By account and name.
const USERS: Table = Table("users");
/// By account and name.
const GROUPS: Table = Table("groups");
/// Managed policies, by account and ARN.
const POLICIES: Table = Table("policies");
/// By access key id.
const ACCESS_KEYS: Table = Table("access_keys");

/// Every table of identities.
pub(crate) const TABLES: &[Table] = &[ROLES, USERS, GROUPS, POLICIES, ACCESS_KEYS];

/// What roles and users have alike; account and name are the row's key.
#[derive(Serialize, Deserialize)]
struct EntityRow {
    path: String,
    id: String,
    created: u64,
    inline: BTreeMap<String, String>,
    attached: BTreeSet<String>,
    tags: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boundary: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct RoleRow {
    entity: EntityRow,
    trust: String,
    /// The unique ids behind the principals of the trust policy, by ARN.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    trust_ids: BTreeMap<String, String>,
    max_session_secs: u64,
    description: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct UserRow {
    entity: EntityRow,
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    groups: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct GroupRow {
    entity: EntityRow,
}

/// A managed policy of an account; account and ARN are the row's key.
#[derive(Serialize, Deserialize)]
struct ManagedPolicyRow {
    name: String,
    path: String,
    id: String,
    created: u64,
    updated: u64,
    description: Option<String>,
    tags: Vec<(String, String)>,
    /// Text and time of each version.
    versions: BTreeMap<u32, (String, u64)>,
    default: u32,
    next: u32,
}

/// An access key; its id is the row's key.
#[derive(Serialize, Deserialize)]
struct AccessKeyRow {
    holder: HolderRow,
    created: u64,
    status: StatusRow,
    secret: String,
    /// The unique id of the user or role whose key it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder_id: Option<String>,
    token: Option<String>,
    expiration: Option<u64>,
    session_policies: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    session_tags: Vec<(String, String)>,
    /// Keys of those tags that sessions of the session have too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    transitive: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_identity: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum HolderRow {
    Root(String),
    /// Account and name.
    User(String, String),
    /// Account, role and session.
    Session(String, String, String),
    /// Account, name, and the user who asked for it unless it was the root user.
    Federated(String, String, Option<String>),
}

#[derive(Serialize, Deserialize)]
enum StatusRow {
    Active,
    Inactive,
    Deleted,
}

impl State for Identities {
    type Change = Change;

    fn put_rows(&self, changes: &[Change], batch: &mut Batch) {
        for change in changes {
            put_row(change, batch);
        }
    }

    fn apply(&mut self, change: Change) {
        Self::apply(self, change);
    }
}

/// What a change writes.
fn put_row(change: &Change, batch: &mut Batch) {
    match change {
        Change::RolePut { account, role } => {
            let key = key_of(&[account, &role.entity.name]);
            batch.put(ROLES, key, &role_row(role));
        }
        Change::UserPut { account, user } => {
            let key = key_of(&[account, &user.entity.name]);
            batch.put(USERS, key, &user_row(user));
        }
        Change::GroupPut { account, group } => {
            let entity = entity_row(&group.entity);
            let key = key_of(&[account, &group.entity.name]);
            batch.put(GROUPS, key, &GroupRow { entity });
        }
        Change::EntityGone {
            account,
            kind,
            name,
        } => {
            let table = match kind {
                EntityKind::Role => ROLES,
                EntityKind::User => USERS,
                EntityKind::Group => GROUPS,
            };
            batch.delete(table, key_of(&[account, name]));
        }
        Change::PolicyPut { account, policy } => {
            let key = key_of(&[account, &policy.arn]);
            batch.put(POLICIES, key, &policy_row(policy));
        }
        Change::PolicyGone { account, arn } => {
            batch.delete(POLICIES, key_of(&[account, arn]));
        }
        Change::KeyPut { key } => {
            let id = key.credentials.access_key_id.as_bytes();
            batch.put(ACCESS_KEYS, id, &access_key_row(key));
        }
        Change::AllGone => TABLES.iter().for_each(|table| batch.empty(*table)),
    }
}

fn entity_row(entity: &Entity) -> EntityRow {
    let inline = entity.inline.iter();
    EntityRow {
        path: entity.path.clone(),
        id: entity.id.clone(),
        created: entity.created.0,
        inline: inline
            .map(|(name, document)| (name.clone(), document.text().to_owned()))
            .collect(),
        attached: entity.attached.clone(),
        tags: entity.tags.iter().cloned().collect(),
        boundary: entity.boundary.clone(),
    }
}

fn entity(who: Who<'_>, row: EntityRow) -> Result<Entity, BadRow> {
    let read = |(name, text): (String, String)| Ok((name, identity(&text)?));
    Ok(Entity {
        arn: who.arn(&row.path),
        name: who.name.to_owned(),
        path: row.path,
        id: row.id,
        created: UnixMillis(row.created),
        inline: row.inline.into_iter().map(read).collect::<Result<_, _>>()?,
        attached: row.attached,
        boundary: row.boundary,
        tags: Tags::restore(row.tags),
    })
}

fn role_row(role: &Role) -> RoleRow {
    RoleRow {
        entity: entity_row(&role.entity),
        trust: role.trust.text().to_owned(),
        trust_ids: role.trust.policy().unique_ids(),
        max_session_secs: role.max_session.as_secs(),
        description: role.description.clone(),
    }
}

fn user_row(user: &User) -> UserRow {
    UserRow {
        entity: entity_row(&user.entity),
        keys: user.keys.clone(),
        groups: user.groups.clone(),
    }
}

fn policy_row(policy: &ManagedPolicy) -> ManagedPolicyRow {
    let versions = policy.versions.iter();
    ManagedPolicyRow {
        name: policy.name.clone(),
        path: policy.path.clone(),
        id: policy.id.clone(),
        created: policy.created.0,
        updated: policy.updated.0,
        description: policy.description.clone(),
        tags: policy.tags.iter().cloned().collect(),
        versions: versions
            .map(|(number, it)| (*number, (it.document.text().to_owned(), it.created.0)))
            .collect(),
        default: policy.default,
        next: policy.next,
    }
}

fn access_key_row(key: &AccessKey) -> AccessKeyRow {
    let terms = &key.terms;
    let policies = terms.policies.iter();
    AccessKeyRow {
        holder: match key.holder.clone() {
            Holder::Root { account } => HolderRow::Root(account),
            Holder::User { account, name } => HolderRow::User(account, name),
            Holder::Session {
                account,
                role,
                session,
            } => HolderRow::Session(account, role, session),
            Holder::Federated { account, name, by } => HolderRow::Federated(account, name, by),
        },
        created: key.created.0,
        status: match key.status {
            Status::Active => StatusRow::Active,
            Status::Inactive => StatusRow::Inactive,
            Status::Deleted => StatusRow::Deleted,
        },
        holder_id: key.holder_id.clone(),
        secret: key.credentials.secret_access_key.to_string(),
        token: key.credentials.session_token.as_deref().cloned(),
        expiration: key.credentials.expiration.map(|at| at.0),
        session_policies: policies.map(|it| it.text().to_owned()).collect(),
        session_tags: terms.tags.all().iter().cloned().collect(),
        transitive: terms.tags.transitive().clone(),
        source_identity: terms.source_identity.clone(),
    }
}

fn identity(text: &str) -> Result<Document, BadRow> {
    Document::kept_identity(text).map_err(bad_policy)
}

fn bad_policy(error: DocumentError) -> BadRow {
    BadRow::because(format!("holds a policy that does not parse: {error}"))
}

impl Iam {
    /// Puts everything in place that the data directory has.
    pub(crate) fn load(&self, snapshot: &Snapshot) -> Result<(), ReadError> {
        self.load_members(snapshot, ROLES, role)?;
        self.load_members(snapshot, USERS, user)?;
        // A directory that was begun before there were groups has no table of them.
        if snapshot.has(GROUPS)? {
            self.load_members(snapshot, GROUPS, group)?;
        }
        self.load_members(snapshot, POLICIES, policy)?;
        snapshot.each(ACCESS_KEYS, |id, row| {
            let key = Arc::new(access_key(id, row)?);
            self.restore(Change::KeyPut { key });
            Ok(())
        })
    }

    /// Loads what belongs to accounts: `read` makes a change of an account, a name and
    /// a row.
    fn load_members<R: DeserializeOwned>(
        &self,
        snapshot: &Snapshot,
        table: Table,
        read: impl Fn(&str, &str, R) -> Result<Change, BadRow>,
    ) -> Result<(), ReadError> {
        snapshot.each(table, |key, row| {
            let (account, name) = two_parts(key)?;
            self.restore(read(account, name, row)?);
            Ok(())
        })
    }
}

fn role(account: &str, name: &str, row: RoleRow) -> Result<Change, BadRow> {
    let role = Role {
        entity: entity(Who::role(account, name), row.entity)?,
        trust: Document::kept_trust(&row.trust, &row.trust_ids).map_err(bad_policy)?,
        max_session: Duration::from_secs(row.max_session_secs),
        description: row.description,
    };
    let account = account.to_owned();
    Ok(Change::RolePut { account, role })
}

fn user(account: &str, name: &str, row: UserRow) -> Result<Change, BadRow> {
    let user = User {
        entity: entity(Who::user(account, name), row.entity)?,
        keys: row.keys,
        groups: row.groups,
    };
    let account = account.to_owned();
    Ok(Change::UserPut { account, user })
}

fn group(account: &str, name: &str, row: GroupRow) -> Result<Change, BadRow> {
    let group = Group {
        entity: entity(Who::group(account, name), row.entity)?,
    };
    let account = account.to_owned();
    Ok(Change::GroupPut { account, group })
}

fn policy(account: &str, arn: &str, row: ManagedPolicyRow) -> Result<Change, BadRow> {
    let mut versions = BTreeMap::new();
    for (number, (text, created)) in row.versions {
        let (document, created) = (identity(&text)?, UnixMillis(created));
        versions.insert(number, PolicyVersion { document, created });
    }
    let policy = ManagedPolicy {
        arn: arn.to_owned(),
        name: row.name,
        path: row.path,
        id: row.id,
        created: UnixMillis(row.created),
        updated: UnixMillis(row.updated),
        description: row.description,
        tags: Tags::restore(row.tags),
        versions,
        default: row.default,
        next: row.next,
    };
    let account = account.to_owned();
    Ok(Change::PolicyPut { account, policy })
}

fn access_key(id: &str, row: AccessKeyRow) -> Result<AccessKey, BadRow> {
    let credentials = Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: Zeroizing::new(row.secret),
        session_token: row.token.map(Zeroizing::new),
        expiration: row.expiration.map(UnixMillis),
    };
    let holder = match row.holder {
        HolderRow::Root(account) => Holder::Root { account },
        HolderRow::User(account, name) => Holder::User { account, name },
        HolderRow::Session(account, role, session) => Holder::Session {
            account,
            role,
            session,
        },
        HolderRow::Federated(account, name, by) => Holder::Federated { account, name, by },
    };
    let policies = row.session_policies.iter().map(|text| identity(text));
    let terms = Terms {
        policies: policies.collect::<Result<_, _>>()?,
        tags: SessionTags::restore(row.session_tags, row.transitive),
        source_identity: row.source_identity,
    };
    let created = UnixMillis(row.created);
    let key = AccessKey::new(credentials, (holder, row.holder_id), terms, created);
    Ok(match row.status {
        StatusRow::Active => key,
        StatusRow::Inactive => key.with_status(Status::Inactive),
        StatusRow::Deleted => key.with_status(Status::Deleted),
    })
}
