//! A walk over a DICOM file's element headers that believes no length.
//!
//! Source of truth: PS3.10 §7.1 (file meta information), PS3.5 §7 (element and
//! sequence encoding), §A.4 (encapsulated pixel data), §A.5 (deflated data
//! sets), and CP-246 (`UN` of undefined length holds implicit VR).
//!
//! General parsers reserve what a header declares before they read it: 674 bytes
//! can ask for 3.5 GiB. This walk allocates nothing but the index of the few
//! elements the image needs, as slices of the input; a length beyond the bytes
//! that remain, an unknown VR, nesting beyond the limit or a sequence that is
//! not made of items ends it. Only those slices go further, never the file.
//!
//! Not modelled: elements after the pixel data (trailing padding, signatures;
//! nothing reads them), files without preamble and meta information, and the
//! inside of implicit-VR sequences of defined length other than the lookup
//! tables, which only a data dictionary could tell from plain values.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

use super::{DicomError, Limits, Tag, TransferSyntax, tags};

/// Where a file's data set begins and how it is encoded.
pub(super) struct Meta {
    pub(super) syntax: TransferSyntax,
    pub(super) data_set_offset: usize,
}

/// One element's value as it stands in the file.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    /// `None` in implicit VR.
    pub(super) vr: Option<[u8; 2]>,
    pub(super) value: &'a [u8],
}

/// The pixel data as it stands in the file.
pub(super) enum PixelBytes<'a> {
    Native {
        vr: Option<[u8; 2]>,
        bytes: &'a [u8],
    },
    /// The fragments behind the basic offset table.
    Encapsulated(Vec<&'a [u8]>),
}

/// Which element: of the data set itself, or of the first item of a sequence in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Top(Tag),
    FirstItem { sequence: Tag, tag: Tag },
}

/// The elements an image is made of.
pub(super) struct Scan<'a> {
    pub(super) big_endian: bool,
    pub(super) elements: BTreeMap<Place, Element<'a>>,
    pub(super) pixels: Option<PixelBytes<'a>>,
}

/// Length of the preamble before `DICM`.
const PREAMBLE: usize = 128;

pub(super) fn has_magic(bytes: &[u8]) -> bool {
    bytes.get(PREAMBLE..PREAMBLE + 4) == Some(b"DICM")
}

/// Reads the file meta information.
pub(super) fn meta(bytes: &[u8]) -> Result<Meta, DicomError> {
    let mut at = PREAMBLE + 4;
    let mut declared_end = None;
    let mut syntax = None;
    // The group ends where its length says, or where another group begins: a
    // deflated stream may begin with the bytes of group 2.
    while at < bytes.len() && declared_end != Some(at) {
        let header = Header::read(bytes, at, bytes.len(), Encoding::ExplicitLittle)?;
        if header.tag.0 != 2 {
            break;
        }
        let end = header.end(bytes.len())?;
        let value = bytes.get(header.value_at..end).unwrap_or_default();
        match header.tag {
            tags::META_LENGTH => {
                let length = value.try_into().map(u32::from_le_bytes);
                declared_end = length
                    .ok()
                    .and_then(|length| end.checked_add(length as usize));
            }
            tags::TRANSFER_SYNTAX if syntax.is_none() => syntax = Some(value),
            tags::TRANSFER_SYNTAX => return Err(DicomError::Repeated { tag: header.tag }),
            _ => {}
        }
        at = end;
    }
    let uid = syntax.ok_or(DicomError::Missing {
        tag: tags::TRANSFER_SYNTAX,
    })?;
    Ok(Meta {
        syntax: TransferSyntax::from_uid(uid)?,
        data_set_offset: at,
    })
}

/// Inflates a deflated data set, up to `limits.inflated_bytes_max`, and looks at it
/// on the way: what is made of too many pieces is not inflated to its end.
pub(super) fn inflate(deflated: &[u8], limits: &Limits) -> Result<Vec<u8>, DicomError> {
    const FIRST_LOOK_BYTES: u64 = 1 << 20;
    let bytes_max = limits.inflated_bytes_max as u64;
    let mut inflated = Vec::new();
    let mut decoder = DeflateDecoder::new(deflated);
    let mut until = FIRST_LOOK_BYTES;
    loop {
        // Memory follows what has come out so far; a bomb stops one byte too far.
        let until_now = until.min(bytes_max.saturating_add(1));
        let more = until_now.saturating_sub(inflated.len() as u64);
        let read = decoder.by_ref().take(more).read_to_end(&mut inflated);
        read.map_err(DicomError::Inflate)?;
        if inflated.len() as u64 > bytes_max {
            return Err(DicomError::InflatedTooLarge { bytes_max });
        }
        if (inflated.len() as u64) < until_now {
            return Ok(inflated);
        }
        // What ends here in the middle of an element is no error yet.
        if let Err(error) = scan(&inflated, TransferSyntax::Deflated, limits)
            && error.is_about_numbers()
        {
            return Err(error);
        }
        until = until.saturating_mul(2);
    }
}

