//! A future that is asked only when it has something to say.
//!
//! A connection's task is woken for every request, and the one thing beside its
//! requests that it waits for is the end of the server. To poll that means to
//! take a lock that all connections share, so it is done once, and again only
//! when its own waker was called.

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
pub(crate) struct Quiet<F> {
    inner: F,
    bell: Arc<Bell>,
    waker: Waker,
    /// The task that `bell` wakes.
    task: Option<Waker>,
}

struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future + Unpin> Quiet<F> {
    pub(crate) fn new(inner: F) -> Self {
        let bell = Arc::new(Bell {
            has_rung: AtomicBool::new(true), // the first poll is due
            task: Mutex::new(None),
        });
        Self {
            inner,
            waker: Arc::clone(&bell).into(),
            bell,
            task: None,
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

impl<F: Future + Unpin> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let is_known = |task: &Waker| task.will_wake(context.waker());
        if !this.task.as_ref().is_some_and(is_known) {
            let task = context.waker().clone();
            this.task = Some(task.clone());
            let mut known = this
                .bell
                .task
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *known = Some(task);
        }
        // After the task is known: a ring from here on wakes it again.
        if !this.bell.has_rung.swap(false, Ordering::Acquire) {
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
        let mut quiet = Quiet::new(Counted {
            polls: Arc::clone(&polls),
            waker: Arc::clone(&waker),
            ends_at: 3,
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut quiet).poll(&mut context).is_ready();
        let ring = || waker.lock().unwrap().clone().unwrap().wake();
        for (rung, expected_polls, ready) in [
            (false, 1, false),
            (false, 1, false),
            (true, 2, false),
            (false, 2, false),
            (true, 3, true),
        ] {
            if rung {
                ring();
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
            Quiet::new(changed).await
        });
        tokio::task::yield_now().await;
        change.send(true).unwrap();
        waiting.await.unwrap().unwrap();
    }
}
