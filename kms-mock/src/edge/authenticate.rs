//! From a request to a caller: whose signature it carries, and every reason to
//! refuse it, worded as the service that was called words it.
//!
//! Source of truth: AWS "Common Errors" of KMS, STS and S3 (codes), and texts
//! recorded from them. Where KMS answers is 400 throughout; STS and IAM use 403,
//! S3 its own codes. The precise cause also goes into the mock-only reason.

use std::{borrow::Cow, sync::Arc};

use aws_lc_rs::digest;
use http::request::Parts;
use nsm_sim::clock::UnixMillis;

use super::{
    chunked::{ChunkSigner, Streaming},
    head::Head,
    sigv4::{self, Claim, ClaimError, PathEncoding, SKEW_MAX_MS, Signed, format_amz_date},
};
use crate::{
    iam::{Holding, Iam, Known},
    world::arn::is_region_name,
};

/// What a signature must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Access keys that were not issued here act as the account's root user; a
    /// 12-digit access key id selects the account. Keys that were issued here
    /// are verified.
    #[default]
    Lenient,
    /// Every signature is verified, unknown keys are refused.
    Strict,
}

/// Who is asked, because each words a refusal differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Kms,
    /// STS and IAM.
    Form,
    S3,
}

/// What decides about a signature beside the request.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    pub(crate) iam: &'a Iam,
    pub(crate) auth: Auth,
    /// Account of credentials that say nothing about theirs.
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) now: UnixMillis,
}

/// A caller.
pub(crate) struct Authenticated<'a> {
    pub(crate) identity: Arc<Known>,
    /// The Region that the request was signed for, whether or not there was a
    /// key to verify with.
    pub(crate) region: Option<Cow<'a, str>>,
    /// What checks the chunks of an S3 upload whose request was verified.
    pub(crate) signer: Option<Box<ChunkSigner>>,
    /// When it was signed, and whether in the query; `None` of a request that was not,
    /// or not by version 4.
    pub(crate) signed: Option<(UnixMillis, bool)>,
}

