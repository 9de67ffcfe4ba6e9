//! DICOM: one gray or colour frame to 8-bit gray.
//!
//! The file goes through three hands, each trusting only the one before:
//!
//! 1. `prescan` walks the element headers and picks out the handful of values
//!    and the pixel data, as slices.
//! 2. `description` turns the values into an image that can exist, within the
//!    limits.
//! 3. Native, RLE and JPEG-LS pixels are read here. JPEG and JPEG 2000 frames, once their
//!    own headers agree with the description (`codestream`), are put into a new,
//!    minimal data set, and dicom-rs decodes that. dicom-rs never sees the
//!    uploaded file: its parser reserves whatever length an element declares.
//!
//! `rendering` then maps stored values to gray levels: rescale, window or full
//! range, MONOCHROME1 inverted.
//!
//! Source of truth: PS3.3, PS3.5 and PS3.10. Not modelled: 12-bit
//! lossy JPEG, colour JPEG-LS, palette colour, several frames, enhanced objects,
//! overlays; each but the last is refused by name.

mod codestream;
mod description;
mod jpeg_ls;
mod minimal;
mod prescan;
mod rendering;
mod rle;
mod syntax;
mod tags;

use std::borrow::Cow;

use thiserror::Error;

use self::codestream::Process;
use self::description::{Colour, Description, Space};
use self::prescan::PixelBytes;
use super::{DecodeError, GrayImage, ImageFault, ImageFormat, Limits, luma};

pub use syntax::TransferSyntax;
pub use tags::Tag;

