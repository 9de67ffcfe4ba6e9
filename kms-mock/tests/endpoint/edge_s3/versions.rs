//! Versions of objects: what a rollback meets, and how it is undone.

use crate::edge_s3::uploads::{Bucket, element, refused};

const ENABLED: &[u8] =
    b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const SUSPENDED: &[u8] =
    b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";

async fn versioned() -> Bucket {
    let bucket = Bucket::new().await;
    let before = bucket.get("?versioning").await.text().await.unwrap();
    assert!(!before.contains("<Status>"), "{before}");
    let set = bucket.put("?versioning", &[], ENABLED).await;
    assert_eq!(set.status(), 200);
    let after = bucket.get("?versioning").await.text().await.unwrap();
    assert_eq!(element(&after, "Status"), "Enabled");
    bucket
}

async fn put(bucket: &Bucket, key: &str, body: &str) -> String {
    let put = bucket.put(&format!("/{key}"), &[], body.as_bytes()).await;
    assert_eq!(put.status(), 200);
    let id = put.headers()["x-amz-version-id"].to_str().unwrap();
    id.to_owned()
}

#[tokio::test]
async fn an_earlier_version_is_fetched_by_its_id_and_the_newest_without() {
    let bucket = versioned().await;
    let first = put(&bucket, "k", "first").await;
    let second = put(&bucket, "k", "second").await;
    assert_ne!(first, second);
    let newest = bucket.get("/k").await;
    assert_eq!(newest.headers()["x-amz-version-id"], second.as_str());
    assert_eq!(newest.text().await.unwrap(), "second");
    let old = bucket.get(&format!("/k?versionId={first}")).await;
    assert_eq!(old.headers()["x-amz-version-id"], first.as_str());
    assert_eq!(old.text().await.unwrap(), "first");
    let none = put(&bucket, "k", "gone").await;
    let path = format!("/k?versionId={none}");
    assert_eq!(bucket.send("DELETE", &path, &[], b"").await.status(), 204);
    let unknown = bucket.get(&path).await;
    let body = refused(unknown, 404, "NoSuchVersion").await;
    assert_eq!(element(&body, "VersionId"), none);
    // Deleting it again is no error, deleting what never was is one.
    assert_eq!(bucket.send("DELETE", &path, &[], b"").await.status(), 204);
    let never = format!("{}ABCD", &none[..28]);
    for id in ["first", &never] {
        let path = format!("/k?versionId={id}");
        for method in ["GET", "DELETE"] {
            let malformed = bucket.send(method, &path, &[], b"").await;
            let body = refused(malformed, 400, "InvalidArgument").await;
            assert_eq!(element(&body, "ArgumentValue"), id);
        }
        let one = format!("<Object><Key>k</Key><VersionId>{id}</VersionId></Object>");
        let many = format!("<Delete>{one}</Delete>");
        let many = bucket.send("POST", "?delete", &[], many.as_bytes()).await;
        let answer = many.text().await.unwrap();
        assert_eq!(element(&answer, "Code"), "NoSuchVersion");
    }
    // A copy of the old version is how a rollback is done.
    let source = format!("b-1/k?versionId={first}");
    let copied = bucket
        .put("/k", &[("x-amz-copy-source", &source)], b"")
        .await;
    assert_eq!(copied.status(), 200);
    assert_eq!(
        copied.headers()["x-amz-copy-source-version-id"],
        first.as_str()
    );
    assert_eq!(bucket.get("/k").await.text().await.unwrap(), "first");
}

#[tokio::test]
async fn a_deleted_object_is_hidden_by_a_marker_and_comes_back_without_it() {
    let bucket = versioned().await;
    let id = put(&bucket, "k", "body").await;
    let deleted = bucket.send("DELETE", "/k", &[], b"").await;
    assert_eq!(deleted.status(), 204);
    assert_eq!(deleted.headers()["x-amz-delete-marker"], "true");
    let marker = deleted.headers()["x-amz-version-id"].to_str().unwrap();
    let hidden = bucket.get("/k").await;
    assert_eq!(hidden.headers()["x-amz-delete-marker"], "true");
    refused(hidden, 404, "NoSuchKey").await;
    let of_marker = bucket.get(&format!("/k?versionId={marker}")).await;
    assert_eq!(of_marker.headers()["allow"], "DELETE");
    refused(of_marker, 405, "MethodNotAllowed").await;
    let listed = bucket.get("?list-type=2").await.text().await.unwrap();
    assert!(!listed.contains("<Contents>"), "{listed}");
    let versions = bucket.get("?versions").await.text().await.unwrap();
    assert_eq!(versions.matches("<Version>").count(), 1, "{versions}");
    assert_eq!(versions.matches("<DeleteMarker>").count(), 1, "{versions}");
    let not_empty = bucket.send("DELETE", "", &[], b"").await;
    let body = refused(not_empty, 409, "BucketNotEmpty").await;
    assert!(
        body.contains("You must delete all versions in the bucket."),
        "{body}"
    );
    let undone = bucket
        .send("DELETE", &format!("/k?versionId={marker}"), &[], b"")
        .await;
    assert_eq!(undone.headers()["x-amz-delete-marker"], "true");
    assert_eq!(bucket.get("/k").await.text().await.unwrap(), "body");
    let gone = bucket
        .send("DELETE", &format!("/k?versionId={id}"), &[], b"")
        .await;
    assert!(!gone.headers().contains_key("x-amz-delete-marker"));
    assert_eq!(gone.headers()["x-amz-version-id"], id.as_str());
    assert_eq!(bucket.send("DELETE", "", &[], b"").await.status(), 204);
}

