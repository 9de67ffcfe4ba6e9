//! The client of an external key store proxy.
//!
//! Source of truth: "AWS KMS External Key Store Proxy API Specification" v1
//! (`GetHealthStatus`, `GetKeyMetadata`, `Encrypt`, `Decrypt`; SigV4 for the
//! service `kms-xks-proxy`; what an answer must be; KMS's texts for each failure).
//!
//! Does not model the health checks that AWS makes every few minutes.
//!
//! Reading order: this file (what a proxy is asked), `transport` (how it is
//! reached), `failure` (what goes wrong).

mod failure;
mod transport;

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use self::transport::{Endpoint, exchange};
pub use self::transport::{XksRootError, XksSettings};
pub(crate) use self::{
    failure::{NOT_CONNECTED, ProxyError, ProxyRefusal},
    transport::{XksClient, is_endpoint},
};

const SERVICE: &str = "kms-xks-proxy";
const METADATA_BYTES_MAX: usize = 20;
const TAG_BYTES: usize = 16;
const EKM_MAX: usize = 10;
const USAGES_MAX: usize = 10;

/// Where a proxy is and how requests to it are signed.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    /// Ends in `/kms/xks/v1`.
    pub(crate) path: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: Zeroizing<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("endpoint", &self.endpoint)
            .field("path", &self.path)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// The call that makes a request to a proxy necessary, and how the proxy is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxyCall<'a> {
    pub(crate) client: &'a XksClient,
    pub(crate) region: &'a str,
    pub(crate) now: UnixMillis,
    pub(crate) operation: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) principal_arn: &'a str,
    /// Absent for what is not about a key.
    pub(crate) key_arn: Option<&'a str>,
}

/// What a proxy says about an external key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExternalKey {
    pub(crate) spec: String,
    pub(crate) usage: Vec<String>,
    pub(crate) status: String,
}

impl ExternalKey {
    /// Whether KMS accepts it.
    pub(crate) fn is_usable(&self) -> bool {
        let has = |usage: &str| self.usage.iter().any(|it| it == usage);
        self.spec == "AES_256" && self.status == "ENABLED" && has("ENCRYPT") && has("DECRYPT")
    }
}

/// What an external key made of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) iv: Vec<u8>,
    pub(crate) tag: Vec<u8>,
    /// The proxy's own remark, to be given back to it.
    pub(crate) metadata: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
}

impl Sealed {
    /// `ciphertextDataIntegrityValue`: the proxy's word that what it sealed will
    /// open again.
    pub(crate) fn integrity_value(&self, aad: &[u8]) -> Vec<u8> {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [aad, &self.metadata, &self.iv, &self.ciphertext, &self.tag] {
            hash.update(part);
        }
        hash.finish().as_ref().to_vec()
    }

    /// Each part with its length; `None` when one is longer than a blob may be.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for part in [&self.iv, &self.tag, &self.metadata, &self.ciphertext] {
            out.extend(u16::try_from(part.len()).ok()?.to_be_bytes());
            out.extend(part);
        }
        Some(out)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut part = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (part, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = after;
            Some(part.to_vec())
        };
        let sealed = Self {
            iv: part()?,
            tag: part()?,
            metadata: part()?,
            ciphertext: part()?,
        };
        rest.is_empty().then_some(sealed)
    }
}

impl Proxy {
    /// `GetHealthStatus`.
    pub(crate) fn health(&self, call: ProxyCall<'_>) -> Result<(), ProxyError> {
        let body = json!({ "requestMetadata": {
            "kmsRequestId": call.request_id, "kmsOperation": call.operation,
        }});
        let answer = self.ask("/health", &body, call)?;
        let has_text = |holder: &Value, name: &str| holder[name].is_string();
        let is_complete = answer["xksProxyFleetSize"].is_u64()
            && ["xksProxyVendor", "xksProxyModel", "ekmVendor"]
                .iter()
                .all(|name| has_text(&answer, name));
        let managers = answer["ekmFleetDetails"].as_array();
        let are_told = managers.is_some_and(|managers| {
            (1..=EKM_MAX).contains(&managers.len())
                && managers.iter().all(|manager| {
                    has_text(manager, "id")
                        && has_text(manager, "model")
                        && matches!(
                            manager["healthStatus"].as_str(),
                            Some("ACTIVE" | "DEGRADED" | "UNAVAILABLE")
                        )
                })
        });
        if is_complete && are_told {
            return Ok(());
        }
        Err(ProxyError::BadResponse)
    }

    /// `GetKeyMetadata`.
    pub(crate) fn key(&self, id: &str, call: ProxyCall<'_>) -> Result<ExternalKey, ProxyError> {
        let body = json!({ "requestMetadata": metadata(call) });
        let answer = self.ask(&format!("/keys/{id}/metadata"), &body, call)?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let usage = answer["keyUsage"].as_array();
        let usage = usage.filter(|list| list.len() <= USAGES_MAX).map(|list| {
            let names = list.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        });
        match (text("keySpec"), usage, text("keyStatus")) {
            (Some(spec), Some(usage), Some(status)) => Ok(ExternalKey {
                spec,
                usage,
                status,
            }),
            _ => Err(ProxyError::BadResponse),
        }
    }

