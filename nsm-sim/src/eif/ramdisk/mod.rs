//! The archives inside a ramdisk section.
//!
//! Models: cpio in the `newc` format (magic 070701, and 070702 with its
//! checksums), plain or in gzip members, several archives behind each other with
//! zeros between them, as Linux unpacks an initramfs
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`). Archives are
//! written plain or as one gzip member, the same bytes for the same entries.
//!
//! Does not model: the other compressions Linux knows, which are named and
//! refused.

mod read;
mod write;

use std::fmt;

pub(crate) use read::inflate;
pub use read::read_cpio;
pub use write::{write_cpio, write_cpio_gz};

/// Most bytes that one ramdisk may inflate to, 2 GiB: it would have to fit into
/// the enclave's memory.
pub const INFLATED_BYTES_MAX: u64 = 2 << 30;

/// Most entries of one ramdisk. A full distribution image has about 100,000.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Linux's `PATH_MAX`, the longest name or link target including its NUL.
const PATH_BYTES_MAX: u32 = 4096;

const TRAILER: &str = "TRAILER!!!";
/// Six digits of magic and thirteen fields of eight hex digits.
const HEADER_BYTES: usize = 110;
/// Archives are padded to this, as cpio programs do.
const BLOCK_BYTES: usize = 512;

const TYPE_MASK: u32 = 0o170_000;
const SOCKET: u32 = 0o140_000;
const SYMLINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const DIRECTORY: u32 = 0o040_000;
const CHAR_DEVICE: u32 = 0o020_000;
const FIFO: u32 = 0o010_000;

/// One file, directory, link or node of an archive.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as the archive has it: usually relative, without `./`.
    pub path: String,
    /// Permission bits, with set-user-id, set-group-id and sticky: 0o7777.
    pub mode: u32,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
    /// Last modification, seconds since 1970.
    pub mtime_secs: u32,
    /// What it is.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file with this content.
    File(Vec<u8>),
    /// Another name of the regular file with this path in the same archive.
    HardLink(String),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Entry {
    /// A regular file, mode 644.
    #[must_use]
    pub fn file(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self::new(path, 0o644, EntryKind::File(content.into()))
    }

    /// A regular file, mode 755.
    #[must_use]
    pub fn executable(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self::new(path, 0o755, EntryKind::File(content.into()))
    }

    /// A directory, mode 755.
    #[must_use]
    pub fn directory(path: impl Into<String>) -> Self {
        Self::new(path, 0o755, EntryKind::Directory)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self::new(path, 0o777, EntryKind::Symlink(target.into()))
    }

    /// An entry of root's, last modified in 1970.
    #[must_use]
    pub fn new(path: impl Into<String>, mode: u32, kind: EntryKind) -> Self {
        Self {
            path: path.into(),
            mode,
            uid: 0,
            gid: 0,
            mtime_secs: 0,
            kind,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:04o} {}:{} ",
            self.path, self.mode, self.uid, self.gid
        )?;
        fmt::Debug::fmt(&self.kind, f)
    }
}

impl fmt::Debug for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(content) => write!(f, "file of {} bytes", content.len()),
            Self::HardLink(path) => write!(f, "hard link to {path:?}"),
            Self::Directory => f.write_str("directory"),
            Self::Symlink(target) => write!(f, "symlink to {target:?}"),
            Self::CharDevice { major, minor } => write!(f, "character device {major}:{minor}"),
            Self::BlockDevice { major, minor } => write!(f, "block device {major}:{minor}"),
            Self::Fifo => f.write_str("named pipe"),
            Self::Socket => f.write_str("socket"),
        }
    }
}

/// Why a ramdisk cannot be read or written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RamdiskError {
    /// Another compression than gzip.
    #[error("compressed by {name}; only plain and gzip ramdisks are read")]
    UnknownCompression {
        /// Its name.
        name: &'static str,
    },
    /// The gzip data is damaged, or bytes other than zeros follow it.
    #[error("the gzip data is damaged")]
    Gzip,
    /// No archive begins where one should.
    #[error("no cpio archive (newc) at byte {at}")]
    NoArchive {
        /// Byte of the inflated ramdisk.
        at: u64,
    },
    /// The archive ends before its trailer.
    #[error("the archive ends early, at byte {at}")]
    Truncated {
        /// Byte of the inflated ramdisk.
        at: u64,
    },
    /// A header field is not a hex number.
    #[error("a header field at byte {at} is not a hex number")]
    NotHex {
        /// Byte of the inflated ramdisk.
        at: u64,
    },
    /// More than [`INFLATED_BYTES_MAX`].
    #[error("inflates to more than {INFLATED_BYTES_MAX} bytes")]
    TooLarge,
    /// More than [`ENTRIES_MAX`].
    #[error("more than {ENTRIES_MAX} entries")]
    TooManyEntries,
    /// A name that is empty, too long, not ended by its only NUL, or not UTF-8.
    #[error("the name at byte {at} is empty, too long, or not UTF-8 text with one final NUL")]
    Name {
        /// Byte of the inflated ramdisk.
        at: u64,
    },
    /// A link target with the same faults.
    #[error("the target of the symlink {path:?} is empty, too long, or not UTF-8 text")]
    Target {
        /// The link.
        path: String,
    },
    /// An unknown file type.
    #[error("{path:?} has the unknown mode {mode:o}")]
    Mode {
        /// The entry.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// Content where there can be none.
    #[error("{path:?} has content but is not a regular file")]
    Content {
        /// The entry.
        path: String,
    },
    /// The checksum of a 070702 entry is wrong.
    #[error("{path:?} has a wrong checksum")]
    Checksum {
        /// The entry.
        path: String,
    },
    /// While writing: a hard link to a file that is not in the archive.
    #[error("the hard link {path:?} points to a file that is not in the archive")]
    HardLink {
        /// The link.
        path: String,
    },
    /// While writing: content of 4 GiB or more, a name no archive can hold, or
    /// mode bits beyond 7777.
    #[error("{path:?} cannot be written to a cpio archive")]
    Unwritable {
        /// The entry.
        path: String,
    },
}

/// How a ramdisk is compressed, by its first bytes.
pub(crate) fn compression(ramdisk: &[u8]) -> Option<&'static str> {
    const MAGICS: [(&[u8], &str); 7] = [
        (&[0x1f, 0x8b], "gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        (&[0x5d, 0, 0], "lzma"),
        (b"BZh", "bzip2"),
        (&[0x89, b'L', b'Z', b'O'], "lzo"),
        (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
    ];
    MAGICS
        .iter()
        .find(|(magic, _)| ramdisk.starts_with(magic))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
