//! Every `CiphertextForRecipient` that is publicly known, taken and taken apart.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aws_lc_rs::rsa::{OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use enclave_app::enclave::{
    cms::EnvelopedData,
    keys::{RecipientKey, identifier_of},
};

use crate::enclave::{
    certificates::tlv,
    cms_writer::{Flaw, Spelling, envelope},
    corpus,
};

/// The captures whose RSA keys are published.
const WITH_KEY: [(&str, &str); 5] = [
    ("enclaver", "enclaver.key.pkcs8.der"),
    ("edgebit-go", "edgebit-go.key.pkcs1.pem"),
    ("go-kmsmock-edgebitkey", "edgebit-go.key.pkcs1.pem"),
    (
        "aws-web3-ethereum-signer",
        "aws-web3-ethereum-signer.key.pkcs1.der",
    ),
    ("mbedtls-2025", "mbedtls-2025.key.pkcs1.der"),
];

/// The withdrawn SHA-1 variant: KMS's own, and refused.
const SHA_1: &str = "oldsha1-brodyxchen.ber";

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ber"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 15);
    files
}

/// Published keys are PKCS#1 or PKCS#8, PEM or DER; AWS-LC takes PKCS#8.
fn private_key(folder: &Path, file: &str) -> OaepPrivateDecryptingKey {
    let bytes = fs::read(folder.join(file)).unwrap();
    let der = if file.ends_with(".pem") {
        let text: String = String::from_utf8(bytes)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        STANDARD.decode(text).unwrap()
    } else {
        bytes
    };
    let pkcs8 = if file.contains("pkcs1") {
        let rsa_encryption = [
            0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
            0x00,
        ];
        tlv(
            0x30,
            &[&[0x02, 0x01, 0x00], &rsa_encryption, &tlv(0x04, &[&der])],
        )
    } else {
        der
    };
    OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(&pkcs8).unwrap()).unwrap()
}

struct Known {
    name: &'static str,
    envelope: Vec<u8>,
    plaintext: Vec<u8>,
    key: OaepPrivateDecryptingKey,
    identifier: [u8; 32],
}

fn known(folder: &Path) -> Vec<Known> {
    WITH_KEY
        .map(|(name, key)| {
            let read = |suffix: &str| fs::read(folder.join(format!("{name}.{suffix}"))).unwrap();
            Known {
                name,
                envelope: read("ber"),
                plaintext: read("plaintext.bin"),
                key: private_key(folder, key),
                identifier: identifier_of(&read("pub.spki.der")),
            }
        })
        .into()
}

impl Known {
    fn open(&self, envelope: &[u8]) -> Option<Vec<u8>> {
        EnvelopedData::parse(envelope)
            .and_then(|data| data.open(&self.key, &self.identifier))
            .ok()
            .map(|content| content.to_vec())
    }
}

#[test]
fn every_capture_parses_except_the_sha1_one() {
    let Some(folder) = corpus::folder("cms") else {
        return;
    };
    for path in captures(&folder) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        match EnvelopedData::parse(&bytes) {
            Ok(data) => {
                assert_ne!(name, SHA_1);
                assert_eq!(data.encrypted_key.len(), 256, "{name}");
                assert_eq!(data.content.len() % 16, 0, "{name}");
            }
            Err(_) => assert_eq!(name, SHA_1),
        }
    }
}

#[test]
fn the_parts_are_those_that_the_aws_sdk_for_c_expects() {
    let Some(folder) = corpus::folder("cms") else {
        return;
    };
    for name in ["aws-sdk-c-1-constructed", "aws-sdk-c-2-primitive"] {
        let read = |suffix: &str| fs::read(folder.join(format!("{name}.{suffix}"))).unwrap();
        let bytes = read("ber");
        let data = EnvelopedData::parse(&bytes).unwrap();
        assert_eq!(data.encrypted_key, read("enckey.bin"), "{name}");
        assert_eq!(data.iv.as_slice(), read("iv.bin"), "{name}");
        assert_eq!(data.content, read("content.bin"), "{name}");
    }
    let chunked = fs::read(folder.join("rustcrypto-kms-4.ber")).unwrap();
    assert_eq!(EnvelopedData::parse(&chunked).unwrap().content.len(), 4112);
}

#[test]
fn five_captures_open_with_their_published_keys() {
    let Some(folder) = corpus::folder("cms") else {
        return;
    };
    for known in known(&folder) {
        assert_eq!(
            known.open(&known.envelope).unwrap(),
            known.plaintext,
            "{}",
            known.name
        );
    }
}

#[test]
fn a_capture_is_refused_by_every_other_key() {
    let Some(folder) = corpus::folder("cms") else {
        return;
    };
    let all = known(&folder);
    for capture in &all {
        for other in all
            .iter()
            .filter(|other| other.identifier != capture.identifier)
        {
            assert!(
                other.open(&capture.envelope).is_none(),
                "{} {}",
                capture.name,
                other.name
            );
            // Even if the identifier were forged, the private key is another one.
            let data = EnvelopedData::parse(&capture.envelope).unwrap();
            assert!(data.open(&other.key, &capture.identifier).is_err());
        }
    }
}

