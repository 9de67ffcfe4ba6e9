//! Real answers re-encode byte for byte; ours open with the enclave's key.

use std::path::PathBuf;

use aws_lc_rs::{
    cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey},
    rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};

use super::{
    cms::{ContentForm, Envelope, Oaep, encrypt_content},
    *,
};

/// The corpus folder, or `None` (with a line that says so) outside CI.
pub(crate) fn corpus(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let folder = root.join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} is missing in CI",
        folder.display()
    );
    println!("skipped: {} is missing", folder.display());
    None
}

/// A document verifier for tests: the "document" is JSON.
#[derive(Debug)]
pub(crate) struct JsonVerifier;

impl DocumentVerifier for JsonVerifier {
    fn verify(&self, document: &[u8], _: UnixMillis) -> Result<VerifiedDocument, DocumentRefused> {
        let refused = |cause: String| DocumentRefused { cause };
        let json: serde_json::Value =
            serde_json::from_slice(document).map_err(|error| refused(error.to_string()))?;
        let pcrs = json["pcrs"]
            .as_object()
            .ok_or_else(|| refused("no pcrs".into()))?;
        Ok(VerifiedDocument {
            module_id: "i-00000000000000000-enc0000000000000000".into(),
            timestamp: UnixMillis(json["timestamp"].as_u64().unwrap_or(0)),
            pcrs: pcrs
                .iter()
                .map(|(n, v)| {
                    (
                        n.parse().unwrap(),
                        hex::decode(v.as_str().unwrap()).unwrap(),
                    )
                })
                .collect(),
            nitrotpm: json["nitrotpm"].as_bool().unwrap_or(false),
            public_key: json["public_key"]
                .as_str()
                .map(|text| hex::decode(text).unwrap()),
        })
    }
}

pub(crate) fn json_document(
    timestamp: UnixMillis,
    pcrs: &[(u8, &str)],
    public_key: Option<&[u8]>,
) -> Vec<u8> {
    let pcrs: BTreeMap<String, &str> = pcrs.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    serde_json::to_vec(&serde_json::json!({
        "timestamp": timestamp.0,
        "pcrs": pcrs,
        "public_key": public_key.map(hex::encode),
    }))
    .unwrap()
}

/// An enclave's key pair of a test.
pub(crate) struct EnclaveKey {
    private: OaepPrivateDecryptingKey,
    pub(crate) spki: Vec<u8>,
}

impl EnclaveKey {
    pub(crate) fn generate(size: KeySize) -> Self {
        let private = PrivateDecryptingKey::generate(size).unwrap();
        let spki = AsDer::as_der(&private.public_key())
            .unwrap()
            .as_ref()
            .to_vec();
        Self {
            private: OaepPrivateDecryptingKey::new(private).unwrap(),
            spki,
        }
    }

    /// Opens a `CiphertextForRecipient`.
    pub(crate) fn open(&self, ber: &[u8]) -> Vec<u8> {
        let parts = Parts::walk(ber);
        let spki_digest = digest::digest(&digest::SHA256, &self.spki);
        assert_eq!(parts.key_id, spki_digest.as_ref());
        let mut content_key = vec![0; self.private.min_output_size()];
        let content_key = self
            .private
            .decrypt(
                &OAEP_SHA256_MGF1SHA256,
                &parts.encrypted_key,
                &mut content_key,
                None,
            )
            .unwrap();
        let key = UnboundCipherKey::new(&AES_256, content_key).unwrap();
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).unwrap();
        let mut content = parts.content.clone();
        let iv = DecryptionContext::Iv128(parts.iv.into());
        key.decrypt(&mut content, iv).unwrap().to_vec()
    }
}

/// What the encoder is given, read from a capture.
struct Parts {
    key_id: Vec<u8>,
    oaep: Oaep,
    encrypted_key: Vec<u8>,
    iv: [u8; 16],
    content: Vec<u8>,
    form: ContentForm,
}

/// A reader of BER just good enough for the captures.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    /// Tag, contents and, for an indefinite length, `None` with the reader left
    /// at the first element inside.
    fn next(&mut self) -> (u8, Option<&'a [u8]>) {
        let (tag, length) = (self.0[0], self.0[1]);
        self.0 = &self.0[2..];
        let length = match length {
            0x80 => return (tag, None),
            0..0x80 => usize::from(length),
            long => {
                let digits = usize::from(long & 0x7f);
                let (bytes, rest) = self.0.split_at(digits);
                self.0 = rest;
                bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b))
            }
        };
        let (contents, rest) = self.0.split_at(length);
        self.0 = rest;
        (tag, Some(contents))
    }

    fn contents(&mut self, tag: u8) -> &'a [u8] {
        let (found, contents) = self.next();
        assert_eq!(found, tag);
        contents.unwrap()
    }
}

