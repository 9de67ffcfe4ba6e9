//! What a compressed frame says about itself, read before a decoder believes it.
//!
//! The decoders allocate and index by the sizes in the codestream, DICOM's
//! attributes give other sizes, and the glue between them trusts both: a frame
//! must declare exactly the rows, columns and samples of its data set before it
//! is decoded.
//!
//! Source of truth: ITU-T T.81 annex B (JPEG markers), ITU-T T.800 annex A
//! (JPEG 2000 codestream). Not modelled: JPEG 2000 files (DICOM wants the bare
//! codestream, PS3.5 §A.4.4), coding styles that a tile overrides.

use super::DicomError;
use super::description::Description;

/// Tiles of one JPEG 2000 frame. Decoders keep state for each; DICOM images
/// have one, or a few hundred at 64 pixels a side.
const TILES_MAX: u64 = 1024;

/// Quality layers of one JPEG 2000 frame. A decoder visits every block once for
/// each; encoders write one, or some twenty.
const LAYERS_MAX: u16 = 64;

/// Smallest exponents of a JPEG 2000 code block (16 pixels a side) and precinct
/// (32). A decoder keeps a hundred bytes and more for each of them, so that the
/// smallest legal ones would cost over a hundred times the pixels.
const CODE_BLOCK_EXPONENT_MIN: u8 = 4;
const PRECINCT_EXPONENT_MIN: u8 = 5;

/// Which JPEG processes a transfer syntax may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// SOF0 or SOF1, 8 bits a sample.
    Sequential,
    /// SOF3.
    Lossless,
}

/// Big-endian reads from the front of a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn short(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    fn long(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    fn skip(&mut self) -> Option<()> {
        self.segment().map(|_| ())
    }

    /// A marker segment's content, behind its two-byte length.
    fn segment(&mut self) -> Option<Reader<'a>> {
        let length = usize::from(self.short()?).checked_sub(2)?;
        let (segment, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Reader(segment))
    }
}

/// Checks a JPEG frame's header against the data set.
pub(super) fn check_jpeg(
    frame: &[u8],
    process: Process,
    description: &Description,
) -> Result<(), DicomError> {
    let header = jpeg_header(frame).ok_or(DicomError::Codestream)?;
    let JpegHeader {
        start,
        precision,
        rows,
        columns,
        components,
    } = header;
    let supported = match process {
        // 12-bit samples are legal in SOF1; the decoder has 8 only.
        Process::Sequential => matches!(start, 0xC0 | 0xC1) && precision == 8,
        Process::Lossless => start == 0xC3,
    };
    if !supported {
        return Err(DicomError::JpegProcess {
            start_of_frame: start,
            precision,
        });
    }
    let size = (rows.into(), columns.into());
    check_size(description, size, components.into(), precision)?;
    // The decoder gives one byte for a sample of up to 8 bits, else two.
    if (precision <= 8) != (description.sample.bytes == 1) {
        return Err(DicomError::CodestreamDiffers);
    }
    Ok(())
}

/// Checks a JPEG 2000 codestream's main header against the data set.
pub(super) fn check_jpeg2000(frame: &[u8], description: &Description) -> Result<(), DicomError> {
    let header = jpeg2000_header(frame).ok_or(DicomError::Codestream)?;
    if !header.uniform {
        return Err(DicomError::CodestreamDiffers);
    }
    let size = (header.rows, header.columns);
    check_size(description, size, header.components, header.precision)?;
    if header.tiles > TILES_MAX
        || header.layers > LAYERS_MAX
        || header.code_block_exponent_min < CODE_BLOCK_EXPONENT_MIN
        || header.precinct_exponent_min < PRECINCT_EXPONENT_MIN
    {
        return Err(DicomError::Fragmented);
    }
    Ok(())
}

fn check_size(
    description: &Description,
    size: (u32, u32),
    components: u16,
    precision: u8,
) -> Result<(), DicomError> {
    let fits = size == (description.rows.into(), description.columns.into())
        && components == description.colour.samples()
        && u16::from(precision) <= 8 * description.sample.bytes;
    if fits {
        Ok(())
    } else {
        Err(DicomError::CodestreamDiffers)
    }
}

struct JpegHeader {
    /// Low byte of the SOF marker.
    start: u8,
    precision: u8,
    rows: u16,
    columns: u16,
    components: u8,
}

/// The frame header, behind tables and application data.
fn jpeg_header(frame: &[u8]) -> Option<JpegHeader> {
    let mut reader = Reader(frame);
    if reader.short()? != 0xFFD8 {
        return None;
    }
    loop {
        if reader.byte()? != 0xFF {
            return None;
        }
        let mut marker = reader.byte()?;
        // Any number of fill bytes may stand before a marker.
        while marker == 0xFF {
            marker = reader.byte()?;
        }
        match marker {
            // DHT, JPG and DAC share the range of the SOF markers.
            0xC4 | 0xC8 | 0xCC => reader.skip()?,
            0xC0..=0xCF => {
                let mut segment = reader.segment()?;
                return Some(JpegHeader {
                    start: marker,
                    precision: segment.byte()?,
                    rows: segment.short()?,
                    columns: segment.short()?,
                    components: segment.byte()?,
                });
            }
            0xDB..=0xFE => reader.skip()?,
            _ => return None,
        }
    }
}

