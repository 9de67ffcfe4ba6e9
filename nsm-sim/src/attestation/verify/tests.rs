//! One document for each cause of refusal: a chain and a payload that differ
//! from a good one in a single point, signed anew.

use super::*;
use crate::{
    attestation::{
        document::sign,
        pki::{
            Authority, CA_KEY_USAGE, DIGITAL_SIGNATURE_NON_REPUDIATION, KEY_CERT_SIGN, Tbs,
            authority_key_id, basic_constraints, certificate, chain_entries, extension, key_usage,
            name, oid, subject_key_id,
        },
    },
    cbor::{MAP, put_bytes, put_head, put_text},
    seed::WorldSeed,
};

const NOW: u64 = 1_700_000_000;

/// A certificate to be written.
struct Level {
    subject: Vec<u8>,
    from: i64,
    to: i64,
    extensions: Vec<Vec<u8>>,
    key: Authority,
    /// Which level signs it.
    issuer: usize,
    /// Changes the finished DER.
    edit: fn(&mut Vec<u8>),
}

/// A good chain of `authorities` levels and a leaf.
fn good(authorities: usize) -> Vec<Level> {
    let seed = WorldSeed::from_u64(1);
    (0..=authorities)
        .map(|index| {
            let subject = name(&[(oid::C, "US"), (oid::CN, &format!("level {index}"))]);
            let key = Authority::new(&seed, &format!("test {index}"), subject.clone());
            let extensions = if index == authorities {
                vec![
                    basic_constraints(None),
                    key_usage(false, DIGITAL_SIGNATURE_NON_REPUDIATION),
                ]
            } else {
                let path_len = (index > 0).then(|| (authorities - 1 - index) as u8);
                vec![
                    basic_constraints(Some(path_len)),
                    key_usage(true, CA_KEY_USAGE),
                    subject_key_id(&key.key_id),
                ]
            };
            Level {
                subject,
                from: NOW as i64 - 100,
                to: NOW as i64 + 100,
                extensions,
                key,
                issuer: index.saturating_sub(1),
                edit: |_| {},
            }
        })
        .collect()
}

fn written(levels: &[Level]) -> Vec<Vec<u8>> {
    levels
        .iter()
        .map(|level| {
            let tbs = Tbs {
                serial: &[7],
                subject: &level.subject,
                not_before: level.from,
                not_after: level.to,
                public_key: &level.key.public_key,
                extensions: &level.extensions,
            };
            let mut der = certificate(&tbs, &levels[level.issuer].key);
            (level.edit)(&mut der);
            der
        })
        .collect()
}

/// A good payload under the chain `written` of `levels`.
fn document(levels: &[Level], chain: &[Vec<u8>]) -> Vec<u8> {
    let (leaf, cabundle) = chain.split_last().unwrap();
    let cabundle: Vec<&[u8]> = cabundle.iter().map(Vec::as_slice).collect();
    let payload = payload(&good_entries(&chain_entries(leaf, &cabundle)));
    sign(&payload, &levels.last().unwrap().key.key).unwrap()
}

/// Verifies a good payload under the chain.
fn verdict(levels: &[Level]) -> Result<AttestationDocument, VerifyError> {
    let chain = written(levels);
    let document = document(levels, &chain);
    Verifier::pinned_to(&chain[0]).verify(&document, UnixMillis::from_secs(NOW))
}

fn refusal(change: impl FnOnce(&mut Vec<Level>)) -> VerifyError {
    let mut levels = good(4);
    change(&mut levels);
    verdict(&levels).unwrap_err()
}

#[test]
fn the_chain_that_the_following_tests_change_is_good() {
    verdict(&good(4)).unwrap();
    verdict(&good(1)).unwrap();
}

#[test]
fn a_certificate_outside_its_validity_is_named_with_its_times() {
    for (index, place) in [
        (0, Place::Cabundle(0)),
        (2, Place::Cabundle(2)),
        (4, Place::Leaf),
    ] {
        let [now, not_after, not_before] = [NOW, NOW - 1, NOW + 1].map(UnixMillis::from_secs);
        assert_eq!(
            refusal(|levels| levels[index].to = NOW as i64 - 1),
            VerifyError::Expired {
                place,
                not_after,
                now
            }
        );
        assert_eq!(
            refusal(|levels| levels[index].from = NOW as i64 + 1),
            VerifyError::NotYetValid {
                place,
                not_before,
                now
            }
        );
    }
    let mut levels = good(4);
    for level in &mut levels {
        (level.from, level.to) = (NOW as i64, NOW as i64); // both ends count
    }
    verdict(&levels).unwrap();
}

