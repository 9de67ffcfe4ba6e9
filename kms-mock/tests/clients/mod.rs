//! Real clients, unmodified, from PyPI and npm: installed once into
//! `target/clients`, run as programs of their own against a server of the test.
//!
//! A script prints one line a case and a count at the end (`python/cases.py`);
//! what it prints is checked here and shown by `--nocapture`. Where Python, Node
//! or a registry cannot be had, the test says so and passes; with `CI` set it
//! fails. The versions are locked in `python/requirements.txt` and
//! `javascript/package-lock.json`.

#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::print_stdout)] // test code outside test functions

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use kms_mock::{KmsMock, iam::Credentials};
use tokio::process::Command;

/// The account of every world here.
pub(crate) const ACCOUNT: &str = "123456789012";
/// Cases of the whole list (`service_cases.py`): one for each of the 56 operations
/// of KMS and eight more, two of retries and clocks, seven of STS and IAM, fifteen of
/// S3. One client runs it, boto3: an interpreter costs no compiling, and what KMS
/// computes is checked there by `cryptography`, which shares no line with ours.
pub(crate) const CASES: usize = 88;
/// Those of them that every client runs, chosen for what clients do differently.
pub(crate) const DIFFERENT: usize = 14;

/// Installing is a download; a registry that hangs must not hang the tests.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);
/// The slowest script takes seconds, on a loaded machine some tens of them.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(180);

/// The Python interpreter that has every Python client, or `None` with the
/// reason printed.
pub(crate) async fn python() -> Option<PathBuf> {
    let lock = include_bytes!("python/requirements.txt");
    let requirements = scripts().join("python/requirements.txt");
    let home = installed("python", lock, async |home| {
        install(Command::new("python3").args(["-m", "venv"]).arg(home)).await?;
        install(
            Command::new(home.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--no-deps"])
                .args(["--no-input", "--disable-pip-version-check", "--requirement"])
                .arg(requirements),
        )
        .await
    })
    .await?;
    Some(home.join("bin/python"))
}

/// The folder whose `node_modules` has the JavaScript SDK, or `None` with the
/// reason printed.
pub(crate) async fn javascript() -> Option<PathBuf> {
    let lock = include_bytes!("javascript/package-lock.json");
    installed("javascript", lock, async |home| {
        std::fs::create_dir_all(home).map_err(|error| error.to_string())?;
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(scripts().join("javascript").join(file), home.join(file))
                .map_err(|error| error.to_string())?;
        }
        install(
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .args(["--loglevel", "error"])
                .current_dir(home),
        )
        .await
    })
    .await
}

/// The folder `target/clients/NAME-…` for this state of the lock file, installed
/// if it is not there yet. Test programs that run at once wait for each other.
async fn installed(
    name: &str,
    lock: &[u8],
    install: impl AsyncFnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients");
    std::fs::create_dir_all(&clients).unwrap();
    let clients = clients.canonicalize().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, lock);
    let home = clients.join(format!("{name}-{}", hex::encode(&digest.as_ref()[..6])));
    let mine = {
        let file = File::create(clients.join(format!("{name}.lock"))).unwrap();
        tokio::task::spawn_blocking(move || file.lock().map(|()| file))
            .await
            .unwrap()
            .unwrap()
    };
    let complete = home.join("complete");
    if !complete.exists() {
        let _ = std::fs::remove_dir_all(&home); // what an interrupted run left
        if let Err(reason) = install(&home).await {
            assert!(
                std::env::var_os("CI").is_none(),
                "the {name} clients cannot be installed: {reason}"
            );
            println!("skipped: the {name} clients cannot be installed: {reason}");
            return None;
        }
        File::create(complete).unwrap();
    }
    drop(mine);
    Some(home)
}

async fn install(command: &mut Command) -> Result<(), String> {
    let what = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(INSTALL_TIMEOUT, output)
        .await
        .map_err(|_| format!("{what} did not end within {INSTALL_TIMEOUT:?}"))?
        .map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what}: {}: {}", output.status, said.trim()))
}

/// Where the scripts lie.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kms-mock/tests/clients")
}

/// A user who may do everything: their ARN and their access key.
pub(crate) fn administrator(mock: &KmsMock) -> (String, Credentials) {
    let everything = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;
    let iam = mock.iam();
    let arn = iam.create_user(ACCOUNT, "/", "admin").unwrap().entity.arn;
    iam.put_user_policy(ACCOUNT, "admin", "everything", everything)
        .unwrap();
    (arn, iam.create_access_key(ACCOUNT, "admin").unwrap())
}

/// What a client is told in its environment, as a user would tell it: these
/// variables, and of the machine's own nothing but where programs lie.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings(Vec<(String, String)>);

