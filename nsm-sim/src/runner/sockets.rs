//! The socket calls of emulated AF_VSOCK sockets.
//!
//! Models `net/vmw_vsock/af_vsock.c` as an application sees it, over AF_UNIX
//! sockets of the same type (see [`super::switchboard`] for their names). Source
//! of truth: the runner's ground truth §2 and "Real AF_VSOCK compared", and the
//! transcript of the real driver in `tests/clients/vsock_rules.c`. Reading,
//! writing, polling, shutting down and closing are the kernel's own and never
//! come here. Calls on other sockets pass.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use super::{
    notif::{Sent, Trap},
    parked::{LOOK_EVERY, Parked, interruption},
    switchboard::{self, ANY, VsockAddr},
    sys,
    traps::{Answer, Supervisor},
    vsock::{self, ADDRESS_BYTES, LOCAL_CID, Options, Socket, UNBOUND, Unheard},
};

/// One of our sockets: a duplicate of the caller's descriptor and its cookie.
type Ours = (OwnedFd, u64);

impl Supervisor {
    /// The socket behind argument 0, if it is one of ours.
    fn ours(&mut self, trap: &Trap) -> Option<Ours> {
        if self.sockets.is_empty() {
            return None;
        }
        match self.callers.duplicate(trap.tid, trap.int(0)) {
            Ok(dup) => {
                let cookie = sys::cookie(sys::of(&dup)).ok()?;
                self.sockets.get(cookie)?;
                Some((dup, cookie))
            }
            Err(error) => {
                if error.raw_os_error() == Some(libc::EPERM) {
                    self.warn_unreadable(trap.tid);
                }
                None // no such descriptor: the kernel says so
            }
        }
    }

    /// The socket behind argument 0 if it is one of ours and connected, and its
    /// two ends in words.
    pub(crate) fn connected(&mut self, trap: &Trap) -> Option<(OwnedFd, String)> {
        let (fd, cookie) = self.ours(trap)?;
        if !is_connected(&fd) {
            return None;
        }
        let peer = self.state(cookie).peer.unwrap_or(UNBOUND);
        let own = bound_at(self, &fd).unwrap_or(UNBOUND);
        Some((fd, format!("the connection of {own} with {peer}")))
    }

    fn state(&mut self, cookie: u64) -> &mut Socket {
        self.sockets
            .get(cookie)
            .expect("`ours` found this cookie in the table")
    }

    fn remember(&mut self, fd: &OwnedFd, socket: Socket) -> io::Result<()> {
        let (cookie, inode) = (sys::cookie(sys::of(fd))?, sys::inode(sys::of(fd))?);
        self.sockets.insert(cookie, inode, socket);
        Ok(())
    }

    pub(crate) fn socket(&mut self, trap: &Trap) -> Answer {
        let kind = trap.int(1);
        let made = vsock::socket_type(kind, trap.int(2)).and_then(|unix| {
            sys::unix_socket(unix | kind & libc::SOCK_NONBLOCK)
                .and_then(|fd| self.remember(&fd, Socket::default()).map(|()| fd))
                .map_err(|error| error.raw_os_error().unwrap_or(libc::ENOMEM))
        });
        match made {
            Ok(fd) => Answer::Give(fd, kind & libc::SOCK_CLOEXEC != 0),
            Err(errno) => Answer::Errno(errno),
        }
    }

