//! Starting a process with the filter installed and its notification
//! descriptor in our hands.
//!
//! Models `fork` and `exec` as a shell does them. The child shares our
//! descriptor table until its exec (`CLONE_FILES`), so the descriptor is ours
//! the moment it exists: no message needs to pass that the filter itself might
//! trap. Source of truth: `clone(2)`, `execve(2)` ("the file descriptor table is
//! unshared"), `seccomp(2)`.
//!
//! Between clone and exec the child runs with the memory of what may have been
//! a many-threaded process: it makes system calls on prepared memory and
//! nothing else.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicI32, Ordering},
};

use super::{loopback::OwnLoopback, namespaces::Obstacle, root::Entrance, sys};

/// What the child becomes once the supervisor is ready.
#[derive(Debug)]
pub(crate) enum Become {
    /// The first of these paths that can be executed, with arguments and environment.
    Program {
        paths: Vec<CString>,
        args: Vec<CString>,
        env: Vec<CString>,
    },
    /// A probe in our own code: exits with the errno it returns. Must only make
    /// system calls.
    Probe(fn() -> i32),
}

/// Everything the child needs, made before it exists.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The root to change to; `None` keeps ours.
    pub(crate) root: Option<Entrance>,
    /// A network of its own; `None` stays in ours.
    pub(crate) loopback: Option<OwnLoopback>,
    pub(crate) filter: Vec<libc::sock_filter>,
    /// Ask for WAIT_KILLABLE_RECV.
    pub(crate) wait_killable: bool,
    /// Make one AF_VSOCK socket first, to learn of an outer profile.
    pub(crate) try_vsock: bool,
    pub(crate) directory: Option<CString>,
    /// CPUs the child may run on.
    pub(crate) cpus: Option<libc::cpu_set_t>,
    /// Most memory, in bytes: what is refused to a process at once, as a kernel
    /// refuses an allocation beyond all memory there is.
    pub(crate) memory_bytes_max: Option<u64>,
    pub(crate) then: Become,
}

/// How far the child came, in memory shared with it.
#[derive(Debug, Default)]
#[repr(C)]
struct Progress {
    /// One of the `AT_*` below.
    stage: AtomicI32,
    errno: AtomicI32,
    listener: AtomicI32,
    /// Whether WAIT_KILLABLE_RECV was taken.
    killable: AtomicI32,
}

const AT_FILTER: i32 = 0;
const AT_WAITING: i32 = 1;
const AT_VSOCK: i32 = 2;
const AT_DIRECTORY: i32 = 3;
const AT_LIMITS: i32 = 4;
const AT_EXEC: i32 = 5;
const AT_ROOT: i32 = 6;
/// And the steps of [`OwnLoopback`], one each.
const AT_LOOPBACK: i32 = 7;

/// What the child failed at, with the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildFailure {
    Filter(i32),
    Vsock(i32),
    Root(i32),
    Loopback(Obstacle),
    Directory(i32),
    Limits(i32),
    Exec(i32),
}

/// A child that holds still until told to go.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    /// Whether signals wait while the supervisor works on a call (kernel 5.19).
    pub(crate) killable: bool,
    progress: SharedProgress,
    /// Readable once the child has ended.
    pub(crate) pidfd: OwnedFd,
    // The descriptors of a shared table are the child's too: kept to the end.
    go: OwnedFd,
    _held: [OwnedFd; 3],
}

impl Child {
    /// Lets the child go on to its program.
    pub(crate) fn go(&self) {
        // SAFETY: writes one byte of a live literal.
        unsafe { libc::write(self.go.as_raw_fd(), b"g".as_ptr().cast(), 1) };
    }

    /// What went wrong before the exec, if anything; meaningful once the child
    /// has exited.
    pub(crate) fn failure(&self) -> Option<ChildFailure> {
        self.progress.failure()
    }

    /// An address that is mapped in the child, for a trial read.
    pub(crate) fn mapped_address(&self) -> u64 {
        self.progress.0.as_ptr().addr() as u64
    }
}

/// A page shared with the child.
#[derive(Debug)]
struct SharedProgress(NonNull<Progress>);

