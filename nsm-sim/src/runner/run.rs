//! Running a program in an enclave's conditions: start, supervise, pass
//! signals on, end with its exit code.
//!
//! Models an enclave's life: it lives as long as its main process and ends
//! whole. To its own parent (a shell, a CI step) the run looks as if the program
//! had been started directly: exit codes, Ctrl-C, Ctrl-Z, signals. Source of
//! truth: the runner's ground truth §2 and §5. Not a sandbox: nothing here keeps
//! a hostile program in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::{fd::AsRawFd as _, unix::ffi::OsStringExt as _},
    sync::Arc,
    thread,
};

use super::{
    bpf::{self, Arch, Wanted},
    bridge::{Bridge, Traffic},
    loopback::LoopbackError,
    mem::{self, MemoryFault},
    memory::{MemoryExceeded, Pool, Watch},
    notif::Notifier,
    nsmdev::RequestQueue,
    paths::{self, Shown},
    procfd::Callers,
    program::{c_string, program},
    root::RootError,
    settings::{Network, Settings},
    signals::{self, Blocked},
    spawn::{self, Become, Child, ChildFailure, Plan, SpawnError},
    start_error::StartError,
    sys,
    traps::{Counters, Supervisor},
    vsock::Sockets,
};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// The main process's exit code, or 128 + the signal that ended it, or
    /// [`MemoryExceeded::EXIT_CODE`].
    pub code: u8,
    /// Why the run was ended, if it held more memory than it may.
    pub memory_exceeded: Option<MemoryExceeded>,
    /// How often each system call was trapped.
    pub traps: BTreeMap<String, u64>,
}

/// Runs a program to its end.
///
/// The calling process becomes its supervisor whole: it adopts and reaps every
/// orphan of the run, and the calling thread blocks the signals it passes on.
/// Call it from a process that has no other children, with no other threads
/// that should take signals.
///
/// # Errors
/// [`StartError`] if the program did not start. What happens later is in
/// [`Finished`].
pub fn run(settings: Settings) -> Result<Finished, StartError> {
    supervise(settings, None).map(|(finished, _)| finished)
}

