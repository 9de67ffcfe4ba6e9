//! aws-sdk-kms against the server, over TLS: one case for each of the 56
//! operations of KMS. What KMS computes is checked with aws-lc-rs.
//!
//! A case whose operation the server lacks, by its own word, is counted apart.

use std::pin::Pin;

use aws_lc_rs::{
    agreement, digest,
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use aws_sdk_kms::{
    Client,
    error::ProvideErrorMetadata,
    operation::get_parameters_for_import::GetParametersForImportOutput,
    primitives::Blob,
    types::{
        AlgorithmSpec, CustomKeyStoreType, DataKeyPairSpec, DataKeySpec,
        EncapsulationAlgorithmSpec, ExpirationModelType, GrantOperation, KeyAgreementAlgorithmSpec,
        KeyMetadata, KeySpec, KeyState, KeyUsageType, MacAlgorithmSpec, MessageType,
        MultiRegionKeyType, OriginType, RotationType, SigningAlgorithmSpec, Tag, WrappingKeySpec,
    },
};
use conformance::lab::cloud::{ACCOUNT, Cloud, REGION};
use nsm_sim::{attestation::pki::Pki, clock::SettableClock, seed::WorldSeed};

/// How many must pass: those whose operations are built.
const PASSED_MIN: usize = 44;
const UNKNOWN_STORE: &str = "cks-1234567890abcdef0";

#[tokio::test(flavor = "multi_thread")]
async fn aws_sdk_kms_drives_every_operation() {
    let root = Pki::new(&WorldSeed::random(), REGION).root_pem();
    let cloud = Cloud::start(&root, SettableClock::running()).await.unwrap();
    let kms = cloud.kms_admin().unwrap();
    let (mut passed, mut not_built, mut failed) = (0, 0, Vec::new());
    for (name, case) in CASES {
        match case(&kms).await {
            Ok(()) => passed += 1,
            Err(Refused { code, message })
                if code == "UnsupportedOperationException" && message.contains("[drydock]") =>
            {
                println!("not built {name}: {message}");
                not_built += 1;
            }
            Err(refused) => failed.push(format!("{name}: {refused:?}")),
        }
    }
    println!(
        "cases: {passed} passed, {not_built} not built, {} failed",
        failed.len()
    );
    assert_eq!(failed, [""; 0]);
    assert_eq!(passed + not_built, 56);
    assert!(passed >= PASSED_MIN, "only {passed} passed");
}

/// An answer that a case did not expect.
#[derive(Debug)]
struct Refused {
    code: String,
    message: String,
}

impl<E: ProvideErrorMetadata + std::fmt::Debug> From<E> for Refused {
    fn from(error: E) -> Self {
        Self {
            code: error.code().unwrap_or_default().to_owned(),
            message: match error.message() {
                Some(message) => message.to_owned(),
                None => format!("{error:?}"),
            },
        }
    }
}

type Outcome = Result<(), Refused>;
type Case = for<'a> fn(&'a Client) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// `Operation => |kms| { … }` becomes one case.
macro_rules! cases {
    ($($name:ident => |$kms:ident| $body:block)*) => {
        const CASES: &[(&str, Case)] = &[$((
            stringify!($name),
            |$kms| Box::pin(async move { $body Ok(()) }),
        )),*];
    };
}

