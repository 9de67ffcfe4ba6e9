//! Who may do what in S3, over the wire: users, groups and sessions of IAM, callers
//! without credentials, presigned URLs; and what `explain` and the audit log say of it.

use crate::{
    edge_s3::with_bucket,
    support::{ACCOUNT, NOW, NOW_TEXT, Signing, builder, s3_request, s3_user, sha256_hex, user},
};
use kms_mock::{
    Auth, KmsMock,
    iam::{Credentials, Who},
};
use nsm_sim::clock::SettableClock;
use reqwest::{Client, Response};
use serde_json::json;

async fn send(
    mock: &KmsMock,
    caller: &Credentials,
    method: &str,
    path: &str,
    body: &[u8],
) -> Response {
    s3_request(mock, caller, method, (path, path), &[], body)
        .send()
        .await
        .unwrap()
}

fn allow(action: &str, resource: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": action, "Resource": resource },
    ]})
    .to_string()
}

#[tokio::test]
async fn a_user_may_do_what_its_policies_and_groups_say_whether_signatures_are_asked_for_or_not() {
    for auth in [Auth::Strict, Auth::Lenient] {
        let (mock, alice) = with_bucket(auth).await;
        assert_eq!(
            send(&mock, &alice, "PUT", "/b-1/k", b"x").await.status(),
            200
        );
        let bob = user(&mock, "bob");
        let denied = send(&mock, &bob, "GET", "/b-1/k", b"").await;
        assert_eq!(denied.status(), 403);
        let body = denied.text().await.unwrap();
        let text = format!(
            "User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: s3:GetObject on \
             resource: &quot;arn:aws:s3:::b-1/k&quot; because no identity-based policy allows the \
             s3:GetObject action"
        );
        assert!(body.replace('"', "&quot;").contains(&text), "{body}");
        let iam = mock.iam();
        iam.create_group(ACCOUNT, "/", "readers").unwrap();
        let readers = Who::group(ACCOUNT, "readers");
        let read = allow("s3:GetObject", "arn:aws:s3:::b-1/*");
        iam.put_policy(readers, "read", &read).unwrap();
        iam.add_to_group(ACCOUNT, "readers", "bob").unwrap();
        assert_eq!(send(&mock, &bob, "GET", "/b-1/k", b"").await.status(), 200);
        assert_eq!(
            send(&mock, &bob, "DELETE", "/b-1/k", b"").await.status(),
            403
        );
        assert_eq!(
            send(&mock, &alice, "GET", "/b-1/k", b"").await.status(),
            200
        );
    }
}

#[tokio::test]
async fn a_presigned_url_does_what_its_signer_may_and_no_more() {
    let (mock, alice) = with_bucket(Auth::Strict).await;
    send(&mock, &alice, "PUT", "/b-1/k", b"hello").await;
    let bob = user(&mock, "bob");
    let get = async || {
        let url = super::presigned(&mock, &bob, "GET", "");
        Client::new().get(url).send().await.unwrap().status()
    };
    assert_eq!(get().await, 403);
    let by_url = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*",
        "Condition": { "StringEquals": { "s3:authType": "REST-QUERY-STRING" } },
    }]});
    let iam = mock.iam();
    iam.put_user_policy(ACCOUNT, "bob", "read", &by_url.to_string())
        .unwrap();
    assert_eq!(get().await, 200);
    let by_header = send(&mock, &bob, "GET", "/b-1/k", b"").await;
    assert_eq!(by_header.status(), 403);
}

