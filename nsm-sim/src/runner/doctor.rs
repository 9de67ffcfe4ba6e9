//! Whether a run would work here, found out by doing: the answer to "it fails on
//! my machine".
//!
//! Models nothing; it rehearses a run with a probe in place of a program, first
//! with the NSM alone and then with AF_VSOCK, and names cause and fix of what
//! fails. Source of truth for causes: the runner's ground truth §4. It never
//! judges by a version number.

use std::{fmt, fs, path::Path};

use serde::Serialize;

use super::{
    bpf::{Arch, NSM_REQUEST},
    loopback::OwnLoopback,
    nsmdev::{Delivery, NsmDevice},
    paths,
    run::supervise,
    settings::Settings,
    start_error::StartError,
    switchboard::{ANY, VsockAddr},
    vsock,
};

/// How one probe came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Works.
    Ok,
    /// Works, with a difference that may matter.
    Note,
    /// Does not work here.
    Fails,
}

/// One probe's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried.
    pub probe: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was seen: the cause, if it failed.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether everything works.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.outcome != Outcome::Fails)
    }

    fn add(
        &mut self,
        probe: &'static str,
        outcome: Outcome,
        detail: impl Into<String>,
        fix: Option<&'static str>,
    ) {
        self.findings.push(Finding {
            probe,
            outcome,
            detail: detail.into(),
            fix,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.outcome {
                Outcome::Ok => "ok   ",
                Outcome::Note => "note ",
                Outcome::Fails => "FAILS",
            };
            writeln!(f, "{mark}  {}: {}", finding.probe, finding.detail)?;
            if let Some(fix) = finding.fix {
                writeln!(f, "       fix: {fix}")?;
            }
        }
        Ok(())
    }
}

const SUPERVISION: &str = "supervision (seccomp user notification)";
const SIGNALS: &str = "signals during a trapped call";
const NSM: &str = "/dev/nsm";
const VSOCK: &str = "AF_VSOCK";
const LOOPBACK: &str = "loopback of its own";
const NODES: &str = "device nodes";
const SURROUNDINGS: &str = "surroundings";

const PROFILE_FIX: &str = "nsm-sim doctor --seccomp-profile > nsm-sim-seccomp.json, and run the \
                           container with --security-opt seccomp=nsm-sim-seccomp.json (or \
                           seccomp=unconfined); without it, --no-vsock still gives the NSM";

/// Probes this machine. Like a run, it must own its process.
#[must_use]
pub fn examine() -> Report {
    let mut report = Report {
        findings: Vec::new(),
    };
    surroundings(&mut report);
    let Some(arch) = Arch::native() else {
        let detail = StartError::Machine.to_string();
        report.add(
            SUPERVISION,
            Outcome::Fails,
            detail,
            Some("use an x86_64 or aarch64 machine"),
        );
        return report;
    };
    let mut settings = Settings::new(Vec::new());
    settings.device = Some(Box::new(Rehearsal));
    settings.vsock = false;
    match supervise(settings, Some(probe_nsm)) {
        Ok((finished, killable)) => {
            report.add(
                SUPERVISION,
                Outcome::Ok,
                format!("works on {}", arch.name),
                None,
            );
            if killable {
                report.add(
                    SIGNALS,
                    Outcome::Ok,
                    "wait until the call is answered",
                    None,
                );
            } else {
                report.add(
                    SIGNALS,
                    Outcome::Note,
                    "the kernel lacks WAIT_KILLABLE_RECV (5.19): calls interrupted by signals are \
                     repeated, and a storm of signals may starve slow ones",
                    Some("use Linux 5.19 or newer"),
                );
            }
            outcome_of_probe(
                &mut report,
                NSM,
                finished.code,
                "opens and answers a request",
            );
        }
        Err(error) => {
            let fix = fix_of(&error);
            report.add(SUPERVISION, Outcome::Fails, error.to_string(), fix);
            return report; // nothing else can work
        }
    }
    match supervise(Settings::new(Vec::new()), Some(probe_vsock)) {
        Ok((finished, _)) => outcome_of_probe(
            &mut report,
            VSOCK,
            finished.code,
            "binds, connects, accepts and carries bytes",
        ),
        Err(error) => {
            let fix = fix_of(&error);
            report.add(VSOCK, Outcome::Fails, error.to_string(), fix);
        }
    }
    loopback(&mut report);
    if paths::has_nsm_placeholder() {
        report.add(
            NODES,
            Outcome::Ok,
            "/dev/nsm is a placeholder: opens are not trapped",
            None,
        );
    } else {
        let detail = "no placeholder at /dev/nsm: each open and stat costs about 7 µs more";
        let fix = "docker run --device /dev/null:/dev/nsm, if that matters";
        report.add(NODES, Outcome::Ok, detail, Some(fix));
    }
    report
}

fn loopback(report: &mut Report) {
    let error = match OwnLoopback::free_of_charge().rehearse() {
        Ok(()) => {
            let fine = "the machine's 127.0.0.1 is hidden, and other addresses are unreachable";
            report.add(LOOPBACK, Outcome::Ok, fine, None);
            return;
        }
        Err(error) => error,
    };
    let detail = format!(
        "{error}: programs share the machine's 127.0.0.1, servers and all; elsewhere is \
         unreachable all the same"
    );
    let fix = if OwnLoopback::demanded().rehearse().is_ok() {
        "add CAP_SYS_ADMIN, or run with --network own: in a user namespace, where the program \
         cannot become another user"
    } else {
        "allow user namespaces: sysctl user.max_user_namespaces and user.max_net_namespaces above \
         0, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0, in a container a seccomp \
         profile that allows unshare; or run as root"
    };
    report.add(LOOPBACK, Outcome::Note, detail, Some(fix));
}

