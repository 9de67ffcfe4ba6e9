//! Keys of every spec but `SYMMETRIC_DEFAULT` from outside: their metadata,
//! public keys, signatures, ciphertexts, MACs and wrong usages.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey},
    signature::{ML_DSA_44, ML_DSA_65, ML_DSA_87, UnparsedPublicKey},
};
use p384::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier},
    pkcs8::DecodePublicKey,
};
use proptest::prelude::*;
use x509_cert::{der::Decode, spki::SubjectPublicKeyInfoRef};

use super::{openssl::OpenSsl, *};
use crate::keys::prehash::{tests::mu_of, verifies_ed25519ph};

const RSA_SIGNING: [&str; 6] = [
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
];

fn sign(world: &World, key: &str, algorithm: &str, message: &[u8]) -> Vec<u8> {
    let signed = world.ok("Sign", sign_body(key, algorithm, "RAW", message));
    assert_eq!(
        members(&signed),
        ["KeyId", "Signature", "SigningAlgorithm"].into()
    );
    assert_eq!(signed["KeyId"], key);
    assert_eq!(signed["SigningAlgorithm"], algorithm);
    unbase64(&signed["Signature"])
}

fn sign_body(key: &str, algorithm: &str, message_type: &str, message: &[u8]) -> Value {
    json!({
        "KeyId": key, "Message": BASE64.encode(message), "MessageType": message_type,
        "SigningAlgorithm": algorithm,
    })
}

fn verify(world: &World, mut body: Value, signature: &[u8]) -> Result<Value, Refused> {
    body["Signature"] = BASE64.encode(signature).into();
    world.call("Verify", body)
}

fn sha(algorithm: &str, message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
    let hash = match algorithm.rsplit('_').next() {
        Some("256") => &SHA256,
        Some("384") => &SHA384,
        _ => &SHA512,
    };
    digest(hash, message).as_ref().to_vec()
}

