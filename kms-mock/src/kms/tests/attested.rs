//! Attested calls from outside, and what the log tells about them.

use std::net::IpAddr;

use aws_lc_rs::rsa::KeySize;

use super::*;

struct Enclave {
    key: EnclaveKey,
    pcr0: String,
}

impl Enclave {
    fn new() -> Self {
        Self {
            key: EnclaveKey::generate(KeySize::Rsa2048),
            pcr0: "ab".repeat(48),
        }
    }

    fn recipient(&self, at: UnixMillis) -> Value {
        let document = json_document(at, &[(0, &self.pcr0)], Some(&self.key.spki));
        json!({
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": BASE64.encode(document),
        })
    }

    /// Root may do everything, and attested calls alone may use the key.
    fn policy(&self) -> String {
        json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Action": ["kms:Encrypt", "kms:PutKeyPolicy"], "Resource": "*" },
            { "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:role/app") },
              "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*",
              "Condition": { "StringEqualsIgnoreCase": { "kms:RecipientAttestation:ImageSha384": self.pcr0 } } },
        ]})
        .to_string()
    }
}

#[test]
fn an_attested_answer_has_no_plaintext_and_opens_in_the_enclave_alone() {
    let world = World::new();
    let enclave = Enclave::new();
    let app = with_iam(role(ACCOUNT, "app"), "Allow", "kms:GenerateRandom");
    let key = world.key_with_policy(&enclave.policy());
    let blob = world.encrypt(&key, b"data key", json!({ "job": "7" }));
    let recipient = || enclave.recipient(START);

    let decrypted = world
        .call_as(&app, "Decrypt", json!({
            "CiphertextBlob": blob, "KeyId": key, "EncryptionContext": { "job": "7" }, "Recipient": recipient(),
        }))
        .unwrap();
    assert_eq!(
        members(&decrypted),
        ["CiphertextForRecipient", "EncryptionAlgorithm", "KeyId"].into()
    );
    assert_eq!(
        enclave
            .key
            .open(&unbase64(&decrypted["CiphertextForRecipient"])),
        b"data key"
    );
    assert_eq!(decrypted["KeyId"], key.as_str());

    let made = world
        .call_as(
            &app,
            "GenerateDataKey",
            json!({ "KeyId": key, "KeySpec": "AES_256", "Recipient": recipient() }),
        )
        .unwrap();
    assert_eq!(
        members(&made),
        ["CiphertextBlob", "CiphertextForRecipient", "KeyId"].into()
    );
    let data_key = enclave.key.open(&unbase64(&made["CiphertextForRecipient"]));
    let again = world
        .call_as(
            &app,
            "Decrypt",
            json!({ "CiphertextBlob": made["CiphertextBlob"], "Recipient": recipient() }),
        )
        .unwrap();
    assert_eq!(
        enclave
            .key
            .open(&unbase64(&again["CiphertextForRecipient"])),
        data_key
    );
    assert_eq!(unbase64(&made["CiphertextForRecipient"]).len(), 493);

    let random = world
        .call_as(
            &app,
            "GenerateRandom",
            json!({ "NumberOfBytes": 24, "Recipient": recipient() }),
        )
        .unwrap();
    assert_eq!(members(&random), ["CiphertextForRecipient"].into());
    assert_eq!(
        enclave
            .key
            .open(&unbase64(&random["CiphertextForRecipient"]))
            .len(),
        24
    );
}

