//! Object lock: versions that cannot be deleted before a date, or while a hold is on.
//!
//! Source of truth: Amazon S3 user guide, "Locking objects with Object Lock", and
//! answers recorded from AWS. A lock keeps a version; a delete marker may hide it
//! all the same. Who may bypass governance is the policies' matter.

use nsm_sim::clock::UnixMillis;
use s3s::{S3Error, S3Result, dto, s3_error};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::dates::exactly;
use crate::s3::errors::{detailed, invalid_argument, malformed};

/// Object lock of a bucket that has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketLock {
    /// What a new version gets that names no retention.
    pub(crate) default: Option<DefaultRetention>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DefaultRetention {
    mode: Mode,
    period: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Period {
    Days(u16),
    Years(u16),
}

/// What keeps a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) retention: Option<Retention>,
    /// Whether the legal hold is on; `None` if it was never set.
    pub(crate) hold: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retention {
    mode: Mode,
    #[serde(with = "super::dates::millis")]
    until: UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    Governance,
    Compliance,
}

/// S3's longest default retention.
const YEARS_MAX: u16 = 100;
const DAYS_MAX: u16 = 36_500;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Mode {
    fn named(name: &str) -> Option<Self> {
        match name {
            dto::ObjectLockMode::GOVERNANCE => Some(Self::Governance),
            dto::ObjectLockMode::COMPLIANCE => Some(Self::Compliance),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Governance => dto::ObjectLockMode::GOVERNANCE,
            Self::Compliance => dto::ObjectLockMode::COMPLIANCE,
        }
    }
}

impl DefaultRetention {
    pub(crate) fn read(asked: &dto::DefaultRetention) -> Option<Self> {
        let mode = Mode::named(asked.mode.as_ref()?.as_str())?;
        let positive = |count: i32| u16::try_from(count).ok().filter(|it| *it > 0);
        let period = match (asked.days, asked.years) {
            (Some(days), None) => Period::Days(positive(days).filter(|it| *it <= DAYS_MAX)?),
            (None, Some(years)) => Period::Years(positive(years).filter(|it| *it <= YEARS_MAX)?),
            _ => return None,
        };
        Some(Self { mode, period })
    }

    pub(crate) fn shown(self) -> dto::DefaultRetention {
        let (days, years) = match self.period {
            Period::Days(days) => (Some(days.into()), None),
            Period::Years(years) => (None, Some(years.into())),
        };
        dto::DefaultRetention {
            mode: Some(dto::ObjectLockRetentionMode::from_static(self.mode.name())),
            days,
            years,
        }
    }

    fn from(self, now: UnixMillis) -> Retention {
        let days = match self.period {
            Period::Days(days) => u64::from(days),
            Period::Years(years) => u64::from(years) * 365,
        };
        Retention {
            mode: self.mode,
            until: UnixMillis(now.0.saturating_add(days * DAY_MS)),
        }
    }
}

impl Retention {
    /// Reads the body of PutObjectRetention; an empty one takes the retention off.
    pub(crate) fn read(asked: dto::ObjectLockRetention, now: UnixMillis) -> S3Result<Option<Self>> {
        match (asked.mode, asked.retain_until_date) {
            (None, None) => Ok(None),
            (Some(mode), Some(until)) => Ok(Some(Self {
                mode: Mode::named(mode.as_str()).ok_or_else(malformed)?,
                until: in_future(&until, now, "RetainUntilDate")?,
            })),
            _ => Err(malformed()),
        }
    }

    pub(crate) fn shown(self) -> dto::ObjectLockRetention {
        let mode = dto::ObjectLockRetentionMode::from_static(self.mode.name());
        dto::ObjectLockRetention {
            mode: Some(mode),
            retain_until_date: Some(exactly(self.until)),
        }
    }

    /// Whether a change to `new` would take some of it away.
    fn is_cut_by(self, new: Option<Self>, now: UnixMillis) -> bool {
        let weaker = |new: Self| {
            new.until < self.until || new.mode == Mode::Governance && self.mode == Mode::Compliance
        };
        now < self.until && new.is_none_or(weaker)
    }

    fn holds(self, now: UnixMillis, bypass: bool) -> bool {
        now < self.until && !(bypass && self.mode == Mode::Governance)
    }
}

impl Lock {
    /// Reads the headers of a write.
    pub(crate) fn asked(
        mode: Option<&str>,
        until: Option<&dto::Timestamp>,
        hold: Option<&str>,
        now: UnixMillis,
    ) -> S3Result<Self> {
        const MODE: &str = "x-amz-object-lock-mode";
        const UNTIL: &str = "x-amz-object-lock-retain-until-date";
        let both = |missing: &str| {
            let error = s3_error!(InvalidArgument, "{UNTIL} and {MODE} must both be supplied");
            Err(detailed(error, &[("ArgumentName", missing)]))
        };
        let retention = match (mode, until) {
            (None, None) => None,
            (Some(_), None) => return both(UNTIL),
            (None, Some(_)) => return both(MODE),
            (Some(mode), Some(until)) => {
                let unknown = || invalid_argument(MODE, mode, "Unknown wormMode directive.");
                let mode = Mode::named(mode).ok_or_else(unknown)?;
                let until = in_future(until, now, UNTIL)?;
                Some(Retention { mode, until })
            }
        };
        let hold = hold.map(|hold| {
            let message = "Legal Hold must be either of 'ON' or 'OFF'";
            let unknown = || invalid_argument("x-amz-object-lock-legal-hold", hold, message);
            on_or_off(hold).ok_or_else(unknown)
        });
        let hold = hold.transpose()?;
        Ok(Self { retention, hold })
    }

    /// The lock of a version made now in a bucket with `bucket`'s object lock.
    pub(crate) fn in_bucket(self, bucket: Option<BucketLock>, now: UnixMillis) -> S3Result<Self> {
        match bucket {
            None if self == Self::default() => Ok(self),
            None => Err(no_bucket_lock()),
            Some(BucketLock { default }) => Ok(Self {
                retention: self.retention.or(default.map(|it| it.from(now))),
                ..self
            }),
        }
    }

    /// Whether the version must not be deleted.
    pub(crate) fn keeps(&self, now: UnixMillis, bypass: bool) -> bool {
        let held = self.hold == Some(true);
        held || self.retention.is_some_and(|it| it.holds(now, bypass))
    }

    /// Whether its retention must not become `new`.
    pub(crate) fn forbids(&self, new: Option<Retention>, now: UnixMillis, bypass: bool) -> bool {
        let retention = self.retention;
        retention.is_some_and(|it| it.is_cut_by(new, now) && it.holds(now, bypass))
    }

    pub(crate) fn shown_mode(&self) -> Option<dto::ObjectLockMode> {
        let mode = self.retention?.mode;
        Some(dto::ObjectLockMode::from_static(mode.name()))
    }

    pub(crate) fn shown_until(&self) -> Option<dto::Timestamp> {
        self.retention.map(|it| exactly(it.until))
    }

    pub(crate) fn shown_hold(&self) -> Option<dto::ObjectLockLegalHoldStatus> {
        let name = if self.hold? {
            dto::ObjectLockLegalHoldStatus::ON
        } else {
            dto::ObjectLockLegalHoldStatus::OFF
        };
        Some(dto::ObjectLockLegalHoldStatus::from_static(name))
    }
}

pub(crate) fn no_bucket_lock() -> S3Error {
    s3_error!(
        InvalidRequest,
        "Bucket is missing Object Lock Configuration"
    )
}

/// Reads a legal hold.
pub(crate) fn on_or_off(text: &str) -> Option<bool> {
    match text {
        dto::ObjectLockLegalHoldStatus::ON => Some(true),
        dto::ObjectLockLegalHoldStatus::OFF => Some(false),
        _ => None,
    }
}

/// Reads a date that must be later than `now`.
fn in_future(until: &dto::Timestamp, now: UnixMillis, argument: &str) -> S3Result<UnixMillis> {
    let at = OffsetDateTime::from(until.clone());
    // A date before 1970 does not fit, and has passed.
    match u64::try_from(at.unix_timestamp_nanos() / 1_000_000) {
        Ok(millis) if millis > now.0 => Ok(UnixMillis(millis)),
        _ => {
            let message = "The retain until date must be in the future!";
            Err(invalid_argument(argument, &in_seattle(at), message))
        }
    }
}

/// A date as S3's refusal writes it, in the time of the Pacific coast wherever the
/// bucket is: `Tue Dec 31 16:00:00 PST 2019`.
fn in_seattle(at: OffsetDateTime) -> String {
    let (zone, hours) = if is_summer(at) {
        ("PDT", -7)
    } else {
        ("PST", -8)
    };
    let there = at + time::Duration::hours(hours);
    let (weekday, month) = (there.weekday().to_string(), there.month().to_string());
    format!(
        "{:.3} {:.3} {:02} {:02}:{:02}:{:02} {zone} {}",
        weekday,
        month,
        there.day(),
        there.hour(),
        there.minute(),
        there.second(),
        there.year()
    )
}

/// Summer time in the United States since 2007: from the second Sunday of March
/// to the first of November, 2 o'clock each.
fn is_summer(at: OffsetDateTime) -> bool {
    let sunday = |month, nth: u8, hour: i64| {
        let first = time::Date::from_calendar_date(at.year(), month, 1);
        let first = first.expect("every month of a date's year has a first day");
        let days = (7 - first.weekday().number_days_from_sunday()) % 7 + 7 * (nth - 1);
        let day = first + time::Duration::days(i64::from(days));
        day.midnight().assume_utc() + time::Duration::hours(hour)
    };
    let start = sunday(time::Month::March, 2, 10);
    let end = sunday(time::Month::November, 1, 9);
    (start..end).contains(&at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_in_the_time_of_the_pacific_coast() {
        let table = [
            (1_577_836_800, "Tue Dec 31 16:00:00 PST 2019"),
            (1_583_661_599, "Sun Mar 08 01:59:59 PST 2020"),
            (1_583_661_600, "Sun Mar 08 03:00:00 PDT 2020"),
            (1_604_221_199, "Sun Nov 01 01:59:59 PDT 2020"),
            (1_604_221_200, "Sun Nov 01 01:00:00 PST 2020"),
        ];
        for (secs, written) in table {
            let at = OffsetDateTime::from_unix_timestamp(secs).unwrap();
            assert_eq!(in_seattle(at), written, "{secs}");
        }
    }
}