cases! {
    CreateKey => |kms| {
        let key = key(kms).await?;
        assert_eq!(key.key_state, Some(KeyState::Enabled));
        assert_eq!(key.key_spec, Some(KeySpec::SymmetricDefault));
        assert_eq!(key.origin, Some(OriginType::AwsKms));
        assert!(key.arn.unwrap().ends_with(&key.key_id));
    }
    DescribeKey => |kms| {
        let made = key(kms).await?;
        for name in [made.key_id.clone(), made.arn.clone().unwrap()] {
            let described = kms.describe_key().key_id(name).send().await?;
            assert_eq!(described.key_metadata, Some(made.clone()));
        }
    }
    ListKeys => |kms| {
        let made = id(kms).await?;
        let mut pages = kms.list_keys().into_paginator().page_size(3).items().send();
        let mut listed = Vec::new();
        while let Some(entry) = pages.next().await {
            listed.push(entry?.key_id.unwrap());
        }
        assert!(listed.contains(&made));
    }
    DisableKey => |kms| {
        let key = key(kms).await?;
        kms.disable_key().key_id(&key.key_id).send().await?;
        let refused = kms.encrypt().key_id(&key.key_id).plaintext(blob(b"x")).send().await;
        let error = refused.unwrap_err().into_service_error();
        assert!(error.is_disabled_exception(), "{error:?}");
    }
    EnableKey => |kms| {
        let key = id(kms).await?;
        kms.disable_key().key_id(&key).send().await?;
        kms.enable_key().key_id(&key).send().await?;
        kms.encrypt().key_id(&key).plaintext(blob(b"x")).send().await?;
    }
    UpdateKeyDescription => |kms| {
        let key = id(kms).await?;
        kms.update_key_description().key_id(&key).description("new").send().await?;
        assert_eq!(described(kms, &key).await?.description.as_deref(), Some("new"));
    }
    ScheduleKeyDeletion => |kms| {
        let key = id(kms).await?;
        let answer = kms.schedule_key_deletion().key_id(&key)
            .pending_window_in_days(7).send().await?;
        assert_eq!(answer.key_state, Some(KeyState::PendingDeletion));
        assert!(answer.deletion_date.is_some());
    }
    CancelKeyDeletion => |kms| {
        let key = id(kms).await?;
        kms.schedule_key_deletion().key_id(&key).send().await?;
        kms.cancel_key_deletion().key_id(&key).send().await?;
        assert_eq!(described(kms, &key).await?.key_state, Some(KeyState::Disabled));
    }
    GetKeyLastUsage => |kms| {
        let key = id(kms).await?;
        let answer = kms.get_key_last_usage().key_id(&key).send().await?;
        assert!(answer.key_id.unwrap().contains(&key));
    }
    TagResource => |kms| {
        kms.tag_resource().key_id(id(kms).await?).tags(tag("a")).send().await?;
    }
    ListResourceTags => |kms| {
        let key = id(kms).await?;
        kms.tag_resource().key_id(&key).tags(tag("a")).tags(tag("b")).send().await?;
        let answer = kms.list_resource_tags().key_id(&key).send().await?;
        assert_eq!(answer.tags.unwrap(), [tag("a"), tag("b")]);
    }
    UntagResource => |kms| {
        let key = id(kms).await?;
        kms.tag_resource().key_id(&key).tags(tag("a")).tags(tag("b")).send().await?;
        kms.untag_resource().key_id(&key).tag_keys("a").send().await?;
        let answer = kms.list_resource_tags().key_id(&key).send().await?;
        assert_eq!(answer.tags.unwrap(), [tag("b")]);
    }
    CreateAlias => |kms| {
        let key = id(kms).await?;
        let create = kms.create_alias().alias_name("alias/made").target_key_id(&key);
        create.clone().send().await?;
        assert_eq!(described(kms, "alias/made").await?.key_id, key);
        let error = create.send().await.unwrap_err().into_service_error();
        assert!(error.is_already_exists_exception(), "{error:?}");
    }
    UpdateAlias => |kms| {
        let (one, two) = (id(kms).await?, id(kms).await?);
        kms.create_alias().alias_name("alias/moved").target_key_id(one).send().await?;
        kms.update_alias().alias_name("alias/moved").target_key_id(&two).send().await?;
        assert_eq!(described(kms, "alias/moved").await?.key_id, two);
    }
    ListAliases => |kms| {
        let key = id(kms).await?;
        kms.create_alias().alias_name("alias/listed").target_key_id(&key).send().await?;
        let answer = kms.list_aliases().key_id(&key).send().await?;
        let names: Vec<_> = answer.aliases().iter().map(|alias| alias.alias_name()).collect();
        assert_eq!(names, [Some("alias/listed")]);
    }
    DeleteAlias => |kms| {
        let key = id(kms).await?;
        kms.create_alias().alias_name("alias/gone").target_key_id(&key).send().await?;
        kms.delete_alias().alias_name("alias/gone").send().await?;
        let refused = kms.describe_key().key_id("alias/gone").send().await;
        assert!(refused.unwrap_err().into_service_error().is_not_found_exception());
    }
    PutKeyPolicy => |kms| {
        let key = id(kms).await?;
        let denies = policy().replace(
            r#""Statement":["#,
            r#""Statement":[{"Effect":"Deny","Principal":"*","Action":"kms:Encrypt","Resource":"*"},"#,
        );
        kms.put_key_policy().key_id(&key).policy(denies).send().await?;
        let refused = kms.encrypt().key_id(&key).plaintext(blob(b"x")).send().await;
        let error = refused.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("AccessDeniedException"));
        assert!(error.message().unwrap().contains("with an explicit deny"), "{error:?}");
    }
    GetKeyPolicy => |kms| {
        let key = id(kms).await?;
        kms.put_key_policy().key_id(&key).policy(policy()).send().await?;
        let answer = kms.get_key_policy().key_id(&key).send().await?;
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(answer.policy().unwrap()), read(&policy()));
    }
    ListKeyPolicies => |kms| {
        let answer = kms.list_key_policies().key_id(id(kms).await?).send().await?;
        assert_eq!(answer.policy_names(), ["default"]);
    }
    EnableKeyRotation => |kms| {
        kms.enable_key_rotation().key_id(id(kms).await?)
            .rotation_period_in_days(90).send().await?;
    }
    GetKeyRotationStatus => |kms| {
        let key = id(kms).await?;
        kms.enable_key_rotation().key_id(&key).rotation_period_in_days(90).send().await?;
        let status = kms.get_key_rotation_status().key_id(&key).send().await?;
        assert!(status.key_rotation_enabled);
        assert_eq!(status.rotation_period_in_days, Some(90));
    }
    DisableKeyRotation => |kms| {
        let key = id(kms).await?;
        kms.enable_key_rotation().key_id(&key).send().await?;
        kms.disable_key_rotation().key_id(&key).send().await?;
        let status = kms.get_key_rotation_status().key_id(&key).send().await?;
        assert!(!status.key_rotation_enabled);
    }
    RotateKeyOnDemand => |kms| {
        let key = id(kms).await?;
        let before = encrypted(kms, &key, b"before").await?;
        kms.rotate_key_on_demand().key_id(&key).send().await?;
        assert_eq!(decrypted(kms, before).await?, b"before");
    }
    ListKeyRotations => |kms| {
        let key = id(kms).await?;
        kms.rotate_key_on_demand().key_id(&key).send().await?;
        let answer = kms.list_key_rotations().key_id(&key).send().await?;
        let kinds: Vec<_> = answer.rotations().iter().map(|r| r.rotation_type()).collect();
        assert_eq!(kinds, [Some(&RotationType::OnDemand)]);
    }
    CreateGrant => |kms| {
        assert!(!grant(kms, &id(kms).await?).await?.is_empty());
    }
    ListGrants => |kms| {
        let key = id(kms).await?;
        let made = grant(kms, &key).await?;
        let answer = kms.list_grants().key_id(&key).send().await?;
        assert_eq!(answer.grants()[0].grant_id(), Some(made.as_str()));
    }
    ListRetirableGrants => |kms| {
        let made = grant(kms, &id(kms).await?).await?;
        let answer = kms.list_retirable_grants().retiring_principal(root()).send().await?;
        let mut listed = answer.grants().iter().filter_map(|grant| grant.grant_id());
        assert!(listed.any(|listed| listed == made));
    }
    RevokeGrant => |kms| {
        let key = id(kms).await?;
        kms.revoke_grant().key_id(&key).grant_id(grant(kms, &key).await?).send().await?;
        assert!(kms.list_grants().key_id(&key).send().await?.grants().is_empty());
    }
    RetireGrant => |kms| {
        let key = key(kms).await?;
        let made = grant(kms, &key.key_id).await?;
        kms.retire_grant().key_id(key.arn.unwrap()).grant_id(made).send().await?;
        assert!(kms.list_grants().key_id(&key.key_id).send().await?.grants().is_empty());
    }
    Encrypt => |kms| {
        let blob = encrypted(kms, &id(kms).await?, b"pixels").await?;
        assert_eq!(blob.as_ref().len(), 158);
    }
    Decrypt => |kms| {
        let blob = encrypted(kms, &id(kms).await?, b"pixels").await?;
        assert_eq!(decrypted(kms, blob.clone()).await?, b"pixels");
        let refused = kms.decrypt().ciphertext_blob(blob).encryption_context("a", "b").send().await;
        let error = refused.unwrap_err().into_service_error();
        assert!(error.is_invalid_ciphertext_exception(), "{error:?}");
    }
    ReEncrypt => |kms| {
        let (one, two) = (id(kms).await?, id(kms).await?);
        let answer = kms.re_encrypt().ciphertext_blob(encrypted(kms, &one, b"pixels").await?)
            .destination_key_id(&two).send().await?;
        assert!(answer.key_id().unwrap().ends_with(&two));
        assert_eq!(decrypted(kms, answer.ciphertext_blob.unwrap()).await?, b"pixels");
    }
    GenerateDataKey => |kms| {
        let answer = kms.generate_data_key().key_id(id(kms).await?)
            .key_spec(DataKeySpec::Aes256).send().await?;
        let opened = decrypted(kms, answer.ciphertext_blob.unwrap()).await?;
        assert_eq!(opened.len(), 32);
        assert_eq!(opened, answer.plaintext.unwrap().as_ref());
    }
    GenerateDataKeyWithoutPlaintext => |kms| {
        let answer = kms.generate_data_key_without_plaintext().key_id(id(kms).await?)
            .number_of_bytes(64).send().await?;
        assert_eq!(decrypted(kms, answer.ciphertext_blob.unwrap()).await?.len(), 64);
    }
    GenerateRandom => |kms| {
        let answer = kms.generate_random().number_of_bytes(32).send().await?;
        assert_eq!(answer.plaintext.unwrap().as_ref().len(), 32);
    }
    GenerateDataKeyPair => |kms| {
        let answer = kms.generate_data_key_pair().key_id(id(kms).await?)
            .key_pair_spec(DataKeyPairSpec::EccNistP256).send().await?;
        let opened = decrypted(kms, answer.private_key_ciphertext_blob.unwrap()).await?;
        assert_eq!(opened, answer.private_key_plaintext.unwrap().as_ref());
        assert!(answer.public_key.is_some());
    }
    GenerateDataKeyPairWithoutPlaintext => |kms| {
        let answer = kms.generate_data_key_pair_without_plaintext().key_id(id(kms).await?)
            .key_pair_spec(DataKeyPairSpec::EccNistP256).send().await?;
        assert!(!decrypted(kms, answer.private_key_ciphertext_blob.unwrap()).await?.is_empty());
    }
    GetPublicKey => |kms| {
        let key = signing(kms).await?;
        let answer = kms.get_public_key().key_id(key).send().await?;
        assert_eq!(answer.key_spec, Some(KeySpec::EccNistP256));
        assert_eq!(answer.public_key.unwrap().as_ref().len(), 91);
    }
    Sign => |kms| {
        let key = signing(kms).await?;
        let hashed = digest::digest(&digest::SHA256, b"report");
        let answer = kms.sign().key_id(&key).message(blob(hashed.as_ref()))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256).send().await?;
        let public = point(&public_key(kms, &key).await?).to_vec();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public)
            .verify(b"report", answer.signature.unwrap().as_ref()).unwrap();
    }
    Verify => |kms| {
        let key = signing(kms).await?;
        let algorithm = SigningAlgorithmSpec::EcdsaSha256;
        let signed = kms.sign().key_id(&key).message(blob(b"report"))
            .signing_algorithm(algorithm.clone()).send().await?;
        let verify = kms.verify().key_id(&key).signing_algorithm(algorithm)
            .signature(signed.signature.unwrap());
        assert!(verify.clone().message(blob(b"report")).send().await?.signature_valid);
        let error = verify.message(blob(b"other")).send().await.unwrap_err().into_service_error();
        assert!(error.is_kms_invalid_signature_exception(), "{error:?}");
    }
    GenerateMac => |kms| {
        let answer = kms.generate_mac().key_id(mac(kms).await?).message(blob(b"report"))
            .mac_algorithm(MacAlgorithmSpec::HmacSha256).send().await?;
        assert_eq!(answer.mac.unwrap().as_ref().len(), 32);
    }
    VerifyMac => |kms| {
        let (key, algorithm) = (mac(kms).await?, MacAlgorithmSpec::HmacSha256);
        let made = kms.generate_mac().key_id(&key).message(blob(b"report"))
            .mac_algorithm(algorithm.clone()).send().await?;
        let verify = kms.verify_mac().key_id(&key).mac_algorithm(algorithm)
            .mac(made.mac.unwrap());
        assert!(verify.clone().message(blob(b"report")).send().await?.mac_valid);
        let error = verify.message(blob(b"other")).send().await.unwrap_err().into_service_error();
        assert!(error.is_kms_invalid_mac_exception(), "{error:?}");
    }
    DeriveSharedSecret => |kms| {
        let key = special(kms, KeySpec::EccNistP256, KeyUsageType::KeyAgreement).await?;
        let ours = agreement::PrivateKey::generate(&agreement::ECDH_P256).unwrap();
        let public: PublicKeyX509Der<'_> = ours.compute_public_key().unwrap().as_der().unwrap();
        let answer = kms.derive_shared_secret().key_id(&key)
            .key_agreement_algorithm(KeyAgreementAlgorithmSpec::Ecdh)
            .public_key(blob(public.as_ref())).send().await?;
        let theirs = public_key(kms, &key).await?;
        let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point(&theirs));
        agreement::agree(&ours, theirs, (), |secret| {
            assert_eq!(answer.shared_secret.unwrap().as_ref(), secret);
            Ok(())
        }).unwrap();
    }
    Encapsulate => |kms| {
        let (_, answer) = encapsulated(kms).await?;
        assert_eq!(answer.shared_secret.unwrap().as_ref().len(), 32);
    }
    Decapsulate => |kms| {
        let (key, sent) = encapsulated(kms).await?;
        let answer = kms.decapsulate().key_id(key)
            .encapsulation_algorithm(EncapsulationAlgorithmSpec::MlKem)
            .shared_secret_ciphertext_blob(sent.shared_secret_ciphertext_blob.unwrap())
            .send().await?;
        assert_eq!(answer.shared_secret, sent.shared_secret);
    }
    GetParametersForImport => |kms| {
        let (_, parameters) = importing(kms).await?;
        assert!(parameters.import_token.is_some() && parameters.parameters_valid_to.is_some());
        PublicEncryptingKey::from_der(parameters.public_key.unwrap().as_ref()).unwrap();
    }
    ImportKeyMaterial => |kms| {
        let key = imported(kms).await?;
        assert_eq!(described(kms, &key).await?.key_state, Some(KeyState::Enabled));
        // What KMS computes with imported material is what everybody computes.
        let answer = kms.generate_mac().key_id(&key).message(blob(b"report"))
            .mac_algorithm(MacAlgorithmSpec::HmacSha256).send().await?;
        let ours = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        hmac::verify(&ours, b"report", answer.mac.unwrap().as_ref()).unwrap();
    }
    DeleteImportedKeyMaterial => |kms| {
        let key = imported(kms).await?;
        kms.delete_imported_key_material().key_id(&key).send().await?;
        assert_eq!(described(kms, &key).await?.key_state, Some(KeyState::PendingImport));
    }
    ReplicateKey => |kms| {
        let key = kms.create_key().multi_region(true).send().await?.key_metadata.unwrap();
        let answer = kms.replicate_key().key_id(&key.key_id)
            .replica_region("eu-west-1").send().await?;
        let replica = answer.replica_key_metadata.unwrap();
        assert_eq!(replica.key_id, key.key_id);
        assert!(replica.arn.unwrap().contains(":eu-west-1:"));
    }
    UpdatePrimaryRegion => |kms| {
        let key = kms.create_key().multi_region(true).send().await?.key_metadata.unwrap().key_id;
        kms.replicate_key().key_id(&key).replica_region("eu-west-1").send().await?;
        kms.update_primary_region().key_id(&key).primary_region("eu-west-1").send().await?;
        let regions = described(kms, &key).await?.multi_region_configuration.unwrap();
        assert_eq!(regions.multi_region_key_type, Some(MultiRegionKeyType::Replica));
    }
    CreateCustomKeyStore => |kms| {
        // Without a proxy that answers: a refusal of KMS's own is as good as a store.
        let answer = kms.create_custom_key_store().custom_key_store_name("store")
            .custom_key_store_type(CustomKeyStoreType::ExternalKeyStore)
            .xks_proxy_uri_endpoint("https://127.0.0.1:9").send().await;
        if let Err(error) = answer {
            let refused = Refused::from(error);
            if !refused.code.starts_with("XksProxy") && refused.code != "ValidationException" {
                return Err(refused);
            }
        }
    }
    DescribeCustomKeyStores => |kms| {
        kms.describe_custom_key_stores().send().await?;
    }
    ConnectCustomKeyStore => |kms| {
        no_store(kms.connect_custom_key_store().custom_key_store_id(UNKNOWN_STORE).send().await)?;
    }
    DisconnectCustomKeyStore => |kms| {
        no_store(kms.disconnect_custom_key_store().custom_key_store_id(UNKNOWN_STORE).send().await)?;
    }
    UpdateCustomKeyStore => |kms| {
        no_store(kms.update_custom_key_store().custom_key_store_id(UNKNOWN_STORE)
            .new_custom_key_store_name("renamed").send().await)?;
    }
    DeleteCustomKeyStore => |kms| {
        no_store(kms.delete_custom_key_store().custom_key_store_id(UNKNOWN_STORE).send().await)?;
    }
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::new(bytes)
}

