//! A byte bridge from a vsock port to one TCP target.
//!
//! Models: what AWS's vsock-proxy does for KMS (kms.md §7), for exactly one
//! allow-listed target: an enclave has no network, so the parent carries its
//! bytes. TLS ends inside the enclave; the bridge sees ciphertext only and
//! changes nothing. Does not model several targets, TLS interception or address
//! filtering: the target is what the operator named, resolved anew for each
//! connection.
//!
//! Bounds (kms.md §6 row 18): so many connections at once, so long to reach the
//! target, so long without a byte in either direction. Each half of a connection
//! closes on its own: when one side has sent all it will, the other learns that
//! and may still answer.

use std::{
    fmt, io,
    net::Ipv6Addr,
    pin::pin,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    clock::millis,
    vsock::transport::{VsockListener, VsockStream},
};

/// Bytes moved at a time, per direction: a few TLS records.
const BUFFER_BYTES: usize = 32 * 1024;
/// The pause after a failed accept, such as for want of file descriptors: long
/// enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest host name: RFC 1035 §2.3.4.
const HOST_BYTES_MAX: usize = 255;

/// The one address that connections are carried to: `HOST:PORT`, or
/// `[IPv6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

/// Why a text is no [`Target`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not HOST:PORT, such as kms.us-east-1.amazonaws.com:443 or [::1]:8443")]
pub struct TargetError {
    text: String,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || TargetError {
            text: text.chars().take(HOST_BYTES_MAX).collect(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // Digits only: the standard parser would take a sign.
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && port.chars().all(|c| c.is_ascii_digit()) => number,
            _ => return Err(wrong()),
        };
        let host = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(v6) if v6.parse::<Ipv6Addr>().is_ok() => v6,
            Some(_) => return Err(wrong()),
            None => {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.chars().all(plain) {
                    return Err(wrong());
                }
                host
            }
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What a bridge may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeLimits {
    /// Connections carried at once. The next ones wait in the listener's queue.
    pub connections_max: usize,
    /// Longest time to reach the target.
    pub connect: Duration,
    /// Longest time without a byte in either direction.
    pub idle: Duration,
    /// How long open connections may go on once the bridge is told to stop.
    pub grace: Duration,
}

impl Default for BridgeLimits {
    /// 64 connections (an enclave's KMS client pools a handful per job), 5 s to
    /// connect, 60 s idle, 2 s of grace.
    fn default() -> Self {
        Self {
            connections_max: 64,
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            grace: Duration::from_secs(2),
        }
    }
}

/// Where connections come from: vsock in production, loopback in tests.
pub trait Accept: Send {
    /// An accepted connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and who opened it, for the log.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, String)>> + Send;
}

impl Accept for VsockListener {
    type Stream = VsockStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, String)> {
        let (stream, peer) = Self::accept(self).await?;
        Ok((stream, format!("CID {} port {}", peer.cid(), peer.port())))
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, String)> {
        let (stream, peer) = Self::accept(self).await?;
        Ok((stream, peer.to_string()))
    }
}

/// What one connection carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the enclave to the target.
    pub out_bytes: u64,
    /// Bytes from the target to the enclave.
    pub in_bytes: u64,
}

