//! One job, from the parent's request to the receipt.
//!
//! Source of truth: the data flow of the design; the attack table of ground truth
//! KMS §6 for what is checked where. The parent's request is not believed: the
//! manifest is signed, the object is named by digest and by the context that KMS
//! authenticates, credentials only decide whether KMS answers. Nothing derived
//! from the plaintext leaves except inside a sealed, padded report and, if the image
//! cannot be used, one of the words of [`crate::job::refusal`]. A job that ends for
//! its image asks KMS for the same two keys and leaves as many bytes as one that
//! has findings.
//!
//! An order is run once: asked again, the enclave gives the same sealed answer
//! ([`super::memory`]).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

pub use super::answer::Finished;
pub use super::report::{NOTICE, REPORT_BYTES_MULTIPLE};

use crate::{
    clock::Clock,
    enclave::{
        answer::{Answer, Receipt, Sealed},
        config::Config,
        examine::Examiner,
        kms::{AttestedKms, KmsError},
        memory::{Begun, Memory},
        nsm::{NsmError, SecureModule},
        report::{PaddedText, Subject, sha256},
        steps::{Course, Steps, name},
    },
    envelope::{
        DataKey, EncryptionContext, Envelope, EnvelopeError, input_context, request_context,
        result_context,
    },
    job::{
        Refusal,
        manifest::{Manifest, ManifestError, SubmitterPublicKey},
        refusal::{KmsCall, ManifestFault, ObjectFault, ValidityFault},
        wire::{JobCredentials, JobRequest, StoredObject},
    },
};

/// Runs jobs; shared by all connections.
#[allow(missing_debug_implementations)] // holds the device
pub struct Pipeline {
    submitters: Vec<SubmitterPublicKey>,
    input_key_arn: String,
    result_key_arn: String,
    object_bytes_max: usize,
    clock_skew_max: Duration,
    examiner: Examiner,
    memory: Arc<Memory>,
    kms: AttestedKms,
    module: Arc<dyn SecureModule>,
    clock: Arc<dyn Clock>,
}