/// Why a request was not authenticated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("the request is not signed")]
    Unsigned,
    #[error("the signature cannot be read: {0}")]
    Claim(#[from] ClaimError),
    #[error("the access key {id} was not issued here")]
    UnknownKey { id: String },
    #[error("the access key {id} is inactive, or its user or role was deleted")]
    HolderGone { id: String },
    #[error("the access key {id} needs its session token")]
    TokenMissing { id: String },
    #[error("the session token does not belong to the access key {id}")]
    TokenMismatch { id: String },
    #[error("the session ended at {ended}, and the time is {now}")]
    SessionEnded { ended: UnixMillis, now: UnixMillis },
    #[error("signed for the service {presented}, not {expected}")]
    WrongService {
        presented: String,
        expected: &'static str,
    },
    #[error("signed for the Region {presented}, not {expected}")]
    WrongRegion { presented: String, expected: String },
    #[error("the header {name} must be signed")]
    HeaderNotSigned { name: String },
    #[error("signed at {signed}, more than 15 minutes before {now}")]
    SignedTooEarly { signed: UnixMillis, now: UnixMillis },
    #[error("signed at {signed}, more than 15 minutes after {now}")]
    SignedTooLate { signed: UnixMillis, now: UnixMillis },
    #[error("the presigned URL of {signed} was valid for {expires_secs} s, and the time is {now}")]
    UrlExpired {
        signed: UnixMillis,
        expires_secs: u64,
        now: UnixMillis,
    },
    #[error("the signature does not match the request")]
    Mismatch,
    #[error("X-Amz-Content-SHA256 is missing or has no valid form")]
    PayloadHashInvalid,
    #[error("the body does not have the SHA-256 that was signed")]
    PayloadMismatch,
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you \
    provided. Check your AWS Secret Access Key and signing method. Consult the service \
    documentation for details.";
const S3_MISMATCH: &str = "The request signature we calculated does not match the signature you \
    provided. Check your key and signing method.";
const TOKEN_INVALID: &str = "The security token included in the request is invalid.";
const TOKEN_EXPIRED: &str = "The security token included in the request is expired";
const S3_SKEWED: &str =
    "The difference between the request time and the current time is too large.";

impl Gate<'_> {
    /// Authenticates a request with its whole body as it was sent.
    pub(crate) fn admit<'a>(
        &self,
        service: Service,
        head: &Head<'a>,
        parts: &'a Parts,
        body: &[u8],
    ) -> Result<Authenticated<'a>, AuthError> {
        let lenient = self.auth == Auth::Lenient;
        let unsigned = || Authenticated {
            identity: Known::root(self.account),
            region: None,
            signer: None,
            signed: None,
        };
        let claim = match sigv4::claim_of(head, &parts.uri) {
            Ok(Some(claim)) => claim,
            Ok(None) | Err(ClaimError::Algorithm) if lenient => {
                return Ok(unsigned());
            }
            Err(ClaimError::Version2) if lenient && service == Service::S3 => {
                self.check_version_2(parts)?;
                return Ok(unsigned());
            }
            // S3 asks its policies what everybody may do.
            Ok(None) if service == Service::S3 => {
                return Ok(Authenticated {
                    identity: Known::anonymous(),
                    ..unsigned()
                });
            }
            Ok(None) => return Err(AuthError::Unsigned),
            Err(error) => return Err(error.into()),
        };
        let signed = Some((claim.signed_at, claim.expires_secs.is_some()));
        let id = || claim.access_key_id.clone().into_owned();
        let account = account_of(&claim.access_key_id).unwrap_or(self.account);
        let (key, identity) = match self.iam.holding(&claim.access_key_id, account) {
            Holding::Issued { key, identity } => (key, identity),
            Holding::Stranger(root) if lenient => {
                return Ok(Authenticated {
                    identity: root,
                    region: Some(claim.scope.region)
                        .filter(|it| *it == self.region || is_region_name(it)),
                    signer: None,
                    signed,
                });
            }
            Holding::Stranger(_) => return Err(AuthError::UnknownKey { id: id() }),
        };
        self.check_scope(service, &claim)?;
        // A token is looked at before a signature: AWS finds the secret in it.
        match (&key.credentials.session_token, &claim.token) {
            (None, None) => {}
            (None, Some(_)) => return Err(AuthError::TokenMismatch { id: id() }),
            (Some(_), None) => return Err(AuthError::TokenMissing { id: id() }),
            (Some(expected), Some(presented)) if sigv4::same_token(expected, presented) => {}
            (Some(_), Some(_)) => return Err(AuthError::TokenMismatch { id: id() }),
        }
        if let Some(ended) = key.credentials.expiration
            && ended <= self.now
        {
            return Err(AuthError::SessionEnded {
                ended,
                now: self.now,
            });
        }
        self.check_time(&claim)?;
        let payload_hash = payload_hash(service, &claim, parts, body)?;
        check_signed_headers(service, &claim, parts)?;
        let signing_key = key.signing_key(&claim.scope);
        let under = Signed {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            payload_hash: &payload_hash,
            encoding: match service {
                Service::S3 => PathEncoding::Once,
                Service::Kms | Service::Form => PathEncoding::Twice,
            },
        };
        if !sigv4::verify(&claim, &under, &signing_key) {
            return Err(AuthError::Mismatch);
        }
        let identity = identity.ok_or_else(|| AuthError::HolderGone { id: id() })?;
        let previous = (service == Service::S3)
            .then(|| claim.signature())
            .flatten();
        let signer = previous.map(|previous| {
            Box::new(ChunkSigner {
                key: (*signing_key).clone(),
                scope: claim.scope.to_string(),
                previous,
                amz_date: claim.amz_date.into_owned(),
            })
        });
        Ok(Authenticated {
            identity,
            region: Some(claim.scope.region),
            signer,
            signed,
        })
    }

    /// A URL presigned by Signature Version 2, as boto3 still makes them by default
    /// in us-east-1 and LocalStack takes them: as any signature of a stranger it is
    /// not verified, only its end is looked at. Keys issued here sign by version 4.
    fn check_version_2(&self, parts: &Parts) -> Result<(), AuthError> {
        let query = parts.uri.query().unwrap_or_default();
        let value = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(it, _)| it == name).map(|(_, value)| value)
        };
        let (Some(id), Some(expires)) = (value("AWSAccessKeyId"), value("Expires")) else {
            return Err(ClaimError::Version2.into());
        };
        let Ok(expires_secs) = expires.parse() else {
            return Err(ClaimError::Malformed("Expires").into());
        };
        if self.iam.key(&id).is_some() {
            return Err(ClaimError::Version2.into());
        }
        let ends = UnixMillis::from_secs(expires_secs);
        if ends < self.now {
            // Version 2 states the end and not the beginning.
            return Err(AuthError::UrlExpired {
                signed: ends,
                expires_secs: 0,
                now: self.now,
            });
        }
        Ok(())
    }

    fn check_scope(&self, service: Service, claim: &Claim<'_>) -> Result<(), AuthError> {
        let presented = &*claim.scope.service;
        let (fits, expected) = match service {
            Service::Kms => (presented == "kms", "kms"),
            Service::Form => (matches!(presented, "sts" | "iam"), "sts"),
            Service::S3 => (presented == "s3", "s3"),
        };
        if !fits {
            return Err(AuthError::WrongService {
                presented: presented.to_owned(),
                expected,
            });
        }
        // Keys live in the Region that the request was signed for.
        if service == Service::Kms && !is_region_name(&claim.scope.region) {
            return Err(AuthError::WrongRegion {
                presented: claim.scope.region.clone().into_owned(),
                expected: self.region.to_owned(),
            });
        }
        Ok(())
    }

    fn check_time(&self, claim: &Claim<'_>) -> Result<(), AuthError> {
        let (signed, now) = (claim.signed_at, self.now);
        if signed.0 > now.0.saturating_add(SKEW_MAX_MS) {
            return Err(AuthError::SignedTooLate { signed, now });
        }
        match claim.expires_secs {
            Some(expires_secs) => {
                let ends = signed.0.saturating_add(expires_secs.saturating_mul(1000));
                if now.0 > ends {
                    return Err(AuthError::UrlExpired {
                        signed,
                        expires_secs,
                        now,
                    });
                }
            }
            None if signed.0.saturating_add(SKEW_MAX_MS) < now.0 => {
                return Err(AuthError::SignedTooEarly { signed, now });
            }
            None => {}
        }
        Ok(())
    }
}