#[test]
fn a_certificate_of_another_issuer_is_refused() {
    let place = Place::Cabundle(3);
    // Signed by the level above the one above.
    assert_eq!(
        refusal(|levels| levels[3].issuer = 1),
        VerifyError::IssuerMismatch { place }
    );
    // The right name over a wrong key.
    let other = Authority::new(&WorldSeed::from_u64(2), "other", Vec::new());
    assert_eq!(
        refusal(|levels| levels[2].key.key = other.key),
        VerifyError::CertificateSignature { place }
    );
}

#[test]
fn a_key_identifier_that_names_another_key_is_refused_and_the_right_one_is_not() {
    assert_eq!(
        refusal(|levels| levels[2].extensions.push(authority_key_id(&[9; 20]))),
        VerifyError::KeyIdMismatch {
            place: Place::Cabundle(2)
        }
    );
    let mut levels = good(4);
    let id = authority_key_id(&levels[1].key.key_id);
    levels[2].extensions.push(id);
    verdict(&levels).unwrap();
}

#[test]
fn authorities_must_say_that_they_are() {
    let place = Place::Cabundle(1);
    assert_eq!(
        refusal(|levels| levels[1].extensions[0] = basic_constraints(None)),
        VerifyError::NotAnAuthority { place }
    );
    assert_eq!(
        refusal(|levels| drop(levels[1].extensions.remove(0))),
        VerifyError::BasicConstraints { place }
    );
    let not_critical = extension(oid::BASIC_CONSTRAINTS, false, &[0x30, 3, 1, 1, 0xff]);
    assert_eq!(
        refusal(|levels| levels[1].extensions[0] = not_critical),
        VerifyError::BasicConstraints { place }
    );
    let unreadable = extension(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1]);
    assert_eq!(
        refusal(|levels| levels[1].extensions[0] = unreadable),
        VerifyError::BasicConstraints { place }
    );
    assert_eq!(
        refusal(|levels| {
            levels[1].extensions[1] = key_usage(true, DIGITAL_SIGNATURE_NON_REPUDIATION);
        }),
        VerifyError::KeyUsage { place }
    );
    assert_eq!(
        refusal(|levels| drop(levels[1].extensions.remove(1))),
        VerifyError::KeyUsage { place }
    );
}

#[test]
fn path_lengths_count_the_authorities_below() {
    for (index, allowed, found) in [(1, 1, 2), (2, 0, 1), (0, 2, 3)] {
        let place = Place::Cabundle(index);
        assert_eq!(
            refusal(|levels| levels[index].extensions[0] = basic_constraints(Some(Some(allowed)))),
            VerifyError::PathTooLong {
                place,
                allowed,
                found
            }
        );
    }
    let mut levels = good(4);
    levels[0].extensions[0] = basic_constraints(Some(Some(3)));
    verdict(&levels).unwrap();
}

#[test]
fn the_leaf_must_be_no_authority_and_may_sign() {
    for constraints in [
        basic_constraints(Some(None)),
        basic_constraints(Some(Some(0))),
    ] {
        assert_eq!(
            refusal(|levels| levels[4].extensions[0] = constraints),
            VerifyError::LeafIsAuthority
        );
    }
    // A path length without being an authority.
    let odd = extension(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 2, 1, 0]);
    assert_eq!(
        refusal(|levels| levels[4].extensions[0] = odd),
        VerifyError::LeafIsAuthority
    );
    let place = Place::Leaf;
    assert_eq!(
        refusal(|levels| levels[4].extensions[1] = key_usage(false, KEY_CERT_SIGN)),
        VerifyError::KeyUsage { place }
    );
    assert_eq!(
        refusal(|levels| drop(levels[4].extensions.remove(0))),
        VerifyError::BasicConstraints { place }
    );
}

