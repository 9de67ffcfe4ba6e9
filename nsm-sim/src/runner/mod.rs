//! Runs any unmodified Linux program as if it were in a Nitro Enclave:
//! `/dev/nsm` and AF_VSOCK appear by seccomp user notification, without root,
//! virtual machine or preloaded library.
//!
//! Models the two devices an enclave has and the conditions it runs in. Source
//! of truth: the runner's ground truth, and the manual pages its modules name.
//! Not a sandbox, and no confidentiality: it is a test instrument.
//!
//! Reading order: [`run()`] (a run from start to end), `spawn` and `signals`
//! (its process), `root` (an image's own root file system), `bpf` (what is trapped), `traps` (the loop), `nsmdev` and
//! `paths` (the NSM), `sockets`, `vsock` and [`switchboard`] (AF_VSOCK),
//! `network`, [`bridge`] (for unsupervised programs), and below them `notif`, `mem`, `procfd`, `sys` (the kernel).
//!
//! The whole of the project's `unsafe` lives in this module: it *is* made of
//! system calls that no safe crate covers.
#![allow(unsafe_code)]

mod bpf;
pub mod bridge;
pub mod doctor;
mod mem;
mod network;
mod notif;
mod nsmdev;
mod paths;
mod procfd;
mod root;
mod run;
mod signals;
mod sockets;
mod spawn;
pub mod switchboard;
mod sys;
mod traps;
mod vsock;

pub use nsmdev::{Delivery, NsmDevice};
pub use root::{ImageRoot, RootError};
pub use run::{Finished, Network, Settings, StartError, run};
pub use switchboard::{VsockAddr, World};
