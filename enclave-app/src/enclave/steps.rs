//! The record of a job: one log event per finished step, with its time.
//!
//! Names are part of the interface: the demo and the benchmarks read them. An
//! event has target `step` and the fields `name`, `ms` and `job`; nothing about
//! the image or the findings is ever logged ([`super::log`]). As a step begins, the
//! parent may hear of it ([`Course`]).

use std::{any::Any, future::Future, sync::Arc, time::Instant};

use tokio::sync::watch;

use crate::{
    enclave::log::{Event, emit},
    job::progress::Stage,
};

/// The name of a step: one of those in [`name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepName(&'static str, Stage);

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
    use super::{Stage, StepName};

    pub const JOB_CHECKED: StepName = StepName("job checked", Stage::Checking);
    pub const ATTESTATION_FOR_DECRYPT: StepName =
        StepName("attestation for Decrypt", Stage::DataKey);
    pub const KMS_DECRYPT: StepName = StepName("KMS Decrypt", Stage::DataKey);
    pub const OBJECT_OPENED: StepName = StepName("object opened", Stage::Opening);
    pub const IMAGE_DECODED: StepName = StepName("image decoded", Stage::Decoding);
    pub const INFERENCE: StepName = StepName("inference", Stage::Inference);
    pub const ATTESTATION_FOR_GENERATE_DATA_KEY: StepName =
        StepName("attestation for GenerateDataKey", Stage::ReportKey);
    pub const KMS_GENERATE_DATA_KEY: StepName = StepName("KMS GenerateDataKey", Stage::ReportKey);
    pub const RESULT_SEALED: StepName = StepName("result sealed", Stage::Sealing);
    pub const RECEIPT: StepName = StepName("receipt", Stage::Receipt);
}

/// What goes along with a job: whom to tell how far it is, and what to hold on to
/// while any of its work goes on.
#[derive(Clone, Debug, Default)]
pub struct Course {
    stages: Option<watch::Sender<Stage>>,
    held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Course {
    /// Tells `stages`, and drops `held` when the last piece of work has ended.
    #[must_use]
    pub fn new(stages: watch::Sender<Stage>, held: impl Send + Sync + 'static) -> Self {
        Self {
            stages: Some(stages),
            held: Some(Arc::new(held)),
        }
    }

    /// The job is at `stage` now.
    pub fn reached(&self, stage: Stage) {
        if let Some(stages) = &self.stages {
            stages.send_replace(stage);
        }
    }

    /// Work that would hold up an async thread. It cannot be called back: whoever
    /// waits for it may go, the course lasts until it ends. `None` if it panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let held = self.held.clone();
        let working = tokio::task::spawn_blocking(move || {
            let value = work();
            drop(held);
            value
        });
        working.await.ok()
    }
}

/// Logs steps under one job's name.
#[derive(Clone, Debug)]
pub struct Steps {
    job: String,
    course: Course,
}

impl Steps {
    /// Steps of the job with this name.
    #[must_use]
    pub fn of(job: String) -> Self {
        Self::on(job, Course::default())
    }

    /// The same, on a course.
    #[must_use]
    pub const fn on(job: String, course: Course) -> Self {
        Self { job, course }
    }

    /// What goes along with the job.
    #[must_use]
    pub const fn course(&self) -> &Course {
        &self.course
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
        self.course.reached(name.1);
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
