//! Symmetric key material and the ciphertext blob around what it encrypts.
//!
//! Source of truth: ground truth KMS §4 (layout, sizes and header bytes, proved
//! on five real blobs). Outside, a blob is AWS's: `01 02 xx 00 78`, a 32-byte
//! handle of the key material, `01`, a 16-byte nonce for the key derivation, the
//! length of a PKCS #7 encryptedData and that. Inside it is ours: AES-256-GCM
//! under HKDF-SHA256(material, nonce), with everything before the ciphertext and
//! the sorted encryption context as associated data. The handle begins with
//! `drydock emulator`, so that nobody takes a blob for one of AWS's.
//!
//! Does not model the older headers, and cannot open AWS's blobs.

use std::{borrow::Cow, fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, hmac,
};
use nsm_sim::clock::UnixMillis;
use sha2::block_api::compress256;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    model::spec::RotationType,
    policy::EncryptionContext,
    recipient::cms::{header_bytes, push_header},
};

/// The longest blob that any operation takes or gives.
pub(crate) const BLOB_BYTES_MAX: usize = 6144;

const HANDLE_MARK: &[u8; 16] = b"drydock emulator";
/// Before the plaintext, so that the inner ciphertext is 27 bytes longer than
/// it, as AWS's is: this mark, the length, and the tag after it.
const PLAINTEXT_MARK: &[u8; 7] = b"drydock";
const HEADER_BYTES: usize = 5 + 32 + 1 + 16 + 4;
const KDF_NONCE_BYTES: usize = 16;
const GCM_NONCE_BYTES: usize = 12;

/// Names key material inside a blob.
pub(crate) type Handle = [u8; 32];

/// A 256-bit key, expanded once.
pub(crate) struct SymmetricMaterial {
    /// 64 hex digits: `KeyMaterialId`.
    pub(crate) id: String,
    pub(crate) handle: Handle,
    /// What the extracting half of HKDF makes of the secret and a fixed salt, ready to
    /// be expanded.
    expansion: Expansion,
    /// For the data directory; encryption needs `expansion` alone.
    secret: Zeroizing<[u8; 32]>,
}

/// Key material with how it came to be current.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) material: Arc<SymmetricMaterial>,
    /// `None` for the first.
    pub(crate) rotated: Option<(UnixMillis, RotationType)>,
}

/// The expanding half of HKDF-SHA256 for one message key (RFC 5869 §2.3, RFC 2104):
/// HMAC with its key taken in, which would otherwise be half of every derivation. The
/// library that does the rest of the cryptography keeps 700 bytes for that.
struct Expansion {
    inner: Zeroizing<[u32; 8]>,
    outer: Zeroizing<[u32; 8]>,
}

impl Expansion {
    /// The initial state of SHA-256 (FIPS 180-4 §5.3.3).
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    const INFO: &[u8; 12] = b"message key ";

    fn of(prk: &[u8; 32]) -> Self {
        let taken_in = |pad: u8| {
            let mut block = Zeroizing::new([pad; 64]);
            for (to, from) in block.iter_mut().zip(prk) {
                *to ^= from;
            }
            let mut state = Zeroizing::new(Self::START);
            compress256(&mut state, std::slice::from_ref(&*block));
            state
        };
        Self {
            inner: taken_in(0x36),
            outer: taken_in(0x5c),
        }
    }

    fn message_key(&self, kdf_nonce: &[u8; KDF_NONCE_BYTES]) -> Zeroizing<[u8; 32]> {
        // The info, and the number of the first and only block.
        let mut message = [1; 12 + KDF_NONCE_BYTES + 1];
        let (info, rest) = message.split_at_mut(Self::INFO.len());
        info.copy_from_slice(Self::INFO);
        let (nonce, _one) = rest.split_at_mut(KDF_NONCE_BYTES);
        nonce.copy_from_slice(kdf_nonce);
        let hash = Self::finish(&self.inner, &message);
        Self::finish(&self.outer, hash.as_slice())
    }

    /// The hash of one block and a `message` that fits into the next.
    fn finish(state: &[u32; 8], message: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut block = Zeroizing::new([0; 64]);
        let (start, rest) = block.split_at_mut(message.len());
        start.copy_from_slice(message);
        if let Some(end) = rest.first_mut() {
            *end = 0x80;
        }
        let bits = (64 + message.len() as u64) * 8;
        if let Some(length) = rest.last_chunk_mut::<8>() {
            *length = bits.to_be_bytes();
        }
        let mut state = Zeroizing::new(*state);
        compress256(&mut state, std::slice::from_ref(&*block));
        let mut hash = Zeroizing::new([0; 32]);
        for (to, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(&*state) {
            *to = word.to_be_bytes();
        }
        hash
    }
}

impl fmt::Debug for SymmetricMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SymmetricMaterial")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Which operation made a blob; AWS writes it into the third byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// `AQICAH…` in base64.
    Encrypt = 2,
    /// `AQIDAH…` in base64.
    GenerateDataKey = 3,
}

