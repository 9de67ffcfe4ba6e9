//! Which function answers which operation, and what every call goes through before
//! and after it.
//!
//! Source of truth: the KMS service model for the operations. A success counts as
//! the key's last usage where the operation's row says so; every call leaves one
//! audit record, whatever became of it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use nsm_sim::clock::UnixMillis;

use super::{
    answer::Answer,
    call::{CallContext, Trail},
    error::{Failure, Malformed},
    json::Object,
    ops::{
        alias, crypt, custom_key_store, data_key, data_key_pair, encapsulate, grant, grant_list,
        import, key, key_policy, last_usage, mac, multi_region, public_key, random, rotation,
        shared_secret, sign, tag,
    },
    parsed::ParsedCall,
    service::{Call, Kms, Reply},
};
use crate::{
    audit::{AuditRecord, Details, Rare, Texts},
    keys::uses::LastUse,
    model::operation::Operation,
    recipient::Recipient,
};

/// When a call is judged, and below which age grants are not seen yet.
pub(super) type Moment = (UnixMillis, Option<Duration>);

/// A call that was answered, before it is in the log.
pub(super) struct Performed {
    pub(super) reply: Reply,
    pub(super) record: Arc<AuditRecord>,
    /// Whom an attested answer went to.
    pub(super) recipient: Option<Arc<Recipient>>,
}

impl Kms {
    /// Answers a call and records it.
    pub fn call(&self, call: &Call<'_>) -> Reply {
        self.answer(ParsedCall::of(*call), self.settings.clock.now())
    }

    /// Answers a parsed call, made at `now`, and records it.
    pub(crate) fn answer(&self, parsed: ParsedCall<'_>, now: UnixMillis) -> Reply {
        let performed = self.perform(parsed, (now, None));
        self.audit.push(performed.record);
        performed.reply
    }

    /// Answers a call; the record is the caller's to keep.
    pub(super) fn perform(&self, parsed: ParsedCall<'_>, moment: Moment) -> Performed {
        let ParsedCall {
            call,
            operation,
            body,
        } = parsed;
        let (result, trail) = match operation {
            Some(operation) => {
                let mut context = CallContext::new(self, &call, operation, moment);
                self.store.sweep(context.now, &self.entropy);
                let result = match body {
                    Some(body) => operate(&mut context, operation, body),
                    None => Err(Failure::Serialization(Malformed::Body)),
                };
                (result, context.into_trail())
            }
            None => (Err(Failure::UnknownOperation), Trail::new(moment.0)),
        };
        let (reply, message) = match result {
            Ok(body) => {
                let reply = Reply {
                    status: 200,
                    body,
                    error_type: None,
                    reason: None,
                };
                (reply, None)
            }
            Err(failure) => {
                let reply = Reply {
                    status: failure.status(),
                    body: failure.body(),
                    error_type: Some(failure.code()),
                    reason: failure.reason().or_else(|| trail.denial_reason()),
                };
                (reply, failure.message())
            }
        };
        let number = self.audit.number();
        if reply.error_type.is_none()
            && let Some(operation) = operation.filter(|it| it.row().is_tracked)
        {
            for known in &trail.keys {
                let last = LastUse {
                    operation: operation.name(),
                    at: trail.now,
                    request_id: call.request_id,
                    number,
                };
                self.store.note_use(&known.key, last);
            }
        }
        let recipient = trail.recipient.clone();
        let record = self.record(number, (&call, operation), trail, &reply, message);
        Performed {
            reply,
            record,
            recipient,
        }
    }

