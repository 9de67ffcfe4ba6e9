//! PNG to 8-bit gray.
//!
//! Source of truth: W3C PNG (third edition) through the `png` crate; the gray
//! conversion is Pillow's `convert("L")`: low bit depths are stretched to 0..255,
//! palettes are looked up, alpha and transparent colours are dropped, 16-bit
//! colour keeps its high byte. One deliberate difference: Pillow clips 16-bit
//! *gray* at 255, which makes a radiograph white; here its full range is mapped
//! to 0..255, as for DICOM.
//!
//! Not modelled: gamma, colour profiles, text. Animations are refused.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Transformations};
use thiserror::Error;

use super::{DecodeError, GrayImage, ImageFault, ImageFormat, Limits, luma};

/// Why a PNG file was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PngError {
    /// Chunks, checksums or compressed data that do not hold together.
    #[error("the file is damaged")]
    Damaged(#[from] png::DecodingError),
    /// An animation: more than one picture.
    #[error("animated files are not supported")]
    Animated,
    /// Larger than [`Limits::inflated_bytes_max`] once decompressed.
    #[error("the image decompresses to more than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// A chunk reaches beyond the end.
    #[error("the file ends inside of a chunk")]
    Truncated,
    /// More chunks than [`Limits::elements_max`].
    #[error("the file has more than {chunks_max} chunks")]
    TooManyChunks {
        /// The limit.
        chunks_max: u32,
    },
}

impl PngError {
    pub(super) fn fault(&self) -> ImageFault {
        match self {
            Self::Damaged(_) | Self::Truncated => ImageFault::Damaged,
            Self::Animated => ImageFault::NotOneFrame,
            Self::TooLarge { .. } => ImageFault::TooLarge,
            Self::TooManyChunks { .. } => ImageFault::TooManyParts,
        }
    }
}

/// Counts the chunks before anything is read of them: a chunk of no bytes costs its
/// reader a thousand times what it costs its writer.
fn check_chunks(bytes: &[u8], chunks_max: u32) -> Result<(), PngError> {
    let mut rest = bytes.get(super::PNG_SIGNATURE.len()..).unwrap_or_default();
    for _ in 0..chunks_max {
        let Some((length, _)) = rest.split_first_chunk::<4>() else {
            return Ok(()); // The decoder says what is missing.
        };
        // Length, type, content, checksum.
        let length = u32::from_be_bytes(*length) as usize;
        rest = match length.checked_add(12).and_then(|whole| rest.get(whole..)) {
            Some(rest) => rest,
            None => return Err(PngError::Truncated),
        };
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(PngError::TooManyChunks { chunks_max })
    }
}

/// Decodes a PNG file.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<GrayImage, DecodeError> {
    check_chunks(bytes, limits.elements_max)?;
    let bytes_max = limits.inflated_bytes_max;
    let mut decoder =
        Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: bytes_max });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(PngError::from)?.size();
    let pixels = limits.pixels(width, height)?;
    let mut reader = decoder.read_info().map_err(PngError::from)?;
    if reader.info().animation_control().is_some() {
        return Err(PngError::Animated.into());
    }
    let (colour, depth) = reader.output_color_type();
    let sample = if depth == BitDepth::Sixteen { 2 } else { 1 };
    let pixel = colour.samples() * sample;
    let too_large = PngError::TooLarge {
        bytes_max: bytes_max as u64,
    };
    let size = match reader.output_buffer_size() {
        Some(size) if size <= bytes_max && size == pixels * pixel => size,
        _ => return Err(too_large.into()),
    };
    let mut raw = vec![0; size];
    reader.next_frame(&mut raw).map_err(PngError::from)?;
    // What follows the image is still the file: its checksums count.
    reader.finish().map_err(PngError::from)?;
    Ok(GrayImage {
        width,
        height,
        pixels: to_gray(&raw, colour, depth),
        format: ImageFormat::Png,
    })
}

fn to_gray(raw: &[u8], colour: ColorType, depth: BitDepth) -> Vec<u8> {
    let samples = colour.samples();
    // Big endian: the high byte of a 16-bit sample is its first.
    let wide = depth == BitDepth::Sixteen;
    let step = if wide { 2 } else { 1 };
    let sample = |pixel: &[u8], index: usize| pixel.get(index * step).copied().unwrap_or_default();
    raw.chunks_exact(samples * step)
        .map(|pixel| match (colour, pixel) {
            (ColorType::Grayscale | ColorType::GrayscaleAlpha, [high, low, ..]) if wide => {
                scale(u16::from_be_bytes([*high, *low]))
            }
            (ColorType::Rgb | ColorType::Rgba, _) => {
                luma(sample(pixel, 0), sample(pixel, 1), sample(pixel, 2))
            }
            _ => sample(pixel, 0),
        })
        .collect()
}

