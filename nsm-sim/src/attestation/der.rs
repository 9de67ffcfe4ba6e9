//! A writer of the few DER forms that the simulated PKI needs.
//!
//! Models: X.690 §10 definite minimal lengths, as X.509 (RFC 5280) uses them.
//! Writing is by hand so that DN orders, string types and extension orders come
//! out exactly as AWS's; reading is the verifier's, with other code.

/// Tags of X.680 that X.509 uses here.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[n]`, primitive.
    pub(crate) const fn context(n: u8) -> u8 {
        0x80 | n
    }
    /// `[n]`, constructed.
    pub(crate) const fn constructed(n: u8) -> u8 {
        0xa0 | n
    }
}

/// One element: tag, length, `parts` as content.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len + 6);
    out.push(tag);
    match len {
        0..=0x7f => out.push(len as u8),
        _ => {
            let bytes = len.to_be_bytes();
            let skip = len.leading_zeros() as usize / 8;
            out.push(0x80 | (bytes.len() - skip) as u8);
            out.extend(bytes.iter().skip(skip));
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A non-negative integer from its big-endian bytes.
pub(crate) fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    match big_endian.get(zeros..) {
        Some([]) | None => element(tag::INTEGER, &[&[0]]),
        Some(digits @ [first, ..]) if first & 0x80 != 0 => element(tag::INTEGER, &[&[0], digits]),
        Some(digits) => element(tag::INTEGER, &[digits]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal() {
        assert_eq!(
            element(tag::OCTET_STRING, &[&[1, 2], &[3]]),
            [4, 3, 1, 2, 3]
        );
        assert_eq!(
            element(tag::OCTET_STRING, &[&[0; 127]]).get(..2),
            Some(&[4, 0x7f][..])
        );
        assert_eq!(
            element(tag::OCTET_STRING, &[&[0; 128]]).get(..3),
            Some(&[4, 0x81, 0x80][..])
        );
        assert_eq!(
            element(tag::OCTET_STRING, &[&[0; 256]]).get(..4),
            Some(&[4, 0x82, 1, 0][..])
        );
    }

    #[test]
    fn integers_are_minimal_and_positive() {
        assert_eq!(unsigned(&[0, 0]), [2, 1, 0]);
        assert_eq!(unsigned(&[]), [2, 1, 0]);
        assert_eq!(unsigned(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
    }
}
