//! The supervisor's loop: each trapped call gets exactly one answer.
//!
//! Models nothing by itself; it dispatches to the device ([`super::nsmdev`]),
//! the paths ([`super::paths`]), the sockets ([`super::sockets`]) and the
//! network ([`super::network`]). Source of truth: the runner's ground truth §2.
//!
//! One thread owns the loop and the calls it cannot answer yet (`accept` with
//! nobody calling). It never waits for anything but the next event: requests to
//! the NSM that take longer than a few microseconds go to a thread of their own,
//! and no socket operation here blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    bpf::{Arch, Call, NSM_REQUEST, VSOCK_LOCAL_CID},
    mem::{self, MemoryFault},
    memory::Pool,
    network::{self, Destination},
    notif::{Notifier, Trap},
    nsmdev::{DeviceGone, Pending, RequestError, RequestQueue},
    parked::Parked,
    paths::{NSM_BACKING, Shown, VSOCK_BACKING},
    procfd::Callers,
    stat::{NodeShape, StatLayout},
    switchboard::World,
    sys,
    vsock::{ADDRESS_BYTES_MAX, Sockets},
};

/// What a trapped call is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The kernel runs the call itself.
    Pass,
    Value(i64),
    Errno(i32),
    /// A descriptor, and whether it closes on exec.
    Give(std::os::fd::OwnedFd, bool),
    /// Somebody else answers, or the caller is gone.
    Later,
}

impl From<MemoryFault> for Answer {
    fn from(fault: MemoryFault) -> Self {
        match fault {
            MemoryFault::BadAddress => Self::Errno(libc::EFAULT),
            MemoryFault::Gone => Self::Later,
            MemoryFault::Forbidden => Self::Errno(libc::EPERM),
        }
    }
}

/// How many calls of each kind were trapped.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; COUNTERS]);

const COUNTERS: usize = Call::Sysinfo as usize + 1;

impl Counters {
    fn count(&self, call: Call) {
        if let Some(counter) = self.0.get(call as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts by call name, zeros left out.
    pub(crate) fn by_name(&self, arch: &Arch) -> BTreeMap<String, u64> {
        (0..1024)
            .filter_map(|number| arch.call(number))
            .filter_map(|call| {
                let count = self.0.get(call as usize)?.load(Ordering::Relaxed);
                (count > 0).then(|| (format!("{call:?}").to_lowercase(), count))
            })
            .collect()
    }
}

/// Everything one run shares between its traps.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) arch: &'static Arch,
    pub(crate) world: World,
    pub(crate) cid: u32,
    pub(crate) shown: Shown,
    /// The run's memory, if it is limited.
    pub(crate) pool: Option<Arc<Pool>>,
    /// Number of the machine's own `/dev/vsock`, which answers for us too.
    pub(crate) machine_vsock: Option<(u32, u32)>,
    /// Whether destinations beyond loopback are refused here, not by the kernel.
    pub(crate) network_is_trapped: bool,
    /// Where NSM requests go; `None` if the run has no NSM.
    pub(crate) nsm: Option<RequestQueue>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) callers: Callers,
    pub(crate) sockets: Sockets,
    pub(crate) parked: Vec<Parked>,
    pub(crate) warned: BTreeSet<i32>,
    /// What the lint has reported.
    pub(crate) findings: BTreeSet<String>,
}

impl Supervisor {
    /// Answers traps until no supervised process is left.
    pub(crate) fn serve(&mut self) {
        loop {
            if !self.parked.is_empty() && !self.wait_with_parked() {
                continue;
            }
            match self.notifier.receive() {
                Ok(trap) => self.handle(trap),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.is_over() => return,
                Err(_) => {} // the caller died between its trap and our look
            }
        }
    }

    fn is_over(&self) -> bool {
        let mut ready = [sys::poll_for_input(self.notifier.raw_fd())];
        let polled = sys::poll(&mut ready, Some(std::time::Duration::ZERO));
        polled.is_err() || ready.iter().any(|fd| fd.revents & libc::POLLHUP != 0)
    }

