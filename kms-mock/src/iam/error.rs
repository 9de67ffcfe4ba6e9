//! Why IAM or STS refused: AWS's error codes and texts.
//!
//! Source of truth: AWS IAM and STS API references, "Errors" of each operation.

use super::document::DocumentError;
use crate::store::Unwritten;

/// Why IAM or STS refused. The variants are AWS's error codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IamError {
    /// ServiceFailure: the data directory could not be written; nothing was
    /// changed.
    #[error("The request processing has failed because of an unknown error, exception or failure.")]
    ServiceFailure(#[from] Unwritten),
    /// NoSuchEntity: there is no such user, role, or policy of one.
    #[error("The {kind} with name {name} cannot be found.")]
    NoSuchEntity {
        /// `user`, `role`, `role policy` or `user policy`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// NoSuchEntity: there is no such access key.
    #[error("The Access Key with id {id} cannot be found.")]
    NoSuchAccessKey {
        /// Its id.
        id: String,
    },
    /// NoSuchEntity: there is no managed policy of this ARN.
    #[error("Policy {arn} was not found.")]
    NoSuchPolicy {
        /// Its ARN.
        arn: String,
    },
    /// NoSuchEntity: a managed policy cannot be attached, or has no such version.
    #[error("Policy {what} does not exist or is not attachable.")]
    NotAttachable {
        /// The ARN, or ARN and version.
        what: String,
    },
    /// EntityAlreadyExists.
    #[error("{kind} with name {name} already exists.")]
    EntityAlreadyExists {
        /// `User` or `Role`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// EntityAlreadyExists: of a managed policy.
    #[error("A policy called {name} already exists. Duplicate names are not allowed.")]
    PolicyAlreadyExists {
        /// Its name.
        name: String,
    },
    /// DeleteConflict: what is to be deleted is still in use.
    #[error("Cannot delete {0}")]
    DeleteConflict(&'static str),
    /// MalformedPolicyDocument.
    #[error("{0}")]
    MalformedPolicyDocument(#[from] DocumentError),
    /// LimitExceeded.
    #[error("Cannot exceed quota for {quota}: {max}")]
    LimitExceeded {
        /// AWS's name of the quota.
        quota: &'static str,
        /// Its value.
        max: usize,
    },
    /// InvalidInput: well formed, and refused all the same.
    #[error("{0}")]
    InvalidInput(&'static str),
    /// ValidationError: a parameter has the wrong form.
    #[error(
        "1 validation error detected: Value '{value}' at '{parameter}' failed to satisfy \
         constraint: {constraint}"
    )]
    Validation {
        /// The parameter, `roleName`.
        parameter: &'static str,
        /// What was given.
        value: String,
        /// What is asked for.
        constraint: &'static str,
    },
    /// ValidationError: a parameter is missing.
    #[error(
        "1 validation error detected: Value null at '{0}' failed to satisfy constraint: Member must not be null"
    )]
    MissingParameter(&'static str),
    /// ValidationError: an ARN that is none.
    #[error("{0} is invalid")]
    InvalidArn(String),
    /// ValidationError: the session would be longer than it may be.
    #[error("The requested DurationSeconds exceeds the {limit}")]
    SessionTooLong {
        /// Which limit.
        limit: &'static str,
    },
    /// ValidationError: no user was named, and the caller is none.
    #[error("Must specify userName when calling with non-User credentials")]
    UserNotNamed,
    /// AccessDenied.
    #[error(
        "User: {caller} is not authorized to perform: {action} on resource: {resource}{because}"
    )]
    AccessDenied {
        /// The caller's ARN.
        caller: String,
        /// `sts:AssumeRole`.
        action: String,
        /// ARN.
        resource: String,
        /// AWS's reason, with a leading space, or nothing.
        because: String,
    },
    /// AccessDenied: a session asks for a session of its own.
    #[error("Cannot call GetSessionToken with session credentials")]
    SessionOfSession,
    /// InvalidAction: no such operation here.
    #[error("Could not find operation {action} for version {version}")]
    InvalidAction {
        /// The `Action` parameter.
        action: String,
        /// The `Version` parameter.
        version: String,
    },
}

impl IamError {
    /// AWS's code and HTTP status.
    pub(super) fn code(&self) -> (&'static str, u16) {
        match self {
            Self::NoSuchEntity { .. }
            | Self::NoSuchAccessKey { .. }
            | Self::NoSuchPolicy { .. }
            | Self::NotAttachable { .. } => ("NoSuchEntity", 404),
            Self::EntityAlreadyExists { .. } | Self::PolicyAlreadyExists { .. } => {
                ("EntityAlreadyExists", 409)
            }
            Self::DeleteConflict(_) => ("DeleteConflict", 409),
            Self::MalformedPolicyDocument(_) => ("MalformedPolicyDocument", 400),
            Self::LimitExceeded { .. } => ("LimitExceeded", 409),
            Self::InvalidInput(_) => ("InvalidInput", 400),
            Self::Validation { .. }
            | Self::MissingParameter(_)
            | Self::UserNotNamed
            | Self::InvalidArn(_)
            | Self::SessionTooLong { .. } => ("ValidationError", 400),
            Self::AccessDenied { .. } | Self::SessionOfSession => ("AccessDenied", 403),
            Self::InvalidAction { .. } => ("InvalidAction", 400),
            Self::ServiceFailure(_) => ("ServiceFailure", 500),
        }
    }
}
