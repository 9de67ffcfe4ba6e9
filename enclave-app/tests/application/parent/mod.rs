//! The parent as a black box: its bridge on loopback sockets, its S3 client
//! against a small HTTP server, its job logic against an enclave in memory, and
//! the command itself.

mod answers;
mod bridge;
mod command;
mod doubles;
mod journal;
mod s3;
mod submit;
