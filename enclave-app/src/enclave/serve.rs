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
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
    };

    use serde_bytes::ByteBuf;
    use tokio::{
        io::{DuplexStream, duplex},
        sync::{Notify, oneshot},
        task::JoinHandle,
    };

    use super::*;
    use crate::{
        job::{
            RefusalCode,
            progress::FromEnclave,
            wire::{JobCredentials, StoredObject},
        },
        vsock::framing::read_frame,
    };

    const LIMITS: ServeLimits = ServeLimits {
        jobs_max: 2,
        queued_max: 8,
        requests_bytes_max: 1 << 20,
        request_timeout: Duration::from_secs(5),
        job_timeout: Duration::from_secs(60),
        object_bytes_max: 1024,
    };

    fn request(job: &str) -> Vec<u8> {
        let request = JobRequest {
            manifest: ByteBuf::from(job.as_bytes()),
            credentials: JobCredentials {
                access_key_id: "AKIA".into(),
                secret_access_key: "secret".into(),
                session_token: None,
            },
            object: StoredObject {
                metadata: BTreeMap::new(),
                body: ByteBuf::new(),
            },
        };
        request.encode().unwrap()
    }

    /// Does what the request's manifest says; counts who is in it at once.
    struct Obedient {
        inside: AtomicUsize,
        most_inside: AtomicUsize,
        go_on: Notify,
        entered: Arc<Notify>,
        gone: Arc<Notify>,
        /// What work waits for that cannot be called back.
        until: Arc<Mutex<mpsc::Receiver<()>>>,
        release: mpsc::Sender<()>,
    }

    impl Default for Obedient {
        fn default() -> Self {
            let (release, until) = mpsc::channel();
            Self {
                inside: AtomicUsize::new(0),
                most_inside: AtomicUsize::new(0),
                go_on: Notify::new(),
                entered: Arc::default(),
                gone: Arc::default(),
                until: Arc::new(Mutex::new(until)),
                release,
            }
        }
    }

    struct TellsWhenDropped(Arc<Notify>);

    impl Drop for TellsWhenDropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    impl RunJob for Obedient {
        async fn run_job(&self, request: JobRequest, course: Course) -> Answer {
            match request.manifest.as_slice() {
                b"panic" => panic!("as told"),
                b"hang" => {
                    let _tells = TellsWhenDropped(self.gone.clone());
                    self.entered.notify_one();
                    std::future::pending().await
                }
                b"work" => {
                    let (entered, until) = (self.entered.clone(), self.until.clone());
                    let work = move || {
                        entered.notify_one();
                        let _ = until.lock().unwrap().recv();
                    };
                    course.blocking(work).await;
                }
                b"wait" => {
                    let now = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
                    self.most_inside.fetch_max(now, Ordering::SeqCst);
                    self.entered.notify_one();
                    self.go_on.notified().await;
                    self.inside.fetch_sub(1, Ordering::SeqCst);
                }
                _ => {}
            }
            // A word that serving itself never says.
            refused(Refusal::Validity(
                crate::job::refusal::ValidityFault::NotYet,
            ))
        }
    }

    const DONE: RefusalCode = RefusalCode::Expired;

    /// A floor without a listener.
    struct Hall {
        floor: Arc<Floor<Obedient>>,
        stop: watch::Sender<bool>,
    }

    impl Hall {
        fn of(limits: ServeLimits) -> Self {
            let (stop, stopping) = watch::channel(false);
            Self {
                floor: Arc::new(Floor::new(Arc::default(), limits, stopping)),
                stop,
            }
        }

        fn jobs(&self) -> &Obedient {
            &self.floor.jobs
        }

        async fn send(&self, body: &[u8]) -> (DuplexStream, JoinHandle<()>) {
            let (mut here, there) = duplex(1 << 16);
            let floor = self.floor.clone();
            let serving = tokio::spawn(serve_connection(there, floor));
            write_frame(&mut here, body, &LIMITS.frame()).await.unwrap();
            (here, serving)
        }

        async fn answer(&self, body: &[u8]) -> RefusalCode {
            let (mut here, serving) = self.send(body).await;
            let (code, _) = conversation(&mut here).await;
            assert_eq!(
                here.read(&mut [0]).await.unwrap(),
                0,
                "the enclave closes after its reply"
            );
            serving.await.unwrap();
            code
        }
    }

    async fn message(stream: &mut DuplexStream) -> FromEnclave {
        let patient = LIMITS.frame().waiting(Duration::from_secs(60));
        let frame = read_frame(stream, &patient).await.unwrap();
        FromEnclave::decode(&frame).unwrap()
    }

    /// The reply's code, and the progress before it.
    async fn conversation(stream: &mut DuplexStream) -> (RefusalCode, Vec<Progress>) {
        let mut heard = Vec::new();
        loop {
            match message(stream).await {
                FromEnclave::Progress(progress) => heard.push(progress),
                FromEnclave::Reply(JobReply::Refused { refusal, .. }) => {
                    return (refusal.code(), heard);
                }
                FromEnclave::Reply(done) => panic!("{done:?}"),
            }
        }
    }

    #[tokio::test]
    async fn answers_one_job_per_connection() {
        assert_eq!(Hall::of(LIMITS).answer(&request("fine")).await, DONE);
    }

    #[tokio::test]
    async fn refuses_bytes_that_are_not_a_request() {
        let code = Hall::of(LIMITS).answer(b"\xa0").await;
        assert_eq!(code, RefusalCode::MalformedRequest);
    }

    #[tokio::test]
    async fn a_panicking_job_ends_in_a_refusal() {
        let code = Hall::of(LIMITS).answer(&request("panic")).await;
        assert_eq!(code, RefusalCode::Internal);
    }

    #[tokio::test]
    async fn a_hanging_job_ends_in_a_refusal() {
        let limits = ServeLimits {
            job_timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let code = Hall::of(limits).answer(&request("hang")).await;
        assert_eq!(code, RefusalCode::Timeout);
    }

    #[tokio::test]
    async fn an_announced_length_beyond_the_bound_is_refused_before_its_bytes() {
        let hall = Hall::of(LIMITS);
        let (mut here, there) = duplex(1 << 16);
        let serving = tokio::spawn(serve_connection(there, hall.floor.clone()));
        here.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let (code, _) = conversation(&mut here).await;
        assert_eq!(code, RefusalCode::MalformedRequest);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_stays_silent_is_closed() {
        let limits = ServeLimits {
            request_timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let hall = Hall::of(limits);
        let (mut here, there) = duplex(1 << 16);
        let serving = tokio::spawn(serve_connection(there, hall.floor.clone()));
        here.write_all(&[0, 0]).await.unwrap();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_for_which_there_is_no_memory_is_told_when_to_come_again() {
        let limits = ServeLimits {
            requests_bytes_max: 10 << 10,
            ..LIMITS
        };
        let hall = Hall::of(limits);
        let (mut here, there) = duplex(1 << 16);
        let serving = tokio::spawn(serve_connection(there, hall.floor.clone()));
        // Nothing of the body is needed for the answer.
        here.write_all(&(11_u32 << 10).to_be_bytes()).await.unwrap();
        let (code, _) = conversation(&mut here).await;
        assert_eq!(code, RefusalCode::Busy);
        serving.await.unwrap();
        assert_eq!(hall.answer(&request("fine")).await, DONE);
    }

    #[tokio::test]
    async fn a_job_hears_its_place_in_line_and_that_it_has_begun() {
        let hall = Hall::of(ServeLimits {
            jobs_max: 1,
            ..LIMITS
        });
        let (mut first, _) = hall.send(&request("wait")).await;
        hall.jobs().entered.notified().await;
        let (mut second, _) = hall.send(&request("fine")).await;
        let at = |stage, ahead| FromEnclave::Progress(Progress::at(stage, ahead));
        assert_eq!(message(&mut second).await, at(Stage::Queued, 0));
        let (mut third, _) = hall.send(&request("fine")).await;
        assert_eq!(message(&mut third).await, at(Stage::Queued, 1));
        // It is told again, although nothing happens.
        assert_eq!(message(&mut third).await, at(Stage::Queued, 1));
        hall.jobs().go_on.notify_one();
        for stream in [&mut first, &mut second, &mut third] {
            let (code, heard) = conversation(stream).await;
            assert_eq!(code, DONE);
            let stages: Vec<Stage> = heard.iter().map(|progress| progress.stage).collect();
            assert!(stages.is_sorted_by_key(|stage| *stage as u8), "{stages:?}");
        }
    }

    #[tokio::test]
    async fn who_finds_the_line_full_is_told_when_to_come_again() {
        let hall = Hall::of(ServeLimits {
            jobs_max: 1,
            queued_max: 1,
            ..LIMITS
        });
        let (_running, _) = hall.send(&request("wait")).await;
        hall.jobs().entered.notified().await;
        let (mut queued, _) = hall.send(&request("fine")).await;
        message(&mut queued).await;
        assert_eq!(hall.answer(&request("fine")).await, RefusalCode::Busy);
        hall.jobs().go_on.notify_one();
        assert_eq!(conversation(&mut queued).await.0, DONE);
        assert_eq!(hall.answer(&request("fine")).await, DONE);
    }

    #[tokio::test]
    async fn a_parent_that_hangs_up_has_cancelled_its_job() {
        let hall = Hall::of(ServeLimits {
            jobs_max: 1,
            ..LIMITS
        });
        let (running, serving) = hall.send(&request("hang")).await;
        hall.jobs().entered.notified().await;
        let (mut queued, cancelled) = hall.send(&request("hang")).await;
        message(&mut queued).await;
        drop(queued);
        cancelled.await.unwrap();
        drop(running);
        hall.jobs().gone.notified().await;
        serving.await.unwrap();
        assert_eq!(hall.answer(&request("fine")).await, DONE);
    }

    #[tokio::test]
    async fn a_slot_is_free_when_the_last_piece_of_its_job_has_ended() {
        let hall = Hall::of(ServeLimits {
            jobs_max: 1,
            job_timeout: Duration::from_millis(20),
            ..LIMITS
        });
        let (mut working, _) = hall.send(&request("work")).await;
        hall.jobs().entered.notified().await;
        // Its time is over and its parent knows; its work goes on.
        let (code, _) = conversation(&mut working).await;
        assert_eq!(code, RefusalCode::Timeout);
        assert_eq!(hall.floor.slots.available_permits(), 0);
        let (mut next, _) = hall.send(&request("fine")).await;
        let queued = FromEnclave::Progress(Progress::at(Stage::Queued, 0));
        assert_eq!(message(&mut next).await, queued);
        assert_eq!(message(&mut next).await, queued);
        hall.jobs().release.send(()).unwrap();
        assert_eq!(conversation(&mut next).await.0, DONE);
    }

    #[tokio::test]
    async fn told_to_stop_it_ends_what_runs_and_hands_back_what_waits() {
        let hall = Hall::of(ServeLimits {
            jobs_max: 1,
            ..LIMITS
        });
        let (mut running, _) = hall.send(&request("wait")).await;
        hall.jobs().entered.notified().await;
        let (mut queued, _) = hall.send(&request("fine")).await;
        message(&mut queued).await;
        // Half of a request.
        let (mut half, there) = duplex(1 << 16);
        let _serving = tokio::spawn(serve_connection(there, hall.floor.clone()));
        half.write_all(&[0, 0]).await.unwrap();
        hall.stop.send_replace(true);
        assert_eq!(conversation(&mut queued).await.0, RefusalCode::NotRun);
        assert_eq!(conversation(&mut half).await.0, RefusalCode::NotRun);
        hall.jobs().go_on.notify_one();
        assert_eq!(conversation(&mut running).await.0, DONE);
    }

    async fn connected(address: std::net::SocketAddr, job: &str) -> RefusalCode {
        let mut stream = TcpStream::connect(address).await.unwrap();
        write_frame(&mut stream, &request(job), &LIMITS.frame())
            .await
            .unwrap();
        loop {
            let frame = read_frame(&mut stream, &LIMITS.frame()).await.unwrap();
            if let FromEnclave::Reply(JobReply::Refused { refusal, .. }) =
                FromEnclave::decode(&frame).unwrap()
            {
                return refusal.code();
            }
        }
    }

    #[tokio::test]
    async fn no_more_jobs_run_at_once_than_allowed_and_none_is_lost_beside_silent_peers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let jobs = Arc::new(Obedient::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, jobs.clone(), LIMITS, async {
            let _ = stopped.await;
        }));
        // More than there are slots, and they say nothing.
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let clients: Vec<_> = (0..5)
            .map(|_| tokio::spawn(connected(address, "wait")))
            .collect();
        let releasing = {
            let jobs = jobs.clone();
            tokio::spawn(async move {
                loop {
                    jobs.entered.notified().await;
                    tokio::task::yield_now().await;
                    jobs.go_on.notify_one();
                }
            })
        };
        for client in clients {
            assert_eq!(client.await.unwrap(), DONE);
        }
        assert!(jobs.most_inside.load(Ordering::SeqCst) <= LIMITS.jobs_max);
        releasing.abort();
        stop.send(()).unwrap();
        serving.await.unwrap();
        drop(silent);
    }
}
