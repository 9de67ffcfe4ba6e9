//! The attestation document's writer.
//!
//! Models: ground truth NSM §4.1–4.2 byte for byte – untagged COSE_Sign1,
//! protected `a1013822` (ES384), payload keys in hardware's order, absent
//! optionals as null, an 8-byte timestamp, definite inner maps, a 96-byte
//! signature. Signing is AWS's own COSE crate over p384 with RFC 6979 nonces,
//! so that a seeded world repeats. Does not model NitroTPM documents
//! (`nitrotpm_pcrs`).

use aws_nitro_enclaves_cose::{
    CoseSign1,
    crypto::{Hash, MessageDigest, SignatureAlgorithm, SigningPrivateKey, SigningPublicKey},
    error::CoseError,
    header_map::HeaderMap,
};
use p384::ecdsa::{
    Signature, SigningKey,
    signature::hazmat::{PrehashSigner, PrehashVerifier},
};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::pki::Identity;
use crate::{
    cbor::{MAP, UNSIGNED, put_bytes, put_head, put_text},
    clock::UnixMillis,
};

/// What a document says, beside who signs it.
#[derive(Clone, Debug)]
pub struct Contents<'a, P> {
    /// The NSM's name.
    pub module_id: &'a str,
    /// When the document is written.
    pub timestamp: UnixMillis,
    /// Locked registers with their indices, ascending.
    pub pcrs: P,
    /// A DER-encoded key to encrypt to; empty is present.
    pub public_key: Option<&'a [u8]>,
    /// Anything; empty is present.
    pub user_data: Option<&'a [u8]>,
    /// Anything, meant for proof of freshness; empty is present.
    pub nonce: Option<&'a [u8]>,
}

/// The signature could not be computed: no input is known that does this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the document could not be signed")]
pub struct SigningFailed;

/// A signed document; `indefinite` chooses the payload map's form.
///
/// # Errors
/// [`SigningFailed`] if the key refuses to sign.
pub fn write<'a, P>(
    contents: Contents<'_, P>,
    identity: &Identity,
    indefinite: bool,
) -> Result<Vec<u8>, SigningFailed>
where
    P: IntoIterator<Item = (u8, &'a [u8; 48])>,
{
    let payload = payload(contents, identity.chain_cbor(), indefinite);
    sign(&payload, identity.leaf_key())
}

/// Untagged COSE_Sign1 over any payload.
pub(super) fn sign(payload: &[u8], key: &SigningKey) -> Result<Vec<u8>, SigningFailed> {
    CoseSign1::new::<Sha2>(payload, &HeaderMap::new(), &DocumentKey(key))
        .and_then(|signed| signed.as_bytes(false))
        .map_err(|_| SigningFailed)
}

fn payload<'a, P>(contents: Contents<'_, P>, chain: &[u8], indefinite: bool) -> Vec<u8>
where
    P: IntoIterator<Item = (u8, &'a [u8; 48])>,
{
    let optional = [
        ("public_key", contents.public_key),
        ("user_data", contents.user_data),
        ("nonce", contents.nonce),
    ];
    let fields: usize = optional
        .iter()
        .filter_map(|(_, value)| *value)
        .map(<[u8]>::len)
        .sum();
    // 32 registers of 52 bytes and the remaining keys fit 2 KiB.
    let mut out = Vec::with_capacity(chain.len() + fields + 2048);
    out.push(if indefinite { 0xbf } else { 0xa9 });
    put_text(&mut out, "module_id");
    put_text(&mut out, contents.module_id);
    put_text(&mut out, "digest");
    put_text(&mut out, "SHA384");
    put_text(&mut out, "timestamp");
    out.push(0x1b);
    out.extend(contents.timestamp.0.to_be_bytes());
    put_text(&mut out, "pcrs");
    let pcrs: Vec<_> = contents.pcrs.into_iter().collect();
    put_head(&mut out, MAP, pcrs.len() as u64);
    for (index, value) in pcrs {
        put_head(&mut out, UNSIGNED, u64::from(index));
        put_bytes(&mut out, value);
    }
    out.extend_from_slice(chain);
    for (name, value) in optional {
        put_text(&mut out, name);
        match value {
            Some(bytes) => put_bytes(&mut out, bytes),
            None => out.push(0xf6),
        }
    }
    if indefinite {
        out.push(0xff);
    }
    out
}

/// The leaf's key as AWS's COSE crate wants it.
struct DocumentKey<'a>(&'a SigningKey);

impl SigningPublicKey for DocumentKey<'_> {
    fn get_parameters(&self) -> Result<(SignatureAlgorithm, MessageDigest), CoseError> {
        Ok((SignatureAlgorithm::ES384, MessageDigest::Sha384))
    }

    fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool, CoseError> {
        let Ok(signature) = Signature::from_slice(signature) else {
            return Ok(false);
        };
        Ok(self
            .0
            .verifying_key()
            .verify_prehash(digest, &signature)
            .is_ok())
    }
}

impl SigningPrivateKey for DocumentKey<'_> {
    fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, CoseError> {
        let signature: Signature = self
            .0
            .sign_prehash(digest)
            .map_err(|error| CoseError::SignatureError(Box::new(error)))?;
        Ok(signature.to_bytes().to_vec()) // r ‖ s, 96 bytes
    }
}

struct Sha2;

impl Hash for Sha2 {
    fn hash(digest: MessageDigest, data: &[u8]) -> Result<Vec<u8>, CoseError> {
        Ok(match digest {
            MessageDigest::Sha256 => Sha256::digest(data).to_vec(),
            MessageDigest::Sha384 => Sha384::digest(data).to_vec(),
            MessageDigest::Sha512 => Sha512::digest(data).to_vec(),
        })
    }
}
