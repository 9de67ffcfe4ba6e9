//! The promises about speed, measured against each other in one go.
//!
//! Of a ratio, both sides are interleaved round by round, so that a machine that
//! slows down slows both, and the figure is the median. An absolute time is the
//! fastest round's mean: what the work takes when nothing else runs, and the one
//! figure that other load can only make worse. Criterion shows the spread. The
//! numbers promised are those of `SPECIFICATION.md`.

use std::time::{Duration, Instant};

use crate::{
    operation::Operation,
    promise::{Limit, Promise, median},
    runner::{RunError, Runner},
};

/// Rounds of everything in process and through the runner.
const ROUNDS: usize = 15;

/// Starts of a process, plain and under the runner in turn.
const STARTS: usize = 25;

/// Measures every promise and gives each to `print` as it is ready; whether all
/// were held.
///
/// # Errors
/// When nothing runs under `nsm-sim`.
pub fn check(runner: &Runner, mut print: impl FnMut(&Promise)) -> Result<bool, RunError> {
    let mut all_held = true;
    let mut judge = |promise: Promise| {
        all_held &= promise.is_held();
        print(&promise);
    };
    for (what, name, floor, at_most) in [
        (
            "Attestation over one P-384 signature of the p384 crate",
            "attestation",
            "p384-signature",
            1.3,
        ),
        (
            "document of a new chain over 5 ECDSA verifications",
            "document-new-chain",
            "ecdsa-verify-5",
            1.25,
        ),
        (
            "document of a known chain over 1 ECDSA verification",
            "document-known-chain",
            "ecdsa-verify-1",
            1.25,
        ),
    ] {
        judge(Promise {
            what: what.to_owned(),
            measured: ratio(name, floor),
            limit: Limit::AtMost(at_most),
            unit: "x",
        });
    }
    for name in ["describe-pcr", "describe-nsm", "get-random", "extend-pcr"] {
        judge(Promise {
            what: format!("{name}, in process"),
            measured: time_of_micros(name, 2000),
            limit: Limit::AtMost(5.0),
            unit: "µs",
        });
    }
    for name in ["describe-pcr", "describe-nsm", "get-random"] {
        let times: Result<Vec<f64>, RunError> = (0..ROUNDS)
            .map(|_| Ok(micros(runner.asked(name, 2000)?) / 2000.0))
            .collect();
        judge(Promise {
            what: format!("{name}, through `nsm-sim run`"),
            measured: fastest(times?),
            limit: Limit::AtMost(25.0),
            unit: "µs",
        });
    }
    let (mut under, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        under.push(millis(runner.ran_true(false)?));
        plain.push(millis(runner.ran_true(true)?));
    }
    judge(Promise {
        what: "`nsm-sim run true` over `true`".to_owned(),
        measured: fastest(under) - fastest(plain),
        limit: Limit::AtMost(10.0),
        unit: "ms",
    });
    Ok(all_held)
}

/// The time of one `name` in times of `floor`, round by round.
fn ratio(name: &str, floor: &str) -> f64 {
    let (mut run, mut floor) = (prepared(name), prepared(floor));
    let rounds = (0..ROUNDS)
        .map(|_| batch(&mut run, 20).as_secs_f64() / batch(&mut floor, 20).as_secs_f64());
    median(rounds.collect())
}

fn time_of_micros(name: &str, runs: u32) -> f64 {
    let mut run = prepared(name);
    let rounds = (0..ROUNDS).map(|_| micros(batch(&mut run, runs)) / f64::from(runs));
    fastest(rounds.collect())
}

fn prepared(name: &str) -> Box<dyn FnMut()> {
    Operation::named(name)
        .unwrap_or_else(|| panic!("there is no operation {name}"))
        .prepared()
}

fn batch(run: &mut dyn FnMut(), runs: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        run();
    }
    start.elapsed()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn fastest(figures: Vec<f64>) -> f64 {
    figures.into_iter().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_held_up_to_its_limit() {
        let promise = |measured| Promise {
            what: "work".to_owned(),
            measured,
            limit: Limit::AtMost(5.0),
            unit: "µs",
        };
        assert!(promise(5.0).is_held());
        assert!(!promise(5.1).is_held());
        assert!(promise(5.1).to_string().ends_with("MISSED"));
        assert!(!promise(median(Vec::new())).is_held());
        let yields = |measured| Promise {
            limit: Limit::AtLeast(0.6),
            ..promise(measured)
        };
        assert!(yields(0.6).is_held());
        assert!(!yields(0.59).is_held());
        assert!(!yields(f64::NAN).is_held());
    }

    #[test]
    fn the_median_is_the_middle_one_and_the_fastest_the_least() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(fastest(vec![3.0, 1.0, 2.0]), 1.0);
    }
}
