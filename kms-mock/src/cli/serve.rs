//! `kms-mock serve`: the endpoint on a port, until Ctrl-C.
//!
//! Default port and host are LocalStack's (127.0.0.1:4566), so that a client
//! needs `AWS_ENDPOINT_URL` and nothing else.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use kms_mock::{Auth, Fault, KmsMock, edge::tls::Authority};
use nsm_sim::seed::WorldSeed;

/// Options of `kms-mock serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen, plain HTTP and TLS alike.
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDR:PORT")]
    bind: SocketAddr,
    /// Allow an address that other machines can reach. Everybody who reaches it
    /// can use every key.
    #[arg(long)]
    allow_remote: bool,
    /// Region of the endpoint.
    #[arg(long, default_value = "us-east-1", env = "AWS_REGION")]
    region: String,
    /// Account of callers whose credentials do not name one.
    #[arg(long, default_value = "123456789012", value_name = "12 DIGITS")]
    account: String,
    /// lenient: unknown credentials are the account's root user.
    /// strict: every signature is verified.
    #[arg(long, value_enum, default_value = "lenient")]
    auth: AuthMode,
    /// Answer under this host name too, and under all names below it. Lenient
    /// authentication refuses names that a web page could have been given: all but
    /// addresses, names without a dot, localhost, and AWS's and LocalStack's names.
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    allow_host: Vec<String>,
    /// Trust attestation documents under this root certificate (PEM), beside
    /// the simulated one.
    #[arg(long, value_name = "FILE")]
    attestation_root: Vec<PathBuf>,
    /// Verify the TLS of external key store proxies under the certificates of this
    /// file (PEM) instead of the machine's roots.
    #[arg(long, value_name = "FILE")]
    xks_root: Vec<PathBuf>,
    /// How long an external key store proxy may take to answer; AWS waits 250.
    #[arg(long, default_value = "250", value_name = "MILLISECONDS")]
    xks_answer_time_max: u64,
    /// Seed of the world: a number, or 64 hex digits.
    #[arg(long)]
    seed: Option<WorldSeed>,
    /// Write the root certificate of the endpoint's TLS here (PEM).
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// Keep the TLS authority in this folder (ca.pem, ca-key.pem), so that
    /// clients trust the next start too.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Open a management port (reset, clock, audit, explain, faults, seed) at
    /// an address of this machine, such as 127.0.0.1:4567.
    #[arg(long, value_name = "ADDR:PORT")]
    management: Option<SocketAddr>,
    /// Arm a fault: throttle, internal, latency=20ms..200ms, drop, forged-cms
    /// and more, then optionally ,operation=NAME ,principal=ARN ,next=COUNT or
    /// ,probability=P.
    #[arg(long, value_name = "SPEC")]
    fault: Vec<Fault>,
    /// Plant keys, aliases, roles, users and buckets from this file (TOML). With
    /// --data-dir a file that was planted completely is not looked at again, so
    /// that what was deleted since stays deleted; of a changed file, what is there
    /// already is left as it is and the rest is added.
    #[arg(long, value_name = "FILE")]
    seed_file: Option<PathBuf>,
    /// Keep keys, identities and objects in this folder, made if it is not there:
    /// a change is synced to it before it is acknowledged, and the next start goes
    /// on with it, with the same TLS authority and --seed. It holds key material
    /// and credentials in clear (file mode 0600, folder 0700). Not kept: faults,
    /// logs, the clock's setting, and the last second of when keys were used if
    /// the server is killed. Without, everything is in memory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Append every KMS call to this file, one CloudTrail event a line.
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum AuthMode {
    Strict,
    Lenient,
}

