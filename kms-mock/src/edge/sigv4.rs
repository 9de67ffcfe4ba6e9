//! AWS Signature Version 4: reading a signature from a request and checking it.
//!
//! Source of truth: AWS, "Create a signed AWS API request" and, for S3,
//! "Authenticating Requests (AWS Signature Version 4)": header and query
//! (presigned) forms, paths encoded once for S3 and twice elsewhere, 15 minutes
//! of clock skew, presigned URLs of up to 7 days. Pure: it takes the request's
//! head, the key and the time. Not modelled: SigV4A (asymmetric), SigV2, browser
//! POST policies.

use std::borrow::Cow;

use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, Method, Uri, request::Parts};
use memchr::{memchr, memrchr};
use nsm_sim::clock::UnixMillis;
use subtle::ConstantTimeEq;
use time::{
    Date, Month, OffsetDateTime, format_description::BorrowedFormatItem,
    format_description::well_known::Rfc2822, macros::format_description,
};

use super::head::{Head, ascii};
pub use crate::wire::signing::{Scope, signing_key};
use crate::wire::uri::{uri_decode, uri_encode};

/// How far the signer's clock may be off, either way.
pub const SKEW_MAX_MS: u64 = 15 * 60 * 1000;
/// Longest life of a presigned URL: seven days.
pub const PRESIGNED_SECS_MAX: u64 = 7 * 24 * 3600;
/// Longest `Authorization` header that is read at all.
const AUTHORIZATION_BYTES_MAX: usize = 8 * 1024;
/// More signed headers than any request here may have.
const SIGNED_HEADERS_MAX: usize = 128;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// A signature as the request claims it, not yet checked. What needs no decoding
/// is borrowed from the request's head.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The access key that is said to have signed.
    pub access_key_id: Cow<'a, str>,
    /// Date, Region and service it was signed for.
    pub scope: Scope<'a>,
    /// The headers under the signature.
    pub signed_headers: SignedHeaders<'a>,
    /// The signature as it stands there, 64 hex digits if it is one.
    pub signature_hex: Cow<'a, str>,
    /// When it was signed.
    pub signed_at: UnixMillis,
    /// `X-Amz-Date` as it was signed.
    pub amz_date: Cow<'a, str>,
    /// The session token sent along.
    pub token: Option<Cow<'a, str>>,
    /// For a presigned URL, how many seconds it lives.
    pub expires_secs: Option<u64>,
}

impl Claim<'_> {
    /// The signature; `None` if what is there is not 64 hex digits.
    #[must_use]
    pub fn signature(&self) -> Option<[u8; 32]> {
        let mut signature = [0; 32];
        hex::decode_to_slice(&*self.signature_hex, &mut signature).ok()?;
        Some(signature)
    }
}

/// Lower-case names of headers, in the given order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeaders<'a>(Cow<'a, str>);

impl<'a> SignedHeaders<'a> {
    fn parse(text: Cow<'a, str>) -> Result<Self, ClaimError> {
        let has_empty =
            text.is_empty() || text.starts_with(';') || text.ends_with(';') || text.contains(";;");
        // No name is empty, so a short text has no more than half as many as bytes.
        let is_short = text.len() < 2 * SIGNED_HEADERS_MAX;
        if has_empty || !is_short && text.split(';').count() > SIGNED_HEADERS_MAX {
            return Err(ClaimError::Malformed("SignedHeaders"));
        }
        // Every byte is looked at: to stop at the first would take longer.
        let has_upper = |any, b: &u8| any | b.is_ascii_uppercase();
        if text.as_bytes().iter().fold(false, has_upper) {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        Ok(Self(text))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(';')
    }
}

impl std::fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("access_key_id", &self.access_key_id)
            .field("scope", &self.scope)
            .field("signed_headers", &self.signed_headers)
            .field("amz_date", &self.amz_date)
            .field("expires_secs", &self.expires_secs)
            .finish_non_exhaustive()
    }
}

