//! Who holds an access key now, with the policies as they are now.
//!
//! Source of truth: IAM user guide, "Policy evaluation logic".

use std::sync::Arc;

use crate::{
    iam::{
        credentials::{AccessKey, Holder, Status},
        document::Document,
        entity::{Entity, Group, Role, User},
        identity::Identity,
        service::Iam,
        state::Identities,
    },
    world::principal::Principal,
};

impl Iam {
    /// A key that was issued here, whether or not it can still be used.
    pub(crate) fn key(&self, access_key_id: &str) -> Option<Arc<AccessKey>> {
        self.read().key(access_key_id).cloned()
    }

    /// Who holds `key` now, with the policies as they are now; `None` if the
    /// user or role is gone, or the key deleted or inactive.
    pub(crate) fn identity(&self, key: &AccessKey) -> Option<Identity> {
        match key.status {
            Status::Active => {}
            Status::Inactive | Status::Deleted => return None,
        }
        let identities = self.read();
        let is_held_by = |entity: &Entity| key.holder_id.as_ref().is_none_or(|id| *id == entity.id);
        let user_of = |account: &str, name: &str| {
            let found = identities.get::<User>(account, name);
            found
                .filter(|it| is_held_by(&it.entity))
                .and_then(|it| user(&identities, account, it))
        };
        let identity = match &key.holder {
            Holder::Root { account } => Identity::root(account),
            Holder::User { account, name } => user_of(account, name)?,
            Holder::Session {
                account,
                role,
                session,
            } => {
                let role = identities.get::<Role>(account, role)?;
                if !is_held_by(&role.entity) {
                    return None;
                }
                role_session(&identities, account, &role.entity, session)?
            }
            Holder::Federated { account, name, by } => {
                let issuer = match by {
                    Some(by) => user_of(account, by)?,
                    None => Identity::root(account),
                };
                federated(account, name, issuer)
            }
        };
        Some(Identity {
            terms: key.terms.clone(),
            token_issued: key.credentials.session_token.as_ref().map(|_| key.created),
            ..identity
        })
    }
}

/// A user with its own policies and those of its groups.
fn user(identities: &Identities, account: &str, user: &User) -> Option<Identity> {
    let entity = &user.entity;
    let principal = Principal::User {
        account: account.to_owned(),
        path_name: path_name(&entity.path, &entity.name),
    };
    let mut all: Vec<Document> = documents(identities, account, entity).collect();
    for group in &user.groups {
        // A group with members is not deleted: without it, a Deny may be missing.
        let group = &identities.get::<Group>(account, group)?.entity;
        all.extend(documents(identities, account, group));
    }
    Some(Identity {
        documents: all,
        boundary: identities.boundary(account, entity)?,
        own_tags: entity.tags.clone(),
        ..Identity::new(principal, entity.id.clone())
    })
}

fn role_session(
    identities: &Identities,
    account: &str,
    entity: &Entity,
    session: &str,
) -> Option<Identity> {
    let principal = Principal::AssumedRole {
        account: account.to_owned(),
        role_path_name: path_name(&entity.path, &entity.name),
        session: session.to_owned(),
    };
    Some(Identity {
        documents: documents(identities, account, entity).collect(),
        boundary: identities.boundary(account, entity)?,
        own_tags: entity.tags.clone(),
        ..Identity::new(principal, format!("{}:{session}", entity.id))
    })
}

/// A federated user has the policies of the user who asked for it.
fn federated(account: &str, name: &str, issuer: Identity) -> Identity {
    let by = match &issuer.principal {
        Principal::User { path_name, .. } => Some(path_name.clone()),
        _ => None,
    };
    let principal = Principal::FederatedUser {
        account: account.to_owned(),
        name: name.to_owned(),
        by,
    };
    Identity {
        principal,
        unique_id: format!("{account}:{name}"),
        ..issuer
    }
}

/// The inline and attached policies of a role, user or group.
fn documents(
    identities: &Identities,
    account: &str,
    entity: &Entity,
) -> impl Iterator<Item = Document> {
    let inline = entity.inline.values().cloned();
    let attached = entity
        .attached
        .iter()
        .filter_map(move |arn| identities.document(account, arn));
    inline.chain(attached)
}

fn path_name(path: &str, name: &str) -> String {
    format!("{}{name}", path.trim_start_matches('/'))
}
