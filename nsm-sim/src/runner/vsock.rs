//! AF_VSOCK as its callers see it: addresses, socket options and the state of
//! each emulated socket.
//!
//! Models the observable rules of `net/vmw_vsock/af_vsock.c`; every errno and
//! default below was read off the real driver (`nsm-sim/tests/clients/vsock_rules.c`
//! prints the same transcript on it). Does not model credits, data loss on close
//! with unread data, or the VMCI options.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
    os::fd::OwnedFd,
};

use super::switchboard::{ANY, VsockAddr};

/// `sizeof(struct sockaddr_vm)`.
pub(crate) const ADDRESS_BYTES: usize = 16;
/// `sizeof(struct sockaddr_storage)`: longer addresses are refused unread.
pub(crate) const ADDRESS_BYTES_MAX: usize = 128;
/// Loopback within one guest.
pub(crate) const LOCAL_CID: u32 = 1;
/// Nothing is bound.
pub(crate) const UNBOUND: VsockAddr = VsockAddr {
    cid: ANY,
    port: ANY,
};

/// Reads a `sockaddr_vm`; anything else is `None` (`EINVAL`).
pub(crate) fn parse_address(bytes: &[u8]) -> Option<VsockAddr> {
    const FLAG_TO_HOST: u8 = 1;
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let flags = *bytes.get(12)?;
    if bytes.len() < ADDRESS_BYTES
        || i32::from(family) != libc::AF_VSOCK
        || flags & !FLAG_TO_HOST != 0
    {
        return None;
    }
    Some(VsockAddr {
        port: word(4)?,
        cid: word(8)?,
    })
}

/// Writes a `sockaddr_vm`.
pub(crate) fn address_bytes(address: VsockAddr) -> [u8; ADDRESS_BYTES] {
    let [f0, f1] = (libc::AF_VSOCK as libc::sa_family_t).to_ne_bytes();
    let [p0, p1, p2, p3] = address.port.to_ne_bytes();
    let [c0, c1, c2, c3] = address.cid.to_ne_bytes();
    [f0, f1, 0, 0, p0, p1, p2, p3, c0, c1, c2, c3, 0, 0, 0, 0]
}

/// The type argument of `socket(AF_VSOCK, …)`: the AF_UNIX type to use, or an errno.
pub(crate) fn socket_type(kind: i32, protocol: i32) -> Result<i32, i32> {
    const FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    const TYPE_MASK: i32 = 0xF;
    const TYPE_MAX: i32 = 10; // SOCK_PACKET
    if kind & !(TYPE_MASK | FLAGS) != 0 || kind & TYPE_MASK > TYPE_MAX {
        return Err(libc::EINVAL);
    }
    if protocol != 0 && protocol != libc::AF_VSOCK {
        return Err(libc::EPROTONOSUPPORT);
    }
    match kind & TYPE_MASK {
        kind @ (libc::SOCK_STREAM | libc::SOCK_SEQPACKET) => Ok(kind),
        libc::SOCK_DGRAM => Err(libc::ENODEV),
        _ => Err(libc::ESOCKTNOSUPPORT),
    }
}

/// The options of level AF_VSOCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    size: u64,
    size_min: u64,
    size_max: u64,
    timeout_s: i64,
    timeout_us: i64,
}

impl Default for Options {
    fn default() -> Self {
        let buffer = 262_144;
        Self {
            size: buffer,
            size_min: 128,
            size_max: buffer,
            timeout_s: 2,
            timeout_us: 0,
        }
    }
}

// linux/vm_sockets.h
const BUFFER_SIZE: i32 = 0;
const BUFFER_MIN_SIZE: i32 = 1;
const BUFFER_MAX_SIZE: i32 = 2;
const CONNECT_TIMEOUT_OLD: i32 = 6;
const CONNECT_TIMEOUT_NEW: i32 = 8;

impl Options {
    /// The option's value as its callers read it.
    pub(crate) fn get(&self, name: i32) -> Result<Vec<u8>, i32> {
        match name {
            BUFFER_SIZE => Ok(self.size.to_ne_bytes().to_vec()),
            BUFFER_MIN_SIZE => Ok(self.size_min.to_ne_bytes().to_vec()),
            BUFFER_MAX_SIZE => Ok(self.size_max.to_ne_bytes().to_vec()),
            CONNECT_TIMEOUT_OLD | CONNECT_TIMEOUT_NEW => {
                Ok([self.timeout_s.to_ne_bytes(), self.timeout_us.to_ne_bytes()].concat())
            }
            _ => Err(libc::ENOPROTOOPT),
        }
    }

    /// How many bytes of a value are looked at; `None` for an unknown option.
    pub(crate) fn value_bytes(name: i32) -> Option<usize> {
        match name {
            BUFFER_SIZE | BUFFER_MIN_SIZE | BUFFER_MAX_SIZE => Some(8),
            CONNECT_TIMEOUT_OLD | CONNECT_TIMEOUT_NEW => Some(16),
            _ => None,
        }
    }

