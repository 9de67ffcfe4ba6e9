//! Finds the programs of a world beside the running one, and builds them when
//! the source tree is at hand and they are missing or older than their sources.
//!
//! `cargo run --bin drydock` builds one binary, a world needs four more: one call
//! of cargo builds them all, in the profile of the running program and with the
//! features of the workspace, so that nothing is compiled twice. Cargo
//! writes beside each binary a `.d` file that lists its local sources, so
//! freshness is a handful of `stat` calls and a warm start never waits for
//! cargo. Does not model installation: an installed Drydock keeps its programs
//! in one folder, and that is all this needs.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// The folder of the programs, if it is not the running program's own.
pub const BIN_DIR_VARIABLE: &str = "DRYDOCK_BIN_DIR";

const NAMES: [&str; 4] = ["nsm-sim", "enclave-app", "enclave-parent", "kms-mock"];

/// The programs that a world is made of.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The runner, `nsm-sim`.
    pub nsm_sim: PathBuf,
    /// What runs inside the enclave.
    pub enclave_app: PathBuf,
    /// What runs on the parent instance.
    pub enclave_parent: PathBuf,
    /// The cloud as a process of its own.
    pub kms_mock: PathBuf,
}

/// Why the programs of a world cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramsError {
    /// The running program has no path.
    #[error("the path of this program cannot be found: {0}")]
    NoSelf(#[source] io::Error),
    /// A program is missing and there is no source tree to build it from.
    #[error(
        "`{name}` is not in {folder}: put Drydock's programs in one folder, or name it in \
         {BIN_DIR_VARIABLE}"
    )]
    Missing {
        /// The program that is missing.
        name: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Cargo could not be started.
    #[error("cannot start cargo to build {what}: {source}")]
    Cargo {
        /// The programs to build.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Cargo ran and failed.
    #[error("building {what} failed; run `{command}` to see why")]
    Build {
        /// The programs to build.
        what: String,
        /// The command to repeat.
        command: String,
    },
}

impl Programs {
    /// Finds the programs. What is missing is built when the source tree that
    /// this program came from is still there, and what is stale too when cargo
    /// started this program.
    ///
    /// # Errors
    /// [`ProgramsError`], each with what to do next.
    pub fn locate() -> Result<Self, ProgramsError> {
        Self::built_if(|program, by_cargo| match by_cargo {
            true => !is_fresh(program),
            false => !program.is_file(),
        })
    }

    /// As [`locate`](Self::locate), but when cargo started this program, cargo
    /// decides what is stale: it also knows the profile and the versions of
    /// dependencies, which the times of our sources do not show.
    ///
    /// # Errors
    /// [`ProgramsError`], each with what to do next.
    pub fn rebuilt() -> Result<Self, ProgramsError> {
        Self::built_if(|program, by_cargo| by_cargo || !program.is_file())
    }

    fn built_if(is_wanting: impl Fn(&Path, bool) -> bool) -> Result<Self, ProgramsError> {
        if let Some(folder) = env::var_os(BIN_DIR_VARIABLE) {
            return Self::in_folder(Path::new(&folder));
        }
        let mut folder = env::current_exe().map_err(ProgramsError::NoSelf)?;
        folder.pop();
        if folder.ends_with("deps") {
            folder.pop(); // a test or a benchmark
        }
        let member = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = member.parent().unwrap_or(member);
        // Under `cargo run` and `cargo test` what runs is what the sources say;
        // a program started by itself takes its neighbours as they are.
        let by_cargo = env::var_os("CARGO").is_some();
        let wanting: Vec<&str> = NAMES
            .into_iter()
            .filter(|name| is_wanting(&folder.join(name), by_cargo))
            .collect();
        if !wanting.is_empty() && workspace.join("Cargo.toml").is_file() {
            build(workspace, &folder, &wanting.join(", "))?;
        }
        Self::in_folder(&folder)
    }

    fn in_folder(folder: &Path) -> Result<Self, ProgramsError> {
        let find = |name: &'static str| {
            let path = folder.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                Err(ProgramsError::Missing {
                    name,
                    folder: folder.to_owned(),
                })
            }
        };
        Ok(Self {
            nsm_sim: find("nsm-sim")?,
            enclave_app: find("enclave-app")?,
            enclave_parent: find("enclave-parent")?,
            kms_mock: find("kms-mock")?,
        })
    }
}

fn build(workspace: &Path, folder: &Path, what: &str) -> Result<(), ProgramsError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .arg("build")
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"));
    // The whole workspace, so that features are those of the running program
    // and no dependency is built twice.
    command.arg("--workspace");
    for name in NAMES {
        command.args(["--bin", name]);
    }
    match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => {}
        Some("release") => {
            command.arg("--release");
        }
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().map_err(|source| ProgramsError::Cargo {
        what: what.to_owned(),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Err(ProgramsError::Build {
        what: what.to_owned(),
        command: words.join(" "),
    })
}

/// Whether `program` is there and no source that cargo noted for it is newer.
fn is_fresh(program: &Path) -> bool {
    let Ok(built) = modified(program) else {
        return false;
    };
    let Ok(notes) = fs::read_to_string(program.with_extension("d")) else {
        return true; // an installed program: nothing to compare with
    };
    let Some((_, sources)) = notes.split_once(": ") else {
        return true;
    };
    sources
        .replace("\\ ", "\0")
        .split_whitespace()
        .map(|path| path.replace('\0', " "))
        .all(|path| modified(Path::new(&path)).is_ok_and(|at| at <= built))
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_older_than_one_of_its_sources_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool");
        let source = folder.path().join("a source.rs");
        assert!(!is_fresh(&program), "a missing program is stale");
        fs::write(&source, "").unwrap();
        fs::write(&program, "").unwrap();
        let notes = format!(
            "{}: {}\n",
            program.display(),
            source.display().to_string().replace(' ', "\\ ")
        );
        fs::write(program.with_extension("d"), notes).unwrap();
        assert!(is_fresh(&program));
        let later = modified(&program).unwrap() + std::time::Duration::from_secs(5);
        fs::File::options()
            .write(true)
            .open(&source)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert!(!is_fresh(&program));
    }

    #[test]
    fn a_folder_without_the_programs_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Programs::in_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("nsm-sim"), "{error}");
    }
}
