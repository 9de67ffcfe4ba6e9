//! `drydock demo` as people and machines call it.

use std::process::{Command, Output};

fn drydock(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_drydock"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "1") // which must add nothing to an error
        .output()
        .expect("drydock starts")
}

#[test]
fn the_demo_prints_one_json_object_with_findings_and_three_refusals() {
    let output = drydock(&["demo", "--json", "--seed", "7"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("one JSON object");

    let findings = report["findings"].as_array().unwrap();
    let labels: Vec<_> = findings
        .iter()
        .map(|finding| finding["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["normal", "bacterial_pneumonia", "viral_pneumonia"]);
    let sum: f64 = findings
        .iter()
        .map(|finding| finding["probability"].as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-3, "{findings:?}");
    for digest in ["model_sha256", "input_sha256"] {
        assert_eq!(report[digest].as_str().unwrap().len(), 64, "{digest}");
    }
    for pcr in ["0", "1", "2", "3", "4"] {
        assert_eq!(report["pcrs"][pcr].as_str().unwrap().len(), 96, "PCR{pcr}");
    }

    let refusals = report["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 3);
    let answers: Vec<_> = refusals
        .iter()
        .map(|refusal| refusal["answer"].as_str().unwrap())
        .collect();
    assert!(
        answers[0].starts_with("AccessDeniedException: User: arn:aws:sts::"),
        "{answers:?}"
    );
    assert!(
        answers[1].starts_with("AccessDeniedException: User: arn:aws:sts::"),
        "{answers:?}"
    );
    assert_eq!(answers[2], "InvalidCiphertextException");
    for refusal in refusals {
        assert!(!refusal["reason"].as_str().unwrap().is_empty(), "{refusal}");
    }

    let calls = report["kms_calls"].as_array().unwrap();
    let attested: Vec<_> = calls
        .iter()
        .filter(|call| call["attested"] == true && call["outcome"] == "Success")
        .map(|call| call["operation"].as_str().unwrap())
        .collect();
    assert_eq!(
        attested,
        ["Decrypt", "GenerateDataKey", "Decrypt", "GenerateDataKey"]
    );
    assert!(
        calls
            .iter()
            .all(|call| !call["request_id"].as_str().unwrap().is_empty())
    );
    let actors: std::collections::BTreeSet<_> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["actor"].as_str().unwrap())
        .collect();
    for actor in ["hospital", "parent", "enclave", "cloud", "clinician"] {
        assert!(actors.contains(actor), "{actor} took no step: {actors:?}");
    }
}

#[test]
fn what_is_kept_measures_and_verifies_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    let kept = |name: &str| folder.path().join(name);
    let output = drydock(&["demo", "--json", "--keep", folder.path().to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let image = std::fs::read(kept("enclave.eif")).unwrap();
    let measured = nsm_sim::eif::Eif::read(&image).unwrap().measurements();
    assert_eq!(report["pcrs"]["0"], hex::encode(measured.pcr0));
    let root = std::fs::read_to_string(kept("attestation-root.pem")).unwrap();
    let receipt = std::fs::read(kept("receipt.cbor")).unwrap();
    let document = nsm_sim::attestation::verify::Verifier::with_root_pem(&root)
        .unwrap()
        .verify_at_own_time(&receipt)
        .unwrap();
    let result = std::fs::read(kept("result.encrypted")).unwrap();
    let digest = conformance::lab::hospital::sha256(&result);
    assert_eq!(document.user_data.as_deref(), Some(&digest[..]));
}

#[test]
fn a_file_that_is_not_an_image_is_one_error_and_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letter.txt");
    std::fs::write(&file, "Dear colleague").unwrap();
    let output = drydock(&["demo", "--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error.trim().lines().count(), 1, "{error}");
    assert!(error.contains("image"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn a_taken_port_is_reported_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = drydock(&["up", "--bind", &address]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: listening on "), "{error}");
    assert_eq!(
        error.matches("Address already in use").count(),
        1,
        "{error}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let output = drydock(&["demo", "/no/such/image.dcm"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("/no/such/image.dcm"), "{error}");
}

#[test]
fn help_teaches_every_verb() {
    let output = drydock(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for verb in ["demo", "up", "conformance"] {
        assert!(text.contains(verb), "{text}");
    }
}
