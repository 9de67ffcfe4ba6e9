//! Managed policies: those of the account with their versions, and the few of
//! AWS's that are known here word for word.
//!
//! Source of truth: AWS IAM user guide, "Versioning IAM policies"; AWS managed
//! policy reference. A policy of AWS that is not known here cannot be attached:
//! to guess what it allows would be to allow it.

use std::collections::BTreeMap;

use nsm_sim::clock::UnixMillis;

use super::{
    Document, Iam, IamError,
    credentials::unique_id,
    names::{Tags, check_name, check_path},
    state::{Change, State},
};

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
pub(super) struct PolicyVersion {
    pub(super) document: Document,
    pub(super) created: UnixMillis,
}

/// What a new managed policy is made from.
#[derive(Clone, Debug)]
pub(crate) struct NewPolicy<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    pub(crate) document: &'a str,
    pub(crate) description: Option<&'a str>,
    pub(crate) tags: Vec<(String, String)>,
}

/// AWS's default quotas.
const POLICIES_MAX: usize = 1_500;
const VERSIONS_MAX: usize = 5;
/// Characters of a managed policy, white space not counted.
const CHARACTERS_MAX: usize = 6_144;

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
fn of_aws(arn: &str) -> Option<Document> {
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

/// The number in `v1`; `None` when it is so large that there is no such version.
fn version_number(name: &str) -> Result<Option<u32>, IamError> {
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

impl Iam {
    pub(crate) fn create_policy(
        &self,
        account: &str,
        new: &NewPolicy<'_>,
    ) -> Result<ManagedPolicy, IamError> {
        check_name("policyName", new.name, 1, 128)?;
        check_path(new.path)?;
        let document = managed_document(new.document)?;
        let mut tags = Tags::default();
        tags.add(new.tags.clone())?;
        let id = self.with_rng(|rng| unique_id("ANPA", 21, rng));
        let arn = format!("arn:aws:iam::{account}:policy{}{}", new.path, new.name);
        let mut state = self.write();
        let policies = state.account(account).into_iter();
        let mut policies = policies.flat_map(|it| it.policies.values());
        if policies.any(|it| it.name == new.name) {
            let name = new.name.to_owned();
            return Err(IamError::PolicyAlreadyExists { name });
        }
        if state.account(account).map_or(0, |it| it.policies.len()) >= POLICIES_MAX {
            return Err(IamError::LimitExceeded {
                quota: "PoliciesPerAccount",
                max: POLICIES_MAX,
            });
        }
        let created = self.now();
        let policy = ManagedPolicy {
            arn,
            name: new.name.to_owned(),
            path: new.path.to_owned(),
            id,
            created,
            updated: created,
            description: new.description.map(str::to_owned),
            tags,
            versions: BTreeMap::from([(1, PolicyVersion { document, created })]),
            default: 1,
            next: 2,
        };
        let change = Change::PolicyPut {
            account: account.to_owned(),
            policy: policy.clone(),
        };
        Self::commit(&mut state, [change])?;
        Ok(policy)
    }

    pub(super) fn managed_policy(
        &self,
        account: &str,
        arn: &str,
    ) -> Result<ManagedPolicy, IamError> {
        let found = self.read().policy(account, arn).cloned();
        found.ok_or_else(|| no_policy(arn))
    }

    /// The managed policies of an account below a path, by ARN.
    pub(super) fn managed_policies(&self, account: &str, path_prefix: &str) -> Vec<ManagedPolicy> {
        let state = self.read();
        let policies = state.account(account).into_iter();
        let policies = policies.flat_map(|it| it.policies.values());
        policies
            .filter(|it| it.path.starts_with(path_prefix))
            .cloned()
            .collect()
    }

    /// How many entities a policy is attached to, and how many it bounds.
    pub(super) fn uses(&self, account: &str, arn: &str) -> (usize, usize) {
        uses(&self.read(), account, arn)
    }

    /// Adds a version; answers with its number.
    pub(super) fn create_policy_version(
        &self,
        account: &str,
        arn: &str,
        document: &str,
        as_default: bool,
    ) -> Result<ManagedPolicy, IamError> {
        let document = managed_document(document)?;
        let now = self.now();
        self.change_policy(account, arn, |policy| {
            if policy.versions.len() >= VERSIONS_MAX {
                return Err(IamError::TooManyVersions { max: VERSIONS_MAX });
            }
            let version = PolicyVersion {
                document,
                created: now,
            };
            policy.versions.insert(policy.next, version);
            if as_default {
                policy.default = policy.next;
            }
            policy.next = policy.next.saturating_add(1);
            Ok(())
        })
    }

    pub(super) fn set_default_version(
        &self,
        account: &str,
        arn: &str,
        version: &str,
    ) -> Result<ManagedPolicy, IamError> {
        let number = version_number(version)?;
        self.managed_policy(account, arn)
            .map_err(|_| no_version(arn, version))?;
        self.change_policy(account, arn, |policy| {
            let known = number.filter(|it| policy.versions.contains_key(it));
            policy.default = known.ok_or_else(|| no_version(arn, version))?;
            Ok(())
        })
    }

    pub(super) fn delete_policy_version(
        &self,
        account: &str,
        arn: &str,
        version: &str,
    ) -> Result<ManagedPolicy, IamError> {
        let number = version_number(version)?;
        self.change_policy(account, arn, |policy| {
            let number = number.ok_or_else(|| no_version(arn, version))?;
            if policy.default == number {
                let what = "the default version of a policy.";
                return Err(IamError::DeleteConflict(what));
            }
            let gone = policy.versions.remove(&number);
            gone.map(drop).ok_or_else(|| no_version(arn, version))
        })
    }

    /// One version of a policy and its number.
    pub(super) fn policy_version(
        &self,
        account: &str,
        arn: &str,
        version: &str,
    ) -> Result<(ManagedPolicy, u32, PolicyVersion), IamError> {
        let number = version_number(version)?;
        let none = || no_version(arn, version);
        let policy = self.managed_policy(account, arn).map_err(|_| none())?;
        let number = number.ok_or_else(none)?;
        let found = policy.versions.get(&number).cloned();
        Ok((policy, number, found.ok_or_else(none)?))
    }

    pub(super) fn tag_policy(
        &self,
        account: &str,
        arn: &str,
        tags: Vec<(String, String)>,
    ) -> Result<ManagedPolicy, IamError> {
        self.change_policy(account, arn, |policy| policy.tags.add(tags))
    }

    pub(super) fn untag_policy(
        &self,
        account: &str,
        arn: &str,
        keys: &[String],
    ) -> Result<ManagedPolicy, IamError> {
        self.change_policy(account, arn, |policy| policy.tags.remove(keys))
    }

    pub(super) fn delete_managed_policy(&self, account: &str, arn: &str) -> Result<(), IamError> {
        let mut state = self.write();
        let policy = state.policy(account, arn).ok_or_else(|| no_policy(arn))?;
        if uses(&state, account, arn) != (0, 0) {
            let what = "a policy attached to entities.";
            return Err(IamError::DeleteConflict(what));
        }
        if policy.versions.len() > 1 {
            let what = "policy: must delete non-default versions first.";
            return Err(IamError::DeleteConflict(what));
        }
        let (account, arn) = (account.to_owned(), arn.to_owned());
        Self::commit(&mut state, [Change::PolicyGone { account, arn }])
    }

    pub(super) fn is_attachable(&self, account: &str, arn: &str) -> bool {
        of_aws(arn).is_some() || self.read().policy(account, arn).is_some()
    }

    fn change_policy(
        &self,
        account: &str,
        arn: &str,
        change: impl FnOnce(&mut ManagedPolicy) -> Result<(), IamError>,
    ) -> Result<ManagedPolicy, IamError> {
        let mut state = self.write();
        let mut policy = state
            .policy(account, arn)
            .cloned()
            .ok_or_else(|| no_policy(arn))?;
        let versions = (policy.default, policy.next, policy.versions.len());
        change(&mut policy)?;
        if versions != (policy.default, policy.next, policy.versions.len()) {
            policy.updated = self.now();
        }
        let change = Change::PolicyPut {
            account: account.to_owned(),
            policy: policy.clone(),
        };
        Self::commit(&mut state, [change])?;
        Ok(policy)
    }
}

/// The document of an attached or named policy as it is now.
pub(super) fn document_of(state: &State, account: &str, arn: &str) -> Option<Document> {
    match state.policy(account, arn) {
        Some(policy) => policy.document().cloned(),
        None => of_aws(arn),
    }
}

fn uses(state: &State, account: &str, arn: &str) -> (usize, usize) {
    let Some(account) = state.account(account) else {
        return (0, 0);
    };
    let roles = account.roles.values().map(|it| &it.entity);
    let users = account.users.values().map(|it| &it.entity);
    let groups = account.groups.values().map(|it| &it.entity);
    let entities = || roles.clone().chain(users.clone()).chain(groups.clone());
    let attached = entities().filter(|it| it.attached.contains(arn));
    let bounded = entities().filter(|it| it.boundary.as_deref() == Some(arn));
    (attached.count(), bounded.count())
}

fn managed_document(text: &str) -> Result<Document, IamError> {
    if text.chars().filter(|c| !c.is_whitespace()).count() > CHARACTERS_MAX {
        return Err(IamError::LimitExceeded {
            quota: "PolicySize",
            max: CHARACTERS_MAX,
        });
    }
    Ok(Document::identity(text)?)
}

fn no_policy(arn: &str) -> IamError {
    IamError::NoSuchPolicy {
        arn: arn.chars().take(2_048).collect(),
    }
}

fn no_version(arn: &str, version: &str) -> IamError {
    let version: String = version.chars().take(32).collect();
    IamError::NotAttachable {
        what: format!("{arn} version {version}"),
    }
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
