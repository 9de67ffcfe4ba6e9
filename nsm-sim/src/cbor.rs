//! Writing CBOR in the shortest definite form (RFC 8949 §4.2.1), as AWS's
//! serialiser does: shared by the NSM's replies and its documents.
//!
//! Reading is elsewhere, twice and on purpose: the device accepts what
//! serde_cbor accepts, the verifier only what hardware writes.

/// Major type of an unsigned integer.
pub(crate) const UNSIGNED: u8 = 0;
/// Major type of an array.
pub(crate) const ARRAY: u8 = 4;
/// Major type of a map.
pub(crate) const MAP: u8 = 5;

/// The shortest head of major type `major` with argument `n`.
pub(crate) fn put_head(out: &mut Vec<u8>, major: u8, n: u64) {
    let major = major << 5;
    match n {
        0..=0x17 => out.push(major | n as u8),
        0x18..=0xff => out.extend([major | 0x18, n as u8]),
        0x100..=0xffff => {
            out.push(major | 0x19);
            out.extend((n as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 0x1a);
            out.extend((n as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 0x1b);
            out.extend(n.to_be_bytes());
        }
    }
}

/// A text string.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A byte string.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_head(out, 2, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_the_shortest() {
        for (n, head) in [
            (23, "97"),
            (24, "9818"),
            (255, "98ff"),
            (256, "990100"),
            (65_535, "99ffff"),
            (65_536, "9a00010000"),
            (1 << 32, "9b0000000100000000"),
        ] {
            let mut out = Vec::new();
            put_head(&mut out, ARRAY, n);
            assert_eq!(hex::encode(out), head, "{n}");
        }
    }
}
