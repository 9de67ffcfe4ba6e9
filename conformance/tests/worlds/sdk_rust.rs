//! aws-sdk-kms against the server, over TLS: what clients do differently. Every
//! operation is driven by boto3 (`kms-mock/tests/endpoint/client_boto3.rs`), and keys
//! of every spec in `sdk_keys`; here is how this client writes and reads blobs, times,
//! pages, letters and refusals, when it tries again and how it signs.

use std::{pin::Pin, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_kms::{
    Client,
    config::{SharedCredentialsProvider, retry::RetryConfig},
    error::ProvideErrorMetadata,
    primitives::Blob,
    types::{
        AlgorithmSpec, DataKeySpec, KeyMetadata, KeySpec, KeyState, KeyUsageType, MacAlgorithmSpec,
        MultiRegionKeyType, OriginType, WrappingKeySpec,
    },
};
use conformance::lab::cloud::{ACCOUNT, Cloud, REGION, Role};
use nsm_sim::{
    attestation::pki::Pki,
    clock::{Clock as _, SettableClock},
    seed::WorldSeed,
};

#[tokio::test(flavor = "multi_thread")]
async fn aws_sdk_kms_agrees_where_clients_differ() {
    let cloud = cloud(SettableClock::running()).await;
    let kms = cloud.kms_admin().unwrap();
    let mut failed = Vec::new();
    for (name, case) in CASES {
        if let Err(refused) = case(&kms, &cloud).await {
            failed.push(format!("{name}: {refused:?}"));
        }
    }
    assert_eq!(failed, [""; 0]);
}

async fn cloud(clock: SettableClock) -> Cloud {
    let root = Pki::new(&WorldSeed::random(), REGION).root_pem();
    Cloud::start(&root, clock).await.unwrap()
}

/// An answer that a case did not expect.
#[derive(Debug)]
#[allow(dead_code)] // shown
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
type Case = for<'a> fn(&'a Client, &'a Cloud) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// `"what" => |kms, cloud| { … }` becomes one case.
macro_rules! cases {
    ($($name:literal => |$kms:ident, $cloud:ident| $body:block)*) => {
        const CASES: &[(&str, Case)] = &[$((
            $name,
            |$kms, $cloud| Box::pin(async move { $body Ok(()) }),
        )),*];
    };
}

cases! {
    "times, by id and by ARN" => |kms, cloud| {
        let made = key(kms).await?;
        let now = i64::try_from(cloud.mock().clock().now().as_secs()).unwrap();
        let age = now - made.creation_date.unwrap().secs();
        assert!((0..600).contains(&age), "made {age} seconds ago");
        for name in [made.key_id.clone(), made.arn.clone().unwrap()] {
            let described = kms.describe_key().key_id(name).send().await?;
            assert_eq!(described.key_metadata, Some(made.clone()));
        }
    }
    "times and numbers" => |kms, _cloud| {
        let key = key(kms).await?;
        let answer = kms.schedule_key_deletion().key_id(&key.key_id)
            .pending_window_in_days(7).send().await?;
        assert_eq!(answer.key_state, Some(KeyState::PendingDeletion));
        assert_eq!(answer.pending_window_in_days, Some(7));
        let until = answer.deletion_date.unwrap().secs() - key.creation_date.unwrap().secs();
        assert!((604_800..605_400).contains(&until), "{until} seconds");
    }
    "pages" => |kms, _cloud| {
        let mut made = Vec::new();
        for _ in 0..4 {
            made.push(key(kms).await?.key_id);
        }
        let mut pages = kms.list_keys().into_paginator().page_size(3).items().send();
        let mut listed = Vec::new();
        while let Some(entry) = pages.next().await {
            listed.push(entry?.key_id.unwrap());
        }
        for key in made {
            let times = listed.iter().filter(|listed| **listed == key).count();
            assert_eq!(times, 1, "{key} in {listed:?}");
        }
    }
    "letters of every script and escapes" => |kms, _cloud| {
        let key = key(kms).await?.key_id;
        let new = "Röntgen, 胸部, \"two\"\\three 🩻";
        kms.update_key_description().key_id(&key).description(new).send().await?;
        let described = kms.describe_key().key_id(&key).send().await?.key_metadata.unwrap();
        assert_eq!(described.description.as_deref(), Some(new));
    }
    "structures and lists in an answer" => |kms, _cloud| {
        let key = kms.create_key().multi_region(true).send().await?.key_metadata.unwrap().key_id;
        kms.replicate_key().key_id(&key).replica_region("eu-west-1").send().await?;
        let described = kms.describe_key().key_id(&key).send().await?.key_metadata.unwrap();
        let regions = described.multi_region_configuration.unwrap();
        assert_eq!(regions.multi_region_key_type, Some(MultiRegionKeyType::Primary));
        assert_eq!(regions.replica_keys()[0].region(), Some("eu-west-1"));
    }
    "blobs and contexts" => |kms, _cloud| {
        let key = key(kms).await?.key_id;
        let made = kms.generate_data_key().key_id(&key).key_spec(DataKeySpec::Aes256)
            .encryption_context("study", "1.2.840.1").send().await?;
        let decrypt = kms.decrypt().ciphertext_blob(made.ciphertext_blob.unwrap());
        let opened = decrypt.clone().encryption_context("study", "1.2.840.1").send().await?;
        assert_eq!(opened.plaintext, made.plaintext);
        assert_eq!(opened.plaintext.unwrap().as_ref().len(), 32);
        let refused = decrypt.encryption_context("study", "another").send().await;
        let error = refused.unwrap_err().into_service_error();
        assert!(error.is_invalid_ciphertext_exception(), "{error:?}");
    }
    "a modelled refusal" => |kms, _cloud| {
        let key = key(kms).await?;
        kms.disable_key().key_id(&key.key_id).send().await?;
        let refused = kms.encrypt().key_id(&key.key_id).plaintext(blob(b"x")).send().await;
        let error = refused.unwrap_err().into_service_error();
        assert!(error.is_disabled_exception(), "{error:?}");
        assert_eq!(error.message(), Some(&*format!("{} is disabled.", key.arn.unwrap())));
    }
    "a refusal that the model spells otherwise" => |kms, _cloud| {
        let made = kms.create_key().key_spec(KeySpec::Hmac256)
            .key_usage(KeyUsageType::GenerateVerifyMac).send().await?;
        let (key, algorithm) = (made.key_metadata.unwrap().key_id, MacAlgorithmSpec::HmacSha256);
        let made = kms.generate_mac().key_id(&key).message(blob(b"report"))
            .mac_algorithm(algorithm.clone()).send().await?;
        let verify = kms.verify_mac().key_id(&key).mac_algorithm(algorithm)
            .mac(made.mac.unwrap());
        assert!(verify.clone().message(blob(b"report")).send().await?.mac_valid);
        let error = verify.message(blob(b"other")).send().await.unwrap_err().into_service_error();
        assert!(error.is_kms_invalid_mac_exception(), "{error:?}");
    }
    "a refusal that is in no model" => |kms, _cloud| {
        let key = key(kms).await?.key_id;
        let denies = format!(
            r#"{{"Version":"2012-10-17","Statement":[
            {{"Effect":"Deny","Principal":"*","Action":"kms:Encrypt","Resource":"*"}},
            {{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{ACCOUNT}:root"}},
              "Action":"kms:*","Resource":"*"}}]}}"#
        );
        kms.put_key_policy().key_id(&key).policy(denies).send().await?;
        let refused = kms.encrypt().key_id(&key).plaintext(blob(b"x")).send().await;
        let error = refused.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("AccessDeniedException"));
        assert!(error.message().unwrap().contains("with an explicit deny"), "{error:?}");
    }
    "what the README says that there is not" => |kms, _cloud| {
        let refused = kms.create_key().key_spec(KeySpec::Sm2)
            .key_usage(KeyUsageType::SignVerify).send().await;
        let error = refused.unwrap_err().into_service_error();
        assert!(error.is_unsupported_operation_exception(), "{error:?}");
        assert_eq!(error.message(), Some("KeySpec SM2 is not supported in this Region"));
        let key = kms.create_key().origin(OriginType::External).send().await?;
        let refused = kms.get_parameters_for_import().key_id(key.key_metadata.unwrap().key_id)
            .wrapping_algorithm(AlgorithmSpec::RsaesPkcs1V15)
            .wrapping_key_spec(WrappingKeySpec::Rsa2048).send().await;
        let error = refused.unwrap_err().into_service_error();
        assert!(error.is_unsupported_operation_exception(), "{error:?}");
        let said = "[drydock] Wrapping algorithm RSAES_PKCS1_V1_5 with RSA_2048 is not available \
                    in this emulator.";
        assert_eq!(error.message(), Some(said));
    }
    "a throttled call is tried again" => |kms, cloud| {
        let key = key(kms).await?.key_id;
        let arm = |count: u32| {
            let spec = format!("throttle,operation=DescribeKey,next={count}");
            cloud.mock().faults().add(spec.parse().unwrap());
        };
        let retries = |attempts| {
            let config = RetryConfig::standard().with_max_attempts(attempts)
                .with_initial_backoff(Duration::from_millis(1));
            Client::from_conf(kms.config().to_builder().retry_config(config).build())
        };
        arm(2);
        retries(3).describe_key().key_id(&key).send().await?;
        arm(1);
        let error = retries(1).describe_key().key_id(&key).send().await.unwrap_err();
        assert_eq!(error.code(), Some("ThrottlingException"), "{error:?}");
    }
    "an issued key with a wrong secret" => |kms, cloud| {
        cloud.mock().iam().create_user(ACCOUNT, "/", "forgetful").unwrap();
        let issued = cloud.mock().iam().create_access_key(ACCOUNT, "forgetful").unwrap();
        let wrong = signing_as(kms, &issued.access_key_id, "not the secret");
        let error = wrong.list_keys().send().await.unwrap_err();
        assert_eq!(error.code(), Some("InvalidSignatureException"), "{error:?}");
    }
    "a server whose clock is an hour ahead" => |_kms, _cloud| {
        let clock = SettableClock::running();
        clock.advance(Duration::from_secs(3600));
        let ahead = cloud(clock).await;
        let theirs = ahead.kms(Role::Parent).unwrap();
        let error = theirs.list_keys().send().await.unwrap_err();
        assert_eq!(error.code(), Some("InvalidSignatureException"), "{error:?}");
        assert!(error.message().unwrap().starts_with("Signature expired: "), "{error:?}");
    }
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::new(bytes)
}

async fn key(kms: &Client) -> Result<KeyMetadata, Refused> {
    Ok(kms.create_key().send().await?.key_metadata.unwrap())
}

fn signing_as(kms: &Client, key_id: &str, secret: &str) -> Client {
    let credentials = Credentials::new(key_id, secret, None, None, "test");
    let config = kms.config().to_builder();
    Client::from_conf(
        config
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build(),
    )
}
