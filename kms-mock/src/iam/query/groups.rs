//! IAM: groups and their members. Their policies are answered as those of users.

use super::{
    call::Call,
    entities::{listed, page_of},
    write,
};
use crate::iam::{
    entity::{Group, Who},
    error::IamError,
    service::Iam,
};

pub(super) fn create(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (account, path) = (call.account(), call.form.path());
    let name = call.form.need("GroupName", "groupName")?;
    call.authorize(&Who::group(account, name).arn(path))?;
    let group = call.iam.create_group(account, path, name)?;
    Ok(call.result(|xml| {
        xml.element("Group", |xml| write::group_member(xml, &group));
    }))
}

pub(super) fn get(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let account = call.account();
    let group = call.iam.group(account, call.named()?.name)?;
    let members = call.iam.members(account, &group.entity.name);
    let (page, marker) = call.page(members, |it| &it.entity.name)?;
    Ok(call.result(|xml| {
        xml.element("Group", |xml| write::group_member(xml, &group));
        write::list(xml, "Users", &page, marker.as_deref(), write::user_member);
    }))
}

pub(super) fn list(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    listed::<Group>(call, "Groups", write::group_member)
}

pub(super) fn list_of_user(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let user = call.form.need("UserName", "userName")?;
    call.authorize_entity(Who::user(call.account(), user))?;
    let groups = call.iam.groups_of(call.account(), user)?;
    page_of(call, "Groups", groups, write::group_member)
}

pub(super) fn delete(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.delete_group(call.account(), call.named()?.name)?;
    Ok(call.done())
}

pub(super) fn add_user(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    change_member(call, Iam::add_to_group)
}

pub(super) fn remove_user(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    change_member(call, Iam::remove_from_group)
}

fn change_member(
    call: &Call<'_>,
    change: impl FnOnce(&Iam, &str, &str, &str) -> Result<(), IamError>,
) -> Result<Vec<u8>, IamError> {
    let group = call.named()?.name;
    let user = call.form.need("UserName", "userName")?;
    change(call.iam, call.account(), group, user)?;
    Ok(call.done())
}
