//! `nsm-sim verify` and `nsm-sim ca` as commands.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nsm_sim::{device::Nsm, seed::WorldSeed};

fn nsm_sim(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nsm-sim"))
        .args(args)
        .env("RUST_BACKTRACE", "1") // which must add nothing to an error
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that refuses its arguments may have gone before it reads.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn our_document(seed: u64) -> (Nsm, Vec<u8>) {
    let nsm = Nsm::builder().seed(WorldSeed::from_u64(seed)).build();
    let request = Request::Attestation {
        user_data: Some(b"hi".to_vec().into()),
        nonce: None,
        public_key: None,
    };
    let Response::Attestation { document } = nsm.request(request) else {
        panic!("no document")
    };
    (nsm, document)
}

#[test]
fn ca_prints_the_root_of_a_seeded_world() {
    let first = nsm_sim(&["ca", "--seed", "7"], b"");
    assert!(first.status.success());
    let (nsm, _) = our_document(7);
    assert_eq!(text(&first), nsm.root_pem());
    assert!(!nsm_sim(&["ca", "--seed", "lucky"], b"").status.success());
}

#[test]
fn verify_accepts_our_document_under_our_root_and_refuses_it_under_awss() {
    let folder = tempfile::tempdir().unwrap();
    let (root, document) = (
        folder.path().join("root.pem"),
        folder.path().join("document"),
    );
    let (nsm, bytes) = our_document(7);
    std::fs::write(&root, nsm_sim(&["ca", "--seed", "7"], b"").stdout).unwrap();
    std::fs::write(&document, &bytes).unwrap();

    let accepted = nsm_sim(&["verify", path(&document), "--root", path(&root)], b"");
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted));
    assert!(text(&accepted).starts_with("accepted\n"));
    assert!(text(&accepted).contains(nsm.module_id()));
    assert!(text(&accepted).contains("6869")); // user_data "hi"

    let refused = nsm_sim(&["verify", path(&document)], b"");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).starts_with("refused (unknown-root)"),
        "{}",
        text(&refused)
    );

    // DER as a root, the document as base64 from standard input.
    std::fs::write(&root, nsm.root_der()).unwrap();
    let base64 = STANDARD.encode(&bytes);
    let piped = nsm_sim(&["verify", "-", "--root", path(&root)], base64.as_bytes());
    assert_eq!(piped.status.code(), Some(0), "{}", text(&piped));
}

#[test]
fn verify_takes_a_time_and_names_the_expired_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    let (nsm, bytes) = our_document(7);
    std::fs::write(&root, nsm.root_pem()).unwrap();
    let at = |time: &str| {
        nsm_sim(
            &["verify", "-", "--root", path(&root), "--at", time, "--json"],
            &bytes,
        )
    };
    assert_eq!(at("document").status.code(), Some(0));
    let late = at("2049-01-01T00:00:00Z");
    assert_eq!(late.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&late.stdout).unwrap();
    assert_eq!(report["accepted"], false);
    assert_eq!(report["cause"], "certificate-expired");
    let nonsense = at("tomorrow");
    assert!(!matches!(nonsense.status.code(), Some(0)));
    assert!(
        String::from_utf8_lossy(&nonsense.stderr).contains("RFC")
            || String::from_utf8_lossy(&nonsense.stderr).contains("give a time")
    );
}

