//! The AWS CLI against `kms-mock serve`, told no more than what its banner says
//! to export.

use std::process::Stdio;

use crate::clients::{ACCOUNT, Surroundings, cases, python};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

#[tokio::test]
async fn the_aws_cli_drives_the_server_with_what_its_banner_exports() {
    let Some(python) = python().await else { return };
    let (_server, exports) = serve().await;
    let export = |name: &str| {
        let found = exports.iter().find(|(exported, _)| exported == name);
        found.map(|(_, value)| value.as_str()).unwrap()
    };
    let root = Surroundings::new(
        export("AWS_ENDPOINT_URL"),
        export("AWS_ACCESS_KEY_ID"),
        export("AWS_SECRET_ACCESS_KEY"),
        None,
    )
    .and("AWS_REGION", export("AWS_REGION"))
    .and("CASES_ARN", &format!("arn:aws:iam::{ACCOUNT}:root"));
    let count = cases::<&str>(&python, "aws_cli.py", &[], &root).await;
    // Two operations are younger than the CLI; one case starts the program itself.
    assert_eq!(count.total(), crate::clients::CASES - 2 + 1, "{count:?}");
    assert!(count.passed > crate::clients::PASSED_MIN - 2, "{count:?}");
}

/// A server on a free port, and what its banner says to export.
async fn serve() -> (Child, Vec<(String, String)>) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_kms-mock"))
        .args(["serve", "--bind", "127.0.0.1:0"])
        .env_remove("AWS_REGION")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut exports = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(line) = line.strip_prefix("export ") {
            let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
            exports.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        } else if line.starts_with("Stop with") {
            return (server, exports);
        }
    }
    panic!("the server ended with its banner unfinished: {exports:?}");
}
