//! The policy language: a document parsed into statements that cannot be wrong.
//!
//! Source of truth: IAM user guide, "Grammar of the IAM JSON policy language";
//! AWS KMS developer guide, "Key policies"; ground truth KMS §3 (principals
//! without wildcards, no groups, a statement without Action or Resource is
//! accepted and has no effect, charset and size).
//!
//! Whether a principal exists is asked when a policy is written
//! (`binding`); the parser only refuses what cannot exist. What a data
//! directory has was accepted once and stays so ([`Policy::parse_kept`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    condition::Condition,
    json::Json,
    operator::Operator,
    principals::{CallerName, Naming, PrincipalEntry, Principals},
    template::{Case, Template, glob},
};
use crate::world::{arn::six_parts, principal::is_account_id};

/// The longest key policy KMS stores, in bytes.
pub const KEY_POLICY_BYTES_MAX: usize = 32_768;

/// What a policy is attached to, which decides the elements it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyKind {
    /// A key policy: principals needed.
    Key,
    /// An IAM policy of a user or role, or a session policy: no principals,
    /// actions and resources needed.
    Identity,
    /// A role's trust policy: principals and actions needed, no resource.
    Trust,
    /// A bucket's policy: principals, actions and resources needed.
    Bucket,
}

/// A parsed policy.
#[derive(Clone, Debug)]
pub struct Policy {
    text: Arc<str>,
    id: Option<String>,
    pub(super) statements: Vec<Statement>,
    /// The document in the layout that `GetKeyPolicy` returns.
    rendered: Arc<str>,
}

/// Why a text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not JSON, or a member appears twice.
    #[error("the policy is not well-formed JSON: {detail}")]
    Json {
        /// What the JSON parser says, with line and column.
        detail: String,
    },
    /// A character outside U+0009, U+000A, U+000D, U+0020 to U+00FF.
    #[error("the policy contains U+{code_point:04X}, which policies may not")]
    Character {
        /// The offending character's code point.
        code_point: u32,
    },
    /// An element that the language does not have here.
    #[error("{place} has no element `{element}`")]
    UnknownElement {
        /// `the policy` or `statement 2`.
        place: String,
        /// The element's name.
        element: String,
    },
    /// An element of the wrong JSON type or with a value outside its set.
    #[error("{place}: `{element}` has an invalid value")]
    InvalidValue {
        /// `the policy` or `statement 2`.
        place: String,
        /// The element's name.
        element: String,
    },
    /// An element that must be there is not.
    #[error("{place} lacks `{element}`")]
    MissingElement {
        /// `the policy` or `statement 2`.
        place: String,
        /// The element's name.
        element: String,
    },
    /// Two elements that exclude each other.
    #[error("{place} has both `{element}` and `Not{element}`")]
    Contradiction {
        /// `statement 2`.
        place: String,
        /// The element's name without `Not`.
        element: String,
    },
    /// A principal that cannot exist, or a wildcard inside a principal's ARN.
    #[error("{place}: `{value}` is not a valid principal")]
    InvalidPrincipal {
        /// `statement 2`.
        place: String,
        /// The text found.
        value: String,
    },
    /// `NotPrincipal` in an Allow statement, or in a trust policy.
    #[error("{place}: `NotPrincipal` is for Deny statements of resource policies alone")]
    NotPrincipalHere {
        /// `statement 2`.
        place: String,
    },
    /// Two statements of one IAM policy have the same `Sid`.
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    SidTwice {
        /// The `Sid`.
        sid: String,
    },
    /// The `Resource` of an IAM policy is no ARN.
    #[error("Resource {value} must be in ARN format or \"*\".")]
    ResourceForm {
        /// The text found.
        value: String,
    },
    /// There is no such condition operator.
    #[error("{place}: there is no condition operator `{operator}`")]
    UnknownOperator {
        /// `statement 2`.
        place: String,
        /// The text found.
        operator: String,
    },
}

