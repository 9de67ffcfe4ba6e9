//! `enclave-parent`: the command on the instance beside an enclave.
//!
//! Models nothing of its own: it reads the command line, sets up logs, signals
//! and exit codes, and calls [`enclave_app::parent`]. Standard output carries
//! only JSON lines, standard error only logs.

use std::{
    io::{IsTerminal, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use enclave_app::{
    causes::with_causes,
    clock::{Clock, SystemClock},
    parent::{
        bridge::{self, BridgeLimits, Target},
        credentials::CredentialSource,
        journal::Journal,
        queue::{self, QueueLimits, Report, Status},
        s3::{Endpoint, S3Client, S3Limits},
        submit::{EnclaveDoor, Job, SubmitLimits, Submitter},
    },
    vsock::transport::{self, ConnectRetry, VsockAddress, VsockListener},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::EnvFilter;

/// Exit code of a job that failed, or of a service that could not go on.
const FAILED: u8 = 1;
/// Exit code of a job that the enclave refused.
const REFUSED: u8 = 3;
/// Exit code after Ctrl-C or SIGTERM in the middle of a job, as shells expect.
const INTERRUPTED: u8 = 130;

const ABOUT: &str = "\
The parent instance's half of an attested image analysis.

An enclave has no network, no disk and no role. This command lends it all three
without being able to read what passes: it carries the enclave's TLS to KMS
(bridge), fetches encrypted objects from S3, hands them over vsock to the enclave,
and stores the encrypted result with its receipt (submit, run).

AWS credentials come from the usual places: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), AWS_PROFILE, or the role of the
instance. They need s3:GetObject, s3:PutObject and s3:DeleteObject, and the KMS
permissions that the key policies tie to the enclave's measurements.";

const EXAMPLES: &str = "\
EXAMPLES
  # serve jobs from a queue; the enclave is CID 16
  my-queue | enclave-parent run --kms kms.eu-west-1.amazonaws.com:443 --region eu-west-1

  # one job, with the bridge in another process
  enclave-parent bridge --listen-port 8000 --to kms.us-east-1.amazonaws.com:443 &
  enclave-parent submit --bucket images --key scan.dcm \\
      --manifest-key scan.dcm.job --result-key scan.result

REFUSED JOBS
  The parent learns one of a fixed list of codes and reasons, and nothing of the image.
  What exactly was wrong with a decrypted image is written, encrypted like a result and
  for the same reader, to <RESULT_KEY>.refused, with its receipt beside it. Whoever may
  read results reads it with the Amazon S3 Encryption Client and finds JSON:
  {\"refused\":{\"code\":…,\"reason\":…,\"message\":…,\"detail\":…},…}

EXIT CODES
  0 done   1 failed   2 wrong usage   3 the enclave refused the job   130 interrupted
  run and bridge exit with 0 when they are stopped; run reports each job on stdout.";

#[derive(Parser)]
#[command(name = "enclave-parent", version, about = ABOUT, after_long_help = EXAMPLES)]
struct Cli {
    /// Form of the log on standard error; RUST_LOG selects what it holds
    #[arg(long, global = true, value_enum, default_value_t = Log::Text, display_order = 900)]
    log: Log,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Log {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Bridge to KMS, and jobs as JSON lines from stdin to stdout, until stdin ends
    ///
    /// In:  {"bucket":…,"key":…,"manifest_key":…,"result_key":…}
    /// Out: {"job":…,"status":"done"|"refused"|"failed","code":…,"reason":…,
    ///       "message":…,"result_key":…,"receipt_key":…,"report_key":…}, as each job ends
    #[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
    Run(RunArgs),
    /// Run one job and print its outcome as one JSON line
    ///
    /// Needs a bridge for the enclave's KMS calls: start `enclave-parent bridge`
    /// first, or use `enclave-parent run`.
    #[command(after_long_help = EXAMPLES)]
    Submit(SubmitArgs),
    /// Carry connections from a vsock port to one TCP target, until stopped
    #[command(after_long_help = EXAMPLES)]
    Bridge(BridgeArgs),
}

#[derive(Args)]
struct EnclaveArgs {
    /// The enclave's CID, as chosen when it was started
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(4..))]
    enclave_cid: u32,
    /// The vsock port on which the enclave takes jobs
    #[arg(long, default_value_t = 5000)]
    enclave_port: u32,
    /// Seconds to wait for an enclave that is still starting
    #[arg(long, default_value_t = 10, value_name = "SECS")]
    enclave_wait: u64,
    /// Seconds that sending a job may take, and then the job from its beginning on
    #[arg(long, default_value_t = 120, value_name = "SECS")]
    job_timeout: u64,
    /// Seconds that a job may wait in the enclave's line, or for a busy enclave
    #[arg(long, default_value_t = 600, value_name = "SECS")]
    queue_timeout: u64,
    /// Largest object fetched and largest result stored, in bytes
    #[arg(long, default_value_t = 64 * 1024 * 1024, value_name = "BYTES",
          value_parser = object_bytes)]
    object_bytes_max: usize,
}

