//! Uploads in parts, and copies, over HTTP as SDKs make them.

use kms_mock::KmsMock;
use reqwest::{Client, Response, StatusCode};

use crate::support::builder;

/// A bucket of a world, talked to without signatures.
pub(crate) struct Bucket {
    pub(crate) mock: KmsMock,
    client: Client,
    url: String,
}

impl Bucket {
    pub(crate) async fn new() -> Self {
        Self::made_with(&[]).await
    }

    /// A bucket whose creation has `headers`.
    pub(crate) async fn made_with(headers: &[(&str, &str)]) -> Self {
        let mock = builder().start().await.unwrap();
        let bucket = Self {
            client: Client::new(),
            url: format!("{}/b-1", mock.url()),
            mock,
        };
        assert_eq!(bucket.put("", headers, b"").await.status(), 200);
        bucket
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.to_vec()).send().await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send("PUT", path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"").await
    }

    /// Begins an upload of `key`; its id.
    async fn begin(&self, key: &str, headers: &[(&str, &str)]) -> String {
        let begun = self
            .send("POST", &format!("/{key}?uploads"), headers, b"")
            .await;
        assert_eq!(begun.status(), 200);
        element(&begun.text().await.unwrap(), "UploadId").to_owned()
    }

    /// Uploads a part; its entity tag.
    async fn part(&self, key: &str, id: &str, number: u16, body: &[u8]) -> String {
        let path = format!("/{key}?partNumber={number}&uploadId={id}");
        let sent = self.put(&path, &[], body).await;
        assert_eq!(sent.status(), 200, "part {number}");
        sent.headers()["etag"].to_str().unwrap().to_owned()
    }

    async fn complete(&self, key: &str, id: &str, parts: &[(u16, &str)]) -> Response {
        let path = format!("/{key}?uploadId={id}");
        let body = completion(parts);
        self.send("POST", &path, &[], body.as_bytes()).await
    }
}

/// The text of the first element `name`.
pub(crate) fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| {
        panic!("no {name} in {xml}");
    });
    rest.split_once('<').unwrap().0
}

pub(crate) async fn refused(response: Response, status: u16, code: &str) -> String {
    let got = response.status();
    let body = response.text().await.unwrap();
    assert_eq!(got, status, "{body}");
    assert_eq!(element(&body, "Code"), code, "{body}");
    body
}

fn completion(parts: &[(u16, &str)]) -> String {
    let mut xml = "<CompleteMultipartUpload>".to_owned();
    for (number, etag) in parts {
        xml += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    xml + "</CompleteMultipartUpload>"
}

const MIB_5: usize = 5 * 1024 * 1024;

/// Bytes that differ from place to place.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|i| u8::try_from(i * 31 % 251).unwrap() ^ seed)
        .collect()
}

