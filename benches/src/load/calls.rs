//! The calls that are measured: requests as an SDK writes them, on keys made for
//! them. `load speed` sends them to processes, `instructions` over a stream in
//! memory.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::{
    clock::{Clock as _, SystemClock},
    seed::WorldSeed,
};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{LoadError, client::Connection, kms_request, text};

/// 32 bytes, as a wrapped key has.
pub(crate) const PLAINTEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// SubjectPublicKeyInfo of an RSA-2048 key whose private part nobody kept.
pub(crate) const RSA_PUBLIC_KEY: &[u8] = include_bytes!("../../data/rsa-2048.spki.der");

/// Requests that one server answers with 200, as often as they are sent.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) encrypt: Vec<u8>,
    pub(crate) decrypt: Vec<u8>,
    pub(crate) generate_data_key: Vec<u8>,
    /// ECDSA P-256 over a digest.
    pub(crate) sign: Vec<u8>,
    /// A Decrypt with a document of a simulated enclave, on a key that only its
    /// image may use. The document is good for five minutes.
    pub(crate) attested_decrypt: Vec<u8>,
}

impl Calls {
    /// Makes the keys by calls over `connection`; the server trusts the simulated
    /// root of `seed`.
    pub(crate) async fn prepare<S>(
        connection: &mut Connection<S>,
        seed: &WorldSeed,
    ) -> Result<Self, LoadError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let key = create_key(connection, &json!({})).await?;
        let encrypt = json!({"KeyId": key, "Plaintext": PLAINTEXT});
        let sealed = ask(connection, "Encrypt", &encrypt).await?;
        let decrypt = json!({"CiphertextBlob": text(&sealed, "/CiphertextBlob")?});
        let generate_data_key = json!({"KeyId": key, "KeySpec": "AES_256"});
        let signing = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"});
        let sign = json!({
            "KeyId": create_key(connection, &signing).await?,
            "Message": PLAINTEXT,
            "MessageType": "DIGEST",
            "SigningAlgorithm": "ECDSA_SHA_256",
        });
        let attested_decrypt = attested(connection, seed).await?;
        Ok(Self {
            encrypt: kms_request("Encrypt", &encrypt),
            decrypt: kms_request("Decrypt", &decrypt),
            generate_data_key: kms_request("GenerateDataKey", &generate_data_key),
            sign: kms_request("Sign", &sign),
            attested_decrypt: kms_request("Decrypt", &attested_decrypt),
        })
    }
}

/// One call outside of what is measured.
pub(super) async fn ask<S>(
    connection: &mut Connection<S>,
    operation: &str,
    body: &Value,
) -> Result<Value, LoadError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = connection.ask(&kms_request(operation, body)).await?;
    serde_json::from_slice(answer).map_err(|error| {
        LoadError::Wrong(format!("the answer to {operation} is not JSON: {error}"))
    })
}

async fn create_key<S>(connection: &mut Connection<S>, body: &Value) -> Result<String, LoadError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let created = ask(connection, "CreateKey", body).await?;
    text(&created, "/KeyMetadata/KeyId")
}

async fn attested<S>(connection: &mut Connection<S>, seed: &WorldSeed) -> Result<Value, LoadError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let administrator = json!({
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": ["kms:Describe*", "kms:Encrypt", "kms:PutKeyPolicy"],
        "Resource": "*",
    });
    let enclave = json!({
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "kms:Decrypt",
        "Resource": "*",
        "Condition": {"StringEqualsIgnoreCase": {
            "kms:RecipientAttestation:ImageSha384": "a0".repeat(48),
        }},
    });
    let policy = json!({"Version": "2012-10-17", "Statement": [administrator, enclave]});
    let key = create_key(connection, &json!({"Policy": policy.to_string()})).await?;
    let encrypt = json!({"KeyId": key, "Plaintext": PLAINTEXT});
    let sealed = ask(connection, "Encrypt", &encrypt).await?;
    let document = crate::document(seed, 1, SystemClock.now(), RSA_PUBLIC_KEY);
    Ok(json!({
        "CiphertextBlob": text(&sealed, "/CiphertextBlob")?,
        "Recipient": {
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": BASE64.encode(document),
        },
    }))
}
