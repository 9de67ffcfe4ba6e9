//! JPEG to 8-bit gray: baseline, extended sequential and progressive Huffman
//! files of 8-bit samples.
//!
//! Source of truth: ITU-T T.81, JFIF and Adobe's APP14 for the colour space, and
//! libjpeg for the rounding of the inverse transform (see `idct`). The gray of a
//! colour file is its luma channel; where Pillow's `convert("L")` goes through
//! RGB and back, saturated colours may differ by a level or two.
//!
//! Written here because the decoders at hand round the transform differently:
//! measured on the ninety JPEGs of the corpus, that alone moved the model's
//! answer by 1.8e-3 (`zune-jpeg` 0.5) and 2.8e-3 (`jpeg-decoder` 0.3).
//!
//! Not modelled, and refused: lossless, hierarchical and arithmetic processes,
//! 12-bit samples, CMYK and RGB-coded files, luma that is subsampled itself, and
//! damaged or truncated data, which lenient decoders fill with gray.

mod entropy;
mod idct;
mod scan;

use thiserror::Error;

use self::entropy::Huffman;
use self::scan::{Band, Coefficients, Selected};
use super::{DecodeError, GrayImage, ImageFault, ImageFormat, Limits};

/// Scans of one file. Progressive encoders write about ten; each further one
/// costs a pass over the image for a few bytes.
const SCANS_MAX: u32 = 64;

/// Pixels times scans: what the largest image costs in 16 scans, of which an ordinary
/// progressive one has six for luma.
const PIXEL_SCANS_MAX: u64 = 1 << 29;

/// Natural (row by row) position of each coefficient in zigzag order, T.81
/// figure A.6.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Why a JPEG file was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JpegError {
    /// The data ends before the image does.
    #[error("the file is truncated")]
    Truncated,
    /// Markers, tables or codes that contradict the standard or each other.
    #[error("the file is damaged")]
    Damaged,
    /// Lossless, hierarchical, arithmetic.
    #[error("the coding process SOF{number} is not supported")]
    Process {
        /// 3 to 15.
        number: u8,
    },
    /// Not 8 bits a sample.
    #[error("{bits} bits a sample are not supported (8 are)")]
    Precision {
        /// Bits a sample.
        bits: u8,
    },
    /// Neither gray nor luma with two chroma channels.
    #[error("the colour space is not supported (gray and YCbCr are)")]
    Colour,
    /// Luma has less resolution than another channel.
    #[error("the luma channel is subsampled")]
    SubsampledLuma,
    /// A bound on work, not on size.
    #[error("the file has more than {scans_max} scans")]
    TooManyScans {
        /// The bound.
        scans_max: u32,
    },
}

impl JpegError {
    pub(super) fn fault(&self) -> ImageFault {
        match self {
            Self::Truncated | Self::Damaged => ImageFault::Damaged,
            Self::Process { .. } | Self::Precision { .. } | Self::Colour | Self::SubsampledLuma => {
                ImageFault::Unsupported
            }
            Self::TooManyScans { .. } => ImageFault::TooManyParts,
        }
    }
}

/// Decodes a JPEG file.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<GrayImage, DecodeError> {
    let mut decoder = Decoder::default();
    let frame = decoder.run(bytes, limits)?;
    Ok(GrayImage {
        width: frame.width,
        height: frame.height,
        pixels: frame.pixels()?,
        format: ImageFormat::Jpeg,
    })
}

/// The image as its frame header declares it, and luma as far as it is decoded.
struct Frame {
    progressive: bool,
    width: u32,
    height: u32,
    components: Vec<Component>,
    mcus_across: usize,
    mcus_down: usize,
    /// Luma blocks in a row, MCU padding included.
    blocks_across: usize,
    blocks: Vec<Coefficients>,
    /// Luma's quantisation, taken over when its first scan begins.
    quantisation: Option<[u16; 64]>,
}

struct Component {
    id: u8,
    across: usize,
    down: usize,
    quantisation: u8,
}

#[derive(Default)]
struct Decoder {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_interval: u32,
    jfif: bool,
    adobe_transform: Option<u8>,
    frame: Option<Frame>,
    scans: u32,
    /// Scans that the file announces, counted before the first is decoded.
    scans_in_file: u32,
    scans_max: u32,
}

