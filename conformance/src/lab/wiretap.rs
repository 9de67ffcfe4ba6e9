//! A tap on the world's wires: it records every byte that passes between the
//! parent and whatever it talks to, so that a test can search for what must
//! never be there.
//!
//! Truth: the parent's only connections are TCP to KMS and to S3 and vsock to
//! its enclave; with a tap on each, what the taps saw is what the parent saw.
//! Does not model an active attacker: it never changes a byte.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use nsm_sim::runner::{VsockAddr, World, switchboard};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinHandle,
};

/// Everything that passed, each direction of each connection apart, so that a
/// secret split over several reads is still found.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    streams: Arc<Mutex<Vec<Stream>>>,
}

/// What passed in one direction of one connection.
type Stream = Arc<Mutex<Vec<u8>>>;

impl Recording {
    fn stream(&self) -> Stream {
        let stream = Stream::default();
        self.streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&stream));
        stream
    }

    /// All bytes of every connection and direction.
    #[must_use]
    pub fn streams(&self) -> Vec<Vec<u8>> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams
            .iter()
            .map(|stream| {
                stream
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone()
            })
            .collect()
    }

    /// How many bytes passed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams().iter().map(Vec::len).sum()
    }

    /// Whether nothing passed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tap that forwards until it is dropped.
#[derive(Debug)]
pub struct Tap {
    accepting: JoinHandle<()>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Tap {
    /// Listens on a free loopback port and forwards to `to`.
    ///
    /// # Errors
    /// If no port is to be had.
    pub async fn tcp(to: SocketAddr, recording: Recording) -> io::Result<(SocketAddr, Self)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let recording = recording.clone();
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(to).await {
                        relay(near, far, &recording).await;
                    }
                });
            }
        });
        Ok((address, Self { accepting }))
    }

    /// Listens at `here` of `world` and forwards to `there`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn vsock(
        world: &World,
        here: VsockAddr,
        there: VsockAddr,
        recording: Recording,
    ) -> io::Result<Self> {
        let listener = switchboard::listen(world, here)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let world = world.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let recording = recording.clone();
                let far = switchboard::connect(&world, here.cid, there);
                tokio::spawn(async move {
                    let far = far.and_then(|far| {
                        far.set_nonblocking(true)?;
                        UnixStream::from_std(far)
                    });
                    if let Ok(far) = far {
                        relay(near, far, &recording).await;
                    }
                });
            }
        });
        Ok(Self { accepting })
    }
}

async fn relay<N, F>(near: N, far: F, recording: &Recording)
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
{
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let there = copy(near_read, far_write, recording.stream());
    let back = copy(far_read, near_write, recording.stream());
    tokio::join!(there, back);
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, record: Stream) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => &buffer[..read],
        };
        record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(read);
        if to.write_all(read).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// What the taps saw, indexed for searching.
#[derive(Debug)]
pub struct Haystack {
    windows: HashSet<[u8; WINDOW_BYTES]>,
}

/// Sixteen bytes never coincide by chance.
const WINDOW_BYTES: usize = 16;
/// Long enough that its base64 holds a window whatever byte it begins at.
const PIECE_BYTES: usize = 24;

impl Haystack {
    /// Indexes every window of every stream.
    #[must_use]
    pub fn new(streams: &[Vec<u8>]) -> Self {
        let windows = streams
            .iter()
            .flat_map(|stream| stream.windows(WINDOW_BYTES))
            .filter_map(|window| window.try_into().ok())
            .collect();
        Self { windows }
    }

    /// Whether any piece of `secret` passed, as it stands or in hex or base64;
    /// answers the first piece found.
    #[must_use]
    pub fn find(&self, secret: &[u8]) -> Option<String> {
        needles(secret)
            .find(|needle| self.windows.contains(&needle.window))
            .map(|needle| needle.to_string())
    }
}