/// Runs a program, or a probe in its place; says beside how it ended whether
/// signals wait while a call is being answered.
pub(crate) fn supervise(
    mut settings: Settings,
    probe: Option<fn() -> i32>,
) -> Result<(Finished, bool), StartError> {
    let arch = Arch::native().ok_or(StartError::Machine)?;
    let enclave = settings.is_enclave();
    let device = settings.device.take().filter(|_| enclave);
    let placeholder = device.is_some() && paths::has_nsm_placeholder();
    let machine_vsock = paths::machine_vsock();
    let shown = Shown {
        nsm: device.is_some() && !placeholder,
        vsock: settings.vsock && machine_vsock.is_none(),
        hwrng: device.is_some() && !placeholder,
        cpus: settings.cpu_count,
        memory: settings.memory_mib.is_some(),
    };
    let loopback = settings.own_loopback();
    let wanted = Wanted {
        opens: shown.any(),
        stats: shown.any() && settings.trap_stat,
        vsock: settings.vsock,
        network: settings.network == Network::Loopback,
        lint: settings.lint && settings.vsock,
        memory: settings.memory_mib.is_some(),
    };
    let then = match probe {
        Some(probe) => Become::Probe(probe),
        None => program(&settings, arch)?,
    };
    let mut plan = plan(&settings, arch, wanted, then)?;
    plan.loopback = loopback;

    let bridges = bridges(&settings)?;

    let blocked = Blocked::all_that_are_passed_on()?;
    signals::adopt_orphans()?;
    let mut network_is_trapped = wanted.network;
    let spawned = match spawn::spawn(&plan, blocked.before()) {
        Err(SpawnError::Child(ChildFailure::Loopback(obstacle)))
            if settings.network == Network::Auto =>
        {
            if probe.is_none() {
                warn_of_shared_loopback(obstacle.into());
            }
            network_is_trapped = true;
            plan.loopback = None;
            plan.filter = bpf::program(
                arch,
                Wanted {
                    network: true,
                    ..wanted
                },
            );
            spawn::spawn(&plan, blocked.before())
        }
        spawned => spawned,
    };
    let (child, listener) = spawned.map_err(|error| start_error(error, &settings))?;
    let tree = Tree; // whatever happens from here on, nobody is left behind
    let mut callers = Callers::default();
    trial(&child, &mut callers, listener.as_raw_fd(), settings.vsock)?;

    let notifier = Arc::new(Notifier::new(listener, child.killable));
    notifier.wake_synchronously();
    let counters = Arc::new(Counters::default());
    let pool = plan.memory_bytes_max.map(|limit| Arc::new(Pool::of(limit)));
    let supervisor = Supervisor {
        notifier: Arc::clone(&notifier),
        arch,
        world: settings.world.clone(),
        cid: settings.cid,
        shown,
        pool: pool.clone(),
        machine_vsock: machine_vsock.filter(|_| settings.vsock),
        network_is_trapped,
        nsm: device
            .map(|device| RequestQueue::open(device, &notifier, |body| start_thread("nsm", body)))
            .transpose()?,
        counters: Arc::clone(&counters),
        callers,
        sockets: Sockets::default(),
        parked: Vec::new(),
        warned: BTreeSet::new(),
        findings: BTreeSet::new(),
    };
    start_thread("traps", move || {
        let mut supervisor = supervisor;
        supervisor.serve();
    })?;

    let traffic = Traffic::default();
    for bridge in bridges {
        let traffic = traffic.clone();
        start_thread("bridge", move || bridge.serve(&traffic))?;
    }
    if let Some(pool) = &pool {
        let watch = Watch::over(&child.pidfd, pool)?;
        start_thread("memory", move || watch.keep())?;
    }
    child.go();
    let code = signals::follow(child.pid, sys::of(&child.pidfd))?;
    drop(tree);
    traffic.drain();
    match child.failure() {
        Some(failure) => Err(start_error(SpawnError::Child(failure), &settings)),
        None => {
            let held = pool.and_then(|pool| pool.exceeded_with());
            let memory_exceeded = held.map(|held_bytes| MemoryExceeded {
                held_bytes,
                limit_mib: settings.memory_mib.unwrap_or(0),
            });
            let finished = Finished {
                code: memory_exceeded.map_or(code, |_| MemoryExceeded::EXIT_CODE),
                memory_exceeded,
                traps: counters.by_name(arch),
            };
            Ok((finished, child.killable))
        }
    }
}

#[allow(clippy::print_stderr)] // an enclave's program may meet servers that hardware has not
fn warn_of_shared_loopback(error: LoopbackError) {
    eprintln!(
        "nsm-sim: loopback is the machine's own, servers and all ({error}); `nsm-sim doctor` \
         names the fix, --network loopback says that it is meant"
    );
}

/// The supervised processes; dropping it ends them.
struct Tree;

impl Drop for Tree {
    fn drop(&mut self) {
        signals::end_everything();
    }
}

fn bridges(settings: &Settings) -> Result<Vec<Bridge>, StartError> {
    let world = &settings.world;
    let fails = |at: String| move |error| StartError::Bridge { at, error };
    let publish = settings
        .publish
        .iter()
        .map(|publish| Bridge::publish(world, publish).map_err(fails(publish.at.to_string())));
    let forward = settings
        .forward
        .iter()
        .map(|forward| Bridge::forward(world, forward).map_err(fails(forward.at.to_string())));
    publish.chain(forward).collect()
}

/// A thread whose panic ends the run: callers would hang in their traps.
fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    struct AbortOnPanic;
    impl Drop for AbortOnPanic {
        fn drop(&mut self) {
            if thread::panicking() {
                std::process::abort();
            }
        }
    }
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = AbortOnPanic;
            body();
        })
        .map(drop)
}

