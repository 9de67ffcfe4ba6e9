//! The principals that a statement names, and which callers they are.
//!
//! Source of truth: IAM user guide, "AWS JSON policy elements: Principal" and
//! "NotPrincipal", "IAM identifiers" (a policy keeps the unique id of a user or role
//! that it names); ground truth KMS §3 (no wildcards in a principal's ARN, no
//! groups).
//!
//! Does not model services, identity providers and principals of other partitions
//! as callers: their entries are valid and name nobody here.

use std::{collections::BTreeMap, sync::Arc};

use crate::world::{
    arn::six_parts,
    directory::{Behind, Directory},
    principal::{Principal, is_account_id, name_of},
};

/// `Principal`, `NotPrincipal`.
#[derive(Clone, Debug)]
pub(crate) struct Principals {
    pub(crate) negated: bool,
    pub(crate) items: Vec<PrincipalEntry>,
    /// The unique id behind each of `items`; `None` for one that is a mere name.
    ids: Vec<Option<Arc<str>>>,
    /// A principal of another partition, which cannot be stored.
    of_other_partition: Option<String>,
}

/// A caller as principals are compared with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerName<'a> {
    pub(crate) principal: &'a Principal,
    /// `AIDA…`, `AROA…:session`; `None` for a caller that is a mere name.
    pub(crate) unique_id: Option<&'a str>,
}

/// A principal without a unique id.
impl<'a> From<&'a Principal> for CallerName<'a> {
    fn from(principal: &'a Principal) -> Self {
        Self {
            principal,
            unique_id: None,
        }
    }
}

impl CallerName<'_> {
    /// Whether the identity with this unique id calls, or its session.
    pub(super) fn is(self, id: &str) -> bool {
        // A caller without an id was made up by name, and is compared by name.
        self.unique_id.is_none_or(|own| {
            let rest = own.strip_prefix(id);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    }
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
        if partition != "aws" {
            return Some(Self::Foreign);
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

impl PrincipalEntry {
    /// The ARN of a user, role or session: what has a unique id.
    pub(super) fn identity_arn(&self) -> Option<String> {
        match self {
            Self::User { account, path_name } => {
                Some(format!("arn:aws:iam::{account}:user/{path_name}"))
            }
            Self::Role { account, path_name } => {
                Some(format!("arn:aws:iam::{account}:role/{path_name}"))
            }
            Self::Session {
                account,
                role,
                session,
            } => Some(format!(
                "arn:aws:sts::{account}:assumed-role/{role}/{session}"
            )),
            Self::Anyone | Self::Account(_) | Self::FederatedUser { .. } | Self::Foreign => None,
        }
    }
}

impl Principals {
    pub(super) fn new(
        negated: bool,
        items: Vec<PrincipalEntry>,
        of_other_partition: Option<String>,
    ) -> Self {
        Self {
            negated,
            ids: vec![None; items.len()],
            items,
            of_other_partition,
        }
    }

    /// How the element names the caller.
    pub(crate) fn names(&self, caller: CallerName<'_>) -> Naming {
        if self.negated {
            return if self.exempts(caller) {
                Naming::No
            } else {
                // Not said whether that is direct: the stricter.
                Naming::Behind
            };
        }
        self.listed(caller).max().unwrap_or(Naming::No)
    }

    /// Whether `NotPrincipal` leaves the caller alone: "you must also specify the
    /// account ARN of the not-denied principal", and of a session its role as well.
    /// The account in the list exempts nobody by itself but its root user.
    fn exempts(&self, caller: CallerName<'_>) -> bool {
        let is_anyone = self.items.contains(&PrincipalEntry::Anyone);
        let needed: &[Naming] = match caller.principal {
            Principal::Anonymous => return is_anyone,
            Principal::Root { .. } => &[Naming::Account],
            Principal::User { .. } | Principal::FederatedUser { by: None, .. } => {
                &[Naming::Account, Naming::Direct]
            }
            Principal::AssumedRole { .. } | Principal::FederatedUser { by: Some(_), .. } => {
                &[Naming::Account, Naming::Behind, Naming::Direct]
            }
        };
        is_anyone
            || needed
                .iter()
                .all(|way| self.listed(caller).any(|listed| listed == *way))
    }

    /// How each entry names the caller.
    fn listed(&self, caller: CallerName<'_>) -> impl Iterator<Item = Naming> {
        self.items.iter().zip(&self.ids).map(move |(entry, id)| {
            if id.as_ref().is_some_and(|id| !caller.is(id)) {
                return Naming::No;
            }
            entry.names(caller.principal)
        })
    }

    /// Puts the unique ids behind names, of accounts that `directory` keeps.
    ///
    /// # Errors
    /// The first principal that does not exist.
    pub(super) fn bind(&mut self, directory: &dyn Directory) -> Result<(), String> {
        if let Some(text) = &self.of_other_partition {
            return Err(text.clone());
        }
        for (entry, id) in self.items.iter().zip(&mut self.ids) {
            if id.is_some() {
                continue;
            }
            let Some(arn) = entry.identity_arn() else {
                continue;
            };
            match directory.behind(&arn) {
                Behind::Id(found) => *id = Some(found),
                Behind::NotKept => {}
                Behind::Nobody => return Err(arn),
            }
        }
        Ok(())
    }

    /// Puts unique ids behind names as they once were.
    pub(super) fn rebind(&mut self, ids: &BTreeMap<String, String>) {
        for (entry, id) in self.items.iter().zip(&mut self.ids) {
            let known = entry.identity_arn().and_then(|arn| ids.get(&arn));
            *id = known.map(|known| known.as_str().into());
        }
    }

    /// ARNs with the unique ids behind them.
    pub(super) fn bound(&self) -> impl Iterator<Item = (String, &Arc<str>)> {
        let both = self.items.iter().zip(&self.ids);
        both.filter_map(|(entry, id)| Some((entry.identity_arn()?, id.as_ref()?)))
    }
}
