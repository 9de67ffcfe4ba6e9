//! Headers that lie, sequences without end, and what of a file is kept.

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
    let item =
        |content: &[u8]| [implicit(tags::ITEM, content.len() as u32), content.to_vec()].concat();
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
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
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
