//! Policy documents as IAM stores them, and the small evaluator that STS and IAM
//! calls themselves need: may this caller create a role, may it assume that one.
//!
//! Source of truth: AWS IAM user guide, "IAM JSON policy elements reference" and
//! "Policy evaluation logic". KMS authorization does not happen here: KMS gets
//! the parsed [`Policy`] and evaluates it in full. Of conditions only
//! `StringEquals` and `StringLike` on the keys of `Context` are understood; a
//! statement with any other condition never allows and always denies.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    policy::{Policy, PolicyError, PolicyKind},
    principal::Principal,
};

/// A policy document that was accepted: its text and what it means.
#[derive(Clone, Debug)]
pub struct Document {
    text: Arc<str>,
    policy: Arc<Policy>,
    statements: Arc<[Statement]>,
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
        let statements = statements(text)?;
        for (statement, parsed) in statements.iter().enumerate() {
            let problem = match parsed {
                Statement {
                    principal: Some(_), ..
                } => "Policy document should not specify a principal",
                Statement { actions: None, .. } => "Policy statement must contain actions",
                Statement {
                    resources: None, ..
                } => "Policy statement must contain resources",
                _ => continue,
            };
            return Err(DocumentError::Statement { statement, problem });
        }
        Self::accept(text, statements, PolicyKind::Identity)
    }

    /// Reads a role's trust policy (with `Principal`, without `Resource`).
    ///
    /// # Errors
    /// [`DocumentError`], the cause of IAM's MalformedPolicyDocument.
    pub fn trust(text: &str) -> Result<Self, DocumentError> {
        let statements = statements(text)?;
        for (statement, parsed) in statements.iter().enumerate() {
            let problem = match parsed {
                Statement {
                    principal: None, ..
                } => "AssumeRole policy must contain a principal",
                Statement { actions: None, .. } => "AssumeRole policy must contain actions",
                Statement {
                    resources: Some(_), ..
                } => "Has prohibited field Resource",
                _ => continue,
            };
            return Err(DocumentError::Statement { statement, problem });
        }
        Self::accept(text, statements, PolicyKind::Trust)
    }

    fn accept(
        text: &str,
        statements: Vec<Statement>,
        kind: PolicyKind,
    ) -> Result<Self, DocumentError> {
        Ok(Self {
            text: text.into(),
            policy: Arc::new(Policy::parse(text, kind)?),
            statements: statements.into(),
        })
    }

    /// The document as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The document as KMS evaluates it.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}

/// The condition keys that STS and IAM calls publish here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Context<'a> {
    pub(crate) external_id: Option<&'a str>,
    pub(crate) role_session_name: Option<&'a str>,
    pub(crate) principal_arn: Option<&'a str>,
}

/// What identity policies say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    ImplicitDeny,
    ExplicitDeny,
}

/// What a trust policy says about a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Names the caller itself: that is enough within the account.
    Caller,
    /// Names the caller's account: its own policies must allow too.
    Account,
    Nobody,
    ExplicitDeny,
}

/// Decides `action` on `resource` by identity policies.
pub(crate) fn decide<'d>(
    documents: impl IntoIterator<Item = &'d Document>,
    action: &str,
    resource: &str,
    context: Context<'_>,
) -> Verdict {
    let mut verdict = Verdict::ImplicitDeny;
    for statement in documents
        .into_iter()
        .flat_map(|document| document.statements.iter())
    {
        if !statement.is_about(action, Some(resource)) {
            continue;
        }
        match (statement.effect, statement.conditions.hold(context)) {
            (Effect::Deny, Some(true) | None) => return Verdict::ExplicitDeny,
            (Effect::Allow, Some(true)) => verdict = Verdict::Allow,
            _ => {}
        }
    }
    verdict
}

/// What `document`, a trust policy, says about `caller` doing `action`.
pub(crate) fn trusts(
    document: &Document,
    caller: &Principal,
    action: &str,
    context: Context<'_>,
) -> Trust {
    let mut trust = Trust::Nobody;
    for statement in document.statements.iter() {
        let named = match &statement.principal {
            Some(principals) => principals.name(caller),
            None => continue,
        };
        if named == Trust::Nobody || !statement.is_about(action, None) {
            continue;
        }
        match (statement.effect, statement.conditions.hold(context)) {
            (Effect::Deny, Some(true) | None) => return Trust::ExplicitDeny,
            (Effect::Allow, Some(true)) if trust != Trust::Caller => trust = named,
            _ => {}
        }
    }
    trust
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug)]
struct Statement {
    effect: Effect,
    principal: Option<Principals>,
    actions: Option<Patterns>,
    resources: Option<Patterns>,
    conditions: Conditions,
}

