//! The program itself: what it teaches, and how it refuses to start.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::enclave::{certificates::Authority, configuration};

fn enclave_app(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_enclave-app"))
        .args(arguments)
        .env("RUST_BACKTRACE", "1") // which must add nothing to an error
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_teaches_the_configuration_and_the_exit_codes() {
    let help = enclave_app(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for word in [
        "input_key_arn",
        "tls_roots",
        "model_sha256",
        "[[submitters]]",
        "Exit codes",
    ] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn wrong_arguments_are_exit_code_2() {
    for arguments in [&[][..], &["--config"], &["--config", "x", "--insecure"]] {
        assert_eq!(
            enclave_app(arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_missing_or_wrong_configuration_is_one_clear_error_and_exit_code_3() {
    let missing = enclave_app(&["--config", "/nonexistent/enclave.toml"]);
    assert_eq!(missing.status.code(), Some(3));
    let text = stderr(&missing);
    assert!(text.contains("/nonexistent/enclave.toml"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("enclave.toml");
    std::fs::write(&path, "region = 1").unwrap();
    let wrong = enclave_app(&["--config", path.to_str().unwrap(), "--log", "json"]);
    assert_eq!(wrong.status.code(), Some(3));
    let event: serde_json::Value = serde_json::from_str(&stderr(&wrong)).unwrap();
    assert_eq!(event["target"], "fatal");
    assert_eq!(event["exit_code"], 3);
}

#[test]
fn without_a_security_module_nothing_starts() {
    if Path::new("/dev/nsm").exists() {
        println!("skipped: this machine has a /dev/nsm");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let roots = Authority::new().pem();
    std::fs::write(folder.path().join("tls-roots.pem"), roots).unwrap();
    let text = configuration::text(&"ab".repeat(32), &configuration::submitter_pem(7));
    let path = folder.path().join("enclave.toml");
    std::fs::write(&path, text).unwrap();
    let output = enclave_app(&["--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("/dev/nsm does not exist"),
        "{}",
        stderr(&output)
    );
}
