//! STS and IAM over the AWS query protocol: a form with `Action` in, XML out.
//!
//! Source of truth: STS API version 2011-06-15 and IAM API version 2010-05-08;
//! every operation here asks the caller's own policies first, as IAM does
//! (GetCallerIdentity and GetSessionToken ask none). What a session of a user or a
//! federated user may not call at all: IAM user guide, "Compare AWS STS
//! credentials"; its refusal of a federated user by STS is in words of our own.

mod groups;
mod iam;
mod sts;
#[cfg(test)]
mod tests;
mod write;

use std::{collections::BTreeMap, time::Duration};

use super::{EntityKind, Iam, IamError, Identity};
use crate::{wire::xml::Xml, world::principal::Principal};

const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const IAM: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// More parameters than any operation here takes.
const PARAMETERS_MAX: usize = 200;
/// Members of a list, tags or ARNs, that are read.
const MEMBERS_MAX: usize = 60;

/// An answer of the query protocol.
#[derive(Debug)]
pub(crate) struct FormAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Code of an error.
    pub(crate) error: Option<&'static str>,
}

/// The parameters of one request.
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// Parameters of the query string and the body together.
    pub(crate) fn parse(query: &str, body: &[u8]) -> Self {
        let from_query = url::form_urlencoded::parse(query.as_bytes());
        let from_body = url::form_urlencoded::parse(body);
        let pairs = from_query.chain(from_body).take(PARAMETERS_MAX);
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    pub(crate) fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn need(&self, name: &str, shown: &'static str) -> Result<&str, IamError> {
        self.get(name).ok_or(IamError::MissingParameter(shown))
    }

    fn seconds(&self, name: &str, shown: &'static str) -> Result<Option<Duration>, IamError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let seconds = text.parse().map(Duration::from_secs);
        seconds.map(Some).map_err(|_| IamError::Validation {
            parameter: shown,
            value: text.chars().take(64).collect(),
            constraint: "Member must be a number of seconds",
        })
    }

    /// `Name.member.1`, `Name.member.2` and so on, with what follows them.
    fn members(&self, name: &str, after: &str) -> Vec<String> {
        let members = (1..=MEMBERS_MAX).map_while(|i| {
            let member = format!("{name}.member.{i}{after}");
            self.get(&member).map(str::to_owned)
        });
        members.collect()
    }

    fn tags(&self) -> Vec<(String, String)> {
        let keys = self.members("Tags", ".Key");
        let values = self.members("Tags", ".Value");
        keys.into_iter().zip(values).collect()
    }
}

/// `sts` or `iam`.
pub(crate) fn service(action: &str) -> &'static str {
    if sts::knows(action) { "sts" } else { "iam" }
}

/// Answers one STS or IAM call.
pub(crate) fn answer(iam: &Iam, caller: &Identity, form: &Form, request_id: &str) -> FormAnswer {
    let call = Call {
        iam,
        caller,
        form,
        request_id,
    };
    match call.answer() {
        Ok(body) => FormAnswer {
            status: 200,
            body,
            error: None,
        },
        Err(error) => {
            let (code, status) = error.code();
            refusal(form.action(), code, status, &error.to_string(), request_id)
        }
    }
}

/// An error of the query protocol.
pub(crate) fn refusal(
    action: &str,
    code: &'static str,
    status: u16,
    message: &str,
    request_id: &str,
) -> FormAnswer {
    let mut xml = Xml::default();
    let namespace = if sts::knows(action) { STS } else { IAM };
    xml.root("ErrorResponse", namespace, |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", "Sender");
            xml.text("Code", code);
            xml.text("Message", message);
        });
        xml.text("RequestId", request_id);
    });
    FormAnswer {
        status,
        body: xml.into_bytes(),
        error: Some(code),
    }
}

/// One call: what is asked, by whom, of which world.
struct Call<'a> {
    iam: &'a Iam,
    caller: &'a Identity,
    form: &'a Form,
    request_id: &'a str,
}

impl<'a> Call<'a> {
    fn action(&self) -> &'a str {
        self.form.action()
    }

    fn account(&self) -> &'a str {
        self.caller.principal.account()
    }

    fn answer(&self) -> Result<Vec<u8>, IamError> {
        let is_role_session = matches!(self.caller.principal, Principal::AssumedRole { .. });
        if sts::knows(self.action()) {
            return sts::answer(self);
        }
        if self.caller.is_session() && !is_role_session {
            return Err(IamError::TokenNotAccepted);
        }
        if groups::knows(self.action()) {
            return groups::answer(self);
        }
        iam::answer(self)
    }

    /// Whether the caller's own policies allow this operation on `resource`.
    fn authorize(&self, resource: &str) -> Result<(), IamError> {
        self.authorize_bounded(resource, None)
    }

    /// The same where `iam:PermissionsBoundary` has a value.
    fn authorize_bounded(&self, resource: &str, boundary: Option<&str>) -> Result<(), IamError> {
        let action = format!("{}:{}", service(self.action()), self.action());
        let boundary = boundary.map(|arn| ("iam:permissionsboundary", arn));
        let others = boundary.as_slice();
        self.caller
            .authorize(&action, resource, others, self.iam.now())
    }

    /// The answer with a result.
    fn result(&self, namespace: &str, write: impl FnOnce(&mut Xml)) -> Vec<u8> {
        self.response(namespace, |xml, action| {
            xml.element(&format!("{action}Result"), write);
        })
    }

    /// The answer of an operation that has no result.
    fn done(&self) -> Vec<u8> {
        self.response(IAM, |_, _| {})
    }

    fn response(&self, namespace: &str, write: impl FnOnce(&mut Xml, &str)) -> Vec<u8> {
        let mut xml = Xml::default();
        let action = self.action();
        xml.root(&format!("{action}Response"), namespace, |xml| {
            write(xml, action);
            xml.element("ResponseMetadata", |xml| {
                xml.text("RequestId", self.request_id);
            });
        });
        xml.into_bytes()
    }

    /// One page of a list by the `Marker` and `MaxItems` of the request; items
    /// are told apart by `name`.
    fn page<T>(
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
        let after = self.form.get("Marker").unwrap_or_default();
        let mut left = items
            .into_iter()
            .skip_while(|it| !after.is_empty() && name(it) <= after);
        let page: Vec<T> = left.by_ref().take(max).collect();
        let more = left.next().is_some();
        let marker = page.last().filter(|_| more).map(|it| name(it).to_owned());
        Ok((page, marker))
    }

    /// Whose access keys or data: the user named, or the caller if it is one.
    fn user_name(&self) -> Result<&'a str, IamError> {
        match (self.form.get("UserName"), &self.caller.principal) {
            (Some(name), _) => Ok(name),
            (None, Principal::User { path_name, .. }) => {
                Ok(path_name.rsplit('/').next().unwrap_or_default())
            }
            (None, _) => Err(IamError::UserNotNamed),
        }
    }
}

/// Which kind of entity an action is about, and what names it.
fn kind_of(action: &str) -> (EntityKind, &'static str, &'static str) {
    if action.contains("Role") {
        (EntityKind::Role, "RoleName", "roleName")
    } else if action.contains("Group") {
        (EntityKind::Group, "GroupName", "groupName")
    } else {
        (EntityKind::User, "UserName", "userName")
    }
}