#[test]
fn verify_compares_pcrs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    let (nsm, bytes) = our_document(7);
    std::fs::write(&root, nsm.root_pem()).unwrap();
    let pcrs = nsm.verifier().verify_at_own_time(&bytes).unwrap().pcrs;
    let with = |args: &[&str]| {
        let args = [&["verify", "-", "--root", path(&root)], args].concat();
        nsm_sim(&args, &bytes)
    };
    let (pcr0, pcr4) = (hex::encode(&pcrs[&0]), hex::encode(&pcrs[&4]));
    assert_eq!(
        with(&["--pcr0", &pcr0, "--pcr", &format!("4={pcr4}")])
            .status
            .code(),
        Some(0)
    );
    let wrong = with(&["--pcr0", &pcr4]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text(&wrong).starts_with("refused (pcr-mismatch): PCR0 is"),
        "{}",
        text(&wrong)
    );
    let absent = with(&["--pcr", &format!("20={pcr4}"), "--json"]);
    assert_eq!(absent.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&absent.stdout).unwrap();
    assert_eq!(report["cause"], "pcr-mismatch");
    assert_eq!(
        report["pcr_mismatches"][0]["found"],
        serde_json::Value::Null
    );
    for bad in [
        &["--pcr0", "12"][..],
        &["--pcr", "32=00"],
        &["--pcr", "nothing"],
    ] {
        assert!(!with(bad).status.success());
        assert!(
            text(&with(bad)).is_empty(),
            "{bad:?} is the caller's error, not a verdict"
        );
    }
}

#[test]
fn verify_accepts_a_real_document_as_of_its_own_time() {
    let Some(folder) = crate::corpus::path("attestation") else {
        return;
    };
    let document = folder.join("20260630-prod-tkhq-277e236b.cbor");
    let accepted = nsm_sim(
        &["verify", path(&document), "--at", "document", "--json"],
        b"",
    );
    assert_eq!(accepted.status.code(), Some(0), "{}", text(&accepted));
    let report: serde_json::Value = serde_json::from_slice(&accepted.stdout).unwrap();
    assert_eq!(
        report["module_id"],
        "i-06f4d13c6679a7232-enc019f15f1504dc31d"
    );
    assert_eq!(report["debug"], false);
    let now = nsm_sim(&["verify", path(&document)], b"");
    assert!(
        text(&now).starts_with("refused (certificate-expired)"),
        "{}",
        text(&now)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn run_takes_its_enclave_from_a_profile_and_names_the_line_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enclave.toml");
    let explain = |lines: &str, flags: &[&str]| {
        std::fs::write(&file, lines).unwrap();
        let args = [&["run", "--explain", "--profile", path(&file)], flags].concat();
        let output = nsm_sim(&args, b"");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), error)
    };
    let good = "role_arn = \"arn:aws:iam::123456789012:role/R\"\nregion = \"eu-west-1\"\nseed = 7\nvariance = \"random\"\n";
    let (passes, told) = explain(good, &[]);
    let seed = WorldSeed::from_u64(7).to_hex();
    assert!(passes && told.contains(&seed), "{told}");
    for (line, says) in [
        (
            "role_arn = \"arn:aws:sts::123456789012:assumed-role/R/s\"",
            "is a session",
        ),
        ("region = \"Ireland\"", "not a Region"),
        ("instance_id = \"i-7\"", "not an instance id"),
        ("clock = \"noon\"", "not a clock setting"),
        ("variance = \"some\"", "not a variance"),
        ("signing_certificate = \"none.pem\"", "none.pem"),
        ("pcr9 = \"00\"", "pcr9"),
    ] {
        let (passes, told) = explain(line, &[]);
        assert!(!passes && told.contains(says), "{line}: {told}");
        assert!(told.starts_with("nsm-sim: error: "), "{told}");
        assert!(!told.contains("backtrace"), "{told}");
    }
    std::fs::write(&file, "cid = 20\ncpu_count = 1\nmemory_mib = 64\n").unwrap();
    for (flags, cid) in [(&[][..], "CID 20"), (&["--cid", "21"], "CID 21")] {
        let args = [&["run", "--explain", "--profile", path(&file)], flags].concat();
        let told = String::from_utf8(nsm_sim(&args, b"").stdout).unwrap();
        for condition in [cid, "CPUs: 1,", "memory: 64 MiB"] {
            assert!(told.contains(condition), "{condition}: {told}");
        }
    }
    // A flag wins over the line that would be refused.
    let (passes, told) = explain("region = \"Ireland\"", &["--region", "us-east-1"]);
    assert!(passes, "{told}");
    let run = nsm_sim(&["run", "--profile", path(&file)], b"");
    assert!(!run.status.success());
}
