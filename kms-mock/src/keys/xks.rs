//! The client of an external key store proxy.
//!
//! Source of truth: "AWS KMS External Key Store Proxy API Specification" v1
//! (`GetHealthStatus`, `GetKeyMetadata`, `Encrypt`, `Decrypt`; SigV4 for the
//! service `kms-xks-proxy`; what an answer must be; KMS's texts for each failure).
//! One HTTP/1.1 connection a request, on a thread of its own, so that callers need
//! no runtime.
//!
//! TLS is verified as the specification wants it: a chain to a trusted root, and
//! the endpoint's host name in the certificate. It is judged by the machine's time,
//! not by the world's clock, since the proxy is outside of that world.
//!
//! AWS waits 250 ms for an answer. That time runs here from the request on:
//! connecting, which AWS has mostly done before, has a bound of its own.
//!
//! Does not model client certificates (mTLS) and the health checks that AWS makes
//! every few minutes. `http://` and ports are this emulator's addition, on loopback
//! alone.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use nsm_sim::clock::UnixMillis;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::{Builder, Handle, RuntimeFlavor},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// How long connecting to a proxy may take, TLS included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// More than the answer to any request: a blob and its wrapping in base64.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const SERVICE: &str = "kms-xks-proxy";
const METADATA_BYTES_MAX: usize = 20;
const TAG_BYTES: usize = 16;
const EKM_MAX: usize = 10;
const USAGES_MAX: usize = 10;

/// How external key store proxies are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XksSettings {
    /// The roots under which their TLS is verified; without any, those of the
    /// machine.
    pub roots: Vec<CertificateDer<'static>>,
    /// How long a proxy may take to answer; AWS's 250 ms by default.
    pub answer_time_max: Duration,
}

impl Default for XksSettings {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            answer_time_max: Duration::from_millis(250),
        }
    }
}

/// A root that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum XksRootError {
    /// No PEM, or none with a certificate in it.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// rustls does not take it for a root.
    #[error("{0}")]
    NoRoot(#[from] rustls::Error),
}

impl XksSettings {
    /// Trusts the certificates of `pem` too.
    ///
    /// # Errors
    /// [`XksRootError`] if there is none, or one that is no root.
    pub fn add_root_pem(&mut self, pem: &str) -> Result<(), XksRootError> {
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let roots = roots
            .ok()
            .filter(|roots| !roots.is_empty())
            .ok_or(XksRootError::NoCertificate)?;
        for root in roots {
            RootCertStore::empty().add(root.clone())?;
            self.roots.push(root);
        }
        Ok(())
    }
}

/// Reaches proxies.
pub(crate) struct XksClient {
    settings: XksSettings,
    /// Made for the first proxy that is reached over TLS; the machine's roots take
    /// a while to read.
    tls: OnceLock<Option<Arc<ClientConfig>>>,
}

impl fmt::Debug for XksClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XksClient")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl XksClient {
    pub(crate) fn new(settings: XksSettings) -> Self {
        Self {
            settings,
            tls: OnceLock::new(),
        }
    }

    fn tls(&self) -> Option<Arc<ClientConfig>> {
        let make = || {
            let mut roots = RootCertStore::empty();
            if self.settings.roots.is_empty() {
                // Among a machine's roots there may be some that rustls cannot read.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            } else {
                roots.add_parsable_certificates(self.settings.roots.iter().cloned());
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .ok()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Some(Arc::new(config))
        };
        self.tls.get_or_init(make).clone()
    }
}

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

/// For whom, when and how a request is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) client: &'a XksClient,
    pub(crate) region: &'a str,
    pub(crate) now: UnixMillis,
    pub(crate) operation: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) principal_arn: &'a str,
    /// Absent for what is not about a key.
    pub(crate) key_arn: Option<&'a str>,
}

/// Why a proxy did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    Unreachable,
    /// What answers there is not vouched for.
    Tls,
    TimedOut,
    /// Nothing that the specification knows.
    BadResponse,
    /// Decrypted, but not to what was encrypted.
    Strange,
    Refused(ProxyRefusal),
}

/// `errorName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyRefusal {
    Validation,
    InvalidState,
    InvalidCiphertext,
    InvalidKeyUsage,
    AuthenticationFailed,
    AccessDenied,
    KeyNotFound,
    InvalidUriPath,
    Throttling,
    UnsupportedOperation,
    DependencyTimeout,
    Internal,
}

