//! The seccomp filter: which system calls the kernel hands to the supervisor,
//! as a hand-assembled classic-BPF program.
//!
//! Models the trap table of the runner's ground truth (§2 "Filter") for x86-64
//! and aarch64. Source of truth for numbers: the kernel's `syscall_64.tbl` and
//! `asm-generic/unistd.h`; for the program form: `seccomp(2)`. The aarch64 table
//! is compiled and interpreted in tests on x86-64; nothing of it was built for or
//! run on such a machine.
//!
//! Does not model the 32-bit and x32 call tables: those calls are let through
//! unseen. Only the low words of arguments are compared, because musl passes an
//! ioctl number as a sign-extended int.

use libc::sock_filter;

use super::stat::{self, StatLayout};

/// A system call the runner may want to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    Accept,
    Accept4,
    Access,
    Bind,
    Connect,
    Faccessat,
    Faccessat2,
    Getpeername,
    Getsockname,
    Getsockopt,
    IoUringSetup,
    Ioctl,
    Listen,
    Lstat,
    Newfstatat,
    Open,
    Openat,
    Openat2,
    Prctl,
    Readlink,
    Readlinkat,
    Sendmmsg,
    Sendmsg,
    Sendto,
    Setsockopt,
    Shutdown,
    Socket,
    Socketpair,
    Stat,
    Statx,
    Sysinfo,
}

/// One machine's system call table, as far as the runner needs it.
#[derive(Debug)]
pub(crate) struct Arch {
    /// Name as `uname -m` has it.
    pub(crate) name: &'static str,
    /// `AUDIT_ARCH_*` of `linux/audit.h`.
    audit: u32,
    /// Calls at or above this number belong to another ABI (x32).
    foreign_from: Option<u32>,
    /// `EM_*` of `linux/elf-em.h`: what its programs say they are for.
    pub(crate) elf_machine: u16,
    /// `O_DIRECTORY` of its `asm/fcntl.h`.
    directory_flag: i32,
    pub(crate) stat: StatLayout,
    numbers: &'static [(Call, u32)],
}

/// `AUDIT_ARCH_X86_64`.
pub(crate) static X86_64: Arch = Arch {
    name: "x86_64",
    audit: 0xC000_003E,
    foreign_from: Some(0x4000_0000),
    elf_machine: 62,
    directory_flag: 0o200_000,
    stat: stat::X86_64,
    numbers: &[
        (Call::Open, 2),
        (Call::Stat, 4),
        (Call::Lstat, 6),
        (Call::Ioctl, 16),
        (Call::Access, 21),
        (Call::Socket, 41),
        (Call::Connect, 42),
        (Call::Accept, 43),
        (Call::Sendto, 44),
        (Call::Sendmsg, 46),
        (Call::Shutdown, 48),
        (Call::Bind, 49),
        (Call::Listen, 50),
        (Call::Getsockname, 51),
        (Call::Getpeername, 52),
        (Call::Socketpair, 53),
        (Call::Setsockopt, 54),
        (Call::Getsockopt, 55),
        (Call::Readlink, 89),
        (Call::Sysinfo, 99),
        (Call::Prctl, 157),
        (Call::Openat, 257),
        (Call::Newfstatat, 262),
        (Call::Readlinkat, 267),
        (Call::Faccessat, 269),
        (Call::Accept4, 288),
        (Call::Sendmmsg, 307),
        (Call::Statx, 332),
        (Call::IoUringSetup, 425),
        (Call::Openat2, 437),
        (Call::Faccessat2, 439),
    ],
};

/// `AUDIT_ARCH_AARCH64`; the generic table, which has no `open`, `stat`, `access`.
pub(crate) static AARCH64: Arch = Arch {
    name: "aarch64",
    audit: 0xC000_00B7,
    foreign_from: None,
    elf_machine: 183,
    directory_flag: 0o40_000,
    stat: stat::AARCH64,
    numbers: &[
        (Call::Ioctl, 29),
        (Call::Faccessat, 48),
        (Call::Openat, 56),
        (Call::Readlinkat, 78),
        (Call::Newfstatat, 79),
        (Call::Prctl, 167),
        (Call::Sysinfo, 179),
        (Call::Socket, 198),
        (Call::Socketpair, 199),
        (Call::Bind, 200),
        (Call::Listen, 201),
        (Call::Accept, 202),
        (Call::Connect, 203),
        (Call::Getsockname, 204),
        (Call::Getpeername, 205),
        (Call::Sendto, 206),
        (Call::Setsockopt, 208),
        (Call::Getsockopt, 209),
        (Call::Shutdown, 210),
        (Call::Sendmsg, 211),
        (Call::Accept4, 242),
        (Call::Sendmmsg, 269),
        (Call::Statx, 291),
        (Call::IoUringSetup, 425),
        (Call::Openat2, 437),
        (Call::Faccessat2, 439),
    ],
};

