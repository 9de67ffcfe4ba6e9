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
    let text = words(&output);
    assert!(text.starts_with("closed"), "{text}");
    assert!(
        text.contains("can    kms:Decrypt by statement 1, \"enclave\""),
        "{text}"
    );
    assert!(
        text.contains("that stands on:\n  - the key has no grants yet"),
        "{text}"
    );

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
    let output = run(&["check", "-"], &tied);
    assert_eq!(output.status.code(), Some(3), "{}", words(&output));
    assert!(words(&output).starts_with("undecided"));
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
fn a_policy_that_no_enclave_can_use_is_closed_and_says_so() {
    let (pcr0, other) = ("ab".repeat(48), "cd".repeat(48));
    let mut upper = policy("kms:Decrypt", None);
    upper["Statement"][0]["Condition"] =
        json!({ "StringEquals": { "kms:RecipientAttestation:PCR0": pcr0.to_uppercase() } });
    let output = run(&["check", "-", "--pcr0", &pcr0], &upper.to_string());
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    assert!(
        words(&output).contains("CANNOT kms:Decrypt"),
        "{}",
        words(&output)
    );
    // Nobody has asked whether the enclave can do anything.
    assert_eq!(
        run(&["check", "-"], &upper.to_string()).status.code(),
        Some(0)
    );

    // While both images run, both must be able to; of one that is not let in yet it is said.
    let old = policy("kms:Decrypt", Some(&pcr0)).to_string();
    assert_eq!(
        run(&["check", "-", "--pcr0", &pcr0], &old).status.code(),
        Some(0)
    );
    let output = run(&["check", "-", "--pcr0", &pcr0, "--pcr0", &other], &old);
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));

    // A Deny for everybody is as closed and as useless.
    let mut denied = policy("kms:Decrypt", Some(&pcr0));
    let deny = json!({ "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*" });
    denied["Statement"].as_array_mut().unwrap().push(deny);
    let output = run(&["check", "-", "--pcr0", &pcr0], &denied.to_string());
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
}

#[test]
fn what_is_found_was_answered_by_a_kms_and_comes_with_a_fix_that_closes_it() {
    let pcr0 = "ab".repeat(48);
    let mut open = policy("kms:Decrypt", Some(&pcr0));
    let parent = json!({
        "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:role/ops/parent" },
        "Action": ["kms:CreateGrant", "kms:GenerateDataKey"], "Resource": "*",
    });
    open["Statement"].as_array_mut().unwrap().push(parent);
    let output = run(&["check", "-"], &open.to_string());
    let text = words(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("statement 2 opens the key:"), "{text}");
    assert!(
        text.contains("replayed: KMS has answered 2 call(s)"),
        "{text}"
    );
    assert!(!text.contains("FAULT of"), "{text}");
    let fix = text.split_once("for good:\n").unwrap().1;
    let end = fix.find("\n]").unwrap() + 2;
    let fix: Vec<Value> = serde_json::from_str(&fix[..end]).unwrap();
    open["Statement"].as_array_mut().unwrap().extend(fix);
    let output = run(&["check", "-", "--pcr0", &pcr0], &open.to_string());
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
}

#[test]
fn sarif_has_the_line_of_the_statement() {
    let text = "{\n \"Version\": \"2012-10-17\",\n \"Statement\": [\n  { \"Effect\": \"Deny\", \"Principal\": \"*\", \"Action\": \"kms:Sign\", \"Resource\": \"*\",\n    \"Condition\": { \"Null\": { \"aws:userid\": \"true\" } } },\n  {\n    \"Sid\": \"a } and a {\", \"Effect\": \"Allow\", \"Principal\": { \"AWS\": \"111122223333\" }, \"Action\": \"kms:Decrypt\", \"Resource\": \"*\"\n  }\n ]\n}";
    let output = run(&["check", "-", "--sarif"], text);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let sarif: Value = serde_json::from_str(&words(&output)).unwrap();
    let run = &sarif["runs"][0];
    assert_eq!(run["properties"]["verdict"], "open");
    let errors = run["results"].as_array().unwrap();
    let found = errors.iter().find(|it| it["level"] == "error").unwrap();
    let region = &found["locations"][0]["physicalLocation"]["region"];
    assert_eq!(region["startLine"], 6, "{found}");
}

#[test]
fn the_question_is_stated_and_only_what_the_keys_spec_can_do_is_asked() {
    let output = run(&["check", "--help"], "");
    let text = words(&output);
    for part in ["grants of grants", "undecided", "Exits with 0 when closed"] {
        assert!(text.contains(part), "lacks {part}: {text}");
    }
    let sign = policy("kms:Sign", None).to_string();
    let spec = |spec: &str| {
        run(&["check", "-", "--key-spec", spec], &sign)
            .status
            .code()
    };
    assert_eq!(spec("ECC_NIST_P256"), Some(1));
    assert_eq!(spec("SYMMETRIC_DEFAULT"), Some(0));
    assert_eq!(spec("ROT_13"), Some(2));
}

#[test]
fn who_may_change_its_own_iam_policies_may_do_everything() {
    let delegating = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "AWS": "111122223333" }, "Action": "kms:*", "Resource": "*",
    }})
    .to_string();
    let iam = |name: &str, action: &str, resource: &str| {
        let policy = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": action, "Resource": resource,
        }});
        let path = file(name, &policy);
        let path = path.to_str().unwrap();
        let arguments = ["check", "-", "--principal", ROLE, "--iam", path];
        let output = run(&arguments, &delegating);
        (output.status.code(), words(&output))
    };
    let (code, text) = iam("iam-all.json", "iam:*", "*");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("gives itself what its IAM policies lack by iam:PutRolePolicy"),
        "{text}"
    );
    let (code, text) = iam("iam-self.json", "iam:AttachRolePolicy", ROLE);
    assert_eq!(code, Some(1), "{text}");
    // Whom it may become is not followed.
    let (code, text) = iam("iam-assume.json", "sts:AssumeRole", "*");
    assert_eq!(code, Some(3), "{text}");
    let (code, text) = iam("iam-read.json", "iam:GetRole", "*");
    assert_eq!(code, Some(0), "{text}");
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
