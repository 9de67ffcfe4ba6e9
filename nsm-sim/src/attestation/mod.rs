//! Attestation: the PKI that a simulated NSM signs under, the documents it
//! writes, and a verifier of real and simulated ones.
//!
//! Writer ([`document`], [`pki`], [`variance`]) and verifier ([`verify`]) are
//! written apart on purpose – other parsers, other crypto – and meet only on
//! bytes: real documents from hardware keep both honest.

pub(crate) mod der;
pub mod document;
pub(crate) mod pem;
pub mod pki;
pub mod variance;
pub mod verify;
