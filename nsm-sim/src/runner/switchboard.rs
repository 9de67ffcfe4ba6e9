//! The vsock switchboard: who listens where, across processes and without a
//! daemon.
//!
//! Models the host side of AF_VSOCK: a port of a CID is an abstract AF_UNIX
//! socket whose name, after the leading NUL, is
//!
//! ```text
//! nsmsim/<world>/<cid>/<port>
//! ```
//!
//! with cid and port in decimal. A connecting socket is bound to such a name
//! first, so that the other side learns its CID and port. The kernel's abstract
//! namespace gives `EADDRINUSE` and disappearance for nothing. Source of truth:
//! the runner's ground truth §2.
//!
//! The functions here let a process that is *not* supervised (a test, a bridge)
//! take part as plain `std` sockets. Abstract names are visible to every local
//! user, so both ends check that the other belongs to the same user or to root.
//! Does not model confidentiality: this is a test instrument.

use std::{
    fmt, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use super::sys;

/// `VMADDR_CID_ANY` and `VMADDR_PORT_ANY`.
pub const ANY: u32 = u32::MAX;
/// The parent instance's CID, as enclaves see it.
pub const PARENT_CID: u32 = 3;
/// The CID of an enclave unless told otherwise.
pub const ENCLAVE_CID: u32 = 16;

/// Ports up to here are never given out by themselves (`LAST_RESERVED_PORT`).
const RESERVED_PORT_MAX: u32 = 1023;
/// How many ports are tried before there is none (`MAX_PORT_RETRIES`).
const PORT_TRIES: u32 = 24;
/// The name must fit a `sockaddr_un` beside cid and port.
const WORLD_BYTES_MAX: usize = 64;

/// An AF_VSOCK address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VsockAddr {
    /// Context id: 3 is the parent instance, an enclave's is above.
    pub cid: u32,
    /// Port.
    pub port: u32,
}

impl fmt::Display for VsockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vsock({}):{}", self.cid, self.port)
    }
}

/// Name of a world: sockets of different worlds never meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct World(String);

/// A text that cannot name a world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a world: use 1 to 64 letters, digits, dots, dashes or underscores")]
pub struct WorldNameError(String);

impl World {
    /// The world's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The abstract name of `address`, without its leading NUL.
    #[must_use]
    pub fn socket_name(&self, address: VsockAddr) -> String {
        format!("nsmsim/{}/{}/{}", self.0, address.cid, address.port)
    }

    /// The address behind an abstract name of this world.
    #[must_use]
    pub fn address_of(&self, name: &[u8]) -> Option<VsockAddr> {
        let name = std::str::from_utf8(name).ok()?;
        let rest = name
            .strip_prefix("nsmsim/")?
            .strip_prefix(&self.0)?
            .strip_prefix('/')?;
        let (cid, port) = rest.split_once('/')?;
        Some(VsockAddr {
            cid: cid.parse().ok()?,
            port: port.parse().ok()?,
        })
    }
}

