//! Our documents: whom they convince, for how long, and in which bytes.

use std::time::Duration;

use aws_nitro_enclaves_nsm_api::api::{AttestationDoc, Request, Response};
use nsm_sim::{
    attestation::{
        pki::Pki,
        variance::Variance,
        verify::{Field, Place, Verifier, VerifyError},
    },
    clock::{SettableClock, UnixMillis},
    device::{Measurements, NitroSecureModule, Nsm, Profile, RESPONSE_BYTES_MAX},
    seed::WorldSeed,
};
use serde_bytes::ByteBuf;

const NOW: UnixMillis = UnixMillis(1_782_779_620_694);

fn profile() -> Profile {
    Profile {
        measurements: Measurements::of_one_part(b"image"),
        role_arn: None,
        instance_id: "i-06f4d13c6679a7232".to_owned(),
        region: "us-east-1".to_owned(),
        debug: false,
        created: UnixMillis(0x019f_15f1_504d),
        enclave_nonce: 0xc31d,
    }
}

fn module(seed: u64, variance: Variance) -> NitroSecureModule {
    NitroSecureModule::new(profile(), &WorldSeed::from_u64(seed), variance)
}

/// The attestation request of AWS's crate.
fn attestation(user_data: Option<&[u8]>, nonce: Option<&[u8]>, key: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let field = |bytes: Option<&[u8]>| bytes.map(|bytes| ByteBuf::from(bytes.to_vec()));
    let request = Request::Attestation {
        user_data: field(user_data),
        nonce: field(nonce),
        public_key: field(key),
    };
    ciborium::into_writer(&request, &mut bytes).unwrap();
    bytes
}

fn document_in(reply: &[u8]) -> Vec<u8> {
    match ciborium::from_reader(reply).unwrap() {
        Response::Attestation { document } => document,
        other => panic!("no document: {other:?}"),
    }
}

fn attest(module: &mut NitroSecureModule, now: UnixMillis) -> Vec<u8> {
    document_in(&module.handle(now, &attestation(None, None, None)))
}

/// The payload of a document with the three-byte head that ours have.
fn payload(document: &[u8]) -> &[u8] {
    let len = usize::from(u16::from_be_bytes([document[8], document[9]]));
    &document[10..10 + len]
}

fn later(seconds: u64) -> UnixMillis {
    UnixMillis(NOW.0 + seconds * 1000)
}

#[test]
fn convince_under_our_root_and_are_refused_under_awss() {
    let mut module = module(1, Variance::default());
    let document = attest(&mut module, NOW);
    let verifier = Verifier::with_root_pem(&module.pki().root_pem()).unwrap();
    let read = verifier.verify(&document, NOW).unwrap();
    assert_eq!(read.module_id, "i-06f4d13c6679a7232-enc019f15f1504dc31d");
    assert_eq!(read.timestamp, NOW);
    assert_eq!(read.pcrs.len(), 16);
    assert_eq!(
        (read.public_key, read.user_data, read.nonce),
        (None, None, None)
    );
    assert_eq!(read.cabundle[0], module.pki().root_der());

    match Verifier::aws().verify(&document, NOW) {
        Err(VerifyError::UnknownRoot { .. }) => {}
        other => panic!("{other:?}"),
    }
    let both = Verifier::aws()
        .and_root_der(module.pki().root_der())
        .unwrap();
    assert!(both.verify(&document, NOW).is_ok());
}

#[test]
fn of_one_world_do_not_convince_under_another_worlds_root() {
    let document = attest(&mut module(1, Variance::default()), NOW);
    let other = Pki::new(&WorldSeed::from_u64(2), "us-east-1").verifier();
    assert!(matches!(
        other.verify(&document, NOW),
        Err(VerifyError::UnknownRoot { .. })
    ));
}

