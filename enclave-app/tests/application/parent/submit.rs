//! Jobs from object to stored result, against a store and an enclave in memory
//! that can fail at every step.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_credential_types::Credentials;
use enclave_app::{
    clock::SystemClock,
    job::{
        JobReply, JobRequest, Manifest, Refusal, StoredObject, SubmitterKey, refusal::ValidityFault,
    },
    parent::{
        credentials::CredentialSource,
        queue::{self, QueueLimits, Tally},
        s3::{ObjectStore, S3Error},
        submit::{Door, Job, Stored, SubmitError, SubmitLimits, Submitter},
    },
    vsock::{
        framing::{FrameLimits, read_frame, write_frame},
        transport::{TransportError, VsockAddress},
    },
};
use serde_bytes::ByteBuf;
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    sync::{Semaphore, watch},
};

use crate::parent::doubles::{lock, object, receipt_for};

const BUCKET: &str = "images";
pub(crate) const RESULT: &[u8] = b"encrypted findings";
pub(crate) const LARGE: FrameLimits = FrameLimits::for_bodies(64 << 20);

/// How one operation of the store goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An answer: certainly not done.
    Refused,
    /// No answer, and not done.
    LostBefore,
    /// No answer, but done.
    LostAfter,
}

#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) objects: Arc<Mutex<BTreeMap<String, StoredObject>>>,
    operations: Arc<Mutex<Vec<String>>>,
    /// Which operation, counted from zero, fails how.
    fault: Option<(usize, Fault)>,
}

impl Memory {
    fn operation(
        &self,
        operation: &'static str,
        key: &str,
        effect: impl FnOnce(&mut BTreeMap<String, StoredObject>),
    ) -> Result<(), S3Error> {
        let mut operations = lock(&self.operations);
        let fault = self
            .fault
            .filter(|(at, _)| *at == operations.len())
            .map(|(_, fault)| fault);
        operations.push(format!("{operation} {key}"));
        if !matches!(fault, Some(Fault::Refused | Fault::LostBefore)) {
            effect(&mut lock(&self.objects));
        }
        let status = match fault {
            None => return Ok(()),
            Some(Fault::Refused) => 403,
            Some(Fault::LostBefore | Fault::LostAfter) => 500,
        };
        Err(refused(operation, key, status, "Injected"))
    }

    pub(crate) fn operations(&self) -> Vec<String> {
        lock(&self.operations).clone()
    }

    pub(crate) fn has(&self, key: &str) -> Option<StoredObject> {
        lock(&self.objects).get(key).cloned()
    }

    pub(crate) fn stores(&self) -> bool {
        self.operations()
            .iter()
            .any(|operation| !operation.starts_with("GET"))
    }
}

fn refused(operation: &'static str, key: &str, status: u16, code: &str) -> S3Error {
    S3Error::Refused {
        operation,
        bucket: BUCKET.into(),
        key: key.into(),
        status,
        code: code.into(),
        message: "as the test wants it".into(),
        earlier_attempt_unknown: false,
    }
}

impl ObjectStore for Memory {
    async fn get(
        &self,
        bucket: &str,
        key: &str,
        bytes_max: usize,
    ) -> Result<StoredObject, S3Error> {
        assert_eq!(bucket, BUCKET);
        let mut found = None;
        self.operation("GET", key, |objects| found = objects.get(key).cloned())?;
        let object = found.ok_or_else(|| refused("GET", key, 404, "NoSuchKey"))?;
        if object.body.len() > bytes_max {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            return Err(S3Error::TooLarge {
                bucket,
                key,
                bytes_max,
            });
        }
        Ok(object)
    }

    async fn exists(&self, _: &str, key: &str) -> Result<bool, S3Error> {
        let mut found = false;
        self.operation("HEAD", key, |objects| found = objects.contains_key(key))?;
        Ok(found)
    }

    async fn put(&self, _: &str, key: &str, object: StoredObject) -> Result<(), S3Error> {
        self.operation("PUT", key, |objects| {
            objects.insert(key.to_owned(), object);
        })
    }

    async fn delete(&self, _: &str, key: &str) -> Result<(), S3Error> {
        self.operation("DELETE", key, |objects| {
            objects.remove(key);
        })
    }
}

/// An enclave in memory: what it does with each connection.
pub(crate) struct Enclave<F> {
    pub(crate) conversation: F,
    pub(crate) pipe_bytes: usize,
}

