//! The NSM's semantics in process: ground truth NSM §3, row by row, and the
//! assertions of AWS's own `nsm-check` (§6).

use std::collections::BTreeSet;

use aws_nitro_enclaves_nsm_api::api::{Digest, ErrorCode, Request, Response};
use nsm_sim::{
    attestation::variance::Variance,
    clock::UnixMillis,
    device::{
        DecodeFault, Measurements, NitroSecureModule, Nsm, Profile, REQUEST_BYTES_MAX, Refusal,
    },
    seed::WorldSeed,
};
use serde_bytes::ByteBuf;
use sha2::Digest as _;

const NOW: UnixMillis = UnixMillis(1_782_779_620_694);

fn nsm() -> Nsm {
    Nsm::builder().build()
}

fn module() -> NitroSecureModule {
    let profile = Profile {
        measurements: Measurements::of_one_part(b"image"),
        role_arn: None,
        instance_id: "i-0123456789abcdef0".to_owned(),
        region: "us-east-1".to_owned(),
        debug: false,
        created: NOW,
        enclave_nonce: 7,
    };
    NitroSecureModule::new(profile, &WorldSeed::from_u64(1), Variance::default())
}

fn describe(nsm: &Nsm, index: u16) -> (bool, Vec<u8>) {
    match nsm.request(Request::DescribePCR { index }) {
        Response::DescribePCR { lock, data } => (lock, data),
        other => panic!("PCR{index}: {other:?}"),
    }
}

fn extend(nsm: &Nsm, index: u16, data: &[u8]) -> Response {
    nsm.request(Request::ExtendPCR {
        index,
        data: data.to_vec(),
    })
}

/// The error's name, or the whole reply if it is not an error.
fn error(response: Response) -> String {
    match response {
        Response::Error(code) => format!("{code:?}"),
        other => format!("no error: {other:?}"),
    }
}

fn extended(old: &[u8], data: &[u8]) -> Vec<u8> {
    sha2::Sha384::new()
        .chain_update(old)
        .chain_update(data)
        .finalize()
        .to_vec()
}

#[test]
fn a_fresh_bank_has_32_registers_of_which_the_lower_half_is_locked() {
    let nsm = nsm();
    for index in 0..32 {
        let (lock, data) = describe(&nsm, index);
        assert_eq!(lock, index < 16, "PCR{index}");
        assert_eq!(data.len(), 48);
        let zero = data.iter().all(|byte| *byte == 0);
        assert_eq!(zero, !matches!(index, 0 | 1 | 2 | 4), "PCR{index}");
    }
}

#[test]
fn extension_chains_raw_data_of_any_length_and_answers_the_new_value() {
    let nsm = nsm();
    let mut expected = vec![0; 48];
    for data in [&[1, 2, 3][..], &[1, 2, 3], &[], &[0; 48], &[9; 4000]] {
        expected = extended(&expected, data);
        match extend(&nsm, 16, data) {
            Response::ExtendPCR { data } => assert_eq!(data, expected),
            other => panic!("{other:?}"),
        }
        assert_eq!(describe(&nsm, 16), (false, expected.clone()));
    }
}

#[test]
fn lock_pcr_locks_one_register_for_good() {
    let nsm = nsm();
    assert!(matches!(
        nsm.request(Request::LockPCR { index: 20 }),
        Response::LockPCR
    ));
    assert_eq!(describe(&nsm, 20), (true, vec![0; 48]));
    assert_eq!(
        error(nsm.request(Request::LockPCR { index: 20 })),
        "ReadOnlyIndex"
    );
    assert_eq!(error(extend(&nsm, 20, b"x")), "ReadOnlyIndex");
    assert!(!describe(&nsm, 19).0 && !describe(&nsm, 21).0);
}

