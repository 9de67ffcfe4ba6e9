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
//! an RSA key is refused before `DryRun`.

use zeroize::Zeroizing;

use crate::{
    keys::{
        material::{BLOB_BYTES_MAX, Blob, BlobError, Maker},
        oaep::OaepKey,
        secret::Works,
    },
    kms::{
        answer::{ANSWER_BYTES, Answer, Answered},
        call::{CallContext, Found},
        checks::Asked,
        error::{Failure, Invalid},
        fields::{Fields, GrantTokens, KEY_ID},
        json::Object,
        sealing::{Symmetric, unopened},
    },
    model::spec::{Algorithm, EncryptionAlgorithm},
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
    /// The cipher of a key that has passed its checks.
    fn of(
        found: &'a Found,
        algorithm: EncryptionAlgorithm,
        context: &'a EncryptionContext,
    ) -> Result<Self, Failure> {
        let by = if found.key.spec.is_symmetric_encryption() {
            By::Symmetric(Symmetric::of(found)?)
        } else {
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

/// What is asked of a key that encrypts or decrypts.
fn asked<'a>(
    algorithm: EncryptionAlgorithm,
    context: &EncryptionContext,
    blob: Option<&BlobOrError<'a>>,
) -> Asked<'a> {
    Asked {
        algorithm: Some(Algorithm::Encryption(algorithm)),
        has_context: !context.is_empty(),
        handle: blob.and_then(|blob| Some(blob.as_ref().ok()?.handle)),
        malformed: blob.and_then(|blob| blob.as_ref().err().copied()),
        grant: None,
    }
}

fn read_algorithm(fields: &mut Fields, member: &str) -> EncryptionAlgorithm {
    fields
        .choice(member, ALGORITHMS)
        .unwrap_or(EncryptionAlgorithm::SymmetricDefault)
}

pub(crate) fn encrypt(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, plaintext, context, tokens, algorithm, dry_run) = Fields::read(body, |fields| {
        (
            fields.required_borrowed_text("KeyId", KEY_ID),
            Zeroizing::new(fields.required_blob("Plaintext", 1, PLAINTEXT_BYTES_MAX)),
            fields.map("EncryptionContext").unwrap_or_default(),
            fields.grant_tokens(),
            read_algorithm(fields, "EncryptionAlgorithm"),
            fields.flag("DryRun"),
        )
    })?;
    call.accept_tokens(&tokens)?;
    call.note_context(&context);
    let facts = Facts {
        encryption_context: Some(&context),
        encryption_algorithm: Some(algorithm.name()),
        ..Facts::default()
    };
    let found = call.usable(&key_id, facts, &asked(algorithm, &context, None))?;
    let cipher = Cipher::of(&found, algorithm, &context)?;
    cipher.must_fit(&plaintext)?;
    if dry_run {
        return Err(Failure::DryRun);
    }
    let blob = cipher.encrypt(call, &plaintext)?;
    Ok(Answered::with_capacity(ANSWER_BYTES)
        .blob("CiphertextBlob", &blob)
        .text("KeyId", &found.key.arn)
        .plain("EncryptionAlgorithm", algorithm.name())
        .finish())
}

/// The ciphertext of a request, with how it is to be treated.
#[derive(Debug)]
struct Ciphertext {
    blob: Option<Vec<u8>>,
    dry_run: bool,
}

/// A ciphertext as a blob, if that is what it is.
type BlobOrError<'a> = Result<Blob<'a>, BlobError>;

/// The same; `None` when it is ignored or RSA's.
type Parsed<'a> = Option<BlobOrError<'a>>;

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
        let modifiers = fields.choices_by(
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

    /// The key that the request names, or that of the ciphertext.
    fn find_key(
        call: &mut CallContext<'_>,
        key_id: Option<&str>,
        algorithm: EncryptionAlgorithm,
        blob: Parsed<'_>,
    ) -> Result<Found, Failure> {
        if let Some(key_id) = key_id {
            return call.find(key_id);
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
            // It belongs to no key: another key's was refused already.
            return Err(unopened(BlobError::UnknownMaterial));
        };
        let key = Symmetric {
            current: material,
            found: cipher.found,
        };
        let plaintext = key.open(call, cipher.context, &blob)?;
        Ok(Some(Opened {
            plaintext,
            material_id: Some(&material.id),
        }))
    }
}

