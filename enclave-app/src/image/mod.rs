//! From the bytes of an upload to the model's input: DICOM, PNG or JPEG to
//! 8-bit gray, then a squash to 128×128.
//!
//! The format is decided by magic numbers, never by a name: `DICM` at offset
//! 128, the PNG signature, or a JPEG SOI. Bytes that match none, or DICOM and
//! another at once, are refused. Every declared size is checked before anything
//! of that size is allocated ([`Limits`]), and exactly one image is accepted: a
//! second DICOM frame or an animation is refused, because an answer about one
//! picture must not look like an answer about all of them.
//!
//! Source of truth: the model card (`model/MODEL_CARD.md`) for what the network
//! was trained on, Pillow for the gray conversion and the resize, DICOM PS3.3
//! and PS3.5 for the rest. Not modelled: colour management, EXIF orientation,
//! gamma, overlays, presentation states.

pub mod dicom;
pub mod jpeg;
pub mod png;
mod preprocess;

use std::fmt;

use thiserror::Error;

use crate::job::refusal::ImageFault;

pub use dicom::{DicomError, TransferSyntax};
pub use jpeg::JpegError;
pub use png::PngError;
pub use preprocess::{SIDE, Tensor, preprocess};

/// The default of [`Limits::pixels_max`].
pub(crate) const PIXELS_MAX: u32 = 1 << 25;

/// What a decode may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of the image, width × height. The default, 2^25 (33.5 million), is
    /// over twice the largest digital chest detector in use (4280×3520).
    pub pixels_max: u64,
    /// Bytes of a deflated DICOM data set once inflated, and of a PNG once
    /// decompressed. The default is 64 MiB: two bytes for each of `pixels_max`.
    pub inflated_bytes_max: usize,
    /// DICOM sequences inside sequences. The default is 16; real objects stay
    /// under 8.
    pub nesting_max: u32,
    /// Elements of a DICOM data set, those inside of sequences included, and chunks
    /// of a PNG. The default is 65,536; a radiograph has some hundreds.
    pub elements_max: u32,
    /// Items of all sequences of a DICOM data set. The default is 16,384.
    pub items_max: u32,
    /// Pieces of a DICOM frame. The default is 16,384: 64 MiB in pieces of 4 KiB.
    pub fragments_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            pixels_max: PIXELS_MAX.into(),
            inflated_bytes_max: 64 << 20,
            nesting_max: 16,
            elements_max: 1 << 16,
            items_max: 1 << 14,
            fragments_max: 1 << 14,
        }
    }
}

impl Limits {
    /// The number of pixels of a `width` × `height` image, if it may be decoded.
    pub(crate) fn pixels(&self, width: u32, height: u32) -> Result<usize, DecodeError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(DecodeError::NoPixels { width, height });
        }
        match usize::try_from(pixels) {
            Ok(count) if pixels <= self.pixels_max => Ok(count),
            _ => Err(DecodeError::TooManyPixels {
                width,
                height,
                pixels_max: self.pixels_max,
            }),
        }
    }
}

/// What the bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageFormat {
    /// A DICOM file with this transfer syntax.
    Dicom(TransferSyntax),
    /// A PNG file.
    Png,
    /// A JPEG file.
    Jpeg,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageFormat::Dicom(syntax) => write!(f, "DICOM {}", syntax.uid()),
            ImageFormat::Png => f.write_str("PNG"),
            ImageFormat::Jpeg => f.write_str("JPEG"),
        }
    }
}

