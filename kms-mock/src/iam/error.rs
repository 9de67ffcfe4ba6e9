//! Why IAM or STS refused: AWS's error codes and texts.
//!
//! Source of truth: AWS IAM and STS API references, "Errors" of each operation.

use super::document::DocumentError;
use crate::journal::Unwritten;

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
        /// `user`, `role`, `group`, or one of them with `policy` after it.
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
    /// NoSuchEntity: no policy of this ARN can be a boundary.
    #[error("Scope ARN: {arn} does not exist or is not attachable.")]
    NoSuchBoundary {
        /// Its ARN.
        arn: String,
    },
    /// EntityAlreadyExists.
    #[error("{kind} with name {name} already exists.")]
    EntityAlreadyExists {
        /// `User`, `Role` or `Group`.
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
    /// LimitExceeded: of a managed policy's versions.
    #[error(
        "A managed policy can have up to {max} versions. Before you create a new version, you \
         must delete an existing version."
    )]
    TooManyVersions {
        /// AWS's quota.
        max: usize,
    },
    /// InvalidInput: well formed, and refused all the same.
    #[error("{0}")]
    InvalidInput(&'static str),
    /// InvalidInput: a boundary that is not the ARN of a policy.
    #[error("ARN {0} is not valid.")]
    InvalidBoundaryArn(String),
    /// InvalidInput, of a session InvalidParameterValue: a tag is given twice.
    #[error("Duplicate tag keys found. Please note that Tag keys are case insensitive.")]
    DuplicateTags {
        /// Whether they are a session's.
        of_session: bool,
    },
    /// InvalidParameterValue: a key that no tag of the request has.
    #[error("The specified transitive tag key must be included in the requested tags.")]
    TransitiveTagNotAsked,
    /// InvalidParameterValue: a tag that the calling session hands on.
    #[error(
        "One of the specified transitive tag keys can't be set because it conflicts with a \
         transitive tag key from the calling session."
    )]
    TransitiveTagConflict,
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
    /// ValidationError: the same of a parameter whose value AWS does not repeat.
    #[error(
        "1 validation error detected: Value at '{parameter}' failed to satisfy constraint: {constraint}"
    )]
    Unfit {
        /// The parameter, `tags.1.member.key`.
        parameter: String,
        /// What is asked for.
        constraint: String,
    },
    /// ValidationError: a parameter is missing.
    #[error(
        "1 validation error detected: Value null at '{0}' failed to satisfy constraint: Member must not be null"
    )]
    MissingParameter(&'static str),
    /// ValidationError: not an ARN.
    #[error("{0} is invalid")]
    InvalidArn(String),
    /// ValidationError: a path of another form than `/a/b/`.
    #[error(
        "The specified value for path is invalid. It must begin and end with / and contain only \
         alphanumeric characters and/or / characters."
    )]
    InvalidPath,
    /// ValidationError: no ARN of a policy to attach.
    #[error("ARN {0} is not valid.")]
    InvalidPolicyArn(String),
    /// ValidationError: the session would be longer than it may be.
    #[error("The requested DurationSeconds exceeds the {limit}")]
    SessionTooLong {
        /// Which limit.
        limit: &'static str,
    },
    /// ValidationError: the request names no user, and the caller is not one.
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
    /// AccessDenied: the root user, by credentials of its own, wants a role.
    #[error("Roles may not be assumed by root accounts.")]
    RootAssumesRole,
    /// LimitExceeded: of the inline policies of one role, user or group together.
    #[error("Maximum policy size of {max} bytes exceeded for {kind} {name}")]
    InlineSize {
        /// AWS's quota, in characters that are not white space.
        max: usize,
        /// `role`, `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// AccessDenied: a session asks for another session.
    #[error("Cannot call {operation} with session credentials")]
    SessionOfSession {
        /// `GetSessionToken` or `GetFederationToken`.
        operation: &'static str,
    },
    /// InvalidClientTokenId: a session that may not call this service at all.
    #[error("The security token included in the request is invalid")]
    TokenNotAccepted,
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
    pub(super) fn unfit(parameter: impl Into<String>, constraint: impl Into<String>) -> Self {
        Self::Unfit {
            parameter: parameter.into(),
            constraint: constraint.into(),
        }
    }

    /// AWS's code and HTTP status.
    pub(super) fn code(&self) -> (&'static str, u16) {
        match self {
            Self::NoSuchEntity { .. }
            | Self::NoSuchAccessKey { .. }
            | Self::NoSuchPolicy { .. }
            | Self::NoSuchBoundary { .. }
            | Self::NotAttachable { .. } => ("NoSuchEntity", 404),
            Self::EntityAlreadyExists { .. } | Self::PolicyAlreadyExists { .. } => {
                ("EntityAlreadyExists", 409)
            }
            Self::DeleteConflict(_) => ("DeleteConflict", 409),
            Self::MalformedPolicyDocument(_) => ("MalformedPolicyDocument", 400),
            Self::LimitExceeded { .. } | Self::TooManyVersions { .. } | Self::InlineSize { .. } => {
                ("LimitExceeded", 409)
            }
            Self::InvalidInput(_)
            | Self::InvalidBoundaryArn(_)
            | Self::DuplicateTags { of_session: false } => ("InvalidInput", 400),
            Self::DuplicateTags { of_session: true }
            | Self::TransitiveTagNotAsked
            | Self::TransitiveTagConflict => ("InvalidParameterValue", 400),
            Self::Validation { .. }
            | Self::Unfit { .. }
            | Self::MissingParameter(_)
            | Self::InvalidPath
            | Self::InvalidPolicyArn(_)
            | Self::UserNotNamed
            | Self::InvalidArn(_)
            | Self::SessionTooLong { .. } => ("ValidationError", 400),
            Self::AccessDenied { .. } | Self::RootAssumesRole | Self::SessionOfSession { .. } => {
                ("AccessDenied", 403)
            }
            Self::TokenNotAccepted => ("InvalidClientTokenId", 403),
            Self::InvalidAction { .. } => ("InvalidAction", 400),
            Self::ServiceFailure(_) => ("ServiceFailure", 500),
        }
    }
}
