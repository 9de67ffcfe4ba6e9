//! Bounded messages on a byte stream: a 32-bit big-endian length, then as many
//! bytes.
//!
//! Source of truth: this file; the format is the application's own. It answers
//! kms.md §6 row 18: a peer may be slow, silent, cut off or lying about
//! lengths. A length is checked before anything is allocated, memory grows only
//! with bytes that have arrived, and both silence and the whole take bounded
//! time. Does not model multiplexing, compression or authentication.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

/// Bytes of the length that opens a frame.
pub const HEADER_BYTES: usize = 4;
/// What is allocated before the first byte of a body has arrived; from there
/// memory at most doubles with what has arrived.
const FIRST_ALLOCATION_BYTES: usize = 16 * 1024;
/// How much is written between two looks at the clock.
const WRITE_CHUNK_BYTES: usize = 64 * 1024;

/// What a frame may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Longest wait for the first byte of a frame that is read.
    pub first: Duration,
    /// Longest silence between two pieces of a frame.
    pub idle: Duration,
    /// Longest time for the whole frame, from the call on.
    pub total: Duration,
}

impl FrameLimits {
    /// Limits for bodies of up to `body_bytes_max`: 10 s of silence, 60 s in all.
    #[must_use]
    pub const fn for_bodies(body_bytes_max: usize) -> Self {
        Self {
            body_bytes_max,
            first: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            total: Duration::from_secs(60),
        }
    }

    /// The same, but the whole frame may take `total`, and so may each silence:
    /// for an answer that takes its time to be worked out.
    #[must_use]
    pub const fn waiting(self, total: Duration) -> Self {
        Self {
            first: total,
            idle: total,
            total,
            ..self
        }
    }

    /// The same, but a frame that is read must begin within `first`.
    #[must_use]
    pub const fn beginning_within(self, first: Duration) -> Self {
        Self { first, ..self }
    }
}

/// Why a frame did not arrive or could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer closed the stream where a frame might have begun.
    #[error("the peer closed the connection without sending a message")]
    Closed,
    /// The peer closed the stream within a frame.
    #[error("the peer closed the connection after {received} of {announced} bytes of a message")]
    Truncated {
        /// Bytes of the frame that arrived.
        received: usize,
        /// Bytes that it should have had.
        announced: usize,
    },
    /// The frame is larger than allowed; nothing was allocated for it.
    #[error("a message of {announced} bytes; at most {max} are allowed")]
    TooLong {
        /// Bytes announced, or given to send.
        announced: u64,
        /// The bound.
        max: usize,
    },
    /// A frame without a body: no message is empty.
    #[error("an empty message")]
    Empty,
    /// There is no room for so much now; nothing of the body was read.
    #[error("there is no room for a message of {announced} bytes")]
    NotAdmitted {
        /// Bytes announced.
        announced: usize,
    },
    /// No frame began in time.
    #[error("no message began within {} ms", first.as_millis())]
    NotBegun {
        /// The bound.
        first: Duration,
    },
    /// No byte moved for too long.
    #[error("no byte moved for {} ms", idle.as_millis())]
    Idle {
        /// The bound.
        idle: Duration,
    },
    /// The whole frame took too long.
    #[error("a message took longer than {} ms", total.as_millis())]
    TooSlow {
        /// The bound.
        total: Duration,
    },
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads one frame's body.
///
/// # Errors
/// [`FrameError`]; the stream is then of no further use.
pub async fn read_frame<R>(stream: &mut R, limits: &FrameLimits) -> Result<Vec<u8>, FrameError>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let (body, ()) = read_frame_if(stream, limits, |_| Some(())).await?;
    Ok(body)
}

/// Reads one frame's body if `admit` has room for its length.
///
/// # Errors
/// [`FrameError`]; the stream is then of no further use.
pub async fn read_frame_if<R, T>(
    stream: &mut R,
    limits: &FrameLimits,
    admit: impl FnOnce(usize) -> Option<T>,
) -> Result<(Vec<u8>, T), FrameError>
where
    R: AsyncRead + Unpin + ?Sized,
{
    let deadline = Deadline::starting_now(limits);
    let mut header = [0u8; HEADER_BYTES];
    let mut received = 0;
    while let Some(rest) = header.get_mut(received..).filter(|rest| !rest.is_empty()) {
        let reading = deadline.bound(stream.read(rest));
        let read = if received == 0 {
            let first = limits.first;
            let begun = timeout(first, reading).await;
            begun.map_err(|_| FrameError::NotBegun { first })??
        } else {
            reading.await?
        };
        match read {
            0 if received == 0 => return Err(FrameError::Closed),
            0 => {
                return Err(FrameError::Truncated {
                    received,
                    announced: HEADER_BYTES,
                });
            }
            more => received += more,
        }
    }
    let announced = u32::from_be_bytes(header);
    let length = match usize::try_from(announced) {
        Ok(0) => return Err(FrameError::Empty),
        Ok(length) if length <= limits.body_bytes_max => length,
        _ => {
            let max = limits.body_bytes_max;
            return Err(FrameError::TooLong {
                announced: announced.into(),
                max,
            });
        }
    };

    let Some(room) = admit(length) else {
        return Err(FrameError::NotAdmitted { announced: length });
    };
    let mut body = Vec::with_capacity(length.min(FIRST_ALLOCATION_BYTES));
    while body.len() < length {
        let missing = length - body.len();
        if body.len() == body.capacity() {
            body.reserve_exact(missing.min(body.len()));
        }
        // `take` keeps the read inside this frame; the next one stays on the stream.
        let mut within = (&mut *stream).take(missing as u64);
        if deadline.bound(within.read_buf(&mut body)).await? == 0 {
            return Err(FrameError::Truncated {
                received: body.len(),
                announced: length,
            });
        }
    }
    Ok((body, room))
}

