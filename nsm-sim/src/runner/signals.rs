//! Standing between a program and its parent: signals in, exit code out, and
//! nobody left behind.
//!
//! Models a transparent parent. A signal sent to us is passed on; a signal from
//! the terminal has already reached the program, which is in our process group,
//! and is not. A stopped program stops us, so that the shell gets its prompt
//! back. Orphans come to us (subreaper) and end with the main process. Source of
//! truth: `signal(7)`, `prctl(2)` PR_SET_CHILD_SUBREAPER.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _},
    thread,
    time::{Duration, Instant},
};

use super::{procfd::ProcessStat, sys};

/// How long the rest of a tree is waited for after its main process has ended.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Signals that are passed on: those a program may handle and that do not stem
/// from its own instructions.
const PASSED_ON: [i32; 15] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGVTALRM,
    libc::SIGWINCH,
    libc::SIGPWR,
];

/// The calling thread's signals, blocked so that they can be waited for.
#[derive(Debug)]
pub(crate) struct Blocked {
    before: libc::sigset_t,
}

impl Blocked {
    /// Blocks the signals that are passed on, and SIGCHLD.
    pub(crate) fn all_that_are_passed_on() -> io::Result<Self> {
        let set = passed_on_set();
        let mut before = empty_set();
        // SAFETY: both sets are live and initialised. An ignored SIGCHLD would
        // take exit codes away, so it gets its default back.
        unsafe {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            let rc = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            if rc != 0 {
                return Err(io::Error::from_raw_os_error(rc));
            }
        }
        Ok(Self { before })
    }

    /// The mask from before, which the program starts with.
    pub(crate) fn before(&self) -> &libc::sigset_t {
        &self.before
    }
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: all-zero is a valid sigset_t, and sigemptyset makes it official.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    }
}

fn passed_on_set() -> libc::sigset_t {
    let mut set = empty_set();
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    for signal in PASSED_ON
        .into_iter()
        .chain([libc::SIGCHLD])
        .chain(real_time)
    {
        // SAFETY: `set` is live; a bad number would only be refused.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// Makes this process the parent of every orphan below it.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: integers only.
    let rc = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if rc != 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Waits for the main process to end, passing signals on; its exit code.
pub(crate) fn follow(main: i32, pidfd: BorrowedFd<'_>) -> io::Result<u8> {
    let set = passed_on_set();
    // SAFETY: `set` is live; a new descriptor or -1 out.
    let signals =
        unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if signals < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    let mut signals = unsafe { File::from_raw_fd(signals) };
    loop {
        if let Some(code) = collect(main) {
            return Ok(code);
        }
        let mut ready = [
            sys::poll_for_input(signals.as_raw_fd()),
            sys::poll_for_input(pidfd.as_raw_fd()),
        ];
        sys::poll(&mut ready, None)?;
        // Another thread of a larger process may have taken the signal meanwhile.
        if let Some((signal, code)) = read_signal(&mut signals)? {
            let from_a_process = code <= 0; // SI_USER, SI_QUEUE, SI_TKILL
            if signal != libc::SIGCHLD && from_a_process {
                send(main, signal);
            }
        }
    }
}

/// Number and `si_code` of the next signal, if there is one.
fn read_signal(signals: &mut File) -> io::Result<Option<(i32, i32)>> {
    // struct signalfd_siginfo: signo, errno, code, each 32 bits, then the rest.
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    match signals.read_exact(&mut info) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        other => other?,
    }
    let word = |at: usize| {
        info.get(at..at + 4)
            .and_then(|word| word.try_into().ok())
            .map_or(0, i32::from_ne_bytes)
    };
    Ok(Some((word(0), word(8))))
}

/// Reaps whoever has ended; the main process's exit code if it was among them.
fn collect(main: i32) -> Option<u8> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live int.
        let pid = unsafe {
            libc::waitpid(
                -1,
                &raw mut status,
                libc::WNOHANG | libc::WUNTRACED | libc::__WALL,
            )
        };
        if pid <= 0 {
            return None;
        }
        if pid != main {
            continue; // an orphan that came to us
        }
        if libc::WIFSTOPPED(status) {
            // As if it were us who had been stopped: the shell sees its job stop.
            // SAFETY: integers only.
            unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
            send(main, libc::SIGCONT);
            continue;
        }
        return Some(exit_code(status));
    }
}

/// The exit code a shell shows for a wait status.
fn exit_code(status: i32) -> u8 {
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    };
    u8::try_from(code).expect("a wait status has 8 bits of code or a signal below 128")
}

fn send(pid: i32, signal: i32) {
    // SAFETY: integers only; the pid is our unreaped child.
    unsafe { libc::kill(pid, signal) };
}

/// Kills and reaps every process below us.
pub(crate) fn end_everything() {
    let deadline = Instant::now() + END_WITHIN;
    loop {
        let mut status = 0;
        // SAFETY: `status` is a live int.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        match pid {
            1.. => {} // its own children are ours now
            0 if Instant::now() < deadline => {
                for child in children() {
                    send(child, libc::SIGKILL);
                }
                thread::sleep(Duration::from_millis(1));
            }
            _ => return,
        }
    }
}

/// Our direct children.
fn children() -> Vec<i32> {
    let own = std::process::id().cast_signed();
    ProcessStat::all()
        .into_iter()
        .filter(|(_, stat)| stat.parent == own)
        .map(|(pid, _)| pid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(7 << 8), 7);
        assert_eq!(exit_code(libc::SIGSEGV), 139);
        assert_eq!(exit_code(libc::SIGTERM), 143);
    }
}
