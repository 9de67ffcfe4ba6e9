//! The stopwatch. The suites are in `benches/drydock.rs`; this library makes
//! what several of them need, outside of what is timed.

use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use nsm_sim::{
    attestation::variance::Variance,
    clock::{Clock as _, SystemClock},
    device::{Measurements, NitroSecureModule, Profile},
    seed::WorldSeed,
};

/// The Region of every benchmark.
pub const REGION: &str = "us-east-1";

/// A booted NSM of the world `seed`.
#[must_use]
pub fn module(seed: &WorldSeed) -> NitroSecureModule {
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
        created: SystemClock.now(),
        enclave_nonce: 1,
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

/// An attestation document of the world `seed`, for `public_key`.
///
/// # Panics
/// If the NSM answers anything else.
#[must_use]
pub fn document(seed: &WorldSeed, public_key: &[u8]) -> Vec<u8> {
    let reply = module(seed).handle(SystemClock.now(), &attestation_request(public_key));
    match ciborium::from_reader(reply.as_slice()) {
        Ok(Response::Attestation { document }) => document,
        other => panic!("Attestation answered {other:?}"),
    }
}