#[test]
fn every_spec_and_usage_lists_what_it_does_in_its_metadata_and_public_key() {
    let world = World::new();
    let rsa = json!(RSA_SIGNING);
    #[rustfmt::skip]
    let table = [
        ("RSA_2048", "SIGN_VERIFY", "SigningAlgorithms", rsa.clone()),
        ("RSA_2048", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", json!(["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])),
        ("ECC_NIST_P256", "SIGN_VERIFY", "SigningAlgorithms", json!(["ECDSA_SHA_256"])),
        ("ECC_NIST_P384", "SIGN_VERIFY", "SigningAlgorithms", json!(["ECDSA_SHA_384"])),
        ("ECC_NIST_P521", "SIGN_VERIFY", "SigningAlgorithms", json!(["ECDSA_SHA_512"])),
        ("ECC_NIST_P256", "KEY_AGREEMENT", "KeyAgreementAlgorithms", json!(["ECDH"])),
        ("ECC_NIST_P384", "KEY_AGREEMENT", "KeyAgreementAlgorithms", json!(["ECDH"])),
        ("ECC_NIST_P521", "KEY_AGREEMENT", "KeyAgreementAlgorithms", json!(["ECDH"])),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", "SigningAlgorithms", json!(["ECDSA_SHA_256"])),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SigningAlgorithms", json!(["ED25519_SHA_512", "ED25519_PH_SHA_512"])),
        ("HMAC_224", "GENERATE_VERIFY_MAC", "MacAlgorithms", json!(["HMAC_SHA_224"])),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "MacAlgorithms", json!(["HMAC_SHA_256"])),
        ("HMAC_384", "GENERATE_VERIFY_MAC", "MacAlgorithms", json!(["HMAC_SHA_384"])),
        ("HMAC_512", "GENERATE_VERIFY_MAC", "MacAlgorithms", json!(["HMAC_SHA_512"])),
        ("ML_DSA_44", "SIGN_VERIFY", "SigningAlgorithms", json!(["ML_DSA_SHAKE_256"])),
        ("ML_DSA_65", "SIGN_VERIFY", "SigningAlgorithms", json!(["ML_DSA_SHAKE_256"])),
        ("ML_DSA_87", "SIGN_VERIFY", "SigningAlgorithms", json!(["ML_DSA_SHAKE_256"])),
        ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms", json!(["ML_KEM"])),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms", json!(["ML_KEM"])),
        ("ML_KEM_1024", "ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms", json!(["ML_KEM"])),
    ];
    for (spec, usage, member, algorithms) in table {
        let created = world.ok("CreateKey", json!({ "KeySpec": spec, "KeyUsage": usage }));
        let metadata = &created["KeyMetadata"];
        assert_eq!(
            members(metadata),
            [
                "AWSAccountId",
                "Arn",
                "CreationDate",
                "CustomerMasterKeySpec",
                "Description",
                "Enabled",
                "KeyId",
                "KeyManager",
                "KeySpec",
                "KeyState",
                "KeyUsage",
                "MultiRegion",
                "Origin",
                member,
            ]
            .into(),
            "{spec}"
        );
        assert_eq!(metadata[member], algorithms);
        assert_eq!(metadata["CustomerMasterKeySpec"], spec);
        let key = text(&metadata["Arn"]);
        let described = world.ok("DescribeKey", json!({ "KeyId": key }));
        assert_eq!(described["KeyMetadata"], *metadata);

        if usage == "GENERATE_VERIFY_MAC" {
            world
                .err("GetPublicKey", json!({ "KeyId": key }))
                .is_silent("UnsupportedOperationException");
        } else {
            let public = world.ok("GetPublicKey", json!({ "KeyId": key }));
            assert_eq!(
                members(&public),
                [
                    "CustomerMasterKeySpec",
                    "KeyId",
                    "KeySpec",
                    "KeyUsage",
                    "PublicKey",
                    member
                ]
                .into(),
                "{spec}"
            );
            assert_eq!(public["KeyId"], key.as_str());
            assert_eq!(public["KeyUsage"], usage);
            assert_eq!(public[member], algorithms);
            let der = unbase64(&public["PublicKey"]);
            let spki = SubjectPublicKeyInfoRef::from_der(&der).unwrap();
            let oid = match spec {
                "RSA_2048" => "1.2.840.113549.1.1.1",
                "ECC_NIST_EDWARDS25519" => "1.3.101.112",
                "ML_DSA_44" => "2.16.840.1.101.3.4.3.17",
                "ML_DSA_65" => "2.16.840.1.101.3.4.3.18",
                "ML_DSA_87" => "2.16.840.1.101.3.4.3.19",
                "ML_KEM_512" => "2.16.840.1.101.3.4.4.1",
                "ML_KEM_768" => "2.16.840.1.101.3.4.4.2",
                "ML_KEM_1024" => "2.16.840.1.101.3.4.4.3",
                _ => "1.2.840.10045.2.1",
            };
            assert_eq!(spki.algorithm.oid.to_string(), oid, "{spec}");
        }
        // Such keys do not rotate.
        for operation in ["EnableKeyRotation", "RotateKeyOnDemand", "ListKeyRotations"] {
            world
                .err(operation, json!({ "KeyId": key }))
                .is_silent("UnsupportedOperationException");
        }
        let status = world.ok("GetKeyRotationStatus", json!({ "KeyId": key }));
        assert_eq!(status["KeyRotationEnabled"], false);
    }
    world
        .err("GetPublicKey", json!({ "KeyId": world.key() }))
        .is_silent("UnsupportedOperationException");
}

