//! The record of a job: one log event per finished step, with its time.
//!
//! Names are part of the interface: the demo and the benchmarks read them. An
//! event has target `step` and the fields `name`, `ms` and `job`; nothing about
//! the image or the findings is ever logged.

use std::{future::Future, time::Instant};

/// The steps of a job, in order.
pub mod name {
    #![allow(missing_docs)] // the values say it
    pub const JOB_CHECKED: &str = "job checked";
    pub const ATTESTATION_FOR_DECRYPT: &str = "attestation for Decrypt";
    pub const KMS_DECRYPT: &str = "KMS Decrypt";
    pub const OBJECT_OPENED: &str = "object opened";
    pub const IMAGE_DECODED: &str = "image decoded";
    pub const INFERENCE: &str = "inference";
    pub const ATTESTATION_FOR_GENERATE_DATA_KEY: &str = "attestation for GenerateDataKey";
    pub const KMS_GENERATE_DATA_KEY: &str = "KMS GenerateDataKey";
    pub const RESULT_SEALED: &str = "result sealed";
    pub const RECEIPT: &str = "receipt";
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

    /// The job's name.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Runs one step and logs it if it succeeds.
    ///
    /// # Errors
    /// Those of the step.
    pub async fn run<T, E>(
        &self,
        name: &'static str,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let value = step.await?;
        self.finished(name, began);
        Ok(value)
    }

    /// Logs a step that began at `began` and has just succeeded.
    pub fn finished(&self, name: &'static str, began: Instant) {
        let ms = began.elapsed().as_secs_f64() * 1e3;
        tracing::info!(target: "step", name, ms, job = self.job);
    }
}
