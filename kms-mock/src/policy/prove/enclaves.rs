//! Whether the enclaves of the expected images can do what they are meant to: a
//! policy that nobody can use is closed as well.

use super::{
    asked::{ASKED, Asked},
    claim::{Ability, Enclave, Gap},
    finding::deciding_statement,
    search::{Prover, Wanted},
    space::State,
};
use crate::policy::document::{Effect, Statement};

impl Prover<'_> {
    /// What each expected image can do, of what the policy is about.
    pub(super) fn enclaves(&self, gaps: &mut Vec<Gap>) -> Vec<Enclave> {
        let attested = || ASKED.iter().filter(|asked| asked.is_attested());
        let covered = |asked: &Asked, is_meant: fn(&Statement) -> bool| {
            let mut statements = self.claim.policy.statements().iter();
            self.is_possible_for_key(asked)
                && statements.any(|it| {
                    let actions = it.actions.as_ref();
                    it.effect == Effect::Allow
                        && actions.is_some_and(|it| it.cover_action(asked.action()))
                        && is_meant(it)
                })
        };
        let mut meant: Vec<&Asked> = attested()
            .filter(|it| covered(it, is_about_attestation))
            .copied()
            .collect();
        if meant.is_empty() {
            // Attestation stands in a Deny alone.
            meant = attested()
                .filter(|it| covered(it, |_| true))
                .copied()
                .collect();
        }
        let of_image = |pcr0: &String| {
            let mut enclave = Enclave {
                pcr0: pcr0.clone(),
                can: Vec::new(),
                cannot: Vec::new(),
            };
            for asked in &meant {
                match self.first_that_may(asked, pcr0) {
                    Ok(Some(ability)) => enclave.can.push(ability),
                    Ok(None) => enclave.cannot.push(asked.action()),
                    // Nobody has asked.
                    Err(_) if self.claim.expected_pcr0.is_empty() => {}
                    Err(gap) => gaps.push(*gap),
                }
            }
            enclave
        };
        self.expected.iter().map(of_image).collect()
    }

    fn first_that_may(&self, asked: &Asked, pcr0: &str) -> Result<Option<Ability>, Box<Gap>> {
        let mut open = None;
        let callers = self.everybody.callers.iter();
        for principal in callers.filter(|it| self.is_asked_about(it)) {
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
