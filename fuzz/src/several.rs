//! Several targets, each in a process of its own: what ends one does not end the
//! others, and its memory is its own.
//!
//! A process is tied to this one by its standard input, so that none outlives it,
//! however it ends.

use std::{
    env,
    ffi::OsString,
    io::Read as _,
    path::Path,
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{stop, targets::Entry};

/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Runs `entries`, at most `jobs` at a time, each with `words` added, and prints
/// what each has to say when it ends.
pub(crate) fn run(entries: &[&Entry], jobs: usize, words: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = env::current_exe().context("this program's own path")?;
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let ended: Mutex<Vec<(&str, anyhow::Result<ExitStatus>)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, entries.len().max(1)) {
            scope.spawn(|| {
                while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop::asked() {
                        return;
                    }
                    let result = one(&program, entry, words);
                    ended
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((entry.name, result));
                }
            });
        }
    });

    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let interrupted = stop::asked();
    let mut failed = Vec::new();
    for (name, result) in &ended {
        match result {
            Ok(status) if status.success() => {}
            Ok(status) if interrupted && status.code() == Some(stop::INTERRUPTED.into()) => {}
            Ok(status) => {
                println!("{name:<16} FAILED: {status}");
                failed.push(*name);
            }
            Err(error) => {
                println!("{name:<16} FAILED: {error:#}");
                failed.push(*name);
            }
        }
    }
    println!(
        "{} of {} targets in {:.1} s{}",
        ended.len(),
        entries.len(),
        begin.elapsed().as_secs_f64(),
        if interrupted { ", interrupted" } else { "" },
    );
    if !failed.is_empty() {
        bail!("{} failed", failed.join(", "));
    }
    if interrupted {
        return Ok(ExitCode::from(stop::INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

fn one(program: &Path, entry: &Entry, words: &[OsString]) -> anyhow::Result<ExitStatus> {
    let mut child = Command::new(program)
        .arg(entry.name)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting its process")?;
    let mut tie = child.stdin.take();
    let status = loop {
        if stop::asked() {
            tie = None; // its standard input ends, and so does it, soon
        }
        if let Some(status) = child.try_wait().context("waiting for its process")? {
            break status;
        }
        thread::sleep(POLL);
    };
    drop(tie);
    // A few lines, which the pipe has held until now.
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text).context("its output")?;
    }
    print!("{text}");
    Ok(status)
}
