//! What is done to roles, users and groups alike: made, found, changed, deleted, given
//! policies and tags.

use super::boundary::boundary;
use crate::iam::{
    credentials::unique_id,
    document::Document,
    entity::{Entity, EntityKind, Group, Role, User, Who},
    error::IamError,
    names::{Tags, check_name, check_path},
    service::Iam,
    state::{Change, Identities, Member},
};

/// Inline policies of one role, user or group; AWS bounds their size, not their number.
const INLINE_MAX: usize = 100;
/// AWS's default quota of managed policies attached to one role, user or group.
const ATTACHED_MAX: usize = 10;

impl Iam {
    /// Sets an inline policy.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, MalformedPolicyDocument, LimitExceeded.
    pub fn put_policy(
        &self,
        who: Who<'_>,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        check_name("policyName", policy_name, 1, 128)?;
        let document = Document::identity(policy)?;
        self.change_entity(who, |_, entity| {
            let inline = &mut entity.inline;
            if !inline.contains_key(policy_name) && inline.len() >= INLINE_MAX {
                let (quota, max) = ("InlinePoliciesPerIdentity", INLINE_MAX);
                return Err(IamError::LimitExceeded { quota, max });
            }
            inline.insert(policy_name.to_owned(), document);
            let characters = |document: &Document| {
                let text = document.text().chars();
                text.filter(|c| !c.is_whitespace()).count()
            };
            let max = who.kind.inline_characters_max();
            if inline.values().map(characters).sum::<usize>() > max {
                let (kind, name) = (who.kind.word(), who.name.to_owned());
                return Err(IamError::InlineSize { max, kind, name });
            }
            Ok(())
        })
    }

    /// Sets an inline policy of a role.
    ///
    /// # Errors
    /// As [`Iam::put_policy`].
    pub fn put_role_policy(
        &self,
        account: &str,
        role: &str,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        self.put_policy(Who::role(account, role), policy_name, policy)
    }

    /// Sets an inline policy of a user.
    ///
    /// # Errors
    /// As [`Iam::put_policy`].
    pub fn put_user_policy(
        &self,
        account: &str,
        user: &str,
        policy_name: &str,
        policy: &str,
    ) -> Result<(), IamError> {
        self.put_policy(Who::user(account, user), policy_name, policy)
    }

    /// An inline policy.
    pub(crate) fn policy_of(&self, who: Who<'_>, name: &str) -> Result<Document, IamError> {
        let found = self.entity(who)?.inline.get(name).cloned();
        found.ok_or_else(|| no_inline(who, name))
    }

    /// Whether a role, user or group has an inline policy of this name.
    pub(crate) fn has_policy(&self, who: Who<'_>, policy: &str) -> bool {
        self.policy_of(who, policy).is_ok()
    }

    pub(crate) fn delete_policy_of(&self, who: Who<'_>, name: &str) -> Result<(), IamError> {
        self.change_entity(who, |_, entity| {
            let gone = entity.inline.remove(name);
            gone.map(drop).ok_or_else(|| no_inline(who, name))
        })
    }

    /// Attaches a managed policy of the account or of AWS.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, LimitExceeded.
    pub fn attach_policy(&self, who: Who<'_>, arn: &str) -> Result<(), IamError> {
        if !arn.starts_with("arn:") {
            let arn = arn.chars().take(2_048).collect();
            return Err(IamError::InvalidPolicyArn(arn));
        }
        self.change_entity(who, |identities, entity| {
            if !identities.is_attachable(who.account, arn) {
                let what = arn.to_owned();
                return Err(IamError::NotAttachable { what });
            }
            let attached = &mut entity.attached;
            if !attached.contains(arn) && attached.len() >= ATTACHED_MAX {
                let quota = match who.kind {
                    EntityKind::Role => "PoliciesPerRole",
                    EntityKind::User => "PoliciesPerUser",
                    EntityKind::Group => "PoliciesPerGroup",
                };
                let max = ATTACHED_MAX;
                return Err(IamError::LimitExceeded { quota, max });
            }
            attached.insert(arn.to_owned());
            Ok(())
        })
    }

    pub(crate) fn detach_policy(&self, who: Who<'_>, arn: &str) -> Result<(), IamError> {
        self.change_entity(who, |_, entity| {
            if entity.attached.remove(arn) {
                return Ok(());
            }
            let arn = arn.to_owned();
            Err(IamError::NoSuchPolicy { arn })
        })
    }

    pub(crate) fn tag(&self, who: Who<'_>, tags: Vec<(String, String)>) -> Result<(), IamError> {
        self.change_entity(who, |_, entity| entity.tags.add(tags))
    }

    pub(crate) fn untag(&self, who: Who<'_>, keys: &[String]) -> Result<(), IamError> {
        self.change_entity(who, |_, entity| entity.tags.remove(keys))
    }

