//! TLS and plain HTTP on one port.

use crate::support::builder;
use kms_mock::edge::tls::Authority;
use reqwest::{Certificate, Client};

fn client(ca_pem: &str) -> reqwest::ClientBuilder {
    let ca = Certificate::from_pem(ca_pem.as_bytes()).unwrap();
    Client::builder().tls_certs_only([ca])
}

#[tokio::test]
async fn the_generated_authority_vouches_for_the_kms_host_name_and_for_localhost() {
    let mock = builder().start().await.unwrap();
    let host = "kms.us-east-1.amazonaws.com";
    let client = client(mock.ca_pem())
        .resolve(host, mock.address())
        .build()
        .unwrap();
    let port = mock.address().port();
    for name in [host, "localhost", "127.0.0.1"] {
        let response = client
            .post(format!("https://{name}:{port}/"))
            .header("x-amz-target", "TrentService.Decrypt")
            .body("{}")
            .send()
            .await
            .unwrap();
        let answer: serde_json::Value =
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["tls"], true, "{name}");
        assert_eq!(answer["sourceIp"], "127.0.0.1");
    }
    let plain = reqwest::get(format!("{}/_localstack/health", mock.url()))
        .await
        .unwrap();
    assert_eq!(plain.status(), 200);
}

#[tokio::test]
async fn a_client_with_another_authority_refuses_the_server() {
    let (mock, other) = (
        builder().start().await.unwrap(),
        builder().start().await.unwrap(),
    );
    let url = format!(
        "https://localhost:{}/_localstack/health",
        mock.address().port()
    );
    let error = client(other.ca_pem())
        .build()
        .unwrap()
        .get(&url)
        .send()
        .await
        .unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert!(
        Client::new()
            .get(&url)
            .send()
            .await
            .unwrap_err()
            .is_connect()
    );
    assert_eq!(
        client(mock.ca_pem())
            .build()
            .unwrap()
            .get(&url)
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_name_the_leaf_does_not_have_is_refused() {
    let mock = builder().start().await.unwrap();
    for host in ["kms.eu-west-1.amazonaws.com", "example.com"] {
        let client = client(mock.ca_pem())
            .resolve(host, mock.address())
            .build()
            .unwrap();
        let url = format!(
            "https://{host}:{}/_localstack/health",
            mock.address().port()
        );
        assert!(
            client.get(url).send().await.unwrap_err().is_connect(),
            "{host}"
        );
    }
}

#[tokio::test]
async fn a_kept_authority_is_trusted_after_a_restart_and_served_for_download() {
    let kept = Authority::generate().unwrap();
    let again = Authority::from_pem(kept.cert_pem(), &kept.key_pem()).unwrap();
    let mock = builder().tls_authority(again).start().await.unwrap();
    let url = format!(
        "https://localhost:{}/_drydock/ca.pem",
        mock.address().port()
    );
    let response = client(kept.cert_pem())
        .build()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap();
    assert_eq!(response.text().await.unwrap(), kept.cert_pem());
}
