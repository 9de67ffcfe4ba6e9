//! Policy documents as IAM stores them: their text, what IAM asks of their form,
//! and what they mean to the one evaluator.
//!
//! Source of truth: AWS IAM user guide, "IAM JSON policy elements reference", for
//! which elements a user's or role's policy and a trust policy must and must not
//! have. What they allow is decided by [`crate::policy::decide`], for STS and IAM
//! calls as for KMS's.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    policy::{Policy, PolicyError, PolicyKind},
    world::directory::Directory,
};

/// A policy document that was accepted: its text and what it means.
#[derive(Clone, Debug)]
pub struct Document {
    text: Arc<str>,
    policy: Arc<Policy>,
}

/// Why a policy document was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON, or not an object.
    #[error("Syntax errors in policy.")]
    Syntax,
    /// Not JSON, of a trust policy.
    #[error("This policy contains invalid Json")]
    Json,
    /// A statement without what it needs, or with what it must not have.
    #[error("{problem}")]
    Statement {
        /// Index of the statement, from 0.
        statement: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A principal of a trust policy that does not exist.
    #[error("Invalid principal in policy: \"AWS\":\"{value}\"")]
    NobodyThere {
        /// Its ARN.
        value: String,
    },
    /// The KMS core's own reader does not take it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Larger than IAM stores.
    #[error("Maximum policy size of {max} bytes exceeded")]
    TooLarge {
        /// The quota in bytes.
        max: usize,
    },
}

/// Largest inline policy: the quota of a role's inline policies together.
pub const DOCUMENT_BYTES_MAX: usize = 10_240;
const STATEMENTS_MAX: usize = 1_000;

impl Document {
    /// Reads a document for a user or role (no `Principal`).
    ///
    /// # Errors
    /// [`DocumentError`], the cause of IAM's MalformedPolicyDocument.
    pub fn identity(text: &str) -> Result<Self, DocumentError> {
        Self::accept_identity(text, Policy::parse)
    }

    fn accept_identity(
        text: &str,
        parse: impl FnOnce(&str, PolicyKind) -> Result<Policy, PolicyError>,
    ) -> Result<Self, DocumentError> {
        let problem = |statement: &Elements| {
            if statement.principal {
                return Some("Policy document should not specify a principal.");
            }
            if !statement.action {
                return Some("Policy statement must contain actions.");
            }
            (!statement.resource).then_some("Policy statement must contain resources.")
        };
        Self::accept(text, problem, |text| parse(text, PolicyKind::Identity))
    }

    /// Reads a role's trust policy (with `Principal`, without `Resource`, about
    /// actions of STS).
    ///
    /// # Errors
    /// [`DocumentError`], the cause of IAM's MalformedPolicyDocument.
    pub fn trust(text: &str) -> Result<Self, DocumentError> {
        let document = Self::accept_trust(text, Policy::parse)?;
        let foreign = elements(text)?.iter().position(|it| it.foreign_action);
        match foreign {
            None => Ok(document),
            Some(statement) => Err(DocumentError::Statement {
                statement,
                problem: "AssumeRole policy may only specify STS AssumeRole actions.",
            }),
        }
    }

    /// A trust policy that the data directory has: what it has been accepted with
    /// stays accepted; `ids` are the unique ids behind its principals, by ARN.
    pub(super) fn kept_trust(
        text: &str,
        ids: &BTreeMap<String, String>,
    ) -> Result<Self, DocumentError> {
        Self::accept_trust(text, |text, kind| Policy::parse_kept(text, kind, ids))
    }

    /// A document of a user or role that the data directory has.
    pub(super) fn kept_identity(text: &str) -> Result<Self, DocumentError> {
        let none = BTreeMap::new();
        Self::accept_identity(text, |text, kind| Policy::parse_kept(text, kind, &none))
    }

    fn accept_trust(
        text: &str,
        parse: impl FnOnce(&str, PolicyKind) -> Result<Policy, PolicyError>,
    ) -> Result<Self, DocumentError> {
        if text.len() <= DOCUMENT_BYTES_MAX && serde_json::from_str::<Value>(text).is_err() {
            return Err(DocumentError::Json);
        }
        let problem = |statement: &Elements| {
            if statement.resource {
                return Some("Has prohibited field Resource");
            }
            if !statement.principal {
                return Some("AssumeRole policy must contain a principal");
            }
            (!statement.action).then_some("AssumeRole policy must contain actions")
        };
        Self::accept(text, problem, |text| parse(text, PolicyKind::Trust))
    }

