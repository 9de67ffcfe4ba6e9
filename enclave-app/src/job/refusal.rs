//! Why a job has no result: a closed vocabulary.
//!
//! A refusal leaves the enclave, and whoever wrote the image may have written it
//! so that a text about it repeats a piece of it. Therefore nothing in here can
//! hold text, a number or bytes of a job: every value is one of a list that stands
//! in this file ([`Refusal::all`]), its sentence is part of the program, and an
//! answer to the parent has no other room ([`super::wire::JobReply`]). What exactly
//! was wrong goes to the clinician, sealed like a result.
//!
//! Source of truth: ours; KMS's exceptions by the names in its service model. Does
//! not model severity or blame: the code says who decided.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A list of words, each with its sentence.
macro_rules! vocabulary {
    ($(#[$about:meta])* $name:ident { $($variant:ident $word:literal $sentence:literal,)+ }) => {
        $(#[$about])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum $name {
            $(
                #[doc = $sentence]
                #[serde(rename = $word)]
                $variant,
            )+
        }

        impl $name {
            /// Every value there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable word, e.g. for programs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// For people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }
        }
    };
}

vocabulary! {
    /// What is wrong with the parent's message.
    RequestFault {
        Frame "frame" "the message is cut short, empty, too long or too slow",
        Message "message" "the message is not a job request",
    }
}

vocabulary! {
    /// When to try again.
    RetryAfter {
        OneSecond "1s" "try again in 1 second",
        FiveSeconds "5s" "try again in 5 seconds",
        ThirtySeconds "30s" "try again in 30 seconds",
    }
}

impl RetryAfter {
    /// The delay itself, in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        match self {
            Self::OneSecond => 1_000,
            Self::FiveSeconds => 5_000,
            Self::ThirtySeconds => 30_000,
        }
    }
}

vocabulary! {
    /// What is wrong with the signed manifest.
    ManifestFault {
        Form "form" "the manifest is not a COSE_Sign1 job of the accepted form",
        Submitter "submitter" "the manifest is not signed by a submitter in this enclave's configuration",
        Signature "signature" "the manifest's signature does not verify",
        Field "field" "a field of the manifest is outside of its bounds",
        OtherObject "other_object" "the object is not the one that the manifest was signed for",
    }
}

vocabulary! {
    /// How a manifest's time is wrong.
    ValidityFault {
        Expired "expired" "the job has expired",
        NotYet "not_yet" "the job is not valid yet",
    }
}

vocabulary! {
    /// Why an order is not run a second time.
    RepeatFault {
        Running "running" "a job of this name is running",
        Ended "ended" "the job was run, and its answer is no longer kept",
        OtherOrder "other_order" "a job of this name was run with another manifest or wrapped key",
    }
}

vocabulary! {
    /// What is wrong with the encrypted object.
    ObjectFault {
        TooLarge "too_large" "the object is larger than this enclave accepts",
        OldVersion "old_version" "the object is in an older message format of the S3 Encryption Client; only V3 is accepted",
        Metadata "metadata" "the object's metadata is not that of a KMS-wrapped V3 object",
        OtherContext "other_context" "the object's encryption context is not the one that the signed job calls for",
        NotOpened "not_opened" "the object does not open with its data key",
    }
}

vocabulary! {
    /// Why the decrypted image cannot be used. Coarse on purpose: this much of an
    /// image's content is what its refusal tells the parent.
    ImageFault {
        UnknownFormat "unknown_format" "the image is not DICOM with its preamble, PNG or JPEG",
        Ambiguous "ambiguous" "the image is of two formats at once",
        Damaged "damaged" "the image is damaged",
        Attributes "attributes" "a required attribute of the image is missing or invalid",
        NoPixels "no_pixels" "the image has no pixels",
        NotOneFrame "not_one_frame" "the file holds more than one image, or none",
        Unsupported "unsupported" "the image is encoded in a way that this enclave does not read",
        TooLarge "too_large" "the image is larger than this enclave accepts",
        TooManyParts "too_many_parts" "the image is made of more parts than this enclave accepts",
        TooCostly "too_costly" "decoding the image took more memory or processor time than allowed, or ended the decoder",
    }
}

