//! `kms-mock` under load, beside the floor of any HTTP service.
//!
//! Both servers are processes of their own (`kms-mock serve` as users start it,
//! and [`floor`]), so that processor time and memory are theirs alone; the
//! requests, the connections and the generator are the same. Rounds alternate,
//! and a ratio is the median over the rounds. Nothing is switched off: the key
//! policy is evaluated for every call, the audit log and the log of received
//! requests are kept.
//!
//! Reading order: [`check`] (what is promised), `calls` (the requests), `speed`, `keys`, `crowd` and
//! `start` (one file for each promise), `beside` (an old program and a new one), [`client`] (the generator), [`server`]
//! (processes), [`floor`].

mod beside;
pub(crate) mod calls;
pub mod client;
mod crowd;
pub mod floor;
mod keys;
mod place;
pub mod server;
pub(crate) mod signed;
mod speed;
mod start;

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use conformance::lab::programs::{Programs, ProgramsError};
use serde_json::{Value, json};

pub use self::beside::Ratios;
use self::{
    client::{ClientError, Connection},
    server::{Server, ServerError},
};
use crate::promise::Promise;

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Requests a second and processor time a request, beside the floor.
    Speed,
    /// A million keys beside a thousand.
    Keys,
    /// Ten thousand connections, and hostile ones among them.
    Crowd,
    /// From the start of the process to its first answer.
    Start,
}

impl Section {
    /// All, in the order they are measured.
    pub const ALL: [Self; 4] = [Self::Start, Self::Speed, Self::Keys, Self::Crowd];

    /// The section of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Keys => "keys",
            Self::Crowd => "crowd",
            Self::Start => "start",
        }
    }
}

/// Why the load could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A server did not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The programs of a world are not there.
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    /// A program does not exist.
    #[error("{} does not exist; build it with `cargo build --profile dist --workspace --bin {program}`", path.display())]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The system refused something else.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server did something that it must not do.
    #[error("{0}")]
    Wrong(String),
}

/// One line of the report.
#[derive(Clone, Debug)]
pub enum Line {
    /// A figure that is promised.
    Promise(Promise),
    /// Figures of one server under one load, to see where a ratio comes from.
    Figures(Figures),
}

/// One server under one load: medians over the rounds.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The operation and the server.
    pub what: String,
    /// Requests answered a second.
    pub per_second: f64,
    /// Processor time of the server for each of them, in µs.
    pub cpu_us: f64,
    /// Median latency in µs.
    pub p50_us: f64,
    /// The latency that one in a hundred exceeds, in µs.
    pub p99_us: f64,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Promise(promise) => promise.fmt(f),
            Self::Figures(it) => write!(
                f,
                "  {:<42} {:>8.0} /s {:>8.1} µs CPU  p50 {:>7.0} µs  p99 {:>7.0} µs",
                it.what, it.per_second, it.cpu_us, it.p50_us, it.p99_us
            ),
        }
    }
}

impl Line {
    /// The line for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Promise(promise) => promise.to_json(),
            Self::Figures(it) => json!({
                "what": it.what,
                "perSecond": it.per_second,
                "cpuMicros": it.cpu_us,
                "p50Micros": it.p50_us,
                "p99Micros": it.p99_us,
            }),
        }
    }
}

/// Measures `sections` and gives each line to `print` as it is ready; whether
/// every promise was held.
///
/// # Errors
/// [`LoadError`], when a server does not run or answers what it must not.
pub fn check(sections: &[Section], mut print: impl FnMut(&Line)) -> Result<bool, LoadError> {
    // Nothing else makes sure that the server measured is the one of these sources.
    let kms_mock = Programs::rebuilt()?.kms_mock;
    let mut all_held = true;
    let mut tell = |line: Line| {
        if let Line::Promise(promise) = &line {
            all_held &= promise.is_held();
        }
        print(&line);
    };
    let runtime = generator()?;
    for section in sections {
        match section {
            Section::Speed => runtime.block_on(speed::measure(&kms_mock, &mut tell))?,
            Section::Keys => runtime.block_on(keys::measure(&kms_mock, &mut tell))?,
            Section::Crowd => runtime.block_on(crowd::measure(&kms_mock, &mut tell))?,
            Section::Start => runtime.block_on(start::measure(&kms_mock, &mut tell))?,
        }
    }
    Ok(all_held)
}

