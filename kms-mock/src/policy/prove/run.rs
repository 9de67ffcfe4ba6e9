//! The whole search: every owner of the key, every principal, every permission.

use std::{collections::BTreeSet, rc::Rc};

use super::{
    asked::{ASKED, Asked, Gives, IMPORT_PARAMETERS},
    beyond,
    claim::{Claim, ClaimError, Finding, Gap, Proof, Step, Undecided},
    finding::collapse,
    principals,
    search::{Prover, Wanted, states_of},
    space::State,
};
use crate::{
    model::operation::Operation,
    policy::{Question, lint, question::parse_principal},
    world::principal::{Principal, is_account_id},
};

/// Accounts that may own the key. A policy of 32 KB that names more is rare.
const OWNERS_MAX: usize = 20;

/// Looks for every way to the key that does not go through an expected enclave.
///
/// # Errors
/// When the claim itself makes no sense.
pub fn prove(claim: &Claim) -> Result<Proof, ClaimError> {
    Prover::new(claim)?.run()
}

impl Prover<'_> {
    fn run(mut self) -> Result<Proof, ClaimError> {
        let claim = self.claim;
        let mut gaps = Vec::new();
        for text in &claim.principals {
            if !is_account_id(text) && parse_principal(text, "session").is_none() {
                return Err(ClaimError::Principal { text: text.clone() });
            }
        }
        let mut owners = vec![self.account.clone()];
        if claim.account.is_none() && claim.key_arn.is_none() {
            match principals::accounts(&self.base(), &claim.policy) {
                Ok(accounts) => owners.extend(accounts),
                Err(why) => gaps.push(Gap::about_all(why)),
            }
            let mut seen = BTreeSet::new();
            owners.retain(|account| seen.insert(account.clone()));
            if owners.len() > OWNERS_MAX {
                gaps.push(Gap::about_all(Undecided::TooLarge {
                    what: "accounts that the key may belong to".to_owned(),
                    max: OWNERS_MAX,
                }));
                owners.truncate(OWNERS_MAX);
            }
        }
        self.owners = owners.len();
        gaps.extend(beyond::gaps(claim, prove));
        self.escalates = beyond::escalation(&self, &mut gaps);
        let mut findings = Vec::new();
        let (mut principals, mut enclaves) = (0, None);
        for owner in &owners {
            self.account.clone_from(owner);
            principals = self
                .search_as_owner(&mut findings, &mut gaps)
                .max(principals);
            enclaves = enclaves.or_else(|| Some(self.enclaves(&mut gaps)));
        }
        let (of_services, mut findings) = beyond::without_services(findings);
        gaps.extend(of_services);
        collapse(&mut findings, claim.principals.is_empty());
        let mut seen = BTreeSet::new();
        gaps.retain(|gap| seen.insert((gap.action, gap.why.to_string())));
        Ok(Proof {
            assumptions: beyond::assumptions(claim),
            accounts: owners,
            enclaves: enclaves.unwrap_or_default(),
            expected_pcr0: self.expected,
            findings,
            lints: lint(&claim.policy),
            undecided: gaps,
            principals,
            decisions: self.decisions.get(),
        })
    }

    /// Looks for every way to the key of this owner, and says how many principals stand
    /// for all.
    fn search_as_owner(&mut self, findings: &mut Vec<Finding>, gaps: &mut Vec<Gap>) -> usize {
        self.prepare(gaps);
        let everybody = Rc::clone(&self.everybody);
        let asking = everybody
            .callers
            .iter()
            .filter(|it| self.is_asked_about(it));
        let mut count = 0;
        for principal in asking {
            count += 1;
            for asked in ASKED.iter() {
                if !asked.operation.row().crosses_accounts && principal.account() != self.account {
                    continue;
                }
                self.ask(principal, asked, findings, &mut |why| {
                    gaps.push(Gap {
                        principal: Some(principal.clone()),
                        action: asked.action(),
                        why,
                    });
                });
            }
        }
        count
    }

    /// Looks for the ways that one permission opens to one principal.
    fn ask(
        &self,
        principal: &Principal,
        asked: &'static Asked,
        findings: &mut Vec<Finding>,
        gap: &mut dyn FnMut(Undecided),
    ) {
        if asked.gives == Gives::Grant {
            match self.search_grant(principal, asked) {
                Ok(found) => findings.extend(found),
                Err(why) => gap(why),
            }
            return;
        }
        for state in states_of(asked) {
            match self.search(Wanted::new(principal, asked, *state)) {
                Err(why) => gap(why),
                Ok(None) => {}
                Ok(Some((call, decision))) => {
                    let steps = match self.before(principal, asked) {
                        Ok(None) => continue,
                        Ok(Some(before)) => before.into_iter().chain([call]),
                        Err(why) => {
                            gap(why);
                            continue;
                        }
                    };
                    let steps = steps.map(|call| Step { call, makes: None }).collect();
                    findings.push(self.finding(asked, *state, steps, &decision));
                    if *state == State::Unattested {
                        return; // and a fortiori with any document
                    }
                }
            }
        }
    }

    /// The calls that must have been made before, by anybody; `None` when nobody can.
    fn before(
        &self,
        principal: &Principal,
        asked: &Asked,
    ) -> Result<Option<Vec<Question>>, Undecided> {
        if !beyond::iam_allows_the_rest(self, principal, asked) {
            return Ok(None);
        }
        if asked.operation != Operation::ImportKeyMaterial {
            return Ok(Some(Vec::new()));
        }
        let everybody = Rc::clone(&self.everybody);
        let of_account = |it: &&Principal| it.account() == self.account;
        for by in std::iter::once(principal).chain(everybody.callers.iter().filter(of_account)) {
            let wanted = Wanted::new(by, &IMPORT_PARAMETERS, State::Unattested);
            if let Some((call, _)) = self.search(wanted)? {
                return Ok(Some(vec![call]));
            }
        }
        Ok(None)
    }
}
