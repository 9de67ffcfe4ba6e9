//! `drydock`: the one command people remember.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use conformance::{
    cli::{attack::Attack, conformance::Conformance, demo::Demo, nsm_client::NsmClient, up::Up},
    report::style::Style,
};
use nsm_sim::causes::with_causes;
use tokio::signal::unix::{SignalKind, signal};

/// Build and test a whole enclave application on an ordinary machine.
///
/// Drydock gives unmodified binaries a Nitro Secure Module, AF_VSOCK and a KMS
/// that checks attestation documents. Nothing here is confidential: it is a
/// test instrument, and every certificate it issues says so.
#[derive(Parser)]
#[command(name = "drydock", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Demo(Demo),
    Up(Up),
    Conformance(Conformance),
    Attack(Attack),
    #[command(hide = true)]
    NsmClient(NsmClient),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    // A verb that runs until it is stopped has then succeeded.
    let serves = matches!(cli.verb, Verb::Up(_));
    let work = async {
        match cli.verb {
            Verb::Demo(demo) => demo.run().await,
            Verb::Up(up) => up.run().await,
            Verb::Conformance(conformance) => conformance.run().await,
            Verb::Attack(attack) => attack.run().await,
            Verb::NsmClient(client) => client.run(),
        }
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = work => done,
            // Dropping the work ends its processes and removes its files.
            signal = interrupted() => Ok(ExitCode::from(if serves { 0 } else { 128 + signal })),
        }
    });
    done.unwrap_or_else(|error| fail(&error))
}

/// Waits for Ctrl-C or an orderly request to end; answers the signal's number.
async fn interrupted() -> u8 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await; // then the default action ends us
    };
    tokio::select! {
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    }
}

#[allow(clippy::print_stderr)] // the one place that reports failure
fn fail(error: &anyhow::Error) -> ExitCode {
    let mark = Style::stderr().bad("error:");
    eprintln!("{mark} {}", with_causes(error.as_ref()));
    ExitCode::FAILURE
}