/// Why a DICOM file was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DicomError {
    /// An element header does not fit into what is left.
    #[error("the file ends inside an element header at byte {offset}")]
    Truncated {
        /// Where the header begins, in the (inflated) data set.
        offset: usize,
    },
    /// A declared length reaches beyond the end of the file or of the item.
    #[error("{tag} declares {declared} bytes where {remaining} remain")]
    LengthBeyondEnd {
        /// The element.
        tag: Tag,
        /// Its length.
        declared: u32,
        /// What is left.
        remaining: u64,
    },
    /// Two bytes that are no value representation.
    #[error("({:04X},{:04X}) at byte {offset} has no valid VR", tag.0, tag.1)]
    UnknownVr {
        /// The element.
        tag: Tag,
        /// Where it begins.
        offset: usize,
    },
    /// A length of FFFFFFFF where none is allowed.
    #[error("{tag} at byte {offset} has an undefined length, which only sequences may have")]
    UndefinedLength {
        /// The element.
        tag: Tag,
        /// Where it begins.
        offset: usize,
    },
    /// Sequences within sequences beyond [`Limits::nesting_max`].
    #[error("sequences are nested deeper than {nesting_max}")]
    NestedTooDeep {
        /// The limit.
        nesting_max: u32,
    },
    /// More elements than [`Limits::elements_max`].
    #[error("the data set has more than {elements_max} elements")]
    TooManyElements {
        /// The limit.
        elements_max: u32,
    },
    /// More items than [`Limits::items_max`].
    #[error("the data set has more than {items_max} sequence items")]
    TooManyItems {
        /// The limit.
        items_max: u32,
    },
    /// More fragments than [`Limits::fragments_max`].
    #[error("the pixel data is cut into more than {fragments_max} fragments")]
    TooManyFragments {
        /// The limit.
        fragments_max: u32,
    },
    /// Something else than an item or the delimiter in a sequence.
    #[error("a sequence is broken at byte {offset}")]
    BrokenSequence {
        /// Where.
        offset: usize,
    },
    /// An attribute of the image occurs twice.
    #[error("{tag} occurs twice")]
    Repeated {
        /// The attribute.
        tag: Tag,
    },
    /// The deflated data set cannot be inflated.
    #[error("the deflated data set is damaged: {0}")]
    Inflate(#[source] std::io::Error),
    /// The data set inflates beyond [`Limits::inflated_bytes_max`].
    #[error("the deflated data set inflates to more than {bytes_max} bytes")]
    InflatedTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// A known transfer syntax without a decoder here.
    #[error("transfer syntax {uid} ({name}) is not supported")]
    UnsupportedTransferSyntax {
        /// Its UID.
        uid: &'static str,
        /// What it is.
        name: &'static str,
    },
    /// A transfer syntax UID of no use here.
    #[error("the transfer syntax is unknown")]
    UnknownTransferSyntax,
    /// A required attribute is absent.
    #[error("{tag} is missing")]
    Missing {
        /// The attribute.
        tag: Tag,
    },
    /// An attribute's value is not what its definition allows.
    #[error("{tag} has an invalid value")]
    Malformed {
        /// The attribute.
        tag: Tag,
    },
    /// Number of Frames is not 1.
    #[error("the file holds more than one frame, or none; exactly one can be analysed")]
    NotOneFrame,
    /// Functional groups, whose rescale and window are not read.
    #[error("enhanced objects with functional groups are not supported")]
    EnhancedObject,
    /// Float or Double Float Pixel Data.
    #[error("floating-point pixel data is not supported")]
    FloatPixels,
    /// Not 8 or 16.
    #[error("{bits} bits allocated a sample are not supported (8 and 16 are)")]
    BitsAllocated {
        /// Bits Allocated.
        bits: u16,
    },
    /// The stored bits are not the low bits of the allocated ones.
    #[error("{stored} bits stored with high bit {high} in {allocated} allocated are not supported")]
    BitLayout {
        /// Bits Allocated.
        allocated: u16,
        /// Bits Stored.
        stored: u16,
        /// High Bit.
        high: u16,
    },
    /// Palette colour, more than 8 bits of colour, or something unheard of.
    #[error("this photometric interpretation with {samples} samples a pixel is not supported")]
    Photometric {
        /// Samples per Pixel.
        samples: u16,
    },
    /// A colour space that the transfer syntax's decoder does not give.
    #[error("this colour space is not supported in transfer syntax {}", syntax.uid())]
    ColourInSyntax {
        /// The transfer syntax.
        syntax: TransferSyntax,
    },
    /// Native pixels where the transfer syntax means fragments, or the reverse.
    #[error("the pixel data is not encoded as the transfer syntax says")]
    Encapsulation,
    /// More or less pixel data than the image has.
    #[error("the pixel data has {bytes} bytes where the image has {expected}")]
    PixelLength {
        /// What there is.
        bytes: usize,
        /// What rows, columns, samples and bits make.
        expected: usize,
    },
    /// A compressed frame is damaged.
    #[error("the compressed frame is damaged")]
    Codestream,
    /// A compressed frame's own header contradicts the data set.
    #[error("the compressed frame has another size, depth or number of components than declared")]
    CodestreamDiffers,
    /// A JPEG 2000 frame of absurdly small pieces.
    #[error("the JPEG 2000 frame is cut into more tiles, precincts or blocks than accepted")]
    Fragmented,
    /// A JPEG process or precision that is not decoded here.
    #[error("JPEG process SOF{} with {precision} bits is not supported here", start_of_frame - 0xC0)]
    JpegProcess {
        /// Low byte of the SOF marker, C0 to CF.
        start_of_frame: u8,
        /// Bits a sample.
        precision: u8,
    },
    /// The decoder refused the frame.
    #[error("the compressed frame cannot be decoded")]
    Decoder(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The decoder panicked on the frame; the frame is at fault, not the job.
    #[error("the decoder failed on the compressed frame")]
    DecoderPanicked,
}

impl DicomError {
    /// Whether more of the same data set could not make it better.
    fn is_about_numbers(&self) -> bool {
        matches!(
            self,
            Self::NestedTooDeep { .. }
                | Self::TooManyElements { .. }
                | Self::TooManyItems { .. }
                | Self::TooManyFragments { .. }
        )
    }

    pub(super) fn fault(&self) -> ImageFault {
        match self {
            Self::Inflate(error) if error.kind() == std::io::ErrorKind::OutOfMemory => {
                ImageFault::TooCostly
            }
            Self::Truncated { .. }
            | Self::LengthBeyondEnd { .. }
            | Self::UnknownVr { .. }
            | Self::UndefinedLength { .. }
            | Self::BrokenSequence { .. }
            | Self::Repeated { .. }
            | Self::Inflate(_)
            | Self::Encapsulation
            | Self::PixelLength { .. }
            | Self::Codestream
            | Self::CodestreamDiffers
            | Self::Decoder(_)
            | Self::DecoderPanicked => ImageFault::Damaged,
            Self::Missing { .. } | Self::Malformed { .. } => ImageFault::Attributes,
            Self::NestedTooDeep { .. }
            | Self::TooManyElements { .. }
            | Self::TooManyItems { .. }
            | Self::TooManyFragments { .. }
            | Self::Fragmented => ImageFault::TooManyParts,
            Self::InflatedTooLarge { .. } => ImageFault::TooLarge,
            Self::NotOneFrame => ImageFault::NotOneFrame,
            Self::UnsupportedTransferSyntax { .. }
            | Self::UnknownTransferSyntax
            | Self::EnhancedObject
            | Self::FloatPixels
            | Self::BitsAllocated { .. }
            | Self::BitLayout { .. }
            | Self::Photometric { .. }
            | Self::ColourInSyntax { .. }
            | Self::JpegProcess { .. } => ImageFault::Unsupported,
        }
    }
}

/// Whether the bytes are a DICOM file with its preamble.
pub(super) fn is_dicom(bytes: &[u8]) -> bool {
    prescan::has_magic(bytes)
}

/// Decodes the only frame of a DICOM file.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<GrayImage, DecodeError> {
    let meta = prescan::meta(bytes)?;
    let data_set = bytes.get(meta.data_set_offset..).unwrap_or_default();
    let data_set = match meta.syntax {
        TransferSyntax::Deflated => Cow::Owned(prescan::inflate(data_set, limits)?),
        _ => Cow::Borrowed(data_set),
    };
    let scan = prescan::scan(&data_set, meta.syntax, limits)?;
    let description = Description::read(&scan, limits)?;
    let pixels = scan.pixels.as_ref().ok_or(DicomError::Missing {
        tag: tags::PIXEL_DATA,
    })?;
    let stored = stored_samples(pixels, meta.syntax, scan.big_endian, &description)?;
    Ok(GrayImage {
        width: description.columns.into(),
        height: description.rows.into(),
        pixels: to_gray(&stored, meta.syntax, &description),
        format: ImageFormat::Dicom(meta.syntax),
    })
}