#[test]
fn unknown_critical_and_repeated_extensions_are_refused() {
    let place = Place::Leaf;
    let unknown = |critical| extension(&[0x2a, 3, 4], critical, &[5, 0]);
    assert_eq!(
        refusal(|levels| levels[4].extensions.push(unknown(true))),
        VerifyError::Extension {
            place,
            oid: "1.2.3.4".to_owned()
        }
    );
    assert_eq!(
        refusal(|levels| {
            let again = levels[4].extensions[1].clone();
            levels[4].extensions.push(again);
        }),
        VerifyError::Extension {
            place,
            oid: "2.5.29.15".to_owned()
        }
    );
    let mut levels = good(4);
    levels[4].extensions.push(unknown(false));
    verdict(&levels).unwrap();
}

/// Replaces the first occurrence of `from`.
fn patched(der: &mut [u8], from: &[u8], to: &[u8]) {
    let at = der
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    der[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn certificates_of_other_versions_algorithms_and_keys_are_refused() {
    let place = Place::Cabundle(1);
    assert_eq!(
        refusal(
            |levels| levels[1].edit = |der| patched(der, &[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1])
        ),
        VerifyError::CertificateUnreadable { place }
    );
    assert_eq!(
        refusal(|levels| levels[1].edit = |der| der.push(0)),
        VerifyError::CertificateUnreadable { place }
    );
    assert_eq!(
        refusal(|levels| levels[1].edit = |der| der.truncate(100)),
        VerifyError::CertificateUnreadable { place }
    );
    // ecdsa-with-SHA256 in the signed part alone.
    assert_eq!(
        refusal(|levels| {
            levels[1].edit = |der| {
                patched(
                    der,
                    oid::ECDSA_WITH_SHA384,
                    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
                )
            };
        }),
        VerifyError::CertificateAlgorithm { place }
    );
    // The curve next to P-384.
    assert_eq!(
        refusal(
            |levels| levels[1].edit = |der| patched(der, oid::SECP384R1, &[0x2b, 0x81, 4, 0, 35])
        ),
        VerifyError::CertificateKey { place }
    );
    // A compressed point's first byte.
    assert_eq!(
        refusal(|levels| levels[1].edit = |der| patched(der, &[3, 98, 0, 4], &[3, 98, 0, 2])),
        VerifyError::CertificateKey { place }
    );
    // A point off the curve reads, and verifies nothing.
    assert_eq!(
        refusal(|levels| levels[1].key.public_key = [&[4][..], &[1; 96]].concat()),
        VerifyError::CertificateSignature {
            place: Place::Cabundle(2)
        }
    );
}

// The payload.

type Entry = (Vec<u8>, Vec<u8>);

fn text(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, value);
    out
}

fn bytes(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, value);
    out
}

/// The entries of a good payload; the chain's two come encoded.
fn good_entries(chain: &[u8]) -> Vec<Entry> {
    let mut pcrs = vec![0xa1, 0];
    pcrs.extend(bytes(&[0; 48]));
    let mut timestamp = vec![0x1b];
    timestamp.extend(UnixMillis::from_secs(NOW).0.to_be_bytes());
    vec![
        (text("module_id"), text("i-0-enc0")),
        (text("digest"), text("SHA384")),
        (text("timestamp"), timestamp),
        (text("pcrs"), pcrs),
        (chain.to_vec(), Vec::new()),
        (text("public_key"), vec![0xf6]),
        (text("user_data"), vec![0xf6]),
        (text("nonce"), vec![0xf6]),
    ]
}

fn payload(entries: &[Entry]) -> Vec<u8> {
    let mut out = vec![0xbf];
    for (key, value) in entries {
        out.extend(key);
        out.extend(value);
    }
    out.push(0xff);
    out
}

/// The syntax verdict on a good payload after `change`.
fn syntax(change: impl FnOnce(&mut Vec<Entry>)) -> Result<AttestationDocument, VerifyError> {
    let mut entries = good_entries(&chain_entries(&[1], &[&[2]]));
    change(&mut entries);
    syntax::read_payload(&payload(&entries), FIELD_BYTES_MAX)
}

