//! The bytes of an enclave image file: fixed header, section table, sections.
//!
//! Models: EIF versions 3 and 4, whose header layout is the same (version 4
//! added the metadata section), all integers big-endian. Source of truth: ground
//! truth NSM §3.12 and the `EifHeader` and `EifSectionHeader` structures of the
//! official image-format library (0.8.1).
//!
//! Stricter than the official reader, which walks the sections one after the
//! other and ignores the table, and than QEMU, which trusts the table: here the
//! two must agree, so that no image measures differently in different hands.
//! Versions 1 and 2, which no current tool writes, are refused.

use super::{Architecture, EIF_BYTES_MAX, Eif, EifError, Header, Section, SectionKind};

pub(crate) const MAGIC: [u8; 4] = *b".eif";

/// 4 + 2 + 2 + 8 + 8 + 2 + 2 + 32 × 8 + 32 × 8 + 4 + 4.
pub(crate) const HEADER_BYTES: usize = 548;

/// Type, flags, size.
pub(crate) const SECTION_HEADER_BYTES: usize = 12;

/// The section table has this many slots, used or not.
pub(crate) const SECTIONS_MAX: usize = 32;

/// The checksum is the header's last field and covers every byte of the file
/// but its own four.
const CRC_AT: usize = HEADER_BYTES - 4;

/// The only defined header flag; clear means x86-64.
const FLAG_ARM64: u16 = 1;

/// Takes big-endian integers off the front of a slice.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], EifError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(EifError::TooShort)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, EifError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, EifError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, EifError> {
        self.array().map(u64::from_be_bytes)
    }
}

/// CRC-32 (IEEE) over the file without the checksum field itself.
pub(crate) fn checksum(file: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(file.get(..CRC_AT).unwrap_or(file));
    crc.update(file.get(HEADER_BYTES..).unwrap_or_default());
    crc.sum()
}

/// Reads header and sections; the signature section is not looked into.
pub(crate) fn read(file: &[u8]) -> Result<Eif<'_>, EifError> {
    if u64::try_from(file.len()).is_ok_and(|len| len > EIF_BYTES_MAX) {
        return Err(EifError::TooLarge);
    }
    let mut at = Cursor(file);
    let magic = at.array::<4>()?;
    if magic != MAGIC {
        return Err(EifError::NotAnEif { found: magic });
    }
    let version = at.u16()?;
    if !matches!(version, 3 | 4) {
        return Err(EifError::UnsupportedVersion { version });
    }
    let flags = at.u16()?;
    let default_memory_bytes = at.u64()?;
    let default_cpus = at.u64()?;
    let reserved = at.u16()?;
    let count = at.u16()?;
    let mut table = [(0_u64, 0_u64); SECTIONS_MAX];
    for slot in &mut table {
        slot.0 = at.u64()?;
    }
    for slot in &mut table {
        slot.1 = at.u64()?;
    }
    let unused = at.u32()?;
    let stored = at.u32()?;

    // Before anything is believed: a damaged or shortened file is called that.
    let computed = checksum(file);
    if stored != computed {
        return Err(EifError::Crc { stored, computed });
    }

    let architecture = match flags {
        0 => Architecture::X86_64,
        FLAG_ARM64 => Architecture::Aarch64,
        _ => return Err(EifError::UnknownFlags { flags }),
    };
    if reserved != 0 {
        return Err(EifError::ReservedNotZero { field: "reserved" });
    }
    if unused != 0 {
        return Err(EifError::ReservedNotZero { field: "unused" });
    }
    let (used, unused_slots) =
        table
            .split_at_checked(usize::from(count))
            .ok_or(EifError::TooManySections {
                count: count.into(),
            })?;
    if unused_slots.iter().any(|slot| *slot != (0, 0)) {
        return Err(EifError::ReservedNotZero {
            field: "section table past the last section",
        });
    }

    let mut sections = Vec::with_capacity(used.len());
    for (index, &(offset, size)) in used.iter().enumerate() {
        sections.push(section(file, index, &mut at, offset, size, version)?);
    }
    if !at.0.is_empty() {
        return Err(EifError::TrailingBytes { count: at.0.len() });
    }
    check_kinds(&sections)?;
    Ok(Eif {
        header: Header {
            version,
            architecture,
            default_memory_bytes,
            default_cpus,
        },
        sections,
        signature: None,
    })
}

