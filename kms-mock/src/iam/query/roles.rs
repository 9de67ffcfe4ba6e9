//! IAM: roles. Their policies, boundaries and tags are answered as those of users.

use super::{call::Call, entities::listed, write};
use crate::iam::{
    entity::{Role, Who},
    error::IamError,
    ops::NewRole,
};

pub(super) fn create(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (form, account) = (call.form, call.account());
    let name = form.need("RoleName", "roleName")?;
    let (path, boundary) = (form.path(), form.get("PermissionsBoundary"));
    call.authorize_bounded(&Who::role(account, name).arn(path), boundary)?;
    let max_session = form.seconds("MaxSessionDuration", "maxSessionDuration")?;
    let trust = form.need("AssumeRolePolicyDocument", "assumeRolePolicyDocument")?;
    let mut new = NewRole {
        path,
        description: form.get("Description"),
        tags: form.tags(),
        boundary,
        ..NewRole::named(name, trust)
    };
    new.max_session = max_session.unwrap_or(new.max_session);
    let role = call.iam.create_role(account, &new)?;
    // A new role shows its longest session only if the request set one.
    let shown_session = max_session.is_some();
    Ok(call.result(|xml| write::new_role(xml, &role, shown_session)))
}

pub(super) fn get(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let role = call.iam.role(call.account(), call.named()?.name)?;
    Ok(call.result(|xml| write::role(xml, &role)))
}

pub(super) fn list(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    listed::<Role>(call, "Roles", write::role_member)
}

pub(super) fn update(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let who = call.named()?;
    let max_session = call
        .form
        .seconds("MaxSessionDuration", "maxSessionDuration")?;
    let description = call.form.get("Description");
    call.iam
        .update_role(call.account(), who.name, description, max_session)?;
    Ok(call.result(|_| {}))
}

pub(super) fn update_description(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (who, account) = (call.named()?, call.account());
    let description = call.form.need("Description", "description")?;
    call.iam
        .update_role(account, who.name, Some(description), None)?;
    let role = call.iam.role(account, who.name)?;
    Ok(call.result(|xml| write::described_role(xml, &role)))
}

pub(super) fn update_trust(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let who = call.named()?;
    let document = call.form.need("PolicyDocument", "policyDocument")?;
    call.iam.set_trust(call.account(), who.name, document)?;
    Ok(call.done())
}

pub(super) fn delete(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.delete_role(call.account(), call.named()?.name)?;
    Ok(call.done())
}
