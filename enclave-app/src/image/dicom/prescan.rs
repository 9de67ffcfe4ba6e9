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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXPLICIT: TransferSyntax = TransferSyntax::ExplicitLittleEndian;
    const IMPLICIT: TransferSyntax = TransferSyntax::ImplicitLittleEndian;

    fn explicit(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes(), *vr].concat();
        if LONG_VRS.contains(&vr) {
            bytes.extend_from_slice(&[0, 0]);
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        } else {
            bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        }
        bytes.extend_from_slice(value);
        bytes
    }

    /// Eight bytes: an item, a delimiter, or any element in implicit VR.
    fn implicit(tag: Tag, length: u32) -> Vec<u8> {
        let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes
    }

    fn undefined(tag: Tag, vr: &[u8; 2]) -> Vec<u8> {
        let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes(), *vr].concat();
        bytes.extend_from_slice(&[0, 0, 255, 255, 255, 255]);
        bytes
    }

    const SOME_SEQUENCE: Tag = Tag(0x0008, 0x1140);

    /// `depth` sequences of undefined length, each in the item of the one before.
    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            bytes.extend(undefined(SOME_SEQUENCE, b"SQ"));
            bytes.extend(implicit(tags::ITEM, u32::MAX));
        }
        for _ in 0..depth {
            bytes.extend(implicit(tags::ITEM_DELIMITER, 0));
            bytes.extend(implicit(tags::SEQUENCE_DELIMITER, 0));
        }
        bytes
    }

    fn up_to(inflated_bytes_max: usize) -> Limits {
        Limits {
            inflated_bytes_max,
            ..Limits::default()
        }
    }

    fn refusal(data_set: &[u8], syntax: TransferSyntax) -> DicomError {
        match scan(data_set, syntax, &Limits::default()) {
            Ok(_) => panic!("accepted"),
            Err(error) => error,
        }
    }

    #[test]
    fn keeps_the_wanted_elements_and_the_pixels_as_slices() {
        let mut bytes = explicit(Tag(8, 0x60), b"CS", b"DX");
        bytes.extend(explicit(tags::ROWS, b"US", &[2, 0]));
        bytes.extend(explicit(tags::PIXEL_DATA, b"OW", &[1, 2, 3, 4]));
        let scan = scan(&bytes, EXPLICIT, &Limits::default()).unwrap();
        assert_eq!(scan.elements.len(), 1);
        assert_eq!(scan.elements[&Place::Top(tags::ROWS)].value, [2, 0]);
        assert!(matches!(
            scan.pixels,
            Some(PixelBytes::Native {
                bytes: [1, 2, 3, 4],
                ..
            })
        ));
    }

    #[test]
    fn reads_the_same_values_in_implicit_and_big_endian() {
        let mut bytes = implicit(tags::ROWS, 2);
        bytes.extend_from_slice(&[2, 0]);
        assert_eq!(
            scan(&bytes, IMPLICIT, &Limits::default())
                .unwrap()
                .elements
                .len(),
            1
        );
        let big = [0x00, 0x28, 0x00, 0x10, b'U', b'S', 0, 2, 0, 2];
        let scan = scan(&big, TransferSyntax::ExplicitBigEndian, &Limits::default()).unwrap();
        assert!(scan.big_endian);
        assert_eq!(scan.elements[&Place::Top(tags::ROWS)].value, [0, 2]);
    }

    #[test]
    fn refuses_a_length_beyond_the_end_whatever_it_is() {
        for length in [
            5u32,
            100,
            0x7FFF_FFFF,
            0x8000_0000,
            0xFFFF_FFF0,
            0xFFFF_FFFE,
        ] {
            let mut bytes = implicit(tags::PIXEL_DATA, length);
            bytes.extend_from_slice(&[0; 4]);
            assert!(matches!(
                refusal(&bytes, IMPLICIT),
                DicomError::LengthBeyondEnd { declared, remaining: 4, .. } if declared == length
            ));
        }
    }

    #[test]
    fn refuses_an_item_longer_than_its_sequence() {
        let mut items = implicit(tags::ITEM, 100);
        items.extend_from_slice(&[0; 4]);
        let mut bytes = explicit(SOME_SEQUENCE, b"SQ", &items);
        // There is room in the file, not in the sequence.
        bytes.extend_from_slice(&[0; 200]);
        assert!(matches!(
            refusal(&bytes, EXPLICIT),
            DicomError::LengthBeyondEnd {
                declared: 100,
                remaining: 4,
                ..
            }
        ));
    }

    #[test]
    fn counts_elements_items_and_fragments_at_every_depth() {
        let small = Limits {
            elements_max: 10,
            items_max: 10,
            fragments_max: 10,
            ..Limits::default()
        };
        let refused = |bytes: &[u8]| scan(bytes, EXPLICIT, &small).err();
        let element = explicit(Tag(0x29, 1), b"LO", b"");
        assert!(refused(&element.repeat(10)).is_none());
        assert!(matches!(
            refused(&element.repeat(11)),
            Some(DicomError::TooManyElements { elements_max: 10 })
        ));
        let item = |content: &[u8]| {
            [implicit(tags::ITEM, content.len() as u32), content.to_vec()].concat()
        };
        let sequence = |items: &[u8]| explicit(tags::MODALITY_LUT_SEQUENCE, b"SQ", items);
        // One element is the sequence itself.
        assert!(refused(&sequence(&item(&element.repeat(9)))).is_none());
        assert!(matches!(
            refused(&sequence(&item(&element.repeat(10)))),
            Some(DicomError::TooManyElements { .. })
        ));
        assert!(refused(&sequence(&item(b"").repeat(10))).is_none());
        assert!(matches!(
            refused(&sequence(&item(b"").repeat(11))),
            Some(DicomError::TooManyItems { items_max: 10 })
        ));
        let pixels = |fragments: usize| {
            let mut bytes = explicit(tags::PIXEL_DATA, b"OB", b"");
            let length = bytes.len() - 4;
            bytes[length..].fill(0xff);
            // The offset table comes first and is no fragment.
            bytes.extend(implicit(tags::ITEM, 0).repeat(1 + fragments));
            bytes.extend(implicit(tags::SEQUENCE_DELIMITER, 0));
            bytes
        };
        assert!(refused(&pixels(10)).is_none());
        assert!(matches!(
            refused(&pixels(11)),
            Some(DicomError::TooManyFragments { fragments_max: 10 })
        ));
    }

    #[test]
    fn keeps_nothing_of_a_lookup_table_but_what_it_reads() {
        let content: Vec<u8> = (0..1000_u16)
            .flat_map(|number| explicit(Tag(0x29, number), b"LO", b""))
            .chain(explicit(tags::LUT_DATA, b"US", &[1, 0]))
            .collect();
        let item = [implicit(tags::ITEM, content.len() as u32), content].concat();
        let bytes = explicit(tags::MODALITY_LUT_SEQUENCE, b"SQ", &item);
        let scan = scan(&bytes, EXPLICIT, &Limits::default()).unwrap();
        assert_eq!(scan.elements.len(), 2, "the sequence and its data");
    }

    #[test]
    fn nests_as_deep_as_the_limit_and_no_deeper() {
        assert!(scan(&nested(16), EXPLICIT, &Limits::default()).is_ok());
        assert!(matches!(
            refusal(&nested(17), EXPLICIT),
            DicomError::NestedTooDeep { nesting_max: 16 }
        ));
        // Deep enough to end the stack, if it were followed.
        assert!(matches!(
            refusal(&nested(100_000), EXPLICIT),
            DicomError::NestedTooDeep { .. }
        ));
    }

    #[test]
    fn refuses_undefined_lengths_of_plain_values() {
        for vr in [b"OB", b"UT", b"OW"] {
            let bytes = undefined(Tag(9, 0x10), vr);
            assert!(matches!(
                refusal(&bytes, EXPLICIT),
                DicomError::UndefinedLength { .. }
            ));
        }
    }

    #[test]
    fn refuses_sequences_that_never_end() {
        let mut bytes = undefined(SOME_SEQUENCE, b"SQ");
        assert!(matches!(
            refusal(&bytes, EXPLICIT),
            DicomError::Truncated { .. }
        ));
        bytes.extend(implicit(tags::ITEM, u32::MAX));
        assert!(matches!(
            refusal(&bytes, EXPLICIT),
            DicomError::Truncated { .. }
        ));
    }

    #[test]
    fn refuses_what_is_neither_item_nor_delimiter_in_a_sequence() {
        let mut bytes = undefined(SOME_SEQUENCE, b"SQ");
        bytes.extend(explicit(tags::ROWS, b"US", &[2, 0]));
        assert!(matches!(
            refusal(&bytes, EXPLICIT),
            DicomError::BrokenSequence { .. }
        ));
        let stray = implicit(tags::ITEM_DELIMITER, 0);
        assert!(matches!(
            refusal(&stray, EXPLICIT),
            DicomError::BrokenSequence { offset: 0 }
        ));
    }

    #[test]
    fn unknown_sequences_of_undefined_length_hold_implicit_elements() {
        let mut bytes = undefined(Tag(9, 0x10), b"UN");
        bytes.extend(implicit(tags::ITEM, u32::MAX));
        bytes.extend(implicit(Tag(8, 0x1150), 2));
        bytes.extend_from_slice(b"1\0");
        bytes.extend(implicit(tags::ITEM_DELIMITER, 0));
        bytes.extend(implicit(tags::SEQUENCE_DELIMITER, 0));
        bytes.extend(explicit(tags::ROWS, b"US", &[2, 0]));
        assert_eq!(
            scan(&bytes, EXPLICIT, &Limits::default())
                .unwrap()
                .elements
                .len(),
            1
        );
    }

    #[test]
    fn refuses_an_image_attribute_that_occurs_twice() {
        let bytes = explicit(tags::ROWS, b"US", &[2, 0]).repeat(2);
        assert!(matches!(
            refusal(&bytes, EXPLICIT),
            DicomError::Repeated { tag: tags::ROWS }
        ));
    }

    #[test]
    fn takes_fragments_behind_the_offset_table_and_stops_at_the_delimiter() {
        let mut bytes = undefined(tags::PIXEL_DATA, b"OB");
        bytes.extend(implicit(tags::ITEM, 0));
        for fragment in [b"ab", b"cd"] {
            bytes.extend(implicit(tags::ITEM, 2));
            bytes.extend_from_slice(fragment);
        }
        assert!(matches!(
            refusal(&bytes, EXPLICIT),
            DicomError::Truncated { .. }
        ));
        bytes.extend(implicit(tags::SEQUENCE_DELIMITER, 0));
        // Nothing behind the pixel data is read.
        bytes.extend_from_slice(&[7; 3]);
        let scan = scan(&bytes, EXPLICIT, &Limits::default()).unwrap();
        let Some(PixelBytes::Encapsulated(fragments)) = scan.pixels else {
            panic!("native")
        };
        assert_eq!(fragments, [b"ab", b"cd"]);
    }

    #[test]
    fn pixels_inside_a_sequence_are_not_the_image() {
        let mut item = explicit(tags::ROWS, b"US", &[9, 0]);
        item.extend(explicit(tags::PIXEL_DATA, b"OW", &[1, 2]));
        let mut icon = implicit(tags::ITEM, item.len() as u32);
        icon.extend(item);
        let bytes = explicit(Tag(0x88, 0x200), b"SQ", &icon);
        let scan = scan(&bytes, EXPLICIT, &Limits::default()).unwrap();
        assert!(scan.pixels.is_none() && scan.elements.is_empty());
    }

    #[test]
    fn a_bomb_stops_inflating_at_the_limit() {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![0; 1 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 2048);
        assert_eq!(inflate(&bomb, &up_to(1 << 20)).unwrap().len(), 1 << 20);
        assert!(matches!(
            inflate(&bomb, &up_to((1 << 20) - 1)),
            Err(DicomError::InflatedTooLarge {
                bytes_max: 1_048_575
            })
        ));
        assert!(matches!(
            inflate(&bomb[..100], &up_to(1 << 20)),
            Err(DicomError::Inflate(_))
        ));
    }

    #[test]
    fn meta_information_ends_where_its_length_says() {
        let mut group = explicit(tags::TRANSFER_SYNTAX, b"UI", b"1.2.840.10008.1.2.1.99");
        let mut bytes = vec![0; 128];
        bytes.extend_from_slice(b"DICM");
        let length = (group.len() as u32).to_le_bytes();
        bytes.extend(explicit(tags::META_LENGTH, b"UL", &length));
        bytes.append(&mut group);
        let end = bytes.len();
        // A deflated stream that looks like another element of group 2.
        bytes.extend(explicit(Tag(2, 0x13), b"SH", b"xx"));
        let meta = meta(&bytes).unwrap();
        assert_eq!(
            (meta.syntax, meta.data_set_offset),
            (TransferSyntax::Deflated, end)
        );
    }

    /// Bytes that look enough like elements to get far.
    fn plausible() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            (
                0..tags::WANTED.len(),
                proptest::collection::vec(any::<u8>(), 0..8)
            )
                .prop_map(|(at, value)| explicit(tags::WANTED[at], b"US", &value)),
            Just(undefined(SOME_SEQUENCE, b"SQ")),
            Just(undefined(tags::VOI_LUT_SEQUENCE, b"SQ")),
            Just(undefined(tags::PIXEL_DATA, b"OB")),
            Just(undefined(Tag(9, 1), b"UN")),
            Just(implicit(tags::ITEM, u32::MAX)),
            (0u32..20).prop_map(|length| implicit(tags::ITEM, length)),
            Just(implicit(tags::ITEM_DELIMITER, 0)),
            Just(implicit(tags::SEQUENCE_DELIMITER, 0)),
            proptest::collection::vec(any::<u8>(), 0..12),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_walk_ends_without_a_panic(bytes in plausible(), nesting_max in 0u32..8) {
            let limits = Limits { nesting_max, ..Limits::default() };
            let syntaxes = [EXPLICIT, IMPLICIT, TransferSyntax::ExplicitBigEndian];
            for syntax in syntaxes {
                if let Ok(scan) = scan(&bytes, syntax, &limits) {
                    let kept: usize = scan.elements.values().map(|e| e.value.len()).sum();
                    prop_assert!(kept <= bytes.len());
                }
            }
            let mut file = vec![0; 128];
            file.extend_from_slice(b"DICM");
            file.extend_from_slice(&bytes);
            let _ = meta(&file);
        }
    }
}
