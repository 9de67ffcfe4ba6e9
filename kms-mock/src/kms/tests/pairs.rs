//! Data key pairs, shared secrets and encapsulation from outside.

use aws_lc_rs::{
    kem::{EncapsulationKey, ML_KEM_512, ML_KEM_768, ML_KEM_1024},
    rsa::KeySize,
};
use p384::{
    PublicKey, SecretKey,
    elliptic_curve::point::AffineCoordinates,
    pkcs8::{DecodePublicKey, EncodePublicKey},
};
use x509_cert::{der::Decode, spki::SubjectPublicKeyInfoRef};

use super::{openssl::OpenSsl, *};

const PAIRS: [&str; 9] = [
    "RSA_2048",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
];

fn recipient(enclave: &EnclaveKey) -> Value {
    let document = json_document(START, &[(0, &"ab".repeat(48))], Some(&enclave.spki));
    json!({
        "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        "AttestationDocument": BASE64.encode(document),
    })
}

#[test]
fn data_key_pairs_decrypt_belong_together_and_never_show_the_key_to_the_parent() {
    let world = World::new();
    let openssl = OpenSsl::find();
    let enclave = EnclaveKey::generate(KeySize::Rsa2048);
    let key = world.key();
    for spec in PAIRS {
        let request =
            || json!({ "KeyId": key, "KeyPairSpec": spec, "EncryptionContext": { "a": "b" } });
        let decrypt = |made: &Value| {
            let body = json!({
                "CiphertextBlob": made["PrivateKeyCiphertextBlob"], "EncryptionContext": { "a": "b" },
            });
            unbase64(&world.ok("Decrypt", body)["Plaintext"])
        };
        let made = world.ok("GenerateDataKeyPair", request());
        assert_eq!(
            members(&made),
            [
                "KeyId",
                "KeyMaterialId",
                "KeyPairSpec",
                "PrivateKeyCiphertextBlob",
                "PrivateKeyPlaintext",
                "PublicKey",
            ]
            .into()
        );
        assert_eq!(made["KeyId"], key.as_str());
        assert_eq!(made["KeyPairSpec"], spec);
        let private = unbase64(&made["PrivateKeyPlaintext"]);
        assert_eq!(private, decrypt(&made));
        let public = unbase64(&made["PublicKey"]);
        SubjectPublicKeyInfoRef::from_der(&public).unwrap();
        if spec == "ECC_NIST_P256" {
            // Both halves: the usual 138 bytes.
            assert_eq!(private.len(), 138);
        }
        if spec.starts_with("ML_KEM") {
            // The seed alone.
            assert_eq!(private.len(), 86);
        }
        // ML-KEM came with OpenSSL 3.5.
        if let Some(openssl) = openssl.as_ref().filter(|_| !spec.starts_with("ML_")) {
            let arguments = "pkey -inform DER -in private -pubout -outform DER";
            let theirs = openssl.run(arguments, &[("private", &private)]);
            assert_eq!(theirs.unwrap(), public, "{spec}");
        }

        let hidden = world.ok("GenerateDataKeyPairWithoutPlaintext", request());
        assert_eq!(
            members(&hidden),
            [
                "KeyId",
                "KeyMaterialId",
                "KeyPairSpec",
                "PrivateKeyCiphertextBlob",
                "PublicKey",
            ]
            .into()
        );

        let mut body = request();
        body["Recipient"] = recipient(&enclave);
        let attested = world.ok("GenerateDataKeyPair", body.clone());
        assert_eq!(
            members(&attested),
            [
                "CiphertextForRecipient",
                "KeyId",
                "KeyPairSpec",
                "PrivateKeyCiphertextBlob",
                "PublicKey",
            ]
            .into()
        );
        let opened = enclave.open(&unbase64(&attested["CiphertextForRecipient"]));
        assert_eq!(opened, decrypt(&attested));
        // The other operation has no Recipient, and so ignores it.
        let ignored = world.ok("GenerateDataKeyPairWithoutPlaintext", body);
        assert!(ignored.get("CiphertextForRecipient").is_none());
    }
    for (spec, code) in [
        ("SM2", "UnsupportedOperationException"),
        ("ML_DSA_65", "ValidationException"),
        ("HMAC_256", "ValidationException"),
        ("SYMMETRIC_DEFAULT", "ValidationException"),
    ] {
        let body = json!({ "KeyId": key, "KeyPairSpec": spec });
        assert_eq!(world.err("GenerateDataKeyPair", body).code, code, "{spec}");
    }
    world
        .err("GenerateDataKeyPair", json!({ "KeyId": key }))
        .says(
            "ValidationException",
            "1 validation error detected: Value at 'keyPairSpec' failed to satisfy constraint: Member must not be null",
        );
}

