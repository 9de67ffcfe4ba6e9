//! What the enclave says while it runs: events of a closed list.
//!
//! A console that is attached to an enclave leaves the enclave as surely as an
//! answer does. So there is one place that logs, it takes an [`Event`], and no
//! event of a running job has room for text but the job's name, which stands in
//! the manifest that the parent handed over. [`start`] shows what this file emits
//! and nothing else: not what libraries log, not what somebody adds elsewhere in
//! this crate, not the message of a panic.
//!
//! Source of truth: ours; targets and fields are an interface, the help of
//! `enclave-app` lists them. Does not model levels that can be chosen.

use std::{io, panic};

use tracing_subscriber::{
    Layer as _, Registry, filter::filter_fn, fmt::layer, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{enclave::steps::StepName, job::Refusal};

/// The forms of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What a running enclave has to say.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Jobs are being taken on this port.
    Ready {
        /// vsock port.
        port: u32,
    },
    /// A step of a job has ended well.
    Step {
        /// Which.
        name: StepName,
        /// How long it took, in milliseconds.
        ms: f64,
        /// The job's name, from its manifest.
        job: &'a str,
    },
    /// A job was refused.
    Refused(Refusal),
    /// A call of KMS failed and is made again.
    Retry {
        /// Why it failed.
        refusal: Refusal,
        /// How often it may still be made.
        attempts_left: u32,
    },
    /// A connection could not be accepted.
    NotAccepted(io::ErrorKind),
    /// An answer could not be delivered or not even be written down.
    NotDelivered,
    /// The kernel did not take the module's randomness.
    EntropyNotTaken(io::ErrorKind),
    /// Decoders run as the enclave's own user, because the system gives no other.
    DecoderKeepsUser,
    /// A fault of the program; where in its source.
    Panicked {
        /// The source file.
        file: &'static str,
        /// The line in it.
        line: u32,
    },
    /// Told to stop: these jobs are still running.
    Stopping {
        /// How many.
        jobs: usize,
    },
}

/// Writes an event to whatever listens.
pub fn emit(event: Event<'_>) {
    use tracing::{error, info, warn};
    match event {
        Event::Ready { port } => info!(target: "ready", port, "taking jobs"),
        Event::Step { name, ms, job } => info!(target: "step", name = name.as_str(), ms, job),
        Event::Refused(refusal) => {
            let (code, reason) = (refusal.code().as_str(), refusal.reason());
            warn!(target: "refused", code, reason, "{refusal}");
        }
        Event::Retry {
            refusal,
            attempts_left,
        } => {
            let (code, reason) = (refusal.code().as_str(), refusal.reason());
            warn!(target: "retry", code, reason, attempts_left, "{refusal}");
        }
        Event::NotAccepted(kind) => {
            warn!(target: "serve", error = %kind, "a connection could not be accepted");
        }
        Event::NotDelivered => warn!(target: "serve", "an answer could not be delivered"),
        Event::EntropyNotTaken(kind) => {
            warn!(target: "entropy", error = %kind, "the kernel did not take the module's randomness");
        }
        Event::DecoderKeepsUser => {
            warn!(target: "decoder", "decoders run as the enclave's own user");
        }
        Event::Panicked { file, line } => {
            error!(target: "panic", file, line, "a fault of the program")
        }
        Event::Stopping { jobs } => info!(target: "stopping", jobs, "taking no more jobs"),
    }
}

/// The sentence with which a program ends that has not taken a job: it may quote
/// the configuration, since nothing was ever decrypted.
pub fn not_started(exit_code: u8, sentence: &str) {
    tracing::error!(target: "fatal", exit_code, "{sentence}");
}

/// Sends the log to standard error, and has panics say no more than where.
pub fn start(form: Form) {
    let ours = filter_fn(|event| event.module_path() == Some(module_path!()));
    let lines = layer().with_writer(io::stderr);
    match form {
        Form::Text => Registry::default()
            .with(lines.with_ansi(false).with_filter(ours))
            .init(),
        Form::Json => Registry::default()
            .with(lines.json().flatten_event(true).with_filter(ours))
            .init(),
    }
    panic::set_hook(Box::new(|panic| {
        // A message may hold what the program had in hand; a place holds nothing.
        let (file, line) = panic
            .location()
            .map_or(("", 0), |place| (source_of(place.file()), place.line()));
        emit(Event::Panicked { file, line });
    }));
}

/// The name of a source file for the log: the crates that see a plaintext are told
/// apart, and nothing that was made at run time is repeated.
fn source_of(file: &str) -> &'static str {
    const KNOWN: [&str; 9] = [
        "enclave-app/src/image",
        "enclave-app/src/model",
        "enclave-app/src/enclave",
        "enclave-app/src/envelope",
        "enclave-app/src/job",
        "enclave-app/src",
        "tract",
        "dicom",
        "library/",
    ];
    KNOWN
        .into_iter()
        .find(|known| file.contains(known))
        .unwrap_or("elsewhere")
}