/// Writes `body` as one frame and flushes.
///
/// # Errors
/// [`FrameError`]; the stream is then of no further use.
pub async fn write_frame<W>(
    stream: &mut W,
    body: &[u8],
    limits: &FrameLimits,
) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin + ?Sized,
{
    let too_long = || FrameError::TooLong {
        announced: body.len() as u64,
        max: limits.body_bytes_max,
    };
    if body.is_empty() {
        return Err(FrameError::Empty);
    }
    if body.len() > limits.body_bytes_max {
        return Err(too_long());
    }
    let header = u32::try_from(body.len())
        .map_err(|_| too_long())?
        .to_be_bytes();
    let deadline = Deadline::starting_now(limits);
    for piece in std::iter::once(header.as_slice()).chain(body.chunks(WRITE_CHUNK_BYTES)) {
        let mut rest = piece;
        while !rest.is_empty() {
            let written = deadline.bound(stream.write(rest)).await?;
            if written == 0 {
                return Err(FrameError::Io(io::ErrorKind::WriteZero.into()));
            }
            rest = rest.get(written..).unwrap_or_default();
        }
    }
    deadline.bound(stream.flush()).await
}

/// The end of a frame's time, and how long one step may take until then.
struct Deadline {
    at: Instant,
    idle: Duration,
    total: Duration,
}

impl Deadline {
    fn starting_now(limits: &FrameLimits) -> Self {
        let now = Instant::now();
        // A bound beyond the clock's range is no bound at all; a century is.
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        let at = now
            .checked_add(limits.total)
            .unwrap_or_else(|| now + century);
        Self {
            at,
            idle: limits.idle,
            total: limits.total,
        }
    }

