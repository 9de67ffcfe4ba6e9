//! Who sends a request, and what is known of it when it has been answered: what the
//! edge gives to S3 and gets back.
//!
//! Source of truth: Amazon S3 user guide, "Policy keys in Amazon S3" (what a signature
//! tells a policy) and "Logging Amazon S3 API calls using AWS CloudTrail" (what is kept
//! of a request).

use std::sync::Arc;

use http::HeaderValue;
use nsm_sim::clock::UnixMillis;
use smallvec::SmallVec;

use crate::policy::{Caller, Decision, S3Signature};

/// Who sends a request, and how it came.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) caller: Arc<Caller>,
    /// The Region that the request was signed for, if it was.
    pub(crate) region: Option<String>,
    pub(crate) signature: Option<Signature>,
    /// `1.2` or `1.3`; `None` without TLS.
    pub(crate) tls_version: Option<&'static str>,
}

impl Sender {
    /// The account that the caller belongs to.
    pub(crate) fn account(&self) -> &str {
        self.caller.principal.account()
    }
}

/// What the signature of a request says beside who signed it.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) presigned: bool,
    pub(crate) signed_at: UnixMillis,
    pub(crate) content_sha256: Option<HeaderValue>,
}

impl Signature {
    /// As policies see it.
    pub(crate) fn facts(&self) -> S3Signature<'_> {
        let content_sha256 = self.content_sha256.as_ref();
        S3Signature {
            presigned: self.presigned,
            signed_at: self.signed_at,
            content_sha256: content_sha256.and_then(|it| it.to_str().ok()),
        }
    }
}

/// What became of a request, for the log. Empty of one that no operation was called
/// for.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// As CloudTrail names it, and whether it only reads.
    pub(crate) operation: Option<(&'static str, bool)>,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
    /// How each permission was decided, in order.
    pub(crate) decisions: SmallVec<[Decision; 1]>,
    /// Code and message of the refusal.
    pub(crate) error: Option<(String, Option<String>)>,
}

impl Trail {
    /// The first remark about the decision that refused the request.
    pub(crate) fn denial_reason(&self) -> Option<String> {
        let denied = self.decisions.iter().rfind(|it| !it.is_allowed())?;
        denied.remarks().into_iter().next()
    }
}
