//! Decoders: processes of this same program that turn one image each into the
//! model's input, so that a hostile file costs one process and nothing else.
//!
//! The enclave writes limits and plaintext into a worker's standard input and reads
//! its answer from standard output ([`protocol`]). A worker ([`child`]) bounds its
//! own memory, processor time and files before it reads a byte, inherits none of the
//! enclave's descriptors but its pipes and no environment, and serves one image: what
//! a file did to its decoder cannot reach the next patient's. One is kept started, so
//! that a job does not wait for it. A worker is killed when nobody waits for it any
//! more: at the job's deadline, when the parent hangs up, when the enclave stops.
//!
//! In an enclave, where this program is root, workers run as `nobody`: they can
//! neither open `/dev/nsm` nor raise their limits. Where the system has no other
//! user to offer (an unprivileged user, a user namespace), they keep their own and
//! [`Event::DecoderKeepsUser`] says so.
//!
//! Source of truth: ours; setrlimit(2) for the bounds. Does not model shared memory
//! (a pipe moves 64 MiB in some 30 ms) or a sandbox of system calls.

pub mod child;
pub mod protocol;

use std::{
    env,
    future::Future,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    process::{ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};
use zeroize::Zeroizing;

pub use protocol::Decoded;

use crate::{
    enclave::log::{Event, emit},
    image,
    job::refusal::ImageFault,
};

/// What one worker may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerBounds {
    /// Its address space, in bytes.
    pub memory_bytes_max: u64,
    /// Its processor time, in whole seconds.
    pub cpu_s_max: u64,
    /// Processes and threads of all workers together; counts where they have a user of
    /// their own.
    pub threads_max: u64,
}

/// Why an image did not become the model's input.
#[derive(Debug)]
pub struct Setback {
    /// What the parent may know; none if the image is not at fault.
    pub fault: Option<ImageFault>,
    /// What the clinician may know: it may repeat what stands in the image.
    pub detail: Zeroizing<String>,
}

impl Setback {
    fn costly(detail: String) -> Self {
        Self {
            fault: Some(ImageFault::TooCostly),
            detail: Zeroizing::new(detail),
        }
    }

    fn failed(detail: String) -> Self {
        Self {
            fault: None,
            detail: Zeroizing::new(detail),
        }
    }
}

/// Turns the bytes of an image file into the model's input.
pub trait Decode: Send + Sync {
    /// Decodes one image. What it costs ends when the future is dropped.
    fn decode<'a>(
        &'a self,
        plaintext: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<Decoded, Setback>> + Send + 'a>>;
}

/// The workers of an enclave.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    limits: image::Limits,
    bounds: WorkerBounds,
    own_user: bool,
    waiting: Mutex<Option<Child>>,
}

/// `nobody` on every Linux; it owns nothing and its name need not exist.
const NOBODY: u32 = 65534;

impl Workers {
    /// Workers of `program`, which is this program, and starts the first.
    ///
    /// # Errors
    /// If no process of it can be started.
    pub fn start(
        program: &Path,
        limits: image::Limits,
        bounds: WorkerBounds,
    ) -> Result<Self, WorkerError> {
        let mut workers = Self {
            program: program.to_owned(),
            limits,
            bounds,
            own_user: false,
            waiting: Mutex::new(None),
        };
        let first = workers.spawn().or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
                workers.own_user = true;
                emit(Event::DecoderKeepsUser);
                workers.spawn()
            }
            _ => Err(error),
        });
        let first = first.map_err(|source| WorkerError::NotStarted {
            program: program.to_owned(),
            source,
        })?;
        *workers.waiting() = Some(first);
        Ok(workers)
    }

    /// Has a worker decode a picture whose pixels are known.
    ///
    /// # Errors
    /// If it does not come back as it must.
    pub async fn check(&self) -> Result<(), WorkerError> {
        match self.decode_one(&protocol::known_picture()).await {
            Ok(decoded) if decoded.width == 2 && decoded.height == 1 => Ok(()),
            Ok(_) => Err(WorkerError::Wrong("another picture".to_owned())),
            Err(setback) => Err(WorkerError::Wrong(setback.detail.to_string())),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        // Of a user that others have, nobody knows how many threads there may be.
        let threads_max = if self.own_user {
            u64::MAX
        } else {
            self.bounds.threads_max
        };
        command
            .arg(child::ARGUMENT)
            .arg(self.bounds.memory_bytes_max.to_string())
            .arg(self.bounds.cpu_s_max.to_string())
            .arg(threads_max.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Nobody reads it: what a decoder says of an image stays with it.
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if !self.own_user {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn()
    }

    /// The worker that waits, or a new one if it has died meanwhile.
    fn take(&self) -> io::Result<Child> {
        let waiting = self.waiting().take();
        if let Some(mut child) = waiting
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(child);
        }
        self.spawn()
    }

    /// Starts the next worker, if none waits. That it fails shows when one is needed.
    fn prepare(&self) {
        let mut waiting = self.waiting();
        if waiting.is_none() {
            *waiting = self.spawn().ok();
        }
    }

    async fn decode_one(&self, plaintext: &[u8]) -> Result<Decoded, Setback> {
        let mut child = self
            .take()
            .map_err(|error| Setback::failed(format!("no decoder could be started: {error}")))?;
        self.prepare();
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Setback::failed("the decoder has no pipes".to_owned()));
        };
        drop(child.stderr.take());
        let header = protocol::header(&self.limits, plaintext.len());
        let send = async {
            // A decoder that has died does not read to the end; its exit says why.
            let sent = match stdin.write_all(&header).await {
                Ok(()) => stdin.write_all(plaintext).await,
                failed => failed,
            };
            drop(stdin);
            sent.is_ok()
        };
        let mut reply = Zeroizing::new(Vec::new());
        let mut bounded = stdout.take(protocol::REPLY_BYTES_MAX as u64 + 1);
        let (sent, read) = tokio::join!(send, bounded.read_to_end(&mut reply));
        if !sent || read.is_err() || reply.is_empty() {
            let ended = child.wait().await;
            return Err(Setback::costly(how_it_ended(ended.ok())));
        }
        protocol::read_reply(&reply)
            .unwrap_or_else(|| Err(Setback::costly("the decoder's answer is broken".to_owned())))
    }
}

