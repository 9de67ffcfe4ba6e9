//! The AWS CLI against the server, with `AWS_ENDPOINT_URL` and credentials set.

mod clients;

use clients::{Surroundings, cases, python};
use kms_mock::KmsMock;

#[tokio::test]
async fn the_aws_cli_drives_the_server_with_nothing_but_the_endpoint_set() {
    let Some(python) = python().await else { return };
    let mock = KmsMock::builder().start().await.unwrap();
    let root = Surroundings::root(&mock);
    let count = cases::<&str>(&python, "aws_cli.py", &[], &root).await;
    // Two operations are younger than the CLI; one case starts the program itself.
    assert_eq!(count.total(), clients::CASES - 2 + 1, "{count:?}");
    assert!(count.passed > clients::PASSED_MIN, "{count:?}");
}
