//! The enclave image of a world: `enclave-app` with its measured configuration
//! and its model in an EIF, so that what runs is what was measured.
//!
//! Truth: the application ramdisk's usual layout (`/cmd`, `/env`, `/rootfs`) and
//! the EIF rules (ground truth: NSM §3.12). Does not model a bootable image:
//! kernel and first ramdisk are named fillers, measured like any other; the
//! shared libraries of the program come from this machine.

use std::{fs, path::Path};

use anyhow::Context as _;
use nsm_sim::{
    device::Measurements,
    eif::{
        Eif, EifBuilder,
        ramdisk::{Entry, write_cpio},
        reproducible_metadata,
    },
};

use super::cloud::{Cloud, REGION, kms_host};

/// The model that ships with the application.
pub const MODEL: &[u8] = include_bytes!("../../../enclave-app/model/cxr3.onnx");

/// What the parent's bridge to KMS listens on, CID 3.
pub const BRIDGE_PORT: u32 = 8000;
/// What the enclave listens on for jobs.
pub const JOB_PORT: u32 = 5000;

/// The parts of an enclave's configuration that a world may vary.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// P-384 SubjectPublicKeyInfo in PEM of whoever may submit jobs.
    pub submitter_pem: String,
    /// The roots that TLS to KMS must end in, PEM.
    pub tls_roots_pem: String,
    /// Whether the enclave starts in debug mode.
    pub debug_mode_permitted: bool,
    /// A comment in the configuration: it changes nothing but the measurements.
    pub remark: String,
}

/// Builds the image into `file`.
///
/// # Errors
/// If the program cannot be read or the image not be written.
pub fn build(
    cloud: &Cloud,
    enclave_app: &Path,
    configuration: &Configuration,
    file: &Path,
) -> anyhow::Result<Measurements> {
    let application = application(cloud, enclave_app, configuration)?;
    let init = write_cpio(&[Entry::executable(
        "init",
        "#!/bin/sh\n# nsm-sim starts the application itself\n",
    )])?;
    let eif = EifBuilder::new(
        b"no kernel: this image runs under nsm-sim",
        "reboot=k panic=30 pci=off nomodules console=ttyS0",
    )
    .metadata(reproducible_metadata(
        "enclave-app",
        env!("CARGO_PKG_VERSION"),
    ))
    .ramdisk(&init)
    .ramdisk(&application)
    .build()?;
    drop(application);
    let measurements = Eif::read(&eif)?.measurements();
    fs::write(file, &eif).with_context(|| format!("writing {}", file.display()))?;
    Ok(measurements)
}

/// The application ramdisk. A function of its own, so that the program is held
/// once: the image is the largest thing that a world ever holds in memory.
fn application(
    cloud: &Cloud,
    enclave_app: &Path,
    configuration: &Configuration,
) -> anyhow::Result<Vec<u8>> {
    let program =
        fs::read(enclave_app).with_context(|| format!("reading {}", enclave_app.display()))?;
    let config = configuration_text(cloud, configuration);
    Ok(write_cpio(&[
        Entry::file(
            "cmd",
            "./enclave-app\n--config\n./enclave.toml\n--log\njson\n",
        ),
        Entry::file("env", ""),
        Entry::directory("rootfs"),
        Entry::file("rootfs/cxr3.onnx", MODEL),
        Entry::executable("rootfs/enclave-app", program),
        Entry::file("rootfs/enclave.toml", config),
        Entry::file("rootfs/tls-roots.pem", configuration.tls_roots_pem.as_str()),
    ])?)
}

fn configuration_text(cloud: &Cloud, configuration: &Configuration) -> String {
    use aws_lc_rs::digest;
    let model_sha256 = hex::encode(digest::digest(&digest::SHA256, MODEL));
    format!(
        r#"# Measured into the image: every change of a word changes PCR0.
# {remark}
region = "{REGION}"
input_key_arn = "{input}"
result_key_arn = "{result}"
debug_mode_permitted = {debug}
tls_roots = "tls-roots.pem"
model = "cxr3.onnx"
model_sha256 = "{model_sha256}"

[kms]
host = "{host}"
cid = 3
port = {BRIDGE_PORT}

[listen]
port = {JOB_PORT}

[[submitters]]
name = "radiology"
public_key = """
{submitter}"""
"#,
        input = cloud.input_key_arn(),
        result = cloud.result_key_arn(),
        host = kms_host(),
        submitter = configuration.submitter_pem,
        remark = configuration.remark,
        debug = configuration.debug_mode_permitted,
    )
}
