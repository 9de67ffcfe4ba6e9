//! A stage for black-box tests of the runner: programs compiled on the spot,
//! put where any user may run them, and started as ourselves and as nobody.
//!
//! Each test file uses a part of it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Own,
    /// Uid 65534 without groups, capabilities and bounding set.
    Nobody,
}

/// A folder with the programs of one test, readable by everybody.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    name: String,
}

impl Stage {
    /// A stage with `nsm-sim` on it; `name` makes its world unique.
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("nsm-sim-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let stage = Self {
            folder,
            name: name.to_owned(),
        };
        stage.bring(Path::new(env!("CARGO_BIN_EXE_nsm-sim")), "nsm-sim");
        stage
    }

    /// A path on the stage.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies a program onto the stage.
    pub(crate) fn bring(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        if fs::hard_link(from, &to).is_err() {
            fs::copy(from, &to).unwrap();
        }
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    }

    /// Copies a program so that others than its owner may run and not read it.
    pub(crate) fn bring_to_execute_only(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.path(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o711)).unwrap();
        to
    }

    /// Whether `user` may make namespaces, found out by util-linux's `unshare`.
    pub(crate) fn may_make_namespaces(&self, user: User, flags: &[&str]) -> bool {
        let mut command = self.command(user, Path::new("unshare"));
        let may = command
            .args(flags)
            .arg("true")
            .output()
            .is_ok_and(|output| output.status.success());
        if !may {
            println!("skipped for {user:?}: unshare {flags:?} is forbidden here");
        }
        may
    }

    /// Compiles `tests/clients/NAME.c` as a static program.
    pub(crate) fn compile(&self, name: &str) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/clients/{name}.c"));
        let program = self.path(name);
        let compiled = Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-o"])
            .args([&program, &source])
            .arg("-lpthread")
            .output()
            .expect("a C compiler is there (cc)");
        let log = String::from_utf8_lossy(&compiled.stderr).into_owned();
        assert!(compiled.status.success(), "{name}.c: {log}");
        program
    }

    /// Compiles `tests/clients/NAME.rs`, which needs no crates, as a static program.
    pub(crate) fn compile_rust(&self, name: &str) -> PathBuf {
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let mut compiler = Command::new(rustc);
        compiler.args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
        ]);
        self.compiled_by(compiler, &format!("{name}.rs"), name)
    }

    /// Compiles `tests/clients/NAME.go`, if there is Go.
    pub(crate) fn compile_go(&self, name: &str) -> Option<PathBuf> {
        if let Err(error) = Command::new("go").arg("version").output() {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must have Go ({error}): apt-get install golang-go, or any Go on PATH"
            );
            println!("skipped: no Go on PATH ({error})");
            return None;
        }
        let mut compiler = Command::new("go");
        compiler
            .arg("build")
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "")
            .env("GOCACHE", self.path("go-cache"))
            .env("GOPATH", self.path("go-path"));
        Some(self.compiled_by(compiler, &format!("{name}.go"), name))
    }

    fn compiled_by(&self, mut compiler: Command, source: &str, name: &str) -> PathBuf {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let program = self.path(name);
        compiler.arg("-o").arg(&program).arg(clients.join(source));
        let compiled = compiler.output().unwrap();
        assert!(compiled.status.success(), "{source}: {}", said(&compiled));
        program
    }

    /// The test's own world.
    pub(crate) fn world(&self) -> String {
        format!("{}-{}", self.name, std::process::id())
    }

    /// `program` started as `user`.
    pub(crate) fn command(&self, user: User, program: &Path) -> Command {
        // Whoever runs the tests in the background has these ignored, and what is
        // ignored at the start no shell can trap.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT,QUIT,HUP");
        match user {
            User::Own => command.arg(program),
            User::Nobody => command
                .args([
                    "setpriv",
                    "--reuid",
                    "65534",
                    "--regid",
                    "65534",
                    "--clear-groups",
                ])
                .args(["--inh-caps=-all", "--bounding-set=-all"])
                .arg(program),
        };
        // A group of its own, as a shell gives: one without a parent in its session
        // is orphaned, and the kernel then ignores SIGTSTP.
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// `nsm-sim run` with `flags` in the test's world, up to the command.
    pub(crate) fn run(&self, user: User, flags: &[&str]) -> Command {
        let mut command = self.command(user, &self.path("nsm-sim"));
        command
            .args(["run", "--no-nsm", "--world", &self.world()])
            .args(flags)
            .arg("--");
        command
    }
}

/// Everybody who can run programs here.
pub(crate) fn users() -> Vec<User> {
    let root = is_root();
    let setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if root && setpriv {
        vec![User::Own, User::Nobody]
    } else {
        println!("skipped for uid nobody: needs root and setpriv");
        vec![User::Own]
    }
}

/// Whether a run of `user` gets a loopback of its own here.
pub(crate) fn may_have_own_loopback(stage: &Stage, user: User) -> bool {
    let root = user == User::Own && is_root();
    let flags: &[&str] = if root {
        &["--net"]
    } else {
        &["--user", "--net"]
    };
    stage.may_make_namespaces(user, flags)
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"))
}

/// Both output streams of a finished program, for failure texts.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs to the end and demands success; the standard output.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A Python that everybody may run, or the reason to skip.
pub(crate) fn python() -> Option<PathBuf> {
    let python = PathBuf::from("/usr/bin/python3");
    if python.exists() {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "CI must have /usr/bin/python3"
    );
    println!("skipped: no /usr/bin/python3");
    None
}

/// The run itself failed, and said why.
#[track_caller]
pub(crate) fn assert_refused(output: &Output, cause: &str, what: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(125), "{what}: {said}");
    assert!(said.contains(cause), "{what}: {said}");
}
