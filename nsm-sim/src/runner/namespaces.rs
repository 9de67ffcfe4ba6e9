//! What entering namespaces takes before a program runs in them.
//!
//! Models nothing of an enclave: root makes namespaces as it likes, everybody
//! else makes a user namespace beside them and says which user it maps. Source
//! of truth: `user_namespaces(7)`, `unshare(2)`.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::AsRawFd as _,
};

use super::sys;

/// A step that failed, by its number in a caller's list, and the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) step: i32,
    pub(crate) errno: i32,
}

impl Obstacle {
    /// The call that failed last was of `step`.
    pub(crate) fn at(step: i32) -> Self {
        Self {
            step,
            errno: io::Error::last_os_error().raw_os_error().unwrap_or(0),
        }
    }
}

/// Who we are in a user namespace of our own: one user and one group, since more
/// take privileges to map.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Files of `/proc/self` and what to write there.
    maps: [(&'static CStr, CString); 3],
}

impl Identity {
    /// Root there, ourselves outside.
    pub(crate) fn root() -> Self {
        Self::mapping(|_| 0)
    }

    /// Ourselves on both sides.
    pub(crate) fn same() -> Self {
        Self::mapping(|id| id)
    }

    fn mapping(inside: fn(u32) -> u32) -> Self {
        // SAFETY: no arguments, cannot fail.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        // Digits and spaces hold no NUL.
        let map = |id| CString::new(format!("{} {id} 1\n", inside(id))).unwrap_or_default();
        Self {
            maps: [
                (c"/proc/self/setgroups", c"deny".to_owned()),
                (c"/proc/self/uid_map", map(user)),
                (c"/proc/self/gid_map", map(group)),
            ],
        }
    }

    /// Takes this identity in a user namespace just made. System calls only.
    pub(crate) fn assume(&self, step: i32) -> Result<(), Obstacle> {
        for (file, text) in &self.maps {
            let text = text.as_bytes();
            // SAFETY: paths and texts are live and of the lengths given.
            unsafe {
                let file = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if libc::write(file, text.as_ptr().cast(), text.len()) < 0 {
                    return Err(Obstacle::at(step));
                }
                libc::close(file);
            }
        }
        Ok(())
    }
}

/// Tries `enter`, which must make system calls only, in a process that ends at
/// once.
///
/// # Errors
/// Its obstacle, or that of starting a process (step -1).
pub(crate) fn rehearse(enter: impl FnOnce() -> Result<(), Obstacle>) -> Result<(), Obstacle> {
    const NO_PROCESS: i32 = -1;
    let no_process = |error: io::Error| Obstacle {
        step: NO_PROCESS,
        errno: error.raw_os_error().unwrap_or(0),
    };
    let (mut told, tells) = io::pipe().map_err(no_process)?;
    // SAFETY: the child makes system calls on prepared memory only and never
    // returns.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(Obstacle::at(NO_PROCESS));
    }
    if pid == 0 {
        if let Err(Obstacle { step, errno }) = enter() {
            let word = [step.to_ne_bytes(), errno.to_ne_bytes()];
            // SAFETY: writes eight bytes of a live array to a live pipe.
            unsafe { libc::write(tells.as_raw_fd(), word.as_ptr().cast(), 8) };
        }
        // SAFETY: ends the child without running anything of ours.
        unsafe { libc::_exit(0) };
    }
    drop(tells);
    let mut word = Vec::new();
    let read = io::Read::read_to_end(&mut told, &mut word);
    sys::reap(pid);
    read.map_err(no_process)?;
    match word.split_first_chunk::<4>() {
        Some((step, errno)) => Err(Obstacle {
            step: i32::from_ne_bytes(*step),
            errno: errno.try_into().map_or(0, i32::from_ne_bytes),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_reports_step_and_errno_and_changes_nothing() {
        let fails = Obstacle {
            step: 2,
            errno: libc::EPERM,
        };
        assert_eq!(rehearse(|| Err(fails)), Err(fails));
        // SAFETY: integers only; the process is one of our own that ends at once.
        let moved = rehearse(|| match unsafe { libc::chdir(c"/proc".as_ptr()) } {
            0 => Ok(()),
            _ => Err(Obstacle::at(0)),
        });
        assert_eq!(moved, Ok(()));
        assert_ne!(std::env::current_dir().unwrap().as_os_str(), "/proc");
    }
}
