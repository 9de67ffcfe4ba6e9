//! Enclave image files: read, written, measured, described, compared, unpacked.
//!
//! Models the EIF format, versions 3 and 4, and the registers PCR0, PCR1, PCR2
//! and PCR8 that an image determines. Source of truth: ground truth NSM §3.12,
//! and four images measured by the official image-format library. Does not
//! model booting: kernel and command line are measured, never run.
//!
//! ```
//! use nsm_sim::eif::{Eif, EifBuilder};
//!
//! let file = EifBuilder::new(b"kernel", "console=ttyS0").ramdisk(b"init").build()?;
//! let image = Eif::read(&file)?;
//! // Without an application ramdisk the whole image is its bootstrap part.
//! assert_eq!(image.measurements().pcr0, image.measurements().pcr1);
//! # Ok::<(), nsm_sim::eif::EifError>(())
//! ```

mod application;
mod builder;
mod describe;
pub mod diff;
mod layout;
mod measure;
pub mod ramdisk;
mod signature;
mod unpack;

use std::fmt;

pub use application::{Application, ApplicationError};
pub use builder::{EifBuilder, reproducible_metadata};
pub use describe::{Description, SectionDescription, SignatureDescription};
pub use signature::{Signature, SignatureError};
pub use unpack::{UNPACKED_BYTES_MAX, UnpackError, unpack};

use crate::device::Measurements;
use ramdisk::RamdiskError;

/// Largest image that is read or written: 4 GiB. An image is held in the
/// enclave's memory together with all it unpacks to.
pub const EIF_BYTES_MAX: u64 = 4 << 30;

/// An enclave image, borrowed from the bytes of its file.
///
/// A value of this type has passed every check of the format: magic, version,
/// checksum, a section table that agrees with the sections, the sections that an
/// enclave needs, and a signature section (if any) that holds a certificate. It
/// has *not* been checked that the signature is valid: [`Eif::verify_signature`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eif<'a> {
    header: Header,
    sections: Vec<Section<'a>>,
    signature: Option<Signature>,
}

/// The header's own facts; none of them is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format version, 3 or 4.
    pub version: u16,
    /// What the kernel runs on.
    pub architecture: Architecture,
    /// Memory the enclave gets unless told otherwise, in bytes.
    pub default_memory_bytes: u64,
    /// Virtual CPUs the enclave gets unless told otherwise.
    pub default_cpus: u64,
}

/// What an image's kernel runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// Header flag 0 clear.
    X86_64,
    /// Header flag 0 set.
    Aarch64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SectionKind {
    /// The kernel image.
    Kernel,
    /// The kernel's command line, text without a final NUL.
    Cmdline,
    /// A ramdisk; the first boots, the others are the application.
    Ramdisk,
    /// The signing certificate and the signature of PCR0.
    Signature,
    /// How the image was built: JSON, not measured.
    Metadata,
}

impl SectionKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Kernel,
        Self::Cmdline,
        Self::Ramdisk,
        Self::Signature,
        Self::Metadata,
    ];

    const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Kernel,
            2 => Self::Cmdline,
            3 => Self::Ramdisk,
            4 => Self::Signature,
            5 => Self::Metadata,
            _ => return None,
        })
    }

    const fn code(self) -> u16 {
        match self {
            Self::Kernel => 1,
            Self::Cmdline => 2,
            Self::Ramdisk => 3,
            Self::Signature => 4,
            Self::Metadata => 5,
        }
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Cmdline => "cmdline",
            Self::Ramdisk => "ramdisk",
            Self::Signature => "signature",
            Self::Metadata => "metadata",
        })
    }
}

/// One section of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// What it holds.
    pub kind: SectionKind,
    /// Where its data starts in the file.
    pub offset: usize,
    /// Its data, without the section header.
    pub data: &'a [u8],
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} bytes at {}",
            self.kind,
            self.data.len(),
            self.offset
        )
    }
}