#[tokio::test]
async fn an_object_uploaded_in_parts_is_their_bytes_in_order() {
    let bucket = Bucket::new().await;
    let metadata = [("x-amz-meta-study", "1.2.3"), ("content-type", "image/png")];
    let id = bucket.begin("k", &metadata).await;
    let (first, second, last) = (pattern(MIB_5, 1), pattern(MIB_5, 2), pattern(1_000, 3));
    // Out of order, with one replaced and one left out.
    let e7 = bucket.part("k", &id, 7, &last).await;
    bucket.part("k", &id, 2, b"replaced").await;
    let e2 = bucket.part("k", &id, 2, &second).await;
    let e1 = bucket.part("k", &id, 1, &first).await;
    bucket.part("k", &id, 9, b"left out").await;
    refused(bucket.get("/k").await, 404, "NoSuchKey").await;

    let done = bucket
        .complete("k", &id, &[(1, &e1), (2, &e2), (7, &e7)])
        .await;
    assert_eq!(done.status(), 200);
    let body = done.text().await.unwrap();
    let etag = element(&body, "ETag").replace("&quot;", "\"");
    assert!(etag.ends_with("-3\""), "{body}");
    assert!(element(&body, "Location").ends_with("/b-1/k"), "{body}");

    let whole = [first, second, last].concat();
    let got = bucket.get("/k").await;
    assert_eq!(got.headers()["etag"], etag.as_str());
    assert_eq!(got.headers()["x-amz-meta-study"], "1.2.3");
    assert_eq!(got.headers()["content-type"], "image/png");
    assert_eq!(
        got.headers()["content-length"],
        whole.len().to_string().as_str()
    );
    assert_eq!(got.bytes().await.unwrap(), whole);
    // A range over the joint of two parts, and a part by its number.
    let (from, to) = (MIB_5 - 2, MIB_5 + 1);
    let range = format!("bytes={from}-{to}");
    let joint = bucket.send("GET", "/k", &[("range", &range)], b"").await;
    assert_eq!(joint.status(), 206);
    assert_eq!(joint.bytes().await.unwrap(), whole[from..=to]);
    let part = bucket.get("/k?partNumber=3").await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["x-amz-mp-parts-count"], "3");
    assert_eq!(part.bytes().await.unwrap(), whole[2 * MIB_5..]);
    refused(
        bucket.get("/k?partNumber=4").await,
        416,
        "InvalidPartNumber",
    )
    .await;

    // Completed again it is the same; given up it cannot be.
    let again = bucket
        .complete("k", &id, &[(1, &e1), (2, &e2), (7, &e7)])
        .await;
    assert_eq!(again.status(), 200);
    let listed = bucket.get("?uploads").await.text().await.unwrap();
    assert!(!listed.contains("<Upload>"), "{listed}");
}

#[tokio::test]
async fn a_completion_that_does_not_fit_what_arrived_changes_nothing() {
    let bucket = Bucket::new().await;
    let id = bucket.begin("k", &[]).await;
    let e1 = bucket.part("k", &id, 1, b"small").await;
    let e2 = bucket.part("k", &id, 2, b"last").await;
    let stranger = "\"00000000000000000000000000000000\"";
    for (parts, code) in [
        (vec![(2, e2.as_str()), (1, e1.as_str())], "InvalidPartOrder"),
        (vec![(1, e1.as_str()), (1, e1.as_str())], "InvalidPartOrder"),
        (vec![(1, stranger)], "InvalidPart"),
        (vec![(3, e1.as_str())], "InvalidPart"),
        (vec![(1, e1.as_str()), (2, e2.as_str())], "EntityTooSmall"),
        (vec![], "MalformedXML"),
    ] {
        let answer = bucket.complete("k", &id, &parts).await;
        let body = refused(answer, 400, code).await;
        match code {
            "InvalidPart" => assert_eq!(element(&body, "UploadId"), id),
            "EntityTooSmall" => {
                assert_eq!(element(&body, "ProposedSize"), "5");
                assert_eq!(element(&body, "MinSizeAllowed"), "5242880");
                assert_eq!(element(&body, "PartNumber"), "1");
            }
            _ => {}
        }
    }
    refused(bucket.get("/k").await, 404, "NoSuchKey").await;
    // The upload is still there.
    let listed = bucket.get(&format!("/k?uploadId={id}")).await;
    let body = listed.text().await.unwrap();
    assert_eq!(body.matches("<Part>").count(), 2, "{body}");
    let one = bucket.complete("k", &id, &[(2, &e2)]).await;
    assert_eq!(one.status(), 200);
    assert_eq!(bucket.get("/k").await.bytes().await.unwrap(), "last");
}

#[tokio::test]
async fn an_unknown_upload_is_refused_as_no_such_upload() {
    let bucket = Bucket::new().await;
    let id = bucket.begin("k", &[]).await;
    let etag = bucket.part("k", &id, 1, b"x").await;
    for number in ["0", "10001", "-1"] {
        let path = format!("/k?partNumber={number}&uploadId={id}");
        refused(bucket.put(&path, &[], b"x").await, 400, "InvalidArgument").await;
    }
    let other_key = bucket.complete("another", &id, &[(1, &etag)]).await;
    refused(other_key, 404, "NoSuchUpload").await;
    let path = format!("/k?uploadId={id}");
    let given_up = bucket.send("DELETE", &path, &[], b"").await;
    assert_eq!(given_up.status(), StatusCode::NO_CONTENT);
    let again = bucket.send("DELETE", &path, &[], b"").await;
    let body = refused(again, 404, "NoSuchUpload").await;
    assert_eq!(element(&body, "UploadId"), id);
    let part = bucket
        .put(&format!("/k?partNumber=1&uploadId={id}"), &[], b"x")
        .await;
    refused(part, 404, "NoSuchUpload").await;
    refused(bucket.get(&path).await, 404, "NoSuchUpload").await;
}

