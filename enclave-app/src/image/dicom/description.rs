//! What the Image Pixel, Modality LUT and VOI LUT modules say about an image.
//!
//! Source of truth: PS3.3 §C.7.6.3 (image pixel), §C.11.1 (modality), §C.11.2
//! (VOI); value encodings PS3.5 §6.2. A [`Description`] cannot be wrong: what
//! the decoders do not handle, or what contradicts itself, is refused here.
//!
//! Not modelled: palette colour, more than one frame, functional groups of
//! enhanced objects, 1- and 32-bit samples, alternative windows and LUTs (the
//! first counts), pixel padding values, presentation LUT shape.

use super::prescan::{Element, Place, Scan};
use super::{DicomError, Tag, tags};
use crate::image::{DecodeError, Limits};

/// An image that can be decoded.
pub(super) struct Description {
    pub(super) rows: u16,
    pub(super) columns: u16,
    /// `rows` × `columns`.
    pub(super) pixels: usize,
    pub(super) colour: Colour,
    pub(super) sample: Sample,
    pub(super) modality: Modality,
    pub(super) voi: Voi,
}

/// Photometric Interpretation, of what is decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// MONOCHROME2, or MONOCHROME1 (`inverted`: the lowest value is white).
    Gray { inverted: bool },
    /// Three 8-bit samples a pixel.
    Three { space: Space, planar: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Rgb,
    YbrFull,
    YbrFull422,
    /// YBR_ICT and YBR_RCT, which a JPEG 2000 decoder turns into RGB.
    YbrWavelet,
}

impl Colour {
    pub(super) fn samples(self) -> u16 {
        match self {
            Colour::Gray { .. } => 1,
            Colour::Three { .. } => 3,
        }
    }
}

/// How one stored value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// 1 or 2.
    pub(super) bytes: u16,
    /// 1 to `8 * bytes`; the value is in the low bits.
    pub(super) bits_stored: u16,
    pub(super) signed: bool,
}

/// From stored values to the modality's.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Modality {
    Rescale { slope: f64, intercept: f64 },
    Table(Table),
}

/// From the modality's values to what is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Voi {
    /// The whole range of the stored values.
    FullRange,
    Window {
        center: f64,
        width: f64,
        function: Function,
    },
    Table(Table),
}

/// VOI LUT Function, PS3.3 §C.11.2.1.2 and §C.11.2.1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

/// A lookup table of a LUT sequence's first item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The input value that the first entry is for.
    pub(super) first: i32,
    /// Bits of an entry, 8 to 16.
    pub(super) bits: u16,
    /// Never empty.
    pub(super) entries: Vec<u16>,
}

impl Description {
    pub(super) fn read(scan: &Scan<'_>, limits: &Limits) -> Result<Description, DecodeError> {
        let attributes = Attributes(scan);
        let frames = attributes.decimal(tags::NUMBER_OF_FRAMES)?.unwrap_or(1.0);
        if frames != 1.0 {
            return Err(DicomError::NotOneFrame.into());
        }
        for tag in [
            tags::SHARED_FUNCTIONAL_GROUPS,
            tags::PER_FRAME_FUNCTIONAL_GROUPS,
        ] {
            if attributes.get(tag).is_some() {
                return Err(DicomError::EnhancedObject.into());
            }
        }
        if [tags::FLOAT_PIXEL_DATA, tags::DOUBLE_PIXEL_DATA]
            .iter()
            .any(|&tag| attributes.get(tag).is_some())
        {
            return Err(DicomError::FloatPixels.into());
        }
        let rows = attributes.required(tags::ROWS)?;
        let columns = attributes.required(tags::COLUMNS)?;
        let pixels = limits.pixels(columns.into(), rows.into())?;
        let sample = attributes.sample()?;
        Ok(Description {
            rows,
            columns,
            pixels,
            colour: attributes.colour(sample)?,
            sample,
            modality: attributes.modality(sample)?,
            voi: attributes.voi(sample)?,
        })
    }
}

