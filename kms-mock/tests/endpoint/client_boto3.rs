//! boto3 against the server: the whole list of cases with everything verified, and
//! what clients do differently as a developer's machine calls it.

use crate::{
    clients::{CASES, DIFFERENT, cases, python},
    stand::Stand,
};

const SCRIPT: &str = "boto3_client.py";
/// About boto3 alone: presigned URLs, and files of many parts.
const ITS_OWN: usize = 2;

#[tokio::test]
async fn boto3_drives_the_server_with_nothing_but_the_endpoint_set() {
    let Some(python) = python().await else { return };
    let stand = Stand::lenient().await;
    let passed = cases(&python, SCRIPT, &["different"], &stand.surroundings).await;
    assert_eq!(passed, DIFFERENT);
}

#[tokio::test]
async fn boto3_drives_the_strict_server_over_tls() {
    let Some(python) = python().await else { return };
    let stand = Stand::strict_over_tls().await;
    let passed = cases::<&str>(&python, SCRIPT, &[], &stand.surroundings).await;
    assert_eq!(passed, CASES + ITS_OWN);
}
