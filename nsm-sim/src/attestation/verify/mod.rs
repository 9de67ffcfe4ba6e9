//! The verifier of attestation documents, real and simulated.
//!
//! Models: the checks AWS prescribes (ground truth NSM §4.4, from AWS's
//! `attestation_process.md` §3) in their order – syntax, certificate chain up
//! to a pinned root, COSE signature over the received payload bytes – strict on
//! what 42 documents from hardware have in common and tolerant of what varies
//! among them: definite or indefinite payload maps, a COSE tag, nulls for
//! absent fields, key identifiers missing from older instance certificates.
//! CRL checking is off, as AWS asks.
//!
//! It shares no code with the writer: its own CBOR reader (`cbor`), x509-cert
//! and `der` for certificates, aws-lc-rs for ECDSA. Does not model freshness:
//! whether a document is recent, carries the right nonce or the right PCRs is
//! the caller's question.

mod cache;
mod cbor;
mod chain;
mod error;
mod syntax;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey},
};

pub use self::{
    cbor::CborFault,
    error::{Field, Place, VerifyError},
};
use super::pem;
use crate::clock::UnixMillis;

/// Longer documents are refused unread. The NSM's longest reply has 12288
/// bytes, the longest document hardware can write about 9.3 KB.
pub const DOCUMENT_BYTES_MAX: usize = 12_288;

/// AWS's limit of `public_key`, `user_data` and `nonce` (the CDDL of
/// `attestation_process.md` §2.2).
const FIELD_BYTES_MAX: usize = 1024;

/// SHA-256 of the DER of "AWS Nitro Enclaves Root G1" (ground truth NSM §4.3),
/// which every document carries as `cabundle[0]`.
const AWS_ROOT_G1: [u8; 32] = [
    0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06, 0x31,
    0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79, 0xbb, 0x5b,
];

/// Verifies documents that chain to one of its pinned roots.
///
/// It remembers the chains it has verified, and so do its clones: of a leaf's
/// second document it checks the certificates' validity and the document's
/// signature, and nothing that cannot have changed.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// SHA-256 of the DER of each root.
    roots: Vec<[u8; 32]>,
    field_bytes_max: usize,
    chains: Arc<cache::Chains>,
}

/// Two verifiers are equal that give the same answers.
impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.roots == other.roots && self.field_bytes_max == other.field_bytes_max
    }
}

impl Eq for Verifier {}

/// What a verified document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationDocument {
    /// Name of the issuing NSM: `<instance>-enc<16 hex>`.
    pub module_id: String,
    /// Digest of the PCR bank: always `SHA384`.
    pub digest: String,
    /// When the document was written.
    pub timestamp: UnixMillis,
    /// An enclave's locked registers by index, 32, 48 or 64 bytes each (48 on
    /// hardware). Empty in the document of a NitroTPM, which is never an enclave's.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// The registers of an instance's NitroTPM, in the same form. Empty in an
    /// enclave's document: one of the two banks has registers, the other has none.
    pub nitrotpm_pcrs: BTreeMap<u8, Vec<u8>>,
    /// The leaf certificate, DER.
    pub certificate: Vec<u8>,
    /// The chain above it, DER, root first.
    pub cabundle: Vec<Vec<u8>>,
    /// A DER-encoded key to encrypt to, of at least one byte.
    pub public_key: Option<Vec<u8>>,
    /// What the enclave had attested; an empty one is present.
    pub user_data: Option<Vec<u8>>,
    /// The nonce the enclave passed on; an empty one is present.
    pub nonce: Option<Vec<u8>>,
}

impl AttestationDocument {
    /// Whether an instance's NitroTPM attested, not an enclave.
    #[must_use]
    pub fn is_nitrotpm(&self) -> bool {
        !self.nitrotpm_pcrs.is_empty()
    }

    /// Whether the enclave runs in debug mode, where whoever starts it can read
    /// its console: PCR0, PCR1 and PCR2 are then zero.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        (0..3).all(|index| {
            self.pcrs
                .get(&index)
                .is_some_and(|value| value.iter().all(|byte| *byte == 0))
        })
    }
}

