//! Which function answers which operation, and what every call goes through before
//! and after it.
//!
//! Source of truth: the KMS service model for the operations. A success counts as
//! the key's last usage where the operation's row says so; every call leaves one
//! audit record, whatever became of it.

use std::{borrow::Cow, sync::Arc};

use super::{
    call::{Answer, CallContext, Trail},
    error::Failure,
    fields::Fields,
    ops::{
        alias, crypt, custom_key_store, data_key, data_key_pair, encapsulate, grant, import, key,
        key_policy, last_usage, mac, multi_region, public_key, random, rotation, shared_secret,
        sign, tag,
    },
    service::{Call, Kms, Reply},
};
use crate::{
    audit::{AuditRecord, Common, Details, Rare},
    faults::Conditions,
    keys::key::LastUse,
    model::operation::Operation,
};

impl Kms {
    /// Answers a call and records it.
    pub fn call(&self, call: &Call<'_>) -> Reply {
        let (reply, record) = self.perform(call, Conditions::default());
        self.audit.push(record);
        reply
    }

    /// Answers a call; the record is the caller's to keep.
    pub(super) fn perform(
        &self,
        call: &Call<'_>,
        conditions: Conditions,
    ) -> (Reply, Arc<AuditRecord>) {
        let operation = Operation::parse(call.operation);
        let mut context = CallContext::new(self, call, operation, conditions);
        let result = match operation {
            Some(operation) => answer(&mut context, operation),
            None => Err(Failure::UnknownOperation),
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
                    reason: failure.reason().or_else(|| context.denial_reason()),
                };
                (reply, failure.message())
            }
        };
        let region = context.region();
        let trail = context.trail();
        let number = self.audit.number();
        if reply.error_type.is_none()
            && let Some(operation) = operation.filter(|it| last_usage::is_tracked(*it))
        {
            for known in &trail.keys {
                known.key.note_use(LastUse {
                    operation: operation.name(),
                    at: trail.now,
                    request_id: call.request_id,
                    number,
                });
            }
        }
        let record = record(number, call, operation, region, trail, &reply, message);
        (reply, record)
    }
}

fn answer(context: &mut CallContext<'_>, operation: Operation) -> Answer {
    use Operation as O;
    context.store().sweep(context.now, context.entropy());
    let mut fields = Fields::parse(context.body)?;
    let fields = &mut fields;
    match operation {
        O::CreateKey => key::create(context, fields),
        O::DescribeKey => key::describe(context, fields),
        O::ListKeys => key::list(context, fields),
        O::EnableKey => key::enable(context, fields),
        O::DisableKey => key::disable(context, fields),
        O::ScheduleKeyDeletion => key::schedule_deletion(context, fields),
        O::CancelKeyDeletion => key::cancel_deletion(context, fields),
        O::UpdateKeyDescription => key::update_description(context, fields),
        O::CreateAlias => alias::create(context, fields),
        O::UpdateAlias => alias::update(context, fields),
        O::DeleteAlias => alias::delete(context, fields),
        O::ListAliases => alias::list(context, fields),
        O::PutKeyPolicy => key_policy::put(context, fields),
        O::GetKeyPolicy => key_policy::get(context, fields),
        O::ListKeyPolicies => key_policy::list(context, fields),
        O::EnableKeyRotation => rotation::enable(context, fields),
        O::DisableKeyRotation => rotation::disable(context, fields),
        O::GetKeyRotationStatus => rotation::status(context, fields),
        O::RotateKeyOnDemand => rotation::on_demand(context, fields),
        O::ListKeyRotations => rotation::list(context, fields),
        O::TagResource => tag::tag(context, fields),
        O::UntagResource => tag::untag(context, fields),
        O::ListResourceTags => tag::list(context, fields),
        O::CreateGrant => grant::create(context, fields),
        O::ListGrants => grant::list(context, fields),
        O::ListRetirableGrants => grant::list_retirable(context, fields),
        O::RevokeGrant => grant::revoke(context, fields),
        O::RetireGrant => grant::retire(context, fields),
        O::Encrypt => crypt::encrypt(context, fields),
        O::Decrypt => crypt::decrypt(context, fields),
        O::ReEncrypt => crypt::re_encrypt(context, fields),
        O::GenerateDataKey => data_key::generate(context, fields),
        O::GenerateDataKeyWithoutPlaintext => data_key::generate_without_plaintext(context, fields),
        O::GenerateRandom => random::generate(context, fields),
        O::GetParametersForImport => import::parameters(context, fields),
        O::ImportKeyMaterial => import::import(context, fields),
        O::DeleteImportedKeyMaterial => import::delete(context, fields),
        O::ReplicateKey => multi_region::replicate(context, fields),
        O::UpdatePrimaryRegion => multi_region::update_primary(context, fields),
        O::GetKeyLastUsage => last_usage::get(context, fields),
        O::CreateCustomKeyStore => custom_key_store::create(context, fields),
        O::DescribeCustomKeyStores => custom_key_store::describe(context, fields),
        O::UpdateCustomKeyStore => custom_key_store::update(context, fields),
        O::ConnectCustomKeyStore => custom_key_store::connect(context, fields),
        O::DisconnectCustomKeyStore => custom_key_store::disconnect(context, fields),
        O::DeleteCustomKeyStore => custom_key_store::delete(context, fields),
        O::Sign => sign::sign(context, fields),
        O::Verify => sign::verify(context, fields),
        O::GetPublicKey => public_key::get(context, fields),
        O::GenerateMac => mac::generate(context, fields),
        O::VerifyMac => mac::verify(context, fields),
        O::GenerateDataKeyPair => data_key_pair::generate(context, fields),
        O::GenerateDataKeyPairWithoutPlaintext => {
            data_key_pair::generate_without_plaintext(context, fields)
        }
        O::DeriveSharedSecret => shared_secret::derive(context, fields),
        O::Encapsulate => encapsulate::encapsulate(context, fields),
        O::Decapsulate => encapsulate::decapsulate(context, fields),
    }
}

pub(super) fn record(
    number: u64,
    call: &Call<'_>,
    operation: Option<Operation>,
    region: &str,
    trail: &mut Trail,
    reply: &Reply,
    error_message: Option<String>,
) -> Arc<AuditRecord> {
    let user_agent = beginning(call.user_agent, 256);
    Arc::new(AuditRecord {
        number,
        request_id: call.request_id,
        time: trail.now,
        operation: match operation {
            Some(operation) => operation.name().into(),
            None => Cow::Owned(beginning(call.operation, 64).to_owned()),
        },
        key_arn: trail.key_arn.take(),
        attested: trail.document.is_some(),
        rare: Rare::of(
            reply.error_type,
            error_message,
            reply.reason.as_deref(),
            trail.document.take(),
        ),
        decisions: std::mem::take(&mut trail.decisions),
        details: Details {
            common: Common::of(&call.caller.principal, region, user_agent),
            source_ip: call.caller.source_ip,
            read_only: operation.is_some_and(Operation::is_read_only),
            encryption_context: trail.encryption_context.take(),
        },
    })
}

/// The name of an operation, borrowed if there is such an operation.
pub(crate) fn static_name(name: &str) -> Cow<'static, str> {
    match Operation::parse(name) {
        Some(operation) => operation.name().into(),
        None => Cow::Owned(name.to_owned()),
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
