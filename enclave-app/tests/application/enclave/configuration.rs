//! The measured configuration: what it takes, and that it takes nothing else.

use std::path::Path;

use enclave_app::{
    enclave::config::{Config, ConfigError},
    job::manifest::SubmitterPublicKey,
};
use p384::{
    ecdsa::SigningKey,
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use tempfile::TempDir;

use crate::enclave::certificates::Authority;

pub(crate) const INPUT_KEY: &str =
    "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555";
pub(crate) const RESULT_KEY: &str =
    "arn:aws:kms:us-east-1:123456789012:key/66666666-7777-8888-9999-000000000000";

pub(crate) fn submitter_pem(seed: u8) -> String {
    let key = SigningKey::from_slice(&[seed; 48]).unwrap();
    let pem = key
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .unwrap();
    assert!(SubmitterPublicKey::from_public_key_pem(&pem).is_ok());
    pem
}

/// A right configuration, to be damaged.
pub(crate) fn text(model_sha256: &str, submitter: &str) -> String {
    format!(
        r#"
region = "us-east-1"
input_key_arn = "{INPUT_KEY}"
result_key_arn = "{RESULT_KEY}"
tls_roots = "tls-roots.pem"
model = "cxr3.onnx"
model_sha256 = "{model_sha256}"
[kms]
host = "kms.us-east-1.amazonaws.com"
cid = 3
port = 8000
[listen]
port = 5000
[[submitters]]
name = "radiology"
public_key = """{submitter}"""
[limits]
jobs_max = 2
"#
    )
}

fn right() -> String {
    text(&"ab".repeat(32), &submitter_pem(7))
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tls-roots.pem"), Authority::new().pem()).unwrap();
    folder
}

fn refusal(text: &str) -> ConfigError {
    Config::parse(text, folder().path()).unwrap_err()
}

#[test]
fn reads_a_right_configuration_with_its_defaults() {
    let folder = folder();
    let path = folder.path().join("enclave.toml");
    std::fs::write(&path, right()).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.region, "us-east-1");
    assert_eq!(config.input_key_arn, INPUT_KEY);
    assert_eq!(config.result_key_arn, RESULT_KEY);
    assert_eq!(config.tls_roots.len(), 1);
    assert_eq!(config.model, folder.path().join("cxr3.onnx"));
    assert_eq!(config.model_sha256, [0xab; 32]);
    assert_eq!(config.kms.host_name(), "kms.us-east-1.amazonaws.com");
    assert_eq!(
        (config.kms.cid, config.kms.port, config.listen_port),
        (3, 8000, 5000)
    );
    assert_eq!(config.submitters.len(), 1);
    assert_eq!(config.limits.jobs_max, 2);
    assert_eq!(config.limits.object_bytes_max, 64 << 20);
}

#[test]
fn refuses_unknown_keys_everywhere() {
    let anywhere = [
        right().replace("region =", "regoin = \"x\"\nregion ="),
        right().replace("[kms]", "[kms]\ninsecure = true"),
        right().replace("[listen]", "[listen]\ncid = 3"),
        right().replace("[[submitters]]", "[[submitters]]\nrole = \"x\""),
        right().replace("jobs_max = 2", "jobs_maximum = 2"),
        right() + "\n[debug]\nskip_attestation = true\n",
    ];
    for text in anywhere {
        assert!(matches!(refusal(&text), ConfigError::Syntax(_)), "{text}");
    }
}

#[test]
fn refuses_each_missing_key() {
    for key in [
        "region",
        "input_key_arn",
        "result_key_arn",
        "tls_roots",
        "model",
        "model_sha256",
        "host",
        "cid",
    ] {
        let text: String = right()
            .lines()
            .filter(|line| !line.starts_with(&format!("{key} =")))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(matches!(refusal(&text), ConfigError::Syntax(_)), "{key}");
    }
}