/// A blob does not open: not ours, changed, or under another context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlobError {
    Form,
    UnknownMaterial,
    Authentication,
}

impl BlobError {
    /// For the mock-only header and the log.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Form => "the blob is not in this emulator's form",
            Self::UnknownMaterial => "the blob was not made by any key of this emulator",
            Self::Authentication => {
                "the blob was changed, or the encryption context is another one"
            }
        }
    }
}

impl SymmetricMaterial {
    /// Material from 32 secret bytes for the key `key_id`.
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>, key_id: &str) -> Self {
        let (id, handle) = identify(key_id, secret.as_slice());
        // HKDF-Extract is HMAC keyed with the salt (RFC 5869 §2.2). The library's
        // own `Salt::extract` puts it off to every use, and keeps three copies.
        let salt = hmac::Key::new(hmac::HMAC_SHA256, b"drydock kms blob");
        let mut prk = Zeroizing::new([0; 32]);
        prk.copy_from_slice(hmac::sign(&salt, secret.as_slice()).as_ref());
        Self {
            id,
            handle,
            expansion: Expansion::of(&prk),
            secret: secret.clone(),
        }
    }

    /// The part of a handle that no other handle of this emulator has; `None` for a
    /// handle of AWS's.
    pub(crate) fn unique_part(handle: &Handle) -> Option<[u8; 16]> {
        let unique = handle.strip_prefix(HANDLE_MARK.as_slice())?;
        unique.try_into().ok()
    }

    /// What it was made from.
    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The key of blobs with that nonce; `None` when the cryptographic library fails.
    pub(crate) fn message_key(&self, kdf_nonce: &[u8; KDF_NONCE_BYTES]) -> Option<MessageKey> {
        let key = self.expansion.message_key(kdf_nonce);
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?;
        Some(MessageKey {
            handle: self.handle,
            kdf_nonce: *kdf_nonce,
            key: LessSafeKey::new(key),
        })
    }

    /// Encrypts under a message key of its own; `None` when the cryptographic library
    /// fails. `nonces` are 28 fresh random bytes.
    pub(crate) fn seal(
        &self,
        maker: Maker,
        context: &EncryptionContext,
        plaintext: &[u8],
        nonces: &[u8; 28],
    ) -> Option<Vec<u8>> {
        let (kdf_nonce, _) = nonces.split_first_chunk()?;
        let (_, gcm_nonce) = nonces.split_last_chunk()?;
        self.message_key(kdf_nonce)?
            .seal(maker, context, plaintext, gcm_nonce)
    }
}

/// What HKDF makes of key material and a nonce, expanded for AES: the key of all blobs
/// under that material with that nonce.
pub(crate) struct MessageKey {
    handle: Handle,
    kdf_nonce: [u8; KDF_NONCE_BYTES],
    key: LessSafeKey,
}

impl MessageKey {
    /// Whether it was made of that material.
    pub(super) fn is_of(&self, material: &SymmetricMaterial) -> bool {
        self.handle == material.handle
    }

    /// Whether it is the key of blobs of that material with that nonce.
    pub(super) fn is_for(
        &self,
        material: &SymmetricMaterial,
        kdf_nonce: &[u8; KDF_NONCE_BYTES],
    ) -> bool {
        self.kdf_nonce == *kdf_nonce && self.is_of(material)
    }

