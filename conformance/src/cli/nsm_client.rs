//! `drydock nsm-client`: hands requests on to `/dev/nsm` by AWS's own client
//! code; the enclave's side of the NSM cases.
//!
//! One JSON request a line on standard input, one JSON response a line on
//! standard output, until the input ends.

use std::{
    io::{BufRead as _, Write as _},
    process::ExitCode,
};

use anyhow::ensure;
use aws_nitro_enclaves_nsm_api::{api::Request, driver};
use clap::Args;

/// Hands NSM requests from standard input on to /dev/nsm.
#[derive(Debug, Args)]
pub struct NsmClient {}

/// A line of JSON that describes the largest request: 4096 bytes as numbers.
const LINE_BYTES_MAX: usize = 64 * 1024;

impl NsmClient {
    /// Runs until the input ends.
    ///
    /// # Errors
    /// If `/dev/nsm` does not open or a line is not a request.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let nsm = driver::nsm_init();
        ensure!(
            nsm >= 0,
            "/dev/nsm does not open: run this in an enclave or under nsm-sim run"
        );
        let mut out = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            ensure!(
                line.len() <= LINE_BYTES_MAX,
                "a request line of {} bytes",
                line.len()
            );
            let request: Request = serde_json::from_str(&line)?;
            let response = driver::nsm_process_request(nsm, request);
            writeln!(out, "{}", serde_json::to_string(&response)?)?;
            out.flush()?;
        }
        driver::nsm_exit(nsm);
        Ok(ExitCode::SUCCESS)
    }
}
