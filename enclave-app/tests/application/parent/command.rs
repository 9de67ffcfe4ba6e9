//! `enclave-parent` as a process: what it prints, how it exits, how it stops.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Output, Stdio},
};

use enclave_app::{
    job::{Manifest, StoredObject, SubmitterKey},
    vsock::transport,
};
use serde_bytes::ByteBuf;

use crate::parent::doubles::{ACCESS_KEY, S3Double, SECRET_KEY, object};

/// Any free vsock port (VMADDR_PORT_ANY).
const ANY_PORT: &str = "4294967295";

/// The command in an environment that holds nothing but a key pair.
fn parent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enclave-parent"));
    command
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
        .env("RUST_BACKTRACE", "1") // which must add nothing to an error
        .args(arguments);
    command
}

fn submit_to(endpoint: &str) -> Command {
    parent(&[
        "submit",
        "--bucket",
        "images",
        "--key",
        "scan",
        "--manifest-key",
        "scan.job",
        "--result-key",
        "scan.result",
        "--enclave-cid",
        "4242",
        "--enclave-wait",
        "0",
        "--s3-endpoint",
        endpoint,
    ])
}

/// Runs it off the runtime's thread, so that a double on it can answer.
async fn outcome(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap())
        .await
        .unwrap()
}

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Whether this machine has AF_VSOCK at all; containers often have not.
fn vsock_is_missing(test: &str) -> bool {
    // Binding needs a runtime, and every caller has one.
    match transport::listen(u32::MAX) {
        Ok(_) => false,
        Err(error) => {
            #[allow(clippy::print_stdout)] // says in the test log why nothing was tested
            {
                println!("skipped {test}: {error}");
            }
            true
        }
    }
}

#[test]
fn help_teaches_by_example_and_lists_the_exit_codes() {
    for arguments in [&["--help"][..], &["run", "--help"], &["submit", "--help"]] {
        let output = parent(arguments).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("EXAMPLES") && text.contains("EXIT CODES"),
            "{text}"
        );
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for arguments in [
        &[][..],
        &["bridge"],
        &["bridge", "--to", "https://kms:443"],
        &["run", "--region", "EU West"],
        &["run", "--jobs", "0"],
        &["submit", "--bucket", "b"],
        &["run", "--enclave-cid", "3"],
    ] {
        let output = parent(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            !output.stderr.is_empty() && output.stdout.is_empty(),
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_s3_is_one_clear_error() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let output = outcome(submit_to(&url)).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report(&output)["code"], "s3_unreachable");
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("error: ") && text.contains(&url), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_one_clear_error_also_in_json() {
    let s3 = S3Double::start().await;
    let mut command = submit_to(&s3.url());
    command.args(["--log", "json"]);
    let output = outcome(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report(&output)["status"], "failed");
    let text = stderr(&output);
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["level"], "ERROR");
    assert!(
        event["message"].as_str().unwrap().contains("NoSuchKey"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_are_one_clear_error() {
    let s3 = S3Double::start().await;
    let mut command = submit_to(&s3.url());
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let output = outcome(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report(&output)["code"], "no_credentials");
    assert!(
        stderr(&output).contains("AWS_PROFILE"),
        "{}",
        stderr(&output)
    );
    assert!(s3.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_enclave_is_one_clear_error_and_stores_nothing() {
    let s3 = S3Double::start().await;
    let manifest = Manifest {
        job: "job-1".into(),
        bucket: "images".into(),
        key: "scan".into(),
        ciphertext_sha256: [0; 32],
        study: "study".into(),
        issued_at_ms: 1,
        expires_at_ms: 2,
    }
    .sign(&SubmitterKey::from_seed(b"radiology"))
    .unwrap();
    s3.store("/images/scan", object(b"ciphertext"));
    let manifest = StoredObject {
        body: ByteBuf::from(manifest),
        ..StoredObject::default()
    };
    s3.store("/images/scan.job", manifest);

    let output = outcome(submit_to(&s3.url())).await;
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    assert_eq!(report["code"], "enclave_unreachable");
    assert_eq!(report["job"], "job-1");
    let text = stderr(&output);
    assert!(
        text.lines().last().unwrap().starts_with("error: "),
        "{text}"
    );
    assert!(text.contains("CID 4242 port 5000"), "{text}");
    assert_eq!(s3.paths(), ["/images/scan", "/images/scan.job"]);
    assert!(s3.seen().iter().all(|request| request.signature_verifies()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_answers_every_line_and_ends_with_its_input() {
    if vsock_is_missing("a_queue_answers_every_line_and_ends_with_its_input") {
        return;
    }
    let s3 = S3Double::start().await;
    let mut command = parent(&[
        "run",
        "--bridge-port",
        ANY_PORT,
        "--kms",
        "127.0.0.1:1",
        "--log",
        "json",
        "--s3-endpoint",
        &s3.url(),
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input
            .write_all(
                b"{\"bucket\":\"images\",\"key\":\"a\",\"manifest_key\":\"b\",\"result_key\":\"c\"}\n\
                  nonsense\n",
            )
            .unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    assert!(output.status.success());
    let codes: Vec<String> = String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| {
            let report: serde_json::Value = serde_json::from_str(line).unwrap();
            report["code"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(codes, ["s3_refused", "bad_line"]);
    let log = stderr(&output);
    assert!(log.lines().count() >= codes.len(), "{log}");
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["level"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn a_bridge_says_when_it_is_ready_and_ends_well_on_a_signal() {
    if vsock_is_missing("a_bridge_says_when_it_is_ready_and_ends_well_on_a_signal") {
        return;
    }
    for signal in ["-TERM", "-INT"] {
        let mut child = parent(&[
            "bridge",
            "--listen-port",
            ANY_PORT,
            "--to",
            "127.0.0.1:1",
            "--log",
            "json",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["target"], "ready");
        assert!(event["port"].is_number());
        let told = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
    }
}

#[tokio::test]
async fn a_queue_whose_input_stays_open_ends_well_on_a_signal() {
    if vsock_is_missing("a_queue_whose_input_stays_open_ends_well_on_a_signal") {
        return;
    }
    let mut child = parent(&["run", "--bridge-port", ANY_PORT, "--kms", "127.0.0.1:1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _open = child.stdin.take().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("ready"), "{line}");
    let told = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
