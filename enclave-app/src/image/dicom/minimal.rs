//! The data set that dicom-rs gets to see: the attributes of the image and its
//! one compressed frame, written here in explicit VR little endian.
//!
//! Source of truth: PS3.10 §7.1, PS3.5 §7.1.2 and §A.4. Not modelled: anything
//! that a pixel decoder does not ask for.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_pixeldata::PixelDecoder;

use super::description::{Colour, Description, Space};
use super::{DicomError, Tag, TransferSyntax, tags};

/// Decodes one compressed frame whose header has been checked; gives native
/// little-endian samples, interleaved.
pub(super) fn decode(
    frame: &[u8],
    syntax: TransferSyntax,
    description: &Description,
) -> Result<Vec<u8>, DicomError> {
    let head = head(frame.len(), syntax, description)?;
    let padding: &[u8] = if frame.len() % 2 == 1 { &[0] } else { &[] };
    let file = head.chain(frame).chain(padding).chain(&SEQUENCE_END[..]);
    // The decoders behind dicom-rs are translated C and index without checks in
    // places; a panic there refuses this image and leaves the enclave running.
    // Nothing is shared with the closure that could be left half changed.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let object = dicom_object::from_reader(file).map_err(decoder)?;
        let pixels = object.decode_pixel_data_frame(0).map_err(decoder)?;
        Ok(pixels.into_data())
    }));
    decoded.unwrap_or(Err(DicomError::DecoderPanicked))
}

fn decoder(error: impl std::error::Error + Send + Sync + 'static) -> DicomError {
    DicomError::Decoder(Box::new(error))
}

const SEQUENCE_END: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];

/// Everything up to the frame's first byte.
fn head(
    frame_length: usize,
    syntax: TransferSyntax,
    description: &Description,
) -> Result<std::io::Cursor<Vec<u8>>, DicomError> {
    let sample = description.sample;
    let (photometric, planar) = match description.colour {
        Colour::Gray { .. } => ("MONOCHROME2", false),
        Colour::Three {
            space: Space::Rgb, ..
        } => ("RGB", true),
        Colour::Three {
            space: Space::YbrWavelet,
            ..
        } => ("YBR_RCT", true),
        Colour::Three {
            space: Space::YbrFull,
            ..
        } => ("YBR_FULL", true),
        Colour::Three {
            space: Space::YbrFull422,
            ..
        } => ("YBR_FULL_422", true),
    };
    let mut group2 = Vec::new();
    // A nameless instance of Secondary Capture; the decoders do not look.
    long(&mut group2, Tag(2, 1), *b"OB", &[0, 1]);
    text(&mut group2, Tag(2, 2), *b"UI", "1.2.840.10008.5.1.4.1.1.7");
    text(&mut group2, Tag(2, 3), *b"UI", "2.25.1");
    text(&mut group2, tags::TRANSFER_SYNTAX, *b"UI", syntax.uid());
    text(&mut group2, Tag(2, 0x12), *b"UI", "2.25.1");

    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    let group2_length = u32::try_from(group2.len()).map_err(|_| DicomError::Codestream)?;
    element(
        &mut file,
        tags::META_LENGTH,
        *b"UL",
        &group2_length.to_le_bytes(),
    );
    file.append(&mut group2);
    short(
        &mut file,
        tags::SAMPLES_PER_PIXEL,
        description.colour.samples(),
    );
    text(
        &mut file,
        tags::PHOTOMETRIC_INTERPRETATION,
        *b"CS",
        photometric,
    );
    if planar {
        short(&mut file, tags::PLANAR_CONFIGURATION, 0);
    }
    short(&mut file, tags::ROWS, description.rows);
    short(&mut file, tags::COLUMNS, description.columns);
    short(&mut file, tags::BITS_ALLOCATED, 8 * sample.bytes);
    short(&mut file, tags::BITS_STORED, sample.bits_stored);
    short(&mut file, tags::HIGH_BIT, sample.bits_stored - 1);
    short(&mut file, tags::PIXEL_REPRESENTATION, sample.signed.into());
    // Pixel data of undefined length: an empty offset table, one fragment.
    tag(&mut file, tags::PIXEL_DATA);
    file.extend_from_slice(b"OB\0\0\xFF\xFF\xFF\xFF");
    tag(&mut file, tags::ITEM);
    file.extend_from_slice(&[0; 4]);
    tag(&mut file, tags::ITEM);
    let length = frame_length + frame_length % 2;
    let length = u32::try_from(length).map_err(|_| DicomError::Codestream)?;
    file.extend_from_slice(&length.to_le_bytes());
    Ok(std::io::Cursor::new(file))
}

fn tag(out: &mut Vec<u8>, Tag(group, number): Tag) {
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
}

/// An element with a two-byte length; the values written here are short and even.
fn element(out: &mut Vec<u8>, of: Tag, vr: [u8; 2], value: &[u8]) {
    tag(out, of);
    out.extend_from_slice(&vr);
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
}

/// An element with two reserved bytes and a four-byte length.
fn long(out: &mut Vec<u8>, of: Tag, vr: [u8; 2], value: &[u8]) {
    tag(out, of);
    out.extend_from_slice(&vr);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

fn short(out: &mut Vec<u8>, of: Tag, value: u16) {
    element(out, of, *b"US", &value.to_le_bytes());
}

/// Text padded to an even length: UIDs with a zero, the rest with a space.
fn text(out: &mut Vec<u8>, of: Tag, vr: [u8; 2], value: &str) {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == *b"UI" { 0 } else { b' ' });
    }
    element(out, of, vr, &value);
}
