//! `enclave-app`: the program that runs inside the enclave.
//!
//! Reads its measured configuration, opens the security module, loads the model,
//! then takes jobs on a vsock port until it is stopped. Does not start unless all of
//! them work. The work is in
//! [`enclave_app::enclave`]; this file wires it together and names exit codes.

#![forbid(unsafe_code)]

use std::{io, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use enclave_app::{
    causes::with_causes,
    clock::{Clock, SystemClock},
    enclave::{
        config::Config,
        examine::Examiner,
        keys::KeyPool,
        kms::{AttestedKms, CallBounds},
        log::{self, Event, emit},
        nsm::{self, SecureModule},
        pipeline::Pipeline,
        serve::{ServeLimits, serve},
        start::{Surroundings, judge},
        transport::{Transport, VsockDial},
        worker::{self, Workers},
    },
    model::Model,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener};

/// Analyses encrypted chest radiographs inside a Nitro Enclave.
///
/// Takes jobs from the parent instance on a vsock port. For each one it proves the
/// enclave's measurements to AWS KMS, decrypts the image, runs the model, encrypts
/// the findings again and answers with them and with a receipt. The parent sees
/// ciphertext only.
///
/// Needs /dev/nsm (a Nitro Enclave, or `nsm-sim run`), and on the parent a bridge
/// from the configured vsock port to KMS (`enclave-parent run` or `bridge`).
#[derive(Parser)]
#[command(version, after_long_help = AFTER_HELP)]
struct Arguments {
    /// The measured configuration (TOML); paths inside are relative to it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// How to log, on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

const AFTER_HELP: &str = "\
Configuration:
  region = \"us-east-1\"
  debug_mode_permitted = false   # optional; true only for tests: KMS gives it no keys
  input_key_arn = \"arn:aws:kms:us-east-1:123456789012:key/...\"   # Decrypt, only with it
  result_key_arn = \"arn:aws:kms:us-east-1:123456789012:key/...\"  # GenerateDataKey, only with it
  tls_roots = \"tls-roots.pem\"    # the only roots for KMS's certificate
  model = \"cxr3.onnx\"
  model_sha256 = \"...\"           # 64 hexadecimal digits
  [kms]
  host = \"kms.us-east-1.amazonaws.com\"
  cid = 3                        # the parent
  port = 8000                    # of its bridge
  [listen]
  port = 5000
  [[submitters]]                 # who may sign jobs; one or more
  name = \"radiology\"
  public_key = \"\"\"-----BEGIN PUBLIC KEY-----...\"\"\"   # P-384
  [limits]                       # all optional; these are the defaults
  object_bytes_max = 67108864
  jobs_max = 4                   # at a time
  jobs_queued_max = 64           # in line; further ones are told when to try again
  jobs_remembered_max = 262144   # unexpired jobs, each of which is run once
  requests_mib_max = 512         # all requests together that are read, wait or run
  job_timeout_ms = 60000
  request_timeout_ms = 20000
  kms_timeout_ms = 5000
  kms_attempts_max = 3
  clock_skew_ms_max = 60000      # attestation document against the local clock
  rsa_keys_ready = 4
  image_pixels_max = 33554432
  decode_memory_mib_max = 512    # address space of the process that decodes one image
  decode_cpu_s_max = 10          # its processor time

Everything the enclave trusts is in this file and the files it names; put them into
the image, so that PCR0 vouches for them. Nothing can be overridden from outside.

Log events (target: fields):
  ready: port                    jobs are being taken
  step: name, ms, job            one step of a job is done
  refused: code, reason          a job was refused; never with anything of its image
  retry: code, reason            a call of KMS is made again
  stopping: jobs                 no more jobs are begun; so many run on to their end
Nothing else is logged once jobs are taken: a console leaves the enclave. What exactly
was wrong with an image stands in the sealed report that the parent stores beside
where the result would be, under .refused.

Exit codes:
  0  stopped by SIGTERM or SIGINT        4  the model is not the configured one
  1  anything else                       5  no working security module
  2  wrong arguments                     6  the vsock port cannot be listened on
  3  the configuration is refused        7  no process that decodes images can be started
  8  the clock is off                    9  debug mode, which is not permitted";

/// Why the program ends, for scripts; the sentence is in the log.
#[derive(Clone, Copy)]
enum Exit {
    Other = 1,
    Configuration = 3,
    Model = 4,
    SecureModule = 5,
    Listen = 6,
    Decoder = 7,
    Clock = 8,
    DebugMode = 9,
}

struct Fatal {
    exit: Exit,
    error: anyhow::Error,
}

trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> Result<T, Fatal>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Fatal> {
        self.map_err(|error| Fatal {
            exit,
            error: error.into(),
        })
    }
}

fn main() -> ExitCode {
    // Before anything else: a worker has no arguments, no log and no threads.
    if let Some(ended) = worker::child::run_if_worker() {
        return ended;
    }
    let arguments = Arguments::parse();
    log::start(match arguments.log {
        LogFormat::Text => log::Form::Text,
        LogFormat::Json => log::Form::Json,
    });
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fatal { exit, error }) => {
            let code = exit as u8;
            let message = with_causes(error.as_ref());
            log::not_started(code, &message);
            ExitCode::from(code)
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), Fatal> {
    let config = Config::load(&arguments.config)
        .with_context(|| format!("configuration {}", arguments.config.display()))
        .or_exit(Exit::Configuration)?;

    // Making keys takes longest: begin at once.
    let keys = KeyPool::start(config.limits.rsa_keys_ready)
        .map(Arc::new)
        .context("cannot start the thread that makes RSA keys")
        .or_exit(Exit::Other)?;

    let module = nsm::Device::open().or_exit(Exit::SecureModule)?;
    stir_entropy(&module).or_exit(Exit::SecureModule)?;
    judge(
        &module,
        &SystemClock,
        config.limits.clock_skew_max,
        config.debug_mode_permitted,
    )
    .map_err(|fault| Fatal {
        exit: match fault {
            Surroundings::Clock { .. } => Exit::Clock,
            Surroundings::DebugMode => Exit::DebugMode,
            _ => Exit::SecureModule,
        },
        error: fault.into(),
    })?;

    let onnx = config.read_model().or_exit(Exit::Model)?;
    let model = Model::load(&onnx, &config.model_sha256)
        .with_context(|| format!("model {}", config.model.display()))
        .or_exit(Exit::Model)?;
    drop(onnx);
    model
        .check()
        .context("the model does not fit its labels")
        .or_exit(Exit::Model)?;

    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .or_exit(Exit::Other)?
        .block_on(take_jobs(&config, keys, Arc::new(module), Arc::new(model)))
}

async fn take_jobs(
    config: &Config,
    keys: Arc<KeyPool>,
    module: Arc<dyn SecureModule>,
    model: Arc<Model>,
) -> Result<(), Fatal> {
    let program = worker::own_program().or_exit(Exit::Decoder)?;
    let workers = Workers::start(&program, config.limits.image, config.limits.worker)
        .or_exit(Exit::Decoder)?;
    workers.check().await.or_exit(Exit::Decoder)?;

    let examiner = Examiner::new(Arc::new(workers), model);

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let transport = Transport::new(
        VsockDial {
            cid: config.kms.cid,
            port: config.kms.port,
        },
        config.kms.host.clone(),
        config.tls_roots.clone(),
        clock.clone(),
        config.limits.kms_timeout,
    )
    .context("cannot set up TLS")
    .or_exit(Exit::Other)?;
    let kms = AttestedKms::new(
        &config.region,
        &config.kms.host_name(),
        transport,
        module.clone(),
        clock.clone(),
        keys,
        CallBounds::from_limits(&config.limits),
    );
    let pipeline = Pipeline::new(config, examiner, kms, module, clock);

    let port = config.listen_port;
    let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port))
        .with_context(|| format!("cannot listen on vsock port {port}"))
        .or_exit(Exit::Listen)?;
    let mut terminate = signal(SignalKind::terminate()).or_exit(Exit::Other)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    emit(Event::Ready { port });
    serve(
        listener,
        Arc::new(pipeline),
        ServeLimits::from_limits(&config.limits),
        stop,
    )
    .await;
    Ok(())
}

/// Checks that the module's generator lives, and gives the kernel some of it: an
/// enclave has few other sources at boot. The kernel mixes it in whatever it is
/// worth, so this cannot make things worse, and being refused is no reason to stop.
fn stir_entropy(module: &dyn SecureModule) -> Result<(), nsm::NsmError> {
    let random = nsm::check_randomness(module)?;
    if let Err(error) = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/urandom")
        .and_then(|mut pool| io::Write::write_all(&mut pool, &random))
    {
        emit(Event::EntropyNotTaken(error.kind()));
    }
    Ok(())
}