#[tokio::test]
async fn uploads_and_parts_are_listed_in_pages() {
    let bucket = Bucket::new().await;
    let mut ids = Vec::new();
    for key in ["b", "a", "d/1", "d/2"] {
        ids.push((key, bucket.begin(key, &[]).await));
    }
    let all = bucket.get("?uploads").await.text().await.unwrap();
    let at = |key: &str| all.find(&format!("<Key>{key}</Key>")).unwrap();
    assert!(at("a") < at("b") && at("b") < at("d/1") && at("d/1") < at("d/2"));
    let grouped = bucket
        .get("?uploads&delimiter=/")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(grouped.matches("<Upload>").count(), 2, "{grouped}");
    assert!(grouped.contains("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>"));
    let first = bucket
        .get("?uploads&max-uploads=1")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(element(&first, "IsTruncated"), "true");
    let (key, id) = (
        element(&first, "NextKeyMarker"),
        element(&first, "NextUploadIdMarker"),
    );
    let rest = bucket
        .get(&format!("?uploads&key-marker={key}&upload-id-marker={id}"))
        .await;
    let rest = rest.text().await.unwrap();
    assert_eq!(rest.matches("<Upload>").count(), 3, "{rest}");

    let (key, id) = &ids[0];
    for number in 1..=3 {
        bucket.part(key, id, number, b"x").await;
    }
    let page = bucket
        .get(&format!("/{key}?uploadId={id}&max-parts=2"))
        .await;
    let page = page.text().await.unwrap();
    assert_eq!(page.matches("<Part>").count(), 2, "{page}");
    assert_eq!(element(&page, "NextPartNumberMarker"), "2");
    let page = bucket
        .get(&format!("/{key}?uploadId={id}&part-number-marker=2"))
        .await;
    let page = page.text().await.unwrap();
    assert_eq!(element(&page, "PartNumber"), "3", "{page}");
    assert_eq!(element(&page, "IsTruncated"), "false");
}

#[tokio::test]
async fn the_checksum_of_a_multipart_object_is_of_the_kind_that_was_chosen() {
    let bucket = Bucket::new().await;
    let refuse = [
        (&[("x-amz-checksum-algorithm", "MD5")][..], "InvalidRequest"),
        (
            &[("x-amz-checksum-type", "COMPOSITE")][..],
            "InvalidRequest",
        ),
        (
            &[
                ("x-amz-checksum-algorithm", "SHA256"),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ][..],
            "InvalidRequest",
        ),
    ];
    for (headers, code) in refuse {
        let begun = bucket.send("POST", "/k?uploads", headers, b"").await;
        refused(begun, 400, code).await;
    }
    let mode = [("x-amz-checksum-mode", "ENABLED")];
    for (algorithm, of, header, sum) in [
        // Computed with Python's zlib and hashlib.
        ("CRC32", "COMPOSITE", "x-amz-checksum-crc32", "dYPmEQ==-2"),
        ("CRC32", "FULL_OBJECT", "x-amz-checksum-crc32", "rBxv8Q=="),
        (
            "SHA256",
            "COMPOSITE",
            "x-amz-checksum-sha256",
            "tfmzeY9XeH2OXmxrtS4iDWlNIKUTAFv0/csHs2lsoD8=-2",
        ),
    ] {
        let choose = [
            ("x-amz-checksum-algorithm", algorithm),
            ("x-amz-checksum-type", of),
        ];
        let id = bucket.begin("k", &choose).await;
        let e1 = bucket.part("k", &id, 1, &[b'a'; MIB_5]).await;
        let e2 = bucket.part("k", &id, 2, b"b").await;
        let done = bucket.complete("k", &id, &[(1, &e1), (2, &e2)]).await;
        assert_eq!(done.status(), 200, "{algorithm} {of}");
        let head = bucket.send("HEAD", "/k", &mode, b"").await;
        assert_eq!(head.headers()[header], sum, "{algorithm} {of}");
        assert_eq!(head.headers()["x-amz-checksum-type"], of);
    }
}

