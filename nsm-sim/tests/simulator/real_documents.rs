//! The verifier on documents that AWS hardware signed, and on changes of them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nsm_sim::{
    attestation::verify::{Verifier, VerifyError},
    clock::UnixMillis,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

#[test]
fn accepts_all_42_real_documents_at_their_own_time_and_reads_what_they_say() {
    let Some(documents) = crate::corpus::documents() else {
        return;
    };
    let verifier = Verifier::aws();
    let mut accepted = 0;
    for document in documents.iter().filter(|document| document.valid) {
        let file = &document.file;
        let read = verifier
            .verify_at_own_time(&document.bytes)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let index = &document.index;
        assert_eq!(
            read.module_id,
            index["module_id"].as_str().unwrap(),
            "{file}"
        );
        assert_eq!(
            read.timestamp.0,
            index["timestamp_ms"].as_u64().unwrap(),
            "{file}"
        );
        assert_eq!(read.digest, "SHA384", "{file}");
        assert_eq!(
            read.is_debug(),
            index["debug_mode"].as_bool().unwrap(),
            "{file}"
        );
        assert!(!read.is_nitrotpm(), "{file}");
        let indices: Vec<u64> = read.pcrs.keys().map(|index| u64::from(*index)).collect();
        assert_eq!(serde_json::json!(indices), index["pcr_indices"], "{file}");
        for pcr in [0, 1, 2, 3, 4, 8] {
            let expected = index[format!("pcr{pcr}")].as_str().unwrap();
            assert_eq!(hex::encode(&read.pcrs[&pcr]), expected, "{file} PCR{pcr}");
        }
        for (name, value) in [
            ("public_key", &read.public_key),
            ("user_data", &read.user_data),
            ("nonce", &read.nonce),
        ] {
            let len = value.as_ref().map(|value| value.len() as u64);
            assert_eq!(len, index[format!("{name}_len")].as_u64(), "{file} {name}");
        }
        assert_eq!(read.cabundle.len(), 4, "{file}");
        accepted += 1;
    }
    assert_eq!(accepted, 42);
}

#[test]
fn rejects_the_four_bad_documents_each_for_its_cause() {
    let Some(documents) = crate::corpus::documents() else {
        return;
    };
    let causes: Vec<(String, &str)> = documents
        .iter()
        .filter(|document| !document.valid)
        .map(|document| {
            let error = Verifier::aws()
                .verify_at_own_time(&document.bytes)
                .unwrap_err();
            (document.file.clone(), error.name())
        })
        .collect();
    let expected = [
        // A real chain under an altered payload or signature.
        (
            "20221109-bad-veracruz-proje-7df2cdc0.cbor",
            "cose-signature",
        ),
        ("20240723-bad-eternisai-5f42eb91.cbor", "cose-signature"),
        // A mock's own authority.
        ("20241213-bad-marlinprotocol-d8032479.cbor", "unknown-root"),
        ("20250430-bad-marlinprotocol-a132128a.cbor", "unknown-root"),
    ];
    assert_eq!(
        causes,
        expected.map(|(file, cause)| (file.to_owned(), cause))
    );
}

#[test]
fn rejects_real_documents_outside_their_leafs_three_hours() {
    let Some(documents) = crate::corpus::documents() else {
        return;
    };
    let verifier = Verifier::aws();
    for document in documents.iter().filter(|document| document.valid) {
        let file = &document.file;
        let written = document.index["timestamp_ms"].as_u64().unwrap();
        let hours = |hours: i64| UnixMillis(written.saturating_add_signed(hours * 3_600_000));
        match verifier.verify(&document.bytes, hours(4)) {
            Err(VerifyError::Expired { .. }) => {}
            other => panic!("{file}, four hours later: {other:?}"),
        }
        match verifier.verify(&document.bytes, hours(-4)) {
            Err(VerifyError::NotYetValid { .. }) => {}
            other => panic!("{file}, four hours earlier: {other:?}"),
        }
        assert!(
            verifier
                .verify(&document.bytes, UnixMillis(written))
                .is_ok(),
            "{file}"
        );
    }
}