fn root() -> String {
    format!("arn:aws:iam::{ACCOUNT}:root")
}

fn policy() -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{}"}},"Action":"kms:*","Resource":"*"}}]}}"#,
        root()
    )
}

fn tag(name: &str) -> Tag {
    Tag::builder()
        .tag_key(name)
        .tag_value(name)
        .build()
        .unwrap()
}

async fn key(kms: &Client) -> Result<KeyMetadata, Refused> {
    Ok(kms.create_key().send().await?.key_metadata.unwrap())
}

async fn id(kms: &Client) -> Result<String, Refused> {
    Ok(key(kms).await?.key_id)
}

async fn special(kms: &Client, spec: KeySpec, usage: KeyUsageType) -> Result<String, Refused> {
    let made = kms
        .create_key()
        .key_spec(spec)
        .key_usage(usage)
        .send()
        .await?;
    Ok(made.key_metadata.unwrap().key_id)
}

async fn signing(kms: &Client) -> Result<String, Refused> {
    special(kms, KeySpec::EccNistP256, KeyUsageType::SignVerify).await
}

async fn mac(kms: &Client) -> Result<String, Refused> {
    special(kms, KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac).await
}

async fn described(kms: &Client, key: &str) -> Result<KeyMetadata, Refused> {
    Ok(kms
        .describe_key()
        .key_id(key)
        .send()
        .await?
        .key_metadata
        .unwrap())
}

