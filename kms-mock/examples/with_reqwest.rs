//! KMS without any SDK: JSON over HTTP, a fault on demand, and the requests
//! that the server received.
//!
//! `cargo run --example with_reqwest`

use kms_mock::{Fault, KmsMock, faults::Kind};

#[tokio::main]
#[allow(clippy::print_stdout)] // an example
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mock = KmsMock::builder()
        .fault(Fault::new(Kind::Throttle).on("GenerateRandom").next(1))
        .start()
        .await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    for _attempt in 0..2 {
        let answer = client
            .post(mock.url())
            .header("x-amz-target", "TrentService.GenerateRandom")
            .header("content-type", "application/x-amz-json-1.1")
            .body(r#"{"NumberOfBytes": 16}"#)
            .send()
            .await?;
        let status = answer.status();
        println!("{status}: {}", answer.text().await?);
    }
    for request in mock.received() {
        println!(
            "{} {} {}: {}",
            request.request_id,
            request.operation,
            request.status,
            request.reason.as_deref().unwrap_or("fine")
        );
    }
    Ok(())
}
