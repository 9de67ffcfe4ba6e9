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
}

#[allow(clippy::print_stdout)] // the report is the output
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
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
