//! Reading and writing the memory of a trapped caller.
//!
//! Models what `copy_from_user` and `copy_to_user` do for a driver: a range
//! that is not mapped is `EFAULT`. Source of truth: `process_vm_readv(2)`, with
//! `/proc/PID/mem` where a profile forbids that call. Must only be used on a
//! thread that is held in a trap.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
};

/// Why a caller's memory could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryFault {
    /// Not mapped (or not writable): the caller's own mistake, `EFAULT`.
    BadAddress,
    /// The caller is gone.
    Gone,
    /// The kernel forbids us to look: undumpable, Yama, a foreign user.
    Forbidden,
}

/// Longest path the kernel takes (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;
const PAGE: u64 = 4096;

/// Fills `into` from `address`.
pub(crate) fn read(tid: i32, address: u64, into: &mut [u8]) -> Result<(), MemoryFault> {
    if into.is_empty() {
        return Ok(());
    }
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = remote(address, into.len())?;
    // SAFETY: `local` describes `into`, which is exclusively ours; the remote
    // range is checked by the kernel.
    let n = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(n) {
        Ok(n) if n == into.len() => Ok(()),
        Ok(_) => Err(MemoryFault::BadAddress),
        Err(_) => match fault() {
            MemoryFault::Forbidden => {
                through_proc(tid, false, |memory| memory.read_exact_at(into, address))
            }
            fault => Err(fault),
        },
    }
}

/// Writes `bytes` to `address`.
pub(crate) fn write(tid: i32, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
    if bytes.is_empty() {
        return Ok(());
    }
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = remote(address, bytes.len())?;
    // SAFETY: `local` describes `bytes`, which the kernel only reads; the remote
    // range is checked by the kernel and its thread is held in a trap.
    let n = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(n) {
        Ok(n) if n == bytes.len() => Ok(()),
        Ok(_) => Err(MemoryFault::BadAddress),
        Err(_) => match fault() {
            MemoryFault::Forbidden => {
                through_proc(tid, true, |memory| memory.write_all_at(bytes, address))
            }
            fault => Err(fault),
        },
    }
}

/// Writes each of two texts to its address, the second only if the first found
/// its place.
pub(crate) fn write_both(tid: i32, parts: [(u64, &[u8]); 2]) -> Result<(), MemoryFault> {
    let local = parts.map(|(_, bytes)| libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    });
    let [(first_at, first), (second_at, second)] = parts;
    let remote = [
        remote(if first.is_empty() { 0 } else { first_at }, first.len())?,
        remote(second_at, second.len())?,
    ];
    // SAFETY: `local` describes `parts`, which the kernel only reads; the remote
    // ranges are checked by the kernel and their thread is held in a trap.
    let n = unsafe { libc::process_vm_writev(tid, local.as_ptr(), 2, remote.as_ptr(), 2, 0) };
    match usize::try_from(n) {
        Ok(n) if n == first.len() + second.len() => Ok(()),
        Ok(_) => Err(MemoryFault::BadAddress),
        Err(_) => match fault() {
            MemoryFault::Forbidden => {
                write(tid, first_at, first).and_then(|()| write(tid, second_at, second))
            }
            fault => Err(fault),
        },
    }
}

/// The NUL-terminated path at `address`; `None` if it is longer than any path.
pub(crate) fn read_path(tid: i32, address: u64) -> Result<Option<Vec<u8>>, MemoryFault> {
    let mut path = Vec::new();
    let mut chunk = [0; 256];
    let mut at = address;
    while path.len() < PATH_BYTES_MAX {
        // Never across a page: the next one may not be mapped, and need not be.
        let room = usize::try_from(PAGE - at % PAGE)
            .unwrap_or(chunk.len())
            .min(chunk.len());
        let Some(part) = chunk.get_mut(..room) else {
            return Ok(None);
        };
        read(tid, at, part)?;
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            path.extend_from_slice(part.get(..end).unwrap_or_default());
            return Ok(Some(path));
        }
        path.extend_from_slice(part);
        at = at.checked_add(room as u64).ok_or(MemoryFault::BadAddress)?;
    }
    Ok(None)
}

fn remote(address: u64, len: usize) -> Result<libc::iovec, MemoryFault> {
    let base = usize::try_from(address).map_err(|_| MemoryFault::BadAddress)?;
    Ok(libc::iovec {
        iov_base: std::ptr::without_provenance_mut(base),
        iov_len: len,
    })
}

fn fault() -> MemoryFault {
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EFAULT) => MemoryFault::BadAddress,
        Some(libc::ESRCH) => MemoryFault::Gone,
        _ => MemoryFault::Forbidden,
    }
}

fn through_proc(
    tid: i32,
    writable: bool,
    access: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), MemoryFault> {
    let memory = OpenOptions::new()
        .read(true)
        .write(writable)
        .open(format!("/proc/{tid}/mem"))
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => MemoryFault::Gone,
            _ => MemoryFault::Forbidden,
        })?;
    access(&memory).map_err(|_| MemoryFault::BadAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn reads_and_writes_where_memory_is_mapped_and_faults_where_it_is_not() {
        let mut cell = [7_u8; 32];
        let at = std::ptr::from_mut(&mut cell).addr() as u64;
        write(own(), at, &[1, 2, 3]).unwrap();
        let mut back = [0; 4];
        read(own(), at, &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 7]);
        assert_eq!(read(own(), 8, &mut back), Err(MemoryFault::BadAddress));
        assert_eq!(
            write(own(), u64::MAX - 2, &back),
            Err(MemoryFault::BadAddress)
        );
    }

    #[test]
    fn two_texts_are_written_in_order_up_to_the_one_that_has_no_place() {
        let (mut first, mut second) = ([0_u8; 2], [0_u8; 2]);
        let at = [&mut first, &mut second].map(|cell| std::ptr::from_mut(cell).addr() as u64);
        write_both(own(), [(at[0], b"ab"), (at[1], b"cd")]).unwrap();
        assert_eq!((first, second), (*b"ab", *b"cd"));
        let nowhere = Err(MemoryFault::BadAddress);
        assert_eq!(write_both(own(), [(8, b"ef"), (at[1], b"ef")]), nowhere);
        assert_eq!(second, *b"cd", "after a fault nothing is written");
        assert_eq!(write_both(own(), [(at[0], b"ef"), (8, b"ef")]), nowhere);
        assert_eq!(first, *b"ef");
        // An empty text needs no place.
        write_both(own(), [(0, b""), (at[1], b"gh")]).unwrap();
        assert_eq!(second, *b"gh");
    }

    #[test]
    fn a_path_may_end_at_the_last_mapped_byte() {
        // SAFETY: a fresh private mapping of two pages, of which the second is
        // taken away again; nothing else knows the range.
        let base = unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED);
            assert_eq!(libc::munmap(base.byte_add(4096), 4096), 0);
            base.addr() as u64
        };
        write(own(), base + 4096 - 9, b"/dev/nsm\0").unwrap();
        let path = read_path(own(), base + 4096 - 9).unwrap();
        assert_eq!(path.as_deref(), Some(&b"/dev/nsm"[..]));
        write(own(), base + 4096 - 4, b"open").unwrap();
        assert_eq!(
            read_path(own(), base + 4096 - 4),
            Err(MemoryFault::BadAddress)
        );
    }
}
