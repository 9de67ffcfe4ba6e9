//! Peers that are slow, silent, gone or too many, against jobs that do as they are told.

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