/// A request whose signature cannot even be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Another scheme than SigV4 in `Authorization`.
    #[error("Unsupported AWS 'algorithm': only AWS4-HMAC-SHA256 is")]
    Algorithm,
    /// Signature Version 2, which Regions since 2014 do not take.
    #[error(
        "The authorization mechanism you have provided is not supported. Please use \
         AWS4-HMAC-SHA256."
    )]
    Version2,
    /// A parameter is missing.
    #[error("Authorization header requires '{0}' parameter.")]
    Missing(&'static str),
    /// A parameter cannot be read.
    #[error("'{0}' is malformed")]
    Malformed(&'static str),
    /// Neither `X-Amz-Date` nor `Date`.
    #[error("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")]
    NoDate,
    /// The date of the scope is not the date of the request.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
         '{scope}' != '{signed}'"
    )]
    ScopeDate {
        /// Date of the credential scope.
        scope: String,
        /// Date of the request.
        signed: String,
    },
    /// `X-Amz-Expires` is longer than a week.
    #[error(
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
    )]
    ExpiresTooLong,
}

/// Reads the claim of a request: `None` if it is not signed at all.
///
/// # Errors
/// [`ClaimError`] if there is something that cannot be read as a signature.
pub fn claim(parts: &Parts) -> Result<Option<Claim<'_>>, ClaimError> {
    claim_of(&Head::of(&parts.headers), &parts.uri)
}

/// The same of a request whose headers were looked through.
pub(super) fn claim_of<'a>(head: &Head<'a>, uri: &'a Uri) -> Result<Option<Claim<'a>>, ClaimError> {
    if let Some(value) = head.authorization {
        let value = ascii(value).ok_or(ClaimError::Algorithm)?;
        if value.starts_with("AWS ") {
            return Err(ClaimError::Version2);
        }
        return claim_from_header(value, head).map(Some);
    }
    match uri.query() {
        Some(query) if query.contains("X-Amz-Algorithm") || query.contains("X-Amz-Signature") => {
            claim_from_query(query).map(Some)
        }
        Some(query) if pairs(query).any(|(name, _)| name == "AWSAccessKeyId") => {
            Err(ClaimError::Version2)
        }
        _ => Ok(None),
    }
}

/// How a service puts the path into the canonical request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEncoding {
    /// S3: the path once encoded.
    Once,
    /// Every other service: the path as sent, encoded again.
    Twice,
}

/// The part of a request that is under the signature.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path as it was sent.
    pub path: &'a str,
    /// Query as it was sent, without the question mark.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The payload hash as text: hex, or one of S3's words.
    pub payload_hash: &'a str,
    /// How the path is encoded.
    pub encoding: PathEncoding,
}

/// Whether the claim's signature is `key`'s over `signed`, in constant time.
#[must_use]
pub fn verify(claim: &Claim<'_>, signed: &Signed<'_>, key: &hmac::Key) -> bool {
    let Some(signature) = claim.signature() else {
        return false;
    };
    let canonical = canonical_request(claim, signed);
    let hash = hex::encode(digest::digest(&digest::SHA256, &canonical));
    let to_sign = format!("{ALGORITHM}\n{}\n{}\n{hash}", claim.amz_date, claim.scope);
    hmac::verify(key, to_sign.as_bytes(), &signature).is_ok()
}

/// Whether two session tokens are the same, in constant time.
#[must_use]
pub fn same_token(expected: &str, presented: &str) -> bool {
    expected.as_bytes().ct_eq(presented.as_bytes()).into()
}

/// Milliseconds of a SigV4 date, `20251225T160418Z`.
#[must_use]
pub fn parse_amz_date(text: &str) -> Option<UnixMillis> {
    let text: &[u8; 16] = text.as_bytes().try_into().ok()?;
    // Every request has one: this is far quicker than reading by a description.
    let number = |digits: &[u8]| {
        let digit = |b: &u8| b.is_ascii_digit().then(|| u16::from(b - b'0'));
        digits
            .iter()
            .try_fold(0, |sum, b| Some(sum * 10 + digit(b)?))
    };
    let small = |digits: &[u8]| number(digits).and_then(|n| u8::try_from(n).ok());
    let [
        y1,
        y2,
        y3,
        y4,
        mo1,
        mo2,
        d1,
        d2,
        b'T',
        h1,
        h2,
        mi1,
        mi2,
        s1,
        s2,
        b'Z',
    ] = *text
    else {
        return None;
    };
    let year = i32::from(number(&[y1, y2, y3, y4])?);
    let month = Month::try_from(small(&[mo1, mo2])?).ok()?;
    let day = Date::from_calendar_date(year, month, small(&[d1, d2])?).ok()?;
    let time = day.with_hms(small(&[h1, h2])?, small(&[mi1, mi2])?, small(&[s1, s2])?);
    unix_millis(time.ok()?.assume_utc())
}

