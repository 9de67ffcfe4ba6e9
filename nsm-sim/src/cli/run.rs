//! `nsm-sim run`: any program, unmodified, in an enclave's conditions.
//!
//! Models the start of an enclave: what is measured, what the devices answer,
//! which conditions hold. The run itself is [`nsm_sim::runner`].

use std::{
    ffi::OsString,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    process::ExitCode,
};

use nsm_sim::{
    attestation::variance::Variance,
    causes::with_causes,
    device::Measurements,
    runner::{
        self, ImageRoot, Network, NsmDevice, RootError, Settings, StartError, World,
        bridge::{Forward, Publish},
        switchboard,
    },
};

use super::{
    enclave::{self, Hardware},
    profile::EnclaveProfile,
};

/// Run a program as if it were inside a Nitro Enclave: /dev/nsm and AF_VSOCK
/// appear, and the network is a loopback of its own. Needs no privileges. The exit code is
/// the program's, or 128 + the signal that ended it; 125 if the run itself failed,
/// 123 if it ran out of the memory it was given.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// World whose AF_VSOCK addresses the program shares.
    #[arg(long, default_value = "default", env = "NSM_SIM_WORLD")]
    world: World,
    /// The program's CID [default: 16]. With 3, the parent instance's, there is no
    /// NSM, and the network is the machine's unless --network says otherwise.
    #[arg(long)]
    cid: Option<u32>,
    /// Declare the enclave in a file: what the flags below say, under the same names
    /// with `_` for `-`. A flag wins over the file.
    #[arg(long, value_name = "FILE.toml")]
    profile: Option<PathBuf>,
    /// Take measurements from this image and, without a command, run its application.
    #[arg(long, value_name = "FILE")]
    eif: Option<PathBuf>,
    /// Start a signed image whose certificate is not valid by the NSM's clock, which
    /// an instance refuses (nitro-cli: E59). A signature that does not hold is
    /// refused all the same.
    #[arg(long)]
    allow_expired_signature: bool,
    /// Root file system of the image's application: its own `image` (libraries
    /// and all; takes root or user namespaces), this machine's `host` (working
    /// directory in the unpacked image), or `auto`: the image's where possible.
    #[arg(long, value_enum, default_value_t = RootArg::Auto, requires = "eif",
          conflicts_with = "command")]
    root: RootArg,
    /// PCR0, 96 hex digits.
    #[arg(long, value_name = "HEX", requires_all = ["pcr1", "pcr2"])]
    pcr0: Option<String>,
    /// PCR1.
    #[arg(long, value_name = "HEX", requires = "pcr0")]
    pcr1: Option<String>,
    /// PCR2.
    #[arg(long, value_name = "HEX", requires = "pcr0")]
    pcr2: Option<String>,
    /// PCR8, of a signed image.
    #[arg(long, value_name = "HEX", requires = "pcr0")]
    pcr8: Option<String>,
    /// PEM certificate that the image is said to be signed with (PCR8).
    #[arg(long, value_name = "FILE", conflicts_with = "pcr8")]
    signing_certificate: Option<PathBuf>,
    /// IAM role of the parent instance (PCR3).
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Id of the parent instance (PCR4, module id).
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
    /// Region of the parent instance [default: us-east-1].
    #[arg(long)]
    region: Option<String>,
    /// Debug mode: PCR0 to PCR2 are zero.
    #[arg(long)]
    debug: bool,
    /// Make the same world again: a number or 64 hex digits.
    #[arg(long, value_name = "N|HEX")]
    seed: Option<String>,
    /// The NSM's clock: system (the default), an RFC 3339 time, or a shift in seconds.
    #[arg(long, value_name = "system|TIME|+S|-S", allow_hyphen_values = true)]
    clock: Option<String>,
    /// Form of attestation documents: definite (until 2025), indefinite (today's,
    /// the default), or random among the two by seed, which is then printed.
    #[arg(long, value_name = "definite|indefinite|random")]
    variance: Option<Variance>,
    /// No /dev/nsm.
    #[arg(long)]
    no_nsm: bool,
    /// Do not emulate AF_VSOCK.
    #[arg(long)]
    no_vsock: bool,
    /// Do not trap stat, access and readlink: faster, but only open finds the nodes.
    #[arg(long)]
    no_trap_stat: bool,
    /// Network of the program: a loopback of its `own` as in an enclave (takes root
    /// or user namespaces), the machine's `loopback` alone, the `host`'s network, or
    /// `auto`: its own where that takes nothing away, otherwise the machine's
    /// loopback with a warning; for CIDs up to 3, the host's.
    #[arg(long, value_enum, default_value_t = NetworkArg::Auto)]
    network: NetworkArg,
    /// How many CPUs the program may use.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cpu_count: Option<u32>,
    /// Most memory that the program and its children may hold together, in MiB;
    /// past it all are ended, with exit code 123.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    memory_mib: Option<u64>,
    /// Let a server of this machine appear in the world: CID:PORT=tcp:HOST:PORT, or =unix:PATH.
    #[arg(long, value_name = "CID:PORT=SOCKET")]
    publish: Vec<Publish>,
    /// Let a socket of this machine lead into the world: tcp:PORT=CID:PORT, or unix:PATH=….
    #[arg(long, value_name = "SOCKET=CID:PORT")]
    forward: Vec<Forward>,
    /// Report what works here and may fail on hardware: an AF_VSOCK connection shut
    /// down both ways with bytes that one side has not read.
    #[arg(long)]
    lint: bool,
    /// List the conditions of the run instead of running.
    #[arg(long)]
    explain: bool,
    /// Print at the end how often each system call was trapped.
    #[arg(long)]
    stats: bool,
    /// The program and its arguments, after the flags of `nsm-sim run`.
    #[arg(trailing_var_arg = true, value_name = "CMD", required_unless_present_any = ["eif", "explain", "profile"])]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NetworkArg {
    Auto,
    Own,
    Loopback,
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum RootArg {
    Auto,
    Image,
    Host,
}