impl<F, W> Door for Enclave<F>
where
    F: Fn(DuplexStream) -> W + Send + Sync,
    W: Future<Output = ()> + Send + 'static,
{
    type Stream = DuplexStream;

    async fn open(&self) -> Result<DuplexStream, TransportError> {
        let (ours, theirs) = duplex(self.pipe_bytes);
        tokio::spawn((self.conversation)(theirs));
        Ok(ours)
    }
}

struct NobodyHome;

impl Door for NobodyHome {
    type Stream = DuplexStream;

    async fn open(&self) -> Result<DuplexStream, TransportError> {
        Err(TransportError::Unreachable {
            address: VsockAddress {
                cid: 16,
                port: 5000,
            },
            attempts: 3,
            waited: Duration::from_secs(1),
            source: io::ErrorKind::ConnectionReset.into(),
        })
    }
}

pub(crate) fn done() -> JobReply {
    JobReply::Done {
        result: object(RESULT),
        receipt: receipt_for(RESULT),
    }
}

/// Reads the whole job, then answers `reply`.
pub(crate) async fn answer(mut stream: DuplexStream, reply: Vec<u8>) {
    let request = read_frame(&mut stream, &LARGE).await.unwrap();
    JobRequest::decode(&request).unwrap();
    write_frame(&mut stream, &reply, &LARGE).await.unwrap();
}

pub(crate) fn answering(reply: &JobReply) -> impl Door<Stream = DuplexStream> + use<> {
    answering_bytes(reply.encode().unwrap())
}

fn answering_bytes(reply: Vec<u8>) -> impl Door<Stream = DuplexStream> {
    Enclave {
        conversation: move |stream| answer(stream, reply.clone()),
        pipe_bytes: 4096,
    }
}

pub(crate) fn job() -> Job {
    job_named("scan")
}

fn job_named(name: &str) -> Job {
    Job {
        bucket: BUCKET.into(),
        key: name.into(),
        manifest_key: format!("{name}.job"),
        result_key: format!("{name}.result"),
    }
}

fn manifest(name: &str) -> Vec<u8> {
    Manifest {
        job: format!("job-{name}"),
        bucket: BUCKET.into(),
        key: name.into(),
        ciphertext_sha256: [0; 32],
        study: "study".into(),
        issued_at_ms: 1,
        expires_at_ms: 2,
    }
    .sign(&SubmitterKey::from_seed(b"radiology"))
    .unwrap()
}

pub(crate) fn memory_with(names: &[&str]) -> Memory {
    let memory = Memory::default();
    for name in names {
        let manifest = StoredObject {
            body: ByteBuf::from(manifest(name)),
            ..Default::default()
        };
        lock(&memory.objects).insert((*name).into(), object(b"ciphertext"));
        lock(&memory.objects).insert(format!("{name}.job"), manifest);
    }
    memory
}

pub(crate) fn submitter<D: Door>(store: &Memory, door: D) -> Submitter<Memory, D> {
    let credentials = Credentials::from_keys("ASIA", "secret", Some("token".into()));
    Submitter {
        store: store.clone(),
        door,
        credentials: Arc::new(CredentialSource::fixed(credentials, Arc::new(SystemClock))),
        limits: SubmitLimits {
            object_bytes_max: 4 << 20,
            enclave: Duration::from_secs(30),
            pause_max: Duration::from_millis(1),
            ..SubmitLimits::default()
        },
    }
}

pub(crate) async fn failure<D: Door>(store: &Memory, door: D) -> SubmitError {
    submitter(store, door)
        .submit(&job())
        .await
        .outcome
        .unwrap_err()
}

#[tokio::test]
async fn a_job_ends_with_its_result_and_its_receipt_stored() {
    let store = memory_with(&["scan"]);
    let end = submitter(&store, answering(&done())).submit(&job()).await;
    assert_eq!(end.job.as_deref(), Some("job-scan"));
    assert_eq!(
        end.outcome.unwrap(),
        Stored {
            result_key: "scan.result".into(),
            receipt_key: "scan.result.receipt".into()
        }
    );
    assert_eq!(store.has("scan.result"), Some(object(RESULT)));
    assert_eq!(
        store.has("scan.result.receipt").unwrap().body,
        receipt_for(RESULT)
    );
    assert_eq!(
        store.operations()[2..],
        [
            "HEAD scan.result",
            "PUT scan.result.receipt",
            "PUT scan.result"
        ]
    );
}