    fn accept(
        text: &str,
        problem: impl Fn(&Elements) -> Option<&'static str>,
        parse: impl FnOnce(&str) -> Result<Policy, PolicyError>,
    ) -> Result<Self, DocumentError> {
        for (statement, elements) in elements(text)?.iter().enumerate() {
            if let Some(problem) = problem(elements) {
                return Err(DocumentError::Statement { statement, problem });
            }
        }
        Ok(Self {
            text: text.into(),
            policy: Arc::new(parse(text)?),
        })
    }

    /// The trust policy with the unique ids behind its principals.
    ///
    /// # Errors
    /// [`DocumentError::NobodyThere`] of a principal that does not exist.
    pub(super) fn bound_to(mut self, directory: &dyn Directory) -> Result<Self, DocumentError> {
        let bound = Policy::clone(&self.policy).bound_to(directory);
        self.policy = Arc::new(bound.map_err(|error| match error {
            PolicyError::InvalidPrincipal { value, .. } => DocumentError::NobodyThere { value },
            other => DocumentError::Policy(other),
        })?);
        Ok(self)
    }

    /// The document as it is shown: with unique ids for principals that are gone.
    pub(super) fn shown(&self, directory: &dyn Directory) -> Self {
        Self {
            text: self.policy.shown(&self.text, directory).into(),
            policy: Arc::clone(&self.policy),
        }
    }

    /// The document as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The document as it is evaluated.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}

/// Which elements a statement has, negated or not.
struct Elements {
    principal: bool,
    action: bool,
    resource: bool,
    /// Whether an action is of another service than STS.
    foreign_action: bool,
}

fn elements(text: &str) -> Result<Vec<Elements>, DocumentError> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge {
            max: DOCUMENT_BYTES_MAX,
        });
    }
    let document: Value = serde_json::from_str(text).map_err(|_| DocumentError::Syntax)?;
    let list = match document.get("Statement") {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        _ => return Err(DocumentError::Syntax),
    };
    if list.is_empty() || list.len() > STATEMENTS_MAX {
        return Err(DocumentError::Syntax);
    }
    let has = |statement: &Value, names: [&str; 2]| {
        names.iter().any(|name| statement.get(name).is_some())
    };
    Ok(list
        .iter()
        .map(|statement| Elements {
            principal: has(statement, ["Principal", "NotPrincipal"]),
            action: has(statement, ["Action", "NotAction"]),
            resource: has(statement, ["Resource", "NotResource"]),
            foreign_action: statement.get("Action").is_some_and(is_foreign),
        })
        .collect())
}

fn is_foreign(action: &Value) -> bool {
    let is_of_another = |action: &Value| {
        let text = action.as_str().unwrap_or_default();
        let service = text.split_once(':').map(|(service, _)| service);
        service.is_some_and(|it| !it.eq_ignore_ascii_case("sts"))
    };
    match action {
        Value::Array(list) => list.iter().any(is_of_another),
        one => is_of_another(one),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_that_iam_refuses_are_refused() {
        let identity = [
            "",
            "[]",
            r#"{"Statement":[]}"#,
            r#"{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Resource":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Action":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}"#,
        ];
        for text in identity {
            assert!(Document::identity(text).is_err(), "{text}");
        }
        assert!(Document::trust(identity[3]).is_err());
        let start = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"#;
        for (text, message) in [
            ("{", "This policy contains invalid Json"),
            (
                &format!(r#"{start}["sts:AssumeRole","s3:GetObject"]}}}}"#),
                "AssumeRole policy may only specify STS AssumeRole actions.",
            ),
            (
                &format!(r#"{start}"sts:AssumeRole","Resource":"*"}}}}"#),
                "Has prohibited field Resource",
            ),
        ] {
            assert_eq!(Document::trust(text).unwrap_err().to_string(), message);
        }
        let both = format!(r#"{start}["sts:AssumeRole","sts:TagSession"]}}}}"#);
        assert!(Document::trust(&both).is_ok());
        let empty =
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"x":{}}}}"#;
        assert!(Document::identity(empty).is_ok(), "as IAM takes it");
        assert!(Document::identity(&empty.replace("{}", r#"{"a":"b"}"#)).is_err());
        let large = format!(r#"{{"Id":"{}"}}"#, "x".repeat(DOCUMENT_BYTES_MAX));
        assert_eq!(
            Document::identity(&large).unwrap_err(),
            DocumentError::TooLarge {
                max: DOCUMENT_BYTES_MAX
            }
        );
    }

    proptest! {
        #[test]
        fn no_document_makes_the_reader_panic(text in r#"\{"Statement":[\[\]{}":,A-Za-z*]{0,80}\}"#) {
            let _ = Document::identity(&text);
            let _ = Document::trust(&text);
        }
    }
}
