//! Whether the enclaves of the expected images can do what they are meant to: a
//! policy that nobody can use is closed as well.

use super::{
    asked::{ASKED, Asked},
    claim::{Ability, Enclave, Gap},
    finding::deciding_statement,
    search::{Prover, Wanted},
    space::State,
};
use crate::{
    policy::{
        document::{Effect, Statement},
        principals::Naming,
    },
    world::principal::Principal,
};

impl Prover<'_> {
    /// What each expected image can do, of what the policy is about.
    pub(super) fn enclaves(&self, gaps: &mut Vec<Gap>) -> Vec<Enclave> {
        let mut enclaves = Vec::new();
        for pcr0 in &self.expected {
            let mut enclave = Enclave {
                pcr0: pcr0.clone(),
                can: Vec::new(),
                cannot: Vec::new(),
            };
            for asked in self.meant_for(pcr0) {
                match self.first_that_may(asked, pcr0) {
                    Ok(Some(ability)) => enclave.can.push(ability),
                    Ok(None) => enclave.cannot.push(asked.action()),
                    // Nobody has asked.
                    Err(_) if self.claim.expected_pcr0.is_empty() => {}
                    Err(gap) => gaps.push(*gap),
                }
            }
            enclaves.push(enclave);
        }
        enclaves
    }

    /// The permissions that are meant for an image: those of statements that name it;
    /// when none does, of those with any condition on attestation; when there are none,
    /// of all that allow something.
    fn meant_for(&self, pcr0: &str) -> Vec<&'static Asked> {
        let of = |is_meant: &dyn Fn(&Statement) -> bool| -> Vec<&'static Asked> {
            let meant = |asked: &&&'static Asked| {
                let own = self.covering(asked);
                let mut allowing = own.iter().filter(|it| it.effect == Effect::Allow);
                asked.is_attested()
                    && self.is_possible_for_key(asked)
                    && allowing.any(|it| is_meant(it))
            };
            ASKED.iter().filter(meant).copied().collect()
        };
        let tests: [&dyn Fn(&Statement) -> bool; 3] = [
            &|it| is_about_attestation(it) && names_image(it, pcr0),
            &is_about_attestation,
            &|_| true,
        ];
        let mut found = tests.into_iter().map(of);
        found.find(|list| !list.is_empty()).unwrap_or_default()
    }

    fn first_that_may(&self, asked: &Asked, pcr0: &str) -> Result<Option<Ability>, Box<Gap>> {
        let mut open = None;
        let own = self.covering(asked);
        let is_named_with_image = |principal: &Principal| {
            let mut statements = own.iter().filter(|it| names_image(it, pcr0));
            statements.any(|it| it.names(principal, false) != Naming::No)
        };
        let callers = self.everybody.callers.iter();
        let mut callers: Vec<_> = callers.filter(|it| self.is_asked_about(it)).collect();
        callers.sort_by_cached_key(|it| !is_named_with_image(it));
        for principal in callers {
            let wanted = Wanted {
                image: Some(pcr0),
                ..Wanted::new(principal, asked, State::Wanted)
            };
            match self.search(wanted) {
                Ok(Some((call, decision))) => {
                    let (statement, _) = deciding_statement(&decision, &self.claim.policy);
                    return Ok(Some(Ability { call, statement }));
                }
                Ok(None) => {}
                Err(why) => {
                    open.get_or_insert(Box::new(Gap {
                        principal: Some(principal.clone()),
                        action: asked.action(),
                        why,
                    }));
                }
            }
        }
        open.map_or(Ok(None), Err)
    }
}

/// Whether a statement is meant for enclaves, by the names of its condition keys.
fn is_about_attestation(statement: &Statement) -> bool {
    let mut keys = statement
        .conditions
        .iter()
        .map(|it| it.key_text().to_lowercase());
    keys.any(|key| key.starts_with("kms:recipientattestation"))
}

/// Whether a condition has the image's PCR0 as a value, in letters of any case.
fn names_image(statement: &Statement, pcr0: &str) -> bool {
    let conditions = statement.conditions.iter();
    let mut values = conditions.flat_map(|it| it.operands());
    values.any(|it| it.text().eq_ignore_ascii_case(pcr0))
}
