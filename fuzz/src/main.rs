//! `drydock-fuzz`: generated and mutated input for every parser of outside bytes.
//!
//! Needs nothing but stable Rust. Every input is a function of `--seed` and the
//! number of the run; a failing one is saved, and a line that runs it again is
//! printed. Does not follow coverage: what steers the inputs is the formats
//! themselves, which the generators and mutators know.

mod driver;
mod json;
mod mutate;
mod nsm_requests;
mod random;
mod several;
mod stop;
mod targets;

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode, thread, time::Duration};

use anyhow::{Context as _, ensure};
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
    /// Seconds of each target.
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    seconds_each: f64,
    /// Runs of each target, in place of a time.
    #[arg(long, value_name = "N", conflicts_with = "seconds_each")]
    runs: Option<u64>,
    /// Targets at a time, each in a process of its own; one a core by default.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
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
    /// End when standard input ends, as the processes of several targets do.
    #[arg(long, hide = true)]
    tied: bool,
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
    stop::at_interrupt()?;
    match chosen.as_slice() {
        [one] => alone(args, one),
        some => {
            ensure!(args.replay.is_none(), "--replay takes one target");
            let entries: Vec<&Entry> = if some.is_empty() {
                ALL.iter().collect()
            } else {
                some.iter().collect()
            };
            let cores = thread::available_parallelism().map_or(1, usize::from);
            several::run(&entries, args.jobs.unwrap_or(cores), &shared(args))
        }
    }
}

/// One target, in this process.
fn alone(args: &Args, entry: &Entry) -> anyhow::Result<ExitCode> {
    if args.tied {
        stop::with_standard_input();
    }
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
    let time = Duration::from_secs_f64(args.seconds_each.max(0.0));
    Ok(driver.fuzz(target.as_mut(), args.seed, args.from, args.runs, time))
}

/// What is said to the process of each of several targets.
fn shared(args: &Args) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--tied".into(), "--out".into(), args.out.clone().into()];
    let mut say = |name: &str, value: String| words.extend([name.into(), value.into()]);
    say("--seed", args.seed.to_string());
    say("--from", args.from.to_string());
    say("--hang-ms", args.hang_ms.to_string());
    say("--memory-mib", args.memory_mib.to_string());
    match args.runs {
        Some(runs) => say("--runs", runs.to_string()),
        None => say("--seconds-each", args.seconds_each.to_string()),
    }
    if let Some(corpus) = &args.corpus {
        words.extend(["--corpus".into(), corpus.clone().into()]);
    }
    words
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