/// The samples as native little-endian pixel data.
fn stored_samples<'a>(
    pixels: &PixelBytes<'a>,
    syntax: TransferSyntax,
    big_endian: bool,
    description: &Description,
) -> Result<Cow<'a, [u8]>, DicomError> {
    let sample = description.sample;
    let expected = description.pixels * usize::from(description.colour.samples() * sample.bytes);
    let fragments = match pixels {
        PixelBytes::Native { vr, bytes } if syntax.is_native() => {
            check_colour(description, syntax, &[Space::Rgb, Space::YbrFull])?;
            // Padding may follow, but not what could be another frame.
            if bytes.len() < expected || bytes.len() >= 2 * expected.max(2) {
                return Err(DicomError::PixelLength {
                    bytes: bytes.len(),
                    expected,
                });
            }
            // In big endian, OW swaps the bytes of words, whatever they hold.
            return Ok(if big_endian && *vr == Some(*b"OW") {
                let (words, _) = bytes.as_chunks::<2>();
                Cow::Owned(words.iter().flat_map(|&[high, low]| [low, high]).collect())
            } else {
                Cow::Borrowed(bytes)
            });
        }
        PixelBytes::Encapsulated(fragments) if !syntax.is_native() => fragments.as_slice(),
        _ => return Err(DicomError::Encapsulation),
    };
    // The single frame may be cut into fragments anywhere, RLE excepted.
    let frame = match fragments {
        [fragment] => Cow::Borrowed(*fragment),
        [] => return Err(DicomError::Codestream),
        _ => Cow::Owned(fragments.concat()),
    };
    match syntax {
        TransferSyntax::Rle => {
            check_colour(description, syntax, &[Space::Rgb, Space::YbrFull])?;
            let samples = description.colour.samples();
            return rle::decode(&frame, description.pixels, samples, sample.bytes).map(Cow::Owned);
        }
        TransferSyntax::JpegLsLossless | TransferSyntax::JpegLsNearLossless => {
            check_colour(description, syntax, &[])?;
            return jpeg_ls::decode(&frame, description).map(Cow::Owned);
        }
        // RGB is left out: without a marker the stream does not say whether its
        // components are transformed, and DICOM writers disagree.
        TransferSyntax::JpegBaseline | TransferSyntax::JpegExtended => {
            check_colour(description, syntax, &[Space::YbrFull, Space::YbrFull422])?;
            codestream::check_jpeg(&frame, Process::Sequential, description)?;
        }
        TransferSyntax::JpegLossless | TransferSyntax::JpegLosslessSv1 => {
            check_colour(description, syntax, &[])?;
            codestream::check_jpeg(&frame, Process::Lossless, description)?;
        }
        _ => {
            check_colour(description, syntax, &[Space::Rgb, Space::YbrWavelet])?;
            codestream::check_jpeg2000(&frame, description)?;
        }
    }
    // The radiographs of the corpus expect yet another rounding of lossy JPEG than
    // JPEG files do (see `super::jpeg`): dicom-rs's decoder is within tolerance of
    // it, libjpeg's rounding is not.
    let decoded = minimal::decode(&frame, syntax, description)?;
    if decoded.len() != expected {
        return Err(DicomError::PixelLength {
            bytes: decoded.len(),
            expected,
        });
    }
    Ok(Cow::Owned(decoded))
}

