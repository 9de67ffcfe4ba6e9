//! IAM: roles, users, their policies, boundaries and keys. What roles, users and
//! groups have alike is answered alike.

use std::time::Duration;

use super::{Call, IAM, IamError, kind_of, write};
use crate::{
    iam::{
        EntityKind, NewRole, NewUser, Who, credentials::Status, managed::NewPolicy, names::Tags,
    },
    world::principal::Principal,
};

pub(super) fn answer(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (iam, form, account) = (call.iam, call.form, call.account());
    let path = form.get("Path").unwrap_or("/");
    let path_prefix = form.get("PathPrefix").unwrap_or("/");
    let boundary = form.get("PermissionsBoundary");
    Ok(match call.action() {
        "CreateRole" => {
            let name = form.need("RoleName", "roleName")?;
            call.authorize_bounded(&Who::role(account, name).arn(path), boundary)?;
            let max_session = form.seconds("MaxSessionDuration", "maxSessionDuration")?;
            let trust = form.need("AssumeRolePolicyDocument", "assumeRolePolicyDocument")?;
            let role = iam.create_role(
                account,
                &NewRole {
                    path,
                    max_session: max_session.unwrap_or(Duration::from_secs(3_600)),
                    description: form.get("Description"),
                    tags: form.tags(),
                    boundary,
                    ..NewRole::named(name, trust)
                },
            )?;
            // A new role tells its longest session only if it was asked for one.
            let shown_session = max_session.is_some();
            call.result(IAM, |xml| write::new_role(xml, &role, shown_session))
        }
        "GetRole" => {
            let who = named(call)?;
            let role = iam.role(account, who.name)?;
            call.result(IAM, |xml| write::role(xml, &role))
        }
        "ListRoles" => {
            call.authorize(&format!("arn:aws:iam::{account}:role{path_prefix}"))?;
            let roles = iam.roles(account, path_prefix);
            let (page, marker) = call.page(roles, |it| &it.entity.name)?;
            call.result(IAM, |xml| {
                write::list(xml, "Roles", &page, marker.as_deref(), |xml, role| {
                    write::role_member(xml, role);
                });
            })
        }
        "UpdateRole" => {
            let who = named(call)?;
            let max_session = form.seconds("MaxSessionDuration", "maxSessionDuration")?;
            iam.update_role(account, who.name, form.get("Description"), max_session)?;
            call.result(IAM, |_| {})
        }
        "UpdateRoleDescription" => {
            let who = named(call)?;
            let description = form.need("Description", "description")?;
            iam.update_role(account, who.name, Some(description), None)?;
            let role = iam.role(account, who.name)?;
            call.result(IAM, |xml| write::described_role(xml, &role))
        }
        "UpdateAssumeRolePolicy" => {
            let who = named(call)?;
            iam.set_trust(
                account,
                who.name,
                form.need("PolicyDocument", "policyDocument")?,
            )?;
            call.done()
        }
        "DeleteRole" => {
            let who = named(call)?;
            iam.delete_role(account, who.name)?;
            call.done()
        }
        "CreateUser" => {
            let name = form.need("UserName", "userName")?;
            call.authorize_bounded(&Who::user(account, name).arn(path), boundary)?;
            let tags = form.tags();
            let new = NewUser {
                name,
                path,
                tags,
                boundary,
            };
            let user = iam.create_user_with(account, &new)?;
            call.result(IAM, |xml| write::user(xml, &user))
        }
        "GetUser" => match (form.get("UserName"), &call.caller.principal) {
            (None, Principal::Root { .. }) => {
                let caller = call.caller;
                call.result(IAM, |xml| write::root_user(xml, caller))
            }
            _ => {
                let name = call.user_name()?;
                authorize_entity(call, Who::user(account, name))?;
                let user = iam.user(account, name)?;
                call.result(IAM, |xml| write::user(xml, &user))
            }
        },
        "ListUsers" => {
            call.authorize(&format!("arn:aws:iam::{account}:user{path_prefix}"))?;
            let users = iam.users(account, path_prefix);
            let (page, marker) = call.page(users, |it| &it.entity.name)?;
            call.result(IAM, |xml| {
                write::list(xml, "Users", &page, marker.as_deref(), |xml, user| {
                    write::user_member(xml, user);
                });
            })
        }
        "DeleteUser" => {
            let who = named(call)?;
            iam.delete_user(account, who.name)?;
            call.done()
        }
        "CreateAccessKey" | "ListAccessKeys" | "UpdateAccessKey" | "DeleteAccessKey" => {
            return access_keys(call);
        }
        action if action.ends_with("Policy") && manages(action) => return managed(call),
        "CreatePolicyVersion"
        | "GetPolicyVersion"
        | "ListPolicyVersions"
        | "SetDefaultPolicyVersion"
        | "DeletePolicyVersion"
        | "ListPolicies"
        | "TagPolicy"
        | "UntagPolicy"
        | "ListPolicyTags" => {
            return managed(call);
        }
        _ => return either(call),
    })
}

