//! One request: every kind of it that the policies can tell apart, for one principal and
//! one permission.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use super::{
    asked::{ASKED, Asked, KeyKind},
    claim::{Claim, ClaimError, Gap, Undecided},
    pins::{Pins, is_zeros, owner_of, pins, register_value},
    principals::{self, Everybody},
    space::{Bounds, Choice, State, choices, covering, is_possible, relevant},
    values::{Atom, must_be_settled},
};
use crate::{
    model::{
        operation::Operation,
        spec::{KeySpec, KeyUsage, Origin},
    },
    policy::{
        Decision, EncryptionContext, Grant, Policy, PolicyKind, Question, Recipient,
        document::{Effect, Statement},
        principals::Naming,
        question::parse_principal,
    },
    world::{
        arn::six_parts,
        principal::{Principal, is_account_id},
    },
};

/// Requests decided for one principal and one permission.
const DECISIONS_MAX: usize = 100_000;

/// The kind of key that principals are looked for with.
const USUAL_KIND: KeyKind = KeyKind {
    spec: KeySpec::SymmetricDefault,
    usage: KeyUsage::EncryptDecrypt,
    origin: Origin::AwsKms,
    multi_region: None,
};

pub(super) type Searched = Result<Option<(Question, Decision)>, Undecided>;

pub(super) struct Prover<'a> {
    pub(super) claim: &'a Claim,
    /// Whose the key is taken to be.
    pub(super) account: String,
    /// How many accounts it may belong to.
    pub(super) owners: usize,
    /// PCR0 values that are as wanted.
    pub(super) expected: BTreeSet<String>,
    pub(super) pins: Pins,
    key_spec: Option<KeySpec>,
    /// What callers' IAM policies are taken to be.
    iam: Vec<Arc<Policy>>,
    /// The same for principals that the claim is not about.
    pub(super) iam_of_others: Vec<Arc<Policy>>,
    /// Whether the principals may change their own IAM policies, and by what.
    pub(super) escalates: Option<Escalation>,
    key_arns: Vec<String>,
    pub(super) everybody: Rc<Everybody>,
    retiring: Vec<String>,
    /// The statements of the key policy that are about an action, once it was asked.
    covering: RefCell<BTreeMap<&'static str, Rc<Vec<&'a Statement>>>>,
    /// What a grant of an operation is good for, once it was looked at.
    pub(super) uses: RefCell<BTreeMap<&'static str, Rc<Uses>>>,
    pub(super) decisions: Cell<usize>,
}

/// How the principals of a claim change their own IAM policies.
pub(super) struct Escalation {
    /// The action.
    pub(super) by: &'static str,
    /// Whether they take away their permissions boundary, too.
    pub(super) lifts_boundary: bool,
}

/// What grants of one operation are good for.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Those who could use one, each with the request.
    pub(super) by: Vec<Use>,
    /// Why not everything could be looked at.
    pub(super) open: Option<Undecided>,
}

/// Somebody who could use a grant, and for what.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) arn: String,
    pub(super) principal: Principal,
    pub(super) state: State,
    pub(super) then: Question,
}

/// What is looked for: one request.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) principal: &'a Principal,
    pub(super) asked: &'a Asked,
    pub(super) state: State,
    /// PCR0 of the enclave whose document comes along.
    pub(super) image: Option<&'a str>,
    /// What a grant must allow, and to whom.
    pub(super) creates: Option<(&'a [String], &'a str)>,
    /// The grants there are.
    pub(super) grants: &'a [Arc<Grant>],
    /// The encryption context, unless the policy looks at it.
    pub(super) context: Option<&'a EncryptionContext>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(principal: &'a Principal, asked: &'a Asked, state: State) -> Self {
        Self {
            principal,
            asked,
            state,
            image: None,
            creates: None,
            grants: &[],
            context: None,
        }
    }
}

