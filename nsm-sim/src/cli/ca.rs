//! `nsm-sim ca`: the root certificate of a seeded world.
//!
//! The root depends on the seed alone, so a verifier or a key store can be told
//! to trust a world before anything of it runs.

use std::{io::Write as _, process::ExitCode};

use nsm_sim::{attestation::pki::Pki, seed::WorldSeed};

/// Print the simulated root certificate of a world, as PEM.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The world's seed: a number, or 64 hex digits.
    #[arg(long, value_name = "N|HEX64")]
    seed: WorldSeed,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let pem = Pki::new(&args.seed, "us-east-1").root_pem();
    std::io::stdout().lock().write_all(pem.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