    /// Encrypts; `None` when the cryptographic library fails. `gcm_nonce` is fresh and
    /// random.
    pub(crate) fn seal(
        &self,
        maker: Maker,
        context: &EncryptionContext,
        plaintext: &[u8],
        gcm_nonce: &[u8; GCM_NONCE_BYTES],
    ) -> Option<Vec<u8>> {
        let inner_bytes = PLAINTEXT_MARK.len() + 4 + plaintext.len();
        let mut blob = Vec::with_capacity(HEADER_BYTES + inner_bytes + 128);
        blob.extend_from_slice(&[1, 2, maker as u8, 0, 0x78]);
        blob.extend_from_slice(&self.handle);
        blob.push(1);
        blob.extend_from_slice(&self.kdf_nonce);
        let ciphertext_bytes = inner_bytes + AES_256_GCM.tag_len();
        let lengths = Lengths::around(ciphertext_bytes);
        let length = u32::try_from(lengths.prefix() + ciphertext_bytes).ok()?;
        blob.extend_from_slice(&length.to_be_bytes());
        lengths.push_prefix(&mut blob, gcm_nonce);
        let before_bytes = blob.len();
        let length = u32::try_from(plaintext.len()).ok()?.to_be_bytes();

        blob.extend_from_slice(PLAINTEXT_MARK);
        blob.extend_from_slice(&length);
        blob.extend_from_slice(plaintext);
        let (before, inner) = blob.split_at_mut(before_bytes);
        let aad = Aad::from(associated_data(before, context));
        let nonce = Nonce::assume_unique_for_key(*gcm_nonce);
        let Ok(tag) = self.key.seal_in_place_separate_tag(nonce, aad, inner) else {
            inner.zeroize();
            return None;
        };
        blob.extend_from_slice(tag.as_ref());
        Some(blob)
    }
}

/// `KeyMaterialId` and handle of the material of the key `key_id` that alone has
/// `unique`.
pub(crate) fn identify(key_id: &str, unique: &[u8]) -> (String, Handle) {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"drydock key material id ");
    hash.update(key_id.as_bytes());
    hash.update(unique);
    let id = hash.finish();
    let mut handle = [0; 32];
    let (mark, rest) = handle.split_at_mut(HANDLE_MARK.len());
    mark.copy_from_slice(HANDLE_MARK);
    let id_digest = digest::digest(&digest::SHA256, id.as_ref());
    for (to, from) in rest.iter_mut().zip(id_digest.as_ref()) {
        *to = *from;
    }
    (hex::encode(id), handle)
}

/// A blob in this emulator's form; not yet authenticated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a> {
    pub(crate) handle: &'a Handle,
    before_ciphertext: &'a [u8],
    pub(super) kdf_nonce: &'a [u8; KDF_NONCE_BYTES],
    gcm_nonce: &'a [u8; GCM_NONCE_BYTES],
    ciphertext: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Takes a blob apart. There is one encoding only: whatever differs from
    /// what [`SymmetricMaterial::seal`] writes is refused.
    pub(crate) fn parse(blob: &'a [u8]) -> Result<Self, BlobError> {
        Self::read(blob).ok_or(BlobError::Form)
    }

    fn read(blob: &'a [u8]) -> Option<Self> {
        if blob.len() > BLOB_BYTES_MAX {
            return None;
        }
        let (start, rest) = blob.split_first_chunk::<5>()?;
        if !matches!(start, [1, 2, 2 | 3, 0, 0x78]) {
            return None;
        }
        let (handle, rest) = rest.split_first_chunk::<32>()?;
        let (one, rest) = rest.split_first()?;
        let (kdf_nonce, rest) = rest.split_first_chunk::<KDF_NONCE_BYTES>()?;
        let (length, data) = rest.split_first_chunk::<4>()?;
        if *one != 1 || usize::try_from(u32::from_be_bytes(*length)) != Ok(data.len()) {
            return None;
        }
        // The prefix is a function of nonce and ciphertext length alone, and that of
        // the whole length.
        let (prefix_bytes, ciphertext_bytes) = (PREFIX_BYTES_MIN..=PREFIX_BYTES_MAX)
            .filter_map(|prefix_bytes| Some((prefix_bytes, data.len().checked_sub(prefix_bytes)?)))
            .find(|(prefix, ciphertext)| Lengths::around(*ciphertext).prefix() == *prefix)?;
        let (prefix, ciphertext) = data.split_at_checked(prefix_bytes)?;
        let after_nonce = TAG_LENGTH_16.len() + header_bytes(ciphertext_bytes);
        let (before, _) = prefix.split_at_checked(prefix_bytes - after_nonce)?;
        let (_, gcm_nonce) = before.split_last_chunk::<GCM_NONCE_BYTES>()?;
        let mut expected = Vec::with_capacity(prefix_bytes);
        Lengths::around(ciphertext_bytes).push_prefix(&mut expected, gcm_nonce);
        if expected != prefix {
            return None;
        }
        Some(Self {
            handle,
            before_ciphertext: blob.get(..blob.len() - ciphertext.len())?,
            kdf_nonce,
            gcm_nonce,
            ciphertext,
        })
    }

    /// Decrypts with the key of the material that the handle names and of the nonce.
    pub(crate) fn open(
        &self,
        key: &MessageKey,
        context: &EncryptionContext,
    ) -> Result<Zeroizing<Vec<u8>>, BlobError> {
        let wrong = BlobError::Authentication;
        let nonce = Nonce::assume_unique_for_key(*self.gcm_nonce);
        let aad = associated_data(self.before_ciphertext, context);
        let mut inner = Zeroizing::new(self.ciphertext.to_vec());
        let opened = key
            .key
            .open_in_place(nonce, Aad::from(aad), &mut inner)
            .map_err(|_| wrong)?;
        let opened_bytes = opened.len();
        let (mark, rest) = opened.split_at_checked(PLAINTEXT_MARK.len()).ok_or(wrong)?;
        let (length, plaintext) = rest.split_first_chunk::<4>().ok_or(wrong)?;
        if mark != PLAINTEXT_MARK
            || usize::try_from(u32::from_be_bytes(*length)) != Ok(plaintext.len())
        {
            return Err(wrong);
        }
        let before = opened_bytes - plaintext.len();
        inner.truncate(opened_bytes);
        inner.drain(..before);
        Ok(inner)
    }
}

