//! Writing ramdisks, the same bytes for the same entries.

use std::{collections::BTreeMap, io::Write as _};

use flate2::{Compression, GzBuilder};

use super::*;

/// Writes a plain archive. The same entries always give the same bytes: inode
/// numbers count up from 1 and nothing else is added.
///
/// # Errors
/// If an entry cannot be represented.
pub fn write_cpio(entries: &[Entry]) -> Result<Vec<u8>, RamdiskError> {
    let mut archive = Vec::new();
    let inodes = Inodes::new(entries)?;
    for (index, entry) in entries.iter().enumerate() {
        let unwritable = || RamdiskError::Unwritable {
            path: entry.path.clone(),
        };
        let (file_type, content, (major, minor)): (u32, &[u8], (u32, u32)) = match &entry.kind {
            EntryKind::File(content) => (REGULAR, content, (0, 0)),
            EntryKind::HardLink(_) => (REGULAR, &[], (0, 0)),
            EntryKind::Directory => (DIRECTORY, &[], (0, 0)),
            EntryKind::Symlink(target) => (SYMLINK, target.as_bytes(), (0, 0)),
            EntryKind::CharDevice { major, minor } => (CHAR_DEVICE, &[], (*major, *minor)),
            EntryKind::BlockDevice { major, minor } => (BLOCK_DEVICE, &[], (*major, *minor)),
            EntryKind::Fifo => (FIFO, &[], (0, 0)),
            EntryKind::Socket => (SOCKET, &[], (0, 0)),
        };
        let name_ok = !entry.path.is_empty()
            && entry.path != TRAILER
            && !entry.path.contains('\0')
            && entry.path.len() < PATH_BYTES_MAX as usize;
        let target_ok = match &entry.kind {
            EntryKind::Symlink(target) => {
                !target.is_empty()
                    && !target.contains('\0')
                    && target.len() < PATH_BYTES_MAX as usize
            }
            _ => true,
        };
        if !name_ok || !target_ok || entry.mode > 0o7777 {
            return Err(unwritable());
        }
        let size = u32::try_from(content.len()).map_err(|_| unwritable())?;
        let (inode, links) = inodes.of(index);
        push_entry(
            &mut archive,
            &entry.path,
            content,
            &[
                inode,
                file_type | entry.mode,
                entry.uid,
                entry.gid,
                links,
                entry.mtime_secs,
                size,
                0,
                0,
                major,
                minor,
            ],
        );
    }
    push_entry(
        &mut archive,
        TRAILER,
        &[],
        &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    );
    archive.resize(archive.len().next_multiple_of(BLOCK_BYTES), 0);
    Ok(archive)
}

/// Writes an archive as one gzip member without name or time.
///
/// # Errors
/// If an entry cannot be represented.
pub fn write_cpio_gz(entries: &[Entry]) -> Result<Vec<u8>, RamdiskError> {
    let archive = write_cpio(entries)?;
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    // A `Vec` takes every write.
    gzip.write_all(&archive)
        .and_then(|()| gzip.finish())
        .map_err(|_| RamdiskError::Gzip)
}

pub(super) fn push_entry(archive: &mut Vec<u8>, path: &str, content: &[u8], fields: &[u32; 11]) {
    archive.extend_from_slice(b"070701");
    let name_bytes = u32::try_from(path.len() + 1).expect("a path is below PATH_BYTES_MAX");
    for field in fields.iter().chain(&[name_bytes, 0]) {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// Inode number and link count of every entry that is written.
struct Inodes(Vec<(u32, u32)>);

impl Inodes {
    fn new(entries: &[Entry]) -> Result<Self, RamdiskError> {
        if entries.len() > ENTRIES_MAX {
            return Err(RamdiskError::TooManyEntries);
        }
        let files: BTreeMap<&str, usize> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| matches!(entry.kind, EntryKind::File(_)))
            .map(|(index, entry)| (entry.path.as_str(), index))
            .collect();
        let mut holder: Vec<usize> = (0..entries.len()).collect();
        let mut links = vec![1_u32; entries.len()];
        for ((index, entry), holder) in entries.iter().enumerate().zip(&mut holder) {
            if let EntryKind::HardLink(to) = &entry.kind {
                let file = files
                    .get(to.as_str())
                    .copied()
                    .filter(|file| *file != index)
                    .ok_or_else(|| RamdiskError::HardLink {
                        path: entry.path.clone(),
                    })?;
                *holder = file;
                if let Some(links) = links.get_mut(file) {
                    *links += 1;
                }
            }
        }
        Ok(Self(
            holder
                .into_iter()
                .map(|holder| {
                    let inode = u32::try_from(holder + 1).expect("at most ENTRIES_MAX entries");
                    (inode, links.get(holder).copied().unwrap_or(1))
                })
                .collect(),
        ))
    }

    fn of(&self, index: usize) -> (u32, u32) {
        self.0.get(index).copied().unwrap_or((0, 1))
    }
}
