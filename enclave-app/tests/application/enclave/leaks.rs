//! Nothing of an image leaves but sealed: ten thousand damaged studies with planted
//! names through the code that answers the parent, and every byte of the answers and
//! of the log searched for pieces of those names.
//!
//! A piece is any four bytes of a name, as they are, as hexadecimal digits, as a
//! DICOM tag or as a decimal number: `(4D5E,5241) declares 543048009 bytes` is how
//! the first one left. Ciphertext, wrapped keys and digests hold any four bytes by
//! chance; there a piece is eight bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use enclave_app::{
    enclave::{
        answer::{Answer, Finished, Receipt, Sealed},
        examine::Examiner,
        kms::GeneratedDataKey,
        report::Subject,
        serve::{Floor, RunJob, ServeLimits, serve_connection},
        steps::{Course, Steps},
        worker::{
            Decode, Decoded, Setback,
            protocol::{answer, read_reply},
        },
    },
    envelope::{DataKey, EncryptionContext, request_context},
    image::Limits,
    job::{
        JobReply, JobRequest, Refusal, StoredObject, progress::FromEnclave, refusal::ImageFault,
    },
    model::Model,
    vsock::framing::{FrameLimits, read_frame, write_frame},
};
use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};
use serde_bytes::ByteBuf;
use sha2::{Digest as _, Sha256};
use tokio::{io::duplex, sync::watch};

use crate::enclave::{
    jobs::Log,
    kms_double::{NOW, PaperModule, credentials},
};

const STUDIES: usize = 10_000;
const NAMES: [&[u8]; 4] = [
    b"QUIXOTE^ALONSO^Z",
    b"ZWYKXJQV^PFLHBGD",
    b"^VROUWKJE QJZXWVKYG",
    b"PX77QZ41KV93WJ08",
];

/// Decodes in this process, with a worker's code on both sides.
struct InProcess(Limits);

impl Decode for InProcess {
    fn decode<'a>(
        &'a self,
        plaintext: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = Result<Decoded, Setback>> + Send + 'a>> {
        Box::pin(async { read_reply(&answer(plaintext, &self.0)).expect("a worker's answer") })
    }
}

/// A pipeline without KMS: the request's object is the plaintext.
struct Bench {
    examiner: Examiner,
    subject: Subject,
}

impl RunJob for Bench {
    async fn run_job(&self, request: JobRequest, course: Course) -> Answer {
        let plaintext = request.object.body.into_vec().into();
        let steps = Steps::on("job-1".to_owned(), course);
        let verdict = self
            .examiner
            .examine(&self.subject, plaintext, &steps)
            .await;
        let key = GeneratedDataKey {
            data_key: DataKey::from_slice(&[7; 32]).unwrap(),
            wrapped_key: vec![9; 184],
        };
        let context = request_context(&EncryptionContext::new()).unwrap();
        let result = Sealed::new(&verdict.text, &key, &context);
        let module = PaperModule {
            timestamp_ms: NOW.0,
        };
        let receipt = Receipt::over(&result, &module, &NOW, Duration::from_secs(1)).unwrap();
        let finished = Finished { result, receipt };
        match verdict.refusal {
            None => Answer::Done(finished),
            Some(refusal) => Answer::Refused(refusal, Some(finished)),
        }
    }
}

/// Pieces of the planted names in every form in which text shows bytes.
struct Needles {
    short: Vec<Vec<u8>>,
    long: Vec<Vec<u8>>,
}

impl Needles {
    fn of(names: &[&[u8]]) -> Self {
        let mut short = BTreeSet::new();
        for piece in names.iter().flat_map(|name| name.windows(4)) {
            let bytes: [u8; 4] = piece.try_into().unwrap();
            let (little, big) = (u32::from_le_bytes(bytes), u32::from_be_bytes(bytes));
            let [a, b, c, d] = bytes.map(u16::from);
            short.insert(bytes.to_vec());
            for text in [
                hex::encode(bytes),
                format!("{:04x},{:04x}", b << 8 | a, d << 8 | c),
                format!("{:04x},{:04x}", a << 8 | b, c << 8 | d),
                format!("{little:08x}"),
                little.to_string(),
                big.to_string(),
            ] {
                short.insert(text.to_uppercase().into_bytes());
                short.insert(text.into_bytes());
            }
        }
        let long = names
            .iter()
            .flat_map(|name| name.windows(8).map(<[u8]>::to_vec));
        Self {
            short: short.into_iter().collect(),
            long: long.collect(),
        }
    }