#[tokio::test]
async fn callers_without_credentials_have_what_a_public_policy_gives_them() {
    let (mock, alice) = with_bucket(Auth::Strict).await;
    send(&mock, &alice, "PUT", "/b-1/k", b"hello").await;
    let anonymous = |method: reqwest::Method| {
        let url = format!("{}/b-1/k", mock.url());
        Client::new().request(method, url).send()
    };
    let status = async |method| anonymous(method).await.unwrap().status().as_u16();
    assert_eq!(status(reqwest::Method::GET).await, 403);
    let public = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::b-1/*",
    }]});
    let policy = public.to_string();
    let put = async || signed(&mock, &alice, "PUT", "policy", policy.as_bytes()).await;
    let blocked = put().await;
    assert_eq!(blocked.status(), 403, "a new bucket blocks public policies");
    assert!(blocked.text().await.unwrap().contains("BlockPublicPolicy"));
    let unblocked = signed(&mock, &alice, "DELETE", "publicAccessBlock", b"").await;
    assert_eq!(unblocked.status(), 204);
    assert_eq!(put().await.status(), 204);
    assert_eq!(status(reqwest::Method::GET).await, 200);
    assert_eq!(status(reqwest::Method::PUT).await, 403);
    assert_eq!(status(reqwest::Method::DELETE).await, 403);
}

/// A request about the bucket's sub-resource.
async fn signed(
    mock: &KmsMock,
    caller: &Credentials,
    method: &str,
    sub_resource: &str,
    body: &[u8],
) -> Response {
    let payload_hash = sha256_hex(body);
    let headers = vec![
        ("x-amz-date", NOW_TEXT.to_owned()),
        ("x-amz-content-sha256", payload_hash.clone()),
    ];
    let signing = Signing {
        credentials: caller,
        service: "s3",
        date: NOW_TEXT,
        method,
        host: mock.address().to_string(),
        path: "/b-1",
        canonical_path: "/b-1",
        query: format!("{sub_resource}="),
        headers,
        payload_hash,
    };
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = Client::new()
        .request(method, format!("{}/b-1?{sub_resource}=", mock.url()))
        .header("authorization", signing.sign().authorization)
        .body(body.to_vec());
    for (name, value) in &signing.headers {
        request = request.header(*name, value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_denial_is_explained_and_stands_in_the_audit_log_as_one_of_kms_does() {
    let mock = KmsMock::builder()
        .auth(Auth::Strict)
        .clock(SettableClock::frozen(NOW))
        .workers(2)
        .start()
        .await
        .unwrap();
    let alice = s3_user(&mock, "alice");
    for path in ["/b-1", "/b-1/k"] {
        assert_eq!(send(&mock, &alice, "PUT", path, b"").await.status(), 200);
    }
    let bob = user(&mock, "bob");
    let only_tls = json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "OverTls", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*",
        "Condition": { "Bool": { "aws:SecureTransport": "true" } },
    }]});
    let iam = mock.iam();
    iam.put_user_policy(ACCOUNT, "bob", "read", &only_tls.to_string())
        .unwrap();
    let denied = send(&mock, &bob, "GET", "/b-1/k", b"").await;
    assert_eq!(denied.status(), 403);
    let id = denied.headers()["x-amz-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let explained = mock.explain(&id).unwrap();
    let text = explained.to_string();
    for line in [
        "GetObject refused: AccessDenied",
        "arn:aws:iam::123456789012:user/bob",
        "on        arn:aws:s3:::b-1/k",
        "Denied: no identity-based policy allows",
        "statement 1 \"OverTls\", Allow: condition not satisfied",
        "FAILS  Bool aws:SecureTransport",
        "presented false",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    let event = mock.kms().audit().find(&id).unwrap().event();
    assert_eq!(event["eventSource"], "s3.amazonaws.com");
    assert_eq!(event["eventName"], "GetObject");
    assert_eq!(event["errorCode"], "AccessDenied");
    assert_eq!(event["readOnly"], true);
    assert_eq!(event["managementEvent"], false);
    assert_eq!(event["requestParameters"]["bucketName"], "b-1");
    assert_eq!(event["requestParameters"]["key"], "k");
    assert_eq!(event["resources"][0]["ARN"], "arn:aws:s3:::b-1/k");
    let done = send(&mock, &alice, "GET", "/b-1/k", b"").await;
    let id = done.headers()["x-amz-request-id"].to_str().unwrap();
    let text = mock.explain(id).unwrap().to_string();
    assert!(text.contains("GetObject done"), "{text}");
    assert!(text.contains("Allowed: an identity-based policy"), "{text}");
}

#[tokio::test]
async fn a_seeded_bucket_has_its_policy_and_keeps_it() {
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:user/bob") },
        "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b-1/*",
    }]});
    let seed =
        format!("[[user]]\nname = \"bob\"\n[[bucket]]\nname = \"b-1\"\npolicy = '''{policy}'''\n");
    let mock = builder()
        .auth(Auth::Strict)
        .seed_file(&seed)
        .start()
        .await
        .unwrap();
    let bob = mock.iam().create_access_key(ACCOUNT, "bob").unwrap();
    assert_eq!(send(&mock, &bob, "PUT", "/b-1/k", b"x").await.status(), 200);
    assert_eq!(send(&mock, &bob, "GET", "/b-1/k", b"").await.status(), 403);
    let wrong = seed.replace("s3:PutObject", "s3:PutObjct");
    let error = builder()
        .seed_file(&wrong)
        .start()
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("line 5: Policy has invalid action"),
        "{error}"
    );
}
