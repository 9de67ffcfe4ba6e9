//! An NSM in your own test: no device, no runner, AWS's request types.
//!
//! `cargo run --example in_process`

use std::time::Duration;

use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use nsm_sim::{
    attestation::verify::VerifyError,
    clock::{Clock, SettableClock},
    device::{Measurements, Nsm},
    seed::WorldSeed,
};

#[allow(clippy::print_stdout)]
fn main() -> Result<(), VerifyError> {
    let clock = SettableClock::running();
    let nsm = Nsm::builder()
        .measurements(Measurements::of_one_part(b"my enclave image"))
        .role_arn("arn:aws:iam::123456789012:role/inference")
        .seed(WorldSeed::from_u64(42))
        .clock(clock.clone())
        .build();

    let extended = nsm.request(Request::ExtendPCR {
        index: 16,
        data: b"model v1".to_vec(),
    });
    println!("{extended:?}");
    println!("{:?}", nsm.request(Request::LockPCR { index: 16 }));

    let request = Request::Attestation {
        user_data: Some(b"hello".to_vec().into()),
        nonce: None,
        public_key: None,
    };
    let Response::Attestation { document } = nsm.request(request) else {
        unreachable!("an attestation within the size limit is answered with a document");
    };
    let read = nsm.verifier().verify(&document, clock.now())?;
    println!("{} attests {} registers", read.module_id, read.pcrs.len());

    // A leaf lives three hours: let them pass.
    clock.advance(Duration::from_secs(3 * 3600 + 1));
    match nsm.verifier().verify(&document, clock.now()) {
        Err(error) => println!("three hours later: {error}"),
        Ok(_) => unreachable!("the leaf has expired"),
    }
    Ok(())
}
