//! What all operations share: finding the key, asking for permission, checking
//! the key's state, reading `Recipient` and `DryRun`.
//!
//! Source of truth: ground truth KMS §2 (the document is checked before any
//! policy) and §4 (identifiers, states); AWS KMS developer guide, "Key states".
//!
//! Unknown and chosen: an operation that takes no alias answers one like any
//! other text that is no key id.

use std::{cell::OnceCell, ops::Deref, sync::Arc, time::Duration};

use nsm_sim::clock::UnixMillis;
use serde_json::Value;
use smallvec::SmallVec;

use super::{
    error::{
        BadState, Constraint, Failure, Invalid, NotFound, Refusal, RefusedResource, Unsupported,
        Violation,
    },
    fields::{Fields, Page},
    service::{Call, Kms},
};
use crate::{
    faults::Conditions,
    keys::{
        custom_store::CustomKeyStores,
        key::{Key, KeyState, Record},
        material::Handle,
        recent::Known,
        store::Store,
    },
    model::operation::Operation,
    policy::{
        Caller, Decision, Denial, EncryptionContext, Facts, Grant, Outcome, Request, Resource,
        decide,
    },
    recipient::{Recipient, RecipientError, Rules, VerifiedDocument},
    world::{
        arn::{KeyReference, account_of},
        entropy::Entropy,
        request_id::RequestId,
    },
};

/// The body of a reply.
pub(crate) type Answer = Result<Vec<u8>, Failure>;

/// One call on its way.
#[derive(Debug)]
pub(crate) struct CallContext<'a> {
    pub(crate) kms: &'a Kms,
    pub(crate) caller: &'a Caller,
    pub(crate) now: UnixMillis,
    pub(crate) body: &'a [u8],
    user_agent: &'a str,
    region: &'a str,
    pub(crate) request_id: RequestId,
    /// Written when it is first asked for.
    principal_arn: OnceCell<String>,
    operation: Option<Operation>,
    /// Grants younger than this are not seen yet.
    grants_hidden: Option<Duration>,
    trail: Trail,
}

/// What the log will know.
#[derive(Debug)]
pub(crate) struct Trail {
    pub(crate) now: UnixMillis,
    pub(crate) key_arn: Option<Arc<str>>,
    /// The keys that were found.
    pub(crate) keys: SmallVec<[Arc<Known>; 1]>,
    pub(crate) document: Option<VerifiedDocument>,
    pub(crate) encryption_context: Option<EncryptionContext>,
    pub(crate) decisions: SmallVec<[Decision; 1]>,
}

/// A key that was found, as it is at the time of the call.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) known: Arc<Known>,
    /// The alias it was named by, `alias/…`.
    pub(crate) request_alias: Option<String>,
    /// Whether a ciphertext told the key.
    pub(crate) by_ciphertext: bool,
}

impl Deref for Found {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.known
    }
}

/// Whether an operation takes an alias for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aliases {
    Accepted,
    Refused,
}

impl<'a> CallContext<'a> {
    pub(crate) fn new(
        kms: &'a Kms,
        call: &Call<'a>,
        operation: Option<Operation>,
        conditions: Conditions,
    ) -> Self {
        let now = UnixMillis(
            kms.settings
                .clock
                .now()
                .0
                .saturating_add_signed(conditions.clock_ahead_ms),
        );
        Self {
            kms,
            caller: call.caller,
            now,
            body: call.body,
            user_agent: call.user_agent,
            region: call.region.unwrap_or(&kms.settings.region),
            request_id: call.request_id,
            principal_arn: OnceCell::new(),
            operation,
            grants_hidden: conditions.grants_hidden,
            trail: Trail {
                now,
                key_arn: None,
                keys: SmallVec::new(),
                document: None,
                encryption_context: None,
                decisions: SmallVec::new(),
            },
        }
    }

    /// What there is to log, when the call is over.
    pub(crate) fn trail(&mut self) -> &mut Trail {
        &mut self.trail
    }

    /// The most telling remark about the decision that refused the call.
    pub(crate) fn denial_reason(&self) -> Option<String> {
        let decision = self
            .trail
            .decisions
            .last()
            .filter(|decision| !decision.is_allowed())?;
        decision.remarks().into_iter().next()
    }