fn check_colour(
    description: &Description,
    syntax: TransferSyntax,
    allowed: &[Space],
) -> Result<(), DicomError> {
    match description.colour {
        Colour::Three { space, .. } if !allowed.contains(&space) => {
            Err(DicomError::ColourInSyntax { syntax })
        }
        _ => Ok(()),
    }
}

fn to_gray(stored: &[u8], syntax: TransferSyntax, description: &Description) -> Vec<u8> {
    let pixels = description.pixels;
    match description.colour {
        Colour::Gray { inverted } => {
            let levels = rendering::levels(description, inverted);
            // Bits above those stored may hold overlays; the mask is the table's size.
            let mask = levels.len() - 1;
            let level = |pattern: usize| levels.get(pattern & mask).copied().unwrap_or_default();
            match description.sample.bytes {
                1 => stored
                    .iter()
                    .take(pixels)
                    .map(|&byte| level(byte.into()))
                    .collect(),
                _ => {
                    let (words, _) = stored.as_chunks::<2>();
                    words
                        .iter()
                        .take(pixels)
                        .map(|word| level(u16::from_le_bytes(*word).into()))
                        .collect()
                }
            }
        }
        Colour::Three { space, planar } => {
            // Decoders of compressed frames give interleaved RGB, whatever came in.
            let decoded = !syntax.is_native() && syntax != TransferSyntax::Rle;
            let brightness = if space == Space::YbrFull && !decoded {
                first
            } else {
                luma
            };
            let stored = stored.get(..3 * pixels).unwrap_or_default();
            if planar && syntax.is_native() {
                let (a, rest) = stored.split_at_checked(pixels).unwrap_or_default();
                let (b, c) = rest.split_at_checked(pixels).unwrap_or_default();
                a.iter()
                    .zip(b)
                    .zip(c)
                    .map(|((&a, &b), &c)| brightness(a, b, c))
                    .collect()
            } else {
                let (triples, _) = stored.as_chunks::<3>();
                triples
                    .iter()
                    .map(|&[a, b, c]| brightness(a, b, c))
                    .collect()
            }
        }
    }
}

/// The brightness of a luminance-chrominance pixel is its first sample.
fn first(luminance: u8, _blue: u8, _red: u8) -> u8 {
    luminance
}
