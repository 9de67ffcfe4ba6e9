//! A loopback of the run's own: what an enclave's kernel brings up and nothing
//! else.
//!
//! Models an enclave's only interface. The tree gets a network namespace with
//! `lo` up: servers of the machine on 127.0.0.1 are not there, every other
//! address is unreachable because no interface leads to it, and two runs may
//! listen on the same port. Source of truth: `network_namespaces(7)`,
//! `netdevice(7)`. AF_VSOCK is not affected: its sockets are the supervisor's,
//! made in the machine's namespace, and keep it. Abstract AF_UNIX names are, as
//! they belong to the namespace: those of the machine are not seen either.
//!
//! Root makes the namespace. Everybody else makes a user namespace beside it, in
//! which they stay who they are; what belongs to other users shows as nobody's
//! there, and may be used as before. Root without CAP_SYS_ADMIN (a container's)
//! could do that too and would lose what it may do as other users, so it is left
//! to whoever asks for it. Does not model the enclave's own `/sys/class/net`.

use std::io;

use super::namespaces::{self, Identity, Obstacle};

const STEPS: [&str; 3] = [
    "making a network namespace",
    "staying the same user in a user namespace",
    "bringing lo up",
];

/// Everything the child needs to enter a network of its own.
#[derive(Clone, Debug)]
pub(crate) struct OwnLoopback {
    /// Who to be in a user namespace, where one may be used.
    identity: Option<Identity>,
}

/// Why there is no loopback of the run's own.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct LoopbackError {
    step: &'static str,
    error: io::Error,
}

impl From<Obstacle> for LoopbackError {
    fn from(Obstacle { step, errno }: Obstacle) -> Self {
        Self {
            step: usize::try_from(step)
                .ok()
                .and_then(|step| STEPS.get(step))
                .unwrap_or(&"starting a process"),
            error: io::Error::from_raw_os_error(errno),
        }
    }
}

impl OwnLoopback {
    /// Without losing anything: in a user namespace only if we are not root.
    pub(crate) fn free_of_charge() -> Self {
        // SAFETY: no arguments, cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        Self {
            identity: (!root).then(Identity::same),
        }
    }

    /// At any price.
    pub(crate) fn demanded() -> Self {
        Self {
            identity: Some(Identity::same()),
        }
    }

    /// Moves the calling process, which must have no other threads, into a
    /// network of its own. System calls only: it runs between clone and exec.
    pub(crate) fn enter(&self) -> Result<(), Obstacle> {
        // SAFETY: integers only.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let Some(identity) = &self.identity else {
                return Err(Obstacle::at(0));
            };
            // SAFETY: integers only.
            if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) } != 0 {
                return Err(Obstacle::at(0));
            }
            identity.assume(1)?;
            open_every_port();
        }
        bring_lo_up()
    }

    /// Whether it can be entered here, found out in a process of its own.
    pub(crate) fn rehearse(&self) -> Result<(), LoopbackError> {
        Ok(namespaces::rehearse(|| self.enter())?)
    }
}

/// Our user stands for the enclave's root, which may listen on any port.
fn open_every_port() {
    // SAFETY: both texts are live literals; without the file nothing is written,
    // and ports below 1024 stay closed.
    unsafe {
        let file = libc::open(
            c"/proc/sys/net/ipv4/ip_unprivileged_port_start".as_ptr(),
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        libc::write(file, b"0".as_ptr().cast(), 1);
        libc::close(file);
    }
}

fn bring_lo_up() -> Result<(), Obstacle> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is a live ifreq whose name ends in NUL.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request) != 0 {
            return Err(Obstacle::at(2));
        }
        libc::close(socket);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_step() {
        let refused = LoopbackError::from(Obstacle {
            step: 2,
            errno: libc::EPERM,
        });
        assert!(refused.to_string().starts_with("bringing lo up: "));
        let unknown = LoopbackError::from(Obstacle {
            step: -1,
            errno: libc::EAGAIN,
        });
        assert!(unknown.to_string().starts_with("starting a process: "));
    }
}