    /// Waits until a trap or a parked call can go on; true if there is a trap.
    fn wait_with_parked(&mut self) -> bool {
        let mut ready = vec![sys::poll_for_input(self.notifier.raw_fd())];
        ready.extend(
            self.parked
                .iter()
                .map(|parked| sys::poll_for_input(parked.listener())),
        );
        let now = Instant::now();
        let timeout = self.parked.iter().map(|parked| parked.next_look(now)).min();
        if sys::poll(&mut ready, timeout).is_err() {
            return true;
        }
        let (traps, listeners) = ready.split_at(1);
        let trapped = traps.iter().any(|fd| fd.revents != 0);
        let called = listeners.iter().any(|fd| fd.revents != 0);
        let due = || self.parked.iter().any(|parked| parked.is_due(now));
        if called || !trapped || due() {
            self.look_after_parked();
        }
        trapped
    }

    fn handle(&mut self, trap: Trap) {
        let Some(call) = self.arch.call(trap.number) else {
            let _ = self.notifier.pass(trap.id);
            return;
        };
        self.counters.count(call);
        let answer = self.answer(call, trap);
        let _ = self.send(&trap, answer);
    }

    fn answer(&mut self, call: Call, trap: Trap) -> Answer {
        match call {
            Call::Ioctl => self.ioctl(trap),
            Call::Open => self.open(&trap, libc::AT_FDCWD, 0, trap.int(1)),
            Call::Openat => self.open(&trap, trap.int(0), 1, trap.int(2)),
            Call::Openat2 => self.open_by_how(&trap),
            Call::Stat | Call::Lstat => self.stat(&trap, libc::AT_FDCWD, 0, 1, StatLayout::stat),
            Call::Newfstatat => self.stat(&trap, trap.int(0), 1, 2, StatLayout::stat),
            Call::Statx => self.stat(&trap, trap.int(0), 1, 4, StatLayout::statx),
            Call::Access => self.access(&trap, libc::AT_FDCWD, 0, trap.int(1)),
            Call::Faccessat | Call::Faccessat2 => self.access(&trap, trap.int(0), 1, trap.int(2)),
            Call::Readlink => self.readlink(&trap, libc::AT_FDCWD, 0),
            Call::Readlinkat => self.readlink(&trap, trap.int(0), 1),
            Call::Socket => self.socket(&trap),
            Call::Bind => self.bind(&trap),
            Call::Listen => self.listen(&trap),
            Call::Connect => self.connect(&trap),
            Call::Accept => self.accept(trap, 0),
            Call::Accept4 => self.accept(trap, trap.int(3)),
            Call::Getsockname => self.getsockname(&trap),
            Call::Getpeername => self.getpeername(&trap),
            Call::Getsockopt => self.getsockopt(&trap),
            Call::Setsockopt => self.setsockopt(&trap),
            Call::Shutdown => self.shutdown(&trap),
            Call::Sysinfo => self.sysinfo(&trap),
            Call::Sendto => {
                self.send_elsewhere(&trap, trap.word(4), u64::from(trap.int(5).cast_unsigned()))
            }
            Call::Sendmsg => self.sendmsg(&trap, 1),
            Call::Sendmmsg => self.sendmsg(&trap, trap.word(2)),
            Call::IoUringSetup | Call::Prctl | Call::Socketpair => Answer::Pass,
        }
    }

    /// Delivers an answer; a descriptor that finds no caller comes back.
    pub(crate) fn send(&mut self, trap: &Trap, answer: Answer) -> Option<std::os::fd::OwnedFd> {
        use super::notif::Sent;
        let _ = match answer {
            Answer::Later => Sent::Delivered,
            Answer::Pass => self.notifier.pass(trap.id),
            Answer::Value(value) => self.notifier.value(trap.id, value),
            Answer::Errno(errno) => self.notifier.errno(trap.id, errno),
            Answer::Give(fd, cloexec) => {
                match self.notifier.descriptor(trap.id, sys::of(&fd), cloexec) {
                    Ok(sent @ (Sent::Delivered | Sent::Unsure)) => sent,
                    Ok(Sent::Gone) => return Some(fd),
                    Err(error) => {
                        let errno = error.raw_os_error().unwrap_or(libc::EMFILE);
                        let _ = self.notifier.errno(trap.id, errno);
                        return Some(fd);
                    }
                }
            }
        };
        None
    }

    /// Reads the caller's memory; where that is forbidden, says so aloud.
    pub(crate) fn read(&mut self, trap: &Trap, at: u64, into: &mut [u8]) -> Result<(), Answer> {
        mem::read(trap.tid, at, into).map_err(|fault| self.blame(trap, fault))
    }