struct Attributes<'a>(&'a Scan<'a>);

impl<'a> Attributes<'a> {
    fn get(&self, tag: Tag) -> Option<Element<'a>> {
        self.0.elements.get(&Place::Top(tag)).copied()
    }

    fn short(&self, bytes: [u8; 2]) -> u16 {
        if self.0.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    /// An attribute of VR US and one value.
    fn unsigned(&self, tag: Tag) -> Result<Option<u16>, DicomError> {
        self.get(tag)
            .map(|element| match (element.vr, element.value.try_into()) {
                (None, Ok(bytes)) => Ok(self.short(bytes)),
                (Some(vr), Ok(bytes)) if vr == *b"US" => Ok(self.short(bytes)),
                _ => Err(DicomError::Malformed { tag }),
            })
            .transpose()
    }

    fn required(&self, tag: Tag) -> Result<u16, DicomError> {
        self.unsigned(tag)?.ok_or(DicomError::Missing { tag })
    }

    /// The first of an attribute's text values, `None` when absent or empty.
    fn text(&self, tag: Tag) -> Option<&'a [u8]> {
        let first = self.get(tag)?.value.split(|&byte| byte == b'\\').next()?;
        let end = first.iter().rposition(|&byte| byte != 0 && byte != b' ')?;
        Some(first.get(..=end)?.trim_ascii())
    }

    /// The first number of a decimal or integer string.
    fn decimal(&self, tag: Tag) -> Result<Option<f64>, DicomError> {
        let Some(text) = self.text(tag) else {
            return Ok(None);
        };
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<f64>().ok())
            // "inf" and "nan" parse too.
            .filter(|value| value.is_finite())
            .map(Some)
            .ok_or(DicomError::Malformed { tag })
    }

    fn sample(&self) -> Result<Sample, DicomError> {
        let allocated = self.required(tags::BITS_ALLOCATED)?;
        let stored = self.required(tags::BITS_STORED)?;
        let high = self.required(tags::HIGH_BIT)?;
        let bytes = match allocated {
            8 => 1,
            16 => 2,
            _ => return Err(DicomError::BitsAllocated { bits: allocated }),
        };
        if stored == 0 || stored > allocated || high != stored - 1 {
            return Err(DicomError::BitLayout {
                allocated,
                stored,
                high,
            });
        }
        let signed = match self.required(tags::PIXEL_REPRESENTATION)? {
            0 => false,
            1 => true,
            _ => {
                return Err(DicomError::Malformed {
                    tag: tags::PIXEL_REPRESENTATION,
                });
            }
        };
        Ok(Sample {
            bytes,
            bits_stored: stored,
            signed,
        })
    }

    fn colour(&self, sample: Sample) -> Result<Colour, DicomError> {
        let samples = self.required(tags::SAMPLES_PER_PIXEL)?;
        let space = match self.text(tags::PHOTOMETRIC_INTERPRETATION) {
            None => {
                return Err(DicomError::Missing {
                    tag: tags::PHOTOMETRIC_INTERPRETATION,
                });
            }
            Some(b"MONOCHROME1") if samples == 1 => return Ok(Colour::Gray { inverted: true }),
            Some(b"MONOCHROME2") if samples == 1 => return Ok(Colour::Gray { inverted: false }),
            Some(b"RGB") => Space::Rgb,
            Some(b"YBR_FULL") => Space::YbrFull,
            Some(b"YBR_FULL_422") => Space::YbrFull422,
            Some(b"YBR_ICT" | b"YBR_RCT") => Space::YbrWavelet,
            Some(_) => return Err(DicomError::Photometric { samples }),
        };
        let full = Sample {
            bytes: 1,
            bits_stored: 8,
            signed: false,
        };
        if samples != 3 || sample != full {
            return Err(DicomError::Photometric { samples });
        }
        let planar = match self.unsigned(tags::PLANAR_CONFIGURATION)?.unwrap_or(0) {
            0 => false,
            1 => true,
            _ => {
                return Err(DicomError::Malformed {
                    tag: tags::PLANAR_CONFIGURATION,
                });
            }
        };
        Ok(Colour::Three { space, planar })
    }

    fn modality(&self, sample: Sample) -> Result<Modality, DicomError> {
        if let Some(table) = self.table(tags::MODALITY_LUT_SEQUENCE, sample)? {
            return Ok(Modality::Table(table));
        }
        let slope = self.decimal(tags::RESCALE_SLOPE)?.unwrap_or(1.0);
        let intercept = self.decimal(tags::RESCALE_INTERCEPT)?.unwrap_or(0.0);
        // Within these bounds f64 tells two neighbouring values apart, so a full
        // range is never empty.
        if !(1e-6..=1e6).contains(&slope.abs()) || intercept.abs() > 1e9 {
            return Err(DicomError::Malformed {
                tag: tags::RESCALE_SLOPE,
            });
        }
        Ok(Modality::Rescale { slope, intercept })
    }

    fn voi(&self, sample: Sample) -> Result<Voi, DicomError> {
        let center = self.decimal(tags::WINDOW_CENTER)?;
        let width = self.decimal(tags::WINDOW_WIDTH)?;
        let (Some(center), Some(width)) = (center, width) else {
            let table = self.table(tags::VOI_LUT_SEQUENCE, sample)?;
            return Ok(table.map_or(Voi::FullRange, Voi::Table));
        };
        let function = match self.text(tags::VOI_LUT_FUNCTION) {
            None | Some(b"LINEAR") => Function::Linear,
            Some(b"LINEAR_EXACT") => Function::LinearExact,
            Some(b"SIGMOID") => Function::Sigmoid,
            Some(_) => {
                return Err(DicomError::Malformed {
                    tag: tags::VOI_LUT_FUNCTION,
                });
            }
        };
        let wide_enough = match function {
            Function::Linear => width >= 1.0,
            Function::LinearExact | Function::Sigmoid => width > 0.0,
        };
        if !wide_enough {
            return Err(DicomError::Malformed {
                tag: tags::WINDOW_WIDTH,
            });
        }
        Ok(Voi::Window {
            center,
            width,
            function,
        })
    }

    /// The table in the first item of a LUT sequence.
    fn table(&self, sequence: Tag, sample: Sample) -> Result<Option<Table>, DicomError> {
        let item = |tag| self.0.elements.get(&Place::FirstItem { sequence, tag });
        let (Some(descriptor), Some(data)) = (item(tags::LUT_DESCRIPTOR), item(tags::LUT_DATA))
        else {
            return Ok(None);
        };
        let malformed = DicomError::Malformed { tag: sequence };
        let Some(([count, first, bits], [])) =
            descriptor.value.as_chunks::<2>().0.split_first_chunk()
        else {
            return Err(malformed);
        };
        let [count, first, bits] = [count, first, bits].map(|bytes| self.short(*bytes));
        // The number of entries 65,536 does not fit and is written as 0.
        let count = if count == 0 {
            1 << 16
        } else {
            usize::from(count)
        };
        // SS says that the input is signed; implicit VR leaves it to the pixels.
        let signed = match descriptor.vr {
            Some(vr) => vr == *b"SS",
            None => sample.signed,
        };
        let first = if signed {
            i32::from(first.cast_signed())
        } else {
            i32::from(first)
        };
        let (words, _) = data.value.as_chunks::<2>();
        let entries: Vec<u16> = if words.len() >= count {
            words
                .iter()
                .take(count)
                .map(|bytes| self.short(*bytes))
                .collect()
        } else if bits == 8 && data.value.len() >= count {
            data.value
                .iter()
                .take(count)
                .map(|&entry| entry.into())
                .collect()
        } else {
            return Err(malformed);
        };
        if !(8..=16).contains(&bits) {
            return Err(malformed);
        }
        Ok(Some(Table {
            first,
            bits,
            entries,
        }))
    }
}
