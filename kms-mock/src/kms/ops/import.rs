//! `GetParametersForImport`, `ImportKeyMaterial`, `DeleteImportedKeyMaterial`.
//!
//! Source of truth: the KMS service model; recorded answers and texts; AWS KMS
//! developer guide, "Importing key material for AWS KMS keys". Asymmetric keys are
//! imported as the PKCS #8 of their private key, all others as their bytes. An RSA
//! key does not fit under OAEP, nor one of P-521 under OAEP with 2048 bits.
//!
//! Unknown and chosen: the texts about `ValidTo` that were not recorded; new
//! material is refused while older material is missing; what a wrapping that is too
//! small for the key answers, and what the members that are "only usable with
//! symmetric encryption keys" answer with others; those answer no `KeyMaterialId`;
//! ML-KEM keys are imported, since `GetParametersForImport` is said to support all
//! types, though `ImportKeyMaterial` does not list theirs.

use std::sync::PoisonError;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    keys::{
        import::{Arrival, ImportRefused},
        keep,
        key::Key,
        record::days_after,
        wrapping::{IMPORT_BYTES_MAX, TokenError, TokenKey, Wrapping, WrappingSpec},
    },
    kms::{
        answer::{Answer, answer, timestamp},
        call::{CallContext, Found},
        checks::Asked,
        error::{BadState, Failure, Invalid, NotFound, Unsupported},
        fields::{Fields, KEY_ID, Pattern, Text},
        json::Object,
    },
    policy::Facts,
};

const ALGORITHMS: &str = "[RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, RSAES_PKCS1_V1_5, RSA_AES_KEY_WRAP_SHA_1, RSA_AES_KEY_WRAP_SHA_256, SM2PKE]";
const SPECS: &str = "[RSA_2048, RSA_3072, RSA_4096, SM2]";
const EXPIRATION_MODELS: &str = "[KEY_MATERIAL_EXPIRES, KEY_MATERIAL_DOES_NOT_EXPIRE]";
const IMPORT_TYPES: &str = "[NEW_KEY_MATERIAL, EXISTING_KEY_MATERIAL]";
/// How long a token is good for.
const TOKEN_DAYS: u32 = 1;
/// The farthest `ValidTo`.
const VALID_DAYS_MAX: u32 = 365;

const MATERIAL_ID: Text = Text {
    min: 64,
    max: 64,
    pattern: Some(Pattern {
        shown: "^[a-f0-9]+$",
        fits: |text| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        },
    }),
};
const MATERIAL_DESCRIPTION: Text = Text {
    min: 0,
    max: 256,
    pattern: Some(Pattern {
        shown: "^[a-zA-Z0-9:/_\\s.-]+$",
        fits: |text| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ":/_.-".contains(c) || c.is_whitespace())
        },
    }),
};

/// Wrapping algorithms and specs of the model that are not offered: PKCS #1 v1.5
/// since 2023, SM2 outside China.
fn known(names: &'static str) -> impl Fn(&str) -> Option<&'static str> {
    move |text| {
        let mut all = names.trim_matches(['[', ']']).split(", ");
        all.find(|name| *name == text)
    }
}

pub(crate) fn parameters(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, algorithm, spec) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_choice_by("WrappingAlgorithm", known(ALGORITHMS), ALGORITHMS, ""),
            fields.required_choice_by("WrappingKeySpec", known(SPECS), SPECS, ""),
        )
    })?;
    let facts = Facts {
        wrapping_algorithm: Some(algorithm),
        wrapping_key_spec: Some(spec),
        ..Facts::default()
    };
    let found = call.usable(&key_id, facts, &Asked::default())?;
    let (Some(wrapping), Some(wrapping_spec)) =
        (Wrapping::parse(algorithm), WrappingSpec::parse(spec))
    else {
        return Err(Failure::Unsupported(Unsupported::Wrapping {
            algorithm,
            spec,
        }));
    };
    if !wrapping.is_for(wrapping_spec, found.key.spec) {
        return Err(Failure::Unsupported(Unsupported::WrappingOf {
            algorithm,
            spec,
            key_spec: found.key.spec.name(),
        }));
    }
    let valid_to = days_after(call.now, TOKEN_DAYS);
    let parameters = token_key(call)?
        .issue(
            &found.key.arn,
            wrapping,
            wrapping_spec,
            valid_to,
            call.entropy(),
        )
        .ok_or(Failure::Internal)?;
    answer(&json!({
        "KeyId": &*found.key.arn,
        "ImportToken": BASE64.encode(parameters.token),
        "PublicKey": BASE64.encode(parameters.public_key),
        "ParametersValidTo": timestamp(valid_to),
    }))
}

