//! Managed policies of an account: made, found, changed version by version, deleted.
//!
//! Source of truth: AWS IAM user guide, "Versioning IAM policies".

use std::collections::BTreeMap;

use crate::iam::{
    credentials::unique_id,
    document::Document,
    error::IamError,
    managed::{ManagedPolicy, PolicyVersion, version_number},
    names::{Tags, check_name, check_path},
    service::Iam,
    state::{Change, Identities},
};

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
        self.change(|identities, changes| {
            let mut policies = identities.policies(account);
            if policies.any(|it| it.name == new.name) {
                let name = new.name.to_owned();
                return Err(IamError::PolicyAlreadyExists { name });
            }
            if identities.policies(account).count() >= POLICIES_MAX {
                return Err(IamError::LimitExceeded {
                    quota: "PoliciesPerAccount",
                    max: POLICIES_MAX,
                });
            }
            changes.push(put(account, policy.clone()));
            Ok(policy)
        })
    }

    pub(crate) fn managed_policy(
        &self,
        account: &str,
        arn: &str,
    ) -> Result<ManagedPolicy, IamError> {
        found(&self.read(), account, arn).cloned()
    }

    /// The managed policies of an account below a path, by ARN.
    pub(crate) fn managed_policies(&self, account: &str, path_prefix: &str) -> Vec<ManagedPolicy> {
        let identities = self.read();
        let policies = identities.policies(account);
        policies
            .filter(|it| it.path.starts_with(path_prefix))
            .cloned()
            .collect()
    }

    /// How many entities a policy is attached to, and how many it bounds.
    pub(crate) fn uses(&self, account: &str, arn: &str) -> (usize, usize) {
        self.read().uses(account, arn)
    }

    /// Adds a version; answers with the policy.
    pub(crate) fn create_policy_version(
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

    pub(crate) fn set_default_version(
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

    pub(crate) fn delete_policy_version(
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
    pub(crate) fn policy_version(
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

    pub(crate) fn tag_policy(
        &self,
        account: &str,
        arn: &str,
        tags: Vec<(String, String)>,
    ) -> Result<ManagedPolicy, IamError> {
        self.change_policy(account, arn, |policy| policy.tags.add(tags))
    }

    pub(crate) fn untag_policy(
        &self,
        account: &str,
        arn: &str,
        keys: &[String],
    ) -> Result<ManagedPolicy, IamError> {
        self.change_policy(account, arn, |policy| policy.tags.remove(keys))
    }

    pub(crate) fn delete_managed_policy(&self, account: &str, arn: &str) -> Result<(), IamError> {
        self.change(|identities, changes| {
            let policy = found(identities, account, arn)?;
            if identities.uses(account, arn) != (0, 0) {
                let what = "a policy attached to entities.";
                return Err(IamError::DeleteConflict(what));
            }
            if policy.versions.len() > 1 {
                let what = "policy: must delete non-default versions first.";
                return Err(IamError::DeleteConflict(what));
            }
            let (account, arn) = (account.to_owned(), arn.to_owned());
            changes.push(Change::PolicyGone { account, arn });
            Ok(())
        })
    }

    fn change_policy(
        &self,
        account: &str,
        arn: &str,
        change: impl FnOnce(&mut ManagedPolicy) -> Result<(), IamError>,
    ) -> Result<ManagedPolicy, IamError> {
        self.change(|identities, changes| {
            let mut policy = found(identities, account, arn)?.clone();
            let versions = (policy.default, policy.next, policy.versions.len());
            change(&mut policy)?;
            if versions != (policy.default, policy.next, policy.versions.len()) {
                policy.updated = self.now();
            }
            changes.push(put(account, policy.clone()));
            Ok(policy)
        })
    }
}

fn put(account: &str, policy: ManagedPolicy) -> Change {
    let account = account.to_owned();
    Change::PolicyPut { account, policy }
}

fn found<'i>(
    identities: &'i Identities,
    account: &str,
    arn: &str,
) -> Result<&'i ManagedPolicy, IamError> {
    let policy = identities.policy(account, arn);
    policy.ok_or_else(|| no_policy(arn))
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
