//! The forms of names, paths and tags.
//!
//! Source of truth: AWS IAM user guide, "IAM and AWS STS quotas, name
//! requirements, and character limits".

use std::collections::BTreeMap;

use super::error::IamError;

/// `[\w+=,.@-]`, `min` to `max` of them.
pub(super) fn check_name(
    parameter: &'static str,
    value: &str,
    min: usize,
    max: usize,
) -> Result<(), IamError> {
    let fits = value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if fits && (min..=max).contains(&value.len()) {
        return Ok(());
    }
    let constraint = if !fits {
        r"Member must satisfy regular expression pattern: [\w+=,.@-]*"
    } else if value.len() < min {
        if min == 1 {
            "Member must have length greater than or equal to 1"
        } else {
            "Member must have length greater than or equal to 2"
        }
    } else if max == 64 {
        "Member must have length less than or equal to 64"
    } else {
        "Member must have length less than or equal to 128"
    };
    let value = value.chars().take(256).collect();
    Err(IamError::Validation {
        parameter,
        value,
        constraint,
    })
}

/// `/` or `/path/`.
pub(super) fn check_path(path: &str) -> Result<(), IamError> {
    let printable = path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if printable && path.len() <= 512 && path.starts_with('/') && path.ends_with('/') {
        return Ok(());
    }
    Err(IamError::InvalidPath)
}

/// AWS's quota for an entity, and for one request.
const TAGS_MAX: usize = 50;
const TAG_CHARACTERS: &str =
    r"Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+";

/// Tags of a role, user, policy or session, in the order they were given. Keys
/// that differ in case alone are the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags(Vec<(String, String)>);

impl Tags {
    /// The tags of a request for a session.
    pub(super) fn of_session(tags: Vec<(String, String)>) -> Result<Self, IamError> {
        Self::checked(tags, true)
    }

    fn checked(tags: Vec<(String, String)>, of_session: bool) -> Result<Self, IamError> {
        if tags.len() > TAGS_MAX {
            return Err(IamError::unfit(
                "tags",
                "Member must have length less than or equal to 50",
            ));
        }
        let mut checked = Self::default();
        for (at, (key, value)) in tags.iter().enumerate() {
            check_tag(at + 1, key, value)?;
            if checked.key(key).is_some() {
                return Err(IamError::DuplicateTags { of_session });
            }
            checked.set(key, value);
        }
        Ok(checked)
    }

    /// Adds tags; a key that is there gets the new value.
    pub(super) fn add(&mut self, tags: Vec<(String, String)>) -> Result<(), IamError> {
        let mut both = self.clone();
        for (key, value) in Self::checked(tags, false)?.iter() {
            both.replace(key, value);
        }
        if both.0.len() > TAGS_MAX {
            let (quota, max) = ("TagsPerIdentity", TAGS_MAX);
            return Err(IamError::LimitExceeded { quota, max });
        }
        *self = both;
        Ok(())
    }

    /// Tags that the data directory has.
    pub(super) fn restore(tags: Vec<(String, String)>) -> Self {
        Self(tags)
    }

    /// The key as it is written here.
    pub(super) fn key(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .map(|(it, _)| it.as_str())
            .find(|it| is_same(it, key))
    }

    /// Adds a key that is not there.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.0.push((key.to_owned(), value.to_owned()));
    }

    /// Adds a key, or puts it in the place of the one that is there.
    pub(super) fn replace(&mut self, key: &str, value: &str) {
        match self.0.iter_mut().find(|(it, _)| is_same(it, key)) {
            Some(there) => *there = (key.to_owned(), value.to_owned()),
            None => self.set(key, value),
        }
    }

    pub(super) fn remove(&mut self, keys: &[String]) -> Result<(), IamError> {
        if keys.len() > TAGS_MAX {
            return Err(IamError::unfit(
                "tagKeys",
                "Member must have length less than or equal to 50",
            ));
        }
        if keys.iter().any(|key| check_tag_key(key).is_err()) {
            return Err(IamError::unfit(
                "tagKeys",
                r"Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+, Member must not be null]",
            ));
        }
        self.0
            .retain(|(there, _)| !keys.iter().any(|key| is_same(there, key)));
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().cloned().collect()
    }
}

fn is_same(key: &str, other: &str) -> bool {
    key == other || key.to_lowercase() == other.to_lowercase()
}

fn check_tag(number: usize, key: &str, value: &str) -> Result<(), IamError> {
    let place = |part: &str| format!("tags.{number}.member.{part}");
    check_tag_key(key).map_err(|problem| IamError::unfit(place("key"), problem))?;
    if value.chars().count() > 256 {
        let problem = "Member must have length less than or equal to 256";
        return Err(IamError::unfit(place("value"), problem));
    }
    if !value.chars().all(is_of_a_tag) {
        let problem = TAG_CHARACTERS.trim_end_matches('+');
        return Err(IamError::unfit(place("value"), format!("{problem}*")));
    }
    Ok(())
}

fn check_tag_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("Member must have length greater than or equal to 1");
    }
    if key.chars().count() > 128 {
        return Err("Member must have length less than or equal to 128");
    }
    if !key.chars().all(is_of_a_tag) {
        return Err(TAG_CHARACTERS);
    }
    Ok(())
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`
fn is_of_a_tag(c: char) -> bool {
    let is_space = c.is_whitespace() && !c.is_control();
    c.is_alphanumeric() || is_space || "_.:/=+-@".contains(c)
}
