//! Buckets, objects, their versions and uploads.

use super::{ACCOUNT, World, date_of};

/// An S3 request of the account's root user: status and body.
pub(super) fn s3(world: &World, method: &str, path: &str, body: &'static str) -> (u16, String) {
    let date = date_of(&world.clock);
    let scope = format!("{ACCOUNT}/{}/us-east-1/s3/aws4_request", &date[..8]);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={}",
        "0".repeat(64)
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = reqwest::Client::new()
            .request(method, format!("{}{path}", world.mock().url()))
            .header("authorization", authorization)
            .header("x-amz-date", &date)
            .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            .header("x-amz-meta-purpose", "input")
            .header("expires", "Thu, 01 Jan 2026 00:00:00 GMT")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let has_metadata = answer.headers().get("x-amz-meta-purpose").is_some();
        let text = answer.text().await.unwrap();
        let mark = if has_metadata { " (input)" } else { "" };
        (status, format!("{text}{mark}"))
    })
}

/// What stands between `<name>` and `</name>`.
fn element<'t>(xml: &'t str, name: &str) -> &'t str {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[test]
fn objects_their_versions_and_uploads_under_way_survive() {
    const ENABLED: &str = "<VersioningConfiguration><Status>Enabled</Status>\
        </VersioningConfiguration>";
    const TAGS: &str = "<Tagging><TagSet><Tag><Key>team</Key><Value>imaging</Value></Tag>\
        </TagSet></Tagging>";
    const POLICY: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::guarded/*"}}"#;
    let mut world = World::new();
    for (method, path, body) in [
        ("PUT", "/plain", ""),
        ("PUT", "/plain/a", "overwritten"),
        ("PUT", "/plain/a", "kept"),
        ("PUT", "/plain/gone", "gone"),
        ("DELETE", "/plain/gone", ""),
        ("PUT", "/guarded", ""),
        ("PUT", "/guarded?policy", POLICY),
        ("PUT", "/empty", ""),
        ("DELETE", "/empty", ""),
        ("PUT", "/versioned", ""),
        ("PUT", "/versioned?versioning", ENABLED),
        ("PUT", "/versioned/k", "one"),
        ("PUT", "/versioned/k", "two"),
        ("PUT", "/versioned/k?tagging", TAGS),
        ("DELETE", "/versioned/k", ""),
        ("PUT", "/versioned/k", "three"),
        ("PUT", "/versioned/k?tagging", TAGS),
    ] {
        let (status, answer) = s3(&world, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
    }
    let upload = s3(&world, "POST", "/plain/big?uploads", "").1;
    let upload = element(&upload, "UploadId").to_owned();
    let part = format!("/plain/big?partNumber=1&uploadId={upload}");
    assert_eq!(s3(&world, "PUT", &part, "a part").0, 200);
    let questions = [
        "/",
        "/plain?list-type=2",
        "/plain/a",
        "/versioned/k",
        "/versioned?versions",
        "/versioned?versioning",
        "/versioned/k?tagging",
        "/guarded?policy",
        "/guarded?policyStatus",
        "/empty?list-type=2",
        "/plain/gone",
    ];
    let ask = |world: &World| -> Vec<(u16, String)> {
        let answers = questions.iter().map(|path| s3(world, "GET", path, ""));
        // A refusal's request id is its own.
        answers
            .map(|(status, text)| match text.split_once("<RequestId>") {
                Some((before, _)) => (status, before.to_owned()),
                None => (status, text),
            })
            .collect()
    };
    let before = ask(&world);
    assert_eq!(before[2], (200, "kept (input)".to_owned()));
    assert_eq!(before[3], (200, "three (input)".to_owned()));
    assert_eq!(before[4].1.matches("<VersionId>").count(), 4);
    assert!(before[6].1.contains("imaging"));
    assert_eq!(before[7], (200, POLICY.to_owned()));
    assert_eq!((before[9].0, before[10].0), (404, 404));
    world.restart();
    assert_eq!(ask(&world), before);
    let path = format!("/plain/big?uploadId={upload}");
    let parts = s3(&world, "GET", &path, "").1;
    let complete: &'static str = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part>\
         </CompleteMultipartUpload>",
        element(&parts, "ETag")
    )
    .leak();
    let (status, answer) = s3(&world, "POST", &path, complete);
    assert_eq!(status, 200, "{answer}");
    // What comes after a restart is newer than what was before it.
    assert_eq!(s3(&world, "PUT", "/versioned/k", "four").0, 200);
    world.restart();
    let big = s3(&world, "GET", "/plain/big", "").1;
    assert!(big.starts_with("a part"), "{big}");
    assert_eq!(s3(&world, "GET", "/versioned/k", "").1, "four (input)");
    let uploads = s3(&world, "GET", "/plain?uploads", "").1;
    assert!(!uploads.contains("<UploadId>"), "{uploads}");
}
