//! Connections from the parent: one job each, a bounded number at a time.
//!
//! Source of truth: ground truth KMS §6, attack 18: a peer may be slow, half open,
//! cut off or lying about lengths. Every connection has a deadline for its request,
//! one for its job and one for its reply; a connection is accepted only when there
//! is room for its job, the rest wait in the listener's backlog. A panic in a job
//! ends that job.
//!
//! Does not model authentication of the peer: only the hypervisor's parent can
//! connect, and nothing it says is believed.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_vsock::{VsockListener, VsockStream};

use crate::{
    enclave::{
        answer::Answer,
        config::Limits,
        log::{Event, emit},
        pipeline::Pipeline,
    },
    job::{
        Refusal,
        refusal::RequestFault,
        wire::{self, JobReply, JobRequest},
    },
    vsock::framing::{FrameError, FrameLimits, read_frame, write_frame},
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
    /// Runs one job; may be cancelled at any await.
    fn run_job(&self, request: JobRequest) -> impl Future<Output = Answer> + Send;
}

impl RunJob for Pipeline {
    async fn run_job(&self, request: JobRequest) -> Answer {
        self.run(request).await.into()
    }
}

/// Bounds of serving.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections at a time.
    pub jobs_max: usize,
    /// From accepting a connection to its complete request; also for the reply.
    pub request_timeout: Duration,
    /// From a complete request to its reply.
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
    }
}