impl Arch {
    /// The machine this program was compiled for, if the runner knows its table.
    pub(crate) fn native() -> Option<&'static Self> {
        if cfg!(target_arch = "x86_64") {
            Some(&X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(&AARCH64)
        } else {
            None
        }
    }

    /// Flags of an open that no device node takes part in.
    pub(crate) fn not_a_device(&self) -> i32 {
        self.directory_flag | libc::O_PATH
    }

    /// The call with this number.
    pub(crate) fn call(&self, number: u32) -> Option<Call> {
        self.numbers
            .iter()
            .find(|(_, n)| *n == number)
            .map(|(call, _)| *call)
    }

    #[cfg(test)]
    pub(crate) fn number(&self, call: Call) -> Option<u32> {
        self.numbers
            .iter()
            .find(|(c, _)| *c == call)
            .map(|(_, n)| *n)
    }
}

/// What a run wants trapped. Everything costs a few microseconds a call, so
/// nothing is trapped that the run does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `open*`: device nodes are not there as placeholders.
    pub(crate) opens: bool,
    /// `stat`, `access` and `readlink` families.
    pub(crate) stats: bool,
    /// AF_VSOCK sockets.
    pub(crate) vsock: bool,
    /// Destinations of `connect`, `bind` and `send*`: no network but loopback.
    pub(crate) network: bool,
    /// `shutdown` both ways.
    pub(crate) lint: bool,
    /// `sysinfo`: the memory there is.
    pub(crate) memory: bool,
}

/// `_IOWR(0x0A, 0, 32 bytes)`, the NSM request (NSM §1.1).
pub(crate) const NSM_REQUEST: u32 = 0xC020_0A00;
/// `IOCTL_VM_SOCKETS_GET_LOCAL_CID` of `linux/vm_sockets.h`.
pub(crate) const VSOCK_LOCAL_CID: u32 = 0x7B9;

const AF_VSOCK: u32 = libc::AF_VSOCK as u32;
const SOCKADDR_IN6_BYTES: u32 = 28;
const SOCKADDR_UN_BYTES: u32 = 110;

/// Decision tree of one call.
enum Decide {
    Allow,
    Notify,
    Errno(i32),
    /// Low word of argument `.0`, and `.1`, equals `.2` → `.3`, else `.4`.
    If(u32, u32, u32, Box<Self>, Box<Self>),
}

impl Decide {
    fn when_equal(arg: u32, value: u32, then: Self, or_else: Self) -> Self {
        Self::If(arg, u32::MAX, value, Box::new(then), Box::new(or_else))
    }

    fn when_no_bit(arg: u32, mask: u32, then: Self, or_else: Self) -> Self {
        Self::If(arg, mask, 0, Box::new(then), Box::new(or_else))
    }

    fn assemble(&self, program: &mut Vec<sock_filter>) {
        match self {
            Self::Allow => program.push(statement(RET, libc::SECCOMP_RET_ALLOW)),
            Self::Notify => program.push(statement(RET, libc::SECCOMP_RET_USER_NOTIF)),
            Self::Errno(errno) => {
                let data = errno.unsigned_abs() & libc::SECCOMP_RET_DATA;
                program.push(statement(RET, libc::SECCOMP_RET_ERRNO | data));
            }
            Self::If(arg, mask, value, then, or_else) => {
                program.push(statement(LOAD, ARGS_OFFSET + 8 * arg));
                if *mask != u32::MAX {
                    program.push(statement(AND, *mask));
                }
                let mut branch = Vec::new();
                then.assemble(&mut branch);
                program.push(jump(JEQ, *value, 0, distance(&branch)));
                program.append(&mut branch);
                or_else.assemble(program);
            }
        }
    }
}

/// The filter of a run on `arch`.
pub(crate) fn program(arch: &Arch, wanted: Wanted) -> Vec<sock_filter> {
    let allow = || vec![statement(RET, libc::SECCOMP_RET_ALLOW)];
    let mut program = vec![statement(LOAD, ARCH_OFFSET), jump(JEQ, arch.audit, 1, 0)];
    program.append(&mut allow());
    program.push(statement(LOAD, NR_OFFSET));
    if let Some(from) = arch.foreign_from {
        program.push(jump(JGE, from, 0, 1));
        program.append(&mut allow());
    }
    for &(call, number) in arch.numbers {
        let decide = decide(arch, call, wanted);
        if matches!(decide, Decide::Allow) {
            continue; // the kernel caches "always allowed" for calls no branch looks at
        }
        let mut block = Vec::new();
        decide.assemble(&mut block);
        program.push(jump(JEQ, number, 0, distance(&block)));
        program.append(&mut block);
    }
    program.append(&mut allow());
    program
}

