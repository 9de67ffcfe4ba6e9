//! What the edge's tests share: a signer written apart from the server's
//! verifier, a KMS double that tells what it was called with, and raw HTTP.

#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // test code outside test functions

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use kms_mock::{
    iam::Credentials,
    kms::{Call, Reply},
    mock::builder::{Builder, KmsMock},
};
use nsm_sim::clock::{SettableClock, UnixMillis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// 2025-12-25T16:04:18Z, the time of every world here.
pub(crate) const NOW: UnixMillis = UnixMillis(1_766_678_658_000);
pub(crate) const NOW_TEXT: &str = "20251225T160418Z";
pub(crate) const ACCOUNT: &str = "123456789012";

/// A hang is a failure; far longer than a loaded machine needs for anything here.
pub(crate) const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// Answers every call with what it was called with.
fn echo(call: &Call<'_>) -> Reply {
    let policies = call.caller.identity_policies.len();
    let answer = serde_json::json!({
        "operation": call.operation,
        "region": call.region,
        "principal": call.caller.principal.arn(),
        "account": call.caller.principal.account(),
        "policies": policies,
        "sessionPolicies": call.caller.session_policies.len(),
        "bytes": call.body.len(),
        "requestId": call.request_id.as_str(),
        "userAgent": call.user_agent,
        "tls": call.caller.secure_transport,
        "sourceIp": call.caller.source_ip,
    });
    let refused = call.operation == "Refuse";
    Reply {
        status: if refused { 400 } else { 200 },
        body: answer.to_string().into_bytes(),
        error_type: refused.then_some("AccessDeniedException"),
        reason: refused.then(|| "because the test said so".to_owned()),
    }
}

/// A builder with the double and a clock that stands at [`NOW`].
pub(crate) fn builder() -> Builder {
    KmsMock::builder()
        .answer_kms_calls(echo)
        .clock(SettableClock::frozen(NOW))
        .workers(2)
}

/// Credentials of a new user without policies.
pub(crate) fn user(mock: &KmsMock, name: &str) -> Credentials {
    mock.iam().create_user(ACCOUNT, "/", name).unwrap();
    mock.iam().create_access_key(ACCOUNT, name).unwrap()
}

/// A user of S3, who may do everything there.
pub(crate) fn s3_user(mock: &KmsMock, name: &str) -> Credentials {
    let credentials = user(mock, name);
    let everything =
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
    mock.iam()
        .put_user_policy(ACCOUNT, name, "s3", everything)
        .unwrap();
    credentials
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// One request to be signed: a second implementation of SigV4, straight from
/// the AWS documentation, for requests whose paths and queries need no encoding
/// beyond what is written here.
pub(crate) struct Signing<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) service: &'a str,
    pub(crate) date: &'a str,
    pub(crate) method: &'a str,
    pub(crate) host: String,
    /// As it goes on the wire.
    pub(crate) path: &'a str,
    /// As it stands in the canonical request.
    pub(crate) canonical_path: &'a str,
    /// Sorted and encoded.
    pub(crate) query: String,
    /// Lower-case names; `host` and `x-amz-date` are added.
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) payload_hash: String,
}

pub(crate) struct SignedParts {
    pub(crate) authorization: String,
    pub(crate) signature: [u8; 32],
    pub(crate) scope: String,
    pub(crate) key: hmac::Key,
}

impl Signing<'_> {
    pub(crate) fn sign(&self) -> SignedParts {
        let mut headers = self.headers.clone();
        headers.push(("host", self.host.clone()));
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("{}\n{}\n{}\n", self.method, self.canonical_path, self.query);
        for (name, value) in &headers {
            canonical += &format!("{name}:{}\n", value.trim());
        }
        canonical += &format!("\n{names}\n{}", self.payload_hash);
        let day = &self.date[..8];
        let scope = format!("{day}/us-east-1/{}/aws4_request", self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.date,
            sha256_hex(canonical.as_bytes())
        );
        let mut key = format!("AWS4{}", *self.credentials.secret_access_key).into_bytes();
        for part in [day, "us-east-1", self.service, "aws4_request"] {
            key = mac(&key, part.as_bytes()).to_vec();
        }
        let signature = mac(&key, to_sign.as_bytes());
        SignedParts {
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
                self.credentials.access_key_id,
                hex::encode(signature)
            ),
            signature,
            scope,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }
}

