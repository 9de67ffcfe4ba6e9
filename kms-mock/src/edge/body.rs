//! Reading a request body into memory within bounds of size and time.
//!
//! Source of truth: RFC 9112 §6 (a body shorter than its Content-Length is an
//! incomplete message). Bodies are not streamed on: every service here needs
//! the whole body before it can verify the signature over it.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::time::Instant;

use super::{connection_timer::ConnectionTimer, limits::Limits};

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
    timer: &'a ConnectionTimer,
}

impl<'a> Bounds<'a> {
    /// The times of `limits`, by the timer of the connection.
    pub(crate) fn of(limits: &Limits, bytes_max: usize, timer: &'a ConnectionTimer) -> Self {
        Self {
            bytes_max,
            idle: limits.body_idle_timeout,
            whole: limits.body_timeout,
            timer,
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
    let expected = usize::try_from(announced).ok().filter(|size| *size <= max);
    let Some(expected) = expected else {
        if !expects_continue {
            Box::pin(discard(body)).await;
        }
        return Err(BodyError::TooLarge { max });
    };
    let mut clock = Waiting::default();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match clock.frame(&mut body, bounds).await? {
            None => break,
            Some(Err(_)) => return Err(BodyError::Truncated),
            Some(Ok(frame)) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        }; // HTTP trailers: nobody here uses them
        if data.len() == expected && body.is_end_stream() {
            return Ok(data); // the usual body: one frame, taken without a copy
        }
        if first.len() + rest.len() + data.len() > max {
            Box::pin(discard(body)).await;
            return Err(BodyError::TooLarge { max });
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
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

/// How long a body has been waited for.
#[derive(Default)]
struct Waiting {
    /// Of the whole body; set when there is something to wait for, since most
    /// bodies have come with their head.
    end: Option<Instant>,
}

impl Waiting {
    async fn frame(
        &mut self,
        body: &mut Incoming,
        bounds: Bounds<'_>,
    ) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, BodyError> {
        let mut arriving = |context: &mut Context<'_>| Pin::new(&mut *body).poll_frame(context);
        let at_once = poll_fn(|context| {
            Poll::Ready(match arriving(context) {
                Poll::Ready(frame) => Some(frame),
                Poll::Pending => None,
            })
        });
        if let Some(frame) = at_once.await {
            return Ok(frame);
        }
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + bounds.whole);
        let deadline = end.min(now + bounds.idle);
        let waited = deadline.saturating_duration_since(now);
        let arrived = bounds.timer.wait_until(deadline, arriving).await;
        arrived.ok_or(BodyError::TooSlow { waited })
    }
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
