//! Bridges between a world and unsupervised programs.
//!
//! Models nothing of an enclave: on an instance such a bridge is `vsock-proxy`
//! or `socat`. `publish` makes a TCP or unix socket server reachable at a vsock
//! address of the world; `forward` listens on TCP or a unix socket and connects
//! into the world from the parent's CID. Bytes and half-closes pass unchanged.
//! A bridge lives as long as the run it belongs to, and a moment longer for bytes
//! already sent.

use std::{
    fmt, fs, io,
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::switchboard::{self, PARENT_CID, VsockAddr, World};

/// Connections one bridge carries at once: two threads each.
const CONNECTIONS_MAX: usize = 1024;
/// How long the last bytes of a run may take to leave it.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// A socket outside of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outside {
    /// `tcp:HOST:PORT`; to listen, `tcp:PORT` means 127.0.0.1.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// `CID:PORT=tcp:HOST:PORT`: who connects to the vsock address reaches the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where it appears in the world.
    pub at: VsockAddr,
    /// The server it leads to.
    pub to: Outside,
}

/// `tcp:PORT=CID:PORT`: who connects to the socket reaches the vsock address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where it listens.
    pub at: Outside,
    /// Where it leads to in the world.
    pub to: VsockAddr,
}

/// A text that names no bridge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a bridge: give {form}")]
pub struct BridgeError {
    text: String,
    form: &'static str,
}

impl FromStr for Publish {
    type Err = BridgeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .and_then(|(at, to)| {
                Some(Self {
                    at: address(at)?,
                    to: outside(to, false)?,
                })
            })
            .ok_or_else(|| BridgeError {
                text: text.to_owned(),
                form: "CID:PORT=tcp:HOST:PORT or CID:PORT=unix:PATH",
            })
    }
}

impl FromStr for Forward {
    type Err = BridgeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .and_then(|(at, to)| {
                Some(Self {
                    at: outside(at, true)?,
                    to: address(to)?,
                })
            })
            .ok_or_else(|| BridgeError {
                text: text.to_owned(),
                form: "tcp:PORT=CID:PORT, tcp:HOST:PORT=CID:PORT or unix:PATH=CID:PORT",
            })
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn parse(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once('=')
}

fn address(text: &str) -> Option<VsockAddr> {
    let (cid, port) = text.split_once(':')?;
    Some(VsockAddr {
        cid: cid.parse().ok()?,
        port: port.parse().ok()?,
    })
}

fn outside(text: &str, listening: bool) -> Option<Outside> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "unix" if !rest.is_empty() => Some(Outside::Unix(rest.into())),
        "tcp" => match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() => port
                .parse::<u16>()
                .ok()
                .map(|_| Outside::Tcp(rest.to_owned())),
            None if listening => rest
                .parse::<u16>()
                .ok()
                .map(|port| Outside::Tcp(format!("127.0.0.1:{port}"))),
            _ => None,
        },
        _ => None,
    }
}

/// A bridge that listens and is not yet served.
#[derive(Debug)]
pub(crate) enum Bridge {
    Publish(World, UnixListener, Outside),
    ForwardTcp(World, TcpListener, VsockAddr),
    ForwardUnix(World, UnixListener, VsockAddr),
}

impl Bridge {
    pub(crate) fn publish(world: &World, publish: &Publish) -> io::Result<Self> {
        let listener = switchboard::listen(world, publish.at)?;
        Ok(Self::Publish(world.clone(), listener, publish.to.clone()))
    }

    pub(crate) fn forward(world: &World, forward: &Forward) -> io::Result<Self> {
        Ok(match &forward.at {
            Outside::Tcp(at) => Self::ForwardTcp(world.clone(), TcpListener::bind(at)?, forward.to),
            Outside::Unix(path) => {
                if UnixStream::connect(path).is_err() {
                    let _ = fs::remove_file(path); // left behind by a run before
                }
                Self::ForwardUnix(world.clone(), UnixListener::bind(path)?, forward.to)
            }
        })
    }

