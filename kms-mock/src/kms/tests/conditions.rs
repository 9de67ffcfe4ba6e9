//! What the operations of asymmetric and HMAC keys tell key policies.

use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
};

use super::*;

/// A key that root administers and the role `app` may use under `condition`.
fn key_under(world: &World, spec: &str, usage: &str, action: &str, condition: Value) -> String {
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": ACCOUNT }, "Resource": "*",
          "Action": ["kms:PutKeyPolicy", "kms:GetPublicKey", "kms:Decrypt"] },
        { "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:role/app") },
          "Action": action, "Resource": "*", "Condition": condition },
    ]});
    let body = json!({ "KeySpec": spec, "KeyUsage": usage, "Policy": policy.to_string() });
    text(&world.ok("CreateKey", body)["KeyMetadata"]["Arn"])
}

#[test]
fn the_condition_keys_of_each_operation_decide() {
    let world = World::new();
    let app = role(ACCOUNT, "app");
    let equals = |key: &str, value: &str| json!({ "StringEquals": { key: value } });
    let peer = BASE64.encode(world.public_key(&world.key_of("ECC_NIST_P256", "KEY_AGREEMENT")));
    #[rustfmt::skip]
    let table = [
        ("ECC_NIST_P256", "SIGN_VERIFY", "Sign", equals("kms:MessageType", "DIGEST"),
         json!({ "Message": BASE64.encode([7; 32]), "SigningAlgorithm": "ECDSA_SHA_256" }),
         json!({ "MessageType": "DIGEST" }), json!({ "MessageType": "RAW" })),
        // RAW when the request does not say.
        ("ECC_NIST_P256", "SIGN_VERIFY", "Sign", equals("kms:MessageType", "RAW"),
         json!({ "Message": BASE64.encode([7; 32]), "SigningAlgorithm": "ECDSA_SHA_256" }),
         json!({}), json!({ "MessageType": "DIGEST" })),
        ("RSA_2048", "SIGN_VERIFY", "Sign", equals("kms:SigningAlgorithm", "RSASSA_PSS_SHA_256"),
         json!({ "Message": "eA==" }),
         json!({ "SigningAlgorithm": "RSASSA_PSS_SHA_256" }), json!({ "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256" })),
        ("RSA_2048", "ENCRYPT_DECRYPT", "Encrypt", equals("kms:EncryptionAlgorithm", "RSAES_OAEP_SHA_256"),
         json!({ "Plaintext": "eA==" }),
         json!({ "EncryptionAlgorithm": "RSAES_OAEP_SHA_256" }), json!({ "EncryptionAlgorithm": "RSAES_OAEP_SHA_1" })),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "GenerateMac", equals("kms:MacAlgorithm", "HMAC_SHA_256"),
         json!({ "Message": "eA==" }),
         json!({ "MacAlgorithm": "HMAC_SHA_256" }), json!({ "MacAlgorithm": "HMAC_SHA_512" })),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "GenerateDataKeyPair", equals("kms:DataKeyPairSpec", "ECC_NIST_P256"),
         json!({}),
         json!({ "KeyPairSpec": "ECC_NIST_P256" }), json!({ "KeyPairSpec": "ECC_NIST_P384" })),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "GenerateDataKeyPairWithoutPlaintext", equals("kms:EncryptionContext:job", "7"),
         json!({ "KeyPairSpec": "ECC_NIST_P256" }),
         json!({ "EncryptionContext": { "job": "7" } }), json!({ "EncryptionContext": { "job": "8" } })),
        ("ECC_NIST_P256", "KEY_AGREEMENT", "DeriveSharedSecret", equals("kms:KeyAgreementAlgorithm", "ECDH"),
         json!({ "KeyAgreementAlgorithm": "ECDH" }),
         json!({ "PublicKey": peer }), Value::Null),
        ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE", "Encapsulate", equals("kms:KeySpec", "ML_KEM_512"),
         json!({ "EncapsulationAlgorithm": "ML_KEM" }), json!({}), Value::Null),
        ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE", "Encapsulate", equals("kms:KeyUsage", "SIGN_VERIFY"),
         json!({ "EncapsulationAlgorithm": "ML_KEM" }), Value::Null, json!({})),
    ];
    for (spec, usage, operation, condition, common, allowed, denied) in table {
        let action = format!("kms:{operation}");
        let key = key_under(&world, spec, usage, &action, condition.clone());
        let call = |members: &Value| {
            let mut body = common.clone();
            body["KeyId"] = key.as_str().into();
            for (name, value) in members.as_object().unwrap() {
                body[name] = value.clone();
            }
            world.call_as(&app, operation, body)
        };
        if allowed.is_object() {
            call(&allowed).unwrap_or_else(|refused| panic!("{operation} {condition}: {refused:?}"));
        }
        if denied.is_object() {
            let refused = call(&denied).unwrap_err();
            assert_eq!(refused.code, "AccessDeniedException", "{operation}");
        }
    }
}