/// Walks a data set up to and including its pixel data.
pub(super) fn scan<'a>(
    data_set: &'a [u8],
    syntax: TransferSyntax,
    limits: &Limits,
) -> Result<Scan<'a>, DicomError> {
    let encoding = match syntax {
        TransferSyntax::ImplicitLittleEndian => Encoding::Implicit,
        TransferSyntax::ExplicitBigEndian => Encoding::ExplicitBig,
        _ => Encoding::ExplicitLittle,
    };
    let scan = Scan {
        big_endian: encoding == Encoding::ExplicitBig,
        elements: BTreeMap::new(),
        pixels: None,
    };
    let mut walk = Walk {
        bytes: data_set,
        limits: *limits,
        elements: 0,
        items: 0,
        path: Vec::new(),
        scan,
    };
    walk.data_set(0, data_set.len(), Until::End, encoding)?;
    Ok(walk.scan)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Implicit,
    ExplicitLittle,
    ExplicitBig,
}

/// What ends a data set or a sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    End,
    Delimiter,
}

struct Header {
    tag: Tag,
    vr: Option<[u8; 2]>,
    /// `None`: undefined (FFFFFFFF).
    length: Option<u32>,
    /// Where the value begins.
    value_at: usize,
}

/// VRs whose explicit length has two bytes, PS3.5 table 7.1-2.
const SHORT_VRS: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];
/// VRs with two reserved bytes and a length of four, PS3.5 table 7.1-1.
const LONG_VRS: [&[u8; 2]; 13] = [
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
];

impl Header {
    fn read(bytes: &[u8], at: usize, end: usize, encoding: Encoding) -> Result<Header, DicomError> {
        let truncated = DicomError::Truncated { offset: at };
        let rest = bytes.get(at..end).unwrap_or_default();
        let Some((start, rest)) = rest.split_first_chunk::<8>() else {
            return Err(truncated);
        };
        let [g0, g1, e0, e1, v0, v1, l0, l1] = *start;
        let big = encoding == Encoding::ExplicitBig;
        let short = |a, b| {
            if big {
                u16::from_be_bytes([a, b])
            } else {
                u16::from_le_bytes([a, b])
            }
        };
        let long = |b| {
            if big {
                u32::from_be_bytes(b)
            } else {
                u32::from_le_bytes(b)
            }
        };
        let tag = Tag(short(g0, g1), short(e0, e1));
        let vr = [v0, v1];
        // Items and delimiters never have a VR.
        let (vr, length, size) = if encoding == Encoding::Implicit || tag.0 == 0xFFFE {
            (None, long([v0, v1, l0, l1]), 8)
        } else if SHORT_VRS.contains(&&vr) {
            (Some(vr), u32::from(short(l0, l1)), 8)
        } else if LONG_VRS.contains(&&vr) {
            let Some((length, _)) = rest.split_first_chunk::<4>() else {
                return Err(truncated);
            };
            (Some(vr), long(*length), 12)
        } else {
            return Err(DicomError::UnknownVr { tag, offset: at });
        };
        let short_length = size == 8 && vr.is_some();
        let undefined = length == u32::MAX && !short_length;
        Ok(Header {
            tag,
            vr,
            length: (!undefined).then_some(length),
            value_at: at + size,
        })
    }

    /// Where the value ends, if it does so before `end`.
    fn end(&self, end: usize) -> Result<usize, DicomError> {
        let Some(length) = self.length else {
            return Err(DicomError::UndefinedLength {
                tag: self.tag,
                offset: self.value_at,
            });
        };
        let remaining = end.saturating_sub(self.value_at);
        match usize::try_from(length) {
            Ok(length) if length <= remaining => Ok(self.value_at + length),
            _ => Err(DicomError::LengthBeyondEnd {
                tag: self.tag,
                declared: length,
                remaining: remaining as u64,
            }),
        }
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    limits: Limits,
    /// How many there were so far, at every depth.
    elements: u32,
    items: u32,
    /// The sequences around the current element, and which item of each.
    path: Vec<(Tag, usize)>,
    scan: Scan<'a>,
}

impl<'a> Walk<'a> {
    /// Walks elements from `at`; returns where they ended.
    fn data_set(
        &mut self,
        mut at: usize,
        end: usize,
        until: Until,
        encoding: Encoding,
    ) -> Result<usize, DicomError> {
        loop {
            if at == end && until == Until::End {
                return Ok(at);
            }
            let header = Header::read(self.bytes, at, end, encoding)?;
            if header.tag == tags::ITEM_DELIMITER
                && until == Until::Delimiter
                && header.length == Some(0)
            {
                return Ok(header.value_at);
            }
            if header.tag.0 == 0xFFFE {
                return Err(DicomError::BrokenSequence { offset: at });
            }
            self.elements += 1;
            let elements_max = self.limits.elements_max;
            if self.elements > elements_max {
                return Err(DicomError::TooManyElements { elements_max });
            }
            let top_pixels = header.tag == tags::PIXEL_DATA && self.path.is_empty();
            at = match (header.length, header.vr.as_ref()) {
                (None, Some(b"OB" | b"OW")) if header.tag == tags::PIXEL_DATA => {
                    let (fragments, after) = self.fragments(header.value_at, end)?;
                    if top_pixels {
                        self.scan.pixels = Some(PixelBytes::Encapsulated(fragments));
                    }
                    after
                }
                (None, None | Some(b"SQ" | b"UN")) => {
                    // CP-246: inside UN of undefined length the VR is implicit.
                    let unknown = header.vr == Some(*b"UN");
                    let inner = if unknown {
                        Encoding::Implicit
                    } else {
                        encoding
                    };
                    let (tag, start) = (header.tag, header.value_at);
                    let after = self.sequence(tag, start, end, Until::Delimiter, inner)?;
                    self.keep(&header, start)?;
                    after
                }
                (None, Some(_)) => {
                    return Err(DicomError::UndefinedLength {
                        tag: header.tag,
                        offset: at,
                    });
                }
                (Some(_), vr) => {
                    let value_end = header.end(end)?;
                    let table = tags::LOOKUP_TABLES.contains(&header.tag);
                    if vr == Some(b"SQ") || vr.is_none() && table {
                        let (tag, start) = (header.tag, header.value_at);
                        self.sequence(tag, start, value_end, Until::End, encoding)?;
                    }
                    self.keep(&header, value_end)?;
                    value_end
                }
            };
            if top_pixels {
                return Ok(at);
            }
        }
    }

