//! HTTP/1.1 over TLS over whatever the parent forwards: the SDK's way to KMS.
//!
//! Source of truth: the `HttpConnector` trait of aws-smithy-runtime-api; ground
//! truth KMS §6, attacks 2 and 12: TLS ends inside the enclave, against the roots
//! of the measured configuration and nothing else, for one host name. The stream
//! below is not trusted: in production a vsock connection to the parent's bridge,
//! in tests a loopback TCP connection, made by the same [`Dial`].
//!
//! Does not model proxies, redirects, HTTP/2, plain HTTP, or platform roots.

use std::{
    fmt,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{ServerName, UnixTime},
    time_provider::TimeProvider,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::AbortHandle,
};
use tokio_rustls::TlsConnector;
use tokio_vsock::{VsockAddr, VsockStream};

use crate::clock::Clock;

/// Opens the untrusted stream below TLS.
pub trait Dial: Send + Sync + 'static {
    /// What is opened.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens one.
    fn dial(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl<F, Opening, Stream> Dial for F
where
    F: Fn() -> Opening + Send + Sync + 'static,
    Opening: Future<Output = io::Result<Stream>> + Send,
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream;

    fn dial(&self) -> impl Future<Output = io::Result<Stream>> + Send {
        self()
    }
}

/// The production way: a vsock address, the parent's bridge.
#[derive(Clone, Copy, Debug)]
pub struct VsockDial {
    /// Context id; the parent is 3.
    pub cid: u32,
    /// Port of the bridge.
    pub port: u32,
}

impl Dial for VsockDial {
    type Stream = VsockStream;

    async fn dial(&self) -> io::Result<VsockStream> {
        VsockStream::connect(VsockAddr::new(self.cid, self.port)).await
    }
}

/// A client for one host. Clones share its idle connections.
pub struct Transport<D> {
    inner: Arc<Inner<D>>,
}

impl<D: Dial> Transport<D> {
    /// A client that trusts `roots` for `host`, and whose every request ends,
    /// one way or the other, within `timeout`.
    ///
    /// # Errors
    /// If the TLS library cannot do TLS 1.2 and 1.3 (a broken build).
    pub fn new(
        dial: D,
        host: ServerName<'static>,
        roots: RootCertStore,
        clock: Arc<dyn Clock>,
        timeout: Duration,
    ) -> Result<Self, rustls::Error> {
        let mut config = ClientConfig::builder_with_details(
            Arc::new(aws_lc_rs::default_provider()),
            Arc::new(ClockForTls(clock)),
        )
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session would not look at the certificate again.
        config.resumption = Resumption::disabled();
        Ok(Self {
            inner: Arc::new(Inner {
                dial,
                host,
                tls: TlsConnector::from(Arc::new(config)),
                timeout,
                idle: Mutex::new(Vec::new()),
            }),
        })
    }
}