fn manages(action: &str) -> bool {
    matches!(action, "CreatePolicy" | "GetPolicy" | "DeletePolicy")
}

/// The operations that roles, users and groups have alike.
fn either(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (iam, form) = (call.iam, call.form);
    let policy_name = || form.need("PolicyName", "policyName");
    let policy_arn = || form.need("PolicyArn", "policyArn");
    let (_, named_by, _) = kind_of(call.action());
    match call.action() {
        "PutRolePolicy" | "PutUserPolicy" | "PutGroupPolicy" => {
            let who = named(call)?;
            let document = form.need("PolicyDocument", "policyDocument")?;
            iam.put_policy(who, policy_name()?, document)?;
        }
        "GetRolePolicy" | "GetUserPolicy" | "GetGroupPolicy" => {
            let who = named(call)?;
            let name = policy_name()?;
            let document = iam.policy_of(who, name)?;
            return Ok(call.result(IAM, |xml| {
                xml.text(named_by, who.name);
                xml.text("PolicyName", name);
                xml.text("PolicyDocument", &write::encoded(&document));
            }));
        }
        "ListRolePolicies" | "ListUserPolicies" | "ListGroupPolicies" => {
            let who = named(call)?;
            let names = iam.entity(who)?.inline.into_keys().collect();
            let (page, marker) = call.page(names, |it: &String| it)?;
            return Ok(call.result(IAM, |xml| {
                write::names(xml, "PolicyNames", &page, marker.as_deref());
            }));
        }
        "DeleteRolePolicy" | "DeleteUserPolicy" | "DeleteGroupPolicy" => {
            let who = named(call)?;
            iam.delete_policy_of(who, policy_name()?)?;
        }
        "PutRolePermissionsBoundary" | "PutUserPermissionsBoundary" => {
            let arn = form.need("PermissionsBoundary", "permissionsBoundary")?;
            iam.put_boundary(named(call)?, arn)?;
        }
        "DeleteRolePermissionsBoundary" | "DeleteUserPermissionsBoundary" => {
            iam.delete_boundary(named(call)?)?;
        }
        "AttachRolePolicy" | "AttachUserPolicy" | "AttachGroupPolicy" => {
            iam.attach_policy(named(call)?, policy_arn()?)?
        }
        "DetachRolePolicy" | "DetachUserPolicy" | "DetachGroupPolicy" => {
            iam.detach_policy(named(call)?, policy_arn()?)?
        }
        "ListAttachedRolePolicies" | "ListAttachedUserPolicies" | "ListAttachedGroupPolicies" => {
            let who = named(call)?;
            let arns = iam.entity(who)?.attached.into_iter().collect();
            let (page, marker) = call.page(arns, |it: &String| it)?;
            return Ok(call.result(IAM, |xml| {
                let marker = marker.as_deref();
                write::list(xml, "AttachedPolicies", &page, marker, |xml, arn| {
                    xml.text("PolicyName", arn.rsplit('/').next().unwrap_or_default());
                    xml.text("PolicyArn", arn);
                });
            }));
        }
        "TagRole" | "TagUser" => iam.tag(named(call)?, form.tags())?,
        "UntagRole" | "UntagUser" => iam.untag(named(call)?, &form.members("TagKeys", ""))?,
        "ListRoleTags" | "ListUserTags" => {
            let entity = iam.entity(named(call)?)?;
            return listed_tags(call, &entity.tags);
        }
        action => {
            let version = form.get("Version").unwrap_or_default();
            return Err(IamError::InvalidAction {
                action: action.chars().take(128).collect(),
                version: version.chars().take(32).collect(),
            });
        }
    }
    Ok(call.done())
}

