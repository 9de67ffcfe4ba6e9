//! The application: what an enclave asks KMS for, and what it does not take for an
//! answer.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

/// The body of a `GenerateDataKey` whose data key only the enclave of this
/// attestation document can read.
#[must_use]
pub fn request(key_id: &str, document: &[u8]) -> Value {
    json!({
        "KeyId": key_id,
        "KeySpec": "AES_256",
        "Recipient": {
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": BASE64.encode(document),
        },
    })
}

/// The data key, wrapped for this enclave, out of the answer; `None` if there is
/// none, or if it came beside a plaintext that everybody on the way has read.
#[must_use]
pub fn wrapped_key(answer: &Value) -> Option<Vec<u8>> {
    if answer.get("Plaintext").is_some() {
        return None;
    }
    let wrapped = answer.get("CiphertextForRecipient")?.as_str()?;
    BASE64.decode(wrapped).ok()
}
