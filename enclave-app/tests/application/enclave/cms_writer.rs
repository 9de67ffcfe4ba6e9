//! Writes `CiphertextForRecipient` for a public key, as KMS does and as it never
//! would.
//!
//! Source of truth: ground truth KMS §1.2.

use aws_lc_rs::{
    cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    digest, rand,
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
    },
};

use crate::enclave::certificates::tlv;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    FormA,
    FormB,
    Der,
}

/// What to do differently from KMS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// The withdrawn RSAES_OAEP_SHA_1.
    Sha1,
    /// Another key's identifier.
    Identifier,
    /// Two recipients, both right.
    TwoRecipients,
    /// EnvelopedData version 0.
    Version0,
    /// A byte after the end.
    TrailingByte,
}

const SHA_256: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
];
const OID_RSAES_OAEP: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07,
];
const OID_MGF1: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
];
const OID_ENVELOPED: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03,
];
const OID_DATA: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01,
];
const OID_AES_256_CBC: [u8; 11] = [
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a,
];

/// An envelope of `plaintext` for the key whose SubjectPublicKeyInfo is `spki`.
pub(crate) fn envelope(spki: &[u8], plaintext: &[u8], spelling: Spelling, flaw: Flaw) -> Vec<u8> {
    let mut content_key = [0; 32];
    rand::fill(&mut content_key).unwrap();

    let algorithm = match flaw {
        Flaw::Sha1 => tlv(0x30, &[&OID_RSAES_OAEP, &[0x30, 0x00]]),
        _ => {
            let mgf = tlv(0x30, &[&OID_MGF1, &SHA_256]);
            let parameters = tlv(0x30, &[&tlv(0xa0, &[&SHA_256]), &tlv(0xa1, &[&mgf])]);
            tlv(0x30, &[&OID_RSAES_OAEP, &parameters])
        }
    };
    let oaep = match flaw {
        Flaw::Sha1 => &OAEP_SHA1_MGF1SHA1,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    let public =
        OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki).unwrap()).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    public
        .encrypt(oaep, &content_key, &mut wrapped, None)
        .unwrap();

    let mut identifier = digest::digest(&digest::SHA256, spki).as_ref().to_vec();
    if flaw == Flaw::Identifier {
        identifier[31] ^= 1;
    }
    let recipient = tlv(
        0x30,
        &[
            &[0x02, 0x01, 0x02],
            &tlv(0x80, &[&identifier]),
            &algorithm,
            &tlv(0x04, &[&wrapped]),
        ],
    );
    let recipients = match flaw {
        Flaw::TwoRecipients => tlv(0x31, &[&recipient, &recipient]),
        _ => tlv(0x31, &[&recipient]),
    };

    let padding = 16 - plaintext.len() % 16;
    let mut content = [plaintext, &vec![padding as u8; padding]].concat();
    let cipher =
        EncryptingKey::cbc(UnboundCipherKey::new(&AES_256, &content_key).unwrap()).unwrap();
    let mut iv = [0; 16];
    rand::fill(&mut iv).unwrap();
    cipher
        .less_safe_encrypt(&mut content, EncryptionContext::Iv128((&iv).into()))
        .unwrap();

    let version = [0x02, 0x01, if flaw == Flaw::Version0 { 0 } else { 2 }];
    let algorithm = tlv(0x30, &[&OID_AES_256_CBC, &tlv(0x04, &[&iv])]);
    let content = match spelling {
        Spelling::FormA => {
            let chunks: Vec<u8> = content
                .chunks(1000)
                .flat_map(|chunk| tlv(0x04, &[chunk]))
                .collect();
            indefinite(0xa0, &[&chunks])
        }
        Spelling::FormB | Spelling::Der => tlv(0x80, &[&content]),
    };
    let outer = if spelling == Spelling::Der {
        tlv
    } else {
        indefinite
    };
    let content_info = outer(0x30, &[&OID_DATA, &algorithm, &content]);
    let data = outer(0x30, &[&version, &recipients, &content_info]);
    let mut out = outer(0x30, &[&OID_ENVELOPED, &outer(0xa0, &[&data])]);
    if flaw == Flaw::TrailingByte {
        out.push(0);
    }
    out
}

fn indefinite(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, 0x80], parts.concat().as_slice(), &[0, 0]].concat()
}