impl AuthError {
    /// `__type` and message as KMS gives them, with status 400.
    pub(crate) fn for_kms(&self) -> (&'static str, String) {
        let (code, _, message) = self.for_coral();
        (code, message)
    }

    /// Code, status and message as STS and IAM give them.
    pub(crate) fn for_form(&self) -> (&'static str, u16, String) {
        let (code, status, message) = self.for_coral();
        let code = match code {
            "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
            "UnrecognizedClientException" => "InvalidClientTokenId",
            "ExpiredTokenException" => "ExpiredToken",
            "IncompleteSignatureException" => "IncompleteSignature",
            _ => "SignatureDoesNotMatch",
        };
        (code, status, message)
    }

    fn for_coral(&self) -> (&'static str, u16, String) {
        let signature = "InvalidSignatureException";
        let token = "UnrecognizedClientException";
        match self {
            Self::Unsigned => (
                "MissingAuthenticationTokenException",
                403,
                "Request is missing Authentication Token".to_owned(),
            ),
            Self::Claim(ClaimError::ScopeDate { .. }) => (signature, 403, self.claim_text()),
            Self::Claim(_) => ("IncompleteSignatureException", 400, self.claim_text()),
            Self::UnknownKey { .. }
            | Self::HolderGone { .. }
            | Self::TokenMissing { .. }
            | Self::TokenMismatch { .. } => (token, 403, TOKEN_INVALID.to_owned()),
            Self::SessionEnded { .. } => ("ExpiredTokenException", 403, TOKEN_EXPIRED.to_owned()),
            Self::WrongService { expected, .. } => (
                signature,
                403,
                format!("Credential should be scoped to correct service: '{expected}'. "),
            ),
            Self::WrongRegion { .. } => (
                signature,
                403,
                "Credential should be scoped to a valid region. ".to_owned(),
            ),
            Self::HeaderNotSigned { name } => (
                signature,
                403,
                format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."),
            ),
            Self::SignedTooEarly { signed, now } => (signature, 403, {
                let limit = UnixMillis(now.0.saturating_sub(SKEW_MAX_MS));
                let (signed, limit, now) = texts(*signed, limit, *now);
                format!("Signature expired: {signed} is now earlier than {limit} ({now} - 15 min.)")
            }),
            Self::SignedTooLate { signed, now } => (signature, 403, {
                let limit = UnixMillis(now.0.saturating_add(SKEW_MAX_MS));
                let (signed, limit, now) = texts(*signed, limit, *now);
                format!(
                    "Signature not yet current: {signed} is still later than {limit} \
                     ({now} + 15 min.)"
                )
            }),
            Self::UrlExpired {
                signed,
                expires_secs,
                now,
            } => (signature, 403, {
                let ends = UnixMillis(signed.0.saturating_add(expires_secs.saturating_mul(1000)));
                let (ends, now, _) = texts(ends, *now, *now);
                format!("Signature expired: {ends} is now earlier than {now}")
            }),
            Self::Mismatch | Self::PayloadHashInvalid | Self::PayloadMismatch => {
                (signature, 403, MISMATCH.to_owned())
            }
        }
    }

