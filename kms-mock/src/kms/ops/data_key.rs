//! `GenerateDataKey`, attested or not, and `GenerateDataKeyWithoutPlaintext`.
//!
//! Source of truth: the KMS service model; ground truth KMS §1 (what an attested
//! answer holds, and what not) and §4.

use std::{borrow::Cow, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    keys::material::Maker,
    kms::{
        answer::{ANSWER_BYTES, Answer, Answered},
        call::{CallContext, Found},
        checks::Asked,
        error::{Failure, Invalid},
        fields::{Fields, GrantTokens, KEY_ID, RecipientMembers},
        json::Object,
        sealing::Symmetric,
    },
    model::spec::EncryptionAlgorithm,
    policy::{EncryptionContext, Facts},
    recipient::Recipient,
};

pub(crate) fn generate(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let made = make(call, body)?;
    let answer = match &made.recipient {
        // Never a Plaintext beside a Recipient, and no KeyMaterialId either.
        Some(recipient) => {
            let sealed = recipient
                .seal(&made.data_key, call.entropy())
                .ok_or(Failure::Internal)?;
            made.answer().blob("CiphertextForRecipient", &sealed)
        }
        None => made
            .answer()
            .plain("KeyMaterialId", &made.material_id)
            .blob("Plaintext", &made.data_key),
    };
    Ok(answer.finish())
}

pub(crate) fn generate_without_plaintext(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let made = make(call, body)?;
    let answer = made.answer().plain("KeyMaterialId", &made.material_id);
    Ok(answer.finish())
}

struct Made {
    data_key: Zeroizing<Vec<u8>>,
    blob: Vec<u8>,
    found: Found,
    material_id: String,
    recipient: Option<Arc<Recipient>>,
}

impl Made {
    /// The members that every answer has.
    fn answer(&self) -> Answered {
        Answered::with_capacity(ANSWER_BYTES)
            .blob("CiphertextBlob", &self.blob)
            .text("KeyId", &self.found.key.arn)
    }
}

struct Request<'a> {
    /// Ignored where the operation does not have the member.
    recipient: Option<RecipientMembers>,
    key_id: Cow<'a, str>,
    context: EncryptionContext,
    bytes: Option<u16>,
    spec_bytes: Option<u16>,
    tokens: GrantTokens,
    dry_run: bool,
}

fn make(call: &mut CallContext<'_>, body: Object<'_>) -> Result<Made, Failure> {
    let takes_recipient = call.row().takes_recipient;
    let request = Fields::read(body, |fields| Request {
        recipient: takes_recipient.then(|| fields.recipient()).flatten(),
        key_id: fields.required_borrowed_text("KeyId", KEY_ID),
        context: fields.map("EncryptionContext").unwrap_or_default(),
        bytes: fields.number("NumberOfBytes", 1, 1024),
        spec_bytes: fields.choice_by(
            "KeySpec",
            |text| match text {
                "AES_256" => Some(32),
                "AES_128" => Some(16),
                _ => None,
            },
            "[AES_256, AES_128]",
        ),
        tokens: fields.grant_tokens(),
        dry_run: fields.flag("DryRun"),
    })?;
    call.accept_tokens(&request.tokens)?;
    let bytes = match (request.bytes, request.spec_bytes) {
        (Some(bytes), None) | (None, Some(bytes)) => usize::from(bytes),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::Invalid(Invalid::OneDataKeySize));
        }
    };
    let context = request.context;
    call.note_context(&context);
    let recipient = call.admit(request.recipient)?;
    let facts = Facts {
        encryption_context: Some(&context),
        encryption_algorithm: Some(EncryptionAlgorithm::SymmetricDefault.name()),
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    let found = call.usable(&request.key_id, facts, &Asked::default())?;
    let key = Symmetric::of(&found)?;
    if request.dry_run {
        return Err(Failure::DryRun);
    }
    let mut data_key = Zeroizing::new(vec![0; bytes]);
    call.entropy().fill(&mut data_key);
    let blob = key.seal(call, Maker::GenerateDataKey, &context, &data_key)?;
    Ok(Made {
        data_key,
        blob,
        material_id: key.current.id.clone(),
        found,
        recipient,
    })
}