struct Jpeg2000Header {
    rows: u32,
    columns: u32,
    components: u16,
    /// The largest of the components.
    precision: u8,
    /// No component is subsampled.
    uniform: bool,
    tiles: u64,
    layers: u16,
    code_block_exponent_min: u8,
    precinct_exponent_min: u8,
}

/// The main header, SOC to the first SOT.
fn jpeg2000_header(frame: &[u8]) -> Option<Jpeg2000Header> {
    let mut reader = Reader(frame);
    // SOC, and SIZ right behind it (T.800 §A.5.1).
    if reader.long()? != 0xFF4F_FF51 {
        return None;
    }
    let mut header = size_segment(reader.segment()?)?;
    loop {
        match reader.short()? {
            // SOT: the header is over.
            0xFF90 => return Some(header),
            marker @ (0xFF52 | 0xFF53) => {
                let mut segment = reader.segment()?;
                let styled = if marker == 0xFF52 {
                    let style = segment.byte()?;
                    segment.byte()?; // progression order
                    header.layers = header.layers.max(segment.short()?);
                    segment.byte()?; // component transform
                    style
                } else {
                    // COC: the component's index, of one byte or two.
                    if header.components < 257 {
                        segment.byte()?;
                    } else {
                        segment.short()?;
                    }
                    segment.byte()?
                };
                coding_style(&mut header, styled, segment)?;
            }
            0xFF51..=0xFF8F => reader.skip()?,
            _ => return None,
        }
    }
}

fn size_segment(mut segment: Reader<'_>) -> Option<Jpeg2000Header> {
    segment.short()?; // capabilities
    let mut pair = || Some((segment.long()?, segment.long()?));
    let (right, bottom) = pair()?;
    let (left, top) = pair()?;
    let (tile_width, tile_height) = pair()?;
    let (tile_left, tile_top) = pair()?;
    let columns = right.checked_sub(left)?;
    let rows = bottom.checked_sub(top)?;
    if tile_width == 0 || tile_height == 0 {
        return None;
    }
    let across = u64::from(right.checked_sub(tile_left)?.div_ceil(tile_width));
    let down = u64::from(bottom.checked_sub(tile_top)?.div_ceil(tile_height));
    let components = segment.short()?;
    let (mut precision, mut uniform) = (0, components > 0);
    for _ in 0..components {
        precision = precision.max((segment.byte()? & 0x7F) + 1);
        uniform &= segment.short()? == 0x0101;
    }
    Some(Jpeg2000Header {
        rows,
        columns,
        components,
        precision,
        uniform,
        tiles: across * down,
        layers: 0,
        code_block_exponent_min: u8::MAX,
        precinct_exponent_min: u8::MAX,
    })
}