pub(crate) fn decrypt(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let ((ciphertext, ignored), context, tokens, key_id, algorithm, recipient) =
        Fields::read(body, |fields| {
            (
                Ciphertext::read(fields),
                fields.map("EncryptionContext").unwrap_or_default(),
                fields.grant_tokens(),
                fields.borrowed_text("KeyId", KEY_ID),
                read_algorithm(fields, "EncryptionAlgorithm"),
                fields.recipient(),
            )
        })?;
    call.accept_tokens(&tokens)?;
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
    call.check(&found, &asked(algorithm, &context, blob.as_ref()))?;
    let cipher = Cipher::of(&found, algorithm, &context)?;
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
            .plain("EncryptionAlgorithm", algorithm.name())
            .blob("CiphertextForRecipient", &sealed)
            .finish());
    }
    Ok(Answered::with_capacity(ANSWER_BYTES)
        .text("KeyId", &found.key.arn)
        .blob("Plaintext", &plaintext)
        .plain("EncryptionAlgorithm", algorithm.name())
        .text_if("KeyMaterialId", material_id)
        .finish())
}

/// What `ReEncrypt` is given.
struct ReEncrypt {
    ciphertext: (Ciphertext, bool),
    source_context: EncryptionContext,
    source_id: Option<String>,
    destination_id: String,
    destination_context: EncryptionContext,
    source_algorithm: EncryptionAlgorithm,
    destination_algorithm: EncryptionAlgorithm,
    tokens: GrantTokens,
}

impl ReEncrypt {
    fn read(fields: &mut Fields) -> Self {
        Self {
            ciphertext: Ciphertext::read(fields),
            source_context: fields.map("SourceEncryptionContext").unwrap_or_default(),
            source_id: fields.text("SourceKeyId", KEY_ID),
            destination_id: fields.required_text("DestinationKeyId", KEY_ID),
            destination_context: fields
                .map("DestinationEncryptionContext")
                .unwrap_or_default(),
            source_algorithm: read_algorithm(fields, "SourceEncryptionAlgorithm"),
            destination_algorithm: read_algorithm(fields, "DestinationEncryptionAlgorithm"),
            tokens: fields.grant_tokens(),
        }
    }
}

pub(crate) fn re_encrypt(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let ReEncrypt {
        ciphertext: (ciphertext, ignored),
        source_context,
        source_id,
        destination_id,
        destination_context,
        source_algorithm,
        destination_algorithm,
        tokens,
    } = Fields::read(body, ReEncrypt::read)?;
    call.accept_tokens(&tokens)?;
    let ciphertext = ciphertext.check(ignored)?;
    call.note_context(&source_context);
    let blob = ciphertext.parsed(source_algorithm);
    let source = Ciphertext::find_key(call, source_id.as_deref(), source_algorithm, blob)?;
    let destination = call.find(&destination_id)?;
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
    let of_source = asked(source_algorithm, &source_context, blob.as_ref());
    let of_destination = asked(destination_algorithm, &destination_context, None);
    call.check_both([(&source, &of_source), (&destination, &of_destination)])?;
    let from = Cipher::of(&source, source_algorithm, &source_context)?;
    let to = Cipher::of(&destination, destination_algorithm, &destination_context)?;
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
        .plain("SourceEncryptionAlgorithm", source_algorithm.name())
        .plain(
            "DestinationEncryptionAlgorithm",
            destination_algorithm.name(),
        )
        .text_if("SourceKeyMaterialId", material_id)
        .text_if("DestinationKeyMaterialId", to.material_id())
        .finish())
}
