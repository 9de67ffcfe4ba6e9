//! Reading a request body into memory within bounds of size and time.
//!
//! Source of truth: RFC 9112 §6 (a body shorter than its Content-Length is an
//! incomplete message). Bodies are not streamed on: every service here needs
//! the whole body before it can verify the signature over it.

use std::{pin::Pin, task::Context, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::Instant;

use super::{limits::Limits, patience::Patience};

/// Why a body was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// More bytes than the service takes.
    #[error("the body is larger than {max} bytes")]
    TooLarge {
        /// The service's bound.
        max: usize,
    },
    /// The client stopped before the end it announced.
    #[error("the body ended early or was not valid HTTP")]
    Truncated,
    /// The client was silent, or dripping, for too long.
    #[error("the body did not arrive within {waited:?}")]
    TooSlow {
        /// The bound that ran out.
        waited: Duration,
    },
}

/// What is read and thrown away of a body that is too large, so that a client
/// still sending gets to read the refusal.
const DISCARD_BYTES_MAX: usize = 4 * 1024 * 1024;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// How much of a body is taken, and how long that may last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    bytes_max: usize,
    /// Longest silence.
    idle: Duration,
    /// Longest time for the whole.
    whole: Duration,
    patience: &'a Patience,
}

impl<'a> Bounds<'a> {
    /// The times of `limits`, by the timer of the connection.
    pub(crate) fn of(limits: &Limits, bytes_max: usize, patience: &'a Patience) -> Self {
        Self {
            bytes_max,
            idle: limits.body_idle_timeout,
            whole: limits.body_timeout,
            patience,
        }
    }
}

/// Collects `body`.
pub(crate) async fn collect(
    mut body: Incoming,
    expects_continue: bool,
    bounds: Bounds<'_>,
) -> Result<Bytes, BodyError> {
    let max = bounds.bytes_max;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        if !expects_continue {
            discard(body).await;
        }
        return Err(BodyError::TooLarge { max });
    }
    let mut now = Instant::now();
    let end = now + bounds.whole;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let deadline = end.min(now + bounds.idle);
        let arriving = |context: &mut Context<'_>| Pin::new(&mut body).poll_frame(context);
        let frame = match bounds.patience.wait_until(deadline, arriving).await {
            None => {
                let waited = deadline.saturating_duration_since(now);
                return Err(BodyError::TooSlow { waited });
            }
            Some(None) => break,
            Some(Some(Err(_))) => return Err(BodyError::Truncated),
            Some(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        }; // HTTP trailers: nobody here uses them
        if data.len() as u64 == announced && body.is_end_stream() {
            return Ok(data); // the usual body: one frame, taken without a copy
        }
        now = Instant::now();
        if first.len() + rest.len() + data.len() > max {
            discard(body).await;
            return Err(BodyError::TooLarge { max });
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                let expected = usize::try_from(announced).unwrap_or(0).min(max);
                rest.reserve(expected.max(first.len() + data.len()));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

async fn discard(mut body: Incoming) {
    let discarding = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, discarding).await;
}
