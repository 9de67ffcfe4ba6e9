//! Ten thousand connections at once, all served, and among them clients that
//! drip, stop short or send too much: each is refused within its bound while
//! the others are answered, and the memory of it all is bounded.
//!
//! The server's own bounds are those of `kms_mock::edge::Limits`; the slowest
//! of them is a minute, so this takes a little longer than that.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    Line, LoadError, call,
    client::{ClientError, Connection},
    kms_request, serve_command,
    server::Server,
    text,
};
use crate::promise::{Limit, Promise};

const CONNECTIONS: usize = 10_000;
/// Descriptors beside the connections': the program's own, and the hostile.
const DESCRIPTORS: u64 = CONNECTIONS as u64 + 500;
const DRIPPING: usize = 50;
/// A header byte of a slow-loris.
const DRIP: Duration = Duration::from_secs(3);
/// `Limits::header_timeout` is a minute; the rest is for a loaded machine.
const HEADERS_BOUND: Duration = Duration::from_secs(75);
/// `Limits::body_idle_timeout` is 15 s.
const BODY_BOUND: Duration = Duration::from_secs(25);
/// What is refused at once.
const REFUSAL_BOUND: Duration = Duration::from_secs(5);
/// How often everybody asks; more often than the server closes the idle.
const ROUND: Duration = Duration::from_secs(8);

pub(super) async fn measure(kms_mock: &Path, tell: &mut impl FnMut(Line)) -> Result<(), LoadError> {
    let allowed =
        rlimit::increase_nofile_limit(DESCRIPTORS).map_err(|source| LoadError::System {
            what: "raising the limit of open files",
            source,
        })?;
    if allowed < DESCRIPTORS {
        return Err(LoadError::Wrong(format!(
            "{CONNECTIONS} connections need {DESCRIPTORS} open files and the hard limit is \
             {allowed}; raise it with `ulimit -Hn` as root"
        )));
    }
    let kms = Server::start(&mut serve_command(kms_mock))?;
    let key = call(kms.address(), "CreateKey", json!({})).await?;
    let key = text(&key, "/KeyMetadata/KeyId")?;
    let request = kms_request("Encrypt", &json!({"KeyId": key, "Plaintext": "AAEC"}));
    let before = kms.resident_bytes()?;

    let begun = Instant::now();
    let mut hostile = JoinSet::new();
    for _ in 0..DRIPPING {
        hostile.spawn(timed("slow-loris", HEADERS_BOUND, drip(kms.address())));
    }
    let mut crowd = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(kms.address()).await?;
        connection.ask(&request).await?; // before the server takes it for silent
        crowd.push(connection);
    }
    let mut answered = 0_usize;
    let mut rounds = 0_usize;
    let mut resident = 0;
    while rounds < 2 || !hostile.is_empty() {
        let round = Instant::now();
        // Everybody has asked before anybody is waited for.
        for connection in &mut crowd {
            connection.send(&request).await?;
        }
        hostile.spawn(timed("truncated", BODY_BOUND, truncated(kms.address())));
        hostile.spawn(timed("oversized", REFUSAL_BOUND, oversized(kms.address())));
        for connection in &mut crowd {
            connection.answer().await?;
            answered += 1;
        }
        rounds += 1;
        resident = resident.max(kms.resident_bytes()?);
        while let Some(ended) = hostile.try_join_next() {
            ended.map_err(|error| LoadError::Wrong(error.to_string()))??;
        }
        if begun.elapsed() > HEADERS_BOUND {
            while let Some(ended) = hostile.join_next().await {
                ended.map_err(|error| LoadError::Wrong(error.to_string()))??;
            }
        } else {
            tokio::time::sleep(ROUND.saturating_sub(round.elapsed())).await;
        }
    }
    #[allow(clippy::cast_precision_loss)] // counts and bytes far below 2^53
    let (unanswered, a_connection) = (
        (rounds * CONNECTIONS - answered) as f64,
        resident.saturating_sub(before) as f64 / CONNECTIONS as f64 / 1024.0,
    );
    tell(Line::Promise(Promise {
        what: format!("unanswered of {rounds} requests by each of {CONNECTIONS} connections"),
        measured: unanswered,
        limit: Limit::AtMost(0.0),
        unit: "",
    }));
    tell(Line::Promise(Promise {
        what: "memory of the server for each of them".to_owned(),
        measured: a_connection,
        limit: Limit::AtMost(48.0),
        unit: "KiB",
    }));
    Ok(())
}

/// Fails unless the server ends what `attack` does within `bound`.
async fn timed(
    what: &'static str,
    bound: Duration,
    attack: impl Future<Output = Result<(), ClientError>>,
) -> Result<(), LoadError> {
    match tokio::time::timeout(bound, attack).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => Err(LoadError::Wrong(format!(
            "a {what} request was not refused within {bound:?}"
        ))),
    }
}

/// One header byte after the other, until the server has enough.
async fn drip(address: std::net::SocketAddr) -> Result<(), ClientError> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        .await?;
    let mut answer = [0; 64];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => match read {
                Ok(0) | Err(_) => return Ok(()), // closed on us
                Ok(_) if answer.starts_with(b"HTTP/1.1 200") => return Err(served(&answer)),
                Ok(_) => {}
            },
            () = tokio::time::sleep(DRIP) => {
                if stream.write_all(b"a").await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// A body shorter than it was announced, and silence.
async fn truncated(address: std::net::SocketAddr) -> Result<(), ClientError> {
    let request = kms_request(
        "Encrypt",
        &json!({"KeyId": "alias/none", "Plaintext": "AAEC"}),
    );
    let mut stream = TcpStream::connect(address).await?;
    let short = request.len().saturating_sub(10);
    stream
        .write_all(request.get(..short).unwrap_or_default())
        .await?;
    refused(stream, b"HTTP/1.1 408").await
}

/// More than the server takes, announced and then sent.
async fn oversized(address: std::net::SocketAddr) -> Result<(), ClientError> {
    let body = json!({"KeyId": "alias/none", "Plaintext": "A".repeat(2 << 20)});
    let request = kms_request("Encrypt", &body);
    let mut stream = TcpStream::connect(address).await?;
    let _ = stream.write_all(&request).await; // it may close before the end
    refused(stream, b"HTTP/1.1 413").await
}

/// Reads to the end of the connection, whose answer must begin with `status`.
async fn refused(mut stream: TcpStream, status: &[u8]) -> Result<(), ClientError> {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await; // a reset is an end too
    if answer.is_empty() || answer.starts_with(status) {
        return Ok(());
    }
    Err(served(&answer))
}

fn served(answer: &[u8]) -> ClientError {
    ClientError::Form(String::from_utf8_lossy(answer).into_owned())
}
