//! Imported keys that are not symmetric encryption keys: RSA, elliptic curves,
//! Ed25519, ML-DSA, ML-KEM and HMAC.

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
    signature::{self, UnparsedPublicKey, VerificationAlgorithm},
};
use x509_cert::{der::Decode, spki::SubjectPublicKeyInfoRef};

use super::{
    import::{pending, with},
    openssl::OpenSsl,
    *,
};
use crate::{
    keys::{pair::NewPair, wrapping::tests::wrap},
    model::spec::KeySpec,
    recipient::cms::element,
    world::entropy::Entropy,
};

const DAY: Duration = Duration::from_secs(86_400);

fn key_for(world: &World, spec: &str, usage: &str) -> String {
    pending(world, json!({ "KeySpec": spec, "KeyUsage": usage }))
}

fn pair(spec: &str) -> NewPair {
    NewPair::generate(KeySpec::parse(spec).unwrap(), &Entropy::system()).unwrap()
}

/// The body of an `ImportKeyMaterial` for `key`.
fn wrapped(world: &World, key: &str, algorithm: &str, material: &[u8]) -> Value {
    wrapped_in(world, None, key, algorithm, material)
}

fn wrapped_in(
    world: &World,
    region: Option<&str>,
    key: &str,
    algorithm: &str,
    material: &[u8],
) -> Value {
    let body = json!({
        "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048",
    });
    let parameters = world
        .call_in(region, &world.root, "GetParametersForImport", body)
        .unwrap();
    let public_key = unbase64(&parameters["PublicKey"]);
    json!({
        "KeyId": key,
        "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": BASE64.encode(wrap(algorithm, &public_key, material)),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    })
}

fn import(world: &World, key: &str, algorithm: &str, material: &[u8]) {
    let imported = world.ok(
        "ImportKeyMaterial",
        wrapped(world, key, algorithm, material),
    );
    assert_eq!(imported, json!({ "KeyId": key }));
}

fn metadata(world: &World, key: &str) -> Value {
    world.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"].clone()
}

fn point(spki: &[u8]) -> Vec<u8> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki).unwrap();
    spki.subject_public_key.raw_bytes().to_vec()
}

