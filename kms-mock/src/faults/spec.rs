//! The text form of a fault: what goes wrong, then whom and how often.
//!
//! ```text
//! KIND[=VALUE][,operation=NAME[+NAME…]][,principal=ARN][,next=COUNT|,probability=P]
//! throttle | internal | dependency-timeout | key-unavailable | drop
//! latency=20ms | latency=20ms..200ms | latency=~50ms
//! cut[=BYTES] | stale-grants=5s | clock-skew=+10m
//! forged-cms | replayed-cms | der | plaintext-beside | plaintext-instead | no-cms
//! wrong-key-id | other-blob | sha1-oaep | truncated-cms | trailing-byte | short-key
//! other-recipient
//! ```

use std::{fmt, str::FromStr, time::Duration};

use super::{
    fault::{Fault, Kind, Latency, Trigger},
    hostile::Hostile,
};

/// The bytes of an answer that arrive before a cut, when none are named.
const CUT_AFTER_BYTES: usize = 40;

/// Why a text does not describe a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The first word.
    #[error(
        "`{0}` is not a fault; the faults are throttle, internal, dependency-timeout, key-unavailable, \
         drop, latency=TIME, cut, stale-grants=TIME, clock-skew=TIME, forged-cms, replayed-cms, \
         der, plaintext-beside, plaintext-instead, no-cms, wrong-key-id, other-blob, sha1-oaep, \
         truncated-cms, trailing-byte, short-key, other-recipient"
    )]
    Kind(String),
    /// A time.
    #[error("`{0}` is not a time; write 20ms, 1.5s, 10m or 3h")]
    Time(String),
    /// A number.
    #[error("`{value}` is not a {what}")]
    Number {
        /// What it should be.
        what: &'static str,
        /// What was written.
        value: String,
    },
    /// A word after the first.
    #[error("`{0}` is not operation=, principal=, next= or probability=")]
    Word(String),
}

impl FromStr for Fault {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut words = text.split(',').map(str::trim);
        let mut fault = Self::new(words.next().unwrap_or_default().parse()?);
        for word in words {
            match word.split_once('=') {
                Some(("operation", names)) => {
                    fault.operations.extend(names.split('+').map(str::to_owned));
                }
                Some(("principal", arn)) => fault.principal = Some(arn.to_owned()),
                Some(("next", count)) => {
                    fault.trigger = Trigger::Next(number(count, "count")?);
                }
                Some(("probability", p)) => {
                    let probability = number::<f64>(p, "probability from 0 to 1")?;
                    if !(0.0..=1.0).contains(&probability) {
                        return Err(SpecError::Number {
                            what: "probability from 0 to 1",
                            value: p.to_owned(),
                        });
                    }
                    fault.trigger = Trigger::Probability(probability);
                }
                _ => return Err(SpecError::Word(word.to_owned())),
            }
        }
        Ok(fault)
    }
}

impl FromStr for Kind {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let unknown = || SpecError::Kind(text.to_owned());
        Ok(match text.split_once('=') {
            None => match text {
                "throttle" => Self::Throttle,
                "internal" => Self::Internal,
                "dependency-timeout" => Self::DependencyTimeout,
                "key-unavailable" => Self::KeyUnavailable,
                "drop" => Self::Drop,
                "cut" => Self::Cut {
                    after_bytes: CUT_AFTER_BYTES,
                },
                _ => Self::Answer(Hostile::parse(text).ok_or_else(unknown)?),
            },
            Some(("latency", value)) => Self::Latency(value.parse()?),
            Some(("cut", value)) => Self::Cut {
                after_bytes: number(value, "number of bytes")?,
            },
            Some(("stale-grants", value)) => Self::StaleGrants {
                younger_than: parse_time(value)?,
            },
            Some(("clock-skew", value)) => {
                let (sign, time) = match value.strip_prefix('-') {
                    Some(time) => (-1, time),
                    None => (1, value.strip_prefix('+').unwrap_or(value)),
                };
                let ms = i64::try_from(parse_time(time)?.as_millis())
                    .map_err(|_| SpecError::Time(value.to_owned()))?;
                Self::ClockSkew {
                    ahead_ms: sign * ms,
                }
            }
            Some(_) => return Err(unknown()),
        })
    }
}