impl<'a> Eif<'a> {
    /// Reads an image.
    ///
    /// # Errors
    /// If any rule of the format is broken; see [`EifError`].
    pub fn read(file: &'a [u8]) -> Result<Self, EifError> {
        let mut image = layout::read(file)?;
        image.signature = match image.section(SectionKind::Signature) {
            Some(section) => Some(Signature::parse(section.data)?),
            None => None,
        };
        Ok(image)
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// All sections, in the order of the file.
    #[must_use]
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The data of every ramdisk, in the order of the file.
    pub fn ramdisks(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.sections
            .iter()
            .filter(|section| section.kind == SectionKind::Ramdisk)
            .map(|section| section.data)
    }

    /// The registers this image determines.
    #[must_use]
    pub fn measurements(&self) -> Measurements {
        measure::measure(
            self.sections
                .iter()
                .map(|section| (section.kind, section.data)),
            self.signature.as_ref().map(Signature::certificate_der),
        )
    }

    /// The signature section, if the image has one.
    #[must_use]
    pub const fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// Checks that the signature, if there is one, is by the certificate beside
    /// it and covers this image's own PCR0. True if the image is signed.
    ///
    /// # Errors
    /// If it is signed and the signature does not hold.
    pub fn verify_signature(&self) -> Result<bool, EifError> {
        match &self.signature {
            Some(signature) => {
                signature.verify(&self.measurements().pcr0)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The metadata section, if the image has one. It is not measured: anybody
    /// can change it without moving a register.
    ///
    /// # Errors
    /// If the section holds no JSON.
    pub fn metadata(&self) -> Result<Option<serde_json::Value>, EifError> {
        self.section(SectionKind::Metadata)
            .map(|section| serde_json::from_slice(section.data))
            .transpose()
            .map_err(|_| EifError::MetadataNotJson)
    }

    /// The command, environment and root file system that the image's init
    /// would start, read from the ramdisks after the first as the kernel lays
    /// them over each other.
    ///
    /// # Errors
    /// If a ramdisk cannot be read or holds no application.
    pub fn application(&self) -> Result<Application, EifError> {
        application::application(self.ramdisks())
    }

    /// What the image is, for people ([`fmt::Display`]) and programs (serde).
    #[must_use]
    pub fn describe(&self) -> Description {
        describe::describe(self)
    }

    fn section(&self, kind: SectionKind) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

/// Why a file is not a usable enclave image.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EifError {
    /// The file ends inside the header or a section header.
    #[error("the file ends in the middle of a header")]
    TooShort,
    /// More than [`EIF_BYTES_MAX`].
    #[error("larger than {EIF_BYTES_MAX} bytes, the most an image may have")]
    TooLarge,
    /// The first four bytes are not `.eif`.
    #[error("not an enclave image: it starts with {found:02x?} instead of `.eif`")]
    NotAnEif {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version other than 3 or 4.
    #[error("version {version} of the image format; versions 3 and 4 are known")]
    UnsupportedVersion {
        /// The version in the header.
        version: u16,
    },
    /// The checksum does not match the bytes.
    #[error(
        "damaged or incomplete: the header says CRC32 {stored:08x}, the bytes have {computed:08x}"
    )]
    Crc {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the file.
        computed: u32,
    },
    /// A header flag without a meaning is set.
    #[error("header flags {flags:#06x}: only bit 0 (arm64) has a meaning")]
    UnknownFlags {
        /// All flags of the header.
        flags: u16,
    },
    /// A field without a meaning is not zero.
    #[error("the field `{field}` has no meaning and must be zero")]
    ReservedNotZero {
        /// Name of the field.
        field: &'static str,
    },
    /// More than the table's 32.
    #[error("{count} sections; an image has at most 32")]
    TooManySections {
        /// The number asked for.
        count: usize,
    },
    /// The table puts a section elsewhere than right after the one before.
    #[error(
        "section {index} is at byte {table} by the table, but the one before ends at {position}"
    )]
    SectionNotContiguous {
        /// Which section, from 0.
        index: usize,
        /// Where the table says it is.
        table: u64,
        /// Where the previous one ends.
        position: usize,
    },
    /// Table and section header disagree.
    #[error("section {index} has {table} bytes by the table and {section} by its own header")]
    SectionSizeMismatch {
        /// Which section, from 0.
        index: usize,
        /// Size in the table.
        table: u64,
        /// Size in the section's header.
        section: u64,
    },
    /// A section is longer than the file.
    #[error("section {index} claims {size} bytes with {left} left in the file")]
    SectionPastEnd {
        /// Which section, from 0.
        index: usize,
        /// Size it claims.
        size: u64,
        /// Bytes left.
        left: usize,
    },
    /// A section type other than 1 to 5.
    #[error("section {index} is of type {kind}, which is unknown")]
    UnknownSection {
        /// Which section, from 0.
        index: usize,
        /// The type's number.
        kind: u16,
    },
    /// A metadata section in a version that has none.
    #[error("a metadata section in an image of version 3; version 4 introduced it")]
    MetadataBeforeVersion4,
    /// A section that every image has is not there.
    #[error("the image has no {kind} section")]
    MissingSection {
        /// Which.
        kind: SectionKind,
    },
    /// A section that is there once is there twice.
    #[error("the image has more than one {kind} section")]
    RepeatedSection {
        /// Which.
        kind: SectionKind,
    },
    /// Bytes after the last section.
    #[error("{count} bytes follow the last section")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The metadata section is not JSON.
    #[error("the metadata section is not JSON")]
    MetadataNotJson,
    /// A command line with a NUL, which the kernel would cut there while the
    /// register covers all of it.
    #[error("the command line holds a NUL character")]
    CmdlineWithNul,
    /// The signature section.
    #[error("signature section: {0}")]
    Signature(#[from] SignatureError),
    /// A ramdisk is not an archive.
    #[error("ramdisk {index}: {source}")]
    Ramdisk {
        /// Which ramdisk, from 0.
        index: usize,
        /// What is wrong with it.
        source: RamdiskError,
    },
    /// The ramdisks hold no application that could be started.
    #[error("{0}")]
    Application(#[from] ApplicationError),
}

#[cfg(test)]
mod tests;
