//! `calls`: runs an operation again and again, as `operations repeat` does, with the
//! allocator that `kms-mock` has. `operations instructions` counts the calls of KMS
//! in it.

#![allow(clippy::print_stderr)] // it says what is wrong with its arguments

use std::{env, process::ExitCode};

use benches::operation::Operation;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["repeat", name, runs] => Operation::repeat(name, runs),
        _ => Err("usage: calls repeat NAME RUNS".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}