fn listed_tags(call: &Call<'_>, tags: &Tags) -> Result<Vec<u8>, IamError> {
    let mut sorted: Vec<(String, String)> = tags.iter().cloned().collect();
    sorted.sort();
    let (page, marker) = call.page(sorted, |(key, _)| key)?;
    Ok(call.result(IAM, |xml| {
        write::list(xml, "Tags", &page, marker.as_deref(), write::tag_member);
    }))
}

fn access_keys(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (iam, form, account) = (call.iam, call.form, call.account());
    let user = call.user_name()?;
    authorize_entity(call, Who::user(account, user))?;
    let key_id = || form.need("AccessKeyId", "accessKeyId");
    match call.action() {
        "CreateAccessKey" => {
            let credentials = iam.create_access_key(account, user)?;
            let created = iam.now();
            return Ok(call.result(IAM, |xml| {
                xml.element("AccessKey", |xml| {
                    xml.text("UserName", user);
                    xml.text("AccessKeyId", &credentials.access_key_id);
                    xml.text("Status", Status::Active.name());
                    xml.text("SecretAccessKey", &credentials.secret_access_key);
                    xml.text("CreateDate", &write::seconds(created));
                });
            }));
        }
        "ListAccessKeys" => {
            let keys = iam.access_keys(account, user)?;
            return Ok(call.result(IAM, |xml| {
                write::list(xml, "AccessKeyMetadata", &keys, None, |xml, key| {
                    xml.text("UserName", user);
                    xml.text("AccessKeyId", &key.credentials.access_key_id);
                    xml.text("Status", key.status.name());
                    xml.text("CreateDate", &write::seconds(key.created));
                });
            }));
        }
        "UpdateAccessKey" => {
            let status = match form.need("Status", "status")? {
                "Active" => Status::Active,
                "Inactive" => Status::Inactive,
                other => {
                    return Err(IamError::Validation {
                        parameter: "status",
                        value: other.chars().take(64).collect(),
                        constraint: "Member must satisfy enum value set: [Active, Inactive]",
                    });
                }
            };
            iam.set_access_key(account, user, key_id()?, status)?;
        }
        // DeleteAccessKey, by the caller's match.
        _ => iam.set_access_key(account, user, key_id()?, Status::Deleted)?,
    }
    Ok(call.done())
}