#[test]
fn imported_signing_keys_sign_as_the_key_they_were_outside() {
    let world = World::new();
    let (oaep, aes) = ("RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256");
    #[rustfmt::skip]
    let table: [(&str, &str, &str, &dyn VerificationAlgorithm); 10] = [
        ("RSA_2048", aes, "RSASSA_PSS_SHA_256", &signature::RSA_PSS_2048_8192_SHA256),
        ("RSA_3072", "RSA_AES_KEY_WRAP_SHA_1", "RSASSA_PKCS1_V1_5_SHA_384", &signature::RSA_PKCS1_2048_8192_SHA384),
        ("ECC_NIST_P256", oaep, "ECDSA_SHA_256", &signature::ECDSA_P256_SHA256_ASN1),
        ("ECC_NIST_P384", "RSAES_OAEP_SHA_1", "ECDSA_SHA_384", &signature::ECDSA_P384_SHA384_ASN1),
        ("ECC_NIST_P521", aes, "ECDSA_SHA_512", &signature::ECDSA_P521_SHA512_ASN1),
        ("ECC_SECG_P256K1", oaep, "ECDSA_SHA_256", &signature::ECDSA_P256K1_SHA256_ASN1),
        ("ECC_NIST_EDWARDS25519", oaep, "ED25519_SHA_512", &signature::ED25519),
        ("ML_DSA_44", oaep, "ML_DSA_SHAKE_256", &signature::ML_DSA_44),
        ("ML_DSA_65", aes, "ML_DSA_SHAKE_256", &signature::ML_DSA_65),
        ("ML_DSA_87", oaep, "ML_DSA_SHAKE_256", &signature::ML_DSA_87),
    ];
    for (spec, wrapping, algorithm, verifying) in table {
        let outside = pair(spec);
        let key = key_for(&world, spec, "SIGN_VERIFY");
        let sign = json!({ "KeyId": key, "Message": "eA==", "SigningAlgorithm": algorithm });
        world.err("Sign", sign.clone()).says(
            "KMSInvalidStateException",
            &format!("{key} is pending import."),
        );
        import(&world, &key, wrapping, &outside.private);
        let described = metadata(&world, &key);
        assert_eq!(described["KeyState"], "Enabled", "{spec}");
        assert_eq!(described["Origin"], "EXTERNAL");
        assert_eq!(described["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
        assert!(described.get("CurrentKeyMaterialId").is_none());
        assert_eq!(world.public_key(&key), outside.public, "{spec}");
        let signed = unbase64(&world.ok("Sign", sign)["Signature"]);
        UnparsedPublicKey::new(verifying, point(&outside.public))
            .verify(b"x", &signed)
            .unwrap_or_else(|_| panic!("{spec}"));
    }
}

#[test]
fn imported_keys_of_every_other_usage_work() {
    let world = World::new();
    let outside = pair("RSA_2048");
    let key = key_for(&world, "RSA_2048", "ENCRYPT_DECRYPT");
    import(&world, &key, "RSA_AES_KEY_WRAP_SHA_256", &outside.private);
    let public = PublicEncryptingKey::from_der(&outside.public).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let mut ciphertext = vec![0; public.ciphertext_size()];
    let ciphertext = public
        .encrypt(&OAEP_SHA256_MGF1SHA256, b"plain", &mut ciphertext, None)
        .unwrap();
    let decrypted = world.ok(
        "Decrypt",
        json!({
            "KeyId": key, "CiphertextBlob": BASE64.encode(ciphertext),
            "EncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        }),
    );
    assert_eq!(unbase64(&decrypted["Plaintext"]), b"plain");
    assert!(decrypted.get("KeyMaterialId").is_none());

    // Both sides of an agreement, each imported.
    let (one, other) = (pair("ECC_NIST_P384"), pair("ECC_NIST_P384"));
    let secret = |mine: &NewPair, theirs: &NewPair| {
        let key = key_for(&world, "ECC_NIST_P384", "KEY_AGREEMENT");
        import(&world, &key, "RSAES_OAEP_SHA_256", &mine.private);
        let derived = world.ok(
            "DeriveSharedSecret",
            json!({
                "KeyId": key, "PublicKey": BASE64.encode(&theirs.public),
                "KeyAgreementAlgorithm": "ECDH",
            }),
        );
        assert_eq!(derived["KeyOrigin"], "EXTERNAL");
        text(&derived["SharedSecret"])
    };
    assert_eq!(secret(&one, &other), secret(&other, &one));

    let outside = pair("ML_KEM_768");
    let key = key_for(&world, "ML_KEM_768", "ENCAPSULATE_DECAPSULATE");
    import(&world, &key, "RSAES_OAEP_SHA_256", &outside.private);
    assert_eq!(world.public_key(&key), outside.public);
    let encapsulate = json!({ "KeyId": key, "EncapsulationAlgorithm": "ML_KEM" });
    let made = world.ok("Encapsulate", encapsulate.clone());
    let blob = json!({ "SharedSecretCiphertextBlob": made["SharedSecretCiphertextBlob"] });
    let opened = world.ok("Decapsulate", with(encapsulate, blob));
    assert_eq!(opened["SharedSecret"], made["SharedSecret"]);

    for (spec, algorithm, bytes, outside) in [
        ("HMAC_224", "HMAC_SHA_224", 28, hmac::HMAC_SHA224),
        ("HMAC_256", "HMAC_SHA_256", 32, hmac::HMAC_SHA256),
        ("HMAC_384", "HMAC_SHA_384", 48, hmac::HMAC_SHA384),
        ("HMAC_512", "HMAC_SHA_512", 64, hmac::HMAC_SHA512),
    ] {
        let secret = vec![9; bytes];
        let key = key_for(&world, spec, "GENERATE_VERIFY_MAC");
        import(&world, &key, "RSAES_OAEP_SHA_256", &secret);
        let body = json!({ "KeyId": key, "Message": "eA==", "MacAlgorithm": algorithm });
        let mac = unbase64(&world.ok("GenerateMac", body)["Mac"]);
        let expected = hmac::sign(&hmac::Key::new(outside, &secret), b"x");
        assert_eq!(mac, expected.as_ref(), "{spec}");
    }
}

#[test]
fn a_key_takes_back_its_own_material_in_any_encoding_and_no_other() {
    let world = World::new();
    let algorithm = "RSAES_OAEP_SHA_256";
    let outside = pair("ECC_NIST_P256");
    let key = key_for(&world, "ECC_NIST_P256", "SIGN_VERIFY");
    import(&world, &key, algorithm, &outside.private);
    let sign = json!({ "KeyId": key, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256" });
    let signed = world.ok("Sign", sign.clone());

    // While the material is there, and after it was deleted.
    for deleted in [false, true] {
        if deleted {
            let body = json!({ "KeyId": key });
            let forgotten = world.ok("DeleteImportedKeyMaterial", body);
            assert_eq!(forgotten, json!({ "KeyId": key }));
            let described = metadata(&world, &key);
            assert_eq!(described["KeyState"], "PendingImport");
            assert!(described.get("ExpirationModel").is_none());
            for operation in ["Sign", "GetPublicKey"] {
                let body = if operation == "Sign" {
                    sign.clone()
                } else {
                    json!({ "KeyId": key })
                };
                let refused = world.err(operation, body);
                assert_eq!(refused.code, "KMSInvalidStateException", "{operation}");
            }
        }
        let other = wrapped(&world, &key, algorithm, &pair("ECC_NIST_P256").private);
        let refused = world.err("ImportKeyMaterial", other);
        refused.is_silent("IncorrectKeyMaterialException");
        // Without the public half the same key is encoded differently.
        let scalar = &outside.private[36..68];
        let inner = element(0x30, &[b"\x02\x01\x01", &element(0x04, &[scalar])]);
        let identifier = &outside.private[6..27];
        let bare = element(
            0x30,
            &[b"\x02\x01\x00", identifier, &element(0x04, &[&inner])],
        );
        assert!(bare.len() < outside.private.len());
        import(&world, &key, algorithm, &bare);
    }
    assert_eq!(world.public_key(&key), outside.public);
    let verify = with(sign, json!({ "Signature": signed["Signature"] }));
    assert_eq!(world.ok("Verify", verify)["SignatureValid"], true);

    // What is for symmetric encryption keys is for them alone.
    let good = wrapped(&world, &key, algorithm, &outside.private);
    for more in [
        json!({ "ImportType": "EXISTING_KEY_MATERIAL" }),
        json!({ "ImportType": "NEW_KEY_MATERIAL" }),
        json!({ "KeyMaterialDescription": "d" }),
        json!({ "ImportType": "EXISTING_KEY_MATERIAL", "KeyMaterialId": "0".repeat(64) }),
    ] {
        let refused = world.err("ImportKeyMaterial", with(good.clone(), more));
        assert_eq!(refused.code, "ValidationException");
    }
    let named = json!({ "KeyId": key, "KeyMaterialId": "0".repeat(64) });
    let refused = world.err("DeleteImportedKeyMaterial", named);
    assert_eq!(refused.code, "ValidationException");
    // A disabled key takes material, and stays disabled.
    world.ok("DisableKey", json!({ "KeyId": key }));
    world.ok("ImportKeyMaterial", good);
    let described = world.ok("DescribeKey", json!({ "KeyId": key }));
    assert_eq!(described["KeyMetadata"]["KeyState"], "Disabled");
}

#[test]
fn material_that_is_not_the_keys_is_refused() {
    let world = World::new();
    let aes = "RSA_AES_KEY_WRAP_SHA_256";
    let p256 = pair("ECC_NIST_P256");
    // RFC 5915 without PKCS #8 around it.
    let sec1 = &p256.private[29..];
    let cut = &p256.private[..100];
    let k1 = pair("ECC_SECG_P256K1");
    let rsa = pair("RSA_2048");
    let public = AsDer::as_der(&PublicEncryptingKey::from_der(&rsa.public).unwrap());
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = public.unwrap();
    let lattice = pair("ML_DSA_44");
    #[rustfmt::skip]
    let table: Vec<(&str, &str, &[u8])> = vec![
        ("ECC_NIST_P256", "SIGN_VERIFY", &k1.private),
        ("ECC_NIST_P256", "KEY_AGREEMENT", &k1.private),
        ("ECC_NIST_P256", "SIGN_VERIFY", sec1),
        ("ECC_NIST_P256", "SIGN_VERIFY", cut),
        ("ECC_NIST_P256", "SIGN_VERIFY", &rsa.private),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", &p256.private),
        ("RSA_2048", "SIGN_VERIFY", &p256.private),
        ("RSA_2048", "ENCRYPT_DECRYPT", public.as_ref()),
        ("RSA_3072", "ENCRYPT_DECRYPT", &rsa.private),
        ("RSA_4096", "SIGN_VERIFY", &rsa.private),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", &[7; 32]),
        ("ML_DSA_65", "SIGN_VERIFY", &lattice.private),
        ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE", &lattice.private),
        ("HMAC_256", "GENERATE_VERIFY_MAC", &[7; 31]),
        ("HMAC_256", "GENERATE_VERIFY_MAC", &[7; 33]),
        ("HMAC_512", "GENERATE_VERIFY_MAC", &[7; 32]),
    ];
    for (spec, usage, material) in table {
        let key = key_for(&world, spec, usage);
        let refused = world.err("ImportKeyMaterial", wrapped(&world, &key, aes, material));
        refused.is_silent("IncorrectKeyMaterialException");
        assert!(refused.reason.is_some());
        assert_eq!(
            metadata(&world, &key)["KeyState"],
            "PendingImport",
            "{spec}"
        );
    }
}

#[test]
fn material_that_does_not_fit_is_refused_before_it_is_wrapped() {
    let world = World::new();
    let parameters = |spec: &str, usage: &str, algorithm: &str, wrapping: &str| {
        let key = key_for(&world, spec, usage);
        let body = json!({
            "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": wrapping,
        });
        world.call("GetParametersForImport", body)
    };
    let (sign, oaep) = ("SIGN_VERIFY", "RSAES_OAEP_SHA_256");
    for (spec, algorithm, wrapping) in [
        ("RSA_2048", oaep, "RSA_4096"),
        ("RSA_4096", "RSAES_OAEP_SHA_1", "RSA_4096"),
        ("ECC_NIST_P521", oaep, "RSA_2048"),
        ("ECC_NIST_P521", "RSAES_OAEP_SHA_1", "RSA_2048"),
        ("ECC_NIST_P256", "RSAES_PKCS1_V1_5", "RSA_4096"),
        ("ECC_NIST_P256", "SM2PKE", "SM2"),
    ] {
        let refused = parameters(spec, sign, algorithm, wrapping).unwrap_err();
        assert_eq!(refused.code, "UnsupportedOperationException", "{spec}");
        assert!(refused.message.unwrap().starts_with("[drydock] "));
    }
    for (spec, algorithm, wrapping) in [
        ("RSA_2048", "RSA_AES_KEY_WRAP_SHA_1", "RSA_2048"),
        ("ECC_NIST_P521", oaep, "RSA_3072"),
        ("ECC_NIST_P521", "RSA_AES_KEY_WRAP_SHA_256", "RSA_2048"),
    ] {
        parameters(spec, sign, algorithm, wrapping).unwrap();
    }
}

#[test]
fn an_imported_key_expires_with_the_clock_and_comes_back() {
    let world = World::new();
    let algorithm = "RSAES_OAEP_SHA_256";
    let outside = pair("ECC_NIST_EDWARDS25519");
    let key = key_for(&world, "ECC_NIST_EDWARDS25519", "SIGN_VERIFY");
    let until = START.0 / 1000 + 2 * 86_400;
    let expiring = json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": until });
    let body = with(wrapped(&world, &key, algorithm, &outside.private), expiring);
    world.ok("ImportKeyMaterial", body);
    let described = metadata(&world, &key);
    assert_eq!(described["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    assert_eq!(described["ValidTo"], until);
    let sign = || json!({ "KeyId": key, "Message": "eA==", "SigningAlgorithm": "ED25519_SHA_512" });
    world.clock.advance(DAY * 2 - Duration::from_millis(1));
    let before = world.ok("Sign", sign());
    world.clock.advance(Duration::from_millis(1));
    world.err("Sign", sign()).says(
        "KMSInvalidStateException",
        &format!("{key} is pending import."),
    );
    assert_eq!(metadata(&world, &key)["KeyState"], "PendingImport");
    import(&world, &key, algorithm, &outside.private);
    world.clock.advance(DAY * 400);
    let after = world.ok("Sign", sign());
    assert_eq!(after["Signature"], before["Signature"]);
}

#[test]
fn replicas_of_an_imported_key_take_the_primarys_material_alone() {
    let world = World::new();
    let algorithm = "RSAES_OAEP_SHA_256";
    let eu = Some("eu-west-1");
    let outside = pair("ECC_NIST_P256");
    let spec =
        json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "MultiRegion": true });
    let key = pending(&world, spec);
    import(&world, &key, algorithm, &outside.private);
    let body = json!({ "KeyId": key, "ReplicaRegion": "eu-west-1" });
    let replicated = world.ok("ReplicateKey", body);
    let replica = text(&replicated["ReplicaKeyMetadata"]["Arn"]);
    let in_eu = |operation: &str, body: Value| world.call_in(eu, &world.root, operation, body);
    let import_eu = |material: &[u8]| {
        let body = wrapped_in(&world, eu, &replica, algorithm, material);
        in_eu("ImportKeyMaterial", body)
    };
    let sign = json!({ "KeyId": replica, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256" });
    assert_eq!(
        in_eu("Sign", sign.clone()).unwrap_err().code,
        "KMSInvalidStateException"
    );
    import_eu(&pair("ECC_NIST_P256").private)
        .unwrap_err()
        .is_silent("IncorrectKeyMaterialException");
    import_eu(&outside.private).unwrap();
    let signed = in_eu("Sign", sign.clone()).unwrap();
    let verify = with(
        sign,
        json!({ "KeyId": key, "Signature": signed["Signature"] }),
    );
    assert_eq!(world.ok("Verify", verify)["SignatureValid"], true);
    // Each has its own material: one may lack it.
    world.ok("DeleteImportedKeyMaterial", json!({ "KeyId": key }));
    let described = in_eu("DescribeKey", json!({ "KeyId": replica })).unwrap();
    assert_eq!(described["KeyMetadata"]["KeyState"], "Enabled");
    assert_eq!(metadata(&world, &key)["KeyState"], "PendingImport");
}

#[test]
fn openssls_keys_are_imported_and_explicit_curves_are_not() {
    let Some(openssl) = OpenSsl::find() else {
        return;
    };
    let world = World::new();
    let aes = "RSA_AES_KEY_WRAP_SHA_256";
    for (spec, arguments) in [
        ("RSA_2048", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        (
            "ECC_NIST_P256",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        ),
        (
            "ECC_NIST_P521",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-521",
        ),
        (
            "ECC_SECG_P256K1",
            "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
        ),
        ("ECC_NIST_EDWARDS25519", "-algorithm ED25519"),
    ] {
        let private = generated(&openssl, arguments);
        let public = openssl.run(
            "pkey -inform DER -in private -pubout -outform DER",
            &[("private", &private)],
        );
        let key = key_for(&world, spec, "SIGN_VERIFY");
        import(&world, &key, aes, &private);
        assert_eq!(world.public_key(&key), public.unwrap(), "{spec}");
    }
    let explicit = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit";
    let key = key_for(&world, "ECC_NIST_P256", "SIGN_VERIFY");
    let body = wrapped(&world, &key, aes, &generated(&openssl, explicit));
    world
        .err("ImportKeyMaterial", body)
        .is_silent("IncorrectKeyMaterialException");
}

/// A new private key in PKCS #8.
fn generated(openssl: &OpenSsl, arguments: &str) -> Vec<u8> {
    let pem = openssl.run(&format!("genpkey {arguments}"), &[]).unwrap();
    let files = [("pem", pem.as_slice())];
    let pkcs8 = openssl.run("pkcs8 -topk8 -nocrypt -in pem -outform DER", &files);
    pkcs8.unwrap()
}
