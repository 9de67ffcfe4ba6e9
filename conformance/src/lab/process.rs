//! A supervised process of a world: an enclave or a parent under
//! `nsm-sim run`, its log read line by line, its steps put on the timeline.
//!
//! Truth: the log events of `enclave-app` and `enclave-parent` (`--log json`:
//! target `ready` once, target `step` per step). What is no such event is kept
//! as the process's last words, for errors.

use std::{
    collections::VecDeque,
    io,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::watch,
    task::JoinHandle,
};

use super::timeline::{Actor, Step, Timeline};

/// Lines kept for errors: enough for a panic and what led to it.
const LAST_WORDS_MAX: usize = 20;
/// How long a process may take to say that it is ready: a debug build on a
/// loaded machine measures and loads within a few seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a process may take to end once asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a process of the world is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It could not be started at all.
    #[error("cannot start {what}: {source}")]
    Start {
        /// The process.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{what} ended before it was ready{}", words(last_words))]
    EndedEarly {
        /// The process.
        what: String,
        /// What it said last.
        last_words: String,
    },
    /// It neither ended nor became ready.
    #[error("{what} was not ready after {READY_TIMEOUT:?}{}", words(last_words))]
    NotReady {
        /// The process.
        what: String,
        /// What it said last.
        last_words: String,
    },
    /// It could not be waited for or signalled.
    #[error("{what} could not be waited for or signalled: {source}")]
    Lost {
        /// The process.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

fn words(last: &str) -> String {
    if last.is_empty() {
        String::new()
    } else {
        format!("; its last output:\n{last}")
    }
}

/// A running process of a world. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    ready: watch::Receiver<bool>,
    last_words: Arc<Mutex<VecDeque<String>>>,
    log: JoinHandle<()>,
}

impl Process {
    /// Starts `command`, whose log goes to `timeline` as steps of `actor`.
    ///
    /// # Errors
    /// [`ProcessError::Start`].
    pub fn start(
        what: &str,
        actor: Actor,
        mut command: Command,
        timeline: &Timeline,
    ) -> Result<Self, ProcessError> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ProcessError::Start {
                what: what.to_owned(),
                source,
            })?;
        let (ready_now, ready) = watch::channel(false);
        let last_words = Arc::default();
        let stderr = child.stderr.take().expect("standard error is piped");
        let log = tokio::spawn(read_log(
            stderr,
            actor,
            timeline.clone(),
            ready_now,
            Arc::clone(&last_words),
        ));
        Ok(Self {
            what: what.to_owned(),
            child,
            ready,
            last_words,
            log,
        })
    }

    /// Waits until the process says that it is ready.
    ///
    /// # Errors
    /// [`ProcessError::EndedEarly`] or [`ProcessError::NotReady`], with what it
    /// said last.
    pub async fn ready(&mut self) -> Result<(), ProcessError> {
        let ready = self.ready.wait_for(|ready| *ready);
        let waited = tokio::time::timeout(READY_TIMEOUT, ready)
            .await
            .map(|ended| ended.map(|_| ()));
        let (what, last_words) = (self.what.clone(), self.last_words());
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ProcessError::EndedEarly { what, last_words }),
            Err(_) => Err(ProcessError::NotReady { what, last_words }),
        }
    }

    /// Standard input and output, once.
    #[must_use]
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// The process id of the supervisor, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What the process said last besides its steps.
    #[must_use]
    pub fn last_words(&self) -> String {
        let words = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        words.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Waits for the process to end by itself, its whole log read.
    ///
    /// # Errors
    /// [`ProcessError::Lost`].
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let status = self.child.wait().await;
        // The log ends when the last process that holds it does.
        let _ = tokio::time::timeout(STOP_TIMEOUT, &mut self.log).await;
        status.map_err(|source| ProcessError::Lost {
            what: self.what.clone(),
            source,
        })
    }

    /// Kills the process as a machine's failure would.
    ///
    /// # Errors
    /// [`ProcessError::Lost`].
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        let lost = |what: &str| {
            let what = what.to_owned();
            move |source| ProcessError::Lost { what, source }
        };
        self.child.start_kill().map_err(lost(&self.what))?;
        self.wait().await.map(|_| ())
    }

    /// Asks the process to end as Ctrl-C or an init system would, and kills it
    /// if it does not.
    ///
    /// # Errors
    /// [`ProcessError::Lost`].
    pub async fn stop(mut self) -> Result<ExitStatus, ProcessError> {
        if let Some(pid) = self.child.id() {
            terminate(pid);
        }
        match tokio::time::timeout(STOP_TIMEOUT, self.wait()).await {
            Ok(status) => status,
            Err(_) => {
                let what = self.what.clone();
                let lost = |source| ProcessError::Lost {
                    what: what.clone(),
                    source,
                };
                self.child.start_kill().map_err(lost)?;
                self.child.wait().await.map_err(lost)
            }
        }
    }
}

/// SIGTERM by the shell: safe Rust has no wrapper for the system call, and not
/// every machine has a `kill` program.
fn terminate(pid: u32) {
    let _ = std::process::Command::new("sh")
        .args(["-c", "kill -TERM \"$1\"", "sh", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

async fn read_log(
    stderr: ChildStderr,
    actor: Actor,
    timeline: Timeline,
    ready: watch::Sender<bool>,
    last_words: Arc<Mutex<VecDeque<String>>>,
) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match Event::parse(&line) {
            Event::Ready => {
                let _ = ready.send(true);
            }
            Event::Step { name, ms } => timeline.note(Step { name, actor, ms }),
            Event::Other => {
                let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
                if words.len() == LAST_WORDS_MAX {
                    words.pop_front();
                }
                words.push_back(line);
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Event {
    Ready,
    Step { name: String, ms: f64 },
    Other,
}

impl Event {
    fn parse(line: &str) -> Self {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else {
            return Self::Other;
        };
        match event.get("target").and_then(|target| target.as_str()) {
            Some("ready") => Self::Ready,
            Some("step") => {
                let name = event.get("name").and_then(|name| name.as_str());
                let ms = event.get("ms").and_then(serde_json::Value::as_f64);
                match (name, ms) {
                    (Some(name), Some(ms)) => Self::Step {
                        name: name.to_owned(),
                        ms,
                    },
                    _ => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_event_is_recognised_among_other_lines() {
        let step = r#"{"level":"INFO","target":"step","name":"inference","ms":0.7,"job":"j"}"#;
        assert_eq!(
            Event::parse(step),
            Event::Step {
                name: "inference".into(),
                ms: 0.7
            }
        );
        assert_eq!(
            Event::parse(r#"{"target":"ready","port":5000}"#),
            Event::Ready
        );
        assert_eq!(Event::parse("thread 'main' panicked"), Event::Other);
        assert_eq!(
            Event::parse(r#"{"target":"step","ms":"soon"}"#),
            Event::Other
        );
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such model >&2; exit 3"]);
        let timeline = Timeline::default();
        let mut process =
            Process::start("the enclave", Actor::Enclave, command, &timeline).unwrap();
        let error = process.ready().await.unwrap_err();
        assert!(error.to_string().contains("no such model"), "{error}");
        assert_eq!(process.wait().await.unwrap().code(), Some(3));
    }
}
