//! The CMS EnvelopedData that KMS answers attested calls with, byte for byte in
//! AWS's BER form.
//!
//! Source of truth: ground truth KMS §1.2, proved on fifteen captured answers;
//! RFC 5652 §6 for the names, RFC 4055 §4.1 for the OAEP parameters.
//!
//! The writer is fixed to that form on purpose: indefinite outer lengths, a
//! definite set of one recipient, content in chunks of at most 1000 bytes. The
//! other forms that were captured (a primitive one-block content, SHA-1 OAEP
//! parameters) are here for compatibility tests and hostile answers only.

use aws_lc_rs::{
    cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey},
    iv::FixedLength,
};

/// The longest OCTET STRING of a constructed content.
const CHUNK_BYTES_MAX: usize = 1000;

/// Hash parameters of RSAES-OAEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oaep {
    /// SHA-256 and MGF1 with SHA-256, both with explicit NULL parameters.
    Sha256,
    /// An empty parameter sequence, which means SHA-1: withdrawn by AWS.
    Sha1Default,
}

/// How the encrypted content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentForm {
    /// `[0]` constructed, indefinite, OCTET STRINGs of at most 1000 bytes.
    Chunked,
    /// `[0]` primitive with a definite length; seen once, in 2022.
    Primitive,
}

/// The parts of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// `subjectKeyIdentifier`: SHA-256 of the public key's DER
    /// SubjectPublicKeyInfo.
    pub key_id: &'a [u8],
    /// Hash parameters of the key encryption.
    pub oaep: Oaep,
    /// The content key, encrypted to the recipient.
    pub encrypted_key: &'a [u8],
    /// The CBC initialisation vector.
    pub iv: &'a [u8; 16],
    /// AES-256-CBC ciphertext with PKCS #7 padding.
    pub content: &'a [u8],
    /// How it is written.
    pub form: ContentForm,
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0x80;
const CONTEXT_0_CONSTRUCTED: u8 = 0xa0;
const CONTEXT_1_CONSTRUCTED: u8 = 0xa1;
const INDEFINITE: u8 = 0x80;
const END_OF_CONTENTS: [u8; 2] = [0, 0];

/// 1.2.840.113549.1.7.3, as a complete element.
const ENVELOPED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";
/// 1.2.840.113549.1.7.1
const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
/// 1.2.840.113549.1.1.7
const RSAES_OAEP: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07";
/// 1.2.840.113549.1.1.8
const MGF1: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
/// 2.16.840.1.101.3.4.2.1, with NULL parameters.
const SHA256_NULL: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00";
/// 2.16.840.1.101.3.4.1.42
const AES256_CBC: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
const VERSION_2: &[u8] = &[INTEGER, 1, 2];

impl Envelope<'_> {
    /// Writes the answer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let oaep_parameters = match self.oaep {
            Oaep::Sha256 => {
                let sha256 = element(SEQUENCE, &[SHA256_NULL]);
                let mgf1 = element(SEQUENCE, &[MGF1, &sha256]);
                element(
                    SEQUENCE,
                    &[
                        &element(CONTEXT_0_CONSTRUCTED, &[&sha256]),
                        &element(CONTEXT_1_CONSTRUCTED, &[&mgf1]),
                    ],
                )
            }
            Oaep::Sha1Default => element(SEQUENCE, &[]),
        };
        let recipient = element(
            SEQUENCE,
            &[
                VERSION_2,
                &element(CONTEXT_0, &[self.key_id]),
                &element(SEQUENCE, &[RSAES_OAEP, &oaep_parameters]),
                &element(OCTET_STRING, &[self.encrypted_key]),
            ],
        );
        let recipients = element(SET, &[&recipient]);
        let content_encryption =
            element(SEQUENCE, &[AES256_CBC, &element(OCTET_STRING, &[self.iv])]);

        let mut out = Vec::with_capacity(self.content.len() + self.encrypted_key.len() + 256);
        out.extend([SEQUENCE, INDEFINITE]);
        out.extend(ENVELOPED_DATA);
        out.extend([CONTEXT_0_CONSTRUCTED, INDEFINITE, SEQUENCE, INDEFINITE]);
        out.extend(VERSION_2);
        out.extend(recipients);
        out.extend([SEQUENCE, INDEFINITE]);
        out.extend(DATA);
        out.extend(content_encryption);
        match self.form {
            ContentForm::Chunked => {
                out.extend([CONTEXT_0_CONSTRUCTED, INDEFINITE]);
                for chunk in self.content.chunks(CHUNK_BYTES_MAX) {
                    out.extend(element(OCTET_STRING, &[chunk]));
                }
                out.extend(END_OF_CONTENTS);
            }
            ContentForm::Primitive => out.extend(element(CONTEXT_0, &[self.content])),
        }
        for _open in [
            "EncryptedContentInfo",
            "EnvelopedData",
            "[0]",
            "ContentInfo",
        ] {
            out.extend(END_OF_CONTENTS);
        }
        out
    }
}

/// AES-256-CBC with PKCS #7 padding; `None` when the library fails.
pub(crate) fn encrypt_content(key: &[u8; 32], iv: [u8; 16], plaintext: &[u8]) -> Option<Vec<u8>> {
    let key = UnboundCipherKey::new(&AES_256, key).ok()?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).ok()?;
    let mut content = plaintext.to_vec();
    let iv = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(&mut content, iv).ok()?;
    Some(content)
}

/// One element with a definite length.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = header(tag, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Tag and definite length.
pub(crate) fn header(tag: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    push_header(&mut out, tag, length);
    out
}

/// Writes tag and definite length.
pub(crate) fn push_header(out: &mut impl Extend<u8>, tag: u8, length: usize) {
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => out.extend([tag, short]),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
            let digits = bytes.get(significant..).unwrap_or_default();
            // A usize has at most eight bytes.
            let count = 0x80 | u8::try_from(digits.len()).unwrap_or(8);
            out.extend([tag, count]);
            out.extend(digits.iter().copied());
        }
    }
}

/// Bytes of tag and definite length.
pub(crate) const fn header_bytes(length: usize) -> usize {
    match length {
        0..0x80 => 2,
        _ => 2 + usize::BITS.div_ceil(8) as usize - length.leading_zeros() as usize / 8,
    }
}
