//! The client of an external key store proxy.
//!
//! Source of truth: "AWS KMS External Key Store Proxy API Specification" v1
//! (`GetHealthStatus`, `GetKeyMetadata`, `Encrypt`, `Decrypt`; SigV4 for the
//! service `kms-xks-proxy`). One HTTP/1.1 connection a request, on a thread of
//! its own, so that callers need no runtime.
//!
//! Does not model the integrity value of ciphertexts, mTLS, or TLS at all: proxies of `https://` endpoints are
//! unreachable, since no roots are configured; `http://` on loopback is this
//! emulator's addition. AWS waits 250 ms for an answer; a machine that runs
//! tests may need longer, so that here it is [`ANSWER_TIME_MAX`].

use std::{fmt, time::Duration};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, RuntimeFlavor},
};
use zeroize::Zeroizing;

/// How long a proxy may take.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// More than the answer to any request: a blob and its wrapping in base64.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const SERVICE: &str = "kms-xks-proxy";

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

/// For whom and when a request is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) region: &'a str,
    pub(crate) now: UnixMillis,
    pub(crate) operation: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) principal_arn: &'a str,
    /// Absent for what is not about a key.
    pub(crate) key_arn: Option<&'a str>,
}

/// Why a proxy did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    Unreachable,
    TimedOut,
    /// Nothing that the specification knows.
    BadResponse,
    /// `errorName` of a refusal.
    Refused(String),
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
    pub(crate) fn health(&self, errand: Errand<'_>) -> Result<(), ProxyError> {
        let body = json!({ "requestMetadata": {
            "kmsRequestId": errand.request_id, "kmsOperation": errand.operation,
        }});
        let answer = self.ask("/health", &body, errand)?;
        let is_complete = [
            "xksProxyFleetSize",
            "xksProxyVendor",
            "xksProxyModel",
            "ekmVendor",
        ]
        .iter()
        .all(|name| !answer[name].is_null())
            && answer["ekmFleetDetails"].is_array();
        if is_complete {
            return Ok(());
        }
        Err(ProxyError::BadResponse)
    }

    /// `GetKeyMetadata`.
    pub(crate) fn key(&self, id: &str, errand: Errand<'_>) -> Result<ExternalKey, ProxyError> {
        let body = json!({ "requestMetadata": metadata(errand) });
        let answer = self.ask(&format!("/keys/{id}/metadata"), &body, errand)?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let usage = answer["keyUsage"].as_array().map(|list| {
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
        errand: Errand<'_>,
    ) -> Result<Sealed, ProxyError> {
        let body = json!({
            "requestMetadata": metadata(errand),
            "additionalAuthenticatedData": BASE64.encode(aad),
            "plaintext": BASE64.encode(plaintext),
            "encryptionAlgorithm": "AES_GCM",
        });
        let answer = self.ask(&format!("/keys/{id}/encrypt"), &body, errand)?;
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
        Ok(sealed)
    }

    /// `Decrypt`.
    pub(crate) fn decrypt(
        &self,
        id: &str,
        sealed: &Sealed,
        aad: &[u8],
        errand: Errand<'_>,
    ) -> Result<Vec<u8>, ProxyError> {
        let mut body = json!({
            "requestMetadata": metadata(errand),
            "additionalAuthenticatedData": BASE64.encode(aad),
            "encryptionAlgorithm": "AES_GCM",
            "initializationVector": BASE64.encode(&sealed.iv),
            "authenticationTag": BASE64.encode(&sealed.tag),
            "ciphertext": BASE64.encode(&sealed.ciphertext),
        });
        if !sealed.metadata.is_empty() {
            body["ciphertextMetadata"] = BASE64.encode(&sealed.metadata).into();
        }
        let answer = self.ask(&format!("/keys/{id}/decrypt"), &body, errand)?;
        bytes_of(&answer["plaintext"]).ok_or(ProxyError::BadResponse)
    }

    fn ask(&self, path: &str, body: &Value, errand: Errand<'_>) -> Result<Value, ProxyError> {
        let authority = authority(&self.endpoint).ok_or(ProxyError::Unreachable)?;
        let path = format!("{}{path}", self.path);
        let body = body.to_string();
        let date = amz_date(errand.now);
        let authorization = self.sign(&authority, &path, &body, &date, errand.region);
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, &authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-amz-date", date)
            .header(header::AUTHORIZATION, authorization)
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| ProxyError::Unreachable)?;
        let (status, answer) = apart(|| exchange(&authority, request))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        match answer["errorName"].as_str() {
            Some(name) => Err(ProxyError::Refused(name.chars().take(64).collect())),
            // Behind a wrong path there is no proxy that could word a refusal.
            None if status == StatusCode::NOT_FOUND => {
                Err(ProxyError::Refused("InvalidUriPathException".to_owned()))
            }
            None => Err(ProxyError::BadResponse),
        }
    }

    /// The `Authorization` header (SigV4).
    fn sign(&self, host: &str, path: &str, body: &str, date: &str, region: &str) -> String {
        const SIGNED: &str = "content-type;host;x-amz-date";
        let sha256 = |text: &str| hex::encode(digest::digest(&digest::SHA256, text.as_bytes()));
        let canonical = format!(
            "POST\n{path}\n\ncontent-type:application/json\nhost:{host}\nx-amz-date:{date}\n\n{SIGNED}\n{}",
            sha256(body)
        );
        let day = date.get(..8).unwrap_or_default();
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

/// Whether KMS takes the text for an endpoint: `https` with a host, or this
/// emulator's `http` on loopback.
pub(crate) fn is_endpoint(text: &str) -> bool {
    if let Some(host) = text.strip_prefix("https://") {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
        return !host.is_empty() && host.bytes().all(fits);
    }
    authority(text).is_some()
}

/// Host and port of an endpoint that can be reached.
fn authority(endpoint: &str) -> Option<String> {
    let authority = endpoint.strip_prefix("http://")?;
    let (host, port) = authority.rsplit_once(':')?;
    let is_loopback = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    (is_loopback && port.parse::<u16>().is_ok()).then(|| authority.to_owned())
}

fn metadata(errand: Errand<'_>) -> Value {
    json!({
        "awsPrincipalArn": errand.principal_arn,
        "kmsOperation": errand.operation,
        "kmsRequestId": errand.request_id,
        "kmsKeyArn": errand.key_arn,
    })
}

fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value.as_str()?).ok()
}