/// A time as SigV4 writes it.
#[must_use]
pub fn format_amz_date(at: UnixMillis) -> String {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .and_then(|at| at.format(AMZ_DATE).ok())
        .unwrap_or_else(|| format!("{} ms after 1970", at.0)) // past the year 9999
}

fn claim_from_header<'a>(value: &'a str, head: &Head<'a>) -> Result<Claim<'a>, ClaimError> {
    let (credential, signed_headers, signature) = authorization_fields(value)?;
    let (amz_date, signed_at) = date_of(head)?;
    let (access_key_id, scope) = parse_credential(credential, &amz_date)?;
    let token = head
        .security_token
        .map(|token| ascii(token).ok_or(ClaimError::Malformed("X-Amz-Security-Token")))
        .transpose()?
        .map(Cow::Borrowed);
    Ok(Claim {
        access_key_id: access_key_id.into(),
        scope,
        signed_headers: SignedHeaders::parse(signed_headers.into())?,
        signature_hex: signature.into(),
        signed_at,
        amz_date,
        token,
        expires_secs: None,
    })
}

/// Credential, SignedHeaders and Signature of an `Authorization` header.
fn authorization_fields(value: &str) -> Result<(&str, &str, &str), ClaimError> {
    if value.len() > AUTHORIZATION_BYTES_MAX {
        return Err(ClaimError::Malformed("Authorization"));
    }
    let rest = value
        .trim_ascii()
        .strip_prefix(ALGORITHM)
        .ok_or(ClaimError::Algorithm)?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return Err(ClaimError::Algorithm);
    }
    let (mut credential, mut headers, mut signature) = (None, None, None);
    let mut fields = Some(rest);
    while let Some(rest) = fields {
        let (field, after) = match memchr(b',', rest.as_bytes()) {
            Some(comma) => (&rest[..comma], Some(&rest[comma + 1..])),
            None => (rest, None),
        };
        fields = after;
        let field = field.trim_ascii();
        if let Some(value) = field.strip_prefix("Credential=") {
            credential = Some(value);
        } else if let Some(value) = field.strip_prefix("SignedHeaders=") {
            headers = Some(value);
        } else if let Some(value) = field.strip_prefix("Signature=") {
            signature = Some(value);
        }
    }
    Ok((
        credential.ok_or(ClaimError::Missing("Credential"))?,
        headers.ok_or(ClaimError::Missing("SignedHeaders"))?,
        signature.ok_or(ClaimError::Missing("Signature"))?,
    ))
}

