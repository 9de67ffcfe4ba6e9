//! `drydock up` as its lines say to use it: a client is given what a shell exports
//! that pastes them, and nothing else.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::clients::{ACCOUNT, Surroundings, cases, python};

/// A service with a signature of each kind.
const BRIEFLY: [&str; 3] = [
    "sts GetCallerIdentity",
    "Encrypt",
    "s3 PutObject and GetObject",
];

#[tokio::test]
async fn boto3_needs_nothing_but_what_is_printed() {
    let Some(python) = python().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut up = Command::new(env!("CARGO_BIN_EXE_drydock"))
        .args(["up", "--bind", "127.0.0.1:0", "--dir", "its roots"])
        .current_dir(folder.path())
        .env_remove("AWS_REGION")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    let (mut plain, mut over_tls) = (String::new(), String::new());
    // The last line says how to start an enclave.
    loop {
        let line = lines.next_line().await.unwrap();
        let line = line.expect("it ended before it had printed everything");
        if line.starts_with("export ") {
            plain += &format!("{line}\n");
        } else if let Some(line) = line.strip_prefix("# export ") {
            over_tls += &format!("export {line}\n");
        } else if line.contains("nsm-sim run") {
            break;
        }
    }
    assert!(over_tls.contains("https://"), "{over_tls}");
    for exports in [plain.clone(), plain + &over_tls] {
        let told = Surroundings::pasted(&exports)
            .and("CASES_ARN", &format!("arn:aws:iam::{ACCOUNT}:root"));
        let passed = cases(&python, "boto3_client.py", &BRIEFLY, &told).await;
        assert_eq!(passed, BRIEFLY.len());
    }
}