    async fn bound<T>(&self, step: impl Future<Output = io::Result<T>>) -> Result<T, FrameError> {
        match timeout_at(self.at, timeout(self.idle, step)).await {
            Err(_) => Err(FrameError::TooSlow { total: self.total }),
            Ok(Err(_)) => Err(FrameError::Idle { idle: self.idle }),
            Ok(Ok(done)) => Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    fn limits(body_bytes_max: usize) -> FrameLimits {
        FrameLimits::for_bodies(body_bytes_max)
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[tokio::test]
    async fn a_frame_arrives_as_it_was_sent_and_leaves_the_next_one_alone() {
        let (mut left, mut right) = duplex(100);
        let body = vec![7u8; 100_000];
        let sent = async {
            write_frame(&mut left, &body, &limits(1 << 20))
                .await
                .unwrap();
            write_frame(&mut left, b"next", &limits(1 << 20))
                .await
                .unwrap();
        };
        let received = async {
            let first = read_frame(&mut right, &limits(1 << 20)).await.unwrap();
            let second = read_frame(&mut right, &limits(1 << 20)).await.unwrap();
            (first, second)
        };
        let ((), (first, second)) = tokio::join!(sent, received);
        assert!(first == body && second == b"next");
    }

    #[tokio::test]
    async fn refuses_an_oversized_frame_before_its_body_arrives() {
        let mut input: &[u8] = &[0xff, 0xff, 0xff, 0xff];
        let error = read_frame(&mut input, &limits(1024)).await.unwrap_err();
        assert!(matches!(
            error,
            FrameError::TooLong {
                announced: 0xffff_ffff,
                max: 1024
            }
        ));
    }

    #[tokio::test]
    async fn memory_grows_only_with_bytes_that_have_arrived() {
        // 4 GiB - 1 is announced and allowed, three bytes arrive: were the
        // announced length allocated, a machine of a test would not survive it.
        let mut input: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        let error = read_frame(&mut input, &limits(usize::MAX))
            .await
            .unwrap_err();
        assert!(matches!(
            error,
            FrameError::Truncated {
                received: 3,
                announced: 0xffff_ffff
            }
        ));
    }

    #[tokio::test]
    async fn a_closed_stream_and_a_cut_frame_are_different_errors() {
        let mut nothing: &[u8] = &[];
        assert!(matches!(
            read_frame(&mut nothing, &limits(10)).await,
            Err(FrameError::Closed)
        ));
        let mut half_header: &[u8] = &[0, 0];
        assert!(matches!(
            read_frame(&mut half_header, &limits(10)).await,
            Err(FrameError::Truncated {
                received: 2,
                announced: 4
            })
        ));
        let mut half_body: &[u8] = &[0, 0, 0, 5, 1, 2];
        assert!(matches!(
            read_frame(&mut half_body, &limits(10)).await,
            Err(FrameError::Truncated {
                received: 2,
                announced: 5
            })
        ));
    }

    #[tokio::test]
    async fn refuses_empty_frames_both_ways() {
        let mut empty: &[u8] = &[0, 0, 0, 0];
        assert!(matches!(
            read_frame(&mut empty, &limits(10)).await,
            Err(FrameError::Empty)
        ));
        let mut out = Vec::new();
        assert!(matches!(
            write_frame(&mut out, b"", &limits(10)).await,
            Err(FrameError::Empty)
        ));
        assert!(out.is_empty());
    }

    #[tokio::test]
    async fn sends_nothing_of_a_message_beyond_the_bound() {
        let mut out = Vec::new();
        let error = write_frame(&mut out, &[0; 11], &limits(10))
            .await
            .unwrap_err();
        assert!(matches!(
            error,
            FrameError::TooLong {
                announced: 11,
                max: 10
            }
        ));
        assert!(out.is_empty());
    }

    #[tokio::test]
    async fn a_silent_peer_costs_no_more_than_the_idle_bound() {
        let (_held, mut right) = duplex(10);
        let short = FrameLimits {
            idle: Duration::from_millis(5),
            ..limits(10)
        };
        assert!(matches!(
            read_frame(&mut right, &short).await,
            Err(FrameError::Idle { .. })
        ));
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_stops_the_writer() {
        let (mut left, _held) = duplex(10);
        let short = FrameLimits {
            idle: Duration::from_millis(5),
            ..limits(1000)
        };
        let error = write_frame(&mut left, &[0; 1000], &short)
            .await
            .unwrap_err();
        assert!(matches!(error, FrameError::Idle { .. }));
    }

    #[tokio::test]
    async fn a_peer_that_drips_bytes_costs_no_more_than_the_total_bound() {
        let (mut left, mut right) = duplex(1);
        let drip = tokio::spawn(async move {
            left.write_all(&[0, 0, 0xff, 0xff]).await.unwrap();
            while left.write_all(&[1]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let short = FrameLimits {
            idle: Duration::from_secs(5),
            total: Duration::from_millis(30),
            ..limits(1 << 20)
        };
        assert!(matches!(
            read_frame(&mut right, &short).await,
            Err(FrameError::TooSlow { .. })
        ));
        drop(right);
        drip.await.unwrap();
    }

    proptest! {
        #[test]
        fn any_body_survives_any_split_of_the_stream(
            body in proptest::collection::vec(any::<u8>(), 1..5_000),
            pipe_bytes in 1usize..300,
        ) {
            block_on(async {
                let (mut left, mut right) = duplex(pipe_bytes);
                let allowed = limits(5_000);
                let (sent, received) = tokio::join!(
                    write_frame(&mut left, &body, &allowed),
                    read_frame(&mut right, &allowed),
                );
                sent.unwrap();
                prop_assert_eq!(received.unwrap(), body);
                Ok(())
            })?;
        }

        #[test]
        fn any_bytes_give_a_frame_within_bounds_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            max in 1usize..300,
        ) {
            block_on(async {
                let mut input = bytes.as_slice();
                if let Ok(body) = read_frame(&mut input, &limits(max)).await {
                    prop_assert!(!body.is_empty() && body.len() <= max);
                    prop_assert_eq!(body.as_slice(), &bytes[4..4 + body.len()]);
                }
                Ok(())
            })?;
        }

        #[test]
        fn any_cut_of_a_frame_is_an_error(
            body in proptest::collection::vec(any::<u8>(), 1..300),
            cut in any::<prop::sample::Index>(),
        ) {
            block_on(async {
                let mut whole = Vec::new();
                write_frame(&mut whole, &body, &limits(300)).await.unwrap();
                whole.truncate(cut.index(whole.len()));
                let mut input = whole.as_slice();
                prop_assert!(read_frame(&mut input, &limits(300)).await.is_err());
                Ok(())
            })?;
        }
    }
}