impl<'a> Prover<'a> {
    pub(super) fn new(claim: &'a Claim) -> Result<Self, ClaimError> {
        let account = match &claim.account {
            Some(text) if is_account_id(text) => text.clone(),
            Some(text) => return Err(ClaimError::Account { text: text.clone() }),
            None => owner_of(claim),
        };
        if let Some(arn) = &claim.key_arn {
            let fits = matches!(
                six_parts(arn),
                Some(["arn", "aws", "kms", _, owner, key])
                    if owner == account && key.starts_with("key/")
            );
            if !fits {
                return Err(ClaimError::KeyArn {
                    text: arn.clone(),
                    account,
                });
            }
        }
        let key_spec = match &claim.key_spec {
            None => None,
            Some(text) => {
                let spec = KeySpec::parse(text).filter(|spec| spec.is_available());
                let text = text.clone();
                Some(spec.ok_or(ClaimError::KeySpec { text })?)
            }
        };
        let mut expected = BTreeSet::new();
        for text in &claim.expected_pcr0 {
            let value =
                register_value(text).ok_or_else(|| ClaimError::Pcr0 { text: text.clone() })?;
            if is_zeros(&value) {
                return Err(ClaimError::DebugPcr0);
            }
            expected.insert(value);
        }
        let pins = pins(claim);
        if claim.expected_pcr0.is_empty() {
            expected.clone_from(&pins.pcr0);
        }
        let everything = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        let everything: Vec<_> = Policy::parse(everything, PolicyKind::Identity)
            .into_iter()
            .map(Arc::new)
            .collect();
        let is_of_somebody = claim.identity_policies.is_some() || claim.boundary.is_some();
        if is_of_somebody && claim.principals.is_empty() {
            return Err(ClaimError::PoliciesWithoutPrincipals);
        }
        Ok(Self {
            claim,
            account,
            owners: 1,
            expected,
            pins,
            key_spec,
            iam: claim
                .identity_policies
                .clone()
                .unwrap_or_else(|| everything.clone()),
            iam_of_others: everything,
            escalates: None,
            key_arns: Vec::new(),
            everybody: Rc::default(),
            retiring: Vec::new(),
            covering: RefCell::default(),
            uses: RefCell::default(),
            decisions: Cell::new(0),
        })
    }

    /// A request for nothing in particular, to resolve policy variables with.
    pub(super) fn base(&self) -> Question {
        let nobody = Principal::Root {
            account: self.account.clone(),
        };
        self.blank(&nobody, ASKED[0], None, USUAL_KIND)
    }

    /// Finds out who there is and which keys there are, for this owner.
    pub(super) fn prepare(&mut self, gaps: &mut Vec<Gap>) {
        let claim = self.claim;
        let mut policies: Vec<(&Policy, bool)> = vec![(&claim.policy, true)];
        policies.extend(claim.own_policies().map(|policy| (&**policy, false)));
        let base = self.base();
        self.key_arns = match &claim.key_arn {
            Some(arn) => vec![arn.clone()],
            None => principals::key_arns(&base, &policies, &self.account).unwrap_or_else(|why| {
                gaps.push(Gap::about_all(why));
                vec![base.key.arn.clone()]
            }),
        };
        let mut everybody =
            principals::everybody(&base, &policies, &self.account, &claim.principals)
                .unwrap_or_else(|why| {
                    gaps.push(Gap::about_all(why));
                    Everybody::default()
                });
        for text in claim.principals.iter().filter(|text| !is_account_id(text)) {
            let named = if text.contains(":role/") {
                principals::sessions(text, &policies)
            } else {
                parse_principal(text, "").into_iter().collect()
            };
            for principal in named {
                everybody
                    .grantees
                    .push((principal.role_arn(), principal.clone()));
                if !everybody.callers.contains(&principal) {
                    everybody.callers.push(principal);
                }
            }
        }
        self.retiring = everybody
            .grantees
            .iter()
            .map(|(arn, _)| arn.clone())
            .collect();
        self.everybody = Rc::new(everybody);
        self.uses = RefCell::default();
    }

