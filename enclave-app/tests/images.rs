//! Real and damaged images through the whole of decode, preprocess and infer.
//!
//! Source of truth: the corpus's `EXPECTED.json` (probabilities by onnxruntime on
//! Pillow's preprocessing) and `INDEX.json` (what may be refused). The corpus is
//! not part of the repository; without it these tests say that they skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use enclave_app::image::{self, DecodeError, DicomError, JpegError, Limits};
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

fn is_jpeg_ls(error: &DecodeError) -> bool {
    matches!(
        error,
        DecodeError::Dicom(DicomError::UnsupportedTransferSyntax {
            uid: "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81",
            ..
        })
    )
}

/// Runs every file of a folder that has an expectation; returns how many were
/// answered, and which were refused as JPEG-LS.
fn answers_agree(folder: &str) -> Option<(usize, Vec<String>)> {
    let corpus = corpus()?;
    let model = model();
    let expected = std::fs::read(corpus.join("EXPECTED.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    let (mut answered, mut refused, mut worst) = (0, Vec::new(), 0f32);
    for (path, want) in expected.expected {
        if !path.starts_with(folder) {
            continue;
        }
        let bytes = std::fs::read(corpus.join(&path)).unwrap();
        let image = match image::decode(&bytes, &Limits::default()) {
            Ok(image) => image,
            Err(error) if is_jpeg_ls(&error) => {
                refused.push(path);
                continue;
            }
            Err(error) => panic!("{path}: {error}"),
        };
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
    println!("{folder}: {answered} answered, worst difference {worst:.1e}, refused {refused:?}");
    Some((answered, refused))
}

#[test]
fn dicom_radiographs_get_the_expected_probabilities() {
    let Some((answered, refused)) = answers_agree("dicom_cxr/") else {
        return;
    };
    assert_eq!(answered, 30);
    assert_eq!(
        refused,
        [
            "dicom_cxr/bacterial_pneumonia_jpegls_12.dcm",
            "dicom_cxr/bacterial_pneumonia_jpegls_8.dcm",
            "dicom_cxr/normal_jpegls_12.dcm",
            "dicom_cxr/normal_jpegls_8.dcm",
            "dicom_cxr/viral_pneumonia_jpegls_12.dcm",
            "dicom_cxr/viral_pneumonia_jpegls_8.dcm",
        ]
    );
}

#[test]
fn png_radiographs_get_the_expected_probabilities() {
    let Some((answered, refused)) = answers_agree("cxr/png/") else {
        return;
    };
    assert_eq!((answered, refused.len()), (12, 0));
}

#[test]
fn jpeg_radiographs_get_the_expected_probabilities() {
    let Some((answered, refused)) = answers_agree("cxr/jpeg/") else {
        return;
    };
    assert_eq!((answered, refused.len()), (90, 0));
}

#[test]
fn every_real_dicom_image_decodes_or_is_refused_for_a_reason() {
    let Some(corpus) = corpus() else { return };
    let mut outcomes = BTreeMap::new();
    for entry in entries(&corpus, "dicom/") {
        let bytes = std::fs::read(corpus.join(&entry.path)).unwrap();
        let outcome = match image::decode(&bytes, &Limits::default()) {
            Ok(image) => {
                assert_eq!(image.pixels.len(), (image.width * image.height) as usize);
                format!("{}×{} {}", image.width, image.height, image.format)
            }
            Err(error) => error.to_string(),
        };
        println!("{}: {outcome}", entry.path);
        outcomes.insert(entry.path, outcome);
    }
}

#[test]
fn every_bad_file_ends_as_the_index_says() {
    let Some(corpus) = corpus() else { return };
    for entry in entries(&corpus, "dicom_bad/") {
        let bytes = std::fs::read(corpus.join(&entry.path)).unwrap();
        let result = image::decode(&bytes, &Limits::default());
        match &result {
            Ok(image) => println!("{}: {}×{}", entry.path, image.width, image.height),
            Err(error) => println!("{}: {error} {error:?}", entry.path),
        }
        if entry.expect.as_deref() == Some("reject") {
            assert!(result.is_err(), "{}", entry.path);
        }
    }
}
