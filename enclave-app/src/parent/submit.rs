//! One job, from the stored object to the stored result.
//!
//! Fetch the encrypted object and its signed manifest, hand both to the enclave
//! with the parent's credentials, look the answer over, store result and receipt.
//! The parent judges nothing that the enclave judges better: whether the manifest
//! is genuine, timely and about this object is the enclave's to say.
//!
//! **A result never stands without its receipt.** An older result under the same
//! key is removed first, then the receipt is written, then the result. Whatever
//! fails in between, or if this process dies there, leaves at most a receipt
//! without a result, which proves nothing and is overwritten by the next attempt;
//! after a failure that is certain, that too is removed. For a refused job nothing is stored
//! but, in the same way and under a name of its own, the sealed report that tells the
//! clinician why. Does not model concurrent jobs with the same result key;
//! [`super::queue`] keeps its own apart.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ciborium::Value;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    time::{sleep, timeout},
};

use super::{
    credentials::{CredentialSource, CredentialSourceError, for_the_enclave},
    s3::{ObjectStore, S3Error},
};
use crate::{
    job::{
        JobReply, JobRequest, Manifest, Refusal, SealedReport, StoredObject, WireError,
        progress::{FromEnclave, Stage},
        wire::{ENVELOPE_BYTES_MAX, MANIFEST_BYTES_MAX, RECEIPT_BYTES_MAX},
    },
    vsock::{
        framing::{FrameError, FrameLimits, read_frame, write_frame},
        transport::{ConnectRetry, TransportError, VsockAddress, VsockStream, connect},
    },
};

/// What a receipt's key ends in, after the result's key.
pub const RECEIPT_SUFFIX: &str = ".receipt";
/// What the key of a refused job's report ends in, after the result's key.
pub const REFUSED_SUFFIX: &str = ".refused";
/// The metadata entry of the S3 Encryption Client's V3 format that holds the
/// wrapped data key (kms.md §5): what lacks it is not an encrypted result.
const WRAPPED_KEY: &str = "x-amz-3";
/// How long an answer is still awaited from an enclave that stopped listening:
/// long enough for a refusal that is already on its way.
const LAST_WORD: Duration = Duration::from_secs(2);

/// One job's names in S3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The bucket of everything else.
    pub bucket: String,
    /// The encrypted input.
    pub key: String,
    /// The signed manifest.
    pub manifest_key: String,
    /// Where the encrypted result goes.
    pub result_key: String,
}

impl Job {
    /// Where the receipt goes.
    #[must_use]
    pub fn receipt_key(&self) -> String {
        receipt_of(&self.result_key)
    }

    /// Where the sealed report of a refusal goes.
    #[must_use]
    pub fn report_key(&self) -> String {
        format!("{}{REFUSED_SUFFIX}", self.result_key)
    }

    fn checked(&self) -> Result<(), SubmitError> {
        let bad = |why| Err(SubmitError::BadJob { why });
        if [
            &self.bucket,
            &self.key,
            &self.manifest_key,
            &self.result_key,
        ]
        .iter()
        .any(|name| name.is_empty())
        {
            return bad("bucket, key, manifest key and result key must all be given");
        }
        let inputs = [&self.key, &self.manifest_key];
        let outputs = [
            self.result_key.clone(),
            self.receipt_key(),
            self.report_key(),
            receipt_of(&self.report_key()),
        ];
        if outputs.iter().any(|output| inputs.contains(&output)) {
            return bad("the result would overwrite the input or its manifest");
        }
        Ok(())
    }
}