    /// Walks the items of a sequence; returns where it ended.
    fn sequence(
        &mut self,
        tag: Tag,
        mut at: usize,
        end: usize,
        until: Until,
        encoding: Encoding,
    ) -> Result<usize, DicomError> {
        let nesting_max = self.limits.nesting_max;
        if self.path.len() as u64 >= u64::from(nesting_max) {
            return Err(DicomError::NestedTooDeep { nesting_max });
        }
        for item in 0.. {
            if at == end && until == Until::End {
                return Ok(at);
            }
            let header = Header::read(self.bytes, at, end, encoding)?;
            match (header.tag, header.length) {
                (tags::SEQUENCE_DELIMITER, Some(0)) if until == Until::Delimiter => {
                    return Ok(header.value_at);
                }
                (tags::ITEM, length) => {
                    self.items += 1;
                    let items_max = self.limits.items_max;
                    if self.items > items_max {
                        return Err(DicomError::TooManyItems { items_max });
                    }
                    let (item_end, item_until) = match length {
                        Some(_) => (header.end(end)?, Until::End),
                        None => (end, Until::Delimiter),
                    };
                    self.path.push((tag, item));
                    at = self.data_set(header.value_at, item_end, item_until, encoding)?;
                    self.path.pop();
                }
                _ => return Err(DicomError::BrokenSequence { offset: at }),
            }
        }
        Ok(at)
    }

    /// The fragments of encapsulated pixel data, without the offset table.
    fn fragments(&self, mut at: usize, end: usize) -> Result<(Vec<&'a [u8]>, usize), DicomError> {
        let mut fragments = Vec::new();
        let mut offset_table_seen = false;
        loop {
            // Encapsulation is always explicit VR little endian (PS3.5 §A.4).
            let header = Header::read(self.bytes, at, end, Encoding::ExplicitLittle)?;
            match (header.tag, header.length) {
                (tags::SEQUENCE_DELIMITER, Some(0)) => return Ok((fragments, header.value_at)),
                (tags::ITEM, Some(_)) => {
                    at = header.end(end)?;
                    if offset_table_seen {
                        let fragments_max = self.limits.fragments_max;
                        if fragments.len() as u64 >= u64::from(fragments_max) {
                            return Err(DicomError::TooManyFragments { fragments_max });
                        }
                        fragments.extend(self.bytes.get(header.value_at..at));
                    }
                    offset_table_seen = true;
                }
                _ => return Err(DicomError::BrokenSequence { offset: at }),
            }
        }
    }

    fn keep(&mut self, header: &Header, value_end: usize) -> Result<(), DicomError> {
        let tag = header.tag;
        let value = self
            .bytes
            .get(header.value_at..value_end)
            .unwrap_or_default();
        let place = match *self.path.as_slice() {
            [] if tag == tags::PIXEL_DATA => {
                self.scan.pixels = Some(PixelBytes::Native {
                    vr: header.vr,
                    bytes: value,
                });
                return Ok(());
            }
            [] if tags::WANTED.contains(&tag) => Place::Top(tag),
            [(sequence, 0)]
                if tags::LOOKUP_TABLES.contains(&sequence)
                    && [tags::LUT_DESCRIPTOR, tags::LUT_DATA].contains(&tag) =>
            {
                Place::FirstItem { sequence, tag }
            }
            _ => return Ok(()),
        };
        let element = Element {
            vr: header.vr,
            value,
        };
        match self.scan.elements.insert(place, element) {
            // Which of two the uploader meant is a guess.
            Some(_) => Err(DicomError::Repeated { tag }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