#[test]
fn have_hardwares_frame_byte_for_byte() {
    let document = attest(&mut module(1, Variance::Indefinite), NOW);
    assert_eq!(hex::encode(&document[..8]), "8444a1013822a059");
    let payload_len = payload(&document).len();
    assert_eq!(&document[10 + payload_len..12 + payload_len], [0x58, 0x60]);
    assert_eq!(document.len(), 12 + payload_len + 96);

    let payload = payload(&document);
    assert_eq!(payload[0], 0xbf);
    assert_eq!(payload.last(), Some(&0xff));
    let timestamp = [b"\x69timestamp\x1b".as_slice(), &NOW.0.to_be_bytes()].concat();
    assert!(
        payload
            .windows(timestamp.len())
            .any(|window| window == timestamp)
    );
    let pcrs = b"\x64pcrs\xb0\x00\x58\x30";
    assert!(payload.windows(pcrs.len()).any(|window| window == pcrs));
    let end = b"\x6apublic_key\xf6\x69user_data\xf6\x65nonce\xf6\xff";
    assert!(payload.ends_with(end));
    // Hardware's: 4394 to 5451 bytes.
    assert!(
        (4394..5452).contains(&document.len()),
        "{} bytes",
        document.len()
    );
}

#[test]
fn in_definite_form_are_what_awss_crate_writes() {
    let document = attest(&mut module(1, Variance::Definite), NOW);
    let payload = payload(&document);
    assert_eq!(payload[0], 0xa9);
    let read = AttestationDoc::from_binary(payload).unwrap();
    assert_eq!(hex::encode(read.to_binary()), hex::encode(payload));
}

#[test]
fn in_indefinite_form_have_the_key_order_of_a_real_one() {
    let Some(real) = crate::corpus::documents() else {
        return;
    };
    let real = real
        .iter()
        .find(|document| document.file.starts_with("20260212"))
        .unwrap();
    let keys = |payload: &[u8]| -> Vec<String> {
        let value: ciborium::Value = ciborium::from_reader(payload).unwrap();
        let map = value.into_map().unwrap();
        map.into_iter()
            .map(|(key, _)| key.into_text().unwrap())
            .collect()
    };
    let document = attest(&mut module(1, Variance::Indefinite), NOW);
    assert_eq!(keys(payload(&document)), keys(payload(&real.bytes)));
    assert!(AttestationDoc::from_binary(payload(&document)).is_ok());
}

#[test]
fn of_a_seeded_world_repeat_byte_for_byte() {
    let run = || {
        let mut module = module(7, Variance::Random);
        let mut replies = Vec::new();
        for seconds in [0, 1, 60, 8000, 20_000] {
            replies.push(attest(&mut module, later(seconds)));
            replies.push(module.handle(later(seconds), b"\x69GetRandom"));
        }
        replies
    };
    assert_eq!(run(), run());
    assert_ne!(
        attest(&mut module(7, Variance::default()), NOW),
        attest(&mut module(8, Variance::default()), NOW)
    );
}

#[test]
fn of_a_seeded_world_share_root_and_chain_between_runs_minutes_apart() {
    let verifier = Pki::new(&WorldSeed::from_u64(7), "us-east-1").verifier();
    let read = |now| {
        let document = attest(&mut module(7, Variance::default()), now);
        verifier.verify(&document, now).unwrap()
    };
    let (first, second) = (read(NOW), read(later(600)));
    assert_eq!(first.cabundle, second.cabundle);
    assert_ne!(first.certificate, second.certificate);
}

#[test]
fn of_two_enclaves_in_one_world_share_the_root_and_nothing_random() {
    let seed = WorldSeed::from_u64(7);
    let build = |nonce| {
        let profile = Profile {
            enclave_nonce: nonce,
            ..profile()
        };
        NitroSecureModule::new(profile, &seed, Variance::default())
    };
    let (mut one, mut two) = (build(1), build(2));
    assert_eq!(one.pki().root_der(), two.pki().root_der());
    assert_ne!(
        one.handle(NOW, b"\x69GetRandom"),
        two.handle(NOW, b"\x69GetRandom")
    );
    let verifier = one.pki().verifier();
    let leaf = |document: &[u8]| verifier.verify(document, NOW).unwrap().certificate;
    assert_ne!(leaf(&attest(&mut one, NOW)), leaf(&attest(&mut two, NOW)));
}

#[test]
fn vary_in_form_under_random_variance_and_still_convince() {
    let mut module = module(3, Variance::Random);
    let verifier = module.pki().verifier();
    let mut forms = [0, 0];
    for _ in 0..40 {
        let document = attest(&mut module, NOW);
        verifier.verify(&document, NOW).unwrap();
        forms[usize::from(payload(&document)[0] == 0xbf)] += 1;
    }
    assert!(forms.iter().all(|count| *count > 0), "{forms:?}");
}