fn amz_date(at: UnixMillis) -> String {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Waits without holding up the other connections of a server's worker.
fn apart<T>(wait: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

fn exchange(
    authority: &str,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProxyError> {
    let work = || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| ProxyError::Unreachable)?;
        runtime.block_on(async {
            tokio::time::timeout(ANSWER_TIME_MAX, converse(authority, request))
                .await
                .unwrap_or(Err(ProxyError::TimedOut))
        })
    };
    // A thread of its own, since the caller's may belong to a runtime already.
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or(Err(ProxyError::Unreachable))
}

async fn converse(
    authority: &str,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProxyError> {
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|_| ProxyError::Unreachable)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| ProxyError::Unreachable)?;
    let answered = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|_| ProxyError::BadResponse)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|_| ProxyError::BadResponse)?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(answered, connection);
    // The connection is driven until the answer is there; it may end before.
    tokio::select! {
        answer = &mut answered => answer,
        _ = &mut connection => answered.await,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn endpoints_are_https_hosts_or_loopback() {
        for good in [
            "https://xks.example.com",
            "http://127.0.0.1:8080",
            "http://localhost:1",
        ] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in [
            "https://",
            "https://a/b",
            "https://a:443",
            "http://xks.example.com",
            "http://xks.example.com:80",
            "http://127.0.0.1",
            "http://127.0.0.1:99999",
        ] {
            assert!(!is_endpoint(bad), "{bad}");
        }
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