    /// Whether the claim is about the principal.
    pub(super) fn is_asked_about(&self, principal: &Principal) -> bool {
        self.claim.principals.is_empty()
            || self.claim.principals.iter().any(|text| {
                *text == principal.role_arn()
                    || *text == principal.arn()
                    || text == principal.account()
            })
    }

    /// What the principal's IAM policies and its boundary are taken to be.
    pub(super) fn iam_of(&self, principal: &Principal) -> (&[Arc<Policy>], Option<&Arc<Policy>>) {
        if !self.is_asked_about(principal) {
            return (&self.iam_of_others, None);
        }
        match &self.escalates {
            Some(by) => (
                &self.iam_of_others,
                self.claim.boundary.as_ref().filter(|_| !by.lifts_boundary),
            ),
            None => (&self.iam, self.claim.boundary.as_ref()),
        }
    }

    /// Whether a key of the claim can have the permission used on it.
    pub(super) fn is_possible_for_key(&self, asked: &Asked) -> bool {
        !self.kinds(asked, None).is_empty()
    }

    fn kinds(&self, asked: &Asked, granted: Option<Operation>) -> Vec<KeyKind> {
        let mut kinds = asked.kinds(granted);
        kinds.retain(|kind| self.key_spec.is_none_or(|spec| spec == kind.spec));
        kinds
    }

