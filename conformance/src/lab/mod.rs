//! A whole world on one machine: the cloud, a measured enclave image, the parent
//! and the enclave as processes of their own, and the hospital at both ends.
//!
//! Truth: the data flow of the main job. The lab starts and watches; what it
//! tests are the programs that ship. Does not model AWS's control plane (EC2,
//! instance profiles): the parent's credentials are handed over in its
//! environment, where the SDK's standard chain finds them.

pub mod cloud;
pub mod hospital;
pub mod image;
pub mod process;
pub mod programs;
pub mod timeline;
pub mod wiretap;

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use enclave_app::job::manifest::SubmitterKey;
use nsm_sim::{
    attestation::{pki::Pki, verify::Verifier},
    clock::{Clock as _, SettableClock, UnixMillis},
    device::Measurements,
    runner::World,
    seed::WorldSeed,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
};

use self::{
    cloud::{Cloud, REGION, Role},
    hospital::{JobObjects, Reading, RefusalReport, Uploaded},
    image::{BRIDGE_PORT, Configuration, JOB_PORT},
    process::Process,
    programs::Programs,
    timeline::{Actor, Timeline},
};

/// The enclave's CID.
pub const ENCLAVE_CID: u32 = 16;
/// The parent instance's CID, as on Nitro.
pub const PARENT_CID: u32 = 3;
/// The parent instance.
pub const INSTANCE_ID: &str = "i-0d12d0c40000d0c4d";

/// What a world is made with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Makes keys, certificates and random bytes of the simulated hardware
    /// repeat; drawn from the system's randomness if absent.
    pub seed: Option<u64>,
    /// Where files are kept; a private temporary folder if absent.
    pub keep: Option<PathBuf>,
    /// Where steps are noted.
    pub timeline: Timeline,
    /// Roots for the enclave's TLS other than the cloud's, to be refused.
    pub tls_roots_pem: Option<String>,
    /// Whether the enclave itself refuses debug mode, as in production; else KMS alone.
    pub debug_mode_forbidden: bool,
}

/// A world: its cloud runs, its enclave image is built, its keys are bound.
#[derive(Debug)]
pub struct Lab {
    /// The cloud.
    pub cloud: Cloud,
    /// What the enclave image measures.
    pub measurements: Measurements,
    /// Trusts this world's simulated root and no other.
    pub verifier: Verifier,
    /// Signs jobs that the enclave accepts.
    pub submitter: SubmitterKey,
    /// The steps so far.
    pub timeline: Timeline,
    /// The clock of the cloud.
    pub clock: SettableClock,
    programs: Programs,
    seed: WorldSeed,
    world: World,
    image: PathBuf,
    configuration: Configuration,
    folder: Folder,
}

/// Where a world's files lie.
#[derive(Debug)]
enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

impl Lab {
    /// Starts the cloud, builds and measures the image, binds the keys to it.
    ///
    /// # Errors
    /// Says which part could not be set up.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let timeline = options.timeline;
        let programs = tokio::task::spawn_blocking(Programs::locate).await??;
        let folder = match options.keep {
            Some(folder) => {
                std::fs::create_dir_all(&folder)
                    .with_context(|| format!("making {}", folder.display()))?;
                Folder::Kept(folder)
            }
            None => Folder::Temporary(
                tempfile::Builder::new()
                    .prefix("drydock-")
                    .tempdir()
                    .context("a folder")?,
            ),
        };
        let seed = options
            .seed
            .map_or_else(WorldSeed::random, WorldSeed::from_u64);
        let world = world_name();
        let clock = SettableClock::running();
        let root_pem = Pki::new(&seed, REGION).root_pem();
        let verifier = Verifier::with_root_pem(&root_pem)?;

