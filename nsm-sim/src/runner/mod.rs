//! Runs any unmodified Linux program as if it were in a Nitro Enclave:
//! `/dev/nsm` and AF_VSOCK appear by seccomp user notification, without root,
//! virtual machine or preloaded library.
//!
//! Models the two devices an enclave has and the conditions it runs in. Source
//! of truth: the runner's ground truth, and the manual pages its modules name.
//! Not a sandbox, and no confidentiality: it is a test instrument.
//!
//! Reading order: [`Settings`] and [`run()`] (a run from start to end),
//! `program`, `spawn` and `signals` (its process), `memory` (its limit), `root`
//! (an image's own root file system), `loopback` and `network` (what it can
//! reach), `bpf` (what is trapped), `traps` (the loop), `nsmdev`, `paths` and
//! `stat` (the NSM), `sockets`, `vsock` and [`switchboard`] (AF_VSOCK), `lint`
//! (what hardware may not forgive), [`bridge`] (for unsupervised programs), and
//! below them `notif`, `mem`, `procfd`, `namespaces`, `sys` (the kernel).
//!
//! # Known differences
//!
//! What a program can see that it would not see in an enclave.
//!
//! | what | there | here |
//! |---|---|---|
//! | `poll` of a socket whose non-blocking connect failed | `POLLOUT`, `POLLERR` | `POLLOUT`, `POLLHUP`; `SO_ERROR` is the same |
//! | connect to a CID that nobody has | not established for an enclave; `ENODEV` without a transport to the outside | `ECONNRESET`, as where nobody listens |
//! | unknown `ioctl` of a vsock socket | `EOPNOTSUPP` | `ENOTTY` |
//! | shutdown or close of a vsock socket with bytes on their way | may lose them | they arrive; `--lint` reports a shutdown |
//! | `read` of an open `/dev/nsm` | `EINVAL` | end of file |
//! | `fstat` of an open `/dev/nsm` | a misc device | `/dev/null` (1:3), which answers NSM requests too |
//! | `/dev/nsm` in a listing of `/dev`, by symbolic link, or opened with `O_PATH` | found | not found, unless there is a placeholder |
//! | 127.0.0.1, without a network namespace (`--explain` says so) | the enclave's own | the machine's, servers and all |
//! | ports below 1024 | for root | for whoever runs it, with a network namespace |
//! | files and groups of other users, where a user namespace was needed | theirs | shown as nobody's; may be used as before |
//! | `/proc` and `/sys` | the enclave's | the machine's, but for the list of CPUs with `--cpu-count` (not `/proc/cpuinfo`) and `/proc/meminfo` with `--memory-mib` |
//! | users, in an image's root entered without privileges | any | root alone |
//! | `--memory-mib` | of the whole enclave, kernel and files included | of the processes, looked at every 20 ms |
//! | `io_uring` | the kernel's | `ENOSYS` |
//! | set-user-id programs | work | gain nothing |
//! | `prctl(PR_SET_DUMPABLE, 0)` | works | succeeds and does nothing |
//! | 32-bit programs | work | are refused, or see nothing of ours |
//!
//! The whole of the project's `unsafe` lives in this module: it *is* made of
//! system calls that no safe crate covers.
#![allow(unsafe_code)]

mod bpf;
pub mod bridge;
pub mod doctor;
mod lint;
mod loopback;
mod mem;
mod memory;
mod namespaces;
mod network;
mod notif;
mod nsmdev;
mod parked;
mod paths;
mod procfd;
mod program;
mod root;
mod run;
mod settings;
mod signals;
mod sockets;
mod spawn;
mod start_error;
mod stat;
pub mod switchboard;
mod sys;
mod traps;
mod vsock;

pub use loopback::LoopbackError;
pub use memory::MemoryExceeded;
pub use nsmdev::{Delivery, NsmDevice};
pub use root::{ImageRoot, RootError};
pub use run::{Finished, run};
pub use settings::{Network, Settings};
pub use start_error::StartError;
pub use switchboard::{VsockAddr, World};