#[test]
fn lock_pcrs_locks_a_count_of_registers_and_may_repeat() {
    let nsm = nsm();
    for (range, locked) in [
        (0, 16),
        (1, 16),
        (16, 16),
        (17, 17),
        (18, 18),
        (3, 18),
        (32, 32),
    ] {
        assert!(matches!(
            nsm.request(Request::LockPCRs { range }),
            Response::LockPCRs
        ));
        let lowest = (0..32).filter(|index| describe(&nsm, *index).0).count();
        assert_eq!(lowest, locked, "after range {range}");
    }
    assert!(matches!(
        nsm.request(Request::LockPCRs { range: 32 }),
        Response::LockPCRs
    ));
}

#[test]
fn errors_have_the_names_of_the_table() {
    let nsm = nsm();
    for index in [32, 255, 256, 65535] {
        assert_eq!(
            error(nsm.request(Request::DescribePCR { index })),
            "InvalidIndex"
        );
        assert_eq!(error(extend(&nsm, index, b"x")), "InvalidIndex");
        assert_eq!(
            error(nsm.request(Request::LockPCR { index })),
            "InvalidIndex"
        );
    }
    for range in [33, 255, 65535] {
        assert_eq!(
            error(nsm.request(Request::LockPCRs { range })),
            "InvalidIndex"
        );
    }
    for index in 0..16 {
        assert_eq!(error(extend(&nsm, index, b"x")), "ReadOnlyIndex");
        assert_eq!(
            error(nsm.request(Request::LockPCR { index })),
            "ReadOnlyIndex"
        );
    }
    let invalid_operation = b"\xa1\x65Error\x70InvalidOperation";
    for undecodable in [&b""[..], b"\xff", b"\x63Foo", b"\x69GetRandom\x00", b"\xa0"] {
        assert_eq!(nsm.request_bytes(undecodable), invalid_operation);
    }
    assert_eq!(error(extend(&nsm, 16, &[0; 4070])), "InputTooLarge");
    assert!(matches!(
        extend(&nsm, 16, &[0; 4069]),
        Response::ExtendPCR { .. }
    ));
}

#[test]
fn a_refusal_carries_its_cause_for_the_log() {
    let mut module = module();
    let mut refusal = |request: &[u8]| module.prepare(NOW, request).refusal().cloned();
    assert_eq!(refusal(b"\x69GetRandom"), None);
    assert_eq!(
        refusal(b"\x63Foo"),
        Some(Refusal::Undecodable(DecodeFault::UnknownCommand))
    );
    assert_eq!(
        refusal(b"\xa1\x6bDescribePCR\xa1\x65index\x18\x20"),
        Some(Refusal::NoSuchPcr { index: 32 })
    );
    assert_eq!(
        refusal(b"\xa1\x67LockPCR\xa1\x65index\x00"),
        Some(Refusal::Locked { index: 0 })
    );
    assert_eq!(
        refusal(&[0; REQUEST_BYTES_MAX + 1]),
        Some(Refusal::RequestTooLarge { bytes: 4097 })
    );
}

#[test]
fn describe_nsm_answers_version_digest_and_locked_registers() {
    let nsm = nsm();
    let Response::DescribeNSM {
        version_major,
        version_minor,
        version_patch,
        module_id,
        max_pcrs,
        locked_pcrs,
        digest,
    } = nsm.request(Request::DescribeNSM)
    else {
        panic!("no description");
    };
    assert_eq!((version_major, version_minor, version_patch), (1, 0, 0));
    assert_eq!(module_id, nsm.module_id());
    assert_eq!(module_id.len(), 39);
    assert_eq!(max_pcrs, 32);
    assert_eq!(locked_pcrs, (0..16).collect::<BTreeSet<u16>>());
    assert_eq!(digest, Digest::SHA384);
}

#[test]
fn get_random_gives_256_fresh_bytes_in_the_drivers_form() {
    let nsm = nsm();
    let mut seen = BTreeSet::new();
    for _ in 0..16 {
        let reply = nsm.request_bytes(b"\x69GetRandom");
        assert_eq!(reply.len(), 278);
        assert!(reply.starts_with(b"\xa1\x69GetRandom\xa1\x66random\x59\x01\x00"));
        assert!(seen.insert(reply));
    }
}

