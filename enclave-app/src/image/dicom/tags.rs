//! The attributes an image is made of, PS3.6.
//!
//! Not modelled: the other four thousand.

use std::fmt;

/// A DICOM attribute: group and element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(
    /// Group number.
    pub u16,
    /// Element number.
    pub u16,
);

pub(super) const META_LENGTH: Tag = Tag(0x0002, 0x0000);
pub(super) const TRANSFER_SYNTAX: Tag = Tag(0x0002, 0x0010);
pub(super) const SAMPLES_PER_PIXEL: Tag = Tag(0x0028, 0x0002);
pub(super) const PHOTOMETRIC_INTERPRETATION: Tag = Tag(0x0028, 0x0004);
pub(super) const PLANAR_CONFIGURATION: Tag = Tag(0x0028, 0x0006);
pub(super) const NUMBER_OF_FRAMES: Tag = Tag(0x0028, 0x0008);
pub(super) const ROWS: Tag = Tag(0x0028, 0x0010);
pub(super) const COLUMNS: Tag = Tag(0x0028, 0x0011);
pub(super) const BITS_ALLOCATED: Tag = Tag(0x0028, 0x0100);
pub(super) const BITS_STORED: Tag = Tag(0x0028, 0x0101);
pub(super) const HIGH_BIT: Tag = Tag(0x0028, 0x0102);
pub(super) const PIXEL_REPRESENTATION: Tag = Tag(0x0028, 0x0103);
pub(super) const WINDOW_CENTER: Tag = Tag(0x0028, 0x1050);
pub(super) const WINDOW_WIDTH: Tag = Tag(0x0028, 0x1051);
pub(super) const RESCALE_INTERCEPT: Tag = Tag(0x0028, 0x1052);
pub(super) const RESCALE_SLOPE: Tag = Tag(0x0028, 0x1053);
pub(super) const VOI_LUT_FUNCTION: Tag = Tag(0x0028, 0x1056);
pub(super) const MODALITY_LUT_SEQUENCE: Tag = Tag(0x0028, 0x3000);
pub(super) const LUT_DESCRIPTOR: Tag = Tag(0x0028, 0x3002);
pub(super) const LUT_DATA: Tag = Tag(0x0028, 0x3006);
pub(super) const VOI_LUT_SEQUENCE: Tag = Tag(0x0028, 0x3010);
pub(super) const SHARED_FUNCTIONAL_GROUPS: Tag = Tag(0x5200, 0x9229);
pub(super) const PER_FRAME_FUNCTIONAL_GROUPS: Tag = Tag(0x5200, 0x9230);
pub(super) const FLOAT_PIXEL_DATA: Tag = Tag(0x7FE0, 0x0008);
pub(super) const DOUBLE_PIXEL_DATA: Tag = Tag(0x7FE0, 0x0009);
pub(super) const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
pub(super) const ITEM: Tag = Tag(0xFFFE, 0xE000);
pub(super) const ITEM_DELIMITER: Tag = Tag(0xFFFE, 0xE00D);
pub(super) const SEQUENCE_DELIMITER: Tag = Tag(0xFFFE, 0xE0DD);

/// Sequences whose first item is read.
pub(super) const LOOKUP_TABLES: [Tag; 2] = [MODALITY_LUT_SEQUENCE, VOI_LUT_SEQUENCE];

/// Elements of the data set itself that are read.
pub(super) const WANTED: [Tag; 21] = [
    SAMPLES_PER_PIXEL,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    NUMBER_OF_FRAMES,
    ROWS,
    COLUMNS,
    BITS_ALLOCATED,
    BITS_STORED,
    HIGH_BIT,
    PIXEL_REPRESENTATION,
    WINDOW_CENTER,
    WINDOW_WIDTH,
    RESCALE_INTERCEPT,
    RESCALE_SLOPE,
    VOI_LUT_FUNCTION,
    MODALITY_LUT_SEQUENCE,
    VOI_LUT_SEQUENCE,
    SHARED_FUNCTIONAL_GROUPS,
    PER_FRAME_FUNCTIONAL_GROUPS,
    FLOAT_PIXEL_DATA,
    DOUBLE_PIXEL_DATA,
];

impl Tag {
    /// The attribute's name in PS3.6, for those that are read here.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            TRANSFER_SYNTAX => "Transfer Syntax UID",
            SAMPLES_PER_PIXEL => "Samples per Pixel",
            PHOTOMETRIC_INTERPRETATION => "Photometric Interpretation",
            PLANAR_CONFIGURATION => "Planar Configuration",
            NUMBER_OF_FRAMES => "Number of Frames",
            ROWS => "Rows",
            COLUMNS => "Columns",
            BITS_ALLOCATED => "Bits Allocated",
            BITS_STORED => "Bits Stored",
            HIGH_BIT => "High Bit",
            PIXEL_REPRESENTATION => "Pixel Representation",
            WINDOW_CENTER => "Window Center",
            WINDOW_WIDTH => "Window Width",
            RESCALE_INTERCEPT => "Rescale Intercept",
            RESCALE_SLOPE => "Rescale Slope",
            VOI_LUT_FUNCTION => "VOI LUT Function",
            MODALITY_LUT_SEQUENCE => "Modality LUT Sequence",
            LUT_DESCRIPTOR => "LUT Descriptor",
            LUT_DATA => "LUT Data",
            VOI_LUT_SEQUENCE => "VOI LUT Sequence",
            PIXEL_DATA => "Pixel Data",
            _ => return None,
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04X},{:04X})", self.0, self.1)?;
        self.name().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}
