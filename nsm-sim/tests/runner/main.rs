//! `nsm-sim run` as a black box: what an unmodified program finds under it, and
//! what its parent sees of it.
//!
//! A binary of its own: it signals, stops and kills processes, and two of its
//! modules start it again as a supervisor or as a client. Reading order: `nsm`,
//! `vsock`, `network`, `image` (what is found), `lives`, `surroundings`, `bridges`,
//! `aws_programs`.

#![cfg(target_os = "linux")]
// Functions beside the tests panic and print as tests do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod aws_programs;
mod bridges;
mod image;
mod lives;
mod network;
mod nsm;
mod support;
mod surroundings;
mod vsock;
