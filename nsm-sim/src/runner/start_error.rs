//! Why a run could not start, with the exit code and what to do about it.
//!
//! Source of truth: `seccomp_unotify(2)`, `pidfd_getfd(2)`, Yama's documentation;
//! exit codes are those of a shell and of `timeout`.

use std::{fs::File, io};

use super::{loopback::LoopbackError, root::RootError};

/// Why a run could not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No system call table for this machine.
    #[error("this machine is not supported: the runner knows x86_64 and aarch64")]
    Machine,
    /// `EBUSY` from seccomp.
    #[error(
        "another seccomp supervisor already owns this process (Incus/LXD, or a nested nsm-sim \
         run); run outside of it"
    )]
    Busy,
    /// `EINVAL` or `ENOSYS` from seccomp.
    #[error("the kernel lacks seccomp user notification: 5.9 or newer is needed")]
    Kernel,
    /// `EPERM` and kin from seccomp.
    #[error("the seccomp filter was refused ({0}); an outer profile forbids it")]
    Filter(io::Error),
    /// `socket(AF_VSOCK)` does not reach us.
    #[error(
        "an outer seccomp profile (Docker, containerd) forbids AF_VSOCK ({0}); use \
         --security-opt seccomp=nsm-sim-seccomp.json, or --no-vsock for the NSM alone"
    )]
    Vsock(io::Error),
    /// The child's memory cannot be read.
    #[error("the program's memory cannot be read: {}", yama_advice(.ptrace_scope))]
    Memory {
        /// `kernel.yama.ptrace_scope`, if the machine has it.
        ptrace_scope: Option<u32>,
    },
    /// `pidfd_getfd` is forbidden.
    #[error(
        "an outer seccomp profile (Docker, containerd) forbids pidfd_getfd, which AF_VSOCK needs; \
         use --security-opt seccomp=nsm-sim-seccomp.json, or --no-vsock for the NSM alone"
    )]
    Descriptors,
    /// There is nothing to run.
    #[error("no command given")]
    NoCommand,
    /// The program cannot be executed.
    #[error("cannot run {program}: {error}")]
    Program {
        /// As given.
        program: String,
        /// The errno of the last attempt.
        error: io::Error,
    },
    /// The program is for another machine.
    #[error("{program} is a {kind} program: only {expected} programs are emulated")]
    Foreign {
        /// Its path.
        program: String,
        /// What it is.
        kind: &'static str,
        /// What we are.
        expected: &'static str,
    },
    /// The image's root file system cannot be entered.
    #[error("{0}")]
    Root(RootError),
    /// The working directory cannot be entered.
    #[error("cannot enter {directory}: {error}")]
    Directory {
        /// As given.
        directory: String,
        /// Why not.
        error: io::Error,
    },
    /// A bridge cannot listen.
    #[error("cannot listen at {at} for a bridge: {error}")]
    Bridge {
        /// Where.
        at: String,
        /// Why not.
        error: io::Error,
    },
    /// The kernel gives the run no loopback of its own.
    #[error(
        "no network of the run's own ({0}): it takes root, or user namespaces (sysctl \
         user.max_user_namespaces and user.max_net_namespaces above 0 and, on Ubuntu, \
         kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that \
         allows unshare); --network loopback shares the machine's"
    )]
    Loopback(LoopbackError),
    /// CPU or memory limits were refused.
    #[error("cannot set the CPU or memory limit: {0}")]
    Limits(io::Error),
    /// Something the operating system refused us.
    #[error("cannot start a supervised process: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    /// The exit code a shell would give: 127 not found, 126 not executable, 125
    /// for failures of the runner itself.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Program { error, .. } if error.kind() == io::ErrorKind::NotFound => 127,
            Self::Program { .. } | Self::Foreign { .. } => 126,
            _ => 125,
        }
    }
}

fn yama_advice(ptrace_scope: &Option<u32>) -> String {
    match ptrace_scope {
        Some(scope @ 2..) => format!(
            "kernel.yama.ptrace_scope is {scope}; set it to 1 (sysctl -w kernel.yama.ptrace_scope=1)\
             {}",
            if *scope == 2 {
                ", or give CAP_SYS_PTRACE"
            } else {
                ", after a reboot"
            }
        ),
        _ if File::open("/proc/self/exe").is_err() => {
            "nsm-sim's own file may be run by this user and not read, which forbids all tracing; \
             chmod a+r it"
                .to_owned()
        }
        _ => "an outer profile forbids process_vm_readv and /proc/PID/mem; allow them, or add \
              --cap-add SYS_PTRACE"
            .to_owned(),
    }
}
