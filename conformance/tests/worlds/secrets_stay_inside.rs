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

/// The secret part of a report: its digests and the job's name stand in the open,
/// in the result's encryption context.
fn findings_of(report: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(report).unwrap();
    let from = text.find("\"findings\":[").unwrap();
    let to = from + text[from..].find(']').unwrap();
    report[from..to].to_vec()
}
