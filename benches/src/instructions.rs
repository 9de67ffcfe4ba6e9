//! Instructions per operation, by valgrind's callgrind: figures that a busy
//! machine does not move.
//!
//! Each operation runs twice in a process of its own, `counted_runs` more often
//! the second time; the difference of the two totals, divided, is free of start
//! and preparation. Valgrind offers an AVX2 machine without SHA extensions or
//! ADX, so libraries that choose their code at run time (aws-lc-rs does) are
//! counted on a slower path than they take outside. Counts compare builds, not
//! operations with each other.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

use crate::operations::{OPERATIONS, Operation};

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CountError {
    /// There is no valgrind to start.
    #[error(
        "no instructions are counted: `valgrind` does not start ({0}); Debian has it in the package valgrind"
    )]
    NoValgrind(#[source] io::Error),
    /// Valgrind ran and printed no total; its own output follows.
    #[error("valgrind counted nothing: {0}")]
    NoTotal(String),
}

/// The runs before the ones that are counted.
const BASE_RUNS: u32 = 1;

/// Instructions of one run of `operation`, by running `program` (this crate's
/// binary) under valgrind.
///
/// # Errors
/// [`CountError`]
pub fn per_run(program: &Path, operation: &Operation) -> Result<u64, CountError> {
    let base = total(program, operation.name, BASE_RUNS)?;
    let more = total(program, operation.name, BASE_RUNS + operation.counted_runs)?;
    Ok(more.saturating_sub(base) / u64::from(operation.counted_runs))
}

/// Counts every operation and gives each row to `print` as it is ready.
///
/// # Errors
/// [`CountError`], at the first operation that cannot be counted.
pub fn count_all(program: &Path, mut print: impl FnMut(&Operation, u64)) -> Result<(), CountError> {
    OPERATIONS.iter().try_for_each(|operation| {
        print(operation, per_run(program, operation)?);
        Ok(())
    })
}

fn total(program: &Path, name: &str, runs: u32) -> Result<u64, CountError> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--"])
        .arg(program)
        .args(["repeat", name, &runs.to_string()])
        .stdout(Stdio::null())
        .output()
        .map_err(CountError::NoValgrind)?;
    let said = String::from_utf8_lossy(&output.stderr);
    read_total(&said)
        .filter(|_| output.status.success())
        .ok_or_else(|| CountError::NoTotal(said.trim().to_owned()))
}

/// The total of callgrind's summary: `==PID== Collected : 123456`.
fn read_total(summary: &str) -> Option<u64> {
    let (_, rest) = summary.split_once("Collected :")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_callgrinds_summary() {
        let summary = "==7== Events    : Ir\n==7== Collected : 178482\n==7== \n";
        assert_eq!(read_total(summary), Some(178_482));
        assert_eq!(read_total("==7== Process terminating"), None);
    }
}
