//! The application's clock: the only place that asks the machine for the time.
//!
//! Source of truth: inside an enclave the kernel's clock (kvm-clock), which the
//! parent can influence; the pipeline therefore compares it with the time in
//! every attestation document (ground truth: KMS §6, attack 13). Does not model
//! leap seconds or monotonic time.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where the application takes its time from; tests stand still.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;
}

/// Whole milliseconds; the longest durations, half a billion years, are that long.
pub(crate) fn millis(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1000);
    whole.saturating_add(duration.subsec_millis().into())
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
        millis(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_is_past_the_first_attestation_document() {
        assert!(SystemClock.now_ms() > 1_600_000_000_000);
    }
}
