//! A test's view of the library with the AWS SDK for Rust: a server on a free
//! port, a client that is given nothing but its endpoint, and what became of a
//! call.
//!
//! `cargo run --example with_aws_sdk_kms`

use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::{
    Client, config::Credentials, error::ProvideErrorMetadata, operation::RequestId,
    primitives::Blob,
};
use kms_mock::{Expectation, KmsMock};

#[tokio::main]
#[allow(clippy::print_stdout)] // an example
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mock = KmsMock::builder().start().await?;
    mock.expect(Expectation::of("Decrypt").answered(200).times(1));

    let config = aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(mock.url())
        .region(Region::new("us-east-1"))
        // Twelve digits are the root user of that account.
        .credentials_provider(Credentials::new(
            "123456789012",
            "any",
            None,
            None,
            "example",
        ))
        .load()
        .await;
    let kms = Client::new(&config);

    let key = kms.create_key().description("an example").send().await?;
    let key = key.key_metadata().map(|it| it.key_id()).unwrap_or_default();
    let secret = kms
        .encrypt()
        .key_id(key)
        .plaintext(Blob::new("hello"))
        .encryption_context("purpose", "example")
        .send()
        .await?;
    let blob = secret.ciphertext_blob.ok_or("no blob")?;

    let refused = kms.decrypt().ciphertext_blob(blob.clone()).send().await;
    let error = refused.err().ok_or("decrypted without its context")?;
    println!("without its context: {:?}", error.code());
    let id = error.request_id().unwrap_or_default();
    println!("{}", mock.explain(id).ok_or("not remembered")?);

    let opened = kms
        .decrypt()
        .ciphertext_blob(blob)
        .encryption_context("purpose", "example")
        .send()
        .await?;
    let plaintext = opened.plaintext().map(AsRef::as_ref).unwrap_or_default();
    println!("with it: {}", String::from_utf8_lossy(plaintext));
    Ok(())
}