pub(crate) fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, data).as_ref().try_into().unwrap()
}

/// A signed Decrypt, ready to send or to spoil.
pub(crate) fn kms_request(
    mock: &KmsMock,
    credentials: &Credentials,
    date: &str,
    body: &str,
) -> reqwest::RequestBuilder {
    kms_call(mock, credentials, date, "Decrypt", body)
}

/// A signed call of any KMS operation.
pub(crate) fn kms_call(
    mock: &KmsMock,
    credentials: &Credentials,
    date: &str,
    operation: &str,
    body: &str,
) -> reqwest::RequestBuilder {
    let mut headers = vec![
        ("content-type", "application/x-amz-json-1.1".to_owned()),
        ("x-amz-date", date.to_owned()),
        ("x-amz-target", format!("TrentService.{operation}")),
    ];
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", (**token).clone()));
    }
    let signing = Signing {
        credentials,
        service: "kms",
        date,
        method: "POST",
        host: mock.address().to_string(),
        path: "/",
        canonical_path: "/",
        query: String::new(),
        headers,
        payload_hash: sha256_hex(body.as_bytes()),
    };
    signed_post(mock, &signing, body.to_owned())
}

/// A POST to the endpoint's root with the headers that `signing` signs.
pub(crate) fn signed_post(
    mock: &KmsMock,
    signing: &Signing<'_>,
    body: String,
) -> reqwest::RequestBuilder {
    let request = reqwest::Client::new()
        .post(mock.url())
        .header("authorization", signing.sign().authorization)
        .body(body);
    let headers = signing.headers.iter();
    headers.fold(request, |request, (name, value)| {
        request.header(*name, value)
    })
}

/// A signed S3 request with a body of which the hash is signed.
pub(crate) fn s3_request(
    mock: &KmsMock,
    credentials: &Credentials,
    method: &str,
    (path, canonical_path): (&str, &str),
    more: &[(&'static str, &str)],
    body: &[u8],
) -> reqwest::RequestBuilder {
    let mut headers: Vec<(&str, String)> = more
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    headers.push(("x-amz-date", NOW_TEXT.to_owned()));
    headers.push(("x-amz-content-sha256", sha256_hex(body)));
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", (**token).clone()));
    }
    let signing = Signing {
        credentials,
        service: "s3",
        date: NOW_TEXT,
        method,
        host: mock.address().to_string(),
        path,
        canonical_path,
        query: String::new(),
        headers,
        payload_hash: sha256_hex(body),
    };
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = reqwest::Client::new()
        .request(method, format!("{}{path}", mock.url()))
        .header("authorization", signing.sign().authorization)
        .body(body.to_owned());
    for (name, value) in &signing.headers {
        request = request.header(*name, value);
    }
    request
}

/// Status, `__type` and message of a KMS answer.
pub(crate) async fn kms_answer(request: reqwest::RequestBuilder) -> (u16, serde_json::Value) {
    let response = request.send().await.unwrap();
    assert!(response.headers().contains_key("x-amzn-requestid"));
    let status = response.status().as_u16();
    (
        status,
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
    )
}

/// Sends `bytes`, then reads until the server closes; what it said.
///
/// # Panics
/// If it leaves the connection open for longer than any machine needs.
pub(crate) async fn raw(mock: &KmsMock, bytes: &[u8], then_finish: bool) -> String {
    let mut stream = tokio::net::TcpStream::connect(mock.address())
        .await
        .unwrap();
    // The server may have refused before everything is written, and then resets.
    let _ = stream.write_all(bytes).await;
    if then_finish {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(ENDS_WITHIN, stream.read_to_end(&mut answer))
        .await
        .unwrap_or_else(|_| panic!("the server leaves the connection open"));
    String::from_utf8_lossy(&answer).into_owned()
}
