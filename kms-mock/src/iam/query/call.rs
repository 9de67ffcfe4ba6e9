//! One call: what is asked, by whom, of which world; what every operation of IAM and STS
//! does alike: asks whether it may, reads a page, writes its answer.
//!
//! Source of truth: IAM API reference, "Common parameters" and `Marker`, `MaxItems` of
//! the lists.

use std::collections::BTreeMap;

use crate::{
    iam::{
        entity::{EntityKind, Who},
        error::IamError,
        identity::{Connection, Identity},
        query::form::Form,
        service::Iam,
    },
    policy::Facts,
    wire::xml::Xml,
    world::principal::{Principal, name_of},
};

/// Which of the two services an operation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Sts,
    Iam,
}

impl Service {
    /// As policies name it.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Iam => "iam",
        }
    }

    pub(super) fn namespace(self) -> &'static str {
        match self {
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
        }
    }
}

/// What is known of an operation before it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) service: Service,
    /// What it is about, if that is a role, user or group.
    pub(super) about: Option<EntityKind>,
    /// Whether `iam:PermissionsBoundary` is one of its condition keys.
    pub(super) tells_boundary: bool,
    /// Whether it changes nothing and hands out no credentials.
    pub(super) only_reads: bool,
}

/// One call: what is asked, by whom, of which world.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) action: &'static Action,
    pub(super) iam: &'a Iam,
    pub(super) caller: &'a Identity,
    pub(super) form: &'a Form,
    pub(super) connection: Connection<'a>,
    pub(super) request_id: &'a str,
}

impl<'a> Call<'a> {
    pub(super) fn account(&self) -> &'a str {
        self.caller.principal.account()
    }

    /// Whether the caller's own policies allow this operation on `resource`.
    pub(super) fn authorize(&self, resource: &str) -> Result<(), IamError> {
        self.authorize_bounded(resource, None)
    }

    /// The same where `iam:PermissionsBoundary` has a value.
    pub(super) fn authorize_bounded(
        &self,
        resource: &str,
        boundary: Option<&str>,
    ) -> Result<(), IamError> {
        let Action { name, service, .. } = self.action;
        let action = format!("{}:{name}", service.prefix());
        let policy = self.form.get("PolicyArn");
        let attaches = name.starts_with("Attach") || name.starts_with("Detach");
        let others: Vec<(&str, &str)> = [
            ("iam:permissionsboundary", boundary),
            ("iam:policyarn", policy.filter(|_| attaches)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        let tags: BTreeMap<String, String> = self.form.tags().into_iter().collect();
        let tag_keys = self.form.members("TagKeys", "");
        let facts = Facts {
            others: &others,
            request_tags: (!tags.is_empty()).then_some(&tags),
            request_tag_keys: (!tag_keys.is_empty()).then_some(&tag_keys),
            ..Facts::default()
        };
        let when = (self.connection, self.iam.now());
        self.caller.authorize(&action, resource, &facts, when)
    }

    /// The role, user or group that the form names, if the caller may do this to it.
    pub(super) fn named(&self) -> Result<Who<'a>, IamError> {
        let kind = self
            .action
            .about
            .expect("the table says what such an operation is about");
        let (parameter, shown) = named_by(kind);
        let who = Who::of(kind, self.account(), self.form.need(parameter, shown)?);
        self.authorize_entity(who)?;
        Ok(who)
    }

    /// Asks for the ARN that the entity has, or would have at the root path.
    pub(super) fn authorize_entity(&self, who: Who<'_>) -> Result<(), IamError> {
        let entity = self.iam.entity(who).ok();
        let there = entity.as_ref().and_then(|it| it.boundary.as_deref());
        let boundary = self.form.get("PermissionsBoundary").or(there);
        let boundary = boundary.filter(|_| self.action.tells_boundary);
        match &entity {
            Some(entity) => self.authorize_bounded(&entity.arn, boundary),
            None => self.authorize_bounded(&who.arn("/"), boundary),
        }
    }

    /// The answer with a result.
    pub(super) fn result(&self, write: impl FnOnce(&mut Xml)) -> Vec<u8> {
        self.response(|xml, action| {
            xml.element(&format!("{action}Result"), write);
        })
    }

    /// The answer of an operation that has no result.
    pub(super) fn done(&self) -> Vec<u8> {
        self.response(|_, _| {})
    }

    fn response(&self, write: impl FnOnce(&mut Xml, &str)) -> Vec<u8> {
        let mut xml = Xml::default();
        let Action { name, service, .. } = self.action;
        xml.root(&format!("{name}Response"), service.namespace(), |xml| {
            write(xml, name);
            xml.element("ResponseMetadata", |xml| {
                xml.text("RequestId", self.request_id);
            });
        });
        xml.into_bytes()
    }

    /// One page of a list by the `Marker` and `MaxItems` of the request; items
    /// are told apart by `name`.
    pub(super) fn page<T>(
        &self,
        items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<String>), IamError> {
        let max = match self.form.get("MaxItems") {
            None => 100,
            Some(text) => match text.parse() {
                Ok(max @ 1..=1_000) => max,
                _ => {
                    return Err(IamError::Validation {
                        parameter: "maxItems",
                        value: text.chars().take(64).collect(),
                        constraint: "Member must have value between 1 and 1000",
                    });
                }
            },
        };
        let after = self.form.get("Marker");
        let mut left = items
            .into_iter()
            .skip_while(|it| after.is_some_and(|after| name(it) <= after));
        let page: Vec<T> = left.by_ref().take(max).collect();
        let more = left.next().is_some();
        let marker = page.last().filter(|_| more).map(|it| name(it).to_owned());
        Ok((page, marker))
    }

    /// Whose access keys or data: the user named, or the caller if it is one.
    pub(super) fn user_name(&self) -> Result<&'a str, IamError> {
        match (self.form.get("UserName"), &self.caller.principal) {
            (Some(name), _) => Ok(name),
            (None, Principal::User { path_name, .. }) => Ok(name_of(path_name)),
            (None, _) => Err(IamError::UserNotNamed),
        }
    }
}

/// The parameter that names an entity, and how refusals show it.
pub(super) fn named_by(kind: EntityKind) -> (&'static str, &'static str) {
    match kind {
        EntityKind::Role => ("RoleName", "roleName"),
        EntityKind::User => ("UserName", "userName"),
        EntityKind::Group => ("GroupName", "groupName"),
    }
}
