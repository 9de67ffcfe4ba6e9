//! Heads of signed requests, as a client or an attacker sends them.

use aws_lc_rs::hmac;
use http::{Request, request::Parts};
use kms_mock::edge::sigv4::{self, PathEncoding, Signed};

use super::{Corpus, Mutating, Target, Verdict};
use crate::mutate;

const HEADERS_MAX: usize = 200;

/// The first line is method and target, every other one a header.
pub(super) fn heads(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let seeds = [
        "POST /\nhost: kms.us-east-1.amazonaws.com\nx-amz-date: 20260101T000000Z\nx-amz-security-token: token\nauthorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/kms/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "GET /bucket/a%20key%2Fb?list-type=2&prefix=a%2B\nhost: localhost:8000\ndate: Thu, 01 Jan 2026 00:00:00 GMT\nauthorization: AWS4-HMAC-SHA256 Credential=a/b/20260101/r/s3/aws4_request,SignedHeaders=date;host,Signature=00",
        "GET /bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nhost: bucket.s3.amazonaws.com",
        "GET /?AWSAccessKeyId=AKIA&Signature=x&Expires=1\nhost: h\nauthorization: AWS AKIA:x",
    ];
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key that signed nothing");
    Ok(Box::new(Mutating {
        seeds: seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect(),
        change: mutate::bytes,
        run: move |input: &[u8]| {
            let Some(parts) = head(input) else {
                return Verdict::Refused;
            };
            let claim = sigv4::claim(&parts);
            if let Ok(Some(claim)) = &claim {
                let _ = format!("{claim:?}");
                for encoding in [PathEncoding::Once, PathEncoding::Twice] {
                    let signed = Signed {
                        method: &parts.method,
                        path: parts.uri.path(),
                        query: parts.uri.query().unwrap_or_default(),
                        headers: &parts.headers,
                        payload_hash: "UNSIGNED-PAYLOAD",
                        encoding,
                    };
                    assert!(!sigv4::verify(claim, &signed, &key), "nobody signed it");
                }
            }
            Verdict::from(&claim)
        },
    }))
}

fn head(input: &[u8]) -> Option<Parts> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let (method, target) = first.split_at(space);
    let mut request = Request::builder().method(method).uri(target.get(1..)?);
    for line in lines.take(HEADERS_MAX) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        request = request.header(name, value.get(1..)?.trim_ascii());
    }
    Some(request.body(()).ok()?.into_parts().0)
}
