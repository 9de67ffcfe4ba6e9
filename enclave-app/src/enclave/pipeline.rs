//! One job, from the parent's request to the receipt.
//!
//! Source of truth: the data flow of the design; the attack table of ground truth
//! KMS §6 for what is checked where. The parent's request is not believed: the
//! manifest is signed, the object is named by digest and by the context that KMS
//! authenticates, credentials only decide whether KMS answers. Nothing derived
//! from the plaintext leaves except inside the sealed, padded result, and one
//! sentence if the image cannot be used.
//!
//! Does not remember jobs: a manifest may be run again until it expires, and gives
//! the same findings.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use serde::Serialize;
use serde_bytes::ByteBuf;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    clock::Clock,
    enclave::{
        config::Config,
        kms::{AttestedKms, KmsError},
        nsm::{NsmError, SecureModule, attest_now},
        steps::{Steps, name},
    },
    envelope::{
        self, DataKey, EncryptionContext, Envelope, EnvelopeError, input_context, request_context,
        result_context,
    },
    image::{self, DecodeError},
    job::{
        manifest::{Manifest, ManifestError, SubmitterPublicKey},
        wire::{JobReply, JobRequest, RefusalCode, StoredObject},
    },
    model::{Finding, Model, ModelError},
};

/// Runs jobs; shared by all connections.
#[allow(missing_debug_implementations)] // holds the device
pub struct Pipeline {
    submitters: Vec<SubmitterPublicKey>,
    input_key_arn: String,
    result_key_arn: String,
    object_bytes_max: usize,
    clock_skew_max: Duration,
    image_limits: image::Limits,
    model: Arc<Model>,
    kms: AttestedKms,
    module: Arc<dyn SecureModule>,
    clock: Arc<dyn Clock>,
}

/// What a job leaves behind.
#[derive(Debug)]
pub struct Finished {
    /// The sealed findings.
    pub result: StoredObject,
    /// Attestation document whose user data is SHA-256 of the result's body.
    pub receipt: Vec<u8>,
}

impl Pipeline {
    /// A pipeline that trusts what `config` says.
    #[must_use]
    pub fn new(
        config: &Config,
        model: Arc<Model>,
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
            image_limits: config.limits.image,
            model,
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
        let began = std::time::Instant::now();
        let JobRequest {
            manifest,
            credentials,
            object,
        } = request;
        let order = self.check(manifest, object).await?;
        let steps = Steps::of(order.manifest.job.clone());
        steps.finished(name::JOB_CHECKED, began);

        let data_key = self
            .kms
            .decrypt(
                &credentials,
                &self.input_key_arn,
                &order.envelope.wrapped_key,
                &order.envelope.context,
                &steps,
            )
            .await
            .map_err(|source| JobError::Kms {
                operation: "Decrypt",
                source,
            })?;

        let Order {
            manifest,
            envelope,
            body,
            body_sha256_hex,
        } = order;
        let plaintext = steps
            .run(
                name::OBJECT_OPENED,
                blocking(move || open(&envelope, &data_key, &body)),
            )
            .await?;

        let limits = self.image_limits;
        let input = steps
            .run(
                name::IMAGE_DECODED,
                blocking(move || Input::decode(&plaintext, &limits)),
            )
            .await?;

        let model = self.model.clone();
        let (findings, image) = steps
            .run(
                name::INFERENCE,
                blocking(move || Ok((model.infer(&input.tensor)?, input.image))),
            )
            .await?;

        let model_sha256_hex = hex::encode(self.model.sha256());
        let context = request_context(&result_context(
            &manifest,
            &body_sha256_hex,
            &model_sha256_hex,
        ))
        .map_err(JobError::Envelope)?;
        let key = self
            .kms
            .generate_data_key(&credentials, &self.result_key_arn, &context, &steps)
            .await
            .map_err(|source| JobError::Kms {
                operation: "GenerateDataKey",
                source,
            })?;

        let result = steps
            .run(
                name::RESULT_SEALED,
                blocking(move || {
                    let report = Report {
                        job: &manifest.job,
                        study: &manifest.study,
                        findings: findings.iter().map(ReportedFinding::from).collect(),
                        model_sha256: &model_sha256_hex,
                        input_sha256: &image.sha256_hex,
                        object_sha256: &body_sha256_hex,
                        image: &image.description,
                        notice: NOTICE,
                    };
                    Ok(seal(&report, &key.data_key, &key.wrapped_key, &context))
                }),
            )
            .await?;

        let (module, clock) = (self.module.clone(), self.clock.clone());
        let skew_max = self.clock_skew_max;
        let result_sha256 = sha256(&result.body);
        let receipt = steps
            .run(
                name::RECEIPT,
                blocking(move || {
                    attest_now(&*module, &*clock, skew_max, None, Some(&result_sha256))
                        .map_err(JobError::Attestation)
                }),
            )
            .await?;
        Ok(Finished { result, receipt })
    }