    /// What role, user and group have alike.
    pub(crate) fn entity(&self, who: Who<'_>) -> Result<Entity, IamError> {
        match who.kind {
            EntityKind::Role => Ok(self.role(who.account, who.name)?.entity),
            EntityKind::User => Ok(self.user(who.account, who.name)?.entity),
            EntityKind::Group => Ok(self.group(who.account, who.name)?.entity),
        }
    }

    /// Changes what role, user and group have alike, or nothing if `change`
    /// refuses.
    pub(super) fn change_entity(
        &self,
        who: Who<'_>,
        change: impl FnOnce(&Identities, &mut Entity) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        let Who { account, name, .. } = who;
        match who.kind {
            EntityKind::Role => {
                self.change_member::<Role>(account, name, |all, it| change(all, &mut it.entity))
            }
            EntityKind::User => {
                self.change_member::<User>(account, name, |all, it| change(all, &mut it.entity))
            }
            EntityKind::Group => {
                self.change_member::<Group>(account, name, |all, it| change(all, &mut it.entity))
            }
        }
    }

    pub(super) fn member<M: Member>(&self, account: &str, name: &str) -> Result<M, IamError> {
        let identities = self.read();
        found::<M>(&identities, account, name).map(|it| it.shown(&*identities))
    }

    /// The roles, users or groups of an account below a path, by name.
    pub(crate) fn below<M: Member>(&self, account: &str, path_prefix: &str) -> Vec<M> {
        let identities = self.read();
        let all = identities.all::<M>(account);
        all.filter(|it| it.entity().path.starts_with(path_prefix))
            .map(|it| it.shown(&*identities))
            .collect()
    }

    /// A new entity, which is not added yet; its name and path were checked before,
    /// its boundary is when it is added.
    pub(super) fn new_entity(
        &self,
        who: Who<'_>,
        path: &str,
        tags: &[(String, String)],
        boundary: Option<&str>,
    ) -> Result<Entity, IamError> {
        let mut checked = Tags::default();
        checked.add(tags.to_vec())?;
        let id = self.with_rng(|rng| unique_id(who.kind.id_prefix(), 21, rng));
        Ok(Entity {
            path: path.to_owned(),
            name: who.name.to_owned(),
            id,
            arn: who.arn(path),
            created: self.now(),
            inline: Default::default(),
            attached: Default::default(),
            boundary: boundary.map(str::to_owned),
            tags: checked,
        })
    }

    /// Adds a role, user or group to an account that has none of its name.
    pub(super) fn add<M: Member>(&self, account: &str, member: M) -> Result<M, IamError> {
        self.change(|identities, changes| {
            let name = &member.entity().name;
            if identities.get::<M>(account, name).is_some() {
                return Err(IamError::EntityAlreadyExists {
                    kind: M::KIND.title(),
                    name: name.clone(),
                });
            }
            if let Some(arn) = &member.entity().boundary {
                boundary(identities, account, arn)?;
            }
            let (quota, max) = M::KIND.quota();
            if identities.count::<M>(account) >= max {
                return Err(IamError::LimitExceeded { quota, max });
            }
            changes.push(member.clone().put(account));
            Ok(member)
        })
    }

    /// Changes a role, user or group, or nothing if `change` refuses.
    pub(super) fn change_member<M: Member>(
        &self,
        account: &str,
        name: &str,
        change: impl FnOnce(&Identities, &mut M) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        self.change(|identities, changes| {
            let mut member = found::<M>(identities, account, name)?.clone();
            change(identities, &mut member)?;
            changes.push(member.put(account));
            Ok(())
        })
    }

    /// Deletes a role, user or group that has no policies, if `check` agrees.
    pub(super) fn delete_member<M: Member>(
        &self,
        account: &str,
        name: &str,
        check: impl FnOnce(&Identities, &M) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        self.change(|identities, changes| {
            let member = found::<M>(identities, account, name)?;
            check(identities, member)?;
            member.entity().check_bare()?;
            changes.push(Change::EntityGone {
                account: account.to_owned(),
                kind: M::KIND,
                name: name.to_owned(),
            });
            Ok(())
        })
    }
}

/// Refuses a name or path that no entity of the kind can have.
pub(super) fn check_named(who: Who<'_>, path: &str) -> Result<(), IamError> {
    let (parameter, max) = who.kind.named_by();
    check_name(parameter, who.name, 1, max)?;
    check_path(path)
}

/// A role, user or group, or the refusal for its absence.
pub(super) fn found<'i, M: Member>(
    identities: &'i Identities,
    account: &str,
    name: &str,
) -> Result<&'i M, IamError> {
    let found = identities.get(account, name);
    found.ok_or_else(|| Who::of(M::KIND, account, name).not_found())
}

fn no_inline(who: Who<'_>, name: &str) -> IamError {
    IamError::NoSuchEntity {
        kind: who.kind.inline_policy(),
        name: name.to_owned(),
    }
}