#[test]
fn the_payload_that_the_following_tests_change_is_good() {
    syntax(|_| {}).unwrap();
}

#[test]
fn mandatory_fields_may_be_neither_missing_nor_null_nor_twice() {
    for (index, field) in [
        Field::ModuleId,
        Field::Digest,
        Field::Timestamp,
        Field::Pcrs,
    ]
    .into_iter()
    .enumerate()
    {
        let missing = syntax(|entries| drop(entries.remove(index)));
        assert_eq!(missing, Err(VerifyError::FieldMissing(field)));
        let null = syntax(|entries| entries[index].1 = vec![0xf6]);
        assert_eq!(null, Err(VerifyError::FieldNull(field)));
        let twice = syntax(|entries| entries.push(entries[index].clone()));
        assert_eq!(twice, Err(VerifyError::FieldTwice(field)));
    }
    let chain = |cert: &[u8]| syntax(|entries| entries[4].0 = cert.to_vec());
    let certificate = [text("certificate"), bytes(&[1])].concat();
    assert_eq!(
        chain(&certificate),
        Err(VerifyError::FieldMissing(Field::Cabundle))
    );
    let cabundle = [text("cabundle"), vec![0x81], bytes(&[1])].concat();
    assert_eq!(
        chain(&cabundle),
        Err(VerifyError::FieldMissing(Field::Certificate))
    );
}

#[test]
fn optional_fields_may_be_missing_null_or_empty_and_not_twice() {
    for (index, field) in [
        (5, Field::PublicKey),
        (6, Field::UserData),
        (7, Field::Nonce),
    ] {
        syntax(|entries| drop(entries.remove(index))).unwrap();
        let least = u64::from(field == Field::PublicKey);
        let empty = syntax(|entries| entries[index].1 = vec![0x40]);
        assert_eq!(empty.is_ok(), least == 0, "{field}");
        let twice = syntax(|entries| entries.push(entries[index].clone()));
        assert_eq!(twice, Err(VerifyError::FieldTwice(field)));
        syntax(|entries| entries[index].1 = bytes(&[1; 1024])).unwrap();
        let (size, unit, min, max) = (1025, "bytes", least, 1024);
        assert_eq!(
            syntax(|entries| entries[index].1 = bytes(&[1; 1025])),
            Err(VerifyError::FieldSize {
                field,
                size,
                unit,
                min,
                max
            })
        );
        let wrong_type = syntax(|entries| entries[index].1 = text("bytes"));
        assert!(matches!(
            wrong_type,
            Err(VerifyError::Cbor {
                part: "payload",
                ..
            })
        ));
    }
}

#[test]
fn values_out_of_their_range_are_named() {
    let empty_name = syntax(|entries| entries[0].1 = text(""));
    assert!(matches!(
        empty_name,
        Err(VerifyError::FieldSize {
            field: Field::ModuleId,
            ..
        })
    ));
    for digest in ["SHA256", "SHA512", "sha384", ""] {
        assert_eq!(
            syntax(|entries| entries[1].1 = text(digest)),
            Err(VerifyError::WrongDigest),
            "{digest}"
        );
    }
    assert_eq!(
        syntax(|entries| entries[2].1 = vec![0]),
        Err(VerifyError::TimestampZero)
    );
    for timestamp in [&[0x20][..], &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0], &[0x61, b'1']] {
        let wrong_type = syntax(|entries| entries[2].1 = timestamp.to_vec());
        assert!(matches!(
            wrong_type,
            Err(VerifyError::Cbor {
                part: "payload",
                ..
            })
        ));
    }
    for (size, chain) in [
        (0, [text("certificate"), bytes(&[])].concat()),
        (1025, [text("certificate"), bytes(&[1; 1025])].concat()),
    ] {
        let field = Field::Certificate;
        assert_eq!(
            syntax(|entries| {
                entries[4].0 = [chain, text("cabundle"), vec![0x81], bytes(&[1])].concat();
            }),
            Err(VerifyError::FieldSize {
                field,
                size,
                unit: "bytes",
                min: 1,
                max: 1024
            })
        );
    }
    for (size, unit, max, cabundle) in [
        (0, "certificates", 8, vec![0x80]),
        (9, "certificates", 8, vec![0x89]),
        (0, "bytes", 1024, vec![0x81, 0x40]),
        (
            1025,
            "bytes",
            1024,
            [vec![0x81], bytes(&[1; 1025])].concat(),
        ),
    ] {
        let field = Field::Cabundle;
        assert_eq!(
            syntax(|entries| entries[4].0 = [text("cabundle"), cabundle].concat()),
            Err(VerifyError::FieldSize {
                field,
                size,
                unit,
                min: 1,
                max
            })
        );
    }
}

