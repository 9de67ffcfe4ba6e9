//! The KMS API: one call in, one reply out, no sockets.
//!
//! Source of truth: the KMS service model (JSON 1.1, version 2014-11-01), ground
//! truth KMS, and the behaviour recorded on AWS.
//!
//! Every operation goes the same way: the request's shape, the attestation
//! document, the key, permission, the key's state, `DryRun`, the work.
//!
//! Reading order: [`Kms`] (the front door), `operation` (what there is), `op`
//! (what all operations share), then one file for each family: `key`, `alias`,
//! `import`, `multi_region`, `custom_key_store`, `key_policy`, `rotation`, `tag`,
//! `grant`, `crypt`, `data_key`, `random`, `last_usage`, and with `usage` those of
//! other keys: `sign`, `mac`, `public_key`, `data_key_pair`, `shared_secret`,
//! `encapsulate`;
//! `fields` reads requests and `error` writes refusals.
//!
//! Of the key specs and algorithms these are not available, and answer
//! `UnsupportedOperationException` with a text that begins with `[drydock]`:
//!
//! | what | because |
//! |---|---|
//! | keys of spec `SM2`, wrapping under `SM2` | AWS has them in its China Regions alone, which are a partition of their own (`aws-cn`, SM4 instead of AES) that is not modelled |
//! | wrapping by `RSAES_PKCS1_V1_5` | AWS has taken it away in 2023 |

mod call;
mod error;
mod faulty;
mod fields;
mod json;
pub(crate) mod ops;
mod plant;
mod restore;
#[cfg(test)]
mod tests;
mod usage;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use nsm_sim::{clock::Clock, seed::WorldSeed};

use self::{
    call::{Op, Trail},
    error::Failure,
};
pub(crate) use self::{
    faulty::injected_reply,
    plant::{PlantError, PlantedKey},
};
pub use crate::keys::xks::{XksRootError, XksSettings};
use crate::{
    audit::{AuditLog, AuditRecord, Common, Details, Rare},
    faults::Conditions,
    journal::Journal,
    keys::{
        custom_store::CustomKeyStores, import::TokenKey, key::LastUse, store::Store, xks::XksClient,
    },
    model::operation::Operation,
    policy::Caller,
    recipient::DocumentVerifier,
    world::{entropy::Entropy, request_id::RequestId},
};

/// A Key Management Service. Calls may come from many threads at once; no lock
/// is held while anything is encrypted, decrypted or verified.
#[derive(Debug)]
pub struct Kms {
    settings: Settings,
    store: Store,
    entropy: Entropy,
    token_key: OnceLock<TokenKey>,
    /// Held while it is made.
    token_key_making: Mutex<()>,
    key_stores: CustomKeyStores,
    xks: XksClient,
    audit: AuditLog,
}

/// How a KMS is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Region of calls that name none. There are keys in every Region.
    pub region: String,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    /// Makes keys, identifiers and blobs repeat; `None` draws them from the
    /// system.
    pub seed: Option<WorldSeed>,
    /// Verifies the documents of attested calls.
    pub attestation_roots: Arc<dyn DocumentVerifier>,
    /// How old a document may be; AWS's is said to be 300 s.
    pub freshness_window: Duration,
    /// Refuses documents with larger RSA keys, as AWS's documentation words it.
    pub rsa_2048_only: bool,
    /// How external key store proxies are reached.
    pub xks: XksSettings,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `X-Amz-Target` after `TrentService.`.
    pub operation: &'a str,
    /// The JSON body.
    pub body: &'a [u8],
    /// The Region that the call was signed for; `None` for the KMS's own.
    pub region: Option<&'a str>,
    /// Who calls.
    pub caller: &'a Caller,
    /// What the reply's `x-amzn-RequestId` will be.
    pub request_id: RequestId,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// JSON; empty where AWS answers an empty body.
    pub body: Vec<u8>,
    /// The exception's name.
    pub error_type: Option<&'static str>,
    /// What AWS would not tell, for the mock-only header.
    pub reason: Option<String>,
}

impl Kms {
    /// An empty KMS, in memory.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_journal(settings, &Journal::memory(), 1)
    }

    /// An empty KMS whose changes go by `journal`, in the world's start number
    /// `start`.
    pub(crate) fn with_journal(settings: Settings, journal: &Journal, start: u64) -> Self {
        let entropy = settings
            .seed
            .as_ref()
            .map_or_else(Entropy::system, |seed| Entropy::seeded(seed, start));
        Self {
            xks: XksClient::new(settings.xks.clone()),
            settings,
            store: Store::new(journal.clone()),
            entropy,
            token_key: OnceLock::new(),
            token_key_making: Mutex::default(),
            key_stores: CustomKeyStores::new(journal.clone()),
            audit: AuditLog::default(),
        }
    }

    /// Answers a call and records it.
    pub fn call(&self, call: &Call<'_>) -> Reply {
        let (reply, record) = self.perform(call, Conditions::default());
        self.audit.push(record);
        reply
    }

    /// Answers a call; the record is the caller's to keep.
    fn perform(&self, call: &Call<'_>, conditions: Conditions) -> (Reply, Arc<AuditRecord>) {
        let operation = Operation::parse(call.operation);
        let mut op = Op::new(self, call, operation, conditions);
        let result = match operation {
            Some(operation) => op.perform(operation),
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
                    reason: failure.reason().or_else(|| op.denial_reason()),
                };
                (reply, failure.message())
            }
        };
        let region = op.region();
        let trail = op.trail();
        let number = self.audit.number();
        if reply.error_type.is_none()
            && let Some(operation) = operation.filter(|it| ops::last_usage::is_tracked(*it))
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

    /// The log of calls.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// How it was set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

fn record(
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
        rare: Rare::of(reply, error_message, trail.document.take()),
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