        let cloud = timeline
            .time(
                Actor::Cloud,
                "cloud started, roles and keys created",
                async {
                    let cloud = Cloud::start(&root_pem, clock.clone()).await?;
                    cloud.create_bucket(cloud::BUCKET).await?;
                    anyhow::Ok(cloud)
                },
            )
            .await?;
        let submitter = SubmitterKey::generate()?;
        let configuration = Configuration {
            submitter_pem: submitter.public().to_public_key_pem()?,
            tls_roots_pem: options
                .tls_roots_pem
                .unwrap_or_else(|| cloud.mock().ca_pem().to_owned()),
            debug_mode_permitted: !options.debug_mode_forbidden,
            remark: "as built".to_owned(),
        };
        let image = folder.path().join("enclave.eif");
        let measurements = timeline
            .time(Actor::Drydock, "enclave image built and measured", async {
                image::build(&cloud, &programs.enclave_app, &configuration, &image)
            })
            .await?;
        timeline
            .time(Actor::Cloud, "key policies bound to PCR0 and PCR3", async {
                cloud.bind_keys(&measurements, &cloud::parent_pcr3()).await
            })
            .await?;
        Ok(Self {
            cloud,
            measurements,
            verifier,
            submitter,
            timeline,
            clock,
            programs,
            seed,
            world,
            image,
            configuration,
            folder,
        })
    }

    /// The simulated root that this world's documents end in.
    #[must_use]
    pub fn root_pem(&self) -> String {
        Pki::new(&self.seed, REGION).root_pem()
    }

    /// Puts `content` into the kept folder as `name`; nothing if none is kept.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let Folder::Kept(folder) = &self.folder else {
            return Ok(());
        };
        let file = folder.join(name);
        std::fs::write(&file, content).with_context(|| format!("keeping {}", file.display()))
    }

    /// The folder that holds the world's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The name of the world on the vsock switchboard.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The programs of this world.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The time in this world.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Replaces the image by one whose configuration has one remark changed. The
    /// keys stay bound to the first image.
    ///
    /// # Errors
    /// If the image cannot be built.
    pub fn replace_image(&self, remark: &str) -> anyhow::Result<Measurements> {
        let configuration = Configuration {
            remark: remark.to_owned(),
            ..self.configuration.clone()
        };
        image::build(
            &self.cloud,
            &self.programs.enclave_app,
            &configuration,
            &self.image,
        )
    }

    /// Starts the enclave under `nsm-sim run` and waits until it listens.
    ///
    /// # Errors
    /// If it ends early or does not become ready; quotes what it said.
    pub async fn start_enclave(&self, mode: Mode) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.programs.nsm_sim);
        command
            .args([
                "run",
                "--world",
                self.world.name(),
                "--cid",
                &ENCLAVE_CID.to_string(),
                "--eif",
            ])
            .arg(&self.image)
            // The program in the image is linked to this machine's libraries.
            .args(["--root", "host"])
            .args([
                "--role-arn",
                &Role::Parent.arn(),
                "--instance-id",
                INSTANCE_ID,
            ])
            .args(["--region", REGION, "--seed", &self.seed.to_hex()])
            .env("TMPDIR", self.folder());
        let (what, step) = match mode {
            Mode::Production => ("the enclave", "enclave booted"),
            Mode::Debug => {
                command.arg("--debug");
                ("the debug-mode enclave", "enclave booted in debug mode")
            }
        };
        let mut enclave = Process::start(what, Actor::Enclave, command, &self.timeline)?;
        self.timeline
            .time(Actor::Enclave, step, enclave.ready())
            .await?;
        Ok(enclave)
    }

    /// Starts the parent under `nsm-sim run --cid 3`, its bridge and its S3
    /// client pointed at this world's cloud.
    ///
    /// # Errors
    /// If it ends early or does not become ready; quotes what it said.
    pub async fn start_parent(&self) -> anyhow::Result<Parent> {
        self.start_parent_wired(&self.wiring()).await
    }

    /// How a parent of this world is wired: straight to its cloud and enclave.
    #[must_use]
    pub fn wiring(&self) -> Wiring {
        let cloud = self.cloud.address();
        Wiring {
            kms: cloud,
            s3: cloud,
            bridge_port: BRIDGE_PORT,
            enclave_cid: ENCLAVE_CID,
        }
    }

    /// What the clinician reads: see [`hospital::read`].
    ///
    /// # Errors
    /// If result or receipt is missing or does not hold.
    pub async fn read(&self, uploaded: &Uploaded) -> anyhow::Result<Reading> {
        hospital::read(
            &self.cloud,
            uploaded,
            &self.verifier,
            &self.measurements,
            &cloud::parent_pcr3(),
            self.now(),
        )
        .await
    }

    /// What the clinician reads of a refused job: see [`hospital::read_refusal`].
    ///
    /// # Errors
    /// If report or receipt is missing or does not hold.
    pub async fn read_refusal(&self, uploaded: &Uploaded) -> anyhow::Result<RefusalReport> {
        hospital::read_refusal(
            &self.cloud,
            uploaded,
            &self.verifier,
            &self.measurements,
            &cloud::parent_pcr3(),
            self.now(),
        )
        .await
    }

    /// Starts the parent with wires of one's own, such as taps.
    ///
    /// # Errors
    /// As [`Self::start_parent`].
    pub async fn start_parent_wired(&self, wiring: &Wiring) -> anyhow::Result<Parent> {
        self.start_parent_with(wiring, &ParentOptions::default())
            .await
    }

    /// The same with options of one's own.
    ///
    /// # Errors
    /// As [`Self::start_parent`].
    pub async fn start_parent_with(
        &self,
        wiring: &Wiring,
        options: &ParentOptions,
    ) -> anyhow::Result<Parent> {
        let credentials = self.cloud.credentials(Role::Parent);
        let mut command = Command::new(&self.programs.nsm_sim);
        command
            .args([
                "run",
                "--world",
                self.world.name(),
                "--cid",
                &PARENT_CID.to_string(),
                "--",
            ])
            .arg(&self.programs.enclave_parent)
            .args(["run", "--log", "json", "--region", REGION])
            .args(["--bridge-port", &wiring.bridge_port.to_string()])
            .args(["--kms", &wiring.kms.to_string()])
            .args(["--s3-endpoint", &format!("http://{}", wiring.s3)])
            .args(["--enclave-cid", &wiring.enclave_cid.to_string()])
            .args(["--enclave-port", &JOB_PORT.to_string()])
            .args(["--jobs", &options.jobs.to_string()])
            .args(
                options
                    .journal
                    .iter()
                    .flat_map(|file| [OsStr::new("--journal"), file.as_os_str()]),
            )
            .env("AWS_ACCESS_KEY_ID", credentials.access_key_id())
            .env("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key())
            .env(
                "AWS_SESSION_TOKEN",
                credentials.session_token().unwrap_or_default(),
            )
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env_remove("AWS_PROFILE");
        let mut process = Process::start("the parent", Actor::Parent, command, &self.timeline)?;
        self.timeline
            .time(Actor::Parent, "parent started", process.ready())
            .await?;
        let (stdin, stdout) = process.pipes().context("the parent has no pipes")?;
        Ok(Parent {
            process,
            stdin,
            answers: BufReader::new(stdout).lines(),
        })
    }
}