#[test]
fn reuse_a_leaf_for_two_hours_and_then_get_a_new_one() {
    let mut module = module(1, Variance::default());
    let verifier = module.pki().verifier();
    let mut leaf = |seconds| {
        let document = attest(&mut module, later(seconds));
        verifier
            .verify(&document, later(seconds))
            .unwrap()
            .certificate
    };
    let first = leaf(0);
    assert_eq!(leaf(1200), first);
    assert_eq!(leaf(3660), first);
    assert_eq!(leaf(6017), first);
    let second = leaf(7200);
    assert_ne!(second, first);
    assert_eq!(leaf(7300), second);
    // A clock set back needs a leaf that is valid then.
    assert_ne!(leaf(0), second);
}

#[test]
fn expire_with_their_leaf_when_the_clock_is_advanced() {
    let clock = SettableClock::frozen(NOW);
    let nsm = Nsm::builder()
        .clock(clock.clone())
        .seed(WorldSeed::from_u64(1))
        .build();
    let request = Request::Attestation {
        user_data: None,
        nonce: None,
        public_key: None,
    };
    let Response::Attestation { document } = nsm.request(request) else {
        panic!("no document")
    };
    let now = || nsm_sim::clock::Clock::now(&clock);

    clock.advance(Duration::from_secs(10_800));
    assert!(
        nsm.verifier().verify(&document, now()).is_ok(),
        "the last second counts"
    );
    clock.advance(Duration::from_secs(1));
    match nsm.verifier().verify(&document, now()) {
        Err(VerifyError::Expired {
            place: Place::Leaf,
            not_after,
            ..
        }) => {
            assert_eq!(not_after.as_secs(), NOW.as_secs() + 10_800);
        }
        other => panic!("{other:?}"),
    }
    assert!(nsm.verifier().verify_at_own_time(&document).is_ok());
}

#[test]
fn carry_fields_up_to_the_request_limit_and_fit_the_response_buffer() {
    let mut module = module(1, Variance::default());
    assert_eq!(
        module.handle(NOW, b"\xa1\x68LockPCRs\xa1\x65range\x18\x20"),
        b"\x68LockPCRs"
    );
    let verifier = module.pki().verifier();

    // AWS's largest test case, then the most that one request carries.
    let kilobyte = [7; 1024];
    let reply = module.handle(
        NOW,
        &attestation(Some(&kilobyte), Some(&kilobyte), Some(&kilobyte)),
    );
    let read = verifier.verify(&document_in(&reply), NOW).unwrap();
    assert_eq!(read.pcrs.len(), 32);
    assert_eq!(read.nonce.as_deref(), Some(kilobyte.as_slice()));

    let most = [7; 1348];
    let request = attestation(Some(&most), Some(&most), Some(&most));
    assert_eq!(request.len(), 4094);
    let reply = module.handle(NOW, &request);
    assert!(reply.len() <= RESPONSE_BYTES_MAX, "{} bytes", reply.len());
    let document = document_in(&reply);
    match verifier.verify(&document, NOW) {
        Err(VerifyError::FieldSize {
            size: 1348,
            max: 1024,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert!(
        verifier
            .field_bytes_max(4096)
            .verify(&document, NOW)
            .is_ok()
    );
}

#[test]
fn keep_empty_fields_apart_from_absent_ones() {
    let mut module = module(1, Variance::default());
    let verifier = module.pki().verifier();
    let reply = module.handle(NOW, &attestation(Some(b""), None, None));
    let read = verifier.verify(&document_in(&reply), NOW).unwrap();
    assert_eq!(read.user_data.as_deref(), Some(&[][..]));
    assert_eq!(read.nonce, None);
    assert_eq!(read.public_key, None);

    // An NSM attests to a key of no bytes; nobody can answer to it.
    let reply = module.handle(NOW, &attestation(None, None, Some(b"")));
    let refused = verifier.verify(&document_in(&reply), NOW);
    assert!(
        matches!(
            refused,
            Err(VerifyError::FieldSize {
                field: Field::PublicKey,
                size: 0,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn can_be_written_under_any_clock() {
    for now in [0, 1, u64::MAX / 2, u64::MAX] {
        let mut module = module(1, Variance::default());
        let reply = module.handle(UnixMillis(now), &attestation(None, None, None));
        assert!(!document_in(&reply).is_empty());
    }
}