#[tokio::test]
async fn a_part_with_a_wrong_checksum_is_not_kept() {
    let bucket = Bucket::new().await;
    let id = bucket
        .begin("k", &[("x-amz-checksum-algorithm", "CRC32")])
        .await;
    let path = format!("/k?partNumber=1&uploadId={id}");
    for (header, value, code) in [
        ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==", "BadDigest"),
        // What was chosen is a CRC32.
        ("x-amz-checksum-crc32c", "AAAAAA==", "InvalidRequest"),
    ] {
        let sent = bucket.put(&path, &[(header, value)], b"part").await;
        refused(sent, 400, code).await;
    }
    let listed = bucket.get(&format!("/k?uploadId={id}")).await;
    assert!(!listed.text().await.unwrap().contains("<Part>"));
}

#[tokio::test]
async fn a_part_is_copied_from_an_object_or_a_range_of_one() {
    let bucket = Bucket::new().await;
    bucket.put("/source", &[], b"0123456789").await;
    let id = bucket.begin("k", &[]).await;
    let path = format!("/k?partNumber=1&uploadId={id}");
    let source = ("x-amz-copy-source", "b-1/source");
    for range in ["0-3", "bytes=3-1", "bytes=5-10", "bytes=-3"] {
        let headers = [source, ("x-amz-copy-source-range", range)];
        refused(
            bucket.put(&path, &headers, b"").await,
            400,
            "InvalidArgument",
        )
        .await;
    }
    let headers = [source, ("x-amz-copy-source-range", "bytes=2-4")];
    let copied = bucket.put(&path, &headers, b"").await;
    assert_eq!(copied.status(), 200);
    let etag = element(&copied.text().await.unwrap(), "ETag").replace("&quot;", "\"");
    let done = bucket.complete("k", &id, &[(1, &etag)]).await;
    assert_eq!(done.status(), 200);
    assert_eq!(bucket.get("/k").await.bytes().await.unwrap(), "234");
}

#[tokio::test]
async fn a_write_on_a_condition_happens_only_if_it_holds() {
    let bucket = Bucket::new().await;
    let absent = [("if-none-match", "*")];
    let made = bucket.put("/k", &absent, b"1").await;
    assert_eq!(made.status(), 200);
    let etag = made.headers()["etag"].to_str().unwrap().to_owned();
    let body = refused(
        bucket.put("/k", &absent, b"2").await,
        412,
        "PreconditionFailed",
    )
    .await;
    assert_eq!(element(&body, "Condition"), "If-None-Match");
    let other = [("if-match", "\"other\"")];
    refused(
        bucket.put("/k", &other, b"2").await,
        412,
        "PreconditionFailed",
    )
    .await;
    refused(bucket.put("/none", &other, b"2").await, 404, "NoSuchKey").await;
    let not_here = [("if-none-match", etag.as_str())];
    refused(
        bucket.put("/k", &not_here, b"2").await,
        501,
        "NotImplemented",
    )
    .await;
    assert_eq!(bucket.get("/k").await.bytes().await.unwrap(), "1");
    // S3 takes an entity tag without quotes too.
    let bare = etag.trim_matches('"');
    let changed = bucket.put("/k", &[("if-match", bare)], b"2").await;
    assert_eq!(changed.status(), 200);
    // A completion is a write like another.
    let id = bucket.begin("k", &[]).await;
    let part = bucket.part("k", &id, 1, b"3").await;
    let path = format!("/k?uploadId={id}");
    let body = completion(&[(1, &part)]);
    let refusal = bucket.send("POST", &path, &absent, body.as_bytes()).await;
    refused(refusal, 412, "PreconditionFailed").await;
    assert_eq!(bucket.get("/k").await.bytes().await.unwrap(), "2");
}