/// 0..65535 to the nearest of 0..255.
fn scale(level: u16) -> u8 {
    ((u32::from(level) * 255 + 32_767) / 65_535) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(colour: ColorType, depth: BitDepth, width: u32, data: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, 1);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == ColorType::Indexed {
            encoder.set_palette(vec![0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 255, 0]);
            encoder.set_trns(vec![0, 128]);
        }
        encoder
            .write_header()
            .unwrap()
            .write_image_data(data)
            .unwrap();
        file
    }

    fn gray(file: &[u8]) -> Vec<u8> {
        decode(file, &Limits::default()).unwrap().pixels
    }

    /// What Pillow 13.0's `convert("L")` gives, 16-bit gray excepted.
    #[test]
    fn every_kind_of_pixel_becomes_the_gray_that_pillow_gives() {
        use BitDepth::{Eight, Four, One, Sixteen, Two};
        use ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
        type Case = (ColorType, BitDepth, u32, &'static [u8], &'static [u8]);
        let cases: [Case; 13] = [
            (Grayscale, One, 4, &[0b0101_0000], &[0, 255, 0, 255]),
            (Grayscale, Two, 4, &[0b0001_1011], &[0, 85, 170, 255]),
            (Grayscale, Four, 2, &[0x1F], &[17, 255]),
            (Grayscale, Eight, 2, &[7, 200], &[7, 200]),
            (
                Grayscale,
                Sixteen,
                3,
                &[0, 100, 0x80, 0, 255, 255],
                &[0, 128, 255],
            ),
            (GrayscaleAlpha, Eight, 2, &[7, 0, 200, 255], &[7, 200]),
            (GrayscaleAlpha, Sixteen, 1, &[0x80, 0, 0, 0], &[128]),
            (
                Rgb,
                Eight,
                3,
                &[255, 0, 0, 0, 255, 0, 0, 0, 255],
                &[76, 150, 29],
            ),
            (Rgb, Sixteen, 1, &[255, 0, 0, 255, 0, 255], &[76]),
            (Rgba, Eight, 2, &[255, 0, 0, 0, 9, 9, 9, 255], &[76, 9]),
            (Rgba, Sixteen, 1, &[255, 0, 0, 255, 0, 255, 0, 0], &[76]),
            (Indexed, Two, 4, &[0b0001_1011], &[0, 255, 76, 150]),
            (Indexed, Eight, 4, &[3, 2, 1, 0], &[150, 76, 255, 0]),
        ];
        for (colour, depth, width, data, want) in cases {
            assert_eq!(
                gray(&encode(colour, depth, width, data)),
                want,
                "{colour:?} {depth:?}"
            );
        }
    }

    #[test]
    fn refuses_every_file_cut_short_or_with_a_flipped_bit_in_its_data() {
        let file = encode(ColorType::Grayscale, BitDepth::Eight, 64, &[99; 64]);
        for length in 8..file.len() {
            assert!(
                decode(&file[..length], &Limits::default()).is_err(),
                "{length} bytes"
            );
        }
        for at in 8..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped, &Limits::default()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn refuses_a_size_beyond_the_limits_before_inflating() {
        let file = encode(ColorType::Grayscale, BitDepth::Eight, 64, &[99; 64]);
        let few = Limits {
            pixels_max: 63,
            ..Limits::default()
        };
        assert!(matches!(
            decode(&file, &few),
            Err(DecodeError::TooManyPixels { width: 64, .. })
        ));
        let wide = encode(ColorType::Rgba, BitDepth::Sixteen, 64, &[0; 512]);
        let small = Limits {
            inflated_bytes_max: 511,
            ..Limits::default()
        };
        assert!(matches!(
            decode(&wide, &small),
            Err(DecodeError::Png(
                PngError::TooLarge { bytes_max: 511 } | PngError::Damaged(_)
            ))
        ));
    }

    #[test]
    fn refuses_an_animation() {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 1, 1);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_animated(2, 0).unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[1]).unwrap();
        writer.write_image_data(&[2]).unwrap();
        drop(writer);
        assert!(matches!(
            decode(&file, &Limits::default()),
            Err(DecodeError::Png(PngError::Animated))
        ));
    }

    #[test]
    fn refuses_more_chunks_than_allowed_and_says_so_before_reading_them() {
        let file = encode(ColorType::Grayscale, BitDepth::Eight, 1, &[99]);
        // IHDR, then chunks of a kind that nobody knows, then the rest.
        let (head, tail) = file.split_at(33);
        let empty = [0, 0, 0, 0, b'a', b'b', b'c', b'd', 0, 0, 0, 0].repeat(1000);
        let many = [head, &empty, tail].concat();
        let few = Limits {
            elements_max: 1000,
            ..Limits::default()
        };
        assert!(matches!(
            decode(&many, &few),
            Err(DecodeError::Png(PngError::TooManyChunks {
                chunks_max: 1000
            }))
        ));
        assert!(decode(&file, &few).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_panics_on_arbitrary_chunks(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = encode(ColorType::Rgb, BitDepth::Eight, 1, &[1, 2, 3]);
            file.truncate(33);
            file.extend_from_slice(&tail);
            prop_assert!(decode(&file, &Limits::default()).is_err());
        }
    }
}