    pub(crate) fn bind(&mut self, trap: &Trap) -> Answer {
        let Some((fd, cookie)) = self.ours(trap) else {
            return self.internet(trap, libc::EADDRNOTAVAIL);
        };
        if let Some(errno) = self.heard_before(trap, cookie) {
            return self.conclude(trap, cookie, errno);
        }
        let asked = match self.vsock_address(trap) {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        if bound_at(self, &fd).is_some() {
            return Answer::Errno(libc::EINVAL);
        }
        // Loopback needs a transport of its own, which enclave kernels are not
        // known to load.
        if asked.cid != ANY && asked.cid != self.cid {
            return Answer::Errno(libc::EADDRNOTAVAIL);
        }
        let at = VsockAddr {
            cid: self.cid,
            port: asked.port,
        };
        let outcome = if asked.port == ANY {
            switchboard::bind_somewhere(&self.world, self.cid, sys::of(&fd)).map(drop)
        } else {
            sys::bind_abstract(sys::of(&fd), self.world.socket_name(at).as_bytes())
        };
        match outcome {
            Ok(()) => {
                self.state(cookie).shown_cid = Some(asked.cid);
                self.conclude(trap, cookie, 0)
            }
            Err(error) => errno(&error),
        }
    }

    pub(crate) fn listen(&mut self, trap: &Trap) -> Answer {
        let Some((fd, cookie)) = self.ours(trap) else {
            return Answer::Pass;
        };
        // Here and not in the caller, so that the credentials which connecting
        // peers check are the supervisor's whatever user the caller became.
        match sys::listen(sys::of(&fd), trap.int(1)) {
            Ok(()) => {
                self.state(cookie).listening = true;
                Answer::Value(0)
            }
            Err(error) => errno(&error),
        }
    }

    pub(crate) fn connect(&mut self, trap: &Trap) -> Answer {
        let Some((fd, cookie)) = self.ours(trap) else {
            return self.internet(trap, libc::ENETUNREACH);
        };
        if let Some(errno) = self.heard_before(trap, cookie) {
            return self.conclude(trap, cookie, errno);
        }
        let asked = self.vsock_address(trap);
        if let Err(answer @ (Answer::Later | Answer::Errno(libc::EFAULT))) = asked {
            return answer;
        }
        if is_connected(&fd) {
            return Answer::Errno(libc::EISCONN);
        }
        let asked = match asked {
            Ok(asked) if !self.state(cookie).listening => asked,
            _ => return Answer::Errno(libc::EINVAL),
        };
        if bound_at(self, &fd).is_none() {
            if let Err(error) = switchboard::bind_somewhere(&self.world, self.cid, sys::of(&fd)) {
                return errno(&error);
            }
            self.state(cookie).shown_cid = Some(ANY);
        }
        let cid = if asked.cid == LOCAL_CID {
            self.cid
        } else {
            asked.cid
        };
        let to = VsockAddr {
            cid,
            port: asked.port,
        };
        let outcome = switchboard::connect_socket(&self.world, sys::of(&fd), to)
            .map_err(|error| error.raw_os_error().unwrap_or(libc::ECONNRESET));
        let nonblocking = sys::is_nonblocking(sys::of(&fd)).unwrap_or(false);
        let state = self.state(cookie);
        state.peer = outcome.is_ok().then_some(asked);
        state.pending_error = None;
        let errno = match outcome {
            // The driver always says so, however fast the other side answers.
            outcome if nonblocking => {
                state.pending_error = outcome.err();
                libc::EINPROGRESS
            }
            outcome => outcome.err().unwrap_or(0),
        };
        self.conclude(trap, cookie, errno)
    }

    /// Answers a call that must not be done twice.
    fn conclude(&mut self, trap: &Trap, cookie: u64, errno: i32) -> Answer {
        let sent = match errno {
            0 => self.notifier.value(trap.id, 0),
            errno => self.notifier.errno(trap.id, errno),
        };
        let unheard = Unheard {
            call: (trap.number, trap.args),
            errno,
        };
        self.state(cookie).unheard = (sent != Sent::Delivered).then_some(unheard);
        Answer::Later
    }

    /// The answer this very call had when it was made before, unheard.
    fn heard_before(&mut self, trap: &Trap, cookie: u64) -> Option<i32> {
        let unheard = self.state(cookie).unheard.take()?;
        (unheard.call == (trap.number, trap.args)).then_some(unheard.errno)
    }

    pub(crate) fn accept(&mut self, trap: Trap, flags: i32) -> Answer {
        let Some((listener, cookie)) = self.ours(&trap) else {
            return Answer::Pass;
        };
        if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
            return Answer::Errno(libc::EINVAL);
        }
        if !self.state(cookie).listening {
            return Answer::Errno(libc::EINVAL);
        }
        let now = Instant::now();
        let mut parked = Parked {
            trap,
            listener,
            cookie,
            flags,
            deadline: None,
            looked: now,
            saw_shared: false,
        };
        if self.accept_now(&parked) {
            return Answer::Later;
        }
        let listener = sys::of(&parked.listener);
        if sys::is_nonblocking(listener).unwrap_or(false) {
            return Answer::Errno(libc::EAGAIN);
        }
        parked.deadline = receive_timeout(listener).map(|timeout| now + timeout);
        self.parked.push(parked);
        Answer::Later
    }

