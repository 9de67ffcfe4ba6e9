//! `CiphertextForRecipient`: the one CMS shape that KMS answers an attested call
//! with, walked byte by byte.
//!
//! Source of truth: ground truth KMS §1.2 and §1.3 (15 captures, 2020 to 2026);
//! RFC 5652 for the names, X.690 for the lengths. Accepted are exactly three
//! spellings of EnvelopedData version 2 with one RSAES-OAEP-SHA-256 recipient
//! named by subject key identifier and AES-256-CBC content:
//! - *form A*, what KMS sends today: outer lengths indefinite, content in chunks
//! - *form B*, seen once in 2022: the same with the content in one piece
//! - *DER* of the same, so that a strict re-encoder on the way does no harm
//!
//! Does not model anything else of CMS: no other recipient kinds, versions,
//! algorithms (the withdrawn SHA-1 variant above all), attributes or nesting.
//!
//! The content of this structure is not authenticated: whoever can change it can
//! change the key inside (CBC). What makes an answer trustworthy is TLS, and what
//! makes a data key right is the commitment in the object it opens.

use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey},
    iv::FixedLength,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey},
};
use subtle::{Choice, ConstantTimeEq as _, ConstantTimeLess as _};
use zeroize::Zeroizing;

/// KMS's own bound of the field.
pub const ENVELOPE_BYTES_MAX: usize = 6144;

/// KMS's chunks (BouncyCastle's default).
const CHUNK_BYTES_MAX: usize = 1000;

const BLOCK_BYTES: usize = 16;

/// The answer is not an envelope for this key. On purpose it does not say why: the
/// difference between a wrong key, a wrong padding and a wrong length is what an
/// oracle is made of (ground truth: KMS §6, attack 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an envelope for this key")]
pub struct NotForThisKey;

/// The parts of a well-formed envelope; nothing is decrypted yet.
#[derive(Debug)]
pub struct EnvelopedData<'a> {
    /// Which public key it is for: SHA-256 of its SubjectPublicKeyInfo.
    pub key_identifier: &'a [u8; 32],
    /// The content key under RSAES-OAEP.
    pub encrypted_key: &'a [u8],
    /// Of AES-256-CBC.
    pub iv: &'a [u8; BLOCK_BYTES],
    /// The content, chunks joined: whole blocks, at least one.
    pub content: Vec<u8>,
}

impl<'a> EnvelopedData<'a> {
    /// Walks `input` to its very end.
    ///
    /// # Errors
    /// Any byte out of place, and more than [`ENVELOPE_BYTES_MAX`] of them.
    pub fn parse(input: &'a [u8]) -> Result<Self, NotForThisKey> {
        if input.len() > ENVELOPE_BYTES_MAX {
            return Err(NotForThisKey);
        }
        let form = match input {
            [tag::SEQUENCE, INDEFINITE, ..] => Form::Ber,
            [tag::SEQUENCE, ..] => Form::Der,
            _ => return Err(NotForThisKey),
        };
        let mut walk = Walk { rest: input };
        let parsed = walk.outer(form, tag::SEQUENCE, |info| {
            info.literal(OID_ENVELOPED_DATA)?;
            info.outer(form, tag::EXPLICIT_0, |info| {
                info.outer(form, tag::SEQUENCE, |data| {
                    data.literal(VERSION_2)?;
                    let (key_identifier, encrypted_key) = recipient(data)?;
                    let (iv, content) = data.outer(form, tag::SEQUENCE, |content| {
                        encrypted_content(content, form)
                    })?;
                    Ok(Self {
                        key_identifier,
                        encrypted_key,
                        iv,
                        content,
                    })
                })
            })
        })?;
        walk.end()?;
        Ok(parsed)
    }

    /// Decrypts with the private key whose identifier is `own_identifier`. The
    /// identifier is compared before the private key is touched.
    ///
    /// # Errors
    /// One error for whatever is wrong.
    pub fn open(
        self,
        key: &OaepPrivateDecryptingKey,
        own_identifier: &[u8; 32],
    ) -> Result<Zeroizing<Vec<u8>>, NotForThisKey> {
        if self.key_identifier != own_identifier || self.encrypted_key.len() != key.key_size_bytes()
        {
            return Err(NotForThisKey);
        }
        let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
        let content_key = key
            .decrypt(
                &OAEP_SHA256_MGF1SHA256,
                self.encrypted_key,
                &mut buffer,
                None,
            )
            .map_err(|_| NotForThisKey)?;
        if content_key.len() != AES_256_KEY_BYTES {
            return Err(NotForThisKey);
        }
        let mut content = Zeroizing::new(self.content);
        UnboundCipherKey::new(&AES_256, content_key)
            .and_then(DecryptingKey::cbc)
            .and_then(|cipher| {
                let iv = DecryptionContext::Iv128(FixedLength::from(self.iv));
                cipher.decrypt(&mut content, iv).map(|_| ())
            })
            .map_err(|_| NotForThisKey)?;
        let length = unpadded_length(&content)?;
        content.truncate(length);
        Ok(content)
    }
}

