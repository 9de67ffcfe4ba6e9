//! The gate: what has to hold before a change lands. One verb a file, called as
//! `cargo ci VERB` by `.ci/run`, by any CI system and by people.
//!
//! Models no CI system and needs none: it runs the programs a person would type,
//! keeps what each printed in `target/ci/logs`, and says which ones failed.
#![allow(clippy::print_stdout, clippy::print_stderr)] // its output is its purpose

mod aarch64;
mod bench_gate;
mod check;
mod conformance;
mod demo;
mod deny;
mod docs;
mod eif_oracle;
mod features;
mod fidelity;
mod fuzz;
mod gate;
mod lints;
mod rust_version;
mod step;
mod tests;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use workspace::Workspace;

/// What has to hold before a change lands.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo ci", bin_name = "cargo ci", version)]
enum Verb {
    /// Formatting and lints: quick, for while you work.
    Check(step::Selection),
    /// Everything: formatting, lints, dependencies, tests, docs, demo, conformance.
    Gate(step::Selection),
    /// Licences, sources, bans and advisories of all dependencies.
    Deny,
    /// The runner for aarch64, where its target is installed.
    Aarch64,
    /// The README's demo on its real image, as text and as JSON.
    Demo,
    /// The demo in the profile of releases.
    ReleaseDemo,
    /// Instructions of every operation, by valgrind; fails at 3 % more than the
    /// baseline's.
    BenchGate {
        /// Make what is counted the baseline.
        #[arg(long)]
        write: bool,
    },
    /// Every fuzz target, twenty seconds each.
    FuzzSmoke,
    /// Writes FIDELITY.md from its data; the gate checks that it is what they say.
    Fidelity,
    /// Enclave images beside AWS's own library; needs OpenSSL and pkg-config.
    EifOracle,
    /// The conformance suites, with a JUnit report in `target/ci`.
    Conformance,
}

fn main() -> ExitCode {
    let run = |verb: Verb| {
        let workspace = Workspace::find()?;
        match verb {
            Verb::Check(selection) => selection.run(check::STEPS, &workspace),
            Verb::Gate(selection) => selection.run(gate::STEPS, &workspace),
            Verb::Deny => step::run_all(&[deny::STEP], &workspace),
            Verb::Aarch64 => step::run_all(&[aarch64::STEP], &workspace),
            Verb::Demo => step::run_all(&[demo::TEXT, demo::JSON], &workspace),
            Verb::ReleaseDemo => step::run_all(&[demo::RELEASE], &workspace),
            Verb::BenchGate { write } => bench_gate::run(write, &workspace),
            Verb::Fidelity => fidelity::write(&workspace),
            Verb::EifOracle => step::run_all(&[eif_oracle::STEP], &workspace),
            Verb::FuzzSmoke => step::run_all(&[fuzz::STEP], &workspace),
            Verb::Conformance => step::run_all(&[conformance::STEP], &workspace),
        }
    };
    run(Verb::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
