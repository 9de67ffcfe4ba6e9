//! Many jobs: one JSON object a line in, one JSON object a line out.
//!
//! In: `{"bucket","key","manifest_key","result_key"}`. Out, as each job ends:
//! `{"job"?,"status":"done"|"refused"|"failed","code"?,"reason"?,"message"?,
//! "result_key"?,"receipt_key"?,"report_key"?}`. A line that cannot be read is a failed
//! job, not the end. With a journal ([`super::journal`]) the jobs that were in hand when a
//! process was killed are run first, and none is run or told twice.
//! The source of truth is this file; `enclave-parent run --help` repeats it.
//! Does not model other sources of jobs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    task::{Id, JoinSet},
    time::sleep,
};

use super::{
    journal::{Journal, JournalError, Known},
    s3::ObjectStore,
    submit::{Door, Job, Stored, Submitted, Submitter},
};

/// Longest line read, in bytes: four names of 1 KiB each, escaped, and room.
pub const LINE_BYTES_MAX: usize = 32 * 1024;

/// What a queue may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Jobs in hand at once.
    pub jobs_max: usize,
    /// How long jobs in hand may go on once the queue is told to stop.
    pub grace: Duration,
}

impl Default for QueueLimits {
    /// One job at a time; five seconds.
    fn default() -> Self {
        Self {
            jobs_max: 1,
            grace: Duration::from_secs(5),
        }
    }
}

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The job's name as its manifest claims it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// What became of it.
    pub status: Status,
    /// Why not, as a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Which of the refusals with that code it is, as a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why not, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The encrypted result's key; for a job that has none, where it would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_key: Option<String>,
    /// The receipt's key, for a job that is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_key: Option<String>,
    /// For a refused job: the key of the encrypted report that tells the clinician
    /// more, if the enclave made one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_key: Option<String>,
}

/// The three ends of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Result and receipt are stored.
    Done,
    /// The enclave decided against it.
    Refused,
    /// Something failed on the way.
    Failed,
}

impl Report {
    /// The line for a job that has ended.
    #[must_use]
    pub fn of(job: &Job, end: Submitted) -> Self {
        match end.outcome {
            Ok(Stored {
                result_key,
                receipt_key,
            }) => Self {
                job: end.job,
                status: Status::Done,
                code: None,
                reason: None,
                message: None,
                result_key: Some(result_key),
                receipt_key: Some(receipt_key),
                report_key: None,
            },
            Err(error) => Self {
                job: end.job,
                status: if error.is_refusal() {
                    Status::Refused
                } else {
                    Status::Failed
                },
                code: Some(error.code().to_owned()),
                reason: error.reason().map(str::to_owned),
                message: Some(error.to_string()),
                result_key: Some(job.result_key.clone()),
                receipt_key: None,
                report_key: error.report_key().map(str::to_owned),
            },
        }
    }

    fn failed(code: &str, message: String, result_key: Option<String>) -> Self {
        Self {
            job: None,
            status: Status::Failed,
            code: Some(code.to_owned()),
            reason: None,
            message: Some(message),
            result_key,
            receipt_key: None,
            report_key: None,
        }
    }

    /// The line, with its end.
    ///
    /// # Errors
    /// None that can arise: every field is text.
    pub fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// How a queue ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs with a result.
    pub done: u64,
    /// Jobs that the enclave refused.
    pub refused: u64,
    /// Jobs that failed, unreadable lines included.
    pub failed: u64,
}

/// Runs the jobs of `input` until its end, or until `stop` holds true or its
/// sender is gone. At the end of `input`, jobs in hand finish; when told to stop
/// they have [`QueueLimits::grace`] left, then they are reported as interrupted.
///
/// # Errors
/// Reading `input` or writing `output` failed.
pub async fn run<R, W, S, D>(
    input: R,
    output: W,
    submitter: Arc<Submitter<S, D>>,
    limits: QueueLimits,
    stop: watch::Receiver<bool>,
) -> io::Result<Tally>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
    S: ObjectStore + 'static,
    D: Door + 'static,
{
    run_with(input, output, submitter, limits, None, stop).await
}