impl PolicyError {
    /// What AWS says of a key policy with this fault; `None` where that is not known.
    #[must_use]
    pub fn text_of_kms(&self) -> Option<&'static str> {
        match self {
            Self::InvalidPrincipal { .. } | Self::NotPrincipalHere { .. } => {
                Some("Policy contains a statement with one or more invalid principals.")
            }
            Self::MissingElement { element, .. } if element == "Principal" => {
                Some("Policy contains a statement with no principal.")
            }
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// One statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) sid: Option<Arc<str>>,
    pub(crate) effect: Effect,
    pub(crate) principals: Option<Principals>,
    pub(crate) actions: Option<Patterns>,
    pub(crate) resources: Option<Patterns>,
    pub(crate) conditions: Vec<Condition>,
}

/// `Action`, `NotAction`, `Resource`, `NotResource`.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    pub(crate) negated: bool,
    pub(crate) items: Vec<Template>,
}

impl Policy {
    /// Parses a policy.
    ///
    /// # Errors
    /// The first thing found wrong with it.
    pub fn parse(text: &str, kind: PolicyKind) -> Result<Self, PolicyError> {
        Self::read(text, kind, Reading::New)
    }

    /// Parses a policy that was accepted before, by the rules of its time, with the
    /// unique ids that stood behind its principals, by ARN.
    pub(crate) fn parse_kept(
        text: &str,
        kind: PolicyKind,
        ids: &BTreeMap<String, String>,
    ) -> Result<Self, PolicyError> {
        let mut policy = Self::read(text, kind, Reading::Kept)?;
        for principals in policy.principals_mut() {
            principals.rebind(ids);
        }
        Ok(policy)
    }

    fn read(text: &str, kind: PolicyKind, reading: Reading) -> Result<Self, PolicyError> {
        if let Some(outside) = text
            .chars()
            .find(|c| !matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
        {
            return Err(PolicyError::Character {
                code_point: outside.into(),
            });
        }
        let json: Json = serde_json::from_str(text).map_err(|error| PolicyError::Json {
            detail: error.to_string(),
        })?;
        Self::from_json(text, json, kind, reading)
    }

    fn from_json(
        text: &str,
        json: Json,
        kind: PolicyKind,
        reading: Reading,
    ) -> Result<Self, PolicyError> {
        let place = Place("the policy".to_owned());
        let Json::Object(mut members) = json else {
            return Err(PolicyError::Json {
                detail: "a policy is a JSON object".to_owned(),
            });
        };
        let mut variables_allowed = false;
        let (mut id, mut statements) = (None, None);
        for (name, value) in &members {
            match (name.as_str(), value) {
                ("Version", Json::Text(version)) => match version.as_str() {
                    "2012-10-17" => variables_allowed = true,
                    "2008-10-17" => {}
                    _ => return Err(place.invalid(name)),
                },
                ("Id", Json::Text(text)) => id = Some(text.clone()),
                ("Statement", Json::List(items)) => statements = Some(items.as_slice()),
                ("Statement", one @ Json::Object(_)) => {
                    statements = Some(std::slice::from_ref(one))
                }
                ("Version" | "Id" | "Statement", _) => return Err(place.invalid(name)),
                _ => return Err(place.unknown(name)),
            }
        }
        let statements = statements.ok_or_else(|| place.missing("Statement"))?;
        let statements = statements
            .iter()
            .enumerate()
            .map(|(at, json)| {
                Statement::parse(
                    json,
                    kind,
                    reading,
                    variables_allowed,
                    &Place(format!("statement {}", at + 1)),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        if matches!(kind, PolicyKind::Identity | PolicyKind::Trust) && reading == Reading::New {
            sids_must_differ(&statements)?;
        }
        normalise_anyone(&mut members);
        Ok(Self {
            text: text.into(),
            id,
            statements,
            rendered: Json::Object(members).render().into(),
        })
    }

    /// The policy that every key has unless `CreateKey` gives another: the account, and with it
    /// its IAM policies, may do everything.
    #[must_use]
    pub fn default_for_key(account: &str) -> Self {
        let text = Self::default_text(account);
        match Self::parse(&text, PolicyKind::Key) {
            Ok(policy) => policy,
            // Twelve digits are checked before any account gets a key; for
            // anything else a policy that allows nothing is the safe answer.
            Err(_) => Self {
                text: text.into(),
                id: None,
                statements: Vec::new(),
                rendered: "{ }".into(),
            },
        }
    }

    /// The text of [`Policy::default_for_key`].
    pub(crate) fn default_text(account: &str) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Id":"key-default-1","Statement":[{{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{account}:root"}},"Action":"kms:*","Resource":"*"}}]}}"#
        )
    }

    /// As it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As `GetKeyPolicy` returns it: same elements and order, KMS's layout, and
    /// `"Principal": "*"` as `{"AWS": "*"}`.
    #[must_use]
    pub fn rendered(&self) -> &str {
        &self.rendered
    }

    /// The policy's `Id`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(crate) fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

