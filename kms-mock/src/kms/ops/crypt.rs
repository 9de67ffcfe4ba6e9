//! `Encrypt`, `Decrypt` (attested or not) and `ReEncrypt`, with symmetric keys
//! and with RSA keys.
//!
//! Source of truth: the KMS service model; recorded answers and texts; ground
//! truth KMS §1 (what an attested answer holds, and what not), §2 (order of the
//! checks) and §4.
//!
//! Unknown and chosen: with a `KeyId` the key is found and permission is asked
//! before the ciphertext is looked at; the texts for an encryption context beside
//! an RSA key and for an RSA ciphertext without a `KeyId`; that what does not fit
//! an RSA key is told before `DryRun`.

use zeroize::Zeroizing;

use super::grant;
use crate::{
    keys::{
        material::{BLOB_BYTES_MAX, Blob, BlobError, Maker},
        oaep::OaepKey,
        secret::Works,
    },
    kms::{
        call::{Aliases, Answer, CallContext, Found},
        error::{Failure, Invalid},
        fields::{Fields, KEY_ID},
        json::{ANSWER_BYTES, Answered},
        sealing::Symmetric,
    },
    model::spec::{EncryptionAlgorithm, KeyUsage},
    policy::{EncryptionContext, Facts},
};

const PLAINTEXT_BYTES_MAX: usize = 4096;
const ALGORITHMS: &str = "[RSAES_OAEP_SHA_1, SYMMETRIC_DEFAULT, RSAES_OAEP_SHA_256]";

/// A key that encrypts with one algorithm under one context.
#[derive(Clone, Copy, Debug)]
struct Cipher<'a> {
    found: &'a Found,
    algorithm: EncryptionAlgorithm,
    context: &'a EncryptionContext,
    by: By<'a>,
}

#[derive(Clone, Copy, Debug)]
enum By<'a> {
    Symmetric(Symmetric<'a>),
    Rsa(&'a OaepKey),
}

impl<'a> Cipher<'a> {
    fn of(
        found: &'a Found,
        algorithm: EncryptionAlgorithm,
        context: &'a EncryptionContext,
        operation: &'static str,
    ) -> Result<Self, Failure> {
        found.must_be_for(KeyUsage::EncryptDecrypt, operation)?;
        let spec = found.key.spec;
        found.must_accept(&algorithm, algorithm.name(), spec.encryption_algorithms())?;
        let by = if spec.is_symmetric_encryption() {
            By::Symmetric(Symmetric::of(found, operation)?)
        } else {
            if !context.is_empty() {
                return Err(Failure::Invalid(Invalid::ContextWithAsymmetric));
            }
            match found.works()? {
                Works::Decrypt(key) => By::Rsa(key),
                _ => return Err(Failure::Internal),
            }
        };
        Ok(Self {
            found,
            algorithm,
            context,
            by,
        })
    }

    /// Refuses what RSA cannot encrypt.
    fn must_fit(&self, plaintext: &[u8]) -> Result<(), Failure> {
        let By::Rsa(key) = self.by else {
            return Ok(());
        };
        match key.plaintext_bytes_max(self.algorithm) {
            Some(bytes_max) if plaintext.len() > bytes_max => {
                Err(Failure::Invalid(Invalid::PlaintextLength {
                    algorithm: self.algorithm.name(),
                    spec: self.found.key.spec.name(),
                    bytes_max,
                }))
            }
            _ => Ok(()),
        }
    }

    fn encrypt(&self, call: &CallContext<'_>, plaintext: &[u8]) -> Result<Vec<u8>, Failure> {
        match self.by {
            By::Symmetric(key) => key.seal(call, Maker::Encrypt, self.context, plaintext),
            By::Rsa(key) => key
                .encrypt(self.algorithm, plaintext)
                .ok_or(Failure::Internal),
        }
    }

    /// The `KeyMaterialId` of what it encrypts now; symmetric keys only.
    fn material_id(&self) -> Option<&'a str> {
        match self.by {
            By::Symmetric(key) => Some(&key.current.id),
            By::Rsa(_) => None,
        }
    }
}

