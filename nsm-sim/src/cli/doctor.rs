//! `nsm-sim doctor`: whether `nsm-sim run` works on this machine, and if not,
//! why and what to do. See [`nsm_sim::runner::doctor`].

use std::process::ExitCode;

use nsm_sim::runner::doctor;

/// Probe this machine by doing what `run` does; exit code 1 if something fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    /// Print a seccomp profile for containers (docker run --security-opt seccomp=FILE) and stop.
    #[arg(long, conflicts_with = "json")]
    seccomp_profile: bool,
}

/// Allows what a run needs (AF_VSOCK, pidfd_getfd) and forbids what administers
/// the kernel. Written for Docker, Podman and containerd.
const SECCOMP_PROFILE: &str = include_str!("../../docker/nsm-sim-seccomp.json");

#[allow(clippy::print_stdout)] // the report is the output
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.seccomp_profile {
        print!("{SECCOMP_PROFILE}");
        return Ok(ExitCode::SUCCESS);
    }
    let report = doctor::examine();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(if report.is_healthy() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
