//! The AWS SDK for JavaScript v3 against the server, once as a developer's
//! machine calls it and once with everything verified.

use crate::{
    clients::{DIFFERENT, cases, javascript, python},
    stand::Stand,
};

const SCRIPT: &str = "javascript.py";

#[tokio::test]
async fn the_javascript_sdk_drives_the_server_with_nothing_but_the_endpoint_set() {
    let (Some(python), Some(node)) = (python().await, javascript().await) else {
        return;
    };
    let stand = Stand::lenient().await;
    let passed = cases(&python, SCRIPT, &[node], &stand.surroundings).await;
    assert_eq!(passed, DIFFERENT);
}

#[tokio::test]
async fn the_javascript_sdk_drives_the_strict_server_over_tls() {
    let (Some(python), Some(node)) = (python().await, javascript().await) else {
        return;
    };
    let stand = Stand::strict_over_tls().await;
    let passed = cases(&python, SCRIPT, &[node], &stand.surroundings).await;
    assert_eq!(passed, DIFFERENT);
}
