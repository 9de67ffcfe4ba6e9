//! What happened in a world, in the order it happened: steps with who took
//! them and how long they took, printed as they come.
//!
//! Models nothing of AWS. Steps of the enclave and of the parent come from
//! their own logs, so that no timing crosses the vsock.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

/// One step of a flow.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// Who did it.
    pub actor: Actor,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

/// Who takes part in the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Actor {
    /// The harness itself.
    Drydock,
    /// KMS, S3 and STS.
    Cloud,
    /// Encrypts and uploads the image, signs the job.
    Hospital,
    /// The parent instance, untrusted.
    Parent,
    /// The enclave.
    Enclave,
    /// Reads the result.
    Clinician,
    /// Whoever tries what must not work.
    Attacker,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drydock => "drydock",
            Self::Cloud => "cloud",
            Self::Hospital => "hospital",
            Self::Parent => "parent",
            Self::Enclave => "enclave",
            Self::Clinician => "clinician",
            Self::Attacker => "attacker",
        })
    }
}

/// Called with every step as it ends.
pub type OnStep = Arc<dyn Fn(&Step) + Send + Sync>;

/// The steps of one world. Clones share them.
#[derive(Clone, Default)]
pub struct Timeline {
    steps: Arc<Mutex<Vec<Step>>>,
    on_step: Option<OnStep>,
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("steps", &self.steps())
            .finish_non_exhaustive()
    }
}

impl Timeline {
    /// A timeline that shows each step to `on_step` as it ends.
    #[must_use]
    pub fn showing(on_step: OnStep) -> Self {
        Self {
            steps: Arc::default(),
            on_step: Some(on_step),
        }
    }

    /// Runs `work` and notes it, whether it succeeded or not.
    pub async fn time<T>(&self, actor: Actor, name: &str, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let done = work.await;
        self.note(Step {
            name: name.to_owned(),
            actor,
            ms: start.elapsed().as_secs_f64() * 1000.0,
        });
        done
    }

    /// Notes a step that somebody else timed.
    pub fn note(&self, step: Step) {
        if let Some(on_step) = &self.on_step {
            on_step(&step);
        }
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(step);
    }

    /// The steps so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
