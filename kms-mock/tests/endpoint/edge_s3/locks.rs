//! Object lock: what cannot be deleted, until when, and who may shorten it.

use std::time::Duration;

use reqwest::Response;

use crate::edge_s3::uploads::{Bucket, element, refused};

/// An hour after the time of the worlds here.
const LATER: &str = "2025-12-25T17:04:18Z";
const LATEST: &str = "2025-12-25T18:04:18Z";
const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";
const BYPASS: (&str, &str) = ("x-amz-bypass-governance-retention", "true");
/// Of `body`.
const MD5: (&str, &str) = ("content-md5", "hBotaJrYa9FhFEdFPCLG/A==");

async fn locked() -> Bucket {
    Bucket::made_with(&[("x-amz-bucket-object-lock-enabled", "true")]).await
}

/// Puts `k` with `headers`; its version.
async fn put(bucket: &Bucket, headers: &[(&str, &str)]) -> String {
    let headers = [headers, &[MD5]].concat();
    let put = bucket.put("/k", &headers, b"body").await;
    let status = put.status();
    let id = put.headers().get("x-amz-version-id").cloned();
    assert_eq!(status, 200, "{}", put.text().await.unwrap());
    id.unwrap().to_str().unwrap().to_owned()
}

async fn delete(bucket: &Bucket, id: &str, headers: &[(&str, &str)]) -> Response {
    let path = format!("/k?versionId={id}");
    bucket.send("DELETE", &path, headers, b"").await
}

async fn kept(bucket: &Bucket, id: &str, headers: &[(&str, &str)]) {
    let body = refused(delete(bucket, id, headers).await, 403, "AccessDenied").await;
    assert_eq!(
        element(&body, "Message"),
        "Access Denied because object protected by object lock."
    );
}

fn retention(mode: &str, until: &str) -> Vec<u8> {
    let xml = format!(
        "<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
    );
    xml.into_bytes()
}

#[tokio::test]
async fn a_version_is_kept_until_its_date_and_a_marker_may_hide_it() {
    let bucket = locked().await;
    let id = put(&bucket, &[(MODE, "COMPLIANCE"), (UNTIL, LATER)]).await;
    let head = bucket.send("HEAD", "/k", &[], b"").await;
    assert_eq!(head.headers()[MODE], "COMPLIANCE");
    assert!(
        head.headers()[UNTIL]
            .to_str()
            .unwrap()
            .starts_with("2025-12-25T17:04:18")
    );
    assert!(!head.headers().contains_key(HOLD));
    kept(&bucket, &id, &[]).await;
    kept(&bucket, &id, &[BYPASS]).await;
    let hidden = bucket.send("DELETE", "/k", &[], b"").await;
    assert_eq!(hidden.headers()["x-amz-delete-marker"], "true");
    kept(&bucket, &id, &[]).await;
    bucket.mock.clock().advance(Duration::from_secs(3599));
    kept(&bucket, &id, &[]).await;
    bucket.mock.clock().advance(Duration::from_secs(1));
    assert_eq!(delete(&bucket, &id, &[]).await.status(), 204);
}

#[tokio::test]
async fn governance_is_bypassed_on_request_and_a_legal_hold_never() {
    let bucket = locked().await;
    let headers = [(MODE, "GOVERNANCE"), (UNTIL, LATER), (HOLD, "ON")];
    let id = put(&bucket, &headers).await;
    kept(&bucket, &id, &[BYPASS]).await;
    let off = b"<LegalHold><Status>OFF</Status></LegalHold>";
    assert_eq!(bucket.put("/k?legal-hold", &[], off).await.status(), 200);
    let told = bucket.get("/k?legal-hold").await.text().await.unwrap();
    assert_eq!(element(&told, "Status"), "OFF");
    kept(&bucket, &id, &[]).await;
    let many = format!("<Delete><Object><Key>k</Key><VersionId>{id}</VersionId></Object></Delete>");
    let many = many.as_bytes();
    let answer = bucket.send("POST", "?delete", &[], many).await;
    let answer = answer.text().await.unwrap();
    assert_eq!(element(&answer, "Code"), "AccessDenied", "{answer}");
    let answer = bucket.send("POST", "?delete", &[BYPASS], many).await;
    let answer = answer.text().await.unwrap();
    assert!(answer.contains("<Deleted>"), "{answer}");
}

#[tokio::test]
async fn a_retention_is_extended_by_all_and_cut_only_under_governance() {
    let bucket = locked().await;
    put(&bucket, &[]).await;
    let none = bucket.get("/k?retention").await;
    refused(none, 404, "NoSuchObjectLockConfiguration").await;
    let set = async |mode: &str, until: &str, headers: &[(&str, &str)]| {
        let body = retention(mode, until);
        bucket.put("/k?retention", headers, &body).await
    };
    assert_eq!(set("GOVERNANCE", LATER, &[]).await.status(), 200);
    assert_eq!(set("GOVERNANCE", LATEST, &[]).await.status(), 200);
    refused(set("GOVERNANCE", LATER, &[]).await, 403, "AccessDenied").await;
    assert_eq!(set("GOVERNANCE", LATER, &[BYPASS]).await.status(), 200);
    let nothing = bucket.put("/k?retention", &[], b"<Retention/>").await;
    refused(nothing, 403, "AccessDenied").await;
    assert_eq!(set("COMPLIANCE", LATER, &[]).await.status(), 200);
    let weaker = set("GOVERNANCE", LATEST, &[BYPASS]).await;
    refused(weaker, 403, "AccessDenied").await;
    assert_eq!(set("COMPLIANCE", LATEST, &[]).await.status(), 200);
    let told = bucket.get("/k?retention").await.text().await.unwrap();
    assert_eq!(element(&told, "Mode"), "COMPLIANCE");
    assert!(element(&told, "RetainUntilDate").starts_with("2025-12-25T18:04:18"));
    let past = set("COMPLIANCE", "2020-01-01T00:00:00Z", &[]).await;
    let body = refused(past, 400, "InvalidArgument").await;
    assert_eq!(element(&body, "ArgumentName"), "RetainUntilDate");
    assert_eq!(
        element(&body, "ArgumentValue"),
        "Tue Dec 31 16:00:00 PST 2019"
    );
    refused(set("", LATEST, &[]).await, 400, "MalformedXML").await;
}