/// Compares `kms-mock` with an `old` one and gives each line to `print` as it is
/// ready.
///
/// # Errors
/// [`LoadError`], when a server does not run or answers what it must not.
pub fn beside(old: &Path, mut print: impl FnMut(&Ratios)) -> Result<(), LoadError> {
    let new = Programs::rebuilt()?.kms_mock;
    generator()?.block_on(beside::measure(&new, old, |ratios| print(&ratios)))
}

fn generator() -> Result<tokio::runtime::Runtime, LoadError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| LoadError::System {
            what: "starting the generator",
            source,
        })
}

/// A program beside this one, built anew when cargo started us: nothing else makes
/// sure that what is measured is of these sources.
///
/// # Errors
/// [`LoadError`], if it is not there or cannot be built.
pub fn locate(program: &'static str) -> Result<PathBuf, LoadError> {
    let mut folder = this_program()?;
    folder.pop();
    let path = folder.join(program);
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--workspace", "--bin", program]);
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
        // A profile builds into the folder of its name, but for `dev`.
        if let Some(profile) = folder.file_name().filter(|name| *name != "debug") {
            build.arg("--profile").arg(profile);
        }
        let built = build.status().map_err(|source| LoadError::System {
            what: "building what is measured",
            source,
        })?;
        if !built.success() {
            return Err(LoadError::NoProgram { program, path });
        }
    }
    if !path.is_file() {
        return Err(LoadError::NoProgram { program, path });
    }
    Ok(path)
}

fn this_program() -> Result<PathBuf, LoadError> {
    env::current_exe().map_err(|source| LoadError::System {
        what: "finding this program",
        source,
    })
}

/// `kms-mock serve` on free ports, with everything on: a management port, and
/// with it the log of received requests.
fn serve_command(kms_mock: &Path) -> Command {
    let mut command = Command::new(kms_mock);
    command.args(["serve", "--bind", "127.0.0.1:0", "--region", crate::REGION]);
    command.args(["--management", "127.0.0.1:0"]);
    command
}

/// This program as a server: `operations ROLE ARGUMENT`.
fn own_server(role: &str, argument: &str) -> Result<Server, LoadError> {
    let mut command = Command::new(this_program()?);
    command.args([role, argument]);
    Ok(Server::start(&mut command)?)
}

/// A KMS request as an SDK sends it. Nobody issued its access key, so its
/// signature, which is read, is not verified.
fn kms_request(operation: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST / HTTP/1.1\r\n\
         host: localhost:4566\r\n\
         content-type: application/x-amz-json-1.1\r\n\
         x-amz-target: TrentService.{operation}\r\n\
         x-amz-date: 20260101T000000Z\r\n\
         user-agent: aws-sdk-rust/1.3.9 os/linux lang/rust/1.95.0\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/{region}/kms/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={signature}\r\n\
         content-length: {length}\r\n\r\n{body}",
        region = crate::REGION,
        signature = "5a".repeat(32),
        length = body.len(),
    )
    .into_bytes()
}

/// One call outside of what is measured.
async fn call(address: SocketAddr, operation: &str, body: Value) -> Result<Value, LoadError> {
    calls::ask(&mut Connection::open(address).await?, operation, &body).await
}

/// A member that is text.
fn text(answer: &Value, pointer: &str) -> Result<String, LoadError> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .ok_or_else(|| LoadError::Wrong(format!("there is no {pointer} in {answer}")))
}