/// Why a request got no answer. [`TransportError::is_worth_another_attempt`] tells
/// accidents from refusals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nobody listens there, or the bridge hung up.
    #[error("the bridge cannot be reached")]
    Dial(#[source] io::Error),
    /// The other end cannot prove that it is the host.
    #[error("the other end is not {host}: {cause}")]
    NotTheHost {
        /// Who it should have been.
        host: String,
        /// What is wrong with its certificate.
        cause: rustls::Error,
    },
    /// TLS broke off for another reason.
    #[error("the TLS handshake with {host} failed")]
    Handshake {
        /// With whom.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke or was not HTTP.
    #[error("the connection to KMS broke off")]
    Http(#[source] hyper::Error),
    /// More bytes than any KMS answer has.
    #[error("the answer is longer than {RESPONSE_BYTES_MAX} bytes")]
    ResponseTooLong,
    /// Slower than allowed.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The SDK wants to talk to somebody else.
    #[error("the request is not for the configured host")]
    OtherHost,
    /// The SDK's request is not HTTP, or of unknown length.
    #[error("the request cannot be sent")]
    Request,
}

impl TransportError {
    /// Whether trying again may help: accidents of the network, not refusals.
    #[must_use]
    pub const fn is_worth_another_attempt(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Handshake { .. } | Self::Http(_) | Self::Timeout(_) => true,
            Self::NotTheHost { .. } | Self::ResponseTooLong | Self::OtherHost | Self::Request => {
                false
            }
        }
    }
}

/// The largest KMS answer has two blobs of 6144 bytes in base64.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Idle connections kept; more jobs than this at once dial anew.
const IDLE_MAX: usize = 8;
/// KMS closes idle connections after about a minute.
const IDLE_MAX_AGE: Duration = Duration::from_secs(20);
/// A certificate is checked when a connection begins: do not keep one for ever.
const CONNECTION_MAX_AGE: Duration = Duration::from_secs(300);

struct Inner<D> {
    dial: D,
    host: ServerName<'static>,
    tls: TlsConnector,
    timeout: Duration,
    idle: Mutex<Vec<Connection>>,
}

/// One HTTP connection; the task that drives it ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    opened: Instant,
    used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<D: Dial> Inner<D> {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let request = self.for_the_wire(request)?;
        let mut connection = self.connection().await?;
        let response = connection
            .sender
            .send_request(request)
            .await
            .map_err(TransportError::Http)?;
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(match error.downcast::<hyper::Error>() {
                    Ok(error) => TransportError::Http(*error),
                    Err(error) => {
                        debug_assert!(error.is::<LengthLimitError>());
                        TransportError::ResponseTooLong
                    }
                });
            }
        };
        self.keep(connection);
        http::Response::from_parts(head, SdkBody::from(body))
            .try_into()
            .map_err(|_| TransportError::Request)
    }

    /// Origin form, a Host header, and the body that the SDK signed.
    fn for_the_wire(
        &self,
        request: HttpRequest,
    ) -> Result<http::Request<Full<Bytes>>, TransportError> {
        let request = request
            .try_into_http1x()
            .map_err(|_| TransportError::Request)?;
        let (mut head, body) = request.into_parts();
        let host = self.host.to_str();
        if head.uri.scheme() != Some(&http::uri::Scheme::HTTPS)
            || head.uri.host() != Some(host.as_ref())
            || head.uri.port().is_some_and(|port| port.as_u16() != 443)
        {
            return Err(TransportError::OtherHost);
        }
        if !head.headers.contains_key(http::header::HOST) {
            let value = host.parse().map_err(|_| TransportError::Request)?;
            head.headers.insert(http::header::HOST, value);
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse().map_err(|_| TransportError::Request)?;
        let body = body.bytes().ok_or(TransportError::Request)?;
        Ok(http::Request::from_parts(
            head,
            Full::new(Bytes::copy_from_slice(body)),
        ))
    }

    /// An idle connection that still lives, or a new one.
    async fn connection(&self) -> Result<Connection, TransportError> {
        while let Some(mut connection) = self.take_idle() {
            if connection.sender.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| {
            !connection.sender.is_closed()
                && connection.used.elapsed() < IDLE_MAX_AGE
                && connection.opened.elapsed() < CONNECTION_MAX_AGE
        });
        idle.pop()
    }

    fn keep(&self, mut connection: Connection) {
        connection.used = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    async fn connect(&self) -> Result<Connection, TransportError> {
        let stream = self.dial.dial().await.map_err(TransportError::Dial)?;
        let stream = self
            .tls
            .connect(self.host.clone(), stream)
            .await
            .map_err(|error| self.handshake_error(error))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(RESPONSE_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(TransportError::Http)?;
        let driver = tokio::spawn(async move {
            // An error here also reaches whoever waits for the answer.
            let _ = connection.await;
        })
        .abort_handle();
        let now = Instant::now();
        Ok(Connection {
            sender,
            driver,
            opened: now,
            used: now,
        })
    }

    fn handshake_error(&self, error: io::Error) -> TransportError {
        let host = self.host.to_str().into_owned();
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(cause @ rustls::Error::InvalidCertificate(_)) => TransportError::NotTheHost {
                host,
                cause: cause.clone(),
            },
            _ => TransportError::Handshake {
                host,
                source: error,
            },
        }
    }
}

impl<D: Dial> HttpConnector for Transport<D> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            let timeout = inner.timeout;
            match tokio::time::timeout(timeout, inner.exchange(request)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(TransportError::Timeout(timeout)),
            }
            .map_err(|error| match error {
                TransportError::Timeout(_) => ConnectorError::timeout(error.into()),
                TransportError::OtherHost | TransportError::Request => {
                    ConnectorError::user(error.into())
                }
                _ => ConnectorError::io(error.into()),
            })
        })
    }
}

impl<D: Dial> HttpClient for Transport<D> {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl<D> Clone for Transport<D> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<D> fmt::Debug for Transport<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("host", &self.inner.host)
            .finish_non_exhaustive()
    }
}

/// Certificates are judged by the same clock as everything else.
#[derive(Debug)]
struct ClockForTls(Arc<dyn Clock>);

impl TimeProvider for ClockForTls {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.0.now_ms(),
        )))
    }
}
