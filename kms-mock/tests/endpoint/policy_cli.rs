//! `kms-mock policy check` and `policy explain` as a script sees them: what they
//! print and with what they exit.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::111122223333:role/enclave";

fn policy(action: &str, pcr0: Option<&str>) -> Value {
    let mut statement = json!({
        "Sid": "enclave", "Effect": "Allow", "Principal": { "AWS": ROLE },
        "Action": action, "Resource": "*",
    });
    if let Some(pcr0) = pcr0 {
        statement["Condition"] =
            json!({ "StringEqualsIgnoreCase": { "kms:RecipientAttestation:PCR0": pcr0 } });
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_kms-mock"))
        .arg("policy")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that refuses its arguments reads nothing.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn file(name: &str, content: &Value) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("policy_cli_{name}"));
    std::fs::write(&path, content.to_string()).unwrap();
    path
}

#[test]
fn the_exit_status_is_the_verdict() {
    let pcr0 = "ab".repeat(48);
    let closed = policy("kms:Decrypt", Some(&pcr0)).to_string();
    let output = run(&["check", "-"], &closed);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(words(&output).starts_with("closed"));

    let debug = policy("kms:Decrypt", Some(&"0".repeat(96))).to_string();
    let output = run(&["check", "-"], &debug);
    assert_eq!(output.status.code(), Some(1));
    let text = words(&output);
    assert!(
        text.contains("PATH debug-mode kms:Decrypt by statement 1, \"enclave\""),
        "{text}"
    );
    assert!(text.contains("lint all-zeros"), "{text}");

    let open = policy("kms:Decrypt", None).to_string();
    let output = run(&["check", "-"], &open);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words(&output).contains("no Recipient"),
        "{}",
        words(&output)
    );

    // A tied variable is not followed: not proven is not safe.
    let tied = policy("kms:Decrypt", Some("${aws:UserAgent}")).to_string();
    assert_eq!(run(&["check", "-"], &tied).status.code(), Some(2));
    assert_eq!(run(&["check", "-"], "{").status.code(), Some(2));
    assert_eq!(run(&["check", "/nowhere"], "").status.code(), Some(2));
    assert_eq!(
        run(&["check", "-", "--pcr0", "0xab"], &closed)
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn an_older_image_is_found_when_the_current_one_is_named() {
    let (old, new) = ("1".repeat(96), "2".repeat(96));
    let mut both = policy("kms:Decrypt", Some(&old));
    both["Statement"][0]["Condition"]["StringEqualsIgnoreCase"]["kms:RecipientAttestation:PCR0"] =
        json!([old, new]);
    let text = both.to_string();
    let output = run(&["check", "-"], &text);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        words(&output).contains("accepts 2 images"),
        "{}",
        words(&output)
    );
    let output = run(&["check", "-", "--pcr0", &new, "--principal", ROLE], &text);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains(&old), "{}", words(&output));
    let output = run(&["check", "-", "--pcr0", &new, "--pcr0", &old], &text);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn iam_policies_decide_what_the_key_policy_leaves_to_them() {
    let delegating = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "AWS": "111122223333" }, "Action": "kms:*", "Resource": "*",
    }})
    .to_string();
    let describing = file(
        "iam.json",
        &json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "*",
        }}),
    );
    let describing = describing.to_str().unwrap();
    assert_eq!(run(&["check", "-"], &delegating).status.code(), Some(1));
    assert_eq!(
        run(&["check", "-", "--principal", ROLE], &delegating)
            .status
            .code(),
        Some(1)
    );
    let output = run(
        &["check", "-", "--principal", ROLE, "--iam", describing],
        &delegating,
    );
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(
        run(&["check", "-", "--iam", describing], &delegating)
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn explain_reads_a_witness_and_shows_expected_beside_presented() {
    let pcr0 = "ab".repeat(48);
    // As `aws kms get-key-policy` answers it.
    let answer = json!({ "Policy": policy("kms:Decrypt", Some(&"0".repeat(96))).to_string(), "PolicyName": "default" });
    let output = run(&["check", "-", "--json"], &answer.to_string());
    assert_eq!(output.status.code(), Some(1));
    let proof: Value = serde_json::from_str(&words(&output)).unwrap();
    assert_eq!(proof["verdict"], "open");
    assert_eq!(proof["findings"][0]["sid"], "enclave");
    let request = file("request.json", &proof["findings"][0]["witness"]);
    let request = request.to_str().unwrap();

    let output = run(&["explain", "-", "--request", request], &answer.to_string());
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let strict = policy("kms:Decrypt", Some(&pcr0)).to_string();
    let output = run(&["explain", "-", "--request", request], &strict);
    assert_eq!(output.status.code(), Some(1));
    let text = words(&output);
    for part in [
        "DENIED",
        "debug mode",
        &pcr0,
        "1 \"enclave\" Allow: condition not satisfied",
    ] {
        assert!(text.contains(part), "lacks {part}: {text}");
    }
    let output = run(&["explain", "-", "--request", request, "--json"], &strict);
    let trace: Value = serde_json::from_str(&words(&output)).unwrap();
    assert_eq!(trace["allowed"], false);
    let wrong = file(
        "wrong.json",
        &json!({ "principal": "me", "action": "kms:Decrypt" }),
    );
    let output = run(
        &["explain", "-", "--request", wrong.to_str().unwrap()],
        &strict,
    );
    assert_eq!(output.status.code(), Some(2));
}