impl Decoder {
    /// Walks the markers from SOI to EOI.
    fn run(&mut self, bytes: &[u8], limits: &Limits) -> Result<Frame, DecodeError> {
        self.scans_in_file = count_scans(bytes);
        let mut at = 2;
        loop {
            let marker = next_marker(bytes, &mut at)?;
            let segment = match marker {
                // EOI
                0xD9 => break,
                // TEM and the restart markers have no segment and no place here.
                0x01 | 0xD0..=0xD8 => return Err(JpegError::Damaged.into()),
                _ => segment(bytes, &mut at)?,
            };
            match marker {
                0xC0..=0xC2 => self.start_of_frame(marker, segment, bytes.len(), limits)?,
                0xC4 => self.huffman_tables(segment)?,
                // JPG, DAC: of processes that are refused.
                0xC8 | 0xCC => return Err(JpegError::Damaged.into()),
                0xC3 | 0xC5..=0xCF => {
                    return Err(JpegError::Process {
                        number: marker - 0xC0,
                    }
                    .into());
                }
                0xDA => at = self.scan(segment, bytes, at)?,
                0xDB => self.quantisation_tables(segment)?,
                0xDD => match segment {
                    [high, low] => self.restart_interval = u16::from_be_bytes([*high, *low]).into(),
                    _ => return Err(JpegError::Damaged.into()),
                },
                // DNL would change the height after the fact.
                0xDC => return Err(JpegError::Damaged.into()),
                0xE0 => self.jfif |= segment.starts_with(b"JFIF\0"),
                0xEE => {
                    if let [
                        b'A',
                        b'd',
                        b'o',
                        b'b',
                        b'e',
                        _,
                        _,
                        _,
                        _,
                        _,
                        _,
                        transform,
                        ..,
                    ] = segment
                    {
                        self.adobe_transform = Some(*transform);
                    }
                }
                _ => {}
            }
        }
        Ok(self.frame.take().ok_or(JpegError::Truncated)?)
    }

    fn start_of_frame(
        &mut self,
        marker: u8,
        segment: &[u8],
        file_length: usize,
        limits: &Limits,
    ) -> Result<(), DecodeError> {
        let Some(([bits, h0, h1, w0, w1, count], rest)) = segment.split_first_chunk() else {
            return Err(JpegError::Damaged.into());
        };
        if self.frame.is_some() {
            return Err(JpegError::Damaged.into());
        }
        if *bits != 8 {
            return Err(JpegError::Precision { bits: *bits }.into());
        }
        let height = u32::from(u16::from_be_bytes([*h0, *h1]));
        let width = u32::from(u16::from_be_bytes([*w0, *w1]));
        limits.pixels(width, height)?;
        // A scan of the whole image may have a few bytes: it is paid by its pixels.
        let scans_max = PIXEL_SCANS_MAX / (u64::from(width) * u64::from(height));
        self.scans_max = u32::try_from(scans_max).unwrap_or(SCANS_MAX).min(SCANS_MAX);
        if self.scans_in_file > self.scans_max {
            let scans_max = self.scans_max;
            return Err(JpegError::TooManyScans { scans_max }.into());
        }
        let (specifications, []) = rest.as_chunks::<3>() else {
            return Err(JpegError::Damaged.into());
        };
        if specifications.len() != usize::from(*count) {
            return Err(JpegError::Damaged.into());
        }
        let components: Vec<Component> = specifications
            .iter()
            .map(|&[id, factors, quantisation]| Component {
                id,
                across: usize::from(factors >> 4),
                down: usize::from(factors & 15),
                quantisation,
            })
            .collect();
        if components
            .iter()
            .any(|c| !(1..=4).contains(&c.across) || !(1..=4).contains(&c.down))
        {
            return Err(JpegError::Damaged.into());
        }
        // As libjpeg decides: JFIF is never RGB, else an Adobe marker tells, else
        // the components' names.
        let rgb = match self.adobe_transform {
            _ if self.jfif => false,
            Some(transform) => transform != 1,
            None => components.iter().map(|component| component.id).eq(*b"RGB"),
        };
        let [luma, chroma @ ..] = components.as_slice() else {
            return Err(JpegError::Colour.into());
        };
        let colour = match chroma.len() {
            0 => false,
            2 if !rgb => true,
            _ => return Err(JpegError::Colour.into()),
        };
        if chroma
            .iter()
            .any(|c| c.across > luma.across || c.down > luma.down)
        {
            return Err(JpegError::SubsampledLuma.into());
        }
        let (across, down) = (luma.across, luma.down);
        let mcus_across = (width as usize).div_ceil(8 * across);
        let mcus_down = (height as usize).div_ceil(8 * down);
        let (blocks_across, blocks_down) = if colour {
            (mcus_across * across, mcus_down * down)
        } else {
            // A lone component is never padded to its sampling factors.
            ((width as usize).div_ceil(8), (height as usize).div_ceil(8))
        };
        // Every block costs a bit at least; what the file cannot hold is not
        // allocated.
        let blocks = blocks_across * blocks_down;
        if blocks / 8 > file_length {
            return Err(JpegError::Truncated.into());
        }
        self.frame = Some(Frame {
            progressive: marker == 0xC2,
            width,
            height,
            components,
            mcus_across,
            mcus_down,
            blocks_across,
            blocks: vec![[0; 64]; blocks],
            quantisation: None,
        });
        Ok(())
    }

