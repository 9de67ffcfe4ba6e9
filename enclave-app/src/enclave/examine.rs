//! What is done with a plaintext: decoded in a worker, looked at by the model, and
//! reported to the clinician.
//!
//! Everything that was read of an image ends here, in a [`Verdict`]: a padded text
//! for sealing, and at most one word for the parent. Source of truth: the design's
//! data flow, step 5. Does not talk to KMS and knows no parent.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{
    causes::with_causes,
    enclave::{
        report::{self, PaddedText, Subject, sha256},
        steps::{Steps, name},
        worker::{Decode, Decoded, Setback},
    },
    envelope::{EncryptionContext, refusal_context},
    job::{Refusal, refusal::ModelFault},
    model::{Finding, Model, ModelError},
};

/// Decoder and model.
#[allow(missing_debug_implementations)] // holds a trait object
pub struct Examiner {
    decoder: Arc<dyn Decode>,
    model: Arc<Model>,
}

/// The end of an examination.
#[allow(missing_debug_implementations)] // secret
pub struct Verdict {
    /// Why there are no findings, as far as the parent may know.
    pub refusal: Option<Refusal>,
    /// What the clinician reads.
    pub text: PaddedText,
}

impl Verdict {
    /// What the report's context says beside a job's own entries.
    #[must_use]
    pub fn context(&self) -> EncryptionContext {
        match self.refusal {
            None => EncryptionContext::new(),
            Some(_) => refusal_context(),
        }
    }
}

impl Examiner {
    /// Examines with these.
    #[must_use]
    pub fn new(decoder: Arc<dyn Decode>, model: Arc<Model>) -> Self {
        Self { decoder, model }
    }

    /// SHA-256 of the model, in hexadecimal.
    #[must_use]
    pub fn model_sha256_hex(&self) -> String {
        hex::encode(self.model.sha256())
    }

    /// Examines one image.
    pub async fn examine(
        &self,
        subject: &Subject,
        plaintext: Zeroizing<Vec<u8>>,
        steps: &Steps,
    ) -> Verdict {
        match self.look(plaintext, steps).await {
            Ok(Examined {
                findings,
                decoded,
                input_sha256_hex,
            }) => Verdict {
                refusal: None,
                text: report::findings(subject, &findings, &decoded, &input_sha256_hex),
            },
            Err(Unusable { refusal, detail }) => Verdict {
                refusal: Some(refusal),
                text: report::refusal(subject, refusal, &detail),
            },
        }
    }

    async fn look(
        &self,
        plaintext: Zeroizing<Vec<u8>>,
        steps: &Steps,
    ) -> Result<Examined, Unusable> {
        let decode = self.decoder.decode(&plaintext);
        let decoded = steps.run(name::IMAGE_DECODED, decode).await?;
        let model = self.model.clone();
        let inference = async {
            let examining = steps.course().blocking(move || {
                let findings = model.infer(&decoded.tensor)?;
                Ok(Examined {
                    findings,
                    decoded,
                    input_sha256_hex: hex::encode(sha256(&plaintext)),
                })
            });
            match examining.await {
                Some(examined) => examined.map_err(|error: ModelError| error.into()),
                None => Err(Unusable {
                    refusal: Refusal::Model(ModelFault::Run),
                    detail: Zeroizing::new("the enclave failed during the inference".to_owned()),
                }),
            }
        };
        steps.run(name::INFERENCE, inference).await
    }
}

/// An image and what the model found in it.
struct Examined {
    findings: Vec<Finding>,
    decoded: Decoded,
    input_sha256_hex: String,
}

/// An image that gives no findings.
struct Unusable {
    refusal: Refusal,
    detail: Zeroizing<String>,
}

impl From<Setback> for Unusable {
    fn from(setback: Setback) -> Self {
        Self {
            refusal: setback.fault.map_or(Refusal::Internal, Refusal::Image),
            detail: setback.detail,
        }
    }
}

impl From<ModelError> for Unusable {
    fn from(error: ModelError) -> Self {
        let fault = match error {
            ModelError::Output => ModelFault::Output,
            _ => ModelFault::Run,
        };
        Self {
            refusal: Refusal::Model(fault),
            detail: Zeroizing::new(with_causes(&error)),
        }
    }
}
