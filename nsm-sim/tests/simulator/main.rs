//! The simulated hardware from outside: the device's semantics, its documents and
//! their chain against real ones, verifiers of others, and the commands.
//!
//! Reading order: `device`, `documents`, `chain_shape` (what is made),
//! `real_documents`, `mutated_documents`, `foreign_verifiers`, `qemu_replay` (what it
//! is measured by), `command_line`, `eif` (as a user meets it).

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests, too

mod chain_shape;
mod command_line;
mod corpus;
mod device;
mod documents;
mod eif;
#[cfg(target_os = "linux")]
mod foreign_verifiers;
mod mutated_documents;
mod qemu_replay;
mod real_documents;