    /// Code, status and message as S3 gives them.
    pub(crate) fn for_s3(&self) -> (&'static str, u16, String) {
        let text = str::to_owned;
        match self {
            Self::Unsigned => ("AccessDenied", 403, text("Access Denied")),
            Self::Claim(ClaimError::Version2) => ("InvalidRequest", 400, self.claim_text()),
            Self::Claim(_) => (
                "AuthorizationHeaderMalformed",
                400,
                format!(
                    "The authorization header is malformed; {}",
                    self.claim_text()
                ),
            ),
            Self::UnknownKey { .. } | Self::HolderGone { .. } => (
                "InvalidAccessKeyId",
                403,
                text("The AWS Access Key Id you provided does not exist in our records."),
            ),
            Self::TokenMissing { .. } | Self::TokenMismatch { .. } => (
                "InvalidToken",
                400,
                text("The provided token is malformed or otherwise invalid."),
            ),
            Self::SessionEnded { .. } => {
                ("ExpiredToken", 400, text("The provided token has expired."))
            }
            Self::WrongService { presented, .. } => (
                "AuthorizationHeaderMalformed",
                400,
                format!(
                    "The authorization header is malformed; incorrect service \"{presented}\". \
                 This endpoint belongs to \"s3\"."
                ),
            ),
            Self::WrongRegion {
                presented,
                expected,
            } => (
                "AuthorizationHeaderMalformed",
                400,
                format!(
                    "The authorization header is malformed; the region '{presented}' is wrong; \
                     expecting '{expected}'"
                ),
            ),
            Self::HeaderNotSigned { .. } => (
                "AccessDenied",
                403,
                text("There were headers present in the request which were not signed"),
            ),
            Self::SignedTooEarly { .. } | Self::SignedTooLate { .. } => {
                ("RequestTimeTooSkewed", 403, text(S3_SKEWED))
            }
            Self::UrlExpired { .. } => ("AccessDenied", 403, text("Request has expired")),
            Self::Mismatch => ("SignatureDoesNotMatch", 403, text(S3_MISMATCH)),
            Self::PayloadHashInvalid => (
                "InvalidRequest",
                400,
                text("Missing required header for this request: x-amz-content-sha256"),
            ),
            Self::PayloadMismatch => (
                "XAmzContentSHA256Mismatch",
                400,
                text(
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                ),
            ),
        }
    }

