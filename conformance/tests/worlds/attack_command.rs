//! `drydock attack` as people and scripts run it.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_truncated_envelope_and_a_changed_body_are_repelled_and_reported_as_json() {
    let attack = |filter: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_drydock"))
            .args(["attack", "--json", "--filter", filter])
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert!(done.status.success(), "{report:#}");
        report.to_string()
    };
    assert!(attack("a truncated envelope").contains(r#""suite":"hostile""#));
    assert!(attack("a changed body").contains(r#""suite":"flow""#));
}

#[test]
fn an_attack_that_there_is_not_is_an_error() {
    let done = Command::new(env!("CARGO_BIN_EXE_drydock"))
        .args(["attack", "--filter", "no such attack"])
        .output()
        .unwrap();
    assert!(!done.status.success());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("no attack matches the filter"), "{said}");
}