#[test]
fn pcrs_are_1_to_32_digests_at_indices_0_to_31() {
    let pcrs = |entries: &[(u64, usize)]| {
        let mut map = Vec::new();
        put_head(&mut map, MAP, entries.len() as u64);
        for (index, len) in entries {
            put_head(&mut map, 0, *index);
            map.extend(bytes(&vec![1; *len]));
        }
        syntax(|entries| entries[3].1 = map).map(|document| document.pcrs.len())
    };
    assert_eq!(
        pcrs(&(0..32).map(|index| (index, 48)).collect::<Vec<_>>()),
        Ok(32)
    );
    assert_eq!(pcrs(&[(31, 32), (0, 64)]), Ok(2));
    let (field, unit, min, max) = (Field::Pcrs, "registers", 1, 32);
    assert_eq!(
        pcrs(&[]),
        Err(VerifyError::FieldSize {
            field,
            size: 0,
            unit,
            min,
            max
        })
    );
    assert_eq!(
        pcrs(&[(0, 48); 33]),
        Err(VerifyError::FieldSize {
            field,
            size: 33,
            unit,
            min,
            max
        })
    );
    assert_eq!(pcrs(&[(32, 48)]), Err(VerifyError::PcrIndex { index: 32 }));
    assert_eq!(
        pcrs(&[(1 << 40, 48)]),
        Err(VerifyError::PcrIndex { index: 1 << 40 })
    );
    assert_eq!(
        pcrs(&[(3, 47)]),
        Err(VerifyError::PcrLength {
            index: 3,
            bytes: 47
        })
    );
    assert_eq!(
        pcrs(&[(3, 48), (3, 48)]),
        Err(VerifyError::FieldTwice(field))
    );
    let indefinite = syntax(|entries| entries[3].1 = vec![0xbf, 0xff]);
    assert!(matches!(indefinite, Err(VerifyError::Cbor { .. })));
}

#[test]
fn a_nitrotpm_bank_stands_in_for_the_enclaves_and_not_beside_it() {
    let document = syntax(|entries| entries[3].0 = text("nitrotpm_pcrs")).unwrap();
    assert!(
        document.is_nitrotpm() && document.nitrotpm_pcrs.len() == 1 && document.pcrs.is_empty()
    );
    let both = syntax(|entries| {
        let bank = entries[3].1.clone();
        entries.push((text("nitrotpm_pcrs"), bank));
    });
    assert_eq!(both, Err(VerifyError::TwoBanks));
}

#[test]
fn a_module_id_with_control_characters_and_a_key_of_no_bytes_are_refused() {
    for name in ["i-1\u{1b}[2J", "i-1\n", "i-1\u{9b}31m"] {
        let refused = syntax(|entries| entries[0].1 = text(name));
        assert_eq!(
            refused,
            Err(VerifyError::ControlCharacter(Field::ModuleId)),
            "{name:?}"
        );
    }
    let refused = syntax(|entries| entries[5].1 = vec![0x40]);
    assert_eq!(
        refused,
        Err(VerifyError::FieldSize {
            field: Field::PublicKey,
            size: 0,
            unit: "bytes",
            min: 1,
            max: 1024
        })
    );
    let empty = syntax(|entries| {
        entries[6].1 = vec![0x40];
        entries[7].1 = vec![0x40];
    })
    .unwrap();
    assert_eq!((empty.user_data, empty.nonce), (Some(vec![]), Some(vec![])));
}