    /// The Region that the call was made to.
    pub(crate) fn region(&self) -> &'a str {
        self.region
    }

    pub(crate) fn account(&self) -> &'a str {
        self.caller.principal.account()
    }

    pub(crate) fn store(&self) -> &'a Store {
        &self.kms.store
    }

    pub(crate) fn key_stores(&self) -> &'a CustomKeyStores {
        &self.kms.key_stores
    }

    pub(crate) fn principal_arn(&self) -> &str {
        self.principal_arn
            .get_or_init(|| self.caller.principal.arn())
    }

    pub(crate) fn entropy(&self) -> &'a Entropy {
        &self.kms.entropy
    }

    /// The operation's name, for messages.
    pub(crate) fn operation_name(&self) -> &'static str {
        self.operation.map_or("Unknown", Operation::name)
    }

    /// How the last permission was decided.
    pub(crate) fn last_outcome(&self) -> Option<&Outcome> {
        self.trail
            .decisions
            .last()
            .map(|decision| &decision.outcome)
    }

    /// Keeps the key for the log.
    pub(crate) fn note_key(&mut self, found: &Found) {
        self.trail
            .key_arn
            .get_or_insert_with(|| Arc::clone(&found.arn));
    }

    fn note(&mut self, known: &Arc<Known>) {
        let arn = || Arc::clone(&known.arn);
        self.trail.key_arn.get_or_insert_with(arn);
        self.trail.keys.push(Arc::clone(known));
    }

    /// Keeps the encryption context for the log.
    pub(crate) fn note_context(&mut self, context: &EncryptionContext) {
        if !context.is_empty() {
            self.trail.encryption_context = Some(context.clone());
        }
    }

    /// Finds the key that a request names.
    pub(crate) fn find(&mut self, text: &str, aliases: Aliases) -> Result<Found, Failure> {
        let reference = KeyReference::parse(text, self.region(), self.account())?;
        let (arn, request_alias) = match reference {
            KeyReference::Key(arn) => (arn, None),
            KeyReference::Alias(_) if aliases == Aliases::Refused => {
                let text = text.to_owned();
                return Err(Failure::NotFound(NotFound::KeyId { text }));
            }
            KeyReference::Alias(alias_arn) => {
                let Some(alias) = self.store().alias(&alias_arn) else {
                    return Err(self.nothing_there(&alias_arn, |arn| NotFound::Alias { arn }));
                };
                let name = alias_arn.splitn(6, ':').nth(5).map(str::to_owned);
                (alias.target.to_string(), name)
            }
        };
        let Some(known) = self.store().key(&arn, self.now, self.entropy())? else {
            return Err(self.nothing_there(&arn, |arn| NotFound::Key { arn }));
        };
        self.note(&known);
        Ok(Found {
            known,
            request_alias,
            by_ciphertext: false,
        })
    }

    /// Finds the key of a ciphertext by what it says of its material; `None` if it
    /// is nobody's.
    pub(crate) fn find_by_ciphertext(&mut self, handle: &Handle) -> Result<Option<Found>, Failure> {
        let (store, region) = (self.store(), self.region());
        let Some(known) = store.key_of_blob(handle, region, self.now, self.entropy())? else {
            return Ok(None);
        };
        if known.key.region() != region {
            let named = RefusedResource::Ciphertext(known.arn.to_string());
            return Err(self.refuse(Denial::OtherAccount, self.action(), named));
        }
        self.note(&known);
        Ok(Some(Found {
            known,
            request_alias: None,
            by_ciphertext: true,
        }))
    }

    /// Finds a key by an ARN that no request named, whatever its Region.
    pub(crate) fn find_related(&self, arn: &str) -> Result<Option<Found>, Failure> {
        let found = self.store().key(arn, self.now, self.entropy())?;
        Ok(found.map(|known| Found {
            known,
            request_alias: None,
            by_ciphertext: false,
        }))
    }

    /// Whether something exists in another account is not told.
    fn nothing_there(&self, arn: &str, what: impl FnOnce(String) -> NotFound) -> Failure {
        if account_of(arn) == self.account() {
            return Failure::NotFound(what(arn.to_owned()));
        }
        self.refuse(
            Denial::OtherAccount,
            self.action(),
            RefusedResource::Arn(arn.to_owned()),
        )
    }

    /// The permission that most operations need: their own name.
    pub(crate) fn action(&self) -> &'static str {
        self.operation.map_or("kms:Unknown", Operation::permission)
    }

    pub(crate) fn refuse(
        &self,
        denial: Denial,
        action: &'static str,
        resource: RefusedResource,
    ) -> Failure {
        Failure::AccessDenied(Box::new(Refusal {
            denial,
            caller_arn: self.caller.principal.arn(),
            action,
            resource,
        }))
    }

    /// Asks for the permission that goes by the operation's name.
    pub(crate) fn authorize(&mut self, found: &Found, facts: Facts<'_>) -> Result<(), Failure> {
        self.authorize_as(self.action(), found, facts)
    }

    /// Asks for a permission on a key.
    pub(crate) fn authorize_as(
        &mut self,
        action: &'static str,
        found: &Found,
        facts: Facts<'_>,
    ) -> Result<(), Failure> {
        let named = || {
            let arn = found.key.arn.to_string();
            if found.by_ciphertext {
                RefusedResource::Ciphertext(arn)
            } else {
                RefusedResource::Arn(arn)
            }
        };
        let is_foreign = found.key.account() != self.account();
        if is_foreign
            && self
                .operation
                .is_some_and(|operation| !operation.crosses_accounts())
        {
            return Err(self.refuse(Denial::OtherAccount, action, named()));
        }
        let facts = Facts {
            request_alias: found.request_alias.as_deref(),
            ..facts
        };
        let decision = self.ask(action, found, &found.record, facts);
        self.conclude(decision, action, named)
    }

    /// Asks without recording: what a policy would say if it were in place.
    pub(crate) fn ask(
        &self,
        action: &'static str,
        found: &Found,
        record: &Record,
        facts: Facts<'_>,
    ) -> Decision {
        let facts = Facts {
            user_agent: Some(self.user_agent),
            region: Some(self.region()),
            ..facts
        };
        let request = Request {
            caller: self.caller,
            action,
            resource: Resource::Key(found.key.facts(record)),
            facts: &facts,
            now: self.now,
        };
        decide(&request, Some(&record.policy), || {
            self.grants_to_caller(&found.key)
        })
    }

    fn grants_to_caller(&self, key: &Key) -> Vec<Arc<Grant>> {
        let mut grants = key.grants();
        grants.retain(|grant| grant.is_for(&self.caller.principal));
        if let Some(young) = self.grants_hidden
            && !self.brings_grant_token()
        {
            grants.retain(|grant| self.now.since(grant.created) >= young);
        }
        grants
    }

    /// Whether the request carries grant tokens, which make young grants count.
    fn brings_grant_token(&self) -> bool {
        let body: Option<Value> = serde_json::from_slice(self.body).ok();
        body.and_then(|body| Some(!body.get("GrantTokens")?.as_array()?.is_empty()))
            .unwrap_or(false)
    }

    /// Asks for a permission that is not about a key.
    pub(crate) fn authorize_account(
        &mut self,
        action: &'static str,
        facts: Facts<'_>,
    ) -> Result<(), Failure> {
        let resource = Resource::Account(self.account());
        let decision = self.ask_without_policy(action, resource, facts);
        self.conclude(decision, action, || {
            // AWS names no resource when the tags of a new key are refused.
            if action == "kms:TagResource" {
                RefusedResource::Nothing
            } else {
                RefusedResource::Arn("*".to_owned())
            }
        })
    }

    /// Asks for a permission on an alias, which IAM policies alone decide.
    pub(crate) fn authorize_alias(&mut self, arn: &str) -> Result<(), Failure> {
        let action = self.action();
        let resource = Resource::Other {
            arn,
            account: account_of(arn),
        };
        let decision = self.ask_without_policy(action, resource, Facts::default());
        self.conclude(decision, action, || RefusedResource::Arn(arn.to_owned()))
    }

    fn ask_without_policy(
        &self,
        action: &'static str,
        resource: Resource<'_>,
        facts: Facts<'_>,
    ) -> Decision {
        let facts = Facts {
            user_agent: Some(self.user_agent),
            region: Some(self.region()),
            ..facts
        };
        let request = Request {
            caller: self.caller,
            action,
            resource,
            facts: &facts,
            now: self.now,
        };
        decide(&request, None, Vec::new)
    }

    fn conclude(
        &mut self,
        decision: Decision,
        action: &'static str,
        resource: impl FnOnce() -> RefusedResource,
    ) -> Result<(), Failure> {
        let denial = match &decision.outcome {
            Outcome::Allowed(_) => None,
            Outcome::Denied(denial) => Some(*denial),
        };
        self.trail.decisions.push(decision);
        match denial {
            None => Ok(()),
            Some(denial) => Err(self.refuse(denial, action, resource())),
        }
    }

    /// Reads the members of a `Recipient`.
    pub(crate) fn read_recipient(fields: &mut Fields) -> Option<RecipientMembers> {
        fields.structure("Recipient", |inner| RecipientMembers {
            has_algorithm: inner
                .choice(
                    "KeyEncryptionAlgorithm",
                    |text| (text == "RSAES_OAEP_SHA_256").then_some(()),
                    "[RSAES_OAEP_SHA_256]",
                )
                .is_some(),
            document: inner.blob("AttestationDocument", 1, 262_144),
        })
    }

    /// Verifies the document, before any policy is looked at.
    pub(crate) fn admit(
        &mut self,
        members: Option<RecipientMembers>,
    ) -> Result<Option<Recipient>, Failure> {
        let Some(members) = members else {
            return Ok(None);
        };
        let settings = &self.kms.settings;
        let rules = Rules {
            verifier: &*settings.attestation_roots,
            now: self.now,
            freshness_window: settings.freshness_window,
            rsa_2048_only: settings.rsa_2048_only,
        };
        let admitted = match (&members.document, members.has_algorithm) {
            (None, _) => Err(RecipientError::NoDocument),
            (Some(_), false) => Err(RecipientError::NoAlgorithm),
            (Some(document), true) => Recipient::admit(document, rules),
        };
        let recipient = admitted.map_err(|error| Failure::Invalid(Invalid::Recipient(error)))?;
        self.trail.document = Some(recipient.document.clone());
        Ok(Some(recipient))
    }
}

