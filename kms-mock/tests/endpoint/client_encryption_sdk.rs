//! The AWS Encryption SDK for Python with its KMS keyring, against the server.

use crate::clients::{Surroundings, cases, python};
use kms_mock::KmsMock;

#[tokio::test]
async fn the_encryption_sdk_round_trips_and_its_refusals_hold() {
    let Some(python) = python().await else { return };
    let mock = KmsMock::builder().start().await.unwrap();
    let root = Surroundings::root(&mock);
    let passed = cases::<&str>(&python, "encryption_sdk.py", &[], &root).await;
    assert_eq!(passed, 10);
}