#[test]
fn a_shared_secret_is_the_one_computed_apart() {
    let world = World::new();
    let enclave = EnclaveKey::generate(KeySize::Rsa2048);
    let key = world.key_of("ECC_NIST_P384", "KEY_AGREEMENT");
    let ours = SecretKey::from_slice(&[0x17; 48]).unwrap();
    let peer = ours.public_key().to_public_key_der().unwrap();
    let kms = PublicKey::from_public_key_der(&world.public_key(&key)).unwrap();
    let point = kms.to_projective() * *ours.to_nonzero_scalar();
    let expected = point.to_affine().x().to_vec();

    let request = |peer: &[u8]| json!({ "KeyId": key, "PublicKey": BASE64.encode(peer), "KeyAgreementAlgorithm": "ECDH" });
    let derived = world.ok("DeriveSharedSecret", request(peer.as_bytes()));
    assert_eq!(
        members(&derived),
        [
            "KeyAgreementAlgorithm",
            "KeyId",
            "KeyOrigin",
            "SharedSecret"
        ]
        .into()
    );
    assert_eq!(derived["KeyOrigin"], "AWS_KMS");
    assert_eq!(unbase64(&derived["SharedSecret"]), expected);

    let mut body = request(peer.as_bytes());
    body["Recipient"] = recipient(&enclave);
    let attested = world.ok("DeriveSharedSecret", body);
    assert_eq!(
        members(&attested),
        [
            "CiphertextForRecipient",
            "KeyAgreementAlgorithm",
            "KeyId",
            "KeyOrigin"
        ]
        .into()
    );
    let opened = enclave.open(&unbase64(&attested["CiphertextForRecipient"]));
    assert_eq!(opened, expected);

    let p256 = world.public_key(&world.key_of("ECC_NIST_P256", "KEY_AGREEMENT"));
    let mut off_curve = peer.as_bytes().to_vec();
    *off_curve.last_mut().unwrap() ^= 1;
    let cut = &peer.as_bytes()[..peer.as_bytes().len() - 1];
    let bare_point = &peer.as_bytes()[peer.as_bytes().len() - 97..];
    for wrong in [p256.as_slice(), &off_curve, cut, bare_point, b"\x30\x00"] {
        world
            .err("DeriveSharedSecret", request(wrong))
            .is_silent("ValidationException");
    }
}

#[test]
fn openssl_derives_the_same_secret_on_every_curve() {
    let Some(openssl) = OpenSsl::find() else {
        return;
    };
    let world = World::new();
    let symmetric = world.key();
    for spec in ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"] {
        let key = world.key_of(spec, "KEY_AGREEMENT");
        let pair = world.ok(
            "GenerateDataKeyPair",
            json!({ "KeyId": symmetric, "KeyPairSpec": spec }),
        );
        let derived = world.ok(
            "DeriveSharedSecret",
            json!({ "KeyId": key, "PublicKey": pair["PublicKey"], "KeyAgreementAlgorithm": "ECDH" }),
        );
        let private = unbase64(&pair["PrivateKeyPlaintext"]);
        let public = world.public_key(&key);
        let theirs = openssl.run(
            "pkeyutl -derive -keyform DER -inkey private -peerform DER -peerkey public",
            &[("private", &private), ("public", &public)],
        );
        assert_eq!(
            theirs.unwrap(),
            unbase64(&derived["SharedSecret"]),
            "{spec}"
        );
    }
}

#[test]
fn an_encapsulated_secret_comes_back_here_and_from_outside() {
    let world = World::new();
    for (spec, algorithm, ciphertext_bytes) in [
        ("ML_KEM_512", &ML_KEM_512, 768),
        ("ML_KEM_768", &ML_KEM_768, 1088),
        ("ML_KEM_1024", &ML_KEM_1024, 1568),
    ] {
        let key = world.key_of(spec, "ENCAPSULATE_DECAPSULATE");
        let body = json!({ "KeyId": key, "EncapsulationAlgorithm": "ML_KEM" });
        let made = world.ok("Encapsulate", body);
        assert_eq!(
            members(&made),
            [
                "EncapsulationAlgorithm",
                "KeyId",
                "SharedSecret",
                "SharedSecretCiphertextBlob",
            ]
            .into()
        );
        let ciphertext = unbase64(&made["SharedSecretCiphertextBlob"]);
        assert_eq!(ciphertext.len(), ciphertext_bytes);
        let decapsulate = |ciphertext: &[u8]| {
            world.call(
                "Decapsulate",
                json!({
                    "KeyId": key, "EncapsulationAlgorithm": "ML_KEM",
                    "SharedSecretCiphertextBlob": BASE64.encode(ciphertext),
                }),
            )
        };
        let opened = decapsulate(&ciphertext).unwrap();
        assert_eq!(
            members(&opened),
            ["EncapsulationAlgorithm", "KeyId", "SharedSecret"].into()
        );
        assert_eq!(opened["SharedSecret"], made["SharedSecret"]);
        assert_eq!(unbase64(&opened["SharedSecret"]).len(), 32);

        // Whoever has the public key can encapsulate.
        let spki = world.public_key(&key);
        let spki = SubjectPublicKeyInfoRef::from_der(&spki).unwrap();
        let public = EncapsulationKey::new(algorithm, spki.subject_public_key.raw_bytes()).unwrap();
        let (theirs, secret) = public.encapsulate().unwrap();
        let opened = decapsulate(theirs.as_ref()).unwrap();
        assert_eq!(unbase64(&opened["SharedSecret"]), secret.as_ref());

        // A changed ciphertext gives an unrelated secret, a cut one none.
        let mut changed = ciphertext.clone();
        changed[0] ^= 1;
        let unrelated = decapsulate(&changed).unwrap();
        assert_ne!(unrelated["SharedSecret"], made["SharedSecret"]);
        decapsulate(&ciphertext[1..])
            .unwrap_err()
            .is_silent("InvalidCiphertextException");
    }
}