fn claim_from_query(query: &str) -> Result<Claim<'static>, ClaimError> {
    let value_of = |wanted: &'static str| -> Result<String, ClaimError> {
        let value = pairs(query)
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value);
        String::from_utf8(uri_decode(value.ok_or(ClaimError::Missing(wanted))?))
            .map_err(|_| ClaimError::Malformed(wanted))
    };
    if value_of("X-Amz-Algorithm")? != ALGORITHM {
        return Err(ClaimError::Algorithm);
    }
    let amz_date = value_of("X-Amz-Date")?;
    let signed_at = parse_amz_date(&amz_date).ok_or(ClaimError::Malformed("X-Amz-Date"))?;
    let credential = value_of("X-Amz-Credential")?;
    let (access_key_id, scope) = parse_credential(&credential, &amz_date)?;
    let expires_secs = match value_of("X-Amz-Expires") {
        Ok(text) => text
            .parse()
            .map_err(|_| ClaimError::Malformed("X-Amz-Expires"))?,
        Err(ClaimError::Missing(_)) => SKEW_MAX_MS / 1000, // STS takes URLs without it
        Err(error) => return Err(error),
    };
    if expires_secs > PRESIGNED_SECS_MAX {
        return Err(ClaimError::ExpiresTooLong);
    }
    let token = match value_of("X-Amz-Security-Token") {
        Ok(token) => Some(token.into()),
        Err(ClaimError::Missing(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(Claim {
        access_key_id: access_key_id.to_owned().into(),
        scope: scope.into_owned(),
        signed_headers: SignedHeaders::parse(value_of("X-Amz-SignedHeaders")?.into())?,
        signature_hex: value_of("X-Amz-Signature")?.into(),
        signed_at,
        amz_date: amz_date.into(),
        token,
        expires_secs: Some(expires_secs),
    })
}

fn parse_credential<'a>(text: &'a str, amz_date: &str) -> Result<(&'a str, Scope<'a>), ClaimError> {
    // An access key id never holds a slash, so the scope is the last four parts.
    let malformed = ClaimError::Malformed("Credential");
    let Some(mut id) = text.strip_suffix("/aws4_request") else {
        return Err(malformed);
    };
    let mut last = || {
        let slash = memrchr(b'/', id.as_bytes()).ok_or(ClaimError::Malformed("Credential"))?;
        let part = &id[slash + 1..];
        id = &id[..slash];
        Ok(part)
    };
    let (service, region, date) = (last()?, last()?, last()?);
    if id.is_empty() || service.is_empty() {
        return Err(malformed);
    }
    let signed = amz_date.get(..8).unwrap_or_default();
    if date != signed {
        return Err(ClaimError::ScopeDate {
            scope: date.to_owned(),
            signed: signed.to_owned(),
        });
    }
    let scope = Scope {
        date: date.into(),
        region: region.into(),
        service: service.into(),
    };
    Ok((id, scope))
}

fn date_of<'a>(head: &Head<'a>) -> Result<(Cow<'a, str>, UnixMillis), ClaimError> {
    if let Some(value) = head.amz_date {
        let text = ascii(value).ok_or(ClaimError::Malformed("X-Amz-Date"))?;
        let at = parse_amz_date(text).ok_or(ClaimError::Malformed("X-Amz-Date"))?;
        return Ok((text.into(), at));
    }
    let value = head.date.ok_or(ClaimError::NoDate)?;
    let text = ascii(value).ok_or(ClaimError::Malformed("Date"))?;
    let at = parse_amz_date(text)
        .or_else(|| unix_millis(OffsetDateTime::parse(text, &Rfc2822).ok()?))
        .ok_or(ClaimError::Malformed("Date"))?;
    Ok((format_amz_date(at).into(), at))
}

fn unix_millis(at: OffsetDateTime) -> Option<UnixMillis> {
    u64::try_from(at.unix_timestamp())
        .ok()
        .map(UnixMillis::from_secs)
}

