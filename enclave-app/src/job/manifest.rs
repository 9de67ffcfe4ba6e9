//! The submitter's signed order: run the model on this object, for this study,
//! within this time.
//!
//! The signature is checked before any field is read. ECDSA lets anybody turn
//! (r, s) into (r, −s): the bytes of a manifest are no identity of a job, its
//! `job` field is. Does not model one-time use: a manifest may be presented
//! until it expires, and asks for the same thing every time.
//!
//! Reading order: this file (an order and its rules), `encoding` (its bytes).

mod encoding;

use std::fmt;

use aws_lc_rs::digest;

pub use self::encoding::CONTENT_TYPE;
pub use super::submitter::{PEM_BYTES_MAX, SubmitterKey, SubmitterKeyError, SubmitterPublicKey};
use super::wire::MANIFEST_BYTES_MAX;

/// Longest job id and study, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest object key, in bytes: S3's own bound.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest time between issue and expiry: seven days, S3's own bound for a
/// presigned request. A signed order should not outlive the reason for it.
pub const LIFETIME_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// How far in the future an issue time may lie: clocks differ.
pub const CLOCK_SKEW_MS_MAX: u64 = 60 * 1000;
/// Largest time: 9999-12-31T23:59:59.999Z.
const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// One order. Times are unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The job's name: 1 to 128 visible ASCII characters except `"` and `\`.
    pub job: String,
    /// The S3 bucket of the input object.
    pub bucket: String,
    /// The S3 key of the input object: 1 to 1024 bytes without control characters.
    pub key: String,
    /// SHA-256 of the S3 object's body, that is of the ciphertext.
    pub ciphertext_sha256: [u8; 32],
    /// What the findings belong to; written like `job`, with inner spaces.
    pub study: String,
    /// When the submitter signed.
    pub issued_at_ms: u64,
    /// From when on the enclave must refuse; at most seven days after issue.
    pub expires_at_ms: u64,
}

/// Why a manifest is refused, or cannot be made.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than any manifest.
    #[error("the manifest has {length} bytes; at most {MANIFEST_BYTES_MAX} are read")]
    TooLong {
        /// Bytes presented.
        length: usize,
    },
    /// Not a tagged COSE_Sign1 message of the accepted form.
    #[error("the manifest is not a COSE_Sign1 message of the accepted form: {what}")]
    NotCose {
        /// What is wrong.
        what: &'static str,
    },
    /// Signed with another algorithm than ES384, or none named.
    #[error("the manifest is not signed with ES384")]
    WrongAlgorithm,
    /// A COSE message, but not a job.
    #[error("the signed content is not of type {CONTENT_TYPE}")]
    WrongContentType,
    /// The key id names nobody whom the enclave trusts.
    #[error(
        "the manifest is not signed by a submitter in this enclave's configuration (key id {})",
        hex::encode(key_id)
    )]
    UnknownSubmitter {
        /// The key id presented.
        key_id: Vec<u8>,
    },
    /// The key id is known, but this is not its owner's signature.
    #[error("the manifest's signature does not verify")]
    BadSignature,
    /// Correctly signed, but the payload is not this form's one encoding.
    #[error("the manifest's payload is not canonical: {what}")]
    NotCanonical {
        /// What is wrong.
        what: &'static str,
    },
    /// A field's value is outside its bounds.
    #[error("the manifest's {field} {problem}")]
    BadField {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Issued in the future.
    #[error(
        "the job is not valid yet: it was issued at {issued_at_ms}, the time is {now_ms} (unix ms)"
    )]
    NotYetValid {
        /// When it was issued.
        issued_at_ms: u64,
        /// The time of the check.
        now_ms: u64,
    },
    /// Too old.
    #[error("the job has expired at {expires_at_ms}, the time is {now_ms} (unix ms)")]
    Expired {
        /// When it expired.
        expires_at_ms: u64,
        /// The time of the check.
        now_ms: u64,
    },
    /// The object presented is not the one that was signed for.
    #[error(
        "the object is not the one signed for: SHA-256 is {}, signed was {}",
        hex::encode(presented),
        hex::encode(signed)
    )]
    DigestMismatch {
        /// Digest of the object presented.
        presented: [u8; 32],
        /// Digest in the manifest.
        signed: [u8; 32],
    },
    /// The encoder failed; a bug.
    #[error("the manifest could not be encoded")]
    Encoding,
}

