//! The way of every change: computed, written, then shown.

use std::sync::{Arc, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::{
    error::Unwritten,
    row::{Batch, Noted},
    writer::Writer,
};

/// The way of every change. A clone is the same journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Option<Arc<Writer>>);

impl Journal {
    /// Keeps nothing.
    pub(crate) fn memory() -> Self {
        Self(None)
    }

    pub(super) fn kept(writer: Arc<Writer>) -> Self {
        Self(Some(writer))
    }

    /// Whether anything is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Makes a change durable and then visible. `compute` takes the locks of what it
    /// changes, reads what is, refuses or puts rows into the batch, and gives on
    /// what shall be with the locks that it took; `publish` puts that in place once
    /// it is written. Changes do not nest.
    ///
    /// # Errors
    /// What `compute` refuses, or [`Unwritten`]; then `publish` did not run.
    pub(crate) fn change<T, R, E: From<Unwritten>>(
        &self,
        compute: impl FnOnce(&mut Batch) -> Result<T, E>,
        publish: impl FnOnce(T) -> R,
    ) -> Result<R, E> {
        let Some(writer) = &self.0 else {
            return compute(&mut Batch::ignored()).map(publish);
        };
        off_the_worker(|| {
            // Nobody clears the world between disk and memory.
            let _world = writer.world.read().unwrap_or_else(PoisonError::into_inner);
            let mut batch = Batch::default();
            let computed = compute(&mut batch)?;
            writer.commit(batch.rows)?;
            Ok(publish(computed))
        })
    }

    /// Removes rows and, when that is written, lets `forget` empty the memory. No
    /// other change is on its way meanwhile.
    ///
    /// # Errors
    /// [`Unwritten`]; then `forget` did not run.
    pub(crate) fn clear(
        &self,
        remove: impl FnOnce(&mut Batch),
        forget: impl FnOnce(),
    ) -> Result<(), Unwritten> {
        let Some(writer) = &self.0 else {
            forget();
            return Ok(());
        };
        off_the_worker(|| {
            let _world = writer.world.write().unwrap_or_else(PoisonError::into_inner);
            let mut batch = Batch::default();
            remove(&mut batch);
            writer.commit(batch.rows)?;
            forget();
            Ok(())
        })
    }

    /// Lets the row of `noted` be written with the next ones that are due.
    pub(crate) fn note(&self, noted: Arc<dyn Noted>) {
        if let Some(writer) = &self.0 {
            writer.note(noted);
        }
    }

    /// Until [`Journal::sync`], changes are visible and not durable; then all of
    /// them become so at once. Only for a server that nobody can call yet.
    pub(crate) fn defer(&self) {
        if let Some(writer) = &self.0 {
            writer.defer();
        }
    }

    /// Makes the deferred changes durable, all or none, and lets later ones wait
    /// for themselves again.
    ///
    /// # Errors
    /// [`Unwritten`] if they could not be written.
    pub(crate) fn sync(&self) -> Result<(), Unwritten> {
        self.0.as_ref().map_or(Ok(()), |writer| writer.sync())
    }

    /// Writes what waits and gives the directory back. Later changes are refused.
    pub(crate) fn close(&self) {
        if let Some(writer) = &self.0 {
            off_the_worker(|| writer.close());
        }
    }
}

/// Waits without holding up the other connections of a server's worker.
fn off_the_worker<T>(wait: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}
