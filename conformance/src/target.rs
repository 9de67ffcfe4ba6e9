//! Where the NSM cases are judged: the simulator in this process, the simulator
//! through `/dev/nsm` under `nsm-sim run`, or the device of the machine.
//!
//! A target boots enclaves; an enclave answers requests. The requests are AWS's
//! own types, and through `/dev/nsm` they travel by AWS's own driver code.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, bail};
use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use nsm_sim::{
    attestation::{pki::Pki, verify::Verifier},
    device::{Measurements, Nsm},
    seed::WorldSeed,
};

use clap::ValueEnum;

use crate::lab::{INSTANCE_ID, cloud::REGION, programs::Programs};

/// What can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Drydock's own simulators: in process, under the runner, and as a flow
    Sim,
    /// /dev/nsm of this machine: run it inside an enclave
    Device,
}

/// What an enclave is booted with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The image's registers.
    pub measurements: Measurements,
    /// The parent's role.
    pub role_arn: Option<String>,
    /// Whether with a console.
    pub debug: bool,
}

impl Boot {
    /// A fresh, unsigned enclave of a parent without a role, not in debug mode:
    /// what AWS's own check of the device asks for.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            measurements: Measurements {
                pcr0: [0xa0; 48],
                pcr1: [0xa1; 48],
                pcr2: [0xa2; 48],
                pcr8: None,
            },
            role_arn: None,
            debug: false,
        }
    }
}

/// A place where enclaves boot.
pub trait NsmTarget: fmt::Debug {
    /// How the target is called in reports.
    fn name(&self) -> String;

    /// Boots a fresh enclave, or says why it cannot be booted like that.
    ///
    /// # Errors
    /// If this target cannot.
    fn boot(&self, boot: &Boot) -> anyhow::Result<Box<dyn Enclave>>;

    /// Verifies documents of this target's enclaves.
    fn verifier(&self) -> Verifier;
}

/// A booted enclave with an NSM.
pub trait Enclave {
    /// Asks the NSM.
    ///
    /// # Errors
    /// If no answer comes back; an `Error` response is an answer.
    fn request(&mut self, request: Request) -> anyhow::Result<Response>;

    /// The parent instance it belongs to, where that is known beforehand.
    fn instance_id(&self) -> Option<&str>;
}

/// The device core, called in this process.
#[derive(Debug)]
pub struct InProcess {
    seed: WorldSeed,
}

impl InProcess {
    /// A world of its own.
    #[must_use]
    pub fn new() -> Self {
        Self {
            seed: WorldSeed::random(),
        }
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new()
    }
}

impl NsmTarget for InProcess {
    fn name(&self) -> String {
        "sim, in process".to_owned()
    }

    fn boot(&self, boot: &Boot) -> anyhow::Result<Box<dyn Enclave>> {
        let mut nsm = Nsm::builder()
            .measurements(boot.measurements.clone())
            .instance_id(INSTANCE_ID)
            .region(REGION)
            .debug(boot.debug)
            .seed(self.seed.clone());
        if let Some(role_arn) = &boot.role_arn {
            nsm = nsm.role_arn(role_arn);
        }
        Ok(Box::new(InProcessEnclave(nsm.build())))
    }

    fn verifier(&self) -> Verifier {
        simulated_root(&self.seed)
    }
}

struct InProcessEnclave(Nsm);

impl Enclave for InProcessEnclave {
    fn request(&mut self, request: Request) -> anyhow::Result<Response> {
        Ok(self.0.request(request))
    }

    fn instance_id(&self) -> Option<&str> {
        Some(INSTANCE_ID)
    }
}

/// `/dev/nsm` of a client process under `nsm-sim run`.
#[derive(Debug)]
pub struct Runner {
    seed: WorldSeed,
    nsm_sim: PathBuf,
    drydock: PathBuf,
}

impl Runner {
    /// Uses the runner beside this program.
    ///
    /// # Errors
    /// If the programs cannot be found.
    pub fn new(drydock: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            seed: WorldSeed::random(),
            nsm_sim: Programs::locate()?.nsm_sim,
            drydock,
        })
    }
}

impl NsmTarget for Runner {
    fn name(&self) -> String {
        "sim, /dev/nsm under nsm-sim run".to_owned()
    }

    fn boot(&self, boot: &Boot) -> anyhow::Result<Box<dyn Enclave>> {
        let mut command = Command::new(&self.nsm_sim);
        command.args(["run", "--world", &uuid::Uuid::new_v4().to_string()]);
        let Measurements {
            pcr0,
            pcr1,
            pcr2,
            pcr8,
        } = &boot.measurements;
        for (flag, value) in [("--pcr0", pcr0), ("--pcr1", pcr1), ("--pcr2", pcr2)] {
            command.args([flag, &hex::encode(value)]);
        }
        if let Some(pcr8) = pcr8 {
            command.args(["--pcr8", &hex::encode(pcr8)]);
        }
        if let Some(role_arn) = &boot.role_arn {
            command.args(["--role-arn", role_arn]);
        }
        if boot.debug {
            command.arg("--debug");
        }
        command.args(["--instance-id", INSTANCE_ID, "--region", REGION]);
        command
            .args(["--seed", &self.seed.to_hex(), "--"])
            .arg(&self.drydock)
            .arg("nsm-client");
        Ok(Box::new(Client::start(
            command,
            Some(INSTANCE_ID.to_owned()),
        )?))
    }

    fn verifier(&self) -> Verifier {
        simulated_root(&self.seed)
    }
}

/// `/dev/nsm` of this machine: a real enclave, or QEMU's.
///
/// Its registers stay as they are between cases, so that only cases which leave
/// nothing behind can be judged after one another.
#[derive(Debug)]
pub struct Device {
    drydock: PathBuf,
}

impl Device {
    /// The device of this machine.
    #[must_use]
    pub fn new(drydock: PathBuf) -> Self {
        Self { drydock }
    }
}

impl NsmTarget for Device {
    fn name(&self) -> String {
        "device, /dev/nsm".to_owned()
    }

    fn boot(&self, _: &Boot) -> anyhow::Result<Box<dyn Enclave>> {
        let mut command = Command::new(&self.drydock);
        command.arg("nsm-client");
        Ok(Box::new(Client::start(command, None)?))
    }

    fn verifier(&self) -> Verifier {
        Verifier::aws()
    }
}

/// A client process that hands on requests: one JSON line each way.
struct Client {
    child: Child,
    requests: ChildStdin,
    responses: BufReader<ChildStdout>,
    instance_id: Option<String>,
}

impl Client {
    fn start(mut command: Command, instance_id: Option<String>) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let requests = child.stdin.take().context("the client has no input")?;
        let responses = BufReader::new(child.stdout.take().context("the client has no output")?);
        Ok(Self {
            child,
            requests,
            responses,
            instance_id,
        })
    }
}

impl Enclave for Client {
    fn request(&mut self, request: Request) -> anyhow::Result<Response> {
        let line = format!("{}\n", serde_json::to_string(&request)?);
        let sent = self
            .requests
            .write_all(line.as_bytes())
            .and_then(|()| self.requests.flush());
        let mut answer = String::new();
        self.responses.read_line(&mut answer)?;
        if answer.is_empty() {
            let status = self.child.wait()?;
            bail!(
                "the client ended with {status}{}",
                sent.err().map_or_else(String::new, |e| format!(" ({e})"))
            );
        }
        Ok(serde_json::from_str(&answer)?)
    }

    fn instance_id(&self) -> Option<&str> {
        self.instance_id.as_deref()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn simulated_root(seed: &WorldSeed) -> Verifier {
    Pki::new(seed, REGION).verifier()
}
