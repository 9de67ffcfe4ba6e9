//! nsm-sim's verifier as KMS's: what it proves of a document, and what KMS reads.

use nsm_sim::{attestation::verify::Verifier, clock::UnixMillis};

use super::{DocumentRefused, DocumentVerifier, VerifiedDocument};

impl DocumentVerifier for Verifier {
    fn verify(
        &self,
        document: &[u8],
        now: UnixMillis,
    ) -> Result<VerifiedDocument, DocumentRefused> {
        match Self::verify(self, document, now) {
            Ok(document) => Ok(VerifiedDocument {
                module_id: document.module_id,
                timestamp: document.timestamp,
                pcrs: document.pcrs,
                nitrotpm: document.nitrotpm,
                public_key: document.public_key,
            }),
            Err(error) => Err(DocumentRefused {
                cause: error.to_string(),
            }),
        }
    }
}
