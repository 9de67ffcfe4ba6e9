//! The operations of IAM and STS: one table of what each is called, what it is about and
//! who answers it.
//!
//! Source of truth: STS API version 2011-06-15 and IAM API version 2010-05-08; Service
//! Authorization Reference, "Actions defined by AWS Identity and Access Management", for
//! the operations with `iam:PermissionsBoundary`.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{
    call::{Action, Call, Service},
    entities, groups, policies, roles, sts, users,
};
use crate::iam::{entity::EntityKind, error::IamError};

/// One operation.
pub(super) struct Operation {
    pub(super) action: Action,
    pub(super) answer: Answer,
}

type Answer = fn(&Call<'_>) -> Result<Vec<u8>, IamError>;

/// The operation that a request names.
pub(super) fn named(name: &str) -> Option<&'static Operation> {
    static BY_NAME: LazyLock<BTreeMap<&str, &Operation>> =
        LazyLock::new(|| OPERATIONS.iter().map(|it| (it.action.name, it)).collect());
    BY_NAME.get(name).copied()
}

const fn operation(
    service: Service,
    about: Option<EntityKind>,
    name: &'static str,
    answer: Answer,
) -> Operation {
    let action = Action {
        name,
        service,
        about,
        tells_boundary: false,
    };
    Operation { action, answer }
}

const fn sts(name: &'static str, answer: Answer) -> Operation {
    operation(Service::Sts, None, name, answer)
}

const fn iam(name: &'static str, answer: Answer) -> Operation {
    operation(Service::Iam, None, name, answer)
}

const fn role(name: &'static str, answer: Answer) -> Operation {
    operation(Service::Iam, Some(EntityKind::Role), name, answer)
}

const fn user(name: &'static str, answer: Answer) -> Operation {
    operation(Service::Iam, Some(EntityKind::User), name, answer)
}

const fn group(name: &'static str, answer: Answer) -> Operation {
    operation(Service::Iam, Some(EntityKind::Group), name, answer)
}

/// An operation with the condition key `iam:PermissionsBoundary`: it changes what a user
/// or role may do.
const fn bounded(operation: Operation) -> Operation {
    let Operation { action, answer } = operation;
    let action = Action {
        tells_boundary: true,
        ..action
    };
    Operation { action, answer }
}

static OPERATIONS: &[Operation] = &[
    sts("AssumeRole", sts::assume_role),
    sts("GetAccessKeyInfo", sts::access_key_info),
    sts("GetCallerIdentity", sts::caller_identity),
    sts("GetFederationToken", sts::federation_token),
    sts("GetSessionToken", sts::session_token),
    //
    role("CreateRole", roles::create),
    role("GetRole", roles::get),
    role("ListRoles", roles::list),
    role("UpdateRole", roles::update),
    role("UpdateRoleDescription", roles::update_description),
    role("UpdateAssumeRolePolicy", roles::update_trust),
    role("DeleteRole", roles::delete),
    bounded(role("PutRolePolicy", entities::put_policy)),
    role("GetRolePolicy", entities::get_policy),
    role("ListRolePolicies", entities::list_policies),
    bounded(role("DeleteRolePolicy", entities::delete_policy)),
    bounded(role("PutRolePermissionsBoundary", entities::put_boundary)),
    bounded(role(
        "DeleteRolePermissionsBoundary",
        entities::delete_boundary,
    )),
    bounded(role("AttachRolePolicy", entities::attach)),
    bounded(role("DetachRolePolicy", entities::detach)),
    role("ListAttachedRolePolicies", entities::list_attached),
    role("TagRole", entities::tag),
    role("UntagRole", entities::untag),
    role("ListRoleTags", entities::list_tags),
    //
    user("CreateUser", users::create),
    user("GetUser", users::get),
    user("ListUsers", users::list),
    user("DeleteUser", users::delete),
    user("CreateAccessKey", users::create_key),
    user("ListAccessKeys", users::list_keys),
    user("UpdateAccessKey", users::update_key),
    user("DeleteAccessKey", users::delete_key),
    bounded(user("PutUserPolicy", entities::put_policy)),
    user("GetUserPolicy", entities::get_policy),
    user("ListUserPolicies", entities::list_policies),
    bounded(user("DeleteUserPolicy", entities::delete_policy)),
    bounded(user("PutUserPermissionsBoundary", entities::put_boundary)),
    bounded(user(
        "DeleteUserPermissionsBoundary",
        entities::delete_boundary,
    )),
    bounded(user("AttachUserPolicy", entities::attach)),
    bounded(user("DetachUserPolicy", entities::detach)),
    user("ListAttachedUserPolicies", entities::list_attached),
    user("TagUser", entities::tag),
    user("UntagUser", entities::untag),
    user("ListUserTags", entities::list_tags),
    //
    group("CreateGroup", groups::create),
    group("GetGroup", groups::get),
    group("ListGroups", groups::list),
    group("DeleteGroup", groups::delete),
    group("AddUserToGroup", groups::add_user),
    group("RemoveUserFromGroup", groups::remove_user),
    user("ListGroupsForUser", groups::list_of_user),
    group("PutGroupPolicy", entities::put_policy),
    group("GetGroupPolicy", entities::get_policy),
    group("ListGroupPolicies", entities::list_policies),
    group("DeleteGroupPolicy", entities::delete_policy),
    group("AttachGroupPolicy", entities::attach),
    group("DetachGroupPolicy", entities::detach),
    group("ListAttachedGroupPolicies", entities::list_attached),
    //
    iam("CreatePolicy", policies::create),
    iam("GetPolicy", policies::get),
    iam("ListPolicies", policies::list),
    iam("DeletePolicy", policies::delete),
    iam("TagPolicy", policies::tag),
    iam("UntagPolicy", policies::untag),
    iam("ListPolicyTags", policies::list_tags),
    iam("CreatePolicyVersion", policies::create_version),
    iam("GetPolicyVersion", policies::get_version),
    iam("ListPolicyVersions", policies::list_versions),
    iam("SetDefaultPolicyVersion", policies::set_default_version),
    iam("DeletePolicyVersion", policies::delete_version),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_name() {
        for operation in OPERATIONS {
            let found = named(operation.action.name).unwrap();
            assert!(std::ptr::eq(found, operation), "{}", operation.action.name);
        }
        assert!(named("createRole").is_none());
    }
}
