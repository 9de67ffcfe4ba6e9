//! What `explain` tells people about attested calls.

use aws_lc_rs::rsa::KeySize;

use super::*;
use crate::Explanation;

const IMAGE: &str = "ab";
const ZERO: &str = "00";

/// A call of GenerateDataKey under `statements`, attested with `pcr0` repeated,
/// and its explanation.
fn explained(statements: &Value, pcr0: &str) -> String {
    let world = World::new();
    let enclave = EnclaveKey::generate(KeySize::Rsa2048);
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    let key = world.key_with_policy(&policy.to_string());
    let document = json_document(START, &[(0, &pcr0.repeat(48))], Some(&enclave.spki));
    let body = json!({ "KeyId": key, "KeySpec": "AES_256", "Recipient": {
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        "AttestationDocument": BASE64.encode(document),
    }});
    let app = role(ACCOUNT, "app");
    world.raw(&app, "GenerateDataKey", body.to_string().as_bytes());
    let record = world
        .kms
        .audit()
        .find(&RequestId::from(Uuid::nil()))
        .unwrap();
    Explanation::of(&record).to_string()
}

fn bound() -> Value {
    json!({ "Sid": "Enclave", "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": "*",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:role/app") },
        "Condition": { "StringEqualsIgnoreCase": {
            "kms:RecipientAttestation:ImageSha384": IMAGE.repeat(48) } } })
}

fn has(text: &str, line: &str) {
    assert!(text.contains(line), "`{line}` is not in\n{text}");
}

#[test]
fn another_image_is_shown_beside_the_expected_one() {
    let text = explained(&json!([bound()]), "cd");
    has(&text, "GenerateDataKey refused: AccessDeniedException");
    has(&text, &format!("PCR0    {}", "cd".repeat(48)));
    has(
        &text,
        "FAILS  StringEqualsIgnoreCase kms:RecipientAttestation:ImageSha384: no presented value matches",
    );
    has(&text, &format!("expected  {}", IMAGE.repeat(48)));
    has(&text, &format!("presented {}", "cd".repeat(48)));
}

#[test]
fn a_debug_mode_enclave_is_called_one() {
    let text = explained(&json!([bound()]), ZERO);
    has(&text, "PCR0 is zero: the enclave is in debug mode");
    has(
        &text,
        "! kms:RecipientAttestation:ImageSha384 is all zeros: the enclave is in debug mode",
    );
}

#[test]
fn an_allow_without_the_condition_is_pointed_out() {
    let mut open = bound();
    open["Sid"] = "Leftover".into();
    open.as_object_mut().unwrap().remove("Condition");
    let text = explained(&json!([bound(), open]), "cd");
    has(&text, "GenerateDataKey done");
    has(
        &text,
        "Decision 1: Allowed: the key policy names the caller",
    );
    has(
        &text,
        "statement 1 \"Enclave\", Allow: condition not satisfied",
    );
    has(&text, "statement 2 \"Leftover\", Allow: applies");
    has(
        &text,
        "! another Allow without an attestation condition makes the attestation condition irrelevant",
    );
}

#[test]
fn the_right_image_holds() {
    let text = explained(&json!([bound()]), IMAGE);
    has(&text, "GenerateDataKey done");
    has(&text, "holds  StringEqualsIgnoreCase");
}
