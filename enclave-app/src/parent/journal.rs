//! What a parent has taken on and how it ended: one file that outlives a kill.
//!
//! A job is written down before it is begun, and its end before it is told. After a
//! kill [`Journal::unfinished`] goes on where it was: the enclave answers a job that it
//! has run already with the same sealed bytes ([`crate::enclave::memory`]), and storing
//! them again changes nothing. A job that has ended is not run again. A line of output
//! may come twice if the process dies between writing it and noting that; it never
//! stays away.
//!
//! Source of truth: the documentation of `redb`, whose commit is one fsync. Does not
//! model several parents on one file: the second is refused. Does not keep objects.

use std::{fmt, path::Path};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{
    queue::{Report, Status},
    submit::Job,
};

/// A job as JSON, and its end: nothing while it is in hand, else one byte that says
/// whether it was told, and its report as JSON.
const JOBS: TableDefinition<'_, &'static [u8], &'static [u8]> = TableDefinition::new("jobs");

type Table<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

const UNTOLD: u8 = b'e';
const TOLD: u8 = b't';

/// The file. Changes are synced before they are acknowledged.
pub struct Journal(Database);

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

/// Why the journal is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Not a journal, damaged, or in use.
    #[error(
        "the journal cannot be opened: {0}; is another enclave-parent using it, or is it another \
         file?"
    )]
    Open(#[source] Box<redb::Error>),
    /// The disk failed.
    #[error("the journal cannot be read or written: {0}")]
    Io(#[source] Box<redb::Error>),
    /// A row that this program has not written.
    #[error("the journal holds a row that is not a job; start with an empty file")]
    Row,
}

/// What is known of a job that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is written down now.
    New,
    /// It has been in hand before and has not ended.
    Unfinished,
    /// It has ended.
    Ended,
}

impl Journal {
    /// Opens the file or makes it.
    ///
    /// # Errors
    /// [`JournalError::Open`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let open = || -> Result<Database, redb::Error> {
            let database = Database::create(path)?;
            let writing = database.begin_write()?;
            writing.open_table(JOBS)?;
            writing.commit()?;
            Ok(database)
        };
        open()
            .map(Self)
            .map_err(|error| JournalError::Open(Box::new(error)))
    }

    /// Writes a job down, unless it is known.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn accept(&self, job: &Job) -> Result<Known, JournalError> {
        let key = key(job)?;
        self.write(|table| {
            let known = match table.get(key.as_slice())? {
                None => Known::New,
                Some(row) if row.value().is_empty() => Known::Unfinished,
                Some(_) => Known::Ended,
            };
            if known == Known::New {
                let in_hand: &[u8] = &[];
                table.insert(key.as_slice(), in_hand)?;
            }
            Ok(known)
        })
    }

    /// Writes down how a job ended. One that may go better the next time is forgotten,
    /// so that it is run when it comes in again.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn ended(&self, job: &Job, report: &Report) -> Result<(), JournalError> {
        let key = key(job)?;
        let mut row = vec![UNTOLD];
        row.extend(serde_json::to_vec(report).map_err(|_| JournalError::Row)?);
        self.write(|table| {
            if is_final(report) {
                table.insert(key.as_slice(), row.as_slice())?;
            } else {
                table.remove(key.as_slice())?;
            }
            Ok(())
        })
    }

    /// Notes that a job's end was told.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn told(&self, job: &Job) -> Result<(), JournalError> {
        let key = key(job)?;
        self.write(|table| {
            let row = table.get(key.as_slice())?.map(|row| row.value().to_vec());
            if let Some(mut row) = row
                && let Some(flag) = row.first_mut()
            {
                *flag = TOLD;
                table.insert(key.as_slice(), row.as_slice())?;
            }
            Ok(())
        })
    }

    /// The jobs that were in hand when the last process ended.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn unfinished(&self) -> Result<Vec<Job>, JournalError> {
        self.rows(|job, row| row.is_empty().then(|| read(job)))
    }

    /// The ends that the last process may not have told, each with its job.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn untold(&self) -> Result<Vec<(Job, Report)>, JournalError> {
        self.rows(|job, row| match row {
            [UNTOLD, report @ ..] => Some(read(job).and_then(|job| Ok((job, read(report)?)))),
            _ => None,
        })
    }

    fn rows<T>(
        &self,
        mut choose: impl FnMut(&[u8], &[u8]) -> Option<Result<T, JournalError>>,
    ) -> Result<Vec<T>, JournalError> {
        let io = |error: redb::Error| JournalError::Io(Box::new(error));
        let reading = self.0.begin_read().map_err(|error| io(error.into()))?;
        let table = reading.open_table(JOBS).map_err(|error| io(error.into()))?;
        let mut chosen = Vec::new();
        for row in table.iter().map_err(|error| io(error.into()))? {
            let (key, value) = row.map_err(|error| io(error.into()))?;
            if let Some(one) = choose(key.value(), value.value()) {
                chosen.push(one?);
            }
        }
        Ok(chosen)
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&mut Table<'_>) -> Result<T, redb::StorageError>,
    ) -> Result<T, JournalError> {
        let write = || -> Result<T, redb::Error> {
            let writing = self.0.begin_write()?;
            let value = change(&mut writing.open_table(JOBS)?)?;
            writing.commit()?;
            Ok(value)
        };
        write().map_err(|error| JournalError::Io(Box::new(error)))
    }
}

