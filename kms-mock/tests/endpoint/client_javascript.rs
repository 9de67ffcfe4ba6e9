//! The AWS SDK for JavaScript v3 against the server, once as a developer's
//! machine calls it and once with everything verified.

use crate::clients::{Surroundings, cases, javascript, python};
use kms_mock::{Auth, KmsMock};

const SCRIPT: &str = "javascript.py";

#[tokio::test]
async fn the_javascript_sdk_drives_the_server_with_nothing_but_the_endpoint_set() {
    let (Some(python), Some(node)) = (python().await, javascript().await) else {
        return;
    };
    let mock = KmsMock::builder().start().await.unwrap();
    let count = cases(&python, SCRIPT, &[node], &Surroundings::root(&mock)).await;
    assert_eq!(count.total(), crate::clients::CASES, "{count:?}");
    assert!(count.passed >= crate::clients::PASSED_MIN, "{count:?}");
}

#[tokio::test]
async fn the_javascript_sdk_drives_the_strict_server_over_tls() {
    let (Some(python), Some(node)) = (python().await, javascript().await) else {
        return;
    };
    let strict = KmsMock::builder().auth(Auth::Strict).start().await.unwrap();
    let user = Surroundings::user_over_tls(&strict);
    let count = cases(&python, SCRIPT, &[node], &user).await;
    assert_eq!(count.total(), crate::clients::CASES, "{count:?}");
    assert!(count.passed >= crate::clients::PASSED_MIN, "{count:?}");
}
