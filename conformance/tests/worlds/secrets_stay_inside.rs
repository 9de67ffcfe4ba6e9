//! The image, the findings and both data keys never cross the vsock or the
//! parent: every byte that the parent and its bridge send or receive is
//! recorded and searched, on the separate processes that ship.

use conformance::{
    demo::SAMPLE,
    lab::{
        ENCLAVE_CID, JobStatus, Lab, Mode, Options, PARENT_CID, Wiring,
        cloud::{BUCKET, Role},
        hospital::{self, OBJECT_BYTES_MAX},
        image::{BRIDGE_PORT, JOB_PORT},
        wiretap::{Haystack, Recording, Tap},
    },
};
use enclave_app::parent::s3::ObjectStore as _;
use nsm_sim::runner::VsockAddr;

/// Where the tap on the job connection poses as the enclave.
const TAP_CID: u32 = 4711;
/// Where the parent's bridge listens behind the tap.
const TAPPED_BRIDGE_PORT: u32 = BRIDGE_PORT + 1;

#[tokio::test(flavor = "multi_thread")]
async fn neither_plaintext_nor_data_keys_pass_the_parent_or_the_vsock() {
    let lab = Lab::start(Options::default()).await.unwrap();
    let recording = Recording::default();
    let cloud = lab.cloud.address();
    let (kms, _kms_tap) = Tap::tcp(cloud, recording.clone()).await.unwrap();
    let (s3, _s3_tap) = Tap::tcp(cloud, recording.clone()).await.unwrap();
    // parent ── tap as "enclave" ── enclave, and enclave ── tap ── bridge.
    let _job_tap = Tap::vsock(
        lab.world(),
        VsockAddr {
            cid: TAP_CID,
            port: JOB_PORT,
        },
        VsockAddr {
            cid: ENCLAVE_CID,
            port: JOB_PORT,
        },
        recording.clone(),
    )
    .unwrap();
    let _bridge_tap = Tap::vsock(
        lab.world(),
        VsockAddr {
            cid: PARENT_CID,
            port: BRIDGE_PORT,
        },
        VsockAddr {
            cid: PARENT_CID,
            port: TAPPED_BRIDGE_PORT,
        },
        recording.clone(),
    )
    .unwrap();
    let wiring = Wiring {
        kms,
        s3,
        bridge_port: TAPPED_BRIDGE_PORT,
        enclave_cid: TAP_CID,
    };

    let uploaded = hospital::upload(&lab.cloud, &lab.submitter, "tapped", SAMPLE, lab.now())
        .await
        .unwrap();
    let (mut parent, enclave) = tokio::try_join!(
        lab.start_parent_wired(&wiring),
        lab.start_enclave(Mode::Production)
    )
    .unwrap();
    let outcome = parent.submit(&uploaded.objects).await.unwrap();
    assert_eq!(outcome.status, JobStatus::Done, "{outcome:?}");
    enclave.stop().await.unwrap();
    parent.stop().await.unwrap();
    let reading = lab.read(&uploaded).await.unwrap();

    let streams = recording.streams();
    let seen = Haystack::new(&streams);
    // The taps were on the wires: the object's ciphertext and the receipt passed.
    let body = hospital::s3(&lab.cloud, Role::Clinician)
        .unwrap()
        .get(BUCKET, &uploaded.objects.key, OBJECT_BYTES_MAX)
        .await
        .unwrap()
        .body;
    assert!(
        seen.find(&body).is_some(),
        "the taps saw nothing of the encrypted image"
    );
    let from_s3_to_parent_to_enclave = streams
        .iter()
        .filter(|stream| stream.windows(64).any(|window| window == &body[..64]))
        .count();
    assert!(
        from_s3_to_parent_to_enclave >= 2,
        "only {from_s3_to_parent_to_enclave} wires tapped"
    );
    assert!(
        streams.iter().any(|stream| stream.starts_with(&[0x16, 3])),
        "no TLS was tapped"
    );

    assert_eq!(seen.find(SAMPLE), None, "the image passed");
    assert_eq!(
        seen.find(&findings_of(&reading.plaintext)),
        None,
        "the findings passed"
    );
    assert_eq!(
        seen.find(&uploaded.data_key),
        None,
        "the image's data key passed"
    );
    assert_eq!(
        seen.find(&reading.data_key),
        None,
        "the result's data key passed"
    );
}

/// Images that are refused in different ways, each with a name in its way.
#[tokio::test(flavor = "multi_thread")]
async fn no_piece_of_a_refused_image_passes_and_none_is_logged() {
    const NAME: &[u8] = b"QUIXOTE^ALONSO^ZWYKXJQV^PFLHBGDM";
    let lab = Lab::start(Options::default()).await.unwrap();
    let recording = Recording::default();
    let (s3, _s3_tap) = Tap::tcp(lab.cloud.address(), recording.clone())
        .await
        .unwrap();
    let _job_tap = Tap::vsock(
        lab.world(),
        VsockAddr {
            cid: TAP_CID,
            port: JOB_PORT,
        },
        VsockAddr {
            cid: ENCLAVE_CID,
            port: JOB_PORT,
        },
        recording.clone(),
    )
    .unwrap();
    let wiring = Wiring {
        s3,
        enclave_cid: TAP_CID,
        ..lab.wiring()
    };
    let (mut parent, enclave) = tokio::try_join!(
        lab.start_parent_wired(&wiring),
        lab.start_enclave(Mode::Production)
    )
    .unwrap();
    let mut shortened = SAMPLE.to_vec();
    let name = SAMPLE
        .windows(6)
        .position(|element| element == b"\x10\0\x10\0PN")
        .unwrap();
    shortened.splice(name + 8..name + 8, NAME.iter().copied());
    let images = [
        hospital::short_name(NAME),
        shortened,
        [SAMPLE, NAME].concat()[400..].to_vec(),
        NAME.to_vec(),
    ];
    let mut told = String::new();
    for (number, image) in images.iter().enumerate() {
        let job = format!("refused-{number}");
        let uploaded = hospital::upload(&lab.cloud, &lab.submitter, &job, image, lab.now())
            .await
            .unwrap();
        let outcome = parent.submit(&uploaded.objects).await.unwrap();
        assert_eq!(outcome.status, JobStatus::Refused, "{outcome:?}");
        assert_eq!(outcome.code.as_deref(), Some("image"));
        told += &format!("{outcome:?}");
        let report = lab.read_refusal(&uploaded).await.unwrap();
        assert!(!report.refused.detail.is_empty());
    }
    told += &enclave.last_words();
    assert!(told.contains("refused"), "nothing was logged: {told}");
    enclave.stop().await.unwrap();
    parent.stop().await.unwrap();

    for piece in NAME.windows(4) {
        let number = u32::from_le_bytes(piece.try_into().unwrap());
        let (tag, length) = (format!("{number:08x}"), number.to_string());
        let text = String::from_utf8_lossy(piece);
        for form in [&*text, &hex::encode(piece), &tag, &length] {
            assert!(!told.contains(form), "{form}: {told}");
        }
    }
    // Ciphertext holds any four bytes by chance.
    let streams = recording.streams();
    let seen = Haystack::new(&streams);
    for piece in NAME.windows(8) {
        assert_eq!(seen.find(piece), None, "{}", String::from_utf8_lossy(piece));
    }
}

/// The secret part of a report: its digests and the job's name stand in the open,
/// in the result's encryption context.
fn findings_of(report: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(report).unwrap();
    let from = text.find("\"findings\":[").unwrap();
    let to = from + text[from..].find(']').unwrap();
    report[from..to].to_vec()
}