fn decide(arch: &Arch, call: Call, wanted: Wanted) -> Decide {
    use Decide::{Allow, Errno, Notify};
    let not_a_device = arch.not_a_device().cast_unsigned();
    const EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;
    let path = |wanted: bool, flags_arg: Option<(u32, u32)>| match (wanted, flags_arg) {
        (false, _) => Allow,
        (true, None) => Notify,
        (true, Some((arg, mask))) => Decide::when_no_bit(arg, mask, Notify, Allow),
    };
    match call {
        // The NSM driver refuses every other number with EINVAL, so every
        // number is looked at, save the terminal class: isatty() is everywhere.
        Call::Ioctl => Decide::If(1, 0xFF00, 0x5400, Box::new(Allow), Box::new(Notify)),
        Call::Open => path(wanted.opens, Some((1, not_a_device))),
        Call::Openat => path(wanted.opens, Some((2, not_a_device))),
        Call::Openat2 => path(wanted.opens, None),
        Call::Newfstatat => path(wanted.stats, Some((3, EMPTY_PATH))),
        Call::Statx => path(wanted.stats, Some((2, EMPTY_PATH))),
        Call::Faccessat2 => path(wanted.stats, Some((3, EMPTY_PATH))),
        Call::Stat
        | Call::Lstat
        | Call::Access
        | Call::Faccessat
        | Call::Readlink
        | Call::Readlinkat => path(wanted.stats, None),
        // An undumpable process cannot be read by an unprivileged supervisor:
        // the request succeeds and does nothing.
        Call::Prctl => Decide::when_equal(
            0,
            libc::PR_SET_DUMPABLE as u32,
            Decide::when_equal(1, 0, Errno(0), Allow),
            Allow,
        ),
        // io_uring opens and connects behind the filter's back; libraries fall back.
        Call::IoUringSetup => Errno(libc::ENOSYS),
        Call::Socket if wanted.vsock => Decide::when_equal(0, AF_VSOCK, Notify, Allow),
        Call::Socketpair if wanted.vsock => {
            Decide::when_equal(0, AF_VSOCK, Errno(libc::EOPNOTSUPP), Allow)
        }
        Call::Bind | Call::Connect if wanted.vsock || wanted.network => {
            let in6 = if wanted.network { Notify } else { Allow };
            Decide::when_equal(
                2,
                SOCKADDR_UN_BYTES,
                Allow,
                Decide::when_equal(2, SOCKADDR_IN6_BYTES, in6, Notify),
            )
        }
        Call::Accept | Call::Accept4 | Call::Listen | Call::Getsockname | Call::Getpeername
            if wanted.vsock =>
        {
            Notify
        }
        Call::Getsockopt if wanted.vsock => Decide::when_equal(
            1,
            AF_VSOCK,
            Notify,
            Decide::when_equal(
                1,
                libc::SOL_SOCKET as u32,
                Decide::when_equal(
                    2,
                    libc::SO_ERROR as u32,
                    Notify,
                    Decide::when_equal(
                        2,
                        libc::SO_DOMAIN as u32,
                        Notify,
                        Decide::when_equal(2, libc::SO_PEERCRED as u32, Notify, Allow),
                    ),
                ),
                Allow,
            ),
        ),
        Call::Setsockopt if wanted.vsock => Decide::when_equal(1, AF_VSOCK, Notify, Allow),
        Call::Shutdown if wanted.lint => {
            Decide::when_equal(1, libc::SHUT_RDWR as u32, Notify, Allow)
        }
        Call::Sysinfo if wanted.memory => Notify,
        Call::Sendto if wanted.network => Decide::when_equal(5, 0, Allow, Notify),
        Call::Sendmsg | Call::Sendmmsg if wanted.network => Notify,
        _ => Allow,
    }
}

// linux/bpf_common.h
// `sock_filter` has 16 bits for what libc defines as 32.
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

// Offsets in struct seccomp_data; low words first on both machines.
const NR_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGS_OFFSET: u32 = 16;