impl SharedProgress {
    fn new() -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping; nothing else knows it.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Progress>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast())
            .map(Self)
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn get(&self) -> &Progress {
        // SAFETY: the mapping is zeroed, page-aligned, as long as `Progress`
        // (four atomics, valid when zero), and lives as long as `self`.
        unsafe { self.0.as_ref() }
    }

    fn failure(&self) -> Option<ChildFailure> {
        let progress = self.get();
        let errno = progress.errno.load(Ordering::SeqCst);
        if errno == 0 {
            return None;
        }
        Some(match progress.stage.load(Ordering::SeqCst) {
            AT_FILTER | AT_WAITING => ChildFailure::Filter(errno),
            AT_ROOT => ChildFailure::Root(errno),
            AT_VSOCK => ChildFailure::Vsock(errno),
            AT_DIRECTORY => ChildFailure::Directory(errno),
            AT_LIMITS => ChildFailure::Limits(errno),
            stage @ AT_LOOPBACK.. => ChildFailure::Loopback(Obstacle {
                step: stage - AT_LOOPBACK,
                errno,
            }),
            _ => ChildFailure::Exec(errno),
        })
    }
}

impl Drop for SharedProgress {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Progress>()) };
    }
}

/// Why there is no child.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// We could not make one.
    Ours(io::Error),
    /// It could not install its filter.
    Child(ChildFailure),
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> Self {
        Self::Ours(error)
    }
}

/// Makes a child that has the filter and waits for [`Child::go`]; gives the
/// notification descriptor beside it.
pub(crate) fn spawn(plan: &Plan, signals: &libc::sigset_t) -> Result<(Child, OwnedFd), SpawnError> {
    let (ready_read, ready_write) = pipe()?;
    let (go_read, go_write) = pipe()?;
    let progress = SharedProgress::new()?;
    let pointers = Pointers::of(&plan.then);
    let program = libc::sock_fprog {
        len: u16::try_from(plan.filter.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: plan.filter.as_ptr().cast_mut(),
    };
    // SAFETY: no arguments, cannot fail.
    let parent = unsafe { libc::getpid() };
    // SAFETY: clone without CLONE_VM is a fork: the child runs on a copy of our
    // memory, where `become_supervised` makes system calls only and never returns.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(libc::CLONE_FILES | libc::SIGCHLD),
            0,
            0,
            0,
            0,
        )
    };
    if pid < 0 {
        return Err(io::Error::last_os_error().into());
    }
    if pid == 0 {
        let pipes = (ready_write.as_raw_fd(), go_read.as_raw_fd());
        become_supervised(
            plan,
            &program,
            &pointers,
            progress.get(),
            pipes,
            parent,
            signals,
        );
    }
    let pid = i32::try_from(pid).expect("the kernel's process ids are below 2^22");
    let pidfd = pidfd_of(pid)?;
    if !wait_until_ready(ready_read.as_raw_fd(), pidfd.as_raw_fd())? {
        sys::reap(pid);
        let failure = progress
            .failure()
            .unwrap_or(ChildFailure::Filter(libc::ECHILD));
        return Err(SpawnError::Child(failure));
    }
    let state = progress.get();
    let listener = state.listener.load(Ordering::SeqCst);
    let killable = state.killable.load(Ordering::SeqCst) != 0;
    // SAFETY: the child installed it in the table we share and leaves its own
    // copy, made at exec, to close-on-exec.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    let held = [ready_read, ready_write, go_read];
    Ok((
        Child {
            pid,
            killable,
            progress,
            pidfd,
            go: go_write,
            _held: held,
        },
        listener,
    ))
}

/// True once the child waits with its filter on; false if it died.
fn wait_until_ready(ready: RawFd, pidfd: RawFd) -> io::Result<bool> {
    loop {
        let mut fds = [sys::poll_for_input(ready), sys::poll_for_input(pidfd)];
        sys::poll(&mut fds, None)?;
        match fds.map(|fd| fd.revents != 0) {
            [true, _] => return Ok(true),
            [_, true] => return Ok(false),
            _ => {}
        }
    }
}

fn pidfd_of(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers in.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the answer of a call that makes a descriptor, and nobody else has it.
    unsafe { sys::new_descriptor(pidfd) }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = io::pipe()?;
    Ok((read.into(), write.into()))
}

/// NULL-terminated pointer arrays for `execve`, into memory that `Plan` owns.
struct Pointers {
    args: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
}

