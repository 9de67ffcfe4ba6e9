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

use super::{DecodeError, GrayImage, ImageFormat, Limits, luma};

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
}

/// Decodes a PNG file.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<GrayImage, DecodeError> {
    let bytes_max = usize::try_from(limits.inflated_bytes_max).unwrap_or(usize::MAX);
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
        bytes_max: limits.inflated_bytes_max,
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
