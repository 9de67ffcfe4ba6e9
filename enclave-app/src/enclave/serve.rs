//! Connections from the parent: one job each, a bounded number at a time.
//!
//! Source of truth: ground truth KMS §6, attack 18: a peer may be slow, half open,
//! cut off or lying about lengths. A request is read before it takes a place, so
//! that silence costs a descriptor and nothing else; it is read only as far as the
//! memory for waiting requests goes. Then it waits in line for one of
//! [`ServeLimits::jobs_max`] slots. A slot stands for all the work of its job: it is
//! free again when the last piece has ended, also of a job whose time is over or
//! whose parent has hung up. What does not fit is told when to try again.
//!
//! While a job waits and runs, its parent hears of it every second
//! ([`crate::job::progress`]), so it may take silence for death. A parent that closes
//! its side, or says more than its request, has cancelled its job.
//!
//! Told to stop, jobs that have begun end within their own limit; those in line are
//! handed back as not run. A panic in a job ends that job.
//!
//! Does not model authentication of the peer: only the hypervisor's parent can
//! connect, and nothing it says is believed.

use std::{
    collections::BTreeSet,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_vsock::{VsockListener, VsockStream};

use crate::{
    enclave::{
        answer::Answer,
        config::Limits,
        log::{Event, emit},
        pipeline::Pipeline,
        steps::Course,
    },
    job::{
        Refusal,
        progress::{Progress, Stage},
        refusal::{RequestFault, RetryAfter},
        wire::{self, JobReply, JobRequest},
    },
    vsock::framing::{FrameError, FrameLimits, read_frame_if, write_frame},
};

/// What jobs are taken from.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for VsockListener {
    type Stream = VsockStream;

    async fn next(&self) -> io::Result<VsockStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// For harnesses that have no vsock.
impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// What is done with a request.
pub trait RunJob: Send + Sync + 'static {
    /// Runs one job; may be cancelled at any await. What it leaves running then, holds
    /// on to `course`.
    fn run_job(&self, request: JobRequest, course: Course) -> impl Future<Output = Answer> + Send;
}

impl RunJob for Pipeline {
    async fn run_job(&self, request: JobRequest, course: Course) -> Answer {
        self.run_on(request, course).await.into()
    }
}

/// Bounds of serving.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Jobs at a time.
    pub jobs_max: usize,
    /// Jobs in line for a slot.
    pub queued_max: usize,
    /// Bytes of all requests that are being read, wait or run.
    pub requests_bytes_max: usize,
    /// From accepting a connection to its complete request; also for the reply.
    pub request_timeout: Duration,
    /// From a slot to the reply.
    pub job_timeout: Duration,
    /// Bytes of a request's object; the frame may have a little more.
    pub object_bytes_max: usize,
}

impl ServeLimits {
    /// What the configuration says.
    #[must_use]
    pub const fn from_limits(limits: &Limits) -> Self {
        Self {
            jobs_max: limits.jobs_max,
            queued_max: limits.queued_max,
            requests_bytes_max: limits.requests_bytes_max,
            request_timeout: limits.request_timeout,
            job_timeout: limits.job_timeout,
            object_bytes_max: limits.object_bytes_max,
        }
    }

    fn frame(&self) -> FrameLimits {
        FrameLimits::for_bodies(
            self.object_bytes_max
                .saturating_add(wire::ENVELOPE_BYTES_MAX),
        )
        .waiting(self.request_timeout)
        .beginning_within(HELLO)
    }

    /// Connections at a time, those included that have said nothing yet.
    const fn connections_max(&self) -> usize {
        self.jobs_max + self.queued_max + SILENT_MAX
    }
}

/// How long a connection may say nothing at all.
const HELLO: Duration = Duration::from_secs(2);
/// How many connections may be open beside those of jobs.
const SILENT_MAX: usize = 64;
/// How often a parent hears of its job: several times within the ten seconds after
/// which it gives an enclave up.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// After a failed accept: enough not to spin, too little to notice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The unit in which bytes of requests are counted: a semaphore has 32 bits for one
/// request.
const BUDGET_UNIT_BYTES: usize = 1024;

