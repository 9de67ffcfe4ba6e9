//! `drydock-fuzz`: generated and mutated input for every parser of outside bytes.
//!
//! Needs nothing but stable Rust. Every input is a function of `--seed` and the
//! number of the run; a failing one is saved, and a line that runs it again is
//! printed. Does not follow coverage: what steers the inputs is the formats
//! themselves, which the generators and mutators know.

mod driver;
mod mutate;
mod nsm_requests;
mod random;
mod targets;

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::Parser as _;

use driver::{Bounds, Driver};
use targets::{ALL, Corpus, Entry};

/// Feed generated and mutated input to every parser of outside bytes.
#[derive(Debug, clap::Parser)]
#[command(name = "drydock-fuzz")]
struct Args {
    /// Targets; all of them if none is named.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Print the targets and do nothing.
    #[arg(long)]
    list: bool,
    /// Seconds over all targets together.
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    seconds: f64,
    /// Runs of each target, in place of a time.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    runs: Option<u64>,
    /// Make the same inputs again.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Number of the first run.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Run this one file, of the one target named.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Real files to start from.
    #[arg(long, value_name = "FOLDER", env = "DRYDOCK_CORPUS")]
    corpus: Option<PathBuf>,
    /// Where failing inputs are kept.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/fuzz"))]
    out: PathBuf,
    /// Longest time that one input may take.
    #[arg(long, value_name = "MS", default_value_t = 20_000)]
    hang_ms: u64,
    /// Most memory that the process may have.
    #[arg(long, value_name = "MIB", default_value_t = 1536)]
    memory_mib: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("drydock-fuzz: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.list {
        for entry in ALL {
            println!("{:<16} {}", entry.name, entry.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut chosen = Vec::new();
    for name in &args.targets {
        let entry = ALL.into_iter().find(|entry| entry.name == name);
        chosen.push(entry.with_context(|| format!("there is no target `{name}`; see --list"))?);
    }
    match chosen.as_slice() {
        [one] => alone(args, one),
        [] => all(args, &ALL),
        some => all(args, some),
    }
}

/// One target, in this process.
fn alone(args: &Args, entry: &Entry) -> anyhow::Result<ExitCode> {
    let corpus = Corpus::new(corpus(args)?);
    let mut target = (entry.make)(&corpus).with_context(|| format!("target {}", entry.name))?;
    let driver = Driver::new(
        entry.name,
        args.out.clone(),
        Bounds {
            input_time: Duration::from_millis(args.hang_ms),
            memory_bytes: args.memory_mib << 20,
        },
    )?;
    if let Some(file) = &args.replay {
        let input = std::fs::read(file).with_context(|| file.display().to_string())?;
        return Ok(driver.replay(target.as_mut(), &input));
    }
    let time = Duration::from_secs_f64(args.seconds.max(0.0));
    Ok(driver.fuzz(target.as_mut(), args.seed, args.from, args.runs, time))
}

/// Several, one after the other, each in a process of its own: what ends one does
/// not end the others.
fn all(args: &Args, entries: &[Entry]) -> anyhow::Result<ExitCode> {
    ensure!(args.replay.is_none(), "--replay takes one target");
    let program = env::current_exe().context("this program's own path")?;
    let begin = Instant::now();
    let mut failed = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let mut command = Command::new(&program);
        command.arg(entry.name).arg("--out").arg(&args.out);
        command.args(["--seed", &args.seed.to_string()]);
        command.args(["--from", &args.from.to_string()]);
        command.args(["--hang-ms", &args.hang_ms.to_string()]);
        command.args(["--memory-mib", &args.memory_mib.to_string()]);
        if let Some(corpus) = &args.corpus {
            command.arg("--corpus").arg(corpus);
        }
        match args.runs {
            Some(runs) => command.args(["--runs", &runs.to_string()]),
            None => {
                // What set-up took is taken from the targets still to come.
                let left = (args.seconds - begin.elapsed().as_secs_f64()).max(0.5);
                let share = left / (entries.len() - at) as f64;
                command.args(["--seconds", &format!("{share:.2}")])
            }
        };
        let status = command.status().context("starting a target's process")?;
        if !status.success() {
            println!("{:<16} FAILED: {status}", entry.name);
            failed.push(entry.name);
        }
    }
    println!(
        "{} targets in {:.1} s",
        entries.len(),
        begin.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("{} failed", failed.join(", "))
}

/// The corpus folder. In CI there must be one.
fn corpus(args: &Args) -> anyhow::Result<Option<PathBuf>> {
    let folder = args.corpus.clone().unwrap_or_else(|| {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus"))
    });
    if folder.is_dir() {
        return Ok(Some(folder));
    }
    ensure!(
        env::var_os("CI").is_none(),
        "no corpus at {}",
        folder.display()
    );
    println!("no corpus at {}: built-in seeds only", folder.display());
    Ok(None)
}
