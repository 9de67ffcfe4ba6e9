//! The official SDK creates keys of every spec and uses them over TLS: what
//! kms-mock answers parses, and signatures, secrets and ciphertexts fit.

use aws_sdk_kms::{
    Client,
    primitives::Blob,
    types::{
        DataKeyPairSpec, EncapsulationAlgorithmSpec, EncryptionAlgorithmSpec,
        KeyAgreementAlgorithmSpec, KeySpec, KeyUsageType, MacAlgorithmSpec, MessageType,
        SigningAlgorithmSpec,
    },
};
use conformance::lab::cloud::{Cloud, REGION};
use nsm_sim::{
    attestation::pki::Pki,
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};

async fn key(kms: &Client, spec: KeySpec, usage: KeyUsageType) -> String {
    let created = kms
        .create_key()
        .key_spec(spec.clone())
        .key_usage(usage.clone());
    let metadata = created.send().await.unwrap().key_metadata.unwrap();
    assert_eq!(metadata.key_spec(), Some(&spec));
    assert_eq!(metadata.key_usage(), Some(&usage));
    let described = kms.describe_key().key_id(metadata.key_id()).send();
    assert_eq!(described.await.unwrap().key_metadata(), Some(&metadata));
    metadata.arn.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_sdk_uses_keys_of_every_spec() {
    let clock = SettableClock::frozen(UnixMillis(1_766_678_658_000));
    let root = Pki::new(&WorldSeed::from_u64(7), REGION).root_pem();
    let cloud = Cloud::start(&root, clock).await.unwrap();
    let kms = cloud.kms_admin().unwrap();
    let message = || Blob::new(b"a message".as_slice());

    for spec in KeySpec::values() {
        let spec = KeySpec::from(*spec);
        if spec == KeySpec::Sm2 {
            let refused = kms
                .create_key()
                .key_spec(spec)
                .key_usage(KeyUsageType::SignVerify)
                .send()
                .await
                .unwrap_err()
                .into_service_error();
            assert!(refused.is_unsupported_operation_exception());
            continue;
        }
        let name = spec.as_str().to_owned();
        let usages: &[KeyUsageType] = match name.split('_').next() {
            Some("SYMMETRIC") => &[KeyUsageType::EncryptDecrypt],
            Some("RSA") => &[KeyUsageType::EncryptDecrypt, KeyUsageType::SignVerify],
            Some("HMAC") => &[KeyUsageType::GenerateVerifyMac],
            Some("ECC") if name.starts_with("ECC_NIST_P") => {
                &[KeyUsageType::SignVerify, KeyUsageType::KeyAgreement]
            }
            _ if name.starts_with("ML_KEM") => &[KeyUsageType::EncapsulateDecapsulate],
            _ => &[KeyUsageType::SignVerify],
        };
        for usage in usages {
            let id = key(&kms, spec.clone(), usage.clone()).await;
            match usage {
                KeyUsageType::SignVerify => signs(&kms, &id, message()).await,
                KeyUsageType::EncryptDecrypt => encrypts(&kms, &id, message()).await,
                KeyUsageType::KeyAgreement => agrees(&kms, &id, &spec).await,
                KeyUsageType::EncapsulateDecapsulate => encapsulates(&kms, &id).await,
                _ => authenticates(&kms, &id, message()).await,
            }
        }
    }
}

async fn signs(kms: &Client, id: &str, message: Blob) {
    let public = kms.get_public_key().key_id(id).send().await.unwrap();
    let algorithms: Vec<_> = public
        .signing_algorithms()
        .iter()
        // Of a digest alone, not of a message.
        .filter(|algorithm| **algorithm != SigningAlgorithmSpec::Ed25519PhSha512)
        .collect();
    assert!(!algorithms.is_empty(), "{public:?}");
    for algorithm in algorithms {
        let signed = kms
            .sign()
            .key_id(id)
            .message(message.clone())
            .message_type(MessageType::Raw)
            .signing_algorithm(algorithm.clone())
            .send()
            .await
            .unwrap();
        let verified = kms
            .verify()
            .key_id(id)
            .message(message.clone())
            .signing_algorithm(algorithm.clone())
            .signature(signed.signature.unwrap())
            .send()
            .await
            .unwrap();
        assert!(verified.signature_valid());
        let refused = kms
            .verify()
            .key_id(id)
            .message(message.clone())
            .signing_algorithm(algorithm.clone())
            .signature(message.clone())
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        assert!(refused.is_kms_invalid_signature_exception());
    }
}

async fn encrypts(kms: &Client, id: &str, message: Blob) {
    let described = kms.describe_key().key_id(id).send().await.unwrap();
    let metadata = described.key_metadata.unwrap();
    assert!(!metadata.encryption_algorithms().is_empty(), "{metadata:?}");
    for algorithm in metadata.encryption_algorithms() {
        let encrypted = kms
            .encrypt()
            .key_id(id)
            .plaintext(message.clone())
            .encryption_algorithm(algorithm.clone())
            .send()
            .await
            .unwrap();
        let decrypted = kms
            .decrypt()
            .key_id(id)
            .ciphertext_blob(encrypted.ciphertext_blob.unwrap())
            .encryption_algorithm(algorithm.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(decrypted.plaintext(), Some(&message));
        let has_material = *algorithm == EncryptionAlgorithmSpec::SymmetricDefault;
        assert_eq!(decrypted.key_material_id().is_some(), has_material);
    }
}

/// With a data key pair of the same curve on the other side.
async fn agrees(kms: &Client, id: &str, spec: &KeySpec) {
    let wrapping = key(kms, KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt).await;
    let pair = kms
        .generate_data_key_pair()
        .key_id(&wrapping)
        .key_pair_spec(DataKeyPairSpec::from(spec.as_str()))
        .send()
        .await
        .unwrap();
    let opened = kms
        .decrypt()
        .ciphertext_blob(pair.private_key_ciphertext_blob.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(opened.plaintext, pair.private_key_plaintext);
    let derived = kms
        .derive_shared_secret()
        .key_id(id)
        .key_agreement_algorithm(KeyAgreementAlgorithmSpec::Ecdh)
        .public_key(pair.public_key.unwrap())
        .send()
        .await
        .unwrap();
    let coordinate_bytes = match spec {
        KeySpec::EccNistP256 => 32,
        KeySpec::EccNistP384 => 48,
        _ => 66,
    };
    let secret = derived.shared_secret.unwrap();
    assert_eq!(secret.as_ref().len(), coordinate_bytes);
}

async fn encapsulates(kms: &Client, id: &str) {
    let made = kms
        .encapsulate()
        .key_id(id)
        .encapsulation_algorithm(EncapsulationAlgorithmSpec::MlKem)
        .send()
        .await
        .unwrap();
    let opened = kms
        .decapsulate()
        .key_id(id)
        .encapsulation_algorithm(EncapsulationAlgorithmSpec::MlKem)
        .shared_secret_ciphertext_blob(made.shared_secret_ciphertext_blob.unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(opened.shared_secret, made.shared_secret);
}

async fn authenticates(kms: &Client, id: &str, message: Blob) {
    let described = kms.describe_key().key_id(id).send().await.unwrap();
    let metadata = described.key_metadata.unwrap();
    let algorithm: &MacAlgorithmSpec = metadata.mac_algorithms().first().unwrap();
    let made = kms
        .generate_mac()
        .key_id(id)
        .message(message.clone())
        .mac_algorithm(algorithm.clone())
        .send()
        .await
        .unwrap();
    let verified = kms
        .verify_mac()
        .key_id(id)
        .message(message)
        .mac_algorithm(algorithm.clone())
        .mac(made.mac.unwrap())
        .send()
        .await
        .unwrap();
    assert!(verified.mac_valid());
}
