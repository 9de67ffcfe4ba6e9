//! Every deviation from the one accepted encoding is refused.

use aws_nitro_enclaves_cose::crypto::SigningPrivateKey;
use proptest::prelude::*;

use super::{
    super::tests::{NOW_MS, key, manifest, verify},
    *,
};

/// Signs any payload under any protected header, as a submitter gone wrong would.
fn sign_raw(protected: &HeaderMap, unprotected: &HeaderMap, payload: &[u8]) -> Vec<u8> {
    CoseSign1::new_with_protected::<Sha2>(payload, protected, unprotected, &key())
        .unwrap()
        .as_bytes(true)
        .unwrap()
}

fn header() -> HeaderMap {
    protected_header(&key().public())
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn payload_value() -> Value {
    ciborium::from_reader(payload(&manifest()).unwrap().as_slice()).unwrap()
}

#[test]
fn the_payload_is_deterministic_cbor_with_keys_sorted_by_their_encoding() {
    let Value::Map(entries) = payload_value() else {
        panic!("the payload is a map")
    };
    let keys: Vec<Vec<u8>> = entries.iter().map(|(key, _)| encoded(key)).collect();
    assert!(keys.is_sorted());
}

#[test]
fn refuses_a_manifest_with_any_flipped_bit() {
    let good = manifest().sign(&key()).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(
                verify(&bad).is_err(),
                "accepted with bit {bit} of byte {at} flipped"
            );
        }
    }
}

#[test]
fn refuses_a_cut_or_lengthened_manifest() {
    let good = manifest().sign(&key()).unwrap();
    for length in 0..good.len() {
        assert!(
            verify(&good[..length]).is_err(),
            "accepted when cut to {length} bytes"
        );
    }
    let mut long = good;
    long.push(0);
    assert_eq!(
        verify(&long),
        Err(ManifestError::NotCose {
            what: "bytes follow it"
        })
    );
}

#[test]
fn refuses_a_submitter_whom_the_enclave_does_not_know() {
    let stranger = SubmitterKey::from_seed(b"stranger");
    let bytes = manifest().sign(&stranger).unwrap();
    assert_eq!(
        verify(&bytes),
        Err(ManifestError::UnknownSubmitter {
            key_id: stranger.public().key_id().to_vec()
        })
    );
    assert!(matches!(
        Manifest::verify(&bytes, &[]),
        Err(ManifestError::UnknownSubmitter { .. })
    ));
}

#[test]
fn refuses_a_stranger_who_borrows_a_known_key_id() {
    struct Impostor(SubmitterKey);
    use aws_nitro_enclaves_cose::{
        crypto::{MessageDigest, SignatureAlgorithm, SigningPublicKey},
        error::CoseError,
    };
    impl SigningPublicKey for Impostor {
        fn get_parameters(&self) -> Result<(SignatureAlgorithm, MessageDigest), CoseError> {
            self.0.get_parameters()
        }
        fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool, CoseError> {
            self.0.verify(digest, signature)
        }
    }
    impl SigningPrivateKey for Impostor {
        fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, CoseError> {
            self.0.sign(digest)
        }
    }
    let impostor = Impostor(SubmitterKey::from_seed(b"stranger"));
    let bytes = CoseSign1::new_with_protected::<Sha2>(
        &payload(&manifest()).unwrap(),
        &header(),
        &HeaderMap::new(),
        &impostor,
    )
    .unwrap()
    .as_bytes(true)
    .unwrap();
    assert_eq!(verify(&bytes), Err(ManifestError::BadSignature));
}

#[test]
fn refuses_every_other_algorithm_even_when_correctly_signed() {
    for algorithm in [-7, -36, -37, 0, 35] {
        let mut protected = header();
        protected.insert(CborValue::from(1), CborValue::from(algorithm));
        let bytes = sign_raw(
            &protected,
            &HeaderMap::new(),
            &payload(&manifest()).unwrap(),
        );
        assert_eq!(
            verify(&bytes),
            Err(ManifestError::WrongAlgorithm),
            "{algorithm}"
        );
    }
    let none = sign_raw(
        &HeaderMap::new(),
        &HeaderMap::new(),
        &payload(&manifest()).unwrap(),
    );
    assert!(verify(&none).is_err());
}

#[test]
fn refuses_a_signature_made_for_another_kind_of_message() {
    let mut protected = header();
    protected.insert(CborValue::from(3), CborValue::from("text/plain"));
    let bytes = sign_raw(
        &protected,
        &HeaderMap::new(),
        &payload(&manifest()).unwrap(),
    );
    assert_eq!(verify(&bytes), Err(ManifestError::WrongContentType));
}

