//! STS and IAM over the AWS query protocol: a form with `Action` in, XML out.
//!
//! Source of truth: STS API version 2011-06-15 and IAM API version 2010-05-08;
//! every operation here asks the caller's own policies first, as IAM does
//! (GetCallerIdentity and GetSessionToken ask none). What a session of a user or a
//! federated user may not call at all: IAM user guide, "Compare AWS STS
//! credentials"; its refusal of a federated user by STS is in words of our own.

mod call;
mod entities;
mod form;
mod groups;
mod operations;
mod policies;
mod roles;
mod sts;
#[cfg(test)]
mod tests;
mod users;
mod write;

use self::{
    call::{Call, Service},
    operations::{Operation, named},
};
use crate::{
    iam::{
        error::IamError,
        identity::{Connection, Identity},
        service::Iam,
    },
    wire::xml::Xml,
    world::principal::Principal,
};

pub(crate) use self::form::Form;

/// An answer of the query protocol.
#[derive(Debug)]
pub(crate) struct FormAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Code of an error.
    pub(crate) error: Option<&'static str>,
}

/// `sts` or `iam`, which is also what answers an operation that neither has.
pub(crate) fn service(action: &str) -> &'static str {
    service_of(action).prefix()
}

/// Whether an operation changes nothing and hands out no credentials; not so of one
/// that is not known.
pub(crate) fn only_reads(action: &str) -> bool {
    named(action).is_some_and(|it| it.action.only_reads)
}

fn service_of(action: &str) -> Service {
    named(action).map_or(Service::Iam, |it| it.action.service)
}

/// Answers one STS or IAM call.
pub(crate) fn answer(
    iam: &Iam,
    (caller, connection): (&Identity, Connection<'_>),
    form: &Form,
    request_id: &str,
) -> FormAnswer {
    match answered(iam, (caller, connection), form, request_id) {
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
    let namespace = service_of(action).namespace();
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

fn answered(
    iam: &Iam,
    (caller, connection): (&Identity, Connection<'_>),
    form: &Form,
    request_id: &str,
) -> Result<Vec<u8>, IamError> {
    let is_role_session = matches!(caller.principal, Principal::AssumedRole { .. });
    let of_iam = service_of(form.action()) == Service::Iam;
    if of_iam && caller.is_session() && !is_role_session {
        return Err(IamError::TokenNotAccepted);
    }
    let Some(Operation { action, answer }) = named(form.action()) else {
        let version = form.get("Version").unwrap_or_default();
        return Err(IamError::InvalidAction {
            action: form.action().chars().take(128).collect(),
            version: version.chars().take(32).collect(),
        });
    };
    answer(&Call {
        action,
        iam,
        caller,
        form,
        // IAM is global, and answers in us-east-1.
        connection: Connection {
            region: match action.service {
                Service::Iam => Some("us-east-1"),
                Service::Sts => connection.region,
            },
            ..connection
        },
        request_id,
    })
}
