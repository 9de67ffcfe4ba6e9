//! One thing that changes by the journal: what everybody sees of it, and the lock
//! that its changes hold.
//!
//! Readers never wait for a change to be computed or written, only for the moment
//! in which what it made is put in place.

use std::{
    ops::Deref,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{change::Journal, error::Unwritten, row::Batch};

/// What is kept, as everybody sees it.
#[derive(Debug, Default)]
pub(crate) struct Kept<T> {
    seen: RwLock<T>,
    /// Held while a change is computed and written, so that changes do not overtake.
    changing: Mutex<()>,
    /// Moved on by every change, before the change is acknowledged.
    version: AtomicU64,
}

/// What is kept, held for a change: nobody else changes it, and everybody sees what
/// was before until the change is shown.
#[derive(Debug)]
pub(crate) struct Changing<'k, T> {
    kept: &'k Kept<T>,
    seen: RwLockReadGuard<'k, T>,
    alone: MutexGuard<'k, ()>,
}

/// The lock of a change that is in place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held<'k> {
    _alone: MutexGuard<'k, ()>,
}

impl<T> Kept<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            seen: RwLock::new(value),
            changing: Mutex::new(()),
            version: AtomicU64::new(0),
        }
    }

    /// As it is now.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another one after each change. Read it before what is kept: what is found
    /// then may be newer, never older.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Holds it for the change whose rows go into a batch. Who holds several takes
    /// them in one order that all changes agree on.
    ///
    /// The batch shows that the change has begun: were this lock taken before the
    /// journal's own, what clears the world could wait for it for ever.
    pub(crate) fn hold(&self, _change: &Batch) -> Changing<'_, T> {
        let alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Changing {
            kept: self,
            seen: self.read(),
            alone,
        }
    }

    /// Puts in place what the file has already, or what nobody else knows yet.
    pub(crate) fn restore(&self, put: impl FnOnce(&mut T)) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        put(&mut seen);
        self.version.fetch_add(1, Ordering::SeqCst);
    }
}

impl<T> Deref for Changing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.seen
    }
}

impl<'k, T> Changing<'k, T> {
    /// Shows what is written. The next change waits until the answer is dropped.
    pub(crate) fn publish(self, put: impl FnOnce(&mut T)) -> Held<'k> {
        drop(self.seen);
        self.kept.restore(put);
        Held { _alone: self.alone }
    }
}

/// What a domain keeps as one value, and what can become of it.
pub(crate) trait State {
    /// One change, as data: it says what became of the state and not who asked.
    type Change;

    /// Puts the rows that changes write into a batch. The state is as before them.
    fn put_rows(&self, changes: &[Self::Change], batch: &mut Batch);

    /// Puts a change in place that is written.
    fn apply(&mut self, change: Self::Change);
}

impl<S: State> Kept<S> {
    /// The one way in which a state changes: `compute` refuses or adds changes; all
    /// of them are written and then seen or, if they cannot be written, none.
    ///
    /// # Errors
    /// What `compute` refuses, or [`Unwritten`].
    pub(crate) fn change<T, E: From<Unwritten>>(
        &self,
        journal: &Journal,
        compute: impl FnOnce(&S, &mut Vec<S::Change>) -> Result<T, E>,
    ) -> Result<T, E> {
        journal.change(
            |batch| {
                let held = self.hold(batch);
                let mut changes = Vec::new();
                let answer = compute(&held, &mut changes)?;
                if !batch.is_ignored() {
                    held.put_rows(&changes, batch);
                }
                Ok((held, changes, answer))
            },
            |(held, changes, answer)| {
                held.publish(|state| {
                    for change in changes {
                        state.apply(change);
                    }
                });
                answer
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[derive(Default)]
    struct Names(Vec<&'static str>);

    impl State for Names {
        type Change = &'static str;

        fn put_rows(&self, _: &[&'static str], _: &mut Batch) {}

        fn apply(&mut self, name: &'static str) {
            self.0.push(name);
        }
    }

    #[test]
    fn a_refused_change_leaves_everything_as_it_was() {
        let names = Kept::<Names>::default();
        let journal = Journal::memory();
        let refused = names.change(&journal, |_, changes| {
            changes.push("one");
            Err::<(), _>(Unwritten::Closed)
        });
        assert_eq!(refused, Err(Unwritten::Closed));
        assert_eq!((names.read().0.len(), names.version()), (0, 0));
    }

    #[test]
    fn until_a_change_is_shown_readers_see_what_was_before() {
        let names = Kept::<Names>::default();
        let journal = Journal::memory();
        let answer = names.change(&journal, |before, changes| {
            assert!(before.0.is_empty());
            changes.extend(["one", "two"]);
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| (names.read().0.len(), names.version()));
                assert_eq!(reader.join().unwrap(), (0, 0));
            });
            Ok::<_, Unwritten>(7)
        });
        assert_eq!(answer, Ok(7));
        assert_eq!(names.read().0, ["one", "two"]);
        assert_eq!(names.version(), 1);
    }

    #[test]
    fn the_next_change_waits_until_the_last_one_is_let_go() {
        let names = Kept::<Names>::default();
        let batch = Batch::default();
        let held = names.hold(&batch).publish(|names| names.apply("one"));
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let batch = Batch::default();
                drop(names.hold(&batch).publish(|names| names.apply("two")));
                sender.send(()).unwrap();
            });
            assert_eq!(names.read().0, ["one"]);
            assert!(receiver.try_recv().is_err());
            drop(held);
            receiver.recv().unwrap();
        });
        assert_eq!(names.read().0, ["one", "two"]);
    }
}
