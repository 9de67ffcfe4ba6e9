//! IAM: managed policies of the account.

use super::{call::Call, entities::listed_tags, write};
use crate::iam::{error::IamError, managed::ManagedPolicy, ops::NewPolicy};

pub(super) fn create(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (form, account) = (call.form, call.account());
    let (name, path) = (form.need("PolicyName", "policyName")?, form.path());
    call.authorize(&format!("arn:aws:iam::{account}:policy{path}{name}"))?;
    let new = NewPolicy {
        name,
        path,
        document: form.need("PolicyDocument", "policyDocument")?,
        description: form.get("Description"),
        tags: form.tags(),
    };
    let policy = call.iam.create_policy(account, &new)?;
    Ok(call.result(|xml| {
        xml.element("Policy", |xml| {
            write::policy_member(xml, call.iam, account, &policy);
            write::some_tags(xml, &policy.tags);
        });
    }))
}

pub(super) fn get(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let policy = policy(call)?;
    Ok(call.result(|xml| {
        xml.element("Policy", |xml| {
            write::policy(xml, call.iam, call.account(), &policy);
        });
    }))
}

pub(super) fn list(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let account = call.account();
    call.authorize(&format!("arn:aws:iam::{account}:policy/"))?;
    let policies = match call.form.get("Scope") {
        Some("AWS") => Vec::new(),
        _ => call.iam.managed_policies(account, call.form.path_prefix()),
    };
    let (page, marker) = call.page(policies, |it| &it.arn)?;
    Ok(call.result(|xml| {
        write::list(xml, "Policies", &page, marker.as_deref(), |xml, policy| {
            write::policy_member(xml, call.iam, account, policy);
        });
    }))
}

pub(super) fn delete(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.delete_managed_policy(call.account(), arn(call)?)?;
    Ok(call.done())
}

pub(super) fn tag(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam
        .tag_policy(call.account(), arn(call)?, call.form.tags())?;
    Ok(call.done())
}

pub(super) fn untag(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let keys = call.form.members("TagKeys", "");
    call.iam.untag_policy(call.account(), arn(call)?, &keys)?;
    Ok(call.done())
}

pub(super) fn list_tags(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    listed_tags(call, &policy(call)?.tags)
}

pub(super) fn create_version(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let form = call.form;
    let document = form.need("PolicyDocument", "policyDocument")?;
    let as_default = form.get("SetAsDefault") == Some("true");
    let policy =
        call.iam
            .create_policy_version(call.account(), arn(call)?, document, as_default)?;
    let newest = policy.versions.last_key_value();
    let (number, version) = newest.expect("a version was made just now");
    Ok(call.result(|xml| {
        xml.element("PolicyVersion", |xml| {
            write::policy_version(xml, *number, policy.default, version, false);
        });
    }))
}

pub(super) fn get_version(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (arn, version) = (arn(call)?, version(call)?);
    let (policy, number, found) = call.iam.policy_version(call.account(), arn, version)?;
    Ok(call.result(|xml| {
        xml.element("PolicyVersion", |xml| {
            write::policy_version(xml, number, policy.default, &found, true);
        });
    }))
}

pub(super) fn list_versions(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let policy = policy(call)?;
    let versions: Vec<_> = policy.versions.iter().rev().collect();
    let default = policy.default;
    Ok(call.result(|xml| {
        write::list(
            xml,
            "Versions",
            &versions,
            None,
            |xml, (number, version)| {
                write::policy_version(xml, **number, default, version, false);
            },
        );
    }))
}

pub(super) fn set_default_version(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (arn, version) = (arn(call)?, version(call)?);
    call.iam.set_default_version(call.account(), arn, version)?;
    Ok(call.done())
}

pub(super) fn delete_version(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (arn, version) = (arn(call)?, version(call)?);
    call.iam
        .delete_policy_version(call.account(), arn, version)?;
    Ok(call.done())
}

/// The policy that the form names, if the caller may do this to it.
fn policy(call: &Call<'_>) -> Result<ManagedPolicy, IamError> {
    call.iam.managed_policy(call.account(), arn(call)?)
}

/// Its ARN.
fn arn<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    let arn = call.form.need("PolicyArn", "policyArn")?;
    call.authorize(arn)?;
    Ok(arn)
}

fn version<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    call.form.need("VersionId", "versionId")
}
