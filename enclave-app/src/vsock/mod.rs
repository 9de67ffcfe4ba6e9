//! How bytes travel between parent and enclave.
//!
//! [`framing`] puts bounded messages on any byte stream; [`transport`] opens
//! AF_VSOCK streams. The two are apart so that everything above a stream is
//! tested without one.

pub mod framing;
pub mod transport;
