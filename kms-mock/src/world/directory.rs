//! Who there is: the unique id behind the ARN of a user, a role or a session.
//!
//! Source of truth: IAM user guide, "IAM identifiers" ("Unique identifiers") and
//! "AWS JSON policy elements: Principal": a policy that names a user or role keeps its
//! unique id, so that it does not reach another one that is made under the same name.
//!
//! A world keeps an account when anything of IAM was ever made in it: a user, a role, a
//! group or a managed policy. Of such an account every principal is known, and one that
//! is not there does not exist, as on AWS. An account in which nothing was made is a
//! stranger's, or that of somebody who uses no IAM here: its principals are mere names.
//!
//! Does not model federated users and identity providers, which have no unique id.

use std::{fmt, sync::Arc};

/// Who there is.
pub(crate) trait Directory: fmt::Debug + Send + Sync {
    /// What stands behind the ARN of a user, a role or a session of a role.
    fn behind(&self, arn: &str) -> Behind;

    /// Whether an identity with this unique id is there now.
    fn is_there(&self, unique_id: &str) -> bool;
}

/// What stands behind an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Its account is not kept: the ARN is a mere name.
    NotKept,
    /// Its account is kept and has no such user or role.
    Nobody,
    /// `AIDA…` or `AROA…`; of a session its role's.
    Id(Arc<str>),
}

/// Keeps no account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoDirectory;

impl Directory for NoDirectory {
    fn behind(&self, _arn: &str) -> Behind {
        Behind::NotKept
    }

    fn is_there(&self, _unique_id: &str) -> bool {
        true
    }
}
