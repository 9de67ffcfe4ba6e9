//! The decoder beside the one it follows: `serde_cbor` 0.11 reading AWS's own
//! `Request`, over generated requests.

use aws_nitro_enclaves_nsm_api::api::Request;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

// The fuzz target's generator, so that there is one grammar of odd requests.
#[path = "../../../../fuzz/src/nsm_requests.rs"]
mod nsm_requests;

/// Enough to meet every production many times over; the fuzz target runs on.
const REQUESTS: u64 = 60_000;

#[test]
fn serde_cbor_reading_awss_type_makes_the_same_of_sixty_thousand_requests() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..REQUESTS {
        let mut random = StdRng::seed_from_u64(seed);
        let request = nsm_requests::generate(&mut |n| random.random_range(0..n));
        let ours = decode(&request);
        let theirs = serde_cbor::from_slice::<Request>(&request);
        if matches!(request.first(), Some(0xc0..=0xdb)) {
            // The table's one row that is not serde_cbor's: no tag before a request.
            assert!(ours.is_err(), "seed {seed}: {}", hex::encode(&request));
            continue;
        }
        match theirs {
            Ok(theirs) => {
                let theirs = command(theirs);
                assert_eq!(ours, Ok(theirs), "seed {seed}: {}", hex::encode(&request));
                accepted += 1;
            }
            Err(error) => {
                assert!(
                    ours.is_err(),
                    "seed {seed}: {ours:?}, serde_cbor: {error}: {}",
                    hex::encode(&request)
                );
                refused += 1;
            }
        }
    }
    // A generator that only makes one kind proves nothing.
    assert!(
        accepted > REQUESTS / 5 && refused > REQUESTS / 10,
        "{accepted} accepted, {refused} refused"
    );
}

fn command(request: Request) -> Command<'static> {
    let bytes = |bytes: serde_bytes::ByteBuf| Cow::Owned(bytes.into_vec());
    match request {
        Request::DescribePCR { index } => Command::DescribePcr { index },
        Request::ExtendPCR { index, data } => Command::ExtendPcr {
            index,
            data: Cow::Owned(data),
        },
        Request::LockPCR { index } => Command::LockPcr { index },
        Request::LockPCRs { range } => Command::LockPcrs { range },
        Request::DescribeNSM => Command::DescribeNsm,
        Request::Attestation {
            user_data,
            nonce,
            public_key,
        } => Command::Attestation(AttestationFields {
            user_data: user_data.map(bytes),
            nonce: nonce.map(bytes),
            public_key: public_key.map(bytes),
        }),
        Request::GetRandom => Command::GetRandom,
        other => panic!("a request this decoder does not know: {other:?}"),
    }
}