    fn quantisation_tables(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        while let Some((&head, rest)) = segment.split_first() {
            let slot = self.quantisation.get_mut(usize::from(head & 15));
            let slot = slot.ok_or(JpegError::Damaged)?;
            let mut table = [0; 64];
            segment = match head >> 4 {
                0 => {
                    let (values, rest) =
                        rest.split_first_chunk::<64>().ok_or(JpegError::Damaged)?;
                    table = values.map(u16::from);
                    rest
                }
                1 => {
                    let (values, rest) = rest.split_at_checked(128).ok_or(JpegError::Damaged)?;
                    for (entry, value) in table.iter_mut().zip(values.as_chunks::<2>().0) {
                        *entry = u16::from_be_bytes(*value);
                    }
                    rest
                }
                _ => return Err(JpegError::Damaged),
            };
            *slot = Some(table);
        }
        Ok(())
    }

    fn huffman_tables(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        while let Some((&head, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(JpegError::Damaged)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(JpegError::Damaged)?;
            let tables = match head >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(JpegError::Damaged),
            };
            let slot = tables
                .get_mut(usize::from(head & 15))
                .ok_or(JpegError::Damaged)?;
            *slot = Some(Huffman::new(counts, symbols)?);
            segment = rest;
        }
        Ok(())
    }

    /// Decodes a scan, or skips it; returns where the next marker is.
    fn scan(&mut self, segment: &[u8], bytes: &[u8], at: usize) -> Result<usize, JpegError> {
        self.scans += 1;
        if self.scans > self.scans_max {
            let scans_max = self.scans_max;
            return Err(JpegError::TooManyScans { scans_max });
        }
        let frame = self.frame.as_mut().ok_or(JpegError::Damaged)?;
        let (&count, rest) = segment.split_first().ok_or(JpegError::Damaged)?;
        let (selectors, rest) = rest
            .split_at_checked(2 * usize::from(count))
            .ok_or(JpegError::Damaged)?;
        let &[first, last, approximation] = rest else {
            return Err(JpegError::Damaged);
        };
        let band = Band {
            first: first.into(),
            last: last.into(),
            high: (approximation >> 4).into(),
            low: (approximation & 15).into(),
        };
        let mut selected = Vec::new();
        for &[id, tables] in selectors.as_chunks::<2>().0 {
            let component = frame
                .components
                .iter()
                .position(|component| component.id == id);
            let index = component.ok_or(JpegError::Damaged)?;
            let Some(component) = frame.components.get(index) else {
                continue;
            };
            selected.push(Selected {
                luma: index == 0,
                across: component.across,
                down: component.down,
                dc: self
                    .dc
                    .get(usize::from(tables >> 4))
                    .and_then(Option::as_ref),
                ac: self
                    .ac
                    .get(usize::from(tables & 15))
                    .and_then(Option::as_ref),
            });
        }
        let lumas = selected.iter().filter(|component| component.luma).count();
        if selected.is_empty()
            || lumas > 1
            || selected.len() > 3
            || !band.is_valid(frame, selected.len())
        {
            return Err(JpegError::Damaged);
        }
        if lumas == 0 {
            return Ok(skip_data(bytes, at));
        }
        if frame.quantisation.is_none() {
            let table = frame
                .components
                .first()
                .map(|luma| usize::from(luma.quantisation));
            let table = table
                .and_then(|table| self.quantisation.get(table))
                .copied()
                .flatten();
            frame.quantisation = Some(table.ok_or(JpegError::Damaged)?);
        } else if !frame.progressive {
            // A second sequential scan of luma would overwrite the first.
            return Err(JpegError::Damaged);
        }
        scan::decode(frame, &selected, band, bytes, at, self.restart_interval)
    }
}

