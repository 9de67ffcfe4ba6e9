//! The HTTP edge: one port for everything. Plain HTTP and TLS are told apart by
//! the first byte of a connection, services by the form of a request.
//!
//! Source of truth: LocalStack's single endpoint for the routing; RFC 8446 §5.1
//! for the first byte of a TLS connection (22, handshake). HTTP/1.1 only, as the
//! AWS SDKs speak it to KMS. Every wait and every size is bounded by [`Limits`].

mod authenticate;
pub(crate) mod body;
mod browser;
mod calls;
mod chunked;
pub(crate) mod connection_timer;
mod cut;
mod head;
mod header_values;
mod limits;
mod polled_on_wake;
mod route;
pub mod sigv4;
mod timed_stream;
pub mod tls;

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use nsm_sim::clock::{Clock, UnixMillis};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

pub(crate) use self::calls::{Answering, KmsCalls, S3Request};
pub use self::{authenticate::Auth, limits::Limits};
use self::{
    connection_timer::ConnectionTimer, polled_on_wake::PolledOnWake, timed_stream::TimedStream,
};
use crate::{
    faults::Faults, iam::Iam, s3::ObjectStore, threads::ring::Ring, world::request_id::RequestId,
};

/// A request the server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// `x-amzn-RequestId` of the answer.
    pub request_id: RequestId,
    /// When it was answered, by the world's clock.
    pub at: UnixMillis,
    /// `kms`, `sts`, `iam`, `s3` or `drydock`.
    pub service: &'static str,
    /// KMS operation, STS or IAM action; method and path for other requests.
    pub operation: Cow<'static, str>,
    /// ARN of the caller, if it was authenticated.
    pub principal: Option<Arc<str>>,
    /// HTTP status of the answer.
    pub status: u16,
    /// Why it was refused, as in the mock-only header.
    pub reason: Option<String>,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// Everything a connection needs, shared by all of them.
pub(crate) struct Edge {
    pub(crate) kms: KmsCalls,
    pub(crate) iam: Arc<Iam>,
    pub(crate) s3: ObjectStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) auth: Auth,
    /// Names beside the usual ones under which a lenient endpoint may be reached.
    pub(crate) hosts: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) tls: tls::Endpoint,
    /// The last requests answered.
    pub(crate) received: Ring<Received>,
    pub(crate) faults: Faults,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    pub(crate) tls: bool,
    /// `1.2` or `1.3`; `None` without TLS.
    pub(crate) tls_version: Option<&'static str>,
}

impl Origin {
    /// A connection without TLS.
    pub(crate) fn plain(peer: SocketAddr) -> Self {
        Self {
            peer,
            tls: false,
            tls_version: None,
        }
    }
}

/// Accepts connections until `stop` changes, then lets requests in flight end.
pub(crate) async fn serve(edge: Arc<Edge>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(edge.limits.connections_max as usize));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a client gone already: neither ends the server.
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            }
        };
        let (edge, stop) = (Arc::clone(&edge), stop.clone());
        tokio::spawn(async move {
            connection(edge, stream, peer, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    // All permits back: every connection has ended.
    let _ = permits.acquire_many(edge.limits.connections_max).await;
}

async fn connection(
    edge: Arc<Edge>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    const TLS_HANDSHAKE: u8 = 22;
    let _ = stream.set_nodelay(true); // small answers must not wait for an ACK
    let wait = edge.limits.handshake_timeout;
    let mut first = [0];
    match tokio::time::timeout(wait, stream.peek(&mut first)).await {
        Ok(Ok(1)) => {}
        _ => return,
    }
    if first[0] != TLS_HANDSHAKE {
        http(edge, stream, Origin::plain(peer), stop).await;
        return;
    }
    let accepting = match edge.tls.acceptor() {
        Ok(acceptor) => acceptor.accept(stream),
        Err(error) => {
            tracing::error!(%error, "TLS cannot be set up");
            return;
        }
    };
    match tokio::time::timeout(wait, accepting).await {
        Ok(Ok(stream)) => {
            let tls_version = match stream.get_ref().1.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_2) => Some("1.2"),
                Some(rustls::ProtocolVersion::TLSv1_3) => Some("1.3"),
                _ => None,
            };
            let origin = Origin {
                peer,
                tls: true,
                tls_version,
            };
            http(edge, stream, origin, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake"),
        Err(_elapsed) => tracing::debug!(%peer, "TLS handshake took too long"),
    }
}

/// Serves the requests of one connection.
pub(crate) async fn http<S>(
    edge: Arc<Edge>,
    stream: S,
    origin: Origin,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &edge.limits;
    let timer = ConnectionTimer::default();
    let mut builder = http1::Builder::new();
    builder
        .auto_date_header(false) // the world's time, not the machine's
        .header_read_timeout(None) // `TimedStream` bounds it
        // A call is answered even if its client has closed its half. Otherwise hyper
        // makes room to read again at every request, to see the client go.
        .half_close(true)
        .max_buf_size(limits.head_bytes_max);
    // hyper makes room for its own default on the stack, for any other number in a
    // loop at every request.
    if limits.headers_max != Limits::HEADERS_MAX {
        builder.max_headers(limits.headers_max);
    }
    let service = service_fn(|request| edge.answer(request, origin, timer.answering()));
    let stream = TokioIo::new(TimedStream::new(stream, limits, timer.clone()));
    let served = builder.serve_connection(stream, service);
    let mut served = std::pin::pin!(served);
    let stopping = std::pin::pin!(stop.changed());
    let stopping = PolledOnWake::new(stopping);
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        _ = stopping => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %origin.peer, %error, "connection ended");
    }
}
