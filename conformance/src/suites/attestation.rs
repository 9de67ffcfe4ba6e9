//! Attestation documents: their bytes, their chain, who accepts them.
//!
//! Truth: NSM §4, proved on documents of real hardware.

use anyhow::ensure;
use nsm_sim::attestation::verify::Verifier;
use proptest::{
    prop_assert,
    test_runner::{Config, TestRunner},
};
use serde_bytes::ByteBuf;

use super::nsm::{describe_module_id, document};
use crate::{
    case::Judge,
    target::{Boot, NsmTarget},
};

/// Judges the target.
pub(super) async fn judge(judge: &mut Judge<'_>, target: &dyn NsmTarget) {
    type Work = fn(&dyn NsmTarget) -> anyhow::Result<()>;
    let cases: &[(&str, &str, Work)] = &[
        (
            "a document is an untagged COSE_Sign1 with ES384 and an empty unprotected header",
            "NSM §4.1",
            shape,
        ),
        (
            "a document verifies under its own root at its own time",
            "NSM §4.4",
            verifies,
        ),
        (
            "a simulated document is refused under AWS's root",
            "DESIGN: simulated things say so",
            only_under_its_root,
        ),
        ("one flipped bit anywhere is refused", "NSM §4.4", flipped),
        (
            "absent fields are null and an empty field stays empty",
            "NSM §3.9, §4.2",
            absent_and_empty,
        ),
        (
            "the chain is root, regional, zonal, instance and a leaf of three hours",
            "NSM §4.3",
            chain,
        ),
        (
            "module_id of the document is DescribeNSM's",
            "NSM §3.7",
            same_module_id,
        ),
        (
            "the timestamp does not run backwards",
            "NSM §4.2",
            timestamps,
        ),
    ];
    for (name, truth, work) in cases {
        judge.case(name, truth, async { work(target) }).await;
    }
}

fn plain_document(target: &dyn NsmTarget) -> anyhow::Result<Vec<u8>> {
    document(&mut *target.boot(&Boot::plain())?, None, None, None)
}

fn shape(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let bytes = plain_document(target)?;
    let head = bytes.get(..8).map(hex::encode).unwrap_or_default();
    // array(4), bstr {1: -35}, {}, bstr with a two-byte length.
    ensure!(
        head.starts_with("8444a1013822a059"),
        "it begins with {head}"
    );
    let signature = bytes
        .len()
        .checked_sub(98)
        .and_then(|at| bytes.get(at..at + 2));
    ensure!(
        signature == Some(&[0x58, 0x60]),
        "it does not end with a signature of 96 bytes"
    );
    Ok(())
}

fn verifies(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let document = target
        .verifier()
        .verify_at_own_time(&plain_document(target)?)?;
    ensure!(document.digest == "SHA384", "digest {}", document.digest);
    Ok(())
}

fn only_under_its_root(target: &dyn NsmTarget) -> anyhow::Result<()> {
    if target.name().starts_with("device") {
        return Ok(()); // AWS's hardware is AWS's
    }
    let verdict = Verifier::aws().verify_at_own_time(&plain_document(target)?);
    ensure!(verdict.is_err(), "it verifies as if AWS had signed it");
    Ok(())
}

fn flipped(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let bytes = plain_document(target)?;
    let verifier = target.verifier();
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(0..bytes.len(), 0..8_u32), |(at, bit)| {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            prop_assert!(
                verifier.verify_at_own_time(&changed).is_err(),
                "bit {bit} of byte {at}"
            );
            Ok(())
        })
        .map_err(|error| anyhow::anyhow!("accepted with {error}"))
}

fn absent_and_empty(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let bytes = document(&mut *enclave, Some(ByteBuf::new()), None, None)?;
    let document = target.verifier().verify_at_own_time(&bytes)?;
    ensure!(
        document.user_data.as_deref() == Some(&[]),
        "user_data {:?}",
        document.user_data
    );
    ensure!(
        document.nonce.is_none() && document.public_key.is_none(),
        "fields out of nothing"
    );
    for field in ["user_data", "nonce", "public_key"] {
        ensure!(
            contains(&bytes, field.as_bytes()),
            "{field} is not even named"
        );
    }
    Ok(())
}

fn chain(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let document = target
        .verifier()
        .verify_at_own_time(&plain_document(target)?)?;
    ensure!(
        document.cabundle.len() == 4,
        "a bundle of {}",
        document.cabundle.len()
    );
    let later = nsm_sim::clock::UnixMillis(document.timestamp.0 + 3 * 3_600_000 + 4_000);
    let bytes = plain_document(target)?;
    ensure!(
        target.verifier().verify(&bytes, later).is_err(),
        "the leaf outlives three hours"
    );
    Ok(())
}

fn same_module_id(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let described = describe_module_id(&mut *enclave)?;
    let bytes = document(&mut *enclave, None, None, None)?;
    let document = target.verifier().verify_at_own_time(&bytes)?;
    ensure!(
        document.module_id == described,
        "{} and {described}",
        document.module_id
    );
    Ok(())
}

fn timestamps(target: &dyn NsmTarget) -> anyhow::Result<()> {
    let mut enclave = target.boot(&Boot::plain())?;
    let verifier = target.verifier();
    let mut last = 0;
    for _ in 0..3 {
        let bytes = document(&mut *enclave, None, None, None)?;
        let at = verifier.verify_at_own_time(&bytes)?.timestamp.0;
        ensure!(at >= last, "{at} after {last}");
        last = at;
    }
    Ok(())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
