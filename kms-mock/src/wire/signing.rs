//! The scope of a signature, and the key that is derived for it.
//!
//! Source of truth: AWS General Reference, "Create a signed AWS API request",
//! `DateKey` to `SigningKey`.

use std::borrow::Cow;

use aws_lc_rs::hmac;

/// What a signing key is derived for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `YYYYMMDD`.
    pub date: Cow<'a, str>,
    /// Region.
    pub region: Cow<'a, str>,
    /// Service, `kms`.
    pub service: Cow<'a, str>,
}

impl Scope<'_> {
    /// The same, to be kept.
    #[must_use]
    pub fn into_owned(self) -> Scope<'static> {
        Scope {
            date: Cow::Owned(self.date.into_owned()),
            region: Cow::Owned(self.region.into_owned()),
            service: Cow::Owned(self.service.into_owned()),
        }
    }
}

impl std::fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

/// The key that signs everything of one scope.
#[must_use]
pub fn signing_key(secret: &str, scope: &Scope<'_>) -> hmac::Key {
    let mut seed = zeroize::Zeroizing::new(Vec::with_capacity(4 + secret.len()));
    seed.extend_from_slice(b"AWS4");
    seed.extend_from_slice(secret.as_bytes());
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, &seed);
    for part in [&*scope.date, &scope.region, &scope.service, "aws4_request"] {
        let next = hmac::sign(&key, part.as_bytes());
        key = hmac::Key::new(hmac::HMAC_SHA256, next.as_ref());
    }
    key
}