fn receipt_of(key: &str) -> String {
    format!("{key}{RECEIPT_SUFFIX}")
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// How to get a stream to the enclave.
pub trait Door: Send + Sync {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin;

    /// Opens one.
    ///
    /// # Errors
    /// [`TransportError`].
    fn open(&self) -> impl Future<Output = Result<Self::Stream, TransportError>> + Send;
}

/// The enclave's job port.
#[derive(Clone, Copy, Debug)]
pub struct EnclaveDoor {
    /// Where it listens.
    pub address: VsockAddress,
    /// How long to wait for it to start.
    pub retry: ConnectRetry,
}

impl Door for EnclaveDoor {
    type Stream = VsockStream;

    async fn open(&self) -> Result<VsockStream, TransportError> {
        connect(self.address, &self.retry).await
    }
}

/// What a job may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmitLimits {
    /// Largest object fetched and largest result stored, in bytes.
    pub object_bytes_max: usize,
    /// Longest time for sending the job, and then from its beginning to the answer.
    pub enclave: Duration,
    /// Longest time in the enclave's line, and for trying again while it is busy.
    pub queue: Duration,
    /// Longest silence of an enclave that has a job: it says every second how far it is.
    pub silence: Duration,
    /// Longest pause before a busy enclave is asked again, whatever it says.
    pub pause_max: Duration,
}

impl Default for SubmitLimits {
    /// 64 MiB, as the enclave's own default; two minutes, ten in line; ten seconds.
    fn default() -> Self {
        Self {
            object_bytes_max: 64 * 1024 * 1024,
            enclave: Duration::from_secs(120),
            queue: Duration::from_secs(600),
            silence: Duration::from_secs(10),
            pause_max: Duration::from_secs(30),
        }
    }
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The encrypted result's key.
    pub result_key: String,
    /// The receipt's key.
    pub receipt_key: String,
}