fn key(job: &Job) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(job).map_err(|_| JournalError::Row)
}

fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, JournalError> {
    serde_json::from_slice(bytes).map_err(|_| JournalError::Row)
}

/// Whether trying again could only end the same way.
fn is_final(report: &Report) -> bool {
    const DECIDED: [&str; 5] = ["image", "model", "manifest", "object", "expired"];
    match report.status {
        Status::Done => true,
        Status::Refused => report
            .code
            .as_deref()
            .is_some_and(|code| DECIDED.contains(&code)),
        Status::Failed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> Job {
        Job {
            bucket: "images".into(),
            key: name.into(),
            manifest_key: format!("{name}.job"),
            result_key: format!("{name}.result"),
        }
    }

    fn report(status: Status, code: Option<&str>) -> Report {
        Report {
            job: Some("job-1".into()),
            status,
            code: code.map(str::to_owned),
            reason: None,
            message: None,
            result_key: Some("a.result".into()),
            receipt_key: None,
            report_key: None,
        }
    }

    #[test]
    fn what_was_in_hand_is_there_after_the_process_and_what_has_ended_is_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (done, open) = (job("done"), job("open"));
        let end = report(Status::Done, None);
        {
            let journal = Journal::open(&path).unwrap();
            assert_eq!(journal.accept(&done).unwrap(), Known::New);
            assert_eq!(journal.accept(&open).unwrap(), Known::New);
            journal.ended(&done, &end).unwrap();
        }
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.unfinished().unwrap(), std::slice::from_ref(&open));
        assert_eq!(journal.untold().unwrap(), [(done.clone(), end)]);
        journal.told(&done).unwrap();
        assert!(journal.untold().unwrap().is_empty());
        assert_eq!(journal.accept(&done).unwrap(), Known::Ended);
        assert_eq!(journal.accept(&open).unwrap(), Known::Unfinished);
    }

    #[test]
    fn only_what_could_not_end_otherwise_is_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal")).unwrap();
        for (status, code, known) in [
            (Status::Refused, Some("image"), Known::Ended),
            (Status::Refused, Some("expired"), Known::Ended),
            (Status::Refused, Some("kms_refused"), Known::New),
            (Status::Refused, Some("not_run"), Known::New),
            (Status::Failed, Some("enclave_unreachable"), Known::New),
        ] {
            let job = job(code.unwrap());
            journal.accept(&job).unwrap();
            journal.ended(&job, &report(status, code)).unwrap();
            assert_eq!(journal.accept(&job).unwrap(), known, "{code:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_journal_or_is_in_use_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, b"jobs of yesterday").unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Open(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"jobs of yesterday");
        let path = folder.path().join("other");
        let _first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Open(_))));
    }
}