/// The same with a journal: jobs that it holds unfinished come before `input`, a job
/// that it knows is not run again, and one that is cut off goes on the next time.
///
/// # Errors
/// Reading `input`, writing `output` or the journal failed.
pub async fn run_with<R, W, S, D>(
    input: R,
    mut output: W,
    submitter: Arc<Submitter<S, D>>,
    limits: QueueLimits,
    journal: Option<Arc<Journal>>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<Tally>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
    S: ObjectStore + 'static,
    D: Door + 'static,
{
    let jobs_max = limits.jobs_max.max(1);
    let mut lines = Lines::new(input);
    let mut open = Open {
        tasks: JoinSet::new(),
        jobs: BTreeMap::new(),
    };
    let book = Book(journal);
    let mut tally = Tally::default();
    for (job, report) in book.run(Journal::untold).await?.unwrap_or_default() {
        tell(&mut output, &book, Some(job), &report, &mut tally).await?;
    }
    let unfinished = book.run(Journal::unfinished).await?;
    let mut unfinished = VecDeque::from(unfinished.unwrap_or_default());
    let mut stopping = false;
    loop {
        while open.jobs.len() < jobs_max
            && let Some(job) = unfinished.pop_front()
        {
            open.start(&submitter, job);
        }
        // What is told to stop holds a lock while it is looked at: nothing is awaited
        // in the arms.
        let next = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {
                stopping = true;
                break;
            }
            Some(ended) = open.next() => Next::Ended(Box::new(ended)),
            line = lines.next(), if unfinished.is_empty() && open.jobs.len() < jobs_max => {
                match line? {
                    None => break,
                    Some(line) => Next::Line(line),
                }
            }
        };
        let (job, report) = match next {
            Next::Ended(ended) => *ended,
            Next::Line(line) => match accept(line, &open, &book).await? {
                Some(Ok(job)) => {
                    open.start(&submitter, job);
                    continue;
                }
                Some(Err(report)) => (None, report),
                None => continue,
            },
        };
        tell(&mut output, &book, job, &report, &mut tally).await?;
    }

    // No more jobs are taken; those in hand end, or are cut off after the grace
    // that follows the word to stop.
    let rest = async {
        while let Some((job, report)) = open.next().await {
            tell(&mut output, &book, job, &report, &mut tally).await?;
        }
        Ok::<(), io::Error>(())
    };
    let cut_off = async {
        if !stopping {
            let _ = stop.wait_for(|stop| *stop).await;
        }
        sleep(limits.grace).await;
    };
    tokio::select! {
        told = rest => told?,
        () = cut_off => {}
    }
    open.tasks.abort_all();
    for job in std::mem::take(&mut open.jobs).into_values() {
        if book.0.is_some() {
            continue; // it goes on with the next process
        }
        let message = "the parent was stopped before the job ended".to_owned();
        let report = Report::failed("interrupted", message, Some(job.result_key));
        tell(&mut output, &book, None, &report, &mut tally).await?;
    }
    Ok(tally)
}

/// What a queue waits for.
enum Next {
    Ended(Box<(Option<Job>, Report)>),
    Line(Line),
}

/// The journal, if there is one, off the async threads: every change is synced.
struct Book(Option<Arc<Journal>>);

impl Book {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> io::Result<Option<T>> {
        let Some(journal) = self.0.clone() else {
            return Ok(None);
        };
        let worked = tokio::task::spawn_blocking(move || work(&journal)).await;
        worked?.map(Some).map_err(io::Error::other)
    }
}

async fn tell<W: AsyncWrite + Unpin>(
    output: &mut W,
    book: &Book,
    job: Option<Job>,
    report: &Report,
    tally: &mut Tally,
) -> io::Result<()> {
    if let Some(job) = job.clone() {
        let report = report.clone();
        book.run(move |journal| journal.ended(&job, &report))
            .await?;
    }
    match report.status {
        Status::Done => tally.done += 1,
        Status::Refused => tally.refused += 1,
        Status::Failed => tally.failed += 1,
    }
    output.write_all(&report.line()?).await?;
    output.flush().await?;
    if let Some(job) = job {
        book.run(move |journal| journal.told(&job)).await?;
    }
    Ok(())
}