    /// Changes an option; `value` has the length of [`Self::value_bytes`].
    pub(crate) fn set(&mut self, name: i32, value: &[u8]) -> Result<(), i32> {
        let word = |n: usize| {
            let bytes = value.get(8 * n..8 * n + 8).ok_or(libc::EINVAL)?;
            bytes
                .try_into()
                .map(u64::from_ne_bytes)
                .map_err(|_| libc::EINVAL)
        };
        match name {
            BUFFER_SIZE => self.size = word(0)?,
            BUFFER_MIN_SIZE => self.size_min = word(0)?,
            BUFFER_MAX_SIZE => self.size_max = word(0)?,
            CONNECT_TIMEOUT_OLD | CONNECT_TIMEOUT_NEW => {
                let (s, us) = (word(0)?.cast_signed(), word(1)?.cast_signed());
                if s < 0 || !(0..1_000_000).contains(&us) {
                    return Err(libc::ERANGE);
                }
                let unset = s == 0 && us == 0; // zero stands for the default
                (self.timeout_s, self.timeout_us) = if unset { (2, 0) } else { (s, us) };
            }
            _ => return Err(libc::ENOPROTOOPT),
        }
        self.size = self.size.min(self.size_max).max(self.size_min);
        Ok(())
    }
}

/// What the supervisor remembers of one emulated socket. Everything else lives
/// in the kernel's AF_UNIX socket.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    /// Local address as `getsockname` shows it, where the name does not tell:
    /// the CID asked for at `bind`, or "any" for a connecting socket.
    pub(crate) shown_cid: Option<u32>,
    /// Peer's address as the caller named it.
    pub(crate) peer: Option<VsockAddr>,
    pub(crate) listening: bool,
    /// Outcome of a non-blocking `connect`, until `SO_ERROR` is read.
    pub(crate) pending_error: Option<i32>,
    /// Connections accepted whose caller went away before it could have them.
    pub(crate) stash: VecDeque<OwnedFd>,
    /// A `bind` or `connect` that was done but whose caller may have been
    /// interrupted: the same call, repeated, gets the same answer.
    pub(crate) unheard: Option<Unheard>,
    pub(crate) options: Options,
    /// Inode of the socket, by which the living are told from the dead.
    pub(crate) inode: u64,
}

/// An answer that may have found no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unheard {
    /// Number and arguments of the call.
    pub(crate) call: (u32, [u64; 6]),
    /// Zero for success.
    pub(crate) errno: i32,
}

/// The emulated sockets of a run, by `SO_COOKIE`.
#[derive(Debug)]
pub(crate) struct Sockets {
    by_cookie: HashMap<u64, Socket>,
    /// Closing is not trapped: past this many entries the dead are looked for.
    sweep_at: usize,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            by_cookie: HashMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }
}

const SWEEP_MIN: usize = 1024;

impl Sockets {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_cookie.is_empty()
    }

    pub(crate) fn get(&mut self, cookie: u64) -> Option<&mut Socket> {
        self.by_cookie.get_mut(&cookie)
    }

    /// Remembers a socket; forgets closed ones when there are many.
    pub(crate) fn insert(&mut self, cookie: u64, inode: u64, socket: Socket) {
        if self.by_cookie.len() >= self.sweep_at {
            if let Ok(table) = fs::read_to_string("/proc/net/unix") {
                self.forget_all_but(&live_inodes(&table));
            }
            self.sweep_at = (2 * self.by_cookie.len()).max(SWEEP_MIN);
        }
        self.by_cookie.insert(cookie, Socket { inode, ..socket });
    }

    fn forget_all_but(&mut self, live: &HashSet<u64>) {
        self.by_cookie
            .retain(|_, socket| live.contains(&socket.inode));
    }
}

/// Inodes in `/proc/net/unix`: `Num RefCount Protocol Flags Type St Inode Path`.
fn live_inodes(table: &str) -> HashSet<u64> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(6)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_address_survives_the_wire(cid: u32, port: u32) {
            let address = VsockAddr { cid, port };
            prop_assert_eq!(parse_address(&address_bytes(address)), Some(address));
        }

        #[test]
        fn no_bytes_make_the_address_parser_panic(bytes: Vec<u8>) {
            let _ = parse_address(&bytes);
        }

        #[test]
        fn no_option_value_breaks_the_size_bounds(name in 0..9, value: Vec<u8>) {
            let mut options = Options::default();
            let _ = options.set(name, &value);
            prop_assert!(options.size >= options.size_min);
        }
    }

    #[test]
    fn a_short_or_foreign_address_is_refused() {
        let good = address_bytes(VsockAddr { cid: 3, port: 5 });
        assert_eq!(parse_address(&good[..15]), None);
        let mut foreign = good;
        foreign[0] = 2;
        assert_eq!(parse_address(&foreign), None);
        let mut flagged = good;
        flagged[12] = 2;
        assert_eq!(parse_address(&flagged), None);
    }

    #[test]
    fn socket_types_are_answered_as_the_driver_does() {
        let cloexec = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        assert_eq!(socket_type(1 | cloexec, 0), Ok(1));
        assert_eq!(socket_type(5, 40), Ok(5));
        assert_eq!(socket_type(1, 6), Err(libc::EPROTONOSUPPORT));
        assert_eq!(socket_type(2, 0), Err(libc::ENODEV));
        assert_eq!(socket_type(3, 0), Err(libc::ESOCKTNOSUPPORT));
        assert_eq!(socket_type(99, 0), Err(libc::EINVAL));
        assert_eq!(socket_type(1 | 0x10000, 0), Err(libc::EINVAL));
    }

    #[test]
    fn closed_sockets_are_forgotten() {
        let mut sockets = Sockets::default();
        sockets.insert(1, 100, Socket::default());
        sockets.insert(2, 200, Socket::default());
        let table = "Num RefCount Protocol Flags Type St Inode Path\n\
                     0000: 00000002 00000000 00010000 0001 01 200 @nsmsim/w/16/5000\n\
                     0000: 00000003 00000000 00000000 0001 03 300\n";
        sockets.forget_all_but(&live_inodes(table));
        assert!(sockets.get(1).is_none());
        assert!(sockets.get(2).is_some());
    }
}
