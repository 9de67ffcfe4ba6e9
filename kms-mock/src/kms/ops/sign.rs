//! `Sign` and `Verify`.
//!
//! Source of truth: the KMS service model; recorded answers and texts
//! (`Digest is invalid length…`, `KMSInvalidSignatureException` without a
//! message).
//!
//! `ED25519_PH_SHA_512` takes a digest and hashes it once more, as the service
//! model says; `ML_DSA_SHAKE_256` takes a message or its representative μ.
//!
//! Unknown and chosen: the text for a message type that an algorithm does not
//! take, and that a digest of a wrong length is told before `DryRun`.

use aws_lc_rs::digest::{self, Digest};
use serde_json::json;

use super::grant;
use crate::{
    keys::{
        secret::Works,
        signing::{Input, SigningKey},
    },
    kms::{
        call::{Aliases, Answer, CallContext, Found, absent, answer},
        error::{Failure, Invalid},
        fields::{Fields, KEY_ID},
        json::{ANSWER_BYTES, Answered},
    },
    model::spec::{KeyUsage, MessageType, SigningAlgorithm},
    policy::Facts,
};

const MESSAGE_BYTES_MAX: usize = 4096;
const SIGNATURE_BYTES_MAX: usize = 6144;
/// What `ED25519_PH_SHA_512` takes: a SHA-512 digest.
const PREHASH_BYTES: usize = 64;
const MESSAGE_TYPES: &str = "[RAW, DIGEST, EXTERNAL_MU]";
const ALGORITHMS: &str = "[RSASSA_PSS_SHA_256, RSASSA_PSS_SHA_384, RSASSA_PSS_SHA_512, RSASSA_PKCS1_V1_5_SHA_256, RSASSA_PKCS1_V1_5_SHA_384, RSASSA_PKCS1_V1_5_SHA_512, ECDSA_SHA_256, ECDSA_SHA_384, ECDSA_SHA_512, SM2DSA, ML_DSA_SHAKE_256, ED25519_SHA_512, ED25519_PH_SHA_512]";

pub(crate) fn sign(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let mut request = Request::read(fields);
    fields.finish()?;
    let (found, algorithm) = request.admit(call)?;
    let input = request.input(algorithm)?;
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

pub(crate) fn verify(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let mut request = Request::read(fields);
    let signature = fields.required_blob("Signature", 1, SIGNATURE_BYTES_MAX);
    fields.finish()?;
    let (found, algorithm) = request.admit(call)?;
    let input = request.input(algorithm)?;
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
    algorithm: Option<SigningAlgorithm>,
    tokens: Option<Vec<String>>,
    dry_run: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            key_id: fields.required_text("KeyId", KEY_ID),
            message: fields.required_blob("Message", 1, MESSAGE_BYTES_MAX),
            message_type: fields
                .choice("MessageType", MessageType::parse, MESSAGE_TYPES)
                .unwrap_or(MessageType::Raw),
            algorithm: fields.required_choice(
                "SigningAlgorithm",
                SigningAlgorithm::parse,
                ALGORITHMS,
            ),
            tokens: fields.texts("GrantTokens", 0, 10),
            dry_run: fields.flag("DryRun"),
        }
    }

    /// The key, if the caller may use it so.
    fn admit(&mut self, call: &mut CallContext<'_>) -> Result<(Found, SigningAlgorithm), Failure> {
        grant::check_tokens(self.tokens.take())?;
        let algorithm = self.algorithm.ok_or_else(|| absent("signingAlgorithm"))?;
        let found = call.find(&self.key_id, Aliases::Accepted)?;
        let facts = Facts {
            signing_algorithm: Some(algorithm.name()),
            message_type: Some(self.message_type.name()),
            ..Facts::default()
        };
        call.authorize(&found, facts)?;
        found.must_be_enabled()?;
        found.must_be_for(KeyUsage::SignVerify, call.operation_name())?;
        let accepted = found.key.spec.signing_algorithms();
        found.must_accept(&algorithm, algorithm.name(), accepted)?;
        Ok((found, algorithm))
    }

    fn input(&self, algorithm: SigningAlgorithm) -> Result<Input<'_>, Failure> {
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
                algorithm: algorithm.name(),
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
