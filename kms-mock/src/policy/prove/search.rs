//! The search itself: every principal, every permission, every kind of request,
//! and what an allowed one means.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    asked::{ASKED, Asked, Gives, grantable},
    claim::{Claim, ClaimError, Finding, Gap, Kind, Proof, Undecided},
    principals,
    space::{Bounds, Choice, State, choices, relevant},
    values::{Atom, must_be_settled},
};
use crate::{
    model::{condition_key::ConditionKey, operation::Operation},
    policy::{
        AllowedBy, Constraint, Decision, EncryptionContext, Grant, Outcome, Policy, PolicyKind,
        PolicySource, Question, QuestionKey, Recipient, Verdict as StatementVerdict,
        document::{Effect, Statement},
        lint,
        principals::{Naming, PrincipalEntry},
        question::parse_principal,
    },
    world::{
        arn::six_parts,
        principal::{Principal, is_account_id},
    },
};

/// Requests decided for one principal and one permission.
const DECISIONS_MAX: usize = 100_000;
/// The account when neither the claim nor the policy names one.
const ACCOUNT_DEFAULT: &str = "123456789012";

type Searched = Result<Option<(Question, Decision)>, Undecided>;

pub(super) struct Prover<'a> {
    claim: &'a Claim,
    account: String,
    expected: BTreeSet<String>,
    nitrotpm: BTreeMap<u8, BTreeSet<String>>,
    /// What callers' IAM policies are taken to be.
    iam: Vec<Arc<Policy>>,
    /// The same for principals that the claim is not about.
    iam_of_others: Vec<Arc<Policy>>,
    key_arns: Vec<String>,
    retiring: Vec<String>,
    decisions: usize,
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
        let mut expected = BTreeSet::new();
        for text in &claim.expected_pcr0 {
            let value =
                register_value(text).ok_or_else(|| ClaimError::Pcr0 { text: text.clone() })?;
            if is_zeros(&value) {
                return Err(ClaimError::DebugPcr0);
            }
            expected.insert(value);
        }
        let mut nitrotpm = BTreeMap::new();
        if claim.expected_pcr0.is_empty() {
            (expected, nitrotpm) = pinned(claim);
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
            expected,
            nitrotpm,
            iam: claim
                .identity_policies
                .clone()
                .unwrap_or_else(|| everything.clone()),
            iam_of_others: everything,
            key_arns: Vec::new(),
            retiring: Vec::new(),
            decisions: 0,
        })
    }

    pub(super) fn run(mut self) -> Result<Proof, ClaimError> {
        let claim = self.claim;
        let mut undecided = Vec::new();
        let mut everything: Vec<(&Policy, bool)> = vec![(&claim.policy, true)];
        everything.extend(claim.own_policies().map(|policy| (&**policy, false)));
        let nobody = Principal::Root {
            account: self.account.clone(),
        };
        let base = self.blank(&nobody, &ASKED[0], None);
        let mut gap = |why: Undecided| {
            undecided.push(Gap {
                principal: None,
                action: "kms:*",
                why,
            });
        };
        self.key_arns = match &claim.key_arn {
            Some(arn) => vec![arn.clone()],
            None => principals::key_arns(&base, &everything, &self.account).unwrap_or_else(|why| {
                gap(why);
                vec![base.key.arn.clone()]
            }),
        };
        let everybody =
            principals::everybody(&base, &everything, &self.account).unwrap_or_else(|why| {
                gap(why);
                Vec::new()
            });
        self.retiring = everybody.iter().map(Principal::role_arn).collect();
        self.retiring.dedup();
        let mut asking = Vec::new();
        for text in &claim.principals {
            let of_text = if is_account_id(text) {
                everybody
                    .iter()
                    .filter(|p| p.account() == text)
                    .cloned()
                    .collect()
            } else if text.contains(":role/") {
                principals::sessions(text, &everything)
            } else {
                parse_principal(text, "").into_iter().collect()
            };
            if of_text.is_empty() {
                return Err(ClaimError::Principal { text: text.clone() });
            }
            asking.extend(of_text);
        }
        let is_anybody = claim.principals.is_empty();
        if is_anybody {
            asking.clone_from(&everybody);
        }
        let mut findings = Vec::new();
        for principal in &asking {
            for asked in &ASKED {
                if !asked.operation.row().crosses_accounts && principal.account() != self.account {
                    continue;
                }
                self.ask(principal, asked, &everybody, &mut findings, &mut |why| {
                    undecided.push(Gap {
                        principal: Some(principal.clone()),
                        action: asked.action(),
                        why,
                    });
                });
            }
        }
        collapse(&mut findings, is_anybody);
        Ok(Proof {
            account: self.account,
            expected_pcr0: self.expected,
            findings,
            lints: lint(&claim.policy),
            undecided,
            principals: asking.len(),
            decisions: self.decisions,
        })
    }

    /// Looks for the ways that one permission opens to one principal.
    fn ask(
        &mut self,
        principal: &Principal,
        asked: &'static Asked,
        everybody: &[Principal],
        findings: &mut Vec<Finding>,
        gap: &mut dyn FnMut(Undecided),
    ) {
        let mut states = vec![State::Unattested];
        if asked.is_attested() {
            states.extend([State::Debug, State::OtherImage, State::NitroTpm]);
        }
        if asked.gives == Gives::Grant {
            match self.search_grant(principal, asked, everybody) {
                Ok(found) => findings.extend(found),
                Err(why) => gap(why),
            }
            return;
        }
        for state in states {
            match self.search(principal, asked, state, None, None) {
                Err(why) => gap(why),
                Ok(None) => {}
                Ok(Some((witness, decision))) => {
                    findings.push(self.finding(asked, state, witness, &decision, None));
                    if state == State::Unattested {
                        return; // and a fortiori with any document
                    }
                }
            }
        }
    }

    /// A permission to create grants is a way to the key when there is somebody
    /// who could use a grant outside of the expected enclave.
    fn search_grant(
        &mut self,
        principal: &Principal,
        asked: &'static Asked,
        everybody: &[Principal],
    ) -> Result<Option<Finding>, Undecided> {
        let base = self.blank(principal, asked, None);
        if !may_allow(&relevant(&base, &self.claim.policy)) {
            return Ok(None);
        }
        let mut open = None;
        for target in &ASKED {
            let Some(operation) = grantable(target) else {
                continue;
            };
            for grantee in std::iter::once(principal).chain(everybody) {
                let arn = grantee.role_arn();
                let first = match self.search(
                    principal,
                    asked,
                    State::Unattested,
                    Some((operation, &arn)),
                    None,
                ) {
                    Ok(Some(first)) => first,
                    Ok(None) => continue,
                    Err(why) => {
                        open.get_or_insert(why);
                        continue;
                    }
                };
                let states = [
                    State::Unattested,
                    State::Debug,
                    State::OtherImage,
                    State::NitroTpm,
                ];
                let states = if target.is_attested() {
                    &states[..]
                } else {
                    &states[..1]
                };
                for state in states {
                    let grant = grant_of(&first.0, operation, &arn);
                    match self.search(grantee, target, *state, None, Some(&grant)) {
                        Ok(None) => {}
                        Err(why) => {
                            open.get_or_insert(why);
                        }
                        Ok(Some((then, _))) => {
                            let (witness, decision) = first;
                            let grant = with_constraint(grant, &witness, &then);
                            let then = Some((then, grant));
                            return Ok(Some(self.finding(asked, *state, witness, &decision, then)));
                        }
                    }
                }
            }
        }
        open.map_or(Ok(None), Err)
    }

    /// Tries every kind of request.
    fn search(
        &mut self,
        principal: &Principal,
        asked: &'static Asked,
        state: State,
        creates: Option<(&'static str, &str)>,
        grant: Option<&Arc<Grant>>,
    ) -> Searched {
        for key_arn in self.key_arns.clone() {
            let mut base = self.blank(principal, asked, Some(state));
            base.key.arn = key_arn;
            base.facts.requested_region = Some(base.key.region().to_owned());
            if let Some((operation, grantee)) = creates {
                base.facts.grant_operations = Some(vec![operation.to_owned()]);
                base.facts.grantee_principal = Some(grantee.to_owned());
            }
            let found = self.search_from(&base, asked, state, creates.map(|c| c.0), grant)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn search_from(
        &mut self,
        base: &Question,
        asked: &'static Asked,
        state: State,
        granted: Option<&'static str>,
        grant: Option<&Arc<Grant>>,
    ) -> Searched {
        let policy = &self.claim.policy;
        let statements = relevant(base, policy);
        if grant.is_none() && !may_allow(&statements) {
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
        if state != State::Unattested && !looks_at_document {
            return Ok(None); // a document changes nothing
        }
        let bounds = Bounds {
            asked,
            state,
            expected: &self.expected,
            nitrotpm: &self.nitrotpm,
            principals: &self.retiring,
            region_known: self.claim.key_arn.is_some(),
            granted,
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
        let grants: Vec<Arc<Grant>> = grant.cloned().into_iter().collect();
        let mut at = vec![0usize; parts.len()];
        loop {
            let mut question = base.clone();
            for (part, index) in parts.iter().zip(&at) {
                if let Some(choose) = part.get(*index) {
                    let choose: &Choice = choose;
                    choose(&mut question);
                }
            }
            if state != State::NitroTpm || !self.is_wanted_nitrotpm(&question) {
                self.decisions += 1;
                let decision = question.decide(policy, &grants);
                if decision.is_allowed() {
                    return Ok(Some((question, decision)));
                }
            }
            if !advance(&mut at, &parts) {
                return Ok(None);
            }
        }
    }

    /// Whether a NitroTPM shows all registers that the policy names, each with a
    /// value that it names.
    fn is_wanted_nitrotpm(&self, question: &Question) -> bool {
        let Some(recipient) = &question.recipient else {
            return false;
        };
        !self.nitrotpm.is_empty()
            && self.nitrotpm.iter().all(|(index, values)| {
                recipient
                    .pcrs
                    .get(index)
                    .is_some_and(|bytes| values.contains(&hex::encode(bytes)))
            })
    }

    /// The plainest request for a permission.
    fn blank(&self, principal: &Principal, asked: &Asked, state: Option<State>) -> Question {
        let key = QuestionKey {
            arn: format!(
                "arn:aws:kms:us-east-1:{}:key/00000000-0000-4000-8000-000000000000",
                self.account
            ),
            spec: asked.spec().name().to_owned(),
            usage: asked.usage().name().to_owned(),
            ..QuestionKey::default()
        };
        let mut question = Question::new(principal.clone(), asked.action(), key, self.claim.now);
        let is_asked = self.claim.principals.is_empty()
            || self.claim.principals.iter().any(|text| {
                *text == principal.role_arn()
                    || *text == principal.arn()
                    || text == principal.account()
            });
        let iam = if is_asked {
            &self.iam
        } else {
            &self.iam_of_others
        };
        question.identity_policies.clone_from(iam);
        if is_asked {
            question.boundary.clone_from(&self.claim.boundary);
        }
        if matches!(principal, Principal::FederatedUser { .. }) {
            // The user who asks for the session chooses its policies.
            question.session_policies.clone_from(&self.iam_of_others);
        }
        let facts = &mut question.facts;
        facts.requested_region = Some("us-east-1".to_owned());
        if asked.has(&ConditionKey::EncryptionContextKeys) {
            facts.encryption_context = Some(EncryptionContext::new());
            facts.encryption_algorithm = Some("SYMMETRIC_DEFAULT".to_owned());
        }
        let text = |text: &str| Some(text.to_owned());
        match asked.operation {
            Operation::DeriveSharedSecret => facts.key_agreement_algorithm = text("ECDH"),
            Operation::Sign => {
                facts.signing_algorithm = text("ECDSA_SHA_256");
                facts.message_type = text("RAW");
            }
            Operation::GenerateMac => facts.mac_algorithm = text("HMAC_SHA_256"),
            Operation::ReEncrypt => facts.re_encrypt_on_same_key = Some(false),
            Operation::CreateGrant => facts.grant_is_for_aws_resource = Some(false),
            Operation::PutKeyPolicy => {
                facts.bypass_policy_lockout_safety_check = Some(false);
                facts.policy_name = text("default");
            }
            Operation::ReplicateKey => {
                facts.bypass_policy_lockout_safety_check = Some(false);
                facts.replica_region = text("eu-west-1");
            }
            Operation::ScheduleKeyDeletion => {
                facts.schedule_key_deletion_pending_window_in_days = Some(7);
            }
            Operation::GenerateDataKeyPair | Operation::GenerateDataKeyPairWithoutPlaintext => {
                facts.data_key_pair_spec = text("ECC_NIST_P256");
            }
            _ => {}
        }
        let zero = vec![0; 48];
        let other = || {
            (0x5a..=0xff_u8)
                .map(|byte| vec![byte; 48])
                .find(|bytes| !self.expected.contains(&hex::encode(bytes)))
                .unwrap_or_else(|| vec![1; 48])
        };
        question.recipient = match state {
            None | Some(State::Unattested) => None,
            Some(State::Debug) => Some(Recipient {
                pcrs: (0..3).map(|index| (index, zero.clone())).collect(),
                nitrotpm: false,
            }),
            Some(State::OtherImage) => Some(Recipient {
                pcrs: (0..3).map(|index| (index, other())).collect(),
                nitrotpm: false,
            }),
            Some(State::NitroTpm) => Some(Recipient {
                pcrs: BTreeMap::new(),
                nitrotpm: true,
            }),
        };
        question
    }

    fn finding(
        &self,
        asked: &Asked,
        state: State,
        witness: Question,
        decision: &Decision,
        then: Option<(Question, Arc<Grant>)>,
    ) -> Finding {
        let (statement, is_account) = deciding_statement(decision, &self.claim.policy);
        let is_delegated = is_account
            && matches!(
                decision.outcome,
                Outcome::Allowed(
                    AllowedBy::IdentityPolicy | AllowedBy::RootUser | AllowedBy::CrossAccount
                )
            );
        let kind = match (asked.gives, state) {
            (Gives::Unavailability, _) => Kind::Availability,
            (_, State::Unattested) => Kind::Unattested,
            (_, State::Debug) => Kind::Debug,
            (_, State::OtherImage) => Kind::OtherImage,
            (_, State::NitroTpm) => Kind::NitroTpm,
        };
        let mut reason = match (asked.gives, &then) {
            (Gives::Unavailability, _) => format!("{} makes the key unusable", asked.action()),
            (_, Some((question, _))) => format!(
                "a grant carries no attestation constraint: {} may {} with it",
                question.principal.role_arn(),
                question.action
            ),
            (Gives::Use(why), None) => why.to_owned(),
            (Gives::Grant, None) => "a grant carries no attestation constraint".to_owned(),
        };
        let shown = then.as_ref().map_or(&witness, |(question, _)| question);
        match kind {
            Kind::Debug => reason.push_str(
                ", and this request comes from an enclave in debug mode, whose PCR0 to PCR2 are zeros and whose console and memory the parent reads",
            ),
            Kind::OtherImage => {
                let pcr0 = shown.recipient.as_ref().and_then(|r| r.pcrs.get(&0)).map(hex::encode);
                let is_named = pcr0.is_some_and(|value| pinned(self.claim).0.contains(&value));
                reason.push_str(if is_named {
                    ", and the policy still accepts this PCR0, which is not the expected one"
                } else {
                    ", and nothing pins PCR0: an enclave of any image that has the other registers will do"
                });
            }
            Kind::NitroTpm => reason.push_str(", and this request comes from an instance's NitroTPM, not from an enclave"),
            Kind::Unattested | Kind::Availability => {}
        }
        if is_delegated {
            reason.push_str("; the key policy leaves it to IAM, so any IAM administrator of the account can allow it");
        }
        if !witness.facts.condition_keys.is_empty()
            || witness.facts.grant_is_for_aws_resource == Some(true)
        {
            reason.push_str("; the request needs something that only AWS can present");
        }
        Finding {
            kind,
            witness,
            then,
            statement,
            is_delegated,
            reason,
        }
    }
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

fn may_allow(statements: &[(&Statement, bool)]) -> bool {
    statements
        .iter()
        .any(|(statement, in_key_policy)| *in_key_policy && statement.effect == Effect::Allow)
}

fn grant_of(creating: &Question, operation: &'static str, grantee: &str) -> Arc<Grant> {
    Arc::new(Grant {
        id: "0".repeat(64),
        name: None,
        grantee: grantee.to_owned(),
        retiring: creating.facts.retiring_principal.clone(),
        operations: vec![operation],
        constraint: None,
        issuing_account: format!("arn:aws:iam::{}:root", creating.principal.account()),
        created: creating.now,
    })
}

/// A grant that had to have a constraint gets the context that is used.
fn with_constraint(grant: Arc<Grant>, creating: &Question, used: &Question) -> Arc<Grant> {
    let context = used.facts.encryption_context.clone().unwrap_or_default();
    let constraint = match creating.facts.grant_constraint_type.as_deref() {
        Some("EncryptionContextEquals") => Some(Constraint::Equals(context)),
        Some(_) => Some(Constraint::Subset(context)),
        None => None,
    };
    Arc::new(Grant {
        constraint,
        ..(*grant).clone()
    })
}

/// The first statement of the key policy that allows and names the caller most
/// closely, and whether it names the account only.
fn deciding_statement(
    decision: &Decision,
    policy: &Policy,
) -> (Option<(usize, Option<String>)>, bool) {
    let Some(trace) = decision
        .policies
        .iter()
        .find(|trace| trace.source == PolicySource::Resource)
    else {
        return (None, false);
    };
    let applying = trace
        .statements
        .iter()
        .zip(policy.statements())
        .enumerate()
        .filter(|(_, (trace, statement))| {
            trace.verdict.applies() && statement.effect == Effect::Allow
        });
    let ranked = applying.map(|(at, (trace, statement))| {
        let naming = match trace.verdict {
            StatementVerdict::AppliesToAccount => Naming::Account,
            StatementVerdict::AppliesDirectly => Naming::Direct,
            _ => Naming::Behind,
        };
        (naming, at, statement)
    });
    let best = ranked.min_by_key(|(naming, at, _)| (std::cmp::Reverse(*naming), *at));
    match best {
        Some((naming, at, statement)) => (
            Some((at + 1, statement.sid.as_deref().map(str::to_owned))),
            naming == Naming::Account,
        ),
        None => (None, false),
    }
}

/// One finding for each way: when the claim is about anybody, principals to which
/// the same statement allows the same are one; an IAM administrator comes before the
/// root user.
fn collapse(findings: &mut Vec<Finding>, is_anybody: bool) {
    let is_root = |finding: &Finding| matches!(finding.witness.principal, Principal::Root { .. });
    findings.sort_by_key(|finding| {
        (
            !finding.kind.is_path(),
            finding.is_delegated && is_root(finding),
        )
    });
    let mut seen = BTreeSet::new();
    findings.retain(|finding| {
        let who = (!is_anybody).then(|| finding.witness.principal.clone());
        let number = finding.statement.as_ref().map(|(number, _)| *number);
        seen.insert((who, finding.kind, finding.witness.action.clone(), number))
    });
}

fn register_value(text: &str) -> Option<String> {
    let is_hex = text.len() == 96 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| text.to_ascii_lowercase())
}

fn is_zeros(value: &str) -> bool {
    value.bytes().all(|b| b == b'0')
}

/// The account the policy delegates to, or that of the first principal.
fn owner_of(claim: &Claim) -> String {
    if let Some([_, _, _, _, account, _]) = claim.key_arn.as_deref().and_then(six_parts) {
        return account.to_owned();
    }
    let entries = || {
        claim
            .policy
            .statements()
            .iter()
            .filter(|statement| statement.effect == Effect::Allow)
            .filter_map(|statement| statement.principals.as_ref())
            .flat_map(|principals| &principals.items)
    };
    let account = |entry: &PrincipalEntry| match entry {
        PrincipalEntry::Account(account)
        | PrincipalEntry::User { account, .. }
        | PrincipalEntry::Role { account, .. }
        | PrincipalEntry::Session { account, .. }
        | PrincipalEntry::FederatedUser { account, .. } => Some(account.clone()),
        PrincipalEntry::Anyone | PrincipalEntry::Foreign => None,
    };
    let delegated = entries().find(|entry| matches!(entry, PrincipalEntry::Account(_)));
    delegated
        .and_then(account)
        .or_else(|| entries().find_map(account))
        .unwrap_or_else(|| ACCOUNT_DEFAULT.to_owned())
}

type Pinned = (BTreeSet<String>, BTreeMap<u8, BTreeSet<String>>);

/// The PCR0 values and NitroTPM registers that the policies name, zeros and what
/// is not a register's value left out.
fn pinned(claim: &Claim) -> Pinned {
    let mut pinned = Pinned::default();
    for statement in std::iter::once(&claim.policy)
        .chain(claim.own_policies())
        .flat_map(|policy| policy.statements())
    {
        for condition in &statement.conditions {
            let texts = condition.operands().iter().map(|operand| operand.text());
            let values = texts
                .filter_map(|text| register_value(text))
                .filter(|v| !is_zeros(v));
            match condition.key() {
                ConditionKey::ImageSha384 | ConditionKey::Pcr(0) => pinned.0.extend(values),
                ConditionKey::NitroTpmPcr(index) => {
                    pinned.1.entry(*index).or_default().extend(values);
                }
                _ => {}
            }
        }
    }
    pinned
}
