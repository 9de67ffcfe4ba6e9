//! Who may do what: the place where every request passes, before it changes or
//! shows anything.
//!
//! Source of truth: Amazon S3 user guide, "How Amazon S3 authorizes a request" and
//! "Verifying bucket ownership with bucket owner condition". Not modelled:
//! authorization. Every authenticated caller may do everything that object lock does
//! not forbid, so only the owners that a request expects are compared.

use http::request::Parts;
use s3s::{S3Result, s3_error};

use super::{ops::Sent, request::bucket_of, store::Store};

/// A request as a policy sees it.
#[derive(Debug)]
pub(super) struct Action<'r> {
    /// The operation in the words of the protocol crate, `get_object`.
    pub(super) operation: &'static str,
    /// Without it the request is about all buckets of the account.
    pub(super) bucket: Option<&'r str>,
    /// As it is in the path, escaped.
    pub(super) key: Option<&'r str>,
}

impl<'r> Action<'r> {
    /// An operation on what a path names, `/bucket/key`.
    pub(super) fn new(operation: &'static str, path: &'r str) -> Self {
        let path = path.trim_start_matches('/');
        let (bucket, key) = match path.split_once('/') {
            Some((bucket, key)) => (bucket, Some(key)),
            None => (path, None),
        };
        Self {
            operation,
            bucket: Some(bucket).filter(|it| !it.is_empty()),
            key: key.filter(|it| !it.is_empty()),
        }
    }
}

/// Lets an operation go on, or refuses it. Its input has been read, the store has not
/// been asked.
pub(super) fn check(action: &Action<'_>, sent: &Sent) -> S3Result<()> {
    let Action {
        operation,
        bucket,
        key,
    } = action;
    tracing::trace!(operation, bucket, key, account = sent.account, "allowed");
    Ok(())
}

/// Refuses a request whose buckets belong to others than it expects.
pub(super) fn check_owners(store: &Store, parts: &Parts) -> S3Result<()> {
    let header = |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok());
    let expectations = [
        ("x-amz-expected-bucket-owner", Some(parts.uri.path())),
        (
            "x-amz-source-expected-bucket-owner",
            header("x-amz-copy-source"),
        ),
    ];
    for (name, path) in expectations {
        let (Some(expected), Some(path)) = (header(name), path) else {
            continue;
        };
        let owner = store.owner(bucket_of(path));
        if owner.is_ok_and(|owner| owner != expected) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_on_the_bucket_and_key_of_its_path() {
        for (path, bucket, key) in [
            ("/", None, None),
            ("/b", Some("b"), None),
            ("/b/", Some("b"), None),
            ("/b/k/l", Some("b"), Some("k/l")),
        ] {
            let action = Action::new("get_object", path);
            assert_eq!((action.bucket, action.key), (bucket, key), "{path}");
        }
    }
}