fn read_algorithm(fields: &mut Fields, member: &str) -> EncryptionAlgorithm {
    fields
        .choice(member, EncryptionAlgorithm::parse, ALGORITHMS)
        .unwrap_or(EncryptionAlgorithm::SymmetricDefault)
}

pub(crate) fn encrypt(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let plaintext = Zeroizing::new(fields.required_blob("Plaintext", 1, PLAINTEXT_BYTES_MAX));
    let context = fields.map("EncryptionContext").unwrap_or_default();
    let tokens = fields.texts("GrantTokens", 0, 10);
    let algorithm = read_algorithm(fields, "EncryptionAlgorithm");
    let dry_run = fields.flag("DryRun");
    fields.finish()?;
    grant::check_tokens(tokens)?;
    call.note_context(&context);
    let found = call.find(&key_id, Aliases::Accepted)?;
    let facts = Facts {
        encryption_context: Some(&context),
        encryption_algorithm: Some(algorithm.name()),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    found.must_be_enabled()?;
    let cipher = Cipher::of(&found, algorithm, &context, "Encrypt")?;
    cipher.must_fit(&plaintext)?;
    if dry_run {
        return Err(Failure::DryRun);
    }
    let blob = cipher.encrypt(call, &plaintext)?;
    Ok(Answered::with_capacity(ANSWER_BYTES)
        .blob("CiphertextBlob", &blob)
        .text("KeyId", &found.key.arn)
        .text("EncryptionAlgorithm", algorithm.name())
        .finish())
}

/// The ciphertext of a request, with how it is to be treated.
#[derive(Debug)]
struct Ciphertext {
    blob: Option<Vec<u8>>,
    dry_run: bool,
}

/// A ciphertext as a blob; `None` when it is ignored or RSA's.
type Parsed<'a> = Option<Result<Blob<'a>, BlobError>>;

/// What a ciphertext held, and the material it was under; RSA keys have no
/// `KeyMaterialId`.
struct Opened<'a> {
    plaintext: Zeroizing<Vec<u8>>,
    material_id: Option<&'a str>,
}

impl Ciphertext {
    fn read(fields: &mut Fields) -> (Self, bool) {
        let blob = fields.blob("CiphertextBlob", 1, BLOB_BYTES_MAX);
        let dry_run = fields.flag("DryRun");
        let modifiers = fields.choices(
            "DryRunModifiers",
            (0, 10),
            |text| (text == "IGNORE_CIPHERTEXT").then_some(()),
            "[IGNORE_CIPHERTEXT]",
        );
        let ignored = modifiers.is_some_and(|modifiers| !modifiers.is_empty());
        (Self { blob, dry_run }, ignored)
    }

    /// What is left to look at: nothing when the ciphertext shall be ignored.
    fn check(self, ignored: bool) -> Result<Self, Failure> {
        if ignored && !self.dry_run {
            return Err(Failure::Invalid(Invalid::DryRunModifiersWithoutDryRun));
        }
        if ignored {
            return Ok(Self { blob: None, ..self });
        }
        if self.blob.is_none() {
            return Err(Failure::Invalid(Invalid::CiphertextRequired));
        }
        Ok(self)
    }

