//! What leaves the enclave for a job: sealed bytes, or a word of a closed list.
//!
//! [`super::serve`] writes nothing to the parent but an [`Answer`] and a
//! [`crate::job::progress::Progress`]. An answer is made of a [`Refusal`], which cannot
//! hold text, and of a [`Sealed`] object with its [`Receipt`]; a sealed object comes
//! into being by encryption only. So text built from a plaintext does not become an
//! answer by mistake: there is no constructor that would take it. Source of truth:
//! ours; ground truth KMS §6 for what a parent may see.

use std::{fmt, ops::Deref, time::Duration};

use crate::{
    clock::Clock,
    enclave::{
        kms::GeneratedDataKey,
        nsm::{NsmError, SecureModule, attest_now},
        report::PaddedText,
    },
    envelope::{self, EncryptionContext},
    job::{
        Refusal,
        wire::{JobReply, SealedReport, StoredObject},
    },
};

/// An object that was encrypted in here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(StoredObject);

impl Sealed {
    /// Encrypts `text` under a key that KMS made for `context`.
    #[must_use]
    pub fn new(text: &PaddedText, key: &GeneratedDataKey, context: &EncryptionContext) -> Self {
        Self(envelope::seal(
            &key.data_key,
            &key.wrapped_key,
            context,
            text.bytes(),
        ))
    }
}

impl Deref for Sealed {
    type Target = StoredObject;

    fn deref(&self) -> &StoredObject {
        &self.0
    }
}

/// An attestation document over a sealed object.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt(Vec<u8>);

impl Receipt {
    /// Has the module vouch for SHA-256 of the object's body.
    ///
    /// # Errors
    /// As [`attest_now`].
    pub fn over(
        sealed: &Sealed,
        module: &dyn SecureModule,
        clock: &dyn Clock,
        skew_max: Duration,
    ) -> Result<Self, NsmError> {
        let digest = super::report::sha256(&sealed.body);
        attest_now(module, clock, skew_max, None, Some(&digest)).map(Self)
    }
}

impl Deref for Receipt {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt[{} bytes]", self.0.len())
    }
}

/// A sealed object and what vouches for it.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The sealed report: findings, or why there are none.
    pub result: Sealed,
    /// Attestation document whose user data is SHA-256 of the result's body.
    pub receipt: Receipt,
}

/// The end of a job, as the parent may know it.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Findings, sealed.
    Done(Finished),
    /// None, and for the clinician the reason, sealed.
    Refused(Refusal, Option<Finished>),
}

impl From<Answer> for JobReply {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done(Finished { result, receipt }) => Self::Done {
                result: result.0,
                receipt: receipt.0.into(),
            },
            Answer::Refused(refusal, report) => Self::Refused {
                refusal,
                report: report.map(|Finished { result, receipt }| SealedReport {
                    object: result.0,
                    receipt: receipt.0.into(),
                }),
            },
        }
    }
}