/// Where jobs wait and run.
#[derive(Debug)]
pub struct Floor<J> {
    jobs: Arc<J>,
    limits: ServeLimits,
    slots: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    line: Mutex<Line>,
    stopping: watch::Receiver<bool>,
}

/// Who waits, in the order of their arrival.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    waiting: BTreeSet<u64>,
}

/// A place in line; given up when dropped.
struct Place<J: RunJob> {
    floor: Arc<Floor<J>>,
    number: u64,
}

impl<J: RunJob> Drop for Place<J> {
    fn drop(&mut self) {
        self.floor.line().waiting.remove(&self.number);
    }
}

impl<J: RunJob> Floor<J> {
    /// A floor that runs `jobs` until `stopping` holds true.
    #[must_use]
    pub fn new(jobs: Arc<J>, limits: ServeLimits, stopping: watch::Receiver<bool>) -> Self {
        let units = limits.requests_bytes_max.div_ceil(BUDGET_UNIT_BYTES);
        Self {
            jobs,
            limits,
            slots: Arc::new(Semaphore::new(limits.jobs_max)),
            bytes: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            line: Mutex::default(),
            stopping,
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in line, unless it is full.
    fn queue(self: &Arc<Self>) -> Result<Place<J>, Refusal> {
        let mut line = self.line();
        // Whoever finds a free slot passes through the line, too.
        let places = self.limits.queued_max + self.slots.available_permits();
        if line.waiting.len() >= places {
            return Err(Refusal::Busy(self.retry_after()));
        }
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number);
        drop(line);
        Ok(Place {
            floor: Arc::clone(self),
            number,
        })
    }

    /// How many wait before this place; none before one that was given up.
    fn ahead_of(&self, number: u64) -> u32 {
        let line = self.line();
        if !line.waiting.contains(&number) {
            return 0;
        }
        u32::try_from(line.waiting.range(..number).count()).unwrap_or(u32::MAX)
    }

    /// The longer the line for each slot, the later.
    fn retry_after(&self) -> RetryAfter {
        match self.limits.queued_max / self.limits.jobs_max.max(1) {
            0..4 => RetryAfter::OneSecond,
            4..32 => RetryAfter::FiveSeconds,
            _ => RetryAfter::ThirtySeconds,
        }
    }

    /// Room for a request of so many bytes, until what it is given to is dropped.
    fn admit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).ok()?;
        self.bytes.clone().try_acquire_many_owned(units).ok()
    }

    async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // A sender that is gone can no longer say that it goes on.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Waits for a slot and runs the job in it.
    async fn run(
        self: Arc<Self>,
        place: Place<J>,
        request: JobRequest,
        room: OwnedSemaphorePermit,
        stages: watch::Sender<Stage>,
    ) -> Answer {
        let slot = tokio::select! {
            biased;
            () = self.stopped() => return refused(Refusal::NotRun),
            slot = self.slots.clone().acquire_owned() => slot,
        };
        drop(place);
        let Ok(slot) = slot else {
            return refused(Refusal::Internal); // nobody closes the semaphore
        };
        let course = Course::new(stages, (slot, room));
        course.reached(Stage::Checking);
        let job = self.jobs.run_job(request, course);
        match timeout(self.limits.job_timeout, job).await {
            Ok(answer) => answer,
            Err(_) => refused(Refusal::Timeout),
        }
    }
}

