//! The commands when they cannot go on: one line on standard error that names the
//! cause once, and the exit status. `RUST_BACKTRACE` adds nothing to it.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

fn kms_mock(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kms-mock"))
        .args(arguments)
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LOG", "error")
        .output()
        .unwrap()
}

/// The only line of standard error.
fn line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("error: "), "{text}");
    text
}

#[test]
fn a_taken_port_is_reported_once_with_the_next_step() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in [
        vec!["serve", "--bind", &address],
        vec!["serve", "--bind", "127.0.0.1:0", "--management", &address],
    ] {
        let output = kms_mock(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = line(&output);
        assert_eq!(text.matches("Address already in use").count(), 1, "{text}");
        assert!(text.contains(&address), "{text}");
        assert!(text.contains("choose another address or port"), "{text}");
    }
}

#[test]
fn every_verb_fails_in_one_line_and_with_its_own_status() {
    for (arguments, status, says) in [
        (
            &["serve", "--account", "12"][..],
            1,
            "`12` is not an account",
        ),
        (&["serve", "--bind", "0.0.0.0:0"], 1, "--allow-remote"),
        (
            &["serve", "--seed-file", "/nonexistent"],
            1,
            "/nonexistent: No such file",
        ),
        (
            &["explain", "id", "--management", "http://127.0.0.1:1"],
            1,
            "kms-mock serve --management",
        ),
        (&["explain", "not/an/id"], 1, "is not a request id"),
        (
            &["policy", "check", "/nonexistent"],
            2,
            "/nonexistent: No such file",
        ),
    ] {
        let output = kms_mock(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        let text = line(&output);
        assert!(text.contains(says), "{text}");
    }
}
