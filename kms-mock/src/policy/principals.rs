//! The principals that a statement names, and which callers they are.
//!
//! Source of truth: IAM user guide, "AWS JSON policy elements: Principal" and
//! "NotPrincipal"; ground truth KMS §3 (no wildcards in a principal's ARN, no
//! groups).
//!
//! Does not model services and identity providers as callers: their entries are
//! valid and name nobody here.

use crate::world::{
    arn::six_parts,
    principal::{Principal, is_account_id, name_of},
};

/// `Principal`, `NotPrincipal`.
#[derive(Clone, Debug)]
pub(crate) struct Principals {
    pub(crate) negated: bool,
    pub(crate) items: Vec<PrincipalEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PrincipalEntry {
    Anyone,
    /// The account as a whole, written as its root ARN or its twelve digits.
    Account(String),
    User {
        account: String,
        path_name: String,
    },
    Role {
        account: String,
        path_name: String,
    },
    Session {
        account: String,
        role: String,
        session: String,
    },
    FederatedUser {
        account: String,
        name: String,
    },
    /// Services, identity providers: valid, but never a caller here.
    Foreign,
}

/// How an entry names the caller, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Naming {
    No,
    /// The caller's account: delegation to that account's IAM policies.
    Account,
    /// The role or user behind the session that calls.
    Behind,
    /// The very user or session that calls, or anybody: what is not allowed by
    /// its boundary and its session policies is allowed all the same.
    Direct,
}

impl PrincipalEntry {
    pub(crate) fn names(&self, caller: &Principal) -> Naming {
        let direct = |yes: bool| if yes { Naming::Direct } else { Naming::No };
        match (self, caller) {
            (Self::Anyone, _) => Naming::Direct,
            (
                Self::User { account, path_name },
                Principal::FederatedUser {
                    account: caller_account,
                    by: Some(by),
                    ..
                },
            ) if account == caller_account && path_name == by => Naming::Behind,
            (
                Self::FederatedUser { account, name },
                Principal::FederatedUser {
                    account: caller_account,
                    name: caller_name,
                    ..
                },
            ) => direct(account == caller_account && name == caller_name),
            (Self::Account(account), caller) if account == caller.account() => Naming::Account,
            (
                Self::User { account, path_name },
                Principal::User {
                    account: caller_account,
                    path_name: caller_path_name,
                },
            ) => direct(account == caller_account && path_name == caller_path_name),
            (
                Self::Role { account, path_name },
                Principal::AssumedRole {
                    account: caller_account,
                    role_path_name,
                    ..
                },
            ) if account == caller_account && path_name == role_path_name => Naming::Behind,
            (
                Self::Session {
                    account,
                    role,
                    session,
                },
                Principal::AssumedRole {
                    account: caller_account,
                    role_path_name,
                    session: caller_session,
                },
            ) if account == caller_account
                && role == name_of(role_path_name)
                && session == caller_session =>
            {
                Naming::Direct
            }
            _ => Naming::No,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Anyone);
        }
        if is_account_id(text) {
            return Some(Self::Account(text.to_owned()));
        }
        if text.contains(['*', '?']) {
            return None;
        }
        let [arn, partition, service, region, account, resource] = six_parts(text)?;
        if arn != "arn" || !partition.starts_with("aws") || !region.is_empty() {
            return None;
        }
        if !is_account_id(account) {
            return None;
        }
        let account = account.to_owned();
        let named =
            |name: &str| (!name.is_empty() && !name.ends_with('/')).then(|| name.to_owned());
        match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => Some(Self::Account(account)),
            ("iam", Some(("user", name))) => {
                named(name).map(|path_name| Self::User { account, path_name })
            }
            ("iam", Some(("role", name))) => {
                named(name).map(|path_name| Self::Role { account, path_name })
            }
            ("sts", Some(("assumed-role", rest))) => {
                let (role, session) = rest.split_once('/')?;
                Some(Self::Session {
                    account,
                    role: named(role)?,
                    session: named(session)?,
                })
            }
            ("sts", Some(("federated-user", name))) => {
                named(name).map(|name| Self::FederatedUser { account, name })
            }
            _ => None,
        }
    }
}

impl Principals {
    /// How the element names the caller. `NotPrincipal` names everybody that
    /// its list does not.
    pub(crate) fn names(&self, caller: &Principal) -> Naming {
        let listed = self
            .items
            .iter()
            .map(|entry| entry.names(caller))
            .max()
            .unwrap_or(Naming::No);
        match (self.negated, listed) {
            (false, naming) => naming,
            // Not said whether that is direct: the stricter.
            (true, Naming::No) => Naming::Behind,
            (true, _) => Naming::No,
        }
    }
}