fn statement(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn distance(block: &[sock_filter]) -> u8 {
    u8::try_from(block.len()).expect("no block is longer than a jump reaches")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A classic-BPF machine, as far as our programs use one.
    fn interpret(program: &[sock_filter], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        let mut data = [0_u8; 64];
        data[0..4].copy_from_slice(&nr.to_le_bytes());
        data[4..8].copy_from_slice(&arch.to_le_bytes());
        for (i, arg) in args.iter().enumerate() {
            data[16 + 8 * i..24 + 8 * i].copy_from_slice(&arg.to_le_bytes());
        }
        let (mut at, mut acc) = (0, 0_u32);
        for _ in 0..program.len() {
            let insn = program[at];
            at += 1;
            match insn.code {
                LOAD => {
                    let k = insn.k as usize;
                    acc = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                }
                AND => acc &= insn.k,
                JEQ => at += usize::from(if acc == insn.k { insn.jt } else { insn.jf }),
                JGE => at += usize::from(if acc >= insn.k { insn.jt } else { insn.jf }),
                RET => return insn.k,
                code => panic!("instruction {code:#x} is not one we emit"),
            }
        }
        panic!("the program ran off its end");
    }

    const ALL: Wanted = Wanted {
        opens: true,
        stats: true,
        vsock: true,
        network: true,
        lint: true,
        memory: true,
    };
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
    const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

    fn verdict(arch: &Arch, wanted: Wanted, call: Call, args: [u64; 6]) -> u32 {
        let number = arch.number(call).unwrap();
        interpret(&program(arch, wanted), arch.audit, number, args)
    }

    #[test]
    fn the_trap_table_holds_on_both_machines() {
        let at = |n: usize, v: u64| {
            let mut args = [0; 6];
            args[n] = v;
            args
        };
        let two = |n: usize, v: u64, m: usize, w: u64| {
            let mut args = at(n, v);
            args[m] = w;
            args
        };
        let rows = [
            (Call::Ioctl, at(1, 0xC020_0A00), NOTIFY),
            (Call::Ioctl, at(1, 0xFFFF_FFFF_C020_0A00), NOTIFY), // musl: sign-extended
            (Call::Ioctl, at(1, 0x7B9), NOTIFY),
            (Call::Ioctl, at(1, 0x5401), ALLOW), // TCGETS
            (Call::Openat, at(2, 0), NOTIFY),
            (Call::Openat, at(2, 0o10_000_000), ALLOW), // O_PATH
            (Call::Newfstatat, at(3, 0), NOTIFY),
            (Call::Newfstatat, at(3, 0x1000), ALLOW),
            (Call::Statx, at(2, 0x1000), ALLOW),
            (Call::Faccessat, at(1, 0), NOTIFY),
            (Call::Socket, at(0, 40), NOTIFY),
            (Call::Socket, at(0, 2), ALLOW),
            (Call::Socketpair, at(0, 40), ERRNO | 95),
            (Call::Socketpair, at(0, 1), ALLOW),
            (Call::Bind, at(2, 16), NOTIFY),
            (Call::Bind, at(2, 110), ALLOW),
            (Call::Connect, at(2, 28), NOTIFY),
            (Call::Connect, at(2, 12), NOTIFY),
            (Call::Accept4, at(0, 3), NOTIFY),
            (Call::Listen, at(0, 3), NOTIFY),
            (Call::Getsockopt, at(1, 40), NOTIFY),
            (Call::Getsockopt, two(1, 1, 2, 4), NOTIFY), // SO_ERROR
            (Call::Getsockopt, two(1, 1, 2, 39), NOTIFY), // SO_DOMAIN
            (Call::Getsockopt, two(1, 1, 2, 17), NOTIFY), // SO_PEERCRED
            (Call::Getsockopt, two(1, 1, 2, 3), ALLOW),
            (Call::Getsockopt, two(1, 6, 2, 4), ALLOW),
            (Call::Setsockopt, at(1, 40), NOTIFY),
            (Call::Setsockopt, at(1, 1), ALLOW),
            (Call::Prctl, at(0, 4), ERRNO),
            (Call::Prctl, two(0, 4, 1, 1), ALLOW),
            (Call::Prctl, at(0, 15), ALLOW),
            (Call::IoUringSetup, at(0, 8), ERRNO | 38),
            (Call::Sendto, at(5, 0), ALLOW),
            (Call::Sendto, at(5, 16), NOTIFY),
            (Call::Sendmsg, at(0, 3), NOTIFY),
            (Call::Sysinfo, at(0, 8), NOTIFY),
            (Call::Shutdown, at(1, 2), NOTIFY),
            (Call::Shutdown, at(1, 1), ALLOW),
        ];
        for arch in [&X86_64, &AARCH64] {
            for (call, args, expected) in rows {
                assert_eq!(
                    verdict(arch, ALL, call, args),
                    expected,
                    "{}: {call:?} {args:x?}",
                    arch.name
                );
            }
        }
        // O_DIRECTORY differs, and what is one machine's is the other's O_DIRECT.
        for (arch, directory, direct) in [
            (&X86_64, 0o200_000, 0o40_000),
            (&AARCH64, 0o40_000, 0o200_000),
        ] {
            assert_eq!(verdict(arch, ALL, Call::Openat, at(2, directory)), ALLOW);
            assert_eq!(verdict(arch, ALL, Call::Openat, at(2, direct)), NOTIFY);
            // The third argument of openat2 is a pointer.
            assert_eq!(verdict(arch, ALL, Call::Openat2, at(2, directory)), NOTIFY);
        }
        assert_eq!(verdict(&X86_64, ALL, Call::Open, at(1, 0o200_000)), ALLOW);
        assert_eq!(verdict(&X86_64, ALL, Call::Open, at(1, 2)), NOTIFY);
    }

    #[test]
    fn the_table_of_this_machine_is_the_c_librarys() {
        let native = Arch::native().unwrap();
        for (call, number) in [
            (Call::Accept4, libc::SYS_accept4),
            (Call::Bind, libc::SYS_bind),
            (Call::Connect, libc::SYS_connect),
            (Call::Faccessat, libc::SYS_faccessat),
            (Call::Faccessat2, libc::SYS_faccessat2),
            (Call::Getpeername, libc::SYS_getpeername),
            (Call::Getsockname, libc::SYS_getsockname),
            (Call::Getsockopt, libc::SYS_getsockopt),
            (Call::IoUringSetup, libc::SYS_io_uring_setup),
            (Call::Ioctl, libc::SYS_ioctl),
            (Call::Listen, libc::SYS_listen),
            (Call::Newfstatat, libc::SYS_newfstatat),
            (Call::Openat, libc::SYS_openat),
            (Call::Openat2, libc::SYS_openat2),
            (Call::Prctl, libc::SYS_prctl),
            (Call::Readlinkat, libc::SYS_readlinkat),
            (Call::Sendmmsg, libc::SYS_sendmmsg),
            (Call::Sendmsg, libc::SYS_sendmsg),
            (Call::Shutdown, libc::SYS_shutdown),
            (Call::Sendto, libc::SYS_sendto),
            (Call::Setsockopt, libc::SYS_setsockopt),
            (Call::Socket, libc::SYS_socket),
            (Call::Socketpair, libc::SYS_socketpair),
            (Call::Statx, libc::SYS_statx),
            (Call::Sysinfo, libc::SYS_sysinfo),
        ] {
            let ours = native.number(call).map(libc::c_long::from);
            assert_eq!(ours, Some(number), "{call:?}");
        }
        assert_eq!(native.directory_flag, libc::O_DIRECTORY);
    }

    #[test]
    fn nothing_is_trapped_that_a_run_does_not_need() {
        let none = Wanted {
            opens: false,
            stats: false,
            vsock: false,
            network: false,
            lint: false,
            memory: false,
        };
        for arch in [&X86_64, &AARCH64] {
            for &(call, _) in arch.numbers {
                let args = [40, 0x5401, 16, 0, 0, 16];
                let expected = if call == Call::IoUringSetup {
                    ERRNO | 38
                } else {
                    ALLOW
                };
                assert_eq!(
                    verdict(arch, none, call, args),
                    expected,
                    "{}: {call:?}",
                    arch.name
                );
            }
        }
    }

    #[test]
    fn calls_of_other_tables_pass_unseen() {
        for nr in 0..500 {
            let x32 = interpret(
                &program(&X86_64, ALL),
                X86_64.audit,
                0x4000_0000 | nr,
                [40; 6],
            );
            let i386 = interpret(&program(&X86_64, ALL), 0x4000_0003, nr, [40; 6]);
            assert_eq!((x32, i386), (ALLOW, ALLOW), "call {nr}");
        }
    }

    #[test]
    fn every_call_outside_the_table_is_allowed() {
        for arch in [&X86_64, &AARCH64] {
            for nr in (0..600).filter(|nr| arch.call(*nr).is_none()) {
                assert_eq!(
                    interpret(&program(arch, ALL), arch.audit, nr, [40; 6]),
                    ALLOW
                );
            }
        }
    }
}
