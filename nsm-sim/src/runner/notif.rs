//! The notification descriptor of the filter: receiving trapped calls and
//! answering them.
//!
//! Models `seccomp_unotify(2)`; source of truth is that page and
//! `linux/seccomp.h`. All its operations are atomic ioctls on one descriptor, so
//! every thread of the supervisor may answer the calls it holds.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// A trapped call, its thread asleep until answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trap {
    /// The kernel's name for this very call.
    pub(crate) id: u64,
    /// The calling thread.
    pub(crate) tid: i32,
    /// System call number.
    pub(crate) number: u32,
    /// Its arguments.
    pub(crate) args: [u64; 6],
}

impl Trap {
    /// Argument `n` as the kernel reads an `int` parameter.
    pub(crate) fn int(&self, n: usize) -> i32 {
        self.args.get(n).map_or(0, |arg| *arg as u32 as i32)
    }

    /// Argument `n` as an address or length.
    pub(crate) fn word(&self, n: usize) -> u64 {
        self.args.get(n).copied().unwrap_or(0)
    }
}

/// Whether an answer reached its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sent {
    /// The caller has it.
    Delivered,
    /// The kernel took it, but a signal may have come first: without
    /// WAIT_KILLABLE_RECV the caller's wait ends either way, and only the caller
    /// knows which. It may repeat the call.
    Unsure,
    /// The caller is gone or was interrupted; it may repeat the call.
    Gone,
}

/// The supervisor's end of the filter.
#[derive(Debug)]
pub(crate) struct Notifier {
    fd: OwnedFd,
    /// ADDFD_SEND (kernel 5.14) is missing: add and answer in two steps.
    two_steps: AtomicBool,
    /// Signals wait while a call is being answered (WAIT_KILLABLE_RECV).
    killable: bool,
}

/// `-ERESTARTSYS`: the kernel's own word for "run the signal, then the call again".
pub(crate) const ERESTARTSYS: i32 = 512;

impl Notifier {
    pub(crate) fn new(fd: OwnedFd, killable: bool) -> Self {
        Self {
            fd,
            two_steps: AtomicBool::new(false),
            killable,
        }
    }

    /// Supervisor and caller take turns on one CPU (kernel 6.6); false where
    /// the kernel does not know it.
    pub(crate) fn wake_synchronously(&self) -> bool {
        const SYNC_WAKE_UP: libc::c_ulong = 1;
        // SAFETY: SET_FLAGS takes the flags by value; no memory is involved.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
                SYNC_WAKE_UP,
            )
        };
        rc == 0
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Waits for the next trapped call.
    ///
    /// # Errors
    /// `ENOENT` when the caller died before it could be looked at; other errors
    /// when no caller is left.
    pub(crate) fn receive(&self) -> io::Result<Trap> {
        // SAFETY: all-zero is a valid value of this plain C struct, and the
        // kernel demands it.
        let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `notif` is a writable struct of the size encoded in the request.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut notif,
            )
        };
        if rc < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Trap {
            id: notif.id,
            tid: notif.pid.cast_signed(),
            number: notif.data.nr.cast_unsigned(),
            args: notif.data.args,
        })
    }

    /// Whether the call still waits: looked at just before each write into its
    /// memory, because a thread that moved on must not be written into.
    pub(crate) fn still_waits(&self, id: u64) -> bool {
        // SAFETY: the request reads one u64 from a live local.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
                &raw const id,
            )
        };
        rc == 0
    }

    /// Answers with a value.
    pub(crate) fn value(&self, id: u64, val: i64) -> Sent {
        self.respond(id, val, 0, 0)
    }

    /// Answers with an errno.
    pub(crate) fn errno(&self, id: u64, errno: i32) -> Sent {
        self.respond(id, 0, -errno, 0)
    }

    /// Lets the kernel run the call as if it had not been trapped.
    pub(crate) fn pass(&self, id: u64) -> Sent {
        self.respond(id, 0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32)
    }

    /// Answers with a new descriptor in the caller's table.
    ///
    /// # Errors
    /// `EMFILE` and kin, which are then the caller's answer.
    pub(crate) fn descriptor(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> io::Result<Sent> {
        let two_steps = self.two_steps.load(Ordering::Relaxed);
        let added = match self.add(id, fd, close_on_exec, !two_steps) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !two_steps => {
                self.two_steps.store(true, Ordering::Relaxed);
                return self.descriptor(id, fd, close_on_exec);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Sent::Gone),
            Err(error) => return Err(error),
            Ok(added) => added,
        };
        Ok(if two_steps {
            self.value(id, i64::from(added))
        } else {
            Sent::Delivered
        })
    }

    fn add(&self, id: u64, fd: BorrowedFd<'_>, cloexec: bool, send: bool) -> io::Result<i32> {
        let mut request = libc::seccomp_notif_addfd {
            id,
            flags: if send {
                libc::SECCOMP_ADDFD_FLAG_SEND as u32
            } else {
                0
            },
            srcfd: fd.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: `request` is a live struct of the size encoded in the request.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ADDFD,
                &raw mut request,
            )
        };
        if rc < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(rc)
        }
    }

    fn respond(&self, id: u64, val: i64, error: i32, flags: u32) -> Sent {
        let mut response = libc::seccomp_notif_resp {
            id,
            val,
            error,
            flags,
        };
        // SAFETY: `response` is a live struct of the size encoded in the request.
        let rc = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut response,
            )
        };
        match rc {
            0 if self.killable => Sent::Delivered,
            0 => Sent::Unsure,
            _ => Sent::Gone,
        }
    }
}