/// What `ImportKeyMaterial` is given.
struct Request {
    key_id: String,
    token: Vec<u8>,
    wrapped: Vec<u8>,
    valid_to: Option<UnixMillis>,
    expiration_model: Option<&'static str>,
    import_type: Option<&'static str>,
    description: Option<String>,
    material_id: Option<String>,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            key_id: fields.required_text("KeyId", KEY_ID),
            token: fields.required_blob("ImportToken", 1, IMPORT_BYTES_MAX),
            wrapped: fields.required_blob("EncryptedKeyMaterial", 1, IMPORT_BYTES_MAX),
            valid_to: fields.timestamp("ValidTo"),
            expiration_model: fields.choice_by(
                "ExpirationModel",
                known(EXPIRATION_MODELS),
                EXPIRATION_MODELS,
            ),
            import_type: fields.choice_by("ImportType", known(IMPORT_TYPES), IMPORT_TYPES),
            description: fields.text("KeyMaterialDescription", MATERIAL_DESCRIPTION),
            material_id: fields.text("KeyMaterialId", MATERIAL_ID),
        }
    }
}

pub(crate) fn import(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let Request {
        key_id,
        token,
        wrapped,
        valid_to,
        expiration_model,
        import_type,
        description,
        material_id,
    } = Fields::read(body, Request::read)?;
    let model = expiration_model.unwrap_or("KEY_MATERIAL_EXPIRES");
    let valid_to_text = valid_to.map(|at| at.to_string());
    let others: Vec<(&str, &str)> = valid_to_text
        .iter()
        .map(|at| ("kms:validto", at.as_str()))
        .collect();
    let facts = Facts {
        expiration_model: Some(model),
        others: &others,
        ..Facts::default()
    };
    let found = call.usable(&key_id, facts, &Asked::default())?;
    check_valid_to(model, valid_to, call.now)?;
    let is_symmetric = found.key.spec.is_symmetric_encryption();
    if !is_symmetric && (import_type.is_some() || description.is_some() || material_id.is_some()) {
        return Err(Failure::Invalid(Invalid::ForSymmetricImports));
    }
    let is_new = match import_type {
        Some(text) => text == "NEW_KEY_MATERIAL",
        None => found.record.imports().is_empty(),
    };
    if is_new && material_id.is_some() {
        return Err(Failure::Invalid(Invalid::MaterialIdOfNew));
    }
    let opened = token_key(call)?.open(&token, &found.key.arn, call.now);
    let wrapping_key = opened.map_err(|error| match error {
        TokenError::Invalid => Failure::InvalidImportToken,
        TokenError::Expired => Failure::ExpiredImportToken,
    })?;
    let material = wrapping_key
        .unwrap(&wrapped)
        .ok_or(Failure::InvalidCiphertext {
            cause: "the key material was not wrapped under this token's public key and algorithm",
        })?;
    let wrong = |cause| Failure::IncorrectKeyMaterial { cause };
    let key = &found.key;
    let read = Arrival::read(key.spec, key.usage, key.id(), &material).map_err(wrong)?;
    if material_id.is_some_and(|id| id != read.id) {
        return Err(wrong("the material has another KeyMaterialId"));
    }
    let id = read.id.clone();
    let arrival = Arrival {
        valid_to,
        description,
        ..read
    };
    take(call, &found, arrival, is_new)?;
    answer(&named(&found, Some(id)))
}

