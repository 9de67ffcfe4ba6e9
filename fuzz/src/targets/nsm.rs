//! Requests to the device core, judged by the decoder it follows.

use aws_nitro_enclaves_nsm_api::api::{ErrorCode, Request, Response};
use nsm_sim::{
    attestation::variance::Variance,
    clock::UnixMillis,
    device::{Measurements, NitroSecureModule, Profile, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX},
    seed::WorldSeed,
};

use super::{Corpus, Target, Verdict};
use crate::{nsm_requests, random::Random};

const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

/// After so many requests every register is locked and little is left to see.
const REQUESTS_A_MODULE: u32 = 20_000;

struct Requests {
    module: NitroSecureModule,
    answered: u32,
}

pub(super) fn requests(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    Ok(Box::new(Requests {
        module: module(),
        answered: 0,
    }))
}

/// An NSM that is the same each time.
pub(super) fn module() -> NitroSecureModule {
    let profile = Profile {
        measurements: Measurements::of_one_part(b"fuzz"),
        role_arn: None,
        instance_id: "i-0123456789abcdef0".to_owned(),
        region: "us-east-1".to_owned(),
        debug: false,
        created: NOW,
        enclave_nonce: 7,
    };
    NitroSecureModule::new(profile, &WorldSeed::from_u64(1), Variance::Random)
}

/// A document of that NSM.
pub(super) fn document(request: &[u8]) -> Vec<u8> {
    match serde_cbor::from_slice(&module().handle(NOW, request)) {
        Ok(Response::Attestation { document }) => document,
        other => unreachable!("an attestation request gets a document, not {other:?}"),
    }
}

impl Target for Requests {
    fn generate(&mut self, random: &mut Random) -> Vec<u8> {
        nsm_requests::generate(&mut |n| random.below(n))
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        if self.answered == REQUESTS_A_MODULE {
            self.module = module();
            self.answered = 0;
        }
        self.answered += 1;
        let reply = self.module.handle(NOW, input);
        assert!(reply.len() <= RESPONSE_BYTES_MAX, "a reply too long");
        let reply: Response = serde_cbor::from_slice(&reply)
            .unwrap_or_else(|error| panic!("AWS's client cannot read the reply: {error}"));

        if input.len() > REQUEST_BYTES_MAX {
            assert!(matches!(reply, Response::Error(ErrorCode::InputTooLarge)));
            return Verdict::Refused;
        }
        let undecodable = matches!(reply, Response::Error(ErrorCode::InvalidOperation));
        // The one place where it is stricter on purpose: a tag before the request.
        let tagged = matches!(input.first(), Some(0xc0..=0xdb));
        let theirs = serde_cbor::from_slice::<Request>(input);
        assert_eq!(
            undecodable,
            tagged || theirs.is_err(),
            "serde_cbor makes {theirs:?} of it, we answer {reply:?}"
        );
        match (theirs, reply) {
            (Ok(Request::DescribePCR { index }), Response::DescribePCR { data, .. }) => {
                assert!(index < 32 && data.len() == 48);
            }
            (Ok(Request::ExtendPCR { index, .. }), Response::ExtendPCR { data }) => {
                assert!((16..32).contains(&index) && data.len() == 48);
            }
            (Ok(Request::LockPCR { index }), Response::LockPCR) => assert!(index < 32),
            (Ok(Request::LockPCRs { range }), Response::LockPCRs) => assert!(range <= 32),
            (Ok(Request::DescribeNSM), Response::DescribeNSM { .. })
            | (Ok(Request::GetRandom), Response::GetRandom { .. })
            | (Ok(Request::Attestation { .. }), Response::Attestation { .. }) => {}
            (
                Ok(
                    Request::DescribePCR { index }
                    | Request::ExtendPCR { index, .. }
                    | Request::LockPCR { index }
                    | Request::LockPCRs { range: index },
                ),
                Response::Error(ErrorCode::InvalidIndex),
            ) => assert!(index >= 32),
            (
                Ok(Request::ExtendPCR { index, .. } | Request::LockPCR { index }),
                Response::Error(ErrorCode::ReadOnlyIndex),
            ) => assert!(index < 32),
            (_, Response::Error(ErrorCode::InvalidOperation)) => return Verdict::Refused,
            (request, reply) => panic!("{request:?} is answered {reply:?}"),
        }
        Verdict::Accepted
    }
}