/// Tries on the waiting child what every trap will need.
fn trial(
    child: &Child,
    callers: &mut Callers,
    listener: i32,
    vsock: bool,
) -> Result<(), StartError> {
    let mut byte = [0];
    if mem::read(child.pid, child.mapped_address(), &mut byte) == Err(MemoryFault::Forbidden) {
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
        let ptrace_scope = scope.and_then(|scope| scope.trim().parse().ok());
        return Err(StartError::Memory { ptrace_scope });
    }
    if vsock {
        // The table is still shared, so our number is the child's.
        match callers.duplicate(child.pid, listener) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                return Err(StartError::Descriptors);
            }
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
    }
    Ok(())
}

fn start_error(error: SpawnError, settings: &Settings) -> StartError {
    let os = io::Error::from_raw_os_error;
    match error {
        SpawnError::Ours(error) => StartError::System(error),
        SpawnError::Child(ChildFailure::Filter(libc::EBUSY)) => StartError::Busy,
        SpawnError::Child(ChildFailure::Filter(libc::EINVAL | libc::ENOSYS)) => StartError::Kernel,
        SpawnError::Child(ChildFailure::Filter(errno)) => StartError::Filter(os(errno)),
        SpawnError::Child(ChildFailure::Vsock(errno)) => StartError::Vsock(os(errno)),
        SpawnError::Child(ChildFailure::Root(errno)) => StartError::Root(RootError::Forbidden {
            step: "for the program",
            error: os(errno),
        }),
        SpawnError::Child(ChildFailure::Loopback(obstacle)) => {
            StartError::Loopback(obstacle.into())
        }
        SpawnError::Child(ChildFailure::Limits(errno)) => StartError::Limits(os(errno)),
        SpawnError::Child(ChildFailure::Directory(errno)) => StartError::Directory {
            directory: settings
                .directory
                .clone()
                .unwrap_or_default()
                .display()
                .to_string(),
            error: os(errno),
        },
        SpawnError::Child(ChildFailure::Exec(errno)) => StartError::Program {
            program: settings
                .command
                .first()
                .map_or_else(String::new, |program| {
                    program.to_string_lossy().into_owned()
                }),
            error: os(errno),
        },
    }
}

fn plan(
    settings: &Settings,
    arch: &Arch,
    wanted: Wanted,
    then: Become,
) -> Result<Plan, StartError> {
    Ok(Plan {
        root: settings.root.as_ref().map(|root| root.entrance().clone()),
        loopback: None,
        filter: bpf::program(arch, wanted),
        wait_killable: settings.wait_killable,
        try_vsock: wanted.vsock,
        directory: match &settings.directory {
            Some(directory) => Some(c_string(directory.clone().into_os_string().into_vec())?),
            None => None,
        },
        cpus: settings.cpu_count.map(first_cpus).transpose()?,
        memory_bytes_max: settings.memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
        then,
    })
}

/// The first `count` CPUs that we may run on ourselves.
fn first_cpus(count: u32) -> Result<libc::cpu_set_t, StartError> {
    // SAFETY: all-zero is the empty set.
    let mut ours: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `ours` is writable for the size given.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut ours) } != 0 {
        return Err(StartError::Limits(io::Error::last_os_error()));
    }
    // SAFETY: all-zero is the empty set.
    let mut first: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let mut left = count;
    for cpu in 0..libc::CPU_SETSIZE as usize {
        // SAFETY: `cpu` is below CPU_SETSIZE, the number of bits in a set.
        unsafe {
            if left > 0 && libc::CPU_ISSET(cpu, &ours) {
                libc::CPU_SET(cpu, &mut first);
                left -= 1;
            }
        }
    }
    if left > 0 {
        let error = io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("this process may use {} CPUs, not {count}", count - left),
        );
        return Err(StartError::Limits(error));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_errors_give_the_exit_codes_of_a_shell() {
        let program = |errno| StartError::Program {
            program: "x".to_owned(),
            error: io::Error::from_raw_os_error(errno),
        };
        assert_eq!(program(libc::ENOENT).exit_code(), 127);
        assert_eq!(program(libc::EACCES).exit_code(), 126);
        assert_eq!(StartError::Busy.exit_code(), 125);
    }
}
