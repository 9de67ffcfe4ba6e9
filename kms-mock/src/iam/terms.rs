//! What a session was made with: session policies, session tags, a source
//! identity.
//!
//! Source of truth: AWS IAM user guide, "Pass session tags in AWS STS" and
//! "Monitor and control actions taken with assumed roles"; the texts of refusals
//! are recorded. Does not model the packed size of policies and tags, whose
//! compression AWS does not describe.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{document::Document, error::IamError, names::Tags};

/// What AssumeRole asks for.
#[derive(Clone, Debug)]
pub struct AssumeRole<'a> {
    /// ARN of the role.
    pub role_arn: &'a str,
    /// Name of the session, 2 to 64 of `[\w+=,.@-]`.
    pub session_name: &'a str,
    /// 15 minutes to the role's longest session.
    pub duration: Duration,
    /// A session policy, JSON.
    pub policy: Option<&'a str>,
    /// The external id that the trust policy may ask for.
    pub external_id: Option<&'a str>,
}

/// Characters of a session policy, AWS's quota.
const SESSION_POLICY_CHARACTERS_MAX: usize = 2_048;

/// What was agreed on for a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) policies: Vec<Document>,
    pub(crate) tags: SessionTags,
    pub(crate) source_identity: Option<String>,
}

/// What a caller asks for a session to have, beside an inline policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionOptions {
    /// Managed policies that bound it.
    pub(super) policy_arns: Vec<String>,
    pub(super) tags: Vec<(String, String)>,
    /// Keys of tags that sessions of this session have too.
    pub(super) transitive_keys: Vec<String>,
    pub(super) source_identity: Option<String>,
}

/// The tags of a session, and which of them its own sessions inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionTags {
    all: Tags,
    transitive: BTreeSet<String>,
}

impl SessionTags {
    /// The tags of a new session: those asked for, and those that the caller's
    /// session hands on.
    pub(super) fn of(asked: &SessionOptions, calling: &Self) -> Result<Self, IamError> {
        let tags = Tags::of_session(asked.tags.clone())?;
        let mut transitive = BTreeSet::new();
        for wanted in &asked.transitive_keys {
            let key = tags.key(wanted).ok_or(IamError::TransitiveTagNotAsked)?;
            transitive.insert(key.to_owned());
        }
        let mut all = Tags::default();
        for (key, value) in calling.handed_on() {
            if tags.key(key).is_some() {
                return Err(IamError::TransitiveTagConflict);
            }
            all.set(key, value);
            transitive.insert(key.to_owned());
        }
        for (key, value) in tags.iter() {
            all.set(key, value);
        }
        Ok(Self { all, transitive })
    }

    /// Tags that the data directory has.
    pub(super) fn restore(all: Vec<(String, String)>, transitive: BTreeSet<String>) -> Self {
        let all = Tags::restore(all);
        Self { all, transitive }
    }

    pub(super) fn all(&self) -> &Tags {
        &self.all
    }

    pub(super) fn transitive(&self) -> &BTreeSet<String> {
        &self.transitive
    }

    fn handed_on(&self) -> impl Iterator<Item = (&str, &str)> {
        let tags = self.all.iter();
        tags.filter(|(key, _)| self.transitive.contains(key))
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The tags of the principal: those of the user or role, and over them those
    /// of the session.
    pub(super) fn over(&self, own: &Tags) -> BTreeMap<String, String> {
        if self.all.is_empty() {
            return own.to_map();
        }
        let mut both = own.clone();
        for (key, value) in self.all.iter() {
            both.replace(key, value);
        }
        both.to_map()
    }
}

pub(super) fn check_policy_length(policy: Option<&str>) -> Result<(), IamError> {
    if policy.is_none_or(|text| text.chars().count() <= SESSION_POLICY_CHARACTERS_MAX) {
        return Ok(());
    }
    Err(IamError::unfit(
        "policy",
        "Member must have length less than or equal to 2048",
    ))
}

pub(super) fn check_at_least_15_minutes(duration: Duration) -> Result<(), IamError> {
    if duration >= Duration::from_secs(900) {
        return Ok(());
    }
    Err(IamError::Validation {
        parameter: "durationSeconds",
        value: duration.as_secs().to_string(),
        constraint: "Member must have value greater than or equal to 900",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tags: &[(&str, &str)], transitive: &[&str]) -> SessionOptions {
        let tags = tags.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        SessionOptions {
            tags: tags.collect(),
            transitive_keys: transitive.iter().map(|it| (*it).into()).collect(),
            ..SessionOptions::default()
        }
    }

    #[test]
    fn only_transitive_tags_are_handed_on_and_none_of_them_is_changed() {
        let first = asked(&[("Team", "a"), ("job", "7")], &["team"]);
        let first = SessionTags::of(&first, &SessionTags::default()).unwrap();
        let second = SessionTags::of(&asked(&[("job", "8")], &[]), &first).unwrap();
        let tags = second.over(&Tags::default());
        assert_eq!(tags, [("Team", "a"), ("job", "8")].map(texts).into());
        let third = SessionTags::of(&asked(&[], &[]), &second).unwrap();
        assert_eq!(
            third.over(&Tags::default()),
            [("Team", "a")].map(texts).into()
        );
        for key in ["Team", "tEAM"] {
            let refused = SessionTags::of(&asked(&[(key, "b")], &[]), &second);
            assert_eq!(refused.unwrap_err(), IamError::TransitiveTagConflict);
        }
    }

    #[test]
    fn a_session_tag_takes_the_place_of_the_roles_whatever_its_case() {
        let mut own = Tags::default();
        own.add(vec![
            ("Department".into(), "marketing".into()),
            ("x".into(), "1".into()),
        ])
        .unwrap();
        let tags = SessionTags::of(
            &asked(&[("department", "eng")], &[]),
            &SessionTags::default(),
        );
        let principal = tags.unwrap().over(&own);
        assert_eq!(
            principal,
            [("department", "eng"), ("x", "1")].map(texts).into()
        );
    }

    #[test]
    fn what_aws_refuses_of_session_tags_is_refused() {
        let none = SessionTags::default();
        let refused = |asked: &SessionOptions| SessionTags::of(asked, &none).unwrap_err();
        assert_eq!(
            refused(&asked(&[("a", "1")], &["b"])),
            IamError::TransitiveTagNotAsked
        );
        assert_eq!(
            refused(&asked(&[("a", "1"), ("A", "2")], &[])),
            IamError::DuplicateTags { of_session: true }
        );
    }

    fn texts((key, value): (&str, &str)) -> (String, String) {
        (key.into(), value.into())
    }
}
