//! `operations`: instruction counts and promises, beside criterion's times.

#![allow(clippy::print_stdout, clippy::print_stderr)] // it prints tables

use std::{convert::Infallible, env, path::Path, process::ExitCode};

use benches::{
    calls::CALLS,
    instructions,
    instructions::number,
    load::{self, Section, floor::Work},
    operation::Operation,
    operations::OPERATIONS,
    promises,
    runner::{self, REQUESTS, Runner},
};

const USAGE: &str = "\
usage: operations list                  the operations
       operations instructions          instructions and cache misses of each, by valgrind
       operations promises              measure the promises; exit code 1 if one is missed
       operations load [--json] [start|speed|keys|crowd]…
                                        the promises of kms-mock under load, all or some
       operations beside KMS_MOCK       kms-mock under load, in times of that older program
       operations repeat NAME RUNS      run one again and again (for a profiler)
       operations ask NAME RUNS         ask /dev/nsm, under `nsm-sim run`; prints nanoseconds";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["list"] => {
            for operation in OPERATIONS.iter().chain(CALLS) {
                println!("{:<24} {}", operation.name, operation.what);
            }
            Ok(true)
        }
        ["instructions"] => count(),
        ["promises"] => check(),
        ["load", options @ ..] => load(options),
        ["beside", old] => load::beside(Path::new(old), |ratios| println!("{ratios}"))
            .map(|()| true)
            .map_err(|error| error.to_string()),
        // The server beside kms-mock, a process of its own.
        ["floor", work] => floor(work).map(|never| match never {}),
        ["repeat", name, runs] => Operation::repeat(name, runs).map(|()| true),
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
    let calls = load::locate("calls").map_err(|error| error.to_string())?;
    println!(
        "{:<24} {:>14} {:>10} {:>10}  of",
        "operation", "instructions", "I1 misses", "L2 misses"
    );
    let counted = instructions::count_all(&program, &calls, |operation, count| {
        println!("{:<24} {count}  {}", operation.name, operation.what);
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

fn ask(name: &str, runs: &str) -> Result<bool, String> {
    let time = runner::ask(name, number(runs)?)
        .map_err(|error| format!("{error}; requests: {}", REQUESTS.join(", ")))?;
    println!("{}", time.as_nanos());
    Ok(true)
}
