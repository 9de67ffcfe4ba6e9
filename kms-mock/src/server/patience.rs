//! One timer for all the waits of a connection.
//!
//! A request waits for its head and then for each part of its body, nearly
//! always for microseconds, and each wait is bounded. A timer of the runtime for
//! each would be entered into its wheel and taken out again under a lock that
//! all connections share. So a connection has one such timer, set to the
//! earliest moment that anybody waited for; when it rings early, because that
//! wait ended long ago, it is set to the next.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::{Sleep, Timer};
use tokio::time::{Instant, Sleep as TokioSleep, sleep_until};

/// The timer of a connection. All who wait by it are polled by the connection's
/// task, one at a time.
#[derive(Clone, Default)]
pub(crate) struct Patience {
    alarm: Arc<Mutex<Option<Pin<Box<TokioSleep>>>>>,
}

impl Patience {
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
    fn poll_until(&self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        loop {
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if alarm.deadline() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline); // it rang for a wait that is over
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patience(..)")
    }
}

/// A wait of hyper's: for the end of a request's head.
struct Wait {
    patience: Patience,
    deadline: Instant,
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.patience.poll_until(self.deadline, context)
    }
}

impl Sleep for Wait {}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait {
            patience: self.clone(),
            deadline: Instant::from_std(deadline),
        })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    async fn never(patience: &Patience, bound: Duration) -> Option<()> {
        patience
            .wait_until(Instant::now() + bound, |_| Poll::Pending)
            .await
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_bound_and_not_by_an_earlier_ones_alarm() {
        let patience = Patience::default();
        // What is ready is not waited for, and sets no alarm.
        let now = Instant::now();
        let ready = patience.wait_until(now, |_| Poll::Ready(7)).await;
        assert_eq!(ready, Some(7));
        assert!(patience.alarm.lock().unwrap().is_none());
        // A long wait that is given up leaves its alarm; a shorter one moves it.
        let short = Duration::from_millis(5);
        tokio::select! {
            biased;
            _ = never(&patience, LONG) => unreachable!("an hour has not passed"),
            () = std::future::ready(()) => {}
        }
        let begun = Instant::now();
        assert_eq!(never(&patience, short).await, None);
        assert!(begun.elapsed() >= short);
        assert!(begun.elapsed() < LONG);
        // The alarm has rung; the next wait is not over by that.
        let begun = Instant::now();
        assert_eq!(never(&patience, short).await, None);
        assert!(begun.elapsed() >= short);
    }

    #[tokio::test]
    async fn hypers_waits_end_by_the_same_alarm() {
        let patience = Patience::default();
        let long = patience.sleep(LONG);
        let short = patience.sleep(Duration::from_millis(5));
        tokio::select! {
            () = long => unreachable!("an hour has not passed"),
            () = short => {}
        }
    }
}