impl Pipeline {
    /// A pipeline that trusts what `config` says.
    #[must_use]
    pub fn new(
        config: &Config,
        examiner: Examiner,
        kms: AttestedKms,
        module: Arc<dyn SecureModule>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            submitters: config
                .submitters
                .iter()
                .map(|s| s.public_key.clone())
                .collect(),
            input_key_arn: config.input_key_arn.clone(),
            result_key_arn: config.result_key_arn.clone(),
            object_bytes_max: config.limits.object_bytes_max,
            clock_skew_max: config.limits.clock_skew_max,
            examiner,
            memory: Memory::new(config.limits.remembered_max),
            kms,
            module,
            clock,
        }
    }

    /// Runs one job to its end.
    ///
    /// # Errors
    /// See [`JobError`]. Nothing but the error leaves then.
    pub async fn run(&self, request: JobRequest) -> Result<Finished, JobError> {
        self.run_on(request, Course::default()).await
    }

    /// The same, on a course.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_on(&self, request: JobRequest, course: Course) -> Result<Finished, JobError> {
        let began = std::time::Instant::now();
        let JobRequest {
            manifest,
            credentials,
            object,
        } = request;
        let order = self.check(manifest, object, &course).await?;
        let begun = self
            .memory
            .begin(&order.manifest, order.sha256, self.clock.now_ms())
            .map_err(JobError::Remembered)?;
        let ticket = match begun {
            Begun::New(ticket) => ticket,
            Begun::Again(answer) => return outcome_of(*answer),
        };
        let steps = Steps::on(order.manifest.job.clone(), course);
        steps.finished(name::JOB_CHECKED, began);
        let outcome = self.run_order(order, &credentials, &steps).await;
        match &outcome {
            Ok(finished) => ticket.answered(Answer::Done(finished.clone())),
            Err(JobError::Unusable {
                refusal: refusal @ (Refusal::Image(_) | Refusal::Model(_)),
                report: Some(report),
            }) => ticket.answered(Answer::Refused(*refusal, Some(Finished::clone(report)))),
            // Nothing that the clinician could read came of it: it may run again.
            Err(_) => drop(ticket),
        }
        outcome
    }

    async fn run_order(
        &self,
        order: Order,
        credentials: &JobCredentials,
        steps: &Steps,
    ) -> Result<Finished, JobError> {
        let data_key = self
            .kms
            .decrypt(
                credentials,
                &self.input_key_arn,
                &order.envelope.wrapped_key,
                &order.envelope.context,
                steps,
            )
            .await
            .map_err(|source| JobError::Kms {
                call: KmsCall::Decrypt,
                source,
            })?;

        let subject = Subject::of(&order.manifest, self.examiner.model_sha256_hex());
        let Order {
            manifest,
            envelope,
            body,
            ..
        } = order;
        let plaintext = steps
            .run(
                name::OBJECT_OPENED,
                blocking(steps.course(), move || open(&envelope, &data_key, &body)),
            )
            .await?;

        // From here on there is plaintext: whatever becomes of it, two keys are asked
        // for, and a report is sealed that only the clinician reads.
        let verdict = self.examiner.examine(&subject, plaintext, steps).await;
        let mut context = result_context(
            &manifest,
            &subject.object_sha256_hex,
            &subject.model_sha256_hex,
        );
        context.extend(verdict.context());
        let sealed = self.seal(credentials, steps, verdict.text, context).await;
        match verdict.refusal {
            None => sealed,
            Some(refusal) => Err(JobError::Unusable {
                refusal,
                report: sealed.ok().map(Box::new),
            }),
        }
    }

    /// Seals a report under a fresh key of KMS and has the module vouch for it.
    async fn seal(
        &self,
        credentials: &JobCredentials,
        steps: &Steps,
        text: PaddedText,
        context: EncryptionContext,
    ) -> Result<Finished, JobError> {
        let context = request_context(&context).map_err(JobError::Envelope)?;
        let key = self
            .kms
            .generate_data_key(credentials, &self.result_key_arn, &context, steps)
            .await
            .map_err(|source| JobError::Kms {
                call: KmsCall::GenerateDataKey,
                source,
            })?;
        let sealing = blocking(steps.course(), move || {
            Ok(Sealed::new(&text, &key, &context))
        });
        let result = steps.run(name::RESULT_SEALED, sealing).await?;
        let (module, clock) = (self.module.clone(), self.clock.clone());
        let skew_max = self.clock_skew_max;
        let vouching = blocking(steps.course(), move || {
            let receipt = Receipt::over(&result, &*module, &*clock, skew_max)
                .map_err(JobError::Attestation)?;
            Ok(Finished { result, receipt })
        });
        steps.run(name::RECEIPT, vouching).await
    }

    /// Everything that can be known before KMS is asked. Digests of up to
    /// `object_bytes_max` are taken, so not on an async thread.
    async fn check(
        &self,
        manifest: ByteBuf,
        object: StoredObject,
        course: &Course,
    ) -> Result<Order, JobError> {
        let size_bytes = object.body.len();
        if size_bytes > self.object_bytes_max {
            let max = self.object_bytes_max;
            return Err(JobError::ObjectTooLarge {
                size_bytes,
                bytes_max: max,
            });
        }
        let submitters = self.submitters.clone();
        let now_ms = self.clock.now_ms();
        blocking(course, move || {
            let signed = manifest;
            let manifest = Manifest::verify(&signed, &submitters)?;
            manifest.check(now_ms, &object.body)?;
            let envelope = Envelope::parse(&object.metadata).map_err(JobError::Envelope)?;
            let expected =
                request_context(&input_context(&manifest)).map_err(JobError::Envelope)?;
            if envelope.context != expected {
                return Err(JobError::OtherContext);
            }
            Ok(Order {
                sha256: order_sha256(&signed, &object.metadata),
                manifest,
                envelope,
                body: object.body.into_vec(),
            })
        })
        .await
    }
}

/// Why a job has no result. Stays inside: what leaves is its [`JobError::refusal`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// Not a trusted submitter's order for this object at this time.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The job was run before, or cannot be remembered.
    #[error("{0}")]
    Remembered(Refusal),
    /// The body is larger than configured.
    #[error("the object has {size_bytes} bytes; at most {bytes_max} are accepted")]
    ObjectTooLarge {
        /// Its size.
        size_bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The object's metadata is not acceptable.
    #[error(transparent)]
    Envelope(EnvelopeError),
    /// The object was encrypted for something else than the signed job says.
    #[error("the object's encryption context is not the one that the signed job calls for")]
    OtherContext,
    /// The object does not open. Whether the key or the content is wrong stays
    /// inside.
    #[error("the object does not open with its data key")]
    NotOpened,
    /// An attested call failed.
    #[error("{}: {source}", call.sentence())]
    Kms {
        /// Which.
        call: KmsCall,
        /// Why.
        source: KmsError,
    },
    /// The plaintext gives no findings.
    #[error("{refusal}")]
    Unusable {
        /// Why, as far as it may be told.
        refusal: Refusal,
        /// Why exactly, for the clinician; absent if KMS gave no key for it.
        report: Option<Box<Finished>>,
    },
    /// No receipt.
    #[error("receipt: {0}")]
    Attestation(NsmError),
    /// The work was cut short by a panic or the end of the process.
    #[error("the enclave failed during the job")]
    Interrupted,
}

