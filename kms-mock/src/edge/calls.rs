//! Who answers KMS calls behind the edge.
//!
//! Models nothing of AWS: a test of the edge itself puts its own function where the
//! KMS is, and sees what the edge makes of a request.

use std::{fmt, sync::Arc};

use nsm_sim::clock::UnixMillis;

use crate::{
    faults::{Faults, Planned},
    kms::{Call, Kms, ParsedCall, Reply, injected_reply},
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

impl KmsCalls {
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
