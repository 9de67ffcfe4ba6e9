//! What a proxy's answer has to be, from the proxy API specification and without
//! the client's code.
//!
//! Bytes that can be read as several HTTP messages are given every reading: the
//! client may take any of them, but nothing that is in none.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::proxy::bytes;

/// The longest body that KMS may believe.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The JSON bodies that the bytes may have under a status of 200.
pub(super) fn bodies(answer: &[u8]) -> Vec<Value> {
    let Some((lengths, rest)) = final_head(answer) else {
        return Vec::new();
    };
    let by_length = lengths.iter().filter_map(|length| rest.get(..*length));
    let mut readings: Vec<Vec<u8>> = by_length.map(<[u8]>::to_vec).collect();
    readings.push(rest.to_vec());
    readings.extend(unchunked(rest));
    readings
        .iter()
        .filter(|body| body.len() <= BODY_BYTES_MAX)
        .filter_map(|body| serde_json::from_slice(body).ok())
        .collect()
}

/// The lengths that the head announces, and what follows it, if its status is 200.
/// Heads of the 100s come before it.
fn final_head(answer: &[u8]) -> Option<(Vec<usize>, &[u8])> {
    let mut rest = answer;
    loop {
        let (mut status, mut lengths) = (None, Vec::new());
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = &rest[end + 1..];
            let line = String::from_utf8_lossy(line);
            match (&status, line.is_empty()) {
                (None, true) => {} // empty lines before it all
                (None, false) => status = Some(status_of(&line)?),
                (Some(_), true) => break,
                (Some(_), false) => {
                    let (name, value) = line.split_once(':').unwrap_or_default();
                    if name.eq_ignore_ascii_case("content-length") {
                        lengths.extend(value.trim().parse::<usize>());
                    }
                }
            }
        }
        match status {
            Some(200) => return Some((lengths, rest)),
            Some(100..=199) => {}
            _ => return None,
        }
    }
}

fn status_of(line: &str) -> Option<u16> {
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    rest.get(..3)?.parse().ok()
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&rest[..end]);
        let size = line.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 1..];
        if size == 0 {
            return Some(body);
        }
        body.extend(rest.get(..size)?);
        rest = rest.get(size..)?;
        let after = rest.iter().position(|byte| *byte == b'\n')?;
        rest = &rest[after + 1..];
    }
}

/// What a proxy says it made of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) iv: Vec<u8>,
    pub(super) tag: Vec<u8>,
    pub(super) metadata: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
}

impl Sealed {
    /// As good as any, of so many bytes.
    pub(super) fn good(length: usize) -> Self {
        Self {
            iv: vec![1; 12],
            tag: vec![2; 16],
            metadata: b"version=1".to_vec(),
            ciphertext: vec![3; length],
        }
    }

    /// The answer to `Encrypt`.
    pub(super) fn body(&self, aad: &[u8]) -> Value {
        json!({
            "initializationVector": BASE64.encode(&self.iv),
            "authenticationTag": BASE64.encode(&self.tag),
            "ciphertextMetadata": BASE64.encode(&self.metadata),
            "ciphertext": BASE64.encode(&self.ciphertext),
            "ciphertextDataIntegrityValue": BASE64.encode(self.integrity(aad)),
        })
    }

    /// The answer's parts, if they are as the specification wants them for a
    /// plaintext of `length`.
    pub(super) fn of(body: &Value, length: usize, aad: &[u8]) -> Option<Self> {
        let sealed = Self::given_back(body)?;
        let is_good = [12, 16].contains(&sealed.iv.len())
            && sealed.tag.len() == 16
            && sealed.metadata.len() <= 20
            && sealed.ciphertext.len() == length
            && bytes(&body["ciphertextDataIntegrityValue"])? == sealed.integrity(aad);
        is_good.then_some(sealed)
    }

    /// The parts of an answer to `Encrypt`, or of a request to `Decrypt`.
    pub(super) fn given_back(body: &Value) -> Option<Self> {
        Some(Self {
            iv: bytes(&body["initializationVector"])?,
            tag: bytes(&body["authenticationTag"])?,
            metadata: match &body["ciphertextMetadata"] {
                Value::Null => Vec::new(),
                some => bytes(some)?,
            },
            ciphertext: bytes(&body["ciphertext"])?,
        })
    }

    fn integrity(&self, aad: &[u8]) -> Vec<u8> {
        let all = [aad, &self.metadata, &self.iv, &self.ciphertext, &self.tag].concat();
        digest::digest(&digest::SHA256, &all).as_ref().to_vec()
    }
}

/// An answer to `GetKeyMetadata` of a key that KMS may use.
pub(super) fn is_usable_key(body: &Value) -> bool {
    let usages = body["keyUsage"].as_array();
    body["keySpec"] == "AES_256"
        && body["keyStatus"] == "ENABLED"
        && usages.is_some_and(|usages| {
            usages.len() <= 10
                && ["ENCRYPT", "DECRYPT"]
                    .iter()
                    .all(|it| usages.contains(&json!(it)))
        })
}

/// An answer to `GetHealthStatus`.
pub(super) fn is_healthy(body: &Value) -> bool {
    let texts = |value: &Value, names: &[&str]| names.iter().all(|name| value[*name].is_string());
    let states = ["ACTIVE", "DEGRADED", "UNAVAILABLE"];
    let managers = body["ekmFleetDetails"].as_array();
    texts(body, &["xksProxyVendor", "xksProxyModel", "ekmVendor"])
        && body["xksProxyFleetSize"].as_u64().is_some()
        && managers.is_some_and(|managers| {
            (1..=10).contains(&managers.len())
                && managers.iter().all(|manager| {
                    texts(manager, &["id", "model"])
                        && states.iter().any(|state| manager["healthStatus"] == *state)
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_of_an_answer_is_found_and_no_other() {
        let found = |text: &str| bodies(text.as_bytes());
        for good in [
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}",
            "HTTP/1.0 200\n\n{\"a\":1}",
            "\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}more",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{\"\r\n5;x=y\r\na\":1}\r\n0\r\n\r\n",
        ] {
            let found = found(good);
            assert!(!found.is_empty(), "{good}");
            assert!(found.iter().all(|it| *it == json!({ "a": 1 })), "{good}");
        }
        let padding = " ".repeat(BODY_BYTES_MAX);
        for bad in [
            "HTTP/1.1 201 OK\r\n\r\n{\"a\":1}",
            "HTTP/1.1 200 OK\r\n{\"a\":1}",
            "HTTP/2 200 OK\r\n\r\n{\"a\":1}",
            &format!("HTTP/1.1 200 OK\r\n\r\n{{\"a\":1}}{padding}"),
        ] {
            assert!(found(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn parts_of_other_lengths_or_without_their_integrity_value_are_not_good() {
        let good = Sealed::good(50);
        assert_eq!(
            Sealed::of(&good.body(b"aad"), 50, b"aad"),
            Some(good.clone())
        );
        assert_eq!(Sealed::of(&good.body(b"aad"), 50, b"other"), None);
        assert_eq!(Sealed::of(&good.body(b"aad"), 51, b"aad"), None);
        let mut long = good;
        long.metadata = vec![0; 21];
        assert_eq!(Sealed::of(&long.body(b"aad"), 50, b"aad"), None);
    }
}
