//! Grants, and grants made by grants: who may make one, for whom, and what that is
//! good for.
//!
//! Source of truth: ground truth KMS §3 (a grant carries no attestation constraint; a
//! grant made through a grant may only narrow).
//!
//! A grant that may be made only adds: nobody loses a permission by it. So whoever may
//! make grants is followed from grantee to grantee until nobody new is reached.

use std::{
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
};

use super::{
    asked::{ASKED, Asked, grantable},
    claim::{Finding, Step, Undecided},
    search::{Prover, Use, Uses, Wanted, may_allow, states_of},
    space::{State, relevant},
};
use crate::{
    policy::{Constraint, Decision, Grant, Question},
    world::principal::Principal,
};

/// Grants that lead to grants, for one operation.
const CREATORS_MAX: usize = 500;

/// Somebody who may make grants.
struct Creator {
    principal: Principal,
    /// By these, or by the policy when there are none.
    grants: Vec<Arc<Grant>>,
    steps: Vec<Step>,
    /// The decision on the first step.
    decision: Option<Decision>,
}

impl Prover<'_> {
    /// A permission to create grants is a way to the key when there is somebody
    /// who could use a grant outside of the expected enclave.
    pub(super) fn search_grant(
        &self,
        principal: &Principal,
        asked: &'static Asked,
    ) -> Result<Option<Finding>, Undecided> {
        let usual = asked.kinds(None);
        let Some(usual) = usual.first() else {
            return Ok(None);
        };
        let base = self.blank(principal, asked, None, *usual);
        if !may_allow(&relevant(&base, &self.covering(asked))) {
            return Ok(None);
        }
        let mut open = None;
        for target in ASKED.iter() {
            let Some(operation) = grantable(target) else {
                continue;
            };
            match self.follow(principal, asked, target, operation) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(why) => {
                    open.get_or_insert(why);
                }
            }
        }
        open.map_or(Ok(None), Err)
    }

    /// Follows grants of one operation from grantee to grantee.
    fn follow(
        &self,
        principal: &Principal,
        asked: &'static Asked,
        target: &'static Asked,
        operation: &'static str,
    ) -> Result<Option<Finding>, Undecided> {
        let uses = self.uses_of(target, operation);
        let mut open = uses.open.clone();
        if uses.by.is_empty() {
            return open.map_or(Ok(None), Err);
        }
        let everybody = Rc::clone(&self.everybody);
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut creators = VecDeque::from([Creator {
            principal: principal.clone(),
            grants: Vec::new(),
            steps: Vec::new(),
            decision: None,
        }]);
        while let Some(creator) = creators.pop_front() {
            for used in &uses.by {
                match self.give(&creator, asked, &[operation], &used.arn) {
                    Ok(Some((call, decision))) => {
                        let found = self.finish(&creator, target, used, call, decision)?;
                        if found.is_some() {
                            return Ok(found);
                        }
                    }
                    Ok(None) => {}
                    Err(why) => {
                        open.get_or_insert(why);
                    }
                }
            }
            for (arn, grantee) in &everybody.grantees {
                if seen.contains(arn.as_str()) {
                    continue;
                }
                match self.give(&creator, asked, &[operation, "CreateGrant"], arn) {
                    Ok(Some((call, decision))) => {
                        seen.insert(arn);
                        let grant = grant_of(&call, arn);
                        let mut steps = creator.steps.clone();
                        steps.push(Step {
                            call,
                            makes: Some(Arc::clone(&grant)),
                        });
                        creators.push_back(Creator {
                            principal: grantee.clone(),
                            grants: vec![grant],
                            steps,
                            decision: creator.decision.clone().or(Some(decision)),
                        });
                    }
                    Ok(None) => {}
                    Err(why) => {
                        open.get_or_insert(why);
                    }
                }
            }
            if creators.len() > CREATORS_MAX {
                return Err(Undecided::TooLarge {
                    what: "grants that lead to grants".to_owned(),
                    max: CREATORS_MAX,
                });
            }
        }
        open.map_or(Ok(None), Err)
    }

    /// A grant of these operations to `arn`, made by `creator`.
    fn give(
        &self,
        creator: &Creator,
        asked: &Asked,
        operations: &[&str],
        arn: &str,
    ) -> Result<Option<(Question, Decision)>, Undecided> {
        let operations: Vec<String> = operations.iter().map(|it| (*it).to_owned()).collect();
        let wanted = Wanted {
            creates: Some((&operations, arn)),
            grants: &creator.grants,
            ..Wanted::new(&creator.principal, asked, State::Unattested)
        };
        let found = self.search(wanted)?;
        // A grant made by a grant may only narrow.
        Ok(found.filter(|(call, _)| {
            let allowed = |name: &String| {
                let mut by = creator.grants.iter();
                by.any(|grant| grant.operations.iter().any(|it| it == name))
            };
            creator.grants.is_empty() || call.facts.grant_operations.iter().flatten().all(allowed)
        }))
    }

    /// The finding, when the grant that is made at last can be used.
    fn finish(
        &self,
        creator: &Creator,
        target: &'static Asked,
        used: &Use,
        call: Question,
        decision: Decision,
    ) -> Result<Option<Finding>, Undecided> {
        let mut then = used.then.clone();
        let grant = grant_of(&call, &used.arn);
        let policy = &self.claim.policy;
        let grants = [Arc::clone(&grant)];
        if !then.decide(policy, &grants).is_allowed() {
            // The grant has a constraint: the request has its context.
            let wanted = Wanted {
                grants: &grants,
                context: call.facts.encryption_context.as_ref(),
                ..Wanted::new(&used.principal, target, used.state)
            };
            match self.search(wanted)? {
                Some((found, _)) => then = found,
                None => return Ok(None),
            }
        }
        let mut steps = creator.steps.clone();
        steps.push(Step {
            call,
            makes: Some(grant),
        });
        for step in &mut steps {
            if let Some(grant) = step.makes.take() {
                step.makes = Some(with_constraint(&grant, &step.call, &then));
            }
        }
        steps.push(Step {
            call: then,
            makes: None,
        });
        let decision = creator.decision.clone().unwrap_or(decision);
        Ok(Some(self.finding(target, used.state, steps, &decision)))
    }

    /// Who could use a grant of the operation outside of the expected enclave.
    fn uses_of(&self, target: &'static Asked, operation: &'static str) -> Rc<Uses> {
        if let Some(known) = self.uses.borrow().get(operation) {
            return Rc::clone(known);
        }
        let everybody = Rc::clone(&self.everybody);
        let mut uses = Uses::default();
        for (arn, principal) in &everybody.grantees {
            let grant = [Arc::new(Grant {
                operations: vec![operation],
                ..bare_grant(arn, principal)
            })];
            for state in states_of(target) {
                let wanted = Wanted {
                    grants: &grant,
                    ..Wanted::new(principal, target, *state)
                };
                match self.search(wanted) {
                    Ok(None) => {}
                    Err(why) => {
                        uses.open.get_or_insert(why);
                    }
                    Ok(Some((then, _))) => {
                        uses.by.push(Use {
                            arn: arn.clone(),
                            principal: principal.clone(),
                            state: *state,
                            then,
                        });
                        break;
                    }
                }
            }
        }
        let uses = Rc::new(uses);
        self.uses.borrow_mut().insert(operation, Rc::clone(&uses));
        uses
    }
}