    /// The blob, if that is what it has to be.
    fn parsed(&self, algorithm: EncryptionAlgorithm) -> Parsed<'_> {
        let blob = self.blob.as_deref();
        blob.filter(|_| algorithm == EncryptionAlgorithm::SymmetricDefault)
            .map(Blob::parse)
    }

    /// The key: as named, or as the ciphertext tells.
    fn find_key(
        call: &mut CallContext<'_>,
        key_id: Option<&str>,
        algorithm: EncryptionAlgorithm,
        blob: Parsed<'_>,
    ) -> Result<Found, Failure> {
        if let Some(key_id) = key_id {
            return call.find(key_id, Aliases::Accepted);
        }
        if algorithm != EncryptionAlgorithm::SymmetricDefault {
            return Err(Failure::Invalid(Invalid::KeyIdRequired));
        }
        let Some(blob) = blob else {
            return Err(Failure::Invalid(Invalid::CiphertextRequired));
        };
        let blob = blob.map_err(unopened)?;
        call.find_by_ciphertext(blob.handle)?
            .ok_or_else(|| unopened(BlobError::UnknownMaterial))
    }

    /// Refuses a ciphertext of another key before anything is said of the key
    /// that was named. Recorded: Decrypt with an HMAC key, and ReEncrypt from one.
    fn must_be_of(call: &CallContext<'_>, found: &Found, blob: Parsed<'_>) -> Result<(), Failure> {
        let Some(Ok(blob)) = blob else { return Ok(()) };
        if found.record.by_handle(blob.handle).is_some() {
            return Ok(());
        }
        match call.store().key_by_handle(blob.handle) {
            Some(_) => Err(Failure::IncorrectKey),
            None => Ok(()),
        }
    }

    /// Opens it with `cipher`; `None` when it shall be ignored.
    fn open<'f>(
        &self,
        call: &CallContext<'_>,
        cipher: &Cipher<'f>,
        blob: Parsed<'_>,
    ) -> Result<Option<Opened<'f>>, Failure> {
        let Some(whole) = &self.blob else {
            return Ok(None);
        };
        if let By::Rsa(key) = cipher.by {
            let plaintext = key.decrypt(cipher.algorithm, whole);
            return Ok(Some(Opened {
                plaintext: plaintext.ok_or(Failure::InvalidCiphertext {
                    cause: "the ciphertext was not made with the RSA key and algorithm",
                })?,
                material_id: None,
            }));
        }
        let blob = blob.ok_or(Failure::Internal)?.map_err(unopened)?;
        let Some(material) = cipher.found.record.by_handle(blob.handle) else {
            // Nobody's: another key's was refused already.
            return Err(unopened(BlobError::UnknownMaterial));
        };
        let plaintext = blob.open(material, cipher.context).map_err(unopened)?;
        let key = Symmetric {
            current: material,
            found: cipher.found,
        };
        let plaintext = key.open(call, cipher.context, plaintext)?;
        Ok(Some(Opened {
            plaintext,
            material_id: Some(&material.id),
        }))
    }
}

fn unopened(error: BlobError) -> Failure {
    Failure::InvalidCiphertext {
        cause: error.cause(),
    }
}