/// Whether a policy is new or was accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    New,
    Kept,
}

fn sids_must_differ(statements: &[Statement]) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    let mut sids = statements.iter().filter_map(|it| it.sid.as_deref());
    match sids.find(|sid| !sid.is_empty() && !seen.insert(*sid)) {
        Some(sid) => Err(PolicyError::SidTwice {
            sid: sid.to_owned(),
        }),
        None => Ok(()),
    }
}

/// KMS stores `"Principal": "*"` as `"Principal": {"AWS": "*"}`.
fn normalise_anyone(members: &mut [(String, Json)]) {
    each_statement(members, |elements| {
        for (name, value) in elements {
            if name == "Principal" && *value == Json::Text("*".to_owned()) {
                *value = Json::Object(vec![("AWS".to_owned(), Json::Text("*".to_owned()))]);
            }
        }
    });
}

/// Changes the elements of each statement of a policy.
pub(super) fn each_statement(
    members: &mut [(String, Json)],
    mut change: impl FnMut(&mut Vec<(String, Json)>),
) {
    let mut each = |statement: &mut Json| {
        if let Json::Object(elements) = statement {
            change(elements);
        }
    };
    for (name, value) in members {
        match value {
            Json::List(items) if name == "Statement" => items.iter_mut().for_each(&mut each),
            one if name == "Statement" => each(one),
            _ => {}
        }
    }
}

/// Where in the document an error lies.
struct Place(String);

impl Place {
    fn unknown(&self, element: &str) -> PolicyError {
        PolicyError::UnknownElement {
            place: self.0.clone(),
            element: element.to_owned(),
        }
    }

    fn invalid(&self, element: &str) -> PolicyError {
        PolicyError::InvalidValue {
            place: self.0.clone(),
            element: element.to_owned(),
        }
    }

    fn missing(&self, element: &str) -> PolicyError {
        PolicyError::MissingElement {
            place: self.0.clone(),
            element: element.to_owned(),
        }
    }
}