#[test]
fn usages_that_a_spec_does_not_have_are_refused_and_sm2_is_not_available() {
    let world = World::new();
    for (spec, usage) in [
        ("RSA_2048", "GENERATE_VERIFY_MAC"),
        ("ECC_NIST_P256", "ENCRYPT_DECRYPT"),
        ("ECC_SECG_P256K1", "KEY_AGREEMENT"),
        ("ECC_NIST_EDWARDS25519", "KEY_AGREEMENT"),
        ("HMAC_256", "SIGN_VERIFY"),
        ("ML_DSA_44", "ENCRYPT_DECRYPT"),
        ("ML_KEM_768", "KEY_AGREEMENT"),
        ("SYMMETRIC_DEFAULT", "SIGN_VERIFY"),
    ] {
        world
            .err("CreateKey", json!({ "KeySpec": spec, "KeyUsage": usage }))
            .says(
                "ValidationException",
                &format!("KeyUsage {usage} is not compatible with KeySpec {spec}"),
            );
    }
    let refused = world.err(
        "CreateKey",
        json!({ "KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY" }),
    );
    assert_eq!(refused.code, "UnsupportedOperationException");
}

#[test]
fn every_signing_algorithm_verifies_here_and_offline() {
    let world = World::new();
    let openssl = OpenSsl::find();
    let rsa = world.key_of("RSA_2048", "SIGN_VERIFY");
    let mut table: Vec<(String, &str)> = RSA_SIGNING.iter().map(|a| (rsa.clone(), *a)).collect();
    for (spec, algorithm) in [
        ("RSA_3072", "RSASSA_PSS_SHA_384"),
        ("ECC_NIST_P256", "ECDSA_SHA_256"),
        ("ECC_NIST_P384", "ECDSA_SHA_384"),
        ("ECC_NIST_P521", "ECDSA_SHA_512"),
        ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ] {
        table.push((world.key_of(spec, "SIGN_VERIFY"), algorithm));
    }
    for (key, algorithm) in &table {
        let message = b"a message of the hospital".as_slice();
        let signature = sign(&world, key, algorithm, message);
        let raw = || sign_body(key, algorithm, "RAW", message);
        let verified = verify(&world, raw(), &signature).unwrap();
        assert_eq!(
            members(&verified),
            ["KeyId", "SignatureValid", "SigningAlgorithm"].into()
        );
        assert_eq!(verified["SignatureValid"], true);
        for wrong in [
            signature.iter().map(|b| b ^ 1).collect::<Vec<u8>>(),
            signature[..signature.len() - 1].to_vec(),
            vec![0; 6144],
        ] {
            verify(&world, raw(), &wrong)
                .unwrap_err()
                .is_silent("KMSInvalidSignatureException");
        }
        verify(
            &world,
            sign_body(key, algorithm, "RAW", b"another"),
            &signature,
        )
        .unwrap_err()
        .is_silent("KMSInvalidSignatureException");
        if *algorithm != "ED25519_SHA_512" {
            let digest = sha(algorithm, message);
            let hashed = sign_body(key, algorithm, "DIGEST", &digest);
            verify(&world, hashed.clone(), &signature).unwrap();
            let signed = world.ok("Sign", hashed);
            verify(&world, raw(), &unbase64(&signed["Signature"])).unwrap();
            for (operation, body) in [
                ("Sign", sign_body(key, algorithm, "DIGEST", &digest[1..])),
                ("Sign", sign_body(key, algorithm, "DIGEST", &[0; 65])),
            ] {
                world.err(operation, body).says(
                    "ValidationException",
                    &format!("Digest is invalid length for algorithm {algorithm}."),
                );
            }
        }
        let public = world.public_key(key);
        if let Some(openssl) = &openssl {
            let hash = format!("-sha{}", algorithm.rsplit('_').next().unwrap());
            let arguments = if *algorithm == "ED25519_SHA_512" {
                "pkeyutl -verify -pubin -keyform DER -inkey public -rawin -in message -sigfile signature".to_owned()
            } else if algorithm.contains("PSS") {
                format!(
                    "dgst {hash} -keyform DER -verify public -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -signature signature message"
                )
            } else {
                format!("dgst {hash} -keyform DER -verify public -signature signature message")
            };
            let files = [
                ("public", public.as_slice()),
                ("message", message),
                ("signature", signature.as_slice()),
            ];
            assert!(openssl.run(&arguments, &files).is_some(), "{algorithm}");
            let files = [("message", b"another".as_slice())];
            assert!(openssl.run(&arguments, &files).is_none(), "{algorithm}");
        }
        if *algorithm == "ECDSA_SHA_384" {
            let verifying = VerifyingKey::from_public_key_der(&public).unwrap();
            let parsed = Signature::from_der(&signature).unwrap();
            verifying.verify(message, &parsed).unwrap();
            assert!(verifying.verify(b"another", &parsed).is_err());
        }
    }
}

