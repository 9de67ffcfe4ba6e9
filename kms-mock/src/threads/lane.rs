//! Which of several places a thread takes.
//!
//! What every call counts or notes lies in as many places as there are lanes, and
//! a thread always takes the same: memory that two cores write by turns costs each
//! of them more than the rest of such a note.

use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static NUMBER: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// This thread's of `lanes` places; 0 if there are none. Threads are told apart as
/// long as there are places enough.
pub(crate) fn lane(lanes: usize) -> usize {
    NUMBER.with(|number| number.checked_rem(lanes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    #[test]
    fn a_thread_keeps_its_lane_and_another_has_another() {
        assert_eq!(lane(0), 0);
        assert_eq!(lane(1), 0);
        let many = 1 << 20;
        let lanes: BTreeSet<usize> = (0..8)
            .map(|_| {
                let thread = thread::spawn(move || (lane(many), lane(many)));
                let (first, again) = thread.join().unwrap();
                assert_eq!(first, again);
                first
            })
            .collect();
        assert_eq!(lanes.len(), 8);
        assert!(!lanes.contains(&lane(many)));
    }
}