/// How an enclave is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As in production: PCR0 to PCR2 are the image's.
    Production,
    /// With the console attached: PCR0 to PCR2 are zero.
    Debug,
}

/// What a parent is connected to.
#[derive(Clone, Copy, Debug)]
pub struct Wiring {
    /// Where its bridge ends.
    pub kms: SocketAddr,
    /// Where it finds S3.
    pub s3: SocketAddr,
    /// The vsock port its bridge listens on.
    pub bridge_port: u32,
    /// The CID it takes for its enclave's.
    pub enclave_cid: u32,
}

/// How a parent works.
#[derive(Clone, Debug)]
pub struct ParentOptions {
    /// Jobs in progress at once.
    pub jobs: u16,
    /// The file that keeps them across a kill.
    pub journal: Option<PathBuf>,
}

impl Default for ParentOptions {
    fn default() -> Self {
        Self {
            jobs: 1,
            journal: None,
        }
    }
}

/// A running parent that takes jobs.
#[derive(Debug)]
pub struct Parent {
    process: Process,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// How a job ended, as the parent tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct JobOutcome {
    /// Whether it was done, refused by the enclave, or failed on the way.
    pub status: JobStatus,
    /// What kind of refusal or failure.
    #[serde(default)]
    pub code: Option<String>,
    /// Which of the refusals of that kind.
    #[serde(default)]
    pub reason: Option<String>,
    /// What went wrong.
    #[serde(default)]
    pub message: Option<String>,
    /// Where the result lies or would lie.
    #[serde(default)]
    pub result_key: Option<String>,
    /// Where the sealed report of a refusal lies.
    #[serde(default)]
    pub report_key: Option<String>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Result and receipt are stored.
    Done,
    /// The enclave refused.
    Refused,
    /// It never came to an answer.
    Failed,
}

#[derive(Serialize)]
struct JobLine<'a> {
    bucket: &'a str,
    key: &'a str,
    manifest_key: &'a str,
    result_key: &'a str,
}

impl Parent {
    /// Hands the parent one job and waits for its outcome.
    ///
    /// # Errors
    /// If the parent ended; quotes what it said.
    pub async fn submit(&mut self, objects: &JobObjects) -> anyhow::Result<JobOutcome> {
        self.send(objects).await?;
        match self.outcome().await? {
            Some(outcome) => Ok(outcome),
            None => bail!(
                "the parent exited; its last output:\n{}",
                self.process.last_words()
            ),
        }
    }

    /// Hands the parent a job without waiting for it.
    ///
    /// # Errors
    /// If the parent has ended.
    pub async fn send(&mut self, objects: &JobObjects) -> anyhow::Result<()> {
        let line = JobLine {
            bucket: cloud::BUCKET,
            key: &objects.key,
            manifest_key: &objects.manifest_key,
            result_key: &objects.result_key,
        };
        let line = format!("{}\n", serde_json::to_string(&line)?);
        self.stdin
            .write_all(line.as_bytes())
            .await
            .context("sending the parent a job")?;
        Ok(self.stdin.flush().await?)
    }

    /// The next job that has ended; none once the parent has.
    ///
    /// # Errors
    /// If the parent says something else.
    pub async fn outcome(&mut self) -> anyhow::Result<Option<JobOutcome>> {
        let Some(answer) = self.answers.next_line().await? else {
            return Ok(None);
        };
        serde_json::from_str(&answer)
            .map(Some)
            .with_context(|| format!("the parent answered `{answer}`"))
    }

    /// Kills the parent, and waits until it is gone; what it has said can still be read.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Ends the parent.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await?;
        Ok(())
    }

    /// The process id of its supervisor.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }
}

/// Worlds share a network namespace with every other world on the machine.
fn world_name() -> World {
    format!("drydock-{}", uuid::Uuid::new_v4().simple())
        .parse()
        .expect("letters, digits, a dash")
}
