//! Percent-encoding as AWS does it.
//!
//! Source of truth: RFC 3986, section 2.3 (unreserved characters); AWS General
//! Reference, "Create a signed AWS API request", `UriEncode`.

/// Percent-encodes everything but unreserved characters, and slashes too unless
/// `keep_slash`.
pub(crate) fn uri_encode(bytes: &[u8], keep_slash: bool, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            b'/' if keep_slash => out.push(byte),
            _ => out.extend_from_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}