#[test]
fn accepts_a_real_document_with_the_cose_tag_and_no_other_tag() {
    let Some(documents) = crate::corpus::documents() else {
        return;
    };
    let document = &documents[0].bytes;
    let tagged = |tag: u8| [&[tag], document.as_slice()].concat();
    assert!(Verifier::aws().verify_at_own_time(&tagged(0xd2)).is_ok());
    assert_eq!(
        Verifier::aws().verify_at_own_time(&tagged(0xd1)),
        Err(VerifyError::WrongTag { tag: 17 })
    );
}

#[test]
fn rejects_real_documents_under_any_other_root() {
    let Some(documents) = crate::corpus::documents() else {
        return;
    };
    let ours = nsm_sim::device::Nsm::builder().build().verifier();
    for document in &documents {
        match ours.verify_at_own_time(&document.bytes) {
            Err(VerifyError::UnknownRoot { .. }) => {}
            other => panic!("{}: {other:?}", document.file),
        }
    }
}

/// Flips one bit and asks for a refusal.
fn refuses_flip(verifier: &Verifier, document: &mut [u8], file: &str, bit: usize) {
    document[bit / 8] ^= 1 << (bit % 8);
    let verdict = verifier.verify_at_own_time(document);
    document[bit / 8] ^= 1 << (bit % 8);
    assert!(
        verdict.is_err(),
        "{file} is accepted with bit {} of byte {} flipped",
        bit % 8,
        bit / 8
    );
}

/// Every bit of the parts that the signature does not cover, and a sample of
/// the rest; every bit of all of them with `DRYDOCK_EXHAUSTIVE=1` (1,540,208
/// verifications).
#[test]
fn rejects_real_documents_with_one_flipped_bit() {
    let Some(documents) = crate::corpus::documents() else {
        return;
    };
    let documents: Vec<_> = documents
        .into_iter()
        .filter(|document| document.valid)
        .collect();
    let exhaustive = std::env::var_os("DRYDOCK_EXHAUSTIVE").is_some();
    let seed: u64 = 0x6e73_6d00;
    let next = AtomicUsize::new(0);
    let flipped = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let verifier = Verifier::aws();
                while let Some(document) = documents.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = &document.file;
                    let mut bytes = document.bytes.clone();
                    let bits = bytes.len() * 8;
                    let flips: Vec<usize> = if exhaustive {
                        (0..bits).collect()
                    } else {
                        let mut random = StdRng::seed_from_u64(seed ^ document.bytes.len() as u64);
                        // The COSE frame before the payload, and the signature's head.
                        let frame = (0..11 * 8).chain(bits - 98 * 8..bits - 96 * 8);
                        frame
                            .chain((0..150).map(|_| random.random_range(0..bits)))
                            .collect()
                    };
                    for bit in &flips {
                        refuses_flip(&verifier, &mut bytes, file, *bit);
                    }
                    flipped.fetch_add(flips.len(), Ordering::Relaxed);
                    if exhaustive {
                        println!("{file}: {} bits", flips.len());
                    }
                }
            });
        }
    });
    println!("{} flipped bits refused", flipped.load(Ordering::Relaxed));
}

#[test]
fn rejects_a_real_document_under_another_real_documents_signature() {
    let Some(documents) = crate::corpus::documents() else {
        return;
    };
    let (first, second) = (&documents[0].bytes, &documents[5].bytes);
    let mut crossed = first.clone();
    let len = crossed.len();
    crossed[len - 96..].copy_from_slice(&second[second.len() - 96..]);
    assert_eq!(
        Verifier::aws().verify_at_own_time(&crossed),
        Err(VerifyError::CoseSignature)
    );
}
