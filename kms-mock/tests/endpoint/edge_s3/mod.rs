//! S3 over the edge: objects, metadata, signatures, chunked uploads.

mod access;
mod authorization;
mod buckets;
mod cors;
mod locks;
mod uploads;
mod versions;

use std::time::Duration;

use crate::support::{NOW_TEXT, Signing, builder, s3_request, s3_user, sha256_hex};
use aws_lc_rs::hmac;
use kms_mock::{Auth, KmsMock, iam::Credentials};
use reqwest::Client;

/// The user metadata of an object of the S3 Encryption Client, version 3.
const S3EC: [(&str, &str); 6] = [
    ("x-amz-meta-x-amz-c", "115"),
    ("x-amz-meta-x-amz-w", "12"),
    ("x-amz-meta-x-amz-3", "AQIDAHjPdQ+/zz=="),
    (
        "x-amz-meta-x-amz-t",
        r#"{"aws:x-amz-cek-alg":"115","object":"s3://b/k  two spaces"}"#,
    ),
    (
        "x-amz-meta-x-amz-i",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==",
    ),
    (
        "x-amz-meta-x-amz-d",
        "HBobGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAg==",
    ),
];

async fn with_bucket(auth: Auth) -> (KmsMock, Credentials) {
    let mock = builder().auth(auth).start().await.unwrap();
    let alice = s3_user(&mock, "alice");
    let made = s3_request(&mock, &alice, "PUT", ("/b-1", "/b-1"), &[], b"")
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 200);
    (mock, alice)
}

/// A world with a bucket, whom nobody asks for signatures, and the bucket's URL.
async fn open_bucket() -> (KmsMock, Client, String) {
    let (mock, client) = (builder().start().await.unwrap(), Client::new());
    let url = format!("{}/b-1", mock.url());
    assert_eq!(client.put(&url).send().await.unwrap().status(), 200);
    (mock, client, url)
}

#[tokio::test]
async fn an_object_comes_back_with_exactly_its_metadata() {
    let (mock, alice) = with_bucket(Auth::Strict).await;
    let body: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let path = ("/b-1/scan%201/a%2Bb.dcm", "/b-1/scan%201/a%2Bb.dcm");
    let put = s3_request(&mock, &alice, "PUT", path, &S3EC[..3], &body)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);
    let etag = put.headers()["etag"].to_str().unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.len() == 34, "{etag}");

    let got = s3_request(&mock, &alice, "GET", path, &[], b"")
        .send()
        .await
        .unwrap();
    assert_eq!(got.status(), 200);
    for (name, value) in &S3EC[..3] {
        assert_eq!(got.headers()[*name], value, "{name}");
    }
    let metadata = got
        .headers()
        .keys()
        .filter(|name| name.as_str().starts_with("x-amz-meta-"))
        .count();
    assert_eq!(metadata, 3);
    assert_eq!(got.headers()["etag"], etag);
    assert!(got.headers().contains_key("x-amz-request-id"));
    assert_eq!(got.bytes().await.unwrap(), body);
}

#[tokio::test]
async fn every_header_of_the_encryption_client_is_kept_byte_for_byte() {
    let (_mock, client, bucket) = open_bucket().await;
    let url = format!("{bucket}/k");
    let mut put = client.put(&url).body("sealed");
    for (name, value) in S3EC {
        put = put.header(name, value);
    }
    assert_eq!(put.send().await.unwrap().status(), 200);
    for request in [client.get(&url), client.head(&url)] {
        let got = request.send().await.unwrap();
        assert_eq!(got.status(), 200);
        assert_eq!(got.headers()["content-length"], "6");
        for (name, value) in S3EC {
            assert_eq!(got.headers()[name], value, "{name}");
        }
    }
}

#[tokio::test]
async fn ranges_give_parts_and_impossible_ranges_are_refused() {
    let (_mock, client, bucket) = open_bucket().await;
    let url = format!("{bucket}/k");
    client.put(&url).body("0123456789").send().await.unwrap();
    let table = [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=8-100", 206, "89", "bytes 8-9/10"),
    ];
    for (range, status, body, content_range) in table {
        let got = client
            .get(&url)
            .header("range", range)
            .send()
            .await
            .unwrap();
        assert_eq!(got.status(), status, "{range}");
        assert_eq!(got.headers()["content-range"], content_range);
        assert_eq!(got.text().await.unwrap(), body, "{range}");
    }
    let refused = client
        .get(&url)
        .header("range", "bytes=10-")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 416);
}