impl Band {
    /// T.81 §G.1.1.1 and table B.3.
    fn is_valid(&self, frame: &Frame, components: usize) -> bool {
        let &Band {
            first,
            last,
            high,
            low,
        } = self;
        if !frame.progressive {
            return first == 0 && last == 63 && high == 0 && low == 0;
        }
        let bands = if first == 0 {
            last == 0
        } else {
            first <= last && last < 64 && components == 1
        };
        bands && low <= 13 && (high == 0 || high == low + 1)
    }
}

impl Frame {
    /// The inverse transform of all luma blocks, cut to the image.
    fn pixels(&self) -> Result<Vec<u8>, JpegError> {
        let quantisation = self.quantisation.as_ref().ok_or(JpegError::Truncated)?;
        let (width, height) = (self.width as usize, self.height as usize);
        let mut pixels = vec![0; width * height];
        let bands = pixels
            .chunks_mut(8 * width)
            .zip(self.blocks.chunks(self.blocks_across.max(1)));
        for (band, blocks) in bands {
            for (column, block) in blocks.iter().take(width.div_ceil(8)).enumerate() {
                let mut natural = [[0; 8]; 8];
                for ((&value, &step), &at) in block.iter().zip(quantisation).zip(&ZIGZAG) {
                    natural[usize::from(at >> 3)][usize::from(at & 7)] =
                        i64::from(value) * i64::from(step);
                }
                let samples = idct::inverse(&natural);
                for (row, samples) in band.chunks_mut(width).zip(&samples) {
                    for (pixel, sample) in row.iter_mut().skip(8 * column).zip(samples) {
                        *pixel = *sample;
                    }
                }
            }
        }
        Ok(pixels)
    }
}

/// The marker at `at`, behind any fill bytes; moves behind it.
/// How many scans begin in the file, as far as its markers can be followed.
fn count_scans(bytes: &[u8]) -> u32 {
    let mut scans = 0u32;
    let mut at = 2;
    while let Ok(marker) = next_marker(bytes, &mut at) {
        if marker == 0xD9 || segment(bytes, &mut at).is_err() {
            break;
        }
        if marker == 0xDA {
            scans = scans.saturating_add(1);
            // Entropy-coded data: until a marker that neither is a restart nor stands
            // for a byte of it.
            let data = bytes.get(at..).unwrap_or_default();
            let ends = data.windows(2).position(
                |pair| matches!(pair, [0xFF, marker] if !matches!(marker, 0 | 0xD0..=0xD7 | 0xFF)),
            );
            at += ends.unwrap_or(data.len());
        }
    }
    scans
}

fn next_marker(bytes: &[u8], at: &mut usize) -> Result<u8, JpegError> {
    let mut rest = bytes.get(*at..).unwrap_or_default().iter();
    if rest.next().ok_or(JpegError::Truncated)? != &0xFF {
        return Err(JpegError::Damaged);
    }
    let marker = rest
        .find(|&&byte| byte != 0xFF)
        .ok_or(JpegError::Truncated)?;
    *at = bytes.len() - rest.len();
    if *marker == 0 {
        Err(JpegError::Damaged)
    } else {
        Ok(*marker)
    }
}

/// The content of the segment at `at`; moves behind it.
fn segment<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a [u8], JpegError> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let (length, _) = rest.split_first_chunk().ok_or(JpegError::Truncated)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let segment = rest.get(2..length.max(2)).ok_or(JpegError::Truncated)?;
    *at += length.max(2);
    Ok(segment)
}

