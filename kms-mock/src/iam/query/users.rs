//! IAM: users and their access keys.

use super::{call::Call, entities::listed, write};
use crate::{
    iam::{
        credentials::Status,
        entity::{User, Who},
        error::IamError,
        ops::NewUser,
    },
    world::principal::Principal,
};

pub(super) fn create(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (form, account) = (call.form, call.account());
    let name = form.need("UserName", "userName")?;
    let (path, boundary) = (form.path(), form.get("PermissionsBoundary"));
    call.authorize_bounded(&Who::user(account, name).arn(path), boundary)?;
    let new = NewUser {
        name,
        path,
        tags: form.tags(),
        boundary,
    };
    let user = call.iam.create_user_with(account, &new)?;
    Ok(call.result(|xml| write::user(xml, &user)))
}

pub(super) fn get(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let is_root = matches!(call.caller.principal, Principal::Root { .. });
    if is_root && call.form.get("UserName").is_none() {
        return Ok(call.result(|xml| write::root_user(xml, call.caller)));
    }
    let user = call.iam.user(call.account(), named_or_calling(call)?)?;
    Ok(call.result(|xml| write::user(xml, &user)))
}

pub(super) fn list(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    listed::<User>(call, "Users", write::user_member)
}

pub(super) fn delete(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.delete_user(call.account(), call.named()?.name)?;
    Ok(call.done())
}

pub(super) fn create_key(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let user = named_or_calling(call)?;
    let credentials = call.iam.create_access_key(call.account(), user)?;
    let created = call.iam.now();
    Ok(call.result(|xml| {
        xml.element("AccessKey", |xml| {
            xml.text("UserName", user);
            xml.text("AccessKeyId", &credentials.access_key_id);
            xml.text("Status", Status::Active.name());
            xml.text("SecretAccessKey", &credentials.secret_access_key);
            xml.text("CreateDate", &write::seconds(created));
        });
    }))
}

pub(super) fn list_keys(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let user = named_or_calling(call)?;
    let keys = call.iam.access_keys(call.account(), user)?;
    Ok(call.result(|xml| {
        write::list(xml, "AccessKeyMetadata", &keys, None, |xml, key| {
            xml.text("UserName", user);
            xml.text("AccessKeyId", &key.credentials.access_key_id);
            xml.text("Status", key.status.name());
            xml.text("CreateDate", &write::seconds(key.created));
        });
    }))
}

pub(super) fn update_key(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let user = named_or_calling(call)?;
    let status = match call.form.need("Status", "status")? {
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
    set_key(call, user, status)
}

pub(super) fn delete_key(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    set_key(call, named_or_calling(call)?, Status::Deleted)
}

fn set_key(call: &Call<'_>, user: &str, status: Status) -> Result<Vec<u8>, IamError> {
    let id = call.form.need("AccessKeyId", "accessKeyId")?;
    call.iam.set_access_key(call.account(), user, id, status)?;
    Ok(call.done())
}

/// The user that the form names or that calls, if the caller may do this to it.
fn named_or_calling<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    let user = call.user_name()?;
    call.authorize_entity(Who::user(call.account(), user))?;
    Ok(user)
}