/// Takes connections until `stop` is ready; then hands back the jobs in line, and
/// returns when those that run have ended, within their limit.
pub async fn serve<L: Listener, J: RunJob>(
    listener: L,
    jobs: Arc<J>,
    limits: ServeLimits,
    stop: impl Future<Output = ()>,
) {
    let (tell, stopping) = watch::channel(false);
    let floor = Arc::new(Floor::new(jobs, limits, stopping));
    let room = Arc::new(Semaphore::new(limits.connections_max()));
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.next().await)
        };
        tokio::select! {
            () = &mut stop => break,
            // Collects finished connections, so that they do not pile up.
            Some(_) = open.join_next(), if !open.is_empty() => {}
            (place, stream) = accepted => match stream {
                Ok(stream) => {
                    let floor = floor.clone();
                    open.spawn(async move {
                        serve_connection(stream, floor).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, or a connection that died in the queue.
                    emit(Event::NotAccepted(error.kind()));
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let jobs = limits
        .jobs_max
        .saturating_sub(floor.slots.available_permits());
    emit(Event::Stopping { jobs });
    tell.send_replace(true);
    let until = limits.job_timeout.saturating_add(limits.request_timeout);
    let _ = timeout(until, async { while open.join_next().await.is_some() {} }).await;
}

/// One request, progress, one reply.
pub async fn serve_connection<S, J>(mut stream: S, floor: Arc<Floor<J>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    J: RunJob,
{
    let limits = floor.limits;
    let frame = limits.frame();
    let reading = read_frame_if(&mut stream, &frame, |bytes| floor.admit(bytes));
    let read = tokio::select! {
        read = reading => read,
        () = floor.stopped() => return finish(stream, refused(Refusal::NotRun), &limits).await,
    };
    let answer = match read {
        // Somebody looked whether the enclave is there, or went away.
        Err(FrameError::Closed | FrameError::Io(_) | FrameError::NotBegun { .. }) => return,
        Err(FrameError::NotAdmitted { .. }) => refused(Refusal::Busy(floor.retry_after())),
        Err(_) => refused(Refusal::Request(RequestFault::Frame)),
        Ok((body, room)) => match JobRequest::decode(&body) {
            Err(_) => refused(Refusal::Request(RequestFault::Message)),
            Ok(request) => {
                drop(body);
                match floor.queue() {
                    Err(busy) => refused(busy),
                    Ok(place) => match attend(&mut stream, &floor, place, request, room).await {
                        Some(answer) => answer,
                        None => return, // nobody is there to be told
                    },
                }
            }
        },
    };
    finish(stream, answer, &limits).await;
}

/// Runs a job and tells its parent how far it is; `None` if the parent has gone, with
/// which the job ends.
async fn attend<S, J>(
    stream: &mut S,
    floor: &Arc<Floor<J>>,
    place: Place<J>,
    request: JobRequest,
    room: OwnedSemaphorePermit,
) -> Option<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
    J: RunJob,
{
    let (tell, mut stages) = watch::channel(Stage::Queued);
    let number = place.number;
    let mut job = JoinSet::new(); // aborts the task when dropped
    job.spawn(floor.clone().run(place, request, room, tell));
    let (mut read, mut write) = split(stream);
    let mut more = [0];
    let mut gone = std::pin::pin!(read.read(&mut more));
    let mut clock = interval(PROGRESS_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = job.join_next() => return Some(match ended {
                Some(Ok(answer)) => answer,
                _ => refused(Refusal::Internal), // it panicked
            }),
            _ = &mut gone => return None,
            Ok(()) = stages.changed() => {}
            _ = clock.tick() => {}
        }
        let stage = *stages.borrow_and_update();
        let progress = Progress::at(stage, floor.ahead_of(number));
        let told = write_frame(&mut write, &progress.encode(), &floor.limits.frame()).await;
        if told.is_err() {
            return None;
        }
    }
}

async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: Answer,
    limits: &ServeLimits,
) {
    if let Answer::Refused(refusal, _) = &answer {
        emit(Event::Refused(*refusal));
    }
    let written = match JobReply::from(answer).encode() {
        Ok(bytes) => write_frame(&mut stream, &bytes, &limits.frame())
            .await
            .is_ok(),
        Err(_) => false,
    };
    if !written {
        emit(Event::NotDelivered);
    }
    let _ = timeout(limits.request_timeout, stream.shutdown()).await;
}

const fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal, None)
}

#[cfg(test)]
mod tests;