#[tokio::test]
async fn the_enclave_gets_object_manifest_and_credentials_unchanged() {
    let store = memory_with(&["scan"]);
    let seen = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&seen);
    let door = Enclave {
        conversation: move |mut stream: DuplexStream| {
            let kept = Arc::clone(&kept);
            async move {
                let request = read_frame(&mut stream, &LARGE).await.unwrap();
                *lock(&kept) = Some(JobRequest::decode(&request).unwrap());
                write_frame(&mut stream, &done().encode().unwrap(), &LARGE)
                    .await
                    .unwrap();
            }
        },
        pipe_bytes: 4096,
    };
    submitter(&store, door)
        .submit(&job())
        .await
        .outcome
        .unwrap();
    let request = lock(&seen).take().unwrap();
    assert_eq!(request.object, object(b"ciphertext"));
    assert_eq!(*request.manifest, manifest("scan"));
    assert_eq!(request.credentials.access_key_id, "ASIA");
    assert_eq!(request.credentials.secret_access_key, "secret");
    assert_eq!(request.credentials.session_token.as_deref(), Some("token"));
}

#[tokio::test]
async fn an_enclave_that_breaks_off_leaves_nothing_stored() {
    let store = memory_with(&["scan"]);
    let hangs_up = Enclave {
        conversation: |mut stream: DuplexStream| async move {
            read_frame(&mut stream, &LARGE).await.unwrap();
        },
        pipe_bytes: 4096,
    };
    let error = failure(&store, hangs_up).await;
    assert!(matches!(error, SubmitError::NoReply(_)), "{error:?}");

    let cut_short = Enclave {
        conversation: |mut stream: DuplexStream| async move {
            read_frame(&mut stream, &LARGE).await.unwrap();
            let mut frame = Vec::new();
            write_frame(&mut frame, &done().encode().unwrap(), &LARGE)
                .await
                .unwrap();
            stream.write_all(&frame[..frame.len() - 1]).await.unwrap();
        },
        pipe_bytes: 4096,
    };
    let error = failure(&store, cut_short).await;
    assert!(matches!(error, SubmitError::NoReply(_)), "{error:?}");

    let slams_the_door = Enclave {
        conversation: |_| async {},
        pipe_bytes: 16,
    };
    let error = failure(&store, slams_the_door).await;
    assert!(
        matches!(error, SubmitError::Send(_) | SubmitError::NoReply(_)),
        "{error:?}"
    );
    assert_eq!(error.code(), "enclave_broke_off");
    assert!(!store.stores());
}

#[tokio::test]
async fn an_enclave_that_says_nothing_is_given_up_in_time() {
    let store = memory_with(&["scan"]);
    let silent = Enclave {
        conversation: |mut stream: DuplexStream| async move {
            read_frame(&mut stream, &LARGE).await.unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        },
        pipe_bytes: 4096,
    };
    let mut submitter = submitter(&store, silent);
    submitter.limits.enclave = Duration::from_millis(50);
    let error = submitter.submit(&job()).await.outcome.unwrap_err();
    assert!(matches!(error, SubmitError::NoReply(_)), "{error:?}");
    assert!(!store.stores());
}

