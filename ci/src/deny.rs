//! Licences, sources, bans and advisories of all dependencies, by cargo-deny with
//! `deny.toml`.
//!
//! The tool is installed here, below `target`, when it is missing: a machine
//! needs nothing but cargo. The advisory database is a git repository that some
//! networks do not reach; then everything else is still checked strictly, and the
//! summary says that advisories were not. `DRYDOCK_ADVISORY_DB` names a local
//! checkout to use instead.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

use crate::step::{Passed, Run, Step};

/// The version that is installed, and the oldest that is used.
const VERSION: (u32, u32, u32) = (0, 20, 2);

/// Where cargo-deny looks for advisories unless told otherwise.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

pub(crate) const STEP: Step = Step {
    name: "deny",
    about: "licences, sources, bans, advisories",
    run: |run| {
        let program = program(run)?;
        let local = env::var_os("DRYDOCK_ADVISORY_DB").map(PathBuf::from);
        let deny = |run: &Run<'_>, words: &[&str]| {
            let mut command = Command::new(&program);
            command.args(words);
            if let Some(checkout) = &local {
                use_checkout(&mut command, checkout);
            }
            // A network that swallows packets must not hold the gate up.
            command.env("GIT_TERMINAL_PROMPT", "0");
            command
                .env("GIT_HTTP_LOW_SPEED_LIMIT", "1000")
                .env("GIT_HTTP_LOW_SPEED_TIME", "30");
            run.workspace.at_home(command)
        };
        let mut fetch = deny(run, &["--locked", "fetch", "db"]);
        let fetched = run.succeeds(&mut fetch)?;
        ensure!(
            fetched || local.is_none(),
            "DRYDOCK_ADVISORY_DB is not a git checkout of the advisory database (branch main)"
        );
        let checks: &[&str] = if fetched {
            &["advisories", "bans", "licenses", "sources"]
        } else {
            run.note("advisories are NOT checked: the database cannot be fetched")?;
            &["bans", "licenses", "sources"]
        };
        let mut check = deny(
            run,
            &[&["--locked", "check", "--hide-inclusion-graph"], checks].concat(),
        );
        run.check(&mut check)?;
        Ok(if fetched {
            Passed::Fully
        } else {
            Passed::But(
                "advisories were NOT checked: their database could not be fetched".to_owned(),
            )
        })
    },
};

/// Makes git, which cargo-deny calls, read the official address from a folder.
fn use_checkout(command: &mut Command, checkout: &Path) {
    let settings = [
        (
            format!("url.file://{}.insteadOf", checkout.display()),
            DATABASE.to_owned(),
        ),
        // The checkout may belong to another user, as mounted folders do.
        ("safe.directory".to_owned(), "*".to_owned()),
    ];
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (index, (key, value)) in settings.into_iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{index}"), key);
        command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
}

/// A cargo-deny that is new enough: the machine's, ours, or now installed.
fn program(run: &mut Run<'_>) -> anyhow::Result<PathBuf> {
    let tools = run.workspace.tools();
    let ours = tools
        .join("bin")
        .join(format!("cargo-deny{}", env::consts::EXE_SUFFIX));
    for program in [PathBuf::from("cargo-deny"), ours.clone()] {
        if version(&program).is_some_and(|version| version >= VERSION) {
            return Ok(program);
        }
    }
    let (major, minor, patch) = VERSION;
    let version_text = format!("{major}.{minor}.{patch}");
    // The default profile optimises the whole program as one for minutes; it runs
    // for seconds.
    let mut install = run
        .workspace
        .cargo(&["install", "cargo-deny", "--locked", "--debug"]);
    install.args(["--version", &version_text]);
    install.arg("--root").arg(&tools);
    install.arg("--target-dir").arg(tools.join("build"));
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    run.check(&mut install)
        .context("cargo-deny cannot be installed")?;
    ensure!(
        version(&ours) == Some(VERSION),
        "{} was installed but is not version {version_text}",
        ours.display()
    );
    Ok(ours)
}

fn version(program: &Path) -> Option<(u32, u32, u32)> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    parse_version(&String::from_utf8(output.stdout).ok()?)
}

/// Of `cargo-deny 0.20.2`.
fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.trim().strip_prefix("cargo-deny ")?.splitn(3, '.');
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?, number()?))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn reads_the_version_that_the_tool_prints() {
        assert_eq!(parse_version("cargo-deny 0.20.2\n"), Some(VERSION));
        assert!(parse_version("cargo-deny 0.9.10").unwrap() < VERSION);
        assert_eq!(parse_version("error: no such command"), None);
    }
}