#[derive(Args)]
struct S3Args {
    /// S3-compatible endpoint, addressed path style, e.g. http://127.0.0.1:4566;
    /// without it: AWS. AWS_ENDPOINT_URL is read as well
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// PEM file with more certificates to trust for an https endpoint
    #[arg(long, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// AWS Region; AWS_DEFAULT_REGION is read as well  [default: us-east-1]
    #[arg(long, env = "AWS_REGION", value_parser = region)]
    region: Option<String>,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    enclave: EnclaveArgs,
    #[command(flatten)]
    s3: S3Args,
    /// The vsock port on which the enclave finds KMS
    #[arg(long, default_value_t = 8000, value_name = "PORT")]
    bridge_port: u32,
    /// KMS, the only target of the bridge  [default: kms.REGION.amazonaws.com:443]
    #[arg(long, value_name = "HOST:PORT")]
    kms: Option<Target>,
    /// File that keeps jobs and their ends: after a kill the next `run` with it goes on
    /// where this one was, and no job is run or reported twice
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Jobs in progress at once
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
}

#[derive(Args)]
struct SubmitArgs {
    /// The bucket of the objects below
    #[arg(long)]
    bucket: String,
    /// The encrypted image
    #[arg(long)]
    key: String,
    /// The submitter's signed manifest
    #[arg(long)]
    manifest_key: String,
    /// Where the encrypted result goes; the receipt goes to <RESULT_KEY>.receipt
    #[arg(long)]
    result_key: String,
    #[command(flatten)]
    enclave: EnclaveArgs,
    #[command(flatten)]
    s3: S3Args,
}

#[derive(Args)]
struct BridgeArgs {
    /// The vsock port to listen on
    #[arg(long, default_value_t = 8000, value_name = "PORT")]
    listen_port: u32,
    /// The only target, e.g. kms.us-east-1.amazonaws.com:443
    #[arg(long, value_name = "HOST:PORT")]
    to: Target,
    /// Connections carried at once; further ones wait
    #[arg(long, default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Seconds without a byte after which a connection is cut off
    #[arg(long, default_value_t = 60, value_name = "SECS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    idle: u64,
}

/// Objects are held whole and framed with a 32-bit length: 1 GiB is far beyond
/// any radiograph and far below that.
fn object_bytes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(bytes) if (1..=1024 * 1024 * 1024).contains(&bytes) => Ok(bytes),
        _ => Err("not a number from 1 to 1073741824".to_owned()),
    }
}

fn region(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.len() <= 32 && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("not a Region such as us-east-1".to_owned())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.log);
    // A bridge and a few jobs wait more than they compute.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(cli.command, cli.log));
            // Not waiting: a read of standard input cannot be called back.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("the async runtime cannot be started")),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(cli.log, "failed", &with_causes(error.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}

async fn dispatch(command: Command, log: Log) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signals()?;
    match command {
        Command::Run(args) => run(args, stop).await,
        Command::Submit(args) => submit(args, log, stop).await,
        Command::Bridge(args) => carry(args, stop).await,
    }
}

async fn run(args: RunArgs, stop: watch::Receiver<bool>) -> anyhow::Result<ExitCode> {
    let target = match args.kms {
        Some(target) => target,
        None => format!("kms.{}.amazonaws.com:443", args.s3.region()?).parse()?,
    };
    let journal = match &args.journal {
        Some(file) => {
            Some(Arc::new(Journal::open(file).with_context(|| {
                format!("the journal {}", file.display())
            })?))
        }
        None => None,
    };
    let submitter = Arc::new(submitter(&args.enclave, &args.s3).await?);
    let listener = listen(args.bridge_port)?;
    let (stop_bridge, bridge_stop) = watch::channel(false);
    let bridge = tokio::spawn(bridge::serve(
        listener,
        target,
        BridgeLimits::default(),
        bridge_stop,
    ));

    // The descriptors themselves: what is piped in is read as it comes.
    let input = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot open standard input")?;
    let input = tokio::io::BufReader::new(tokio::fs::File::from_std(input.into()));
    let output = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot open standard output")?;
    let output = tokio::fs::File::from_std(output.into());
    let limits = QueueLimits {
        jobs_max: usize::from(args.jobs),
        ..QueueLimits::default()
    };
    let tally = queue::run_with(input, output, submitter, limits, journal, stop).await;

    stop_bridge.send_replace(true);
    bridge.await.context("the bridge failed")?;
    let tally = tally.context("cannot read jobs or report on them")?;
    tracing::info!(
        target: "submit",
        done = tally.done, refused = tally.refused, failed = tally.failed,
        "no more jobs"
    );
    Ok(ExitCode::SUCCESS)
}