#[tokio::test]
async fn an_answer_that_is_not_fit_to_be_stored_is_not() {
    let store = memory_with(&["scan"]);
    let plain = StoredObject {
        metadata: BTreeMap::new(),
        body: ByteBuf::from(RESULT),
    };
    let table = [
        (
            "not encrypted",
            JobReply::Done {
                result: plain,
                receipt: receipt_for(RESULT),
            },
        ),
        (
            "another result",
            JobReply::Done {
                result: object(RESULT),
                receipt: receipt_for(b"another"),
            },
        ),
        (
            "not an attestation document",
            JobReply::Done {
                result: object(RESULT),
                receipt: ByteBuf::from(vec![0xf6]),
            },
        ),
        (
            "empty or too large",
            JobReply::Done {
                result: object(b""),
                receipt: receipt_for(b""),
            },
        ),
    ];
    for (why, reply) in table {
        let error = failure(&store, answering(&reply)).await;
        assert!(matches!(error, SubmitError::UnfitReply { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = failure(&store, answering_bytes(b"no CBOR message".to_vec())).await;
    assert!(matches!(error, SubmitError::BadReply(_)), "{error:?}");
    assert!(!store.stores());
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_refused_before_it_arrives() {
    let store = memory_with(&["scan"]);
    let boaster = Enclave {
        conversation: |mut stream: DuplexStream| async move {
            read_frame(&mut stream, &LARGE).await.unwrap();
            stream.write_all(&[0xff; 4]).await.unwrap();
            std::future::pending::<()>().await;
        },
        pipe_bytes: 4096,
    };
    let error = failure(&store, boaster).await;
    assert!(error.to_string().contains("4294967295 bytes"), "{error}");
    assert!(!store.stores());
}

#[tokio::test]
async fn what_cannot_be_fetched_or_reached_is_one_clear_error() {
    let store = memory_with(&[]);
    let error = failure(&store, answering(&done())).await;
    assert!(error.to_string().contains("object") && error.to_string().contains("NoSuchKey"));

    let store = memory_with(&["scan"]);
    lock(&store.objects).remove("scan.job");
    let error = failure(&store, answering(&done())).await;
    assert!(
        matches!(
            error,
            SubmitError::Fetch {
                what: "manifest",
                ..
            }
        ),
        "{error:?}"
    );

    let store = memory_with(&["scan"]);
    lock(&store.objects).insert("scan".into(), object(&vec![0; (4 << 20) + 1]));
    assert_eq!(
        failure(&store, answering(&done())).await.code(),
        "object_too_large"
    );

    let store = memory_with(&["scan"]);
    let error = failure(&store, NobodyHome).await;
    assert_eq!(error.code(), "enclave_unreachable");
    assert!(error.to_string().contains("CID 16 port 5000"), "{error}");
    assert!(!store.stores());
}

#[tokio::test]
async fn a_result_never_stands_without_its_receipt_whatever_fails() {
    for older in [false, true] {
        for fault in [Fault::Refused, Fault::LostBefore, Fault::LostAfter] {
            let mut at = 0;
            loop {
                let mut store = memory_with(&["scan"]);
                if older {
                    let receipt = StoredObject {
                        body: receipt_for(b"older"),
                        ..Default::default()
                    };
                    lock(&store.objects).insert("scan.result".into(), object(b"older"));
                    lock(&store.objects).insert("scan.result.receipt".into(), receipt);
                }
                store.fault = Some((at, fault));
                let outcome = submitter(&store, answering(&done()))
                    .submit(&job())
                    .await
                    .outcome;
                let context = format!("{fault:?} at {at}, older {older}: {outcome:?}");
                if let Some(result) = store.has("scan.result") {
                    let receipt = store.has("scan.result.receipt").expect(&context);
                    assert_eq!(receipt.body, receipt_for(&result.body), "{context}");
                }
                if at >= store.operations().len() {
                    assert!(outcome.is_ok(), "{context}");
                    break;
                }
                assert!(outcome.is_err(), "{context}");
                at += 1;
            }
            assert_eq!(at, if older { 6 } else { 5 }, "operations without a fault");
        }
    }
}

#[tokio::test]
async fn a_receipt_whose_result_was_surely_not_stored_is_removed() {
    let mut store = memory_with(&["scan"]);
    store.fault = Some((4, Fault::Refused));
    let error = failure(&store, answering(&done())).await;
    assert!(
        matches!(error, SubmitError::Store { what: "result", .. }),
        "{error:?}"
    );
    assert_eq!(store.has("scan.result.receipt"), None);
}

async fn queue<D: Door + 'static>(
    store: &Memory,
    door: D,
    input: &str,
    jobs_max: usize,
) -> (Vec<serde_json::Value>, Tally) {
    let (_stop, told) = watch::channel(false);
    let mut output = Vec::new();
    let limits = QueueLimits {
        jobs_max,
        ..QueueLimits::default()
    };
    let submitter = Arc::new(submitter(store, door));
    let tally = queue::run(input.as_bytes(), &mut output, submitter, limits, told)
        .await
        .unwrap();
    let text = String::from_utf8(output).unwrap();
    (
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        tally,
    )
}

pub(crate) fn line(name: &str) -> String {
    format!(
        r#"{{"bucket":"images","key":"{name}","manifest_key":"{name}.job","result_key":"{name}.result"}}"#
    ) + "\n"
}

#[tokio::test]
async fn a_queue_reports_each_line_and_outlives_bad_ones() {
    let store = memory_with(&["a", "c"]);
    let input = format!(
        "{}not json\n\n{}{}{}",
        line("a"),
        line("b"),
        r#"{"bucket":"images","key":"c","manifest_key":"c.job","result_key":"c","x":1}"#,
        "\n".to_owned() + line("c").trim_end(),
    );
    let (reports, tally) = queue(&store, answering(&done()), &input, 1).await;
    let ends: Vec<_> = reports
        .iter()
        .map(|r| (r["status"].as_str().unwrap(), r["code"].as_str()))
        .collect();
    assert_eq!(
        ends,
        [
            ("done", None),
            ("failed", Some("bad_line")),
            ("failed", Some("s3_refused")),
            ("failed", Some("bad_line")),
            ("done", None),
        ]
    );
    assert_eq!(
        tally,
        Tally {
            done: 2,
            refused: 0,
            failed: 3
        }
    );
    assert_eq!(
        reports[0],
        serde_json::json!({
            "job": "job-a", "status": "done",
            "result_key": "a.result", "receipt_key": "a.result.receipt",
        })
    );
    assert_eq!(reports[2]["result_key"], "b.result");
}

#[tokio::test]
async fn a_queue_reports_a_refusal_as_the_enclave_put_it() {
    let store = memory_with(&["a"]);
    let reply = JobReply::Refused {
        refusal: Refusal::Validity(ValidityFault::Expired),
        report: None,
    };
    let (reports, tally) = queue(&store, answering(&reply), &line("a"), 1).await;
    assert_eq!(reports[0]["status"], "refused");
    assert_eq!(reports[0]["code"], "expired");
    assert_eq!(reports[0]["reason"], "expired");
    assert!(
        reports[0]["message"]
            .as_str()
            .unwrap()
            .contains("the job has expired")
    );
    assert_eq!(
        tally,
        Tally {
            done: 0,
            refused: 1,
            failed: 0
        }
    );
}

#[tokio::test]
async fn a_queue_runs_as_many_jobs_at_once_as_it_may() {
    // Each conversation waits until three are open: with fewer at once, none ends.
    let store = memory_with(&["a", "b", "c"]);
    let gate = Arc::new(tokio::sync::Barrier::new(3));
    let door = Enclave {
        conversation: move |stream| {
            let gate = Arc::clone(&gate);
            async move {
                gate.wait().await;
                answer(stream, done().encode().unwrap()).await;
            }
        },
        pipe_bytes: 4096,
    };
    let input = line("a") + &line("b") + &line("c");
    let (_, tally) = queue(&store, door, &input, 3).await;
    assert_eq!(
        tally,
        Tally {
            done: 3,
            refused: 0,
            failed: 0
        }
    );
}

#[tokio::test]
async fn two_jobs_at_once_never_write_the_same_result() {
    let store = memory_with(&["a"]);
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let door = Enclave {
        conversation: move |stream| {
            let gate = Arc::clone(&gate);
            async move {
                let _held = gate.acquire().await.unwrap();
                answer(stream, done().encode().unwrap()).await;
            }
        },
        pipe_bytes: 4096,
    };
    let (_stop, told) = watch::channel(false);
    let (mut told_us, output) = duplex(64 * 1024);
    let limits = QueueLimits {
        jobs_max: 2,
        ..QueueLimits::default()
    };
    let input = line("a") + &line("a");
    let submitter = Arc::new(submitter(&store, door));
    let running = tokio::spawn(async move {
        queue::run(input.as_bytes(), output, submitter, limits, told)
            .await
            .unwrap()
    });
    let mut first = vec![0; 1];
    tokio::io::AsyncReadExt::read_exact(&mut told_us, &mut first)
        .await
        .unwrap();
    opened.add_permits(1); // only once the second job has been answered
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut told_us, &mut rest)
        .await
        .unwrap();
    assert!(
        rest.lines().next().unwrap().contains("result_key_in_use"),
        "{rest}"
    );
    assert_eq!(
        running.await.unwrap(),
        Tally {
            done: 1,
            refused: 0,
            failed: 1
        }
    );
}

#[tokio::test]
async fn a_stopping_queue_reports_the_jobs_that_it_cut_off() {
    let store = memory_with(&["a"]);
    let (entered, entering) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let enter = Arc::clone(&entered);
    let stuck = Enclave {
        conversation: move |stream: DuplexStream| {
            enter.add_permits(1);
            let entering = Arc::clone(&entering);
            async move {
                let _never = entering.acquire().await;
                drop(stream);
            }
        },
        pipe_bytes: 4096,
    };
    let (stop, told) = watch::channel(false);
    let (mut input, queue_input) = duplex(4096);
    input.write_all(line("a").as_bytes()).await.unwrap();
    let submitter = Arc::new(submitter(&store, stuck));
    let limits = QueueLimits {
        grace: Duration::from_millis(10),
        ..QueueLimits::default()
    };
    let running = tokio::spawn(async move {
        let mut output = Vec::new();
        let input = tokio::io::BufReader::new(queue_input);
        let tally = queue::run(input, &mut output, submitter, limits, told)
            .await
            .unwrap();
        (String::from_utf8(output).unwrap(), tally)
    });
    let _in_hand = entered.acquire().await.unwrap();
    stop.send_replace(true);
    let (output, tally) = running.await.unwrap();
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["code"], "interrupted");
    assert_eq!(report["result_key"], "a.result");
    assert_eq!(
        tally,
        Tally {
            done: 0,
            refused: 0,
            failed: 1
        }
    );
    assert!(!store.stores());
}
