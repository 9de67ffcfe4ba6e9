//! Where buckets are, and what is told of buckets and objects.

use kms_mock::KmsMock;

use crate::{
    edge_s3::uploads::{Bucket, element, refused},
    support::{builder, s3_request, s3_user},
};

#[tokio::test]
async fn a_bucket_is_made_where_its_region_lets_it() {
    let mock = builder().start().await.unwrap();
    let alice = s3_user(&mock, "alice");
    let create = async |name: &str, region: Option<&str>| {
        let path = format!("/{name}");
        let body = region.map_or_else(String::new, |region| {
            format!(
                "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint>\
                 </CreateBucketConfiguration>"
            )
        });
        // Signed for us-east-1.
        s3_request(&mock, &alice, "PUT", (&path, &path), &[], body.as_bytes())
            .send()
            .await
            .unwrap()
    };
    let at = async |name: &str| {
        let url = format!("{}/{name}", mock.url());
        let head = reqwest::Client::new().head(url).send().await.unwrap();
        let region = head.headers()["x-amz-bucket-region"].to_str().unwrap();
        region.to_owned()
    };
    assert_eq!(create("home", None).await.status(), 200);
    assert_eq!(create("home", None).await.status(), 200);
    assert_eq!(at("home").await, "us-east-1");
    assert_eq!(create("away", Some("eu-west-1")).await.status(), 200);
    assert_eq!(at("away").await, "eu-west-1");
    let again = create("away", Some("eu-west-1")).await;
    let body = refused(again, 409, "BucketAlreadyOwnedByYou").await;
    assert_eq!(element(&body, "BucketName"), "away");
    let told = create("third", Some("us-east-1")).await;
    refused(told, 400, "InvalidLocationConstraint").await;
    refused(create("No_Name", None).await, 400, "InvalidBucketName").await;
}

#[tokio::test]
async fn attributes_are_answered_without_the_object() {
    let bucket = Bucket::new().await;
    bucket.put("/k", &[], b"hello").await;
    let wanted = [("x-amz-object-attributes", "ETag,ObjectSize,Checksum")];
    let got = bucket.send("GET", "/k?attributes", &wanted, b"").await;
    assert_eq!(got.status(), 200);
    let body = got.text().await.unwrap();
    assert_eq!(element(&body, "ETag"), "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(element(&body, "ObjectSize"), "5");
    assert_eq!(element(&body, "ChecksumType"), "FULL_OBJECT");
    assert!(!body.contains("<StorageClass>"), "{body}");
}

#[tokio::test]
async fn a_range_of_the_wrong_form_is_ignored() {
    let bucket = Bucket::new().await;
    bucket.put("/k", &[], b"0123456789").await;
    for range in ["bytes=1-0", "bytes=0-1,3-4", "bytes=-", "lines=1-2"] {
        let got = bucket.send("GET", "/k", &[("range", range)], b"").await;
        assert_eq!(got.status(), 200, "{range}");
        assert_eq!(got.bytes().await.unwrap(), "0123456789", "{range}");
    }
    let head = bucket
        .send("HEAD", "/k", &[("range", "bytes=2-4")], b"")
        .await;
    assert_eq!(head.status(), 206);
    assert_eq!(head.headers()["content-range"], "bytes 2-4/10");
    let beyond = bucket
        .send("GET", "/k", &[("range", "bytes=10-")], b"")
        .await;
    let body = refused(beyond, 416, "InvalidRange").await;
    assert_eq!(element(&body, "ActualObjectSize"), "10");
}

#[tokio::test]
async fn the_endpoint_describes_itself_where_localstack_does() {
    let mock = builder().start().await.unwrap();
    for path in ["health", "info"] {
        let url = format!("{}/_localstack/{path}", mock.url());
        let told = reqwest::get(url).await.unwrap().text().await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["edition"], "drydock", "{path}");
        assert_eq!(told["version"], env!("CARGO_PKG_VERSION"), "{path}");
    }
}

#[tokio::test]
async fn a_request_that_expects_another_owner_is_refused() {
    let bucket = Bucket::new().await;
    bucket.put("/k", &[], b"x").await;
    let (own, other) = ("123456789012", "111122223333");
    for (owner, status) in [(own, 200), (other, 403)] {
        let expects = [("x-amz-expected-bucket-owner", owner)];
        assert_eq!(bucket.put("/k", &expects, b"y").await.status(), status);
        let copies = [
            ("x-amz-copy-source", "/b-1/k"),
            ("x-amz-source-expected-bucket-owner", owner),
        ];
        assert_eq!(bucket.put("/copy", &copies, b"").await.status(), status);
    }
}

#[tokio::test]
async fn a_thousand_objects_are_deleted_at_once_and_not_one_more() {
    let bucket = Bucket::new().await;
    bucket.put("/0", &[], b"x").await;
    let delete = async |count: usize| {
        let objects: String = (0..count)
            .map(|i| format!("<Object><Key>{i}</Key></Object>"))
            .collect();
        let body = format!("<Delete><Quiet>true</Quiet>{objects}</Delete>");
        bucket.send("POST", "?delete", &[], body.as_bytes()).await
    };
    refused(delete(1_001).await, 400, "MalformedXML").await;
    assert_eq!(bucket.get("/0").await.status(), 200);
    assert_eq!(delete(1_000).await.status(), 200);
    assert_eq!(bucket.get("/0").await.status(), 404);
}

