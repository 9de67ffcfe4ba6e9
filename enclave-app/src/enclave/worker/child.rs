//! The worker's side: one image from standard input, one answer to standard output.
//!
//! The bounds come first, before a byte of the image is read: address space and
//! processor time as the enclave says, as many processes and threads of its user as all
//! decoders need (one of the JPEG decoders starts a thread a component), no file of any
//! size, no core, and no further descriptor: neither a file nor a device nor a socket can
//! be opened. Source of truth: setrlimit(2). Nothing is said on standard
//! error, not even by a panic.

use std::{
    ffi::OsString,
    io::{self, Read as _, Write as _},
    panic,
    process::ExitCode,
};

use rlimit::Resource;

use super::protocol;

/// The argument by which this program knows that it is a worker. Private: between
/// two processes of one version.
pub const ARGUMENT: &str = "decode-one-image";

/// Exit codes of a worker, for whoever traces one.
const NO_LIMITS: u8 = 1;
const NO_REQUEST: u8 = 2;
const NO_ANSWER: u8 = 3;

/// Whether this process was started as a worker; then, what came of it.
#[must_use]
pub fn run_if_worker() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let mut number = || arguments.next().as_ref().and_then(number);
    let code = match (number(), number(), number()) {
        (Some(memory_bytes_max), Some(cpu_s_max), Some(threads_max)) => work(&[
            (Resource::AS, memory_bytes_max),
            (Resource::CPU, cpu_s_max),
            (Resource::NPROC, threads_max),
            (Resource::FSIZE, 0),
            (Resource::CORE, 0),
            (Resource::NOFILE, DESCRIPTORS),
        ]),
        _ => NO_LIMITS,
    };
    Some(ExitCode::from(code))
}

fn number(text: &OsString) -> Option<u64> {
    text.to_str()?.parse().ok()
}

fn work(bounds: &[(Resource, u64)]) -> u8 {
    panic::set_hook(Box::new(|_| {}));
    for (resource, max) in bounds {
        // A bound that is none could not be set where there is one already.
        if *max != u64::MAX && resource.set(*max, *max).is_err() {
            return NO_LIMITS;
        }
    }
    let mut header = [0; protocol::HEADER_BYTES];
    let mut stdin = io::stdin().lock();
    if stdin.read_exact(&mut header).is_err() {
        return NO_REQUEST;
    }
    let Some((limits, length)) = protocol::read_header(&header) else {
        return NO_REQUEST;
    };
    // Not wiped at the end: the process ends, and its memory goes back to the kernel,
    // which wipes it.
    let mut plaintext = Vec::new();
    if plaintext.try_reserve_exact(length).is_err() {
        return NO_REQUEST;
    }
    match stdin.take(length as u64).read_to_end(&mut plaintext) {
        Ok(read) if read == length => {}
        _ => return NO_REQUEST,
    }
    let reply = protocol::answer(&plaintext, &limits);
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&reply).and_then(|()| stdout.flush()) {
        Ok(()) => 0,
        Err(_) => NO_ANSWER,
    }
}

/// The three standard descriptors and none beside them.
const DESCRIPTORS: u64 = 3;