/// The job on a line, a report of why there is none, or nothing for a blank.
async fn accept(line: Line, open: &Open, book: &Book) -> io::Result<Option<Result<Job, Report>>> {
    let bytes = match line {
        Line::Whole(bytes) => bytes,
        Line::TooLong => {
            let message = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Ok(Some(Err(Report::failed("bad_line", message, None))));
        }
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let job: Job = match serde_json::from_slice(&bytes) {
        Ok(job) => job,
        Err(error) => {
            let message = format!(
                "the line is not {{\"bucket\",\"key\",\"manifest_key\",\"result_key\"}}: {error}"
            );
            return Ok(Some(Err(Report::failed("bad_line", message, None))));
        }
    };
    if book.0.is_some() && open.jobs.values().any(|in_hand| *in_hand == job) {
        return Ok(None); // it is told when it ends
    }
    if open.claims(&job) {
        let message = "another job in progress writes to the same keys".to_owned();
        return Ok(Some(Err(Report::failed(
            "result_key_in_use",
            message,
            Some(job.result_key),
        ))));
    }
    let known = {
        let job = job.clone();
        book.run(move |journal| journal.accept(&job)).await?
    };
    Ok(match known {
        // It was told, or is told when its end is found untold at a start.
        Some(Known::Ended) => None,
        _ => Some(Ok(job)),
    })
}

/// Jobs in hand.
struct Open {
    tasks: JoinSet<Report>,
    jobs: BTreeMap<Id, Job>,
}

impl Open {
    fn start<S, D>(&mut self, submitter: &Arc<Submitter<S, D>>, job: Job)
    where
        S: ObjectStore + 'static,
        D: Door + 'static,
    {
        let submitter = Arc::clone(submitter);
        let own = job.clone();
        let task = self.tasks.spawn(async move {
            let end = submitter.submit(&own).await;
            Report::of(&own, end)
        });
        self.jobs.insert(task.id(), job);
    }

    /// Whether a job in hand writes what this one would write.
    fn claims(&self, job: &Job) -> bool {
        let written = |job: &Job| {
            BTreeSet::from([job.result_key.clone(), job.receipt_key(), job.report_key()])
        };
        let ours = written(job);
        self.jobs
            .values()
            .any(|other| other.bucket == job.bucket && !ours.is_disjoint(&written(other)))
    }

    /// The next job's end; `None` when none is in hand.
    async fn next(&mut self) -> Option<(Option<Job>, Report)> {
        match self.tasks.join_next_with_id().await? {
            Ok((id, report)) => Some((self.jobs.remove(&id), report)),
            Err(error) => {
                let job = self.jobs.remove(&error.id());
                let result_key = job.as_ref().map(|job| job.result_key.clone());
                let message = "the parent failed while running the job".to_owned();
                Some((job, Report::failed("internal", message, result_key)))
            }
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Lines of bounded length. Dropping the future of [`Lines::next`] loses nothing.
struct Lines<R> {
    input: R,
    partial: Vec<u8>,
    /// Within a line that was too long: skipping to its end.
    skipping: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            partial: Vec::new(),
            skipping: false,
        }
    }

    async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() {
                let rest = std::mem::take(&mut self.partial);
                let skipped = std::mem::take(&mut self.skipping);
                return Ok(match (skipped, rest.is_empty()) {
                    (true, _) => Some(Line::TooLong),
                    (false, true) => None,
                    (false, false) => Some(Line::Whole(rest)),
                });
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let piece = available
                .get(..end.unwrap_or(available.len()))
                .unwrap_or_default();
            let taken = piece.len() + usize::from(end.is_some());
            if self.skipping || self.partial.len() + piece.len() > LINE_BYTES_MAX {
                self.skipping = true;
                self.partial.clear();
            } else {
                self.partial.extend_from_slice(piece);
            }
            self.input.consume(taken);
            if end.is_some() {
                let whole = std::mem::take(&mut self.partial);
                return Ok(Some(match std::mem::take(&mut self.skipping) {
                    true => Line::TooLong,
                    false => Line::Whole(whole),
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines_of(input: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(BufReader::with_capacity(7, input));
        let mut out = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            out.push(match line {
                Line::Whole(bytes) => Some(bytes),
                Line::TooLong => None,
            });
        }
        out
    }

    #[tokio::test]
    async fn reads_lines_whole_and_the_last_without_its_end() {
        let lines = lines_of(b"first line\n\nlast").await;
        assert_eq!(
            lines,
            [
                Some(b"first line".to_vec()),
                Some(vec![]),
                Some(b"last".to_vec())
            ]
        );
        assert!(lines_of(b"").await.is_empty());
    }

    #[tokio::test]
    async fn skips_a_line_that_is_too_long_and_goes_on() {
        let mut input = vec![b'x'; LINE_BYTES_MAX + 1];
        input.extend_from_slice(b"\nnext\n");
        assert_eq!(lines_of(&input).await, [None, Some(b"next".to_vec())]);
        assert_eq!(lines_of(&vec![b'x'; LINE_BYTES_MAX + 1]).await, [None]);
        let longest = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines_of(&longest).await, [Some(longest.clone())]);
    }
}