/// `Recipient` as it came.
#[derive(Debug)]
pub(crate) struct RecipientMembers {
    has_algorithm: bool,
    document: Option<Vec<u8>>,
}

impl Found {
    /// Refuses a key that is not enabled.
    pub(crate) fn must_be_enabled(&self) -> Result<(), Failure> {
        match self.record.state {
            // A key can be used while its primary Region changes.
            KeyState::Enabled | KeyState::Updating { .. } => Ok(()),
            KeyState::Disabled => Err(Failure::Disabled {
                arn: self.key.arn.to_string(),
            }),
            KeyState::PendingImport => Err(self.in_state(BadState::PendingImport)),
            KeyState::PendingReplicaDeletion { .. } => {
                Err(self.in_state(BadState::PendingReplicaDeletion))
            }
            KeyState::PendingDeletion { .. } => Err(self.is_pending_deletion()),
        }
    }

    /// Refuses a key that waits for its deletion.
    pub(crate) fn must_not_be_pending_deletion(&self) -> Result<(), Failure> {
        match self.record.state {
            KeyState::Enabled
            | KeyState::Disabled
            | KeyState::PendingImport
            | KeyState::Updating { .. } => Ok(()),
            KeyState::PendingReplicaDeletion { .. } => {
                Err(self.in_state(BadState::PendingReplicaDeletion))
            }
            KeyState::PendingDeletion { .. } => Err(self.is_pending_deletion()),
        }
    }