/// `Action` or, negated, `NotAction`; the same for resources.
#[derive(Clone, Debug)]
struct Patterns {
    patterns: Vec<String>,
    negated: bool,
}

#[derive(Clone, Debug)]
enum Principals {
    Everybody,
    Aws(Vec<String>),
    /// Services, federations, NotPrincipal: nobody who calls here.
    Others,
}

#[derive(Clone, Debug)]
struct Conditions(Vec<Condition>);

#[derive(Clone, Debug)]
enum Condition {
    Equals { key: String, values: Vec<String> },
    Like { key: String, values: Vec<String> },
    Unknown,
}

impl Statement {
    fn is_about(&self, action: &str, resource: Option<&str>) -> bool {
        let action_matches = self.actions.as_ref().is_some_and(|actions| {
            let action = action.to_ascii_lowercase();
            actions.any(|pattern| wildcard(&pattern.to_ascii_lowercase(), &action))
        });
        let resource_matches = match (resource, &self.resources) {
            (Some(resource), Some(patterns)) => patterns.any(|pattern| wildcard(pattern, resource)),
            (None, None) => true,
            _ => false,
        };
        action_matches && resource_matches
    }
}

impl Patterns {
    fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern)) != self.negated
    }
}

impl Principals {
    fn name(&self, caller: &Principal) -> Trust {
        let names = match self {
            Self::Everybody => return Trust::Caller,
            Self::Others => return Trust::Nobody,
            Self::Aws(names) => names,
        };
        let account_root = format!("arn:aws:iam::{}:root", caller.account());
        let (arn, role_arn) = (caller.arn(), caller.role_arn());
        let mut trust = Trust::Nobody;
        for name in names {
            if *name == account_root || name == caller.account() {
                trust = Trust::Account;
            } else if name == "*" || *name == arn || *name == role_arn {
                return Trust::Caller;
            }
        }
        trust
    }
}

impl Conditions {
    /// `None` if a condition is not understood and no other one fails.
    fn hold(&self, context: Context<'_>) -> Option<bool> {
        let mut known = true;
        for condition in &self.0 {
            let held = match condition {
                Condition::Unknown => {
                    known = false;
                    continue;
                }
                Condition::Equals { key, values } => context
                    .value(key)
                    .is_some_and(|got| values.iter().any(|value| value == got)),
                Condition::Like { key, values } => context
                    .value(key)
                    .is_some_and(|got| values.iter().any(|v| wildcard(v, got))),
            };
            if !held {
                return Some(false);
            }
        }
        known.then_some(true)
    }
}

impl<'a> Context<'a> {
    fn value(self, key: &str) -> Option<&'a str> {
        match key {
            "sts:externalid" => self.external_id,
            "sts:rolesessionname" => self.role_session_name,
            "aws:principalarn" => self.principal_arn,
            _ => None,
        }
    }

    fn knows(key: &str) -> bool {
        matches!(
            key,
            "sts:externalid" | "sts:rolesessionname" | "aws:principalarn"
        )
    }
}

fn statements(text: &str) -> Result<Vec<Statement>, DocumentError> {
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
    list.iter()
        .enumerate()
        .map(|(statement, value)| read_statement(value, statement))
        .collect()
}

fn read_statement(value: &Value, statement: usize) -> Result<Statement, DocumentError> {
    let wrong = |problem| DocumentError::Statement { statement, problem };
    let effect = match value.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(wrong("Effect must be Allow or Deny")),
    };
    let patterns = |plain: &str, negated: &str| match (value.get(plain), value.get(negated)) {
        (None, None) => Ok(None),
        (Some(list), None) => strings(list).map(|p| {
            Some(Patterns {
                patterns: p,
                negated: false,
            })
        }),
        (None, Some(list)) => strings(list).map(|p| {
            Some(Patterns {
                patterns: p,
                negated: true,
            })
        }),
        (Some(_), Some(_)) => None.ok_or(()),
    };
    let principal = match (value.get("Principal"), value.get("NotPrincipal")) {
        (None, None) => None,
        (Some(Value::String(all)), None) if all == "*" => Some(Principals::Everybody),
        (Some(Value::Object(kinds)), None) => Some(match kinds.get("AWS") {
            Some(names) => {
                Principals::Aws(strings(names).map_err(|()| wrong("Invalid principal"))?)
            }
            None => Principals::Others,
        }),
        (None, Some(_)) => Some(Principals::Others),
        _ => return Err(wrong("Invalid principal")),
    };
    Ok(Statement {
        effect,
        principal,
        actions: patterns("Action", "NotAction").map_err(|()| wrong("Invalid action"))?,
        resources: patterns("Resource", "NotResource").map_err(|()| wrong("Invalid resource"))?,
        conditions: read_conditions(value.get("Condition"))
            .map_err(|()| wrong("Invalid condition"))?,
    })
}