#[test]
fn refuses_headers_beyond_the_three() {
    let mut protected = header();
    protected.insert(CborValue::from(99), CborValue::from(1));
    let bytes = sign_raw(
        &protected,
        &HeaderMap::new(),
        &payload(&manifest()).unwrap(),
    );
    assert!(matches!(verify(&bytes), Err(ManifestError::NotCose { .. })));

    let mut unprotected = HeaderMap::new();
    unprotected.insert(CborValue::from(4), CborValue::from(1));
    let bytes = sign_raw(&header(), &unprotected, &payload(&manifest()).unwrap());
    assert!(matches!(verify(&bytes), Err(ManifestError::NotCose { .. })));
}

#[test]
fn refuses_an_untagged_or_otherwise_tagged_message() {
    let tagged = manifest().sign(&key()).unwrap();
    assert_eq!(tagged[0], 0xd2); // tag 18
    assert!(matches!(
        verify(&tagged[1..]),
        Err(ManifestError::NotCose { .. })
    ));
    let mut other = tagged;
    other[0] = 0xd1; // tag 17, COSE_Mac0
    assert!(matches!(verify(&other), Err(ManifestError::NotCose { .. })));
}

#[test]
fn refuses_extra_missing_repeated_and_reordered_fields() {
    let mut extra = payload_value();
    extra
        .as_map_mut()
        .unwrap()
        .push((Value::Text("priority".into()), Value::Integer(1.into())));
    let mut missing = payload_value();
    missing.as_map_mut().unwrap().remove(3);
    let mut repeated = payload_value();
    let again = repeated.as_map().unwrap()[0].clone();
    repeated.as_map_mut().unwrap().push(again);
    let mut reordered = payload_value();
    reordered.as_map_mut().unwrap().swap(0, 1);
    for payload in [extra, missing, repeated, reordered] {
        let bytes = sign_raw(&header(), &HeaderMap::new(), &encoded(&payload));
        assert!(matches!(
            verify(&bytes),
            Err(ManifestError::NotCanonical { .. })
        ));
    }
}

#[test]
fn refuses_a_time_that_is_not_a_shortest_unsigned_integer() {
    for time in [
        Value::Float(1_766_678_658_000.0),
        Value::Text("2025-12-25T16:04:18Z".into()),
        Value::Integer((-1).into()),
        Value::Tag(1, Box::new(Value::Integer(NOW_MS.into()))),
        Value::Tag(2, Box::new(Value::Bytes(NOW_MS.to_be_bytes().to_vec()))),
    ] {
        let mut payload = payload_value();
        payload.as_map_mut().unwrap()[4].1 = time.clone();
        let bytes = sign_raw(&header(), &HeaderMap::new(), &encoded(&payload));
        assert!(
            matches!(verify(&bytes), Err(ManifestError::NotCanonical { .. })),
            "accepted {time:?}"
        );
    }
    // A small time written in eight bytes instead of one.
    let mut small = manifest();
    small.issued_at_ms = 1;
    small.expires_at_ms = 2;
    let payload = payload(&small).unwrap();
    let name = b"issued_at_ms";
    let at = payload.windows(name.len()).position(|w| w == name).unwrap() + name.len();
    let mut long = payload[..at].to_vec();
    long.extend_from_slice(&[0x1b, 0, 0, 0, 0, 0, 0, 0, 1]);
    long.extend_from_slice(&payload[at + 1..]);
    let bytes = sign_raw(&header(), &HeaderMap::new(), &long);
    assert!(matches!(
        verify(&bytes),
        Err(ManifestError::NotCanonical { .. })
    ));
}

#[test]
fn refuses_a_manifest_longer_than_its_bound_without_reading_it() {
    let long = vec![0xd2; MANIFEST_BYTES_MAX + 1];
    assert_eq!(
        verify(&long),
        Err(ManifestError::TooLong { length: long.len() })
    );
}

proptest! {
    #[test]
    fn the_decoder_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = verify(&bytes);
        let _ = Manifest::claimed_job(&bytes);
        let _ = Manifest::from_payload(&bytes);
    }

    #[test]
    fn a_payload_that_decodes_encodes_to_the_same_bytes(
        at in 0usize..250, to in any::<u8>(),
    ) {
        let mut bytes = payload(&manifest()).unwrap();
        if let Some(byte) = bytes.get_mut(at) { *byte = to; }
        if let Ok(read) = Manifest::from_payload(&bytes) {
            prop_assert_eq!(payload(&read).unwrap(), bytes);
        }
    }
}
