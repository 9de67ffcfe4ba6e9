//! The two attested KMS calls, and everything that is refused of their answers.
//!
//! Source of truth: ground truth KMS §1.1 (what an attested answer holds), §4
//! (errors) and §6: an answer with plaintext (1), from another key (7), for another
//! public key or recorded earlier (2, 3) is refused.
//!
//! Every attempt has its own RSA key and its own attestation document; the SDK's
//! retries, which would send the same ones again, are off, and so is its habit of
//! believing the server's clock. Does not model the other operations.

use std::{sync::Arc, time::Duration};

use aws_sdk_kms::{
    Client, Config,
    config::{
        BehaviorVersion, Credentials, IdentityCache, Region, StalledStreamProtectionConfig,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
    primitives::Blob,
    types::{DataKeySpec, EncryptionAlgorithmSpec, KeyEncryptionMechanism, RecipientInfo},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::{
    clock::Clock,
    enclave::{
        config::Limits,
        keys::{KeyFailure, KeyPool, RecipientKey},
        log::{Event, emit},
        nsm::{NsmError, SecureModule, attest_now},
        steps::{Course, Steps, name},
        transport::{Dial, Transport, TransportError},
    },
    envelope::{DataKey, EncryptionContext},
    job::{
        Refusal,
        refusal::{AttestationFault, KmsAnswerFault, KmsCall, KmsException, TransportFault},
        wire::JobCredentials,
    },
};

/// Calls KMS as this enclave.
#[allow(missing_debug_implementations)] // holds the device
pub struct AttestedKms {
    config: Config,
    module: Arc<dyn SecureModule>,
    clock: Arc<dyn Clock>,
    keys: Arc<KeyPool>,
    bounds: CallBounds,
}

/// Bounds of one call.
#[derive(Clone, Copy, Debug)]
pub struct CallBounds {
    /// Attempts, each with its own key and document.
    pub attempts_max: u32,
    /// Wait before the second attempt; doubles for each further one.
    pub backoff: Duration,
    /// How far a document's time may be from the local clock.
    pub clock_skew_max: Duration,
}

impl CallBounds {
    /// What the configuration says.
    #[must_use]
    pub const fn from_limits(limits: &Limits) -> Self {
        Self {
            attempts_max: limits.kms_attempts_max,
            backoff: Duration::from_millis(100),
            clock_skew_max: limits.clock_skew_max,
        }
    }
}

/// A data key that KMS has just made, plain and wrapped.
#[allow(missing_debug_implementations)] // secret
pub struct GeneratedDataKey {
    /// To seal one object with.
    pub data_key: DataKey,
    /// To store beside it.
    pub wrapped_key: Vec<u8>,
}

impl AttestedKms {
    /// A client for the KMS that `transport` leads to. `host` must be the name the
    /// transport insists on.
    #[must_use]
    pub fn new<D: Dial>(
        region: &str,
        host: &str,
        transport: Transport<D>,
        module: Arc<dyn SecureModule>,
        clock: Arc<dyn Clock>,
        keys: Arc<KeyPool>,
        bounds: CallBounds,
    ) -> Self {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.to_owned()))
            .endpoint_url(format!("https://{host}"))
            .http_client(transport)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled()) // the transport's own is the only one
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .disable_clock_skew_correction(true)
            .identity_cache(IdentityCache::no_cache())
            .build();
        Self {
            config,
            module,
            clock,
            keys,
            bounds,
        }
    }

    /// Unwraps a data key with `key_arn` and `context`.
    ///
    /// # Errors
    /// See [`KmsError`].
    pub async fn decrypt(
        &self,
        credentials: &JobCredentials,
        key_arn: &str,
        wrapped_key: &[u8],
        context: &EncryptionContext,
        steps: &Steps,
    ) -> Result<DataKey, KmsError> {
        let client = self.client(credentials);
        self.attempts(KmsCall::Decrypt, || async {
            let (key, recipient) = steps
                .run(
                    name::ATTESTATION_FOR_DECRYPT,
                    self.recipient(steps.course()),
                )
                .await?;
            steps
                .run(name::KMS_DECRYPT, async {
                    let answer = client
                        .decrypt()
                        .key_id(key_arn)
                        .ciphertext_blob(Blob::new(wrapped_key))
                        .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
                        .set_encryption_context(Some(context.clone().into_iter().collect()))
                        .recipient(recipient)
                        .send()
                        .await
                        .map_err(KmsError::from_sdk)?;
                    if answer
                        .encryption_algorithm()
                        .is_some_and(|used| *used != EncryptionAlgorithmSpec::SymmetricDefault)
                    {
                        return Err(AnswerFault::OtherAlgorithm.into());
                    }
                    let envelope = Attested {
                        plaintext: answer.plaintext(),
                        key_id: answer.key_id(),
                        envelope: answer.ciphertext_for_recipient(),
                    }
                    .check(key_arn)?;
                    open(key, envelope).await
                })
                .await
        })
        .await
    }

    /// Has KMS make an AES-256 data key under `key_arn` and `context`.
    ///
    /// # Errors
    /// See [`KmsError`].
    pub async fn generate_data_key(
        &self,
        credentials: &JobCredentials,
        key_arn: &str,
        context: &EncryptionContext,
        steps: &Steps,
    ) -> Result<GeneratedDataKey, KmsError> {
        let client = self.client(credentials);
        self.attempts(KmsCall::GenerateDataKey, || async {
            let (key, recipient) = steps
                .run(
                    name::ATTESTATION_FOR_GENERATE_DATA_KEY,
                    self.recipient(steps.course()),
                )
                .await?;
            steps
                .run(name::KMS_GENERATE_DATA_KEY, async {
                    let answer = client
                        .generate_data_key()
                        .key_id(key_arn)
                        .key_spec(DataKeySpec::Aes256)
                        .set_encryption_context(Some(context.clone().into_iter().collect()))
                        .recipient(recipient)
                        .send()
                        .await
                        .map_err(KmsError::from_sdk)?;
                    let envelope = Attested {
                        plaintext: answer.plaintext(),
                        key_id: answer.key_id(),
                        envelope: answer.ciphertext_for_recipient(),
                    }
                    .check(key_arn)?;
                    let wrapped_key = answer
                        .ciphertext_blob()
                        .map(|blob| blob.as_ref().to_vec())
                        .filter(|blob| (1..=WRAPPED_KEY_BYTES_MAX).contains(&blob.len()))
                        .ok_or(AnswerFault::NoCiphertextBlob)?;
                    let data_key = open(key, envelope).await?;
                    Ok(GeneratedDataKey {
                        data_key,
                        wrapped_key,
                    })
                })
                .await
        })
        .await
    }

    /// A client that signs with one job's credentials and shares the connections.
    fn client(&self, credentials: &JobCredentials) -> Client {
        let credentials = Credentials::new(
            &credentials.access_key_id,
            &credentials.secret_access_key,
            credentials.session_token.clone(),
            None,
            "job",
        );
        Client::from_conf(
            self.config
                .to_builder()
                .credentials_provider(credentials)
                .build(),
        )
    }

    /// A fresh key, and a fresh document that vouches for it.
    async fn recipient(&self, course: &Course) -> Result<(RecipientKey, RecipientInfo), KmsError> {
        let key = self.keys.take().await?;
        let public_der = key.public_der().to_vec();
        let (module, clock) = (self.module.clone(), self.clock.clone());
        let skew_max = self.bounds.clock_skew_max;
        let attesting = course.blocking(move || {
            attest_now(
                module.as_ref(),
                clock.as_ref(),
                skew_max,
                Some(&public_der),
                None,
            )
        });
        let document = attesting.await.ok_or(KmsError::Interrupted)??;
        let recipient = RecipientInfo::builder()
            .key_encryption_algorithm(KeyEncryptionMechanism::RsaesOaepSha256)
            .attestation_document(Blob::new(document))
            .build();
        Ok((key, recipient))
    }

    /// Runs `attempt` until it succeeds, fails for good, or has been tried often
    /// enough.
    async fn attempts<T, F: Future<Output = Result<T, KmsError>>>(
        &self,
        call: KmsCall,
        attempt: impl Fn() -> F,
    ) -> Result<T, KmsError> {
        let mut backoff = self.bounds.backoff;
        let mut left = self.bounds.attempts_max;
        loop {
            left = left.saturating_sub(1);
            match attempt().await {
                Err(error) if left > 0 && error.is_worth_another_attempt() => {
                    emit(Event::Retry {
                        refusal: error.refusal(call),
                        attempts_left: left,
                    });
                    tokio::time::sleep(backoff).await;
                    backoff = backoff.saturating_mul(2);
                }
                outcome => return outcome,
            }
        }
    }
}