impl Parts {
    fn walk(ber: &[u8]) -> Self {
        let mut outer = Walk(ber);
        assert_eq!(outer.next(), (0x30, None));
        outer.contents(0x06);
        assert_eq!(outer.next(), (0xa0, None));
        assert_eq!(outer.next(), (0x30, None));
        outer.contents(0x02);
        let mut set = Walk(outer.contents(0x31));
        let mut recipient = Walk(set.contents(0x30));
        recipient.contents(0x02);
        let key_id = recipient.contents(0x80).to_vec();
        let mut algorithm = Walk(recipient.contents(0x30));
        algorithm.contents(0x06);
        let oaep = if algorithm.contents(0x30).is_empty() {
            Oaep::Sha1Default
        } else {
            Oaep::Sha256
        };
        let encrypted_key = recipient.contents(0x04).to_vec();
        assert_eq!(outer.next(), (0x30, None));
        outer.contents(0x06);
        let mut algorithm = Walk(outer.contents(0x30));
        algorithm.contents(0x06);
        let iv = algorithm.contents(0x04).try_into().unwrap();
        let (tag, contents) = outer.next();
        let (content, form) = match (tag, contents) {
            (0x80, Some(content)) => (content.to_vec(), ContentForm::Primitive),
            (0xa0, None) => {
                let mut content = Vec::new();
                while outer.0[0] == 0x04 {
                    content.extend_from_slice(outer.contents(0x04));
                }
                (content, ContentForm::Chunked)
            }
            other => panic!("content is {other:?}"),
        };
        Self {
            key_id,
            oaep,
            encrypted_key,
            iv,
            content,
            form,
        }
    }
}

#[test]
fn all_captured_answers_re_encode_byte_for_byte() {
    let Some(folder) = corpus("cms") else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "ber") {
            continue;
        }
        let capture = std::fs::read(&path).unwrap();
        let parts = Parts::walk(&capture);
        let envelope = Envelope {
            key_id: &parts.key_id,
            oaep: parts.oaep,
            encrypted_key: &parts.encrypted_key,
            iv: &parts.iv,
            content: &parts.content,
            form: parts.form,
        };
        assert_eq!(
            hex::encode(envelope.encode()),
            hex::encode(&capture),
            "{}",
            path.display()
        );
        count += 1;
        let public_key = path.with_extension("pub.spki.der");
        if let Ok(spki) = std::fs::read(public_key) {
            assert_eq!(
                parts.key_id,
                digest::digest(&digest::SHA256, &spki).as_ref()
            );
        }
        let (cek, plaintext) = (
            path.with_extension("cek.bin"),
            path.with_extension("plaintext.bin"),
        );
        if let (Ok(cek), Ok(plaintext)) = (std::fs::read(cek), std::fs::read(plaintext)) {
            let content = encrypt_content(&cek.try_into().unwrap(), parts.iv, &plaintext).unwrap();
            assert_eq!(content, parts.content, "{}", path.display());
        }
    }
    assert_eq!(count, 15);
}

fn rules(now: UnixMillis) -> Rules<'static> {
    Rules {
        verifier: &JsonVerifier,
        now,
        freshness_window: Duration::from_secs(300),
        rsa_2048_only: false,
    }
}

#[test]
fn an_answer_has_the_size_of_awss_and_opens_with_the_enclaves_key() {
    for (size, plaintext_length, expected) in [
        (KeySize::Rsa2048, 32, Some(493)),
        (KeySize::Rsa2048, 12, Some(461)),
        (KeySize::Rsa2048, 4096, Some(4573)),
        (KeySize::Rsa3072, 32, None),
        (KeySize::Rsa4096, 32, None),
    ] {
        let key = EnclaveKey::generate(size);
        let now = UnixMillis(1_000_000);
        let document = json_document(now, &[(0, "00")], Some(&key.spki));
        let recipient = Recipient::admit(&document, rules(now)).unwrap();
        let plaintext = vec![7; plaintext_length];
        let answer = recipient.seal(&plaintext, &Entropy::system()).unwrap();
        if let Some(expected) = expected {
            assert_eq!(answer.len(), expected);
        }
        assert_eq!(key.open(&answer), plaintext);
    }
}

#[test]
fn a_document_is_refused_with_its_cause() {
    let key = EnclaveKey::generate(KeySize::Rsa3072);
    let now = UnixMillis(1_000_000_000);
    let at = |timestamp| json_document(timestamp, &[(0, "00")], Some(&key.spki));
    let admit = |document: &[u8], rules| Recipient::admit(document, rules).map(|_| ()).unwrap_err();
    assert_eq!(
        admit(&at(UnixMillis(now.0 - 301_000)), rules(now)),
        RecipientError::Stale {
            age_secs: 301,
            window_secs: 300
        }
    );
    assert!(Recipient::admit(&at(UnixMillis(now.0 - 300_000)), rules(now)).is_ok());
    assert_eq!(
        admit(&at(UnixMillis(now.0 + 301_000)), rules(now)),
        RecipientError::FromTheFuture { ahead_secs: 301 }
    );
    assert_eq!(
        admit(&json_document(now, &[], None), rules(now)),
        RecipientError::NoPublicKey
    );
    assert_eq!(
        admit(&json_document(now, &[], Some(b"not a key")), rules(now)),
        RecipientError::NotRsa
    );
    let mut trailing = key.spki.clone();
    trailing.push(0);
    assert_eq!(
        admit(&json_document(now, &[], Some(&trailing)), rules(now)),
        RecipientError::NotRsa
    );
    let strict = Rules {
        rsa_2048_only: true,
        ..rules(now)
    };
    assert_eq!(
        admit(&at(now), strict),
        RecipientError::KeySize { bits: 3072 }
    );
    assert!(matches!(
        admit(b"x", rules(now)),
        RecipientError::NotVerified { .. }
    ));
}
