//! `kms-mock serve` as its banner says to use it: clients are given what a shell
//! exports that pastes it, and nothing else.

use std::process::Stdio;

use nsm_sim::seed::WorldSeed;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    clients::{ACCOUNT, DIFFERENT, Surroundings, cases, python},
    stand::{Ahead, enclave},
};

/// A service with a signature of each kind.
const BRIEFLY: [&str; 3] = [
    "sts GetCallerIdentity",
    "Encrypt",
    "s3 PutObject and GetObject",
];

#[tokio::test]
async fn the_aws_cli_drives_the_server_with_what_its_banner_exports() {
    let Some(python) = python().await else { return };
    let server = Server::start(&[]).await;
    let ahead = Ahead::start().await;
    let told = server
        .exports()
        .and("CASES_MANAGEMENT", server.after("management:"))
        .and("CASES_AHEAD", &ahead.told)
        .and("CASES_ENCLAVE", &enclave(&server.seed));
    let passed = cases::<&str>(&python, "aws_cli.py", &[], &told).await;
    // One case starts the program itself.
    assert_eq!(passed, DIFFERENT + 1);
}

#[tokio::test]
async fn boto3_needs_nothing_but_what_the_banner_exports() {
    let Some(python) = python().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("the root's file.pem");
    let server = Server::start(&["--ca-out", ca_file.to_str().unwrap()]).await;
    let over_tls = server.banner_of(&["export ", "over TLS:"]);
    assert!(over_tls.contains("https://"), "{over_tls}");
    for told in [server.exports(), server.told(&over_tls)] {
        let passed = cases(&python, "boto3_client.py", &BRIEFLY, &told).await;
        assert_eq!(passed, BRIEFLY.len());
    }
}

/// A server on free ports, and the lines that it printed.
struct Server {
    seed: WorldSeed,
    banner: Vec<String>,
    _process: Child,
}

impl Server {
    async fn start(more: &[&str]) -> Self {
        let seed = WorldSeed::random();
        let mut process = Command::new(env!("CARGO_BIN_EXE_kms-mock"))
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(["--management", "127.0.0.1:0", "--seed", &seed.to_hex()])
            .args(more)
            .env_remove("AWS_REGION")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut banner = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("Stop with") {
                return Self {
                    seed,
                    banner,
                    _process: process,
                };
            }
            banner.push(line);
        }
        panic!("the server ended with its banner unfinished: {banner:?}");
    }

    /// The first word behind `label`.
    fn after(&self, label: &str) -> &str {
        let mut lines = self.banner.iter();
        let said = lines.find_map(|line| line.strip_prefix(label));
        said.and_then(|said| said.split_whitespace().next())
            .unwrap_or_else(|| panic!("no {label} in {:?}", self.banner))
    }

    /// What of the banner is to be pasted, behind labels.
    fn banner_of(&self, labels: &[&str]) -> String {
        let pasted = self.banner.iter().filter_map(|line| {
            let label = labels.iter().find(|label| line.starts_with(**label))?;
            Some(
                line[label.len()..]
                    .trim_start()
                    .trim_start_matches("export "),
            )
        });
        pasted.map(|line| format!("export {line}\n")).collect()
    }

    fn exports(&self) -> Surroundings {
        self.told(&self.banner_of(&["export "]))
    }

    /// `lines` pasted; the arn is what a case expects, and nothing that clients know.
    fn told(&self, lines: &str) -> Surroundings {
        Surroundings::pasted(lines).and("CASES_ARN", &format!("arn:aws:iam::{ACCOUNT}:root"))
    }
}
