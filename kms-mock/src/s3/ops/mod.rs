//! The operations of S3 on the store, a family each file: what each asks of its
//! input, what it does to the store, how it shows the answer.
//!
//! Source of truth: Amazon S3 API reference. Each is a method of [`Objects`] with the
//! name of the operation; `crate::s3::service` calls it when
//! `crate::s3::authorize` has let the request pass.

mod absent;
pub(super) mod access;
mod buckets;
mod conditions;
mod cors;
mod delete;
mod description;
mod encryption;
mod listing;
mod lock;
mod multipart;
mod policy;
mod read;
mod tagging;
mod write;

use std::sync::Arc;

use http::StatusCode;
use nsm_sim::clock::Clock;
use s3s::{S3Response, dto};

use super::{sent::Sent, store::Store};

/// The operations on the store.
pub(crate) struct Objects {
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) region: String,
}

/// The status of an answer, where the protocol crate would say 200. It reads none
/// from an [`S3Response`], but carries extensions through.
#[derive(Clone, Copy)]
pub(crate) struct Status(pub(super) StatusCode);

/// An answer without content.
fn no_content<T>(output: T) -> S3Response<T> {
    let mut response = S3Response::new(output);
    response.extensions.insert(Status(StatusCode::NO_CONTENT));
    response
}

fn owner(account: &str) -> dto::Owner {
    dto::Owner {
        id: Some(account.to_owned()),
        ..Default::default()
    }
}