fn outcome_of_probe(report: &mut Report, probe: &'static str, code: u8, fine: &str) {
    if code == 0 {
        report.add(probe, Outcome::Ok, fine, None);
    } else {
        let error = std::io::Error::from_raw_os_error(i32::from(code));
        report.add(probe, Outcome::Fails, error.to_string(), Some(PROFILE_FIX));
    }
}

fn fix_of(error: &StartError) -> Option<&'static str> {
    Some(match error {
        StartError::Busy => {
            "run outside of the other supervisor: on the host instead of inside Incus/LXD, not \
             below another nsm-sim run"
        }
        StartError::Kernel => "use Linux 5.9 or newer (5.19 for faithful signals)",
        StartError::Filter(_) | StartError::Vsock(_) | StartError::Descriptors => PROFILE_FIX,
        StartError::Memory {
            ptrace_scope: Some(3..),
        } => "kernel.yama.ptrace_scope=3 can only be lowered by a reboot: boot with 1",
        StartError::Memory {
            ptrace_scope: Some(2),
        } => "sysctl -w kernel.yama.ptrace_scope=1, or run with CAP_SYS_PTRACE",
        StartError::Memory { .. } => {
            "what the cause names; in a container, allow process_vm_readv or /proc/PID/mem in the \
             outer profile, or --cap-add SYS_PTRACE"
        }
        _ => return None,
    })
}

fn surroundings(report: &mut Report) {
    let mut seen = Vec::new();
    for (path, name) in [
        ("/.dockerenv", "Docker"),
        ("/run/.containerenv", "Podman"),
        ("/var/run/secrets/kubernetes.io", "Kubernetes"),
        ("/dev/.lxc-boot-id", "LXC"),
    ] {
        if Path::new(path).exists() {
            seen.push(name.to_owned());
        }
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if kernel.to_ascii_lowercase().contains("microsoft") {
        seen.push("WSL".to_owned());
    }
    if let Ok(scope) = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        seen.push(format!("kernel.yama.ptrace_scope={}", scope.trim()));
    }
    let seccomp = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Seccomp:"))?;
            Some(line.trim() != "0")
        });
    if seccomp == Some(true) {
        seen.push("an outer seccomp filter".to_owned());
    }
    let mut detail = format!("Linux {}", kernel.trim());
    for thing in seen {
        detail.push_str(", ");
        detail.push_str(&thing);
    }
    report.add(SURROUNDINGS, Outcome::Ok, detail, None);
}

/// Answers the one request of the rehearsal.
struct Rehearsal;

const QUESTION: &[u8] = b"rehearsal";
const ANSWER: &[u8] = b"as planned";

impl NsmDevice for Rehearsal {
    fn prepare(&mut self, request: &[u8]) -> Vec<u8> {
        if request == QUESTION {
            ANSWER.to_vec()
        } else {
            Vec::new()
        }
    }

    fn settle(&mut self, _: Delivery) {}
}

/// Runs in the supervised child: system calls only. Returns an errno.
fn probe_nsm() -> i32 {
    let mut reply = [0_u8; 64];
    let mut raw = [
        QUESTION.as_ptr().addr() as u64,
        QUESTION.len() as u64,
        reply.as_mut_ptr().addr() as u64,
        reply.len() as u64,
    ];
    // SAFETY: `raw` describes live memory of this process.
    unsafe {
        let fd = libc::open(c"/dev/nsm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if fd < 0 || libc::ioctl(fd, libc::c_ulong::from(NSM_REQUEST) as _, raw.as_mut_ptr()) < 0 {
            return *libc::__errno_location();
        }
    }
    if reply.starts_with(ANSWER) && raw[3] == ANSWER.len() as u64 {
        0
    } else {
        libc::EPROTO
    }
}

/// Runs in the supervised child: system calls only. Returns an errno.
fn probe_vsock() -> i32 {
    let mut address = vsock::address_bytes(VsockAddr {
        cid: ANY,
        port: ANY,
    });
    let mut len = address.len() as libc::socklen_t;
    // SAFETY: every pointer is to a live local of the length given.
    unsafe {
        let socket = || libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0);
        let (server, client) = (socket(), socket());
        let failed = server < 0
            || client < 0
            || libc::bind(server, address.as_ptr().cast(), len) < 0
            || libc::listen(server, 1) < 0
            || libc::getsockname(server, address.as_mut_ptr().cast(), &raw mut len) < 0;
        if failed {
            return *libc::__errno_location();
        }
        let Some(bound) = vsock::parse_address(&address) else {
            return libc::EPROTO;
        };
        let to = VsockAddr {
            cid: vsock::LOCAL_CID,
            port: bound.port,
        };
        let to = vsock::address_bytes(to);
        if libc::connect(client, to.as_ptr().cast(), len) < 0 {
            return *libc::__errno_location();
        }
        let accepted = libc::accept(server, std::ptr::null_mut(), std::ptr::null_mut());
        let mut byte = 0_u8;
        if accepted < 0
            || libc::write(client, b"x".as_ptr().cast(), 1) != 1
            || libc::read(accepted, (&raw mut byte).cast(), 1) != 1
        {
            return *libc::__errno_location();
        }
        if byte == b'x' { 0 } else { libc::EPROTO }
    }
}
