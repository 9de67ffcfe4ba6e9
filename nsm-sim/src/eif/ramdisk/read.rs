//! Reading ramdisks: one pass, bounded, memory in proportion to what is there.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
};

use flate2::bufread::GzDecoder;

use super::*;

/// Reads every entry of a ramdisk, plain or gzip.
///
/// # Errors
/// If it is no such archive or exceeds [`INFLATED_BYTES_MAX`] or
/// [`ENTRIES_MAX`].
pub fn read_cpio(ramdisk: &[u8]) -> Result<Vec<Entry>, RamdiskError> {
    match compression(ramdisk) {
        None => Archive::new(ramdisk).entries(),
        Some("gzip") => {
            Archive::new(BufReader::with_capacity(1 << 16, Members::new(ramdisk))).entries()
        }
        Some(name) => Err(RamdiskError::UnknownCompression { name }),
    }
}

/// The bytes of a ramdisk without its compression, if it has one that is read.
///
/// # Errors
/// As [`read_cpio`], but for what is inside.
pub(crate) fn inflate(ramdisk: &[u8]) -> Result<Vec<u8>, RamdiskError> {
    match compression(ramdisk) {
        None => Ok(ramdisk.to_vec()),
        Some("gzip") => {
            let mut plain = Vec::new();
            Members::new(ramdisk)
                .take(INFLATED_BYTES_MAX)
                .read_to_end(&mut plain)
                .map_err(|_| RamdiskError::Gzip)?;
            Ok(plain)
        }
        Some(name) => Err(RamdiskError::UnknownCompression { name }),
    }
}

/// Reads archives off a stream, counting what it takes.
struct Archive<R> {
    from: R,
    at: u64,
}

/// A header's numbers, in the archive's order.
struct Fields([u32; 13]);

impl Fields {
    const fn inode(&self) -> InodeId {
        (self.0[7], self.0[8], self.0[0])
    }
    const fn mode(&self) -> u32 {
        self.0[1]
    }
    const fn links(&self) -> u32 {
        self.0[4]
    }
    const fn size(&self) -> u32 {
        self.0[6]
    }
    const fn device(&self) -> (u32, u32) {
        (self.0[9], self.0[10])
    }
    const fn name_bytes(&self) -> u32 {
        self.0[11]
    }
    const fn checksum(&self) -> u32 {
        self.0[12]
    }
}

impl<R: BufRead> Archive<R> {
    const fn new(from: R) -> Self {
        Self { from, at: 0 }
    }

    fn entries(mut self) -> Result<Vec<Entry>, RamdiskError> {
        let mut entries = Vec::new();
        loop {
            self.archive(&mut entries)?;
            if !self.skip_zeros()? {
                link_hard_links(&mut entries);
                return Ok(entries.into_iter().map(|(entry, _)| entry).collect());
            }
        }
    }

    /// One archive up to its trailer.
    fn archive(&mut self, entries: &mut Vec<(Entry, Option<InodeId>)>) -> Result<(), RamdiskError> {
        loop {
            let (fields, sums) = self.header()?;
            let path = self.name(fields.name_bytes())?;
            self.align()?;
            if path == TRAILER {
                return Ok(());
            }
            if entries.len() == ENTRIES_MAX {
                return Err(RamdiskError::TooManyEntries);
            }
            let content = self.bytes(fields.size())?;
            self.align()?;
            if sums {
                let sum = content
                    .iter()
                    .fold(0_u32, |sum, byte| sum.wrapping_add((*byte).into()));
                if sum != fields.checksum() {
                    return Err(RamdiskError::Checksum { path });
                }
            }
            entries.push(entry(path, &fields, content)?);
        }
    }

    /// The fields of a header, and whether the content has a checksum.
    fn header(&mut self) -> Result<(Fields, bool), RamdiskError> {
        let start = self.at;
        let mut header = [0; HEADER_BYTES];
        self.exact(&mut header)?;
        let (magic, digits) = header
            .split_first_chunk::<6>()
            .ok_or(RamdiskError::TooLarge)?;
        let sums = match magic {
            b"070701" => false,
            b"070702" => true,
            _ => return Err(RamdiskError::NoArchive { at: start }),
        };
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(digits.chunks_exact(8)) {
            *field = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or(RamdiskError::NotHex { at: start })?;
        }
        Ok((Fields(fields), sums))
    }

    fn name(&mut self, name_bytes: u32) -> Result<String, RamdiskError> {
        let at = self.at;
        if !(2..=PATH_BYTES_MAX).contains(&name_bytes) {
            return Err(RamdiskError::Name { at });
        }
        let mut name = self.bytes(name_bytes)?;
        let nul = name.pop();
        match String::from_utf8(name) {
            Ok(name) if nul == Some(0) && !name.contains('\0') => Ok(name),
            _ => Err(RamdiskError::Name { at }),
        }
    }