impl ProxyRefusal {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "ValidationException" => Self::Validation,
            "InvalidStateException" => Self::InvalidState,
            "InvalidCiphertextException" => Self::InvalidCiphertext,
            "InvalidKeyUsageException" => Self::InvalidKeyUsage,
            "AuthenticationFailedException" => Self::AuthenticationFailed,
            "AccessDeniedException" => Self::AccessDenied,
            "KeyNotFoundException" => Self::KeyNotFound,
            "InvalidUriPathException" => Self::InvalidUriPath,
            "ThrottlingException" => Self::Throttling,
            "UnsupportedOperationException" => Self::UnsupportedOperation,
            "DependencyTimeoutException" => Self::DependencyTimeout,
            "InternalException" => Self::Internal,
            _ => return None,
        })
    }
}

/// What KMS says of a store that is not connected.
pub(crate) const NOT_CONNECTED: &str = "This KMS key is in a custom key store that is not connected to its external key store proxy. Connect the external key store and try the request again.";

impl ProxyError {
    /// KMS's words, which are the same for all exceptions that it becomes.
    pub(crate) fn message(self) -> &'static str {
        use ProxyRefusal as R;
        match self {
            Self::Unreachable => {
                "AWS KMS cannot communicate with the external key store proxy. This might be a transient network issue. If you see this error repeatedly, verify that your external key store proxy is active and is connected to the network, and that its endpoint URI is correct in your external key store."
            }
            Self::Tls => {
                "AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS configuration, including its certificate."
            }
            Self::TimedOut => {
                "AWS KMS rejected the request because the external key store proxy did not respond in time. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator."
            }
            Self::BadResponse | Self::Refused(R::Validation) => {
                "AWS KMS cannot interpret the response from the external key store proxy. If you see this error repeatedly, report it to your external key store proxy administrator."
            }
            Self::Strange => {
                "The ciphertext that the external key store proxy submitted for decryption, or the encryption context, is corrupted, missing, or otherwise invalid."
            }
            Self::Refused(R::InvalidState) => {
                "The external key associated with this KMS key in an external key store is not enabled in the external key manager. Enable the external key in the external key manager and retry the request."
            }
            Self::Refused(R::InvalidCiphertext) => {
                "The external key store proxy rejected the request because the specified ciphertext or encryption context is corrupted, missing, or otherwise invalid."
            }
            Self::Refused(R::InvalidKeyUsage) => {
                "The external key associated with this KMS key in an external key store does not support the requested operation. Enable the operation on the key in your external key manager, and try the request again."
            }
            Self::Refused(R::AuthenticationFailed) => {
                "The external key store proxy rejected the request because it could not authenticate AWS KMS. Verify the XKS proxy authentication credentials for your external key store and update if necessary."
            }
            Self::Refused(R::AccessDenied) => {
                "The external key store proxy denied access to the operation. Verify that the user and the external key are both authorized for this operation, and try the request again."
            }
            Self::Refused(R::KeyNotFound) => {
                "The external key associated with this KMS key in an external key store was not found in its external key manager. If the external key ID associated with this KMS key is incorrect, create a new KMS key with the correct external key ID."
            }
            Self::Refused(R::InvalidUriPath) => {
                "The external key store proxy rejected the request because of an invalid URI path. Verify the URI path for your external key store and update if necessary."
            }
            Self::Refused(R::UnsupportedOperation) => {
                "The external key store proxy rejected the request because it does not support the requested operation. If you see this error repeatedly, report it to your external key store proxy administrator."
            }
            Self::Refused(R::DependencyTimeout) => {
                "The external key store proxy did not respond to the request in the time allotted. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator."
            }
            Self::Refused(R::Throttling) => {
                "The external key store proxy rejected the request due to a very high request rate. Reduce the frequency of your calls using KMS keys in this external key store."
            }
            Self::Refused(R::Internal) => {
                "The external key store proxy rejected the request because it cannot communicate with the external key manager. Verify that the external key store proxy configuration is correct and that the external key manager is available."
            }
        }
    }
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
    pub(crate) fn health(&self, errand: Errand<'_>) -> Result<(), ProxyError> {
        let body = json!({ "requestMetadata": {
            "kmsRequestId": errand.request_id, "kmsOperation": errand.operation,
        }});
        let answer = self.ask("/health", &body, errand)?;
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
    pub(crate) fn key(&self, id: &str, errand: Errand<'_>) -> Result<ExternalKey, ProxyError> {
        let body = json!({ "requestMetadata": metadata(errand) });
        let answer = self.ask(&format!("/keys/{id}/metadata"), &body, errand)?;
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
        errand: Errand<'_>,
    ) -> Result<Sealed, ProxyError> {
        let body = json!({
            "requestMetadata": metadata(errand),
            "additionalAuthenticatedData": BASE64.encode(aad),
            "plaintext": BASE64.encode(plaintext),
            "encryptionAlgorithm": "AES_GCM",
            "ciphertextDataIntegrityValueAlgorithm": "SHA_256",
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
        let endpoint = Endpoint::parse(&self.endpoint).ok_or(ProxyError::Unreachable)?;
        let authority = endpoint.authority();
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
        let (status, answer) = apart(|| exchange(errand.client, &endpoint, request))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
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
/// emulator's ports and `http` on loopback.
pub(crate) fn is_endpoint(text: &str) -> bool {
    Endpoint::parse(text).is_some()
}

/// `XksProxyUriEndpoint`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint<'a> {
    is_tls: bool,
    host: &'a str,
    /// `None` for the one of HTTPS.
    port: Option<u16>,
}

impl<'a> Endpoint<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        if let Some((host, port)) = authority.rsplit_once(':') {
            let is_loopback = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
            let is_number = port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|_| is_loopback && is_number)?;
            return Some(Self {
                is_tls,
                host,
                port: Some(port),
            });
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
        let is_host = !authority.is_empty() && authority.bytes().all(fits);
        (is_tls && is_host).then_some(Self {
            is_tls,
            host: authority,
            port: None,
        })
    }

    /// The `Host` header.
    fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_owned(),
        }
    }

    /// Where to connect to.
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(443))
    }

    /// The name that a certificate must have.
    fn server_name(&self) -> Option<ServerName<'static>> {
        let name = self.host.trim_matches(['[', ']']);
        Some(ServerName::try_from(name).ok()?.to_owned())
    }
}

