//! What reaches the enclave from its parent: orders, objects, wrapped keys.

use std::collections::BTreeMap;

use enclave_app::{
    enclave::cms::EnvelopedData,
    envelope::Envelope,
    job::{
        manifest::{Manifest, SubmitterKey},
        progress::FromEnclave,
        wire::{JobReply, JobRequest},
    },
    vsock::framing::{FrameLimits, HEADER_BYTES, read_frame},
};

use super::{Corpus, Mutating, Target, Verdict};
use crate::mutate;

pub(super) fn cms(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = corpus.files("cms", &[".ber"], 8 << 10)?;
    if seeds.is_empty() {
        seeds.push(b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80\x30\x80\x02\x01\x02\x31\x82\x01\x6b".to_vec());
    }
    Ok(Box::new(Mutating {
        seeds,
        change: |random, input, other| {
            if random.one_in(4) {
                mutate::der(random, input, other);
            } else {
                mutate::bytes(random, input, other);
            }
        },
        run: |input: &[u8]| {
            let parsed = EnvelopedData::parse(input);
            if let Ok(envelope) = &parsed {
                let len = envelope.content.len();
                assert!(len > 0 && len % 16 == 0, "{len} bytes are no whole blocks");
            }
            Verdict::from(&parsed)
        },
    }))
}

pub(super) fn manifest(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let key = SubmitterKey::from_seed(b"fuzz");
    let original = Manifest {
        job: "job-1".to_owned(),
        bucket: "images".to_owned(),
        key: "in/one.dcm".to_owned(),
        ciphertext_sha256: [7; 32],
        study: "1.2.840.1".to_owned(),
        issued_at_ms: 1_767_225_600_000,
        expires_at_ms: 1_767_229_200_000,
    };
    let seeds = vec![original.sign(&key)?];
    let submitters = [key.public()];
    Ok(Box::new(Mutating {
        seeds,
        change: |random, input, other| {
            let payload = mutate::byte_strings(input, 60).into_iter().next();
            match payload {
                Some((at, range)) if random.one_in(2) => {
                    let mut content = input[range.clone()].to_vec();
                    mutate::bytes(random, &mut content, other);
                    input.splice(at..range.end, mutate::byte_string(&content));
                }
                _ => mutate::bytes(random, input, other),
            }
        },
        run: move |input: &[u8]| {
            let _ = Manifest::claimed_job(input);
            let read = Manifest::verify(input, &submitters);
            if let Ok(manifest) = &read {
                assert_eq!(manifest, &original, "an order that nobody signed");
                let _ = manifest.check(1_767_225_600_000, b"object");
            }
            Verdict::from(&read)
        },
    }))
}

pub(super) fn wire(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let field = |name: &str, value: &[u8]| {
        let mut bytes = vec![0x60 | name.len() as u8];
        bytes.extend(name.as_bytes());
        bytes.extend(value);
        bytes
    };
    let object = [
        vec![0xa2],
        field("metadata", b"\xa1\x67x-amz-c\x63115"),
        field("body", b"\x43abc"),
    ]
    .concat();
    let request = [
        vec![0xa3],
        field("manifest", b"\x43abc"),
        field(
            "credentials",
            &[
                vec![0xa3],
                field("access_key_id", b"\x64AKIA"),
                field("secret_access_key", b"\x66secret"),
                field("session_token", b"\xf6"),
            ]
            .concat(),
        ),
        field("object", &object),
    ]
    .concat();
    let done = [
        b"\xa1\x64Done\xa2".to_vec(),
        field("result", &object),
        field("receipt", b"\x43abc"),
    ]
    .concat();
    let refused = b"\xa1\x67Refused\xa2\x67refusal\xa1\x65image\x67damaged\x66report\xf6".to_vec();
    anyhow::ensure!(
        JobRequest::decode(&request).is_ok()
            && JobReply::decode(&done).is_ok()
            && JobReply::decode(&refused).is_ok(),
        "the seeds are no job messages"
    );
    let limits = FrameLimits::for_bodies(64 << 10);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    Ok(Box::new(Mutating {
        seeds: [request, done, refused].map(|body| framed(&body)).to_vec(),
        change: |random, input, other| {
            if random.one_in(8) {
                return mutate::bytes(random, input, other);
            }
            let mut body = input.split_off(input.len().min(HEADER_BYTES));
            mutate::bytes(random, &mut body, other);
            *input = framed(&body);
        },
        run: move |mut input: &[u8]| {
            let frame = runtime.block_on(read_frame(&mut input, &limits));
            let Ok(body) = frame else {
                return Verdict::Refused;
            };
            assert!(body.len() <= limits.body_bytes_max, "a frame too long");
            let request = JobRequest::decode(&body);
            if let Ok(request) = &request {
                let again = request.encode().map(|bytes| JobRequest::decode(&bytes));
                assert!(
                    matches!(again, Ok(Ok(again)) if again == *request),
                    "a request that was written reads differently"
                );
            }
            let _ = FromEnclave::decode(&body);
            let reply = JobReply::decode(&body);
            if let Ok(reply) = &reply
                && let Ok(bytes) = reply.encode()
            {
                assert_eq!(JobReply::decode(&bytes).as_ref().ok(), Some(reply));
            }
            if request.is_ok() || reply.is_ok() {
                Verdict::Accepted
            } else {
                Verdict::Refused
            }
        },
    }))
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// Metadata as JSON: an object of strings.
pub(super) fn metadata(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = vec![
        br#"{"x-amz-c":"115","x-amz-3":"AQID","x-amz-t":"{\"a\":\"b\",\"aws:x-amz-cek-alg\":\"115\"}","x-amz-w":"12","x-amz-d":"AAAA","x-amz-i":"AAAA"}"#
            .to_vec(),
    ];
    for index in corpus.files("s3ec", &["index.json"], 1 << 20)? {
        let index: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&index)?;
        seeds.extend(index.values().filter_map(|object| {
            object
                .get("metadata")
                .map(|entry| entry.to_string().into_bytes())
        }));
    }
    Ok(Box::new(Mutating {
        seeds,
        change: mutate::bytes,
        run: |input: &[u8]| {
            let Ok(metadata) = serde_json::from_slice::<BTreeMap<String, String>>(input) else {
                return Verdict::Refused;
            };
            Verdict::from(&Envelope::parse(&metadata))
        },
    }))
}
