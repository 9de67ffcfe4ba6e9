//! A server in a process of its own, so that its processor time and its memory
//! are its alone.
//!
//! Source of truth: proc(5), `/proc/PID/stat` and `statm`. Processor time comes
//! in ticks of 10 ms there (`USER_HZ` is 100 on x86-64 and aarch64), so a
//! stretch of load has to last a second for a figure of one percent.

use std::{
    fs, io,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

const TICK: Duration = Duration::from_millis(10);
const PAGE_BYTES: u64 = 4096;

/// Why a server cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The program did not start, or its figures cannot be read.
    #[error("{program}: {source}")]
    Io {
        /// What was started.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program ended, or said nothing of where it listens.
    #[error("{program} does not say where it listens: {said:?}; run it by hand to see why")]
    NoAddress {
        /// What was started.
        program: String,
        /// Its first line.
        said: String,
    },
}

/// A running server; it is killed when dropped.
#[derive(Debug)]
pub struct Server {
    program: String,
    child: Child,
    address: SocketAddr,
    /// Kept open: a server that cannot print ends.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a program whose first line names the address it listens on.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn start(command: &mut Command) -> Result<Self, ServerError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |source| ServerError::Io {
            program: program.clone(),
            source,
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()));
        let mut stdout = BufReader::new(stdout?);
        let mut said = String::new();
        stdout.read_line(&mut said).map_err(failed)?;
        let address = said.split_whitespace().find_map(|word| word.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(ServerError::NoAddress { program, said });
        };
        Ok(Self {
            program,
            child,
            address,
            _stdout: stdout,
        })
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time it has used so far, in user and kernel mode.
    ///
    /// # Errors
    /// [`ServerError::Io`]
    pub fn cpu(&self) -> Result<Duration, ServerError> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(path).map_err(|source| self.failed(source))?;
        ticks(&text)
            .map(|ticks| TICK * ticks)
            .ok_or_else(|| self.failed(io::ErrorKind::InvalidData.into()))
    }

    /// Memory it holds resident.
    ///
    /// # Errors
    /// [`ServerError::Io`]
    pub fn resident_bytes(&self) -> Result<u64, ServerError> {
        resident_bytes(&self.child.id().to_string()).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> ServerError {
        ServerError::Io {
            program: self.program.clone(),
            source,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory that a process (a number, or `self`) holds resident.
///
/// # Errors
/// If there is no such process.
pub fn resident_bytes(process: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/statm"))?;
    text.split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .map(|pages| pages * PAGE_BYTES)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `utime` and `stime`, the 14th and 15th fields; the second, a name in
/// brackets, may hold anything.
fn ticks(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut field = || fields.next()?.parse::<u32>().ok();
    field()?.checked_add(field()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 0 0 20 0 3 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn a_program_that_does_not_print_its_address_is_an_error() {
        let error = Server::start(Command::new("echo").arg("hello")).unwrap_err();
        assert!(matches!(error, ServerError::NoAddress { .. }), "{error}");
    }
}