    /// Writes the caller's memory, unless it has moved on.
    pub(crate) fn write(&mut self, trap: &Trap, at: u64, bytes: &[u8]) -> Result<(), Answer> {
        if !self.notifier.still_waits(trap.id) {
            return Err(Answer::Later);
        }
        mem::write(trap.tid, at, bytes).map_err(|fault| self.blame(trap, fault))
    }

    /// The address argument of `bind` and kin, checked as the kernel checks it
    /// before the protocol sees it.
    pub(crate) fn read_address(
        &mut self,
        trap: &Trap,
        at: u64,
        len: i32,
    ) -> Result<Vec<u8>, Answer> {
        let len = usize::try_from(len)
            .ok()
            .filter(|len| *len <= ADDRESS_BYTES_MAX)
            .ok_or(Answer::Errno(libc::EINVAL))?;
        let mut address = vec![0; len];
        self.read(trap, at, &mut address)?;
        Ok(address)
    }

    fn blame(&mut self, trap: &Trap, fault: MemoryFault) -> Answer {
        if fault == MemoryFault::Forbidden {
            self.warn_unreadable(trap.tid);
        }
        fault.into()
    }

    #[allow(clippy::print_stderr)] // the operator's only chance to learn of it
    pub(crate) fn warn_unreadable(&mut self, tid: i32) {
        const WARNINGS_MAX: usize = 16;
        if self.warned.len() < WARNINGS_MAX && self.warned.insert(tid) {
            let name = std::fs::read_to_string(format!("/proc/{tid}/comm")).unwrap_or_default();
            eprintln!(
                "nsm-sim: thread {tid} ({}) cannot be read: it made itself undumpable, runs as \
                 another user, or kernel.yama.ptrace_scope forbids it; its calls are answered \
                 with EPERM. `nsm-sim doctor` names the fix",
                name.trim_end()
            );
        }
    }

    fn ioctl(&mut self, trap: Trap) -> Answer {
        let (fd, command) = (trap.int(0), trap.int(1).cast_unsigned());
        let Some(device) = self.callers.character_device(trap.tid, fd) else {
            return Answer::Pass;
        };
        if command == VSOCK_LOCAL_CID
            && (device == VSOCK_BACKING || Some(device) == self.machine_vsock)
        {
            return match self.write(&trap, trap.word(2), &self.cid.to_ne_bytes()) {
                Ok(()) => Answer::Value(0),
                Err(answer) => answer,
            };
        }
        if device != NSM_BACKING {
            return Answer::Pass;
        }
        let Some(nsm) = &self.nsm else {
            return Answer::Pass;
        };
        if command != NSM_REQUEST {
            return Answer::Errno(libc::EINVAL);
        }
        match Pending::copy_in(trap) {
            Ok(pending) => match nsm.ask(pending) {
                Ok(()) => Answer::Later,
                Err(DeviceGone) => Answer::Errno(libc::EIO),
            },
            Err(RequestError::Errno(errno)) => Answer::Errno(errno),
            Err(RequestError::Memory(fault)) => self.blame(&trap, fault),
        }
    }

    /// The emulated node that path argument `arg` names, if any.
    fn node(&mut self, trap: &Trap, dirfd: i32, arg: usize) -> Result<super::paths::Node, Answer> {
        match mem::read_path(trap.tid, trap.word(arg)) {
            Ok(Some(path)) => self.shown.find(trap.tid, dirfd, &path).ok_or(Answer::Pass),
            Ok(None) | Err(MemoryFault::BadAddress) => Err(Answer::Pass), // the kernel knows why
            Err(MemoryFault::Gone) => Err(Answer::Later),
            Err(MemoryFault::Forbidden) => {
                self.warn_unreadable(trap.tid);
                Err(Answer::Pass) // any file but ours must still open
            }
        }
    }

    fn open(&mut self, trap: &Trap, dirfd: i32, arg: usize, flags: i32) -> Answer {
        match self.node(trap, dirfd, arg) {
            Err(answer) => answer,
            Ok(node) => match node.open(flags, self.pool.as_deref()) {
                Ok(fd) => Answer::Give(fd, flags & libc::O_CLOEXEC != 0),
                Err(errno) => Answer::Errno(errno),
            },
        }
    }

