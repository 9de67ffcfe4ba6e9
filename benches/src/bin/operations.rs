//! `operations`: instruction counts and promises, beside criterion's times.

#![allow(clippy::print_stdout, clippy::print_stderr)] // it prints tables

use std::{convert::Infallible, env, process::ExitCode};

use benches::{
    instructions,
    load::{self, Section, floor::Work},
    operations::{OPERATIONS, Operation},
    promises,
    runner::{self, REQUESTS, Runner},
};

const USAGE: &str = "\
usage: operations list                  the operations
       operations instructions          instructions of each, by valgrind
       operations promises              measure the promises; exit code 1 if one is missed
       operations load [--json] [start|speed|keys|crowd]…
                                        the promises of kms-mock under load, all or some
       operations repeat NAME RUNS      run one again and again (for a profiler)
       operations ask NAME RUNS         ask /dev/nsm, under `nsm-sim run`; prints nanoseconds";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["list"] => {
            for operation in OPERATIONS {
                println!("{:<22} {}", operation.name, operation.what);
            }
            Ok(true)
        }
        ["instructions"] => count(),
        ["promises"] => check(),
        ["load", options @ ..] => load(options),
        // The server beside kms-mock, a process of its own.
        ["floor", work] => floor(work).map(|never| match never {}),
        ["repeat", name, runs] => repeat(name, runs),
        ["ask", name, runs] => ask(name, runs),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::from(2)
        }
    }
}

fn count() -> Result<bool, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    println!("{:<22} {:>14}  of", "operation", "instructions");
    let counted = instructions::count_all(&program, |operation, count| {
        println!("{:<22} {count:>14}  {}", operation.name, operation.what);
    });
    match counted {
        // A machine without valgrind is not a failure.
        Err(error @ instructions::CountError::NoValgrind(_)) => println!("{error}"),
        counted => counted.map_err(|error| error.to_string())?,
    }
    Ok(true)
}

fn check() -> Result<bool, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    promises::check(&Runner::locate(&program), |promise| println!("{promise}"))
        .map_err(|error| error.to_string())
}

fn load(options: &[&str]) -> Result<bool, String> {
    let mut as_json = false;
    let mut sections = Vec::new();
    for option in options {
        match (*option, Section::named(option)) {
            ("--json", _) => as_json = true,
            (_, Some(section)) => sections.push(section),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if sections.is_empty() {
        sections = Section::ALL.to_vec();
    }
    let mut lines = Vec::new();
    let held = load::check(&sections, |line| {
        if as_json {
            lines.push(line.to_json());
        } else {
            println!("{line}");
        }
    })
    .map_err(|error| error.to_string())?;
    if as_json {
        println!("{}", serde_json::json!({"held": held, "lines": lines}));
    }
    Ok(held)
}

fn floor(work: &str) -> Result<Infallible, String> {
    let work = match work {
        "plain" => Work::None,
        "attested" => Work::Attested,
        "signing" => Work::Signing,
        _ => return Err(USAGE.to_owned()),
    };
    load::floor::serve(work, |address| println!("{address}")).map_err(|error| error.to_string())
}

fn repeat(name: &str, runs: &str) -> Result<bool, String> {
    let operation = Operation::named(name).ok_or_else(|| {
        let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        format!(
            "`{name}` is not an operation; the operations are {}",
            names.join(", ")
        )
    })?;
    let mut run = operation.prepared();
    for _ in 0..number(runs)? {
        run();
    }
    Ok(true)
}

fn ask(name: &str, runs: &str) -> Result<bool, String> {
    let time = runner::ask(name, number(runs)?)
        .map_err(|error| format!("{error}; requests: {}", REQUESTS.join(", ")))?;
    println!("{}", time.as_nanos());
    Ok(true)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number of runs"))
}
