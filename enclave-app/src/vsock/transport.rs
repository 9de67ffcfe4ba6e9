//! AF_VSOCK streams: connecting to an enclave that may still be starting, and
//! listening.
//!
//! Source of truth: vsock(7); ground truth of the Nitro hypervisor: the parent
//! is CID 3, an enclave's CID is chosen at its start (4 and above). Through
//! tokio-vsock, so that a runner which answers the system calls sees exactly
//! what the kernel would. Does not model datagrams or CID discovery.

use std::{fmt, io, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr};
pub use tokio_vsock::{VsockListener, VsockStream};

/// The parent's CID as an enclave sees it.
pub const PARENT_CID: u32 = 3;
/// Linux: "no such device", what a CID without a virtual machine answers.
const ENODEV: i32 = 19;

/// Where something listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VsockAddress {
    /// The virtual machine.
    pub cid: u32,
    /// The port in it.
    pub port: u32,
}

impl fmt::Display for VsockAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vsock CID {} port {}", self.cid, self.port)
    }
}

/// How long, and how often, to try to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRetry {
    /// When to give up, counted from the first attempt.
    pub total: Duration,
    /// The first pause; each next one is twice as long.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl ConnectRetry {
    /// Keeps trying for `total`, at first every 5 ms, then ever slower down to
    /// every 250 ms: a starting enclave is noticed soon and not hammered.
    #[must_use]
    pub const fn of(total: Duration) -> Self {
        Self {
            total,
            pause_first: Duration::from_millis(5),
            pause_max: Duration::from_millis(250),
        }
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nothing answered within [`ConnectRetry::total`].
    #[error(
        "nothing answers at {address}: {source} ({attempts} attempts in {} ms); \
         is the enclave running, and with this CID?",
        waited.as_millis()
    )]
    Unreachable {
        /// Where.
        address: VsockAddress,
        /// How often it was tried.
        attempts: u32,
        /// How long it was tried.
        waited: Duration,
        /// The last attempt's error.
        source: io::Error,
    },
    /// This machine cannot do it, now or later.
    #[error("cannot open a vsock connection to {address}: {source}")]
    Refused {
        /// Where.
        address: VsockAddress,
        /// The system's answer.
        source: io::Error,
    },
    /// Listening failed.
    #[error("cannot listen on vsock port {port}: {source}; is it taken, or is AF_VSOCK missing?")]
    Listen {
        /// Where.
        port: u32,
        /// The system's answer.
        source: io::Error,
    },
}

/// Connects, knocking again while nobody listens there yet.
///
/// # Errors
/// [`TransportError::Unreachable`], [`TransportError::Refused`].
pub async fn connect(
    address: VsockAddress,
    retry: &ConnectRetry,
) -> Result<VsockStream, TransportError> {
    attempt_until(address, retry, || {
        VsockStream::connect(VsockAddr::new(address.cid, address.port))
    })
    .await
}

/// Listens on `port` of this machine's own CID.
///
/// # Errors
/// [`TransportError::Listen`].
pub fn listen(port: u32) -> Result<VsockListener, TransportError> {
    VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port))
        .map_err(|source| TransportError::Listen { port, source })
}

/// The attempts, apart from the kind of stream.
async fn attempt_until<S, F>(
    address: VsockAddress,
    retry: &ConnectRetry,
    mut attempt: impl FnMut() -> F,
) -> Result<S, TransportError>
where
    F: Future<Output = io::Result<S>>,
{
    let begun = Instant::now();
    let until = begun + retry.total.min(Duration::from_secs(24 * 3600));
    let mut pause = retry.pause_first;
    let mut attempts = 0u32;
    loop {
        attempts = attempts.saturating_add(1);
        let outcome = match timeout_at(until, attempt()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let source = match outcome {
            Ok(stream) => return Ok(stream),
            Err(source) => source,
        };
        if !may_come_up(&source) {
            return Err(TransportError::Refused { address, source });
        }
        let now = Instant::now();
        if now + pause >= until {
            return Err(TransportError::Unreachable {
                address,
                attempts,
                waited: now.duration_since(begun),
                source,
            });
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(retry.pause_max);
    }
}

/// Whether this is what a starting enclave looks like from outside: no virtual
/// machine with the CID yet, or one in which nobody listens yet. vsock answers
/// the latter with a reset where TCP would refuse.
fn may_come_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: VsockAddress = VsockAddress {
        cid: 16,
        port: 5000,
    };

    fn quick(total_ms: u64) -> ConnectRetry {
        ConnectRetry {
            total: Duration::from_millis(total_ms),
            pause_first: Duration::ZERO,
            pause_max: Duration::from_millis(1),
        }
    }

    #[tokio::test]
    async fn waits_for_an_enclave_that_is_still_starting() {
        let mut calls = 0;
        let stream = attempt_until(ADDRESS, &quick(60_000), || {
            calls += 1;
            let outcome = match calls {
                1 => Err(io::Error::from_raw_os_error(ENODEV)),
                2..5 => Err(io::ErrorKind::ConnectionReset.into()),
                _ => Ok("stream"),
            };
            async move { outcome }
        })
        .await
        .unwrap();
        assert_eq!((stream, calls), ("stream", 5));
    }

    #[tokio::test]
    async fn gives_up_when_patience_ends_and_says_how_often_it_tried() {
        let retry = quick(5);
        let error = attempt_until::<(), _>(ADDRESS, &retry, || async {
            Err(io::ErrorKind::ConnectionRefused.into())
        })
        .await
        .unwrap_err();
        let TransportError::Unreachable { attempts, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(*attempts >= 1);
        assert!(error.to_string().contains("CID 16 port 5000"), "{error}");
    }

    #[tokio::test]
    async fn an_attempt_that_hangs_is_cut_off() {
        let error = attempt_until::<(), _>(ADDRESS, &quick(5), std::future::pending)
            .await
            .unwrap_err();
        assert!(
            matches!(error, TransportError::Unreachable { attempts: 1, .. }),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn does_not_knock_again_where_knocking_cannot_help() {
        let mut calls = 0;
        let error = attempt_until::<(), _>(ADDRESS, &quick(60_000), || {
            calls += 1;
            async { Err(io::ErrorKind::PermissionDenied.into()) }
        })
        .await
        .unwrap_err();
        assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
        assert_eq!(calls, 1);
    }
}