async fn submit(
    args: SubmitArgs,
    log: Log,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<ExitCode> {
    let job = Job {
        bucket: args.bucket,
        key: args.key,
        manifest_key: args.manifest_key,
        result_key: args.result_key,
    };
    let work = async {
        let submitter = submitter(&args.enclave, &args.s3).await?;
        anyhow::Ok(Report::of(&job, submitter.submit(&job).await))
    };
    let report = tokio::select! {
        report = work => report?,
        _ = stop.wait_for(|stop| *stop) => {
            tracing::error!(target: "submit", "interrupted; the job has no result");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    std::io::stdout()
        .lock()
        .write_all(&report.line()?)
        .context("cannot print the outcome")?;
    let code = match report.status {
        Status::Done => return Ok(ExitCode::SUCCESS),
        Status::Refused => REFUSED,
        Status::Failed => FAILED,
    };
    let reason = report.code.as_deref().unwrap_or("failed");
    complain(
        log,
        reason,
        report.message.as_deref().unwrap_or("the job failed"),
    );
    Ok(ExitCode::from(code))
}

async fn carry(args: BridgeArgs, stop: watch::Receiver<bool>) -> anyhow::Result<ExitCode> {
    let listener = listen(args.listen_port)?;
    let limits = BridgeLimits {
        connections_max: usize::from(args.connections),
        idle: Duration::from_secs(args.idle),
        ..BridgeLimits::default()
    };
    bridge::serve(listener, args.to, limits, stop).await;
    Ok(ExitCode::SUCCESS)
}

fn listen(port: u32) -> anyhow::Result<VsockListener> {
    let listener = transport::listen(port)?;
    tracing::info!(target: "ready", port, "the bridge listens");
    Ok(listener)
}

impl S3Args {
    fn region(&self) -> anyhow::Result<String> {
        match (&self.region, std::env::var("AWS_DEFAULT_REGION")) {
            (Some(given), _) => Ok(given.clone()),
            (None, Ok(default)) if !default.is_empty() => region(&default)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("AWS_DEFAULT_REGION={default}")),
            (None, _) => Ok("us-east-1".to_owned()),
        }
    }

    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let given = self
            .s3_endpoint
            .clone()
            .or_else(|| std::env::var("AWS_ENDPOINT_URL").ok());
        match given.filter(|text| !text.is_empty()) {
            Some(text) => Ok(Endpoint::parse(&text)?),
            None => Ok(Endpoint::Aws),
        }
    }
}

async fn submitter(
    enclave: &EnclaveArgs,
    s3: &S3Args,
) -> anyhow::Result<Submitter<S3Client, EnclaveDoor>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let region = s3.region()?;
    let credentials = Arc::new(CredentialSource::default_chain(&region, Arc::clone(&clock)).await);
    let endpoint = s3.endpoint()?;
    let roots = match &s3.ca_bundle {
        Some(file) if !endpoint.is_plain() => Some(
            std::fs::read(file)
                .with_context(|| format!("cannot read the CA bundle {}", file.display()))?,
        ),
        _ => None,
    };
    let store = S3Client::new(
        endpoint,
        &region,
        Arc::clone(&credentials),
        clock,
        S3Limits::default(),
        roots.as_deref(),
    )?;
    let door = EnclaveDoor {
        address: VsockAddress {
            cid: enclave.enclave_cid,
            port: enclave.enclave_port,
        },
        retry: ConnectRetry::of(Duration::from_secs(enclave.enclave_wait)),
    };
    let limits = SubmitLimits {
        object_bytes_max: enclave.object_bytes_max,
        enclave: Duration::from_secs(enclave.job_timeout),
        queue: Duration::from_secs(enclave.queue_timeout),
        ..SubmitLimits::default()
    };
    Ok(Submitter {
        store,
        door,
        credentials,
        limits,
    })
}

/// Holds true after the first Ctrl-C or SIGTERM; the second ends the process.
fn stop_on_signals() -> anyhow::Result<watch::Receiver<bool>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(i32::from(INTERRUPTED));
            }
            tracing::info!(target: "submit", "stopping");
            tell.send_replace(true);
        }
    });
    Ok(told)
}

/// Our own events from INFO, everybody else's from WARN, unless RUST_LOG says
/// otherwise.
const DEFAULT_FILTER: &str =
    "warn,ready=info,step=info,submit=info,bridge=info,s3=info,enclave_app=info";

fn log_to_stderr(log: Log) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log {
        Log::Text => to_stderr.with_ansi(std::io::stderr().is_terminal()).init(),
        Log::Json => to_stderr
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
    }
}

/// The one error of a command that ends badly: a line for people, or an event.
fn complain(log: Log, code: &str, message: &str) {
    match log {
        Log::Json => tracing::error!(target: "submit", code, message),
        // A closed standard error leaves only the exit code to say it.
        Log::Text => {
            let _ = writeln!(std::io::stderr().lock(), "error: {message}");
        }
    }
}