/// KMS's own bound of a `CiphertextBlob`.
const WRAPPED_KEY_BYTES_MAX: usize = 6144;

/// KMS's texts are shown to people; nobody needs more of them than this.
const TEXT_CHARS_MAX: usize = 512;

/// Why there is no data key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// No attestation document.
    #[error("attestation failed: {0}")]
    Attestation(#[from] NsmError),
    /// No RSA key.
    #[error(transparent)]
    Key(#[from] KeyFailure),
    /// KMS could not be reached, or not as itself.
    #[error("KMS cannot be reached: {0}")]
    Transport(TransportError),
    /// KMS answered an error.
    #[error("KMS answered {code}: {message}")]
    Refused {
        /// KMS's `__type`.
        code: String,
        /// KMS's message; empty for some codes.
        message: String,
        /// To find the call in the audit log.
        request_id: Option<String>,
        /// HTTP status.
        status: u16,
    },
    /// KMS's answer may not be trusted.
    #[error("KMS's answer is refused: {0}")]
    Answer(#[from] AnswerFault),
    /// The SDK could not build the request.
    #[error("the KMS request could not be built")]
    Request,
    /// The enclave is shutting down.
    #[error("the call was interrupted")]
    Interrupted,
}

/// What is wrong with an answer that KMS gave as a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    /// It holds a plaintext key: somebody has removed the attestation on the way, or
    /// this is not KMS.
    #[error("it holds a plaintext key, so the call was not treated as attested")]
    Plaintext,
    /// `CiphertextForRecipient` is absent or empty.
    #[error("it has no CiphertextForRecipient")]
    NoCiphertextForRecipient,
    /// `KeyId` is absent or not the ARN that was asked for.
    #[error("it comes from another key than the configured one")]
    OtherKey,
    /// Decrypted with another algorithm than the one asked for.
    #[error("it was made with another algorithm")]
    OtherAlgorithm,
    /// `CiphertextBlob` is absent, empty or too long.
    #[error("it has no usable CiphertextBlob")]
    NoCiphertextBlob,
    /// `CiphertextForRecipient` does not open with this call's key.
    #[error("its CiphertextForRecipient is not for this call's key")]
    NotForThisKey,
    /// No JSON, or not this operation's.
    #[error("it cannot be read")]
    Malformed,
}

impl KmsError {
    /// What the parent is told of it.
    #[must_use]
    pub fn refusal(&self, call: KmsCall) -> Refusal {
        match self {
            Self::Attestation(error) => Refusal::Attestation(error.into()),
            Self::Transport(error) => Refusal::KmsUnreachable(call, error.into()),
            Self::Refused { code, .. } => Refusal::KmsRefused(call, KmsException::named(code)),
            Self::Answer(fault) => Refusal::KmsAnswer(call, (*fault).into()),
            Self::Key(_) | Self::Request | Self::Interrupted => Refusal::Internal,
        }
    }

    /// Whether a new attempt with a new key may succeed.
    #[must_use]
    pub fn is_worth_another_attempt(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_worth_another_attempt(),
            Self::Refused { code, status, .. } => {
                *status >= 500 || TRANSIENT_CODES.contains(&code.as_str())
            }
            Self::Attestation(_)
            | Self::Key(_)
            | Self::Answer(_)
            | Self::Request
            | Self::Interrupted => false,
        }
    }

    fn from_sdk<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        SdkError<E, HttpResponse>: RequestId,
    {
        let request_id = error.request_id().map(shorten);
        match error {
            // What the SDK cannot read, it calls an unknown error of the service.
            SdkError::ServiceError(error) if error.raw().status().is_success() => {
                AnswerFault::Malformed.into()
            }
            SdkError::ServiceError(error) => Self::Refused {
                code: shorten(error.err().code().unwrap_or("an error without a code")),
                message: shorten(error.err().message().unwrap_or_default()),
                request_id,
                status: error.raw().status().as_u16(),
            },
            SdkError::ResponseError(_) => AnswerFault::Malformed.into(),
            SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => error
                .into_source()
                .ok()
                .and_then(into_transport_error)
                .map_or(Self::Request, Self::Transport),
            _ => Self::Request,
        }
    }
}