impl Surroundings {
    /// A Region, an endpoint and credentials.
    pub(crate) fn new(endpoint: &str, key_id: &str, secret: &str, token: Option<&str>) -> Self {
        let all = Self(Vec::new())
            .and("AWS_REGION", "us-east-1")
            .and("AWS_DEFAULT_REGION", "us-east-1")
            .and("AWS_ENDPOINT_URL", endpoint)
            .and("AWS_ACCESS_KEY_ID", key_id)
            .and("AWS_SECRET_ACCESS_KEY", secret);
        match token {
            Some(token) => all.and("AWS_SESSION_TOKEN", token),
            None => all,
        }
    }

    /// What a shell without any variables exports after `lines`, which a program
    /// printed for its user to paste.
    pub(crate) fn pasted(lines: &str) -> Self {
        let shell = std::process::Command::new("/bin/sh")
            .args(["-c", &format!("{lines}\nexec env -0")])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .output()
            .unwrap();
        assert!(shell.status.success(), "{lines}: {shell:?}");
        let said = String::from_utf8(shell.stdout).unwrap();
        let all = said.split_terminator('\0').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.starts_with("AWS_")
                .then(|| (name.to_owned(), value.to_owned()))
        });
        let all = Self(all.collect());
        assert!(!all.0.is_empty(), "nothing is exported by\n{lines}");
        all
    }

    /// The account's root user, over plain HTTP.
    pub(crate) fn root(mock: &KmsMock) -> Self {
        Self::new(&mock.url(), ACCOUNT, "test", None)
            .and("CASES_ARN", &format!("arn:aws:iam::{ACCOUNT}:root"))
    }

    /// A user who may do everything, with an access key of the server's own,
    /// over TLS under the server's root, which is written into `folder`.
    pub(crate) fn user_over_tls(mock: &KmsMock, folder: &Path) -> Self {
        let (arn, key) = administrator(mock);
        let port = mock.address().port();
        let ca_file = folder.join("ca.pem");
        std::fs::write(&ca_file, mock.ca_pem()).unwrap();
        let ca_file = ca_file.to_str().unwrap();
        Self::new(
            &format!("https://localhost:{port}"),
            &key.access_key_id,
            &key.secret_access_key,
            None,
        )
        .and("CASES_ARN", &arn)
        .and("AWS_CA_BUNDLE", ca_file)
        .and("NODE_EXTRA_CA_CERTS", ca_file)
    }

    /// One variable more.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    fn apply(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", "/nowhere") // nor a user's ~/.aws
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// What the last line of a script counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

/// Runs a script of cases to its end; how many cases passed, which are all there
/// were.
///
/// # Panics
/// If a case failed, or the script ended otherwise than with its count; shows
/// everything it said.
pub(crate) async fn cases<S: AsRef<OsStr>>(
    python: &Path,
    script: &str,
    arguments: &[S],
    surroundings: &Surroundings,
) -> usize {
    let said = run(python, script, arguments, surroundings).await;
    let count = counted(&said.stdout).unwrap_or_else(|| panic!("{script} ended early:\n{said}"));
    println!("{script}:\n{}", said.stdout);
    assert_eq!(count.failed, 0, "cases of {script} failed:\n{said}");
    assert!(said.success, "{script} did not end well:\n{said}");
    count.passed
}

/// Runs a script that is one step of a test.
///
/// # Panics
/// If it does not succeed; shows what it said.
pub(crate) async fn step<S: AsRef<OsStr>>(
    python: &Path,
    script: &str,
    arguments: &[S],
    surroundings: &Surroundings,
) {
    let said = run(python, script, arguments, surroundings).await;
    assert!(said.success, "{script} failed:\n{said}");
}

/// What a script said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.stdout, self.stderr)
    }
}

/// Runs a script, whatever it comes to.
pub(crate) async fn run<S: AsRef<OsStr>>(
    python: &Path,
    script: &str,
    arguments: &[S],
    surroundings: &Surroundings,
) -> Said {
    let mut command = Command::new(python);
    surroundings.apply(&mut command);
    command
        .arg(scripts().join("python").join(script))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(SCRIPT_TIMEOUT, command.output())
        .await
        .unwrap_or_else(|_| panic!("{script} did not end within {SCRIPT_TIMEOUT:?}"))
        .unwrap();
    Said {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// `cases: 52 passed, 0 failed`, the last line.
fn counted(stdout: &str) -> Option<Count> {
    let line = stdout.lines().last()?.strip_prefix("cases: ")?;
    let mut numbers = line
        .split(", ")
        .map(|part| part.split(' ').next()?.parse::<usize>().ok());
    Some(Count {
        passed: numbers.next()??,
        failed: numbers.next()??,
    })
}
