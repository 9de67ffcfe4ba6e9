//! The bounds of the HTTP edge: how much and how long a client may make the
//! server hold.
//!
//! Models AWS only in the sizes it documents; the times are ours, chosen so that
//! a slow client ends and a slow laptop does not.

use std::time::Duration;

/// Bounds on one server's input and waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Simultaneous connections; more wait in the listen queue.
    pub connections_max: u32,
    /// From accepting a connection to its first byte, and from there to the end
    /// of a TLS handshake.
    pub handshake_timeout: Duration,
    /// From the last byte of an answer, or the beginning of the connection, to the
    /// end of the next request's headers. It also ends idle keep-alive connections.
    pub header_timeout: Duration,
    /// Longest silence within a body.
    pub body_idle_timeout: Duration,
    /// Longest time for a whole body.
    pub body_timeout: Duration,
    /// Longest time in which a client takes nothing of its answer.
    pub write_timeout: Duration,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of a request's head (request line and headers).
    pub head_bytes_max: usize,
    /// Bytes of a KMS body: AWS's largest member is a document of 256 KiB.
    pub kms_body_bytes_max: usize,
    /// Bytes of an STS or IAM form.
    pub form_body_bytes_max: usize,
    /// Bytes of an S3 object or request body.
    pub s3_body_bytes_max: usize,
    /// Bytes of all objects together.
    pub s3_store_bytes_max: u64,
}

impl Limits {
    /// hyper's own default.
    pub(super) const HEADERS_MAX: usize = 100;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            headers_max: Self::HEADERS_MAX,
            head_bytes_max: 64 * 1024,
            kms_body_bytes_max: 1024 * 1024,
            form_body_bytes_max: 128 * 1024,
            s3_body_bytes_max: 256 * 1024 * 1024,
            s3_store_bytes_max: 4 * 1024 * 1024 * 1024,
        }
    }
}