    fn found<'a>(needles: &'a [Vec<u8>], hay: &[u8]) -> Option<&'a [u8]> {
        let found = needles.iter().find(|needle| {
            hay.windows(needle.len())
                .any(|window| window == needle.as_slice())
        });
        found.map(Vec::as_slice)
    }

    /// What stands in `answer` of a name.
    fn in_answer(&self, frame: &[u8], reply: &JobReply) -> Option<String> {
        // The sealed parts hold chance bytes: they are searched for longer pieces.
        let masked = match reply {
            JobReply::Refused { refusal, .. } => JobReply::Refused {
                refusal: *refusal,
                report: None,
            },
            JobReply::Done { .. } => JobReply::Done {
                result: StoredObject::default(),
                receipt: ByteBuf::from(vec![0]),
            },
        };
        let masked = masked.encode().unwrap();
        Self::found(&self.short, &masked)
            .or_else(|| Self::found(&self.long, frame))
            .map(|piece| String::from_utf8_lossy(piece).into_owned())
    }
}

/// Studies to damage: real ones where the corpus is, and made ones of each format.
fn studies() -> Vec<Vec<u8>> {
    const REAL_BYTES_MAX: u64 = 40 << 10;
    let mut studies = vec![made_dicom(false), made_dicom(true), made_png(), made_jpeg()];
    let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        Into::into,
    );
    for folder in ["dicom", "dicom_cxr", "dicom_bad", "cxr/png", "cxr/jpeg"] {
        let Ok(files) = std::fs::read_dir(root.join("images").join(folder)) else {
            assert!(std::env::var_os("CI").is_none(), "no corpus");
            continue;
        };
        let mut files: Vec<_> = files
            .map(Result::unwrap)
            .filter(|file| file.metadata().unwrap().len() <= REAL_BYTES_MAX)
            .map(|file| file.path())
            .collect();
        files.sort();
        studies.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    }
    studies
}

fn element(implicit: bool, tag: (u16, u16), vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    if implicit {
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend_from_slice(vr);
        if vr == b"OW" {
            bytes.extend([0, 0]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
    }
    bytes.extend_from_slice(value);
    bytes
}

fn made_dicom(implicit: bool) -> Vec<u8> {
    let syntax: &[u8] = if implicit {
        b"1.2.840.10008.1.2\0"
    } else {
        b"1.2.840.10008.1.2.1\0"
    };
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    let syntax = element(false, (2, 0x10), b"UI", syntax);
    file.extend(element(
        false,
        (2, 0),
        b"UL",
        &(syntax.len() as u32).to_le_bytes(),
    ));
    file.extend(syntax);
    let mut add = |tag, vr, value: &[u8]| file.extend(element(implicit, tag, vr, value));
    for (number, name) in (0x10..).zip(NAMES) {
        add((0x10, number), b"PN", name);
    }
    let short = |value: u16| value.to_le_bytes();
    for (number, value) in [
        (2, 1),
        (0x10, 8),
        (0x11, 8),
        (0x100, 8),
        (0x101, 8),
        (0x102, 7),
        (0x103, 0),
    ] {
        add((0x28, number), b"US", &short(value));
    }
    add((0x28, 4), b"CS", b"MONOCHROME2 ");
    add((0x7fe0, 0x10), b"OW", &[7; 64]);
    file
}

fn made_png() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 8, 8);
    encoder.set_color(png::ColorType::Grayscale);
    let text = String::from_utf8(NAMES.concat()).unwrap();
    encoder.add_text_chunk("Title".into(), text).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[9; 64]).unwrap();
    drop(writer);
    file
}

fn made_jpeg() -> Vec<u8> {
    let file = include_bytes!("../../vectors/jpeg/gray-17x13.jpg");
    let comment = NAMES.concat();
    let length = (comment.len() as u16 + 2).to_be_bytes();
    [&file[..2], &[0xff, 0xfe], &length, &comment, &file[2..]].concat()
}

/// One way of breaking a study, with names where a decoder may trip over them.
fn damaged(random: &mut TestRng, study: &[u8]) -> Vec<u8> {
    let mut file = study.to_vec();
    if file.len() < 100 {
        return file;
    }
    let mut below = |bound: usize| random.next_u32() as usize % bound.max(1);
    let name = NAMES[below(NAMES.len())];
    // Headers are where the harm is.
    let near = file.len().min(if below(3) == 0 { usize::MAX } else { 700 });
    for _ in 0..=below(3) {
        let at = below(near.min(file.len()));
        match below(6) {
            // A name in place of what was there, or between it.
            0 => {
                let end = (at + name.len()).min(file.len());
                file[at..end].copy_from_slice(&name[..end - at]);
            }
            1 => drop(file.splice(at..at, name.iter().copied())),
            // A length, a tag or a VR that is off.
            2 => file[at] = file[at].wrapping_sub(2 + below(14) as u8),
            3 => file[at] = below(256) as u8,
            4 => drop(file.drain(at..(at + 1 + below(8)).min(file.len()))),
            _ => {
                // A patient's name that declares less than it has.
                let pn = [0x10, 0, 0x10, 0];
                if let Some(at) = file.windows(4).position(|tag| tag == pn) {
                    let from = (at + 8).min(file.len());
                    let length = if file.get(at + 4) == Some(&b'P') {
                        at + 6
                    } else {
                        at + 4
                    };
                    let until = (from + name.len()).min(file.len());
                    file[from..until].copy_from_slice(&name[..until - from]);
                    if let Some(length) = file.get_mut(length) {
                        *length = (2 * below(8)) as u8;
                    }
                }
            }
        }
    }
    if below(12) == 0 {
        let keep = below(file.len());
        file.truncate(keep);
    }
    file
}

