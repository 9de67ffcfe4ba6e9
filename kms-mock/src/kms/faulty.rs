//! Calls that meet a fault: refused without work, worked on under other
//! conditions, or answered by what a hostile KMS would answer.
//!
//! Source of truth: `faults`; the honest call beneath is the one of `api`.

use serde_json::Value;

use super::{
    call::CallContext,
    dispatch::record,
    service::{Call, Kms, Reply},
};
use crate::{
    faults::{Conditions, Faults, Injected, Planned, Workshop},
    model::operation::Operation,
    recipient::{Recipient, Rules},
};

impl Kms {
    /// Answers a call that meets `planned`, and records it with its faults.
    pub(crate) fn call_with_faults(
        &self,
        call: &Call<'_>,
        faults: &Faults,
        planned: &mut Planned,
    ) -> Reply {
        let (mut reply, mut record) = match planned.refusal() {
            Some(injected) => {
                let reply = injected_reply(&injected);
                let operation = Operation::parse(call.operation);
                let mut context = CallContext::new(self, call, operation, Conditions::default());
                let region = context.region();
                let message = Some(injected.message.to_owned());
                let number = self.audit.number();
                let trail = context.trail();
                let record = record(number, call, operation, region, trail, &reply, message);
                (reply, record)
            }
            None => self.perform(call, planned.conditions()),
        };
        if planned.to_remember()
            && let Some(answer) = envelope_of(&reply)
        {
            faults.remember(call.operation, answer);
        }
        if let Some((id, hostile, earlier)) = planned.hostile() {
            let twisted = (reply.status == 200).then(|| {
                let recipient = self.recipient_of(call, planned.conditions());
                let workshop = Workshop {
                    recipient: recipient.as_ref(),
                    entropy: &self.entropy,
                    earlier,
                };
                hostile.twist(&reply.body, &workshop)
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

    /// The recipient of a call that KMS has accepted already.
    fn recipient_of(&self, call: &Call<'_>, conditions: Conditions) -> Option<Recipient> {
        use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
        let body: Value = serde_json::from_slice(call.body).ok()?;
        let text = body.pointer("/Recipient/AttestationDocument")?.as_str()?;
        let document = BASE64.decode(text).ok()?;
        let rules = Rules {
            verifier: &*self.settings.attestation_roots,
            now: CallContext::new(self, call, None, conditions).now,
            freshness_window: self.settings.freshness_window,
            rsa_2048_only: self.settings.rsa_2048_only,
        };
        Recipient::admit(&document, rules).ok()
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
