//! `kms-mock`: the simulated cloud on the command line.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use nsm_sim::causes::with_causes;
use tracing_subscriber::EnvFilter;

/// A call's records are freed by another thread than made them, when they leave
/// the audit log; the C library's allocator takes locks for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A KMS that enforces what AWS enforces, with S3, STS and IAM beside it.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Serve on a port until Ctrl-C.
    Serve(cli::serve::Args),
    /// Look at key policies without a server.
    Policy(cli::policy::Args),
    /// Explain why a request was allowed or refused.
    Explain(cli::explain::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The S3 protocol crate logs every refusal as an error; ours are answers.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,s3s=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let (done, failed) = match cli.verb {
        Verb::Serve(args) => (cli::serve::run(args), ExitCode::FAILURE),
        Verb::Policy(args) => (cli::policy::run(args), cli::policy::UNREADABLE.into()),
        Verb::Explain(args) => (cli::explain::run(&args), ExitCode::FAILURE),
    };
    done.unwrap_or_else(|error| {
        #[allow(clippy::print_stderr)] // the one place that reports failure
        {
            eprintln!("error: {}", with_causes(error.as_ref()));
        }
        failed
    })
}
