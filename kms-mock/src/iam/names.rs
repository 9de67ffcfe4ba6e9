//! The forms of names, paths and tags.
//!
//! Source of truth: AWS IAM user guide, "IAM and AWS STS quotas, name
//! requirements, and character limits".

use super::IamError;

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
    Err(IamError::Validation {
        parameter: "path",
        value: path.chars().take(512).collect(),
        constraint: "Member must begin and end with / and contain only alphanumeric characters \
                     and/or / characters.",
    })
}

const TAGS_MAX: usize = 50;

/// Tags of a role, user or policy, in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags(Vec<(String, String)>);

impl Tags {
    /// Adds tags; a key that is there gets the new value.
    pub(super) fn add(&mut self, tags: Vec<(String, String)>) -> Result<(), IamError> {
        let mut added = self.0.clone();
        for (key, value) in tags {
            if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
                return Err(IamError::InvalidInput(
                    "A tag has a key of 1 to 128 and a value of 0 to 256 characters.",
                ));
            }
            match added.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => added.push((key, value)),
            }
        }
        if added.len() > TAGS_MAX {
            let (quota, max) = ("TagsPerIdentity", TAGS_MAX);
            return Err(IamError::LimitExceeded { quota, max });
        }
        self.0 = added;
        Ok(())
    }

    /// Tags that the data directory has.
    pub(super) fn restore(tags: Vec<(String, String)>) -> Self {
        Self(tags)
    }

    pub(super) fn remove(&mut self, keys: &[String]) {
        self.0.retain(|(key, _)| !keys.contains(key));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }
}
