//! The enclave's memory: one pool for every process of the run.
//!
//! Models what happens when an enclave's memory is used up: its main process does
//! not survive, and the enclave is gone. The pool is what the run's processes
//! hold: their resident pages, those that several share counted once (`Pss`).
//! Source of truth: `proc_pid_stat(5)`, `proc_pid_smaps(5)`. A control group would
//! be exact, but takes a delegated one; so the sum is looked at, and a tree that
//! grows fast is some milliseconds past its limit before it ends. Does not model
//! the kernel's own memory, the image's root file system, which fills memory in
//! an enclave, files in a tmpfs, and which process the kernel would have killed.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{procfd::ProcessStat, sys};

/// How often the sum is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Looking takes at most this part of one CPU's time, whatever the machine runs.
const BUSY_PART_MAX: u32 = 20;

/// The run's processes together held more memory than an enclave of this size has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the enclave ran out of memory: its processes held {} MiB of {limit_mib} MiB, and were ended; \
     raise --memory-mib, as --memory of nitro-cli run-enclave",
    held_bytes >> 20
)]
pub struct MemoryExceeded {
    /// What they held.
    pub held_bytes: u64,
    /// What they may.
    pub limit_mib: u64,
}

impl MemoryExceeded {
    /// The run's exit code then: none that a shell or `timeout` gives.
    pub const EXIT_CODE: u8 = 123;
}

/// The memory of one run.
#[derive(Debug)]
pub(crate) struct Pool {
    limit_bytes: u64,
    /// Resident when last looked at.
    resident_bytes: AtomicU64,
    /// What was held when the limit was passed; zero before.
    exceeded_with: AtomicU64,
}

impl Pool {
    pub(crate) fn of(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            resident_bytes: AtomicU64::new(0),
            exceeded_with: AtomicU64::new(0),
        }
    }

    /// How many bytes were held when the limit was passed, if it was.
    pub(crate) fn exceeded_with(&self) -> Option<u64> {
        match self.exceeded_with.load(Ordering::SeqCst) {
            0 => None,
            bytes => Some(bytes),
        }
    }

    fn free_bytes(&self) -> u64 {
        self.limit_bytes
            .saturating_sub(self.resident_bytes.load(Ordering::SeqCst))
    }

    /// `/proc/meminfo` of a machine with this memory, as far as programs read it.
    pub(crate) fn meminfo(&self) -> String {
        let (total, free) = (self.limit_bytes >> 10, self.free_bytes() >> 10);
        let lines = [
            ("MemTotal", total),
            ("MemFree", free),
            ("MemAvailable", free),
            ("Buffers", 0),
            ("Cached", 0),
            ("SwapCached", 0),
            ("Shmem", 0),
            ("SReclaimable", 0),
            ("SwapTotal", 0),
            ("SwapFree", 0),
        ];
        lines
            .map(|(name, kib)| format!("{:<16}{kib:>8} kB\n", format!("{name}:")))
            .concat()
    }

    /// `struct sysinfo` of this machine with this memory.
    pub(crate) fn sysinfo(&self) -> io::Result<Vec<u8>> {
        let mut info = sys::machine_info()?;
        info.mem_unit = 1;
        info.totalram = self.limit_bytes;
        info.freeram = self.free_bytes();
        (info.sharedram, info.bufferram) = (0, 0);
        (info.totalswap, info.freeswap) = (0, 0);
        (info.totalhigh, info.freehigh) = (0, 0);
        Ok(sys::bytes_of_machine_info(&info))
    }
}

/// Ends a run whose processes hold more than their pool.
#[derive(Debug)]
pub(crate) struct Watch {
    pool: Arc<Pool>,
    /// The main process: its end is the run's.
    main: OwnedFd,
}

impl Watch {
    /// Over the run of this main process.
    ///
    /// # Errors
    /// If its pidfd cannot be duplicated.
    pub(crate) fn over(main: &OwnedFd, pool: &Arc<Pool>) -> io::Result<Self> {
        Ok(Self {
            pool: Arc::clone(pool),
            main: main.try_clone()?,
        })
    }