impl Pointers {
    fn of(then: &Become) -> Self {
        let list = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        match then {
            Become::Program { args, env, .. } => Self {
                args: list(args),
                env: list(env),
            },
            Become::Probe(_) => Self {
                args: Vec::new(),
                env: Vec::new(),
            },
        }
    }
}

/// The child's life up to its program. System calls only.
fn become_supervised(
    plan: &Plan,
    program: &libc::sock_fprog,
    pointers: &Pointers,
    progress: &Progress,
    (ready, go): (RawFd, RawFd),
    parent: i32,
    signals: &libc::sigset_t,
) -> ! {
    let fail = |stage: i32, errno: i32| -> ! {
        progress.stage.store(stage, Ordering::SeqCst);
        progress.errno.store(errno, Ordering::SeqCst);
        // SAFETY: ends the child without running anything of ours.
        unsafe { libc::_exit(127) }
    };
    // SAFETY: no arguments, reads a thread-local int.
    let errno = || unsafe { *libc::__errno_location() };

    // Before the filter, which would trap our own preparations.
    if let Some(root) = &plan.root
        && let Err(obstacle) = root.enter()
    {
        fail(AT_ROOT, obstacle.errno);
    }
    // After the root, whose user namespace then serves this one too.
    if let Some(loopback) = &plan.loopback
        && let Err(obstacle) = loopback.enter()
    {
        fail(AT_LOOPBACK + obstacle.step, obstacle.errno);
    }

    // SAFETY: each call below takes integers, or pointers to memory prepared by
    // the parent that this process holds a copy of; none touches the heap or a
    // lock, so a copy of a many-threaded process may make them.
    unsafe {
        // The program dies with its supervisor: its traps would fail one by one.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(127);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_DFL); // Rust's runtime ignores it
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            fail(AT_FILTER, errno());
        }
        let install = |flags: libc::c_ulong| {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                std::ptr::from_ref(program),
            )
        };
        let listener_flag = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        let mut listener = -1;
        if plan.wait_killable {
            listener = install(listener_flag | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
        }
        progress
            .killable
            .store(i32::from(listener >= 0), Ordering::SeqCst);
        if listener < 0 && (!plan.wait_killable || errno() == libc::EINVAL) {
            listener = install(listener_flag);
        }
        if listener < 0 {
            fail(AT_FILTER, errno());
        }
        progress.listener.store(listener as i32, Ordering::SeqCst);
        progress.stage.store(AT_WAITING, Ordering::SeqCst);
        libc::write(ready, b"r".as_ptr().cast(), 1);
        let mut byte = 0_u8;
        if libc::read(go, (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(127);
        }

        if plan.try_vsock {
            let socket = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            if socket < 0 {
                fail(AT_VSOCK, errno());
            }
            libc::close(socket);
        }
        if let Some(directory) = &plan.directory
            && libc::chdir(directory.as_ptr()) != 0
        {
            fail(AT_DIRECTORY, errno());
        }
        if let Some(cpus) = &plan.cpus
            && libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cpus) != 0
        {
            fail(AT_LIMITS, errno());
        }
        if let Some(max) = plan.memory_bytes_max {
            let limit = libc::rlimit {
                rlim_cur: max,
                rlim_max: max,
            };
            if libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) != 0 {
                fail(AT_LIMITS, errno());
            }
        }
        libc::sigprocmask(libc::SIG_SETMASK, signals, std::ptr::null_mut());
        match &plan.then {
            Become::Probe(probe) => libc::_exit(probe()),
            Become::Program { paths, .. } => {
                progress.stage.store(AT_EXEC, Ordering::SeqCst);
                let mut refused = libc::ENOENT;
                for path in paths {
                    libc::execve(path.as_ptr(), pointers.args.as_ptr(), pointers.env.as_ptr());
                    match errno() {
                        libc::ENOENT | libc::ENOTDIR => {}
                        // A later folder may have it, and an unreadable folder of
                        // the path has nothing.
                        libc::EACCES => {
                            if paths.len() == 1 || libc::access(path.as_ptr(), libc::F_OK) == 0 {
                                refused = libc::EACCES;
                            }
                        }
                        other => fail(AT_EXEC, other),
                    }
                }
                fail(AT_EXEC, refused);
            }
        }
    }
}
