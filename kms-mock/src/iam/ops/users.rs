//! Users and their access keys.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::entities::{check_named, found};
use crate::iam::{
    credentials::{AccessKey, Credentials, Holder, KEYS_MAX, Status, long_term},
    entity::{User, Who},
    error::IamError,
    names::check_name,
    service::Iam,
    state::{Change, Identities, Member},
    terms::Terms,
};

/// What a new user is made from.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// Name, 1 to 64 of `[\w+=,.@-]`.
    pub name: &'a str,
    /// `/` or `/path/`.
    pub path: &'a str,
    /// Key and value of each.
    pub tags: Vec<(String, String)>,
    /// ARN of the managed policy that is its permissions boundary.
    pub boundary: Option<&'a str>,
}

const KEYS_PER_USER_MAX: usize = 2;

impl Iam {
    /// Makes a user without tags and boundary.
    ///
    /// # Errors
    /// As [`Iam::create_user_with`].
    pub fn create_user(&self, account: &str, path: &str, name: &str) -> Result<User, IamError> {
        let (tags, boundary) = (Vec::new(), None);
        let new = NewUser {
            name,
            path,
            tags,
            boundary,
        };
        self.create_user_with(account, &new)
    }

    /// Makes a user. CreateUser without its authorization.
    ///
    /// # Errors
    /// [`IamError`]: EntityAlreadyExists, NoSuchEntity, LimitExceeded, a bad name.
    pub fn create_user_with(&self, account: &str, new: &NewUser<'_>) -> Result<User, IamError> {
        let who = Who::user(account, new.name);
        check_named(who, new.path)?;
        let user = User {
            entity: self.new_entity(who, new.path, &new.tags, new.boundary)?,
            keys: Vec::new(),
            groups: Default::default(),
        };
        self.add(account, user)
    }

    /// The user `name`.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn user(&self, account: &str, name: &str) -> Result<User, IamError> {
        self.member(account, name)
    }

    /// Deletes a user without policies, groups and access keys.
    pub(crate) fn delete_user(&self, account: &str, name: &str) -> Result<(), IamError> {
        self.delete_member(account, name, |_, user: &User| {
            if !user.keys.is_empty() {
                let what = "entity, must delete access keys first.";
                return Err(IamError::DeleteConflict(what));
            }
            if !user.groups.is_empty() {
                let what = "entity, must remove users from group first.";
                return Err(IamError::DeleteConflict(what));
            }
            Ok(())
        })
    }

    /// Makes an access key for a user, at most two.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, LimitExceeded.
    pub fn create_access_key(&self, account: &str, user: &str) -> Result<Credentials, IamError> {
        let credentials = self.with_rng(long_term);
        self.change(|identities, changes| {
            changes.extend(self.given_key(identities, account, user, credentials.clone())?);
            Ok(credentials)
        })
    }

    /// Gives a user an access key that is known beforehand, as a seed file does.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, EntityAlreadyExists, LimitExceeded.
    pub fn plant_access_key(
        &self,
        account: &str,
        user: &str,
        access_key_id: &str,
        secret_access_key: &str,
    ) -> Result<(), IamError> {
        check_name("accessKeyId", access_key_id, 16, 128)?;
        let credentials = Credentials {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Zeroizing::new(secret_access_key.to_owned()),
            session_token: None,
            expiration: None,
        };
        self.change(|identities, changes| {
            if identities.key(access_key_id).is_some() {
                return Err(IamError::EntityAlreadyExists {
                    kind: "Access key",
                    name: access_key_id.to_owned(),
                });
            }
            changes.extend(self.given_key(identities, account, user, credentials)?);
            Ok(())
        })
    }

    /// What becomes of a user who is given a key.
    fn given_key(
        &self,
        identities: &Identities,
        account: &str,
        user: &str,
        credentials: Credentials,
    ) -> Result<[Change; 2], IamError> {
        let mut found = found::<User>(identities, account, user)?.clone();
        if found.keys.len() >= KEYS_PER_USER_MAX || identities.key_count() >= KEYS_MAX {
            let (quota, max) = ("AccessKeysPerUser", KEYS_PER_USER_MAX);
            return Err(IamError::LimitExceeded { quota, max });
        }
        found.keys.push(credentials.access_key_id.clone());
        let holder = Holder::User {
            account: account.to_owned(),
            name: user.to_owned(),
        };
        let key = Arc::new(AccessKey::new(
            credentials,
            (holder, Some(found.entity.id.clone())),
            Terms::default(),
            self.now(),
        ));
        Ok([Change::KeyPut { key }, found.put(account)])
    }

    /// The access keys of a user, the oldest first.
    pub(crate) fn access_keys(
        &self,
        account: &str,
        user: &str,
    ) -> Result<Vec<Arc<AccessKey>>, IamError> {
        let identities = self.read();
        let user: &User = found(&identities, account, user)?;
        let keys = user.keys.iter();
        Ok(keys.filter_map(|id| identities.key(id).cloned()).collect())
    }

    /// Makes a key usable or not, or forgets that the user has it.
    pub(crate) fn set_access_key(
        &self,
        account: &str,
        user: &str,
        id: &str,
        status: Status,
    ) -> Result<(), IamError> {
        self.change(|identities, changes| {
            let mut user = found::<User>(identities, account, user)?.clone();
            let key = identities.key(id);
            let key = key.filter(|_| user.keys.iter().any(|it| it == id));
            let key = key.ok_or_else(|| IamError::NoSuchAccessKey { id: id.to_owned() })?;
            let key = Arc::new(key.with_status(status));
            changes.push(Change::KeyPut { key });
            if status == Status::Deleted {
                user.keys.retain(|it| it != id);
                changes.push(user.put(account));
            }
            Ok(())
        })
    }
}