const AES_256_KEY_BYTES: usize = 32;

/// The octet that says "ends at the end-of-contents mark" in place of a length.
const INDEFINITE: u8 = 0x80;

mod tag {
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const IMPLICIT_0: u8 = 0x80;
    pub(super) const EXPLICIT_0: u8 = 0xa0;
}

/// id-envelopedData 1.2.840.113549.1.7.3
const OID_ENVELOPED_DATA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03,
];
/// id-data 1.2.840.113549.1.7.1
const OID_DATA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01,
];
/// aes256-CBC 2.16.840.1.101.3.4.1.42
const OID_AES_256_CBC: &[u8] = &[
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a,
];
const VERSION_2: &[u8] = &[0x02, 0x01, 0x02];
/// AlgorithmIdentifier: id-RSAES-OAEP with SHA-256 and MGF1 over SHA-256, both with
/// their NULL, and no label. Compared whole: there is nothing to choose.
const OAEP_SHA_256: &[u8] = &[
    0x30, 0x3c, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07, // rsaesOaep
    0x30, 0x2f, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x01, 0x05, 0x00, // hash: sha256
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
    0x08, // mgf1
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
];

/// How the outer structures are spelt; the two are never mixed.
#[derive(Clone, Copy)]
enum Form {
    /// Indefinite lengths, as KMS writes them.
    Ber,
    /// Definite lengths throughout.
    Der,
}

/// RecipientInfos with its single KeyTransRecipientInfo, definite in every form.
fn recipient<'a>(data: &mut Walk<'a>) -> Result<(&'a [u8; 32], &'a [u8]), NotForThisKey> {
    let mut set = data.element(tag::SET)?;
    let mut info = set.element(tag::SEQUENCE)?;
    set.end()?;
    info.literal(VERSION_2)?;
    let identifier = info.element(tag::IMPLICIT_0)?.rest;
    info.literal(OAEP_SHA_256)?;
    let encrypted_key = info.element(tag::OCTET_STRING)?.rest;
    info.end()?;
    Ok((
        identifier.try_into().map_err(|_| NotForThisKey)?,
        encrypted_key,
    ))
}

/// EncryptedContentInfo's members.
fn encrypted_content<'a>(
    info: &mut Walk<'a>,
    form: Form,
) -> Result<(&'a [u8; BLOCK_BYTES], Vec<u8>), NotForThisKey> {
    info.literal(OID_DATA)?;
    let mut algorithm = info.element(tag::SEQUENCE)?;
    algorithm.literal(OID_AES_256_CBC)?;
    let iv = algorithm.element(tag::OCTET_STRING)?.rest;
    algorithm.end()?;

    let content = match (form, info.rest.first()) {
        (Form::Ber, Some(&tag::EXPLICIT_0)) => info.outer(Form::Ber, tag::EXPLICIT_0, chunks)?,
        _ => info.element(tag::IMPLICIT_0)?.rest.to_vec(),
    };
    if content.is_empty() || !content.len().is_multiple_of(BLOCK_BYTES) {
        return Err(NotForThisKey);
    }
    Ok((iv.try_into().map_err(|_| NotForThisKey)?, content))
}

/// One OCTET STRING after the other, up to the end-of-contents mark. Bounded by
/// the input: every turn consumes at least three bytes of it.
fn chunks(content: &mut Walk<'_>) -> Result<Vec<u8>, NotForThisKey> {
    let mut joined = Vec::new();
    while content.rest.first() == Some(&tag::OCTET_STRING) {
        let chunk = content.element(tag::OCTET_STRING)?.rest;
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
            return Err(NotForThisKey);
        }
        joined.extend_from_slice(chunk);
    }
    Ok(joined)
}

