//! How the cases went: text for people, JSON and JUnit for machines.

mod junit;
pub mod style;

pub use junit::junit;
use serde::Serialize;
use style::Style;

use crate::case::{Judged, Outcome};

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that could not be judged.
    pub skipped: usize,
}

impl Summary {
    /// Counts `judged`.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        judged.iter().fold(Self::default(), |mut sum, case| {
            match case.outcome {
                Outcome::Passed => sum.passed += 1,
                Outcome::Failed(_) => sum.failed += 1,
                Outcome::Skipped(_) => sum.skipped += 1,
            }
            sum
        })
    }
}

/// One line a case.
#[must_use]
pub fn line(case: &Judged, style: Style) -> String {
    let ms = style.dim(&format!("{:>8.1} ms", case.ms));
    match &case.outcome {
        Outcome::Passed => format!("  {} {ms} {}", style.good("passed "), case.name),
        Outcome::Failed(why) => format!(
            "  {} {ms} {}\n      {why}\n      truth: {}",
            style.bad("FAILED "),
            case.name,
            case.truth
        ),
        Outcome::Skipped(why) => format!("  skipped {ms} {}: {why}", case.name),
    }
}

/// One row a suite and target.
#[must_use]
pub fn table(judged: &[Judged]) -> String {
    let mut rows: Vec<(&str, &str, Vec<Judged>)> = Vec::new();
    for case in judged {
        match rows
            .iter_mut()
            .find(|row| row.0 == case.suite && row.1 == case.target)
        {
            Some(row) => row.2.push(case.clone()),
            None => rows.push((case.suite, &case.target, vec![case.clone()])),
        }
    }
    let mut text = format!(
        "{:<12} {:<34} {:>6} {:>6} {:>7} {:>10}\n",
        "suite", "target", "passed", "failed", "skipped", "ms"
    );
    for (suite, target, cases) in rows {
        let sum = Summary::of(&cases);
        let ms: f64 = cases.iter().map(|case| case.ms).sum();
        text.push_str(&format!(
            "{suite:<12} {target:<34} {:>6} {:>6} {:>7} {ms:>10.1}\n",
            sum.passed, sum.failed, sum.skipped
        ));
    }
    text
}

/// The whole run as one JSON object.
///
/// # Errors
/// If a case holds what JSON cannot.
pub fn json(judged: &[Judged]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Run<'a> {
        summary: Summary,
        cases: &'a [Judged],
    }
    serde_json::to_string_pretty(&Run {
        summary: Summary::of(judged),
        cases: judged,
    })
}
