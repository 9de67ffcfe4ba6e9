//! The oldest Rust that `Cargo.toml` promises is the one that compiles it.
//!
//! With that toolchain the whole gate is the proof. With a newer one, `cargo check`
//! runs once more under the promised one where rustup has it; where it has not, the
//! summary says so, and clippy's `incompatible_msrv` (on by default, and denied) still
//! finds what the standard library did not have yet.

use std::{fs, process::Command};

use anyhow::{Context as _, ensure};

use crate::step::{Passed, Run, Step};

/// What states it too.
const ALSO: [&str; 4] = [
    "fuzz/Cargo.toml",
    "nsm-sim/eif-oracle/Cargo.toml",
    "conformance/examples/attested-data-key/Cargo.toml",
    "README.md",
];

pub(crate) const STEP: Step = Step {
    name: "rust-version",
    about: "everything compiles with the Rust that Cargo.toml names",
    run: |run| {
        let promised = promised(run)?;
        let mut version = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        version.arg("--version");
        let mut version = run.workspace.at_home(version);
        let running = run.stdout(&mut version)?;
        if is_of(&running, &promised) {
            run.note("the toolchain that runs the gate is the promised one")?;
            return Ok(Passed::Fully);
        }
        let mut installed = Command::new("rustup");
        installed.args(["run", &promised, "rustc", "--version"]);
        if !run.succeeds(&mut installed).unwrap_or(false) {
            return Ok(Passed::But(format!(
                "Rust {promised} was NOT tried: run `rustup toolchain install {promised}`"
            )));
        }
        let mut check = Command::new("rustup");
        check.args(["run", &promised, "cargo", "check", "--workspace"]);
        check.args(["--all-targets", "--locked"]);
        // Cargo names its own compiler to the programs it runs.
        check.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        check.env("CARGO_TARGET_DIR", run.workspace.tools().join("oldest"));
        let mut check = run.workspace.at_home(check);
        run.check(&mut check)?;
        Ok(Passed::Fully)
    },
};

/// The version in the workspace's `Cargo.toml`, the same wherever it is stated.
fn promised(run: &Run<'_>) -> anyhow::Result<String> {
    let read = |path: &str| {
        fs::read_to_string(run.workspace.root().join(path)).with_context(|| path.to_owned())
    };
    let manifest: toml::Table = read("Cargo.toml")?.parse()?;
    let promised = manifest
        .get("workspace")
        .and_then(|table| table.get("package"))
        .and_then(|table| table.get("rust-version"))
        .and_then(toml::Value::as_str)
        .context("Cargo.toml has no workspace.package.rust-version")?;
    for path in ALSO {
        let text = read(path)?;
        ensure!(
            text.contains(&format!("rust-version = \"{promised}\""))
                || text.contains(&format!("Rust {promised} ")),
            "{path} does not state Rust {promised}, as Cargo.toml does"
        );
    }
    Ok(promised.to_owned())
}

/// Whether `rustc --version` printed a release of `promised` (`1.95`, `1.95.2`).
fn is_of(printed: &str, promised: &str) -> bool {
    let Some(version) = printed
        .strip_prefix("rustc ")
        .and_then(|rest| rest.split_whitespace().next())
    else {
        return false;
    };
    version == promised
        || version
            .strip_prefix(promised)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|patch| patch.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_patch_of_the_promised_release_is_that_release_and_a_later_one_is_not() {
        assert!(is_of("rustc 1.95.0 (f2d3ce0bd 2026-03-21)\n", "1.95"));
        assert!(is_of("rustc 1.95.3\n", "1.95.3"));
        assert!(!is_of("rustc 1.96.0 (f2d3ce0bd 2026-03-21)", "1.95"));
        assert!(!is_of("rustc 1.950.0", "1.95"));
        assert!(!is_of("rustc 1.95.0-nightly", "1.95"));
        assert!(!is_of("", "1.95"));
    }
}
