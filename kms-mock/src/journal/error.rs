//! What can go wrong with a data directory: while it is opened, and when a change
//! is written.

use std::{io, path::PathBuf, sync::Arc};

use super::row::SCHEMA;

/// Why a change was refused although the request was right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritten {
    /// The file could not be written.
    #[error(
        "the change could not be written to the data directory and was not made: {cause}; free \
         space or repair the disk, then try again"
    )]
    Disk {
        /// What the system or the database says.
        cause: Arc<str>,
    },
    /// The server is stopping.
    #[error("the change was not made: the server is stopping and has closed its data directory")]
    Closed,
    /// What was to be changed was deleted in the meantime.
    #[error("{what} was deleted in the meantime")]
    Gone {
        /// Its ARN.
        what: Arc<str>,
    },
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// It cannot be made, read or written.
    #[error(
        "the data directory {} cannot be used: {cause}; give --data-dir a directory that this user \
         may write", dir.display()
    )]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Another server has it.
    #[error(
        "the data directory {} is in use by another server; stop that one, or give each its own \
         --data-dir", dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// There are files in it, and none is ours.
    #[error(
        "the directory {} holds files that are not kms-mock's ({found}); nothing was changed, give \
         --data-dir an empty or new directory", dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// One of the files.
        found: String,
    },
    /// There is a file of the right name that kms-mock did not make.
    #[error(
        "{} was not made by kms-mock; nothing was changed, give --data-dir another directory", file.display()
    )]
    NotOurs {
        /// The file.
        file: PathBuf,
    },
    /// A newer kms-mock wrote it.
    #[error(
        "{} has layout {found}, and this kms-mock reads {SCHEMA} and older; nothing was changed, \
         start the kms-mock that wrote it or a newer one", file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The version of its layout.
        found: u32,
    },
    /// It cannot be read any more.
    #[error(
        "{} is damaged: {what}; nothing was changed, restore a backup of the \
         directory that was made while no server ran, or start with an empty --data-dir", file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// The world in it has another seed than the one asked for.
    #[error(
        "the world in {} was made with another --seed; leave --seed out to go on with it, or give \
         another --data-dir", dir.display()
    )]
    OtherSeed {
        /// The directory.
        dir: PathBuf,
    },
    /// It was read, but cannot be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}