/// INTEGER 16, the tag's length.
const TAG_LENGTH_16: &[u8] = b"\x02\x01\x10";

const ENCRYPTED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";
const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const VERSION_0: &[u8] = b"\x02\x01\x00";
/// AlgorithmIdentifier of AES-256-GCM with a nonce of 12 bytes, up to the nonce.
const AES256_GCM: &[u8] = b"\x30\x1e\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2e\
    \x30\x11\x04\x0c";
/// The shortest and the longest prefix there are.
const PREFIX_BYTES_MIN: usize = Lengths::around(0).prefix();
const PREFIX_BYTES_MAX: usize = Lengths::around(BLOB_BYTES_MAX).prefix();

/// What the headers of an encryptedData count, from the inside out: each what
/// comes after it.
struct Lengths {
    ciphertext: usize,
    content: usize,
    encrypted: usize,
    explicit: usize,
    whole: usize,
}

impl Lengths {
    const fn around(ciphertext: usize) -> Self {
        const fn element(length: usize) -> usize {
            header_bytes(length) + length
        }
        let algorithm = AES256_GCM.len() + GCM_NONCE_BYTES + TAG_LENGTH_16.len();
        let content = DATA.len() + algorithm + element(ciphertext);
        let encrypted = VERSION_0.len() + element(content);
        let explicit = element(encrypted);
        Self {
            ciphertext,
            content,
            encrypted,
            explicit,
            whole: ENCRYPTED_DATA.len() + element(explicit),
        }
    }

    /// Bytes up to the ciphertext's first.
    const fn prefix(&self) -> usize {
        header_bytes(self.whole) + self.whole - self.ciphertext
    }

    /// The DER of PKCS #7 encryptedData up to the ciphertext's first byte.
    fn push_prefix(&self, out: &mut Vec<u8>, gcm_nonce: &[u8; GCM_NONCE_BYTES]) {
        push_header(out, 0x30, self.whole);
        out.extend_from_slice(ENCRYPTED_DATA);
        push_header(out, 0xa0, self.explicit);
        push_header(out, 0x30, self.encrypted);
        out.extend_from_slice(VERSION_0);
        push_header(out, 0x30, self.content);
        out.extend_from_slice(DATA);
        out.extend_from_slice(AES256_GCM);
        out.extend_from_slice(gcm_nonce);
        out.extend_from_slice(TAG_LENGTH_16);
        push_header(out, 0x80, self.ciphertext);
    }
}