    /// Carries connections for ever.
    pub(crate) fn serve(self, traffic: &Traffic) {
        match self {
            Self::Publish(world, listener, to) => loop {
                let Ok((inside, _)) = switchboard::accept(&world, &listener) else {
                    return;
                };
                let to = to.clone();
                traffic.carry(move |leg| match to {
                    Outside::Tcp(address) => join(inside, TcpStream::connect(address)?, leg),
                    Outside::Unix(path) => join(inside, UnixStream::connect(path)?, leg),
                });
            },
            Self::ForwardTcp(world, listener, to) => {
                for outside in listener.incoming().map_while(Result::ok) {
                    let world = world.clone();
                    traffic.carry(move |leg| {
                        join(switchboard::connect(&world, PARENT_CID, to)?, outside, leg)
                    });
                }
            }
            Self::ForwardUnix(world, listener, to) => {
                for outside in listener.incoming().map_while(Result::ok) {
                    let world = world.clone();
                    traffic.carry(move |leg| {
                        join(switchboard::connect(&world, PARENT_CID, to)?, outside, leg)
                    });
                }
            }
        }
    }
}

/// The connections that the bridges of a run carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    /// Legs that carry bytes out of the world.
    outbound: Mutex<usize>,
    drained: Condvar,
}

/// One connection, counted as long as it lives.
struct Connection(Arc<Counts>);

/// Its leg out of the world.
struct Leg(Arc<Counts>);

impl Traffic {
    /// One connection on a thread of its own; closed unserved above the bound.
    fn carry(&self, connection: impl FnOnce(Leg) -> io::Result<()> + Send + 'static) {
        let before = self.0.connections.fetch_add(1, Ordering::SeqCst);
        let counted = Connection(Arc::clone(&self.0));
        if before >= CONNECTIONS_MAX {
            return;
        }
        *outbound(&self.0) += 1;
        let leg = Leg(Arc::clone(&self.0));
        let _ = thread::Builder::new()
            .name("bridge".to_owned())
            .spawn(move || {
                let _counted = counted;
                // A refusal shows to the other side as a closed connection.
                let _ = connection(leg);
            });
    }

    /// Waits for bytes on their way out: once the run's programs have ended,
    /// each such leg ends by itself.
    pub(crate) fn drain(&self) {
        let waiting = outbound(&self.0);
        let drained = self
            .0
            .drained
            .wait_timeout_while(waiting, DRAIN_WITHIN, |legs| *legs > 0);
        drop(drained);
    }
}

fn outbound(counts: &Counts) -> MutexGuard<'_, usize> {
    counts
        .outbound
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        *outbound(&self.0) -= 1;
        self.0.drained.notify_all();
    }
}

/// What a bridge needs of a stream.
trait Duplex: io::Read + io::Write + Send + Sized + 'static {
    fn twin(&self) -> io::Result<Self>;
    fn half_close(&self);
}

impl Duplex for TcpStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }
    fn half_close(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Duplex for UnixStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }
    fn half_close(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

fn join<A: Duplex, B: Duplex>(inside: A, outside: B, leg: Leg) -> io::Result<()> {
    let (mut inside_read, mut outside_write) = (inside.twin()?, outside.twin()?);
    let outbound = thread::Builder::new()
        .name("bridge".to_owned())
        .spawn(move || {
            let _leg = leg;
            let _ = io::copy(&mut inside_read, &mut outside_write);
            outside_write.half_close();
        })?;
    let (mut outside_read, mut inside_write) = (outside, inside);
    let copied = io::copy(&mut outside_read, &mut inside_write);
    inside_write.half_close();
    let _ = outbound.join();
    copied.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_are_read_from_their_text() {
        let at = VsockAddr { cid: 3, port: 8000 };
        let tcp = |text: &str| Outside::Tcp(text.to_owned());
        let publish = "3:8000=tcp:kms.example.com:443".parse();
        assert_eq!(
            publish,
            Ok(Publish {
                at,
                to: tcp("kms.example.com:443")
            })
        );
        let publish = "3:8000=unix:/run/a=b".parse::<Publish>();
        assert!(publish.is_err(), "the last = separates: {publish:?}");
        let forward = "tcp:8080=3:8000".parse();
        assert_eq!(
            forward,
            Ok(Forward {
                at: tcp("127.0.0.1:8080"),
                to: at
            })
        );
        let forward = "unix:/run/job.sock=3:8000".parse();
        assert_eq!(
            forward,
            Ok(Forward {
                at: Outside::Unix("/run/job.sock".into()),
                to: at
            })
        );
        for bad in [
            "",
            "3:8000",
            "3=tcp:a:1",
            "3:8000=tcp:443",
            "3:8000=tcp:a:b",
            "x=y",
        ] {
            assert!(bad.parse::<Publish>().is_err(), "{bad}");
            assert!(bad.parse::<Forward>().is_err(), "{bad}");
        }
    }
}