    fn open_by_how(&mut self, trap: &Trap) -> Answer {
        // struct open_how starts with the flags, 64 bits wide.
        let mut flags = [0; 8];
        if trap.word(3) < flags.len() as u64 {
            return Answer::Pass;
        }
        match self.read(trap, trap.word(2), &mut flags) {
            Ok(()) => {}
            Err(Answer::Later) => return Answer::Later,
            Err(_) => return Answer::Pass, // the kernel finds the same fault
        }
        let flags = u64::from_ne_bytes(flags) as i32;
        if flags & self.arch.not_a_device() != 0 {
            return Answer::Pass;
        }
        self.open(trap, trap.int(0), 1, flags)
    }

    fn stat(
        &mut self,
        trap: &Trap,
        dirfd: i32,
        arg: usize,
        buffer_arg: usize,
        bytes: fn(&StatLayout, &NodeShape) -> Vec<u8>,
    ) -> Answer {
        match self.node(trap, dirfd, arg) {
            Err(answer) => answer,
            Ok(node) => match self.write(
                trap,
                trap.word(buffer_arg),
                &bytes(&self.arch.stat, &node.shape()),
            ) {
                Ok(()) => Answer::Value(0),
                Err(answer) => answer,
            },
        }
    }

    fn access(&mut self, trap: &Trap, dirfd: i32, arg: usize, mode: i32) -> Answer {
        match self.node(trap, dirfd, arg) {
            Err(answer) => answer,
            Ok(node) => match node.access(mode) {
                Ok(()) => Answer::Value(0),
                Err(errno) => Answer::Errno(errno),
            },
        }
    }

    fn sysinfo(&mut self, trap: &Trap) -> Answer {
        let Some(Ok(info)) = self.pool.as_ref().map(|pool| pool.sysinfo()) else {
            return Answer::Pass;
        };
        match self.write(trap, trap.word(0), &info) {
            Ok(()) => Answer::Value(0),
            Err(answer) => answer,
        }
    }

    fn readlink(&mut self, trap: &Trap, dirfd: i32, arg: usize) -> Answer {
        match self.node(trap, dirfd, arg) {
            Err(answer) => answer,
            Ok(_) => Answer::Errno(libc::EINVAL), // exists and is not a link
        }
    }

    /// `connect` and `bind` of sockets that are not ours.
    pub(crate) fn internet(&mut self, trap: &Trap, errno: i32) -> Answer {
        if !self.network_is_trapped {
            return Answer::Pass;
        }
        match self.read_address(trap, trap.word(1), trap.int(2)) {
            Ok(address) => match network::destination(&address) {
                Destination::Here => Answer::Pass,
                Destination::Elsewhere => Answer::Errno(errno),
            },
            Err(Answer::Later) => Answer::Later,
            Err(_) => Answer::Pass, // the kernel finds the same fault
        }
    }

    fn send_elsewhere(&mut self, trap: &Trap, at: u64, len: u64) -> Answer {
        let Ok(len) = i32::try_from(len) else {
            return Answer::Pass;
        };
        match self.read_address(trap, at, len) {
            Ok(address) if network::destination(&address) == Destination::Elsewhere => {
                Answer::Errno(libc::ENETUNREACH)
            }
            Err(Answer::Later) => Answer::Later,
            Ok(_) | Err(_) => Answer::Pass,
        }
    }

    /// `sendmsg`, and `sendmmsg` with `count` messages.
    fn sendmsg(&mut self, trap: &Trap, count: u64) -> Answer {
        const MESSAGES_MAX: u64 = 1024; // UIO_MAXIOV: the kernel takes no more
        const MMSGHDR_BYTES: u64 = 64;
        for n in 0..count.min(MESSAGES_MAX) {
            // struct msghdr starts with the name's address and length.
            let mut head = [0; 16];
            let at = trap.word(1).wrapping_add(n * MMSGHDR_BYTES);
            match self.read(trap, at, &mut head) {
                Ok(()) => {}
                Err(Answer::Later) => return Answer::Later,
                Err(_) => return Answer::Pass, // the kernel finds the same fault
            }
            let [name, len] = [0, 8].map(|at: usize| {
                head.get(at..at + 8)
                    .and_then(|word| word.try_into().ok())
                    .map_or(0, u64::from_ne_bytes)
            });
            let len = len & u64::from(u32::MAX);
            if name != 0 && len != 0 {
                match self.send_elsewhere(trap, name, len) {
                    Answer::Pass => {}
                    answer => return answer,
                }
            }
        }
        Answer::Pass
    }
}
