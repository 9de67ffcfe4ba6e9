//! `aws-chunked` bodies: S3 uploads whose chunks carry their own signatures or
//! whose checksum follows in a trailer.
//!
//! Source of truth: AWS S3 API reference, "Signature Calculations for the
//! Authorization Header: Transferring Payload in Multiple Chunks" and "… Including
//! Trailing Headers". Works on the whole body; SigV4A chunks are not modelled.

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;

/// `X-Amz-Content-Sha256` words that announce an `aws-chunked` body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streaming {
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`.
    Signed,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`.
    SignedTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`.
    UnsignedTrailer,
}

impl Streaming {
    pub(crate) fn parse(content_sha256: &str) -> Option<Self> {
        match content_sha256 {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Some(Self::Signed),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Some(Self::SignedTrailer),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Some(Self::UnsignedTrailer),
            _ => None,
        }
    }
}

/// What checks the signatures of chunks: the key and the chain so far.
pub(crate) struct ChunkSigner {
    pub(crate) key: hmac::Key,
    /// `X-Amz-Date` of the request.
    pub(crate) amz_date: String,
    /// Credential scope of the request.
    pub(crate) scope: String,
    /// Signature before the next chunk, first the request's own.
    pub(crate) previous: [u8; 32],
}

/// A decoded upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) body: Bytes,
    /// Trailing headers, names in lower case.
    pub(crate) trailers: Vec<(String, String)>,
}

/// Why an `aws-chunked` body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("the chunked upload is malformed at byte {at}")]
    Malformed { at: usize },
    #[error("the chunked upload ends before its last chunk")]
    Truncated,
    #[error("the signature of the chunk at byte {at} does not match")]
    Signature { at: usize },
}

const TRAILERS_MAX: usize = 32;
const LINE_BYTES_MAX: usize = 1024;

/// Decodes `body`, checking signatures if there is a `signer`.
pub(crate) fn decode(
    body: &Bytes,
    streaming: Streaming,
    mut signer: Option<ChunkSigner>,
) -> Result<Decoded, ChunkError> {
    let mut at = 0;
    let mut data = Vec::with_capacity(body.len());
    let mut only: Option<Bytes> = None; // an upload of one chunk is not copied
    loop {
        let start = at;
        let line = take_line(body, &mut at)?;
        let (size, signature) =
            parse_chunk_line(line).ok_or(ChunkError::Malformed { at: start })?;
        let end = at
            .checked_add(size)
            .ok_or(ChunkError::Malformed { at: start })?;
        if end > body.len() {
            return Err(ChunkError::Truncated);
        }
        let chunk = body.slice(at..end);
        if streaming != Streaming::UnsignedTrailer
            && let Some(signer) = &mut signer
        {
            let signature = signature.ok_or(ChunkError::Signature { at: start })?;
            signer
                .check_chunk(&chunk, &signature)
                .ok_or(ChunkError::Signature { at: start })?;
        }
        at = end;
        if size == 0 {
            break;
        }
        if take_line(body, &mut at)? != b"" {
            return Err(ChunkError::Malformed { at: end });
        }
        match &only {
            None if data.is_empty() => only = Some(chunk),
            _ => {
                if let Some(first) = only.take() {
                    data.extend_from_slice(&first);
                }
                data.extend_from_slice(&chunk);
            }
        }
    }
    let trailers = take_trailers(body, &mut at, streaming, signer)?;
    Ok(Decoded {
        body: only.unwrap_or_else(|| data.into()),
        trailers,
    })
}

fn take_trailers(
    body: &Bytes,
    at: &mut usize,
    streaming: Streaming,
    signer: Option<ChunkSigner>,
) -> Result<Vec<(String, String)>, ChunkError> {
    let start = *at;
    let malformed = ChunkError::Malformed { at: start };
    let mut trailers = Vec::new();
    let mut signature = None;
    while *at < body.len() {
        let line = take_line(body, at)?;
        if line.is_empty() {
            continue; // the end, or the empty line before a trailer's signature
        }
        let line = std::str::from_utf8(line).map_err(|_| malformed.clone())?;
        let (name, value) = line.split_once(':').ok_or_else(|| malformed.clone())?;
        let name = name.trim().to_ascii_lowercase();
        if name == "x-amz-trailer-signature" {
            signature = parse_signature(value.trim().as_bytes());
        } else if trailers.len() < TRAILERS_MAX {
            trailers.push((name, value.trim().to_owned()));
        } else {
            return Err(malformed);
        }
    }
    if streaming == Streaming::SignedTrailer
        && let Some(signer) = signer
    {
        let mut text = String::new();
        for (name, value) in &trailers {
            text.push_str(name);
            text.push(':');
            text.push_str(value);
            text.push('\n');
        }
        signature
            .and_then(|signature| signer.check_trailers(text.as_bytes(), &signature))
            .ok_or(ChunkError::Signature { at: start })?;
    }
    Ok(trailers)
}

impl ChunkSigner {
    fn check_chunk(&mut self, chunk: &[u8], signature: &[u8; 32]) -> Option<()> {
        let empty = hex::encode(digest::digest(&digest::SHA256, b""));
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{empty}\n{}",
            self.amz_date,
            self.scope,
            hex::encode(self.previous),
            hex::encode(digest::digest(&digest::SHA256, chunk)),
        );
        hmac::verify(&self.key, to_sign.as_bytes(), signature).ok()?;
        self.previous = *signature;
        Some(())
    }

    fn check_trailers(&self, text: &[u8], signature: &[u8; 32]) -> Option<()> {
        let to_sign = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.amz_date,
            self.scope,
            hex::encode(self.previous),
            hex::encode(digest::digest(&digest::SHA256, text)),
        );
        hmac::verify(&self.key, to_sign.as_bytes(), signature).ok()
    }
}

/// The bytes up to the next CRLF; `at` moves behind it.
fn take_line<'a>(body: &'a [u8], at: &mut usize) -> Result<&'a [u8], ChunkError> {
    let rest = body.get(*at..).unwrap_or_default();
    let window = rest
        .get(..rest.len().min(LINE_BYTES_MAX))
        .unwrap_or_default();
    match window.windows(2).position(|pair| pair == b"\r\n") {
        Some(length) => {
            *at += length + 2;
            Ok(rest.get(..length).unwrap_or_default())
        }
        None if window.len() < LINE_BYTES_MAX => Err(ChunkError::Truncated),
        None => Err(ChunkError::Malformed { at: *at }),
    }
}

/// `400;chunk-signature=…` or `400`.
fn parse_chunk_line(line: &[u8]) -> Option<(usize, Option<[u8; 32]>)> {
    let line = std::str::from_utf8(line).ok()?;
    let (size, extension) = line.split_once(';').unwrap_or((line, ""));
    if size.is_empty() || size.len() > 8 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let size = usize::from_str_radix(size, 16).ok()?;
    let signature = extension
        .strip_prefix("chunk-signature=")
        .and_then(|signature| parse_signature(signature.as_bytes()));
    Some((size, signature))
}

fn parse_signature(hex_digits: &[u8]) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    hex::decode_to_slice(hex_digits, &mut signature).ok()?;
    Some(signature)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edge::sigv4::{Scope, signing_key};

    fn array(digits: &str) -> [u8; 32] {
        hex::decode(digits).unwrap().try_into().unwrap()
    }

    /// The example of AWS's "Transferring Payload in Multiple Chunks": 66,560
    /// bytes of `a` in two chunks.
    fn aws_example() -> (Bytes, ChunkSigner) {
        let scope = Scope {
            date: "20130524".into(),
            region: "us-east-1".into(),
            service: "s3".into(),
        };
        let signer = ChunkSigner {
            key: signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &scope),
            amz_date: "20130524T000000Z".into(),
            scope: scope.to_string(),
            previous: array("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"),
        };
        let mut body = Vec::new();
        let chunks = [
            (
                65_536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (
                1_024,
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            ),
            (
                0,
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ),
        ];
        for (size, signature) in chunks {
            body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
            body.extend(std::iter::repeat_n(b'a', size));
            body.extend_from_slice(b"\r\n");
        }
        (body.into(), signer)
    }

    #[test]
    fn accepts_the_chunked_example_of_the_s3_documentation() {
        let (body, signer) = aws_example();
        let decoded = decode(&body, Streaming::Signed, Some(signer)).unwrap();
        assert_eq!(decoded.body.len(), 66_560);
        assert!(decoded.trailers.is_empty());
    }

    #[test]
    fn refuses_the_example_with_one_changed_byte() {
        let (body, signer) = aws_example();
        let mut changed = body.to_vec();
        changed[70_000 - 4_000] = b'b';
        let error = decode(&changed.into(), Streaming::Signed, Some(signer)).unwrap_err();
        assert!(matches!(error, ChunkError::Signature { .. }), "{error:?}");
    }

    #[test]
    fn reads_a_checksum_trailer() {
        let body = Bytes::from_static(b"5\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32:NhCmhg==\r\n\r\n");
        let decoded = decode(&body, Streaming::UnsignedTrailer, None).unwrap();
        assert_eq!(decoded.body, "hello");
        assert_eq!(
            decoded.trailers,
            [("x-amz-checksum-crc32".into(), "NhCmhg==".into())]
        );
    }

    #[test]
    fn refuses_an_upload_cut_anywhere_before_its_last_chunk() {
        let body = Bytes::from_static(b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n");
        for end in 0..body.len() - 2 {
            let cut = body.slice(..end);
            assert!(
                decode(&cut, Streaming::UnsignedTrailer, None).is_err(),
                "cut at {end}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&body.into(), Streaming::UnsignedTrailer, None);
        }

        #[test]
        fn near_misses_make_no_panic(body in "[0-9a-f;\r\n:x=-]{0,200}") {
            let _ = decode(&Bytes::from(body), Streaming::SignedTrailer, None);
        }

        #[test]
        fn what_is_chunked_comes_back(chunks in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 1..50), 0..5)) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let decoded = decode(&body.into(), Streaming::UnsignedTrailer, None).unwrap();
            prop_assert_eq!(decoded.body, chunks.concat());
        }
    }
}
