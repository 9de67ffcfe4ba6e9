//! Ownership, access lists, blocks of public access and encryption of a bucket.

use crate::edge_s3::uploads::{Bucket, element, refused};

const PUBLIC: (&str, &str) = ("x-amz-acl", "public-read");

fn ownership(name: &str) -> Vec<u8> {
    let xml = format!(
        "<OwnershipControls><Rule><ObjectOwnership>{name}</ObjectOwnership></Rule>\
         </OwnershipControls>"
    );
    xml.into_bytes()
}

#[tokio::test]
async fn a_new_bucket_takes_no_access_lists() {
    let bucket = Bucket::new().await;
    let told = bucket.get("?ownershipControls").await.text().await.unwrap();
    assert_eq!(element(&told, "ObjectOwnership"), "BucketOwnerEnforced");
    const REFUSED: &str = "AccessControlListNotSupported";
    refused(bucket.put("/k", &[PUBLIC], b"x").await, 400, REFUSED).await;
    let private = [("x-amz-acl", "private")];
    refused(bucket.put("/k", &private, b"x").await, 400, REFUSED).await;
    let granted = [("x-amz-grant-read", "id=1")];
    refused(bucket.put("/k", &granted, b"x").await, 400, REFUSED).await;
    refused(bucket.put("?acl", &[PUBLIC], b"").await, 400, REFUSED).await;
    let owners = [("x-amz-acl", "bucket-owner-full-control")];
    assert_eq!(bucket.put("/k", &owners, b"x").await.status(), 200);
    refused(bucket.put("/k?acl", &[PUBLIC], b"").await, 400, REFUSED).await;
    let told = bucket.get("/k?acl").await.text().await.unwrap();
    assert_eq!(told.matches("<Grant>").count(), 1, "{told}");
    assert_eq!(element(&told, "Permission"), "FULL_CONTROL");
    let other = bucket.put("/../other", &[PUBLIC], b"").await;
    refused(other, 400, "InvalidBucketAclWithObjectOwnership").await;
}

#[tokio::test]
async fn a_canned_list_is_answered_where_lists_are_allowed_and_public_ones_not_blocked() {
    let bucket = Bucket::new().await;
    let writers = ownership("ObjectWriter");
    let set = bucket.put("?ownershipControls", &[], &writers).await;
    assert_eq!(set.status(), 200);
    refused(bucket.put("/k", &[PUBLIC], b"x").await, 403, "AccessDenied").await;
    let unblocked = bucket.send("DELETE", "?publicAccessBlock", &[], b"").await;
    assert_eq!(unblocked.status(), 204);
    assert_eq!(bucket.put("/k", &[PUBLIC], b"x").await.status(), 200);
    let told = bucket.get("/k?acl").await.text().await.unwrap();
    assert_eq!(told.matches("<Grant>").count(), 2, "{told}");
    assert!(told.contains("/groups/global/AllUsers</URI>"), "{told}");
    let private = [("x-amz-acl", "private")];
    assert_eq!(bucket.put("/k?acl", &private, b"").await.status(), 200);
    let told = bucket.get("/k?acl").await.text().await.unwrap();
    assert_eq!(told.matches("<Grant>").count(), 1, "{told}");
    let both = [PUBLIC, ("x-amz-grant-read", "id=1")];
    refused(
        bucket.put("/k?acl", &both, b"").await,
        400,
        "InvalidRequest",
    )
    .await;
    // Who would be kept out, nobody here keeps out.
    let one = [("x-amz-grant-read", "id=1")];
    refused(bucket.put("/k?acl", &one, b"").await, 501, "NotImplemented").await;
    let unknown = [("x-amz-acl", "public")];
    refused(
        bucket.put("/k", &unknown, b"x").await,
        400,
        "InvalidArgument",
    )
    .await;
    let written = [("x-amz-acl", "public-read-write")];
    assert_eq!(bucket.put("?acl", &written, b"").await.status(), 200);
    let told = bucket.get("?acl").await.text().await.unwrap();
    assert_eq!(told.matches("<Grant>").count(), 3, "{told}");
}