#[allow(clippy::print_stderr, clippy::print_stdout)] // what is asked for, and why a run failed
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let args = args.with_profile()?;
    anyhow::ensure!(
        args.eif.is_some() || !args.allow_expired_signature,
        "--allow-expired-signature is about an image: give --eif, or a profile that has one"
    );
    let mut settings = Settings::new(args.command.clone());
    settings.world = args.world.clone();
    settings.cid = args.cid();
    settings.vsock = !args.no_vsock;
    settings.trap_stat = !args.no_trap_stat;
    settings.network = match args.network {
        NetworkArg::Auto => Network::Auto,
        NetworkArg::Own => Network::Own,
        NetworkArg::Loopback => Network::Loopback,
        NetworkArg::Host => Network::Host,
    };
    settings.cpu_count = args.cpu_count;
    settings.memory_mib = args.memory_mib;
    settings.lint = args.lint;
    let (measured, application) = match &args.eif {
        Some(file) => {
            let judged = enclave::Judged {
                clock: args.clock.as_deref().unwrap_or("system"),
                may_have_expired: args.allow_expired_signature,
            };
            let (measurements, application) =
                enclave::image(file, args.command.is_empty(), judged)?;
            (Some(measurements), application)
        }
        None => (None, None),
    };
    // The application's folder is removed when the run has ended.
    if let Some(application) = &application {
        settings.command.clone_from(&application.command);
        settings.environment = Some(application.environment.clone());
        settings.directory = Some(application.root.clone());
        if let Err(error) = enter_root(&mut settings, args.root) {
            eprintln!(
                "nsm-sim: error: {}; --root host needs neither",
                with_causes(&error)
            );
            return Ok(ExitCode::from(StartError::Root(error).exit_code()));
        }
    }
    settings.publish.clone_from(&args.publish);
    settings.forward.clone_from(&args.forward);
    if args.cid() > switchboard::PARENT_CID && !args.no_nsm {
        settings.device = Some(build_device(&args, measured)?);
    }
    if args.explain {
        for condition in settings.conditions() {
            println!("{condition}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    match runner::run(settings) {
        Ok(finished) => {
            if let Some(exceeded) = finished.memory_exceeded {
                eprintln!("nsm-sim: {exceeded}");
            }
            if args.stats {
                for (call, count) in &finished.traps {
                    eprintln!("nsm-sim: {count:>8} {call}");
                }
            }
            Ok(ExitCode::from(finished.code))
        }
        Err(error) => {
            eprintln!("nsm-sim: error: {}", with_causes(&error));
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}

impl Args {
    fn cid(&self) -> u32 {
        self.cid.unwrap_or(switchboard::ENCLAVE_CID)
    }

    /// With the profile's lines where the command line says nothing.
    fn with_profile(mut self) -> anyhow::Result<Self> {
        let Some(file) = &self.profile else {
            return Ok(self);
        };
        let profile = EnclaveProfile::read(file)?;
        let variance = profile.variance()?;
        let seed = profile.seed_text();
        // What measures the image is one thing, and so is who signed it.
        if self.eif.is_none() && self.pcr0.is_none() {
            (self.eif, self.pcr0) = (profile.eif, profile.pcr0);
            (self.pcr1, self.pcr2) = (profile.pcr1, profile.pcr2);
        }
        if self.pcr8.is_none() && self.signing_certificate.is_none() {
            self.pcr8 = profile.pcr8;
            self.signing_certificate = profile.signing_certificate;
        }
        self.role_arn = self.role_arn.or(profile.role_arn);
        self.instance_id = self.instance_id.or(profile.instance_id);
        self.region = self.region.or(profile.region);
        self.cid = self.cid.or(profile.cid);
        self.cpu_count = self.cpu_count.or(profile.cpu_count.map(NonZeroU32::get));
        self.memory_mib = self.memory_mib.or(profile.memory_mib.map(NonZeroU64::get));
        self.debug |= profile.debug.unwrap_or(false);
        self.clock = self.clock.or(profile.clock);
        self.seed = self.seed.or(seed);
        self.variance = self.variance.or(variance);
        anyhow::ensure!(
            self.eif.is_some() || !self.command.is_empty() || self.explain,
            "nothing to run: the profile has no eif, and no command is given"
        );
        Ok(self)
    }
}

/// Moves the application from its folder into its root, if asked and possible.
#[allow(clippy::print_stderr)] // the operator has to know which libraries it is run with
fn enter_root(settings: &mut Settings, wanted: RootArg) -> Result<(), RootError> {
    let Some(folder) = settings.directory.clone() else {
        return Ok(());
    };
    if wanted == RootArg::Host {
        return Ok(());
    }
    match ImageRoot::prepare(&folder) {
        Ok(root) => {
            settings.root = Some(root);
            settings.directory = Some("/".into());
        }
        Err(error) if wanted == RootArg::Auto => {
            eprintln!(
                "nsm-sim: the program runs with this machine's root file system, not the image's: {error}"
            );
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The NSM of this run, with explicit registers, those of the image, or those of
/// the program file itself.
fn build_device(args: &Args, image: Option<Measurements>) -> anyhow::Result<Box<dyn NsmDevice>> {
    let explicit = match (&args.pcr0, &args.pcr1, &args.pcr2) {
        (Some(pcr0), Some(pcr1), Some(pcr2)) => Some(Measurements {
            pcr0: enclave::pcr("pcr0", pcr0)?,
            pcr1: enclave::pcr("pcr1", pcr1)?,
            pcr2: enclave::pcr("pcr2", pcr2)?,
            pcr8: None,
        }),
        _ => None,
    };
    let mut measurements = match (explicit.or(image), args.command.first()) {
        (Some(measurements), _) => measurements,
        (None, Some(program)) => enclave::measure_program(program)?,
        (None, None) => Measurements::of_one_part(b""), // --explain of no program
    };
    if let Some(pcr8) = &args.pcr8 {
        measurements.pcr8 = Some(enclave::pcr("pcr8", pcr8)?);
    } else if let Some(file) = &args.signing_certificate {
        measurements.pcr8 = Some(enclave::measure_certificate(file)?);
    }
    enclave::device(
        measurements,
        &Hardware {
            role_arn: args.role_arn.as_deref(),
            instance_id: args.instance_id.as_deref(),
            region: args.region.as_deref().unwrap_or("us-east-1"),
            debug: args.debug,
            seed: args.seed.as_deref(),
            clock: args.clock.as_deref().unwrap_or("system"),
            variance: args.variance.unwrap_or_default(),
        },
    )
}
