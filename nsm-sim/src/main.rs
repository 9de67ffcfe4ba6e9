//! The `nsm-sim` command: each verb is a file of `cli`.

mod cli {
    pub(crate) mod ca;
    pub(crate) mod verify;
}

use std::process::ExitCode;

use clap::Parser as _;

/// A simulated Nitro Secure Module: verify its documents and real ones.
#[derive(Debug, clap::Parser)]
#[command(name = "nsm-sim", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Verify(cli::verify::Args),
    Ca(cli::ca::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().verb {
        Verb::Verify(args) => cli::verify::run(args),
        Verb::Ca(args) => cli::ca::run(args),
    }
}