impl Statement {
    /// How the statement names the caller; one of a policy without principals
    /// is about every caller that has the policy.
    pub(super) fn names<'c>(
        &self,
        caller: impl Into<CallerName<'c>>,
        has_boundary: bool,
    ) -> Naming {
        match &self.principals {
            None => Naming::Direct,
            // "… will always deny any IAM principal that has a permissions
            // boundary policy attached, regardless of the values".
            Some(principals)
                if principals.negated && self.effect == Effect::Deny && has_boundary =>
            {
                Naming::Direct
            }
            Some(principals) => principals.names(caller.into()),
        }
    }

    fn parse(
        json: &Json,
        kind: PolicyKind,
        reading: Reading,
        variables: bool,
        place: &Place,
    ) -> Result<Self, PolicyError> {
        let Json::Object(members) = json else {
            return Err(place.invalid("Statement"));
        };
        let (mut sid, mut effect, mut principals) = (None, None, None);
        let (mut actions, mut resources) = (None, None);
        let mut conditions = Vec::new();
        for (name, value) in members {
            match name.as_str() {
                "Sid" => match value {
                    Json::Text(text) => sid = Some(text.as_str().into()),
                    _ => return Err(place.invalid(name)),
                },
                "Effect" => {
                    effect = Some(match value {
                        Json::Text(text) if text == "Allow" => Effect::Allow,
                        Json::Text(text) if text == "Deny" => Effect::Deny,
                        _ => return Err(place.invalid(name)),
                    });
                }
                "Principal" | "NotPrincipal" => {
                    if kind == PolicyKind::Identity {
                        return Err(place.unknown(name));
                    }
                    let named = parse_principals(value, kind, name == "NotPrincipal", place)?;
                    set_once(&mut principals, named, "Principal", place)?;
                }
                "Action" | "NotAction" => {
                    let items =
                        parse_actions(value, variables).ok_or_else(|| place.invalid(name))?;
                    let negated = name == "NotAction";
                    set_once(&mut actions, Patterns { negated, items }, "Action", place)?;
                }
                "Resource" | "NotResource" => {
                    if kind == PolicyKind::Trust {
                        return Err(place.unknown(name));
                    }
                    let texts = parse_texts(value).ok_or_else(|| place.invalid(name))?;
                    if kind == PolicyKind::Identity && reading == Reading::New {
                        must_be_arns(&texts)?;
                    }
                    let items = texts.iter().map(|t| Template::new(t, variables)).collect();
                    let negated = name == "NotResource";
                    set_once(
                        &mut resources,
                        Patterns { negated, items },
                        "Resource",
                        place,
                    )?;
                }
                "Condition" => conditions = parse_conditions(value, kind, variables, place)?,
                _ => return Err(place.unknown(name)),
            }
        }
        let effect = effect.ok_or_else(|| place.missing("Effect"))?;
        let is_negated = principals
            .as_ref()
            .is_some_and(|it: &Principals| it.negated);
        if is_negated
            && (effect == Effect::Allow || kind == PolicyKind::Trust)
            && reading == Reading::New
        {
            let place = place.0.clone();
            return Err(PolicyError::NotPrincipalHere { place });
        }
        match kind {
            PolicyKind::Key => {
                principals
                    .as_ref()
                    .ok_or_else(|| place.missing("Principal"))?;
            }
            PolicyKind::Identity | PolicyKind::Bucket => {
                if kind == PolicyKind::Bucket {
                    let missing = || place.missing("Principal");
                    principals.as_ref().ok_or_else(missing)?;
                }
                actions.as_ref().ok_or_else(|| place.missing("Action"))?;
                resources
                    .as_ref()
                    .ok_or_else(|| place.missing("Resource"))?;
            }
            PolicyKind::Trust => {
                principals
                    .as_ref()
                    .ok_or_else(|| place.missing("Principal"))?;
                actions.as_ref().ok_or_else(|| place.missing("Action"))?;
                // A trust policy is about its own role.
                resources = Some(Patterns {
                    negated: false,
                    items: vec![Template::new("*", false)],
                });
            }
        }
        Ok(Self {
            sid,
            effect,
            principals,
            actions,
            resources,
            conditions,
        })
    }
}

impl Patterns {
    /// Whether the element covers an action (letters of any case).
    pub(crate) fn cover_action(&self, action: &str) -> bool {
        let listed = self
            .items
            .iter()
            .any(|item| glob(item.text(), action, Case::Insensitive));
        listed != self.negated
    }
}

fn set_once<T>(
    slot: &mut Option<T>,
    value: T,
    element: &str,
    place: &Place,
) -> Result<(), PolicyError> {
    if slot.is_some() {
        return Err(PolicyError::Contradiction {
            place: place.0.clone(),
            element: element.to_owned(),
        });
    }
    *slot = Some(value);
    Ok(())
}