#[tokio::test]
async fn counts_that_are_none_are_refused() {
    let bucket = Bucket::new().await;
    for (path, name, value) in [
        ("?max-keys=-1", "maxKeys", "-1"),
        ("?list-type=2&max-keys=2147483648", "max-keys", "2147483648"),
        ("/k?uploadId=u&max-parts=-42", "max-parts", "-42"),
        ("/k?uploadId=u&max-parts=many", "max-parts", "many"),
        (
            "/k?uploadId=u&part-number-marker=-42",
            "part-number-marker",
            "-42",
        ),
    ] {
        let body = refused(bucket.get(path).await, 400, "InvalidArgument").await;
        assert_eq!(element(&body, "ArgumentName"), name, "{path}");
        assert_eq!(element(&body, "ArgumentValue"), value, "{path}");
    }
    assert_eq!(bucket.get("?max-keys=2147483647").await.status(), 200);
}

#[tokio::test]
async fn a_refusal_with_details_is_xml() {
    let bucket = Bucket::new().await;
    let none = bucket.get("/k").await;
    assert_eq!(none.headers()["content-type"], "application/xml");
    refused(none, 404, "NoSuchKey").await;
}

#[tokio::test]
async fn what_a_bucket_is_set_up_with_and_what_locks_its_versions_survive_a_restart() {
    const LOCKED: (&str, &str) = ("x-amz-bucket-object-lock-enabled", "true");
    const CORS: &str = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>\
        <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    const RETENTION: &str = "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>\
        2100-01-01T00:00:00Z</RetainUntilDate></Retention>";
    const HOLD: &str = "<LegalHold><Status>ON</Status></LegalHold>";
    const TAGS: &str =
        "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    let directory = tempfile::tempdir().unwrap();
    let start = async || {
        let mock = builder().data_dir(directory.path()).start().await;
        mock.unwrap()
    };
    let send = async |mock: &KmsMock, method: &str, path: &str, body: &str| {
        let (name, value) = LOCKED;
        let url = format!("{}{path}", mock.url());
        let request = reqwest::Client::new().request(method.parse().unwrap(), url);
        let request = request.header(name, value).body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let mock = start().await;
    for (path, body) in [
        ("/bkt", ""),
        ("/bkt?cors", CORS),
        ("/bkt/k", "body"),
        ("/bkt/k?retention", RETENTION),
        ("/bkt/k?legal-hold", HOLD),
        ("/bkt/k?tagging", TAGS),
    ] {
        let (status, answer) = send(&mock, "PUT", path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let ask = async |mock: &KmsMock| {
        let mut answers = Vec::new();
        for path in [
            "/bkt?object-lock",
            "/bkt?versioning",
            "/bkt?cors",
            "/bkt?publicAccessBlock",
            "/bkt/k?retention",
            "/bkt/k?legal-hold",
            "/bkt/k?tagging",
            "/bkt?versions",
        ] {
            let (status, answer) = send(mock, "GET", path, "").await;
            assert_eq!(status, 200, "{path}: {answer}");
            answers.push(answer);
        }
        answers
    };
    let before = ask(&mock).await;
    mock.stop().await;
    let mock = start().await;
    assert_eq!(ask(&mock).await, before);
    let id = element(&before[7], "VersionId").to_owned();
    let (status, _) = send(&mock, "DELETE", &format!("/bkt/k?versionId={id}"), "").await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn settings_that_no_bucket_has_are_answered_as_absent_and_cannot_be_set() {
    let bucket = Bucket::new().await;
    for (path, code) in [
        ("?policy", "NoSuchBucketPolicy"),
        ("?lifecycle", "NoSuchLifecycleConfiguration"),
        ("?website", "NoSuchWebsiteConfiguration"),
        ("?replication", "ReplicationConfigurationNotFoundError"),
    ] {
        let body = refused(bucket.get(path).await, 404, code).await;
        assert_eq!(element(&body, "BucketName"), "b-1");
        assert_eq!(bucket.send("DELETE", path, &[], b"").await.status(), 204);
        let set = bucket.put(path, &[], b"{}").await;
        assert!(!set.status().is_success(), "{path}: {}", set.status());
    }
    for path in ["?notification", "?accelerate", "?logging"] {
        assert_eq!(bucket.get(path).await.status(), 200, "{path}");
    }
    let payer = bucket.get("?requestPayment").await.text().await.unwrap();
    assert_eq!(element(&payer, "Payer"), "BucketOwner");
    let none = bucket.get("/../other?policy").await;
    refused(none, 404, "NoSuchBucket").await;
}

#[tokio::test]
async fn a_refused_argument_is_named() {
    let bucket = Bucket::new().await;
    let long = format!("/{}", "k".repeat(1025));
    let body = refused(bucket.put(&long, &[], b"").await, 400, "KeyTooLongError").await;
    assert_eq!(element(&body, "Size"), "1025");
    assert_eq!(bucket.put(&long[..1025], &[], b"").await.status(), 200);
    for (headers, code, name, value) in [
        (
            ("x-amz-copy-source", "nothing"),
            "InvalidArgument",
            "ArgumentName",
            "x-amz-copy-source",
        ),
        (
            ("x-amz-storage-class", "OUTPOSTS"),
            "InvalidStorageClass",
            "StorageClassRequested",
            "OUTPOSTS",
        ),
        (
            ("content-md5", "short"),
            "InvalidDigest",
            "Content_MD5",
            "short",
        ),
        (
            ("content-md5", "hBotaJrYa9FhFEdFPCLG/A=="),
            "BadDigest",
            "ExpectedDigest",
            "841a2d689ad86bd1611447453c22c6fc",
        ),
    ] {
        let refusal = bucket.put("/k", &[headers], b"other").await;
        let body = refused(refusal, 400, code).await;
        assert_eq!(element(&body, name), value);
    }
    let token = bucket.get("?list-type=2&continuation-token=none").await;
    let body = refused(token, 400, "InvalidArgument").await;
    assert_eq!(element(&body, "ArgumentName"), "continuation-token");
}
