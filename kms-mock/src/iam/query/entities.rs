//! IAM: what roles, users and groups have alike: lists, policies of their own and
//! attached ones, boundaries, tags.

use super::{
    call::{Call, named_by},
    write,
};
use crate::{
    iam::{error::IamError, names::Tags, state::Member},
    wire::xml::Xml,
    world::principal::name_of,
};

/// The roles, users or groups below the path that the form names, page by page.
pub(super) fn listed<M: Member>(
    call: &Call<'_>,
    element: &str,
    write_one: impl Fn(&mut Xml, &M),
) -> Result<Vec<u8>, IamError> {
    let (account, path_prefix) = (call.account(), call.form.path_prefix());
    let word = M::KIND.word();
    call.authorize(&format!("arn:aws:iam::{account}:{word}{path_prefix}"))?;
    let members = call.iam.below::<M>(account, path_prefix);
    page_of(call, element, members, write_one)
}

/// One page of roles, users or groups.
pub(super) fn page_of<M: Member>(
    call: &Call<'_>,
    element: &str,
    members: Vec<M>,
    write_one: impl Fn(&mut Xml, &M),
) -> Result<Vec<u8>, IamError> {
    let (page, marker) = call.page(members, |it| &it.entity().name)?;
    Ok(call.result(|xml| write::list(xml, element, &page, marker.as_deref(), write_one)))
}

pub(super) fn put_policy(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let who = call.named()?;
    let document = call.form.need("PolicyDocument", "policyDocument")?;
    call.iam.put_policy(who, policy_name(call)?, document)?;
    Ok(call.done())
}

pub(super) fn get_policy(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let (who, name) = (call.named()?, policy_name(call)?);
    let document = call.iam.policy_of(who, name)?;
    let (named_by, _) = named_by(who.kind);
    Ok(call.result(|xml| {
        xml.text(named_by, who.name);
        xml.text("PolicyName", name);
        xml.text("PolicyDocument", &write::encoded(&document));
    }))
}

pub(super) fn list_policies(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let entity = call.iam.entity(call.named()?)?;
    let names = entity.inline.into_keys().collect();
    let (page, marker) = call.page(names, |it: &String| it)?;
    Ok(call.result(|xml| write::names(xml, "PolicyNames", &page, marker.as_deref())))
}

pub(super) fn delete_policy(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let who = call.named()?;
    call.iam.delete_policy_of(who, policy_name(call)?)?;
    Ok(call.done())
}

pub(super) fn put_boundary(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let arn = call
        .form
        .need("PermissionsBoundary", "permissionsBoundary")?;
    call.iam.put_boundary(call.named()?, arn)?;
    Ok(call.done())
}

pub(super) fn delete_boundary(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.delete_boundary(call.named()?)?;
    Ok(call.done())
}

pub(super) fn attach(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.attach_policy(call.named()?, policy_arn(call)?)?;
    Ok(call.done())
}

pub(super) fn detach(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.detach_policy(call.named()?, policy_arn(call)?)?;
    Ok(call.done())
}

pub(super) fn list_attached(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let entity = call.iam.entity(call.named()?)?;
    let arns = entity.attached.into_iter().collect();
    let (page, marker) = call.page(arns, |it: &String| it)?;
    Ok(call.result(|xml| {
        let marker = marker.as_deref();
        write::list(xml, "AttachedPolicies", &page, marker, |xml, arn| {
            xml.text("PolicyName", name_of(arn));
            xml.text("PolicyArn", arn);
        });
    }))
}

pub(super) fn tag(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    call.iam.tag(call.named()?, call.form.tags())?;
    Ok(call.done())
}

pub(super) fn untag(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let who = call.named()?;
    call.iam.untag(who, &call.form.members("TagKeys", ""))?;
    Ok(call.done())
}

pub(super) fn list_tags(call: &Call<'_>) -> Result<Vec<u8>, IamError> {
    let entity = call.iam.entity(call.named()?)?;
    listed_tags(call, &entity.tags)
}

pub(super) fn listed_tags(call: &Call<'_>, tags: &Tags) -> Result<Vec<u8>, IamError> {
    let mut sorted: Vec<(String, String)> = tags.iter().cloned().collect();
    sorted.sort();
    let (page, marker) = call.page(sorted, |(key, _)| key)?;
    Ok(call.result(|xml| {
        write::list(xml, "Tags", &page, marker.as_deref(), write::tag_member);
    }))
}

fn policy_name<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    call.form.need("PolicyName", "policyName")
}

fn policy_arn<'a>(call: &Call<'a>) -> Result<&'a str, IamError> {
    call.form.need("PolicyArn", "policyArn")
}
