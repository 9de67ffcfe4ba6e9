//! One timer for all the waits of a connection.
//!
//! A connection waits for the head of a request and then for each part of its
//! body, nearly always for microseconds, and each wait is bounded. A timer of the
//! runtime for each would be entered into its wheel and taken out again under a
//! lock that all connections share. So a connection has one such timer, set to the
//! earliest moment that anything waited for; when it fires early, because that
//! wait ended long ago, it is set to the next.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a connection. The connection's task polls everything that waits by
/// it, one at a time.
#[derive(Clone, Default)]
pub(crate) struct ConnectionTimer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    alarm: Mutex<Option<Alarm>>,
    is_answering: AtomicBool,
}

struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// The task it wakes, as it is set now.
    task: Waker,
}

/// While it lives a request is being answered, and the next one is not waited for.
pub(crate) struct RequestInProgress<'a> {
    pub(crate) timer: &'a ConnectionTimer,
}

impl Drop for RequestInProgress<'_> {
    fn drop(&mut self) {
        let shared = &self.timer.shared;
        shared.is_answering.store(false, Ordering::Relaxed);
    }
}

impl ConnectionTimer {
    /// Notes that a request has come whole up to its body.
    pub(crate) fn answering(&self) -> RequestInProgress<'_> {
        self.shared.is_answering.store(true, Ordering::Relaxed);
        RequestInProgress { timer: self }
    }

    /// Whether what is read now belongs to a request that has begun.
    pub(crate) fn is_answering(&self) -> bool {
        self.shared.is_answering.load(Ordering::Relaxed)
    }

    /// What `poll` becomes, or `None` if `deadline` passes before.
    pub(crate) async fn wait_until<T>(
        &self,
        deadline: Instant,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        poll_fn(|context| match poll(context) {
            Poll::Ready(ready) => Poll::Ready(Some(ready)),
            Poll::Pending => self.poll_until(deadline, context).map(|()| None),
        })
        .await
    }

    /// Ready when `deadline` has passed.
    pub(crate) fn poll_until(&self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self
            .shared
            .alarm
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Alarm {
            sleep: Box::pin(sleep_until(deadline)),
            task: Waker::noop().clone(),
        });
        // Set already, for this task, early enough: the runtime need not be asked.
        if alarm.sleep.deadline() <= deadline
            && alarm.task.will_wake(context.waker())
            && !alarm.sleep.is_elapsed()
        {
            return Poll::Pending;
        }
        alarm.task.clone_from(context.waker());
        if alarm.sleep.deadline() > deadline {
            alarm.sleep.as_mut().reset(deadline);
        }
        loop {
            if alarm.sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if alarm.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            alarm.sleep.as_mut().reset(deadline); // it fired for a wait that is over
        }
    }
}

impl fmt::Debug for ConnectionTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionTimer(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    async fn never(timer: &ConnectionTimer, bound: Duration) -> Option<()> {
        timer
            .wait_until(Instant::now() + bound, |_| Poll::Pending)
            .await
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_bound_and_not_by_an_earlier_ones_alarm() {
        let timer = ConnectionTimer::default();
        // What is ready is not waited for, and sets no alarm.
        let now = Instant::now();
        let ready = timer.wait_until(now, |_| Poll::Ready(7)).await;
        assert_eq!(ready, Some(7));
        assert!(timer.shared.alarm.lock().unwrap().is_none());
        // A long wait that is given up leaves its alarm; a shorter one moves it.
        let short = Duration::from_millis(5);
        tokio::select! {
            biased;
            _ = never(&timer, LONG) => unreachable!("an hour has not passed"),
            () = std::future::ready(()) => {}
        }
        let begun = Instant::now();
        assert_eq!(never(&timer, short).await, None);
        assert!(begun.elapsed() >= short);
        assert!(begun.elapsed() < LONG);
        // The alarm has rung; the next wait is not over by that.
        let begun = Instant::now();
        assert_eq!(never(&timer, short).await, None);
        assert!(begun.elapsed() >= short);
    }
}
