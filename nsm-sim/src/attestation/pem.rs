//! Certificates as PEM text (RFC 7468): one `CERTIFICATE` block.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Text longer than this holds no certificate of the kind: AWS's root has 790
/// characters.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// The block around `der`, 64 characters a line.
pub(crate) fn encode(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = format!("{BEGIN}\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64)); // ASCII: any split is a boundary
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(END);
    pem.push('\n');
    pem
}

/// The DER of the only block in `text`; `None` if there is none, more than one,
/// or it is not base64. Text around the block is ignored.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (_, after) = text.split_once(BEGIN)?;
    let (body, rest) = after.split_once(END)?;
    if rest.contains(BEGIN) {
        return None;
    }
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back_and_two_blocks_are_refused() {
        let der: Vec<u8> = (0..200).collect();
        let pem = encode(&der);
        assert!(pem.lines().all(|line| line.len() <= 64));
        assert_eq!(decode(&pem), Some(der.clone()));
        assert_eq!(
            decode(&format!("subject: x\r\n{}", pem.replace('\n', "\r\n"))),
            Some(der)
        );
        assert_eq!(decode(&format!("{pem}{pem}")), None);
        assert_eq!(decode("no certificate"), None);
        assert_eq!(decode(&pem.replace('A', "*")), None);
    }
}
