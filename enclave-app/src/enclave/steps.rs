//! The record of a job: one log event per finished step, with its time.
//!
//! Names are part of the interface: the demo and the benchmarks read them. An
//! event has target `step` and the fields `name`, `ms` and `job`; nothing about
//! the image or the findings is ever logged ([`super::log`]).

use std::{future::Future, time::Instant};

use crate::enclave::log::{Event, emit};

/// The name of a step: one of those in [`name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepName(&'static str);

impl StepName {
    /// As it is logged.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// The steps of a job, in order.
pub mod name {
    #![allow(missing_docs)] // the values say it
    use super::StepName;

    pub const JOB_CHECKED: StepName = StepName("job checked");
    pub const ATTESTATION_FOR_DECRYPT: StepName = StepName("attestation for Decrypt");
    pub const KMS_DECRYPT: StepName = StepName("KMS Decrypt");
    pub const OBJECT_OPENED: StepName = StepName("object opened");
    pub const IMAGE_DECODED: StepName = StepName("image decoded");
    pub const INFERENCE: StepName = StepName("inference");
    pub const ATTESTATION_FOR_GENERATE_DATA_KEY: StepName =
        StepName("attestation for GenerateDataKey");
    pub const KMS_GENERATE_DATA_KEY: StepName = StepName("KMS GenerateDataKey");
    pub const RESULT_SEALED: StepName = StepName("result sealed");
    pub const RECEIPT: StepName = StepName("receipt");
}

/// Logs steps under one job's name.
#[derive(Clone, Debug)]
pub struct Steps {
    job: String,
}

impl Steps {
    /// Steps of the job with this name.
    #[must_use]
    pub const fn of(job: String) -> Self {
        Self { job }
    }

    /// Runs one step and logs it if it succeeds.
    ///
    /// # Errors
    /// Those of the step.
    pub async fn run<T, E>(
        &self,
        name: StepName,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let value = step.await?;
        self.finished(name, began);
        Ok(value)
    }

    /// Logs a step that began at `began` and has just succeeded.
    pub fn finished(&self, name: StepName, began: Instant) {
        let ms = began.elapsed().as_secs_f64() * 1e3;
        emit(Event::Step {
            name,
            // A tenth of a millisecond: what a step costs, not what it saw.
            ms: (ms * 10.0).round() / 10.0,
            job: &self.job,
        });
    }
}
