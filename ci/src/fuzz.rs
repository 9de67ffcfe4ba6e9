//! A minute of generated and mutated input for every parser of outside bytes.
//!
//! The fuzzers are a workspace of their own that builds into this one's target
//! folder: profile, versions and features are the same, so that only the fuzzed
//! crates are compiled again. `cargo run --target-dir target --manifest-path fuzz/Cargo.toml -- --list`
//! names the targets; a longer run is the same command with `--seconds`.

use crate::step::{Passed, Run, Step};

/// Over all targets together: the whole gate has to stay under half an hour.
const SECONDS: &str = "60";

pub(crate) const STEP: Step = Step {
    name: "fuzz-smoke",
    about: "every fuzz target, a minute in all",
    run: |run| {
        fuzz(run, &["--seconds", SECONDS])?;
        Ok(Passed::Fully)
    },
};

fn fuzz(run: &mut Run<'_>, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command =
        run.workspace
            .cargo(&["run", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--"]);
    command
        .args(arguments)
        .env("CARGO_TARGET_DIR", run.workspace.target());
    run.check(&mut command)
}