fn bare_grant(grantee: &str, creator: &Principal) -> Grant {
    Grant {
        id: "0".repeat(64),
        name: None,
        grantee: grantee.to_owned(),
        grantee_id: None,
        retiring: None,
        retiring_id: None,
        source_arn: None,
        operations: Vec::new(),
        constraint: None,
        issuing_account: format!("arn:aws:iam::{}:root", creator.account()),
        created: nsm_sim::clock::UnixMillis(0),
    }
}

/// The grant that the request makes.
fn grant_of(creating: &Question, grantee: &str) -> Arc<Grant> {
    let operations = creating.facts.grant_operations.iter().flatten();
    let known = crate::policy::GRANT_OPERATIONS;
    let context = creating.facts.encryption_context.clone();
    Arc::new(Grant {
        retiring: creating.facts.retiring_principal.clone(),
        operations: operations
            .filter_map(|name| known.iter().find(|it| *it == name).copied())
            .collect(),
        constraint: context.filter(|it| !it.is_empty()).map(Constraint::Subset),
        created: creating.now,
        ..bare_grant(grantee, &creating.principal)
    })
}

/// A grant that had to have a constraint gets the context that is used.
fn with_constraint(grant: &Grant, creating: &Question, used: &Question) -> Arc<Grant> {
    let context = used.facts.encryption_context.clone().unwrap_or_default();
    let constraint = match creating.facts.grant_constraint_type.as_deref() {
        Some("EncryptionContextEquals") => Some(Constraint::Equals(context)),
        Some(_) => Some(Constraint::Subset(context)),
        None => None,
    };
    Arc::new(Grant {
        constraint,
        ..grant.clone()
    })
}
