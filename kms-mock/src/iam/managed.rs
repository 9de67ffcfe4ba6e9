//! Managed policies: those of the account with their versions, and the few of
//! AWS's that are known here word for word.
//!
//! Source of truth: AWS IAM user guide, "Versioning IAM policies"; AWS managed
//! policy reference. A policy of AWS that is not known here cannot be attached:
//! to guess what it allows would be to allow it.

use std::collections::BTreeMap;

use nsm_sim::clock::UnixMillis;

use super::{document::Document, error::IamError, names::Tags};

/// A managed policy of an account.
#[derive(Clone, Debug)]
pub struct ManagedPolicy {
    /// ARN with path.
    pub arn: String,
    /// Name without path.
    pub name: String,
    /// `/` or `/path/`.
    pub path: String,
    /// `ANPA…`.
    pub id: String,
    /// When it was made.
    pub created: UnixMillis,
    /// When its versions last changed.
    pub updated: UnixMillis,
    /// What it is for.
    pub description: Option<String>,
    pub(super) tags: Tags,
    pub(super) versions: BTreeMap<u32, PolicyVersion>,
    pub(super) default: u32,
    pub(super) next: u32,
}

/// One version of a managed policy.
#[derive(Clone, Debug)]
pub(crate) struct PolicyVersion {
    pub(super) document: Document,
    pub(super) created: UnixMillis,
}

const AWS_PREFIX: &str = "arn:aws:iam::aws:policy/";
/// AWS's own policies that are known here, by name.
const OF_AWS: [(&str, &str); 4] = [
    (
        "AdministratorAccess",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    ),
    (
        "AWSKeyManagementServicePowerUser",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:CreateAlias","kms:CreateKey","kms:DeleteAlias","kms:Describe*","kms:GenerateRandom","kms:Get*","kms:List*","kms:TagResource","kms:UntagResource","iam:ListGroups","iam:ListRoles","iam:ListUsers"],"Resource":"*"}]}"#,
    ),
    (
        "AmazonS3FullAccess",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","s3-object-lambda:*"],"Resource":"*"}]}"#,
    ),
    (
        "AmazonS3ReadOnlyAccess",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3:Describe*","s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*"}]}"#,
    ),
];

/// A policy of AWS by ARN.
pub(super) fn of_aws(arn: &str) -> Option<Document> {
    let name = arn.strip_prefix(AWS_PREFIX)?;
    let (_, text) = OF_AWS.into_iter().find(|(known, _)| *known == name)?;
    Document::identity(text).ok()
}

impl ManagedPolicy {
    /// The document that counts.
    pub(super) fn document(&self) -> Option<&Document> {
        self.versions.get(&self.default).map(|it| &it.document)
    }
}

/// `v1`.
pub(super) fn version_name(version: u32) -> String {
    format!("v{version}")
}

/// The number in `v1`; `None` when it is too large for any version.
pub(super) fn version_number(name: &str) -> Result<Option<u32>, IamError> {
    let number = name.strip_prefix('v').unwrap_or_default();
    // What may follow a dot in AWS's pattern no version here has.
    let (digits, _) = number.split_once('.').unwrap_or((number, ""));
    let is_number = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if digits.is_empty() || !is_number {
        return Err(IamError::unfit(
            "versionId",
            r"Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?",
        ));
    }
    Ok(number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_of_aws_that_are_known_here_can_be_read() {
        for (name, _) in OF_AWS {
            assert!(of_aws(&format!("{AWS_PREFIX}{name}")).is_some(), "{name}");
        }
        assert!(of_aws("arn:aws:iam::aws:policy/ReadOnlyAccess").is_none());
        assert!(of_aws("AdministratorAccess").is_none());
    }
}