#[test]
fn a_document_carries_locked_registers_only_zero_ones_included() {
    let nsm = nsm();
    let pcrs = || {
        let request = Request::Attestation {
            user_data: None,
            nonce: None,
            public_key: None,
        };
        let Response::Attestation { document } = nsm.request(request) else {
            panic!("no document");
        };
        nsm.verifier().verify_at_own_time(&document).unwrap().pcrs
    };
    extend(&nsm, 17, b"unlocked");
    assert_eq!(
        pcrs().keys().copied().collect::<Vec<_>>(),
        (0..16).collect::<Vec<_>>()
    );
    nsm.request(Request::LockPCR { index: 17 });
    nsm.request(Request::LockPCR { index: 20 });
    let pcrs = pcrs();
    assert_eq!(pcrs.len(), 18);
    assert_eq!(pcrs[&17], extended(&[0; 48], b"unlocked"));
    assert_eq!(pcrs[&20], [0; 48]);
}

#[test]
fn debug_mode_shows_in_documents_as_three_zero_registers() {
    let nsm = Nsm::builder()
        .debug(true)
        .role_arn("arn:aws:iam::123456789012:role/R")
        .build();
    let request = Request::Attestation {
        user_data: None,
        nonce: None,
        public_key: None,
    };
    let Response::Attestation { document } = nsm.request(request) else {
        panic!("no document")
    };
    let document = nsm.verifier().verify_at_own_time(&document).unwrap();
    assert!(document.is_debug());
    assert_ne!(document.pcrs[&3], [0; 48]);
    assert_ne!(document.pcrs[&4], [0; 48]);
}

#[test]
fn every_request_but_attestation_is_known_to_be_quick() {
    let data = vec![7; 2000];
    for request in [
        Request::DescribePCR { index: 31 },
        Request::ExtendPCR { index: 16, data },
        Request::LockPCR { index: 16 },
        Request::LockPCRs { range: 32 },
        Request::DescribeNSM,
        Request::GetRandom,
        Request::Attestation {
            user_data: None,
            nonce: None,
            public_key: None,
        },
    ] {
        let mut bytes = Vec::new();
        ciborium::into_writer(&request, &mut bytes).unwrap();
        let attests = matches!(request, Request::Attestation { .. });
        assert_eq!(nsm_sim::device::is_quick(&bytes), !attests, "{request:?}");
    }
    // The forms a decoder takes beside them may be anything: `{5: {}}`, text in an array.
    for bytes in [&b"\xa1\x05\xa0"[..], b"\x81\x6bAttestation", b"\x06", b""] {
        assert!(!nsm_sim::device::is_quick(bytes), "{bytes:x?}");
    }
}

#[test]
fn a_prepared_reply_changes_nothing_until_it_is_committed() {
    let extend = b"\xa1\x69ExtendPCR\xa2\x65index\x10\x64data\x41x";
    let lock = b"\xa1\x67LockPCR\xa1\x65index\x10";
    let lock_all = b"\xa1\x68LockPCRs\xa1\x65range\x18\x20";
    let describe = b"\xa1\x6bDescribePCR\xa1\x65index\x10";
    let mut module = module();
    let before = module.handle(NOW, describe);

    for request in [&extend[..], lock, lock_all] {
        let prepared = module.prepare(NOW, request);
        assert_eq!(prepared.refusal(), None);
        drop(prepared);
        assert_eq!(module.handle(NOW, describe), before);
    }

    let prepared = module.prepare(NOW, extend);
    let value = prepared.reply()[prepared.reply().len() - 48..].to_vec();
    module.commit(prepared);
    let after = module.handle(NOW, describe);
    assert_eq!(&after[after.len() - 48..], value);

    let prepared = module.prepare(NOW, lock_all);
    module.commit(prepared);
    assert_eq!(
        module.prepare(NOW, extend).refusal(),
        Some(&Refusal::Locked { index: 16 })
    );
}

