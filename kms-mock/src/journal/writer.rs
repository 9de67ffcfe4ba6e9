//! The one thread that writes: it takes the changes that wait, puts them into one
//! transaction, and answers each caller when that is synced.
//!
//! The more callers wait, the more share an fsync: callers that arrive during a
//! commit are the next one's. After an error of the disk the file is opened anew
//! at the next change, and the last transaction is looked for in it: if it did
//! get there although it was refused, memory lacks what the file has, and the
//! server stays refusing changes until it is started again.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};

use super::{
    directory::{self, Opened},
    error::Unwritten,
    row::{Noted, Row, SEQUENCE, Table, WORLD, decode, encode},
};

/// Changes that may wait; each is a caller of its own, who waits with it.
const QUEUE_MAX: usize = 1024;
/// Changes and bytes of one transaction: what fits into some tens of
/// milliseconds.
const SHARED_MAX: usize = 1024;
const SHARED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How old on disk a row may be that is noted and not written by each change.
const NOTES_EVERY: Duration = Duration::from_secs(1);

/// A world's file, open.
pub(super) struct Writer {
    /// Held shared by changes, alone by what clears the world.
    pub(super) world: RwLock<()>,
    /// `None` once closed.
    queue: RwLock<Option<SyncSender<Submission>>>,
    /// Rows of changes that went on without waiting; `None` while changes wait.
    deferred: Mutex<Option<Vec<Row>>>,
    notes: Arc<Notes>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What has a row that is not on disk.
#[derive(Default)]
struct Notes(Mutex<Vec<Arc<dyn Noted>>>);

impl Notes {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<dyn Noted>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Submission {
    rows: Vec<Row>,
    done: SyncSender<Result<(), Unwritten>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer(..)")
    }
}

impl Writer {
    /// Begins to write into an opened file.
    ///
    /// # Errors
    /// The system's, if there is no thread to be had.
    pub(super) fn start(opened: Opened, sequence: u64) -> std::io::Result<Arc<Self>> {
        let file = opened.file;
        let reopen = Box::new(move || Ok(directory::reopen(&file)?));
        Self::start_on(opened.database, reopen, opened.lock, sequence)
    }

