//! Policy documents as IAM stores them: their text, what IAM asks of their form,
//! and what they mean to the one evaluator.
//!
//! Source of truth: AWS IAM user guide, "IAM JSON policy elements reference", for
//! which elements a user's or role's policy and a trust policy must and must not
//! have. What they allow is decided by [`crate::policy::decide`], for STS and IAM
//! calls as for KMS's.

use std::sync::Arc;

use serde_json::Value;

use crate::policy::{Policy, PolicyError, PolicyKind};

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
    /// A statement without what it needs, or with an unknown effect.
    #[error("Syntax error at statement {statement}: {problem}.")]
    Statement {
        /// Index of the statement, from 0.
        statement: usize,
        /// What is wrong with it.
        problem: &'static str,
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
        Self::accept(text, PolicyKind::Identity, |statement| {
            if statement.principal {
                return Some("Policy document should not specify a principal");
            }
            if !statement.action {
                return Some("Policy statement must contain actions");
            }
            (!statement.resource).then_some("Policy statement must contain resources")
        })
    }

    /// Reads a role's trust policy (with `Principal`, without `Resource`).
    ///
    /// # Errors
    /// [`DocumentError`], the cause of IAM's MalformedPolicyDocument.
    pub fn trust(text: &str) -> Result<Self, DocumentError> {
        Self::accept(text, PolicyKind::Trust, |statement| {
            if !statement.principal {
                return Some("AssumeRole policy must contain a principal");
            }
            if !statement.action {
                return Some("AssumeRole policy must contain actions");
            }
            statement
                .resource
                .then_some("Has prohibited field Resource")
        })
    }

    fn accept(
        text: &str,
        kind: PolicyKind,
        problem: impl Fn(&Elements) -> Option<&'static str>,
    ) -> Result<Self, DocumentError> {
        for (statement, elements) in elements(text)?.iter().enumerate() {
            if let Some(problem) = problem(elements) {
                return Err(DocumentError::Statement { statement, problem });
            }
        }
        Ok(Self {
            text: text.into(),
            policy: Arc::new(Policy::parse(text, kind)?),
        })
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
        })
        .collect())
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