fn read_conditions(value: Option<&Value>) -> Result<Conditions, ()> {
    let mut conditions = Vec::new();
    let Some(value) = value else {
        return Ok(Conditions(conditions));
    };
    for (operator, keys) in value.as_object().ok_or(())? {
        for (key, values) in keys.as_object().ok_or(())? {
            let key = key.to_ascii_lowercase();
            conditions.push(match (operator.as_str(), strings(values)) {
                ("StringEquals" | "ArnEquals", Ok(values)) if Context::knows(&key) => {
                    Condition::Equals { key, values }
                }
                ("StringLike" | "ArnLike", Ok(values)) if Context::knows(&key) => {
                    Condition::Like { key, values }
                }
                _ => Condition::Unknown,
            });
        }
    }
    Ok(Conditions(conditions))
}

/// One string or a list of strings.
fn strings(value: &Value) -> Result<Vec<String>, ()> {
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or(()))
            .collect(),
        _ => Err(()),
    }
}

/// Whether `text` matches `pattern` with `*` and `?`; linear in both for one
/// star at a time, never exponential.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&expected) if expected == b'?' || expected == byte => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user() -> Principal {
        Principal::User {
            account: "111122223333".into(),
            path_name: "alice".into(),
        }
    }

    fn trust(principal: &str) -> Document {
        Document::trust(&format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{principal},"Action":"sts:AssumeRole"}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn a_trust_policy_names_a_caller_its_account_or_nobody() {
        let table = [
            (r#""*""#, Trust::Caller),
            (
                r#"{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
                Trust::Caller,
            ),
            (
                r#"{"AWS":"arn:aws:iam::111122223333:root"}"#,
                Trust::Account,
            ),
            (r#"{"AWS":["111122223333"]}"#, Trust::Account),
            (
                r#"{"AWS":"arn:aws:iam::111122223333:user/bob"}"#,
                Trust::Nobody,
            ),
            (r#"{"Service":"ec2.amazonaws.com"}"#, Trust::Nobody),
        ];
        for (principal, expected) in table {
            let got = trusts(
                &trust(principal),
                &user(),
                "sts:AssumeRole",
                Context::default(),
            );
            assert_eq!(got, expected, "{principal}");
        }
        let other = trusts(
            &trust(r#""*""#),
            &user(),
            "sts:TagSession",
            Context::default(),
        );
        assert_eq!(other, Trust::Nobody);
    }

    #[test]
    fn an_external_id_must_be_presented() {
        let document = Document::trust(
            r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},
                "Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"x1"}}}]}"#,
        )
        .unwrap();
        let with = |external_id| {
            let context = Context {
                external_id,
                ..Context::default()
            };
            trusts(&document, &user(), "sts:AssumeRole", context)
        };
        assert_eq!(with(None), Trust::Nobody);
        assert_eq!(with(Some("x2")), Trust::Nobody);
        assert_eq!(with(Some("x1")), Trust::Account);
    }

    #[test]
    fn an_unknown_condition_never_allows_and_always_denies() {
        let document = |effect: &str| {
            Document::identity(&format!(
                r#"{{"Statement":{{"Effect":"{effect}","Action":"iam:*","Resource":"*",
                    "Condition":{{"IpAddress":{{"aws:SourceIp":"10.0.0.0/8"}}}}}}}}"#
            ))
            .unwrap()
        };
        let decide = |documents: &[Document]| {
            decide(
                documents,
                "iam:CreateRole",
                "arn:aws:iam::1:role/r",
                Context::default(),
            )
        };
        assert_eq!(decide(&[document("Allow")]), Verdict::ImplicitDeny);
        assert_eq!(decide(&[document("Deny")]), Verdict::ExplicitDeny);
    }

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

        #[test]
        fn wildcards_agree_with_a_naive_matcher(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn naive(p: &[u8], t: &[u8]) -> bool {
                match (p.split_first(), t.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        naive(rest, t) || t.split_first().is_some_and(|(_, t)| naive(p, t))
                    }
                    (Some((b'?', p)), Some((_, t))) => naive(p, t),
                    (Some((a, p)), Some((b, t))) => a == b && naive(p, t),
                    _ => false,
                }
            }
            prop_assert_eq!(wildcard(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
