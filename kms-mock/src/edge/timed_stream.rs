//! A stream that fails when its peer sends or takes nothing for too long.
//!
//! Bodies are bounded by their collector. This bounds the two other waits: for the
//! head of a request, which is also what ends an idle connection, and for a client
//! that asks for a large object and never reads it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{connection_timer::ConnectionTimer, limits::Limits};

/// A stream with a bound on each wait for its peer.
pub(crate) struct TimedStream<S> {
    inner: S,
    timer: ConnectionTimer,
    header_timeout: Duration,
    write_timeout: Duration,
    /// When the head of the next request must have come.
    head_due: Option<Instant>,
    /// When the peer must have taken something; `None` while it takes.
    write_due: Option<Instant>,
}

impl<S> TimedStream<S> {
    /// Waits by `timer`, as long as `limits` say.
    pub(crate) fn new(inner: S, limits: &Limits, timer: ConnectionTimer) -> Self {
        Self {
            inner,
            timer,
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            head_due: None,
            write_due: None,
        }
    }

    /// Fails if the head of a request is awaited for too long; not while one is
    /// answered.
    fn bound_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A peer that has yet to take an answer is bounded by `bound_write`.
        if self.timer.is_answering() || self.write_due.is_some() {
            return Poll::Pending;
        }
        let from_now = || Instant::now() + self.header_timeout;
        let due = *self.head_due.get_or_insert_with(from_now);
        self.timer.poll_until(due, context).map(|()| timed_out())
    }

    /// Passes `polled` on, unless it has been pending for too long.
    fn bound_write<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_due = None;
            return polled;
        }
        let from_now = || Instant::now() + self.write_timeout;
        let due = *self.write_due.get_or_insert_with(from_now);
        self.timer.poll_until(due, context).map(|()| timed_out())
    }

    /// After each part of an answer the head of the next request has its whole time
    /// again: a large answer may take longer than that.
    fn wrote(
        &mut self,
        polled: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if polled.is_ready() && !self.timer.is_answering() {
            let due = Instant::now() + self.header_timeout;
            self.head_due = Some(due);
            // Nobody need read again before something comes, so the alarm is set here.
            let _ = self.timer.poll_until(due, context);
        }
        self.bound_write(polled, context)
    }
}

fn timed_out<T>() -> io::Result<T> {
    Err(io::ErrorKind::TimedOut.into())
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending => self.bound_read(context),
            ready @ Poll::Ready(_) => ready,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.bound_write(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.bound_write(polled, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn impatient() -> Limits {
        Limits {
            header_timeout: Duration::from_millis(5),
            write_timeout: Duration::from_millis(5),
            ..Limits::default()
        }
    }

    fn is_timeout<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test]
    async fn a_silent_peer_ends_the_wait_for_a_head_and_only_that() {
        let (near, mut far) = duplex(64);
        let timer = ConnectionTimer::default();
        let mut stream = TimedStream::new(near, &impatient(), timer.clone());
        // While a request is answered, its body's own bounds count.
        let answering = timer.answering();
        let long_after = Instant::now() + Duration::from_millis(50);
        let other = ConnectionTimer::default();
        let mut buffer = [0; 8];
        let silent = async { is_timeout(stream.read(&mut buffer).await) };
        let passed = other.wait_until(long_after, |_| Poll::<()>::Pending);
        tokio::select! {
            biased;
            _ = silent => unreachable!("nothing has come, and nothing is due"),
            passed = passed => assert_eq!(passed, None),
        }
        drop(answering);
        assert!(is_timeout(stream.read(&mut buffer).await));
        // An answer begins the wait anew.
        let before = stream.head_due;
        stream.write_all(b"answer").await.unwrap();
        assert!(stream.head_due > before);
        far.write_all(b"next").await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 4);
        assert!(is_timeout(stream.read(&mut buffer).await));
    }

    #[tokio::test]
    async fn a_head_in_drops_has_no_more_time_than_a_whole_one() {
        let (near, mut far) = duplex(64);
        let mut stream = TimedStream::new(near, &Limits::default(), ConnectionTimer::default());
        let mut buffer = [0; 8];
        let mut due = None;
        for _ in 0..3 {
            tokio::select! {
                biased;
                _ = stream.read(&mut buffer) => unreachable!("nothing has come"),
                () = std::future::ready(()) => {}
            }
            assert!(stream.head_due.is_some());
            assert_eq!(*due.get_or_insert(stream.head_due), stream.head_due);
            far.write_all(b"x").await.unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn no_head_is_awaited_of_a_peer_that_has_yet_to_take_an_answer() {
        let (near, mut far) = duplex(64);
        let limits = Limits {
            header_timeout: Duration::ZERO,
            ..Limits::default()
        };
        let mut stream = TimedStream::new(near, &limits, ConnectionTimer::default());
        let mut buffer = [0; 65];
        tokio::select! {
            biased;
            _ = stream.write_all(&[0; 65]) => unreachable!("there is room for 64"),
            () = std::future::ready(()) => {}
        }
        let long_after = Instant::now() + Duration::from_millis(50);
        let other = ConnectionTimer::default();
        let silent = async { is_timeout(stream.read(&mut buffer).await) };
        let passed = other.wait_until(long_after, |_| Poll::<()>::Pending);
        tokio::select! {
            biased;
            _ = silent => unreachable!("nothing has come, and nothing is due"),
            passed = passed => assert_eq!(passed, None),
        }
        assert_eq!(far.read(&mut buffer).await.unwrap(), 64);
        stream.write_all(&[0; 1]).await.unwrap();
        assert!(is_timeout(stream.read(&mut buffer).await));
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_ends_a_write() {
        let (near, _far) = duplex(64);
        let mut stream = TimedStream::new(near, &impatient(), ConnectionTimer::default());
        assert!(is_timeout(stream.write_all(&[0; 65]).await));
    }
}