    /// Looks until the limit is passed or the main process is gone.
    pub(crate) fn keep(&self) {
        let own = std::process::id().cast_signed();
        loop {
            let started = Instant::now();
            if let Some(held) = self.held_past_limit(own) {
                self.pool.exceeded_with.store(held, Ordering::SeqCst);
                let _ = sys::signal_process(sys::of(&self.main), libc::SIGKILL);
                return;
            }
            if sys::signal_process(sys::of(&self.main), 0).is_err() {
                return;
            }
            thread::sleep(LOOK_EVERY.max(started.elapsed() * BUSY_PART_MAX));
        }
    }

    fn held_past_limit(&self, own: i32) -> Option<u64> {
        let tree = descendants(own);
        // Cheap, and never less than the truth.
        let resident: u64 = tree.values().sum();
        self.pool.resident_bytes.store(resident, Ordering::SeqCst);
        if resident <= self.pool.limit_bytes {
            return None;
        }
        let held = tree
            .iter()
            .map(|(pid, resident)| proportional(*pid).unwrap_or(*resident))
            .sum();
        (held > self.pool.limit_bytes).then_some(held)
    }
}

/// Every process below `ancestor`, with the bytes it has resident.
fn descendants(ancestor: i32) -> BTreeMap<i32, u64> {
    let all = ProcessStat::all();
    let mut tree = BTreeMap::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            // Read one after the other, the lines may contradict each other.
            if tree.insert(*pid, stat.resident_bytes).is_none() {
                parents.push(*pid);
            }
        }
    }
    tree
}

/// Bytes of a process's memory, shared pages in equal parts; `None` if it is gone
/// or may not be looked at.
fn proportional(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Read as _, Write as _};

    use super::*;
    use crate::runner::sys::reap;

    const SHARED_BYTES: usize = 32 << 20;

    /// A child that has touched `shared` and waits for a byte.
    fn child_that_touches(shared: *mut u8) -> (i32, PipeWriter) {
        let (mut ready, tells) = io::pipe().unwrap();
        let (waits, until) = io::pipe().unwrap();
        // SAFETY: the child touches memory that is mapped in it, makes system
        // calls and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            for at in (0..SHARED_BYTES).step_by(4096) {
                // SAFETY: within the mapping.
                unsafe { shared.add(at).write_volatile(1) };
            }
            drop(until);
            let _ = (&tells).write_all(b"r");
            let _ = (&waits).read(&mut [0]);
            // SAFETY: ends the child without running anything else of ours.
            unsafe { libc::_exit(0) };
        }
        drop(tells);
        ready.read_exact(&mut [0]).unwrap();
        (pid, until)
    }

    #[test]
    fn a_pool_looks_like_a_machine_of_its_size() {
        let pool = Pool::of(512 << 20);
        pool.resident_bytes.store(12 << 20, Ordering::SeqCst);
        let text = pool.meminfo();
        assert!(text.starts_with("MemTotal:         524288 kB\nMemFree:          512000 kB\n"));
        let info = pool.sysinfo().unwrap();
        assert_eq!(info.len(), size_of::<libc::sysinfo>());
        let word = |at: usize| u64::from_ne_bytes(info[at..at + 8].try_into().unwrap());
        assert_eq!((word(32), word(40)), (512 << 20, 500 << 20));
        pool.resident_bytes.store(u64::MAX, Ordering::SeqCst);
        assert!(pool.meminfo().contains("MemFree:               0 kB"));
    }

    #[test]
    fn what_processes_share_counts_once() {
        // SAFETY: a fresh shared mapping; nothing else knows it.
        let shared = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SHARED_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(shared, libc::MAP_FAILED);
        let children = [(); 3].map(|()| child_that_touches(shared.cast()));
        let tree = descendants(std::process::id().cast_signed());
        let (mut resident, mut held) = (0, 0);
        for (pid, _) in &children {
            resident += tree[pid];
            held += proportional(*pid).unwrap();
        }
        for (pid, mut until) in children {
            until.write_all(b"e").unwrap();
            reap(pid);
        }
        // SAFETY: the mapping made above, unmapped once.
        unsafe { libc::munmap(shared, SHARED_BYTES) };
        let shared = SHARED_BYTES as u64;
        assert!(resident >= 3 * shared, "{resident}");
        assert!((shared..2 * shared).contains(&held), "{held}");
    }
}