/// Why a connection ended other than by both sides closing it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// No byte moved for too long.
    #[error("no byte moved for {} ms", idle.as_millis())]
    Idle {
        /// The bound.
        idle: Duration,
    },
    /// The enclave's side failed.
    #[error("the enclave's side failed: {0}")]
    Enclave(#[source] io::Error),
    /// The target's side failed.
    #[error("the target's side failed: {0}")]
    Target(#[source] io::Error),
}

/// Carries connections until `stop` holds true or its sender is gone. Failures
/// of single connections are logged, never fatal.
pub async fn serve<A: Accept>(
    mut listener: A,
    target: Target,
    limits: BridgeLimits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max.max(1)));
    let target = Arc::new(target);
    let mut open = JoinSet::new();
    loop {
        // A place first, then a connection: at the bound, new connections wait in
        // the listener's queue instead of being opened and dropped.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = told_to_stop(&mut stop) => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            next = next => next,
        };
        let Ok(place) = place else { break };
        match accepted {
            Ok((stream, peer)) => {
                let target = Arc::clone(&target);
                open.spawn(async move {
                    carry(stream, &peer, &target, &limits).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(target: "bridge", %error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = timeout(limits.grace, async {
        while open.join_next().await.is_some() {}
    })
    .await;
    if ended.is_err() {
        tracing::warn!(target: "bridge", open = open.len(), "connections cut off while stopping");
        open.shutdown().await;
    }
}

async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say it: then stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn carry<S>(stream: S, peer: &str, target: &Target, limits: &BridgeLimits)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connecting = TcpStream::connect((target.host.as_str(), target.port));
    let outcome = match timeout(limits.connect, connecting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let tcp = match outcome {
        Ok(tcp) => tcp,
        Err(error) => {
            // Dropping the stream is all the enclave can be told; it sees its TLS
            // handshake end early.
            tracing::warn!(target: "bridge", peer, to = %target, %error, "target not reached");
            return;
        }
    };
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(target: "bridge", %error, "TCP_NODELAY not set");
    }
    match relay(stream, tcp, limits.idle).await {
        Ok(Carried {
            out_bytes,
            in_bytes,
        }) => {
            tracing::debug!(target: "bridge", peer, to = %target, out_bytes, in_bytes, "closed");
        }
        Err(error) => {
            tracing::warn!(target: "bridge", peer, to = %target, %error, "connection cut off");
        }
    }
}

/// Carries bytes both ways until both sides have closed, unchanged and in order.
/// When one side closes its sending half, so does the other's receiving half,
/// after all bytes before; the opposite direction goes on.
///
/// # Errors
/// [`RelayError`]; both streams are then dropped.
pub async fn relay<E, T>(enclave: E, target: T, idle: Duration) -> Result<Carried, RelayError>
where
    E: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let activity = Activity::new();
    let (enclave_read, enclave_write) = split(enclave);
    let (target_read, target_write) = split(target);
    let mut outward = pin!(pump(enclave_read, target_write, &activity));
    let mut inward = pin!(pump(target_read, enclave_write, &activity));
    let mut silence = pin!(activity.silent_for(idle));
    let (mut out_bytes, mut in_bytes) = (None, None);
    loop {
        tokio::select! {
            moved = &mut outward, if out_bytes.is_none() => {
                out_bytes = Some(moved.map_err(|end| match end {
                    End::Reading(error) => RelayError::Enclave(error),
                    End::Writing(error) => RelayError::Target(error),
                })?);
            }
            moved = &mut inward, if in_bytes.is_none() => {
                in_bytes = Some(moved.map_err(|end| match end {
                    End::Reading(error) => RelayError::Target(error),
                    End::Writing(error) => RelayError::Enclave(error),
                })?);
            }
            () = &mut silence => return Err(RelayError::Idle { idle }),
        }
        if let (Some(out_bytes), Some(in_bytes)) = (out_bytes, in_bytes) {
            return Ok(Carried {
                out_bytes,
                in_bytes,
            });
        }
    }
}

/// Which end of a direction failed.
enum End {
    Reading(io::Error),
    Writing(io::Error),
}

/// One direction, to its end: reads until the sender closes, then closes the
/// receiver's half.
async fn pump<R, W>(mut from: R, mut to: W, activity: &Activity) -> Result<u64, End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let mut moved = 0u64;
    loop {
        let read = from.read(&mut buffer).await.map_err(End::Reading)?;
        activity.note();
        let Some(mut rest) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        while !rest.is_empty() {
            // A write that makes progress is activity too: a slow reader is not
            // a dead one.
            match to.write(rest).await.map_err(End::Writing)? {
                0 => return Err(End::Writing(io::ErrorKind::WriteZero.into())),
                written => {
                    activity.note();
                    moved = moved.saturating_add(written as u64);
                    rest = rest.get(written..).unwrap_or_default();
                }
            }
        }
        to.flush().await.map_err(End::Writing)?;
    }
    match to.shutdown().await {
        // The receiver is gone already: there is nobody left to tell.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(moved),
        Err(error) => Err(End::Writing(error)),
        Ok(()) => Ok(moved),
    }
}

/// When a byte last moved in either direction.
struct Activity {
    begun: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            last_ms: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let now_ms = millis(self.begun.elapsed());
        self.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Returns once nothing has moved for `idle`.
    async fn silent_for(&self, idle: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let until = self.begun + last + idle;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn reads_targets_and_prints_them_back() {
        for text in [
            "kms.us-east-1.amazonaws.com:443",
            "127.0.0.1:1",
            "[::1]:65535",
            "a_b:80",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_a_text_that_is_not_a_target() {
        for text in [
            "",
            "kms",
            "kms:",
            ":443",
            "kms:0",
            "kms:65536",
            "kms:+443",
            "kms:443/path",
            "https://kms:443",
            "[kms]:443",
            "::1:443",
            "k ms:443",
            "user@kms:443",
            "kms:4 43",
        ] {
            assert!(text.parse::<Target>().is_err(), "accepted {text:?}");
        }
        assert!(format!("{}:1", "a".repeat(256)).parse::<Target>().is_err());
    }

    /// The two outer ends of a relay, and the relay itself.
    fn relayed(
        pipe_bytes: usize,
        idle: Duration,
    ) -> (
        DuplexStream,
        DuplexStream,
        tokio::task::JoinHandle<Result<Carried, RelayError>>,
    ) {
        let (enclave, inner_enclave) = duplex(pipe_bytes);
        let (target, inner_target) = duplex(pipe_bytes);
        (
            enclave,
            target,
            tokio::spawn(relay(inner_enclave, inner_target, idle)),
        )
    }

    #[tokio::test]
    async fn a_closed_half_lets_the_other_half_answer() {
        let (mut enclave, mut target, relay) = relayed(64, LONG);
        enclave.write_all(b"question").await.unwrap();
        enclave.shutdown().await.unwrap();

        let mut question = Vec::new();
        target.read_to_end(&mut question).await.unwrap(); // ends: the close came through
        assert_eq!(question, b"question");
        target.write_all(b"answer").await.unwrap();
        target.shutdown().await.unwrap();

        let mut answer = Vec::new();
        enclave.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(
            relay.await.unwrap().unwrap(),
            Carried {
                out_bytes: 8,
                in_bytes: 6
            }
        );
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_moves_is_cut_off() {
        let (_enclave, _target, relay) = relayed(64, Duration::from_millis(5));
        assert!(matches!(relay.await.unwrap(), Err(RelayError::Idle { .. })));
    }

    #[tokio::test]
    async fn a_half_closed_connection_may_not_stay_open_forever() {
        let (mut enclave, _target, relay) = relayed(64, Duration::from_millis(5));
        enclave.shutdown().await.unwrap();
        assert!(matches!(relay.await.unwrap(), Err(RelayError::Idle { .. })));
    }

    #[tokio::test]
    async fn a_target_that_vanishes_ends_the_connection() {
        let (mut enclave, target, relay) = relayed(8, LONG);
        drop(target);
        let _ = enclave.write_all(&[0; 1000]).await;
        let mut rest = Vec::new();
        enclave.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        assert!(matches!(relay.await.unwrap(), Err(RelayError::Target(_))));
    }

    proptest! {
        #[test]
        fn carries_any_bytes_both_ways_unchanged(
            out in proptest::collection::vec(any::<u8>(), 0..3_000),
            back in proptest::collection::vec(any::<u8>(), 0..3_000),
            pipe_bytes in 1usize..200,
        ) {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let (enclave, target, relay) = relayed(pipe_bytes, LONG);
                let (mut enclave_read, mut enclave_write) = split(enclave);
                let (mut target_read, mut target_write) = split(target);
                let (mut at_target, mut at_enclave) = (Vec::new(), Vec::new());
                let (a, b, c, d) = tokio::join!(
                    async { enclave_write.write_all(&out).await?; enclave_write.shutdown().await },
                    async { target_write.write_all(&back).await?; target_write.shutdown().await },
                    target_read.read_to_end(&mut at_target),
                    enclave_read.read_to_end(&mut at_enclave),
                );
                a.unwrap(); b.unwrap(); c.unwrap(); d.unwrap();
                prop_assert!(at_target == out && at_enclave == back);
                prop_assert_eq!(
                    relay.await.unwrap().unwrap(),
                    Carried { out_bytes: out.len() as u64, in_bytes: back.len() as u64 }
                );
                Ok(())
            })?;
        }
    }
}