vocabulary! {
    /// Why there are no findings for a decoded image.
    ModelFault {
        Run "run" "the model did not run",
        Output "output" "the model's output is not a distribution over its labels",
    }
}

vocabulary! {
    /// An attested call.
    KmsCall {
        Decrypt "decrypt" "Decrypt",
        GenerateDataKey "generate_data_key" "GenerateDataKey",
    }
}

vocabulary! {
    /// Why KMS could not be asked.
    TransportFault {
        Bridge "bridge" "the parent's bridge cannot be reached",
        NotTheHost "not_the_host" "the other end of the bridge is not the configured KMS",
        Handshake "handshake" "the TLS handshake failed",
        BrokenOff "broken_off" "the connection broke off",
        TooLong "too_long" "the answer is longer than any of KMS",
        TooSlow "too_slow" "no answer came in time",
        Request "request" "the request cannot be sent",
    }
}

vocabulary! {
    /// KMS's exceptions, by name. Which policy refused stands in AWS's own log.
    KmsException {
        AccessDenied "access_denied" "AccessDeniedException",
        Disabled "disabled" "DisabledException",
        IncorrectKey "incorrect_key" "IncorrectKeyException",
        InvalidCiphertext "invalid_ciphertext" "InvalidCiphertextException",
        InvalidGrantToken "invalid_grant_token" "InvalidGrantTokenException",
        InvalidKeyUsage "invalid_key_usage" "InvalidKeyUsageException",
        InvalidState "invalid_state" "KMSInvalidStateException",
        NotFound "not_found" "NotFoundException",
        KeyUnavailable "key_unavailable" "KeyUnavailableException",
        DependencyTimeout "dependency_timeout" "DependencyTimeoutException",
        Internal "internal" "KMSInternalException",
        Throttling "throttling" "ThrottlingException",
        Validation "validation" "ValidationException",
        ExpiredToken "expired_token" "ExpiredTokenException",
        InvalidSignature "invalid_signature" "InvalidSignatureException",
        UnrecognizedClient "unrecognized_client" "UnrecognizedClientException",
        IncompleteSignature "incomplete_signature" "IncompleteSignatureException",
        MissingAuthenticationToken "missing_authentication_token" "MissingAuthenticationTokenException",
        Other "other" "an error that is not in KMS's service model",
    }
}

impl KmsException {
    /// By KMS's `__type`; [`Self::Other`] for names that are not in the list.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let known = Self::ALL.iter().find(|known| known.sentence() == name);
        known.copied().unwrap_or(Self::Other)
    }
}

vocabulary! {
    /// Why an answer of KMS is not trusted.
    KmsAnswerFault {
        Plaintext "plaintext" "it holds a plaintext key, so the call was not treated as attested",
        NoCiphertextForRecipient "no_ciphertext_for_recipient" "it has no CiphertextForRecipient",
        OtherKey "other_key" "it comes from another key than the configured one",
        OtherAlgorithm "other_algorithm" "it was made with another algorithm",
        NoCiphertextBlob "no_ciphertext_blob" "it has no usable CiphertextBlob",
        NotForThisKey "not_for_this_key" "its CiphertextForRecipient is not for this call's key",
        Malformed "malformed" "it cannot be read",
    }
}

vocabulary! {
    /// Why there is no attestation document.
    AttestationFault {
        Absent "absent" "there is no security module",
        Refused "refused" "the security module answered an error",
        OtherRequest "other_request" "the security module's answer does not belong to the request",
        Malformed "malformed" "the security module's document is malformed",
        ClockSkew "clock_skew" "the attestation document's time and the enclave's clock disagree",
        NotRandom "not_random" "the security module's random numbers are not random",
    }
}

