//! Objects written by the official Amazon S3 Encryption Client, opened here, and
//! what an untrusted store can do to them.

use std::{collections::BTreeMap, fs};

use aws_lc_rs::digest;
use enclave_app::envelope::{DataKey, Envelope, EnvelopeError, OldVersion};
use serde_json::Value;

use crate::enclave::corpus;

struct Fixture {
    metadata: BTreeMap<String, String>,
    context: BTreeMap<String, String>,
    data_key: DataKey,
    plaintext_sha256: String,
    body: Vec<u8>,
}

fn fixture(name: &str) -> Option<Fixture> {
    let folder = corpus::folder("s3ec")?;
    let index: Value =
        serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let entry = &index[name];
    let strings = |field: &str| serde_json::from_value(entry[field].clone()).unwrap();
    let key = hex::decode(entry["plaintext_data_key_hex"].as_str().unwrap()).unwrap();
    Some(Fixture {
        metadata: strings("metadata"),
        context: strings("encryption_context_used"),
        data_key: DataKey::from_slice(&key).unwrap(),
        plaintext_sha256: entry["plaintext_sha256"].as_str().unwrap().into(),
        body: fs::read(folder.join(format!("{name}.body.bin"))).unwrap(),
    })
}

fn v3() -> Option<Fixture> {
    fixture("v3-commit")
}

#[test]
fn a_v3_object_of_the_official_client_opens_with_its_data_key() {
    let Some(object) = v3() else { return };
    let envelope = Envelope::parse(&object.metadata).unwrap();
    assert_eq!(envelope.context, object.context);
    let plaintext = envelope.open(&object.data_key, &object.body).unwrap();
    assert_eq!(plaintext.as_slice(), b"DICM-fake-image-".repeat(64));
    let sha256 = hex::encode(digest::digest(&digest::SHA256, &plaintext));
    assert_eq!(sha256, object.plaintext_sha256);
}

#[test]
fn refuses_the_v2_object_that_would_open_without_commitment() {
    let Some(object) = fixture("v2-gcm") else {
        return;
    };
    assert_eq!(
        Envelope::parse(&object.metadata).unwrap_err(),
        EnvelopeError::OldVersion {
            version: OldVersion::V2
        }
    );
}

#[test]
fn refuses_metadata_of_two_versions_at_once() {
    let (Some(mut object), Some(old)) = (v3(), fixture("v2-gcm")) else {
        return;
    };
    object.metadata.extend(old.metadata);
    assert!(matches!(
        Envelope::parse(&object.metadata),
        Err(EnvelopeError::UnexpectedEntry { .. })
    ));
}

#[test]
fn refuses_a_v3_object_whose_commitment_was_removed_or_changed() {
    let Some(object) = v3() else { return };
    let mut without = object.metadata.clone();
    without.remove("x-amz-d");
    assert_eq!(
        Envelope::parse(&without).unwrap_err(),
        EnvelopeError::MissingEntry { name: "x-amz-d" }
    );
    let mut changed = object.metadata;
    changed.insert("x-amz-d".into(), "A".repeat(37) + "A==");
    let envelope = Envelope::parse(&changed);
    match envelope {
        Ok(envelope) => assert_eq!(
            envelope.open(&object.data_key, &object.body).unwrap_err(),
            EnvelopeError::Commitment
        ),
        Err(error) => assert_eq!(error, EnvelopeError::MalformedEntry { name: "x-amz-d" }),
    }
}

#[test]
fn refuses_a_swapped_suite() {
    let Some(object) = v3() else { return };
    for suite in ["114", "116", "20"] {
        let mut metadata = object.metadata.clone();
        metadata.insert("x-amz-c".into(), suite.into());
        assert_eq!(
            Envelope::parse(&metadata).unwrap_err(),
            EnvelopeError::Algorithm { name: "x-amz-c" },
            "{suite}"
        );
    }
}

#[test]
fn refuses_a_cut_tag_a_moved_message_id_and_another_data_key() {
    let Some(object) = v3() else { return };
    let envelope = Envelope::parse(&object.metadata).unwrap();
    for cut in 1..=16 {
        let body = &object.body[..object.body.len() - cut];
        assert_eq!(
            envelope.open(&object.data_key, body).unwrap_err(),
            EnvelopeError::Content,
            "{cut} bytes cut"
        );
    }
    let mut moved = object.metadata.clone();
    moved.insert("x-amz-i".into(), object.metadata["x-amz-d"].clone());
    assert_eq!(
        Envelope::parse(&moved)
            .unwrap()
            .open(&object.data_key, &object.body)
            .unwrap_err(),
        EnvelopeError::Commitment
    );
    let other = DataKey::from_slice(&[0; 32]).unwrap();
    assert_eq!(
        envelope.open(&other, &object.body).unwrap_err(),
        EnvelopeError::Commitment
    );
}

#[test]
fn refuses_extra_entries_of_the_format() {
    let Some(object) = v3() else { return };
    for name in [
        "x-amz-m",
        "x-amz-iv",
        "x-amz-key-v2",
        "x-amz-unencrypted-content-length",
    ] {
        let mut metadata = object.metadata.clone();
        metadata.insert(name.into(), "1".into());
        assert_eq!(
            Envelope::parse(&metadata).unwrap_err(),
            EnvelopeError::UnexpectedEntry { name: name.into() }
        );
    }
}

#[test]
fn a_byte_changed_anywhere_in_the_metadata_is_noticed_or_changes_what_kms_is_asked() {
    let Some(object) = v3() else { return };
    let original = Envelope::parse(&object.metadata).unwrap();
    for (name, value) in &object.metadata {
        for at in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[at] ^= 1;
            let mut metadata = object.metadata.clone();
            metadata.insert(name.clone(), String::from_utf8(bytes).unwrap());
            let Ok(envelope) = Envelope::parse(&metadata) else {
                continue;
            };
            let asks_kms_otherwise = envelope.wrapped_key != original.wrapped_key
                || envelope.context != original.context;
            let refused = envelope.open(&object.data_key, &object.body).is_err();
            assert!(
                asks_kms_otherwise || refused || envelope == original,
                "{name} at {at}"
            );
        }
    }
}