#[test]
fn without_the_right_document_an_attested_key_stays_closed() {
    let world = World::new();
    let enclave = Enclave::new();
    let app = role(ACCOUNT, "app");
    let key = world.key_with_policy(&enclave.policy());
    let blob = world.encrypt(&key, b"data key", json!({}));
    let decrypt = |recipient: Option<Value>| {
        let mut body = json!({ "CiphertextBlob": blob });
        if let Some(recipient) = recipient {
            body["Recipient"] = recipient;
        }
        world.call_as(&app, "Decrypt", body).expect_err("refused")
    };
    let denied = format!(
        "User: arn:aws:sts::{ACCOUNT}:assumed-role/app/session is not authorized to perform: kms:Decrypt on resource: {key} because no resource-based policy allows the kms:Decrypt action"
    );
    let plain = decrypt(None);
    plain.says("AccessDeniedException", &denied);
    assert!(plain.reason.unwrap().contains("absent"));
    let zeros = "0".repeat(96);
    let debug = json_document(START, &[(0, &zeros)], Some(&enclave.key.spki));
    let debug = decrypt(Some(json!({
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": BASE64.encode(debug),
    })));
    debug.says("AccessDeniedException", &denied);
    assert!(debug.reason.unwrap().contains("debug mode"));
    for (recipient, reason) in [
        (
            json!({ "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": "AAAA" }),
            "document-not-verified",
        ),
        (
            enclave.recipient(UnixMillis(START.0 - 300_001)),
            "document-stale",
        ),
        (
            enclave.recipient(UnixMillis(START.0 + 300_001)),
            "document-from-the-future",
        ),
        (
            json!({ "AttestationDocument": enclave.recipient(START)["AttestationDocument"] }),
            "recipient-without-algorithm",
        ),
        (
            json!({ "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256" }),
            "recipient-without-document",
        ),
        (json!({}), "recipient-without-document"),
    ] {
        let refused = decrypt(Some(recipient));
        assert_eq!(refused.code, "ValidationException");
        assert!(refused.message.unwrap().starts_with("[drydock] "));
        assert_eq!(refused.reason.as_deref(), Some(reason));
    }
    decrypt(Some(json!({ "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_1", "AttestationDocument": "AAAA" }))).says(
        "ValidationException",
        "1 validation error detected: Value 'RSAES_OAEP_SHA_1' at 'recipient.keyEncryptionAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RSAES_OAEP_SHA_256]",
    );
    // A document is of no use to an operation that takes none.
    let body = json!({ "KeyId": key, "KeySpec": "AES_256", "Recipient": enclave.recipient(START) });
    let refused = world
        .call_as(&app, "GenerateDataKeyWithoutPlaintext", body)
        .unwrap_err();
    assert_eq!(refused.code, "AccessDeniedException");
    // KMS accepts a document again within the window.
    for _ in 0..2 {
        let body = json!({ "CiphertextBlob": blob, "Recipient": enclave.recipient(START) });
        world.call_as(&app, "Decrypt", body).unwrap();
    }
}

#[test]
fn the_log_tells_who_was_attested_and_why_who_was_denied() {
    let world = World::new();
    let enclave = Enclave::new();
    let mut app = role(ACCOUNT, "app");
    app.source_ip = Some(IpAddr::from([192, 0, 2, 1]));
    let key = world.key_with_policy(&enclave.policy());
    let blob = world.encrypt(&key, b"x", json!({ "job": "7" }));
    let body = json!({ "CiphertextBlob": blob, "EncryptionContext": { "job": "7" }, "Recipient": enclave.recipient(START) });
    world.call_as(&app, "Decrypt", body).unwrap();
    let record = world
        .kms
        .audit()
        .find(&RequestId::from(Uuid::nil()))
        .unwrap();
    assert!(record.attested && record.error_code().is_none());
    assert_eq!(record.key_arn.as_deref(), Some(key.as_str()));
    let event = record.event();
    assert_eq!(event["eventName"], "Decrypt");
    assert_eq!(event["sourceIPAddress"], "192.0.2.1");
    assert_eq!(event["requestParameters"]["encryptionContext"]["job"], "7");
    let recipient = &event["additionalEventData"]["recipient"];
    assert_eq!(
        unbase64(&recipient["attestationDocumentEnclaveImageDigest"]),
        hex::decode(&enclave.pcr0).unwrap()
    );
    assert_eq!(
        event["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"],
        "app"
    );

    world
        .call_as(&app, "Decrypt", json!({ "CiphertextBlob": blob }))
        .unwrap_err();
    let record = world
        .kms
        .audit()
        .find(&RequestId::from(Uuid::nil()))
        .unwrap();
    assert!(!record.attested);
    let event = record.event();
    assert_eq!(event["errorCode"], "AccessDenied");
    assert!(event.get("additionalEventData").is_none());
    let explanation = record.explanation();
    let condition = &explanation["decisions"][0]["policies"][0]["statements"][1]["conditions"][0];
    assert_eq!(condition["expected"][0], enclave.pcr0.as_str());
    assert_eq!(condition["presented"], Value::Null);
    assert_eq!(world.kms.audit().records().len(), 4);
}