    /// Everything that can be known before KMS is asked. Digests of up to
    /// `object_bytes_max` are taken, so not on an async thread.
    async fn check(&self, manifest: ByteBuf, object: StoredObject) -> Result<Order, JobError> {
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
        blocking(move || {
            let manifest = Manifest::verify(&manifest, &submitters)?;
            manifest.check(now_ms, &object.body)?;
            let envelope = Envelope::parse(&object.metadata).map_err(JobError::Envelope)?;
            let expected =
                request_context(&input_context(&manifest)).map_err(JobError::Envelope)?;
            if envelope.context != expected {
                return Err(JobError::OtherContext);
            }
            let body_sha256_hex = hex::encode(manifest.ciphertext_sha256);
            Ok(Order {
                manifest,
                envelope,
                body: object.body.into_vec(),
                body_sha256_hex,
            })
        })
        .await
    }
}

/// Says what the figures are not.
pub const NOTICE: &str = "Demonstration model. Not a medical device; not for clinical use.";

/// A sealed report's size tells nothing but how many of these it fills.
pub const REPORT_BYTES_MULTIPLE: usize = 4096;

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// Not a trusted submitter's order for this object at this time.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
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
    #[error("{operation}: {source}")]
    Kms {
        /// Which.
        operation: &'static str,
        /// Why.
        source: KmsError,
    },
    /// The plaintext is not a usable image.
    #[error(transparent)]
    Image(#[from] DecodeError),
    /// The model did not run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No receipt.
    #[error("receipt: {0}")]
    Attestation(NsmError),
    /// The work was cut short by a panic or the end of the process.
    #[error("the enclave failed during the job")]
    Interrupted,
}

impl JobError {
    /// The kind of refusal that the parent is told.
    #[must_use]
    pub fn refusal_code(&self) -> RefusalCode {
        match self {
            Self::Manifest(ManifestError::Expired { .. } | ManifestError::NotYetValid { .. }) => {
                RefusalCode::Expired
            }
            Self::Manifest(_) => RefusalCode::Manifest,
            Self::ObjectTooLarge { .. }
            | Self::Envelope(_)
            | Self::OtherContext
            | Self::NotOpened => RefusalCode::Object,
            Self::Kms { source, .. } => match source {
                KmsError::Attestation(_) => RefusalCode::Attestation,
                KmsError::Transport(_) => RefusalCode::KmsUnreachable,
                KmsError::Refused { .. } => RefusalCode::KmsRefused,
                KmsError::Answer(_) => RefusalCode::Kms,
                KmsError::Key(_) | KmsError::Request | KmsError::Interrupted => {
                    RefusalCode::Internal
                }
            },
            Self::Image(_) => RefusalCode::Image,
            Self::Model(_) => RefusalCode::Model,
            Self::Attestation(_) => RefusalCode::Attestation,
            Self::Interrupted => RefusalCode::Internal,
        }
    }
}

