//! A key that takes long to make holds nobody else up.

use kms_mock::KmsMock;
use serde_json::{Value, json};

async fn call(client: &reqwest::Client, mock: &KmsMock, operation: &str, body: Value) -> Value {
    let answer = client
        .post(mock.url())
        .header("x-amz-target", format!("TrentService.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{operation}");
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_calls_are_answered_while_an_rsa_key_is_made() {
    let mock = std::sync::Arc::new(KmsMock::builder().workers(1).start().await.unwrap());
    let client = reqwest::Client::new();
    let making = tokio::spawn({
        let (client, mock) = (client.clone(), std::sync::Arc::clone(&mock));
        async move {
            let body = json!({ "KeySpec": "RSA_4096", "KeyUsage": "SIGN_VERIFY" });
            call(&client, &mock, "CreateKey", body).await
        }
    });
    // The server has one worker, and an RSA-4096 key takes it hundreds of times
    // as long as a list.
    let mut answered = 0;
    while !making.is_finished() {
        call(&client, &mock, "ListKeys", json!({})).await;
        answered += 1;
    }
    let made = making.await.unwrap();
    assert_eq!(made["KeyMetadata"]["KeySpec"], "RSA_4096");
    assert!(answered >= 10, "{answered} calls were answered meanwhile");
}
