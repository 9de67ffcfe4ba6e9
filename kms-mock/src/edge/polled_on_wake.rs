//! A future that is polled when its own waker was called and at no other time.
//!
//! A connection's task is woken for every request, and the one thing beside its
//! requests that it waits for is the end of the server. Polling that takes a lock
//! that all connections share, so it is done once, and again only after a wake.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// `inner`, polled when it was woken and not when its task was.
pub(crate) struct PolledOnWake<F> {
    inner: F,
    flag: Arc<WakeFlag>,
    waker: Waker,
    /// The task that a set `flag` wakes.
    task: Option<Waker>,
}

struct WakeFlag {
    is_set: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future + Unpin> PolledOnWake<F> {
    pub(crate) fn new(inner: F) -> Self {
        let flag = Arc::new(WakeFlag {
            is_set: AtomicBool::new(true), // the first poll is due
            task: Mutex::new(None),
        });
        Self {
            inner,
            waker: Arc::clone(&flag).into(),
            flag,
            task: None,
        }
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

impl<F: Future + Unpin> Future for PolledOnWake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let is_known = |task: &Waker| task.will_wake(context.waker());
        if !this.task.as_ref().is_some_and(is_known) {
            let task = context.waker().clone();
            this.task = Some(task.clone());
            let mut known = this
                .flag
                .task
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *known = Some(task);
        }
        // After the task is known: a wake from here on reaches it.
        if !this.flag.is_set.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        Pin::new(&mut this.inner).poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Counted {
        polls: Arc<AtomicUsize>,
        waker: Arc<Mutex<Option<Waker>>>,
        ends_at: usize,
    }

    impl Future for Counted {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            let polls = self.polls.fetch_add(1, Ordering::SeqCst) + 1;
            if polls == self.ends_at {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }
    }

    #[test]
    fn the_inner_future_is_polled_when_it_was_woken_and_at_no_other_time() {
        let (polls, waker) = (Arc::default(), Arc::default());
        let mut quiet = PolledOnWake::new(Counted {
            polls: Arc::clone(&polls),
            waker: Arc::clone(&waker),
            ends_at: 3,
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut quiet).poll(&mut context).is_ready();
        let wake = || waker.lock().unwrap().clone().unwrap().wake();
        for (woken, expected_polls, ready) in [
            (false, 1, false),
            (false, 1, false),
            (true, 2, false),
            (false, 2, false),
            (true, 3, true),
        ] {
            if woken {
                wake();
            }
            assert_eq!(poll(), ready);
            assert_eq!(polls.load(Ordering::SeqCst), expected_polls);
        }
    }

    #[tokio::test]
    async fn a_change_elsewhere_wakes_the_task() {
        let (change, mut changed) = tokio::sync::watch::channel(false);
        let waiting = tokio::spawn(async move {
            let changed = std::pin::pin!(changed.changed());
            PolledOnWake::new(changed).await
        });
        tokio::task::yield_now().await;
        change.send(true).unwrap();
        waiting.await.unwrap().unwrap();
    }
}