/// The part that COD and COC share: levels, code block, transformation, precincts.
fn coding_style(header: &mut Jpeg2000Header, style: u8, mut segment: Reader<'_>) -> Option<()> {
    let levels = segment.byte()?;
    let block = [segment.byte()?, segment.byte()?];
    segment.short()?; // block style, transformation
    for exponent in block {
        let exponent = (exponent & 0x0F) + 2;
        header.code_block_exponent_min = header.code_block_exponent_min.min(exponent);
    }
    if style & 1 == 1 {
        for _ in 0..=levels.min(32) {
            let exponents = segment.byte()?;
            let smallest = (exponents & 0x0F).min(exponents >> 4);
            header.precinct_exponent_min = header.precinct_exponent_min.min(smallest);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::description::{Colour, Modality, Sample, Voi};
    use super::*;
    use proptest::prelude::*;

    fn description(rows: u16, columns: u16, bytes: u16) -> Description {
        Description {
            rows,
            columns,
            pixels: usize::from(rows) * usize::from(columns),
            colour: Colour::Gray { inverted: false },
            sample: Sample {
                bytes,
                bits_stored: 8 * bytes,
                signed: false,
            },
            modality: Modality::Rescale {
                slope: 1.0,
                intercept: 0.0,
            },
            voi: Voi::FullRange,
        }
    }

    fn jpeg(start: u8, precision: u8, rows: u16, columns: u16, components: u8) -> Vec<u8> {
        // A comment in front, with a fill byte before the frame header.
        let mut bytes = vec![
            0xFF, 0xD8, 0xFF, 0xFE, 0, 4, b'h', b'i', 0xFF, 0xFF, start, 0, 8,
        ];
        bytes.push(precision);
        bytes.extend_from_slice(&rows.to_be_bytes());
        bytes.extend_from_slice(&columns.to_be_bytes());
        bytes.push(components);
        bytes
    }

    /// SOC, SIZ, COD with one precinct size, SOT.
    fn jpeg2000(columns: u32, rows: u32, tile: u32, block: u8, precinct: u8) -> Vec<u8> {
        let mut bytes = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        for value in [columns, rows, 0, 0, tile, tile, 0, 0] {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.extend_from_slice(&[0, 1, 15, 1, 1]);
        bytes.extend_from_slice(&[
            0xFF, 0x52, 0, 13, 1, 0, 0, 1, 0, 0, block, block, 0, 1, precinct,
        ]);
        bytes.extend_from_slice(&[0xFF, 0x90]);
        bytes
    }

    #[test]
    fn a_jpeg_frame_must_be_what_the_data_set_declares() {
        let check = |frame: &[u8], process| check_jpeg(frame, process, &description(30, 40, 1));
        assert!(check(&jpeg(0xC0, 8, 30, 40, 1), Process::Sequential).is_ok());
        assert!(check(&jpeg(0xC3, 8, 30, 40, 1), Process::Lossless).is_ok());
        for frame in [
            jpeg(0xC0, 8, 31, 40, 1),
            jpeg(0xC0, 8, 30, 41, 1),
            jpeg(0xC0, 8, 30, 40, 3),
        ] {
            let result = check(&frame, Process::Sequential);
            assert!(matches!(result, Err(DicomError::CodestreamDiffers)));
        }
        // Deeper samples than the data set has room for.
        let result = check(&jpeg(0xC3, 16, 30, 40, 1), Process::Lossless);
        assert!(matches!(result, Err(DicomError::CodestreamDiffers)));
    }

    #[test]
    fn only_the_processes_of_the_transfer_syntax_are_decoded() {
        let description = description(30, 40, 2);
        for (start, precision, process) in [
            (0xC1, 12, Process::Sequential),
            (0xC2, 8, Process::Sequential),
            (0xC3, 16, Process::Sequential),
            (0xC0, 8, Process::Lossless),
            (0xC9, 8, Process::Sequential),
        ] {
            let result = check_jpeg(&jpeg(start, precision, 30, 40, 1), process, &description);
            assert!(
                matches!(result, Err(DicomError::JpegProcess { .. })),
                "{start:X}"
            );
        }
    }

    #[test]
    fn a_jpeg2000_frame_must_be_what_the_data_set_declares() {
        let description = description(30, 40, 2);
        assert!(check_jpeg2000(&jpeg2000(40, 30, 64, 4, 0x77), &description).is_ok());
        // A bomb: 4,295 million times the declared pixels.
        let huge = jpeg2000(u32::MAX, u32::MAX, u32::MAX, 4, 0x77);
        assert!(matches!(
            check_jpeg2000(&huge, &description),
            Err(DicomError::CodestreamDiffers)
        ));
        let mut subsampled = jpeg2000(40, 30, 64, 4, 0x77);
        subsampled[43] = 2;
        assert!(matches!(
            check_jpeg2000(&subsampled, &description),
            Err(DicomError::CodestreamDiffers)
        ));
    }

    #[test]
    fn refuses_jpeg2000_frames_of_tiny_pieces() {
        let description = description(300, 400, 2);
        assert!(check_jpeg2000(&jpeg2000(400, 300, 400, 4, 0x77), &description).is_ok());
        for (tile, block, precinct) in
            [(1, 4, 0x77), (400, 0, 0x77), (400, 4, 0x71), (400, 4, 0x17)]
        {
            let frame = jpeg2000(400, 300, tile, block, precinct);
            let result = check_jpeg2000(&frame, &description);
            assert!(
                matches!(result, Err(DicomError::Fragmented)),
                "{tile} {block} {precinct:X}"
            );
        }
    }

    #[test]
    fn refuses_jpeg2000_frames_of_very_many_layers() {
        let description = description(300, 400, 2);
        let mut frame = jpeg2000(400, 300, 400, 4, 0x77);
        let cod = frame
            .windows(2)
            .position(|pair| pair == [0xFF, 0x52])
            .unwrap();
        frame[cod + 6..cod + 8].copy_from_slice(&LAYERS_MAX.to_be_bytes());
        assert!(check_jpeg2000(&frame, &description).is_ok());
        frame[cod + 6..cod + 8].copy_from_slice(&(LAYERS_MAX + 1).to_be_bytes());
        assert!(matches!(
            check_jpeg2000(&frame, &description),
            Err(DicomError::Fragmented)
        ));
    }

    #[test]
    fn refuses_headers_cut_anywhere() {
        let description = description(30, 40, 2);
        let frame = jpeg2000(40, 30, 64, 4, 0x77);
        for length in 0..frame.len() {
            assert!(
                check_jpeg2000(&frame[..length], &description).is_err(),
                "{length}"
            );
        }
        let frame = jpeg(0xC3, 16, 30, 40, 1);
        // The segment's declared length covers the whole header.
        for length in 0..frame.len() {
            assert!(check_jpeg(&frame[..length], Process::Lossless, &description).is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_any_header(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let description = description(30, 40, 2);
            for mut frame in [jpeg2000(40, 30, 64, 4, 0x77), jpeg(0xC3, 16, 30, 40, 1)] {
                for (at, value) in &changes {
                    let at = at.index(frame.len());
                    frame[at] = *value;
                }
                let _ = check_jpeg2000(&frame, &description);
                let _ = check_jpeg(&frame, Process::Lossless, &description);
            }
        }
    }
}
