//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

/// The folders of this workspace and how to call its cargo.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn find() -> anyhow::Result<Self> {
        // Cargo sets it when it runs us; a binary run by hand uses what it was built with.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package
            .parent()
            .context("the ci crate lies in the workspace")?
            .to_owned();
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |target| root.join(target));
        Ok(Self { root, target })
    }

    /// The folder of the repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The folder of logs and reports.
    pub(crate) fn reports(&self) -> PathBuf {
        self.target.join("ci")
    }

    /// The folder of tools that steps install for themselves.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("ci-tools")
    }

    /// A call of this toolchain's cargo in the workspace.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(words);
        self.at_home(command)
    }

    /// Makes a command start in the workspace, without the variables that `cargo
    /// run` gave us about our own package.
    pub(crate) fn at_home(&self, mut command: Command) -> Command {
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let ours = name.to_str().is_some_and(|name| {
                name == "CARGO_MANIFEST_DIR"
                    || name == "CARGO_MANIFEST_PATH"
                    || name.starts_with("CARGO_PKG_")
            });
            if ours {
                command.env_remove(name);
            }
        }
        command
    }
}