/// Name and value pairs of a query, still encoded.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn canonical_request(claim: &Claim<'_>, signed: &Signed<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(signed.method.as_str().as_bytes());
    out.push(b'\n');
    let path = if signed.path.is_empty() {
        "/"
    } else {
        signed.path
    };
    match signed.encoding {
        PathEncoding::Once => uri_encode(&uri_decode(path), true, &mut out),
        PathEncoding::Twice => uri_encode(path.as_bytes(), true, &mut out),
    }
    out.push(b'\n');
    canonical_query(signed.query, claim.expires_secs.is_some(), &mut out);
    out.push(b'\n');
    for name in claim.signed_headers.names() {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        for (i, value) in signed.headers.get_all(name).iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            collapse_spaces(value.as_bytes(), &mut out);
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(claim.signed_headers.0.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(signed.payload_hash.as_bytes());
    out
}

fn canonical_query(query: &str, presigned: bool, out: &mut Vec<u8>) {
    let mut encoded: Vec<(Vec<u8>, Vec<u8>)> = pairs(query)
        .filter(|(name, _)| !(presigned && *name == "X-Amz-Signature"))
        .map(|(name, value)| {
            let (mut n, mut v) = (Vec::new(), Vec::new());
            uri_encode(&uri_decode(name), false, &mut n);
            uri_encode(&uri_decode(value), false, &mut v);
            (n, v)
        })
        .collect();
    encoded.sort();
    for (i, (name, value)) in encoded.iter().enumerate() {
        if i > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// Trims, and makes one space of several.
fn collapse_spaces(value: &[u8], out: &mut Vec<u8>) {
    let mut words = value
        .split(|b| *b == b' ' || *b == b'\t')
        .filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn head(request: http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    fn check(parts: &Parts, payload_hash: &str, encoding: PathEncoding) -> bool {
        let claim = claim(parts).unwrap().unwrap();
        let signed = Signed {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            payload_hash,
            encoding,
        };
        verify(&claim, &signed, &signing_key(SECRET, &claim.scope))
    }

    /// The GET Object example of AWS's "Signature Calculations for the
    /// Authorization Header: Transferring Payload in a Single Chunk".
    fn aws_get_object() -> http::request::Builder {
        Request::get("http://examplebucket.s3.amazonaws.com/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header("x-amz-content-sha256", EMPTY_SHA256)
            .header("x-amz-date", "20130524T000000Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                 SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                 Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            )
    }

    #[test]
    fn accepts_the_header_example_of_the_s3_documentation() {
        let parts = head(aws_get_object());
        assert!(check(&parts, EMPTY_SHA256, PathEncoding::Once));
        assert!(!check(&parts, "UNSIGNED-PAYLOAD", PathEncoding::Once));
    }

    #[test]
    fn refuses_the_example_with_one_changed_header_path_or_query() {
        let mut parts = head(aws_get_object());
        parts.headers.insert("range", "bytes=0-8".parse().unwrap());
        assert!(!check(&parts, EMPTY_SHA256, PathEncoding::Once));
        let mut parts = head(aws_get_object());
        parts.uri = "/test.txt?versionId=1".parse().unwrap();
        assert!(!check(&parts, EMPTY_SHA256, PathEncoding::Once));
        parts.uri = "/Test.txt".parse().unwrap();
        assert!(!check(&parts, EMPTY_SHA256, PathEncoding::Once));
    }

    #[test]
    fn accepts_the_presigned_example_of_the_s3_documentation() {
        let uri = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
                   &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                   &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                   &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        let parts = head(Request::get(uri).header("host", "examplebucket.s3.amazonaws.com"));
        let claim = claim(&parts).unwrap().unwrap();
        assert_eq!(claim.expires_secs, Some(86_400));
        assert_eq!(claim.signed_at, UnixMillis(1_369_353_600_000));
        assert!(check(&parts, "UNSIGNED-PAYLOAD", PathEncoding::Once));
    }

    /// `get-vanilla-query-order-key-case` of AWS's SigV4 test suite.
    #[test]
    fn accepts_the_query_order_example_of_the_sigv4_test_suite() {
        let parts = head(
            Request::get("/?Param2=value2&Param1=value1")
                .header("host", "example.amazonaws.com")
                .header("x-amz-date", "20150830T123600Z")
                .header(
                    "authorization",
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, \
                     Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
                ),
        );
        let claim = claim(&parts).unwrap().unwrap();
        let signed = Signed {
            method: &parts.method,
            path: "/",
            query: parts.uri.query().unwrap(),
            headers: &parts.headers,
            payload_hash: EMPTY_SHA256,
            encoding: PathEncoding::Twice,
        };
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &claim.scope);
        assert!(verify(&claim, &signed, &key));
    }

    #[test]
    fn says_which_part_of_an_authorization_is_missing() {
        let table = [
            ("Bearer abc", ClaimError::Algorithm),
            ("AWS4-HMAC-SHA256X Credential=a", ClaimError::Algorithm),
            ("AWS4-HMAC-SHA256", ClaimError::Missing("Credential")),
            (
                "AWS4-HMAC-SHA256 Credential=a",
                ClaimError::Missing("SignedHeaders"),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=a,SignedHeaders=b",
                ClaimError::Missing("Signature"),
            ),
        ];
        for (header, expected) in table {
            assert_eq!(authorization_fields(header), Err(expected), "{header}");
        }
        let parts = head(Request::get("/").header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=A/1/r/s/aws4_request,SignedHeaders=host,Signature=00",
        ));
        assert_eq!(claim(&parts), Err(ClaimError::NoDate));
    }

    #[test]
    fn signed_headers_have_names_and_not_too_many() {
        let many = vec!["a"; SIGNED_HEADERS_MAX].join(";");
        for good in ["host", "Host;X-Amz-Date", &many] {
            let names = SignedHeaders::parse(good.into()).unwrap();
            assert_eq!(names.0, good.to_ascii_lowercase());
        }
        let too_many = format!("{many};a");
        for bad in ["", ";", "host;", ";host", "host;;range", &too_many] {
            let refused = Err(ClaimError::Malformed("SignedHeaders"));
            assert_eq!(SignedHeaders::parse(bad.into()), refused, "{bad}");
        }
    }

    #[test]
    fn an_unsigned_request_claims_nothing() {
        assert_eq!(
            claim(&head(Request::get("/bucket/key?X-Amz-Meta=1"))),
            Ok(None)
        );
    }

    #[test]
    fn dates_of_impossible_days_are_refused() {
        assert_eq!(parse_amz_date("20250230T000000Z"), None);
        assert_eq!(parse_amz_date("2025-01-01T0000Z"), None);
        let at = parse_amz_date("20251225T160418Z").unwrap();
        assert_eq!(format_amz_date(at), "20251225T160418Z");
    }

    proptest! {
        #[test]
        fn dates_are_read_as_their_description_reads_them(
            text in "(0000|2025|2024|1969|9999)(00|02|06|12|13)(00|01|29|30|31)T(00|23|24)(00|59|60)(00|59|60)Z?",
        ) {
            let by_description = time::PrimitiveDateTime::parse(&text, AMZ_DATE).ok();
            let expected = by_description.and_then(|at| unix_millis(at.assume_utc()));
            prop_assert_eq!(parse_amz_date(&text), expected);
        }

        #[test]
        fn no_authorization_header_makes_the_parser_panic(text in ".{0,300}") {
            let _ = authorization_fields(&text);
            let _ = parse_credential(&text, "20250101T000000Z");
            let _ = SignedHeaders::parse(text.as_str().into());
            let _ = parse_amz_date(&text);
        }

        #[test]
        fn no_request_head_makes_the_claim_panic(
            authorization in "AWS4-HMAC-SHA256 [ -~]{0,200}",
            date in "[0-9TZ]{0,20}",
            query in "[!-~]{0,200}",
        ) {
            let build = |signed: bool| {
                let mut request = Request::get("/").header("x-amz-date", &date);
                if signed {
                    request = request.header("authorization", &authorization);
                }
                request.body(()).map(|r| r.into_parts().0)
            };
            if let Ok(parts) = build(true) {
                let _ = claim(&parts);
            }
            if let Ok(mut parts) = build(false)
                && let Ok(uri) = format!("/?X-Amz-Signature=1&{query}").parse()
            {
                parts.uri = uri;
                let _ = claim(&parts);
            }
        }

        #[test]
        fn a_written_header_reads_back(
            id in "[A-Z0-9]{1,40}", region in "[a-z0-9-]{1,20}", service in "[a-z]{1,10}",
            signature in any::<[u8; 32]>(), names in prop::collection::vec("[a-z-]{1,20}", 1..10),
        ) {
            let header = format!(
                "{ALGORITHM} Credential={id}/20250101/{region}/{service}/aws4_request, \
                 SignedHeaders={}, Signature={}", names.join(";"), hex::encode(signature));
            let parts = head(Request::get("/")
                .header("x-amz-date", "20250101T000000Z").header("authorization", header));
            let claim = claim(&parts).unwrap().unwrap();
            prop_assert_eq!(&*claim.access_key_id, id);
            let (region, service) = (region.into(), service.into());
            prop_assert_eq!(&claim.scope, &Scope { date: "20250101".into(), region, service });
            prop_assert_eq!(claim.signed_headers.names().collect::<Vec<_>>(), names);
            prop_assert_eq!(claim.signature(), Some(signature));
        }

        #[test]
        fn encoding_and_decoding_are_inverse(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut encoded = Vec::new();
            uri_encode(&bytes, false, &mut encoded);
            prop_assert_eq!(uri_decode(std::str::from_utf8(&encoded).unwrap()), bytes);
        }
    }
}