#[test]
fn attested_pairs_and_secrets_need_the_right_document_and_signing_takes_none() {
    let world = World::new();
    let app = role(ACCOUNT, "app");
    let enclave = EnclaveKey::generate(KeySize::Rsa2048);
    let pcr0 = "ab".repeat(48);
    let condition =
        json!({ "StringEqualsIgnoreCase": { "kms:RecipientAttestation:ImageSha384": pcr0 } });
    let recipient = |pcr0: &str| {
        let document = json_document(START, &[(0, pcr0)], Some(&enclave.spki));
        json!({
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": BASE64.encode(document),
        })
    };
    let peer = BASE64.encode(world.public_key(&world.key_of("ECC_NIST_P256", "KEY_AGREEMENT")));
    #[rustfmt::skip]
    let table = [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "GenerateDataKeyPair", "PrivateKeyPlaintext",
         json!({ "KeyPairSpec": "ECC_NIST_P256" })),
        ("ECC_NIST_P256", "KEY_AGREEMENT", "DeriveSharedSecret", "SharedSecret",
         json!({ "PublicKey": peer, "KeyAgreementAlgorithm": "ECDH" })),
    ];
    for (spec, usage, operation, secret, body) in table {
        let action = format!("kms:{operation}");
        let key = key_under(&world, spec, usage, &action, condition.clone());
        let call = |recipient: Value| {
            let mut body = body.clone();
            body["KeyId"] = key.as_str().into();
            body["Recipient"] = recipient;
            world.call_as(&app, operation, body)
        };
        let answer = call(recipient(&pcr0)).unwrap();
        assert!(answer.get(secret).is_none(), "{operation}");
        assert!(answer.get("CiphertextForRecipient").is_some());
        for (wrong, code) in [
            (Value::Null, "AccessDeniedException"),
            (recipient(&"00".repeat(48)), "AccessDeniedException"),
            (
                json!({ "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": "eA==" }),
                "ValidationException",
            ),
        ] {
            assert_eq!(call(wrong).unwrap_err().code, code, "{operation}");
        }
    }
    // RSA keys decrypt for an enclave as symmetric ones do.
    let rsa = key_under(
        &world,
        "RSA_2048",
        "ENCRYPT_DECRYPT",
        "kms:*",
        json!({ "Null": { "kms:RecipientAttestation:PCR0": "false" } }),
    );
    let public = world.public_key(&rsa);
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).unwrap());
    let mut blob = vec![0; 256];
    let sealed = public.unwrap();
    sealed
        .encrypt(&OAEP_SHA256_MGF1SHA256, b"data key", &mut blob, None)
        .unwrap();
    let body = json!({
        "KeyId": rsa, "CiphertextBlob": BASE64.encode(&blob),
        "EncryptionAlgorithm": "RSAES_OAEP_SHA_256", "Recipient": recipient(&pcr0),
    });
    let opened = world.call_as(&app, "Decrypt", body).unwrap();
    assert_eq!(
        members(&opened),
        ["CiphertextForRecipient", "EncryptionAlgorithm", "KeyId"].into()
    );
    let opened = enclave.open(&unbase64(&opened["CiphertextForRecipient"]));
    assert_eq!(opened, b"data key");
    // Sign has no Recipient: such a policy denies it, document or not.
    let key = key_under(
        &world,
        "ECC_NIST_P256",
        "SIGN_VERIFY",
        "kms:Sign",
        condition,
    );
    let body = json!({
        "KeyId": key, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256", "Recipient": recipient(&pcr0),
    });
    let refused = world.call_as(&app, "Sign", body).unwrap_err();
    assert_eq!(refused.code, "AccessDeniedException");
}
