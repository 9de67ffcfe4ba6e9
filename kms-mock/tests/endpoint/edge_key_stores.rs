//! External key store proxies as a running server reaches them: over TLS, under
//! the roots that it was given.

use std::time::Duration;

use kms_mock::{Builder, KmsMock, StartError};
use serde_json::{Value, json};

fn builder() -> Builder {
    // A busy machine is no proxy that is too slow.
    KmsMock::builder().xks_answer_time_max(Duration::from_secs(60))
}

/// What `mock` says of a new store behind `endpoint`.
async fn create_store(mock: &KmsMock, endpoint: &str) -> Value {
    let body = json!({
        "CustomKeyStoreName": "store",
        "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "XksProxyUriEndpoint": endpoint,
        "XksProxyUriPath": "/kms/xks/v1",
        "XksProxyAuthenticationCredential": {
            "AccessKeyId": "ABCDEFGHIJKLMNOPQRST", "RawSecretAccessKey": "x".repeat(43),
        },
        "XksProxyConnectivity": "PUBLIC_ENDPOINT",
    });
    let answer = reqwest::Client::new()
        .post(mock.url())
        .header("x-amz-target", "TrentService.CreateCustomKeyStore")
        .header("content-type", "application/x-amz-json-1.1")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_proxys_certificate_counts_under_the_roots_that_were_given() {
    // Another server that speaks TLS, but nothing of a proxy's language: it is
    // reached where it is trusted, and only there.
    let elsewhere = builder().start().await.unwrap();
    let endpoint = format!("https://localhost:{}", elsewhere.address().port());
    let trusting = builder().xks_root_pem(elsewhere.ca_pem());
    let trusting = trusting.start().await.unwrap();
    let answer = create_store(&trusting, &endpoint).await;
    assert_eq!(answer["__type"], "XksProxyInvalidResponseException");
    assert!(!elsewhere.received().is_empty());

    let before = elsewhere.received().len();
    let other = builder().xks_root_pem(trusting.ca_pem());
    for mock in [builder(), other] {
        let mock = mock.start().await.unwrap();
        let answer = create_store(&mock, &endpoint).await;
        assert_eq!(answer["__type"], "XksProxyUriUnreachableException");
        let told = answer["message"].as_str().unwrap();
        assert!(told.contains("cannot establish a TLS connection"), "{told}");
    }
    assert_eq!(elsewhere.received().len(), before);
}

#[tokio::test]
async fn a_root_that_is_not_a_certificate_stops_the_start() {
    let refused = builder().xks_root_pem("oops").start().await.unwrap_err();
    assert!(matches!(refused, StartError::XksRoot(_)), "{refused}");
    assert!(refused.to_string().contains("PEM"), "{refused}");
}