/// Header and encryption context, each part with its length, keys sorted.
fn associated_data<'a>(before_ciphertext: &'a [u8], context: &EncryptionContext) -> Cow<'a, [u8]> {
    if context.is_empty() {
        return before_ciphertext.into();
    }
    let pairs: usize = context.iter().map(|(k, v)| k.len() + v.len() + 16).sum();
    let mut out = Vec::with_capacity(before_ciphertext.len() + pairs);
    out.extend_from_slice(before_ciphertext);
    for (key, value) in context {
        for part in [key, value] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hkdf;
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    use proptest::prelude::*;

    use super::*;

    fn material(n: u8) -> SymmetricMaterial {
        SymmetricMaterial::new(&Zeroizing::new([n; 32]), "key")
    }

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn open(blob: &[u8], n: u8, pairs: &[(&str, &str)]) -> Result<Vec<u8>, BlobError> {
        let blob = Blob::parse(blob)?;
        let key = material(n).message_key(blob.kdf_nonce).unwrap();
        Ok(blob.open(&key, &context(pairs))?.to_vec())
    }

    #[test]
    fn message_keys_are_those_of_hkdf() {
        let secret = [1; 32];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"drydock kms blob");
        let prk = salt.extract(&secret);
        let info = [b"message key ".as_slice(), &[5; 16]];
        let key = UnboundKey::from(prk.expand(&info, &AES_256_GCM).unwrap());
        let blob = material(1)
            .seal(Maker::Encrypt, &context(&[]), b"secret", &[5; 28])
            .unwrap();
        let parsed = Blob::parse(&blob).unwrap();
        let nonce = Nonce::try_assume_unique_for_key(parsed.gcm_nonce).unwrap();
        let mut inner = parsed.ciphertext.to_vec();
        let aad = Aad::from(parsed.before_ciphertext);
        let opened = LessSafeKey::new(key).open_in_place(nonce, aad, &mut inner);
        assert!(opened.unwrap().ends_with(b"secret"));
    }

    #[test]
    fn blobs_have_the_sizes_and_the_look_of_awss() {
        for (plaintext, size) in [(32, 184), (28, 180), (6, 158), (5, 157), (4096, 4256 + 4)] {
            let plaintext = vec![9; plaintext];
            let blob = material(1)
                .seal(Maker::Encrypt, &context(&[]), &plaintext, &[5; 28])
                .unwrap();
            if size < 200 {
                assert_eq!(blob.len(), size);
            } else {
                assert!(blob.len() <= size, "{}", blob.len());
            }
            assert!(BASE64.encode(&blob).starts_with("AQICAH"));
            assert_eq!(open(&blob, 1, &[]).unwrap(), plaintext);
        }
        let blob = material(1)
            .seal(Maker::GenerateDataKey, &context(&[]), b"x", &[5; 28])
            .unwrap();
        assert!(BASE64.encode(&blob).starts_with("AQIDAH"));
        assert!(String::from_utf8_lossy(&blob).contains("drydock emulator"));
    }

    #[test]
    fn a_real_blob_has_the_same_structure_and_is_unknown() {
        let Some(folder) = crate::recipient::tests::corpus("kms-blobs") else {
            return;
        };
        let text = std::fs::read_to_string(folder.join("real-ciphertext-blobs.json")).unwrap();
        let blobs: std::collections::BTreeMap<String, String> =
            serde_json::from_str(&text).unwrap();
        let real = BASE64.decode(&blobs["2025-encrypt-us-east-2"]).unwrap();
        assert_eq!(real.len(), 184);
        let parsed = Blob::parse(&real).unwrap();
        assert_ne!(parsed.handle, &material(1).handle);
        for (name, blob) in &blobs {
            assert!(
                open(&BASE64.decode(blob).unwrap(), 1, &[]).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_refused() {
        for plaintext in [vec![1; 32], vec![2; 300]] {
            let blob = material(1)
                .seal(
                    Maker::GenerateDataKey,
                    &context(&[("a", "b")]),
                    &plaintext,
                    &[6; 28],
                )
                .unwrap();
            for bit in 0..blob.len() * 8 {
                let mut changed = blob.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let is_another_keys =
                    Blob::parse(&changed).is_ok_and(|it| *it.handle != material(1).handle);
                let opened = open(&changed, 1, &[("a", "b")]);
                assert!(is_another_keys || opened.is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn only_the_same_context_and_the_same_material_open_a_blob() {
        let pairs = [("purpose", "inference-input"), ("job", "7")];
        let blob = material(1)
            .seal(Maker::Encrypt, &context(&pairs), b"secret", &[7; 28])
            .unwrap();
        assert_eq!(open(&blob, 1, &[pairs[1], pairs[0]]).unwrap(), b"secret");
        for wrong in [
            &[][..],
            &pairs[..1],
            &[("purpose", "inference-input"), ("job", "8")],
            &[("purpose", "inference-inputj"), ("ob", "7")],
            &[("Purpose", "inference-input"), ("job", "7")],
        ] {
            assert_eq!(open(&blob, 1, wrong), Err(BlobError::Authentication));
        }
        assert_eq!(open(&blob, 2, &pairs), Err(BlobError::Authentication));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Blob::parse(&bytes);
        }

        #[test]
        fn whatever_is_sealed_opens(
            plaintext in proptest::collection::vec(any::<u8>(), 0..600),
            pairs in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
            nonces in any::<[u8; 28]>(),
        ) {
            let blob = material(3).seal(Maker::Encrypt, &pairs, &plaintext, &nonces).unwrap();
            let blob = Blob::parse(&blob).unwrap();
            let key = material(3).message_key(blob.kdf_nonce).unwrap();
            let opened = blob.open(&key, &pairs).unwrap();
            prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
        }
    }
}
