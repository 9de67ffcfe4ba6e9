//! A promise about a figure, and whether what was measured holds it.

use std::fmt;

use serde_json::{Value, json};

/// One promise and what was measured.
#[derive(Clone, Debug)]
pub struct Promise {
    /// What is promised.
    pub what: String,
    /// The figure measured.
    pub measured: f64,
    /// What it may be.
    pub limit: Limit,
    /// Of both.
    pub unit: &'static str,
}

/// The bound of a promise, inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Costs.
    AtMost(f64),
    /// Yields.
    AtLeast(f64),
}

impl Promise {
    /// Whether the figure holds it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match self.limit {
            Limit::AtMost(most) => self.measured <= most,
            Limit::AtLeast(least) => self.measured >= least,
        }
    }

    /// The promise for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (bound, limit) = self.bound();
        json!({
            "promise": self.what,
            "measured": self.measured,
            "bound": bound,
            "limit": limit,
            "unit": self.unit,
            "held": self.is_held(),
        })
    }

    fn bound(&self) -> (&'static str, f64) {
        match self.limit {
            Limit::AtMost(most) => ("at most", most),
            Limit::AtLeast(least) => ("at least", least),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            measured,
            limit: _,
            unit,
        } = self;
        let (bound, limit) = self.bound();
        let verdict = if self.is_held() { "held" } else { "MISSED" };
        write!(
            f,
            "{what:<64} {measured:>9.2} {unit:<3} {bound} {limit:>5} {unit:<3} {verdict}"
        )
    }
}

/// The middle of some figures; not a number of none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures
        .get(figures.len() / 2)
        .copied()
        .unwrap_or(f64::INFINITY)
}