#[tokio::test]
async fn the_retention_of_the_bucket_is_for_versions_that_name_none() {
    let bucket = locked().await;
    let rule = |retention: &str| {
        format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
             <DefaultRetention>{retention}</DefaultRetention></Rule></ObjectLockConfiguration>"
        )
    };
    let two_days = rule("<Mode>GOVERNANCE</Mode><Days>2</Days>");
    let set = bucket.put("?object-lock", &[], two_days.as_bytes()).await;
    assert_eq!(set.status(), 200);
    let told = bucket.get("?object-lock").await.text().await.unwrap();
    assert_eq!(element(&told, "Days"), "2");
    put(&bucket, &[]).await;
    let until = |response: &Response| response.headers()[UNTIL].to_str().unwrap().to_owned();
    let head = bucket.send("HEAD", "/k", &[], b"").await;
    assert!(until(&head).starts_with("2025-12-27T16:04:18"), "{head:?}");
    // A copy has the retention of its bucket, not that of its source.
    let copy = [
        ("x-amz-copy-source", "b-1/k"),
        (MODE, "COMPLIANCE"),
        (UNTIL, LATER),
    ];
    assert_eq!(bucket.put("/copy", &copy, b"").await.status(), 200);
    let head = bucket.send("HEAD", "/copy", &[], b"").await;
    assert!(until(&head).starts_with("2025-12-25T17:04:18"), "{head:?}");
    for wrong in [
        "<Mode>GOVERNANCE</Mode>",
        "<Days>1</Days>",
        "<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>",
        "<Mode>GOVERNANCE</Mode><Days>0</Days>",
        "<Mode>FOREVER</Mode><Days>1</Days>",
    ] {
        let wrong = rule(wrong);
        let set = bucket.put("?object-lock", &[], wrong.as_bytes()).await;
        refused(set, 400, "MalformedXML").await;
    }
    let suspend = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let suspended = bucket.put("?versioning", &[], suspend).await;
    refused(suspended, 409, "InvalidBucketState").await;
}

#[tokio::test]
async fn a_bucket_without_object_lock_locks_nothing() {
    let bucket = Bucket::new().await;
    let locks = [(MODE, "COMPLIANCE"), (UNTIL, LATER), MD5];
    let put = bucket.put("/k", &locks, b"body").await;
    refused(put, 400, "InvalidRequest").await;
    bucket.put("/k", &[], b"body").await;
    for path in ["/k?retention", "/k?legal-hold"] {
        refused(bucket.get(path).await, 400, "InvalidRequest").await;
    }
    let none = bucket.get("?object-lock").await;
    refused(none, 404, "ObjectLockConfigurationNotFoundError").await;
    let bypassed = bucket.send("DELETE", "/k", &[BYPASS], b"").await;
    refused(bypassed, 400, "InvalidArgument").await;
    let lock = b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
          </ObjectLockConfiguration>";
    let unversioned = bucket.put("?object-lock", &[], lock).await;
    refused(unversioned, 409, "InvalidBucketState").await;
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    bucket.put("?versioning", &[], enabled).await;
    let nothing = bucket.put("?object-lock", &[], b"").await;
    refused(nothing, 400, "MissingRequestBodyError").await;
    assert_eq!(bucket.put("?object-lock", &[], lock).await.status(), 200);
    assert_eq!(bucket.put("/k", &locks, b"body").await.status(), 200);
}

#[tokio::test]
async fn half_a_lock_is_refused_and_so_is_one_on_unchecked_bytes() {
    let bucket = locked().await;
    for (headers, code) in [
        (vec![(MODE, "COMPLIANCE"), MD5], "InvalidArgument"),
        (vec![(UNTIL, LATER), MD5], "InvalidArgument"),
        (
            vec![(MODE, "FOREVER"), (UNTIL, LATER), MD5],
            "InvalidArgument",
        ),
        (
            vec![(MODE, "COMPLIANCE"), (UNTIL, "2025-12-25T16:04:18Z"), MD5],
            "InvalidArgument",
        ),
        (vec![(HOLD, "on"), MD5], "InvalidArgument"),
        (vec![(HOLD, "ON")], "InvalidRequest"),
    ] {
        let put = bucket.put("/k", &headers, b"body").await;
        refused(put, 400, code).await;
    }
    refused(bucket.get("/k").await, 404, "NoSuchKey").await;
}