impl Decode for Workers {
    fn decode<'a>(
        &'a self,
        plaintext: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<Decoded, Setback>> + Send + 'a>> {
        Box::pin(self.decode_one(plaintext))
    }
}

fn how_it_ended(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        // Linux's numbers on every architecture that enclaves have.
        Some((_, Some(24))) => "the decoder used up its processor time".to_owned(),
        Some((_, Some(6))) => "the decoder ran out of memory or gave up".to_owned(),
        Some((_, Some(signal))) => format!("the decoder was ended by signal {signal}"),
        Some((Some(code), None)) => format!("the decoder ended with exit code {code}"),
        _ => "the decoder ended without an answer".to_owned(),
    }
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// It is not known where this program is.
    #[error(
        "this program's own file is not known, so no decoder can be started: /proc is missing \
         and it was not started by a path"
    )]
    NoProgram,
    /// The system refuses to start one.
    #[error("no decoder can be started from {}", program.display())]
    NotStarted {
        /// This program's file.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not decode.
    #[error("a decoder does not do its work: {0}")]
    Wrong(String),
}

/// This program's file: by `/proc`, or where an enclave has none, by the path that
/// it was started with.
///
/// # Errors
/// [`WorkerError::NoProgram`].
pub fn own_program() -> Result<PathBuf, WorkerError> {
    if let Ok(program) = env::current_exe()
        && program.is_file()
    {
        return Ok(program);
    }
    let named = env::args_os().next().map(PathBuf::from);
    named
        .filter(|program| program.components().count() > 1)
        .and_then(|program| std::path::absolute(program).ok())
        .filter(|program| program.is_file())
        .ok_or(WorkerError::NoProgram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> WorkerBounds {
        WorkerBounds {
            memory_bytes_max: 1 << 30,
            cpu_s_max: 1,
            threads_max: 1000,
        }
    }

    /// One test at a time: a script that another test's fork still holds open for
    /// writing cannot be run.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// A worker that is not one: what a decoder does whose file has taken it over.
    fn imposter(script: &str) -> (tempfile::TempDir, Workers) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("worker");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let workers = Workers::start(&program, image::Limits::default(), bounds()).unwrap();
        (folder, workers)
    }

    #[tokio::test]
    async fn a_decoder_that_dies_or_lies_is_a_refusal() {
        let _alone = ALONE.lock().await;
        for (script, detail) in [
            ("exit 7", "exit code 7"),
            ("kill -ABRT $$", "memory"),
            ("kill -XCPU $$", "processor time"),
            ("cat >/dev/null; echo no CBOR", "broken"),
            ("cat >/dev/null; head -c 300000 /dev/zero", "broken"),
        ] {
            let (_folder, workers) = imposter(script);
            let setback = workers.decode_one(&[7; 1 << 20]).await.unwrap_err();
            assert_eq!(setback.fault, Some(ImageFault::TooCostly), "{script}");
            assert!(setback.detail.contains(detail), "{}", *setback.detail);
        }
    }

    #[tokio::test]
    async fn a_decoder_that_nobody_waits_for_is_killed() {
        let _alone = ALONE.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("lives");
        assert!(
            std::process::Command::new("mkfifo")
                .args(["-m", "666"])
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        // It holds the pipe open for as long as it lives.
        let (_folder, workers) = imposter(&format!(
            "exec 3>{}; echo here >&3; exec cat >/dev/null",
            fifo.display()
        ));
        let mut pipe = tokio::net::unix::pipe::OpenOptions::new()
            .open_receiver(&fifo)
            .unwrap();
        let endless = vec![7; 64 << 20];
        let mut decoding = Box::pin(workers.decode_one(&endless));
        let mut said = [0; 5];
        tokio::select! {
            read = pipe.read_exact(&mut said) => { read.unwrap(); }
            _ = &mut decoding => panic!("it answered"),
        }
        drop(decoding);
        drop(workers);
        let mut rest = Vec::new();
        pipe.read_to_end(&mut rest).await.unwrap();
    }

    #[tokio::test]
    async fn a_decoder_that_cannot_be_started_is_not_the_images_fault() {
        let _alone = ALONE.lock().await;
        let (folder, workers) = imposter("exit 7");
        drop(folder);
        // The one that was started before.
        assert!(workers.decode_one(b"").await.is_err());
        let setback = workers.decode_one(b"").await.unwrap_err();
        assert_eq!(setback.fault, None, "{}", *setback.detail);
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_is_an_error_at_once() {
        let none = Path::new("/nonexistent/enclave-app");
        let error = Workers::start(none, image::Limits::default(), bounds()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }
}
