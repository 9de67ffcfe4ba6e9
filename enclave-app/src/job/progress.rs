//! What a parent hears of its job before the answer: where it stands, never what is
//! in it.
//!
//! The enclave writes a [`Progress`] frame when a job is in line, at each stage and
//! every second, so that a parent can tell a long job from a dead enclave. A stage is
//! a word of a closed list; a parent sees the beginnings and ends of KMS calls and of
//! the connection anyhow. Source of truth: this file. Does not model percentages: how
//! far a decoder is depends on the image.

use serde::{Deserialize, Serialize};

use super::wire::{JobReply, WireError};

/// The version of the frames that this program writes and reads.
pub const VERSION: u8 = 1;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// In line for a slot.
    Queued,
    /// Manifest and object are checked.
    Checking,
    /// KMS is asked for the image's data key.
    DataKey,
    /// The object is decrypted.
    Opening,
    /// The image is decoded.
    Decoding,
    /// The model runs.
    Inference,
    /// KMS is asked for the report's data key.
    ReportKey,
    /// The report is sealed.
    Sealing,
    /// The security module vouches for it.
    Receipt,
}

/// One message about a job that has no answer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// [`VERSION`].
    pub version: u8,
    /// Where the job stands.
    pub stage: Stage,
    /// Jobs that are before it in line.
    pub ahead: u32,
}

/// How a progress frame begins: a map of one entry of this name, which no reply has.
const START: &[u8] = b"\xa1\x68Progress";

impl Progress {
    /// A job at `stage`.
    #[must_use]
    pub const fn at(stage: Stage, ahead: u32) -> Self {
        Self {
            version: VERSION,
            stage,
            ahead,
        }
    }

    /// The message as CBOR.
    ///
    /// # Panics
    /// Never: a vector takes every message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = START.to_vec();
        ciborium::into_writer(self, &mut bytes).expect("a vector takes every message");
        bytes
    }
}

/// A message of the enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromEnclave {
    /// The job goes on.
    Progress(Progress),
    /// The job has ended; nothing follows.
    Reply(JobReply),
}

impl FromEnclave {
    /// Reads the message.
    ///
    /// # Errors
    /// [`WireError`]; progress of another version is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let Some(mut rest) = bytes.strip_prefix(START) else {
            return JobReply::decode(bytes).map(Self::Reply);
        };
        let malformed = |detail: &str| WireError::Malformed {
            message: "progress",
            detail: detail.to_owned(),
        };
        let progress: Progress =
            ciborium::from_reader(&mut rest).map_err(|_| malformed("not its fields"))?;
        match rest.len() {
            0 if progress.version == VERSION => Ok(Self::Progress(progress)),
            0 => Err(malformed("another version")),
            extra => Err(WireError::TrailingBytes {
                message: "progress",
                extra,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;
    use proptest::prelude::*;

    use super::*;
    use crate::job::Refusal;

    #[test]
    fn progress_and_replies_are_told_apart() {
        let progress = Progress::at(Stage::Decoding, 3);
        assert_eq!(
            FromEnclave::decode(&progress.encode()),
            Ok(FromEnclave::Progress(progress))
        );
        let reply = JobReply::Refused {
            refusal: Refusal::Timeout,
            report: None,
        };
        assert_eq!(
            FromEnclave::decode(&reply.encode().unwrap()),
            Ok(FromEnclave::Reply(reply))
        );
    }

    #[test]
    fn refuses_another_version_a_foreign_stage_and_trailing_bytes() {
        let newer = Progress {
            version: VERSION + 1,
            ..Progress::at(Stage::Queued, 0)
        };
        let mut long = Progress::at(Stage::Queued, 0).encode();
        long.push(0);
        let mut spoken = START.to_vec();
        let text = cbor!({ "version" => 1, "stage" => "^MARIA^", "ahead" => 0 });
        ciborium::into_writer(&text.unwrap(), &mut spoken).unwrap();
        for bytes in [newer.encode(), long, spoken] {
            assert!(FromEnclave::decode(&bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_message_panics_a_parent(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = FromEnclave::decode(&bytes);
            let _ = FromEnclave::decode(&[START, &bytes].concat());
        }
    }
}