    /// Answers an accept if somebody is calling; false if it must wait.
    fn accept_now(&mut self, parked: &Parked) -> bool {
        let trap = &parked.trap;
        let nonblocking = parked.flags & libc::SOCK_NONBLOCK != 0;
        let connection = loop {
            if let Some(stashed) = self.state(parked.cookie).stash.pop_front() {
                let _ = sys::set_nonblocking(sys::of(&stashed), nonblocking);
                break stashed;
            }
            match sys::accept_now(sys::of(&parked.listener), nonblocking) {
                // A stranger's connection was never there.
                Ok(fd) if !sys::peer_user(sys::of(&fd)).is_ok_and(switchboard::trusts) => {}
                Ok(fd) => break fd,
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return false,
                Err(error) => {
                    let _ = self.send(trap, errno(&error));
                    return true;
                }
            }
        };
        let peer = peer_of(self, &connection);
        let socket = Socket {
            peer: Some(peer),
            ..Socket::default()
        };
        if let Err(error) = self.remember(&connection, socket) {
            let _ = self.send(trap, errno(&error));
            return true;
        }
        if trap.word(1) != 0
            && let Err(answer) = self.put_address(trap, trap.word(1), trap.word(2), peer)
        {
            match answer {
                Answer::Later => self.state(parked.cookie).stash.push_back(connection),
                // A bad address costs the caller the connection, as in the kernel.
                answer => drop(self.send(trap, answer)),
            }
            return true;
        }
        let answer = Answer::Give(connection, parked.flags & libc::SOCK_CLOEXEC != 0);
        if let Some(undelivered) = self.send(trap, answer) {
            self.state(parked.cookie).stash.push_back(undelivered);
        }
        true
    }

    /// Goes through the parked accepts: a caller may have come, a signal, a
    /// timeout, or the thread may be gone.
    pub(crate) fn look_after_parked(&mut self) {
        let now = Instant::now();
        for mut parked in std::mem::take(&mut self.parked) {
            if self.sockets.get(parked.cookie).is_none() || self.accept_now(&parked) {
                continue;
            }
            if parked.deadline.is_some_and(|deadline| deadline <= now) {
                let _ = self.send(&parked.trap, Answer::Errno(libc::EAGAIN));
                continue;
            }
            if now.duration_since(parked.looked) >= LOOK_EVERY {
                parked.looked = now;
                if !self.notifier.still_waits(parked.trap.id) {
                    continue;
                }
                if let Some(errno) = interruption(&mut parked) {
                    let _ = self.send(&parked.trap, Answer::Errno(errno));
                    continue;
                }
            }
            self.parked.push(parked);
        }
    }

    pub(crate) fn getsockname(&mut self, trap: &Trap) -> Answer {
        let Some((fd, cookie)) = self.ours(trap) else {
            return Answer::Pass;
        };
        let address = match bound_at(self, &fd) {
            Some(at) => VsockAddr {
                cid: self.state(cookie).shown_cid.unwrap_or(at.cid),
                port: at.port,
            },
            None => UNBOUND,
        };
        done(self.put_address(trap, trap.word(1), trap.word(2), address))
    }

    pub(crate) fn getpeername(&mut self, trap: &Trap) -> Answer {
        let Some((fd, cookie)) = self.ours(trap) else {
            return Answer::Pass;
        };
        if !is_connected(&fd) {
            return Answer::Errno(libc::ENOTCONN);
        }
        let peer = self.state(cookie).peer.unwrap_or(UNBOUND);
        done(self.put_address(trap, trap.word(1), trap.word(2), peer))
    }