/// A string or a list of strings, at least one.
fn parse_texts(value: &Json) -> Option<Vec<&str>> {
    let texts: Vec<&str> = match value {
        Json::Text(text) => vec![text],
        Json::List(items) => items
            .iter()
            .map(|item| match item {
                Json::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect::<Option<_>>()?,
        _ => return None,
    };
    (!texts.is_empty()).then_some(texts)
}

/// `vendor:Name` with wildcards, or `*` alone.
fn parse_actions(value: &Json, variables: bool) -> Option<Vec<Template>> {
    parse_texts(value)?
        .into_iter()
        .map(|text| {
            let well_formed = text == "*"
                || text
                    .split_once(':')
                    .is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty());
            well_formed.then(|| Template::new(text, variables))
        })
        .collect()
}

/// Refuses a `Resource` that is neither an ARN, which may have wildcards, nor `*`.
fn must_be_arns(texts: &[&str]) -> Result<(), PolicyError> {
    let is_arn = |text: &&str| {
        let has_form = six_parts(text).is_some() || text.contains('*');
        *text == "*" || (text.starts_with("arn:") && has_form)
    };
    match texts.iter().copied().find(|text| !is_arn(text)) {
        Some(value) => Err(PolicyError::ResourceForm {
            value: value.to_owned(),
        }),
        None => Ok(()),
    }
}

fn parse_principals(
    value: &Json,
    kind: PolicyKind,
    negated: bool,
    place: &Place,
) -> Result<Principals, PolicyError> {
    let wrong = |value: &str| PolicyError::InvalidPrincipal {
        place: place.0.clone(),
        value: value.to_owned(),
    };
    let members = match value {
        Json::Text(text) if text == "*" => {
            return Ok(Principals::new(negated, vec![PrincipalEntry::Anyone], None));
        }
        Json::Text(text) => return Err(wrong(text)),
        Json::Object(members) if !members.is_empty() => members,
        _ => return Err(wrong("")),
    };
    let mut entries = Vec::new();
    let mut of_other_partition = None;
    for (principal_type, value) in members {
        let texts = parse_texts(value).ok_or_else(|| wrong(principal_type))?;
        for text in texts {
            let entry = match principal_type.as_str() {
                "AWS" => PrincipalEntry::parse(text),
                "Service" => text
                    .ends_with(".amazonaws.com")
                    .then_some(PrincipalEntry::Foreign),
                "Federated" => (!text.is_empty()).then_some(PrincipalEntry::Foreign),
                // Here an account's canonical id is its number.
                "CanonicalUser" if kind == PolicyKind::Bucket && is_account_id(text) => {
                    PrincipalEntry::parse(text)
                }
                "CanonicalUser" if kind != PolicyKind::Key => Some(PrincipalEntry::Foreign),
                _ => None,
            };
            let entry = entry.ok_or_else(|| wrong(text))?;
            if principal_type == "AWS" && entry == PrincipalEntry::Foreign {
                of_other_partition = Some(text.to_owned());
            }
            entries.push(entry);
        }
    }
    Ok(Principals::new(negated, entries, of_other_partition))
}

fn parse_conditions(
    value: &Json,
    kind: PolicyKind,
    variables: bool,
    place: &Place,
) -> Result<Vec<Condition>, PolicyError> {
    let Json::Object(operators) = value else {
        return Err(place.invalid("Condition"));
    };
    let mut conditions = Vec::new();
    for (operator_text, keys) in operators {
        // IAM takes any word for an operator without keys; of KMS that is not known.
        let is_empty = matches!(keys, Json::Object(keys) if keys.is_empty());
        if is_empty && kind != PolicyKind::Key {
            continue;
        }
        let operator =
            Operator::parse(operator_text).ok_or_else(|| PolicyError::UnknownOperator {
                place: place.0.clone(),
                operator: operator_text.clone(),
            })?;
        let Json::Object(keys) = keys else {
            return Err(place.invalid(operator_text));
        };
        for (key, values) in keys {
            let values = match values {
                Json::List(items) => items.iter().map(Json::scalar).collect::<Option<Vec<_>>>(),
                one => one.scalar().map(|value| vec![value]),
            };
            let values = values.ok_or_else(|| place.invalid(key))?;
            let values = values.iter().map(|v| Template::new(v, variables)).collect();
            conditions.push(Condition::new(operator.clone(), key, values));
        }
    }
    Ok(conditions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key_policy(statement: &str) -> Result<Policy, PolicyError> {
        Policy::parse(
            &format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#),
            PolicyKind::Key,
        )
    }

    #[test]
    fn scalars_and_lists_mean_the_same() {
        for statement in [
            r#"{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"kms:Decrypt","Resource":"*"}"#,
            r#"{"Effect":"Allow","Principal":{"AWS":["123456789012"]},"Action":["kms:Decrypt"],"Resource":["*"]}"#,
        ] {
            let policy = key_policy(statement).unwrap();
            let statement = policy.statements().first().unwrap();
            assert!(
                statement
                    .actions
                    .as_ref()
                    .unwrap()
                    .cover_action("KMS:decrypt")
            );
            assert_eq!(
                statement.principals.as_ref().unwrap().items,
                [PrincipalEntry::Account("123456789012".into())]
            );
        }
        let single = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
        assert_eq!(
            Policy::parse(single, PolicyKind::Key)
                .unwrap()
                .statements()
                .len(),
            1
        );
    }

    #[test]
    fn a_text_that_is_not_a_policy_is_refused_with_its_place() {
        let principal = |value: &str| {
            format!(r#"{{"Effect":"Allow","Principal":{value},"Action":"kms:*","Resource":"*"}}"#)
        };
        for (statement, about_principals) in [
            (principal(r#"{"AWS":"arn:aws:iam::123456789012:role/*"}"#), true),
            (principal(r#"{"AWS":"arn:aws:iam::123456789012:group/Admins"}"#), true),
            (principal(r#"{"AWS":"arn:aws:iam::12345678901:root"}"#), true),
            (principal(r#"{"AWS":"AIDAEXAMPLE"}"#), true),
            (principal(r#"{"AWS":[]}"#), true),
            (principal(r#"{"Aws":"*"}"#), true),
            (principal(r#""arn:aws:iam::123456789012:root""#), true),
            (principal("{}"), true),
            (r#"{"Effect":"Allow","Action":"kms:*","Resource":"*"}"#.into(), true),
            (r#"{"Effect":"allow","Principal":"*","Action":"kms:*","Resource":"*"}"#.into(), false),
            (r#"{"Principal":"*","Action":"kms:*","Resource":"*"}"#.into(), false),
            (r#"{"Effect":"Allow","Principal":"*","Action":"Decrypt","Resource":"*"}"#.into(), false),
            (r#"{"Effect":"Allow","Principal":"*","Action":[],"Resource":"*"}"#.into(), false),
            (r#"{"Effect":"Allow","Principal":"*","Action":"kms:*","NotAction":"kms:*","Resource":"*"}"#.into(), false),
            (r#"{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Conditions":{}}"#.into(), false),
            (r#"{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"StringIs":{"a":"b"}}}"#.into(), false),
            (r#"{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"Bool":{"a":{}}}}"#.into(), false),
        ] {
            let error = key_policy(&statement).unwrap_err();
            assert_eq!(error.text_of_kms().is_some(), about_principals, "{statement}: {error}");
            assert!(error.to_string().contains("statement 1"), "{error}");
        }
        for text in [
            "",
            "nonsense",
            "[]",
            "{}",
            r#"{"Version":"2013-01-01","Statement":[]}"#,
            "\u{100}",
        ] {
            assert!(Policy::parse(text, PolicyKind::Key).is_err(), "{text}");
        }
    }

    #[test]
    fn a_statement_without_action_or_resource_is_accepted_in_a_key_policy_only() {
        let statement = r#"{"Effect":"Allow","Principal":"*","Resource":"*"}"#;
        assert!(key_policy(statement).is_ok());
        let identity =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*"}]}"#;
        assert!(Policy::parse(identity, PolicyKind::Identity).is_err());
    }

    #[test]
    fn anyone_is_stored_as_the_aws_principal_star() {
        let policy =
            key_policy(r#"{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}"#);
        assert!(
            policy
                .unwrap()
                .rendered()
                .contains("\"Principal\" : {\n      \"AWS\" : \"*\"\n    }")
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Policy::parse(&text, PolicyKind::Key);
        }

        #[test]
        fn no_mutation_of_a_policy_makes_the_parser_panic(at in 0usize..400, byte in 0x20u8..0x7f) {
            let mut bytes = br#"{"Version":"2012-10-17","Id":"x","Statement":[{"Sid":"s","Effect":"Deny","NotPrincipal":{"AWS":["arn:aws:sts::123456789012:assumed-role/R/S","arn:aws:iam::123456789012:role/p/R"],"Service":"x.amazonaws.com"},"NotAction":["kms:De*"],"Resource":"${aws:username}","Condition":{"ForAnyValue:StringLikeIfExists":{"kms:EncryptionContextKeys":[true,1,"a*"]},"Null":{"a:b":"true"}}}]}"#.to_vec();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Ok(policy) = Policy::parse(text, PolicyKind::Key)
            {
                prop_assert!(Policy::parse(policy.rendered(), PolicyKind::Key).is_ok());
            }
        }
    }
}
