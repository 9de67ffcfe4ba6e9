//! Transfer syntaxes: how a DICOM file encodes its elements and its pixels.
//!
//! Source of truth: PS3.5 §10 and annex A, PS3.6 table A-1. Not modelled: video,
//! JPEG XL, HTJ2K, the retired progressive and hierarchical JPEG processes.

use super::DicomError;

/// A transfer syntax whose images this application reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferSyntax {
    /// 1.2.840.10008.1.2
    ImplicitLittleEndian,
    /// 1.2.840.10008.1.2.1
    ExplicitLittleEndian,
    /// 1.2.840.10008.1.2.1.99
    Deflated,
    /// 1.2.840.10008.1.2.2 (retired)
    ExplicitBigEndian,
    /// 1.2.840.10008.1.2.5
    Rle,
    /// 1.2.840.10008.1.2.4.50
    JpegBaseline,
    /// 1.2.840.10008.1.2.4.51
    JpegExtended,
    /// 1.2.840.10008.1.2.4.57
    JpegLossless,
    /// 1.2.840.10008.1.2.4.70: first-order prediction
    JpegLosslessSv1,
    /// 1.2.840.10008.1.2.4.80
    JpegLsLossless,
    /// 1.2.840.10008.1.2.4.81
    JpegLsNearLossless,
    /// 1.2.840.10008.1.2.4.90
    Jpeg2000Lossless,
    /// 1.2.840.10008.1.2.4.91
    Jpeg2000,
}

const READ: [TransferSyntax; 13] = [
    TransferSyntax::ImplicitLittleEndian,
    TransferSyntax::ExplicitLittleEndian,
    TransferSyntax::Deflated,
    TransferSyntax::ExplicitBigEndian,
    TransferSyntax::Rle,
    TransferSyntax::JpegBaseline,
    TransferSyntax::JpegExtended,
    TransferSyntax::JpegLossless,
    TransferSyntax::JpegLosslessSv1,
    TransferSyntax::JpegLsLossless,
    TransferSyntax::JpegLsNearLossless,
    TransferSyntax::Jpeg2000Lossless,
    TransferSyntax::Jpeg2000,
];

/// Known and refused, so that the refusal can say what the file is.
const REFUSED: [(&str, &str); 6] = [
    ("1.2.840.10008.1.2.4.100", "MPEG-2 video"),
    ("1.2.840.10008.1.2.4.110", "JPEG XL"),
    ("1.2.840.10008.1.2.4.112", "JPEG XL"),
    ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
    ("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000"),
    ("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000"),
];

impl TransferSyntax {
    /// The UID.
    pub fn uid(self) -> &'static str {
        match self {
            TransferSyntax::ImplicitLittleEndian => "1.2.840.10008.1.2",
            TransferSyntax::ExplicitLittleEndian => "1.2.840.10008.1.2.1",
            TransferSyntax::Deflated => "1.2.840.10008.1.2.1.99",
            TransferSyntax::ExplicitBigEndian => "1.2.840.10008.1.2.2",
            TransferSyntax::Rle => "1.2.840.10008.1.2.5",
            TransferSyntax::JpegBaseline => "1.2.840.10008.1.2.4.50",
            TransferSyntax::JpegExtended => "1.2.840.10008.1.2.4.51",
            TransferSyntax::JpegLossless => "1.2.840.10008.1.2.4.57",
            TransferSyntax::JpegLosslessSv1 => "1.2.840.10008.1.2.4.70",
            TransferSyntax::JpegLsLossless => "1.2.840.10008.1.2.4.80",
            TransferSyntax::JpegLsNearLossless => "1.2.840.10008.1.2.4.81",
            TransferSyntax::Jpeg2000Lossless => "1.2.840.10008.1.2.4.90",
            TransferSyntax::Jpeg2000 => "1.2.840.10008.1.2.4.91",
        }
    }

    /// Whether the pixels are uncompressed.
    pub fn is_native(self) -> bool {
        matches!(
            self,
            TransferSyntax::ImplicitLittleEndian
                | TransferSyntax::ExplicitLittleEndian
                | TransferSyntax::Deflated
                | TransferSyntax::ExplicitBigEndian
        )
    }

    /// The syntax of a UID as it stands in a file, padded or not.
    pub(super) fn from_uid(value: &[u8]) -> Result<TransferSyntax, DicomError> {
        let uid = value.trim_ascii_end();
        let uid = uid.strip_suffix(b"\0").unwrap_or(uid);
        if let Some(syntax) = READ.iter().find(|syntax| syntax.uid().as_bytes() == uid) {
            return Ok(*syntax);
        }
        Err(
            match REFUSED
                .iter()
                .find(|(refused, _)| refused.as_bytes() == uid)
            {
                Some(&(uid, name)) => DicomError::UnsupportedTransferSyntax { uid, name },
                None => DicomError::UnknownTransferSyntax,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syntax_is_found_by_its_uid_with_and_without_padding() {
        for syntax in READ {
            for padding in ["", "\0", " "] {
                let uid = format!("{}{padding}", syntax.uid());
                assert_eq!(TransferSyntax::from_uid(uid.as_bytes()).unwrap(), syntax);
            }
        }
    }

    #[test]
    fn refuses_what_it_knows_and_cannot_read_by_name() {
        let error = TransferSyntax::from_uid(b"1.2.840.10008.1.2.4.201").unwrap_err();
        assert!(
            error.to_string().contains("High-Throughput JPEG 2000"),
            "{error}"
        );
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for uid in [
            &b""[..],
            b"1.2.3",
            b"1.2.840.10008.1.2.",
            b"1.2.840.10008.1.2.1\0\0\0",
        ] {
            assert!(matches!(
                TransferSyntax::from_uid(uid),
                Err(DicomError::UnknownTransferSyntax)
            ));
        }
    }
}