pub(crate) fn decrypt(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let (ciphertext, ignored) = Ciphertext::read(fields);
    let context = fields.map("EncryptionContext").unwrap_or_default();
    let tokens = fields.texts("GrantTokens", 0, 10);
    let key_id = fields.text("KeyId", KEY_ID);
    let algorithm = read_algorithm(fields, "EncryptionAlgorithm");
    let recipient = CallContext::read_recipient(fields);
    fields.finish()?;
    grant::check_tokens(tokens)?;
    let ciphertext = ciphertext.check(ignored)?;
    call.note_context(&context);
    let recipient = call.admit(recipient)?;
    let blob = ciphertext.parsed(algorithm);
    let found = Ciphertext::find_key(call, key_id.as_deref(), algorithm, blob)?;
    let facts = Facts {
        encryption_context: Some(&context),
        encryption_algorithm: Some(algorithm.name()),
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    found.must_be_enabled()?;
    Ciphertext::must_be_of(call, &found, blob)?;
    let cipher = Cipher::of(&found, algorithm, &context, "Decrypt")?;
    let opened = ciphertext.open(call, &cipher, blob)?;
    let Some(Opened {
        plaintext,
        material_id,
    }) = opened.filter(|_| !ciphertext.dry_run)
    else {
        return Err(Failure::DryRun);
    };
    // Never a Plaintext beside a Recipient, and no KeyMaterialId either.
    if let Some(recipient) = recipient {
        let sealed = recipient
            .seal(&plaintext, call.entropy())
            .ok_or(Failure::Internal)?;
        return Ok(Answered::with_capacity(ANSWER_BYTES)
            .text("KeyId", &found.key.arn)
            .text("EncryptionAlgorithm", algorithm.name())
            .blob("CiphertextForRecipient", &sealed)
            .finish());
    }
    Ok(Answered::with_capacity(ANSWER_BYTES)
        .text("KeyId", &found.key.arn)
        .blob("Plaintext", &plaintext)
        .text("EncryptionAlgorithm", algorithm.name())
        .text_if("KeyMaterialId", material_id)
        .finish())
}

pub(crate) fn re_encrypt(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let (ciphertext, ignored) = Ciphertext::read(fields);
    let source_context = fields.map("SourceEncryptionContext").unwrap_or_default();
    let source_id = fields.text("SourceKeyId", KEY_ID);
    let destination_id = fields.required_text("DestinationKeyId", KEY_ID);
    let destination_context = fields
        .map("DestinationEncryptionContext")
        .unwrap_or_default();
    let source_algorithm = read_algorithm(fields, "SourceEncryptionAlgorithm");
    let destination_algorithm = read_algorithm(fields, "DestinationEncryptionAlgorithm");
    let tokens = fields.texts("GrantTokens", 0, 10);
    fields.finish()?;
    grant::check_tokens(tokens)?;
    let ciphertext = ciphertext.check(ignored)?;
    call.note_context(&source_context);
    let blob = ciphertext.parsed(source_algorithm);
    let source = Ciphertext::find_key(call, source_id.as_deref(), source_algorithm, blob)?;
    let destination = call.find(&destination_id, Aliases::Accepted)?;
    let on_same_key = Some(source.key.arn == destination.key.arn);
    let facts = |context, algorithm: EncryptionAlgorithm| Facts {
        encryption_context: Some(context),
        encryption_algorithm: Some(algorithm.name()),
        re_encrypt_on_same_key: on_same_key,
        ..Facts::default()
    };
    call.authorize_as(
        "kms:ReEncryptFrom",
        &source,
        facts(&source_context, source_algorithm),
    )?;
    call.authorize_as(
        "kms:ReEncryptTo",
        &destination,
        facts(&destination_context, destination_algorithm),
    )?;
    source.must_be_enabled()?;
    destination.must_be_enabled()?;
    Ciphertext::must_be_of(call, &source, blob)?;
    let from = Cipher::of(&source, source_algorithm, &source_context, "ReEncrypt")?;
    let to = Cipher::of(
        &destination,
        destination_algorithm,
        &destination_context,
        "ReEncrypt",
    )?;
    let opened = ciphertext.open(call, &from, blob)?;
    if let Some(opened) = &opened {
        to.must_fit(&opened.plaintext)?;
    }
    let Some(Opened {
        plaintext,
        material_id,
    }) = opened.filter(|_| !ciphertext.dry_run)
    else {
        return Err(Failure::DryRun);
    };
    let sealed = to.encrypt(call, &plaintext)?;
    Ok(Answered::with_capacity(ANSWER_BYTES)
        .blob("CiphertextBlob", &sealed)
        .text("SourceKeyId", &source.key.arn)
        .text("KeyId", &destination.key.arn)
        .text("SourceEncryptionAlgorithm", source_algorithm.name())
        .text(
            "DestinationEncryptionAlgorithm",
            destination_algorithm.name(),
        )
        .text_if("SourceKeyMaterialId", material_id)
        .text_if("DestinationKeyMaterialId", to.material_id())
        .finish())
}
