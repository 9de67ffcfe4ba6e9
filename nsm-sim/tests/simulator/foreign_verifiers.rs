//! Our documents before verifiers that are not ours, and theirs before ours.
//!
//! Three packages, of three registries, in three languages: PyPI's
//! epsilon-attestation-verifier (pyca/cryptography), npm's
//! @0xsequence/tee-verifier (pkijs, WebCrypto) and crates.io's
//! nsm-nitro-enclave-utils (rustls-webpki, ring). Each must accept our documents
//! under our root and refuse them under AWS's, and accept a real document under
//! AWS's root at its own time. They are installed below `target/foreign`; where
//! an interpreter or the network is missing the test says so and passes, except
//! in CI.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nsm_sim::{
    attestation::variance::Variance,
    clock::{SettableClock, UnixMillis},
    device::Nsm,
    seed::WorldSeed,
};

const NOW: UnixMillis = UnixMillis(1_782_779_620_694);

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

/// Where a verifier is installed: below the folder cargo builds in.
fn installed(name: &str) -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.parent().unwrap_or(tmp).join("foreign").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a step of an installation; what it printed if it fails.
fn step(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", error.trim()))
}

/// One document, one root, one time: what a verifier is asked, and has to say.
struct Question {
    what: String,
    document: PathBuf,
    root: PathBuf,
    at: UnixMillis,
    accept: bool,
}

/// Our documents under both roots and late, a changed one, and real ones.
fn questions(folder: &Path) -> Vec<Question> {
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.join(name);
        fs::write(&file, bytes).unwrap();
        file
    };
    let mut questions = Vec::new();
    let aws = crate::corpus::path("attestation/aws-nitro-root-g1.pem");
    for variance in [Variance::Definite, Variance::Indefinite] {
        let nsm = Nsm::builder()
            .seed(WorldSeed::from_u64(11))
            .clock(SettableClock::frozen(NOW))
            .variance(variance)
            .build();
        let reply = nsm.request_bytes(
            b"\xa1\x6bAttestation\xa3\x69user_data\x43abc\x65nonce\x41n\x6apublic_key\x42pk",
        );
        let document = &reply[26..]; // behind the reply's own head
        let file = write(&format!("{variance}.cbor"), document);
        let root = write("root.pem", nsm.root_pem().as_bytes());
        let mut ask = |what: &str, document: &PathBuf, root: &PathBuf, at, accept| {
            questions.push(Question {
                what: format!("{variance}: {what}"),
                document: document.clone(),
                root: root.clone(),
                at,
                accept,
            });
        };
        ask("ours under our root", &file, &root, NOW, true);
        let late = UnixMillis(NOW.0 + 4 * 3_600_000);
        ask("ours, four hours later", &file, &root, late, false);
        let mut changed = document.to_vec();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        let changed = write(&format!("{variance}-changed.cbor"), &changed);
        ask("ours with a changed signature", &changed, &root, NOW, false);
        if let Some(aws) = &aws {
            ask("ours under AWS's root", &file, aws, NOW, false);
        }
    }
    let root = folder.join("root.pem");
    if let (Some(aws), Some(documents)) = (aws, crate::corpus::documents()) {
        // The oldest and the newest form of hardware.
        let valid: Vec<_> = documents.iter().filter(|document| document.valid).collect();
        for document in [valid.first(), valid.last()].into_iter().flatten() {
            let file = write(&document.file, &document.bytes);
            let at = UnixMillis(document.index["timestamp_ms"].as_u64().unwrap());
            for (root, accept) in [(&aws, true), (&root, false)] {
                questions.push(Question {
                    what: format!("{} under {}", document.file, root.display()),
                    document: file.clone(),
                    root: root.clone(),
                    at,
                    accept,
                });
            }
        }
    }
    questions
}

/// Puts every question to a verifier, or says why it cannot be asked.
fn judge(name: &str, install: impl FnOnce() -> Result<Vec<PathBuf>, String>) {
    let program = match install() {
        Ok(program) => program,
        Err(why) => {
            assert!(env::var_os("CI").is_none(), "{name}: {why}");
            println!("skipped: {name} cannot be installed: {why}");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let questions = questions(folder.path());
    // Twice three about ours; with the corpus, twice one more and four real ones.
    assert!([6, 12].contains(&questions.len()), "{}", questions.len());
    for question in &questions {
        let output = Command::new(&program[0])
            .args(&program[1..])
            .args([&question.document, &question.root])
            .arg(question.at.0.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        let expected = if question.accept { 0 } else { 1 };
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{name}: {}: {said}{error}",
            question.what
        );
        // A script that fails to run also ends with 1, but says nothing.
        assert!(
            !said.trim().is_empty(),
            "{name}: {}: {error}",
            question.what
        );
    }
    println!("{name}: {} questions answered as expected", questions.len());
}

#[test]
fn a_python_verifier_accepts_ours_under_our_root_alone() {
    judge("epsilon-attestation-verifier 1.1.0 (PyPI)", || {
        let folder = installed("python");
        let python = folder.join("bin/python");
        let requirements = scripts().join("requirements.txt");
        if !python.exists() {
            step(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        }
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:"]);
        step(pip.arg("-r").arg(requirements))?;
        Ok(vec![python, scripts().join("verify.py")])
    });
}

#[test]
fn a_javascript_verifier_accepts_ours_under_our_root_alone() {
    judge("@0xsequence/tee-verifier 0.1.2 (npm)", || {
        let folder = installed("node");
        for file in ["package.json", "verify.mjs"] {
            fs::copy(scripts().join(file), folder.join(file)).map_err(|error| error.to_string())?;
        }
        if !folder.join("node_modules/@0xsequence").exists() {
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund"]);
            npm.args(["--no-package-lock", "--ignore-scripts", "--prefix"]);
            step(npm.arg(&folder).current_dir(&folder))?;
        }
        Ok(vec!["node".into(), folder.join("verify.mjs")])
    });
}

#[test]
fn a_rust_verifier_from_crates_io_accepts_ours_under_our_root_alone() {
    judge("nsm-nitro-enclave-utils 0.1.3 (crates.io)", || {
        let folder = installed("rust");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--manifest-path"]);
        build.arg(scripts().join("crate/Cargo.toml"));
        build.arg("--target-dir").arg(&folder);
        step(&mut build)?;
        Ok(vec![folder.join("debug/foreign-verifier")])
    });
}
