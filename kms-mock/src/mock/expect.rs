//! What a test expects to be called, and the requests received when it was not.
//!
//! Models nothing of AWS.

use std::{fmt, ops::RangeInclusive};

use crate::edge::Received;

/// Requests shown when an expectation fails.
const SHOWN_MAX: usize = 50;

/// A kind of request and how often it is to come.
///
/// ```
/// use kms_mock::Expectation;
/// let decrypts = Expectation::of("Decrypt").answered(200).times(1);
/// assert_eq!(decrypts.to_string(), "Decrypt answered 200, once");
/// ```
#[derive(Clone, Debug)]
pub struct Expectation {
    operation: String,
    principal: Option<String>,
    status: Option<u16>,
    times: RangeInclusive<usize>,
}

impl Expectation {
    /// At least one request for `operation`: a KMS operation, an STS or IAM
    /// action, or method and path for S3 (`PUT /bucket/key`).
    #[must_use]
    pub fn of(operation: impl Into<String>) -> Self {
        Self {
            operation: operation.into(),
            principal: None,
            status: None,
            times: 1..=usize::MAX,
        }
    }

    /// Only those by this principal, by its ARN.
    #[must_use]
    pub fn by(mut self, principal_arn: impl Into<String>) -> Self {
        self.principal = Some(principal_arn.into());
        self
    }

    /// Only those answered with this HTTP status.
    #[must_use]
    pub fn answered(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Exactly so often.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = count..=count;
        self
    }

    /// So often or oftener.
    #[must_use]
    pub fn at_least(mut self, count: usize) -> Self {
        self.times = count..=usize::MAX;
        self
    }

    /// Not at all.
    #[must_use]
    pub fn never(self) -> Self {
        self.times(0)
    }

    fn fits(&self, received: &Received) -> bool {
        received.operation == self.operation
            && self
                .principal
                .as_ref()
                .is_none_or(|arn| received.principal.as_deref() == Some(arn))
            && self.status.is_none_or(|status| received.status == status)
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operation)?;
        if let Some(arn) = &self.principal {
            write!(f, " by {arn}")?;
        }
        if let Some(status) = self.status {
            write!(f, " answered {status}")?;
        }
        match (*self.times.start(), *self.times.end()) {
            (0, 0) => f.write_str(", never"),
            (1, 1) => f.write_str(", once"),
            (min, usize::MAX) => write!(f, ", at least {}", count_text(min)),
            (min, _) => write!(f, ", {}", count_text(min)),
        }
    }
}

fn count_text(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

/// Expectations that were not met, with everything that was received.
#[derive(Clone, Debug)]
pub struct Unmet {
    missed: Vec<(Expectation, usize)>,
    received: Vec<Received>,
}

impl Unmet {
    /// Judges `expectations`.
    pub(crate) fn judge(
        expectations: &[Expectation],
        received: Vec<Received>,
    ) -> Result<(), Box<Self>> {
        let missed: Vec<_> = expectations
            .iter()
            .filter_map(|expectation| {
                let count = received.iter().filter(|one| expectation.fits(one)).count();
                (!expectation.times.contains(&count)).then(|| (expectation.clone(), count))
            })
            .collect();
        if missed.is_empty() {
            return Ok(());
        }
        Err(Box::new(Self { missed, received }))
    }
}

impl std::error::Error for Unmet {}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (expectation, count) in &self.missed {
            writeln!(
                f,
                "expected {expectation}; received {}",
                match count {
                    0 => "none".to_owned(),
                    n => count_text(*n),
                }
            )?;
        }
        if self.received.is_empty() {
            return f
                .write_str("nothing was received at all: is the client's endpoint this server?");
        }
        let hidden = self.received.len().saturating_sub(SHOWN_MAX);
        writeln!(f, "received, oldest first:")?;
        if hidden > 0 {
            writeln!(f, "  ({hidden} earlier ones)")?;
        }
        for one in self.received.iter().skip(hidden) {
            write!(
                f,
                "  {} {} {} by {}",
                one.status,
                one.service,
                one.operation,
                one.principal.as_deref().unwrap_or("an unknown caller")
            )?;
            if let Some(reason) = &one.reason {
                write!(f, ": {reason}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nsm_sim::clock::UnixMillis;

    use super::*;
    use crate::world::request_id::RequestId;

    fn received(operation: &str, status: u16) -> Received {
        Received {
            request_id: RequestId::random(),
            at: UnixMillis(0),
            service: "kms",
            operation: operation.to_owned().into(),
            principal: Some("arn:aws:iam::123456789012:root".into()),
            status,
            reason: (status != 200).then(|| "because".to_owned()),
            tls: false,
        }
    }

    #[test]
    fn a_missed_expectation_lists_what_came_instead() {
        let log = vec![received("Decrypt", 400), received("Decrypt", 200)];
        let expect = |one: Expectation| Unmet::judge(&[one], log.clone());
        expect(Expectation::of("Decrypt").times(2)).unwrap();
        expect(Expectation::of("Encrypt").never()).unwrap();
        let unmet = expect(Expectation::of("Decrypt").answered(200).times(2)).unwrap_err();
        assert_eq!(
            unmet.to_string(),
            "expected Decrypt answered 200, 2 times; received once\n\
             received, oldest first:\n  \
             400 kms Decrypt by arn:aws:iam::123456789012:root: because\n  \
             200 kms Decrypt by arn:aws:iam::123456789012:root\n"
        );
        let nothing = Unmet::judge(&[Expectation::of("Sign")], Vec::new()).unwrap_err();
        assert!(nothing.to_string().contains("nothing was received at all"));
    }
}