#[test]
fn ml_dsa_signatures_have_the_standards_sizes_and_verify_under_the_public_key() {
    let world = World::new();
    for (spec, algorithm, public_bytes, signature_bytes) in [
        ("ML_DSA_44", &ML_DSA_44, 1312, 2420),
        ("ML_DSA_65", &ML_DSA_65, 1952, 3309),
        ("ML_DSA_87", &ML_DSA_87, 2592, 4627),
    ] {
        let key = world.key_of(spec, "SIGN_VERIFY");
        let signature = sign(&world, &key, "ML_DSA_SHAKE_256", b"message");
        assert_eq!(signature.len(), signature_bytes);
        let raw = sign_body(&key, "ML_DSA_SHAKE_256", "RAW", b"message");
        verify(&world, raw.clone(), &signature).unwrap();
        let public = world.public_key(&key);
        let spki = SubjectPublicKeyInfoRef::from_der(&public).unwrap();
        let point = spki.subject_public_key.raw_bytes();
        assert_eq!(point.len(), public_bytes);
        let offline = UnparsedPublicKey::new(algorithm, point);
        offline.verify(b"message", &signature).unwrap();
        assert!(offline.verify(b"messagf", &signature).is_err());
        let mut wrong = signature.clone();
        wrong[100] ^= 1;
        verify(&world, raw.clone(), &wrong)
            .unwrap_err()
            .is_silent("KMSInvalidSignatureException");
        // The same over the representative, each verified as the other.
        let mu = mu_of(point, b"message");
        let by_mu = sign_body(&key, "ML_DSA_SHAKE_256", "EXTERNAL_MU", &mu);
        let signed = world.ok("Sign", by_mu.clone());
        let over_mu = unbase64(&signed["Signature"]);
        verify(&world, raw, &over_mu).unwrap();
        verify(&world, by_mu.clone(), &over_mu).unwrap();
        verify(&world, by_mu.clone(), &signature).unwrap();
        verify(&world, by_mu, &wrong)
            .unwrap_err()
            .is_silent("KMSInvalidSignatureException");
        world
            .err(
                "Sign",
                sign_body(&key, "ML_DSA_SHAKE_256", "EXTERNAL_MU", &[7; 63]),
            )
            .says(
                "ValidationException",
                "Digest is invalid length for algorithm ML_DSA_SHAKE_256.",
            );
        let refused = world.err(
            "Sign",
            sign_body(&key, "ML_DSA_SHAKE_256", "DIGEST", &[7; 64]),
        );
        assert_eq!(refused.code, "ValidationException");
    }
}

