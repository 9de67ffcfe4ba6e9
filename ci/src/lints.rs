//! Formatting, and every warning of compiler and clippy on every target.

use crate::step::{Passed, Step};

/// The workspaces of their own.
const APART: [&str; 4] = [
    "fuzz",
    "kms-mock/iam-rs-oracle",
    "nsm-sim/eif-oracle",
    "conformance/examples/attested-data-key",
];

pub(crate) const FORMAT: Step = Step {
    name: "format",
    about: "cargo fmt --check, of all workspaces",
    run: |run| {
        let mut command = run
            .workspace
            .cargo(&["fmt", "--all", "--check", "--", "--color", "never"]);
        run.check(&mut command)?;
        for workspace in APART {
            let manifest = format!("{workspace}/Cargo.toml");
            let mut command = run.workspace.cargo(&["fmt", "--check", "--manifest-path"]);
            command.args([&manifest, "--", "--color", "never"]);
            run.check(&mut command)?;
        }
        Ok(Passed::Fully)
    },
};

/// Clippy runs the compiler's own lints too, so that a `cargo check` beside it
/// would find nothing more. The warnings are denied to clippy alone: denying them
/// by RUSTFLAGS would build every dependency a second time.
pub(crate) const CLIPPY: Step = Step {
    name: "clippy",
    about: "compiler and clippy, warnings denied",
    run: |run| {
        let mut command = run.workspace.cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]);
        run.check(&mut command)?;
        Ok(Passed::Fully)
    },
};