/// The assertions of `nsm-check` in its order: 600 requests.
#[test]
fn passes_what_awss_own_check_asserts() {
    let nsm = nsm();
    let requests = std::cell::Cell::new(0);
    let request = |request| {
        requests.set(requests.get() + 1);
        nsm.request(request)
    };
    let describe = |index| match request(Request::DescribePCR { index }) {
        Response::DescribePCR { lock, data } => (lock, data),
        other => panic!("PCR{index}: {other:?}"),
    };
    let attest = |user_data: Option<usize>, nonce: Option<usize>, public_key: Option<usize>| {
        let field = |len: Option<usize>| len.map(|len| ByteBuf::from(vec![7; len]));
        match request(Request::Attestation {
            user_data: field(user_data),
            nonce: field(nonce),
            public_key: field(public_key),
        }) {
            Response::Attestation { document } => assert!(!document.is_empty()),
            other => panic!("{other:?}"),
        }
    };
    let refused = |response| assert!(matches!(response, Response::Error(_)), "{response:?}");
    let zero = |data: &[u8]| data.iter().all(|byte| *byte == 0);

    let Response::DescribeNSM {
        max_pcrs,
        module_id,
        locked_pcrs,
        ..
    } = request(Request::DescribeNSM)
    else {
        panic!("no description");
    };
    assert_eq!(max_pcrs, 32);
    assert!(!module_id.is_empty());
    attest(None, None, None);
    for index in 0..32 {
        let (lock, data) = describe(index);
        assert_eq!(data.len(), 48);
        assert_eq!(zero(&data), !matches!(index, 0 | 1 | 2 | 4), "PCR{index}");
        assert_eq!(lock, index < 16);
    }
    assert_eq!(locked_pcrs, (0..16).collect());
    for index in 0..16 {
        refused(request(Request::LockPCR { index }));
    }
    for _ in 0..10 {
        for index in 16..32 {
            match request(Request::ExtendPCR {
                index,
                data: vec![1, 2, 3],
            }) {
                Response::ExtendPCR { data } => assert!(data.len() == 48 && !zero(&data)),
                other => panic!("{other:?}"),
            }
        }
    }
    for index in 16..32 {
        assert!(matches!(
            request(Request::LockPCR { index }),
            Response::LockPCR
        ));
    }
    assert!(matches!(
        request(Request::LockPCRs { range: 32 }),
        Response::LockPCRs
    ));
    refused(request(Request::LockPCRs { range: 33 }));
    for index in 0..32 {
        refused(request(Request::ExtendPCR {
            index,
            data: vec![1, 2, 3],
        }));
    }
    for _ in 0..10 {
        for index in 0..32 {
            let (lock, data) = describe(index);
            assert!(lock && data.len() == 48);
            assert_eq!(
                zero(&data),
                index == 3 || (5..16).contains(&index),
                "PCR{index}"
            );
        }
    }
    attest(None, None, None);
    attest(Some(1024), None, None);
    attest(Some(1024), Some(1024), None);
    attest(Some(1024), Some(1024), Some(1024));
    let mut previous = Vec::new();
    for _ in 0..16 {
        match request(Request::GetRandom) {
            Response::GetRandom { random } => {
                assert!(!random.is_empty());
                assert_ne!(random, previous);
                previous = random;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(requests.get(), 600);
}

/// `nsm-multithread`'s jobs: attestations and refused extensions from many
/// threads at once.
#[test]
fn answers_many_threads_one_request_at_a_time() {
    let nsm = nsm();
    std::thread::scope(|scope| {
        for thread in 0..12_u16 {
            let nsm = &nsm;
            scope.spawn(move || {
                for _ in 0..2 {
                    let request = Request::Attestation {
                        user_data: None,
                        nonce: None,
                        public_key: None,
                    };
                    assert!(matches!(nsm.request(request), Response::Attestation { .. }));
                }
                for index in 0..16 {
                    assert!(matches!(
                        extend(nsm, (16 + index + thread) & 15, b"x"),
                        Response::Error(ErrorCode::ReadOnlyIndex)
                    ));
                }
            });
        }
    });
}
