//! `drydock conformance`: the judge judges Drydock itself, and its reports can
//! be read by machines.

use std::{collections::BTreeMap, process::Command};

#[test]
fn every_case_passes_and_the_junit_report_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("report.xml");
    let output = Command::new(env!("CARGO_BIN_EXE_drydock"))
        .args(["conformance", "--json", "--junit"])
        .arg(&junit)
        .output()
        .unwrap();
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed: Vec<_> = run["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["outcome"] != "passed")
        .collect();
    assert!(failed.is_empty() && output.status.success(), "{failed:#?}");
    let mut counted = BTreeMap::new();
    for case in run["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap();
        *counted.entry((text("suite"), text("target"))).or_insert(0) += 1;
    }
    let expected = [
        (("attestation", "sim, /dev/nsm under nsm-sim run"), 8),
        (("attestation", "sim, in process"), 8),
        (("flow", "the programs under nsm-sim run"), 21),
        (("hostile", "the programs under nsm-sim run"), 36),
        (("nsm", "sim, /dev/nsm under nsm-sim run"), 20),
        (("nsm", "sim, in process"), 20),
        (("recipient", "kms-mock, over TLS"), 12),
    ];
    assert_eq!(counted, expected.into(), "cases were lost, or are new");
    let passed = run["summary"]["passed"].as_u64().unwrap();
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert_eq!(xml.matches("<testcase ").count() as u64, passed);
}

#[test]
fn an_unknown_suite_is_an_error_that_names_the_list() {
    let output = Command::new(env!("CARGO_BIN_EXE_drydock"))
        .args(["conformance", "nonsense"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--list"));
}
