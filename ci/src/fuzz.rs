//! Twenty seconds of generated and mutated input for every parser of outside bytes.
//!
//! The fuzzers are a workspace of their own that builds into this one's target
//! folder: profile, versions and features are the same (a test here compares the
//! profiles), so that only the fuzzed crates are compiled again. `cargo run --target-dir target --manifest-path fuzz/Cargo.toml -- --list`
//! names the targets; a longer run is the same command with `--seconds-each` or
//! `--runs`. As many targets run at a time as there are cores.

use std::process::Command;

use crate::step::{Passed, Run, Step};

/// Of each target.
const SECONDS_EACH: &str = "20";

pub(crate) const STEP: Step = Step {
    name: "fuzz-smoke",
    about: "every fuzz target, twenty seconds each",
    run: |run| {
        let mut test = fuzz(run, &["test", "--quiet"]);
        run.check(&mut test)?;
        let mut smoke = fuzz(run, &["run", "--quiet"]);
        smoke.args(["--", "--seconds-each", SECONDS_EACH]);
        run.check(&mut smoke)?;
        Ok(Passed::Fully)
    },
};

/// A call of cargo in the fuzzers' workspace.
fn fuzz(run: &Run<'_>, words: &[&str]) -> Command {
    let mut command = run.workspace.cargo(words);
    command
        .args(["--locked", "--manifest-path", "fuzz/Cargo.toml"])
        .env("CARGO_TARGET_DIR", run.workspace.target());
    command
}

#[cfg(test)]
mod test {
    /// Crates of ours, which the fuzzers optimise more than the tests do.
    const FUZZED: [&str; 4] = ["drydock-fuzz", "nsm-sim", "kms-mock", "enclave-app"];

    fn profile(manifest: &str) -> toml::Table {
        let manifest: toml::Table = manifest.parse().unwrap();
        manifest["profile"]["dev"].as_table().unwrap().clone()
    }

    #[test]
    fn what_fuzzers_and_tests_share_is_built_once() {
        let mut tests = profile(include_str!("../../Cargo.toml"));
        let mut fuzzers = profile(include_str!("../../fuzz/Cargo.toml"));
        for packages in [&mut tests, &mut fuzzers].map(|it| it["package"].as_table_mut().unwrap()) {
            packages.retain(|name, _| !FUZZED.contains(&name));
        }
        assert_eq!(
            fuzzers, tests,
            "[profile.dev] of Cargo.toml and fuzz/Cargo.toml"
        );
    }
}
