//! A proxy that says what it is told, whatever it is asked.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

/// Longest request that is read: KMS's own.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    answer: Arc<[u8]>,
    asked: Option<Asked>,
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) body: Value,
}

impl Asked {
    pub(super) fn plaintext(&self) -> Vec<u8> {
        bytes(&self.body["plaintext"]).unwrap_or_default()
    }

    pub(super) fn authenticated(&self) -> Vec<u8> {
        bytes(&self.body["additionalAuthenticatedData"]).unwrap_or_default()
    }
}

pub(super) fn bytes(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value.as_str()?).ok()
}

impl Proxy {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::Builder::new().name("proxy".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever asks may have gone.
                let _ = serve(stream, &shared);
            }
        })?;
        Ok(Self { address, state })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What every request is answered with from now on.
    pub(super) fn answer(&self, answer: &[u8]) {
        let mut state = lock(&self.state);
        state.answer = answer.into();
        state.asked = None;
    }

    /// The last request since.
    pub(super) fn asked(&self) -> Option<Asked> {
        lock(&self.state).asked.take()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream).take(REQUEST_BYTES_MAX);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let answer = {
        let mut state = lock(state);
        let body = serde_json::from_slice(&body).unwrap_or_default();
        state.asked = Some(Asked { body });
        Arc::clone(&state.answer)
    };
    (&stream).write_all(&answer)?;
    stream.shutdown(Shutdown::Write)?;
    // Until KMS has had enough.
    std::io::copy(&mut &stream, &mut std::io::sink())?;
    Ok(())
}