#[test]
fn a_document_that_says_it_was_written_outside_its_chain_is_refused() {
    // The payload is written at NOW; a chain that is valid later alone did not sign it.
    let later = NOW + 7200;
    let mut levels = good(4);
    for level in &mut levels {
        level.from = NOW as i64 + 3600;
        level.to = NOW as i64 + 36_000;
    }
    let chain = written(&levels);
    let document = document(&levels, &chain);
    let refused = Verifier::pinned_to(&chain[0]).verify(&document, UnixMillis::from_secs(later));
    assert!(
        matches!(refused, Err(VerifyError::TimestampOutsideChain { .. })),
        "{refused:?}"
    );
}

#[test]
fn unknown_keys_are_skipped_and_may_not_repeat() {
    let unknown = || (text("later"), vec![0xa1, 0x61, b'x', 0x82, 1, 0xf5]);
    syntax(|entries| entries.insert(0, unknown())).unwrap();
    let twice = syntax(|entries| entries.extend([unknown(), unknown()]));
    assert!(matches!(twice, Err(VerifyError::Cbor { .. })));
    let numbered = syntax(|entries| entries.push((vec![1], vec![0xf6])));
    assert!(matches!(numbered, Err(VerifyError::Cbor { .. })));
    let many = syntax(|entries| {
        entries.extend((0..100).map(|index| (text(&format!("later {index}")), vec![0])));
    });
    assert!(matches!(many, Err(VerifyError::Cbor { .. })));
}

#[test]
fn a_map_of_definite_length_is_as_good() {
    let chain = chain_entries(&[1], &[&[2]]);
    let entries = good_entries(&chain);
    let mut definite = payload(&entries);
    definite[0] = 0xa9;
    definite.pop();
    assert!(syntax::read_payload(&definite, 1024).is_ok());
    definite.push(0);
    let trailing = syntax::read_payload(&definite, 1024);
    assert!(matches!(
        trailing,
        Err(VerifyError::Cbor {
            fault: CborFault::TrailingBytes,
            ..
        })
    ));
}

#[test]
fn frames_other_than_hardwares_are_refused() {
    let frame = |bytes: &[u8]| syntax::read_cose(bytes).err();
    let good = [
        &[
            0x84, 0x44, 0xa1, 1, 0x38, 0x22, 0xa0, 0x41, 0xa0, 0x58, 0x60,
        ][..],
        &[1; 96],
    ]
    .concat();
    assert_eq!(frame(&good), None);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        frame(&bytes)
    };
    assert_eq!(
        changed(0, 0x83),
        Some(VerifyError::NotCoseSign1 { elements: 3 })
    );
    assert_eq!(changed(5, 0x21), Some(VerifyError::WrongAlgorithm)); // -34
    assert_eq!(changed(6, 0xa1), Some(VerifyError::UnprotectedHeader));
    // A detached payload.
    assert!(matches!(
        changed(7, 0xf6),
        Some(VerifyError::Cbor {
            part: "COSE frame",
            ..
        })
    ));
    let mut short = good.clone();
    short[10] = 0x5f;
    short.pop();
    assert_eq!(
        frame(&short),
        Some(VerifyError::SignatureLength { bytes: 95 })
    );
    let trailing = [&good[..], &[0]].concat();
    assert!(matches!(
        frame(&trailing),
        Some(VerifyError::Cbor {
            fault: CborFault::TrailingBytes,
            ..
        })
    ));
    let long = vec![0x84; DOCUMENT_BYTES_MAX + 1];
    assert_eq!(
        frame(&long),
        Some(VerifyError::TooLong {
            bytes: 12_289,
            max: DOCUMENT_BYTES_MAX
        })
    );
    assert!(matches!(
        frame(&[]),
        Some(VerifyError::Cbor {
            fault: CborFault::Truncated,
            ..
        })
    ));
}

#[test]
fn roots_to_pin_must_be_certificates() {
    assert_eq!(
        Verifier::with_root_der(b"root"),
        Err(VerifyError::RootUnreadable)
    );
    assert_eq!(
        Verifier::with_root_pem("root"),
        Err(VerifyError::RootUnreadable)
    );
    let root = written(&good(1)).remove(0);
    assert_eq!(
        Verifier::with_root_der(&root),
        Ok(Verifier::pinned_to(&root))
    );
    assert_eq!(
        Verifier::with_root_pem(&pem::encode(&root)),
        Ok(Verifier::pinned_to(&root))
    );
}