#[tokio::test]
async fn ownership_and_blocks_are_set_answered_and_deleted() {
    let bucket = Bucket::made_with(&[("x-amz-object-ownership", "BucketOwnerPreferred")]).await;
    let told = bucket.get("?ownershipControls").await.text().await.unwrap();
    assert_eq!(element(&told, "ObjectOwnership"), "BucketOwnerPreferred");
    let wrong = ownership("Nobody");
    let set = bucket.put("?ownershipControls", &[], &wrong).await;
    refused(set, 400, "MalformedXML").await;
    let none = bucket
        .put("?ownershipControls", &[], b"<OwnershipControls/>")
        .await;
    let body = refused(none, 400, "MalformedXML").await;
    assert!(element(&body, "Message").starts_with("The XML you provided"));
    let nobody = bucket
        .put("/../other", &[("x-amz-object-ownership", "")], b"")
        .await;
    let body = refused(nobody, 400, "InvalidArgument").await;
    assert_eq!(element(&body, "ArgumentName"), "x-amz-object-ownership");
    let gone = bucket.send("DELETE", "?ownershipControls", &[], b"").await;
    assert_eq!(gone.status(), 204);
    let none = bucket.get("?ownershipControls").await;
    refused(none, 404, "OwnershipControlsNotFoundError").await;
    let told = bucket.get("?publicAccessBlock").await.text().await.unwrap();
    assert_eq!(told.matches(">true<").count(), 4, "{told}");
    let block = b"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>\
        </PublicAccessBlockConfiguration>";
    assert_eq!(
        bucket.put("?publicAccessBlock", &[], block).await.status(),
        200
    );
    let told = bucket.get("?publicAccessBlock").await.text().await.unwrap();
    assert_eq!(told.matches(">false<").count(), 3, "{told}");
    bucket.send("DELETE", "?publicAccessBlock", &[], b"").await;
    let none = bucket.get("?publicAccessBlock").await;
    refused(none, 404, "NoSuchPublicAccessBlockConfiguration").await;
}

#[tokio::test]
async fn a_bucket_is_encrypted_as_every_one_is_and_not_otherwise() {
    let bucket = Bucket::new().await;
    let encryption = |default: &str| {
        let xml = format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
             {default}</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true\
             </BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
        );
        xml.into_bytes()
    };
    let told = bucket.get("?encryption").await.text().await.unwrap();
    assert_eq!(element(&told, "SSEAlgorithm"), "AES256");
    assert_eq!(element(&told, "BucketKeyEnabled"), "false");
    let aes = encryption("<SSEAlgorithm>AES256</SSEAlgorithm>");
    assert_eq!(bucket.put("?encryption", &[], &aes).await.status(), 200);
    let told = bucket.get("?encryption").await.text().await.unwrap();
    assert_eq!(element(&told, "BucketKeyEnabled"), "true");
    for (default, status, code) in [
        (
            "<SSEAlgorithm>aws:kms</SSEAlgorithm>",
            501,
            "NotImplemented",
        ),
        ("<SSEAlgorithm>rot13</SSEAlgorithm>", 400, "MalformedXML"),
        (
            "<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>",
            400,
            "InvalidArgument",
        ),
    ] {
        let set = bucket.put("?encryption", &[], &encryption(default)).await;
        refused(set, status, code).await;
    }
    assert_eq!(
        bucket
            .send("DELETE", "?encryption", &[], b"")
            .await
            .status(),
        204
    );
    let told = bucket.get("?encryption").await.text().await.unwrap();
    assert_eq!(element(&told, "SSEAlgorithm"), "AES256");
    assert_eq!(element(&told, "BucketKeyEnabled"), "false");
}
