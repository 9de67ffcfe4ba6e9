//! The rows as they are when a server starts, for the domains that load them.
//!
//! A start reads the whole file twice: the database library checks every page,
//! then every row is read into memory. A row that cannot be read or that
//! contradicts another ends the start.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc},
};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableHandle};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{
    directory::unpanicked,
    error::DataDirError,
    row::{BadRow, Table, WORLD, decode},
};

/// Why rows cannot be read.
pub(crate) type ReadError = Box<dyn std::error::Error + Send + Sync>;
/// Rows that go from the thread that reads to one that makes something of them.
const ROWS_AT_ONCE: usize = 1024;
const READERS_MAX: usize = 8;

/// The rows as they are when the server starts.
pub(crate) struct Snapshot {
    transaction: ReadTransaction,
    file: PathBuf,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, file: PathBuf) -> Self {
        Self { transaction, file }
    }

    /// Loads; whatever goes wrong is the file's damage.
    pub(crate) fn load(
        &self,
        load: impl FnOnce(&Self) -> Result<(), ReadError>,
    ) -> Result<(), DataDirError> {
        readable(&self.file, || load(self))
    }

    /// Whether there is a table. A directory lacks those that later versions of
    /// kms-mock began.
    pub(crate) fn has(&self, table: Table) -> Result<bool, ReadError> {
        let mut tables = self.transaction.list_tables()?;
        Ok(tables.any(|it| it.name() == table.0))
    }

    /// The row of that name among those that there is one of in a world.
    pub(crate) fn world_row<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, ReadError> {
        world_row(&self.open(WORLD)?, name)
    }

    /// Looks at every row of a table.
    pub(crate) fn each<T: DeserializeOwned>(
        &self,
        table: Table,
        mut look: impl FnMut(&str, T) -> Result<(), BadRow>,
    ) -> Result<(), ReadError> {
        for row in self.open(table)?.iter()? {
            let (key, value) = row?;
            look_at(table, (key.value(), value.value()), &mut look)?;
        }
        Ok(())
    }

    /// The same with as many threads as there are cores, in no order.
    pub(crate) fn each_in_threads<T: DeserializeOwned>(
        &self,
        table: Table,
        look: &(impl Fn(&str, T) -> Result<(), BadRow> + Sync),
    ) -> Result<(), ReadError> {
        type Rows = Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>;
        let readers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (sender, receiver) = mpsc::sync_channel::<Rows>(READERS_MAX);
        let receiver = Mutex::new(receiver);
        let work = || -> Result<(), ReadError> {
            loop {
                let next = {
                    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
                    receiver.recv()
                };
                let Ok(rows) = next else { return Ok(()) };
                for (key, value) in rows {
                    look_at(table, (&key, &value), look)?;
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..readers.min(READERS_MAX))
                .map(|_| scope.spawn(work))
                .collect();
            let read = || -> Result<(), ReadError> {
                let mut rows = Rows::with_capacity(ROWS_AT_ONCE);
                for row in self.open(table)?.iter()? {
                    let (key, value) = row?;
                    rows.push((key.value().to_vec(), Zeroizing::new(value.value().to_vec())));
                    if rows.len() == ROWS_AT_ONCE && sender.send(std::mem::take(&mut rows)).is_err()
                    {
                        return Ok(()); // no thread is left: one of them says why
                    }
                }
                drop(sender.send(rows));
                Ok(())
            };
            let result = read();
            drop(sender);
            for thread in threads {
                match thread.join() {
                    Ok(worked) => worked?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result
        })
    }

    fn open(&self, table: Table) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, ReadError> {
        Ok(self.transaction.open_table(table.definition())?)
    }
}

/// A row of the table that has one of each name.
pub(super) fn world_row<T: DeserializeOwned>(
    world: &impl ReadableTable<&'static [u8], &'static [u8]>,
    name: &str,
) -> Result<Option<T>, ReadError> {
    let Some(row) = world.get(name.as_bytes())? else {
        return Ok(None);
    };
    let row = decode(row.value()).map_err(|error| of_row(WORLD, name.as_bytes(), &error))?;
    Ok(Some(row))
}

/// Reads; whatever goes wrong is the file's damage.
pub(super) fn readable<T>(
    file: &Path,
    read: impl FnOnce() -> Result<T, ReadError>,
) -> Result<T, DataDirError> {
    let damaged = |what| DataDirError::Damaged {
        file: file.to_owned(),
        what,
    };
    match unpanicked(read) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(what) => Err(damaged(what)),
    }
}

fn look_at<T: DeserializeOwned>(
    table: Table,
    (key, value): (&[u8], &[u8]),
    look: impl FnOnce(&str, T) -> Result<(), BadRow>,
) -> Result<(), ReadError> {
    let result = std::str::from_utf8(key)
        .map_err(|_| BadRow::because("has a key that is not UTF-8"))
        .and_then(|key| look(key, decode(value)?));
    result.map_err(|error| of_row(table, key, &error))
}

/// Says which row it is: the parts of its key, and its table.
fn of_row(table: Table, key: &[u8], error: &BadRow) -> ReadError {
    let key = String::from_utf8_lossy(key).replace('\0', ", ");
    format!("the row {key} of the table {} {error}", table.0).into()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex};

    use redb::{Database, ReadableDatabase, backends::InMemoryBackend};

    use super::*;
    use crate::journal::row::{encode, key_of};

    const NAMES: Table = Table("names");

    /// The database stays open while its snapshot is read.
    fn snapshot(rows: &[(Vec<u8>, &[u8])]) -> (Database, Snapshot) {
        let database = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut names = transaction.open_table(NAMES.definition()).unwrap();
            for (key, row) in rows {
                names.insert(key.as_slice(), *row).unwrap();
            }
        }
        transaction.commit().unwrap();
        let reading = database.begin_read().unwrap();
        (database, Snapshot::new(reading, "world.redb".into()))
    }

    #[test]
    fn a_bad_row_is_named_with_its_table_and_the_next_step() {
        let (_database, snapshot) = snapshot(&[(key_of(&["one", "two"]), b"\xff")]);
        let each = |snapshot: &Snapshot| snapshot.each(NAMES, |_, _: String| Ok(()));
        let in_threads =
            |snapshot: &Snapshot| snapshot.each_in_threads(NAMES, &|_: &str, _: String| Ok(()));
        for refused in [snapshot.load(each), snapshot.load(in_threads)] {
            let text = refused.unwrap_err().to_string();
            for part in ["the row one, two of the table names", "restore a backup"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn threads_look_at_every_row_once() {
        let row = encode(&"row");
        let rows: Vec<_> = (0..2 * ROWS_AT_ONCE + 1)
            .map(|n| (n.to_string().into_bytes(), row.as_slice()))
            .collect();
        let (_database, snapshot) = snapshot(&rows);
        let seen = Mutex::new(BTreeSet::new());
        let look = |name: &str, _: String| {
            assert!(seen.lock().unwrap().insert(name.to_owned()), "{name}");
            Ok(())
        };
        snapshot.each_in_threads(NAMES, &look).unwrap();
        assert_eq!(seen.into_inner().unwrap().len(), rows.len());
    }
}