impl Default for World {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for World {
    type Err = WorldNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > WORLD_BYTES_MAX || !text.bytes().all(legal) {
            return Err(WorldNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Listens at `address` of `world`, as a plain `UnixListener`.
///
/// Accept with [`accept`], which checks who is calling.
///
/// # Errors
/// `AddrInUse` if somebody already does.
pub fn listen(world: &World, address: VsockAddr) -> io::Result<UnixListener> {
    let name = world.socket_name(address);
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)
}

/// The next connection to `listener` and its caller's address. Connections of
/// other users are dropped unseen; a caller without a name counts as the parent.
///
/// # Errors
/// Those of `accept(2)`.
pub fn accept(world: &World, listener: &UnixListener) -> io::Result<(UnixStream, VsockAddr)> {
    loop {
        let (stream, peer) = listener.accept()?;
        if trusts(sys::peer_user(sys::of(&stream))?) {
            return Ok((stream, peer_address(world, &peer)));
        }
    }
}

/// Connects from `cid` to `to` of `world`, as a plain `UnixStream`.
///
/// # Errors
/// `ConnectionReset` if nobody listens or the backlog is full, as from the
/// hypervisor.
pub fn connect(world: &World, cid: u32, to: VsockAddr) -> io::Result<UnixStream> {
    let socket = sys::unix_socket(libc::SOCK_STREAM)?;
    bind_somewhere(world, cid, sys::of(&socket))?;
    connect_socket(world, sys::of(&socket), to)?;
    Ok(UnixStream::from(socket))
}

/// Binds `socket` to the first free port of its own choosing.
pub(crate) fn bind_somewhere(
    world: &World,
    cid: u32,
    socket: std::os::fd::BorrowedFd<'_>,
) -> io::Result<u32> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORT_TRIES {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Processes start far apart, so that they seldom try each other's ports.
        let start = std::process::id().wrapping_mul(0x9E37_79B1);
        let port = start.wrapping_add(step);
        if port <= RESERVED_PORT_MAX || port == ANY {
            continue;
        }
        let name = world.socket_name(VsockAddr { cid, port });
        match sys::bind_abstract(socket, name.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other.map(|()| port),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
}

/// Connects a bound socket. Every refusal is the reset that a guest sees.
pub(crate) fn connect_socket(
    world: &World,
    socket: std::os::fd::BorrowedFd<'_>,
    to: VsockAddr,
) -> io::Result<()> {
    let reset = || io::Error::from_raw_os_error(libc::ECONNRESET);
    match sys::connect_abstract(socket, world.socket_name(to).as_bytes()) {
        Ok(()) if trusts(sys::peer_user(socket)?) => Ok(()),
        Ok(()) => {
            sys::shut_down(socket); // a stranger squats on the name
            Err(reset())
        }
        Err(error) => match error.raw_os_error() {
            // Nobody listens; backlog full; stream meets seqpacket; another user's rights.
            Some(libc::ECONNREFUSED | libc::EAGAIN | libc::EPROTOTYPE | libc::EPERM) => {
                Err(reset())
            }
            _ => Err(error),
        },
    }
}

/// Same user, or root.
pub(crate) fn trusts(user: u32) -> bool {
    user == 0 || user == sys::own_user()
}

/// The vsock address a peer's socket name stands for.
pub(crate) fn peer_address(world: &World, peer: &SocketAddr) -> VsockAddr {
    peer.as_abstract_name()
        .and_then(|name| world.address_of(name))
        .unwrap_or(VsockAddr {
            cid: PARENT_CID,
            port: ANY,
        })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn world(test: &str) -> World {
        format!("unit-{test}-{}", std::process::id())
            .parse()
            .unwrap()
    }

    #[test]
    fn a_name_and_its_address_convert_both_ways() {
        let world: World = "a.b-c_1".parse().unwrap();
        let address = VsockAddr {
            cid: 16,
            port: 5000,
        };
        let name = world.socket_name(address);
        assert_eq!(name, "nsmsim/a.b-c_1/16/5000");
        assert_eq!(world.address_of(name.as_bytes()), Some(address));
        for other in [
            "nsmsim/a.b-c_1/16/",
            "nsmsim/a.b-c_12/16/5",
            "x",
            "nsmsim/a.b-c_1/16/5/6",
        ] {
            assert_eq!(world.address_of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_world_name_with_a_slash_or_too_long_is_refused() {
        for bad in ["", "a/b", "ü", &"x".repeat(65)] {
            assert!(bad.parse::<World>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_unsupervised_ends_meet_and_know_each_other() {
        let world = world("meet");
        let at = VsockAddr {
            cid: 16,
            port: 5000,
        };
        let listener = listen(&world, at).unwrap();
        let taken = listen(&world, at).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let mut client = connect(&world, PARENT_CID, at).unwrap();
        let (mut server, peer) = accept(&world, &listener).unwrap();
        assert_eq!(peer.cid, PARENT_CID);
        assert!(peer.port > RESERVED_PORT_MAX);
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut heard = String::new();
        server.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
    }

    #[test]
    fn a_port_without_a_listener_resets_the_connection() {
        let to = VsockAddr { cid: 16, port: 1 };
        let refused = connect(&world("nobody"), PARENT_CID, to).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionReset);
    }
}
