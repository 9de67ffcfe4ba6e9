//! The enclave's hardware, simulated: the Nitro Secure Module, its attestation
//! PKI and documents (and a verifier of real ones), the EIF format and its
//! measurements, and the runner that gives `/dev/nsm` and AF_VSOCK to any
//! unmodified binary.
//!
//! Reading order: [`clock`] and [`seed`] (the world's time and randomness),
//! [`device`] (the NSM), [`attestation`] (its documents and their verifier),
//! [`eif`] (enclave images and what they measure to), `runner` (any program in an
//! enclave's conditions; Linux only), [`causes`] (an error as the operator reads
//! it).
//!
//! Features, all on by default: `eif`, `runner`, and `cli` for the command.

pub mod attestation;
pub mod causes;
mod cbor;
pub mod clock;
pub mod device;
#[cfg(feature = "eif")]
pub mod eif;
#[cfg(all(feature = "runner", target_os = "linux"))]
pub mod runner;
pub mod seed;
