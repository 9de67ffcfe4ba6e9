//! The verifier of `nsm-sim` as the one that KMS asks.
//!
//! Source of truth: the verifier's own (syntax, chain, signature); ground truth
//! KMS §2. Freshness, public key and registers are looked at in this folder.

use nsm_sim::{attestation::verify::Verifier, clock::UnixMillis};

use super::{DocumentRefused, DocumentVerifier, VerifiedDocument};

impl DocumentVerifier for Verifier {
    fn verify(
        &self,
        document: &[u8],
        now: UnixMillis,
    ) -> Result<VerifiedDocument, DocumentRefused> {
        let document = Self::verify(self, document, now).map_err(|error| DocumentRefused {
            cause: error.to_string(),
        })?;
        let nitrotpm = document.is_nitrotpm();
        Ok(VerifiedDocument {
            module_id: document.module_id,
            timestamp: document.timestamp,
            pcrs: if nitrotpm {
                document.nitrotpm_pcrs
            } else {
                document.pcrs
            },
            nitrotpm,
            public_key: document.public_key,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::rsa::KeySize;
    use nsm_sim::{clock::SettableClock, device::Nsm, seed::WorldSeed};

    use super::*;
    use crate::{
        recipient::{Recipient, RecipientError, Rules, tests::EnclaveKey},
        world::entropy::Entropy,
    };

    /// A document of a simulated enclave, by the bytes an enclave would send.
    fn document(nsm: &Nsm, public_key: &[u8]) -> Vec<u8> {
        let mut request = b"\xa1\x6bAttestation\xa3\x69user_data\xf6\x65nonce\xf6".to_vec();
        request.extend(b"\x6apublic_key\x59");
        request.extend(u16::try_from(public_key.len()).unwrap().to_be_bytes());
        request.extend(public_key);
        let reply = nsm.request_bytes(&request);
        let head = b"\xa1\x6bAttestation\xa1\x68document\x59";
        let body = reply.strip_prefix(head.as_slice()).unwrap();
        let (length, document) = body.split_first_chunk::<2>().unwrap();
        assert_eq!(usize::from(u16::from_be_bytes(*length)), document.len());
        document.to_vec()
    }

    #[test]
    fn a_simulated_enclave_opens_its_answer_and_awss_root_refuses_it() {
        let now = UnixMillis(1_767_225_600_000);
        let key = EnclaveKey::generate(KeySize::Rsa2048);
        let nsm = Nsm::builder()
            .seed(WorldSeed::from_u64(7))
            .clock(SettableClock::frozen(now))
            .build();
        let document = document(&nsm, &key.spki);
        let verifier = nsm.verifier();
        let aws = Verifier::aws();
        let rules = |verifier, now| Rules {
            verifier,
            now,
            freshness_window: Duration::from_secs(300),
            rsa_2048_only: true,
        };
        let recipient = Recipient::admit(&document, rules(&verifier, now)).unwrap();
        let answer = recipient.seal(&[7; 32], &Entropy::system()).unwrap();
        assert_eq!(key.open(&answer), [7; 32]);
        assert!(matches!(
            Recipient::admit(&document, rules(&aws, now)),
            Err(RecipientError::NotVerified { .. })
        ));
        let later = UnixMillis(now.0 + 301_000);
        assert!(matches!(
            Recipient::admit(&document, rules(&verifier, later)),
            Err(RecipientError::Stale { .. })
        ));
        let too_late = UnixMillis(now.0 + 4 * 3_600_000);
        assert!(matches!(
            Recipient::admit(&document, rules(&verifier, too_late)),
            Err(RecipientError::NotVerified { .. })
        ));
        for at in (0..document.len()).step_by(97) {
            let mut changed = document.clone();
            changed[at] ^= 1;
            assert!(
                Recipient::admit(&changed, rules(&verifier, now)).is_err(),
                "byte {at}"
            );
        }
    }
}
