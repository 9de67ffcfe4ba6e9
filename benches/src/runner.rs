//! NSM requests through `/dev/nsm` of `nsm-sim run`, and the start of a run.
//!
//! A small client ([`ask`], the `operations ask` verb) runs under the runner,
//! opens the device through AWS's crate and times its own loop, so the figure
//! holds AWS's encoding and decoding, the trapped ioctl and the reply's way
//! back, and neither the start of the run nor of the client.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use aws_nitro_enclaves_nsm_api::{
    api::{Request, Response},
    driver::{nsm_exit, nsm_init, nsm_process_request},
};
use conformance::lab::programs::Programs;

/// Requests that [`ask`] knows, by the name of their operation in process.
pub const REQUESTS: [&str; 4] = ["describe-pcr", "describe-nsm", "get-random", "attestation"];

/// Requests made before the clock starts: the first opens pages and mints the
/// leaf.
const WARM_UP: u64 = 20;

/// Why a run under `nsm-sim` gave no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no `/dev/nsm` where the client runs.
    #[error("/dev/nsm does not open: run me under `nsm-sim run`")]
    NoDevice,
    /// The client knows no such request.
    #[error("`{0}` is not a request")]
    NoSuchRequest(String),
    /// The NSM answered with an error.
    #[error("the NSM answered {0}")]
    Refused(String),
    /// The runner could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// What was started.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runner or the client under it failed; its own words are above.
    #[error("{program} failed")]
    Failed {
        /// What was started.
        program: PathBuf,
    },
}

/// Makes the named request `runs` times of `/dev/nsm`; the time it took.
///
/// # Errors
/// Without a device, for an unknown name, and when the NSM refuses.
pub fn ask(name: &str, runs: u64) -> Result<Duration, RunError> {
    let request = || match name {
        "describe-pcr" => Ok(Request::DescribePCR { index: 0 }),
        "describe-nsm" => Ok(Request::DescribeNSM),
        "get-random" => Ok(Request::GetRandom),
        "attestation" => Ok(Request::Attestation {
            user_data: None,
            nonce: None,
            public_key: Some(vec![0x30; 294].into()),
        }),
        _ => Err(RunError::NoSuchRequest(name.to_owned())),
    };
    let device = nsm_init();
    if device < 0 {
        return Err(RunError::NoDevice);
    }
    let asked = |runs: u64| {
        let start = Instant::now();
        for _ in 0..runs {
            if let Response::Error(code) = nsm_process_request(device, request()?) {
                return Err(RunError::Refused(format!("{code:?}")));
            }
        }
        Ok(start.elapsed())
    };
    let time = asked(WARM_UP).and_then(|_| asked(runs));
    nsm_exit(device);
    time
}

/// `nsm-sim` and the client that it runs.
#[derive(Clone, Debug)]
pub struct Runner {
    nsm_sim: PathBuf,
    operations: PathBuf,
    world: String,
}

impl Runner {
    /// Finds, or builds, the runner; `operations` is this crate's binary.
    ///
    /// # Panics
    /// If there is no `nsm-sim` and none can be built.
    #[must_use]
    pub fn locate(operations: &Path) -> Self {
        let programs = Programs::locate().unwrap_or_else(|error| panic!("{error}"));
        Self {
            nsm_sim: programs.nsm_sim,
            operations: operations.to_owned(),
            world: format!("bench-{}", std::process::id()),
        }
    }

    /// Makes the named request `runs` times in one run; the time the client saw.
    ///
    /// # Errors
    /// When the run fails.
    pub fn asked(&self, name: &str, runs: u64) -> Result<Duration, RunError> {
        let mut command = self.run();
        command.arg(&self.operations);
        command.args(["ask", name, &runs.to_string()]);
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .map_err(|source| self.start(source))?;
        let nanos = String::from_utf8(output.stdout)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|_| output.status.success());
        nanos.map(Duration::from_nanos).ok_or_else(|| self.failed())
    }

    /// Runs `true` to its end, under the runner or `plain`; the time it took.
    ///
    /// # Errors
    /// When it fails.
    pub fn ran_true(&self, plain: bool) -> Result<Duration, RunError> {
        let mut command = if plain {
            Command::new("true")
        } else {
            let mut command = self.run();
            command.arg("true");
            command
        };
        let start = Instant::now();
        let status = command.status().map_err(|source| self.start(source))?;
        let time = start.elapsed();
        status
            .success()
            .then_some(time)
            .ok_or_else(|| self.failed())
    }

    fn run(&self) -> Command {
        let mut command = Command::new(&self.nsm_sim);
        command.args(["run", "--world", &self.world, "--"]);
        command
    }

    fn start(&self, source: io::Error) -> RunError {
        RunError::Start {
            program: self.nsm_sim.clone(),
            source,
        }
    }

    fn failed(&self) -> RunError {
        RunError::Failed {
            program: self.nsm_sim.clone(),
        }
    }
}
