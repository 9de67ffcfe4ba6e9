//! Where a world is kept: in memory, and with a data directory in one embedded
//! database beside it.
//!
//! Models nothing of AWS, which loses no acknowledged change either. Source of
//! truth: the documentation of `redb`, whose commit is one fsync.
//!
//! Reads never come here: every part of the world answers from its own memory.
//! A change goes the same way everywhere ([`Journal::change`]):
//!
//! 1. it is computed from what memory shows, under the locks of what it changes;
//! 2. its rows are written and synced, in one transaction with the changes of
//!    other callers that wait at the same moment (`writer`);
//! 3. only then memory shows it, and the caller answers.
//!
//! So a change that could not be written is refused and never seen, and nothing
//! that was seen is lost. What the calendar does (rotation, expiry, deletion)
//! goes the same way before the call that noticed it goes on: new material is on
//! disk before it encrypts. Without a data directory step 2 is nothing.
//!
//! Not kept, because they belong to a run and not to a world: faults, the clock's
//! setting, the logs. A key's last use is written once a second and at a clean
//! stop, not by the call that uses the key: a killed server loses the last second
//! of it.
//!
//! # Layout, schema 1
//!
//! One file, `world.redb`; each row is CBOR (`rows` has the members), each key is
//! UTF-8, parts of a key are separated by one NUL byte.
//!
//! | table | key | row |
//! |---|---|---|
//! | `keys` | key ARN | spec, usage, state, policy, tags, rotation, all material |
//! | `families` | ARN of a multi-Region key's first primary key | ARN of the present one |
//! | `grants` | key ARN, grant id | the grant |
//! | `uses` | key ARN | the last use |
//! | `aliases` | alias ARN | target and dates |
//! | `key_stores` | id of a custom key store | the store and its proxy |
//! | `roles`, `users`, `groups` | account, name | ids, path, policies, boundary, tags |
//! | `policies` | account, ARN of a managed policy | its versions |
//! | `access_keys` | access key id | secret, holder, status, token, end |
//! | `buckets` | name | owner, Region, versioning, tags |
//! | `versions` | bucket, object key, version id | its place in order, date, the object with its bytes, or nothing for a delete marker |
//! | `object_tags` | bucket, object key, version id | tags that were set later |
//! | `uploads` | bucket, upload id | the upload without its parts |
//! | `parts` | bucket, upload id, number | the part with its bytes |
//! | `world` | `schema`, `sequence`, `starts`, `seed`, `authority`, `import_tokens`, `seed_file` | one each |
//!
//! What follows from other rows is not kept: a key's aliases, the replicas of a
//! primary key, which key a ciphertext belongs to, what is due when.
//!
//! Reading order: `directory` (the file and its dangers), `writer` (transactions),
//! `rows` (what is in them), `load` (a world from its file).

pub(crate) mod directory;
pub(crate) mod writer;

use std::sync::{Arc, PoisonError};

use redb::TableDefinition;
use serde::Serialize;
use tokio::runtime::{Handle, RuntimeFlavor};
use zeroize::Zeroizing;

pub use self::directory::DataDirError;
use self::writer::Writer;
use crate::keys::key::Key;

/// The version of the layout that this program writes.
pub(crate) const SCHEMA: u32 = 1;

macro_rules! tables {
    ($($table:ident => $name:literal),+ $(,)?) => {
        /// A table of the file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Table { $($table),+ }

        impl Table {
            pub(crate) const ALL: &[Self] = &[$(Self::$table),+];

            pub(crate) fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
                TableDefinition::new(match self { $(Self::$table => $name),+ })
            }
        }
    };
}

tables!(
    Keys => "keys",
    Families => "families",
    Grants => "grants",
    Uses => "uses",
    Aliases => "aliases",
    KeyStores => "key_stores",
    Roles => "roles",
    Users => "users",
    Groups => "groups",
    Policies => "policies",
    AccessKeys => "access_keys",
    Buckets => "buckets",
    Versions => "versions",
    Tags => "object_tags",
    Uploads => "uploads",
    Parts => "parts",
    World => "world",
);

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

/// A row that a transaction writes or removes.
#[derive(Clone)]
pub(crate) enum Row {
    Put(Table, Vec<u8>, Zeroizing<Vec<u8>>),
    Delete(Table, Vec<u8>),
    /// Every row whose key begins with this, which ends with a NUL or is empty.
    DeletePrefix(Table, Vec<u8>),
}

/// What one change writes.
#[derive(Default)]
pub(crate) struct Batch {
    rows: Vec<Row>,
    /// Nothing will be written: rows need not even be encoded.
    is_ignored: bool,
}

impl Batch {
    pub(crate) fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, row: &impl Serialize) {
        if !self.is_ignored {
            let row = crate::keys::keep::encode(row);
            self.rows.push(Row::Put(table, key.into(), row));
        }
    }

    pub(crate) fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        if !self.is_ignored {
            self.rows.push(Row::Delete(table, key.into()));
        }
    }

    /// Removes every row whose key has `first` as its first part.
    pub(crate) fn delete_all_of(&mut self, table: Table, first: &str) {
        if !self.is_ignored {
            self.rows
                .push(Row::DeletePrefix(table, key_of(&[first, ""])));
        }
    }

    /// Removes every row.
    pub(crate) fn empty(&mut self, table: Table) {
        if !self.is_ignored {
            self.rows.push(Row::DeletePrefix(table, Vec::new()));
        }
    }

    /// A batch of the same kind without rows.
    pub(crate) fn another(&self) -> Self {
        Self {
            rows: Vec::new(),
            is_ignored: self.is_ignored,
        }
    }

    /// Adds what another one writes after this one.
    pub(crate) fn append(&mut self, later: Self) {
        self.rows.extend(later.rows);
    }

    /// Whether rows are of use to anybody.
    pub(crate) fn is_ignored(&self) -> bool {
        self.is_ignored
    }
}

/// The way of every change. A clone is the same journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Option<Arc<Writer>>);

impl Journal {
    /// Keeps nothing.
    pub(crate) fn memory() -> Self {
        Self(None)
    }

    pub(crate) fn kept(writer: Arc<Writer>) -> Self {
        Self(Some(writer))
    }

    /// Whether anything is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Makes a change durable and then visible. `compute` reads what is, refuses
    /// or says what shall be, and may give back the locks it took; `publish` puts
    /// the result in place once it is written. Changes do not nest.
    ///
    /// # Errors
    /// What `compute` refuses, or [`Unwritten`]; then `publish` did not run.
    pub(crate) fn change<T, E: From<Unwritten>>(
        &self,
        compute: impl FnOnce(&mut Batch) -> Result<T, E>,
        publish: impl FnOnce(&mut T),
    ) -> Result<T, E> {
        let Some(writer) = &self.0 else {
            let mut batch = Batch {
                is_ignored: true,
                ..Batch::default()
            };
            let mut result = compute(&mut batch)?;
            publish(&mut result);
            return Ok(result);
        };
        off_the_worker(|| {
            // Nobody clears the world between disk and memory.
            let _world = writer.world.read().unwrap_or_else(PoisonError::into_inner);
            let mut batch = Batch::default();
            let mut result = compute(&mut batch)?;
            writer.commit(batch.rows)?;
            publish(&mut result);
            Ok(result)
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

    /// Lets a key's last use be written with the next ones that are due.
    pub(crate) fn note_use(&self, key: &Arc<Key>) {
        if let Some(writer) = &self.0 {
            writer.note_use(key);
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

/// The parts of a row's key with a NUL after each but the last.
pub(crate) fn key_of(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}
