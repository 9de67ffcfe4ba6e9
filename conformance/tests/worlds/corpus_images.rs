//! The corpus's radiographs through the whole attested flow: what the clinician
//! reads is what onnxruntime computed for the same file.

use std::{collections::BTreeMap, path::PathBuf};

use conformance::lab::{JobStatus, Lab, Mode, Options, hospital};
use serde::Deserialize;

/// How far a probability may lie from onnxruntime's on Pillow's resize.
const TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Expectations {
    expected: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    probabilities: Vec<f64>,
}

fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    if folder.join("images/EXPECTED.json").is_file() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no corpus in {}",
        folder.display()
    );
    println!(
        "skipped: no corpus in {} (set DRYDOCK_CORPUS)",
        folder.display()
    );
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn every_corpus_radiograph_comes_back_with_onnxruntimes_probabilities() {
    let Some(corpus) = corpus() else { return };
    let images = corpus.join("images");
    let text = std::fs::read_to_string(images.join("EXPECTED.json")).unwrap();
    let expected = serde_json::from_str::<Expectations>(&text)
        .unwrap()
        .expected;
    let mut jpegs = 0;
    let chosen: Vec<_> = expected
        .iter()
        .filter(|(name, _)| {
            jpegs += u32::from(name.starts_with("cxr/jpeg/"));
            !name.starts_with("cxr/jpeg/") || jpegs <= 10
        })
        .collect();
    assert_eq!(chosen.len(), 36 + 12 + 10);

    let lab = Lab::start(Options::default()).await.unwrap();
    let (mut parent, enclave) =
        tokio::try_join!(lab.start_parent(), lab.start_enclave(Mode::Production)).unwrap();
    for (number, (name, expected)) in chosen.into_iter().enumerate() {
        let image = std::fs::read(images.join(name)).unwrap();
        let job = format!("corpus-{number}");
        let uploaded = hospital::upload(&lab.cloud, &lab.submitter, &job, &image, lab.now())
            .await
            .unwrap();
        let outcome = parent.submit(&uploaded.objects).await.unwrap();
        assert_eq!(outcome.status, JobStatus::Done, "{name}: {outcome:?}");
        let reading = lab.read(&uploaded).await.unwrap();
        let findings = &reading.report.findings;
        assert_eq!(findings.len(), expected.probabilities.len(), "{name}");
        let found = findings.iter().map(|finding| finding.probability);
        for (found, expected) in found.zip(&expected.probabilities) {
            assert!(
                (found - expected).abs() <= TOLERANCE,
                "{name}: {found} against {expected}"
            );
        }
    }
    enclave.stop().await.unwrap();
    parent.stop().await.unwrap();
}
