//! `GenerateDataKey`, attested or not, and `GenerateDataKeyWithoutPlaintext`.
//!
//! Source of truth: the KMS service model; ground truth KMS §1 (what an attested
//! answer holds, and what not) and §4.

use zeroize::Zeroizing;

use super::grant;
use crate::{
    keys::material::Maker,
    kms::{
        call::{Aliases, Answer, CallContext, Found},
        error::{Failure, Invalid},
        fields::{Fields, KEY_ID},
        json::{ANSWER_BYTES, Answered},
        sealing::Symmetric,
    },
    model::spec::EncryptionAlgorithm,
    policy::Facts,
    recipient::Recipient,
};

pub(crate) fn generate(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let recipient = CallContext::read_recipient(fields);
    let made = make(call, fields, |call| call.admit(recipient))?;
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
            .text("KeyMaterialId", &made.material_id)
            .blob("Plaintext", &made.data_key),
    };
    Ok(answer.finish())
}

pub(crate) fn generate_without_plaintext(
    call: &mut CallContext<'_>,
    fields: &mut Fields,
) -> Answer {
    // A Recipient is ignored: the operation does not have the member.
    let made = make(call, fields, |_| Ok(None))?;
    let answer = made.answer().text("KeyMaterialId", &made.material_id);
    Ok(answer.finish())
}

struct Made {
    data_key: Zeroizing<Vec<u8>>,
    blob: Vec<u8>,
    found: Found,
    material_id: String,
    recipient: Option<Recipient>,
}

impl Made {
    /// The members that every answer has.
    fn answer(&self) -> Answered {
        Answered::with_capacity(ANSWER_BYTES)
            .blob("CiphertextBlob", &self.blob)
            .text("KeyId", &self.found.key.arn)
    }
}

fn make<'a>(
    call: &mut CallContext<'a>,
    fields: &mut Fields,
    admit: impl FnOnce(&mut CallContext<'a>) -> Result<Option<Recipient>, Failure>,
) -> Result<Made, Failure> {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let context = fields.map("EncryptionContext").unwrap_or_default();
    let count = fields.number("NumberOfBytes", 1, 1024);
    let spec = fields.choice(
        "KeySpec",
        |text| match text {
            "AES_256" => Some(32),
            "AES_128" => Some(16),
            _ => None,
        },
        "[AES_256, AES_128]",
    );
    let tokens = fields.texts("GrantTokens", 0, 10);
    let dry_run = fields.flag("DryRun");
    fields.finish()?;
    grant::check_tokens(tokens)?;
    let count = match (count, spec) {
        (Some(count), None) | (None, Some(count)) => count,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::Invalid(Invalid::OneDataKeySize));
        }
    };
    call.note_context(&context);
    let recipient = admit(call)?;
    let found = call.find(&key_id, Aliases::Accepted)?;
    let facts = Facts {
        encryption_context: Some(&context),
        encryption_algorithm: Some(EncryptionAlgorithm::SymmetricDefault.name()),
        recipient: recipient.as_ref().map(|r| &r.document),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    found.must_be_enabled()?;
    let key = Symmetric::of(&found, call.operation_name())?;
    if dry_run {
        return Err(Failure::DryRun);
    }
    let mut data_key = Zeroizing::new(vec![0; usize::try_from(count).unwrap_or_default()]);
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