    /// Changes the key's record unless `change` refuses.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Record) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.key.change(change)
    }

    pub(crate) fn is_pending_deletion(&self) -> Failure {
        self.in_state(BadState::PendingDeletion)
    }

    pub(crate) fn is_updating(&self) -> Failure {
        self.in_state(BadState::Updating)
    }

    pub(crate) fn in_state(&self, state: BadState) -> Failure {
        let arn = self.key.arn.to_string();
        Failure::InvalidState { arn, state }
    }

    pub(crate) fn is_not_primary(&self) -> Failure {
        let arn = self.key.arn.to_string();
        Failure::Unsupported(Unsupported::NotPrimary { arn })
    }

    pub(crate) fn origin_is_not_valid(&self) -> Failure {
        Failure::Unsupported(Unsupported::OriginNotValid {
            arn: self.key.arn.to_string(),
            origin: self.key.origin.name(),
        })
    }
}

/// The answer of operations that answer nothing.
pub(crate) fn nothing() -> Answer {
    Ok(Vec::new())
}

/// A JSON answer.
pub(crate) fn answer(value: &Value) -> Answer {
    Ok(value.to_string().into_bytes())
}

/// A time as the API writes it: seconds since 1970 with milliseconds.
pub(crate) fn timestamp(at: UnixMillis) -> Value {
    let whole = at.0 / 1000;
    let rest = at.0 % 1000;
    if rest == 0 {
        return whole.into();
    }
    // Milliseconds since 1970 are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let seconds = at.0 as f64 / 1000.0;
    seconds.into()
}

/// Names of list pages, for operations whose lists are short.
pub(crate) fn after_in<T>(
    page: &Page,
    items: Vec<T>,
    name: impl Fn(&T) -> &str,
) -> Result<Vec<T>, Failure> {
    let Some(after) = page.after()? else {
        return Ok(items);
    };
    Ok(items
        .into_iter()
        .filter(|item| name(item) > after.as_str())
        .collect())
}

/// A required member that is absent.
pub(crate) fn absent(member: &'static str) -> Failure {
    Failure::Constraints(vec![Violation {
        member: member.into(),
        value: None,
        constraint: Constraint::NotNull,
    }])
}
