//! The runner compiles for its other machine, where that can be found out.
//!
//! Most machines lack the target's standard library or its C compiler, which the
//! cryptography wants: then nothing is checked but what the tests check anywhere
//! (tables, layouts and filter of both machines), and the summary says so.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use crate::step::{Passed, Run, Step};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// What names a C compiler for the target to the `cc` crate, and its own guess.
const COMPILER_VARIABLES: [&str; 2] = [
    "CC_aarch64_unknown_linux_gnu",
    "CC_aarch64-unknown-linux-gnu",
];
const COMPILER: &str = "aarch64-linux-gnu-gcc";

pub(crate) const STEP: Step = Step {
    name: "aarch64",
    about: "nsm-sim compiles for aarch64, where the target is installed",
    run: |run| {
        if let Some(missing) = missing(run)? {
            run.note(&missing)?;
            return Ok(Passed::But(format!("aarch64 was NOT compiled: {missing}")));
        }
        let mut check = run
            .workspace
            .cargo(&["check", "--locked", "--target", TARGET, "-p", "nsm-sim"]);
        run.check(&mut check)?;
        Ok(Passed::Fully)
    },
};

/// What this machine lacks, and how to get it.
fn missing(run: &mut Run<'_>) -> anyhow::Result<Option<String>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut libraries = Command::new(rustc);
    libraries.args(["--print", "target-libdir", "--target", TARGET]);
    let mut libraries = run.workspace.at_home(libraries);
    if !Path::new(run.stdout(&mut libraries)?.trim()).is_dir() {
        return Ok(Some(format!("run `rustup target add {TARGET}`")));
    }
    let compiler = COMPILER_VARIABLES
        .iter()
        .find_map(env::var_os)
        .unwrap_or_else(|| COMPILER.into());
    let found = Command::new(&compiler)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(found.is_err().then(|| {
        format!(
            "no C compiler `{}` (Debian: gcc-aarch64-linux-gnu)",
            compiler.display()
        )
    }))
}
