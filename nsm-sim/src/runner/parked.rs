//! Calls of `accept` that wait for somebody to connect, beside the traps that are
//! answered meanwhile.
//!
//! Source of truth: the runner's ground truth §2 (a waiting call is left by a signal
//! its thread takes, and by the socket's receive timeout).

use std::{
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    time::{Duration, Instant},
};

use super::{
    notif::{ERESTARTSYS, Trap},
    procfd::Status,
};

/// How often a parked call looks for a signal its thread should take.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An `accept` with nobody calling yet.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(super) trap: Trap,
    pub(super) listener: OwnedFd,
    pub(super) cookie: u64,
    pub(super) flags: i32,
    pub(super) deadline: Option<Instant>,
    pub(super) looked: Instant,
    /// The last look saw a signal that any thread of the process may take.
    pub(super) saw_shared: bool,
}

impl Parked {
    pub(crate) fn listener(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// When this call wants attention by itself.
    fn due(&self) -> Instant {
        let look = self.looked + LOOK_EVERY;
        self.deadline.map_or(look, |deadline| deadline.min(look))
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due() <= now
    }

    /// How long until then.
    pub(crate) fn next_look(&self, now: Instant) -> Duration {
        // Rounded up: poll counts whole milliseconds.
        self.due().saturating_duration_since(now) + Duration::from_millis(1)
    }
}

/// Whether a parked thread should go back to its own code, and with what.
pub(super) fn interruption(parked: &mut Parked) -> Option<i32> {
    let tid = parked.trap.tid;
    let status = Status::read(tid)?;
    let saw_shared = std::mem::replace(&mut parked.saw_shared, status.shared_signals != 0);
    if status.own_signals != 0 {
        return Some(ERESTARTSYS);
    }
    if status.shared_signals == 0 {
        return None;
    }
    // The kernel offers a process's signal to its main thread first. Another
    // thread cannot know that it was chosen, and ERESTARTSYS to one that was not
    // would leak to its program: wait until clearly nobody else takes it, and
    // then be plain.
    if status.process == tid || status.threads == 1 {
        return Some(ERESTARTSYS);
    }
    saw_shared.then_some(libc::EINTR)
}
