//! From the start of the process to its first answer.

use std::{path::Path, time::Instant};

use super::{Line, LoadError, client::Connection, serve_command, server::Server};
use crate::promise::{Limit, Promise};

const STARTS: usize = 25;

/// Answered without a key: what is measured is the start.
const HEALTH: &[u8] = b"GET /_localstack/health HTTP/1.1\r\nhost: localhost\r\n\r\n";

pub(super) async fn measure(kms_mock: &Path, tell: &mut impl FnMut(Line)) -> Result<(), LoadError> {
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let begun = Instant::now();
        let server = Server::start(&mut serve_command(kms_mock))?;
        let mut connection = Connection::open(server.address()).await?;
        connection.ask(HEALTH).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    tell(Line::Promise(Promise {
        what: "`kms-mock serve`: from its start to its first answer".to_owned(),
        // As of every absolute time, the fastest: other load can only add to it.
        measured: times.into_iter().fold(f64::INFINITY, f64::min),
        limit: Limit::AtMost(20.0),
        unit: "ms",
    }));
    Ok(())
}
