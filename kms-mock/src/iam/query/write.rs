//! What IAM shows of its entities, as XML.

use nsm_sim::clock::UnixMillis;

use crate::{
    iam::{
        credentials::Credentials,
        document::Document,
        entity::{Entity, Group, Role, User},
        identity::Identity,
        managed::{ManagedPolicy, PolicyVersion, version_name},
        names::Tags,
        service::Iam,
    },
    wire::xml::Xml,
};

pub(super) fn credentials(xml: &mut Xml, credentials: &Credentials) {
    xml.element("Credentials", |xml| {
        xml.text("AccessKeyId", &credentials.access_key_id);
        xml.text("SecretAccessKey", &credentials.secret_access_key);
        if let Some(token) = &credentials.session_token {
            xml.text("SessionToken", token);
        }
        if let Some(expiration) = credentials.expiration {
            xml.text("Expiration", &seconds(expiration));
        }
    });
}

pub(super) fn role(xml: &mut Xml, role: &Role) {
    xml.element("Role", |xml| {
        role_member(xml, role);
        boundary_and_tags(xml, &role.entity);
        // When a role was last used is not known here.
        xml.element("RoleLastUsed", |_| {});
    });
}

/// A role as its creation shows it, without its description.
pub(super) fn new_role(xml: &mut Xml, role: &Role, with_session: bool) {
    xml.element("Role", |xml| {
        role_itself(xml, role);
        if with_session {
            longest_session(xml, role);
        }
        boundary_and_tags(xml, &role.entity);
    });
}

/// A role as UpdateRoleDescription shows it, without its longest session.
pub(super) fn described_role(xml: &mut Xml, role: &Role) {
    xml.element("Role", |xml| {
        role_itself(xml, role);
        description(xml, role);
        boundary_and_tags(xml, &role.entity);
    });
}

/// A role as a list shows it, without its boundary and tags.
pub(super) fn role_member(xml: &mut Xml, role: &Role) {
    role_itself(xml, role);
    description(xml, role);
    longest_session(xml, role);
}

fn description(xml: &mut Xml, role: &Role) {
    if let Some(description) = &role.description {
        xml.text("Description", description);
    }
}

fn role_itself(xml: &mut Xml, role: &Role) {
    entity(xml, &role.entity, ("RoleName", "RoleId"));
    xml.text("AssumeRolePolicyDocument", &encoded(&role.trust));
}

fn longest_session(xml: &mut Xml, role: &Role) {
    let seconds = role.max_session.as_secs().to_string();
    xml.text("MaxSessionDuration", &seconds);
}

/// What a list leaves out.
fn boundary_and_tags(xml: &mut Xml, entity: &Entity) {
    if let Some(arn) = &entity.boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "Policy");
            xml.text("PermissionsBoundaryArn", arn);
        });
    }
    some_tags(xml, &entity.tags);
}

pub(super) fn user(xml: &mut Xml, user: &User) {
    xml.element("User", |xml| {
        user_member(xml, user);
        boundary_and_tags(xml, &user.entity);
    });
}

/// A user as a list shows it, without its boundary and tags.
pub(super) fn user_member(xml: &mut Xml, user: &User) {
    entity(xml, &user.entity, ("UserName", "UserId"));
}

pub(super) fn group_member(xml: &mut Xml, group: &Group) {
    entity(xml, &group.entity, ("GroupName", "GroupId"));
}

/// The root user, who has no name.
pub(super) fn root_user(xml: &mut Xml, root: &Identity) {
    xml.element("User", |xml| {
        xml.text("UserId", &root.unique_id);
        xml.text("Arn", &root.principal.arn());
    });
}

fn entity(xml: &mut Xml, entity: &Entity, (name, id): (&str, &str)) {
    xml.text("Path", &entity.path);
    xml.text(name, &entity.name);
    xml.text(id, &entity.id);
    xml.text("Arn", &entity.arn);
    xml.text("CreateDate", &seconds(entity.created));
}

/// A policy alone: with its description, and with its tags even if it has none.
pub(super) fn policy(xml: &mut Xml, iam: &Iam, account: &str, policy: &ManagedPolicy) {
    policy_member(xml, iam, account, policy);
    if let Some(description) = &policy.description {
        xml.text("Description", description);
    }
    tags(xml, &policy.tags);
}

/// A policy as a list shows it, without its description and tags.
pub(super) fn policy_member(xml: &mut Xml, iam: &Iam, account: &str, policy: &ManagedPolicy) {
    xml.text("PolicyName", &policy.name);
    xml.text("PolicyId", &policy.id);
    xml.text("Arn", &policy.arn);
    xml.text("Path", &policy.path);
    xml.text("DefaultVersionId", &version_name(policy.default));
    let (attached, bounded) = iam.uses(account, &policy.arn);
    xml.text("AttachmentCount", &attached.to_string());
    xml.text("PermissionsBoundaryUsageCount", &bounded.to_string());
    xml.text("IsAttachable", "true");
    xml.text("CreateDate", &seconds(policy.created));
    xml.text("UpdateDate", &seconds(policy.updated));
}

pub(super) fn policy_version(
    xml: &mut Xml,
    number: u32,
    default: u32,
    version: &PolicyVersion,
    with_document: bool,
) {
    if with_document {
        xml.text("Document", &encoded(&version.document));
    }
    xml.text("VersionId", &version_name(number));
    xml.text(
        "IsDefaultVersion",
        if number == default { "true" } else { "false" },
    );
    xml.text("CreateDate", &seconds(version.created));
}

/// `<name><member>…</member>…</name>` and whether there is more.
pub(super) fn list<T>(
    xml: &mut Xml,
    name: &str,
    members: &[T],
    marker: Option<&str>,
    write: impl Fn(&mut Xml, &T),
) {
    xml.element(name, |xml| {
        for member in members {
            xml.element("member", |xml| write(xml, member));
        }
    });
    truncated(xml, marker);
}

/// The same of names.
pub(super) fn names(xml: &mut Xml, name: &str, names: &[String], marker: Option<&str>) {
    xml.element(name, |xml| {
        for name in names {
            xml.text("member", name);
        }
    });
    truncated(xml, marker);
}

fn truncated(xml: &mut Xml, marker: Option<&str>) {
    xml.text(
        "IsTruncated",
        if marker.is_some() { "true" } else { "false" },
    );
    if let Some(marker) = marker {
        xml.text("Marker", marker);
    }
}

fn tags(xml: &mut Xml, tags: &Tags) {
    xml.element("Tags", |xml| {
        for tag in tags.iter() {
            xml.element("member", |xml| tag_member(xml, tag));
        }
    });
}

pub(super) fn tag_member(xml: &mut Xml, (key, value): &(String, String)) {
    xml.text("Key", key);
    xml.text("Value", value);
}

pub(super) fn some_tags(xml: &mut Xml, kept: &Tags) {
    if kept.iter().next().is_some() {
        tags(xml, kept);
    }
}

/// A document as IAM gives it back: URL-encoded by RFC 3986.
pub(super) fn encoded(document: &Document) -> String {
    let form: String = form_urlencoded::byte_serialize(document.text().as_bytes()).collect();
    // RFC 3986 wants %20 where a form has a plus; the text holds no other plus.
    form.replace('+', "%20")
}

/// A time without fraction, `2025-12-25T16:04:18Z`.
pub(super) fn seconds(at: UnixMillis) -> String {
    UnixMillis::from_secs(at.as_secs()).to_string()
}
