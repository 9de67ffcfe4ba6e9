//! `x-amzn-RequestId`: a UUID for each request.

use std::{fmt, ops::Deref};

use uuid::{Builder, Uuid, fmt::Hyphenated};

use super::entropy::Entropy;

/// The id of a request: 36 characters of lower-case hex digits and hyphens.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; Hyphenated::LENGTH]);

impl RequestId {
    /// A random one.
    #[must_use]
    pub fn random() -> Self {
        Self::from(Builder::from_random_bytes(Entropy::system().array()).into_uuid())
    }

    /// Reads what [`RequestId::as_str`] gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self::from(Uuid::try_parse(text).ok()?);
        (id.as_str() == text).then_some(id)
    }

    /// As it stands in the answer's header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // ASCII by construction.
        str::from_utf8(&self.0).expect("a request id is made of ASCII")
    }
}

impl RequestId {
    /// The same, as bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Uuid> for RequestId {
    fn from(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_no_two_are_alike() {
        let (a, b) = (RequestId::random(), RequestId::random());
        assert_ne!(a, b);
        for id in [a, b] {
            assert_eq!(Uuid::try_parse(&id).unwrap().get_version_num(), 4);
            assert_eq!(RequestId::parse(&id), Some(id));
            assert_eq!(RequestId::parse(&id.to_uppercase()), None);
        }
        assert_eq!(RequestId::parse("r"), None);
    }
}
