//! The world's clock: the only place of the simulators that asks the machine
//! for the time.
//!
//! Models: wall-clock time in unix milliseconds, the unit of an attestation
//! document's `timestamp` (ground truth: NSM §4.2). Does not model leap seconds
//! or monotonic time.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The instant `secs` seconds after the epoch; saturates.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = i64::try_from(self.as_secs())
            .ok()
            .and_then(|secs| time::OffsetDateTime::from_unix_timestamp(secs).ok())
            .and_then(|at| {
                at.format(&time::format_description::well_known::Rfc3339)
                    .ok()
            });
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ms after 1970", self.0),
        }
    }
}

/// Where a world takes its time from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current time.
    fn now(&self) -> UnixMillis;
}

/// Whole milliseconds; the longest durations, half a billion years, are that long.
fn millis(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1000);
    whole.saturating_add(duration.subsec_millis().into())
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that may
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        UnixMillis(millis(since))
    }
}

/// A clock that a test or a management port can freeze, shift and advance, so
/// that a three-hour leaf or a thirty-day window expires within one test.
///
/// Clones share the same time.
#[derive(Clone, Debug)]
pub struct SettableClock {
    inner: Arc<Settable>,
}

#[derive(Debug)]
struct Settable {
    /// Frozen time in unix milliseconds, or `RUNNING`.
    frozen: AtomicU64,
    /// Milliseconds added to the machine's clock while it runs.
    offset: AtomicI64,
}

const RUNNING: u64 = u64::MAX;

impl Default for SettableClock {
    fn default() -> Self {
        Self::running()
    }
}

impl SettableClock {
    /// Follows the machine's clock until told otherwise.
    #[must_use]
    pub fn running() -> Self {
        Self {
            inner: Arc::new(Settable {
                frozen: AtomicU64::new(RUNNING),
                offset: AtomicI64::new(0),
            }),
        }
    }

    /// Stands still at `at`.
    #[must_use]
    pub fn frozen(at: UnixMillis) -> Self {
        let clock = Self::running();
        clock.freeze(at);
        clock
    }

    /// Stops the clock at `at`.
    pub fn freeze(&self, at: UnixMillis) {
        self.inner
            .frozen
            .store(at.0.min(RUNNING - 1), Ordering::SeqCst);
    }

    /// Moves the clock forward, whether it stands or runs.
    pub fn advance(&self, by: Duration) {
        let by = millis(by);
        let moved = self
            .inner
            .frozen
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |at| {
                (at != RUNNING).then(|| at.saturating_add(by).min(RUNNING - 1))
            });
        if moved.is_err() {
            let further = |offset: i64| Some(offset.saturating_add_unsigned(by));
            let offset = &self.inner.offset;
            let moved = offset.fetch_update(Ordering::SeqCst, Ordering::SeqCst, further);
            moved.expect("an offset can always be moved");
        }
    }

    /// Runs with the machine's clock shifted by `offset_ms`.
    pub fn shift(&self, offset_ms: i64) {
        self.inner.frozen.store(RUNNING, Ordering::SeqCst);
        self.inner.offset.store(offset_ms, Ordering::SeqCst);
    }
}

impl Clock for SettableClock {
    fn now(&self) -> UnixMillis {
        match self.inner.frozen.load(Ordering::SeqCst) {
            RUNNING => {
                let offset = self.inner.offset.load(Ordering::SeqCst);
                UnixMillis(SystemClock.now().0.saturating_add_signed(offset))
            }
            at => UnixMillis(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_clock_moves_only_when_advanced() {
        let clock = SettableClock::frozen(UnixMillis(1_000));
        assert_eq!(clock.now(), UnixMillis(1_000));
        clock.advance(Duration::from_secs(3 * 3600));
        assert_eq!(clock.now(), UnixMillis(1_000 + 10_800_000));
    }

    #[test]
    fn a_shifted_clock_keeps_its_distance_from_the_machine() {
        let clock = SettableClock::running();
        clock.shift(-60_000);
        let behind = SystemClock.now().since(clock.now());
        assert!(behind >= Duration::from_millis(59_000), "{behind:?}");
    }

    #[test]
    fn time_prints_as_rfc3339() {
        assert_eq!(
            UnixMillis(1_766_678_658_000).to_string(),
            "2025-12-25T16:04:18Z"
        );
    }
}