#[test]
fn refuses_every_truncation_and_every_byte_too_many() {
    let Some(folder) = corpus::folder("cms") else {
        return;
    };
    for path in captures(&folder) {
        let mut bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            assert!(
                EnvelopedData::parse(&bytes[..length]).is_err(),
                "{path:?} cut to {length}"
            );
        }
        for extra in [0, 0x30, 0xff] {
            bytes.push(extra);
            assert!(
                EnvelopedData::parse(&bytes).is_err(),
                "{path:?} and {extra:#04x}"
            );
            bytes.pop();
        }
        assert!(
            EnvelopedData::parse(&[&bytes[..], &bytes].concat()).is_err(),
            "{path:?} twice"
        );
    }
}

/// The content is CBC without authentication: a flip in the IV or in any block but
/// the last two goes through to the plaintext, undetectably, and the commitment of
/// the object is what notices. Every other bit must be noticed here.
#[test]
fn a_flipped_bit_never_yields_another_key_outside_the_malleable_blocks() {
    let Some(folder) = corpus::folder("cms") else {
        return;
    };
    let known = known(&folder);
    let capture = known
        .iter()
        .find(|capture| capture.name == "edgebit-go")
        .unwrap();
    let bytes = &capture.envelope;
    // … IV(16) | a0 80 04 30 | content(48) | ten octets of end marks
    let content = bytes.len() - 10 - 48;
    let iv = content - 4 - 16;
    assert_eq!(EnvelopedData::parse(bytes).unwrap().iv, &bytes[iv..iv + 16]);
    let malleable =
        |byte: usize| (iv..iv + 16).contains(&byte) || (content..content + 16).contains(&byte);
    let mut gone_through = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A garbled last block is right padding once in 256 times, of another length.
        let opened = capture.open(&flipped).filter(|content| content.len() == 32);
        if malleable(bit / 8) {
            let opened = opened.expect("CBC notices nothing here");
            assert_ne!(opened, capture.plaintext);
            gone_through += 1;
        } else {
            assert_eq!(opened, None, "bit {bit}");
        }
    }
    assert_eq!(gone_through, 32 * 8);
}

/// As above, for the structure of all captures at once: flips there never parse
/// into other parts than the original's.
#[test]
fn a_flipped_bit_in_the_structure_is_always_refused() {
    let Some(folder) = corpus::folder("cms") else {
        return;
    };
    for path in captures(&folder) {
        let bytes = fs::read(&path).unwrap();
        let original = match EnvelopedData::parse(&bytes) {
            Ok(original) => original,
            Err(_) if path.ends_with(SHA_1) => continue,
            Err(error) => panic!("{path:?}: {error}"),
        };
        let carried = 32 + original.encrypted_key.len() + 16 + original.content.len();
        let mut parsed = 0;
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            parsed += usize::from(EnvelopedData::parse(&flipped).is_ok());
        }
        // Exactly the bits of identifier, wrapped key, IV and content are free.
        assert_eq!(parsed, carried * 8, "{path:?}");
    }
}

#[test]
fn all_three_spellings_of_an_answer_open_and_their_flawed_versions_do_not() {
    let data_key = [0x5a; 32];
    for spelling in [Spelling::FormA, Spelling::FormB, Spelling::Der] {
        let key = RecipientKey::generate().unwrap();
        let right = envelope(key.public_der(), &data_key, spelling, Flaw::None);
        assert!(key.open_data_key(&right).is_ok(), "{spelling:?}");
        for flaw in [
            Flaw::Sha1,
            Flaw::Identifier,
            Flaw::TwoRecipients,
            Flaw::Version0,
            Flaw::TrailingByte,
        ] {
            let key = RecipientKey::generate().unwrap();
            let wrong = envelope(key.public_der(), &data_key, spelling, flaw);
            assert!(key.open_data_key(&wrong).is_err(), "{spelling:?} {flaw:?}");
        }
    }
}

#[test]
fn a_data_key_has_32_bytes_and_no_other_length() {
    for length in [0, 1, 15, 16, 24, 31, 33, 48, 64] {
        let key = RecipientKey::generate().unwrap();
        let wrong = envelope(
            key.public_der(),
            &vec![7; length],
            Spelling::FormA,
            Flaw::None,
        );
        assert!(key.open_data_key(&wrong).is_err(), "{length} bytes");
    }
}

#[test]
fn spellings_are_never_mixed() {
    let key = RecipientKey::generate().unwrap();
    let form_a = envelope(key.public_der(), &[1; 32], Spelling::FormA, Flaw::None);
    // Outer structure definite, the rest as KMS writes it.
    let inner = &form_a[2..form_a.len() - 2];
    assert!(EnvelopedData::parse(&tlv(0x30, &[inner])).is_err());
}
