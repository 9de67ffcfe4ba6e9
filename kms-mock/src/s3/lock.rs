//! Object lock: versions that nobody deletes before a date, or while a hold is on.
//!
//! Source of truth: Amazon S3 user guide, "Locking objects with Object Lock", and
//! answers recorded from AWS. A lock keeps a version; a delete marker may hide it
//! all the same. Not modelled: the permission to bypass governance, as there is
//! no authorization here; who is authenticated has it.

use nsm_sim::clock::UnixMillis;
use s3s::{S3Error, S3Result, dto, s3_error};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    Objects, Sent,
    errors::{EMPTY, detailed, fault, invalid_argument, malformed},
    objects::version,
    store::StoreError,
};

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
    Days(u32),
    Years(u32),
}

/// What keeps a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) retention: Option<Retention>,
    /// Whether the legal hold is on; `None` if nobody ever said.
    pub(crate) hold: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retention {
    mode: Mode,
    #[serde(with = "super::keep::millis")]
    until: UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    Governance,
    Compliance,
}

/// S3's longest default retention.
const YEARS_MAX: u32 = 100;
const DAYS_MAX: u32 = 36_500;
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
    fn read(asked: &dto::DefaultRetention) -> Option<Self> {
        let mode = Mode::named(asked.mode.as_ref()?.as_str())?;
        let positive = |count: i32| u32::try_from(count).ok().filter(|it| *it > 0);
        let period = match (asked.days, asked.years) {
            (Some(days), None) => Period::Days(positive(days).filter(|it| *it <= DAYS_MAX)?),
            (None, Some(years)) => Period::Years(positive(years).filter(|it| *it <= YEARS_MAX)?),
            _ => return None,
        };
        Some(Self { mode, period })
    }

    fn shown(self) -> dto::DefaultRetention {
        let count = |count: u32| i32::try_from(count).ok();
        let (days, years) = match self.period {
            Period::Days(days) => (count(days), None),
            Period::Years(years) => (None, count(years)),
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
    pub(super) fn asked(
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
    pub(super) fn in_bucket(self, bucket: Option<BucketLock>, now: UnixMillis) -> S3Result<Self> {
        match bucket {
            None if self == Self::default() => Ok(self),
            None => Err(no_bucket_lock()),
            Some(BucketLock { default }) => Ok(Self {
                retention: self.retention.or(default.map(|it| it.from(now))),
                ..self
            }),
        }
    }

    /// Refuses what would delete the version.
    pub(crate) fn check_deletion(&self, now: UnixMillis, bypass: bool) -> Result<(), StoreError> {
        let held = self.hold == Some(true);
        let retained = self.retention.is_some_and(|it| it.holds(now, bypass));
        if held || retained {
            return Err(StoreError::Locked);
        }
        Ok(())
    }

    fn check_change(
        &self,
        new: Option<Retention>,
        now: UnixMillis,
        bypass: bool,
    ) -> Result<(), StoreError> {
        match self.retention {
            Some(old) if old.is_cut_by(new, now) && old.holds(now, bypass) => {
                Err(StoreError::Locked)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn shown_mode(&self) -> Option<dto::ObjectLockMode> {
        let mode = self.retention?.mode;
        Some(dto::ObjectLockMode::from_static(mode.name()))
    }

    pub(super) fn shown_until(&self) -> Option<dto::Timestamp> {
        self.retention.map(|it| exactly(it.until))
    }

    pub(super) fn shown_hold(&self) -> Option<dto::ObjectLockLegalHoldStatus> {
        let name = if self.hold? {
            dto::ObjectLockLegalHoldStatus::ON
        } else {
            dto::ObjectLockLegalHoldStatus::OFF
        };
        Some(dto::ObjectLockLegalHoldStatus::from_static(name))
    }
}

impl Objects {
    pub(super) fn bucket_lock(
        &self,
        input: dto::GetObjectLockConfigurationInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectLockConfigurationOutput> {
        let Some(lock) = self.store.settings(&input.bucket)?.lock else {
            let error = s3_error!(
                ObjectLockConfigurationNotFoundError,
                "Object Lock configuration does not exist for this bucket"
            );
            return Err(detailed(error, &[("BucketName", &input.bucket)]));
        };
        let rule = lock.default.map(|default| dto::ObjectLockRule {
            default_retention: Some(default.shown()),
        });
        let enabled = dto::ObjectLockEnabled::from_static(dto::ObjectLockEnabled::ENABLED);
        Ok(dto::GetObjectLockConfigurationOutput {
            object_lock_configuration: Some(dto::ObjectLockConfiguration {
                object_lock_enabled: Some(enabled),
                rule,
            }),
        })
    }

    pub(super) fn lock_bucket(
        &self,
        input: dto::PutObjectLockConfigurationInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectLockConfigurationOutput> {
        self.store.owner(&input.bucket)?;
        let Some(asked) = input.object_lock_configuration else {
            return Err(s3_error!(MissingRequestBodyError, "{EMPTY}"));
        };
        let enabled = asked.object_lock_enabled.as_ref();
        if enabled.is_none_or(|it| it.as_str() != dto::ObjectLockEnabled::ENABLED) {
            return Err(malformed());
        }
        let default = asked.rule.map(|rule| {
            let default = rule.default_retention.as_ref();
            default.and_then(DefaultRetention::read)
        });
        let default = match default {
            None => None,
            Some(None) => return Err(malformed()),
            Some(read) => read,
        };
        self.store
            .lock_bucket(&input.bucket, BucketLock { default })?;
        Ok(dto::PutObjectLockConfigurationOutput::default())
    }

    pub(super) fn retention(
        &self,
        input: dto::GetObjectRetentionInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectRetentionOutput> {
        let lock = self.lock_of(&input.bucket, &input.key, input.version_id.as_deref())?;
        let retention = lock.retention.ok_or_else(unlocked)?;
        let mode = dto::ObjectLockRetentionMode::from_static(retention.mode.name());
        Ok(dto::GetObjectRetentionOutput {
            retention: Some(dto::ObjectLockRetention {
                mode: Some(mode),
                retain_until_date: Some(exactly(retention.until)),
            }),
        })
    }

    pub(super) fn retain(
        &self,
        input: dto::PutObjectRetentionInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectRetentionOutput> {
        let (bucket, key) = (&input.bucket, &input.key);
        self.lock_of(bucket, key, input.version_id.as_deref())?;
        let now = self.clock.now();
        let asked = input.retention.unwrap_or_default();
        let new = match (asked.mode, asked.retain_until_date) {
            // An empty one takes the retention off.
            (None, None) => None,
            (Some(mode), Some(until)) => Some(Retention {
                mode: Mode::named(mode.as_str()).ok_or_else(malformed)?,
                until: in_future(&until, now, "RetainUntilDate")?,
            }),
            _ => return Err(malformed()),
        };
        let bypass = input.bypass_governance_retention == Some(true);
        let id = version(input.version_id.as_deref())?;
        self.store.mark_object(bucket, key, id.as_ref(), |old| {
            let mut marks = *old;
            marks.lock.check_change(new, now, bypass)?;
            marks.lock.retention = new;
            Ok(marks)
        })?;
        Ok(dto::PutObjectRetentionOutput::default())
    }

    pub(super) fn legal_hold(
        &self,
        input: dto::GetObjectLegalHoldInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectLegalHoldOutput> {
        let lock = self.lock_of(&input.bucket, &input.key, input.version_id.as_deref())?;
        let status = Some(lock.shown_hold().ok_or_else(unlocked)?);
        Ok(dto::GetObjectLegalHoldOutput {
            legal_hold: Some(dto::ObjectLockLegalHold { status }),
        })
    }

    pub(super) fn hold(
        &self,
        input: dto::PutObjectLegalHoldInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectLegalHoldOutput> {
        let (bucket, key) = (&input.bucket, &input.key);
        self.store.owner(bucket)?;
        let asked = input.legal_hold.ok_or_else(malformed)?;
        self.lock_of(bucket, key, input.version_id.as_deref())?;
        let status = asked.status.ok_or_else(malformed)?;
        let hold = Some(on_or_off(status.as_str()).ok_or_else(malformed)?);
        let id = version(input.version_id.as_deref())?;
        self.store.mark_object(bucket, key, id.as_ref(), |old| {
            let mut marks = *old;
            marks.lock.hold = hold;
            Ok(marks)
        })?;
        Ok(dto::PutObjectLegalHoldOutput::default())
    }

    /// The lock of a version in a bucket that has object lock.
    fn lock_of(&self, bucket: &str, key: &str, version_id: Option<&str>) -> S3Result<Lock> {
        if self.store.settings(bucket)?.lock.is_none() {
            return Err(no_bucket_lock());
        }
        let id = version(version_id)?;
        let found = self.store.get(bucket, key, id.as_ref())?;
        Ok(found.object.description.marks.lock)
    }

    /// Reads `x-amz-bypass-governance-retention`, which S3 takes only where
    /// there may be something to bypass.
    pub(super) fn bypass(&self, bucket: &str, asked: Option<bool>) -> S3Result<bool> {
        if asked.is_some() && self.store.settings(bucket)?.lock.is_none() {
            let error = s3_error!(
                InvalidArgument,
                "x-amz-bypass-governance-retention is only applicable to Object Lock enabled \
                 buckets."
            );
            let name = "x-amz-bypass-governance-retention";
            return Err(detailed(error, &[("ArgumentName", name)]));
        }
        Ok(asked == Some(true))
    }
}

fn no_bucket_lock() -> S3Error {
    s3_error!(
        InvalidRequest,
        "Bucket is missing Object Lock Configuration"
    )
}

fn unlocked() -> S3Error {
    let message = "The specified object does not have a ObjectLock configuration";
    fault("NoSuchObjectLockConfiguration", 404, message)
}

fn on_or_off(text: &str) -> Option<bool> {
    match text {
        dto::ObjectLockLegalHoldStatus::ON => Some(true),
        dto::ObjectLockLegalHoldStatus::OFF => Some(false),
        _ => None,
    }
}

fn exactly(at: UnixMillis) -> dto::Timestamp {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000);
    dto::Timestamp::from(at.unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

/// Reads a date that must be later than `now`.
fn in_future(until: &dto::Timestamp, now: UnixMillis, argument: &str) -> S3Result<UnixMillis> {
    let at = OffsetDateTime::from(until.clone());
    let millis = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    if millis <= now.0 {
        let message = "The retain until date must be in the future!";
        return Err(invalid_argument(argument, &in_seattle(at), message));
    }
    Ok(UnixMillis(millis))
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
    let sunday = |month, nth: u8, hour| {
        let first = time::Date::from_calendar_date(at.year(), month, 1).ok()?;
        let days = (7 - first.weekday().number_days_from_sunday()) % 7 + 7 * (nth - 1);
        let day = first + time::Duration::days(i64::from(days));
        Some(day.with_hms(hour, 0, 0).ok()?.assume_utc())
    };
    let (Some(start), Some(end)) = (
        sunday(time::Month::March, 2, 10),
        sunday(time::Month::November, 1, 9),
    ) else {
        return false;
    };
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
