//! Users and their access keys.

use std::{collections::BTreeMap, sync::Arc};

use zeroize::Zeroizing;

use super::{
    Changing, Credentials, Iam, IamError,
    credentials::{AccessKey, Holder, Status, long_term, unique_id},
    entity::{Entity, User, Who, check_bare},
    names::{Tags, check_name, check_path},
    state::Change,
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

/// Users of an account, AWS's default quota.
const USERS_MAX: usize = 5_000;
const KEYS_PER_USER_MAX: usize = 2;
/// Access keys in one world, ended and deleted ones included: they are
/// remembered so that their use answers for what they are, and so that a
/// deleted key does not pass for an unknown one.
pub(super) const KEYS_MAX: usize = 100_000;

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
        let (name, path) = (new.name, new.path);
        check_name("userName", name, 1, 64)?;
        check_path(path)?;
        let mut tags = Tags::default();
        tags.add(new.tags.clone())?;
        let boundary = new.boundary.map(|arn| self.boundary(account, arn));
        let boundary = boundary.transpose()?;
        let id = self.with_rng(|rng| unique_id("AIDA", 21, rng));
        let mut state = self.write();
        if state.user(account, name).is_some() {
            return Err(IamError::EntityAlreadyExists {
                kind: "User",
                name: name.to_owned(),
            });
        }
        if state.account(account).map_or(0, |it| it.users.len()) >= USERS_MAX {
            return Err(IamError::LimitExceeded {
                quota: "UsersPerAccount",
                max: USERS_MAX,
            });
        }
        let user = User {
            entity: Entity {
                path: path.to_owned(),
                name: name.to_owned(),
                id,
                arn: Who::user(account, name).arn(path),
                created: self.now(),
                inline: BTreeMap::new(),
                attached: Default::default(),
                boundary,
                tags,
            },
            keys: Vec::new(),
            groups: Default::default(),
        };
        let change = Change::UserPut {
            account: account.to_owned(),
            user: user.clone(),
        };
        Self::commit(&mut state, [change])?;
        Ok(user)
    }

    /// The user `name`.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn user(&self, account: &str, name: &str) -> Result<User, IamError> {
        let found = self.read().user(account, name).cloned();
        found.ok_or_else(|| Who::user(account, name).not_found())
    }

    /// The users of an account below a path, by name.
    pub(super) fn users(&self, account: &str, path_prefix: &str) -> Vec<User> {
        let state = self.read();
        let users = state.account(account).into_iter();
        let users = users.flat_map(|it| it.users.values());
        users
            .filter(|it| it.entity.path.starts_with(path_prefix))
            .cloned()
            .collect()
    }

    /// Deletes a user without policies, groups and access keys.
    pub(super) fn delete_user(&self, account: &str, name: &str) -> Result<(), IamError> {
        let mut state = self.write();
        let user = state.user(account, name);
        let user = user.ok_or_else(|| Who::user(account, name).not_found())?;
        if !user.keys.is_empty() {
            let what = "entity, must delete access keys first.";
            return Err(IamError::DeleteConflict(what));
        }
        if !user.groups.is_empty() {
            let what = "entity, must remove users from group first.";
            return Err(IamError::DeleteConflict(what));
        }
        check_bare(&user.entity)?;
        let change = Change::UserGone {
            account: account.to_owned(),
            name: name.to_owned(),
        };
        Self::commit(&mut state, [change])
    }

    /// Makes an access key for a user, at most two.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, LimitExceeded.
    pub fn create_access_key(&self, account: &str, user: &str) -> Result<Credentials, IamError> {
        let credentials = self.with_rng(long_term);
        let mut state = self.write();
        self.give_key(&mut state, account, user, credentials.clone())?;
        Ok(credentials)
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
        let mut state = self.write();
        if state.key(access_key_id).is_some() {
            return Err(IamError::EntityAlreadyExists {
                kind: "Access key",
                name: access_key_id.to_owned(),
            });
        }
        let credentials = Credentials {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Zeroizing::new(secret_access_key.to_owned()),
            session_token: None,
            expiration: None,
        };
        self.give_key(&mut state, account, user, credentials)
    }

    fn give_key(
        &self,
        state: &mut Changing<'_>,
        account: &str,
        user: &str,
        credentials: Credentials,
    ) -> Result<(), IamError> {
        let mut found = state
            .user(account, user)
            .cloned()
            .ok_or_else(|| Who::user(account, user).not_found())?;
        if found.keys.len() >= KEYS_PER_USER_MAX || state.keys() >= KEYS_MAX {
            let (quota, max) = ("AccessKeysPerUser", KEYS_PER_USER_MAX);
            return Err(IamError::LimitExceeded { quota, max });
        }
        found.keys.push(credentials.access_key_id.clone());
        let holder = Holder::User {
            account: account.to_owned(),
            name: user.to_owned(),
        };
        let key = AccessKey::new(credentials, holder, Terms::default(), self.now());
        let changes = [
            Change::KeyPut { key: Arc::new(key) },
            Change::UserPut {
                account: account.to_owned(),
                user: found,
            },
        ];
        Self::commit(state, changes)
    }

    /// The access keys of a user, the oldest first.
    pub(super) fn access_keys(
        &self,
        account: &str,
        user: &str,
    ) -> Result<Vec<Arc<AccessKey>>, IamError> {
        let user = self.user(account, user)?;
        let state = self.read();
        let keys = user.keys.iter().filter_map(|id| state.key(id).cloned());
        Ok(keys.collect())
    }

    /// Makes a key usable or not, or forgets that the user has it.
    pub(super) fn set_access_key(
        &self,
        account: &str,
        user: &str,
        id: &str,
        status: Status,
    ) -> Result<(), IamError> {
        let mut state = self.write();
        let mut user = state
            .user(account, user)
            .cloned()
            .ok_or_else(|| Who::user(account, user).not_found())?;
        let key = state
            .key(id)
            .filter(|_| user.keys.iter().any(|it| it == id));
        let key = key.ok_or_else(|| IamError::NoSuchAccessKey { id: id.to_owned() })?;
        let key = Arc::new(key.with_status(status));
        let mut changes = vec![Change::KeyPut { key }];
        if status == Status::Deleted {
            user.keys.retain(|it| it != id);
            let account = account.to_owned();
            changes.push(Change::UserPut { account, user });
        }
        Self::commit(&mut state, changes)
    }
}
