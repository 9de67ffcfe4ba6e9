//! The `nsm-sim` command; each verb is in its own file under `cli`.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use nsm_sim::causes::with_causes;

/// The enclave's hardware, simulated.
///
/// Gives any unmodified binary a Nitro Secure Module and AF_VSOCK, makes and
/// measures enclave images, and verifies attestation documents, simulated and
/// real ones.
#[derive(Debug, clap::Parser)]
#[command(name = "nsm-sim", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[cfg(target_os = "linux")]
    Run(Box<cli::run::Args>),
    #[cfg(target_os = "linux")]
    Doctor(cli::doctor::Args),
    Verify(Box<cli::verify::Args>),
    Ca(cli::ca::Args),
    Eif(Box<cli::eif::Args>),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        #[cfg(target_os = "linux")]
        Verb::Run(args) => cli::run::run(*args),
        #[cfg(target_os = "linux")]
        Verb::Doctor(args) => cli::doctor::run(args),
        Verb::Verify(args) => cli::verify::run(*args),
        Verb::Ca(args) => cli::ca::run(args),
        Verb::Eif(args) => cli::eif::run(*args),
    };
    result.unwrap_or_else(|error| {
        // Named, because `run` shares standard error with the program it runs.
        #[allow(clippy::print_stderr)]
        {
            eprintln!("nsm-sim: error: {}", with_causes(error.as_ref()));
        }
        ExitCode::from(2)
    })
}
