//! One endpoint, every Region: multi-Region keys, imported material and custom
//! key stores over HTTP.

use std::net::TcpListener;

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use kms_mock::mock::builder::KmsMock;
use serde_json::{Value, json};

/// A call that is signed for a Region by somebody unknown.
async fn call(mock: &KmsMock, region: &str, operation: &str, body: Value) -> (u16, Value) {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=test/20251225/{region}/kms/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature={}",
        "0".repeat(64)
    );
    let response = reqwest::Client::new()
        .post(mock.url())
        .header("x-amz-target", format!("TrentService.{operation}"))
        .header("x-amz-date", "20251225T160418Z")
        .header("authorization", authorization)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn ok(mock: &KmsMock, region: &str, operation: &str, body: Value) -> Value {
    let (status, answer) = call(mock, region, operation, body).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

#[tokio::test]
async fn related_keys_of_two_regions_open_each_others_blobs() {
    let (us, eu) = ("us-east-1", "eu-central-1");
    let mock = KmsMock::builder().start().await.unwrap();
    let created = ok(&mock, us, "CreateKey", json!({ "MultiRegion": true })).await;
    let id = &created["KeyMetadata"]["KeyId"];
    let by_id = || json!({ "KeyId": id });
    let (status, refused) = call(&mock, eu, "DescribeKey", by_id()).await;
    assert_eq!(
        (status, &refused["__type"]),
        (400, &"NotFoundException".into())
    );
    let body = json!({ "KeyId": id, "ReplicaRegion": eu });
    let replicated = ok(&mock, us, "ReplicateKey", body).await;
    let replica = &replicated["ReplicaKeyMetadata"];
    assert_eq!(replica["KeyState"], "Creating");
    let body = json!({ "KeyId": id, "Plaintext": BASE64.encode("over the sea") });
    let sealed = ok(&mock, us, "Encrypt", body).await;
    let body = json!({ "CiphertextBlob": sealed["CiphertextBlob"] });
    let opened = ok(&mock, eu, "Decrypt", body).await;
    assert_eq!(opened["Plaintext"], BASE64.encode("over the sea"));
    assert_eq!(opened["KeyId"], replica["Arn"]);
    let usage = ok(&mock, eu, "GetKeyLastUsage", by_id()).await;
    assert_eq!(usage["KeyLastUsage"]["Operation"], "Decrypt");
}

#[tokio::test]
async fn material_is_imported_over_http() {
    let region = "us-east-1";
    let mock = KmsMock::builder().start().await.unwrap();
    let created = ok(&mock, region, "CreateKey", json!({ "Origin": "EXTERNAL" })).await;
    let id = &created["KeyMetadata"]["KeyId"];
    assert_eq!(created["KeyMetadata"]["KeyState"], "PendingImport");
    let body = json!({
        "KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_3072",
    });
    let parameters = ok(&mock, region, "GetParametersForImport", body).await;
    let public = BASE64
        .decode(parameters["PublicKey"].as_str().unwrap())
        .unwrap();
    let key =
        OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).unwrap()).unwrap();
    let mut wrapped = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 32], &mut wrapped, None)
        .unwrap();
    let body = json!({
        "KeyId": id, "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": BASE64.encode(wrapped),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    });
    ok(&mock, region, "ImportKeyMaterial", body).await;
    let body = json!({ "KeyId": id, "KeySpec": "AES_256" });
    ok(&mock, region, "GenerateDataKey", body).await;
}

#[tokio::test]
async fn an_absent_proxy_is_reported_and_the_server_goes_on() {
    let region = "us-east-1";
    let mock = KmsMock::builder().start().await.unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let body = json!({
        "CustomKeyStoreName": "ours", "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
        "XksProxyUriEndpoint": endpoint, "XksProxyUriPath": "/kms/xks/v1",
        "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        "XksProxyAuthenticationCredential": {
            "AccessKeyId": "ABCDEFGHIJKLMNOPQRST", "RawSecretAccessKey": "x".repeat(43),
        },
    });
    let (status, refused) = call(&mock, region, "CreateCustomKeyStore", body).await;
    assert_eq!(status, 400);
    assert_eq!(refused["__type"], "XksProxyUriUnreachableException");
    let stores = ok(&mock, region, "DescribeCustomKeyStores", json!({})).await;
    assert_eq!(stores["CustomKeyStores"], json!([]));
}