/// Why a job has no result. In every case no result stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The operator's job makes no sense.
    #[error("the job cannot be run: {why}")]
    BadJob {
        /// What is wrong.
        why: &'static str,
    },
    /// An input could not be fetched.
    #[error("the {what} could not be fetched: {source}")]
    Fetch {
        /// `object` or `manifest`.
        what: &'static str,
        /// Why.
        source: Box<S3Error>,
    },
    /// There are no credentials to lend.
    #[error(transparent)]
    Credentials(#[from] CredentialSourceError),
    /// The inputs make no message that the enclave would read.
    #[error("the job cannot be sent: {0}")]
    Request(#[source] WireError),
    /// The enclave could not be reached.
    #[error("the enclave cannot be reached: {0}")]
    Enclave(#[from] TransportError),
    /// The connection broke while the job was being sent.
    #[error("the job could not be sent to the enclave: {0}")]
    Send(#[source] FrameError),
    /// No whole answer came.
    #[error("the enclave gave no answer: {0}")]
    NoReply(#[source] FrameError),
    /// The answer is not a message.
    #[error("the enclave's answer cannot be read: {0}")]
    BadReply(#[source] WireError),
    /// The answer is a message that must not be stored.
    #[error("the enclave's answer cannot be stored: {why}")]
    UnfitReply {
        /// What is wrong.
        why: &'static str,
    },
    /// The enclave refused the job.
    #[error("the enclave refused the job: {refusal}")]
    Refused {
        /// Why, as far as a parent may know.
        refusal: Refusal,
        /// The key of the sealed report that tells the clinician more, if there is one.
        report_key: Option<String>,
    },
    /// The result could not be stored.
    #[error("the {what} could not be stored: {source}")]
    Store {
        /// `older result` (to be removed), `receipt`, `result` or `report`.
        what: &'static str,
        /// Why.
        source: Box<S3Error>,
    },
}

impl SubmitError {
    fn fetching(what: &'static str) -> impl Fn(S3Error) -> Self {
        move |source| Self::Fetch {
            what,
            source: Box::new(source),
        }
    }

    fn storing(what: &'static str) -> impl Fn(S3Error) -> Self {
        move |source| Self::Store {
            what,
            source: Box::new(source),
        }
    }

    /// A stable word for programs; for a refusal, the enclave's.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadJob { .. } | Self::Request(_) => "bad_job",
            Self::Fetch { source, .. } | Self::Store { source, .. } => source.code(),
            Self::Credentials(_) => "no_credentials",
            Self::Enclave(_) => "enclave_unreachable",
            Self::Send(_) | Self::NoReply(_) => "enclave_broke_off",
            Self::BadReply(_) | Self::UnfitReply { .. } => "bad_reply",
            Self::Refused { refusal, .. } => refusal.code().as_str(),
        }
    }

    /// Which of the refusals with that code it is, as a stable word.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.reason()).filter(|word| !word.is_empty()),
            _ => None,
        }
    }

    /// The key of the sealed report of a refusal, if there is one.
    #[must_use]
    pub fn report_key(&self) -> Option<&str> {
        match self {
            Self::Refused { report_key, .. } => report_key.as_deref(),
            _ => None,
        }
    }

    /// Whether the enclave decided so, as opposed to something having failed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// The end of a job.
#[derive(Debug)]
pub struct Submitted {
    /// The job's name as its manifest claims it, once that has been fetched.
    pub job: Option<String>,
    /// What became of it.
    pub outcome: Result<Stored, SubmitError>,
}

/// Runs jobs against one store and one enclave.
#[derive(Debug)]
pub struct Submitter<S, D> {
    /// Where objects are.
    pub store: S,
    /// Where the enclave is.
    pub door: D,
    /// What the enclave is lent.
    pub credentials: std::sync::Arc<CredentialSource>,
    /// What a job may cost.
    pub limits: SubmitLimits,
}

impl<S: ObjectStore, D: Door> Submitter<S, D> {
    /// Runs one job to its end. Dropping the future leaves no result without a
    /// receipt.
    pub async fn submit(&self, job: &Job) -> Submitted {
        let mut name = None;
        let outcome = self.steps(job, &mut name).await;
        Submitted { job: name, outcome }
    }

    async fn steps(&self, job: &Job, name: &mut Option<String>) -> Result<Stored, SubmitError> {
        job.checked()?;

        let begun = Instant::now();
        let (object, manifest) = tokio::join!(
            self.store
                .get(&job.bucket, &job.key, self.limits.object_bytes_max),
            self.store
                .get(&job.bucket, &job.manifest_key, MANIFEST_BYTES_MAX),
        );
        let object = object.map_err(SubmitError::fetching("object"))?;
        let manifest = manifest.map_err(SubmitError::fetching("manifest"))?.body;
        *name = Manifest::claimed_job(&manifest);
        let label = name.as_deref().unwrap_or("unnamed");
        step("fetched from S3", label, begun);

        let begun = Instant::now();
        let credentials = for_the_enclave(&self.credentials.current().await?);
        let request = JobRequest {
            manifest,
            credentials,
            object,
        };
        let bytes = request.encode().map_err(SubmitError::Request)?;
        drop(request);
        let reply = loop {
            let stream = self.door.open().await?;
            let reply = self.converse(stream, &bytes, label, begun).await?;
            let again = match &reply {
                JobReply::Refused { refusal, .. } => refusal.retry_after(),
                JobReply::Done { .. } => None,
            };
            match again {
                Some(after) if begun.elapsed() < self.limits.queue => {
                    let pause = Duration::from_millis(after.millis()).min(self.limits.pause_max);
                    sleep(jittered(pause)).await;
                }
                _ => break reply,
            }
        };
        let (result, receipt) = match reply {
            JobReply::Done { result, receipt } => (result, receipt),
            JobReply::Refused { refusal, report } => {
                return Err(SubmitError::Refused {
                    refusal,
                    report_key: match report {
                        Some(report) => Some(self.keep_refusal(job, report).await?),
                        None => None,
                    },
                });
            }
        };
        self.fit(&result, &receipt)?;

        let begun = Instant::now();
        let stored = self.keep(job, result, receipt).await?;
        step("result stored", label, begun);
        Ok(stored)
    }

    /// Sends the request and reads progress until the answer. An enclave may answer
    /// before it has read everything, for instance that it is busy; that answer counts.
    async fn converse(
        &self,
        stream: D::Stream,
        request: &[u8],
        label: &str,
        begun: Instant,
    ) -> Result<JobReply, SubmitError> {
        let SubmitLimits {
            enclave, silence, ..
        } = self.limits;
        let frame = FrameLimits::for_bodies(
            self.limits
                .object_bytes_max
                .saturating_add(ENVELOPE_BYTES_MAX),
        );
        let sending = FrameLimits {
            total: enclave,
            ..frame
        };
        let while_sending = frame.waiting(enclave.saturating_mul(2));
        let (mut read, mut write) = split(stream);
        let first = {
            let mut reading = std::pin::pin!(read_frame(&mut read, &while_sending));
            tokio::select! {
                biased;
                early = &mut reading => early,
                sent = write_frame(&mut write, request, &sending) => match sent {
                    Ok(()) => {
                        step("sent to the enclave", label, begun);
                        match timeout(silence, &mut reading).await {
                            Ok(first) => first,
                            Err(_) => Err(FrameError::Idle { idle: silence }),
                        }
                    }
                    Err(error) => match timeout(LAST_WORD, &mut reading).await {
                        Ok(Ok(reply)) => Ok(reply),
                        Ok(Err(_)) | Err(_) => return Err(SubmitError::Send(error)),
                    },
                },
            }
        };
        let patient = FrameLimits {
            total: enclave,
            idle: silence,
            ..frame.beginning_within(silence)
        };
        let (sent, mut running) = (Instant::now(), None);
        let mut message = first;
        loop {
            let bytes = message.map_err(SubmitError::NoReply)?;
            let progress = match FromEnclave::decode(&bytes).map_err(SubmitError::BadReply)? {
                FromEnclave::Reply(reply) => return Ok(reply),
                FromEnclave::Progress(progress) => progress,
            };
            let (since, total) = match progress.stage {
                Stage::Queued => (sent, self.limits.queue),
                _ => (*running.get_or_insert_with(Instant::now), enclave),
            };
            if since.elapsed() > total {
                return Err(SubmitError::NoReply(FrameError::TooSlow { total }));
            }
            tracing::debug!(
                target: "progress", stage = ?progress.stage, ahead = progress.ahead, job = label
            );
            message = read_frame(&mut read, &patient).await;
        }
    }

    /// Looks over what the enclave wants stored. This protects the bucket from a
    /// faulty enclave, not the clinician from a hostile parent: only verifying
    /// the receipt's signature and measurements does that.
    fn fit(&self, result: &StoredObject, receipt: &[u8]) -> Result<(), SubmitError> {
        let unfit = |why| Err(SubmitError::UnfitReply { why });
        if result.body.is_empty() || result.body.len() > self.limits.object_bytes_max {
            return unfit("the result is empty or too large");
        }
        if !result.metadata.contains_key(WRAPPED_KEY) {
            return unfit("the result carries no wrapped data key, so it is not encrypted");
        }
        match receipt_user_data(receipt) {
            None => unfit("the receipt is not an attestation document with user data"),
            Some(digest) if digest != Manifest::digest(&result.body) => {
                unfit("the receipt is for another result")
            }
            Some(_) => Ok(()),
        }
    }

    async fn keep(
        &self,
        job: &Job,
        result: StoredObject,
        receipt: ByteBuf,
    ) -> Result<Stored, SubmitError> {
        let result_key = job.result_key.clone();
        let receipt_key = self
            .keep_pair(&job.bucket, &result_key, "result", result, receipt)
            .await?;
        Ok(Stored {
            result_key,
            receipt_key,
        })
    }

    /// Stores what the enclave has to say to the clinician of a refused job. A result
    /// of an earlier run stays: this job's manifest is not known to be newer.
    async fn keep_refusal(&self, job: &Job, report: SealedReport) -> Result<String, SubmitError> {
        self.fit(&report.object, &report.receipt)?;
        let key = job.report_key();
        let SealedReport { object, receipt } = report;
        self.keep_pair(&job.bucket, &key, "report", object, receipt)
            .await?;
        Ok(key)
    }

    /// Stores an object and its receipt so that the object never stands without it;
    /// returns the receipt's key.
    async fn keep_pair(
        &self,
        bucket: &str,
        key: &str,
        what: &'static str,
        object: StoredObject,
        receipt: ByteBuf,
    ) -> Result<String, SubmitError> {
        let receipt_key = receipt_of(key);
        let failed = SubmitError::storing;

        // An older one must not stand beside the new receipt.
        let older = self.store.exists(bucket, key).await;
        if older.map_err(failed("older result"))? {
            self.store
                .delete(bucket, key)
                .await
                .map_err(failed("older result"))?;
        }
        let receipt = StoredObject {
            body: receipt,
            ..StoredObject::default()
        };
        self.store
            .put(bucket, &receipt_key, receipt)
            .await
            .map_err(failed("receipt"))?;
        if let Err(source) = self.store.put(bucket, key, object).await {
            if source.outcome_unknown() {
                // It may yet appear; then its receipt must be there.
                tracing::warn!(
                    target: "submit", key = receipt_key,
                    "left the receipt in place: whether its {what} was stored is unknown"
                );
            } else if let Err(error) = self.store.delete(bucket, &receipt_key).await {
                tracing::warn!(
                    target: "submit", key = receipt_key, %error,
                    "a receipt without its {what} was left behind"
                );
            }
            return Err(failed(what)(source));
        }
        Ok(receipt_key)
    }
}

/// Between half and one and a half of `pause`, so that jobs that were turned away
/// together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness the pause is as good as it gets.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    pause.mul_f64(0.5 + f64::from(byte) / 255.0)
}

fn step(name: &str, job: &str, begun: Instant) {
    let ms = begun.elapsed().as_secs_f64() * 1000.0;
    tracing::info!(target: "step", name, ms, job);
}

/// The user data that an attestation document (COSE_Sign1, tagged or not)
/// claims; no signature is checked.
fn receipt_user_data(receipt: &[u8]) -> Option<Vec<u8>> {
    if receipt.len() > RECEIPT_BYTES_MAX {
        return None;
    }
    let message: Value = ciborium::from_reader(receipt).ok()?;
    let parts = match message {
        Value::Tag(18, inner) => inner.into_array().ok()?,
        other => other.into_array().ok()?,
    };
    let payload = parts.get(2)?.as_bytes()?;
    let document: Value = ciborium::from_reader(payload.as_slice()).ok()?;
    document
        .into_map()
        .ok()?
        .into_iter()
        .find(|(name, _)| name.as_text() == Some("user_data"))
        .and_then(|(_, value)| value.into_bytes().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_a_job_whose_result_would_replace_its_input() {
        let job = |key: &str, manifest_key: &str, result_key: &str| Job {
            bucket: "images".into(),
            key: key.into(),
            manifest_key: manifest_key.into(),
            result_key: result_key.into(),
        };
        assert!(job("a", "a.job", "a.result").checked().is_ok());
        for bad in [
            job("a", "a.job", "a"),
            job("a", "a.job", "a.job"),
            job("r.receipt", "a.job", "r"),
            job("a", "r.receipt", "r"),
            job("r.refused", "a.job", "r"),
            job("a", "r.refused.receipt", "r"),
            job("", "a.job", "r"),
            job("a", "a.job", ""),
        ] {
            assert!(
                matches!(bad.checked(), Err(SubmitError::BadJob { .. })),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_receipt_is_looked_at_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = receipt_user_data(&bytes);
        }
    }
}
