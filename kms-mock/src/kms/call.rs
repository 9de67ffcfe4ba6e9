//! The context of one call: who calls, when and where, what was found on the way, and
//! what all operations do alike: finding the key, asking for permission, admitting a
//! `Recipient`.
//!
//! Source of truth: ground truth KMS §2 (the document is checked before any
//! policy) and §4 (identifiers, states); AWS KMS developer guide, "Key states".
//!
//! Unknown and chosen: an operation that takes no alias answers one as it answers any
//! other text that is not a key id.

use std::{cell::OnceCell, ops::Deref, sync::Arc, time::Duration};

use nsm_sim::clock::UnixMillis;
use smallvec::SmallVec;

use super::{
    error::{Failure, Invalid, NotFound, Refusal, RefusedResource},
    fields::{GrantTokens, RecipientMembers},
    grant_token,
    service::{Call, Kms},
};
use crate::{
    keys::{
        custom_stores::CustomKeyStores, key::Key, material::Handle, recent::Known, record::Record,
        store::Store,
    },
    model::operation::{Operation, Row},
    policy::{
        Caller, Decision, Denial, EncryptionContext, Facts, Grant, KeyFacts, Outcome, Policy,
        Request, Resource, decide,
    },
    recipient::{Recipient, RecipientError, Rules},
    world::{
        arn::{AliasArn, KeyReference},
        directory::Directory,
        entropy::Entropy,
        request_id::RequestId,
    },
};

/// One call on its way.
#[derive(Debug)]
pub(crate) struct CallContext<'a> {
    pub(crate) kms: &'a Kms,
    pub(crate) caller: &'a Caller,
    pub(crate) now: UnixMillis,
    user_agent: &'a str,
    region: &'a str,
    pub(crate) request_id: RequestId,
    /// Written when it is first asked for.
    principal_arn: OnceCell<String>,
    operation: Operation,
    row: &'static Row,
    /// Grants younger than this are not seen yet, unless the call brings a token.
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
    /// Where an attested answer goes, once its document was verified.
    pub(crate) recipient: Option<Arc<Recipient>>,
    pub(crate) encryption_context: Option<EncryptionContext>,
    pub(crate) decisions: SmallVec<[Decision; 1]>,
}

impl Trail {
    /// Nothing yet, of a call made at `now`.
    pub(crate) fn new(now: UnixMillis) -> Self {
        Self {
            now,
            key_arn: None,
            keys: SmallVec::new(),
            recipient: None,
            encryption_context: None,
            decisions: SmallVec::new(),
        }
    }

    /// The first remark about the decision that refused the call.
    pub(crate) fn denial_reason(&self) -> Option<String> {
        let last = self.decisions.last();
        let decision = last.filter(|decision| !decision.is_allowed())?;
        decision.remarks().into_iter().next()
    }
}

/// A key that was found, as it is at the time of the call.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) known: Arc<Known>,
    /// The alias it was named by, `alias/…`.
    pub(crate) request_alias: Option<String>,
    /// Whether it was found by a ciphertext, not by a name.
    pub(crate) by_ciphertext: bool,
}

impl Found {
    /// A key that was found by its name, or by its alias.
    fn named(known: Arc<Known>, request_alias: Option<String>) -> Self {
        Self {
            known,
            request_alias,
            by_ciphertext: false,
        }
    }
}

impl Deref for Found {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.known
    }
}

impl<'a> CallContext<'a> {
    pub(crate) fn new(
        kms: &'a Kms,
        call: &Call<'a>,
        operation: Operation,
        (now, grants_hidden): (UnixMillis, Option<Duration>),
    ) -> Self {
        Self {
            kms,
            caller: call.caller,
            now,
            user_agent: call.user_agent,
            region: kms.region_of(call),
            request_id: call.request_id,
            principal_arn: OnceCell::new(),
            operation,
            row: operation.row(),
            grants_hidden,
            trail: Trail::new(now),
        }
    }

    /// What there is to log, when the call is over.
    pub(crate) fn into_trail(self) -> Trail {
        self.trail
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

    /// Who stands behind a principal.
    pub(crate) fn directory(&self) -> &'a dyn Directory {
        &*self.kms.directory
    }

    pub(crate) fn operation(&self) -> Operation {
        self.operation
    }