#[test]
fn a_known_chain_is_refused_once_expired_and_before_its_time_as_a_new_one_is() {
    let mut levels = good(4);
    levels[2].from = NOW as i64 - 50;
    levels[3].to = NOW as i64 + 50;
    let chain = written(&levels);
    let document = document(&levels, &chain);
    let verifier = Verifier::pinned_to(&chain[0]);
    let at = UnixMillis::from_secs;
    verifier.verify(&document, at(NOW)).unwrap();
    assert_eq!(verifier.chains.len(), 1, "the chain is known from here on");
    for now in [NOW - 50, NOW + 50] {
        verifier.verify(&document, at(now)).unwrap();
    }
    assert_eq!(
        verifier.verify(&document, at(NOW + 51)),
        Err(VerifyError::Expired {
            place: Place::Cabundle(3),
            not_after: at(NOW + 50),
            now: at(NOW + 51),
        })
    );
    for now in [NOW - 101, NOW - 100, NOW - 51, NOW + 51, NOW + 101] {
        let refusal = verifier.verify(&document, at(now)).unwrap_err();
        let anew = Verifier::pinned_to(&chain[0]).verify(&document, at(now));
        assert_eq!(Err(refusal), anew, "{now}");
    }
}

#[test]
fn a_changed_leaf_misses_the_known_chains_and_is_verified_in_full() {
    let levels = good(4);
    let chain = written(&levels);
    let verifier = Verifier::pinned_to(&chain[0]);
    let now = UnixMillis::from_secs(NOW);
    verifier.verify(&document(&levels, &chain), now).unwrap();
    // Bytes all over the leaf; the document's own signature is good.
    for at in (0..chain[4].len()).step_by(5) {
        let mut changed = chain.clone();
        changed[4][at] ^= 1;
        assert!(
            verifier.verify(&document(&levels, &changed), now).is_err(),
            "byte {at}"
        );
    }
    assert_eq!(verifier.chains.len(), 1, "no refused chain is kept");
}

#[test]
fn a_known_chain_is_of_no_use_to_a_document_that_another_key_signed() {
    let mut levels = good(4);
    let chain = written(&levels);
    let verifier = Verifier::pinned_to(&chain[0]);
    let now = UnixMillis::from_secs(NOW);
    verifier.verify(&document(&levels, &chain), now).unwrap();
    levels.last_mut().unwrap().key = Authority::new(&WorldSeed::from_u64(2), "other", Vec::new());
    assert_eq!(
        verifier.verify(&document(&levels, &chain), now),
        Err(VerifyError::CoseSignature)
    );
}

#[test]
fn a_chain_known_under_one_root_is_refused_by_a_verifier_of_another() {
    let levels = good(4);
    let chain = written(&levels);
    let document = document(&levels, &chain);
    let now = UnixMillis::from_secs(NOW);
    let verifier = Verifier::pinned_to(&chain[0]);
    verifier.verify(&document, now).unwrap();
    let stranger = Verifier {
        roots: vec![[0; 32]],
        ..verifier
    };
    assert!(matches!(
        stranger.verify(&document, now),
        Err(VerifyError::UnknownRoot { .. })
    ));
}

#[test]
fn threads_share_what_is_known() {
    let levels = good(4);
    let chain = written(&levels);
    let document = document(&levels, &chain);
    let verifier = Verifier::pinned_to(&chain[0]);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            let (verifier, document) = (verifier.clone(), &document);
            threads.spawn(move || {
                for _ in 0..20 {
                    let now = UnixMillis::from_secs(NOW);
                    verifier.verify(document, now).unwrap();
                }
            });
        }
    });
    assert_eq!(verifier.chains.len(), 1);
}

#[test]
fn the_oldest_of_too_many_known_chains_is_forgotten() {
    let mut levels = good(1);
    let chains = cache::Chains::default();
    for n in 0..cache::CHAINS_MAX + 3 {
        levels[1].subject = name(&[(oid::CN, &format!("leaf {n}"))]);
        let chain = written(&levels);
        chains.verified(&chain[1], &chain[..1], NOW).unwrap();
    }
    assert_eq!(chains.len(), cache::CHAINS_MAX);
}
