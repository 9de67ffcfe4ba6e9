//! Conditional requests: what If-Match and its kin ask of the object there is.
//!
//! Source of truth: RFC 9110 §13 for the order of conditions; Amazon S3 user
//! guide, "Conditional requests", for writes, which know `If-Match` with an entity
//! tag and `If-None-Match: *` and nothing else. Recorded: a date in the future asks
//! for nothing.

use nsm_sim::clock::UnixMillis;
use s3s::{
    S3Error, S3Result,
    dto::{ETagCondition, Timestamp},
    s3_error,
};

use crate::s3::{
    errors::{detailed, not_modified},
    store::{Found, Object, StoreError, Upload},
    values::dates::timestamp,
};

/// The conditions of a read.
#[derive(Debug)]
pub(crate) struct ReadIf<'a> {
    pub(crate) matches: Option<&'a ETagCondition>,
    pub(crate) none_match: Option<&'a ETagCondition>,
    pub(crate) modified_since: Option<&'a Timestamp>,
    pub(crate) unmodified_since: Option<&'a Timestamp>,
}

/// The conditions of a read, from the fields of its input.
macro_rules! read_if {
    ($input:expr) => {
        $crate::s3::ops::conditions::ReadIf {
            matches: $input.if_match.as_ref(),
            none_match: $input.if_none_match.as_ref(),
            modified_since: $input.if_modified_since.as_ref(),
            unmodified_since: $input.if_unmodified_since.as_ref(),
        }
    };
}

/// The conditions on the source of a copy.
macro_rules! copy_source_if {
    ($input:expr) => {
        $crate::s3::ops::conditions::ReadIf {
            matches: $input.copy_source_if_match.as_ref(),
            none_match: $input.copy_source_if_none_match.as_ref(),
            modified_since: $input.copy_source_if_modified_since.as_ref(),
            unmodified_since: $input.copy_source_if_unmodified_since.as_ref(),
        }
    };
}

pub(crate) use {copy_source_if, read_if};

impl ReadIf<'_> {
    /// Checks a GET or HEAD, which may find nothing new.
    pub(crate) fn check(&self, found: &Found, now: UnixMillis) -> S3Result<()> {
        self.unmet(found, now).map_or(Ok(()), |condition| {
            Err(match condition {
                "If-None-Match" | "If-Modified-Since" => not_modified(&found.object.etag),
                _ => StoreError::PreconditionFailed(condition).into(),
            })
        })
    }

    /// Checks the source of a copy, where every condition fails alike.
    pub(crate) fn check_source(&self, found: &Found, now: UnixMillis) -> S3Result<()> {
        self.unmet(found, now).map_or(Ok(()), |condition| {
            Err(StoreError::PreconditionFailed(match condition {
                "If-Match" => "x-amz-copy-source-If-Match",
                "If-None-Match" => "x-amz-copy-source-If-None-Match",
                "If-Modified-Since" => "x-amz-copy-source-If-Modified-Since",
                _ => "x-amz-copy-source-If-Unmodified-Since",
            })
            .into())
        })
    }

    /// The first condition that does not hold.
    fn unmet(&self, found: &Found, now: UnixMillis) -> Option<&'static str> {
        let (modified, now) = (timestamp(found.modified), timestamp(now));
        let modified_since = self.modified_since.filter(|since| !later(since, &now));
        match (self.matches, self.unmodified_since) {
            (Some(condition), _) if !matches(condition, &found.object) => return Some("If-Match"),
            (None, Some(since)) if later(&modified, since) => return Some("If-Unmodified-Since"),
            _ => {}
        }
        match (self.none_match, modified_since) {
            (Some(condition), _) if matches(condition, &found.object) => Some("If-None-Match"),
            (None, Some(since)) if !later(&modified, since) => Some("If-Modified-Since"),
            _ => None,
        }
    }
}

/// The conditions of a write.
#[derive(Debug, Default)]
pub(crate) struct WriteIf {
    /// The entity tag that must be there.
    etag: Option<String>,
    /// Nothing may be there.
    absent: bool,
}

impl WriteIf {
    /// Reads `If-Match` and `If-None-Match`.
    pub(crate) fn read(
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> S3Result<Self> {
        match (if_match, if_none_match) {
            (None, None) => Ok(Self::default()),
            (Some(ETagCondition::ETag(etag)), None) => Ok(Self {
                etag: Some(etag.value().to_owned()),
                absent: false,
            }),
            (None, Some(ETagCondition::Any)) => Ok(Self {
                etag: None,
                absent: true,
            }),
            (Some(_), Some(_)) => Err(not_implemented(
                "If-Match,If-None-Match",
                "Multiple conditional request headers present in the request",
            )),
            (Some(_), None) => Err(not_implemented(
                "If-Match",
                "We don't accept the provided value of If-Match header for this API",
            )),
            (None, Some(_)) => Err(not_implemented(
                "If-None-Match",
                "We don't accept the provided value of If-None-Match header for this API",
            )),
        }
    }

    /// What the completion of an upload must find: besides, the key must be as it
    /// was when the upload began.
    pub(crate) fn check_completion(
        &self,
        upload: &Upload,
        there: Option<(UnixMillis, &Object)>,
    ) -> Result<(), StoreError> {
        let key = &upload.key;
        self.check(key, there.map(|(_, object)| object))?;
        let conflict = |condition| Err(StoreError::Conflict(key.clone(), condition));
        match there {
            Some((modified, _)) if self.etag.is_some() && modified > upload.initiated => {
                conflict("If-Match")
            }
            None if self.absent && upload.replaces => conflict("If-None-Match"),
            _ => Ok(()),
        }
    }

    /// What the write must find.
    pub(crate) fn check(&self, key: &str, there: Option<&Object>) -> Result<(), StoreError> {
        match (&self.etag, there) {
            (Some(_), None) => Err(StoreError::NoSuchKey(key.to_owned())),
            (Some(etag), Some(object)) if *etag != object.etag => {
                Err(StoreError::PreconditionFailed("If-Match"))
            }
            (None, Some(_)) if self.absent => Err(StoreError::PreconditionFailed("If-None-Match")),
            _ => Ok(()),
        }
    }
}

fn not_implemented(header: &str, more: &str) -> S3Error {
    let error = s3_error!(
        NotImplemented,
        "A header you provided implies functionality that is not implemented"
    );
    detailed(error, &[("Header", header), ("additionalMessage", more)])
}

fn matches(condition: &ETagCondition, object: &Object) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(etag) => etag.value() == object.etag,
    }
}

fn later(at: &Timestamp, than: &Timestamp) -> bool {
    at > than
}