    /// `lock` is held until the file is closed.
    fn start_on(
        database: Database,
        reopen: Reopen,
        lock: impl Send + 'static,
        sequence: u64,
    ) -> std::io::Result<Arc<Self>> {
        let (queue, waiting) = mpsc::sync_channel(QUEUE_MAX);
        let notes = Arc::new(Notes::default());
        let mut file = Kept {
            database: Some(database),
            reopen,
            sequence,
            notes: Arc::clone(&notes),
            noted: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("kms-mock-writer".to_owned())
            .spawn(move || {
                file.serve(&waiting);
                drop(file); // before another server may have the directory
                drop(lock);
            })?;
        Ok(Arc::new(Self {
            world: RwLock::new(()),
            queue: RwLock::new(Some(queue)),
            deferred: Mutex::new(None),
            notes,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Returns when the rows are durable.
    pub(super) fn commit(&self, rows: Vec<Row>) -> Result<(), Unwritten> {
        if rows.is_empty() {
            return Ok(());
        }
        if let Some(deferred) = &mut *self.deferred() {
            deferred.extend(rows);
            return Ok(());
        }
        self.wait_for(rows)
    }

    fn deferred(&self) -> MutexGuard<'_, Option<Vec<Row>>> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, rows: Vec<Row>) -> Result<(), Unwritten> {
        let (done, answer) = mpsc::sync_channel(1);
        self.submit(Submission { rows, done })?;
        answer.recv().unwrap_or(Err(Unwritten::Closed))
    }

    fn submit(&self, submission: Submission) -> Result<(), Unwritten> {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(Unwritten::Closed)?;
        queue.send(submission).map_err(|_| Unwritten::Closed)
    }

    pub(super) fn defer(&self) {
        self.deferred().get_or_insert_default();
    }

    /// Writes what was deferred, in one transaction.
    pub(super) fn sync(&self) -> Result<(), Unwritten> {
        let rows = self.deferred().take().unwrap_or_default();
        self.wait_for(rows)
    }

    pub(super) fn note(&self, noted: Arc<dyn Noted>) {
        self.notes.all().push(noted);
    }

    /// Writes what waits, then ends the thread.
    pub(super) fn close(&self) {
        drop(
            self.queue
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the data directory panicked");
        }
        // What was noted since is not written any more.
        self.notes.all().clear();
    }
}

/// The file, as its thread sees it.
struct Kept {
    /// `None` after an error.
    database: Option<Database>,
    reopen: Reopen,
    /// Number of the last transaction that was acknowledged.
    sequence: u64,
    notes: Arc<Notes>,
    /// When notes were written last.
    noted: Instant,
}

impl Kept {
    fn serve(&mut self, waiting: &Receiver<Submission>) {
        loop {
            let first = match waiting.recv_timeout(NOTES_EVERY) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.write_notes();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut bytes = size_of(&first.rows);
            let mut shared = vec![first];
            while shared.len() < SHARED_MAX
                && bytes < SHARED_BYTES_MAX
                && let Ok(next) = waiting.try_recv()
            {
                bytes += size_of(&next.rows);
                shared.push(next);
            }
            let mut rows: Vec<&Row> = shared.iter().flat_map(|one| &one.rows).collect();
            let notes = self.due_notes();
            rows.extend(&notes);
            let result = self.write(&rows);
            for one in shared {
                // Who gave up waiting has gone; the change is made all the same.
                drop(one.done.send(result.clone()));
            }
        }
        self.noted = Instant::now()
            .checked_sub(NOTES_EVERY)
            .unwrap_or(self.noted);
        self.write_notes();
    }

    fn write_notes(&mut self) {
        let notes = self.due_notes();
        if !notes.is_empty()
            && let Err(error) = self.write(&notes.iter().collect::<Vec<_>>())
        {
            tracing::warn!(%error, "writing what was noted since the last second");
        }
    }

    /// The rows of what was noted, if it is time to write them.
    fn due_notes(&mut self) -> Vec<Row> {
        if self.noted.elapsed() < NOTES_EVERY {
            return Vec::new();
        }
        self.noted = Instant::now();
        let noted = std::mem::take(&mut *self.notes.all());
        noted.iter().filter_map(|one| one.take_row()).collect()
    }

    /// One transaction.
    fn write(&mut self, rows: &[&Row]) -> Result<(), Unwritten> {
        if rows.is_empty() && self.database.is_some() {
            return Ok(());
        }
        let result = self.database().and_then(|sequence| {
            let database = self.database.as_ref().ok_or("the file is not open")?;
            transact(database, rows, sequence + 1)?;
            Ok(sequence + 1)
        });
        match result {
            Ok(sequence) => {
                self.sequence = sequence;
                Ok(())
            }
            Err(error) => {
                self.database = None;
                let cause = error.to_string();
                tracing::error!(cause, "writing the data directory");
                Err(Unwritten::Disk {
                    cause: cause.into(),
                })
            }
        }
    }

    /// Opens the file again after an error; the number of its last transaction.
    fn database(&mut self) -> Result<u64, AnyError> {
        if self.database.is_none() {
            let database = (self.reopen)()?;
            let found = sequence_of(&database)?;
            if found != self.sequence {
                return Err("a change that was refused is in the file all the same; \
                            start the server again to see it"
                    .into());
            }
            self.database = Some(database);
        }
        Ok(self.sequence)
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;
/// Opens the file again, as the last process left it.
type Reopen = Box<dyn Fn() -> Result<Database, AnyError> + Send>;

fn transact(database: &Database, rows: &[&Row], sequence: u64) -> Result<(), AnyError> {
    let transaction = database.begin_write()?;
    {
        let mut open = OpenTables::new(&transaction);
        for row in rows {
            match row {
                Row::PutBeside(_, key, _, beside)
                    if open.table(*beside)?.get(key.as_slice())?.is_none() => {}
                Row::Put(table, key, value) | Row::PutBeside(table, key, value, _) => {
                    open.table(*table)?
                        .insert(key.as_slice(), value.as_slice())?;
                }
                Row::Delete(table, key) => {
                    open.table(*table)?.remove(key.as_slice())?;
                }
                Row::DeletePrefix(table, prefix) => match prefix.split_last() {
                    None => open.empty(*table)?,
                    Some((last, before)) => {
                        let after = [before, &[last.saturating_add(1)]].concat();
                        let range = prefix.as_slice()..after.as_slice();
                        open.table(*table)?.retain_in(range, |_, _| false)?;
                    }
                },
            }
        }
        let sequence = encode(&sequence);
        open.table(WORLD)?
            .insert(SEQUENCE.as_bytes(), sequence.as_slice())?;
    }
    transaction.commit()?;
    Ok(())
}

/// The tables of a transaction, each opened when it is first needed.
struct OpenTables<'t> {
    transaction: &'t WriteTransaction,
    /// Few, so that looking through them is quicker than hashing their names.
    open: Vec<(Table, OpenTable<'t>)>,
}

type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

impl<'t> OpenTables<'t> {
    fn new(transaction: &'t WriteTransaction) -> Self {
        Self {
            transaction,
            open: Vec::new(),
        }
    }

    fn table(
        &mut self,
        table: Table,
    ) -> Result<&mut redb::Table<'t, &'static [u8], &'static [u8]>, AnyError> {
        let place = match self.open.iter().position(|(open, _)| *open == table) {
            Some(place) => place,
            None => {
                let opened = self.transaction.open_table(table.definition())?;
                self.open.push((table, opened));
                self.open.len() - 1
            }
        };
        let (_, opened) = self.open.get_mut(place).expect("it is open at that place");
        Ok(opened)
    }

    /// Leaves a table with no rows.
    fn empty(&mut self, table: Table) -> Result<(), AnyError> {
        self.open.retain(|(open, _)| *open != table);
        self.transaction.delete_table(table.definition())?;
        self.table(table).map(|_| ())
    }
}

/// The number of the last transaction in a file.
pub(super) fn sequence_of(database: &Database) -> Result<u64, AnyError> {
    let transaction = database.begin_read()?;
    let world = transaction.open_table(WORLD.definition())?;
    let row = world.get(SEQUENCE.as_bytes())?;
    let row = row.ok_or("the file does not say which change was its last")?;
    Ok(decode(row.value())?)
}

fn size_of(rows: &[Row]) -> usize {
    let size = |row: &Row| match row {
        Row::Put(_, key, value) | Row::PutBeside(_, key, value, _) => key.len() + value.len(),
        Row::Delete(_, key) | Row::DeletePrefix(_, key) => key.len(),
    };
    rows.iter().map(size).sum()
}

#[cfg(test)]
mod tests;
