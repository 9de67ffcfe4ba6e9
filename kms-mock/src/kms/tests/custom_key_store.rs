//! Custom key stores from outside, with an external key store proxy of our own.

use super::{
    import::with,
    xks_proxy::{ACCESS_KEY_ID, SECRET, XksProxy},
    *,
};
use crate::{edge::tls::Authority, keys::custom_store::StoreKind};

/// A connected store.
pub(super) fn connected(world: &World, proxy: &XksProxy) -> String {
    let created = world.ok("CreateCustomKeyStore", proxy.store("ours"));
    let id = text(&created["CustomKeyStoreId"]);
    let connect = json!({ "CustomKeyStoreId": id });
    assert_eq!(world.ok("ConnectCustomKeyStore", connect), json!({}));
    id
}

fn xks_key(store: &str, id: &str) -> Value {
    json!({ "Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store, "XksKeyId": id })
}

fn described(world: &World, store: &str) -> Value {
    let body = json!({ "CustomKeyStoreId": store });
    world.ok("DescribeCustomKeyStores", body)["CustomKeyStores"][0].clone()
}

#[test]
fn an_external_key_encrypts_and_decrypts_and_never_sees_plaintext() {
    let world = World::new();
    let proxy = XksProxy::start();
    proxy.add_key("key-1", json!({}));
    let store = connected(&world, &proxy);
    let created = world.ok("CreateKey", xks_key(&store, "key-1"));
    let metadata = &created["KeyMetadata"];
    assert_eq!(metadata["Origin"], "EXTERNAL_KEY_STORE");
    assert_eq!(metadata["CustomKeyStoreId"], store.as_str());
    assert_eq!(metadata["XksKeyConfiguration"], json!({ "Id": "key-1" }));
    assert_eq!(metadata["KeyState"], "Enabled");
    assert!(metadata.get("CurrentKeyMaterialId").is_none());
    let key = text(&metadata["Arn"]);

    let context = json!({ "purpose": "test" });
    let blob = world.encrypt(&key, b"a secret that stays here", context.clone());
    let decrypt = |context: &Value| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
    let opened = world.ok("Decrypt", decrypt(&context));
    assert_eq!(unbase64(&opened["Plaintext"]), b"a secret that stays here");
    assert_eq!(opened["KeyId"], key.as_str());
    world
        .err("Decrypt", decrypt(&json!({})))
        .is_silent("InvalidCiphertextException");
    let data_key = world.ok(
        "GenerateDataKey",
        json!({ "KeyId": key, "KeySpec": "AES_256" }),
    );
    let opened = world.ok(
        "Decrypt",
        json!({ "CiphertextBlob": data_key["CiphertextBlob"] }),
    );
    assert_eq!(opened["Plaintext"], data_key["Plaintext"]);
    // The largest plaintext still fits into a blob.
    let blob = world.encrypt(&key, &[7; 4096], json!({}));
    assert!(BASE64.decode(&blob).unwrap().len() <= 6144);
    let other = world.key();
    let body = json!({ "CiphertextBlob": blob, "DestinationKeyId": other });
    world.ok("ReEncrypt", body);

    let requests = std::mem::take(&mut proxy.state().requests);
    let paths: Vec<&str> = requests.iter().map(|(path, _)| path.as_str()).collect();
    let of_key = |action: &str| format!("/kms/xks/v1/keys/key-1/{action}");
    let (encrypt, decrypt) = (of_key("encrypt"), of_key("decrypt"));
    assert_eq!(
        paths,
        [
            "/kms/xks/v1/health",
            "/kms/xks/v1/health",
            &of_key("metadata"),
            &encrypt,
            &decrypt,
            &encrypt,
            &decrypt,
            &encrypt,
            &decrypt
        ]
    );
    // There is no ARN before there is a key.
    for (at, operation) in [
        (0, "CreateCustomKeyStore"),
        (1, "ConnectCustomKeyStore"),
        (2, "CreateKey"),
    ] {
        let metadata = &requests[at].1["requestMetadata"];
        assert_eq!(metadata["kmsOperation"], operation);
        assert!(metadata.get("kmsKeyArn").is_none());
    }
    let (_, request) = &requests[3];
    assert_eq!(
        request["requestMetadata"],
        json!({
            "awsPrincipalArn": format!("arn:aws:iam::{ACCOUNT}:root"),
            "kmsOperation": "Encrypt", "kmsRequestId": Uuid::nil().to_string(), "kmsKeyArn": key,
        })
    );
    assert_eq!(
        unbase64(&request["additionalAuthenticatedData"]),
        br#"{"purpose":"test"}"#
    );
    for (path, request) in &requests {
        for member in ["plaintext", "ciphertext"] {
            if let Some(sent) = request.get(member) {
                let sent = unbase64(sent);
                let leaks = sent.windows(8).any(|w| w == b"a secret" || w == [7; 8]);
                assert!(!leaks, "{path}");
            }
        }
    }
}

#[test]
fn what_goes_wrong_behind_the_proxy_is_told() {
    let world = World::new();
    let proxy = XksProxy::start();
    proxy.add_key("key-1", json!({}));
    proxy.add_key("off", json!({ "keyStatus": "DISABLED" }));
    proxy.add_key("rsa", json!({ "keySpec": "RSA_2048" }));
    proxy.add_key("half", json!({ "keyUsage": ["ENCRYPT"] }));
    let store = connected(&world, &proxy);
    for id in ["off", "rsa", "half"] {
        world
            .err("CreateKey", xks_key(&store, id))
            .is_silent("XksKeyInvalidConfigurationException");
    }
    let refused = world.err("CreateKey", xks_key(&store, "none"));
    assert_eq!(refused.code, "XksKeyNotFoundException");
    let created = world.ok("CreateKey", xks_key(&store, "key-1"));
    let key = text(&created["KeyMetadata"]["Arn"]);
    world
        .err("CreateKey", xks_key(&store, "key-1"))
        .is_silent("XksKeyAlreadyInUseException");
    let blob = world.encrypt(&key, b"x", json!({}));
    let decrypt = || json!({ "CiphertextBlob": blob });

    let instead = |status: u16, body: &str| proxy.state().instead = Some((status, body.to_owned()));
    // What the specification says of each: a new store, a new key, a key in use.
    let (unreachable, response) = (
        "XksProxyUriUnreachableException",
        "XksProxyInvalidResponseException",
    );
    let (state, key_state) = (
        "CustomKeyStoreInvalidStateException",
        "KMSInvalidStateException",
    );
    let configuration = "XksKeyInvalidConfigurationException";
    let refusal = |name: &str| json!({ "errorName": name, "errorMessage": "m" }).to_string();
    #[rustfmt::skip]
    let table = [
        (400, refusal("ValidationException"), response, state, "AWS KMS cannot interpret"),
        (400, refusal("InvalidStateException"), response, configuration, "The external key associated with this KMS key in an external key store is not enabled"),
        (400, refusal("InvalidCiphertextException"), response, state, "The external key store proxy rejected the request because the specified ciphertext"),
        (400, refusal("InvalidKeyUsageException"), response, configuration, "The external key associated with this KMS key in an external key store does not support"),
        (401, refusal("AuthenticationFailedException"), "XksProxyIncorrectAuthenticationCredentialException", state, "The external key store proxy rejected the request because it could not authenticate"),
        (403, refusal("AccessDeniedException"), response, key_state, "The external key store proxy denied access"),
        (404, refusal("KeyNotFoundException"), response, "XksKeyNotFoundException", "The external key associated with this KMS key in an external key store was not found"),
        (404, refusal("InvalidUriPathException"), "XksProxyInvalidConfigurationException", state, "The external key store proxy rejected the request because of an invalid URI path"),
        (404, "no such page".to_owned(), response, state, "AWS KMS cannot interpret"),
        (429, refusal("ThrottlingException"), unreachable, state, "The external key store proxy rejected the request due to a very high request rate"),
        (501, refusal("UnsupportedOperationException"), response, configuration, "The external key store proxy rejected the request because it does not support"),
        (503, refusal("DependencyTimeoutException"), unreachable, state, "The external key store proxy did not respond to the request in the time allotted"),
        (500, refusal("InternalException"), response, state, "The external key store proxy rejected the request because it cannot communicate"),
        (500, refusal("UnheardOfException"), response, state, "AWS KMS cannot interpret"),
        (500, "oops".to_owned(), response, state, "AWS KMS cannot interpret"),
        (200, "{}".to_owned(), response, state, "AWS KMS cannot interpret"),
        (200, "[".to_owned(), response, state, "AWS KMS cannot interpret"),
    ];
    for (status, body, for_store, for_key, message) in table {
        instead(status, &body);
        let another = with(
            proxy.store("another"),
            json!({ "XksProxyUriPath": "/another/kms/xks/v1" }),
        );
        for (operation, request, code) in [
            ("CreateCustomKeyStore", another, for_store),
            ("CreateKey", xks_key(&store, "key-2"), for_key),
            ("Decrypt", decrypt(), key_state),
        ] {
            let refused = world.err(operation, request);
            assert_eq!(refused.code, code, "{operation} {status} {body}");
            let told = refused.message.unwrap();
            assert!(
                told.starts_with(message),
                "{operation} {status} {body}: {told}"
            );
        }
    }
    instead(200, r#"{"plaintext":"AAAA"}"#);
    world.err("Decrypt", decrypt()).says(
        key_state,
        "The ciphertext that the external key store proxy submitted for decryption, or the encryption context, is corrupted, missing, or otherwise invalid.",
    );

    // A store that is not connected makes its keys unavailable.
    let by_id = || json!({ "CustomKeyStoreId": store });
    world.ok("DisconnectCustomKeyStore", by_id());
    let not_connected = "This KMS key is in a custom key store that is not connected to its external key store proxy. Connect the external key store and try the request again.";
    world
        .err("Decrypt", decrypt())
        .says("KMSInvalidStateException", not_connected);
    let metadata = &world.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"];
    assert_eq!(metadata["KeyState"], "Unavailable");
    world
        .err("CreateKey", xks_key(&store, "other"))
        .says("CustomKeyStoreInvalidStateException", not_connected);
    for (status, body, code) in [
        (
            401,
            r#"{"errorName":"AuthenticationFailedException"}"#,
            "INVALID_CREDENTIALS",
        ),
        (
            403,
            r#"{"errorName":"AccessDeniedException"}"#,
            "XKS_PROXY_ACCESS_DENIED",
        ),
        (
            404,
            r#"{"errorName":"InvalidUriPathException"}"#,
            "XKS_PROXY_INVALID_CONFIGURATION",
        ),
        (404, "", "XKS_PROXY_INVALID_RESPONSE"),
        (200, "{}", "XKS_PROXY_INVALID_RESPONSE"),
    ] {
        instead(status, body);
        world.ok("ConnectCustomKeyStore", by_id());
        let store = described(&world, &store);
        assert_eq!(store["ConnectionState"], "FAILED");
        assert_eq!(store["ConnectionErrorCode"], code);
    }
    proxy.state().instead = None;
    world.ok("ConnectCustomKeyStore", by_id());
    world.ok("Decrypt", decrypt());

    // Rotation is the key manager's business.
    for operation in ["EnableKeyRotation", "RotateKeyOnDemand"] {
        world.err(operation, json!({ "KeyId": key })).says(
            "UnsupportedOperationException",
            &format!("{key} origin is EXTERNAL_KEY_STORE which is not valid for this operation."),
        );
    }
}

#[test]
fn stores_are_created_described_changed_and_deleted() {
    let world = World::new();
    let proxy = XksProxy::start();
    proxy.add_key("key-1", json!({}));
    let good = proxy.store("ours");
    let id = text(&world.ok("CreateCustomKeyStore", good.clone())["CustomKeyStoreId"]);
    assert!(id.starts_with("cks-") && id.len() == 21, "{id}");
    assert_eq!(
        described(&world, &id),
        json!({
            "CustomKeyStoreId": id, "CustomKeyStoreName": "ours",
            "CustomKeyStoreType": "EXTERNAL_KEY_STORE", "ConnectionState": "DISCONNECTED",
            "CreationDate": START.0 / 1000,
            "XksProxyConfiguration": {
                "Connectivity": "PUBLIC_ENDPOINT", "AccessKeyId": ACCESS_KEY_ID,
                "UriEndpoint": format!("http://{}", proxy.address), "UriPath": "/kms/xks/v1",
            },
        })
    );
    let credential = |id: &str, secret: &str| {
        json!({ "XksProxyAuthenticationCredential": {
            "AccessKeyId": id, "RawSecretAccessKey": secret,
        }})
    };
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let named = |more: Value| with(proxy.store("second"), more);
    let by_id = || json!({ "CustomKeyStoreId": id });
    #[rustfmt::skip]
    let table: Vec<(&str, Value, &str)> = vec![
        ("CreateCustomKeyStore", good, "CustomKeyStoreNameInUseException"),
        ("CreateCustomKeyStore", named(json!({})), "XksProxyUriInUseException"),
        ("CreateCustomKeyStore", named(json!({ "XksProxyUriPath": "/other/kms/xks/v1" })),
            "XksProxyInvalidConfigurationException"),
        ("CreateCustomKeyStore", named(with(json!({ "XksProxyUriPath": "/b/kms/xks/v1" }), credential(ACCESS_KEY_ID, &"x".repeat(43)))),
            "XksProxyIncorrectAuthenticationCredentialException"),
        ("CreateCustomKeyStore", named(json!({ "XksProxyUriEndpoint": format!("http://{free}") })),
            "XksProxyUriUnreachableException"),
        ("CreateCustomKeyStore", named(json!({ "XksProxyUriEndpoint": "https://xks.invalid" })),
            "XksProxyUriUnreachableException"),
        ("CreateCustomKeyStore", named(json!({ "XksProxyUriEndpoint": "https://xks.example.com:8443" })), "ValidationException"),
        ("CreateCustomKeyStore", named(json!({ "XksProxyUriEndpoint": "ftp://xks.example.com" })), "ValidationException"),
        ("CreateCustomKeyStore", named(json!({ "XksProxyUriPath": "/kms/xks" })), "ValidationException"),
        ("CreateCustomKeyStore", named(json!({ "XksProxyConnectivity": "VPC_ENDPOINT_SERVICE" })), "ValidationException"),
        ("CreateCustomKeyStore", named(credential("short", SECRET)), "ValidationException"),
        ("CreateCustomKeyStore", json!({ "CustomKeyStoreName": "c" }), "ValidationException"),
        ("DisconnectCustomKeyStore", by_id(), "CustomKeyStoreInvalidStateException"),
        ("ConnectCustomKeyStore", json!({ "CustomKeyStoreId": "cks-0" }), "CustomKeyStoreNotFoundException"),
        ("DescribeCustomKeyStores", json!({ "CustomKeyStoreName": "none" }), "CustomKeyStoreNotFoundException"),
        ("DescribeCustomKeyStores", with(by_id(), json!({ "CustomKeyStoreName": "ours" })), "ValidationException"),
        ("GenerateRandom", with(by_id(), json!({ "NumberOfBytes": 8 })), "UnsupportedOperationException"),
        ("CreateKey", json!({ "Origin": "EXTERNAL_KEY_STORE" }), "ValidationException"),
        ("CreateKey", with(by_id(), json!({ "Origin": "EXTERNAL" })), "ValidationException"),
        ("CreateKey", with(xks_key(&id, "key-1"), json!({ "MultiRegion": true })), "UnsupportedOperationException"),
        ("CreateKey", xks_key("cks-0", "key-1"), "CustomKeyStoreNotFoundException"),
        ("CreateKey", xks_key(&id, "key-1"), "CustomKeyStoreInvalidStateException"),
    ];
    for (operation, body, code) in table {
        let refused = world.err(operation, body.clone());
        assert_eq!(refused.code, code, "{operation} {body}");
        assert_eq!(refused.status, 400);
    }

    world.ok("ConnectCustomKeyStore", by_id());
    world
        .err("ConnectCustomKeyStore", by_id())
        .is_silent("CustomKeyStoreInvalidStateException");
    let rename = json!({ "NewCustomKeyStoreName": "renamed" });
    assert_eq!(
        world.ok("UpdateCustomKeyStore", with(by_id(), rename)),
        json!({})
    );
    assert_eq!(described(&world, &id)["CustomKeyStoreName"], "renamed");
    let moved =
        json!({ "XksProxyUriEndpoint": format!("http://localhost:{}", proxy.address.port()) });
    world
        .err("UpdateCustomKeyStore", with(by_id(), moved.clone()))
        .is_silent("CustomKeyStoreInvalidStateException");
    let key = text(&world.ok("CreateKey", xks_key(&id, "key-1"))["KeyMetadata"]["Arn"]);
    world
        .err("DeleteCustomKeyStore", by_id())
        .is_silent("CustomKeyStoreInvalidStateException");
    world.ok("DisconnectCustomKeyStore", by_id());
    let wrong = with(by_id(), credential(ACCESS_KEY_ID, &"x".repeat(43)));
    let refused = world.err("UpdateCustomKeyStore", wrong);
    assert_eq!(
        refused.code,
        "XksProxyIncorrectAuthenticationCredentialException"
    );
    world
        .err("DeleteCustomKeyStore", by_id())
        .is_silent("CustomKeyStoreHasCMKsException");
    let gone = json!({ "KeyId": key, "PendingWindowInDays": 7 });
    world.ok("ScheduleKeyDeletion", gone);
    world.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(world.ok("DeleteCustomKeyStore", by_id()), json!({}));
    assert_eq!(
        world.ok("DescribeCustomKeyStores", json!({}))["CustomKeyStores"],
        json!([])
    );
}

#[test]
fn a_cloudhsm_key_store_keeps_its_record_and_its_keys_work() {
    let world = World::new();
    let cluster = "cluster-abcdefghijk";
    let body = |name: &str| {
        json!({
            "CustomKeyStoreName": name, "CloudHsmClusterId": cluster,
            "TrustAnchorCertificate": "certificate", "KeyStorePassword": "password",
        })
    };
    let id = text(&world.ok("CreateCustomKeyStore", body("hsm"))["CustomKeyStoreId"]);
    world
        .err("CreateCustomKeyStore", body("hsm 2"))
        .is_silent("CloudHsmClusterInUseException");
    let by_id = || json!({ "CustomKeyStoreId": id });
    let random = || with(by_id(), json!({ "NumberOfBytes": 8 }));
    world
        .err("GenerateRandom", random())
        .is_silent("CustomKeyStoreInvalidStateException");
    world.ok("ConnectCustomKeyStore", by_id());
    world.ok("GenerateRandom", random());
    let store = described(&world, &id);
    assert_eq!(store["CustomKeyStoreType"], "AWS_CLOUDHSM");
    assert_eq!(store["CloudHsmClusterId"], cluster);
    assert_eq!(store["TrustAnchorCertificate"], "certificate");
    assert_eq!(store["ConnectionState"], "CONNECTED");
    assert!(!store.to_string().contains("password"));

    let created = world.ok(
        "CreateKey",
        with(by_id(), json!({ "Origin": "AWS_CLOUDHSM" })),
    );
    let metadata = &created["KeyMetadata"];
    assert_eq!(metadata["CloudHsmClusterId"], cluster);
    assert_eq!(metadata["CustomKeyStoreId"], id.as_str());
    let key = text(&metadata["Arn"]);
    let blob = world.encrypt(&key, b"x", json!({}));
    world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
    world.ok("DisconnectCustomKeyStore", by_id());
    world
        .err("Decrypt", json!({ "CiphertextBlob": blob }))
        .says(
            "KMSInvalidStateException",
            &format!("{key} is unavailable."),
        );
    // Another account and another Region know nothing of it.
    let stranger = root(OTHER);
    for (region, caller) in [(None, &stranger), (Some("eu-west-1"), &world.root)] {
        let refused = world.call_in(region, caller, "DescribeCustomKeyStores", by_id());
        refused
            .unwrap_err()
            .is_silent("CustomKeyStoreNotFoundException");
    }
}

#[test]
fn answers_that_the_specification_forbids_are_not_taken() {
    let world = World::new();
    let proxy = XksProxy::start();
    proxy.add_key("key-1", json!({}));
    let store = connected(&world, &proxy);
    let created = world.ok("CreateKey", xks_key(&store, "key-1"));
    let key = text(&created["KeyMetadata"]["Arn"]);
    let encrypt = || json!({ "KeyId": key, "Plaintext": "eA==" });
    let bytes = |count: usize| BASE64.encode(vec![7; count]);
    for amend in [
        json!({ "authenticationTag": bytes(15) }),
        json!({ "initializationVector": bytes(13) }),
        json!({ "ciphertext": bytes(1) }),
        json!({ "ciphertextMetadata": bytes(21) }),
        json!({ "ciphertextMetadata": bytes(9) }),
        json!({ "ciphertextDataIntegrityValue": bytes(32) }),
        json!({ "ciphertextDataIntegrityValue": null }),
        json!({ "ciphertext": "no base64" }),
    ] {
        proxy.state().amend = amend.clone();
        for operation in ["Encrypt", "GenerateDataKey"] {
            let body = match operation {
                "Encrypt" => encrypt(),
                _ => json!({ "KeyId": key, "KeySpec": "AES_256" }),
            };
            let refused = world.err(operation, body);
            assert_eq!(refused.code, "KMSInvalidStateException", "{amend}");
        }
    }
    proxy.state().amend = Value::Null;
    world.ok("Encrypt", encrypt());
    let manager = json!({ "id": "1", "model": "test", "healthStatus": "ACTIVE" });
    for more in [
        json!({ "ekmFleetDetails": [] }),
        json!({ "ekmFleetDetails": vec![&manager; 11] }),
        json!({ "ekmFleetDetails": [with(manager.clone(), json!({ "healthStatus": "FINE" }))] }),
        json!({ "xksProxyFleetSize": "1" }),
        json!({ "ekmVendor": null }),
    ] {
        let health = json!({
            "xksProxyFleetSize": 1, "xksProxyVendor": "test", "xksProxyModel": "test",
            "ekmVendor": "test", "ekmFleetDetails": [manager],
        });
        proxy.state().instead = Some((200, with(health, more.clone()).to_string()));
        let another = json!({ "XksProxyUriPath": "/another/kms/xks/v1" });
        let another = with(proxy.store("another"), another);
        let refused = world.err("CreateCustomKeyStore", another);
        assert_eq!(refused.code, "XksProxyInvalidResponseException", "{more}");
    }
    let usages = vec!["ENCRYPT"; 11];
    let key = json!({ "keySpec": "AES_256", "keyUsage": usages, "keyStatus": "ENABLED" });
    proxy.state().instead = Some((200, key.to_string()));
    let refused = world.err("CreateKey", xks_key(&store, "key-2"));
    assert_eq!(refused.code, "CustomKeyStoreInvalidStateException");
}

fn world_trusting(authority: &Authority) -> World {
    let mut xks = XksSettings {
        answer_time_max: Duration::from_secs(60),
        ..XksSettings::default()
    };
    xks.add_root_pem(authority.cert_pem()).unwrap();
    World::with(None, xks)
}

fn at(proxy: &XksProxy, host: &str) -> Value {
    let endpoint = format!("https://{host}:{}", proxy.address.port());
    with(
        proxy.store("ours"),
        json!({ "XksProxyUriEndpoint": endpoint }),
    )
}

#[test]
fn a_proxy_is_reached_over_tls_under_the_roots_that_were_given() {
    let authority = Authority::generate().unwrap();
    let world = world_trusting(&authority);
    let proxy = XksProxy::start_tls(&authority);
    proxy.add_key("key-1", json!({}));
    let created = world.ok("CreateCustomKeyStore", at(&proxy, "localhost"));
    let store = text(&created["CustomKeyStoreId"]);
    world.ok(
        "ConnectCustomKeyStore",
        json!({ "CustomKeyStoreId": store }),
    );
    let created = world.ok("CreateKey", xks_key(&store, "key-1"));
    let key = text(&created["KeyMetadata"]["Arn"]);
    let blob = world.encrypt(&key, b"over TLS", json!({}));
    let opened = world.ok("Decrypt", json!({ "CiphertextBlob": blob }));
    assert_eq!(unbase64(&opened["Plaintext"]), b"over TLS");
    // The same proxy by its address, which its certificate names too.
    let by_address = with(
        at(&proxy, "127.0.0.1"),
        json!({ "CustomKeyStoreName": "second" }),
    );
    world.ok("CreateCustomKeyStore", by_address);
    assert_eq!(proxy.state().requests.len(), 6);
}

#[test]
fn a_proxy_that_no_certificate_vouches_for_gets_no_request() {
    let (ours, theirs) = (
        Authority::generate().unwrap(),
        Authority::generate().unwrap(),
    );
    let world = world_trusting(&ours);
    let refuse = |world: &World, proxy: &XksProxy| {
        let refused = world.err("CreateCustomKeyStore", at(proxy, "localhost"));
        refused.says(
            "XksProxyUriUnreachableException",
            "AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS configuration, including its certificate.",
        );
        assert!(proxy.state().requests.is_empty());
    };
    // Another root, another host's certificate, and no TLS at all.
    refuse(&world, &XksProxy::start_tls(&theirs));
    let elsewhere = ours.server_config_for(vec!["xks.example.com".to_owned()], &[]);
    refuse(&world, &XksProxy::start_with(Some(elsewhere.unwrap())));
    refuse(&world, &XksProxy::start());
    // Without roots of its own a world has the machine's, which know neither.
    refuse(&World::new(), &XksProxy::start_tls(&ours));

    // A store that was good may meet another certificate later.
    let proxy = XksProxy::start_tls(&ours);
    let created = world.ok("CreateCustomKeyStore", at(&proxy, "localhost"));
    let store = text(&created["CustomKeyStoreId"]);
    let other = XksProxy::start_tls(&theirs);
    let moved = format!("https://localhost:{}", other.address.port());
    let changed = world.kms.key_stores.change(&store, |store| {
        if let StoreKind::External { proxy, .. } = &mut store.kind {
            proxy.endpoint = moved;
        }
    });
    changed.unwrap();
    let connect = json!({ "CustomKeyStoreId": store });
    world.ok("ConnectCustomKeyStore", connect);
    let store = described(&world, &store);
    assert_eq!(store["ConnectionState"], "FAILED");
    assert_eq!(
        store["ConnectionErrorCode"],
        "XKS_PROXY_INVALID_TLS_CONFIGURATION"
    );
}

#[test]
fn a_proxy_that_does_not_answer_is_given_up() {
    let impatient = XksSettings {
        answer_time_max: Duration::from_millis(50),
        ..XksSettings::default()
    };
    let world = World::with(None, impatient);
    let proxy = XksProxy::start();
    proxy.state().is_silent = true;
    world
        .err("CreateCustomKeyStore", proxy.store("ours"))
        .says(
            "XksProxyUriUnreachableException",
            "AWS KMS rejected the request because the external key store proxy did not respond in time. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator.",
        );
    assert_eq!(
        XksSettings::default().answer_time_max,
        Duration::from_millis(250)
    );
}
