//! Who answers KMS calls behind the edge.
//!
//! Models nothing of AWS: a test of the edge itself puts its own function where the
//! KMS is, and sees what the edge makes of a request.

use std::{borrow::Cow, fmt, sync::Arc};

use nsm_sim::clock::UnixMillis;

use crate::{
    audit::{AuditRecord, Details, Object, Rare, Texts},
    faults::{Faults, Planned},
    kms::{Call, Kms, ParsedCall, Reply, injected_reply},
    policy::Caller,
    s3::sender::Trail,
    world::request_id::RequestId,
};

/// A function that answers calls instead of a KMS.
pub(crate) type Answering = dyn Fn(&Call<'_>) -> Reply + Send + Sync;

/// What answers KMS calls once the edge knows who is calling.
#[derive(Clone)]
pub(crate) enum KmsCalls {
    Kms(Arc<Kms>),
    Function(Arc<Answering>),
}

impl fmt::Debug for KmsCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kms(_) => "Kms",
            Self::Function(_) => "Function",
        })
    }
}

/// A request to S3 as the log keeps it, beside what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct S3Request<'a> {
    pub(crate) request_id: RequestId,
    pub(crate) time: UnixMillis,
    pub(crate) caller: &'a Arc<Caller>,
    pub(crate) region: &'a str,
    pub(crate) user_agent: &'a str,
}

impl KmsCalls {
    /// Writes a request to S3 into the one log of the world, if an operation was called
    /// for it.
    pub(super) fn log_s3(&self, request: S3Request<'_>, trail: Trail) {
        let (Self::Kms(kms), Some((operation, read_only))) = (self, trail.operation) else {
            return;
        };
        let log = kms.audit();
        let reason = trail.denial_reason();
        let (code, message) = trail.error.unzip();
        log.push(Arc::new(AuditRecord {
            number: log.number(),
            request_id: request.request_id,
            time: request.time,
            operation: operation.into(),
            key_arn: None,
            attested: false,
            rare: Rare::of(
                code.map(Cow::Owned),
                message.flatten(),
                reason.as_deref(),
                None,
            ),
            decisions: trail.decisions,
            details: Details {
                caller: Arc::clone(request.caller),
                texts: Texts::new(request.region, request.user_agent),
                read_only,
                encryption_context: None,
                object: Some(Box::new(Object {
                    bucket: trail.bucket,
                    key: trail.key,
                })),
            },
        }));
    }

    /// Answers one call, which may take as long as making a key takes. Instead of a
    /// KMS, faults but refusals change nothing. The time is `now` unless a fault shifts it.
    pub(super) fn answer(
        &self,
        call: ParsedCall<'_>,
        now: UnixMillis,
        faults: &Faults,
        planned: Option<&mut Planned>,
    ) -> Reply {
        match (self, planned) {
            (Self::Kms(kms), None) => kms.answer(call, now),
            (Self::Kms(kms), Some(planned)) => kms.answer_with_faults(call, faults, planned),
            (Self::Function(answer), None) => answer(call.call()),
            (Self::Function(answer), Some(planned)) => match planned.refusal() {
                Some(injected) => Reply {
                    reason: planned.reason(),
                    ..injected_reply(&injected)
                },
                None => answer(call.call()),
            },
        }
    }
}