/// Imports material, and makes the related keys of other Regions expect it.
fn take(
    call: &CallContext<'_>,
    found: &Found,
    arrival: Arrival,
    is_new: bool,
) -> Result<(), Failure> {
    let (id, handle) = (arrival.id.clone(), arrival.handle);
    let relatives = call.store().relatives(&found.key);
    let others: Vec<&Key> = relatives.iter().map(|key| &**key).collect();
    call.store().change_all(
        &found.key,
        &others,
        |record, relatives, _| {
            call.check_record(found, record, &Asked::default())?;
            if is_new && found.key.is_replica() {
                return Err(found.is_not_primary());
            }
            let taken = if is_new {
                let mut imports = record.imports().iter();
                if imports.any(|import| import.material.is_none()) {
                    return Err(found.in_state(BadState::PendingImport));
                }
                record.import_new(arrival, !relatives.is_empty())
            } else {
                record.import_again(arrival)
            };
            taken.map_err(|refused| explain(found, &id, refused))?;
            if is_new {
                for replica in &mut *relatives {
                    replica.expect_imports_of(record);
                }
            }
            if record.has_import(&id) && relatives.iter().all(|other| other.has_import(&id)) {
                record.import_is_everywhere(&id);
                for other in relatives {
                    other.import_is_everywhere(&id);
                }
            }
            Ok(())
        },
        |()| {
            if found.key.spec.is_symmetric_encryption() {
                call.store().know_handle(handle, &found.key);
            }
        },
    )
}

fn explain(found: &Found, new: &str, refused: ImportRefused) -> Failure {
    match refused {
        ImportRefused::NotTheSame => Failure::IncorrectKeyMaterial {
            cause: "no such material was imported into this key before",
        },
        ImportRefused::NotNew => Failure::IncorrectKeyMaterial {
            cause: "the material was imported into this key before, it is not new",
        },
        ImportRefused::OtherIsPending { pending } => Failure::MaterialPending {
            arn: found.key.arn.to_string(),
            new: new.to_owned(),
            pending,
        },
    }
}

pub(crate) fn delete(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, material_id) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.text("KeyMaterialId", MATERIAL_ID),
        )
    })?;
    let found = call.usable(&key_id, Facts::default(), &Asked::default())?;
    if material_id.is_some() && !found.key.spec.is_symmetric_encryption() {
        return Err(Failure::Invalid(Invalid::ForSymmetricImports));
    }
    let forgotten = found.change(call.store(), |record| {
        call.check_record(&found, record, &Asked::default())?;
        let forgotten = record.forget_import(material_id.as_deref());
        match (forgotten, &material_id) {
            (None, Some(id)) => Err(Failure::NotFound(NotFound::Material { id: id.clone() })),
            (forgotten, _) => Ok(forgotten),
        }
    })?;
    answer(&named(&found, forgotten))
}

/// Names a key and material of it; there is nothing to choose between in keys that
/// are not symmetric encryption keys.
fn named(found: &Found, material_id: Option<String>) -> Value {
    let mut body = json!({ "KeyId": &*found.key.arn });
    let id = material_id.filter(|_| found.key.spec.is_symmetric_encryption());
    if let (Some(id), Some(members)) = (id, body.as_object_mut()) {
        members.insert("KeyMaterialId".to_owned(), id.into());
    }
    body
}

fn check_valid_to(
    model: &str,
    valid_to: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), Failure> {
    let fault = match (model, valid_to) {
        ("KEY_MATERIAL_EXPIRES", None) => Invalid::ValidToMissing,
        ("KEY_MATERIAL_EXPIRES", Some(at)) if at <= now => Invalid::ValidToPast,
        ("KEY_MATERIAL_EXPIRES", Some(at)) if at > days_after(now, VALID_DAYS_MAX) => {
            Invalid::ValidToFar
        }
        ("KEY_MATERIAL_EXPIRES", Some(_)) | (_, None) => return Ok(()),
        (_, Some(_)) => Invalid::ValidToUnwanted,
    };
    Err(Failure::Invalid(fault))
}

/// The key that seals tokens, made when the first is asked for.
fn token_key<'a>(call: &CallContext<'a>) -> Result<&'a TokenKey, Failure> {
    if let Some(key) = call.kms.token_key.get() {
        return Ok(key);
    }
    let token_key = &call.kms.token_key;
    call.store().journal().change(
        |batch| {
            let making = &call.kms.token_key_making;
            let alone = making.lock().unwrap_or_else(PoisonError::into_inner);
            if token_key.get().is_some() {
                return Ok::<_, Failure>((alone, None));
            }
            let secret = Zeroizing::new(call.entropy().array());
            keep::put_token_secret(batch, &secret);
            let key = TokenKey::new(&secret).ok_or(Failure::Internal)?;
            Ok((alone, Some(key)))
        },
        |(_alone, key)| {
            if let Some(key) = key {
                token_key.get_or_init(|| key);
            }
        },
    )?;
    token_key.get().ok_or(Failure::Internal)
}
