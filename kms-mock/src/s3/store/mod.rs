//! Buckets, objects with their versions, and uploads under way, in memory.
//!
//! Models S3's strong read-after-write consistency, the UTF-8 order of keys, and
//! versioning: a bucket that never had it keeps one version a key, the null
//! version. Every change goes through [`Store::change`] as [`Change`]s, which say
//! what became of the buckets and not who asked for it.

mod buckets;
mod error;
mod listing;
mod objects;
mod page;
mod records;
mod state;
#[cfg(test)]
mod tests;
mod uploads;

use std::sync::RwLockReadGuard;

use self::state::cost;
pub(crate) use self::{
    buckets::Access,
    error::StoreError,
    page::PageRequest,
    records::{
        Description, FinishedPart, Found, Marks, Object, Part, Settings, Upload, Version,
        Versioning,
    },
    state::{Bucket, Buckets, Change},
};
use crate::journal::{Journal, Kept, Unwritten};

/// The buckets of one world, and the one way in which they change.
#[derive(Debug)]
pub(crate) struct Store {
    buckets: Kept<Buckets>,
    journal: Journal,
    bytes_max: u64,
}

impl Store {
    /// Empty; changes go by `journal`.
    pub(crate) fn new(bytes_max: u64, journal: Journal) -> Self {
        Self {
            buckets: Kept::default(),
            journal,
            bytes_max,
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> Result<(), Unwritten> {
        self.change(|_, changes| {
            changes.push(Change::AllGone);
            Ok(())
        })
    }

    /// Puts a change in place that the data directory has.
    pub(super) fn restore(&self, change: Change) {
        self.buckets.restore(|buckets| buckets.apply(change));
    }

    /// Later versions come after place `made` in the data directory.
    pub(super) fn number_from(&self, made: u64) {
        self.buckets.restore(|buckets| buckets.made = made);
    }

    /// Everything that is kept, as a text.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> String {
        format!("{:?}", *self.read())
    }

    fn read(&self) -> RwLockReadGuard<'_, Buckets> {
        self.buckets.read()
    }

    /// `compute` refuses or adds what becomes of the buckets. All of it comes true
    /// or, if it cannot be written, nothing.
    fn change<T, E: From<Unwritten>>(
        &self,
        compute: impl FnOnce(&Buckets, &mut Vec<Change>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.buckets.change(&self.journal, compute)
    }

    /// A change of which nothing is to be known but that it was made.
    fn change_to(
        &self,
        compute: impl FnOnce(&Buckets) -> Result<Change, StoreError>,
    ) -> Result<(), StoreError> {
        self.change(|buckets, changes| {
            changes.push(compute(buckets)?);
            Ok(())
        })
    }

    /// The same change, if what it adds fits.
    fn fitting(&self, buckets: &Buckets, change: Change) -> Result<Change, StoreError> {
        let freed = buckets.freed_by(&change);
        let total = buckets.bytes.saturating_sub(freed);
        if total.saturating_add(cost(&change)) > self.bytes_max {
            return Err(StoreError::Full);
        }
        Ok(change)
    }
}
