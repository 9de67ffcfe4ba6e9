//! The device nodes and files that a supervised program finds though they do
//! not exist.
//!
//! Models `/dev/nsm`, `/dev/vsock`, the hardware random number generator that
//! the NSM driver registers (`nsm-hwrng`, NSM §1.2), and the files that tell how
//! many CPUs and how much memory there are, where those are limited. Paths are compared
//! after lexical normalisation, relative ones against the caller's directory.
//! Does not model directory listings, symbolic links that lead to a node,
//! `chmod` of a node, and an `O_PATH` open.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
        },
    },
    path::Path,
};

use super::{memory::Pool, procfd, stat::NodeShape, sys};

/// An emulated node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// `/dev/nsm`.
    Nsm,
    /// `/dev/vsock`.
    Vsock,
    /// `/dev/hwrng`.
    Hwrng,
    /// `/sys/class/misc/hw_random/rng_current` and `rng_available`.
    RngName,
    /// `/sys/devices/system/cpu/online` and kin, of so many CPUs.
    CpuList(u32),
    /// `/proc/meminfo`.
    MemInfo,
}

/// `/dev/null`: the nearest thing to a misc device (character device, poll
/// says in and out, epoll refuses, seeks succeed), and how an NSM descriptor is
/// known again after dup, fork, exec and SCM_RIGHTS.
pub(crate) const NSM_BACKING: (u32, u32) = (1, 3);
/// `/dev/zero`, the same for `/dev/vsock`, told apart by its number.
pub(crate) const VSOCK_BACKING: (u32, u32) = (1, 5);

const NODES: [(&str, Node); 9] = [
    ("/dev/nsm", Node::Nsm),
    ("/dev/vsock", Node::Vsock),
    ("/dev/hwrng", Node::Hwrng),
    ("/sys/class/misc/hw_random/rng_current", Node::RngName),
    ("/sys/class/misc/hw_random/rng_available", Node::RngName),
    ("/proc/meminfo", Node::MemInfo),
    ("/sys/devices/system/cpu/online", Node::CpuList(0)),
    ("/sys/devices/system/cpu/possible", Node::CpuList(0)),
    ("/sys/devices/system/cpu/present", Node::CpuList(0)),
];

/// Which nodes a run shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) nsm: bool,
    pub(crate) vsock: bool,
    pub(crate) hwrng: bool,
    /// How many CPUs are there to see; `None` for the machine's.
    pub(crate) cpus: Option<u32>,
    /// Whether memory is limited.
    pub(crate) memory: bool,
}

impl Shown {
    pub(crate) fn any(self) -> bool {
        self.nsm || self.vsock || self.hwrng || self.cpus.is_some() || self.memory
    }

    /// The node as this run shows it, if it does.
    fn as_shown(self, node: Node) -> Option<Node> {
        match node {
            Node::Nsm => self.nsm.then_some(node),
            Node::Vsock => self.vsock.then_some(node),
            Node::Hwrng | Node::RngName => self.hwrng.then_some(node),
            Node::CpuList(_) => self.cpus.map(Node::CpuList),
            Node::MemInfo => self.memory.then_some(node),
        }
    }

    /// The node that `path`, used by thread `tid` relative to `dirfd`, names.
    pub(crate) fn find(self, tid: i32, dirfd: i32, path: &[u8]) -> Option<Node> {
        let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let candidate = |name: &&(&str, Node)| {
            name.0.as_bytes().rsplit(|byte| *byte == b'/').next() == Some(last)
        };
        NODES.iter().find(candidate)?; // nearly every path ends here
        let base = if path.starts_with(b"/") {
            Vec::new()
        } else if dirfd == libc::AT_FDCWD {
            in_its_root(tid, "cwd")?
        } else {
            in_its_root(tid, &format!("fd/{dirfd}"))?
        };
        let path = normalised(&base, path);
        let (_, node) = NODES.iter().find(|(name, _)| name.as_bytes() == path)?;
        self.as_shown(*node)
    }
}

/// Whether `/dev/nsm` is there already, made of `/dev/null`: opening it needs
/// no help (`docker run --device /dev/null:/dev/nsm`).
pub(crate) fn has_nsm_placeholder() -> bool {
    device_at("/dev/nsm") == Some(NSM_BACKING)
}

/// Number of the machine's own `/dev/vsock`, if we may open it.
pub(crate) fn machine_vsock() -> Option<(u32, u32)> {
    fs::File::open("/dev/vsock").ok()?;
    device_at("/dev/vsock")
}

fn device_at(path: &str) -> Option<(u32, u32)> {
    let metadata = fs::metadata(path).ok()?;
    metadata
        .file_type()
        .is_char_device()
        .then(|| procfd::device_number(metadata.rdev()))
}

impl Node {
    /// Opens the node as `open(2)` with `flags` would; the errno otherwise.
    pub(crate) fn open(self, flags: i32, memory: Option<&Pool>) -> Result<OwnedFd, i32> {
        if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 {
            return Err(libc::EEXIST);
        }
        let access = flags & libc::O_ACCMODE;
        let backing = match self {
            Self::Nsm => "/dev/null",
            Self::Vsock => "/dev/zero",
            Self::Hwrng => "/dev/urandom",
            Self::RngName | Self::CpuList(_) | Self::MemInfo if access != libc::O_RDONLY => {
                return Err(libc::EACCES);
            }
            Self::RngName => return errno(sys::file_of(b"nsm-hwrng\n")),
            Self::MemInfo => {
                let text = memory.map(Pool::meminfo).unwrap_or_default();
                return errno(sys::file_of(text.as_bytes()));
            }
            Self::CpuList(1) => return errno(sys::file_of(b"0\n")),
            Self::CpuList(count) => {
                let list = format!("0-{}\n", count.saturating_sub(1));
                return errno(sys::file_of(list.as_bytes()));
            }
        };
        // A description of its own for each open: modes and flags are not shared.
        let file = OpenOptions::new()
            .read(access != libc::O_WRONLY)
            .write(access != libc::O_RDONLY)
            .custom_flags(flags & libc::O_NONBLOCK)
            .open(Path::new(backing));
        errno(file.map(OwnedFd::from))
    }

