//! IAM: groups and their members. Their policies are answered as those of users.

use super::{Call, IAM, IamError, iam, write};
use crate::iam::{Iam, Who};

/// Whether an action is about groups alone.
pub(super) fn knows(action: &str) -> bool {
    matches!(
        action,
        "CreateGroup"
            | "GetGroup"
            | "ListGroups"
            | "DeleteGroup"
            | "AddUserToGroup"
            | "RemoveUserFromGroup"
            | "ListGroupsForUser"
    )
}

pub(super) fn answer(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (iam, form, account) = (call.iam, call.form, call.account());
    Ok(match call.action() {
        "CreateGroup" => {
            let path = form.get("Path").unwrap_or("/");
            let name = form.need("GroupName", "groupName")?;
            call.authorize(&Who::group(account, name).arn(path))?;
            let group = iam.create_group(account, path, name)?;
            call.result(IAM, |xml| {
                xml.element("Group", |xml| write::group_member(xml, &group));
            })
        }
        "GetGroup" => {
            let group = iam.group(account, group_name(call)?)?;
            let members = iam.members(account, &group.entity.name);
            let (page, marker) = call.page(members, |it| &it.entity.name)?;
            call.result(IAM, |xml| {
                xml.element("Group", |xml| write::group_member(xml, &group));
                write::list(xml, "Users", &page, marker.as_deref(), write::user_member);
            })
        }
        "ListGroups" => {
            let path_prefix = form.get("PathPrefix").unwrap_or("/");
            call.authorize(&format!("arn:aws:iam::{account}:group{path_prefix}"))?;
            listed(call, iam.groups(account, path_prefix))?
        }
        "ListGroupsForUser" => {
            let user = form.need("UserName", "userName")?;
            iam::authorize_entity(call, Who::user(account, user))?;
            listed(call, iam.groups_of(account, user)?)?
        }
        "DeleteGroup" => {
            iam.delete_group(account, group_name(call)?)?;
            call.done()
        }
        "AddUserToGroup" => member(call, Iam::add_to_group)?,
        // RemoveUserFromGroup, by `knows`.
        _ => member(call, Iam::remove_from_group)?,
    })
}

fn listed(call: &Call<'_>, groups: Vec<super::super::Group>) -> Result<Vec<u8>, IamError> {
    let (page, marker) = call.page(groups, |it| &it.entity.name)?;
    Ok(call.result(IAM, |xml| {
        write::list(xml, "Groups", &page, marker.as_deref(), write::group_member);
    }))
}

fn member(
    call: &Call<'_>,
    change: impl FnOnce(&Iam, &str, &str, &str) -> Result<(), IamError>,
) -> Result<Vec<u8>, IamError> {
    let group = group_name(call)?;
    let user = call.form.need("UserName", "userName")?;
    change(call.iam, call.account(), group, user)?;
    Ok(call.done())
}

/// The group that the form names, if the caller may do this to it.
fn group_name<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    let name = call.form.need("GroupName", "groupName")?;
    iam::authorize_entity(call, Who::group(call.account(), name))?;
    Ok(name)
}
