//! What works here and may fail on hardware: connections torn down while bytes
//! are on their way.
//!
//! Models a reported failure: a client in an enclave sends, calls
//! `shutdown(SHUT_RDWR)`, and its peer meets `ECONNRESET` before it has read what
//! was sent (aws-nitro-enclaves-samples, pull request 22). Here the bytes arrive
//! all the same, so the moment is reported when `--lint` asks for it: a shutdown
//! both ways with bytes that one of the sides has not read. What is reported
//! happened; what the peer read in time is not seen. Does not look at `close`: a
//! descriptor is not a socket (`dup`, `fork`, exit), and of a socket closed with
//! unread bytes the peer learns here too, by `ECONNRESET`.

use super::{
    notif::Trap,
    sys,
    traps::{Answer, Supervisor},
};

/// More findings than this are not kept apart any more.
const FINDINGS_MAX: usize = 16;

impl Supervisor {
    /// `shutdown` both ways, which the kernel then does.
    pub(crate) fn shutdown(&mut self, trap: &Trap) -> Answer {
        if let Some((socket, ends)) = self.connected(trap) {
            let unread = sys::unread_bytes(sys::of(&socket)).unwrap_or(0);
            let undelivered = sys::has_undelivered_bytes(sys::of(&socket)).unwrap_or(false);
            let finding = match (undelivered, unread) {
                (true, _) => Some("before the peer had read all that was sent".to_owned()),
                (false, 1..) => Some(format!("with {unread} bytes received and not read")),
                (false, _) => None,
            };
            if let Some(finding) = finding {
                self.report(format!("{ends} was shut down both ways {finding}"));
            }
        }
        Answer::Pass
    }

    #[allow(clippy::print_stderr)] // what --lint is for
    fn report(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX && !self.findings.contains(&finding) {
            eprintln!(
                "nsm-sim: lint: {finding}; on hardware the peer may meet ECONNRESET instead of \
                 the bytes: shut down writing alone (SHUT_WR) and read to the end first"
            );
            self.findings.insert(finding);
        }
    }
}