#[tokio::test]
async fn listings_page_through_keys_and_prefixes() {
    let (mock, client, bucket) = open_bucket().await;
    for key in ["a/1", "a/2", "b", "c%3Cd", "e/1"] {
        let put = client
            .put(format!("{bucket}/{key}"))
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!(put.status(), 200);
    }
    let list = async |query: &str| {
        let url = format!("{bucket}?list-type=2&{query}");
        client.get(url).send().await.unwrap().text().await.unwrap()
    };
    let page = list("delimiter=/").await;
    for expected in [
        "<Prefix>a/</Prefix>",
        "<Key>b</Key>",
        "<Key>c&lt;d</Key>",
        "<KeyCount>4</",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    let page = list("max-keys=2").await;
    assert!(page.contains("<IsTruncated>true</IsTruncated>"), "{page}");
    let token = page
        .split("<NextContinuationToken>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let page = list(&format!("max-keys=2&continuation-token={token}")).await;
    assert!(
        page.contains("<Key>b</Key>") && !page.contains("<Key>a/2</Key>"),
        "{page}"
    );

    let buckets = client
        .get(mock.url())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(buckets.contains("<Name>b-1</Name>"), "{buckets}");
}

#[tokio::test]
async fn absent_things_are_refused_with_the_texts_of_s3() {
    let (mock, client, bucket) = open_bucket().await;
    let get = async |path: &str| {
        let response = client
            .get(format!("{}{path}", mock.url()))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, body) = get("/b-1/none").await;
    assert!(
        status == 404 && body.contains("<Code>NoSuchKey</Code>"),
        "{body}"
    );
    let (status, body) = get("/none/none").await;
    assert!(
        status == 404 && body.contains("<Code>NoSuchBucket</Code>"),
        "{body}"
    );
    let head = client
        .head(format!("{}/none", mock.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 404);

    client
        .put(format!("{bucket}/k"))
        .body("x")
        .send()
        .await
        .unwrap();
    let full = client.delete(&bucket).send().await.unwrap();
    assert_eq!(full.status(), 409);
    for path in ["/b-1/k", "/b-1/k", "/b-1"] {
        let deleted = client
            .delete(format!("{}{path}", mock.url()))
            .send()
            .await
            .unwrap();
        assert_eq!(deleted.status(), 204, "{path}");
    }
}

#[tokio::test]
async fn a_spoiled_s3_request_is_refused_with_the_code_of_s3() {
    let (mock, alice) = with_bucket(Auth::Lenient).await;
    let path = ("/b-1/k", "/b-1/k");
    let put = || s3_request(&mock, &alice, "PUT", path, &[], b"body");
    let mut other = alice.clone();
    other.secret_access_key = "wrong".to_owned().into();
    let table = [
        (
            s3_request(&mock, &other, "PUT", path, &[], b"body"),
            403,
            "SignatureDoesNotMatch",
        ),
        (put().body("bode"), 400, "XAmzContentSHA256Mismatch"),
        (put().header("x-amz-meta-a", "1"), 403, "AccessDenied"),
        (
            s3_request(&mock, &alice, "PUT", ("/b-1/k?acl", "/b-1/k"), &[], b"body"),
            403,
            "SignatureDoesNotMatch",
        ),
        // Signed with the path as sent instead of encoded as S3 wants it.
        (
            s3_request(&mock, &alice, "PUT", ("/b-1/a=b", "/b-1/a=b"), &[], b"body"),
            403,
            "SignatureDoesNotMatch",
        ),
    ];
    for (request, status, code) in table {
        let response = request.send().await.unwrap();
        let reason = response.headers()["x-drydock-reason"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(response.status().as_u16(), status, "{code}: {reason}");
        let body = response.text().await.unwrap();
        assert!(body.contains(&format!("<Code>{code}</Code>")), "{body}");
    }
    let encoded = s3_request(
        &mock,
        &alice,
        "PUT",
        ("/b-1/a=b", "/b-1/a%3Db"),
        &[],
        b"body",
    );
    assert_eq!(encoded.send().await.unwrap().status(), 200);
    assert_eq!(put().send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn strict_refuses_unsigned_and_unknown_s3_requests() {
    let (mock, mut unknown) = with_bucket(Auth::Strict).await;
    let response = Client::new()
        .get(format!("{}/b-1/k", mock.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    assert!(
        response
            .text()
            .await
            .unwrap()
            .contains("<Code>AccessDenied</Code>")
    );
    unknown.access_key_id = "AKIAUNKNOWN".to_owned();
    let request = s3_request(&mock, &unknown, "GET", ("/b-1/k", "/b-1/k"), &[], b"");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(
        response
            .text()
            .await
            .unwrap()
            .contains("<Code>InvalidAccessKeyId</Code>")
    );
}

/// The URL with which `credentials` lets somebody send `method` to the object for an
/// hour, with more parameters beside.
fn presigned(
    mock: &KmsMock,
    credentials: &Credentials,
    method: &'static str,
    more: &str,
) -> String {
    const PATH: &str = "/b-1/k";
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential={}%2F20251225%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date={NOW_TEXT}&X-Amz-Expires=3600&X-Amz-SignedHeaders=host{more}",
        credentials.access_key_id
    );
    let signing = Signing {
        credentials,
        service: "s3",
        date: NOW_TEXT,
        method,
        host: mock.address().to_string(),
        path: PATH,
        canonical_path: PATH,
        query: query.clone(),
        headers: vec![],
        payload_hash: "UNSIGNED-PAYLOAD".to_owned(),
    };
    let signature = hex::encode(signing.sign().signature);
    format!("{}{PATH}?{query}&X-Amz-Signature={signature}", mock.url())
}

#[tokio::test]
async fn a_presigned_url_works_until_it_expires_and_only_as_signed() {
    let (mock, alice) = with_bucket(Auth::Strict).await;
    let put = s3_request(&mock, &alice, "PUT", ("/b-1/k", "/b-1/k"), &[], b"hello");
    assert_eq!(put.send().await.unwrap().status(), 200);
    let url = presigned(&mock, &alice, "GET", "");
    let get = async |path: &str| {
        let url = url.replace("/b-1/k", path);
        let response = Client::new().get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/b-1/k").await, (200, "hello".to_owned()));
    assert_eq!(get("/b-1/other").await.0, 403);
    mock.clock().advance(Duration::from_secs(3600));
    assert_eq!(get("/b-1/k").await.0, 200);
    mock.clock().advance(Duration::from_secs(1));
    let (status, body) = get("/b-1/k").await;
    assert_eq!(status, 403);
    assert!(
        body.contains("<Message>Request has expired</Message>"),
        "{body}"
    );
}

#[tokio::test]
async fn a_chunked_upload_is_checked_chunk_by_chunk_and_stored_plain() {
    let (mock, alice) = with_bucket(Auth::Strict).await;
    let send = async |spoil: bool| {
        let headers = vec![
            ("content-encoding", "aws-chunked".to_owned()),
            (
                "x-amz-content-sha256",
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
            ),
            ("x-amz-date", NOW_TEXT.to_owned()),
            ("x-amz-decoded-content-length", "10".to_owned()),
            ("x-amz-trailer", "x-amz-checksum-crc32".to_owned()),
        ];
        let signing = Signing {
            credentials: &alice,
            service: "s3",
            date: NOW_TEXT,
            method: "PUT",
            host: mock.address().to_string(),
            path: "/b-1/k",
            canonical_path: "/b-1/k",
            query: String::new(),
            headers,
            payload_hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
        };
        let signed = signing.sign();
        let mut previous = hex::encode(signed.signature);
        let mut body = String::new();
        for chunk in ["hello", "world", ""] {
            let to_sign = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{NOW_TEXT}\n{}\n{previous}\n{}\n{}",
                signed.scope,
                sha256_hex(b""),
                sha256_hex(chunk.as_bytes())
            );
            previous = hex::encode(hmac::sign(&signed.key, to_sign.as_bytes()));
            body += &format!("{:x};chunk-signature={previous}\r\n{chunk}", chunk.len());
            body += "\r\n";
        }
        // The last chunk is empty and its data line is not there before trailers.
        body.truncate(body.len() - 2);
        let trailer = "x-amz-checksum-crc32:+esgrQ==\n";
        let to_sign = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{NOW_TEXT}\n{}\n{previous}\n{}",
            signed.scope,
            sha256_hex(trailer.as_bytes())
        );
        let signature = hex::encode(hmac::sign(&signed.key, to_sign.as_bytes()));
        body += &format!(
            "{}\r\nx-amz-trailer-signature:{signature}\r\n\r\n",
            trailer.trim()
        );
        if spoil {
            body = body.replace("world", "worle");
        }
        let mut request = Client::new()
            .put(format!("{}/b-1/k", mock.url()))
            .header("authorization", signed.authorization)
            .body(body);
        for (name, value) in &signing.headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, body) = send(true).await;
    assert_eq!(status, 403, "{body}");
    assert!(
        body.contains("<Code>SignatureDoesNotMatch</Code>"),
        "{body}"
    );
    let (status, body) = send(false).await;
    assert_eq!(status, 200, "{body}");
    let got = s3_request(&mock, &alice, "GET", ("/b-1/k", "/b-1/k"), &[], b"");
    let got = got.send().await.unwrap();
    assert!(!got.headers().contains_key("content-encoding"));
    assert_eq!(got.text().await.unwrap(), "helloworld");
}

#[tokio::test]
async fn signature_version_two_presigns_for_unknown_keys_only() {
    let (mock, alice) = with_bucket(Auth::Lenient).await;
    let url = format!("{}/b-1/k", mock.url());
    let client = Client::new();
    assert_eq!(
        client.put(&url).body("x").send().await.unwrap().status(),
        200
    );
    let (soon, past) = ("1766678700", "1766678600");
    let by = |id: &str, expires: &str| {
        format!("{url}?AWSAccessKeyId={id}&Signature=x&Expires={expires}")
    };
    let got = client.get(by("test", soon)).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "x");
    let ended = client.get(by("test", past)).send().await.unwrap();
    assert_eq!(ended.status(), 403);
    let body = ended.text().await.unwrap();
    assert!(body.contains("Request has expired"), "{body}");
    let known = client
        .get(by(&alice.access_key_id, soon))
        .send()
        .await
        .unwrap();
    assert_eq!(known.status(), 400);
    let malformed = client.get(by("test", "soon")).send().await.unwrap();
    assert_eq!(malformed.status(), 400);

    let strict = builder().auth(Auth::Strict).start().await.unwrap();
    let url = format!(
        "{}/b-1/k?AWSAccessKeyId=test&Signature=x&Expires={soon}",
        strict.url()
    );
    let refused = client.get(url).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let body = refused.text().await.unwrap();
    assert!(body.contains("Please use AWS4-HMAC-SHA256."), "{body}");
}

#[tokio::test]
async fn wrong_checksums_are_refused() {
    let (_mock, client, bucket) = open_bucket().await;
    let url = format!("{bucket}/k");
    let table = [
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", 400),
        ("x-amz-checksum-crc32", "AAAAAA==", 400),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==", 200),
        ("x-amz-checksum-crc32", "NhCmhg==", 200),
    ];
    for (name, value, status) in table {
        let put = client
            .put(&url)
            .header(name, value)
            .body("hello")
            .send()
            .await
            .unwrap();
        assert_eq!(put.status().as_u16(), status, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_presigned_url_may_hold_the_headers_of_its_request() {
    let (mock, alice) = with_bucket(Auth::Strict).await;
    let headers = "&x-amz-meta-study=1.2.3&x-amz-storage-class=STANDARD_IA";
    let url = presigned(&mock, &alice, "PUT", headers);
    let put = Client::new().put(url).body("hello").send().await.unwrap();
    assert_eq!(put.status(), 200);
    let path = ("/b-1/k", "/b-1/k");
    let head = s3_request(&mock, &alice, "HEAD", path, &[], b"");
    let head = head.send().await.unwrap();
    assert_eq!(head.headers()["x-amz-meta-study"], "1.2.3");
    assert_eq!(head.headers()["x-amz-storage-class"], "STANDARD_IA");
}