    /// What the log keeps of a call.
    pub(super) fn record(
        &self,
        number: u64,
        (call, operation): (&Call<'_>, Option<Operation>),
        trail: Trail,
        reply: &Reply,
        error_message: Option<String>,
    ) -> Arc<AuditRecord> {
        let document = trail.recipient.map(|recipient| recipient.document.clone());
        Arc::new(AuditRecord {
            number,
            request_id: call.request_id,
            time: trail.now,
            operation: match operation {
                Some(operation) => operation.name().into(),
                None => Cow::Owned(beginning(call.operation, 64).to_owned()),
            },
            key_arn: trail.key_arn,
            attested: document.is_some(),
            rare: Rare::of(
                reply.error_type.map(Cow::Borrowed),
                error_message,
                reply.reason.as_deref(),
                document,
            ),
            decisions: trail.decisions,
            details: Details {
                caller: Arc::clone(call.caller),
                texts: Texts::new(self.region_of(call), beginning(call.user_agent, 256)),
                read_only: operation.is_some_and(|it| it.row().is_read_only),
                encryption_context: trail.encryption_context,
                object: None,
            },
        })
    }
}

/// The function of each operation.
fn operate(call: &mut CallContext<'_>, operation: Operation, body: Object<'_>) -> Answer {
    use Operation as O;
    match operation {
        O::CreateKey => key::create(call, body),
        O::DescribeKey => key::describe(call, body),
        O::ListKeys => key::list(call, body),
        O::EnableKey => key::enable(call, body),
        O::DisableKey => key::disable(call, body),
        O::ScheduleKeyDeletion => key::schedule_deletion(call, body),
        O::CancelKeyDeletion => key::cancel_deletion(call, body),
        O::UpdateKeyDescription => key::update_description(call, body),
        O::CreateAlias => alias::create(call, body),
        O::UpdateAlias => alias::update(call, body),
        O::DeleteAlias => alias::delete(call, body),
        O::ListAliases => alias::list(call, body),
        O::PutKeyPolicy => key_policy::put(call, body),
        O::GetKeyPolicy => key_policy::get(call, body),
        O::ListKeyPolicies => key_policy::list(call, body),
        O::EnableKeyRotation => rotation::enable(call, body),
        O::DisableKeyRotation => rotation::disable(call, body),
        O::GetKeyRotationStatus => rotation::status(call, body),
        O::RotateKeyOnDemand => rotation::on_demand(call, body),
        O::ListKeyRotations => rotation::list(call, body),
        O::TagResource => tag::tag(call, body),
        O::UntagResource => tag::untag(call, body),
        O::ListResourceTags => tag::list(call, body),
        O::CreateGrant => grant::create(call, body),
        O::ListGrants => grant_list::list(call, body),
        O::ListRetirableGrants => grant_list::list_retirable(call, body),
        O::RevokeGrant => grant::revoke(call, body),
        O::RetireGrant => grant::retire(call, body),
        O::Encrypt => crypt::encrypt(call, body),
        O::Decrypt => crypt::decrypt(call, body),
        O::ReEncrypt => crypt::re_encrypt(call, body),
        O::GenerateDataKey => data_key::generate(call, body),
        O::GenerateDataKeyWithoutPlaintext => data_key::generate_without_plaintext(call, body),
        O::GenerateRandom => random::generate(call, body),
        O::GetParametersForImport => import::parameters(call, body),
        O::ImportKeyMaterial => import::import(call, body),
        O::DeleteImportedKeyMaterial => import::delete(call, body),
        O::ReplicateKey => multi_region::replicate(call, body),
        O::UpdatePrimaryRegion => multi_region::update_primary(call, body),
        O::GetKeyLastUsage => last_usage::get(call, body),
        O::CreateCustomKeyStore => custom_key_store::create(call, body),
        O::DescribeCustomKeyStores => custom_key_store::describe(call, body),
        O::UpdateCustomKeyStore => custom_key_store::update(call, body),
        O::ConnectCustomKeyStore => custom_key_store::connect(call, body),
        O::DisconnectCustomKeyStore => custom_key_store::disconnect(call, body),
        O::DeleteCustomKeyStore => custom_key_store::delete(call, body),
        O::Sign => sign::sign(call, body),
        O::Verify => sign::verify(call, body),
        O::GetPublicKey => public_key::get(call, body),
        O::GenerateMac => mac::generate(call, body),
        O::VerifyMac => mac::verify(call, body),
        O::GenerateDataKeyPair => data_key_pair::generate(call, body),
        O::GenerateDataKeyPairWithoutPlaintext => {
            data_key_pair::generate_without_plaintext(call, body)
        }
        O::DeriveSharedSecret => shared_secret::derive(call, body),
        O::Encapsulate => encapsulate::encapsulate(call, body),
        O::Decapsulate => encapsulate::decapsulate(call, body),
    }
}

/// At most so many characters of a text.
fn beginning(text: &str, chars_max: usize) -> &str {
    if text.len() <= chars_max {
        return text;
    }
    let end = text.char_indices().nth(chars_max).map(|(at, _)| at);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}
