//! A case: one sentence about how the real thing behaves, the source of that
//! sentence, and code that shows whether a target does.
//!
//! Three outcomes: passed, failed with what was seen, skipped with a reason.

use std::{future::Future, time::Instant};

use nsm_sim::causes::with_causes;
use serde::Serialize;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "lowercase")]
pub enum Outcome {
    /// The target behaves as the sentence says.
    Passed,
    /// It does not; what was seen instead.
    Failed(String),
    /// It could not be asked; why.
    Skipped(String),
}

/// A case that was judged.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// The suite it belongs to.
    pub suite: &'static str,
    /// What was judged.
    pub target: String,
    /// The sentence.
    pub name: String,
    /// Where the sentence comes from.
    pub truth: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

/// Called with every case as it ends.
pub type OnCase<'a> = &'a (dyn Fn(&Judged) + Send + Sync);

/// Judges the cases of one suite against one target, in order.
pub struct Judge<'a> {
    suite: &'static str,
    target: String,
    filter: Option<&'a str>,
    on_case: OnCase<'a>,
    judged: Vec<Judged>,
}

impl std::fmt::Debug for Judge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge")
            .field("suite", &self.suite)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<'a> Judge<'a> {
    /// A judge of `suite` on `target` who only looks at cases whose name holds
    /// `filter`.
    #[must_use]
    pub fn new(
        suite: &'static str,
        target: impl Into<String>,
        filter: Option<&'a str>,
        on_case: OnCase<'a>,
    ) -> Self {
        Self {
            suite,
            target: target.into(),
            filter,
            on_case,
            judged: Vec::new(),
        }
    }

    /// Whether the case `name` is to be judged.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.filter.is_none_or(|filter| name.contains(filter))
    }

    /// Judges one case. An error fails it.
    pub async fn case(
        &mut self,
        name: &str,
        truth: &'static str,
        work: impl Future<Output = anyhow::Result<()>>,
    ) {
        if !self.wants(name) {
            return;
        }
        let start = Instant::now();
        let outcome = match work.await {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(with_causes(error.as_ref())),
        };
        self.note(name, truth, outcome, start.elapsed().as_secs_f64() * 1000.0);
    }

    /// Notes a case that cannot be judged here.
    pub fn skip(&mut self, name: &str, truth: &'static str, reason: String) {
        if self.wants(name) {
            self.note(name, truth, Outcome::Skipped(reason), 0.0);
        }
    }

    /// Notes that nothing of the suite can be judged at all.
    pub fn fail_all(&mut self, error: &anyhow::Error) {
        self.note(
            "the suite can be set up",
            "none",
            Outcome::Failed(with_causes(error.as_ref())),
            0.0,
        );
    }

    fn note(&mut self, name: &str, truth: &'static str, outcome: Outcome, ms: f64) {
        let judged = Judged {
            suite: self.suite,
            target: self.target.clone(),
            name: name.to_owned(),
            truth,
            outcome,
            ms,
        };
        (self.on_case)(&judged);
        self.judged.push(judged);
    }

    /// The judged cases, in order.
    #[must_use]
    pub fn finish(self) -> Vec<Judged> {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_fails_a_case_and_a_filter_leaves_others_out() {
        let mut judge = Judge::new("s", "t", Some("lock"), &|_| {});
        judge
            .case("locks", "x", async { anyhow::bail!("it did not") })
            .await;
        judge.case("unlocks not", "x", async { Ok(()) }).await;
        judge.case("describes", "x", async { Ok(()) }).await;
        let judged = judge.finish();
        assert_eq!(judged.len(), 2);
        assert_eq!(judged[0].outcome, Outcome::Failed("it did not".into()));
        assert_eq!(judged[1].outcome, Outcome::Passed);
    }
}