/// Takes the next section off `at` and holds it against its slot of the table.
fn section<'a>(
    file: &'a [u8],
    index: usize,
    at: &mut Cursor<'a>,
    offset: u64,
    size: u64,
    version: u16,
) -> Result<Section<'a>, EifError> {
    let position = file.len() - at.0.len(); // `at` is always a tail of `file`
    if u64::try_from(position) != Ok(offset) {
        return Err(EifError::SectionNotContiguous {
            index,
            table: offset,
            position,
        });
    }
    let kind = at.u16()?;
    let flags = at.u16()?;
    let stated = at.u64()?;
    if stated != size {
        return Err(EifError::SectionSizeMismatch {
            index,
            table: size,
            section: stated,
        });
    }
    let kind = SectionKind::from_code(kind).ok_or(EifError::UnknownSection { index, kind })?;
    if kind == SectionKind::Metadata && version < 4 {
        return Err(EifError::MetadataBeforeVersion4);
    }
    if flags != 0 {
        return Err(EifError::ReservedNotZero {
            field: "section flags",
        });
    }
    let (data, rest) = usize::try_from(size)
        .ok()
        .and_then(|size| at.0.split_at_checked(size))
        .ok_or(EifError::SectionPastEnd {
            index,
            size,
            left: at.0.len(),
        })?;
    at.0 = rest;
    Ok(Section {
        kind,
        offset: position + SECTION_HEADER_BYTES,
        data,
    })
}

/// One kernel, one command line, a ramdisk at least; the rest at most once.
fn check_kinds(sections: &[Section<'_>]) -> Result<(), EifError> {
    for kind in SectionKind::ALL {
        let count = sections
            .iter()
            .filter(|section| section.kind == kind)
            .count();
        match kind {
            SectionKind::Kernel | SectionKind::Cmdline | SectionKind::Ramdisk if count == 0 => {
                return Err(EifError::MissingSection { kind });
            }
            SectionKind::Ramdisk => {}
            _ if count > 1 => return Err(EifError::RepeatedSection { kind }),
            _ => {}
        }
    }
    Ok(())
}

/// Writes an image file; the inverse of [`read`].
pub(crate) fn write(
    header: &Header,
    sections: &[(SectionKind, &[u8])],
) -> Result<Vec<u8>, EifError> {
    let too_many = || EifError::TooManySections {
        count: sections.len(),
    };
    if sections.len() > SECTIONS_MAX {
        return Err(too_many());
    }
    let count = u16::try_from(sections.len()).map_err(|_| too_many())?;
    let total = sections
        .iter()
        .try_fold(HEADER_BYTES, |sum, (_, data)| {
            sum.checked_add(SECTION_HEADER_BYTES)?
                .checked_add(data.len())
        })
        .filter(|total| u64::try_from(*total).is_ok_and(|total| total <= EIF_BYTES_MAX))
        .ok_or(EifError::TooLarge)?;

    let mut offsets = [0_u64; SECTIONS_MAX];
    let mut sizes = [0_u64; SECTIONS_MAX];
    let mut position = HEADER_BYTES as u64;
    for ((_, data), (offset, size)) in sections.iter().zip(offsets.iter_mut().zip(&mut sizes)) {
        *offset = position;
        *size = data.len() as u64;
        position += SECTION_HEADER_BYTES as u64 + *size;
    }

    let mut file = Vec::with_capacity(total);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&header.version.to_be_bytes());
    let flags = match header.architecture {
        Architecture::X86_64 => 0,
        Architecture::Aarch64 => FLAG_ARM64,
    };
    file.extend_from_slice(&flags.to_be_bytes());
    file.extend_from_slice(&header.default_memory_bytes.to_be_bytes());
    file.extend_from_slice(&header.default_cpus.to_be_bytes());
    file.extend_from_slice(&0_u16.to_be_bytes());
    file.extend_from_slice(&count.to_be_bytes());
    for value in offsets.iter().chain(&sizes) {
        file.extend_from_slice(&value.to_be_bytes());
    }
    file.extend_from_slice(&0_u32.to_be_bytes());
    file.extend_from_slice(&[0; 4]); // the checksum's place
    for (kind, data) in sections {
        file.extend_from_slice(&kind.code().to_be_bytes());
        file.extend_from_slice(&0_u16.to_be_bytes());
        file.extend_from_slice(&(data.len() as u64).to_be_bytes());
        file.extend_from_slice(data);
    }
    let crc = checksum(&file);
    if let Some(place) = file.get_mut(CRC_AT..HEADER_BYTES) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
    Ok(file)
}
