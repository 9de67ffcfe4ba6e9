//! The way to an external key store proxy: its endpoint, TLS, one HTTP/1.1
//! connection a request on a thread of its own, so that callers need no runtime.
//!
//! Source of truth: the proxy API specification, "Authentication".
//!
//! TLS is verified as it wants it: a chain to a trusted root, and the endpoint's
//! host name in the certificate. It is judged by the machine's time, not by the
//! world's clock, since the proxy is outside of that world.
//!
//! AWS waits 250 ms for an answer. That time runs here from the request on:
//! connecting, which AWS has mostly done before, has a bound of its own.
//!
//! Does not model client certificates (mTLS). `http://` and ports are this
//! emulator's addition, on loopback alone.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::{Builder, Handle, RuntimeFlavor},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::failure::ProxyError;

/// How long connecting to a proxy may take, TLS included.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// More than the answer to any request: a blob and its wrapping in base64.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

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
    /// The text is not PEM, or has no certificate in it.
    #[error("it holds no certificate")]
    NoCertificate,
    /// rustls refuses a certificate as a root.
    #[error("{0}")]
    NoRoot(#[from] rustls::Error),
}

impl XksSettings {
    /// Trusts the certificates of `pem` too.
    ///
    /// # Errors
    /// [`XksRootError`] without a certificate, or with one that is not a root.
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

    #[cfg(feature = "xks")]
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

/// Whether KMS takes the text for an endpoint: `https` with a host, or this
/// emulator's ports and `http` on loopback.
pub(crate) fn is_endpoint(text: &str) -> bool {
    Endpoint::parse(text).is_some()
}

/// `XksProxyUriEndpoint`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint<'a> {
    is_tls: bool,
    host: &'a str,
    /// `None` for the one of HTTPS.
    port: Option<u16>,
}

impl<'a> Endpoint<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
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
    pub(super) fn authority(&self) -> String {
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

/// Waits without holding up the other connections of a server's worker.
fn apart<T>(wait: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

/// No proxy is reached: there is no store to reach one for.
#[cfg(not(feature = "xks"))]
pub(super) fn exchange(
    _: &XksClient,
    _: &Endpoint<'_>,
    _: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProxyError> {
    Err(ProxyError::Unreachable)
}

/// Sends a request and waits for its answer.
#[cfg(feature = "xks")]
pub(super) fn exchange(
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
    apart(|| {
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or(Err(ProxyError::Unreachable))
    })
}

#[cfg(feature = "xks")]
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

#[cfg(feature = "xks")]
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
        let authority = crate::edge::tls::Authority::generate().unwrap();
        settings.add_root_pem(authority.cert_pem()).unwrap();
        assert_eq!(settings.roots.len(), 1);
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
    }
}
