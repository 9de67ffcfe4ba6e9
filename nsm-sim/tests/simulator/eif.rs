//! `nsm-sim eif` as a user meets it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn eif(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nsm-sim"))
        .arg("eif")
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(
        output.status.code().is_some_and(|code| code < 2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder with a kernel, a boot ramdisk and an application.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("kernel"), "kernel").unwrap();
    fs::write(path.join("boot"), "").unwrap();
    fs::create_dir_all(path.join("root/bin")).unwrap();
    fs::write(path.join("root/bin/app"), "version 1").unwrap();
    folder
}

const BUILD: [&str; 10] = [
    "build",
    "--kernel",
    "kernel",
    "--cmdline",
    "quiet",
    "--ramdisk",
    "boot",
    "--rootfs",
    "root",
    "--gzip",
];

fn build(folder: &Path, output: &str) -> Output {
    let words = [
        &BUILD[..],
        &["--output", output, "--", "/bin/app", "--flag"],
    ]
    .concat();
    eif(folder, &words)
}

#[test]
fn the_same_inputs_build_the_same_bytes_and_a_changed_file_is_named() {
    let folder = folder();
    let path = folder.path();
    stdout(&build(path, "a.eif"));
    stdout(&build(path, "again.eif"));
    assert_eq!(
        fs::read(path.join("a.eif")).unwrap(),
        fs::read(path.join("again.eif")).unwrap()
    );

    fs::write(path.join("root/bin/app"), "version 2").unwrap();
    stdout(&build(path, "b.eif"));
    let same = eif(path, &["diff", "a.eif", "again.eif"]);
    assert_eq!(same.status.code(), Some(0));
    assert!(stdout(&same).contains("measure the same"));
    let moved = eif(path, &["diff", "a.eif", "b.eif"]);
    assert_eq!(moved.status.code(), Some(1));
    assert!(
        stdout(&moved).contains("rootfs/bin/app differs"),
        "{}",
        stdout(&moved)
    );
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&eif(path, &["diff", "--json", "a.eif", "b.eif"]))).unwrap();
    assert_eq!(json["registers"][0]["pcr"], 0);
    assert_eq!(
        json["sections"][0]["files"],
        serde_json::Value::Null,
        "files are in the change"
    );
    assert_eq!(
        json["sections"][0]["change"]["changed"]["files"][0]["path"], "rootfs/bin/app",
        "{json:#}"
    );
}

#[test]
fn describe_prints_registers_and_command_as_text_and_json() {
    let folder = folder();
    let path = folder.path();
    stdout(&build(path, "a.eif"));
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&eif(path, &["describe", "--json", "a.eif"]))).unwrap();
    assert_eq!(json["Command"], serde_json::json!(["/bin/app", "--flag"]));
    let pcr0 = json["Measurements"]["PCR0"].as_str().unwrap();
    assert_eq!(pcr0.len(), 96);
    assert!(stdout(&eif(path, &["describe", "a.eif"])).contains(pcr0));
}

#[test]
fn a_damaged_image_is_refused_in_one_line() {
    let folder = folder();
    let path = folder.path();
    stdout(&build(path, "a.eif"));
    let mut file = fs::read(path.join("a.eif")).unwrap();
    file[600] ^= 1;
    fs::write(path.join("a.eif"), file).unwrap();
    let refused = eif(path, &["describe", "a.eif"]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("damaged or incomplete"), "{message}");
    assert!(refused.stdout.is_empty());
}
