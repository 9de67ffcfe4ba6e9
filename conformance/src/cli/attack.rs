//! `drydock attack`: everything a hostile parent and a hostile KMS can do, done.

use std::{env, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::{
    case::Judged,
    report::{self, Summary, style::Style},
    suites::{FLOW, HOSTILE, Plan, Suite},
    target::Target,
};

/// The suites that attack: stored objects, jobs and images first, then KMS's
/// answers and its wires.
const MATRIX: [Suite; 2] = [FLOW, HOSTILE];

/// Attacks the main job with a hostile parent and a hostile KMS.
///
/// The enclave application under attack is the one that ships. An attack is
/// repelled when the enclave refuses it with the expected code, nothing stands
/// in S3 afterwards and no wire has carried an image or a data key. Exits with
/// 0 only if all were.
#[derive(Debug, Args)]
pub struct Attack {
    /// Only attacks whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Attack {
    /// Runs the attacks and reports them.
    ///
    /// # Errors
    /// If the report cannot be written or no attack fits.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let style = Style::stdout();
        let quiet = self.json;
        let show = move |case: &Judged| {
            if !quiet {
                out(&report::line(case, style));
            }
        };
        let plan = Plan {
            target: Target::Sim,
            drydock: env::current_exe().context("finding this program")?,
            filter: self.filter.as_deref(),
            on_case: &show,
        };
        let mut judged = Vec::new();
        for suite in MATRIX {
            if !quiet {
                out(&format!(
                    "{} {}",
                    style.strong(suite.name),
                    style.dim(suite.about)
                ));
            }
            judged.extend(suite.run(&plan).await);
        }
        anyhow::ensure!(!judged.is_empty(), "no attack matches the filter");
        let sum = Summary::of(&judged);
        if self.json {
            out(&report::json(&judged)?);
        } else if sum.failed == 0 {
            out(&format!(
                "\n{} held, {} could not be tried",
                sum.passed, sum.skipped
            ));
        } else {
            out(&format!(
                "\n{} held, {} could not be tried, {}",
                sum.passed,
                sum.skipped,
                style.bad(&format!("{} DID NOT HOLD", sum.failed))
            ));
        }
        Ok(if sum.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

#[allow(clippy::print_stdout)] // what this verb is for
fn out(line: &str) {
    println!("{line}");
}
