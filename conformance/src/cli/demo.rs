//! `drydock demo`: the main job on this machine, as it happens.

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Args;

use crate::{
    demo::{self, Report, Request, SAMPLE, SAMPLE_NAME},
    lab::timeline::Timeline,
    report::style::Style,
};

/// The largest image that is read: the enclave's own bound is lower.
const IMAGE_BYTES_MAX: u64 = 512 << 20;

/// Runs the main job end to end on this machine.
///
/// Starts a cloud (KMS, S3, STS) on a free loopback port, builds and measures
/// the enclave image, binds two keys to it, and sends one image through the
/// whole attested flow. Then tries three things that must not work. Exits with
/// 0 only if the flow succeeded and all three were refused.
#[derive(Debug, Args)]
pub struct Demo {
    /// The image: DICOM, PNG or JPEG [default: a bundled chest radiograph]
    image: Option<PathBuf>,
    /// Print one JSON object instead of the story
    #[arg(long)]
    json: bool,
    /// Keep enclave image, roots, receipt and encrypted result in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Make the simulated hardware (root, certificates, random bytes) repeat
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Demo {
    /// Runs the demo and prints it.
    ///
    /// # Errors
    /// One clear error if anything fails; nothing is printed as a result then.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let (image, name) = match &self.image {
            Some(path) => (read_image(path)?, path.display().to_string()),
            None => (SAMPLE.to_vec(), SAMPLE_NAME.to_owned()),
        };
        let style = Style::stdout();
        let timeline = if self.json {
            Timeline::default()
        } else {
            out(&format!(
                "{} {name}, {} bytes\n",
                style.strong("drydock demo"),
                image.len()
            ));
            Timeline::showing(Arc::new(move |step| {
                let ms = format!("{:>8.1} ms", step.ms);
                out(&format!(
                    "  {} {:<9} {}",
                    style.dim(&ms),
                    step.actor,
                    step.name
                ));
            }))
        };
        let report = demo::run(Request {
            image,
            seed: self.seed,
            keep: self.keep,
            timeline,
        })
        .await?;
        if self.json {
            out(&serde_json::to_string_pretty(&report)?);
        } else {
            show(&report, style);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read_image(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let size = fs::metadata(path)
        .with_context(|| format!("cannot read the image {}", path.display()))?
        .len();
    anyhow::ensure!(
        size <= IMAGE_BYTES_MAX,
        "{} has {size} bytes; at most {IMAGE_BYTES_MAX} are analysed",
        path.display()
    );
    fs::read(path).with_context(|| format!("cannot read the image {}", path.display()))
}

fn show(report: &Report, style: Style) {
    let image = &report.image;
    out(&format!(
        "\n{} ({}, {}x{})",
        style.strong("Findings"),
        image.format,
        image.width,
        image.height
    ));
    for finding in &report.findings {
        out(&format!(
            "  {:<22} {:>6.2} %",
            finding.label,
            finding.probability * 100.0
        ));
    }
    out(&format!("  {}", style.dim(&report.notice)));
    out(&format!("  input SHA-256 {}", report.input_sha256));
    out(&format!("  model SHA-256 {}", report.model_sha256));
    for (index, value) in &report.pcrs {
        out(&format!("  PCR{index:<2} {value}"));
    }
    out(&format!("\n{}", style.strong("Refused, as it must be")));
    for refusal in &report.refusals {
        out(&format!("  {} {}", style.good("refused"), refusal.attempt));
        out(&format!("    KMS answered: {}", refusal.answer));
        out(&format!("    because:      {}", refusal.reason));
    }
}

#[allow(clippy::print_stdout)] // what this verb is for
fn out(line: &str) {
    println!("{line}");
}