/// Takes connections until `stop` is ready, then lets running jobs finish for a
/// few seconds.
pub async fn serve<L: Listener, J: RunJob>(
    listener: L,
    jobs: Arc<J>,
    limits: ServeLimits,
    stop: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(limits.jobs_max));
    let mut running = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.next().await)
        };
        tokio::select! {
            () = &mut stop => break,
            // Collects finished connections, so that they do not pile up.
            Some(_) = running.join_next(), if !running.is_empty() => {}
            (place, stream) = accepted => match stream {
                Ok(stream) => {
                    let jobs = jobs.clone();
                    running.spawn(async move {
                        serve_connection(stream, jobs, &limits).await;
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
    let _ = timeout(STOP_GRACE, async {
        while running.join_next().await.is_some() {}
    })
    .await;
}

/// After a failed accept: enough not to spin, too little to notice.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What running jobs get after a request to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// One request, one reply.
pub async fn serve_connection<S, J>(mut stream: S, jobs: Arc<J>, limits: &ServeLimits)
where
    S: AsyncRead + AsyncWrite + Unpin,
    J: RunJob,
{
    let answer = match read_frame(&mut stream, &limits.frame()).await {
        // Somebody looked whether the enclave is there, or went away.
        Err(FrameError::Closed | FrameError::Io(_)) => return,
        Err(_) => refused(Refusal::Request(RequestFault::Frame)),
        Ok(body) => match JobRequest::decode(&body) {
            Err(_) => refused(Refusal::Request(RequestFault::Message)),
            Ok(request) => {
                drop(body);
                run_bounded(jobs, request, limits.job_timeout).await
            }
        },
    };
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

/// A job that panics or takes too long ends in a refusal.
async fn run_bounded<J: RunJob>(jobs: Arc<J>, request: JobRequest, limit: Duration) -> Answer {
    let mut job = JoinSet::new(); // aborts the task when dropped
    job.spawn(async move { jobs.run_job(request).await });
    match timeout(limit, job.join_next()).await {
        Ok(Some(Ok(answer))) => answer,
        Ok(_) => refused(Refusal::Internal),
        Err(_) => refused(Refusal::Timeout),
    }
}

const fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal, None)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use serde_bytes::ByteBuf;
    use tokio::{io::AsyncReadExt as _, io::duplex, sync::Notify};

    use super::*;
    use crate::job::{
        RefusalCode,
        wire::{JobCredentials, StoredObject},
    };

    const LIMITS: ServeLimits = ServeLimits {
        jobs_max: 2,
        request_timeout: Duration::from_secs(5),
        job_timeout: Duration::from_secs(5),
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
    #[derive(Default)]
    struct Obedient {
        inside: AtomicUsize,
        most_inside: AtomicUsize,
        go_on: Notify,
        entered: Notify,
    }

    impl RunJob for Obedient {
        async fn run_job(&self, request: JobRequest) -> Answer {
            match request.manifest.as_slice() {
                b"panic" => panic!("as told"),
                b"hang" => std::future::pending().await,
                b"wait" => {
                    let now = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
                    self.most_inside.fetch_max(now, Ordering::SeqCst);
                    self.entered.notify_one();
                    self.go_on.notified().await;
                    self.inside.fetch_sub(1, Ordering::SeqCst);
                }
                _ => {}
            }
            refused(Refusal::NotRun)
        }
    }

    async fn answer(body: &[u8], limits: ServeLimits) -> JobReply {
        let (mut here, there) = duplex(1 << 16);
        let serving = tokio::spawn(async move {
            serve_connection(there, Arc::new(Obedient::default()), &limits).await;
        });
        write_frame(&mut here, body, &LIMITS.frame()).await.unwrap();
        let reply = read_frame(&mut here, &LIMITS.frame()).await.unwrap();
        assert_eq!(
            here.read(&mut [0]).await.unwrap(),
            0,
            "the enclave closes after its reply"
        );
        serving.await.unwrap();
        JobReply::decode(&reply).unwrap()
    }

    fn code(reply: &JobReply) -> Option<RefusalCode> {
        match reply {
            // What `Obedient` says once it has done as it was told.
            JobReply::Refused {
                refusal: Refusal::NotRun,
                ..
            }
            | JobReply::Done { .. } => None,
            JobReply::Refused { refusal, .. } => Some(refusal.code()),
        }
    }

    #[tokio::test]
    async fn answers_one_job_per_connection() {
        assert_eq!(code(&answer(&request("fine"), LIMITS).await), None);
    }

    #[tokio::test]
    async fn refuses_bytes_that_are_not_a_request() {
        let reply = answer(b"\xa0", LIMITS).await;
        assert_eq!(code(&reply), Some(RefusalCode::MalformedRequest));
    }

    #[tokio::test]
    async fn a_panicking_job_ends_in_a_refusal() {
        let reply = answer(&request("panic"), LIMITS).await;
        assert_eq!(code(&reply), Some(RefusalCode::Internal));
    }

    #[tokio::test]
    async fn a_hanging_job_ends_in_a_refusal() {
        let limits = ServeLimits {
            job_timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let reply = answer(&request("hang"), limits).await;
        assert_eq!(code(&reply), Some(RefusalCode::Timeout));
    }

    #[tokio::test]
    async fn an_announced_length_beyond_the_bound_is_refused_before_its_bytes() {
        let (mut here, there) = duplex(1 << 16);
        let serving = tokio::spawn(async move {
            serve_connection(there, Arc::new(Obedient::default()), &LIMITS).await;
        });
        here.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let reply = read_frame(&mut here, &LIMITS.frame()).await.unwrap();
        assert_eq!(
            code(&JobReply::decode(&reply).unwrap()),
            Some(RefusalCode::MalformedRequest)
        );
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_stays_silent_is_closed() {
        let limits = ServeLimits {
            request_timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let (mut here, there) = duplex(1 << 16);
        let serving = tokio::spawn(async move {
            serve_connection(there, Arc::new(Obedient::default()), &limits).await;
        });
        here.write_all(&[0, 0]).await.unwrap();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn no_more_jobs_run_at_once_than_allowed_and_none_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let jobs = Arc::new(Obedient::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, jobs.clone(), LIMITS, async {
            let _ = stopped.await;
        }));
        let clients: Vec<_> = (0..5)
            .map(|_| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    write_frame(&mut stream, &request("wait"), &LIMITS.frame())
                        .await
                        .unwrap();
                    JobReply::decode(&read_frame(&mut stream, &LIMITS.frame()).await.unwrap())
                        .unwrap()
                })
            })
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
            assert_eq!(code(&client.await.unwrap()), None);
        }
        assert!(jobs.most_inside.load(Ordering::SeqCst) <= LIMITS.jobs_max);
        releasing.abort();
        stop.send(()).unwrap();
        serving.await.unwrap();
    }
}
