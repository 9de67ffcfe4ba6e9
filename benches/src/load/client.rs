//! The load generator: keep-alive connections on one thread that write requests
//! made beforehand and read whole answers.
//!
//! It shares the machine with the server it loads, so it must cost little: no
//! HTTP library, no parsing beyond the status and the length, one write and one
//! read a request.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Longest answer that is read; every answer measured here is far shorter.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why a load could not be driven to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server went away, or could not be reached.
    #[error("talking to the server under load: {0}")]
    Io(#[from] io::Error),
    /// An answer that is none, or has no length.
    #[error("the server under load did not answer readable HTTP: {0}")]
    Form(String),
    /// A refusal where there should be none: a load of errors measures nothing.
    #[error("the server under load refused: {0}")]
    Refused(String),
}

/// Requests to send again and again.
#[derive(Clone, Debug)]
pub struct Requests {
    bytes: Vec<u8>,
    /// Where each of `names` goes in turn.
    name_at: usize,
    names: Arc<[String]>,
    next: usize,
}

impl Requests {
    /// The same request every time.
    #[must_use]
    pub fn one(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            name_at: 0,
            names: Arc::new([]),
            next: 0,
        }
    }

    /// A request in which `placeholder` is replaced by one name after the other,
    /// all as long as it is.
    ///
    /// # Panics
    /// If the request has no such placeholder or a name is of another length.
    #[must_use]
    pub fn over_names(bytes: Vec<u8>, placeholder: &str, names: Arc<[String]>) -> Self {
        let name_at = bytes
            .windows(placeholder.len())
            .position(|window| window == placeholder.as_bytes())
            .expect("the request has the placeholder");
        assert!(names.iter().all(|name| name.len() == placeholder.len()));
        Self {
            bytes,
            name_at,
            names,
            next: 0,
        }
    }

    /// The same requests from the `start`th on.
    #[must_use]
    fn starting(mut self, start: usize) -> Self {
        self.next = start;
        self
    }

    fn next(&mut self) -> &[u8] {
        let at = self.next.checked_rem(self.names.len());
        if let Some(name) = at.and_then(|at| self.names.get(at))
            && let Some(place) = self.bytes.get_mut(self.name_at..self.name_at + name.len())
        {
            place.copy_from_slice(name.as_bytes());
            // A stride that is coprime to every power of ten visits all names
            // and no two neighbours after each other.
            self.next = self.next.wrapping_add(7919);
        }
        &self.bytes
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Io`]
    pub async fn open(address: SocketAddr) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection over a stream that is open.
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends a request and reads its answer; the body's bytes.
    ///
    /// # Errors
    /// [`ClientError`], also for every status but 200.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&[u8], ClientError> {
        self.send(request).await?;
        self.answer().await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`ClientError::Io`]
    pub async fn send(&mut self, request: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads the answer to the request that was sent; the body's bytes.
    ///
    /// # Errors
    /// [`ClientError`], also for every status but 200.
    pub async fn answer(&mut self) -> Result<&[u8], ClientError> {
        self.buffer.clear();
        loop {
            if let Some(body_at) = whole(&self.buffer)? {
                return Ok(self.buffer.get(body_at..).unwrap_or_default());
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::Form("an endless answer".to_owned()));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// Where the body of a complete answer starts; `None` while it is not complete.
fn whole(answer: &[u8]) -> Result<Option<usize>, ClientError> {
    let shown = || String::from_utf8_lossy(answer).into_owned();
    let Some(head_end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = answer.split_at(head_end + 4);
    let length = head
        .split(|byte| *byte == b'\n')
        .find_map(|line| {
            let (name, value) = line.split_at_checked("content-length:".len())?;
            name.eq_ignore_ascii_case(b"content-length:")
                .then(|| str::from_utf8(value).ok()?.trim().parse::<usize>().ok())?
        })
        .ok_or_else(|| ClientError::Form(shown()))?;
    if body.len() < length {
        return Ok(None);
    }
    if body.len() > length {
        return Err(ClientError::Form(shown()));
    }
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(ClientError::Refused(shown()));
    }
    Ok(Some(head.len()))
}

/// What one stretch of load came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Driven {
    /// Requests answered with 200 within the time.
    pub requests: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of every request.
    latencies_ns: Vec<u32>,
}

impl Driven {
    /// Requests answered a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `percent` of the requests did not exceed, in µs.
    #[must_use]
    pub fn latency_us(&self, percent: usize) -> f64 {
        let at = self.latencies_ns.len().saturating_sub(1) * percent / 100;
        self.latencies_ns
            .get(at)
            .map_or(f64::NAN, |ns| f64::from(*ns) / 1000.0)
    }
}

/// Connections that are open already, so that a stretch of load measures
/// requests alone.
#[derive(Debug)]
pub struct Load {
    lanes: Vec<(Connection, Requests)>,
}

impl Load {
    /// Opens `connections` connections and asks once over each.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn open(
        address: SocketAddr,
        connections: usize,
        requests: &Requests,
    ) -> Result<Self, ClientError> {
        let mut lanes = Vec::with_capacity(connections);
        for at in 0..connections {
            let mut connection = Connection::open(address).await?;
            let mut requests = requests.clone().starting(at * 1009);
            connection.ask(requests.next()).await?;
            lanes.push((connection, requests));
        }
        Ok(Self { lanes })
    }

    /// Asks over every connection, one request after the other, for `time`.
    ///
    /// # Errors
    /// [`ClientError`], at the first request that fails.
    pub async fn drive(&mut self, time: Duration) -> Result<Driven, ClientError> {
        let start = Instant::now();
        let end = start + time;
        let mut running = JoinSet::new();
        for (mut connection, mut requests) in self.lanes.drain(..) {
            running.spawn(async move {
                let mut latencies: Vec<u32> = Vec::with_capacity(1 << 16);
                let mut begun = Instant::now();
                while begun < end {
                    connection.ask(requests.next()).await?;
                    let answered = Instant::now();
                    let took = answered.duration_since(begun).as_nanos();
                    latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
                    begun = answered;
                }
                Ok::<_, ClientError>((connection, requests, latencies))
            });
        }
        let mut latencies_ns = Vec::new();
        while let Some(joined) = running.join_next().await {
            let (connection, requests, mut latencies) =
                joined.map_err(|error| ClientError::Form(error.to_string()))??;
            latencies_ns.append(&mut latencies);
            self.lanes.push((connection, requests));
        }
        let elapsed = start.elapsed();
        latencies_ns.sort_unstable();
        Ok(Driven {
            requests: latencies_ns.len() as u64,
            elapsed,
            latencies_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        for cut in 0..answer.len() {
            assert!(matches!(whole(&answer[..cut]), Ok(None)), "{cut}");
        }
        assert_eq!(whole(answer).unwrap(), Some(answer.len() - 2));
    }

    #[test]
    fn refusals_and_answers_without_length_end_the_load() {
        for (answer, is_refusal) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..],
                true,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", false),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nrest", false),
        ] {
            match whole(answer) {
                Err(ClientError::Refused(_)) => assert!(is_refusal),
                Err(ClientError::Form(_)) => assert!(!is_refusal),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn every_name_takes_its_turn_in_the_placeholders_place() {
        let names: Arc<[String]> = (0..1000).map(|n| format!("{n:04}")).collect();
        let mut requests = Requests::over_names(b"key=XXXX!".to_vec(), "XXXX", names);
        let seen: std::collections::BTreeSet<Vec<u8>> =
            (0..1000).map(|_| requests.next().to_vec()).collect();
        assert_eq!(seen.len(), 1000);
        assert!(seen.contains(b"key=0999!".as_slice()));
    }
}