    fn claim_text(&self) -> String {
        match self {
            Self::Claim(error) => error.to_string(),
            other => other.to_string(),
        }
    }
}

fn texts(a: UnixMillis, b: UnixMillis, c: UnixMillis) -> (String, String, String) {
    (format_amz_date(a), format_amz_date(b), format_amz_date(c))
}

/// A 12-digit access key id selects the account of the same number.
fn account_of(access_key_id: &str) -> Option<&str> {
    let digits = access_key_id.bytes().all(|b| b.is_ascii_digit());
    (access_key_id.len() == 12 && digits).then_some(access_key_id)
}

/// The payload hash as it stands in the canonical request.
fn payload_hash(
    service: Service,
    claim: &Claim<'_>,
    parts: &Parts,
    body: &[u8],
) -> Result<String, AuthError> {
    let sha256 = || hex::encode(digest::digest(&digest::SHA256, body));
    if service != Service::S3 {
        return Ok(sha256());
    }
    let Some(header) = parts.headers.get("x-amz-content-sha256") else {
        return if claim.expires_secs.is_some() {
            Ok("UNSIGNED-PAYLOAD".to_owned())
        } else {
            Err(AuthError::PayloadHashInvalid)
        };
    };
    let text = header.to_str().map_err(|_| AuthError::PayloadHashInvalid)?;
    if text == "UNSIGNED-PAYLOAD" || Streaming::parse(text).is_some() {
        return Ok(text.to_owned());
    }
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(AuthError::PayloadHashInvalid);
    }
    if !text.eq_ignore_ascii_case(&sha256()) {
        return Err(AuthError::PayloadMismatch);
    }
    Ok(text.to_owned())
}

/// `host` must be signed, and for S3 every `x-amz-` header that was sent.
fn check_signed_headers(
    service: Service,
    claim: &Claim<'_>,
    parts: &Parts,
) -> Result<(), AuthError> {
    let signed = |name: &str| claim.signed_headers.names().any(|signed| signed == name);
    if !signed("host") {
        return Err(AuthError::HeaderNotSigned {
            name: "Host".to_owned(),
        });
    }
    if service == Service::S3 {
        let unsigned = parts
            .headers
            .keys()
            .find(|name| name.as_str().starts_with("x-amz-") && !signed(name.as_str()));
        if let Some(name) = unsigned {
            return Err(AuthError::HeaderNotSigned {
                name: name.to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twelve_digits_select_an_account() {
        assert_eq!(account_of("111122223333"), Some("111122223333"));
        for id in [
            "",
            "test",
            "11112222333",
            "1111222233334",
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            assert_eq!(account_of(id), None, "{id}");
        }
    }

    #[test]
    fn each_service_words_a_bad_signature_its_own_way() {
        let refusal = AuthError::Mismatch;
        assert_eq!(refusal.for_kms().0, "InvalidSignatureException");
        assert_eq!(refusal.for_form().0, "SignatureDoesNotMatch");
        assert_eq!(refusal.for_form().1, 403);
        assert_eq!(refusal.for_s3().0, "SignatureDoesNotMatch");
    }

    #[test]
    fn the_refusal_of_an_old_signature_names_the_limits() {
        let (signed, now) = (UnixMillis(1_766_678_658_000), UnixMillis(1_766_679_658_000));
        let (code, message) = AuthError::SignedTooEarly { signed, now }.for_kms();
        assert_eq!(code, "InvalidSignatureException");
        assert_eq!(
            message,
            "Signature expired: 20251225T160418Z is now earlier than 20251225T160558Z \
             (20251225T162058Z - 15 min.)"
        );
    }
}
