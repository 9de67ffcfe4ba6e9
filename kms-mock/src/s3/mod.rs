//! S3: enough of it for the clients of an enclave to store and fetch objects,
//! large ones in parts, and to go back to an earlier version.
//!
//! Source of truth: the Amazon S3 API reference; the protocol (routing, XML) is
//! the crate `s3s`, the store behind it answers from memory. Not modelled: lifecycle,
//! storage classes and encryption at rest.
//!
//! Reading order, each file using only what stands before it: `errors` (the wire's),
//! `values` (what S3 speaks of), `store` (buckets, versions, uploads, and how they
//! change), `keep` (its rows in the data directory), `sender` and `sent` (who asks, and
//! with what), `request` and `authorize` (what a request passes before its operation),
//! `ops` (the operations), `cross_origin`, `service` (from a request to its answer).

mod authorize;
mod cross_origin;
mod errors;
pub(crate) mod keep;
mod ops;
mod request;
pub(crate) mod sender;
mod sent;
mod service;
mod store;
mod values;

pub(crate) use self::errors::{error_response, fault};
pub use self::service::ObjectStore;
/// The answer to a request, and its body.
pub(crate) use s3s::{Body as AnswerBody, HttpResponse as Answer};

/// What LocalStack's health says of this service.
pub(crate) const STATUS: &str = "running";

/// An answer's body from one of another kind.
pub(crate) fn streamed<B>(body: B) -> AnswerBody
where
    B: hyper::body::Body<Data = bytes::Bytes, Error: std::error::Error + Send + Sync + 'static>
        + Send
        + Sync
        + 'static,
{
    AnswerBody::http_body(body)
}