/// A host name without a port, as it is in a `Host` header.
fn host_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.split('.').all(is_label) {
        return Ok(name.to_owned());
    }
    Err("give a host name alone, such as kms.lab.example".to_owned())
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.bind.ip().is_loopback() && !args.allow_remote {
        bail!(
            "{} can be reached from other machines, and every client that reaches it can use \
             every key; bind 127.0.0.1, or give --allow-remote",
            args.bind
        );
    }
    if args.account.len() != 12 || !args.account.bytes().all(|b| b.is_ascii_digit()) {
        bail!("`{}` is not an account: give twelve digits", args.account);
    }
    // A connection is an open file; the limit that programs start with is small.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "raising the limit of open files");
    }
    let mut builder = KmsMock::builder()
        .region(&args.region)
        .account(&args.account)
        .bind(args.bind)
        // Without a management port nobody can ask this process.
        .received_max(if args.management.is_some() { 1024 } else { 0 })
        .auth(match args.auth {
            AuthMode::Strict => Auth::Strict,
            AuthMode::Lenient => Auth::Lenient,
        });
    for name in &args.allow_host {
        builder = builder.allow_host(name);
    }
    if let Some(seed) = &args.seed {
        builder = builder.seed(seed.clone());
    }
    for file in &args.attestation_root {
        let pem = std::fs::read_to_string(file)
            .with_context(|| format!("reading the attestation root {}", file.display()))?;
        builder = builder.attestation_root_pem(&pem);
    }
    builder = builder.xks_answer_time_max(Duration::from_millis(args.xks_answer_time_max));
    for file in &args.xks_root {
        let pem = std::fs::read_to_string(file)
            .with_context(|| format!("reading the proxies' root {}", file.display()))?;
        builder = builder.xks_root_pem(pem);
    }
    if let Some(dir) = &args.tls_dir {
        builder = builder.tls_authority(kept_authority(dir)?);
    }
    if let Some(address) = args.management {
        builder = builder.management_bind(address);
    }
    for fault in &args.fault {
        builder = builder.fault(fault.clone());
    }
    if let Some(file) = &args.audit_log {
        builder = builder.audit_log(file);
    }
    if let Some(file) = &args.seed_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading the seed file {}", file.display()))?;
        builder = builder.seed_file(text);
    }
    if let Some(dir) = &args.data_dir {
        builder = builder.data_dir(dir);
    }
    let mock = builder.start_blocking()?;
    if let Some(file) = &args.ca_out {
        std::fs::write(file, mock.ca_pem())
            .with_context(|| format!("writing the CA certificate to {}", file.display()))?;
    }
    banner(&mock, &args);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("waiting for Ctrl-C")?
        .block_on(async {
            interrupted().await?;
            mock.stop().await;
            Ok(ExitCode::SUCCESS)
        })
}

async fn interrupted() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed.context("waiting for Ctrl-C"),
            _ = terminated.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")
}

/// The authority in `dir`, made at the first start.
fn kept_authority(dir: &Path) -> anyhow::Result<Authority> {
    let (cert, key) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
    if cert.exists() || key.exists() {
        let read = |file: &Path| {
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
        };
        return Ok(Authority::from_pem(&read(&cert)?, &read(&key)?)?);
    }
    let authority = Authority::generate()?;
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    write_private(&key, authority.key_pem().as_bytes())?;
    std::fs::write(&cert, authority.cert_pem())
        .with_context(|| format!("writing {}", cert.display()))?;
    Ok(authority)
}

fn write_private(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file_ = options
        .open(file)
        .with_context(|| format!("making {}", file.display()))?;
    file_
        .write_all(bytes)
        .with_context(|| format!("writing {}", file.display()))
}

#[allow(clippy::print_stdout)] // the banner is this verb's output
fn banner(mock: &KmsMock, args: &Args) {
    let kept = args.tls_dir.as_ref().map(|dir| dir.join("ca.pem"));
    let ca_file = args.ca_out.clone().or(kept);
    println!(
        "kms-mock {version}: simulated KMS, S3, STS and IAM on {address} (HTTP and TLS)\n\
         \n\
         export AWS_ENDPOINT_URL={url}\n\
         export AWS_REGION={region} AWS_DEFAULT_REGION={region}\n\
         export AWS_ACCESS_KEY_ID={account} AWS_SECRET_ACCESS_KEY=test\n\
         \n\
         authentication: {auth}\n\
         TLS root:       {url}/_drydock/ca.pem\n\
         {tls}\
         {management}\
         Stop with Ctrl-C; {kept}",
        version = env!("CARGO_PKG_VERSION"),
        address = mock.address(),
        url = mock.url(),
        region = args.region,
        account = args.account,
        auth = match args.auth {
            AuthMode::Strict => "strict, every signature is verified",
            AuthMode::Lenient => "lenient, unknown credentials are the account's root user",
        },
        management = mock.management_url().map_or_else(String::new, |url| {
            format!("management:     {url} (kms-mock explain REQUEST_ID)\n")
        }),
        kept = match &args.data_dir {
            Some(dir) => format!("everything is kept in {}.", dir.display()),
            None => "everything is in memory and is lost then.".to_owned(),
        },
        tls = match ca_file {
            Some(file) => format!(
                "over TLS:       export AWS_ENDPOINT_URL=https://localhost:{port} \
                 AWS_CA_BUNDLE={file} NODE_EXTRA_CA_CERTS={file}\n",
                port = mock.address().port(),
                file = quoted(&file),
            ),
            None => String::new(),
        },
    );
}

/// A path as a shell reads it, from whatever folder.
fn quoted(file: &Path) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    format!("'{}'", file.display().to_string().replace('\'', r"'\''"))
}
