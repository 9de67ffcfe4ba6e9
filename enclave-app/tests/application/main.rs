//! The reference application from outside: the images it reads, its half inside the
//! enclave and its half on the parent.

// Everything here is a test: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod enclave;
mod images;
mod parent;