async fn encrypted(kms: &Client, key: &str, plaintext: &[u8]) -> Result<Blob, Refused> {
    let answer = kms
        .encrypt()
        .key_id(key)
        .plaintext(blob(plaintext))
        .send()
        .await?;
    Ok(answer.ciphertext_blob.unwrap())
}

async fn decrypted(kms: &Client, ciphertext: Blob) -> Result<Vec<u8>, Refused> {
    let answer = kms.decrypt().ciphertext_blob(ciphertext).send().await?;
    Ok(answer.plaintext.unwrap().into_inner())
}

async fn grant(kms: &Client, key: &str) -> Result<String, Refused> {
    let answer = kms
        .create_grant()
        .key_id(key)
        .grantee_principal(root())
        .retiring_principal(root())
        .operations(GrantOperation::Decrypt)
        .send()
        .await?;
    Ok(answer.grant_id.unwrap())
}

async fn public_key(kms: &Client, key: &str) -> Result<Vec<u8>, Refused> {
    let answer = kms.get_public_key().key_id(key).send().await?;
    Ok(answer.public_key.unwrap().into_inner())
}

/// The uncompressed point that ends a P-256 SubjectPublicKeyInfo.
fn point(spki: &[u8]) -> &[u8] {
    &spki[spki.len() - 65..]
}

