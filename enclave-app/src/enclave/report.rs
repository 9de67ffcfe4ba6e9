//! What the clinician reads: findings, or why there are none.
//!
//! Both are JSON, padded to whole [`REPORT_BYTES_MULTIPLE`]s and sealed under the
//! results key, so that from outside they differ by the refusal's one word only.
//! Field order is part of the format. Source of truth: ours; the project's README
//! says how to read them. Does not model other languages or versions.

use aws_lc_rs::digest;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    enclave::worker::Decoded,
    job::{Manifest, Refusal},
    model::Finding,
};

/// Says what the figures are not.
pub const NOTICE: &str = "Demonstration model. Not a medical device; not for clinical use.";

/// A sealed report's size tells nothing but how many of these it fills.
pub const REPORT_BYTES_MULTIPLE: usize = 4096;

/// Longest detail of a refusal, in characters: with it a report fills one multiple
/// unless the study's name is unusually long.
const DETAIL_CHARS_MAX: usize = 1024;

/// What every report of a job says.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The job's name.
    pub job: String,
    /// What the findings belong to.
    pub study: String,
    /// SHA-256 of the model.
    pub model_sha256_hex: String,
    /// SHA-256 of the encrypted object, as in the result's public context.
    pub object_sha256_hex: String,
}

impl Subject {
    /// Of a signed job.
    #[must_use]
    pub fn of(manifest: &Manifest, model_sha256_hex: String) -> Self {
        Self {
            job: manifest.job.clone(),
            study: manifest.study.clone(),
            model_sha256_hex,
            object_sha256_hex: hex::encode(manifest.ciphertext_sha256),
        }
    }
}

/// Text whose length tells next to nothing; wiped when dropped.
#[allow(missing_debug_implementations)] // secret
pub struct PaddedText(Zeroizing<Vec<u8>>);

impl PaddedText {
    fn of(report: &impl Serialize) -> Self {
        let text = serde_json::to_vec(report).expect("strings and finite numbers are always JSON");
        let mut text = Zeroizing::new(text);
        let padded = text.len().next_multiple_of(REPORT_BYTES_MULTIPLE);
        text.resize(padded, b' ');
        Self(text)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The report of a job with findings. `input_sha256_hex` is of the image file as
/// decrypted; it stays inside.
#[must_use]
pub fn findings(
    subject: &Subject,
    findings: &[Finding],
    decoded: &Decoded,
    input_sha256_hex: &str,
) -> PaddedText {
    PaddedText::of(&Report {
        job: &subject.job,
        study: &subject.study,
        findings: findings.iter().map(ReportedFinding::from).collect(),
        model_sha256: &subject.model_sha256_hex,
        input_sha256: input_sha256_hex,
        object_sha256: &subject.object_sha256_hex,
        image: ImageDescription {
            format: &decoded.format,
            width: decoded.width,
            height: decoded.height,
        },
        notice: NOTICE,
    })
}

/// The report of a job without: `detail` may repeat what stands in the image.
#[must_use]
pub fn refusal(subject: &Subject, refusal: Refusal, detail: &str) -> PaddedText {
    PaddedText::of(&RefusalReport {
        job: &subject.job,
        study: &subject.study,
        refused: Refused {
            code: refusal.code().as_str(),
            reason: refusal.reason(),
            message: &refusal.to_string(),
            detail: &detail.chars().take(DETAIL_CHARS_MAX).collect::<String>(),
        },
        model_sha256: &subject.model_sha256_hex,
        object_sha256: &subject.object_sha256_hex,
        notice: NOTICE,
    })
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[derive(Serialize)]
struct Report<'a> {
    job: &'a str,
    study: &'a str,
    findings: Vec<ReportedFinding<'a>>,
    model_sha256: &'a str,
    input_sha256: &'a str,
    object_sha256: &'a str,
    image: ImageDescription<'a>,
    notice: &'a str,
}

#[derive(Serialize)]
struct RefusalReport<'a> {
    job: &'a str,
    study: &'a str,
    refused: Refused<'a>,
    model_sha256: &'a str,
    object_sha256: &'a str,
    notice: &'a str,
}

#[derive(Serialize)]
struct Refused<'a> {
    code: &'a str,
    reason: &'a str,
    message: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
struct ReportedFinding<'a> {
    label: &'a str,
    probability: f32,
}

impl<'a> From<&'a Finding> for ReportedFinding<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            label: &finding.label,
            probability: finding.probability,
        }
    }
}

#[derive(Serialize)]
struct ImageDescription<'a> {
    format: &'a str,
    width: u32,
    height: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::{SIDE, Tensor},
        job::refusal::ImageFault,
    };

    fn subject(study: &str) -> Subject {
        Subject {
            job: "j".into(),
            study: study.into(),
            model_sha256_hex: "aa".into(),
            object_sha256_hex: "cc".into(),
        }
    }

    #[test]
    fn reports_fill_whole_pages_and_read_as_json() {
        let decoded = Decoded {
            tensor: Tensor::from_levels(&[0; SIDE * SIDE]).unwrap(),
            format: "PNG".into(),
            width: 2,
            height: 1,
        };
        let finding = Finding {
            label: "normal".into(),
            probability: 0.25,
        };
        for study in ["1", &"9".repeat(4000)] {
            let text = findings(
                &subject(study),
                std::slice::from_ref(&finding),
                &decoded,
                "bb",
            );
            assert_eq!(text.bytes().len() % REPORT_BYTES_MULTIPLE, 0);
            let read: serde_json::Value = serde_json::from_slice(text.bytes()).unwrap();
            assert_eq!(read["findings"][0]["probability"], 0.25);
            assert_eq!(read["image"]["width"], 2);
            assert_eq!(read["study"], study);
        }
    }

    #[test]
    fn a_refusal_and_findings_have_one_size() {
        let damaged = Refusal::Image(ImageFault::Damaged);
        for detail in ["", "PatientName", &"ä".repeat(100_000)] {
            let text = refusal(&subject("1.2.3"), damaged, detail);
            assert_eq!(
                text.bytes().len(),
                REPORT_BYTES_MULTIPLE,
                "{}",
                detail.len()
            );
            let read: serde_json::Value = serde_json::from_slice(text.bytes()).unwrap();
            assert_eq!(read["refused"]["code"], "image");
            assert_eq!(read["refused"]["reason"], "damaged");
            assert!(detail.starts_with(read["refused"]["detail"].as_str().unwrap()));
        }
    }
}
