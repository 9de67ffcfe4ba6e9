//! boto3 against the server: every operation of KMS, and STS, IAM and S3, once
//! as a developer's machine calls it and once with everything verified.

use crate::clients::{Surroundings, cases, python};
use kms_mock::{Auth, KmsMock};

const SCRIPT: &str = "boto3_client.py";
/// Two cases are about boto3 alone: presigned URLs and files of many parts.
const CASES: usize = crate::clients::CASES + 2;

#[tokio::test]
async fn boto3_drives_the_server_with_nothing_but_the_endpoint_set() {
    let Some(python) = python().await else { return };
    let mock = KmsMock::builder().start().await.unwrap();
    let root = Surroundings::root(&mock);
    let count = cases::<&str>(&python, SCRIPT, &[], &root).await;
    assert_eq!(count.total(), CASES, "{count:?}");
    assert!(count.passed > crate::clients::PASSED_MIN, "{count:?}");
}

#[tokio::test]
async fn boto3_drives_the_strict_server_over_tls() {
    let Some(python) = python().await else { return };
    let strict = KmsMock::builder().auth(Auth::Strict).start().await.unwrap();
    let user = Surroundings::user_over_tls(&strict);
    let count = cases::<&str>(&python, SCRIPT, &[], &user).await;
    assert_eq!(count.total(), CASES, "{count:?}");
    assert!(count.passed > crate::clients::PASSED_MIN, "{count:?}");
}
