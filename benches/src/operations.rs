//! The operations that are timed and whose instructions are counted: one list
//! for both, so that a time and a count of the same name are of the same work.
//!
//! Each operation is prepared outside of what is measured and is called once
//! then, so that one-off work (a leaf minted, a chain seen first) is done. All
//! of them work in fixed worlds at a fixed time: a second run does the same.

use std::hint::black_box;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use enclave_app::envelope::{self, DataKey, EncryptionContext, Envelope};
use nsm_sim::{
    attestation::{pki::Pki, verify::Verifier},
    clock::UnixMillis,
    device::NitroSecureModule,
    seed::WorldSeed,
};
use p384::ecdsa::{
    Signature, SigningKey,
    signature::{Signer as _, hazmat::PrehashSigner as _},
};

use crate::operation::Operation;

/// 2026-01-01T00:00:00Z.
pub const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

/// The encoded DescribePCR request for PCR0, as AWS's crate writes it.
pub const DESCRIBE_PCR: &[u8] = b"\xa1\x6bDescribePCR\xa1\x65index\x00";
/// The encoded DescribeNSM request.
pub const DESCRIBE_NSM: &[u8] = b"\x6bDescribeNSM";
/// The encoded GetRandom request.
pub const GET_RANDOM: &[u8] = b"\x69GetRandom";
/// An encoded ExtendPCR request for PCR16 and one byte.
const EXTEND_PCR: &[u8] = b"\xa1\x69ExtendPCR\xa2\x65index\x10\x64data\x41\x01";

/// Bytes of the SubjectPublicKeyInfo of an RSA-2048 key, which the NSM signs
/// unread.
const PUBLIC_KEY: [u8; 294] = [0x30; 294];

/// Those of an enclave, each beside the floor it is compared with; `calls` has
/// those of KMS.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "p384-signature",
        what: "one P-384 signature of the p384 crate (floor of an attestation)",
        counted_runs: 10,
        prepare: || {
            let key = signing_key();
            let digest = [0x5a; 48];
            Box::new(move || {
                let signature: Signature = key
                    .sign_prehash(black_box(&digest))
                    .expect("a digest of 48 bytes is signed");
                black_box(signature);
            })
        },
    },
    Operation {
        name: "attestation",
        what: "Attestation with a 294-byte public key, request bytes to reply bytes",
        counted_runs: 10,
        prepare: || request(crate::attestation_request(&PUBLIC_KEY)),
    },
    Operation {
        name: "first-attestation",
        what: "an NSM booted, its chain minted, and its first Attestation",
        counted_runs: 5,
        prepare: || {
            let seed = WorldSeed::from_u64(1);
            let bytes = crate::attestation_request(&PUBLIC_KEY);
            Box::new(move || {
                black_box(module(&seed).handle(NOW, black_box(&bytes)));
            })
        },
    },
    Operation {
        name: "describe-pcr",
        what: "DescribePCR, request bytes to reply bytes",
        counted_runs: 1000,
        prepare: || request(DESCRIBE_PCR.to_vec()),
    },
    Operation {
        name: "describe-nsm",
        what: "DescribeNSM, request bytes to reply bytes",
        counted_runs: 1000,
        prepare: || request(DESCRIBE_NSM.to_vec()),
    },
    Operation {
        name: "get-random",
        what: "GetRandom (256 bytes), request bytes to reply bytes",
        counted_runs: 1000,
        prepare: || request(GET_RANDOM.to_vec()),
    },
    Operation {
        name: "extend-pcr",
        what: "ExtendPCR by one byte, request bytes to reply bytes",
        counted_runs: 1000,
        prepare: || request(EXTEND_PCR.to_vec()),
    },
    Operation {
        name: "ecdsa-verify-5",
        what: "five ECDSA P-384 verifications of aws-lc-rs (floor of a new chain)",
        counted_runs: 5,
        prepare: || ecdsa_verifications(&[700, 700, 700, 600, 3800]),
    },
    Operation {
        name: "document-new-chain",
        what: "a document verified whose chain the verifier has not seen",
        counted_runs: 5,
        prepare: || {
            let (root, document) = root_and_document();
            Box::new(move || {
                // Reading the root to pin is a fraction of a percent of this.
                let verifier = Verifier::with_root_der(&root).expect("a simulated root");
                black_box(verifier.verify(black_box(&document), NOW)).expect("it verifies");
            })
        },
    },
    Operation {
        name: "ecdsa-verify-1",
        what: "one ECDSA P-384 verification of aws-lc-rs (floor of a known chain)",
        counted_runs: 10,
        prepare: || ecdsa_verifications(&[3800]),
    },
    Operation {
        name: "document-known-chain",
        what: "a document verified whose chain the verifier has seen",
        counted_runs: 10,
        prepare: || {
            let (root, document) = root_and_document();
            let verifier = Verifier::with_root_der(&root).expect("a simulated root");
            Box::new(move || {
                black_box(verifier.verify(black_box(&document), NOW)).expect("it verifies");
            })
        },
    },
    Operation {
        name: "seal-1-mib",
        what: "1 MiB sealed in the S3 Encryption Client's V3 format",
        counted_runs: 4,
        prepare: || {
            let (key, context, plaintext) = envelope_parts();
            Box::new(move || {
                black_box(envelope::seal(
                    &key,
                    &[1; 184],
                    &context,
                    black_box(&plaintext),
                ));
            })
        },
    },
    Operation {
        name: "open-1-mib",
        what: "1 MiB of that format opened",
        counted_runs: 4,
        prepare: || {
            let (key, context, plaintext) = envelope_parts();
            let sealed = envelope::seal(&key, &[1; 184], &context, &plaintext);
            Box::new(move || {
                let envelope = Envelope::parse(&sealed.metadata).expect("an envelope");
                black_box(envelope.open(&key, black_box(&sealed.body))).expect("it opens");
            })
        },
    },
];