#[test]
fn ed25519ph_hashes_the_digest_it_is_given_once_more() {
    let world = World::new();
    let key = world.key_of("ECC_NIST_EDWARDS25519", "SIGN_VERIFY");
    let public = world.public_key(&key);
    let spki = SubjectPublicKeyInfoRef::from_der(&public).unwrap();
    let point = spki.subject_public_key.raw_bytes();
    let digest = sha("ED25519_PH_SHA_512", b"a message of any size");
    let body = || sign_body(&key, "ED25519_PH_SHA_512", "DIGEST", &digest);
    let signed = world.ok("Sign", body());
    assert_eq!(signed["SigningAlgorithm"], "ED25519_PH_SHA_512");
    let signature = unbase64(&signed["Signature"]);
    assert_eq!(signature.len(), 64);
    assert_eq!(
        verify(&world, body(), &signature).unwrap()["SignatureValid"],
        true
    );
    assert!(verifies_ed25519ph(point, &digest, &signature));
    // Ed25519ph of the message itself would be hashed once.
    assert!(!verifies_ed25519ph(
        point,
        b"a message of any size",
        &signature
    ));
    let plain = sign_body(&key, "ED25519_SHA_512", "RAW", &digest);
    verify(&world, plain, &signature)
        .unwrap_err()
        .is_silent("KMSInvalidSignatureException");
    let mut wrong = signature;
    wrong[10] ^= 1;
    verify(&world, body(), &wrong)
        .unwrap_err()
        .is_silent("KMSInvalidSignatureException");
    world
        .err(
            "Sign",
            sign_body(&key, "ED25519_PH_SHA_512", "DIGEST", &[7; 63]),
        )
        .says(
            "ValidationException",
            "Digest is invalid length for algorithm ED25519_PH_SHA_512.",
        );
    for (algorithm, message_type) in [
        ("ED25519_SHA_512", "DIGEST"),
        ("ED25519_PH_SHA_512", "RAW"),
        ("ED25519_SHA_512", "EXTERNAL_MU"),
    ] {
        let refused = world.err("Sign", sign_body(&key, algorithm, message_type, &[7; 64]));
        assert_eq!(refused.code, "ValidationException", "{algorithm}");
    }
}