    /// Exactly `count` bytes. Memory grows with what is there, not with what a
    /// header claims.
    fn bytes(&mut self, count: u32) -> Result<Vec<u8>, RamdiskError> {
        let mut bytes = Vec::with_capacity(count.min(1 << 16) as usize);
        let count = u64::from(count);
        if self.at + count > INFLATED_BYTES_MAX {
            return Err(RamdiskError::TooLarge);
        }
        let got = (&mut self.from).take(count).read_to_end(&mut bytes);
        let got = got.map_err(|_| RamdiskError::Gzip)?;
        self.at += got as u64;
        if got as u64 == count {
            Ok(bytes)
        } else {
            Err(RamdiskError::Truncated { at: self.at })
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), RamdiskError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) => return Err(RamdiskError::Truncated { at: self.at }),
                Ok(got) => {
                    filled += got;
                    self.at += got as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(RamdiskError::Gzip),
            }
        }
        if self.at > INFLATED_BYTES_MAX {
            Err(RamdiskError::TooLarge)
        } else {
            Ok(())
        }
    }

    fn align(&mut self) -> Result<(), RamdiskError> {
        let mut padding = [0; 3];
        let count = (self.at.wrapping_neg() % 4) as usize;
        match padding.get_mut(..count) {
            Some(padding) => self.exact(padding),
            None => Ok(()),
        }
    }

    /// Skips zeros; true if something else follows.
    fn skip_zeros(&mut self) -> Result<bool, RamdiskError> {
        loop {
            let ahead = self.from.fill_buf().map_err(|_| RamdiskError::Gzip)?;
            if ahead.is_empty() {
                return Ok(false);
            }
            let zeros = ahead.iter().position(|byte| *byte != 0);
            let skipped = zeros.unwrap_or(ahead.len());
            self.from.consume(skipped);
            self.at += skipped as u64;
            if self.at > INFLATED_BYTES_MAX {
                return Err(RamdiskError::TooLarge);
            }
            if zeros.is_some() {
                return Ok(true);
            }
        }
    }
}

/// Device's major and minor number, inode number.
type InodeId = (u32, u32, u32);

/// An entry, and the inode it shares with others if it says so.
fn entry(
    path: String,
    fields: &Fields,
    content: Vec<u8>,
) -> Result<(Entry, Option<InodeId>), RamdiskError> {
    let file_type = fields.mode() & TYPE_MASK;
    if !matches!(file_type, REGULAR | SYMLINK) && !content.is_empty() {
        return Err(RamdiskError::Content { path });
    }
    let (major, minor) = fields.device();
    let kind = match file_type {
        REGULAR => EntryKind::File(content),
        DIRECTORY => EntryKind::Directory,
        SYMLINK => match String::from_utf8(content) {
            Ok(target)
                if !target.is_empty()
                    && target.len() < PATH_BYTES_MAX as usize
                    && !target.contains('\0') =>
            {
                EntryKind::Symlink(target)
            }
            _ => return Err(RamdiskError::Target { path }),
        },
        CHAR_DEVICE => EntryKind::CharDevice { major, minor },
        BLOCK_DEVICE => EntryKind::BlockDevice { major, minor },
        FIFO => EntryKind::Fifo,
        SOCKET => EntryKind::Socket,
        _ => {
            return Err(RamdiskError::Mode {
                path,
                mode: fields.mode(),
            });
        }
    };
    let mode = fields.mode() & 0o7777;
    if fields.mode() & !(TYPE_MASK | 0o7777) != 0 {
        return Err(RamdiskError::Mode {
            path,
            mode: fields.mode(),
        });
    }
    let shared = (file_type == REGULAR && fields.links() > 1).then(|| fields.inode());
    let [_, _, uid, gid, _, mtime_secs, ..] = fields.0;
    Ok((
        Entry {
            path,
            mode,
            uid,
            gid,
            mtime_secs,
            kind,
        },
        shared,
    ))
}

/// Among files of one inode, the last with content holds it, and the empty ones
/// are other names of it.
fn link_hard_links(entries: &mut [(Entry, Option<InodeId>)]) {
    let mut holders: BTreeMap<InodeId, usize> = BTreeMap::new();
    let is_empty =
        |entry: &Entry| matches!(&entry.kind, EntryKind::File(content) if content.is_empty());
    for (index, (entry, inode)) in entries.iter().enumerate() {
        if let Some(inode) = inode {
            holders
                .entry(*inode)
                .and_modify(|holder| {
                    if !is_empty(entry) {
                        *holder = index;
                    }
                })
                .or_insert(index);
        }
    }
    let paths: BTreeMap<InodeId, (usize, String)> = holders
        .into_iter()
        .filter_map(|(inode, index)| {
            entries
                .get(index)
                .map(|(entry, _)| (inode, (index, entry.path.clone())))
        })
        .collect();
    for (index, (entry, inode)) in entries.iter_mut().enumerate() {
        if let Some((holder, path)) = inode.as_ref().and_then(|inode| paths.get(inode))
            && *holder != index
            && is_empty(entry)
        {
            entry.kind = EntryKind::HardLink(path.clone());
        }
    }
}

/// Gzip members behind each other, with zeros between and after them, as Linux
/// accepts and general gzip readers do not.
struct Members<'a> {
    current: Option<GzDecoder<&'a [u8]>>,
}

impl<'a> Members<'a> {
    fn new(ramdisk: &'a [u8]) -> Self {
        Self {
            current: Some(GzDecoder::new(ramdisk)),
        }
    }
}

impl Read for Members<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(member) = self.current.as_mut().filter(|_| !buffer.is_empty()) {
            let got = member.read(buffer)?;
            if got > 0 {
                return Ok(got);
            }
            let rest = self
                .current
                .take()
                .map(GzDecoder::into_inner)
                .unwrap_or_default();
            let next = rest.iter().position(|byte| *byte != 0);
            self.current = next.and_then(|next| rest.get(next..)).map(GzDecoder::new);
        }
        Ok(0)
    }
}
