//! A hundred hostile images in a row through the programs that ship: what they cost
//! the enclave, and the honest jobs among them.

use std::io::Write as _;

use conformance::{
    demo::SAMPLE,
    lab::{JobStatus, Lab, Mode, Options, hospital},
};

const HOSTILE: usize = 100;
/// Jobs until memory has taken its shape.
const WARM_UP: usize = 20;
/// What one of the images is inflated to. The caches of an allocator grow by less.
const ONE_IMAGE_KIB: u64 = 16 * 1024;

/// A deflated DICOM file with a lookup table of two million elements: 16 MB inflated.
fn amplifier() -> Vec<u8> {
    let mut table: Vec<u8> = (0..2_000_000_u32)
        .flat_map(|number| {
            let [low, high, group, _] = number.to_le_bytes();
            [0x29 + group, 0, low, high, b'L', b'O', 0, 0]
        })
        .collect();
    let length = table.len() as u32;
    let mut data = b"\x28\0\0\x30SQ\0\0".to_vec();
    data.extend((length + 8).to_le_bytes());
    data.extend(b"\xfe\xff\0\xe0");
    data.extend(length.to_le_bytes());
    data.append(&mut table);
    let mut file = vec![0; 128];
    file.extend_from_slice(
        b"DICM\x02\0\0\0UL\x04\0\x1e\0\0\0\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99",
    );
    let mut encoder = flate2::write::DeflateEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(&data).unwrap();
    encoder.finish().unwrap()
}

/// KiB that the enclave's own process holds: the one below its supervisor.
fn resident_kib(supervisor: u32) -> u64 {
    let children = format!("/proc/{supervisor}/task/{supervisor}/children");
    let mut found = Vec::new();
    let mut open: Vec<String> = read(&children);
    while let Some(pid) = open.pop() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "enclave-app" {
            found.push(pid);
        } else {
            open.extend(read(&format!("/proc/{pid}/task/{pid}/children")));
        }
    }
    let [pid] = found.as_slice() else {
        panic!("{found:?} are the enclaves below {supervisor}");
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn read(children: &str) -> Vec<String> {
    let text = std::fs::read_to_string(children).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_hostile_images_cost_the_enclave_no_memory_and_no_honest_job() {
    let lab = Lab::start(Options::default()).await.unwrap();
    let (mut parent, enclave) =
        tokio::try_join!(lab.start_parent(), lab.start_enclave(Mode::Production)).unwrap();
    let supervisor = enclave.id().unwrap();
    let amplifier = amplifier();
    let mut warm = 0;
    for number in 0..WARM_UP + HOSTILE {
        let job = format!("hostile-{number}");
        let uploaded = hospital::upload(&lab.cloud, &lab.submitter, &job, &amplifier, lab.now())
            .await
            .unwrap();
        let outcome = parent.submit(&uploaded.objects).await.unwrap();
        assert_eq!(outcome.status, JobStatus::Refused, "{outcome:?}");
        assert_eq!(
            outcome.reason.as_deref(),
            Some("too_many_parts"),
            "{outcome:?}"
        );
        if number % 10 == 0 {
            let job = format!("honest-{number}");
            let honest = hospital::upload(&lab.cloud, &lab.submitter, &job, SAMPLE, lab.now())
                .await
                .unwrap();
            let outcome = parent.submit(&honest.objects).await.unwrap();
            assert_eq!(outcome.status, JobStatus::Done, "{outcome:?}");
            lab.read(&honest).await.unwrap();
        }
        if number + 1 == WARM_UP {
            warm = resident_kib(supervisor);
        }
    }
    let after = resident_kib(supervisor);
    println!("{warm} KiB after {WARM_UP} hostile images, {after} KiB after {HOSTILE} more");
    assert!(
        after < warm + ONE_IMAGE_KIB,
        "from {warm} KiB to {after} KiB: an image stayed"
    );
    enclave.stop().await.unwrap();
    parent.stop().await.unwrap();
}