/// What is left to read of one structure.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], NotForThisKey> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(NotForThisKey)?;
        self.rest = rest;
        Ok(taken)
    }

    fn octet(&mut self) -> Result<u8, NotForThisKey> {
        self.take(1)?.first().copied().ok_or(NotForThisKey)
    }

    fn literal(&mut self, expected: &[u8]) -> Result<(), NotForThisKey> {
        self.rest = self.rest.strip_prefix(expected).ok_or(NotForThisKey)?;
        Ok(())
    }

    fn end(&self) -> Result<(), NotForThisKey> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(NotForThisKey)
        }
    }

    /// Tag, definite length in its shortest spelling, contents.
    fn element(&mut self, tag: u8) -> Result<Walk<'a>, NotForThisKey> {
        if self.octet()? != tag {
            return Err(NotForThisKey);
        }
        let length = match self.octet()? {
            short @ 0..=0x7f => usize::from(short),
            0x81 => match self.octet()? {
                0..=0x7f => return Err(NotForThisKey),
                length => usize::from(length),
            },
            0x82 => match u16::from_be_bytes([self.octet()?, self.octet()?]) {
                0..=0xff => return Err(NotForThisKey),
                length => usize::from(length),
            },
            // Indefinite is not for elements; longer lengths exceed any envelope.
            _ => return Err(NotForThisKey),
        };
        Ok(Walk {
            rest: self.take(length)?,
        })
    }

    /// One of the outer structures, spelt as `form` says, with nothing after what
    /// `inner` reads.
    fn outer<T>(
        &mut self,
        form: Form,
        tag: u8,
        inner: impl FnOnce(&mut Self) -> Result<T, NotForThisKey>,
    ) -> Result<T, NotForThisKey> {
        match form {
            Form::Ber => {
                self.literal(&[tag, INDEFINITE])?;
                let value = inner(self)?;
                self.literal(&[0, 0])?; // end of contents
                Ok(value)
            }
            Form::Der => {
                let mut contents = self.element(tag)?;
                let value = inner(&mut contents)?;
                contents.end()?;
                Ok(value)
            }
        }
    }
}

/// Length without PKCS#7 padding, all of which is looked at whatever it says.
fn unpadded_length(content: &[u8]) -> Result<usize, NotForThisKey> {
    let last_block: &[u8; BLOCK_BYTES] = content.last_chunk().ok_or(NotForThisKey)?;
    let [.., count] = *last_block;
    let block_bytes = 16_u8;
    let mut right = !count.ct_eq(&0) & !block_bytes.ct_lt(&count);
    for (from_end, octet) in (0_u8..).zip(last_block.iter().rev()) {
        let is_padding: Choice = from_end.ct_lt(&count);
        right &= octet.ct_eq(&count) | !is_padding;
    }
    if bool::from(right) {
        content
            .len()
            .checked_sub(usize::from(count))
            .ok_or(NotForThisKey)
    } else {
        Err(NotForThisKey)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_right_only_in_one_way() {
        for count in 1..=16_u8 {
            let mut block = [0xee; 32];
            block[32 - usize::from(count)..].fill(count);
            assert_eq!(
                unpadded_length(&block),
                Ok(32 - usize::from(count)),
                "{count}"
            );
            if count > 1 {
                block[32 - usize::from(count)] ^= 1;
                assert_eq!(unpadded_length(&block), Err(NotForThisKey), "{count}");
            }
        }
        for count in [0, 17, 32, 255] {
            assert_eq!(unpadded_length(&[count; 32]), Err(NotForThisKey), "{count}");
        }
        assert_eq!(unpadded_length(&[]), Err(NotForThisKey));
    }

    #[test]
    fn lengths_are_read_only_in_their_shortest_spelling() {
        let ok: [(&[u8], usize); 4] = [
            (&[4, 0], 0),
            (&[4, 1, 9], 1),
            (&[&[4, 0x81, 0x80][..], &[0; 128]].concat(), 128),
            (&[&[4, 0x82, 1, 0][..], &[0; 256]].concat(), 256),
        ];
        for (input, length) in ok {
            let element = Walk { rest: input }.element(tag::OCTET_STRING);
            assert_eq!(element.map(|e| e.rest.len()), Ok(length));
        }
        let long = [0; 300];
        let refused: [&[u8]; 7] = [
            &[4, 0x80, 0, 0],
            &[4, 0x81, 0x7f],
            &[4, 0x82, 0, 0xff],
            &[4, 0x83, 0, 1, 0],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[4, 0xff],
        ];
        for start in refused {
            let input = [start, &long].concat();
            assert!(
                Walk { rest: &input }.element(tag::OCTET_STRING).is_err(),
                "{start:02x?}"
            );
        }
    }

    #[test]
    fn refuses_more_bytes_than_kms_ever_sends() {
        let input = vec![0x30; ENVELOPE_BYTES_MAX + 1];
        assert!(EnvelopedData::parse(&input).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(
            input in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            prop_assert!(EnvelopedData::parse(&input).is_err());
        }

        #[test]
        fn any_bytes_after_a_right_beginning_are_refused_without_a_panic(
            tail in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0x30), Just(0x80), Just(0x04), Just(0)], 0..200),
        ) {
            let head = [
                0x30, 0x80, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03, 0xa0,
                0x80, 0x30, 0x80, 0x02, 0x01, 0x02,
            ];
            prop_assert!(EnvelopedData::parse(&[&head[..], &tail].concat()).is_err());
        }
    }
}