async fn encapsulated(
    kms: &Client,
) -> Result<
    (
        String,
        aws_sdk_kms::operation::encapsulate::EncapsulateOutput,
    ),
    Refused,
> {
    let key = special(kms, KeySpec::MlKem768, KeyUsageType::EncapsulateDecapsulate).await?;
    let answer = kms
        .encapsulate()
        .key_id(&key)
        .encapsulation_algorithm(EncapsulationAlgorithmSpec::MlKem)
        .send()
        .await?;
    Ok((key, answer))
}

/// An HMAC key that waits for its material.
async fn importing(kms: &Client) -> Result<(String, GetParametersForImportOutput), Refused> {
    let made = kms
        .create_key()
        .origin(OriginType::External)
        .key_spec(KeySpec::Hmac256)
        .key_usage(KeyUsageType::GenerateVerifyMac)
        .send()
        .await?;
    let key = made.key_metadata.unwrap().key_id;
    let parameters = kms
        .get_parameters_for_import()
        .key_id(&key)
        .wrapping_algorithm(AlgorithmSpec::RsaesOaepSha256)
        .wrapping_key_spec(WrappingKeySpec::Rsa2048)
        .send()
        .await?;
    Ok((key, parameters))
}

/// An HMAC key with the material `[7; 32]`.
async fn imported(kms: &Client) -> Result<String, Refused> {
    let (key, parameters) = importing(kms).await?;
    let wrapping = PublicEncryptingKey::from_der(parameters.public_key.unwrap().as_ref()).unwrap();
    let wrapping = OaepPublicEncryptingKey::new(wrapping).unwrap();
    let mut wrapped = vec![0; wrapping.ciphertext_size()];
    wrapping
        .encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut wrapped, None)
        .unwrap();
    kms.import_key_material()
        .key_id(&key)
        .import_token(parameters.import_token.unwrap())
        .encrypted_key_material(Blob::new(wrapped))
        .expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire)
        .send()
        .await?;
    Ok(key)
}

/// A store that is not there is refused as such.
fn no_store<T, E: Into<Refused>>(answer: Result<T, E>) -> Outcome {
    match answer {
        Ok(_) => panic!("a store that is not there was found"),
        Err(error) => {
            let refused = error.into();
            if refused.code == "CustomKeyStoreNotFoundException" {
                return Ok(());
            }
            Err(refused)
        }
    }
}
