//! `Sign` and `Verify`.
//!
//! Source of truth: the KMS service model; recorded answers and texts
//! (`Digest is invalid length…`, `KMSInvalidSignatureException` without a
//! message).
//!
//! `ED25519_PH_SHA_512` takes a digest and hashes it once more, as the service
//! model says; `ML_DSA_SHAKE_256` takes a message or its representative μ.
//!
//! `SYMMETRIC_DEFAULT`, which signs nothing, is a known algorithm that no key signs
//! with, as recorded.
//!
//! Unknown and chosen: that a digest of a wrong length is refused before `DryRun`.

use aws_lc_rs::digest::{self, Digest};
use serde_json::json;

use crate::{
    keys::{
        secret::Works,
        signing::{Input, SigningKey},
    },
    kms::{
        answer::{ANSWER_BYTES, Answer, Answered, answer},
        call::{CallContext, Found},
        checks::Asked,
        error::{Failure, Invalid},
        fields::{Fields, GrantTokens, KEY_ID},
        json::Object,
    },
    model::spec::{Algorithm, EncryptionAlgorithm, MessageType, SigningAlgorithm},
    policy::Facts,
};

const MESSAGE_BYTES_MAX: usize = 4096;
const SIGNATURE_BYTES_MAX: usize = 6144;
/// What `ED25519_PH_SHA_512` takes: a SHA-512 digest.
const PREHASH_BYTES: usize = 64;
const MESSAGE_TYPES: &str = "[RAW, DIGEST, EXTERNAL_MU]";
const ALGORITHMS: &str = "[RSASSA_PSS_SHA_256, RSASSA_PSS_SHA_384, RSASSA_PSS_SHA_512, RSASSA_PKCS1_V1_5_SHA_256, RSASSA_PKCS1_V1_5_SHA_384, RSASSA_PKCS1_V1_5_SHA_512, ECDSA_SHA_256, ECDSA_SHA_384, ECDSA_SHA_512, SM2DSA, ML_DSA_SHAKE_256, ED25519_SHA_512, ED25519_PH_SHA_512]";

pub(crate) fn sign(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let request = Fields::read(body, Request::read)?;
    let (found, algorithm) = request.admit(call)?;
    let input = request.input(&found, algorithm)?;
    if request.dry_run {
        return Err(Failure::DryRun);
    }
    let signature = signing_key(&found)?
        .sign(algorithm, input)
        .ok_or(Failure::Internal)?;
    Ok(Answered::with_capacity(ANSWER_BYTES)
        .text("KeyId", &found.key.arn)
        .blob("Signature", &signature)
        .text("SigningAlgorithm", algorithm.name())
        .finish())
}

pub(crate) fn verify(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (request, signature) = Fields::read(body, |fields| {
        (
            Request::read(fields),
            fields.required_blob("Signature", 1, SIGNATURE_BYTES_MAX),
        )
    })?;
    let (found, algorithm) = request.admit(call)?;
    let input = request.input(&found, algorithm)?;
    if request.dry_run {
        return Err(Failure::DryRun);
    }
    if !signing_key(&found)?.verifies(algorithm, input, &signature) {
        return Err(Failure::InvalidSignature);
    }
    answer(&json!({
        "KeyId": &*found.key.arn,
        "SignatureValid": true,
        "SigningAlgorithm": algorithm.name(),
    }))
}

/// What both operations are given.
struct Request {
    key_id: String,
    message: Vec<u8>,
    message_type: MessageType,
    /// `None` for `SYMMETRIC_DEFAULT`.
    algorithm: Option<SigningAlgorithm>,
    tokens: GrantTokens,
    dry_run: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            key_id: fields.required_text("KeyId", KEY_ID),
            message: fields.required_blob("Message", 1, MESSAGE_BYTES_MAX),
            message_type: fields
                .choice("MessageType", MESSAGE_TYPES)
                .unwrap_or(MessageType::Raw),
            algorithm: fields.required_choice_by(
                "SigningAlgorithm",
                |text| match text {
                    "SYMMETRIC_DEFAULT" => Some(None),
                    _ => SigningAlgorithm::parse(text).map(Some),
                },
                ALGORITHMS,
                None,
            ),
            tokens: fields.grant_tokens(),
            dry_run: fields.flag("DryRun"),
        }
    }

    /// The key, if the caller may use it so, and the algorithm.
    fn admit(&self, call: &mut CallContext<'_>) -> Result<(Found, SigningAlgorithm), Failure> {
        call.accept_tokens(&self.tokens)?;
        let algorithm = match self.algorithm {
            Some(algorithm) => Algorithm::Signing(algorithm),
            None => Algorithm::Encryption(EncryptionAlgorithm::SymmetricDefault),
        };
        let facts = Facts {
            signing_algorithm: Some(algorithm.name()),
            message_type: Some(self.message_type.name()),
            ..Facts::default()
        };
        let asked = Asked {
            algorithm: Some(algorithm),
            ..Asked::default()
        };
        let found = call.usable(&self.key_id, facts, &asked)?;
        // No key that signs accepts another.
        Ok((found, self.algorithm.ok_or(Failure::Internal)?))
    }

    fn input(&self, found: &Found, algorithm: SigningAlgorithm) -> Result<Input<'_>, Failure> {
        use SigningAlgorithm as A;
        let wrong_length = || {
            Failure::Invalid(Invalid::DigestLength {
                algorithm: algorithm.name(),
            })
        };
        match (algorithm.hash(), self.message_type, algorithm) {
            (Some(hash), MessageType::Raw, _) => {
                Ok(Input::Digest(digest::digest(hash, &self.message)))
            }
            (Some(hash), MessageType::Digest, _) => {
                let digest = Digest::import_less_safe(&self.message, hash);
                Ok(Input::Digest(digest.map_err(|_| wrong_length())?))
            }
            (None, MessageType::Raw, A::Ed25519Sha512 | A::MlDsaShake256) => {
                Ok(Input::Whole(&self.message))
            }
            (None, MessageType::ExternalMu, A::MlDsaShake256) => {
                let mu = self.message.as_slice().try_into();
                Ok(Input::Mu(mu.map_err(|_| wrong_length())?))
            }
            (None, MessageType::Digest, A::Ed25519PhSha512) => {
                if self.message.len() != PREHASH_BYTES {
                    return Err(wrong_length());
                }
                Ok(Input::Prehashed(&self.message))
            }
            _ => Err(Failure::Invalid(Invalid::MessageType {
                message_type: self.message_type.name(),
                with: if algorithm == A::MlDsaShake256 {
                    format!("key spec {}", found.key.spec.name())
                } else {
                    format!("algorithm {}", algorithm.name())
                },
            })),
        }
    }
}

fn signing_key(found: &Found) -> Result<&SigningKey, Failure> {
    match found.works()? {
        Works::Sign(key) => Ok(key),
        _ => Err(Failure::Internal),
    }
}
