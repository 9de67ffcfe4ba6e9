//! The few system calls that `std` has no safe form of, each wrapped once.
//!
//! Models nothing; it keeps `unsafe` in one screen. Source of truth: the manual
//! page of each call.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

/// A C value any bit pattern of which is valid.
///
/// # Safety
/// Implementors hold integers only and no padding that is read.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for u64 {}
// SAFETY: integers.
unsafe impl Plain for i32 {}
// SAFETY: three integers.
unsafe impl Plain for libc::ucred {}
// SAFETY: two integers.
unsafe impl Plain for libc::timeval {}

/// Collects a child that exits on its own.
pub(crate) fn reap(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a live int.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status
}

fn check(rc: i32) -> io::Result<i32> {
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc)
    }
}

/// The descriptor in the answer of a raw system call that makes one.
///
/// # Errors
/// The system's error, if the call answered one.
///
/// # Safety
/// `answer` is what such a call has just answered; nobody else owns what it made.
pub(crate) unsafe fn new_descriptor(answer: libc::c_long) -> io::Result<OwnedFd> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(answer).expect("descriptors are ints");
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `getsockopt(2)`.
pub(crate) fn socket_option<T: Plain>(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<T> {
    // SAFETY: zero is a valid `Plain`.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t; // a few bytes
    // SAFETY: `value` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

/// `SO_COOKIE`: the kernel's never reused number of a socket.
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    socket_option(fd, libc::SOL_SOCKET, libc::SO_COOKIE)
}

/// The user at the other end, as of its `connect` or `listen`.
pub(crate) fn peer_user(fd: BorrowedFd<'_>) -> io::Result<u32> {
    socket_option::<libc::ucred>(fd, libc::SOL_SOCKET, libc::SO_PEERCRED).map(|cred| cred.uid)
}

/// Our own effective user.
pub(crate) fn own_user() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() }
}

/// A fresh AF_UNIX socket of `kind`, close-on-exec on our side.
pub(crate) fn unix_socket(kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers in.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether `O_NONBLOCK` is set on the open file.
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: plain integers in.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    Ok(flags & libc::O_NONBLOCK != 0)
}

/// Sets or clears `O_NONBLOCK` on the open file.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: plain integers in.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let wanted = if on {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: plain integers in.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) }).map(drop)
}

/// Binds to an abstract name.
pub(crate) fn bind_abstract(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let (address, len) = abstract_address(name)?;
    // SAFETY: `address` is a live sockaddr_un, `len` within it.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

/// Connects to an abstract name and never waits, whatever the socket's mode:
/// a full backlog is `EAGAIN`.
pub(crate) fn connect_abstract(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let (address, len) = abstract_address(name)?;
    let was_nonblocking = is_nonblocking(fd)?;
    // The file is the caller's own; while its thread is held in connect() nobody
    // can be blocked in another call on an unconnected socket.
    if !was_nonblocking {
        set_nonblocking(fd, true)?;
    }
    // SAFETY: `address` is a live sockaddr_un, `len` within it.
    let outcome = check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) });
    if !was_nonblocking {
        set_nonblocking(fd, false)?;
    }
    outcome.map(drop)
}

fn abstract_address(name: &[u8]) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let room = address
        .sun_path
        .get_mut(1..=name.len())
        .ok_or(io::ErrorKind::InvalidInput)?;
    for (to, from) in room.iter_mut().zip(name) {
        *to = from.cast_signed() as libc::c_char;
    }
    let len = std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
    Ok((address, len as libc::socklen_t)) // within a sockaddr_un, as checked
}

/// `listen(2)`; the credentials a peer then sees are ours.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: plain integers in.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Bytes received and not read (`SIOCINQ`).
pub(crate) fn unread_bytes(fd: BorrowedFd<'_>) -> io::Result<i32> {
    queued(fd, libc::FIONREAD as libc::c_ulong)
}

/// Whether the peer has bytes yet to read (`SIOCOUTQ`; it counts their memory).
pub(crate) fn has_undelivered_bytes(fd: BorrowedFd<'_>) -> io::Result<bool> {
    queued(fd, libc::TIOCOUTQ as libc::c_ulong).map(|memory| memory > 0)
}

fn queued(fd: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<i32> {
    let mut count: i32 = 0;
    // SAFETY: both requests write one int, to a live local.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut count) })?;
    Ok(count)
}

/// `shutdown(2)` of both directions.
pub(crate) fn shut_down(fd: BorrowedFd<'_>) {
    // SAFETY: plain integers in; failure means there was nothing to shut.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

/// The next waiting connection, or `EAGAIN` at once if there is none.
pub(crate) fn accept_now(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<OwnedFd> {
    let mut ready = [poll_for_input(fd.as_raw_fd())];
    if poll(&mut ready, Some(Duration::ZERO))? == 0 {
        return Err(io::Error::from_raw_os_error(libc::EAGAIN));
    }
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: null addresses are allowed.
    let fd = check(unsafe {
        libc::accept4(
            fd.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            flags,
        )
    })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process behind a pidfd; 0 only asks whether it is there.
pub(crate) fn signal_process(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: integers, and a null siginfo, which is allowed.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// An entry of [`poll`] that waits for input.
pub(crate) fn poll_for_input(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// `poll(2)`; an interruption counts as nothing ready.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    // A wait beyond `poll`'s longest, 24 days, is that one.
    let ms = timeout.map_or(-1, |t| t.as_millis().min(i32::MAX as u128) as i32);
    let count = fds.len() as libc::nfds_t;
    // SAFETY: `fds` is a live slice of `count` entries.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), count, ms) }) {
        Ok(n) => Ok(n.unsigned_abs() as usize), // not negative, as checked
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Inode number of an open file.
pub(crate) fn inode(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: all-zero is a valid stat buffer.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is a live buffer of the right type.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) })?;
    Ok(stat.st_ino)
}

/// An anonymous file holding `text`, positioned at its start.
pub(crate) fn file_of(text: &[u8]) -> io::Result<OwnedFd> {
    use std::os::unix::fs::FileExt as _;
    // SAFETY: the name is a NUL-terminated literal.
    let fd = check(unsafe { libc::memfd_create(c"nsm-sim".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor.
    let file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.write_all_at(text, 0)?;
    Ok(file.into())
}

/// `sysinfo(2)` of this machine.
pub(crate) fn machine_info() -> io::Result<libc::sysinfo> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a live struct of the right type.
    check(unsafe { libc::sysinfo(&raw mut info) })?;
    Ok(info)
}

/// Its bytes, for a caller; made by [`machine_info`].
pub(crate) fn bytes_of_machine_info(info: &libc::sysinfo) -> Vec<u8> {
    // SAFETY: the struct was zeroed whole before it was filled, padding included,
    // and `u8` has no alignment.
    unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(info).cast(), size_of::<libc::sysinfo>())
    }
    .to_vec()
}

/// Borrowed form of anything that owns a descriptor.
pub(crate) fn of(fd: &impl AsFd) -> BorrowedFd<'_> {
    fd.as_fd()
}