    /// `Encrypt`.
    pub(crate) fn encrypt(
        &self,
        id: &str,
        plaintext: &[u8],
        aad: &[u8],
        call: ProxyCall<'_>,
    ) -> Result<Sealed, ProxyError> {
        let body = json!({
            "requestMetadata": metadata(call),
            "additionalAuthenticatedData": BASE64.encode(aad),
            "plaintext": BASE64.encode(plaintext),
            "encryptionAlgorithm": "AES_GCM",
            "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
        });
        let answer = self.ask(&format!("/keys/{id}/encrypt"), &body, call)?;
        let part = |name: &str| bytes_of(&answer[name]).ok_or(ProxyError::BadResponse);
        let sealed = Sealed {
            iv: part("initializationVector")?,
            tag: part("authenticationTag")?,
            metadata: match &answer["ciphertextMetadata"] {
                Value::Null => Vec::new(),
                _ => part("ciphertextMetadata")?,
            },
            ciphertext: part("ciphertext")?,
        };
        let is_sound = sealed.ciphertext.len() == plaintext.len()
            && sealed.tag.len() == TAG_BYTES
            && matches!(sealed.iv.len(), 12 | 16)
            && sealed.metadata.len() <= METADATA_BYTES_MAX
            && part("ciphertextDataIntegrityValue")? == sealed.integrity_value(aad);
        if is_sound {
            return Ok(sealed);
        }
        Err(ProxyError::BadResponse)
    }

    /// `Decrypt`.
    pub(crate) fn decrypt(
        &self,
        id: &str,
        sealed: &Sealed,
        aad: &[u8],
        call: ProxyCall<'_>,
    ) -> Result<Vec<u8>, ProxyError> {
        let mut body = json!({
            "requestMetadata": metadata(call),
            "additionalAuthenticatedData": BASE64.encode(aad),
            "encryptionAlgorithm": "AES_GCM",
            "initializationVector": BASE64.encode(&sealed.iv),
            "authenticationTag": BASE64.encode(&sealed.tag),
            "ciphertext": BASE64.encode(&sealed.ciphertext),
        });
        if !sealed.metadata.is_empty() {
            body["ciphertextMetadata"] = BASE64.encode(&sealed.metadata).into();
        }
        let answer = self.ask(&format!("/keys/{id}/decrypt"), &body, call)?;
        bytes_of(&answer["plaintext"]).ok_or(ProxyError::BadResponse)
    }

    fn ask(&self, path: &str, body: &Value, call: ProxyCall<'_>) -> Result<Value, ProxyError> {
        let endpoint = Endpoint::parse(&self.endpoint).ok_or(ProxyError::Unreachable)?;
        let authority = endpoint.authority();
        let path = format!("{}{path}", self.path);
        let body = body.to_string();
        let date = amz_date(call.now).ok_or(ProxyError::Unreachable)?;
        let authorization = self.sign(&authority, &path, &body, &date, call.region);
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, &authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-amz-date", date)
            .header(header::AUTHORIZATION, authorization)
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| ProxyError::Unreachable)?;
        let (status, answer) = exchange(call.client, &endpoint, request)?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|_| ProxyError::BadResponse)?;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let refusal = answer["errorName"].as_str().and_then(ProxyRefusal::parse);
        Err(refusal.map_or(ProxyError::BadResponse, ProxyError::Refused))
    }

    /// The `Authorization` header (SigV4).
    fn sign(&self, host: &str, path: &str, body: &str, date: &str, region: &str) -> String {
        const SIGNED: &str = "content-type;host;x-amz-date";
        let sha256 = |text: &str| hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
        let canonical = format!(
            "POST\n{path}\n\ncontent-type:application/json\nhost:{host}\nx-amz-date:{date}\n\n{SIGNED}\n{}",
            sha256(body)
        );
        let (day, _) = date
            .split_once('T')
            .expect("`amz_date` writes a T between day and time");
        let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
        let secret = Zeroizing::new(format!("AWS4{}", *self.secret_access_key));
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        for part in scope.split('/') {
            let next = hmac::sign(&key, part.as_bytes());
            key = hmac::Key::new(hmac::HMAC_SHA256, next.as_ref());
        }
        let signature = hex::encode(hmac::sign(&key, to_sign.as_bytes()));
        let id = &self.access_key_id;
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}"
        )
    }
}

fn metadata(call: ProxyCall<'_>) -> Value {
    let mut metadata = json!({
        "awsPrincipalArn": call.principal_arn,
        "kmsOperation": call.operation,
        "kmsRequestId": call.request_id,
    });
    if let Some(arn) = call.key_arn {
        metadata["kmsKeyArn"] = arn.into();
    }
    metadata
}

fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value.as_str()?).ok()
}

/// `None` after the year 9999, which the format has no digits for.
fn amz_date(at: UnixMillis) -> Option<String> {
    let seconds = i64::try_from(at.0 / 1000).ok()?;
    let at = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    Some(format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_integrity_value_is_that_of_the_specifications_example() {
        let bytes = |text: &str| BASE64.decode(text).unwrap();
        let sealed = Sealed {
            iv: bytes("HMrlRw85cAJUd5Ax"),
            tag: bytes("vBxN2ncH1oEkR8WVXpmyYQ=="),
            metadata: bytes("a2V5X3ZlcnNpb249MQ=="),
            ciphertext: bytes("ghxkK1txeDNn3q8Y"),
        };
        assert_eq!(
            BASE64.encode(sealed.integrity_value(b"project=nile,department=marketing")),
            "qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc="
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(sealed) = Sealed::parse(&bytes) {
                prop_assert_eq!(sealed.to_bytes().unwrap(), bytes);
            }
        }

        #[test]
        fn what_is_written_is_read(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 4)) {
            let [iv, tag, metadata, ciphertext] = <[Vec<u8>; 4]>::try_from(parts).unwrap();
            let sealed = Sealed { iv, tag, metadata, ciphertext };
            prop_assert_eq!(Sealed::parse(&sealed.to_bytes().unwrap()), Some(sealed));
        }
    }
}
