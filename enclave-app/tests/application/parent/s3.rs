//! The S3 client against an HTTP server that records and can misbehave.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_credential_types::Credentials;
use enclave_app::{
    clock::{Clock, SystemClock},
    job::StoredObject,
    parent::{
        credentials::CredentialSource,
        s3::{Endpoint, ObjectStore, S3Client, S3Error, S3Limits},
    },
};
use serde_bytes::ByteBuf;

use crate::parent::doubles::{ACCESS_KEY, S3Double, SECRET_KEY, Scripted, object};

pub(crate) fn client_of(url: &str, token: Option<&str>) -> S3Client {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let credentials = Credentials::from_keys(ACCESS_KEY, SECRET_KEY, token.map(Into::into));
    S3Client::new(
        Endpoint::parse(url).unwrap(),
        "eu-west-1",
        Arc::new(CredentialSource::fixed(credentials, Arc::clone(&clock))),
        clock,
        S3Limits {
            pause_first: Duration::ZERO,
            ..S3Limits::default()
        },
        None,
    )
    .unwrap()
}

#[tokio::test]
async fn an_object_and_its_metadata_come_back_as_they_were_stored() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), None);
    let key = "a b/ü+(1)'~!*=?.dcm";
    let mut sent = object(&[0, 255, 13, 10, 0]);
    sent.metadata
        .insert("x-amz-t".into(), r#"{"a":"b  c"}"#.into());
    client.put("images", key, sent.clone()).await.unwrap();
    assert_eq!(client.get("images", key, 5).await.unwrap(), sent);
    assert_eq!(
        s3.seen()[0].path,
        "/images/a%20b/%C3%BC%2B%281%29%27~%21%2A%3D%3F.dcm"
    );
    assert!(client.exists("images", key).await.unwrap());
    client.delete("images", key).await.unwrap();
    assert!(!client.exists("images", key).await.unwrap());
    assert!(s3.paths().is_empty());
}

#[tokio::test]
async fn every_request_is_signed_over_all_that_matters() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), Some("session token"));
    client.put("images", "a b", object(b"body")).await.unwrap();
    client.get("images", "a b", 100).await.unwrap();
    client.exists("images", "a b").await.unwrap();
    client.delete("images", "a b").await.unwrap();
    let seen = s3.seen();
    assert_eq!(seen.len(), 4);
    for request in &seen {
        assert!(request.signature_verifies(), "{request:?}");
        assert_eq!(request.headers["x-amz-security-token"], "session token");
        assert!(request.headers["authorization"].contains("/eu-west-1/s3/aws4_request"));
    }
    let mut changed = seen[0].clone();
    changed
        .headers
        .insert("x-amz-meta-x-amz-c".into(), "2".into());
    assert!(
        !changed.signature_verifies(),
        "the double's own check notices nothing"
    );
}

#[tokio::test]
async fn an_error_has_the_code_and_message_of_s3() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), None);
    let error = client.get("images", "missing", 100).await.unwrap_err();
    let text = error.to_string();
    for part in [
        "NoSuchKey",
        "The specified key does not exist.",
        "s3://images/missing",
        "404",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains(SECRET_KEY));
}

#[tokio::test]
async fn an_error_without_a_document_still_has_a_code() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), None);
    s3.next_answers([
        Scripted::Answer(403, ""),
        Scripted::Answer(301, "<html>moved</html>"),
    ]);
    let denied = client.get("images", "a", 100).await.unwrap_err();
    assert!(matches!(&denied, S3Error::Refused { code, .. } if code == "AccessDenied"));
    let moved = client.get("images", "a", 100).await.unwrap_err();
    assert!(moved.to_string().contains("another Region"), "{moved}");
    assert_eq!(s3.seen().len(), 2, "a redirect was followed");
}

#[tokio::test]
async fn an_object_beyond_the_bound_is_cut_off_announced_or_not() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), None);
    s3.store("/images/big", object(&[0; 101]));
    assert!(matches!(
        client.get("images", "big", 100).await,
        Err(S3Error::TooLarge { bytes_max: 100, .. })
    ));
    assert!(client.get("images", "big", 101).await.is_ok());
    s3.next_answers([Scripted::Endless(10_000_000)]);
    assert!(matches!(
        client.get("images", "big", 100_000).await,
        Err(S3Error::TooLarge {
            bytes_max: 100_000,
            ..
        })
    ));
}

#[tokio::test]
async fn a_transient_fault_is_tried_again_and_a_lasting_one_reported() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), None);
    s3.store("/images/a", object(b"body"));
    s3.next_answers([Scripted::Answer(
        503,
        "<Error><Code>SlowDown</Code></Error>",
    )]);
    assert_eq!(
        client.get("images", "a", 100).await.unwrap(),
        object(b"body")
    );
    assert_eq!(s3.seen().len(), 2);

    s3.next_answers((0..3).map(|_| Scripted::Answer(503, "<Error><Code>SlowDown</Code></Error>")));
    let error = client.get("images", "a", 100).await.unwrap_err();
    assert!(matches!(&error, S3Error::Refused { code, .. } if code == "SlowDown"));
    assert_eq!(s3.seen().len(), 5, "not bounded to three attempts");
}

#[tokio::test]
async fn a_put_that_may_have_taken_effect_says_so() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), None);
    s3.next_answers([
        Scripted::HangUpAfterwards,
        Scripted::Answer(403, "<Error><Code>AccessDenied</Code></Error>"),
    ]);
    let error = client
        .put("images", "a", object(b"body"))
        .await
        .unwrap_err();
    assert!(matches!(error, S3Error::Refused { .. }), "{error:?}");
    assert!(error.outcome_unknown());
    assert!(s3.stored("/images/a").is_some());

    s3.next_answers([Scripted::Answer(
        403,
        "<Error><Code>AccessDenied</Code></Error>",
    )]);
    let error = client
        .put("images", "b", object(b"body"))
        .await
        .unwrap_err();
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_one_clear_error() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let error = client_of(&url, None)
        .get("images", "a", 100)
        .await
        .unwrap_err();
    assert!(matches!(error, S3Error::Unreachable { .. }) && !error.outcome_unknown());
    let text = error.to_string();
    assert!(
        text.contains(&url) && text.to_lowercase().contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn metadata_that_no_header_carries_is_refused_before_anything_is_sent() {
    let s3 = S3Double::start().await;
    let client = client_of(&s3.url(), None);
    for (name, value) in [
        ("a", "line\nbreak"),
        ("a", "ü"),
        ("a", " edge"),
        ("a b", "x"),
        ("", "x"),
        ("a:", "x"),
    ] {
        let bad = StoredObject {
            metadata: BTreeMap::from([(name.into(), value.into())]),
            body: ByteBuf::new(),
        };
        assert!(
            matches!(
                client.put("images", "a", bad).await,
                Err(S3Error::Metadata { .. })
            ),
            "sent {name:?}: {value:?}"
        );
    }
    assert!(s3.seen().is_empty());
}
