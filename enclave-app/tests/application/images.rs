//! Real and damaged images through the whole of decode, preprocess and infer.
//!
//! Source of truth: the corpus's `EXPECTED.json` (probabilities by onnxruntime on
//! Pillow's preprocessing) and `INDEX.json` (what may be refused). The corpus is
//! not part of the repository; without it these tests say that they skipped.

// The lints spare functions marked as tests, not what they call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use enclave_app::image::{self, DecodeError, DicomError, Limits};
use enclave_app::model::{LABELS, Model};
use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The network's probabilities may differ by this much from onnxruntime's.
const TOLERANCE: f32 = 1e-3;

/// The folder of images, or `None` with a line that says so.
fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let images = root.join("images");
    if images.is_dir() {
        return Some(images);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no corpus at {}",
        images.display()
    );
    println!("skipped: no corpus at {}", images.display());
    None
}

fn model() -> Model {
    let onnx =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("model/cxr3.onnx")).unwrap();
    let digest = Sha256::digest(&onnx).into();
    Model::load(&onnx, &digest).unwrap()
}

#[derive(Deserialize)]
struct Expected {
    expected: BTreeMap<String, Expectation>,
}

#[derive(Deserialize)]
struct Expectation {
    probabilities: [f32; 3],
}

#[derive(Deserialize)]
struct Index {
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    expect: Option<String>,
}

fn entries(corpus: &Path, folder: &str) -> Vec<Entry> {
    let index = std::fs::read(corpus.join("INDEX.json")).unwrap();
    let index: Index = serde_json::from_slice(&index).unwrap();
    index
        .files
        .into_iter()
        .filter(|entry| entry.path.starts_with(folder))
        .collect()
}

