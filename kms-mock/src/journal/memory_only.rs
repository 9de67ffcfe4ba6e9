//! In the place of the data directory in a build without the feature `durable`: there
//! is none, so that every journal is one of memory. What only a data directory makes
//! cannot be made: its types hold an [`Infallible`].

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use nsm_sim::seed::WorldSeed;
use serde::de::DeserializeOwned;

use super::{BadRow, DataDirError, Journal, Noted, Row, Table, Unwritten};

/// Digest of the seed file that was planted.
pub(crate) const SEED_FILE: &str = "seed_file";

pub(crate) type ReadError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) world: RwLock<()>,
    never: Infallible,
}

impl Writer {
    pub(super) fn commit(&self, _: Vec<Row>) -> Result<(), Unwritten> {
        match self.never {}
    }

    pub(super) fn note(&self, _: Arc<dyn Noted>) {
        match self.never {}
    }

    pub(super) fn defer(&self) {
        match self.never {}
    }

    pub(super) fn sync(&self) -> Result<(), Unwritten> {
        match self.never {}
    }

    pub(super) fn close(&self) {
        match self.never {}
    }
}

pub(crate) struct World {
    pub(crate) start: u64,
    pub(crate) authority: Option<(String, String)>,
    pub(crate) seed_file: Option<String>,
    never: Infallible,
}

pub(crate) struct AgreedSeed {
    pub(crate) world: WorldSeed,
    pub(crate) is_chosen: bool,
}

impl World {
    pub(crate) fn open(_: &Path, _: &[&[Table]]) -> Result<Self, DataDirError> {
        unreachable!("`Builder::data_dir` belongs to the feature `durable`")
    }

    pub(crate) fn agree(&mut self, _: Option<&WorldSeed>) -> Result<AgreedSeed, DataDirError> {
        match self.never {}
    }

    pub(crate) fn begin(self) -> Result<(Journal, Snapshot, StartRows), DataDirError> {
        match self.never {}
    }
}

pub(crate) struct StartRows(Infallible);

impl StartRows {
    pub(crate) fn write(&self, _: &Journal) -> Result<(), Unwritten> {
        match self.0 {}
    }
}

pub(crate) fn note_seed_file(_: &Journal, _digest: &str) -> Result<(), Unwritten> {
    Ok(())
}

/// The file is in the other one too: giving it back means something.
pub(crate) struct Snapshot(Infallible, PathBuf);

impl Snapshot {
    pub(crate) fn load(
        &self,
        _: impl FnOnce(&Self) -> Result<(), ReadError>,
    ) -> Result<(), DataDirError> {
        match self.0 {}
    }

    pub(crate) fn has(&self, _: Table) -> Result<bool, ReadError> {
        match self.0 {}
    }

    pub(crate) fn world_row<T: DeserializeOwned>(&self, _: &str) -> Result<Option<T>, ReadError> {
        match self.0 {}
    }

    pub(crate) fn each<T: DeserializeOwned>(
        &self,
        _: Table,
        _: impl FnMut(&str, T) -> Result<(), BadRow>,
    ) -> Result<(), ReadError> {
        match self.0 {}
    }

    pub(crate) fn each_in_threads<T: DeserializeOwned>(
        &self,
        _: Table,
        _: &(impl Fn(&str, T) -> Result<(), BadRow> + Sync),
    ) -> Result<(), ReadError> {
        match self.0 {}
    }
}