/// AWS's list of errors to retry, as far as KMS has them (ground truth KMS §4).
const TRANSIENT_CODES: [&str; 4] = [
    "ThrottlingException",
    "DependencyTimeoutException",
    "KMSInternalException",
    "KeyUnavailableException",
];

impl From<AnswerFault> for KmsAnswerFault {
    fn from(fault: AnswerFault) -> Self {
        match fault {
            AnswerFault::Plaintext => Self::Plaintext,
            AnswerFault::NoCiphertextForRecipient => Self::NoCiphertextForRecipient,
            AnswerFault::OtherKey => Self::OtherKey,
            AnswerFault::OtherAlgorithm => Self::OtherAlgorithm,
            AnswerFault::NoCiphertextBlob => Self::NoCiphertextBlob,
            AnswerFault::NotForThisKey => Self::NotForThisKey,
            AnswerFault::Malformed => Self::Malformed,
        }
    }
}

impl From<&TransportError> for TransportFault {
    fn from(error: &TransportError) -> Self {
        match error {
            TransportError::Dial(_) => Self::Bridge,
            TransportError::NotTheHost { .. } => Self::NotTheHost,
            TransportError::Handshake { .. } => Self::Handshake,
            TransportError::Http(_) => Self::BrokenOff,
            TransportError::ResponseTooLong => Self::TooLong,
            TransportError::Timeout(_) => Self::TooSlow,
            TransportError::OtherHost | TransportError::Request => Self::Request,
        }
    }
}