/// Whether a piece of any of `secrets` passed in `streams`, in the forms that
/// [`Haystack::find`] looks for; answers one that did. Goes through the streams
/// once: for many secrets or long streams.
#[must_use]
pub fn find_any(streams: &[Vec<u8>], secrets: &[&[u8]]) -> Option<String> {
    let needles: HashMap<[u8; WINDOW_BYTES], Needle> = secrets
        .iter()
        .flat_map(|secret| needles(secret))
        .map(|needle| (needle.window, needle))
        .collect();
    // Nearly every place is ruled out by its three bytes.
    let code = |code: usize, byte: u8| (code << 8 | usize::from(byte)) & 0xff_ffff;
    let mut beginnings = vec![false; 1 << 24];
    for window in needles.keys() {
        let first_three = window.iter().take(3);
        beginnings[first_three.fold(0, |sum, byte| code(sum, *byte))] = true;
    }
    for stream in streams {
        let mut last_three = 0;
        for (at, byte) in stream.iter().enumerate() {
            last_three = code(last_three, *byte);
            if beginnings[last_three]
                && let Some(rest) = stream.get(at.saturating_sub(2)..)
                && let Some(window) = rest.first_chunk::<WINDOW_BYTES>()
                && let Some(needle) = needles.get(window)
            {
                return Some(needle.to_string());
            }
        }
    }
    None
}

/// A piece of a secret in one of its forms.
struct Needle {
    window: [u8; WINDOW_BYTES],
    at: usize,
    form: &'static str,
}

impl std::fmt::Display for Needle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {} on, in {}", self.at, self.form)
    }
}

fn needles(secret: &[u8]) -> impl Iterator<Item = Needle> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let pieces = secret.chunks_exact(PIECE_BYTES).enumerate();
    pieces
        .filter(|(_, piece)| reveals_content(piece))
        .flat_map(|(index, piece)| {
            let mut forms = vec![
                ("plain", piece.to_vec()),
                ("lower-case hex", hex::encode(piece).into_bytes()),
                ("upper-case hex", hex::encode_upper(piece).into_bytes()),
            ];
            for phase in 0..3 {
                let text = STANDARD.encode(&piece[phase..phase + PIECE_BYTES - 3]);
                forms.push(("base64", text.into_bytes()));
            }
            forms.into_iter().filter_map(move |(form, bytes)| {
                Some(Needle {
                    window: *bytes.first_chunk::<WINDOW_BYTES>()?,
                    at: index * PIECE_BYTES,
                    form,
                })
            })
        })
}

/// A run of one byte (padding, black border) proves nothing when found.
fn reveals_content(piece: &[u8]) -> bool {
    let distinct: HashSet<u8> = piece.iter().copied().collect();
    distinct.len() > 8
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a data key of just 32 bytes, yes";

    #[test]
    fn a_secret_is_found_plain_in_hex_and_in_base64_at_any_phase() {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        for lead in 0..3 {
            let mut bytes = vec![b'x'; lead];
            bytes.extend_from_slice(SECRET);
            bytes.extend_from_slice(b"tail");
            for stream in [
                bytes.clone(),
                hex::encode(&bytes).into_bytes(),
                STANDARD.encode(&bytes).into_bytes(),
            ] {
                let streams = [vec![0; 40], stream.clone()];
                assert!(
                    find_any(&streams, &[&[7; 99], SECRET]).is_some(),
                    "lead {lead}"
                );
                assert!(
                    Haystack::new(&[stream]).find(SECRET).is_some(),
                    "lead {lead}"
                );
            }
        }
    }

    #[test]
    fn other_bytes_do_not_look_like_a_leak() {
        let stream: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        assert_eq!(find_any(std::slice::from_ref(&stream), &[SECRET]), None);
        assert_eq!(Haystack::new(&[stream]).find(SECRET), None);
    }

    #[tokio::test]
    async fn a_tap_passes_bytes_unchanged_and_keeps_both_directions() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let recording = Recording::default();
        let (address, _tap) = Tap::tcp(server.local_addr().unwrap(), recording.clone())
            .await
            .unwrap();
        let echo = tokio::spawn(async move {
            let (mut peer, _) = server.accept().await.unwrap();
            let mut got = [0; 4];
            peer.read_exact(&mut got).await.unwrap();
            peer.write_all(b"pong").await.unwrap();
            got
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!((&echo.await.unwrap(), &answer), (b"ping", b"pong"));
        let mut streams = recording.streams();
        streams.sort();
        assert_eq!(streams, [b"ping".to_vec(), b"pong".to_vec()]);
    }
}