impl From<Result<Finished, JobError>> for JobReply {
    fn from(outcome: Result<Finished, JobError>) -> Self {
        match outcome {
            Ok(Finished { result, receipt }) => Self::Done {
                result,
                receipt: receipt.into(),
            },
            Err(error) => Self::Refused {
                code: error.refusal_code(),
                message: error.to_string(),
            },
        }
    }
}

/// A job that has passed every check that needs no key.
struct Order {
    manifest: Manifest,
    envelope: Envelope,
    body: Vec<u8>,
    body_sha256_hex: String,
}

/// The decoded image, ready for the model.
struct Input {
    tensor: image::Tensor,
    image: DecodedImage,
}

struct DecodedImage {
    sha256_hex: String,
    description: ImageDescription,
}

impl Input {
    fn decode(plaintext: &[u8], limits: &image::Limits) -> Result<Self, JobError> {
        let mut decoded = image::decode(plaintext, limits)?;
        let tensor = image::preprocess(&decoded);
        decoded.pixels.zeroize();
        let description = ImageDescription {
            format: decoded.format.to_string(),
            width: decoded.width,
            height: decoded.height,
        };
        let sha256_hex = hex::encode(sha256(plaintext));
        Ok(Self {
            tensor,
            image: DecodedImage {
                sha256_hex,
                description,
            },
        })
    }
}

/// The findings as the clinician reads them. Field order is part of the format.
#[derive(Serialize)]
struct Report<'a> {
    job: &'a str,
    study: &'a str,
    findings: Vec<ReportedFinding<'a>>,
    model_sha256: &'a str,
    /// Of the image file as decrypted; stays inside the sealed report.
    input_sha256: &'a str,
    /// Of the encrypted object, as in the result's public context.
    object_sha256: &'a str,
    image: &'a ImageDescription,
    notice: &'a str,
}

#[derive(Serialize)]
struct ReportedFinding<'a> {
    label: &'a str,
    probability: f32,
}

impl<'a> From<&'a Finding> for ReportedFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            label: &finding.label,
            probability: finding.probability,
        }
    }
}

#[derive(Serialize)]
struct ImageDescription {
    format: String,
    width: u32,
    height: u32,
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

fn seal(
    report: &Report<'_>,
    data_key: &DataKey,
    wrapped_key: &[u8],
    context: &EncryptionContext,
) -> StoredObject {
    let mut text = Zeroizing::new(
        serde_json::to_vec(report).expect("strings and finite numbers are always JSON"),
    );
    let padded = text.len().next_multiple_of(REPORT_BYTES_MULTIPLE);
    text.resize(padded, b' ');
    envelope::seal(data_key, wrapped_key, context, &text)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Work that would hold up an async thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobError> + Send + 'static,
) -> Result<T, JobError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| JobError::Interrupted)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_fill_whole_pages_and_read_as_json() {
        let description = ImageDescription {
            format: "PNG".into(),
            width: 2,
            height: 1,
        };
        let context = request_context(&EncryptionContext::new()).unwrap();
        let data_key = || DataKey::from_slice(&[3; 32]).unwrap();
        for study in ["1", &"9".repeat(4000)] {
            let report = Report {
                job: "j",
                study,
                findings: vec![ReportedFinding {
                    label: "normal",
                    probability: 0.25,
                }],
                model_sha256: "aa",
                input_sha256: "bb",
                object_sha256: "cc",
                image: &description,
                notice: NOTICE,
            };
            let sealed = seal(&report, &data_key(), b"wrapped", &context);
            let text = Envelope::parse(&sealed.metadata)
                .unwrap()
                .open(&data_key(), &sealed.body)
                .unwrap();
            assert_eq!(text.len() % REPORT_BYTES_MULTIPLE, 0);
            assert!(!text.is_empty());
            let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(read["findings"][0]["probability"], 0.25);
            assert_eq!(read["image"]["width"], 2);
            assert_eq!(read["study"], study);
        }
    }

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