#[test]
fn pins_full_key_arns_of_its_own_region() {
    for arn in [
        "alias/imaging-input",
        "arn:aws:kms:us-east-1:123456789012:alias/imaging-input",
        "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555",
        "11111111-2222-3333-4444-555555555555",
        "arn:aws:kms:us-east-1:12345:key/11111111-2222-3333-4444-555555555555",
        "arn:aws:kms:us-east-1:123456789012:key/",
        "arn:aws:kms:us-east-1:123456789012:key/*",
        "arn:aws:s3:us-east-1:123456789012:key/1",
        "",
    ] {
        for field in ["input_key_arn", "result_key_arn"] {
            let old = if field == "input_key_arn" {
                INPUT_KEY
            } else {
                RESULT_KEY
            };
            let text = right().replace(old, arn);
            match refusal(&text) {
                ConfigError::KeyArn { field: named, .. } => assert_eq!(named, field, "{arn}"),
                other => panic!("{arn}: {other}"),
            }
        }
    }
}

#[test]
fn refuses_one_key_for_images_and_results() {
    let same = right().replace(RESULT_KEY, INPUT_KEY);
    assert!(matches!(refusal(&same), ConfigError::SameKey));
}

#[test]
fn debug_mode_is_permitted_only_where_the_file_says_so() {
    let folder = folder();
    let read = |text: &str| Config::parse(text, folder.path()).unwrap();
    assert!(!read(&right()).debug_mode_permitted);
    let permitted = format!("debug_mode_permitted = true\n{}", right());
    assert!(read(&permitted).debug_mode_permitted);
}

#[test]
fn refuses_hosts_that_are_not_dns_names() {
    for host in [
        "",
        "127.0.0.1",
        "kms us",
        "https://kms.us-east-1.amazonaws.com",
        "::1",
    ] {
        let text = right().replace("kms.us-east-1.amazonaws.com", host);
        assert!(matches!(refusal(&text), ConfigError::Host { .. }), "{host}");
    }
}

#[test]
fn refuses_wildcards_as_addresses() {
    for line in ["cid = 3", "port = 8000", "port = 5000"] {
        let (key, _) = line.split_once(" =").unwrap();
        let text = right().replace(line, &format!("{key} = 4294967295"));
        assert!(matches!(refusal(&text), ConfigError::AnyAddress), "{line}");
    }
}

#[test]
fn refuses_digests_submitters_and_roots_that_are_none() {
    let digest = "ab".repeat(32);
    for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
        let text = right().replace(&digest, bad);
        assert!(matches!(refusal(&text), ConfigError::ModelSha256), "{bad}");
    }

    let text = text(
        &digest,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    );
    assert!(matches!(refusal(&text), ConfigError::SubmitterKey { .. }));

    let (head, tail) = right().split_once("[[submitters]]").map(owned).unwrap();
    let (_, limits) = tail.split_once("[limits]").map(owned).unwrap();
    assert!(matches!(
        refusal(&format!("{head}[limits]{limits}")),
        ConfigError::NoSubmitters
    ));

    for roots in [
        "",
        "no certificates",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls-roots.pem"), roots).unwrap();
        let error = Config::parse(&right(), folder.path()).unwrap_err();
        assert!(
            matches!(error, ConfigError::Roots { .. }),
            "{roots}: {error}"
        );
    }
    let error = Config::parse(&right(), Path::new("/nonexistent")).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
}

#[test]
fn no_limit_can_be_set_so_that_it_limits_nothing() {
    for line in [
        "jobs_max = 0",
        "object_bytes_max = 0",
        "object_bytes_max = 9223372036854775807",
        "job_timeout_ms = 0",
        "job_timeout_ms = 86400000",
        "kms_attempts_max = 0",
        "kms_attempts_max = 1000",
        "clock_skew_ms_max = 0",
        "clock_skew_ms_max = 300001",
        "rsa_keys_ready = 0",
        "image_pixels_max = 0",
    ] {
        let text = right().replace("jobs_max = 2", line);
        assert!(
            matches!(refusal(&text), ConfigError::Limit { .. }),
            "{line}"
        );
    }
}

fn owned((head, tail): (&str, &str)) -> (String, String) {
    (head.into(), tail.into())
}
