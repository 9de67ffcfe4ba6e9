//! A world from its data directory: every domain puts its own rows in place.

use std::path::Path;

use crate::{
    iam::{self, Iam},
    journal::{DataDirError, Journal, Snapshot, StartRows, World},
    keys,
    kms::Kms,
    s3::{self, ObjectStore},
};

/// Opens a directory; makes a new world in an empty one.
pub(crate) fn open(dir: &Path) -> Result<World, DataDirError> {
    let tables = [keys::keep::TABLES, iam::keep::TABLES, s3::keep::TABLES];
    World::open(dir, &tables)
}

/// Puts everything in place, then writes this start down.
pub(crate) fn load(
    (snapshot, rows): (Snapshot, StartRows),
    kms: &Kms,
    iam: &Iam,
    s3: &ObjectStore,
    journal: &Journal,
) -> Result<(), DataDirError> {
    snapshot.load(|snapshot| {
        kms.load(snapshot)?;
        iam.load(snapshot)?;
        s3.load(snapshot)
    })?;
    drop(snapshot); // the file need not keep what it is about to change
    Ok(rows.write(journal)?)
}