/// The position of the first marker that is not a restart, from `at` on.
fn skip_data(bytes: &[u8], at: usize) -> usize {
    let data = bytes.get(at..).unwrap_or_default();
    let marker = data.windows(2).position(
        |pair| matches!(pair, [0xFF, marker] if !matches!(marker, 0 | 0xD0..=0xD7 | 0xFF)),
    );
    marker.map_or(bytes.len(), |offset| at + offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Name, file, luma as libjpeg-turbo decodes it.
    const VECTORS: [(&str, &[u8], &[u8]); 4] = [
        (
            "gray-17x13",
            include_bytes!("../../tests/vectors/jpeg/gray-17x13.jpg"),
            include_bytes!("../../tests/vectors/jpeg/gray-17x13.gray"),
        ),
        (
            "sequential-422-restart-33x17",
            include_bytes!("../../tests/vectors/jpeg/sequential-422-restart-33x17.jpg"),
            include_bytes!("../../tests/vectors/jpeg/sequential-422-restart-33x17.gray"),
        ),
        (
            "progressive-420-restart-35x18",
            include_bytes!("../../tests/vectors/jpeg/progressive-420-restart-35x18.jpg"),
            include_bytes!("../../tests/vectors/jpeg/progressive-420-restart-35x18.gray"),
        ),
        (
            "progressive-gray-40x9",
            include_bytes!("../../tests/vectors/jpeg/progressive-gray-40x9.jpg"),
            include_bytes!("../../tests/vectors/jpeg/progressive-gray-40x9.gray"),
        ),
    ];

    fn refusal(bytes: &[u8]) -> DecodeError {
        decode(bytes, &Limits::default()).unwrap_err()
    }

    /// The first vector with its frame header's segment changed.
    fn with_frame_header(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = VECTORS[0].1.to_vec();
        let at = bytes
            .windows(2)
            .position(|pair| pair == [0xFF, 0xC0])
            .unwrap();
        change(&mut bytes[at..]);
        bytes
    }

    #[test]
    fn equals_libjpeg_in_every_pixel() {
        for (name, file, gray) in VECTORS {
            let image = decode(file, &Limits::default()).unwrap();
            assert_eq!(image.pixels, gray, "{name}");
            assert_eq!(image.format.to_string(), "JPEG");
        }
    }

    #[test]
    fn refuses_every_file_cut_short() {
        for (name, file, _) in VECTORS {
            for length in 2..file.len() {
                assert!(
                    decode(&file[..length], &Limits::default()).is_err(),
                    "{name} at {length}"
                );
            }
        }
    }

    #[test]
    fn refuses_processes_that_are_not_decoded() {
        for (marker, number) in [(0xC3, 3), (0xC9, 9), (0xCB, 11)] {
            let error = refusal(&with_frame_header(|header| header[1] = marker));
            assert!(matches!(
                error,
                DecodeError::Jpeg(JpegError::Process { number: found }) if found == number
            ));
        }
    }

    #[test]
    fn refuses_twelve_bit_samples() {
        let error = refusal(&with_frame_header(|header| header[4] = 12));
        assert!(matches!(
            error,
            DecodeError::Jpeg(JpegError::Precision { bits: 12 })
        ));
    }

    #[test]
    fn refuses_an_image_beyond_the_limit_before_decoding_it() {
        let error = refusal(&with_frame_header(|header| header[5..9].fill(0xFF)));
        assert!(matches!(
            error,
            DecodeError::TooManyPixels { width: 65_535, .. }
        ));
    }

    #[test]
    fn refuses_more_blocks_than_the_file_has_bits() {
        let error = refusal(&with_frame_header(|header| {
            header[5..9].copy_from_slice(&[16, 0, 16, 0])
        }));
        assert!(matches!(error, DecodeError::Jpeg(JpegError::Truncated)));
    }

    #[test]
    fn refuses_an_image_without_height() {
        let error = refusal(&with_frame_header(|header| header[5..7].fill(0)));
        assert!(matches!(error, DecodeError::NoPixels { height: 0, .. }));
    }

    #[test]
    fn refuses_endless_scans() {
        let (_, file, _) = VECTORS[3];
        // The refinement of DC, which changes nothing the second time.
        let header = [0xFF, 0xDA, 0, 8, 1, 1];
        let starts: Vec<usize> = (0..file.len())
            .filter(|&at| file[at..].starts_with(&header))
            .collect();
        let at = *starts
            .iter()
            .find(|&&at| file[at + 7..].starts_with(&[0, 0, 0x10]))
            .unwrap();
        let end = skip_data(file, at + 10);
        let mut bytes = file[..end].to_vec();
        for _ in 0..SCANS_MAX {
            bytes.extend_from_slice(&file[at..end]);
        }
        bytes.extend_from_slice(&[0xFF, 0xD9]);
        assert!(matches!(
            refusal(&bytes),
            DecodeError::Jpeg(JpegError::TooManyScans { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn never_panics_on_mutated_files(
            vector in 0..VECTORS.len(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = VECTORS[vector].1.to_vec();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let small = Limits { pixels_max: 1 << 16, ..Limits::default() };
            if let Ok(image) = decode(&bytes, &small) {
                prop_assert_eq!(image.pixels.len() as u64, u64::from(image.width) * u64::from(image.height));
            }
        }
    }
}