#[tokio::test]
async fn what_would_only_be_claimed_is_refused() {
    let bucket = Bucket::new().await;
    for headers in [
        [("x-amz-server-side-encryption", "aws:kms")],
        [("x-amz-server-side-encryption-customer-algorithm", "AES256")],
        [("x-amz-storage-class", "DEEP_ARCHIVE")],
    ] {
        let put = bucket.put("/k", &headers, b"x").await;
        refused(put, 501, "NotImplemented").await;
        let begun = bucket.send("POST", "/k?uploads", &headers, b"").await;
        refused(begun, 501, "NotImplemented").await;
    }
    refused(bucket.get("/k").await, 404, "NoSuchKey").await;
}

#[tokio::test]
async fn a_read_or_copy_on_a_date_looks_at_dates_that_have_been() {
    let bucket = Bucket::new().await;
    bucket.put("/k", &[], b"1").await;
    // The world stands at the second in which the object was made.
    let (now, before, after) = (
        "Thu, 25 Dec 2025 16:04:18 GMT",
        "Thu, 25 Dec 2025 16:04:17 GMT",
        "Thu, 25 Dec 2025 16:04:19 GMT",
    );
    for (header, date, status) in [
        ("if-modified-since", now, 304),
        ("if-modified-since", before, 200),
        ("if-modified-since", after, 200),
        ("if-unmodified-since", now, 200),
        ("if-unmodified-since", before, 412),
        ("if-unmodified-since", after, 200),
    ] {
        let got = bucket.send("GET", "/k", &[(header, date)], b"").await;
        assert_eq!(got.status(), status, "{header}: {date}");
        let on_source = format!("x-amz-copy-source-{header}");
        let headers = [("x-amz-copy-source", "b-1/k"), (&on_source, date)];
        let copied = bucket.put("/copy", &headers, b"").await;
        let expected = if status == 304 { 412 } else { status };
        assert_eq!(copied.status(), expected, "{on_source}: {date}");
    }
}

#[tokio::test]
async fn a_conditional_completion_fails_if_the_key_changed_during_the_upload() {
    let bucket = Bucket::new().await;
    let second = std::time::Duration::from_secs(1);
    let etag = bucket.put("/k", &[], b"same").await.headers()["etag"].clone();
    let matches = [("if-match", etag.to_str().unwrap())];
    let absent = [("if-none-match", "*")];
    let finish = async |id: &str, condition: &[(&str, &str)]| {
        let part = bucket.part("k", id, 1, b"part").await;
        let path = format!("/k?uploadId={id}");
        let body = completion(&[(1, &part)]);
        bucket.send("POST", &path, condition, body.as_bytes()).await
    };
    bucket.mock.clock().advance(second);
    let put_during = bucket.begin("k", &[]).await;
    let gone_during = bucket.begin("k", &[]).await;
    bucket.mock.clock().advance(second);
    bucket.put("/k", &[], b"same").await;
    let conflict = finish(&put_during, &matches).await;
    let body = refused(conflict, 409, "ConditionalRequestConflict").await;
    assert_eq!(element(&body, "Condition"), "If-Match");
    assert_eq!(element(&body, "Key"), "k");
    bucket.send("DELETE", "/k", &[], b"").await;
    let conflict = finish(&gone_during, &absent).await;
    let body = refused(conflict, 409, "ConditionalRequestConflict").await;
    assert_eq!(element(&body, "Condition"), "If-None-Match");
    let none_before = bucket.begin("k", &[]).await;
    assert_eq!(finish(&none_before, &absent).await.status(), 200);
    let both = [matches[0], absent[0]];
    let refusal = bucket.put("/k", &both, b"").await;
    let body = refused(refusal, 501, "NotImplemented").await;
    assert_eq!(element(&body, "Header"), "If-Match,If-None-Match");
}