impl Manifest {
    /// SHA-256 of an object's body, as [`Manifest::ciphertext_sha256`] wants it.
    #[must_use]
    pub fn digest(object_body: &[u8]) -> [u8; 32] {
        let mut out = [0u8; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, object_body).as_ref());
        out
    }

    /// Signs the order: tagged COSE_Sign1 bytes, the same for the same key and
    /// fields.
    ///
    /// # Errors
    /// [`ManifestError::BadField`] if a field breaks its bounds: such an order
    /// would be refused by every enclave.
    pub fn sign(&self, key: &SubmitterKey) -> Result<Vec<u8>, ManifestError> {
        self.bounded()?;
        encoding::sign(&encoding::payload(self)?, key)
    }

    /// Checks signature and shape against the trusted `submitters`. The times
    /// and the object are left to [`Manifest::check`].
    ///
    /// # Errors
    /// [`ManifestError`], except the variants of [`Manifest::check`].
    pub fn verify(bytes: &[u8], submitters: &[SubmitterPublicKey]) -> Result<Self, ManifestError> {
        Self::from_payload(&encoding::verified(bytes, submitters)?)
    }

    /// Checks times and object: `now_ms` by the enclave's own clock,
    /// `object_body` as the parent presented it. A verified manifest expires at
    /// `expires_at_ms` sharp; its issue time may lie up to
    /// [`CLOCK_SKEW_MS_MAX`] ahead.
    ///
    /// # Errors
    /// [`ManifestError::NotYetValid`], [`ManifestError::Expired`],
    /// [`ManifestError::DigestMismatch`].
    pub fn check(&self, now_ms: u64, object_body: &[u8]) -> Result<(), ManifestError> {
        if self.issued_at_ms > now_ms.saturating_add(CLOCK_SKEW_MS_MAX) {
            return Err(ManifestError::NotYetValid {
                issued_at_ms: self.issued_at_ms,
                now_ms,
            });
        }
        if now_ms >= self.expires_at_ms {
            return Err(ManifestError::Expired {
                expires_at_ms: self.expires_at_ms,
                now_ms,
            });
        }
        let presented = Self::digest(object_body);
        if presented != self.ciphertext_sha256 {
            return Err(ManifestError::DigestMismatch {
                presented,
                signed: self.ciphertext_sha256,
            });
        }
        Ok(())
    }

    /// The job's name as the manifest claims it, **without checking the
    /// signature**: a label for the parent's logs, never a reason for anything.
    #[must_use]
    pub fn claimed_job(bytes: &[u8]) -> Option<String> {
        let payload = encoding::unverified(bytes).ok()?;
        Self::from_payload(&payload)
            .ok()
            .map(|manifest| manifest.job)
    }

    fn from_payload(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = encoding::read_payload(bytes)?;
        manifest.bounded()?;
        Ok(manifest)
    }

    fn bounded(&self) -> Result<(), ManifestError> {
        let bad = |field, problem| Err(ManifestError::BadField { field, problem });
        name_bounded("job", &self.job, false)?;
        name_bounded("study", &self.study, true)?;
        bucket_bounded(&self.bucket)?;
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX {
            return bad("key", "is not 1 to 1024 bytes long");
        }
        if self.key.chars().any(char::is_control) {
            return bad("key", "contains a control character");
        }
        if self.expires_at_ms > TIME_MS_MAX {
            return bad("expires_at_ms", "lies after the year 9999");
        }
        match self.expires_at_ms.checked_sub(self.issued_at_ms) {
            None | Some(0) => bad("expires_at_ms", "is not after issued_at_ms"),
            Some(lifetime) if lifetime > LIFETIME_MS_MAX => bad(
                "expires_at_ms",
                "is more than seven days after issued_at_ms",
            ),
            Some(_) => Ok(()),
        }
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} on s3://{}/{}", self.job, self.bucket, self.key)
    }
}

/// Names go into logs, JSON and encryption contexts: visible ASCII, nothing
/// that any of them would have to escape.
fn name_bounded(field: &'static str, text: &str, inner_spaces: bool) -> Result<(), ManifestError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(ManifestError::BadField {
            field,
            problem: "is not 1 to 128 bytes long",
        });
    }
    let allowed =
        |c: char| (c.is_ascii_graphic() && c != '"' && c != '\\') || (inner_spaces && c == ' ');
    if !text.chars().all(allowed) || text.trim() != text {
        return Err(ManifestError::BadField {
            field,
            problem: "has a character other than visible ASCII, or a quote or backslash",
        });
    }
    Ok(())
}

