//! The application's clock: the only place that asks the machine for the time.
//!
//! Models: wall-clock time in unix milliseconds, the unit of a job's times and
//! of an attestation document's `timestamp`. Does not model monotonic time;
//! durations are measured with [`std::time::Instant`] where they arise.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where the application takes its time from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;

    /// The same instant in the standard library's type, as the AWS crates want it.
    fn now(&self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.now_ms()))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that may
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
