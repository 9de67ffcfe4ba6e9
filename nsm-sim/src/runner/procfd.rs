//! A caller's descriptors, seen from the supervisor.
//!
//! Models descriptor identity: duplicates by `pidfd_getfd(2)`, device identity
//! by `stat` of the duplicate or of `/proc/TID/fd/N`. A cached pidfd checks itself: it names one
//! process for ever, and a reused thread id shows as `ESRCH`.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
};

use super::sys;

/// More threads than this at once make the cache start anew.
const CACHED_MAX: usize = 256;

/// Pidfds of recent callers.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    pidfds: HashMap<i32, OwnedFd>,
}

impl Callers {
    /// A duplicate of the caller's descriptor: same open file, our number.
    ///
    /// # Errors
    /// `EBADF` if there is none; `EPERM` where the kernel or an outer profile
    /// forbids it.
    pub(crate) fn duplicate(&mut self, tid: i32, fd: i32) -> io::Result<OwnedFd> {
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        for fresh in [false, true] {
            let pidfd = self.pidfd(tid, fresh)?;
            // SAFETY: plain integers in; a new descriptor or -1 out.
            let dup = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, fd, 0) };
            // SAFETY: the answer of a call that makes a descriptor, and nobody else has it.
            match unsafe { sys::new_descriptor(dup) } {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                made => return made,
            }
        }
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }

    /// Device number of the caller's descriptor, if it is a character device.
    pub(crate) fn character_device(&mut self, tid: i32, fd: i32) -> Option<(u32, u32)> {
        match self.duplicate(tid, fd) {
            Ok(dup) => character_device_of(&fs::File::from(dup).metadata().ok()?),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => None,
            // An outer profile forbids the short way.
            Err(_) => character_device_of(&fs::metadata(format!("/proc/{tid}/fd/{fd}")).ok()?),
        }
    }

    fn pidfd(&mut self, tid: i32, fresh: bool) -> io::Result<i32> {
        if fresh {
            self.pidfds.remove(&tid);
        }
        if let Some(pidfd) = self.pidfds.get(&tid) {
            return Ok(pidfd.as_raw_fd());
        }
        if self.pidfds.len() >= CACHED_MAX {
            self.pidfds.clear();
        }
        let pidfd = open_pidfd(tid)?;
        let raw = pidfd.as_raw_fd();
        self.pidfds.insert(tid, pidfd);
        Ok(raw)
    }
}

fn open_pidfd(tid: i32) -> io::Result<OwnedFd> {
    const PIDFD_THREAD: i32 = libc::O_EXCL; // kernel 6.9
    let open = |pid: i32, flags: i32| {
        // SAFETY: plain integers in; a new descriptor or -1 out.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
        // SAFETY: the answer of a call that makes a descriptor, and nobody else has it.
        unsafe { sys::new_descriptor(fd) }
    };
    match open(tid, PIDFD_THREAD) {
        // Older kernels know processes only; threads share their descriptors.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            open(Status::read(tid).map_or(tid, |status| status.process), 0)
        }
        other => other,
    }
}

fn character_device_of(metadata: &fs::Metadata) -> Option<(u32, u32)> {
    metadata
        .file_type()
        .is_char_device()
        .then(|| device_number(metadata.rdev()))
}

/// `(major, minor)` of a device number.
pub(crate) fn device_number(rdev: u64) -> (u32, u32) {
    (libc::major(rdev), libc::minor(rdev))
}

/// What `/proc/TID/status` says about a thread's signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Process id (`Tgid`).
    pub(crate) process: i32,
    /// Threads in the process.
    pub(crate) threads: u32,
    /// Pending on this thread and not blocked by it.
    pub(crate) own_signals: u64,
    /// Pending on the whole process and not blocked by this thread.
    pub(crate) shared_signals: u64,
}

impl Status {
    /// `None` if the thread is gone.
    pub(crate) fn read(tid: i32) -> Option<Self> {
        Some(Self::parse(
            &fs::read_to_string(format!("/proc/{tid}/status")).ok()?,
        ))
    }

    fn parse(text: &str) -> Self {
        let mut status = Self::default();
        let (mut own, mut shared, mut blocked) = (0, 0, 0);
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            let mask = || u64::from_str_radix(value, 16).unwrap_or(0);
            match name {
                "Tgid" => status.process = value.parse().unwrap_or(0),
                "Threads" => status.threads = value.parse().unwrap_or(0),
                "SigPnd" => own = mask(),
                "ShdPnd" => shared = mask(),
                "SigBlk" => blocked = mask(),
                _ => {}
            }
        }
        status.own_signals = own & !blocked;
        status.shared_signals = shared & !blocked;
        status
    }
}

/// What `/proc/PID/stat` says about a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub(crate) parent: i32,
    /// Resident memory, shared pages included.
    pub(crate) resident_bytes: u64,
}

impl ProcessStat {
    /// Of every process of the machine.
    pub(crate) fn all() -> BTreeMap<i32, Self> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return BTreeMap::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid: i32| {
                let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                Some((pid, Self::parse(&text)?))
            })
            .collect()
    }

    fn parse(text: &str) -> Option<Self> {
        const PARENT: usize = 1;
        const RESIDENT_PAGES: usize = 21;
        // "pid (comm) state ppid …", and comm may hold anything.
        let (_, after) = text.rsplit_once(')')?;
        let field = |n| after.split_whitespace().nth(n);
        let pages: u64 = field(RESIDENT_PAGES)?.parse().ok()?;
        // SAFETY: an integer in, an integer out.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Some(Self {
            parent: field(PARENT)?.parse().ok()?,
            resident_bytes: pages * u64::try_from(page).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_status_names_the_signals_it_would_take_now() {
        let text = "Name:\tx\nTgid:\t41\nPid:\t42\nThreads:\t3\nSigQ:\t0/1\nSigPnd:\t0000000000000002\n\
                    ShdPnd:\t0000000000004001\nSigBlk:\t0000000000000001\nSigIgn:\t0\n";
        let status = Status::parse(text);
        assert_eq!((status.process, status.threads), (41, 3));
        assert_eq!((status.own_signals, status.shared_signals), (2, 0x4000));
    }

    #[test]
    fn a_process_may_call_itself_what_it_likes() {
        let text = "41 (a) 7 (b) R 9 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 5 1000 3 99\n";
        let stat = ProcessStat::parse(text).unwrap();
        assert_eq!(stat.parent, 9);
        assert!(stat.resident_bytes > 0 && stat.resident_bytes.is_multiple_of(3));
        assert_eq!(ProcessStat::parse("41 (a) R 9"), None);
    }

    #[test]
    fn a_descriptor_of_our_own_is_duplicated_and_a_closed_one_is_not() {
        let own = i32::try_from(std::process::id()).unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        let mut callers = Callers::default();
        let dup = callers.duplicate(own, file.as_raw_fd()).unwrap();
        assert_eq!(callers.character_device(own, dup.as_raw_fd()), Some((1, 3)));
        let folder = fs::File::open("/dev").unwrap();
        assert_eq!(callers.character_device(own, folder.as_raw_fd()), None);
        assert_eq!(callers.character_device(own, -1), None);
        let closed = callers.duplicate(own, -1).unwrap_err();
        assert_eq!(closed.raw_os_error(), Some(libc::EBADF));
    }
}