/// Runs every file of a folder that has an expectation; returns how many.
fn answers_agree(folder: &str) -> Option<usize> {
    let corpus = corpus()?;
    let model = model();
    let expected = std::fs::read(corpus.join("EXPECTED.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    let (mut answered, mut worst) = (0, 0f32);
    for (path, want) in expected.expected {
        if !path.starts_with(folder) {
            continue;
        }
        let bytes = std::fs::read(corpus.join(&path)).unwrap();
        let image = image::decode(&bytes, &Limits::default());
        let image = image.unwrap_or_else(|error| panic!("{path}: {error}"));
        let findings = model.infer(&image::preprocess(&image)).unwrap();
        assert!(
            findings.iter().map(|finding| &finding.label).eq(LABELS),
            "{path}"
        );
        let difference = findings
            .iter()
            .zip(want.probabilities)
            .map(|(finding, want)| (finding.probability - want).abs())
            .fold(0.0, f32::max);
        assert!(
            difference <= TOLERANCE,
            "{path}: {findings:?}, expected {:?}",
            want.probabilities
        );
        worst = worst.max(difference);
        answered += 1;
    }
    println!("{folder}: {answered} answered, worst difference {worst:.1e}");
    Some(answered)
}

#[test]
fn dicom_radiographs_get_the_expected_probabilities() {
    let Some(answered) = answers_agree("dicom_cxr/") else {
        return;
    };
    assert_eq!(answered, 36);
}

#[test]
fn png_radiographs_get_the_expected_probabilities() {
    let Some(answered) = answers_agree("cxr/png/") else {
        return;
    };
    assert_eq!(answered, 12);
}

#[test]
fn jpeg_radiographs_get_the_expected_probabilities() {
    let Some(answered) = answers_agree("cxr/jpeg/") else {
        return;
    };
    assert_eq!(answered, 90);
}

/// The demo's image, in the repository: this one needs no corpus.
#[test]
fn the_bundled_radiograph_gets_the_answer_that_its_provenance_states() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/assets/RG1_J2KI.dcm");
    let image = image::decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
    assert_eq!((image.width, image.height), (1841, 1955));
    assert_eq!(image.format.to_string(), "DICOM 1.2.840.10008.1.2.4.91");
    let findings = model().infer(&image::preprocess(&image)).unwrap();
    assert_eq!(findings.len(), 3);
    for (finding, want) in findings.iter().zip([0.437798, 0.168411, 0.393791]) {
        assert!((finding.probability - want).abs() < 1e-5, "{findings:?}");
    }
}

/// Every image of the corpus folder `dicom/` that is refused, and a part of why.
const REFUSED: [(&str, &str); 21] = [
    ("JPEG-lossy.dcm", "SOF1 with 12 bits"),
    ("OBXXXX1A_rle_2frame.dcm", "more than one frame"),
    (
        "SC_rgb_16bit.dcm",
        "photometric interpretation with 3 samples",
    ),
    ("SC_rgb_dcmtk_pebpcr.dcm", "colour space"),
    ("SC_rgb_jls_lossy_line.dcm", "colour space"),
    // Its data set is implicit VR, against its transfer syntax.
    ("SC_rgb_jpeg.dcm", "no valid VR"),
    ("SC_rgb_jpeg_gdcm.dcm", "colour space"),
    (
        "SC_rgb_rle_16bit.dcm",
        "photometric interpretation with 3 samples",
    ),
    ("SC_rgb_rle_2frame.dcm", "more than one frame"),
    ("SC_rgb_rle_32bit.dcm", "32 bits allocated"),
    ("SC_ybr_full_422_uncompressed.dcm", "colour space"),
    ("eCT_Supplemental.dcm", "more than one frame"),
    ("emri_small.dcm", "more than one frame"),
    ("emri_small_RLE.dcm", "more than one frame"),
    ("emri_small_jpeg_2k_lossless.dcm", "more than one frame"),
    ("emri_small_jpeg_ls_lossless.dcm", "more than one frame"),
    (
        "examples_palette.dcm",
        "photometric interpretation with 1 samples",
    ),
    ("examples_ybr_color.dcm", "more than one frame"),
    (
        "gdcm-US-ALOKA-16.dcm",
        "photometric interpretation with 1 samples",
    ),
    ("liver_1frame.dcm", "functional groups"),
    ("rtdose_1frame.dcm", "32 bits allocated"),
];

#[test]
fn every_real_dicom_image_decodes_or_is_refused_for_a_named_reason() {
    let Some(corpus) = corpus() else { return };
    let mut decoded = 0;
    for entry in entries(&corpus, "dicom/") {
        let bytes = std::fs::read(corpus.join(&entry.path)).unwrap();
        let result = image::decode(&bytes, &Limits::default());
        let reason = REFUSED
            .iter()
            .find(|(name, _)| entry.path == format!("dicom/{name}"));
        match (result, reason) {
            (Ok(image), None) => {
                assert_eq!(image.pixels.len(), (image.width * image.height) as usize);
                // A picture, not a blank sheet.
                assert!(
                    image.pixels.iter().min() < image.pixels.iter().max(),
                    "{}",
                    entry.path
                );
                decoded += 1;
            }
            (Err(error), Some((_, reason))) => {
                assert!(
                    error.to_string().contains(reason),
                    "{}: {error}",
                    entry.path
                );
            }
            (Ok(_), Some(_)) => panic!("{}: decoded", entry.path),
            (Err(error), None) => panic!("{}: {error}", entry.path),
        }
    }
    assert_eq!(decoded, 34);
}

/// One radiograph in each lossless encoding of the corpus.
macro_rules! radiographs {
    ($label:literal) => {
        [
            concat!("dicom_cxr/", $label, "_evrle_8.dcm"),
            concat!("dicom_cxr/", $label, "_ivrle_8.dcm"),
            concat!("dicom_cxr/", $label, "_deflated_8.dcm"),
            concat!("dicom_cxr/", $label, "_evrle_12.dcm"),
            concat!("dicom_cxr/", $label, "_evrle_16_nowin.dcm"),
            concat!("dicom_cxr/", $label, "_mono1_12.dcm"),
            concat!("dicom_cxr/", $label, "_rle_12.dcm"),
            concat!("dicom_cxr/", $label, "_jpegls_12.dcm"),
            concat!("dicom_cxr/", $label, "_jpegls_8.dcm"),
            concat!("dicom_cxr/", $label, "_j2k_12.dcm"),
            concat!("dicom_cxr/", $label, "_j2k_8.dcm"),
        ]
    };
}
/// One image in several lossless encodings is one gray image.
#[test]
fn the_encoding_of_an_image_does_not_show_in_its_pixels() {
    let Some(corpus) = corpus() else { return };
    let groups: [&[&str]; 5] = [
        &[
            "dicom/MR_small.dcm",
            "dicom/MR_small_implicit.dcm",
            "dicom/MR_small_bigendian.dcm",
            "dicom/MR_small_RLE.dcm",
            "dicom/MR_small_padded.dcm",
            "dicom/MR_small_jp2klossless.dcm",
            "dicom/MR_small_jpeg_ls_lossless.dcm",
        ],
        &["dicom/693_UNCR.dcm", "dicom/693_J2KR.dcm"],
        &radiographs!("normal"),
        &radiographs!("bacterial_pneumonia"),
        &radiographs!("viral_pneumonia"),
    ];
    for group in groups {
        let mut first = None;
        for path in group {
            let bytes = std::fs::read(corpus.join(path)).unwrap();
            let pixels = image::decode(&bytes, &Limits::default()).unwrap().pixels;
            let same = *first.get_or_insert_with(|| pixels.clone()) == pixels;
            assert!(same, "{path} differs from {}", group[0]);
        }
    }
}

/// The dangerous ones end in the check that was made for them, and so before
/// anything of the declared size exists.
#[test]
fn every_bad_file_ends_as_the_index_says() {
    use DecodeError::{Dicom, NoPixels, TooManyPixels, UnknownFormat};
    let Some(corpus) = corpus() else { return };
    let mut seen = 0;
    for entry in entries(&corpus, "dicom_bad/") {
        let bytes = std::fs::read(corpus.join(&entry.path)).unwrap();
        let result = image::decode(&bytes, &Limits::default());
        let name = entry.path.trim_start_matches("dicom_bad/");
        let as_meant = match name {
            "pixel_len_4g.dcm" => matches!(
                result,
                Err(Dicom(DicomError::LengthBeyondEnd {
                    declared: 0xFFFF_FFF0,
                    ..
                }))
            ),
            "cut_in_pixels.dcm" | "MR_truncated.dcm" | "rtplan_truncated.dcm" => {
                matches!(result, Err(Dicom(DicomError::LengthBeyondEnd { .. })))
            }
            "UN_sequence.dcm" | "waveform_ecg.dcm" | "test-SR.dcm" => {
                matches!(result, Err(Dicom(DicomError::Missing { .. })))
            }
            "meta_missing_tsyntax.dcm" | "preamble_only.dcm" => {
                matches!(result, Err(Dicom(DicomError::Missing { .. })))
            }
            "cut_in_meta.dcm" | "emri_small_jpeg_2k_lossless_too_short.dcm" => {
                matches!(result, Err(Dicom(DicomError::Truncated { .. })))
            }
            "deflate_bomb_200mb.dcm" => {
                matches!(result, Err(Dicom(DicomError::InflatedTooLarge { .. })))
            }
            "rows_cols_65535.dcm" => matches!(result, Err(TooManyPixels { width: 65_535, .. })),
            "rows_zero.dcm" => matches!(result, Err(NoPixels { height: 0, .. })),
            "frames_2g.dcm" => matches!(result, Err(Dicom(DicomError::NotOneFrame))),
            "jpeg_garbage.dcm" => matches!(result, Err(Dicom(DicomError::Codestream))),
            "JPEG2000-embedded-sequence-delimiter.dcm" => {
                matches!(result, Err(Dicom(DicomError::CodestreamDiffers)))
            }
            "unknown_ts.dcm" => matches!(result, Err(Dicom(DicomError::UnknownTransferSyntax))),
            "badVR.dcm" => matches!(result, Err(Dicom(DicomError::Malformed { .. }))),
            "SC_jpeg_no_color_transform.dcm" => {
                matches!(result, Err(Dicom(DicomError::ColourInSyntax { .. })))
            }
            "not_dicom.dcm" => matches!(result, Err(DecodeError::Png(_))),
            "empty.dcm" | "no_meta.dcm" | "rtstruct.dcm" => matches!(result, Err(UnknownFormat)),
            "ExplVR_LitEndNoMeta.dcm" | "ExplVR_BigEndNoMeta.dcm" => {
                matches!(result, Err(UnknownFormat))
            }
            // Odd but whole: their pixels are what they say.
            "bad_sequence.dcm" | "explicit_VR-UN.dcm" => result.is_ok(),
            _ => panic!("{name} is new: say how it ends"),
        };
        assert!(as_meant, "{name}: {result:?}");
        assert!(
            result.is_err() || entry.expect.as_deref() != Some("reject"),
            "{name}"
        );
        seen += 1;
    }
    assert_eq!(seen, 28);
}

/// Files small enough to mutate often, one of each decoder.
const MUTATED: [&str; 11] = [
    "dicom/MR_small.dcm",
    "dicom/MR_small_bigendian.dcm",
    "dicom/MR_small_RLE.dcm",
    "dicom/MR_small_jp2klossless.dcm",
    "dicom/MR_small_jpeg_ls_lossless.dcm",
    "dicom/JPEGLSNearLossless_16.dcm",
    "dicom/SC_rgb_jpeg_dcmtk.dcm",
    "dicom/image_dfl.dcm",
    "dicom_bad/UN_sequence.dcm",
    "cxr/png/normal__IM-0059-0001.png",
    "cxr/jpeg/normal__IM-0059-0001.jpg",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn mutated_files_end_in_an_image_or_an_error(
        file in prop::sample::select(MUTATED.to_vec()),
        near_start in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let Some(corpus) = corpus() else { return Ok(()) };
        let mut bytes = std::fs::read(corpus.join(file)).unwrap();
        for (at, value) in changes {
            // Headers are where the harm is.
            let range = if near_start { bytes.len().min(1500) } else { bytes.len() };
            bytes[at.index(range)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let small = Limits { pixels_max: 1 << 20, ..Limits::default() };
        match image::decode(&bytes, &small) {
            Ok(image) => {
                let pixels = u64::from(image.width) * u64::from(image.height);
                prop_assert_eq!(image.pixels.len() as u64, pixels);
            }
            // Caught, but a decoder that panics must be known here.
            Err(DecodeError::Dicom(DicomError::DecoderPanicked)) => {
                prop_assert!(false, "the decoder panicked");
            }
            Err(_) => {}
        }
    }
}