#[test]
fn rsa_ciphertexts_are_made_and_opened_on_both_sides() {
    let world = World::new();
    let key = world.key_of("RSA_2048", "ENCRYPT_DECRYPT");
    let public = world.public_key(&key);
    let decrypt = |algorithm: &str, blob: &[u8]| {
        world.call(
            "Decrypt",
            json!({ "KeyId": key, "CiphertextBlob": BASE64.encode(blob), "EncryptionAlgorithm": algorithm }),
        )
    };
    for (algorithm, longest) in [("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)] {
        for bytes in [1, longest] {
            let plaintext = vec![7; bytes];
            let encrypted = world.ok(
                "Encrypt",
                json!({
                    "KeyId": key, "Plaintext": BASE64.encode(&plaintext), "EncryptionAlgorithm": algorithm,
                }),
            );
            assert_eq!(encrypted["EncryptionAlgorithm"], algorithm);
            let blob = unbase64(&encrypted["CiphertextBlob"]);
            assert_eq!(blob.len(), 256);
            let opened = decrypt(algorithm, &blob).unwrap();
            assert_eq!(
                members(&opened),
                ["EncryptionAlgorithm", "KeyId", "Plaintext"].into()
            );
            assert_eq!(unbase64(&opened["Plaintext"]), plaintext);
            let other = if longest == 214 {
                "RSAES_OAEP_SHA_256"
            } else {
                "RSAES_OAEP_SHA_1"
            };
            for (algorithm, blob) in [(other, blob.as_slice()), (algorithm, &blob[1..])] {
                decrypt(algorithm, blob)
                    .unwrap_err()
                    .is_silent("InvalidCiphertextException");
            }
        }
    }
    let offline = PublicEncryptingKey::from_der(&public).unwrap();
    let offline = OaepPublicEncryptingKey::new(offline).unwrap();
    let mut blob = vec![0; 256];
    offline
        .encrypt(&OAEP_SHA1_MGF1SHA1, b"from outside", &mut blob, None)
        .unwrap();
    let opened = decrypt("RSAES_OAEP_SHA_1", &blob).unwrap();
    assert_eq!(unbase64(&opened["Plaintext"]), b"from outside");
    if let Some(openssl) = OpenSsl::find() {
        let arguments = "pkeyutl -encrypt -pubin -keyform DER -inkey public -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 -in plaintext";
        let files = [
            ("public", public.as_slice()),
            ("plaintext", b"by OpenSSL".as_slice()),
        ];
        let blob = openssl.run(arguments, &files).unwrap();
        let opened = decrypt("RSAES_OAEP_SHA_256", &blob).unwrap();
        assert_eq!(unbase64(&opened["Plaintext"]), b"by OpenSSL");
    }
    // Between an RSA key and a symmetric one, both ways.
    let symmetric = world.key();
    let moved = world.ok(
        "ReEncrypt",
        json!({
            "CiphertextBlob": BASE64.encode(&blob), "SourceKeyId": key,
            "SourceEncryptionAlgorithm": "RSAES_OAEP_SHA_1", "DestinationKeyId": symmetric,
        }),
    );
    assert_eq!(
        members(&moved),
        [
            "CiphertextBlob",
            "DestinationEncryptionAlgorithm",
            "DestinationKeyMaterialId",
            "KeyId",
            "SourceEncryptionAlgorithm",
            "SourceKeyId",
        ]
        .into()
    );
    let back = world.ok(
        "ReEncrypt",
        json!({
            "CiphertextBlob": moved["CiphertextBlob"], "DestinationKeyId": key,
            "DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        }),
    );
    let opened = decrypt("RSAES_OAEP_SHA_256", &unbase64(&back["CiphertextBlob"])).unwrap();
    assert_eq!(unbase64(&opened["Plaintext"]), b"from outside");
    // What only symmetric keys take.
    for (operation, body) in [
        (
            "Encrypt",
            json!({ "KeyId": key, "Plaintext": "eA==", "EncryptionAlgorithm": "RSAES_OAEP_SHA_1", "EncryptionContext": { "a": "b" } }),
        ),
        (
            "Decrypt",
            json!({ "CiphertextBlob": BASE64.encode(&blob), "EncryptionAlgorithm": "RSAES_OAEP_SHA_1" }),
        ),
    ] {
        assert_eq!(world.err(operation, body).code, "ValidationException");
    }
    world
        .err("Encrypt", json!({ "KeyId": key, "Plaintext": "eA==" }))
        .says(
            "InvalidKeyUsageException",
            "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.",
        );
    assert_eq!(
        world
            .err(
                "GenerateDataKey",
                json!({ "KeyId": key, "KeySpec": "AES_256" })
            )
            .code,
        "InvalidKeyUsageException"
    );
}

#[test]
fn a_mac_repeats_verifies_and_does_not_fit_anything_else() {
    let world = World::new();
    for (bits, bytes) in [(224, 28), (256, 32), (384, 48), (512, 64)] {
        let algorithm = format!("HMAC_SHA_{bits}");
        let spec = format!("HMAC_{bits}");
        let key = world.key_of(&spec, "GENERATE_VERIFY_MAC");
        let another = world.key_of(&spec, "GENERATE_VERIFY_MAC");
        let body = |key: &str, message: &str| json!({ "KeyId": key, "Message": BASE64.encode(message), "MacAlgorithm": algorithm });
        let made = world.ok("GenerateMac", body(&key, "message"));
        assert_eq!(members(&made), ["KeyId", "Mac", "MacAlgorithm"].into());
        assert_eq!(made, world.ok("GenerateMac", body(&key, "message")));
        assert_ne!(
            made["Mac"],
            world.ok("GenerateMac", body(&another, "message"))["Mac"]
        );
        let mac = unbase64(&made["Mac"]);
        assert_eq!(mac.len(), bytes);
        let verify = |key: &str, message: &str, mac: &[u8]| {
            let mut body = body(key, message);
            body["Mac"] = BASE64.encode(mac).into();
            world.call("VerifyMac", body)
        };
        let verified = verify(&key, "message", &mac).unwrap();
        assert_eq!(
            members(&verified),
            ["KeyId", "MacAlgorithm", "MacValid"].into()
        );
        assert_eq!(verified["MacValid"], true);
        for (key, message, mac) in [
            (&key, "messagf", mac.as_slice()),
            (&another, "message", &mac),
            (&key, "message", &mac[1..]),
            (&key, "message", &[0; 6144]),
        ] {
            verify(key, message, mac)
                .unwrap_err()
                .is_silent("KMSInvalidMacException");
        }
    }
}

#[test]
fn a_key_of_another_usage_is_refused_by_every_operation() {
    let world = World::new();
    let x = "eA==";
    let keys = [
        ("ENCRYPT_DECRYPT", world.key()),
        ("SIGN_VERIFY", world.key_of("ECC_NIST_P256", "SIGN_VERIFY")),
        (
            "GENERATE_VERIFY_MAC",
            world.key_of("HMAC_256", "GENERATE_VERIFY_MAC"),
        ),
        (
            "KEY_AGREEMENT",
            world.key_of("ECC_NIST_P256", "KEY_AGREEMENT"),
        ),
        (
            "ENCAPSULATE_DECAPSULATE",
            world.key_of("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"),
        ),
    ];
    #[rustfmt::skip]
    let operations = [
        ("Encrypt", "ENCRYPT_DECRYPT", json!({ "Plaintext": x })),
        ("Decrypt", "ENCRYPT_DECRYPT", json!({ "CiphertextBlob": x })),
        ("GenerateDataKey", "ENCRYPT_DECRYPT", json!({ "KeySpec": "AES_256" })),
        ("GenerateDataKeyWithoutPlaintext", "ENCRYPT_DECRYPT", json!({ "KeySpec": "AES_256" })),
        ("GenerateDataKeyPair", "ENCRYPT_DECRYPT", json!({ "KeyPairSpec": "ECC_NIST_P256" })),
        ("GenerateDataKeyPairWithoutPlaintext", "ENCRYPT_DECRYPT", json!({ "KeyPairSpec": "ECC_NIST_P256" })),
        ("Sign", "SIGN_VERIFY", json!({ "Message": x, "SigningAlgorithm": "ECDSA_SHA_256" })),
        ("Verify", "SIGN_VERIFY", json!({ "Message": x, "Signature": x, "SigningAlgorithm": "ECDSA_SHA_256" })),
        ("GenerateMac", "GENERATE_VERIFY_MAC", json!({ "Message": x, "MacAlgorithm": "HMAC_SHA_256" })),
        ("VerifyMac", "GENERATE_VERIFY_MAC", json!({ "Message": x, "Mac": x, "MacAlgorithm": "HMAC_SHA_256" })),
        ("DeriveSharedSecret", "KEY_AGREEMENT", json!({ "PublicKey": x, "KeyAgreementAlgorithm": "ECDH" })),
        ("Encapsulate", "ENCAPSULATE_DECAPSULATE", json!({ "EncapsulationAlgorithm": "ML_KEM" })),
        ("Decapsulate", "ENCAPSULATE_DECAPSULATE", json!({ "SharedSecretCiphertextBlob": x, "EncapsulationAlgorithm": "ML_KEM" })),
    ];
    for (operation, wanted, body) in operations {
        for (usage, key) in &keys {
            let mut body = body.clone();
            body["KeyId"] = key.as_str().into();
            let says = format!("{key} key usage is {usage} which is not valid for {operation}.");
            if *usage == wanted {
                if let Err(refused) = world.call(operation, body) {
                    assert_ne!(refused.code, "InvalidKeyUsageException", "{operation}");
                }
            } else {
                world
                    .err(operation, body)
                    .says("InvalidKeyUsageException", &says);
            }
        }
    }
    // A grant is for what the key can do.
    let (_, signer) = &keys[1];
    let grant = |operation: &str| {
        world.call(
            "CreateGrant",
            json!({
                "KeyId": signer, "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/app"),
                "Operations": [operation],
            }),
        )
    };
    for allowed in ["Sign", "Verify", "GetPublicKey", "DescribeKey"] {
        grant(allowed).unwrap();
    }
    for refused in [
        "Encrypt",
        "GenerateMac",
        "GenerateDataKey",
        "DeriveSharedSecret",
    ] {
        assert_eq!(grant(refused).unwrap_err().code, "ValidationException");
    }
}

#[test]
fn a_dry_run_signs_and_derives_nothing() {
    let world = World::new();
    let signer = world.key_of("ECC_NIST_P256", "SIGN_VERIFY");
    let mac = world.key_of("HMAC_256", "GENERATE_VERIFY_MAC");
    let agreement = world.key_of("ECC_NIST_P256", "KEY_AGREEMENT");
    let kem = world.key_of("ML_KEM_512", "ENCAPSULATE_DECAPSULATE");
    let symmetric = world.key();
    let public = BASE64.encode(world.public_key(&agreement));
    #[rustfmt::skip]
    let table = [
        ("Sign", json!({ "KeyId": signer, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256" })),
        ("Verify", json!({ "KeyId": signer, "Message": "eA==", "Signature": "eA==", "SigningAlgorithm": "ECDSA_SHA_256" })),
        ("GenerateMac", json!({ "KeyId": mac, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256" })),
        ("VerifyMac", json!({ "KeyId": mac, "Message": "eA==", "Mac": "eA==", "MacAlgorithm": "HMAC_SHA_256" })),
        ("DeriveSharedSecret", json!({ "KeyId": agreement, "PublicKey": public, "KeyAgreementAlgorithm": "ECDH" })),
        ("Encapsulate", json!({ "KeyId": kem, "EncapsulationAlgorithm": "ML_KEM" })),
        ("Decapsulate", json!({ "KeyId": kem, "SharedSecretCiphertextBlob": "eA==", "EncapsulationAlgorithm": "ML_KEM" })),
        ("GenerateDataKeyPair", json!({ "KeyId": symmetric, "KeyPairSpec": "RSA_4096" })),
        ("GenerateDataKeyPairWithoutPlaintext", json!({ "KeyId": symmetric, "KeyPairSpec": "RSA_4096" })),
    ];
    for (operation, mut body) in table {
        let mut asked = body.clone();
        asked["DryRun"] = true.into();
        world.err(operation, asked).says(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
        );
        // Of a symmetric encryption key the usage is refused before the state.
        body["KeyId"] = world.key_disabled().into();
        let code = if operation.starts_with("GenerateDataKeyPair") {
            "DisabledException"
        } else {
            "InvalidKeyUsageException"
        };
        assert_eq!(world.err(operation, body).code, code, "{operation}");
    }
}

#[test]
fn keys_of_curves_and_lattices_repeat_with_the_seed() {
    let run = |seed: u64| {
        let world = World::seeded(Some(WorldSeed::from_u64(seed)));
        [
            ("ECC_NIST_P521", "SIGN_VERIFY"),
            ("ECC_SECG_P256K1", "SIGN_VERIFY"),
            ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
            ("ML_DSA_65", "SIGN_VERIFY"),
            ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
        ]
        .map(|(spec, usage)| world.public_key(&world.key_of(spec, usage)))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_signed_verifies_and_other_signatures_do_not(
        message in proptest::collection::vec(any::<u8>(), 1..300),
        other in proptest::collection::vec(any::<u8>(), 1..100),
        seed in any::<u64>(),
    ) {
        let world = World::seeded(Some(WorldSeed::from_u64(seed)));
        for (spec, algorithm) in [("ECC_NIST_P256", "ECDSA_SHA_256"), ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512")] {
            let key = world.key_of(spec, "SIGN_VERIFY");
            let signature = sign(&world, &key, algorithm, &message);
            let body = sign_body(&key, algorithm, "RAW", &message);
            prop_assert!(verify(&world, body.clone(), &signature).is_ok());
            let refused = verify(&world, body, &other).unwrap_err();
            prop_assert_eq!(refused.code, "KMSInvalidSignatureException");
        }
    }
}

#[test]
fn an_rsa_public_key_is_the_librarys_canonical_form() {
    let world = World::new();
    let public = world.public_key(&world.key_of("RSA_2048", "SIGN_VERIFY"));
    let parsed = PublicEncryptingKey::from_der(&public).unwrap();
    let again: aws_lc_rs::encoding::PublicKeyX509Der<'_> = parsed.as_der().unwrap();
    assert_eq!(again.as_ref(), public);
    assert_eq!(parsed.key_size_bits(), 2048);
}