/// Managed policies of the account.
fn managed(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (iam, form, account) = (call.iam, call.form, call.account());
    let arn = || -> Result<&str, IamError> {
        let arn = form.need("PolicyArn", "policyArn")?;
        call.authorize(arn)?;
        Ok(arn)
    };
    let version = || form.need("VersionId", "versionId");
    Ok(match call.action() {
        "CreatePolicy" => {
            let name = form.need("PolicyName", "policyName")?;
            let path = form.get("Path").unwrap_or("/");
            call.authorize(&format!("arn:aws:iam::{account}:policy{path}{name}"))?;
            let new = NewPolicy {
                name,
                path,
                document: form.need("PolicyDocument", "policyDocument")?,
                description: form.get("Description"),
                tags: form.tags(),
            };
            let policy = iam.create_policy(account, &new)?;
            call.result(IAM, |xml| {
                xml.element("Policy", |xml| {
                    write::policy_member(xml, iam, account, &policy);
                    write::some_tags(xml, &policy.tags);
                });
            })
        }
        "GetPolicy" => {
            let policy = iam.managed_policy(account, arn()?)?;
            call.result(IAM, |xml| {
                xml.element("Policy", |xml| write::policy(xml, iam, account, &policy));
            })
        }
        "TagPolicy" => {
            iam.tag_policy(account, arn()?, form.tags())?;
            call.done()
        }
        "UntagPolicy" => {
            iam.untag_policy(account, arn()?, &form.members("TagKeys", ""))?;
            call.done()
        }
        "ListPolicyTags" => {
            let policy = iam.managed_policy(account, arn()?)?;
            listed_tags(call, &policy.tags)?
        }
        "DeletePolicy" => {
            iam.delete_managed_policy(account, arn()?)?;
            call.done()
        }
        "ListPolicies" => {
            call.authorize(&format!("arn:aws:iam::{account}:policy/"))?;
            let policies = match form.get("Scope") {
                Some("AWS") => Vec::new(),
                _ => iam.managed_policies(account, form.get("PathPrefix").unwrap_or("/")),
            };
            let (page, marker) = call.page(policies, |it| &it.arn)?;
            call.result(IAM, |xml| {
                write::list(xml, "Policies", &page, marker.as_deref(), |xml, policy| {
                    write::policy_member(xml, iam, account, policy);
                });
            })
        }
        "CreatePolicyVersion" => {
            let document = form.need("PolicyDocument", "policyDocument")?;
            let as_default = form.get("SetAsDefault") == Some("true");
            let policy = iam.create_policy_version(account, arn()?, document, as_default)?;
            let newest = policy.versions.last_key_value();
            call.result(IAM, |xml| {
                xml.element("PolicyVersion", |xml| {
                    if let Some((number, version)) = newest {
                        write::policy_version(xml, *number, policy.default, version, false);
                    }
                });
            })
        }
        "GetPolicyVersion" => {
            let (policy, number, found) = iam.policy_version(account, arn()?, version()?)?;
            call.result(IAM, |xml| {
                xml.element("PolicyVersion", |xml| {
                    write::policy_version(xml, number, policy.default, &found, true);
                });
            })
        }
        "ListPolicyVersions" => {
            let policy = iam.managed_policy(account, arn()?)?;
            let versions: Vec<_> = policy.versions.iter().rev().collect();
            call.result(IAM, |xml| {
                write::list(
                    xml,
                    "Versions",
                    &versions,
                    None,
                    |xml, (number, version)| {
                        write::policy_version(xml, **number, policy.default, version, false);
                    },
                );
            })
        }
        "SetDefaultPolicyVersion" => {
            iam.set_default_version(account, arn()?, version()?)?;
            call.done()
        }
        // DeletePolicyVersion, by the caller's match.
        _ => {
            iam.delete_policy_version(account, arn()?, version()?)?;
            call.done()
        }
    })
}

/// The role, user or group that the form names, if the caller may do this to it.
fn named<'a>(call: &Call<'a>) -> Result<Who<'a>, IamError> {
    let (kind, name, shown) = kind_of(call.action());
    let name = call.form.need(name, shown)?;
    let who = Who {
        account: call.account(),
        kind,
        name,
    };
    authorize_entity(call, who)?;
    Ok(who)
}

/// Asks for the ARN that the entity has, or would have at the root path.
pub(super) fn authorize_entity(call: &Call<'_>, who: Who<'_>) -> Result<(), IamError> {
    let entity = call.iam.entity(who).ok();
    let there = entity.as_ref().and_then(|it| it.boundary.as_deref());
    let boundary = call.form.get("PermissionsBoundary").or(there);
    let boundary = boundary.filter(|_| tells_boundary(call.action(), who.kind));
    match &entity {
        Some(entity) => call.authorize_bounded(&entity.arn, boundary),
        None => call.authorize_bounded(&who.arn("/"), boundary),
    }
}

/// Whether `iam:PermissionsBoundary` is a condition key of an action: of those
/// that change what a user or role may do.
fn tells_boundary(action: &str, kind: EntityKind) -> bool {
    let is_change = ["Put", "Delete", "Attach", "Detach"]
        .iter()
        .any(|verb| action.starts_with(verb));
    let is_of_policies = action.ends_with("Policy") || action.ends_with("PermissionsBoundary");
    kind != EntityKind::Group && is_change && is_of_policies
}