fn metadata(errand: Errand<'_>) -> Value {
    let mut metadata = json!({
        "awsPrincipalArn": errand.principal_arn,
        "kmsOperation": errand.operation,
        "kmsRequestId": errand.request_id,
    });
    if let Some(arn) = errand.key_arn {
        metadata["kmsKeyArn"] = arn.into();
    }
    metadata
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
    client: &XksClient,
    endpoint: &Endpoint<'_>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProxyError> {
    let work = || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| ProxyError::Unreachable)?;
        runtime.block_on(converse(client, endpoint, request))
    };
    // A thread of its own, since the caller's may belong to a runtime already.
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or(Err(ProxyError::Unreachable))
}

async fn converse(
    client: &XksClient,
    endpoint: &Endpoint<'_>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProxyError> {
    let answer_time_max = client.settings.answer_time_max;
    let connecting = TcpStream::connect(endpoint.address());
    let stream = timeout(CONNECT_TIME_MAX, connecting)
        .await
        .map_err(|_| ProxyError::TimedOut)?
        .map_err(|_| ProxyError::Unreachable)?;
    if !endpoint.is_tls {
        let answer = timeout(answer_time_max, answer(stream, request));
        return answer.await.unwrap_or(Err(ProxyError::TimedOut));
    }
    let config = client.tls().ok_or(ProxyError::Tls)?;
    let name = endpoint.server_name().ok_or(ProxyError::Tls)?;
    let shaking = TlsConnector::from(config).connect(name, stream);
    let stream = timeout(CONNECT_TIME_MAX, shaking)
        .await
        .map_err(|_| ProxyError::TimedOut)?
        .map_err(|_| ProxyError::Tls)?;
    let answer = timeout(answer_time_max, answer(stream, request));
    answer.await.unwrap_or(Err(ProxyError::TimedOut))
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProxyError> {
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
            "https://localhost:8443",
            "https://[::1]:8443",
        ] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in [
            "https://",
            "https://a/b",
            "https://a:443",
            "https://localhost:+443",
            "https://localhost:",
            "ftp://localhost",
            "http://xks.example.com",
            "http://xks.example.com:80",
            "http://127.0.0.1",
            "http://127.0.0.1:99999",
        ] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }

    #[test]
    fn roots_are_certificates_in_pem() {
        let mut settings = XksSettings::default();
        let none = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (bad, said) in [
            ("", "no certificate"),
            ("oops", "no certificate"),
            (none, ""),
        ] {
            let error = settings.add_root_pem(bad).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(settings.roots.is_empty());
        let authority = crate::server::tls::Authority::generate().unwrap();
        settings.add_root_pem(authority.cert_pem()).unwrap();
        assert_eq!(settings.roots.len(), 1);
    }

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
        fn no_text_makes_the_endpoint_parser_panic(text in ".{0,40}", tls in any::<bool>()) {
            let scheme = if tls { "https://" } else { "http://" };
            if let Some(endpoint) = Endpoint::parse(&text) {
                prop_assert!(endpoint.is_tls || endpoint.port.is_some());
            }
            let _ = Endpoint::parse(&format!("{scheme}{text}"));
        }

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