    /// What `stat` shows.
    pub(crate) fn shape(self) -> NodeShape {
        const MISC_MAJOR: u32 = 10;
        let device = |minor: u32, mode: u32| NodeShape {
            inode: 0x4E53_4D00 + u64::from(minor),
            mode: libc::S_IFCHR | mode,
            device: (MISC_MAJOR, minor),
            size: 0,
        };
        match self {
            Self::Nsm => device(126, 0o666), // the driver asks for any minor
            Self::Vsock => device(125, 0o666),
            Self::Hwrng => device(183, 0o600), // HWRNG_MINOR
            Self::RngName | Self::CpuList(_) | Self::MemInfo => NodeShape {
                inode: 0x4E53_4D01,
                mode: libc::S_IFREG | 0o444,
                device: (0, 0),
                size: 4096,
            },
        }
    }

    /// What `access(2)` answers.
    pub(crate) fn access(self, mode: i32) -> Result<(), i32> {
        let mode = u32::try_from(mode).map_err(|_| libc::EINVAL)?;
        if mode > 7 {
            return Err(libc::EINVAL);
        }
        let allowed = match self {
            Self::RngName | Self::CpuList(_) | Self::MemInfo => 4,
            Self::Nsm | Self::Vsock | Self::Hwrng => 6, // the enclave's user is root
        };
        if mode & !allowed == 0 {
            Ok(())
        } else {
            Err(libc::EACCES)
        }
    }
}

/// Where a link of `/proc/TID` leads, as the thread would say it: below its own
/// root, which is not ours in an image.
fn in_its_root(tid: i32, link: &str) -> Option<Vec<u8>> {
    let leads = fs::read_link(format!("/proc/{tid}/{link}")).ok()?;
    let root = fs::read_link(format!("/proc/{tid}/root")).ok()?;
    let inside = leads.strip_prefix(root).unwrap_or(&leads);
    Some(inside.as_os_str().as_bytes().to_vec())
}

fn errno(result: io::Result<OwnedFd>) -> Result<OwnedFd, i32> {
    result.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))
}

/// `path` below `base`, without `.`, `..` and doubled slashes.
fn normalised(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let both = base
        .split(|byte| *byte == b'/')
        .chain(path.split(|byte| *byte == b'/'));
    for part in both {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts
        .iter()
        .flat_map(|part| [b"/".as_slice(), part].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Shown = Shown {
        nsm: true,
        vsock: true,
        hwrng: true,
        cpus: None,
        memory: false,
    };

    #[test]
    fn spellings_of_the_same_path_name_the_same_node() {
        for path in [
            "/dev/nsm",
            "//dev//nsm",
            "/dev/./nsm",
            "/usr/../dev/nsm",
            "/../dev/nsm",
        ] {
            assert_eq!(
                ALL.find(0, libc::AT_FDCWD, path.as_bytes()),
                Some(Node::Nsm),
                "{path}"
            );
        }
        for path in ["/dev/nsm2", "/dev/nsm/x", "/nsm", "/tmp/dev/nsm", "/dev"] {
            assert_eq!(ALL.find(0, libc::AT_FDCWD, path.as_bytes()), None, "{path}");
        }
        assert_eq!(normalised(b"/dev", b"../dev/./nsm"), b"/dev/nsm");
    }

    #[test]
    fn a_run_without_an_nsm_shows_none() {
        let parent = Shown {
            nsm: false,
            vsock: true,
            hwrng: false,
            cpus: None,
            memory: false,
        };
        assert_eq!(parent.find(0, libc::AT_FDCWD, b"/dev/nsm"), None);
        assert_eq!(
            parent.find(0, libc::AT_FDCWD, b"/dev/vsock"),
            Some(Node::Vsock)
        );
    }

    #[test]
    fn cpus_are_listed_as_sysfs_lists_them() {
        use std::io::Read as _;
        let text = |cpus| {
            let shown = Shown {
                cpus: Some(cpus),
                ..ALL
            };
            let node = shown.find(0, libc::AT_FDCWD, b"/sys/devices/system/cpu/online");
            let mut text = String::new();
            let file = fs::File::from(node.unwrap().open(libc::O_RDONLY, None).unwrap());
            (&file).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!((text(1), text(4)), ("0\n".to_owned(), "0-3\n".to_owned()));
        let online = b"/sys/devices/system/cpu/online";
        assert_eq!(ALL.find(0, libc::AT_FDCWD, online), None);
    }

    #[test]
    fn the_node_can_be_read_and_written_but_not_executed() {
        assert_eq!(Node::Nsm.access(0), Ok(()));
        assert_eq!(Node::Nsm.access(6), Ok(()));
        assert_eq!(Node::Nsm.access(1), Err(libc::EACCES));
        assert_eq!(Node::Nsm.access(8), Err(libc::EINVAL));
    }

    proptest! {
        #[test]
        fn no_path_makes_the_comparison_panic(path: Vec<u8>) {
            let _ = ALL.find(0, libc::AT_FDCWD, &path);
            let once = normalised(b"", &path);
            prop_assert_eq!(normalised(b"", &once), once);
        }
    }
}