fn module(seed: &WorldSeed) -> NitroSecureModule {
    crate::module(seed, 1, NOW)
}

/// `bytes` asked of one NSM again and again.
fn request(bytes: Vec<u8>) -> Box<dyn FnMut()> {
    let mut module = module(&WorldSeed::from_u64(1));
    let reply = module.handle(NOW, &bytes);
    let is_error = reply.starts_with(b"\xa1\x65Error");
    assert!(!is_error, "the request is refused");
    Box::new(move || {
        black_box(module.handle(NOW, black_box(&bytes)));
    })
}

fn root_and_document() -> (Vec<u8>, Vec<u8>) {
    let seed = WorldSeed::from_u64(1);
    let root = Pki::new(&seed, crate::REGION).root_der().to_vec();
    (root, crate::document(&seed, 1, NOW, &PUBLIC_KEY))
}

fn signing_key() -> SigningKey {
    SigningKey::from_slice(&[7; 48]).expect("a scalar below the order")
}

/// Signatures over messages of these lengths, verified with the key as it comes
/// out of a certificate.
fn ecdsa_verifications(lengths: &[usize]) -> Box<dyn FnMut()> {
    let key = signing_key();
    let point = key.verifying_key().to_sec1_point(false);
    let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point.as_bytes().to_vec());
    let signed: Vec<(Vec<u8>, Signature)> = lengths
        .iter()
        .map(|length| {
            let message = vec![0x5a; *length];
            let signature = key.sign(&message);
            (message, signature)
        })
        .collect();
    Box::new(move || {
        for (message, signature) in &signed {
            public
                .verify(black_box(message), &signature.to_bytes())
                .expect("it verifies");
        }
    })
}

fn envelope_parts() -> (DataKey, EncryptionContext, Vec<u8>) {
    let key = DataKey::from_slice(&[7; 32]).expect("32 bytes");
    let context = envelope::request_context(&[("purpose".to_owned(), "bench".to_owned())].into())
        .expect("a context");
    (key, context, vec![0x5a; 1 << 20])
}