#[tokio::test]
async fn ten_thousand_damaged_studies_leave_no_piece_of_a_name_outside() {
    let onnx = include_bytes!("../../../model/cxr3.onnx");
    let model = Model::load(onnx, &Sha256::digest(onnx).into()).unwrap();
    let limits = Limits {
        pixels_max: 1 << 20,
        ..Limits::default()
    };
    let bench = Bench {
        examiner: Examiner::new(Arc::new(InProcess(limits)), Arc::new(model)),
        subject: Subject {
            job: "job-1".into(),
            study: "1.2.840.1".into(),
            model_sha256_hex: "aa".into(),
            object_sha256_hex: "bb".into(),
        },
    };
    let serving = ServeLimits {
        jobs_max: 1,
        queued_max: 1,
        requests_bytes_max: 8 << 20,
        request_timeout: Duration::from_secs(60),
        job_timeout: Duration::from_secs(60),
        object_bytes_max: 1 << 20,
    };
    let (_going_on, stopping) = watch::channel(false);
    let floor = Arc::new(Floor::new(Arc::new(bench), serving, stopping));
    let frames = FrameLimits::for_bodies(4 << 20);
    let needles = Needles::of(&NAMES);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);

    let studies = studies();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[14; 32]);
    let mut outcomes: BTreeMap<Option<Refusal>, usize> = BTreeMap::new();
    let mut sizes = BTreeSet::new();
    for number in 0..STUDIES {
        let plaintext = damaged(&mut random, &studies[number % studies.len()]);
        let request = JobRequest {
            manifest: ByteBuf::from(b"signed".as_slice()),
            credentials: credentials(),
            object: StoredObject {
                metadata: BTreeMap::new(),
                body: ByteBuf::from(plaintext),
            },
        };
        let (mut here, there) = duplex(4 << 20);
        write_frame(&mut here, &request.encode().unwrap(), &frames)
            .await
            .unwrap();
        serve_connection(there, floor.clone()).await;
        let (frame, reply) = loop {
            let frame = read_frame(&mut here, &frames).await.unwrap();
            match FromEnclave::decode(&frame).unwrap() {
                FromEnclave::Reply(reply) => break (frame, reply),
                FromEnclave::Progress(_) => assert_eq!(
                    Needles::found(&needles.short, &frame),
                    None,
                    "study {number}"
                ),
            }
        };
        assert_eq!(
            needles.in_answer(&frame, &reply),
            None,
            "study {number}: {reply:?}"
        );
        let (outcome, body) = match &reply {
            JobReply::Done { result, .. } => (None, &result.body),
            JobReply::Refused { refusal, report } => {
                (Some(*refusal), &report.as_ref().unwrap().object.body)
            }
        };
        sizes.insert(body.len());
        *outcomes.entry(outcome).or_default() += 1;
    }
    drop(guard);

    let said = log.0.lock().unwrap().clone();
    assert_eq!(
        Needles::found(&needles.short, &said).map(String::from_utf8_lossy),
        None,
        "in the log"
    );
    assert!(said.len() > STUDIES * 20, "nothing was logged");
    assert_eq!(
        sizes.len(),
        1,
        "findings and refusals differ in size: {sizes:?}"
    );
    println!("{outcomes:?}");
    // The studies came to all kinds of ends.
    assert!(outcomes[&None] > 100, "{outcomes:?}");
    for fault in [
        ImageFault::UnknownFormat,
        ImageFault::Damaged,
        ImageFault::Attributes,
        ImageFault::Unsupported,
    ] {
        assert!(
            outcomes.contains_key(&Some(Refusal::Image(fault))),
            "{outcomes:?}"
        );
    }
}

/// The search finds what it looks for.
#[test]
fn the_text_that_once_left_is_found() {
    let needles = Needles::of(&[b"^MARIA^ I^"]);
    for text in [
        "(4D5E,5241) declares 543048009 bytes where 12 remain",
        "(4D5E,5241) at byte 12 has no valid VR",
        "at 5e4d4152",
        "1380011358 bytes",
        "named RIA^",
    ] {
        assert!(
            Needles::found(&needles.short, text.as_bytes()).is_some(),
            "{text}"
        );
    }
    assert_eq!(
        Needles::found(&needles.short, b"the image is damaged"),
        None
    );
}