    /// The statements of the key policy that are about the permission.
    pub(super) fn covering(&self, asked: &Asked) -> Rc<Vec<&'a Statement>> {
        let mut known = self.covering.borrow_mut();
        let claim = self.claim;
        let own = known
            .entry(asked.action())
            .or_insert_with(|| Rc::new(covering(&claim.policy, asked.action())));
        Rc::clone(own)
    }

    /// Tries every kind of request.
    pub(super) fn search(&self, wanted: Wanted<'_>) -> Searched {
        let is_allow = |statement: &&Statement| statement.effect == Effect::Allow;
        let names = |it: &Statement| it.names(wanted.principal, false) != Naming::No;
        let own = self.covering(wanted.asked);
        if wanted.grants.is_empty() && !own.iter().copied().filter(is_allow).any(names) {
            return Ok(None);
        }
        let (granted, grantee) = wanted.creates.unwrap_or((&[], ""));
        let operation = granted.first().and_then(|name| Operation::of_grant(name));
        let kinds = self.kinds(wanted.asked, operation);
        let Some(usual) = kinds.first() else {
            return Ok(None);
        };
        for key_arn in &self.key_arns {
            let mut base = self.blank(wanted.principal, wanted.asked, Some(wanted.state), *usual);
            base.key.arn.clone_from(key_arn);
            base.facts.requested_region = Some(base.key.region().to_owned());
            if let Some(pcr0) = wanted.image.and_then(|text| hex::decode(text).ok()) {
                // Of the other registers that every document has, any value will do.
                let mut pcrs: BTreeMap<_, _> = (1..16).map(|n| (n, vec![0x5a; 48])).collect();
                pcrs.insert(0, pcr0);
                let nitrotpm = false;
                base.recipient = Some(Recipient { pcrs, nitrotpm });
            }
            if wanted.creates.is_some() {
                base.facts.grant_operations = Some(granted.to_vec());
                base.facts.grantee_principal = Some(grantee.to_owned());
            }
            if let Some(context) = wanted.context {
                base.facts.encryption_context = Some(context.clone());
            }
            let found = self.search_from(&base, &wanted, granted, &kinds)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn search_from(
        &self,
        base: &Question,
        wanted: &Wanted<'_>,
        granted: &[String],
        kinds: &[KeyKind],
    ) -> Searched {
        let (policy, asked, state) = (&self.claim.policy, wanted.asked, wanted.state);
        let own = self.covering(asked);
        let statements = relevant(base, &own);
        if wanted.grants.is_empty() && !may_allow(&statements) {
            return Ok(None);
        }
        for (statement, _) in &statements {
            for resource in statement.resources.iter().flat_map(|r| &r.items) {
                resource.variables().try_for_each(must_be_settled)?;
            }
        }
        let mut atoms: Vec<Atom<'_>> = Vec::new();
        for (statement, in_key_policy) in &statements {
            atoms.extend(statement.conditions.iter().map(|condition| Atom {
                condition,
                in_key_policy: *in_key_policy,
            }));
        }
        let looks_at_document = atoms.iter().any(|a| a.condition.key().is_attestation());
        if !matches!(state, State::Unattested | State::Wanted) && !looks_at_document {
            return Ok(None); // a document changes nothing
        }
        let bounds = Bounds {
            asked,
            state,
            expected: &self.expected,
            nitrotpm: &self.pins.nitrotpm,
            principals: &self.retiring,
            region_known: self.claim.key_arn.is_some(),
            granted,
            kinds,
        };
        let parts = choices(base, &atoms, &bounds)?;
        let count = parts
            .iter()
            .try_fold(1usize, |product, part| product.checked_mul(part.len()))
            .filter(|count| *count <= DECISIONS_MAX);
        if count.is_none() {
            return Err(Undecided::TooLarge {
                what: format!("kinds of {} requests", asked.action()),
                max: DECISIONS_MAX,
            });
        }
        let mut at = vec![0usize; parts.len()];
        loop {
            let mut question = base.clone();
            for (part, index) in parts.iter().zip(&at) {
                if let Some(choose) = part.get(*index) {
                    let choose: &Choice = choose;
                    choose(&mut question);
                }
            }
            let facts = &mut question.facts;
            let has_context = facts
                .encryption_context
                .as_ref()
                .is_some_and(|it| !it.is_empty());
            if asked.operation == Operation::CreateGrant && has_context {
                // What a grant shows as its context is its constraint.
                let kind = || "EncryptionContextSubset".to_owned();
                facts.grant_constraint_type.get_or_insert_with(kind);
            }
            if is_possible(&question) && !self.is_wanted(&question, state) {
                self.decisions.set(self.decisions.get() + 1);
                let decision = question.decide(policy, wanted.grants);
                if decision.is_allowed() {
                    return Ok(Some((question, decision)));
                }
            }
            if !advance(&mut at, &parts) {
                return Ok(None);
            }
        }
    }

    /// Whether what looks like a way round is an enclave or an instance that is wanted:
    /// one that shows both parts of the image, or all registers of a NitroTPM, with a
    /// value that the policy names.
    fn is_wanted(&self, question: &Question, state: State) -> bool {
        let Some(recipient) = &question.recipient else {
            return false;
        };
        let shows = |index: &u8, values: &BTreeSet<String>| {
            let value = recipient.pcrs.get(index).map(hex::encode);
            value.is_some_and(|value| values.contains(&value))
        };
        let pins = &self.pins;
        match state {
            State::NitroTpm => {
                let mut all = pins.nitrotpm.iter();
                !pins.nitrotpm.is_empty() && all.all(|(index, values)| shows(index, values))
            }
            State::OtherImage => {
                let is_of_policy = self.claim.expected_pcr0.is_empty();
                is_of_policy && shows(&1, &pins.pcr1) && shows(&2, &pins.pcr2)
            }
            State::Unattested | State::Debug | State::Wanted => false,
        }
    }
}

/// The states that a caller may ask for the permission in, the plainest first.
pub(super) fn states_of(asked: &Asked) -> &'static [State] {
    const ALL: &[State] = &[
        State::Unattested,
        State::Debug,
        State::OtherImage,
        State::NitroTpm,
    ];
    if asked.is_attested() { ALL } else { &ALL[..1] }
}

fn advance(at: &mut [usize], parts: &[Vec<Choice>]) -> bool {
    for (index, part) in at.iter_mut().zip(parts) {
        *index += 1;
        if *index < part.len() {
            return true;
        }
        *index = 0;
    }
    false
}

pub(super) fn may_allow(statements: &[(&Statement, bool)]) -> bool {
    statements
        .iter()
        .any(|(statement, in_key_policy)| *in_key_policy && statement.effect == Effect::Allow)
}