/// All that a parent learns of why a job has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The request cannot be read.
    Request(RequestFault),
    /// The enclave has as many jobs as it may.
    Busy(RetryAfter),
    /// The enclave was stopped before the job began: nothing of it was done.
    NotRun,
    /// The manifest is not a known submitter's, is malformed, or speaks of another
    /// object.
    Manifest(ManifestFault),
    /// The manifest's time has passed or has not come.
    Validity(ValidityFault),
    /// The job was run before.
    Repeated(RepeatFault),
    /// The object is not in an accepted encrypted form or does not open.
    Object(ObjectFault),
    /// The plaintext is not an image that the enclave reads.
    Image(ImageFault),
    /// The model has no answer.
    Model(ModelFault),
    /// KMS could not be reached, or not as itself.
    KmsUnreachable(KmsCall, TransportFault),
    /// KMS answered an error.
    KmsRefused(KmsCall, KmsException),
    /// KMS answered in a way that the enclave does not trust.
    KmsAnswer(KmsCall, KmsAnswerFault),
    /// The security module refused, or its document cannot be right.
    Attestation(AttestationFault),
    /// The job took longer than it may.
    Timeout,
    /// A fault of the enclave itself.
    Internal,
}

/// The kind of a refusal. The text form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // as in `Refusal`
#[non_exhaustive]
pub enum RefusalCode {
    MalformedRequest,
    Busy,
    NotRun,
    Manifest,
    Expired,
    Repeated,
    Object,
    Image,
    Model,
    KmsUnreachable,
    KmsRefused,
    Kms,
    Attestation,
    Timeout,
    Internal,
}