/// S3's rules for bucket names, as far as one character decides them.
fn bucket_bounded(bucket: &str) -> Result<(), ManifestError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let ok = (3..=63).contains(&bucket.len())
        && bucket.chars().all(allowed)
        && ends_well(bucket.chars().next())
        && ends_well(bucket.chars().next_back());
    if ok {
        Ok(())
    } else {
        Err(ManifestError::BadField {
            field: "bucket",
            problem: "is not an S3 bucket name",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) const NOW_MS: u64 = 1_766_678_658_000;
    const BODY: &[u8] = b"ciphertext of a chest radiograph";

    pub(super) fn key() -> SubmitterKey {
        SubmitterKey::from_seed(b"radiology")
    }

    pub(super) fn manifest() -> Manifest {
        Manifest {
            job: "job-0001".into(),
            bucket: "hospital-images".into(),
            key: "incoming/2025/äöü 1.dcm".into(),
            ciphertext_sha256: Manifest::digest(BODY),
            study: "1.2.840.113619.2 chest".into(),
            issued_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + 3_600_000,
        }
    }

    pub(super) fn verify(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        Manifest::verify(bytes, &[key().public()])
    }

    #[test]
    fn a_signed_manifest_verifies_and_reads_back() {
        let other = SubmitterKey::from_seed(b"cardiology").public();
        let bytes = manifest().sign(&key()).unwrap();
        assert_eq!(
            Manifest::verify(&bytes, &[other, key().public()]).unwrap(),
            manifest()
        );
        assert_eq!(Manifest::claimed_job(&bytes).as_deref(), Some("job-0001"));
        manifest().check(NOW_MS, BODY).unwrap();
    }

    #[test]
    fn signing_twice_gives_the_same_bytes() {
        assert_eq!(
            manifest().sign(&key()).unwrap(),
            manifest().sign(&key()).unwrap()
        );
    }

    #[test]
    fn neither_signs_nor_accepts_fields_beyond_their_bounds() {
        let with = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest
        };
        let table: [(&str, Manifest); 14] = [
            ("job", with(&|m| m.job = String::new())),
            ("job", with(&|m| m.job = "j".repeat(NAME_BYTES_MAX + 1))),
            ("job", with(&|m| m.job = "a b".into())),
            ("job", with(&|m| m.job = "a\"b".into())),
            ("job", with(&|m| m.job = "jöb".into())),
            ("study", with(&|m| m.study = " chest".into())),
            ("study", with(&|m| m.study = "a\nb".into())),
            ("bucket", with(&|m| m.bucket = "Up".into())),
            ("bucket", with(&|m| m.bucket = "a/b".into())),
            ("key", with(&|m| m.key = "k".repeat(KEY_BYTES_MAX + 1))),
            ("key", with(&|m| m.key = "a\u{0}".into())),
            ("expires_at_ms", with(&|m| m.expires_at_ms = m.issued_at_ms)),
            (
                "expires_at_ms",
                with(&|m| m.expires_at_ms = m.issued_at_ms + LIFETIME_MS_MAX + 1),
            ),
            ("expires_at_ms", with(&|m| m.expires_at_ms = u64::MAX)),
        ];
        for (expected, bad) in table {
            let named = |result: Result<(), ManifestError>| match result {
                Err(ManifestError::BadField { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            };
            named(bad.sign(&key()).map(|_| ()));
            let bytes = encoding::sign(&encoding::payload(&bad).unwrap(), &key()).unwrap();
            named(verify(&bytes).map(|_| ()));
        }
    }

    #[test]
    fn refuses_an_expired_job_and_one_whose_time_has_not_come() {
        let manifest = manifest();
        assert!(manifest.check(manifest.expires_at_ms - 1, BODY).is_ok());
        assert!(matches!(
            manifest.check(manifest.expires_at_ms, BODY),
            Err(ManifestError::Expired { .. })
        ));
        assert!(manifest.check(NOW_MS - CLOCK_SKEW_MS_MAX, BODY).is_ok());
        assert!(matches!(
            manifest.check(NOW_MS - CLOCK_SKEW_MS_MAX - 1, BODY),
            Err(ManifestError::NotYetValid { .. })
        ));
    }

    #[test]
    fn refuses_another_object_than_the_one_signed_for() {
        let mut other = BODY.to_vec();
        other[5] ^= 1;
        assert!(matches!(
            manifest().check(NOW_MS, &other),
            Err(ManifestError::DigestMismatch { .. })
        ));
    }

    proptest! {
        // Each case is a signature and a verification.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_order_within_bounds_survives_signing(
            job in "[!#-\\[\\]-~]{1,128}",
            study in "[!#-\\[\\]-~]([ !#-\\[\\]-~]{0,100}[!#-\\[\\]-~])?",
            bucket in "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
            object_key in "[^\\p{Cc}]{1,200}",
            ciphertext_sha256 in any::<[u8; 32]>(),
            issued_at_ms in 0u64..TIME_MS_MAX - LIFETIME_MS_MAX,
            lifetime in 1..=LIFETIME_MS_MAX,
        ) {
            let order = Manifest {
                job, bucket, key: object_key, ciphertext_sha256, study, issued_at_ms,
                expires_at_ms: issued_at_ms + lifetime,
            };
            let bytes = order.sign(&key()).unwrap();
            prop_assert_eq!(verify(&bytes).unwrap(), order);
        }
    }
}