#[tokio::test]
async fn suspended_versioning_keeps_what_there_was() {
    let bucket = versioned().await;
    let kept = put(&bucket, "k", "kept").await;
    bucket.put("?versioning", &[], SUSPENDED).await;
    for body in ["null 1", "null 2"] {
        let put = bucket.put("/k", &[], body.as_bytes()).await;
        assert_eq!(put.status(), 200);
        assert!(!put.headers().contains_key("x-amz-version-id"));
    }
    let versions = bucket.get("?versions").await.text().await.unwrap();
    assert_eq!(versions.matches("<Version>").count(), 2, "{versions}");
    let old = bucket.get(&format!("/k?versionId={kept}")).await;
    assert_eq!(old.text().await.unwrap(), "kept");
    let null = bucket.get("/k?versionId=null").await;
    assert_eq!(null.text().await.unwrap(), "null 2");
}

#[tokio::test]
async fn a_bucket_without_versions_names_none() {
    let bucket = Bucket::new().await;
    let made = bucket.put("/k", &[], b"1").await;
    assert!(!made.headers().contains_key("x-amz-version-id"));
    let got = bucket.get("/k").await;
    assert!(!got.headers().contains_key("x-amz-version-id"));
    bucket.put("/k", &[], b"2").await;
    let versions = bucket.get("?versions").await.text().await.unwrap();
    assert_eq!(element(&versions, "VersionId"), "null");
    assert_eq!(versions.matches("<Version>").count(), 1, "{versions}");
    let deleted = bucket.send("DELETE", "/k", &[], b"").await;
    assert!(!deleted.headers().contains_key("x-amz-delete-marker"));
    let versions = bucket.get("?versions").await.text().await.unwrap();
    assert!(!versions.contains("<DeleteMarker>"), "{versions}");
}

#[tokio::test]
async fn a_delete_marker_has_no_tags_and_an_absent_key_is_named_with_its_bucket() {
    let bucket = versioned().await;
    put(&bucket, "k", "1").await;
    bucket.send("DELETE", "/k", &[], b"").await;
    let tagging = b"<Tagging><TagSet/></Tagging>";
    for method in ["GET", "PUT", "DELETE"] {
        let marked = bucket.send(method, "/k?tagging", &[], tagging).await;
        let body = refused(marked, 405, "MethodNotAllowed").await;
        assert_eq!(element(&body, "Method"), method);
    }
    let body = refused(bucket.get("/none?tagging").await, 404, "NoSuchKey").await;
    assert_eq!(element(&body, "Key"), "b-1/none");
    let untagged = bucket.send("DELETE", "/none?tagging", &[], b"").await;
    let body = refused(untagged, 404, "NoSuchKey").await;
    assert_eq!(element(&body, "Key"), "none");
    let lower = b"<VersioningConfiguration><Status>enabled</Status></VersioningConfiguration>";
    let set = bucket.put("?versioning", &[], lower).await;
    refused(set, 400, "MalformedXML").await;
}

#[tokio::test]
async fn tags_belong_to_a_version_and_to_a_bucket() {
    let bucket = versioned().await;
    let first = bucket.put("/k", &[("x-amz-tagging", "a=1")], b"1").await;
    let first = first.headers()["x-amz-version-id"]
        .to_str()
        .unwrap()
        .to_owned();
    put(&bucket, "k", "2").await;
    let tagging = b"<Tagging><TagSet><Tag><Key>b</Key><Value>2</Value></Tag></TagSet></Tagging>";
    let tagged = bucket.put("/k?tagging", &[], tagging).await;
    assert_eq!(tagged.status(), 200);
    let newest = bucket.get("/k?tagging").await.text().await.unwrap();
    assert_eq!(element(&newest, "Key"), "b");
    let old = bucket.get(&format!("/k?tagging&versionId={first}")).await;
    assert_eq!(element(&old.text().await.unwrap(), "Key"), "a");
    assert_eq!(bucket.get("/k").await.headers()["x-amz-tagging-count"], "1");
    let removed = bucket.send("DELETE", "/k?tagging", &[], b"").await;
    assert_eq!(removed.status(), 204);
    let none = bucket.get("/k?tagging").await.text().await.unwrap();
    assert!(!none.contains("<Tag>"), "{none}");
    refused(bucket.get("?tagging").await, 404, "NoSuchTagSet").await;
    assert_eq!(bucket.put("?tagging", &[], tagging).await.status(), 204);
    let of_bucket = bucket.get("?tagging").await.text().await.unwrap();
    assert_eq!(element(&of_bucket, "Value"), "2");
}
