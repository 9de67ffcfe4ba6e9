//! One fault: what goes wrong, for whom and how often.
//!
//! Source of truth: ground truth KMS §4 (AWS's texts and statuses of throttling and
//! of 5xx). Does not model which calls a server's faults have met: that is the list's.

use std::time::Duration;

use rand::{Rng, RngCore};
use serde_json::json;

use super::hostile::Hostile;

/// What goes wrong, for whom and how often. Its text form is the one of
/// `kms-mock serve --fault`:
///
/// ```
/// use kms_mock::faults::{Fault, Kind};
/// let fault = Fault::new(Kind::Throttle).on("Decrypt").next(2);
/// assert_eq!(fault.to_string(), "throttle,operation=Decrypt,next=2");
/// assert_eq!("throttle,operation=Decrypt,next=2".parse(), Ok(fault));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub(super) kind: Kind,
    pub(super) operations: Vec<String>,
    pub(super) principal: Option<String>,
    pub(super) trigger: Trigger,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// ThrottlingException with AWS's text.
    Throttle,
    /// KMSInternalException, 500.
    Internal,
    /// DependencyTimeoutException, 500.
    DependencyTimeout,
    /// KeyUnavailableException, 500.
    KeyUnavailable,
    /// The call waits before it is answered.
    Latency(Latency),
    /// The call takes effect, and the connection ends without an answer.
    Drop,
    /// The call takes effect, and the connection ends within the answer's body.
    Cut {
        /// Bytes of the body that arrive.
        after_bytes: usize,
    },
    /// Grants younger than this are not seen yet, unless the call brings a
    /// grant token.
    StaleGrants {
        /// Their age.
        younger_than: Duration,
    },
    /// KMS judges the call (and its attestation document) by a clock that is
    /// this far ahead.
    ClockSkew {
        /// Milliseconds; negative is behind.
        ahead_ms: i64,
    },
    /// A successful answer is exchanged for one that a hostile KMS would give.
    Answer(Hostile),
}

/// How long a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Anything between two bounds, evenly.
    Uniform {
        /// At least.
        min: Duration,
        /// At most.
        max: Duration,
    },
    /// Mostly short, sometimes long: exponentially distributed around a mean,
    /// cut at ten times the mean.
    Exponential {
        /// The mean.
        mean: Duration,
    },
}

/// The longest wait of any fault: clients give up long before.
pub(super) const LATENCY_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trigger {
    Always,
    Next(u32),
    Probability(f64),
}

impl Fault {
    /// A fault of every call.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            operations: Vec::new(),
            principal: None,
            trigger: Trigger::Always,
        }
    }

    /// Only of this operation, by its name after `TrentService.`; may be said
    /// again for another one.
    #[must_use]
    pub fn on(mut self, operation: impl Into<String>) -> Self {
        self.operations.push(operation.into());
        self
    }

    /// Only of calls by the principal with this ARN, or by any session of the
    /// role with this ARN.
    #[must_use]
    pub fn by(mut self, principal_arn: impl Into<String>) -> Self {
        self.principal = Some(principal_arn.into());
        self
    }

    /// Only of the next `count` calls that fit.
    #[must_use]
    pub fn next(mut self, count: u32) -> Self {
        self.trigger = Trigger::Next(count);
        self
    }

    /// Only of some calls that fit, with a probability from 0 to 1.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.trigger = Trigger::Probability(probability.clamp(0.0, 1.0));
        self
    }

    /// What goes wrong.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) fn fits(&self, occasion: &Occasion<'_>) -> bool {
        let operation = self.operations.is_empty()
            || self
                .operations
                .iter()
                .any(|name| name == occasion.operation);
        let principal = self
            .principal
            .as_deref()
            .is_none_or(|arn| arn == occasion.principal_arn || arn == occasion.role_arn);
        let attested = match &self.kind {
            Kind::Answer(hostile) => !hostile.needs_recipient() || occasion.attested,
            _ => true,
        };
        operation && principal && attested
    }
}

/// A call before it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    pub(crate) operation: &'a str,
    pub(crate) principal_arn: &'a str,
    /// The same unless a session of a role calls.
    pub(crate) role_arn: &'a str,
    /// Whether the call carries a `Recipient`.
    pub(crate) attested: bool,
}

impl Latency {
    pub(super) fn draw(self, dice: &mut impl RngCore) -> Duration {
        let drawn = match self {
            Self::Fixed(wait) => wait,
            Self::Uniform { min, max } => {
                min + max.saturating_sub(min).mul_f64(dice.random::<f64>())
            }
            Self::Exponential { mean } => {
                let even: f64 = dice.random();
                mean.mul_f64((-(1.0 - even).ln()).clamp(0.0, 10.0))
            }
        };
        drawn.min(LATENCY_MAX)
    }
}

/// A refusal that a fault stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injected {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
}

impl Kind {
    pub(super) fn refusal(&self) -> Option<Injected> {
        let (status, code, message) = match self {
            Self::Throttle => (
                400,
                "ThrottlingException",
                "You have exceeded the rate at which you may call KMS. Reduce the frequency of \
                 your calls.",
            ),
            Self::Internal => (
                500,
                "KMSInternalException",
                "The request was rejected because an internal exception occurred. The request \
                 can be retried.",
            ),
            Self::DependencyTimeout => (
                500,
                "DependencyTimeoutException",
                "The system timed out while trying to fulfill the request. You can retry the \
                 request.",
            ),
            Self::KeyUnavailable => (
                500,
                "KeyUnavailableException",
                "The request was rejected because the specified KMS key was not available. You \
                 can retry the request.",
            ),
            _ => return None,
        };
        Some(Injected {
            status,
            code,
            message,
        })
    }
}

impl Injected {
    /// The JSON that KMS would answer.
    pub(crate) fn body(&self) -> Vec<u8> {
        json!({ "__type": self.code, "message": self.message })
            .to_string()
            .into_bytes()
    }
}
