//! `drydock up`: the cloud and a world's root, until Ctrl-C.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use kms_mock::KmsMock;
use nsm_sim::{attestation::pki::Pki, seed::WorldSeed};

use crate::lab::cloud::{ACCOUNT, REGION, kms_host};

/// Runs KMS, S3, STS and IAM with a simulated attestation root, until Ctrl-C.
///
/// Prints what to export so that AWS clients and `nsm-sim run` find each other.
#[derive(Debug, Args)]
pub struct Up {
    /// Where to listen; loopback only
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDR")]
    bind: SocketAddr,
    /// The world: enclaves started with the same seed are trusted
    #[arg(long, value_name = "N|HEX")]
    seed: Option<WorldSeed>,
    /// Where ca.pem and attestation-root.pem are written
    #[arg(long, default_value = "target/drydock", value_name = "DIR")]
    dir: PathBuf,
}

impl Up {
    /// Runs until Ctrl-C.
    ///
    /// # Errors
    /// If the port is taken or the files cannot be written.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            self.bind.ip().is_loopback(),
            "drydock up listens on loopback only"
        );
        let seed = self.seed.unwrap_or_else(WorldSeed::random);
        let root = Pki::new(&seed, REGION).root_pem();
        let mock = KmsMock::builder()
            .region(REGION)
            .account(ACCOUNT)
            .bind(self.bind)
            .attestation_root_pem(&root)
            .start()
            .await?;
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("making {}", self.dir.display()))?;
        let ca = self.dir.join("ca.pem");
        let root_file = self.dir.join("attestation-root.pem");
        std::fs::write(&ca, mock.ca_pem()).with_context(|| format!("writing {}", ca.display()))?;
        std::fs::write(&root_file, &root)
            .with_context(|| format!("writing {}", root_file.display()))?;
        show(&format!(
            "# KMS, S3, STS and IAM of account {ACCOUNT} in {REGION}, until Ctrl-C\n\
             export AWS_ENDPOINT_URL={url}\n\
             export AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION}\n\
             export AWS_ACCESS_KEY_ID={ACCOUNT} AWS_SECRET_ACCESS_KEY=any\n\
             # over TLS, for localhost and {host} on the same port:\n\
             # export AWS_ENDPOINT_URL=https://localhost:{port} AWS_CA_BUNDLE={ca} \
             NODE_EXTRA_CA_CERTS={ca}\n\
             # attestation root: {root_file}\n\
             # an enclave of this world:\n\
             #   nsm-sim run --seed {seed} -- your-enclave-app",
            url = mock.url(),
            host = kms_host(),
            port = mock.address().port(),
            ca = quoted(&ca),
            root_file = root_file.display(),
            seed = seed.to_hex(),
        ));
        // Until Ctrl-C, which `drydock` answers for every verb; the server stops
        // when it is dropped.
        let _serving = mock;
        std::future::pending().await
    }
}

/// A path as a shell reads it, from whatever folder.
fn quoted(file: &Path) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    format!("'{}'", file.display().to_string().replace('\'', r"'\''"))
}

#[allow(clippy::print_stdout)] // what this verb is for
fn show(text: &str) {
    println!("{text}");
}
