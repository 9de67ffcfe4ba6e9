//! Who calls: the account's root user, an IAM user, a session of a role, a
//! federated user, or nobody that is known.
//!
//! Source of truth: IAM user guide, "IAM identifiers" and "`aws:PrincipalArn`";
//! ground truth KMS §3. Does not model web identities and SAML, service
//! principals as callers, or partitions other than `aws`.

use std::fmt;

/// An authenticated identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Principal {
    /// The account's root user, who may do whatever IAM can allow.
    Root {
        /// Twelve digits.
        account: String,
    },
    /// An IAM user.
    User {
        /// Twelve digits.
        account: String,
        /// Path and name without the leading slash: `division/alice`, `alice`.
        path_name: String,
    },
    /// A session of a role.
    AssumedRole {
        /// Twelve digits.
        account: String,
        /// Path and name of the role without the leading slash.
        role_path_name: String,
        /// The role session name.
        session: String,
    },
    /// A session that GetFederationToken made.
    FederatedUser {
        /// Twelve digits.
        account: String,
        /// The name that was asked for.
        name: String,
        /// Path and name of the user who asked; `None` for the root user.
        by: Option<String>,
    },
    /// Nobody signed the request. S3 alone answers such requests.
    Anonymous,
}

/// What AWS shows where the account of an anonymous caller would stand.
const ANONYMOUS: &str = "anonymous";

impl Principal {
    /// The twelve digits of the account the principal belongs to; `anonymous` of a
    /// caller that belongs to none.
    #[must_use]
    pub fn account(&self) -> &str {
        match self {
            Self::Root { account }
            | Self::User { account, .. }
            | Self::AssumedRole { account, .. }
            | Self::FederatedUser { account, .. } => account,
            Self::Anonymous => ANONYMOUS,
        }
    }

    /// Whether the principal acts with the permissions of the account's root
    /// user, which no policy of IAM gives or bounds.
    #[must_use]
    pub fn acts_for_root(&self) -> bool {
        matches!(
            self,
            Self::Root { .. } | Self::FederatedUser { by: None, .. }
        )
    }

    /// The ARN that AWS shows in messages and logs. A session's is of the
    /// service `sts` and has the role's name without its path.
    #[must_use]
    pub fn arn(&self) -> String {
        match self {
            Self::Root { account } => ["arn:aws:iam::", account, ":root"].concat(),
            Self::User { account, path_name } => {
                ["arn:aws:iam::", account, ":user/", path_name].concat()
            }
            Self::AssumedRole {
                account,
                role_path_name,
                session,
            } => {
                let role = name_of(role_path_name);
                [
                    "arn:aws:sts::",
                    account,
                    ":assumed-role/",
                    role,
                    "/",
                    session,
                ]
                .concat()
            }
            Self::FederatedUser { account, name, .. } => {
                ["arn:aws:sts::", account, ":federated-user/", name].concat()
            }
            Self::Anonymous => ANONYMOUS.to_owned(),
        }
    }

    /// The value of `aws:PrincipalArn`: for a session the ARN of its *role*,
    /// otherwise the same as [`Principal::arn`].
    #[must_use]
    pub fn role_arn(&self) -> String {
        match self {
            Self::AssumedRole {
                account,
                role_path_name,
                ..
            } => format!("arn:aws:iam::{account}:role/{role_path_name}"),
            other => other.arn(),
        }
    }

    /// Reads what [`Principal::arn`] writes. The role of a session is taken to
    /// have no path and a federated user to be the root user's, since their ARNs
    /// do not say.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        if arn == ANONYMOUS {
            return Some(Self::Anonymous);
        }
        let rest = arn.strip_prefix("arn:aws:")?;
        let (service, rest) = rest.split_once("::")?;
        let (account, resource) = rest.split_once(':')?;
        if !is_account_id(account) {
            return None;
        }
        let account = account.to_owned();
        match service {
            "iam" if resource == "root" => Some(Self::Root { account }),
            "iam" => {
                let path_name = resource
                    .strip_prefix("user/")
                    .filter(|name| !name.is_empty())?;
                Some(Self::User {
                    account,
                    path_name: path_name.to_owned(),
                })
            }
            "sts" if resource.starts_with("federated-user/") => {
                let name = resource
                    .strip_prefix("federated-user/")
                    .filter(|name| !name.is_empty() && !name.contains('/'))?;
                Some(Self::FederatedUser {
                    account,
                    name: name.to_owned(),
                    by: None,
                })
            }
            "sts" => {
                let (role, session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
                if role.is_empty() || session.is_empty() {
                    return None;
                }
                Some(Self::AssumedRole {
                    account,
                    role_path_name: role.to_owned(),
                    session: session.to_owned(),
                })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn())
    }
}

/// The last component of a path and name.
pub(crate) fn name_of(path_name: &str) -> &str {
    path_name.rsplit('/').next().unwrap_or(path_name)
}

/// Whether `text` is twelve ASCII digits.
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_shows_its_own_arn_and_its_role_as_principal_arn() {
        let session = Principal::AssumedRole {
            account: "123456789012".into(),
            role_path_name: "service/data-processing".into(),
            session: "i-0abc".into(),
        };
        assert_eq!(
            session.arn(),
            "arn:aws:sts::123456789012:assumed-role/data-processing/i-0abc"
        );
        assert_eq!(
            session.role_arn(),
            "arn:aws:iam::123456789012:role/service/data-processing"
        );
        assert_eq!(session.account(), "123456789012");
    }

    #[test]
    fn an_arn_reads_back_as_the_principal_that_wrote_it() {
        for arn in [
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam::123456789012:user/division/alice",
            "arn:aws:sts::123456789012:assumed-role/Admin/me@example.com",
            "arn:aws:sts::123456789012:federated-user/Bob",
        ] {
            assert_eq!(Principal::parse(arn).unwrap().arn(), arn);
        }
        for not_a_caller in [
            "",
            "arn:aws:iam::123456789012:role/Admin",
            "arn:aws:iam::12345678901:root",
            "arn:aws:iam::123456789012:user/",
            "arn:aws:sts::123456789012:assumed-role/Admin",
            "arn:aws:sts::123456789012:federated-user/",
        ] {
            assert_eq!(Principal::parse(not_a_caller), None, "{not_a_caller}");
        }
    }
}
