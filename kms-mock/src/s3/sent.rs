//! What a request brings beside what the protocol crate makes of it.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Uri};
use nsm_sim::clock::UnixMillis;

use super::{
    sender::{Sender, Trail},
    values::metadata::UserMetadata,
};
use crate::model::s3_operation::S3Operation;

/// A request as it was sent, before an operation was found for it.
#[derive(Clone)]
pub(crate) struct Unread {
    /// The body, beside the stream that it becomes.
    pub(super) body: Bytes,
    pub(super) sender: Arc<Sender>,
    /// The Region whose endpoint serves it.
    pub(super) served_in: Arc<str>,
    pub(super) metadata: UserMetadata,
    pub(super) now: UnixMillis,
    pub(super) trail: Arc<Mutex<Trail>>,
}

/// A request with what was sent beside its input.
pub(crate) struct Sent {
    pub(super) body: Bytes,
    pub(super) metadata: UserMetadata,
    asked: Arc<Asked>,
}

/// What is asked for, by whom.
pub(crate) struct Asked {
    pub(super) operation: S3Operation,
    pub(super) sender: Arc<Sender>,
    pub(super) served_in: Arc<str>,
    /// Those that the protocol crate read.
    pub(super) headers: HeaderMap,
    uri: Uri,
    /// Bucket and key of the path, unescaped; empty where there is none.
    pub(super) bucket: String,
    pub(super) key: String,
    /// The version that the query names.
    pub(super) version_id: Option<String>,
    pub(super) now: UnixMillis,
    trail: Arc<Mutex<Trail>>,
}

impl Sent {
    /// A request that `operation` answers.
    pub(super) fn new(
        unread: Unread,
        operation: S3Operation,
        (headers, uri): (HeaderMap, Uri),
        (bucket, key): (String, String),
    ) -> Self {
        let query = uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let version = pairs.find(|(name, _)| name == "versionId");
        let version_id = version.map(|(_, value)| value.into_owned());
        let asked = Asked {
            operation,
            sender: unread.sender,
            served_in: unread.served_in,
            headers,
            bucket,
            key,
            version_id,
            now: unread.now,
            trail: unread.trail,
            uri,
        };
        Self {
            body: unread.body,
            metadata: unread.metadata,
            asked: Arc::new(asked),
        }
    }

    /// What is asked for.
    pub(super) fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.asked)
    }
}

impl Deref for Sent {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

impl Asked {
    /// The caller's account.
    pub(super) fn account(&self) -> &str {
        self.sender.account()
    }

    /// The Region of the signature.
    pub(super) fn region(&self) -> Option<&str> {
        self.sender.region.as_deref()
    }

    /// The query, escaped.
    pub(super) fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// The endpoint as the client knows it.
    pub(super) fn host(&self) -> &str {
        let host = self.headers.get(http::header::HOST);
        host.and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// What the log will know.
    pub(super) fn trail(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
