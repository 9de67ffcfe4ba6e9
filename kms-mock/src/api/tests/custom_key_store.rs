//! Custom key stores from outside, with an external key store proxy of our own.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;

use super::*;
use crate::server::sigv4::{self, PathEncoding, Signed};

const ACCESS_KEY_ID: &str = "ABCDEFGHIJKLMNOPQRST";
const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK";

/// An external key store proxy with a key manager behind it: keys in memory,
/// signatures verified, every request remembered. It stops with the test.
struct XksProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    /// Name, secret, and what `GetKeyMetadata` says.
    keys: BTreeMap<String, (u8, Value)>,
    requests: Vec<(String, Value)>,
    /// Answers everything with this instead.
    instead: Option<(u16, String)>,
    sealed: u8,
}

impl XksProxy {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let stream = tokio::select! {
                        accepted = listener.accept() => accepted.unwrap().0,
                        _ = &mut stopped => return,
                    };
                    let state = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let service = service_fn(|request| serve(Arc::clone(&state), request));
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            });
        });
        Self {
            address,
            state,
            _stop: stop,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_key(&self, name: &str, more: Value) {
        let mut metadata = json!({
            "keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED",
        });
        for (name, value) in more.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        let mut state = self.state();
        let secret = u8::try_from(state.keys.len()).unwrap() + 1;
        state.keys.insert(name.to_owned(), (secret, metadata));
    }

    fn store(&self, name: &str) -> Value {
        json!({
            "CustomKeyStoreName": name,
            "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
            "XksProxyUriEndpoint": format!("http://{}", self.address),
            "XksProxyUriPath": "/kms/xks/v1",
            "XksProxyAuthenticationCredential": {
                "AccessKeyId": ACCESS_KEY_ID, "RawSecretAccessKey": SECRET,
            },
            "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        })
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, answer) = match state.instead.clone() {
        Some(instead) => instead,
        None if !is_signed(&parts, &body) => refusal(401, "AuthenticationFailedException"),
        None => {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let path = parts.uri.path().to_owned();
            state.requests.push((path.clone(), body.clone()));
            state.answer(&path, &body)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(answer)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    Ok(response)
}

/// Verified with the server's half of SigV4, which the client does not use.
fn is_signed(parts: &http::request::Parts, body: &[u8]) -> bool {
    let Ok(Some(claim)) = sigv4::claim(parts) else {
        return false;
    };
    let payload_hash = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body));
    let signed = Signed {
        method: &parts.method,
        path: parts.uri.path(),
        query: "",
        headers: &parts.headers,
        payload_hash: &payload_hash,
        encoding: PathEncoding::Twice,
    };
    let key = sigv4::signing_key(SECRET, &claim.scope);
    claim.access_key_id == ACCESS_KEY_ID
        && claim.scope.service == "kms-xks-proxy"
        && claim.scope.region == "us-east-1"
        && sigv4::verify(&claim, &signed, &key)
}

fn refusal(status: u16, name: &str) -> (u16, String) {
    (status, json!({ "errorName": name }).to_string())
}

impl State {
    fn answer(&mut self, path: &str, body: &Value) -> (u16, String) {
        let Some(path) = path.strip_prefix("/kms/xks/v1/") else {
            return (404, "no such page".into());
        };
        if path == "health" {
            let answer = json!({
                "xksProxyFleetSize": 1, "xksProxyVendor": "test", "xksProxyModel": "test",
                "ekmVendor": "test",
                "ekmFleetDetails": [{ "id": "1", "model": "test", "healthStatus": "ACTIVE" }],
            });
            return (200, answer.to_string());
        }
        let mut path = path.split('/').skip(1);
        let (id, action) = (path.next().unwrap(), path.next().unwrap());
        let Some((secret, metadata)) = self.keys.get(id).cloned() else {
            return refusal(404, "KeyNotFoundException");
        };
        if metadata["keyStatus"] != "ENABLED" && action != "metadata" {
            return refusal(400, "InvalidStateException");
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[secret; 32]).unwrap());
        let aad = unbase64(
            &body["additionalAuthenticatedData"]
                .as_str()
                .map_or_else(|| "".into(), Value::from),
        );
        match action {
            "metadata" => (200, metadata.to_string()),
            "encrypt" => {
                self.sealed += 1;
                let iv = [self.sealed; 12];
                let mut data = unbase64(&body["plaintext"]);
                let nonce = Nonce::assume_unique_for_key(iv);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut data)
                    .unwrap();
                let answer = json!({
                    "authenticationTag": BASE64.encode(tag), "ciphertext": BASE64.encode(data),
                    "initializationVector": BASE64.encode(iv),
                    "ciphertextMetadata": BASE64.encode(b"version=1"),
                });
                (200, answer.to_string())
            }
            _ => {
                let mut data = unbase64(&body["ciphertext"]);
                data.extend(unbase64(&body["authenticationTag"]));
                let iv: [u8; 12] = unbase64(&body["initializationVector"]).try_into().unwrap();
                let nonce = Nonce::assume_unique_for_key(iv);
                assert_eq!(unbase64(&body["ciphertextMetadata"]), b"version=1");
                match key.open_in_place(nonce, Aad::from(aad), &mut data) {
                    Ok(opened) => (
                        200,
                        json!({ "plaintext": BASE64.encode(opened) }).to_string(),
                    ),
                    Err(_) => refusal(400, "InvalidCiphertextException"),
                }
            }
        }
    }
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A connected store.
fn connected(world: &World, proxy: &XksProxy) -> String {
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
    let (_, request) = &requests[3];
    assert_eq!(
        request["requestMetadata"],
        json!({
            "awsPrincipalArn": format!("arn:aws:iam::{ACCOUNT}:root"),
            "kmsOperation": "Encrypt", "kmsRequestId": "r", "kmsKeyArn": key,
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
    for (id, code) in [
        ("none", "XksKeyNotFoundException"),
        ("off", "XksKeyInvalidConfigurationException"),
        ("rsa", "XksKeyInvalidConfigurationException"),
        ("half", "XksKeyInvalidConfigurationException"),
    ] {
        world.err("CreateKey", xks_key(&store, id)).is_silent(code);
    }
    let created = world.ok("CreateKey", xks_key(&store, "key-1"));
    let key = text(&created["KeyMetadata"]["Arn"]);
    world
        .err("CreateKey", xks_key(&store, "key-1"))
        .is_silent("XksKeyAlreadyInUseException");
    let blob = world.encrypt(&key, b"x", json!({}));
    let decrypt = || json!({ "CiphertextBlob": blob });

    let instead = |status: u16, body: &str| proxy.state().instead = Some((status, body.to_owned()));
    for (status, body, code, message) in [
        (
            404,
            r#"{"errorName":"KeyNotFoundException"}"#,
            "KMSInvalidStateException",
            "the external key was not found",
        ),
        (
            400,
            r#"{"errorName":"InvalidStateException"}"#,
            "KMSInvalidStateException",
            "the external key is in an invalid state",
        ),
        (
            429,
            r#"{"errorName":"ThrottlingException"}"#,
            "KMSInvalidStateException",
            "the external key store proxy throttles requests",
        ),
        (
            500,
            "oops",
            "KMSInvalidStateException",
            "the external key store proxy gave an invalid response",
        ),
        (
            200,
            "{}",
            "KMSInvalidStateException",
            "the external key store proxy gave an invalid response",
        ),
        (
            200,
            "[",
            "KMSInvalidStateException",
            "the external key store proxy gave an invalid response",
        ),
        (
            400,
            r#"{"errorName":"InvalidCiphertextException"}"#,
            "InvalidCiphertextException",
            "",
        ),
        (
            200,
            r#"{"plaintext":"AAAA"}"#,
            "InvalidCiphertextException",
            "",
        ),
    ] {
        instead(status, body);
        let refused = world.err("Decrypt", decrypt());
        assert_eq!(refused.code, code, "{status} {body}");
        let expected = (!message.is_empty()).then(|| format!("[drydock] {key}: {message}."));
        assert_eq!(refused.message, expected, "{status} {body}");
    }

    // A store that is not connected makes its keys unavailable.
    let by_id = || json!({ "CustomKeyStoreId": store });
    world.ok("DisconnectCustomKeyStore", by_id());
    world.err("Decrypt", decrypt()).says(
        "KMSInvalidStateException",
        &format!("{key} is unavailable."),
    );
    let metadata = &world.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"];
    assert_eq!(metadata["KeyState"], "Unavailable");
    world
        .err("CreateKey", xks_key(&store, "other"))
        .is_silent("CustomKeyStoreInvalidStateException");
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
        (404, "", "XKS_PROXY_INVALID_CONFIGURATION"),
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
        ("CreateCustomKeyStore", named(json!({ "XksProxyUriEndpoint": "https://xks.example.com" })),
            "XksProxyUriUnreachableException"),
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
    world
        .err(
            "UpdateCustomKeyStore",
            with(by_id(), credential(ACCESS_KEY_ID, &"x".repeat(43))),
        )
        .is_silent("XksProxyIncorrectAuthenticationCredentialException");
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
