//! Calls that meet a fault: refused without work, worked on under other
//! conditions, or answered by what a hostile KMS would answer.
//!
//! Source of truth: `faults`; the honest call beneath is the one of `dispatch`.

use nsm_sim::clock::UnixMillis;
use serde_json::Value;

use super::{
    call::Trail,
    dispatch::Performed,
    parsed::ParsedCall,
    service::{Kms, Reply},
};
use crate::faults::{AnswerForger, Faults, Injected, Planned};

impl Kms {
    /// Answers a call that meets `planned`, and records it with its faults.
    pub(crate) fn answer_with_faults(
        &self,
        parsed: ParsedCall<'_>,
        faults: &Faults,
        planned: &mut Planned,
    ) -> Reply {
        let operation = parsed.call.operation;
        let Performed {
            mut reply,
            mut record,
            recipient,
        } = match planned.refusal() {
            Some(injected) => self.refuse(&parsed, &injected),
            None => {
                let conditions = planned.conditions();
                let now = self.settings.clock.now();
                let now = UnixMillis(now.0.saturating_add_signed(conditions.clock_ahead_ms));
                self.perform(parsed, (now, conditions.grants_hidden))
            }
        };
        if planned.to_remember()
            && let Some(answer) = envelope_of(&reply)
        {
            faults.remember(operation, answer);
        }
        if let Some((id, hostile, earlier)) = planned.hostile() {
            let twisted = (reply.status == 200).then(|| {
                let forger = AnswerForger {
                    recipient: recipient.as_deref(),
                    entropy: &self.entropy,
                    earlier,
                };
                hostile.twist(&reply.body, &forger)
            });
            match twisted.flatten() {
                Some(body) => reply.body = body,
                None => {
                    faults.give_back(id);
                    planned.strike(id);
                }
            }
        }
        let marks = [reply.reason.take(), planned.reason()];
        let marks: Vec<String> = marks.into_iter().flatten().collect();
        reply.reason = (!marks.is_empty()).then(|| marks.join("; "));
        record.note_faults(reply.reason.clone(), planned.names());
        self.audit.push(record);
        reply
    }

    /// Refuses a call before any work.
    fn refuse(&self, parsed: &ParsedCall<'_>, injected: &Injected) -> Performed {
        let reply = injected_reply(injected);
        let record = self.record(
            self.audit.number(),
            (&parsed.call, parsed.operation),
            Trail::new(self.settings.clock.now()),
            &reply,
            Some(injected.message.to_owned()),
        );
        Performed {
            reply,
            record,
            recipient: None,
        }
    }
}

/// The answer of a refusal that no work preceded.
pub(crate) fn injected_reply(injected: &Injected) -> Reply {
    Reply {
        status: injected.status,
        body: injected.body(),
        error_type: Some(injected.code),
        reason: None,
    }
}

/// The `CiphertextForRecipient` of a successful answer.
fn envelope_of(reply: &Reply) -> Option<String> {
    if reply.status != 200 {
        return None;
    }
    let body: Value = serde_json::from_slice(&reply.body).ok()?;
    Some(body.get("CiphertextForRecipient")?.as_str()?.to_owned())
}
