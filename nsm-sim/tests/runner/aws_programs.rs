//! What AWS's own `nsm-multithread` does, by AWS's own client code, under
//! `nsm-sim run`: 90 threads that attest four times a round and try to extend
//! registers that are locked.
//!
//! Truth: NSM §6. The original runs until it is told to stop; these rounds are
//! counted, and their documents are verified.

use std::{env, thread};

use crate::support::{Stage, said, users};
use aws_nitro_enclaves_nsm_api::{
    api::{ErrorCode, Request, Response},
    driver::{nsm_exit, nsm_init, nsm_process_request},
};
use nsm_sim::{attestation::verify::Verifier, device::Nsm, seed::WorldSeed};
use serde_bytes::ByteBuf;

const ASKED: &str = "NSM_SIM_TEST_MULTITHREAD";
const THREADS: u8 = 90;
const ROUNDS: u8 = 4;
const ATTESTATIONS: u8 = 4;
const SEED: u64 = 90;

/// Not a test of its own: when told so, this process is the client.
#[test]
fn asks_what_its_environment_says() {
    if env::var_os(ASKED).is_none() {
        return;
    }
    let nsm = nsm_init();
    assert!(nsm >= 0, "nsm_init");
    let verifier = Verifier::with_root_der(
        Nsm::builder()
            .seed(WorldSeed::from_u64(SEED))
            .build()
            .root_der(),
    )
    .unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let verifier = verifier.clone();
            thread::spawn(move || work(nsm, thread, &verifier))
        })
        .collect();
    let documents: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    for index in 0..16 {
        let Response::DescribePCR { lock, data } =
            nsm_process_request(nsm, Request::DescribePCR { index })
        else {
            panic!("PCR{index} is not described");
        };
        let measured = matches!(index, 0..=2 | 4);
        assert!(lock, "PCR{index}");
        assert_eq!(data.iter().any(|byte| *byte != 0), measured, "PCR{index}");
    }
    nsm_exit(nsm);
    println!("{documents} documents");
}

/// One thread's rounds; how many documents it got.
fn work(nsm: i32, thread: u8, verifier: &Verifier) -> usize {
    let mut documents = 0;
    for round in 0..ROUNDS {
        for attestation in 0..ATTESTATIONS {
            let nonce = vec![thread, round, attestation];
            let request = Request::Attestation {
                user_data: None,
                nonce: Some(ByteBuf::from(nonce.clone())),
                public_key: None,
            };
            let Response::Attestation { document } = nsm_process_request(nsm, request) else {
                panic!("thread {thread} got no document");
            };
            documents += 1;
            // A document that belongs to another thread has another nonce.
            if attestation == 0 {
                let read = verifier.verify_at_own_time(&document).unwrap();
                assert_eq!(read.nonce.as_deref(), Some(&nonce[..]));
            }
        }
        let extend = Request::ExtendPCR {
            index: u16::from((16 + thread) & 15),
            data: vec![1, 2, 3],
        };
        let refused = nsm_process_request(nsm, extend);
        assert!(
            matches!(refused, Response::Error(ErrorCode::ReadOnlyIndex)),
            "{refused:?}"
        );
    }
    documents
}

#[test]
fn ninety_threads_attest_and_extend_locked_registers() {
    let stage = Stage::new("multithread");
    let client = stage.bring(&env::current_exe().unwrap(), "client");
    for user in users() {
        let mut run = stage.command(user, &stage.path("nsm-sim"));
        run.args([
            "run",
            "--world",
            &stage.world(),
            "--seed",
            &SEED.to_string(),
        ])
        .arg(&client)
        .args([
            "--exact",
            "aws_programs::asks_what_its_environment_says",
            "--nocapture",
        ])
        .env(ASKED, "yes");
        let output = run.output().unwrap();
        let count = u32::from(THREADS) * u32::from(ROUNDS) * u32::from(ATTESTATIONS);
        assert!(
            output.status.success() && said(&output).contains(&format!("{count} documents")),
            "{user:?}: {}",
            said(&output)
        );
    }
}