impl JobError {
    /// What the parent is told.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Manifest(error) => error.into(),
            Self::Remembered(refusal) => *refusal,
            Self::ObjectTooLarge { .. } => Refusal::Object(ObjectFault::TooLarge),
            Self::Envelope(error) => Refusal::Object(error.into()),
            Self::OtherContext => Refusal::Object(ObjectFault::OtherContext),
            Self::NotOpened => Refusal::Object(ObjectFault::NotOpened),
            Self::Kms { call, source } => source.refusal(*call),
            Self::Unusable { refusal, .. } => *refusal,
            Self::Attestation(error) => Refusal::Attestation(error.into()),
            Self::Interrupted => Refusal::Internal,
        }
    }
}

impl From<&ManifestError> for Refusal {
    fn from(error: &ManifestError) -> Self {
        Self::Manifest(match error {
            ManifestError::Expired { .. } => return Self::Validity(ValidityFault::Expired),
            ManifestError::NotYetValid { .. } => return Self::Validity(ValidityFault::NotYet),
            ManifestError::TooLong { .. }
            | ManifestError::NotCose { .. }
            | ManifestError::WrongAlgorithm
            | ManifestError::WrongContentType
            | ManifestError::NotCanonical { .. }
            | ManifestError::Encoding => ManifestFault::Form,
            ManifestError::UnknownSubmitter { .. } => ManifestFault::Submitter,
            ManifestError::BadSignature => ManifestFault::Signature,
            ManifestError::BadField { .. } => ManifestFault::Field,
            ManifestError::DigestMismatch { .. } => ManifestFault::OtherObject,
        })
    }
}

impl From<&EnvelopeError> for ObjectFault {
    fn from(error: &EnvelopeError) -> Self {
        match error {
            EnvelopeError::OldVersion { .. } => Self::OldVersion,
            EnvelopeError::UnexpectedEntry { .. }
            | EnvelopeError::MissingEntry { .. }
            | EnvelopeError::MalformedEntry { .. }
            | EnvelopeError::Algorithm { .. }
            | EnvelopeError::TooLarge
            | EnvelopeError::ReservedContext
            | EnvelopeError::SuiteContext => Self::Metadata,
            EnvelopeError::Commitment | EnvelopeError::Content => Self::NotOpened,
        }
    }
}

impl From<Result<Finished, JobError>> for Answer {
    fn from(outcome: Result<Finished, JobError>) -> Self {
        match outcome {
            Ok(finished) => Self::Done(finished),
            Err(JobError::Unusable { refusal, report }) => {
                Self::Refused(refusal, report.map(|report| *report))
            }
            Err(error) => Self::Refused(error.refusal(), None),
        }
    }
}

/// A job that has passed every check that needs no key.
struct Order {
    /// Of the signed manifest and the object's metadata.
    sha256: [u8; 32],
    manifest: Manifest,
    envelope: Envelope,
    body: Vec<u8>,
}

/// What makes two orders the same: every length first, so that no two of them read alike.
fn order_sha256(manifest: &[u8], metadata: &BTreeMap<String, String>) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(manifest.len() + 4096);
    let texts = metadata.iter().flat_map(|(name, value)| [name, value]);
    for part in std::iter::once(manifest).chain(texts.map(String::as_bytes)) {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    sha256(&bytes)
}

/// An answer as it was when it was first given.
fn outcome_of(answer: Answer) -> Result<Finished, JobError> {
    match answer {
        Answer::Done(finished) => Ok(finished),
        Answer::Refused(refusal, report) => Err(JobError::Unusable {
            refusal,
            report: report.map(Box::new),
        }),
    }
}

fn open(
    envelope: &Envelope,
    data_key: &DataKey,
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, JobError> {
    envelope
        .open(data_key, body)
        .map_err(|_| JobError::NotOpened)
}

/// Work that would hold up an async thread.
async fn blocking<T: Send + 'static>(
    course: &Course,
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    let worked = course.blocking(work).await;
    worked.unwrap_or(Err(JobError::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope;

    #[test]
    fn a_wrong_key_and_a_wrong_tag_are_the_same_error() {
        let refused = |error| open_error(error).to_string();
        assert_eq!(
            refused(EnvelopeError::Commitment),
            refused(EnvelopeError::Content)
        );
    }

    fn open_error(which: EnvelopeError) -> JobError {
        let context = request_context(&EncryptionContext::new()).unwrap();
        let key = DataKey::from_slice(&[3; 32]).unwrap();
        let object = envelope::seal(&key, b"wrapped", &context, b"pixels");
        let envelope = Envelope::parse(&object.metadata).unwrap();
        match which {
            EnvelopeError::Commitment => {
                let other = DataKey::from_slice(&[4; 32]).unwrap();
                open(&envelope, &other, &object.body).unwrap_err()
            }
            _ => open(&envelope, &key, &object.body[1..]).unwrap_err(),
        }
    }
}
