//! Instructions per operation, by valgrind's callgrind: figures that a busy
//! machine does not move. Beside them stand the misses of instruction caches.
//!
//! Each operation runs in a process of its own, and what is counted is what runs
//! within [`counted`]: start and preparation are not. Operations of KMS run in the
//! program `calls`, which has the allocator of `kms-mock`.
//!
//! The caches are simulated, of the same sizes on every machine: 32 KiB for
//! instructions and 512 KiB behind them, as a core of a server has. Where code
//! lies decides what it displaces there, so misses move by some percent with any
//! change; instructions do not.
//!
//! Valgrind offers an AVX2 machine without SHA extensions or ADX, so libraries
//! that choose their code at run time (aws-lc-rs does) are counted on a slower path
//! than they take outside. Counts compare builds, not operations with each other.

use std::{
    fmt, io,
    path::Path,
    process::{Command, Stdio},
};

use crate::{calls::CALLS, operation::Operation, operations::OPERATIONS};

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

/// What one run of an operation takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// Instructions executed.
    pub instructions: u64,
    /// Fetches of them that miss a first-level cache of 32 KiB.
    pub first_level_misses: f64,
    /// Fetches of them that miss a second-level cache of 512 KiB.
    pub second_level_misses: f64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            instructions,
            first_level_misses: first,
            second_level_misses: second,
        } = self;
        write!(f, "{instructions:>14} {first:>10.1} {second:>10.1}")
    }
}

/// Runs an operation again and again. Valgrind counts what runs within this
/// function, which it knows by its name.
#[inline(never)]
pub fn counted(run: &mut dyn FnMut(), runs: u64) {
    for _ in 0..runs {
        run();
    }
}

impl Operation {
    /// The operation of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let mut all = OPERATIONS.iter().chain(CALLS);
        all.find(|operation| operation.name == name)
    }

    /// Runs the operation of that name so many times.
    ///
    /// # Errors
    /// What is wrong with the name or the number.
    pub fn repeat(name: &str, runs: &str) -> Result<(), String> {
        let operation = Self::named(name).ok_or_else(|| {
            let all = OPERATIONS.iter().chain(CALLS);
            let names: Vec<_> = all.map(|operation| operation.name).collect();
            format!(
                "`{name}` is not an operation; the operations are {}",
                names.join(", ")
            )
        })?;
        counted(&mut *operation.prepared(), number(runs)?);
        Ok(())
    }
}

/// A number of runs, as the command line has it.
///
/// # Errors
/// A sentence that says so.
pub fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a number of runs"))
}

/// Counts every operation and gives each row to `print` as it is ready. `operations`
/// and `calls` are this crate's programs.
///
/// # Errors
/// [`CountError`], at the first operation that cannot be counted.
pub fn count_all(
    operations: &Path,
    calls: &Path,
    mut print: impl FnMut(&Operation, Count),
) -> Result<(), CountError> {
    let of_operations = OPERATIONS.iter().map(|it| (operations, it));
    let of_calls = CALLS.iter().map(|it| (calls, it));
    for (program, operation) in of_operations.chain(of_calls) {
        print(operation, count(program, operation)?);
    }
    Ok(())
}

fn count(program: &Path, operation: &Operation) -> Result<Count, CountError> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*instructions*counted*")
        .arg("--cache-sim=yes")
        .args(["--I1=32768,8,64", "--D1=32768,8,64", "--LL=524288,8,64"])
        .arg("--")
        .arg(program)
        .args(["repeat", operation.name])
        .arg(operation.counted_runs.to_string())
        .stdout(Stdio::null())
        .output()
        .map_err(CountError::NoValgrind)?;
    let said = String::from_utf8_lossy(&output.stderr);
    read_totals(&said, operation.counted_runs)
        .filter(|count| output.status.success() && count.instructions > 0)
        .ok_or_else(|| CountError::NoTotal(said.trim().to_owned()))
}

/// The totals of callgrind's summary, `==PID== Collected : 123456 …` below the
/// names of its columns, `==PID== Events    : Ir …`, by the number of runs.
fn read_totals(summary: &str, runs: u32) -> Option<Count> {
    let words = |label| {
        let (_, rest) = summary.split_once(label)?;
        Some(rest.lines().next()?.split_whitespace())
    };
    let total = |event: &str| {
        let at = words("Events    :")?.position(|name| name == event)?;
        words("Collected :")?.nth(at)?.parse::<u64>().ok()
    };
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    let per_run = |event| Some(total(event)? as f64 / f64::from(runs));
    Some(Count {
        instructions: total("Ir")? / u64::from(runs),
        first_level_misses: per_run("I1mr")?,
        second_level_misses: per_run("ILmr")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_are_read_from_callgrinds_summary() {
        let summary = "==7== Events    : Ir Dr I1mr ILmr\n==7== Collected : 1784 2 31 4\n==7== \n";
        let count = Count {
            instructions: 178,
            first_level_misses: 3.1,
            second_level_misses: 0.4,
        };
        assert_eq!(read_totals(summary, 10), Some(count));
        assert_eq!(read_totals("==7== Process terminating", 1), None);
    }
}