/// A decoded image: 0 is black, 255 white, whatever the file called them.
#[derive(Clone, PartialEq, Eq)]
pub struct GrayImage {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width` × `height` bytes, top row first.
    pub pixels: Vec<u8>,
    /// What it was decoded from.
    pub format: ImageFormat,
}

/// Without the pixels: they are a patient's.
impl fmt::Debug for GrayImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrayImage")
            .field("width", &self.width)
            .field("height", &self.height)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// Why bytes did not become an image. The text may repeat numbers and tags of the
/// file, and so pieces of a name: it is for the clinician alone. What the parent may
/// know is its [`DecodeError::fault`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No known magic number.
    #[error("not an image this application reads (DICOM with its preamble, PNG or JPEG)")]
    UnknownFormat,
    /// `DICM` at offset 128 behind the magic number of another format.
    #[error("the file is DICOM and another image format at once; which one is meant is ambiguous")]
    Ambiguous,
    /// A side of length zero.
    #[error("the image has no pixels ({width}×{height})")]
    NoPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
    },
    /// Larger than [`Limits::pixels_max`].
    #[error("{width}×{height} pixels are more than the {pixels_max} this enclave accepts")]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The limit.
        pixels_max: u64,
    },
    /// A DICOM file that cannot be used.
    #[error("DICOM: {0}")]
    Dicom(#[from] DicomError),
    /// A PNG file that cannot be used.
    #[error("PNG: {0}")]
    Png(#[from] PngError),
    /// A JPEG file that cannot be used.
    #[error("JPEG: {0}")]
    Jpeg(#[from] JpegError),
}

impl DecodeError {
    /// The kind, in the words that may leave the enclave.
    #[must_use]
    pub fn fault(&self) -> ImageFault {
        match self {
            Self::UnknownFormat => ImageFault::UnknownFormat,
            Self::Ambiguous => ImageFault::Ambiguous,
            Self::NoPixels { .. } => ImageFault::NoPixels,
            Self::TooManyPixels { .. } => ImageFault::TooLarge,
            Self::Dicom(error) => error.fault(),
            Self::Png(error) => error.fault(),
            Self::Jpeg(error) => error.fault(),
        }
    }
}

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG_START: &[u8] = b"\xff\xd8\xff";

/// Decodes the one image in `bytes` to 8-bit gray.
///
/// # Errors
/// [`DecodeError`] says which limit or rule the bytes break; nothing larger than
/// `limits` allow has been allocated by then.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<GrayImage, DecodeError> {
    let png = bytes.starts_with(PNG_SIGNATURE);
    let jpeg = bytes.starts_with(JPEG_START);
    match dicom::is_dicom(bytes) {
        true if png || jpeg => Err(DecodeError::Ambiguous),
        true => dicom::decode(bytes, limits),
        false if png => png::decode(bytes, limits),
        false if jpeg => jpeg::decode(bytes, limits),
        false => Err(DecodeError::UnknownFormat),
    }
}

/// ITU-R 601 luma as Pillow's `convert("L")` computes it, in 16-bit fixed point.
pub(crate) fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum =
        u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000;
    // The weights add up to 65,536, so the sum stays below 256 << 16.
    (sum >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn luma_keeps_grays_as_they_are() {
        for gray in 0..=255 {
            assert_eq!(luma(gray, gray, gray), gray);
        }
    }

    #[test]
    fn refuses_bytes_of_no_known_format() {
        for bytes in [&b""[..], b"GIF89a", b"DICM", b"\x89PNG"] {
            assert!(matches!(
                decode(bytes, &Limits::default()),
                Err(DecodeError::UnknownFormat)
            ));
        }
    }

    #[test]
    fn refuses_a_file_that_is_two_formats_at_once() {
        for magic in [PNG_SIGNATURE, JPEG_START] {
            let mut bytes = magic.to_vec();
            bytes.resize(128, 0);
            bytes.extend_from_slice(b"DICM");
            assert!(matches!(
                decode(&bytes, &Limits::default()),
                Err(DecodeError::Ambiguous)
            ));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn never_panics_on_arbitrary_bytes(
            format in 0..3,
            tail in proptest::collection::vec(any::<u8>(), 0..512),
        ) {
            let mut bytes = match format {
                0 => PNG_SIGNATURE.to_vec(),
                1 => JPEG_START.to_vec(),
                _ => { let mut start = vec![0; 128]; start.extend_from_slice(b"DICM"); start }
            };
            bytes.extend_from_slice(&tail);
            prop_assert!(decode(&bytes, &Limits::default()).is_err() || !tail.is_empty());
        }
    }
}