impl Verifier {
    /// Trusts AWS's root G1, pinned by the SHA-256 of its DER.
    #[must_use]
    pub fn aws() -> Self {
        Self::trusting(vec![AWS_ROOT_G1])
    }

    /// Trusts one root certificate.
    ///
    /// # Errors
    /// [`VerifyError::RootUnreadable`] if `root` is not an X.509 certificate.
    pub fn with_root_der(root: &[u8]) -> Result<Self, VerifyError> {
        Self::trusting(Vec::new()).and_root_der(root)
    }

    /// Trusts one root certificate, given as PEM with a single block.
    ///
    /// # Errors
    /// [`VerifyError::RootUnreadable`] if `pem` holds no such certificate.
    pub fn with_root_pem(pem: &str) -> Result<Self, VerifyError> {
        Self::with_root_der(&pem::decode(pem).ok_or(VerifyError::RootUnreadable)?)
    }

    /// Trusts one root more, given as PEM with a single block.
    ///
    /// # Errors
    /// [`VerifyError::RootUnreadable`] if `pem` holds no such certificate.
    pub fn and_root_pem(self, pem: &str) -> Result<Self, VerifyError> {
        self.and_root_der(&pem::decode(pem).ok_or(VerifyError::RootUnreadable)?)
    }

    /// Trusts one root more.
    ///
    /// # Errors
    /// [`VerifyError::RootUnreadable`] if `root` is not an X.509 certificate.
    pub fn and_root_der(mut self, root: &[u8]) -> Result<Self, VerifyError> {
        if !chain::is_certificate(root) {
            return Err(VerifyError::RootUnreadable);
        }
        self.roots.push(sha256(root));
        Ok(self)
    }

    /// Trusts a root that this process wrote itself.
    pub(crate) fn pinned_to(root: &[u8]) -> Self {
        Self::trusting(vec![sha256(root)])
    }

    fn trusting(roots: Vec<[u8; 32]>) -> Self {
        Self {
            roots,
            field_bytes_max: FIELD_BYTES_MAX,
            chains: Arc::default(),
        }
    }

    /// Takes `public_key`, `user_data` and `nonce` of up to `bytes` instead of
    /// the 1024 that AWS documents: hardware signs what fits its request, and
    /// longer nonces were seen.
    #[must_use]
    pub const fn field_bytes_max(mut self, bytes: usize) -> Self {
        self.field_bytes_max = bytes;
        self
    }

    /// Verifies syntax, chain (valid at `now`) and signature; not freshness.
    ///
    /// # Errors
    /// The first check that fails, in that order.
    pub fn verify(
        &self,
        document: &[u8],
        now: UnixMillis,
    ) -> Result<AttestationDocument, VerifyError> {
        self.verify_with(document, |_| now)
    }

    /// Verifies a document as of its own timestamp: for documents on file, whose
    /// leaf lived three hours.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify_at_own_time(&self, document: &[u8]) -> Result<AttestationDocument, VerifyError> {
        self.verify_with(document, |document| document.timestamp)
    }

    fn verify_with(
        &self,
        document: &[u8],
        now: impl FnOnce(&AttestationDocument) -> UnixMillis,
    ) -> Result<AttestationDocument, VerifyError> {
        let signed = syntax::read_cose(document)?;
        let content = syntax::read_payload(signed.payload, self.field_bytes_max)?;
        let root = content
            .cabundle
            .first()
            .map_or([0; 32], |root| sha256(root));
        if !self.roots.contains(&root) {
            return Err(VerifyError::UnknownRoot { sha256: root });
        }
        let chain = self.chains.verified(
            &content.certificate,
            &content.cabundle,
            now(&content).as_secs(),
        )?;
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &chain.leaf_key)
            .verify(&signed.sig_structure(), signed.signature)
            .map_err(|_| VerifyError::CoseSignature)?;
        // Hardware writes the time of signing; a leaf signs nothing outside its life.
        chain
            .is_valid_at(content.timestamp.as_secs())
            .map_err(|_| VerifyError::TimestampOutsideChain {
                timestamp: content.timestamp,
            })?;
        Ok(content)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // A SHA-256 digest has 32 bytes.
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