impl From<&NsmError> for AttestationFault {
    fn from(error: &NsmError) -> Self {
        match error {
            NsmError::Absent { .. } => Self::Absent,
            NsmError::Refused { .. } => Self::Refused,
            NsmError::OtherRequest => Self::OtherRequest,
            NsmError::MalformedDocument => Self::Malformed,
            NsmError::ClockSkew { .. } => Self::ClockSkew,
            NsmError::NotRandom => Self::NotRandom,
        }
    }
}

/// An answer's fields that decide whether it may be opened.
struct Attested<'a> {
    plaintext: Option<&'a Blob>,
    key_id: Option<&'a str>,
    envelope: Option<&'a Blob>,
}

impl<'a> Attested<'a> {
    fn check(self, key_arn: &str) -> Result<&'a [u8], AnswerFault> {
        // Absent, null and empty are all ways of saying that there is none.
        if self
            .plaintext
            .is_some_and(|plaintext| !plaintext.as_ref().is_empty())
        {
            return Err(AnswerFault::Plaintext);
        }
        if self.key_id != Some(key_arn) {
            return Err(AnswerFault::OtherKey);
        }
        self.envelope
            .map(Blob::as_ref)
            .filter(|envelope| !envelope.is_empty())
            .ok_or(AnswerFault::NoCiphertextForRecipient)
    }
}

/// An RSA operation takes a millisecond or two: not on an async thread.
async fn open(key: RecipientKey, envelope: &[u8]) -> Result<DataKey, KmsError> {
    let envelope = envelope.to_vec();
    tokio::task::spawn_blocking(move || key.open_data_key(&envelope))
        .await
        .map_err(|_| KmsError::Interrupted)?
        .map_err(|_| AnswerFault::NotForThisKey.into())
}

fn into_transport_error(error: Box<dyn std::error::Error + Send + Sync>) -> Option<TransportError> {
    let error = match error.downcast::<TransportError>() {
        Ok(error) => return Some(*error),
        Err(error) => error,
    };
    let connector = error
        .downcast::<aws_smithy_runtime_api::client::result::ConnectorError>()
        .ok()?;
    connector
        .into_source()
        .downcast::<TransportError>()
        .ok()
        .map(|error| *error)
}

fn shorten(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(TEXT_CHARS_MAX)
        .collect()
}