    /// What the API knows of the operation.
    pub(crate) fn row(&self) -> &'static Row {
        self.row
    }

    /// Refuses what is not a grant token. A grant counts without its token here, so
    /// the token of a grant that is gone is accepted and has no effect.
    pub(crate) fn accept_tokens(&mut self, tokens: &GrantTokens) -> Result<(), Failure> {
        for token in &tokens.0 {
            grant_token::read(token)?;
            self.grants_hidden = None;
        }
        Ok(())
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
    pub(crate) fn find(&mut self, text: &str) -> Result<Found, Failure> {
        let (store, region, account) = (self.store(), self.region(), self.account());
        if let Some(known) = store.recent(text, region, account, self.now) {
            self.note(&known);
            return Ok(Found::named(known, None));
        }
        let reference = KeyReference::parse(text, region, account)?;
        let (arn, account, request_alias) = match &reference {
            KeyReference::Key(arn) => (arn.shared(), arn.account(), None),
            KeyReference::Alias(_) if !self.row.takes_alias => {
                let text = text.to_owned();
                return Err(Failure::NotFound(NotFound::KeyId { text }));
            }
            KeyReference::Alias(arn) => {
                let Some(alias) = store.alias(arn) else {
                    let what = |arn| NotFound::Alias { arn };
                    return Err(self.nothing_there(arn, arn.account(), what));
                };
                let name = Some(arn.name().to_owned());
                (alias.target, arn.account(), name) // an alias is of its key's account
            }
        };
        let Some(known) = store.key(&arn, self.now, self.entropy())? else {
            return Err(self.nothing_there(&arn, account, |arn| NotFound::Key { arn }));
        };
        if request_alias.is_none() {
            store.remember(text, &known);
        }
        self.note(&known);
        Ok(Found::named(known, request_alias))
    }

    /// Finds the key of a ciphertext by what it says of its material; `None` if it
    /// belongs to no key.
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
        Ok(found.map(|known| Found::named(known, None)))
    }

    /// Does not reveal whether something exists in another account.
    fn nothing_there(
        &self,
        arn: &str,
        account: &str,
        what: impl FnOnce(String) -> NotFound,
    ) -> Failure {
        if account == self.account() {
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
        self.operation.permission()
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
        if is_foreign && !self.row.crosses_accounts {
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
        let resource = Resource::Key(found.key.facts(record));
        self.decide(action, resource, facts, Some(&record.policy), || {
            self.grants_to_caller(&found.key)
        })
    }

    fn decide(
        &self,
        action: &'static str,
        resource: Resource<'_>,
        facts: Facts<'_>,
        policy: Option<&Arc<Policy>>,
        grants: impl FnOnce() -> Vec<Arc<Grant>>,
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
        decide(&request, policy, grants)
    }

    fn grants_to_caller(&self, key: &Key) -> Vec<Arc<Grant>> {
        let mut grants = key.grants();
        grants.retain(|grant| grant.is_for(self.caller));
        if let Some(young) = self.grants_hidden {
            grants.retain(|grant| self.now.since(grant.created) >= young);
        }
        grants
    }

    /// Asks for a permission that is not about a key.
    pub(crate) fn authorize_account(
        &mut self,
        action: &'static str,
        facts: Facts<'_>,
    ) -> Result<(), Failure> {
        let (region, account) = (self.region(), self.account());
        let arn = ["arn:aws:kms:", region, ":", account, ":*"].concat();
        let resource = Resource::Account { arn: &arn, account };
        let decision = self.decide(action, resource, facts, None, Vec::new);
        self.conclude(decision, action, || {
            // AWS names no resource when the tags of a new key are refused.
            if action == "kms:TagResource" {
                RefusedResource::Nothing
            } else {
                RefusedResource::Arn("*".to_owned())
            }
        })
    }

    /// Asks for what making a key needs; its tags need a permission of their own.
    pub(crate) fn authorize_new_key(&mut self, facts: Facts<'_>) -> Result<(), Failure> {
        self.authorize_account("kms:CreateKey", facts)?;
        match facts.request_tags {
            Some(_) => self.authorize_account("kms:TagResource", facts),
            None => Ok(()),
        }
    }

    /// Asks for a permission on an alias, which IAM policies alone decide.
    pub(crate) fn authorize_alias(&mut self, arn: &AliasArn) -> Result<(), Failure> {
        self.authorize_other(arn, arn.account())
    }

    /// Asks for a permission on something that has no policy of its own.
    pub(crate) fn authorize_other(&mut self, arn: &str, account: &str) -> Result<(), Failure> {
        let action = self.action();
        let resource = Resource::Other { arn, account };
        let decision = self.decide(action, resource, Facts::default(), None, Vec::new);
        self.conclude(decision, action, || RefusedResource::Arn(arn.to_owned()))
    }

    /// Who may retire a grant, the grant says: its retiring principal, its grantee if
    /// the grant includes RetireGrant. Beside them an IAM policy may allow principals of
    /// the account in which the grant was made, of the one that owns the key, and of one
    /// that is itself the retiring principal. A Deny of IAM stops them all; a key policy
    /// is not asked.
    pub(crate) fn authorize_retirement(
        &mut self,
        found: &Found,
        grant: &Grant,
        facts: Facts<'_>,
    ) -> Result<(), Failure> {
        let (action, account) = (self.action(), self.account());
        let resource = Resource::Key(KeyFacts {
            account, // whose IAM policies alone are asked
            ..found.key.facts(&found.record)
        });
        let decision = self.decide(action, resource, facts, None, Vec::new);
        let by_grant = grant.is_retired_by(self.caller)
            || (grant.is_for(self.caller) && grant.operations.contains(&"RetireGrant"));
        let root = format!("arn:aws:iam::{account}:root");
        let of_account = grant.issuing_account == root
            || found.key.account() == account
            || grant.retiring.as_deref() == Some(&*root);
        let denial = match decision.outcome {
            Outcome::Denied(denial @ Denial::ExplicitDeny(_)) => Some(denial),
            _ if by_grant => None,
            Outcome::Allowed(_) if of_account => None,
            Outcome::Denied(denial) if of_account => Some(denial),
            Outcome::Allowed(_) | Outcome::Denied(_) => Some(Denial::OtherAccount),
        };
        self.trail.decisions.push(decision);
        match denial {
            None => Ok(()),
            Some(denial) => {
                let resource = RefusedResource::Arn(found.arn.to_string());
                Err(self.refuse(denial, action, resource))
            }
        }
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

    /// Verifies the document, before any policy is looked at.
    pub(crate) fn admit(
        &mut self,
        members: Option<RecipientMembers>,
    ) -> Result<Option<Arc<Recipient>>, Failure> {
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
        let recipient = Arc::new(recipient);
        self.trail.recipient = Some(Arc::clone(&recipient));
        Ok(Some(recipient))
    }
}