impl RefusalCode {
    /// The stable text form, e.g. `kms_refused`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::Busy => "busy",
            Self::NotRun => "not_run",
            Self::Manifest => "manifest",
            Self::Expired => "expired",
            Self::Repeated => "repeated",
            Self::Object => "object",
            Self::Image => "image",
            Self::Model => "model",
            Self::KmsUnreachable => "kms_unreachable",
            Self::KmsRefused => "kms_refused",
            Self::Kms => "kms",
            Self::Attestation => "attestation",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Refusal {
    /// The kind.
    #[must_use]
    pub const fn code(self) -> RefusalCode {
        match self {
            Self::Request(_) => RefusalCode::MalformedRequest,
            Self::Busy(_) => RefusalCode::Busy,
            Self::NotRun => RefusalCode::NotRun,
            Self::Manifest(_) => RefusalCode::Manifest,
            Self::Validity(_) => RefusalCode::Expired,
            Self::Repeated(_) => RefusalCode::Repeated,
            Self::Object(_) => RefusalCode::Object,
            Self::Image(_) => RefusalCode::Image,
            Self::Model(_) => RefusalCode::Model,
            Self::KmsUnreachable(..) => RefusalCode::KmsUnreachable,
            Self::KmsRefused(..) => RefusalCode::KmsRefused,
            Self::KmsAnswer(..) => RefusalCode::Kms,
            Self::Attestation(_) => RefusalCode::Attestation,
            Self::Timeout => RefusalCode::Timeout,
            Self::Internal => RefusalCode::Internal,
        }
    }

    /// The word that says which of its kind this is; empty where there is one only.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Request(fault) => fault.word(),
            Self::Busy(retry) => retry.word(),
            Self::Manifest(fault) => fault.word(),
            Self::Validity(fault) => fault.word(),
            Self::Repeated(fault) => fault.word(),
            Self::Object(fault) => fault.word(),
            Self::Image(fault) => fault.word(),
            Self::Model(fault) => fault.word(),
            Self::KmsUnreachable(_, fault) => fault.word(),
            Self::KmsRefused(_, exception) => exception.word(),
            Self::KmsAnswer(_, fault) => fault.word(),
            Self::Attestation(fault) => fault.word(),
            Self::NotRun | Self::Timeout | Self::Internal => "",
        }
    }

    /// When a parent may try again with hope, if it may.
    #[must_use]
    pub const fn retry_after(self) -> Option<RetryAfter> {
        match self {
            Self::Busy(after) => Some(after),
            Self::Repeated(RepeatFault::Running) => Some(RetryAfter::OneSecond),
            _ => None,
        }
    }

    /// Every refusal there is: what a parent can learn from one is which of these
    /// it was.
    pub fn all() -> impl Iterator<Item = Self> {
        fn each<T: Copy>(of: &'static [T], to: fn(T) -> Refusal) -> impl Iterator<Item = Refusal> {
            of.iter().copied().map(to)
        }
        fn calls<T: Copy>(
            of: &'static [T],
            to: fn(KmsCall, T) -> Refusal,
        ) -> impl Iterator<Item = Refusal> {
            KmsCall::ALL
                .iter()
                .flat_map(move |call| of.iter().map(move |fault| to(*call, *fault)))
        }
        [Self::NotRun, Self::Timeout, Self::Internal]
            .into_iter()
            .chain(each(RequestFault::ALL, Self::Request))
            .chain(each(RetryAfter::ALL, Self::Busy))
            .chain(each(ManifestFault::ALL, Self::Manifest))
            .chain(each(ValidityFault::ALL, Self::Validity))
            .chain(each(RepeatFault::ALL, Self::Repeated))
            .chain(each(ObjectFault::ALL, Self::Object))
            .chain(each(ImageFault::ALL, Self::Image))
            .chain(each(ModelFault::ALL, Self::Model))
            .chain(calls(TransportFault::ALL, Self::KmsUnreachable))
            .chain(calls(KmsException::ALL, Self::KmsRefused))
            .chain(calls(KmsAnswerFault::ALL, Self::KmsAnswer))
            .chain(each(AttestationFault::ALL, Self::Attestation))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::Request(fault) => fault.sentence(),
            Self::Busy(retry) => {
                return write!(f, "the enclave is busy; {}", retry.sentence());
            }
            Self::NotRun => "the enclave is stopping and has not begun the job",
            Self::Manifest(fault) => fault.sentence(),
            Self::Validity(fault) => fault.sentence(),
            Self::Repeated(fault) => fault.sentence(),
            Self::Object(fault) => fault.sentence(),
            Self::Image(fault) => fault.sentence(),
            Self::Model(fault) => fault.sentence(),
            Self::KmsUnreachable(call, fault) => {
                let call = call.sentence();
                return write!(f, "{call}: KMS cannot be reached: {}", fault.sentence());
            }
            Self::KmsRefused(call, exception) => {
                let call = call.sentence();
                return write!(f, "{call}: KMS answered {}", exception.sentence());
            }
            Self::KmsAnswer(call, fault) => {
                let call = call.sentence();
                return write!(f, "{call}: KMS's answer is refused: {}", fault.sentence());
            }
            Self::Attestation(fault) => fault.sentence(),
            Self::Timeout => "the job took longer than it may",
            Self::Internal => "the enclave failed during the job",
        };
        f.write_str(sentence)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_refusal_tells_less_than_a_byte_and_holds_nothing_of_a_job() {
        // Nothing borrowed, nothing owned, no room for a number of more than a byte.
        fn closed<T: Copy + 'static>() {}
        closed::<Refusal>();
        assert!(size_of::<Refusal>() <= 3, "{}", size_of::<Refusal>());
        let all: BTreeSet<Refusal> = Refusal::all().collect();
        assert!((90..256).contains(&all.len()), "{}", all.len());
    }

    #[test]
    fn every_refusal_travels_as_words_of_this_file_and_back() {
        let mut texts = BTreeSet::new();
        for refusal in Refusal::all() {
            let mut bytes = Vec::new();
            ciborium::into_writer(&refusal, &mut bytes).unwrap();
            let read: Refusal = ciborium::from_reader(bytes.as_slice()).unwrap();
            assert_eq!(read, refusal);
            assert!(texts.insert(refusal.to_string()), "{refusal} is said twice");
        }
        for foreign in [
            &b"\x68^MARIA^ "[..],
            b"\xa1\x65image\x68^MARIA^ ",
            b"\xa1\x65image\x1a\x12\x34\x56\x78",
        ] {
            assert!(ciborium::from_reader::<Refusal, _>(foreign).is_err());
        }
    }

    #[test]
    fn an_exception_that_kms_does_not_have_is_not_quoted() {
        assert_eq!(
            KmsException::named("AccessDeniedException"),
            KmsException::AccessDenied
        );
        let text = Refusal::KmsRefused(KmsCall::Decrypt, KmsException::named("JOHN^DOE"));
        assert!(!text.to_string().contains("JOHN"), "{text}");
    }
}
