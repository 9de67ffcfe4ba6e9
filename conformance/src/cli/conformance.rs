//! `drydock conformance`: the cases against a target.

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::{
    case::Judged,
    report::{self, Summary, style::Style},
    suites::{self, Plan},
    target::Target,
};

/// Judges a target against what the real thing does.
///
/// Every case is one sentence about the Nitro Secure Module, KMS or the main
/// flow, with its source. Exits with 0 only if no case failed.
#[derive(Debug, Args)]
pub struct Conformance {
    /// Suites to run [default: all that fit the target]
    suites: Vec<String>,
    /// What to judge
    #[arg(long, value_enum, default_value_t = Target::Sim)]
    target: Target,
    /// Only cases whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Name the suites and what they are about
    #[arg(long)]
    list: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Write a JUnit report too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Conformance {
    /// Runs the cases and reports them.
    ///
    /// # Errors
    /// If a suite is unknown or the report cannot be written.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        if self.list {
            for suite in suites::ALL {
                out(&format!("{:<12} {}", suite.name, suite.about));
            }
            return Ok(ExitCode::SUCCESS);
        }
        let chosen = suites::choose(&self.suites, self.target)?;
        let style = Style::stdout();
        let quiet = self.json;
        let show = move |case: &Judged| {
            if !quiet {
                out(&report::line(case, style));
            }
        };
        let drydock = env::current_exe().context("finding this program")?;
        let plan = Plan {
            target: self.target,
            drydock,
            filter: self.filter.as_deref(),
            on_case: &show,
        };
        let mut judged = Vec::new();
        for suite in chosen {
            if !quiet {
                out(&format!(
                    "{} {}",
                    style.strong(suite.name),
                    style.dim(suite.about)
                ));
            }
            judged.extend(suite.run(&plan).await);
        }
        if let Some(file) = &self.junit {
            fs::write(file, report::junit(&judged))
                .with_context(|| format!("writing {}", file.display()))?;
        }
        let sum = Summary::of(&judged);
        if self.json {
            out(&report::json(&judged)?);
        } else {
            out(&format!("\n{}", report::table(&judged)));
            out(&format!(
                "{} passed, {} failed, {} skipped",
                sum.passed, sum.failed, sum.skipped
            ));
        }
        anyhow::ensure!(
            !judged.is_empty(),
            "no case matches the filter; `drydock conformance --list` names the suites"
        );
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
