//! The stopwatch. Times are in `benches/drydock.rs` (criterion), instruction
//! counts and the check of the promises in the `operations` binary; this library
//! makes what they share, outside of what is measured.
//!
//! Reading order: [`operations`] and [`calls`] (what is measured in process), [`runner`] (the
//! same requests by a program under `nsm-sim run`), [`instructions`] and
//! [`promises`] (the two tables), [`load`] (`kms-mock` under load).

pub mod calls;
pub mod instructions;
pub mod load;
pub mod operation;
pub mod operations;
pub mod promise;
pub mod promises;
pub mod runner;

use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use nsm_sim::{
    attestation::variance::Variance,
    clock::UnixMillis,
    device::{Measurements, NitroSecureModule, Profile},
    seed::WorldSeed,
};

/// The Region of every benchmark.
pub const REGION: &str = "us-east-1";

/// The NSM of an enclave of the world `seed`, created at `created`.
#[must_use]
pub fn module(seed: &WorldSeed, enclave_nonce: u16, created: UnixMillis) -> NitroSecureModule {
    let profile = Profile {
        measurements: Measurements {
            pcr0: [0xa0; 48],
            pcr1: [0xa1; 48],
            pcr2: [0xa2; 48],
            pcr8: None,
        },
        role_arn: Some(format!(
            "arn:aws:iam::{}:role/imaging-parent",
            "123456789012"
        )),
        instance_id: "i-0d12d0c40000d0c4d".to_owned(),
        region: REGION.to_owned(),
        debug: false,
        created,
        enclave_nonce,
    };
    NitroSecureModule::new(profile, seed, Variance::default())
}

/// An encoded Attestation request for `public_key`.
///
/// # Panics
/// Never: a request of AWS's own types encodes.
#[must_use]
pub fn attestation_request(public_key: &[u8]) -> Vec<u8> {
    let request = Request::Attestation {
        user_data: None,
        nonce: None,
        public_key: Some(public_key.to_vec().into()),
    };
    let mut bytes = Vec::new();
    ciborium::into_writer(&request, &mut bytes).expect("AWS's own request encodes");
    bytes
}

/// An attestation document of such an NSM, written at `now` for `public_key`.
///
/// # Panics
/// If the NSM answers anything else.
#[must_use]
pub fn document(
    seed: &WorldSeed,
    enclave_nonce: u16,
    now: UnixMillis,
    public_key: &[u8],
) -> Vec<u8> {
    let reply = module(seed, enclave_nonce, now).handle(now, &attestation_request(public_key));
    match ciborium::from_reader(reply.as_slice()) {
        Ok(Response::Attestation { document }) => document,
        other => panic!("Attestation answered {other:?}"),
    }
}