impl FromStr for Latency {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if let Some(mean) = text.strip_prefix('~') {
            let mean = parse_time(mean)?;
            return Ok(Self::Exponential { mean });
        }
        match text.split_once("..") {
            None => Ok(Self::Fixed(parse_time(text)?)),
            Some((min, max)) => {
                let (min, max) = (parse_time(min)?, parse_time(max)?);
                if max < min {
                    return Err(SpecError::Time(text.to_owned()));
                }
                Ok(Self::Uniform { min, max })
            }
        }
    }
}

/// `20ms`, `1.5s`, `10m`, `3h`, `7d`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, SpecError> {
    let wrong = || SpecError::Time(text.to_owned());
    let unit = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(wrong)?;
    let (count, unit) = text.split_at(unit);
    let count: f64 = count.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => count / 1000.0,
        "s" => count,
        "m" => count * 60.0,
        "h" => count * 3600.0,
        "d" => count * 86_400.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn number<T: FromStr>(value: &str, what: &'static str) -> Result<T, SpecError> {
    value.parse().map_err(|_| SpecError::Number {
        what,
        value: value.to_owned(),
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.operations.is_empty() {
            write!(f, ",operation={}", self.operations.join("+"))?;
        }
        if let Some(principal) = &self.principal {
            write!(f, ",principal={principal}")?;
        }
        match self.trigger {
            Trigger::Always => Ok(()),
            Trigger::Next(count) => write!(f, ",next={count}"),
            Trigger::Probability(p) => write!(f, ",probability={p}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttle => f.write_str("throttle"),
            Self::Internal => f.write_str("internal"),
            Self::DependencyTimeout => f.write_str("dependency-timeout"),
            Self::KeyUnavailable => f.write_str("key-unavailable"),
            Self::Latency(latency) => write!(f, "latency={latency}"),
            Self::Drop => f.write_str("drop"),
            Self::Cut { after_bytes } => write!(f, "cut={after_bytes}"),
            Self::StaleGrants { younger_than } => {
                write!(f, "stale-grants={}ms", younger_than.as_millis())
            }
            Self::ClockSkew { ahead_ms } => write!(f, "clock-skew={ahead_ms:+}ms"),
            Self::Answer(hostile) => f.write_str(hostile.name()),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(wait) => write!(f, "{}ms", wait.as_millis()),
            Self::Uniform { min, max } => {
                write!(f, "{}ms..{}ms", min.as_millis(), max.as_millis())
            }
            Self::Exponential { mean } => write!(f, "~{}ms", mean.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_reads_back_as_it_is_written() {
        let mut specs: Vec<String> = [
            "throttle",
            "internal,probability=0.25",
            "dependency-timeout,operation=Decrypt+GenerateDataKey",
            "key-unavailable,principal=arn:aws:iam::123456789012:role/R,next=3",
            "drop",
            "latency=20ms",
            "latency=20ms..200ms",
            "latency=~50ms",
            "cut=100",
            "stale-grants=5000ms",
            "clock-skew=+600000ms",
            "clock-skew=-600000ms",
        ]
        .map(str::to_owned)
        .to_vec();
        specs.extend(Hostile::all().map(|hostile| hostile.name().to_owned()));
        for spec in specs {
            let fault: Fault = spec.parse().unwrap_or_else(|e| panic!("{spec}: {e}"));
            assert_eq!(fault.to_string(), spec);
        }
        let skew: Fault = "clock-skew=-10m".parse().unwrap();
        assert_eq!(skew.kind, Kind::ClockSkew { ahead_ms: -600_000 });
    }

    #[test]
    fn mistakes_are_named() {
        for (spec, says) in [
            ("", "`` is not a fault"),
            ("slow", "`slow` is not a fault; the faults are throttle"),
            ("latency=fast", "`fast` is not a time"),
            ("latency=3", "`3` is not a time"),
            ("latency=9s..1s", "is not a time"),
            ("drop,next=many", "`many` is not a count"),
            ("drop,probability=2", "`2` is not a probability"),
            ("drop,probability=NaN", "is not a probability"),
            ("drop,twice", "`twice` is not operation="),
        ] {
            let error = spec.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(says), "{spec}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = text.parse::<Fault>();
        }
    }
}