    pub(crate) fn getsockopt(&mut self, trap: &Trap) -> Answer {
        const NOBODY: [i32; 3] = [0, -1, -1]; // only AF_UNIX peers have credentials
        let Some((_, cookie)) = self.ours(trap) else {
            return Answer::Pass;
        };
        let (level, name) = (trap.int(1), trap.int(2));
        let value = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => libc::AF_VSOCK.to_ne_bytes().to_vec(),
            (libc::SOL_SOCKET, libc::SO_PEERCRED) => {
                NOBODY.iter().flat_map(|word| word.to_ne_bytes()).collect()
            }
            (libc::SOL_SOCKET, _) => match self.state(cookie).pending_error.take() {
                Some(errno) => errno.to_ne_bytes().to_vec(),
                None => return Answer::Pass,
            },
            _ => match self.state(cookie).options.get(name) {
                Ok(value) => value,
                Err(errno) => return Answer::Errno(errno),
            },
        };
        let exact = level == libc::AF_VSOCK;
        done(self.put_option(trap, &value, exact))
    }

    pub(crate) fn setsockopt(&mut self, trap: &Trap) -> Answer {
        let Some((_, cookie)) = self.ours(trap) else {
            return Answer::Pass;
        };
        let name = trap.int(2);
        let Some(bytes) = Options::value_bytes(name) else {
            return Answer::Errno(libc::ENOPROTOOPT);
        };
        if !usize::try_from(trap.int(4)).is_ok_and(|given| given >= bytes) {
            return Answer::Errno(libc::EINVAL);
        }
        let mut value = vec![0; bytes];
        if let Err(answer) = self.read(trap, trap.word(3), &mut value) {
            return answer;
        }
        match self.state(cookie).options.set(name, &value) {
            Ok(()) => Answer::Value(0),
            Err(errno) => Answer::Errno(errno),
        }
    }

    /// The `sockaddr_vm` of `bind` and `connect`.
    fn vsock_address(&mut self, trap: &Trap) -> Result<VsockAddr, Answer> {
        let bytes = self.read_address(trap, trap.word(1), trap.int(2))?;
        vsock::parse_address(&bytes).ok_or(Answer::Errno(libc::EINVAL))
    }

    /// Copies an address out as `move_addr_to_user` does: as much as there is
    /// room for, and the full length.
    fn put_address(
        &mut self,
        trap: &Trap,
        at: u64,
        len_at: u64,
        address: VsockAddr,
    ) -> Result<(), Answer> {
        let room = self.read_length(trap, len_at)?;
        let bytes = vsock::address_bytes(address);
        self.write(
            trap,
            at,
            bytes.get(..room.min(ADDRESS_BYTES)).unwrap_or(&bytes),
        )?;
        self.write(trap, len_at, &16_i32.to_ne_bytes())
    }

    /// Copies an option value out; AF_VSOCK's own options refuse a short buffer.
    fn put_option(&mut self, trap: &Trap, value: &[u8], exact: bool) -> Result<(), Answer> {
        let room = self.read_length(trap, trap.word(4))?;
        if exact && room < value.len() {
            return Err(Answer::Errno(libc::EINVAL));
        }
        let value = value.get(..room).unwrap_or(value);
        self.write(trap, trap.word(3), value)?;
        let len = i32::try_from(value.len()).expect("an option's value has a few bytes");
        self.write(trap, trap.word(4), &len.to_ne_bytes())
    }

    fn read_length(&mut self, trap: &Trap, at: u64) -> Result<usize, Answer> {
        let mut len = [0; 4];
        self.read(trap, at, &mut len)?;
        usize::try_from(i32::from_ne_bytes(len)).map_err(|_| Answer::Errno(libc::EINVAL))
    }
}

/// Where a socket is bound, by its name.
fn bound_at(supervisor: &Supervisor, fd: &OwnedFd) -> Option<VsockAddr> {
    let local = view(fd)?.local_addr().ok()?;
    use std::os::linux::net::SocketAddrExt as _;
    supervisor.world.address_of(local.as_abstract_name()?)
}

fn peer_of(supervisor: &Supervisor, fd: &OwnedFd) -> VsockAddr {
    let unknown = VsockAddr {
        cid: switchboard::PARENT_CID,
        port: ANY,
    };
    let peer = view(fd).and_then(|stream| stream.peer_addr().ok());
    peer.map_or(unknown, |peer| {
        switchboard::peer_address(&supervisor.world, &peer)
    })
}

fn is_connected(fd: &OwnedFd) -> bool {
    view(fd).is_some_and(|stream| stream.peer_addr().is_ok())
}

/// `std`'s names for an AF_UNIX socket, whatever its type.
fn view(fd: &OwnedFd) -> Option<UnixStream> {
    fd.try_clone().ok().map(UnixStream::from)
}

fn receive_timeout(fd: std::os::fd::BorrowedFd<'_>) -> Option<Duration> {
    let timeout: libc::timeval =
        sys::socket_option(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO).ok()?;
    let timeout = Duration::from_secs(u64::try_from(timeout.tv_sec).ok()?)
        + Duration::from_micros(u64::try_from(timeout.tv_usec).ok()?);
    (!timeout.is_zero()).then_some(timeout)
}

fn errno(error: &io::Error) -> Answer {
    Answer::Errno(error.raw_os_error().unwrap_or(libc::EIO))
}

fn done(outcome: Result<(), Answer>) -> Answer {
    match outcome {
        Ok(()) => Answer::Value(0),
        Err(answer) => answer,
    }
}
