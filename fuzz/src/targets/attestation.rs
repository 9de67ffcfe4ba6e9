//! Changed attestation documents: whatever is still accepted has to say what the
//! unchanged one says.

use anyhow::ensure;
use nsm_sim::attestation::verify::{
    AttestationDocument, DOCUMENT_BYTES_MAX, Verifier, VerifyError,
};

use super::{Corpus, Target, Verdict, nsm};
use crate::{mutate, random::Random};

/// Certificates are longer, PCRs and keys are shorter.
const CERTIFICATE_BYTES_MIN: usize = 500;

struct Documents {
    verifier: Verifier,
    seeds: Vec<Vec<u8>>,
    originals: Vec<AttestationDocument>,
    /// Documents that failed at their own signature, and at one of a certificate:
    /// everything before it was good.
    at_document_signature: u64,
    at_certificate_signature: u64,
}

pub(super) fn documents(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = corpus.files("attestation", &[".cbor"], DOCUMENT_BYTES_MAX as u64)?;
    let real = seeds.len();
    // Ours, with and without the optional fields; several, to be drawn as often.
    for len in [0, 32, 512, 1024] {
        let mut request = b"\xa1\x6bAttestation\xa3\x69user_data".to_vec();
        let field = mutate::byte_string(&vec![len as u8; len]);
        request.extend(&field);
        request.extend(b"\x65nonce");
        request.extend(&field);
        request.extend(b"\x6apublic_key\xf6");
        seeds.push(nsm::document(&request));
    }
    let verifier = Verifier::aws().and_root_der(nsm::module().pki().root_der())?;
    let originals: Vec<_> = seeds
        .iter()
        .filter_map(|seed| verifier.verify_at_own_time(seed).ok())
        .collect();
    ensure!(
        real == 0 || originals.len() == 46,
        "of the corpus' 46 documents 42 are valid, and our 4: {} are",
        originals.len()
    );
    Ok(Box::new(Documents {
        verifier,
        seeds,
        originals,
        at_document_signature: 0,
        at_certificate_signature: 0,
    }))
}

impl Target for Documents {
    fn generate(&mut self, random: &mut Random) -> Vec<u8> {
        let mut document = random.pick(&self.seeds).cloned().unwrap_or_default();
        let other = random.pick(&self.seeds).map_or(&[][..], Vec::as_slice);
        match random.below(8) {
            0..=2 => mutate::bytes(random, &mut document, other),
            3 => {
                // Another document's signature.
                let keep = document.len().saturating_sub(96);
                document.truncate(keep);
                document.extend(&other[other.len().saturating_sub(96)..]);
            }
            kind => {
                let Some((payload_at, payload_range)) =
                    mutate::byte_strings(&document, 3000).into_iter().next()
                else {
                    return document;
                };
                let mut payload = document[payload_range.clone()].to_vec();
                if kind == 4 {
                    mutate::bytes(random, &mut payload, other);
                } else {
                    change_string(random, &mut payload, other, kind);
                }
                let payload = mutate::byte_string(&payload);
                document.splice(payload_at..payload_range.end, payload);
            }
        }
        document
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let result = self.verifier.verify_at_own_time(input);
        match &result {
            Err(VerifyError::CoseSignature) => self.at_document_signature += 1,
            Err(VerifyError::CertificateSignature { .. }) => self.at_certificate_signature += 1,
            _ => {}
        }
        if let Ok(document) = &result {
            assert!(
                self.originals.contains(document),
                "a document that nobody signed is accepted"
            );
            assert!(
                self.verifier.verify(input, document.timestamp).is_ok(),
                "it is refused at the time that it states itself"
            );
        }
        Verdict::from(&result)
    }

    fn remark(&self) -> Option<String> {
        Some(format!(
            "{} failed at their own signature and {} at a certificate's",
            self.at_document_signature, self.at_certificate_signature
        ))
    }
}

/// Changes one byte string of the payload – a certificate, for most kinds – with
/// its length put right, or puts another document's in its place.
fn change_string(random: &mut Random, payload: &mut Vec<u8>, other: &[u8], kind: usize) {
    let least = if kind == 7 { 16 } else { CERTIFICATE_BYTES_MIN };
    let strings = mutate::byte_strings(payload, least);
    let Some((at, range)) = random.pick(&strings).cloned() else {
        return;
    };
    let mut content = payload[range.clone()].to_vec();
    if kind == 6 {
        let theirs = mutate::byte_strings(other, least);
        if let Some((_, range)) = random.pick(&theirs) {
            content = other[range.clone()].to_vec();
        }
    } else {
        mutate::der(random, &mut content, other);
    }
    payload.splice(at..range.end, mutate::byte_string(&content));
}
